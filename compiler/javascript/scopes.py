"""Names: which declaration an identifier means. Functions and classes as they are nested. Knows no values."""

from __future__ import annotations

from dataclasses import dataclass, field

from compiler.facts import Place
from compiler.javascript.syntax import CLASSES, FUNCTIONS, Node

BLOCKS = frozenset(
    {"statement_block", "for_statement", "for_in_statement", "switch_body", "catch_clause", "class_static_block"}
)
PATTERNS = frozenset(
    {"object_pattern", "array_pattern", "assignment_pattern", "object_assignment_pattern", "rest_pattern"}
)


@dataclass(eq=False)
class Binding:
    """One declared name. `target` of an import: (module file, exported name), "*" for all of it."""

    name: str
    kind: str
    node: Node
    scope: Scope
    assigned: int = 0
    """Times it is assigned, its declaration's value not counted."""
    captured: bool = False
    """Used by a function within the function that declares it."""
    target: tuple[str, str] | None = None
    value: Node | None = None
    """Its declaration's value, where the pattern is the name alone."""

    @property
    def place(self) -> Place:
        return self.node.place

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {self.place}>"


@dataclass(eq=False)
class Scope:
    parent: Scope | None
    function: Function
    names: dict[str, Binding] = field(default_factory=dict)

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None


@dataclass(eq=False)
class Function:
    """A function, or the text of a module (`node.type` is `program`)."""

    node: Node
    name: str
    file: str
    parent: Function | None
    owner: Class | None = None
    """The class whose method it is."""
    inner: list[Function] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)
    path: str = ""
    """Names from the outermost, with dots; "" if it or one around it has none."""
    static: bool = False
    uses_arguments: bool = False

    @property
    def arrow(self) -> bool:
        return self.node.type == "arrow_function"

    @property
    def module(self) -> bool:
        return self.node.type == "program"

    @property
    def asynchronous(self) -> bool:
        return "async" in self.node.words

    @property
    def generator(self) -> bool:
        return "*" in self.node.words or self.node.type.startswith("generator")

    def within(self, other: Function) -> bool:
        at: Function | None = self
        while at is not None:
            if at is other:
                return True
            at = at.parent
        return False

    def __repr__(self) -> str:
        return f"<function {self.name or '?'} {self.node.place}>"


@dataclass(eq=False)
class Class:
    node: Node
    name: str
    file: str
    base: Node | None = None
    function: Function | None = None
    """In which it stands."""


class Names:
    """Reads one module's tree: sets `binding` of identifiers and `info` of functions and classes."""

    def __init__(self, file: str, root: Node) -> None:
        self.file = file
        self.functions: list[Function] = []
        self.classes: list[Class] = []
        self.globals: dict[str, list[Node]] = {}
        self.top = Function(root, "", file, None)
        root.info = self.top
        self.functions.append(self.top)
        self.scope = Scope(None, self.top)
        for name in ("module", "exports", "require"):
            self.scope.names[name] = Binding(name, "builtin", root, self.scope)
        self._hoist(root, self.scope)
        self._lexical(root.kids, self.scope)
        for kid in root.kids:
            self._visit(kid, self.scope)

    # Declarations

    def _declare(self, scope: Scope, node: Node, kind: str, value: Node | None = None) -> Binding:
        name = node.text
        there = scope.names.get(name)
        if there is not None and there.kind != "builtin":
            if value is not None or kind == "function":
                there.assigned += there.kind != "param" or value is not None
            node.binding = there
            return there
        binding = Binding(name, kind, node, scope, value=value)
        scope.names[name] = binding
        node.binding = binding
        return binding

    def _pattern(self, scope: Scope, node: Node, kind: str, value: Node | None = None) -> None:
        if node.type in ("identifier", "shorthand_property_identifier_pattern"):
            self._declare(scope, node, kind, value)
        elif node.type in ("assignment_pattern", "object_assignment_pattern"):
            self._pattern(scope, node["left"], kind)
        elif node.type == "pair_pattern":
            self._pattern(scope, node["value"], kind)
        elif node.type in ("object_pattern", "array_pattern", "rest_pattern"):
            for kid in node.kids:
                self._pattern(scope, kid, kind)

    def _hoist(self, root: Node, scope: Scope) -> None:
        """`var` and functions of a function's body, not of functions within."""
        stack = list(reversed(root.kids))
        while stack:
            node = stack.pop()
            if node.type == "variable_declaration":
                for kid in node.kids:
                    if kid.type == "variable_declarator":
                        self._pattern(scope, kid["name"], "var", kid.get("value"))
            elif node.type == "for_in_statement" and "var" in node.words:
                self._pattern(scope, node["left"], "var", node["right"])
            if node.type in ("function_declaration", "generator_function_declaration"):
                self._declare(scope, node["name"], "function")
                continue
            if node.type in FUNCTIONS or node.type in CLASSES:
                continue
            stack.extend(reversed(node.kids))

    def _lexical(self, kids: list[Node], scope: Scope) -> None:
        for kid in kids:
            node = kid
            if node.type == "export_statement":
                inner = node.get("declaration")
                if inner is None:
                    continue
                node = inner
            if node.type == "lexical_declaration":
                kind = "const" if "const" in node.words else "let"
                for part in node.kids:
                    if part.type == "variable_declarator":
                        self._pattern(scope, part["name"], kind, part.get("value"))
            elif node.type == "class_declaration":
                self._declare(scope, node["name"], "class")
            elif node.type == "import_statement":
                for part in node.walk():
                    if part.type == "identifier" and part.parent is not None:
                        inside = part.parent
                        if inside.type == "import_specifier" and inside.get("alias") not in (None, part):
                            continue
                        self._declare(scope, part, "import")

    # Uses

    def _visit(self, node: Node, scope: Scope) -> None:
        if node.type in FUNCTIONS:
            self._function(node, scope)
        elif node.type in CLASSES:
            self._class(node, scope)
        elif node.type in BLOCKS:
            self._block(node, scope)
        elif node.type in ("identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"):
            self._use(node, scope)
        elif node.type == "import_statement":
            return
        else:
            for kid in node.kids:
                self._visit(kid, scope)
            if node.type in ("assignment_expression", "augmented_assignment_expression"):
                self._assigned(node["left"])
            elif node.type == "update_expression":
                self._assigned(node["argument"])

    def _use(self, node: Node, scope: Scope) -> None:
        binding = scope.find(node.text)
        node.binding = binding
        if binding is None:
            self.globals.setdefault(node.text, []).append(node)
            if node.text == "arguments":
                function: Function | None = scope.function
                while function is not None and function.arrow:
                    function = function.parent
                if function is not None:
                    function.uses_arguments = True
        elif binding.scope.function is not scope.function:
            binding.captured = True

    def _assigned(self, node: Node) -> None:
        if node.type in ("identifier", "shorthand_property_identifier_pattern"):
            if node.binding is not None:
                node.binding.assigned += 1
        elif node.type in ("assignment_pattern", "object_assignment_pattern"):
            self._assigned(node["left"])
        elif node.type == "pair_pattern":
            self._assigned(node["value"])
        elif node.type in ("object_pattern", "array_pattern", "rest_pattern", "parenthesized_expression"):
            for kid in node.kids:
                self._assigned(kid)

    def _block(self, node: Node, scope: Scope) -> None:
        inner = Scope(scope, scope.function)
        if node.type == "catch_clause":
            parameter = node.get("parameter")
            if parameter is not None:
                self._pattern(inner, parameter, "catch")
        elif node.type == "for_statement":
            self._lexical(node.kids[:1], inner)
        elif node.type == "for_in_statement" and ("let" in node.words or "const" in node.words):
            self._pattern(inner, node["left"], "each", node["right"])
        elif node.type == "switch_body":
            for case in node.kids:
                self._lexical(case.kids, inner)
        else:
            self._lexical(node.kids, inner)
        for kid in node.kids:
            self._visit(kid, inner)
        if node.type == "for_in_statement" and not node.words & {"let", "const", "var"}:
            self._assigned(node["left"])

    def _function(self, node: Node, scope: Scope) -> None:
        name = node.get("name")
        function = Function(node, "", self.file, scope.function)
        scope.function.inner.append(function)
        self.functions.append(function)
        node.info = function
        inner = Scope(scope, function)
        if name is not None and name.type == "identifier" and node.type.endswith("expression"):
            self._declare(inner, name, "function")
        function.name = _name_of(node)
        single, several = node.get("parameter"), node.get("parameters")
        function.parameters = [single] if single is not None else several.kids if several is not None else []
        for parameter in function.parameters:
            self._pattern(inner, parameter, "param")
        body = node.get("body")
        if name is not None and name.type == "computed_property_name":
            self._visit(name, scope)
        for parameter in function.parameters:
            self._visit(parameter, inner)
        if body is None:
            return
        if body.type == "statement_block":
            self._hoist(body, inner)
            self._lexical(body.kids, inner)
            for kid in body.kids:
                self._visit(kid, inner)
        else:
            self._visit(body, inner)

    def _class(self, node: Node, scope: Scope) -> None:
        heritage = next((kid for kid in node.kids if kid.type == "class_heritage"), None)
        base = heritage.kids[0] if heritage is not None and heritage.kids else None
        made = Class(node, _name_of(node), self.file, base, scope.function)
        node.info = made
        self.classes.append(made)
        inner = Scope(scope, scope.function)
        if node.type == "class" and node.get("name") is not None:
            self._declare(inner, node["name"], "class")
        if heritage is not None:
            self._visit(heritage, scope)
        for member in node["body"].kids:
            before = len(self.functions)
            self._visit(member, inner)
            if member.type == "method_definition" and len(self.functions) > before:
                method = self.functions[before]
                method.owner, method.static = made, "static" in member.words


def _name_of(node: Node) -> str:
    """As the language names functions and classes: their own, or of what they are assigned to."""
    name = node.get("name")
    if name is not None:
        return "" if name.type == "computed_property_name" else _text(name)
    parent = node.parent
    while parent is not None and parent.type == "parenthesized_expression":
        parent = parent.parent
    if parent is None:
        return ""
    if parent.type == "variable_declarator":
        return _text(parent["name"])
    if parent.type == "assignment_expression":
        left = parent["left"]
        if left.type == "member_expression":
            named = left["property"].text
            return "" if left["object"].text == "module" and named == "exports" else named
        return _text(left)
    if parent.type in ("pair", "field_definition"):
        return _text(parent.get("key") or parent["property"])
    if parent.type in ("assignment_pattern", "object_assignment_pattern"):
        return _text(parent["left"])
    return ""


def _text(node: Node) -> str:
    if node.type == "string":
        return "".join(kid.text for kid in node.kids)
    return node.text if node.type.endswith("identifier") or node.type == "identifier" else ""

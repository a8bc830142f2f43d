"""JavaScript sources so that a runtime can reach their variables from outside and stand before their handlers:
accessors for what modules and functions declare, guards among the handlers of a route. No line moves.

Knows syntax and scopes as far as that takes; not what variables mean, nor how they are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import tree_sitter
import tree_sitter_javascript

from compiler.javascript.answering import over_when_it_returns

RUNTIME = 'globalThis[Symbol.for("liquefy")]'

_LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())
_FUNCTIONS = frozenset(
    {
        *("function_declaration", "function_expression", "arrow_function", "method_definition"),
        *("generator_function", "generator_function_declaration"),
    }
)
_CLASSES = frozenset({"class_declaration", "class"})
_INERT = _FUNCTIONS | _CLASSES | frozenset({"number", "string", "true", "false", "null", "undefined", "regex"})
_BLOCKS = frozenset({"statement_block", "switch_body", "class_static_block"})
_NAMES = frozenset({"identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"})
_MODULE_WORDS = frozenset({"import_statement", "export_statement"})
_DEFAULT = "__liquefy_default"
_PLACES = frozenset({"program", "statement_block", "export_statement"})
"""What a function is declared in, where a statement can stand behind it."""

Node = tree_sitter.Node


@dataclass(frozen=True)
class Guard:
    """What is to stand before the handlers registered at a place: the fluxion's name. `at`: the byte where the name of
    the registering method stands. `around`: the framework takes one handler alone, the last argument."""

    fluxion: str
    at: int
    around: bool = False


@dataclass
class _Scope:
    """What is declared together. `table`: name -> whether it can be assigned; `known`: names -> ids that are given."""

    path: str
    table: dict[str, bool] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)


class _Edits:
    """Texts to put in, by byte, and bytes that they replace."""

    def __init__(self) -> None:
        self._edits: list[tuple[int, int, int, int, bytes]] = []

    def put(self, at: int, text: str, replaced: int = 0, rank: int = 0) -> None:
        """`rank`: which comes first of those at one place; of the same rank what was put first."""
        self._edits.append((at, rank, len(self._edits), replaced, text.encode()))

    def apply(self, data: bytes) -> str:
        parts, position = [], 0
        for at, _, _, replaced, text in sorted(self._edits):
            parts += [data[position:at], text]
            position = max(position, at + replaced)
        return b"".join([*parts, data[position:]]).decode()


def module_id(file: str) -> str:
    """What variables of the file are called by: `lib.store` for lib/store.js."""
    return re.sub(r"\.(js|mjs|cjs)$", "", file).replace("/", ".")


def instrument(file: str, text: str, guards: Iterable[Guard] = (), ids: Mapping[tuple[int, str], str] | None = None,
               assignable: frozenset[str] = frozenset(), params: bool = False) -> str:  # fmt: skip
    """`ids`: what variables are called, by line and name, where that is not made of the names around them.
    `assignable`: ids of constants that are to be assigned all the same. `params`: the framework has handlers of
    parameters, `router.param(name, handler)`, that run before those of routes."""
    return _Instrument(file, text, ids or {}, assignable).run(guards, params)


def esm(text: str) -> bool:
    """Whether it is written as an ES module."""
    root = tree_sitter.Parser(_LANGUAGE).parse(text.encode()).root_node
    return any(child.type in _MODULE_WORDS for child in root.children)


class _Instrument:
    def __init__(self, file: str, text: str, ids: Mapping[tuple[int, str], str], assignable: frozenset[str]) -> None:
        self.data = text.encode()
        self.root = tree_sitter.Parser(_LANGUAGE).parse(self.data).root_node
        self.module = module_id(file)
        self.ids = ids
        self.assignable = assignable
        self.edits = _Edits()

    def run(self, guards: Iterable[Guard], params: bool) -> str:
        scope = _Scope(self.module)
        self._hoist(self.root, scope)
        self._lexical(self.root, scope)
        module = any(child.type in _MODULE_WORDS for child in self.root.children)
        extra = [] if module else [(f"{self.module}.exports", "module.exports")]
        extra += self._default_exports()
        self.edits.put(len(self.data), "\n;" + self._table(scope, extra) + "\n")
        for child in self.root.children:
            self._visit(child, self.module)
        if params:
            self._params()
        for guard in guards:  # what they put in stands around what is put in at the same place
            self._guard(guard)
        return self.edits.apply(self.data)

    # -- guards --------------------------------------------------------------------------------------------------

    def _guard(self, guard: Guard) -> None:
        """Among the arguments of the call: which of them is the first handler is known when they are there."""
        node: Node | None = self.root.descendant_for_byte_range(guard.at, guard.at)
        while node is not None and node.type != "call_expression":
            node = node.parent
        arguments = node.child_by_field_name("arguments") if node is not None else None
        if arguments is None:
            return
        given = [child for child in arguments.named_children if child.type != "comment"]
        if given and guard.around:
            self.edits.put(given[-1].start_byte, f"{RUNTIME}.around({json.dumps(guard.fluxion)}, ")
            self.edits.put(given[-1].end_byte, ")")
        elif given:
            self.edits.put(given[0].start_byte, f"...{RUNTIME}.guarded({json.dumps(guard.fluxion)}, [")
            self.edits.put(given[-1].end_byte, "])")

    def _params(self) -> None:
        stack = [self.root]
        while stack:
            node = stack.pop()
            stack.extend(node.named_children)
            callee = node.child_by_field_name("function") if node.type == "call_expression" else None
            name = callee.child_by_field_name("property") if callee is not None else None
            arguments = node.child_by_field_name("arguments")
            if name is None or arguments is None or self._text(name) != "param":
                continue
            given = [child for child in arguments.named_children if child.type != "comment"]
            if len(given) == 2 and given[1].type != "spread_element":
                self.edits.put(given[1].start_byte, f"{RUNTIME}.before(", rank=-1)
                self.edits.put(given[1].end_byte, ")", rank=1)

    # -- what is declared ------------------------------------------------------------------------------------------

    def _text(self, node: Node) -> str:
        return self.data[node.start_byte : node.end_byte].decode()

    def _declare(self, scope: _Scope, pattern: Node | None, assignable: bool) -> None:
        for name in _names_of(pattern):
            scope.table[self._text(name)] = assignable
            at = (name.start_point[0] + 1, self._text(name))
            if at in self.ids:
                scope.known[self._text(name)] = self.ids[at]

    def _hoist(self, root: Node, scope: _Scope) -> None:
        """`var` of the function, and functions declared anywhere in it."""
        stack = list(root.named_children)
        while stack:
            node = stack.pop()
            if node.type == "variable_declaration":
                for part in node.named_children:
                    if part.type == "variable_declarator":
                        self._declare(scope, part.child_by_field_name("name"), True)
            elif node.type == "for_in_statement" and any(c.type == "var" for c in node.children):
                self._declare(scope, node.child_by_field_name("left"), True)
            elif node.type in ("function_declaration", "generator_function_declaration"):
                if _statement_of(node) == root or (node.parent is not None and node.parent.type == "export_statement"):
                    self._declare(scope, node.child_by_field_name("name"), False)
                continue
            if node.type not in _FUNCTIONS and node.type not in _CLASSES:
                stack.extend(node.named_children)

    def _lexical(self, block: Node, scope: _Scope) -> None:
        """`let`, `const` and classes that stand in the block itself."""
        for child in block.named_children:
            node = child.child_by_field_name("declaration") if child.type == "export_statement" else child
            if node is None:
                continue
            if node.type == "lexical_declaration":
                self._lexical_declaration(node, scope)
            elif node.type == "class_declaration":
                self._declare(scope, node.child_by_field_name("name"), False)
            elif node.type in ("switch_case", "switch_default"):
                self._lexical(node, scope)

    def _lexical_declaration(self, node: Node, scope: _Scope) -> None:
        word = node.children[0]
        constant = self._text(word) == "const"
        before = set(scope.table)
        for part in node.named_children:
            if part.type == "variable_declarator":
                self._declare(scope, part.child_by_field_name("name"), not constant)
        added = [name for name in scope.table if name not in before]
        if constant and any(self._id(scope, name) in self.assignable for name in added):
            self.edits.put(word.start_byte, "let  ", len("const"))
            scope.table.update(dict.fromkeys(added, True))

    # -- functions ---------------------------------------------------------------------------------------------------

    def _visit(self, node: Node, path: str) -> None:
        stack = [(node, path)]
        while stack:
            node, path = stack.pop()
            if node.type in _FUNCTIONS:
                path = f"{path}.{_name_of(node, self._text) or node.start_point[0] + 1}"
                self._function(node, path)
                self._over(node)
            elif node.type in _CLASSES:
                path = f"{path}.{_name_of(node, self._text) or node.start_point[0] + 1}"
                self._class(node)
            elif node.type in _BLOCKS and node.parent is not None and node.parent.type not in _FUNCTIONS:
                self._block(node, path)
            stack.extend((child, path) for child in reversed(node.named_children))

    def _class(self, node: Node) -> None:
        """Private fields are reached from inside the class alone; and an object that is made anew from what is stored
        gets them by the constructor, which then does nothing else."""
        body = node.child_by_field_name("body")
        if body is None:
            return
        private: list[str] = []
        fields: dict[bool, list[str]] = {False: [], True: []}
        for member in body.named_children:
            name = member.child_by_field_name("property") or member.child_by_field_name("name")
            static = any(child.type == "static" for child in member.children)
            if name is None or name.type != "private_property_identifier":
                continue
            if member.type == "field_definition":
                fields[static].append(self._text(name))
            if not static:
                private.append(self._text(name))
        if private:
            self._hide(body, "this", private[0], fields[False])
        if fields[True]:
            self._hide(body, "{}", fields[True][0], fields[True])
        base = next((child for child in node.children if child.type == "class_heritage"), None)
        if private or base is not None:
            self._without_effect(body, base)

    def _hide(self, body: Node, of: str, brand: str, fields: list[str]) -> None:
        read = ", ".join(f"{json.dumps(name)}: $.{name}" for name in fields)
        assign = " ".join(f"$.{name} = _[{json.dumps(name)}];" for name in fields)
        has = f"($) => ($ === Object($) && {brand} in $ ? {{ {read} }} : null)"
        self.edits.put(body.start_byte + 1, f" static {{ {RUNTIME}.hide({of}, {has}, ($, _) => {{ {assign} }}); }}")

    def _without_effect(self, body: Node, base: Node | None) -> None:
        """While an object is made anew neither the values of fields nor the constructor's statements are run."""
        for member in body.named_children:
            static = any(child.type == "static" for child in member.children)
            value = member.child_by_field_name("value")
            name = member.child_by_field_name("name")
            if member.type == "field_definition" and not static and value is not None and value.type not in _INERT:
                self.edits.put(value.start_byte, f"{RUNTIME}.making ? undefined : (")
                self.edits.put(value.end_byte, ")")
            elif not static and name is not None and self._text(name) == "constructor":
                statements = member.child_by_field_name("body")
                if statements is not None:
                    end = f"{{ super(...{RUNTIME}.making); return; }}" if base is not None else "return;"
                    at = _after_directives(statements)
                    separator = ";" if at > statements.start_byte + 1 else ""
                    self.edits.put(at, f"{separator} if ({RUNTIME}.making) {end}")

    def _function(self, node: Node, path: str) -> None:
        scope = _Scope(path)
        for name in ("parameter", "parameters"):
            self._declare(scope, node.child_by_field_name(name), True)
        body = node.child_by_field_name("body")
        if body is None:
            return
        if body.type == "statement_block":
            self._hoist(body, scope)
            self._lexical(body, scope)
        table = self._table(self._captured(scope, node))
        if not table:
            return
        if body.type == "statement_block":
            at = _after_directives(body)
            end = ";" if at > body.start_byte + 1 else ""
            self.edits.put(at, f"{end} {RUNTIME}.loading && {table}")
        else:
            self.edits.put(body.start_byte, f"({RUNTIME}.loading && {table.rstrip(';')}, ")
            self.edits.put(body.end_byte, ")")

    def _over(self, node: Node) -> None:
        """The runtime is told of handlers after which nobody answers; where no context waits for them, it need not."""
        if not self.assignable or not over_when_it_returns(node, self._text):
            return
        name = node.child_by_field_name("name")
        parent = node.parent
        if node.type != "function_declaration":
            # A function loses the name that it is given by where it stands, if something stands around it.
            left = parent.child_by_field_name("left") if parent is not None else None
            called = _name_of(node, self._text) if name is None and (left is None or left.type == "identifier") else ""
            self.edits.put(node.start_byte, f"{RUNTIME}.over({json.dumps(called)}, ", rank=1)
            self.edits.put(node.end_byte, ")", rank=-1)
        elif name is not None and parent is not None and parent.type in _PLACES:
            self.edits.put(node.end_byte, f";{RUNTIME}.over({json.dumps(self._text(name))}, {self._text(name)});")

    def _block(self, node: Node, path: str) -> None:
        scope = _Scope(path)
        self._lexical(node, scope)
        loop = node.parent
        words = {child.type for child in loop.children} if loop is not None else set()
        if loop is not None and loop.type == "for_in_statement" and words & {"let", "const"}:
            self._declare(scope, loop.child_by_field_name("left"), "let" in words)
        table = self._table(self._captured(scope, node))
        if table and node.type == "statement_block":
            self.edits.put(node.start_byte + 1, f" {RUNTIME}.loading && {table}")

    def _captured(self, scope: _Scope, node: Node) -> _Scope:
        """Of the scope what functions within it use; a name that they declare anew may count, too."""
        used: set[str] = set()
        if scope.table:
            stack = [(child, False) for child in node.named_children]
            while stack:
                at, inner = stack.pop()
                if inner and at.type in _NAMES:
                    used.add(self._text(at))
                deeper = inner or at.type in _FUNCTIONS
                stack.extend((child, deeper) for child in at.named_children)
        captured = {name: able for name, able in scope.table.items() if name in used}
        return _Scope(scope.path, captured, scope.known)

    # -- what is put in ------------------------------------------------------------------------------------------------

    def _id(self, scope: _Scope, name: str) -> str:
        return scope.known.get(name) or f"{scope.path}.{name}"

    def _table(self, scope: _Scope, extra: Iterable[tuple[str, str]] = ()) -> str:
        """Code that tells the runtime of the variables: for each how to read and how to assign it."""
        rows = [(self._id(scope, name), name, able) for name, able in scope.table.items()]
        rows += [(id_, expression, True) for id_, expression in extra]
        told = [
            f"{json.dumps(id_)}: [() => {name}{f', ($) => {{ {name} = $; }}' if able else ''}]"
            for id_, name, able in rows
        ]
        return f"{RUNTIME}.add({{ {', '.join(told)} }});" if told else ""

    def _default_exports(self) -> Iterator[tuple[str, str]]:
        """`export default` of an expression gets a name, so that it can be read."""
        for node in self.root.named_children:
            value = node.child_by_field_name("value") if node.type == "export_statement" else None
            if value is None or value.type in _FUNCTIONS or value.type in _CLASSES or value.type == "identifier":
                continue
            words = self.data[node.start_byte : value.start_byte]
            self.edits.put(node.start_byte, f"let {_DEFAULT} = ", len(words))
            lines = words.count(b"\n")
            self.edits.put(value.start_byte, "\n" * lines)
            self.edits.put(len(self.data), f"\n;export {{ {_DEFAULT} as default }};")
            yield f"{self.module}.default", _DEFAULT


def _names_of(pattern: Node | None) -> Iterator[Node]:
    """The names that a pattern declares."""
    if pattern is None:
        return
    if pattern.type in ("identifier", "shorthand_property_identifier_pattern"):
        yield pattern
    elif pattern.type in ("assignment_pattern", "object_assignment_pattern"):
        yield from _names_of(pattern.child_by_field_name("left"))
    elif pattern.type == "pair_pattern":
        yield from _names_of(pattern.child_by_field_name("value"))
    elif pattern.type in ("object_pattern", "array_pattern", "rest_pattern", "formal_parameters"):
        for child in pattern.named_children:
            yield from _names_of(child)


def _statement_of(node: Node) -> Node | None:
    """The function's body or the program that it stands in directly."""
    parent = node.parent
    return parent.parent if parent is not None and parent.type == "export_statement" else parent


def _after_directives(body: Node) -> int:
    """The byte after `{`, and after "use strict" and the like."""
    at = body.start_byte + 1
    for child in body.named_children:
        if child.type == "comment":
            continue
        if child.type != "expression_statement" or child.named_children[0].type != "string":
            break
        at = child.end_byte
    return at


def _name_of(node: Node, read: Callable[[Node], str]) -> str:
    """As the language names functions and classes: their own name, or of what they are assigned to."""
    name = node.child_by_field_name("name")
    if name is not None:
        return "" if name.type == "computed_property_name" else read(name).strip("\"'")
    parent = node.parent
    while parent is not None and parent.type == "parenthesized_expression":
        parent = parent.parent
    if parent is None:
        return ""
    target = {
        "variable_declarator": "name",
        "assignment_expression": "left",
        "pair": "key",
        "field_definition": "property",
        "assignment_pattern": "left",
    }.get(parent.type)
    left = parent.child_by_field_name(target) if target else None
    if left is not None and left.type == "member_expression":
        if read(left) == "module.exports":
            return ""
        left = left.child_by_field_name("property")
    if left is None or not left.type.endswith(("identifier", "string")):
        return ""
    return read(left).strip("\"'")

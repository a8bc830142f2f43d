"""JavaScript bodies of steps, by tree-sitter: names they give a value, names they use, whether they wait. Runs
nothing."""

from __future__ import annotations

import tree_sitter
import tree_sitter_javascript

from compiler.flx.shapes import Body, Unreadable

_GLOBALS = """
AbortController AbortSignal AggregateError Array ArrayBuffer Atomics BigInt BigInt64Array BigUint64Array Blob Boolean
Buffer DOMException DataView Date Error EvalError Event EventTarget FinalizationRegistry Float32Array Float64Array
FormData Function Headers Infinity Int16Array Int32Array Int8Array Intl JSON Map Math MessageChannel NaN Number Object
Promise Proxy RangeError ReadableStream ReferenceError Reflect RegExp Request Response Set SharedArrayBuffer String
Symbol SyntaxError TextDecoder TextEncoder TransformStream TypeError URIError URL URLSearchParams Uint16Array
Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet WebAssembly WritableStream __dirname __filename
arguments atob btoa clearImmediate clearInterval clearTimeout console crypto decodeURI decodeURIComponent encodeURI
encodeURIComponent escape eval exports fetch global globalThis isFinite isNaN module parseFloat parseInt performance
process queueMicrotask require setImmediate setInterval setTimeout structuredClone undefined unescape
"""
GLOBALS = frozenset(_GLOBALS.split())
"""What Node has without an import."""

_LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())
_FUNCTIONS = {
    "function_declaration", "function_expression", "generator_function", "generator_function_declaration",
    "arrow_function", "method_definition", "class_declaration", "class",
}  # fmt: skip
_HEAD = b"async function body() {\n"
_PATTERNS = {"array_pattern", "object_pattern", "rest_pattern", "formal_parameters", "import_clause", "named_imports"}


def body(text: str) -> Body:
    """Raises Unreadable."""
    root = _tree(_HEAD + text.encode(errors="replace") + b"\n}", 1)
    function = root.named_children[0] if root.named_child_count == 1 else None
    block = function.child_by_field_name("body") if function is not None else None
    if function is None or function.type != "function_declaration" or block is None:
        raise Unreadable(1, 1, "its brackets close more than they open")
    walk = _Walk()
    for child in block.named_children:
        walk.visit(child)
    statements = [child for child in block.named_children if child.type != "comment"]
    returns = bool(statements) and statements[-1].type in ("return_statement", "throw_statement")
    assigned = walk.declared | walk.assigned
    used = {name: (line - 1, column) for name, (line, column) in walk.used.items() if name not in assigned}
    strings = frozenset(line - 1 for line in walk.in_strings)
    return Body(frozenset(assigned), frozenset(walk.top), used, walk.waits, returns, strings)


def names(text: str) -> frozenset[str]:
    """What a module of that text has: its imports, what it declares, Node's own. Raises Unreadable."""
    walk = _Walk()
    walk.visit(_tree(text.encode(errors="replace"), 0))
    return frozenset(walk.declared | GLOBALS)


def _tree(data: bytes, lines_before: int) -> tree_sitter.Node:
    root = tree_sitter.Parser(_LANGUAGE).parse(data).root_node
    if not root.has_error:
        return root
    node = _first_error(root)
    line, column = node.start_point
    text = (node.text or b"").decode(errors="replace").split("\n")[0][:40]
    why = f"{node.type} is missing" if node.is_missing else f"{text!r} is not expected here"
    raise Unreadable(max(1, line + 1 - lines_before), column + 1, why)


def _first_error(root: tree_sitter.Node) -> tree_sitter.Node:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            return node
        waiting += [child for child in reversed(node.children) if child.has_error or child.is_missing]
    return root


class _Walk:
    """Names of a piece of code. What an inner function has for itself is not told apart from what is of the body: then
    less is complained about, never more."""

    def __init__(self) -> None:
        self.declared: set[str] = set()
        self.top: set[str] = set()
        self.assigned: set[str] = set()
        self.used: dict[str, tuple[int, int]] = {}
        self.in_strings: set[int] = set()
        self.waits = False
        self._depth = 0
        self._blocks = 0

    def visit(self, node: tree_sitter.Node) -> None:
        method = getattr(self, f"_{node.type}", None)
        if method is not None:
            method(node)
        elif node.type in _FUNCTIONS:
            self._function(node)
        else:
            self._all(node)

    def _all(self, node: tree_sitter.Node) -> None:
        for child in node.named_children:
            self.visit(child)

    def _part(self, node: tree_sitter.Node, field: str) -> None:
        part = node.child_by_field_name(field)
        if part is not None:
            self.visit(part)

    def _identifier(self, node: tree_sitter.Node) -> None:
        line, column = node.start_point
        self.used.setdefault(_text(node), (line + 1, column + 1))

    _shorthand_property_identifier = _identifier

    def _template_string(self, node: tree_sitter.Node) -> None:
        self.in_strings.update(range(node.start_point[0] + 2, node.end_point[0] + 2))
        self._all(node)

    _string = _template_string

    def _statement_block(self, node: tree_sitter.Node) -> None:
        self._blocks += 1
        self._all(node)
        self._blocks -= 1

    def _await_expression(self, node: tree_sitter.Node) -> None:
        self.waits |= not self._depth
        self._all(node)

    def _function(self, node: tree_sitter.Node) -> None:
        name = node.child_by_field_name("name")
        if name is not None and node.type.endswith("_declaration"):
            self._declare(name)
        self._depth += 1
        for field in ("parameters", "parameter"):
            part = node.child_by_field_name(field)
            if part is not None:
                self._bind(part, declares=True)
        for child in node.named_children:
            if child.type == "class_heritage" or child == node.child_by_field_name("body"):
                self.visit(child)
        self._depth -= 1

    def _variable_declarator(self, node: tree_sitter.Node) -> None:
        name = node.child_by_field_name("name")
        if name is not None:
            self._bind(name, declares=True)
        self._part(node, "value")

    def _for_in_statement(self, node: tree_sitter.Node) -> None:
        left = node.child_by_field_name("left")
        self.waits |= not self._depth and any(child.type == "await" for child in node.children)
        self._blocks += 1
        if left is not None:
            self._bind(left, declares=node.child_by_field_name("kind") is not None)
        self._part(node, "right")
        self._part(node, "body")
        self._blocks -= 1

    def _for_statement(self, node: tree_sitter.Node) -> None:
        self._statement_block(node)

    def _catch_clause(self, node: tree_sitter.Node) -> None:
        self._blocks += 1
        parameter = node.child_by_field_name("parameter")
        if parameter is not None:
            self._bind(parameter, declares=True)
        self._part(node, "body")
        self._blocks -= 1

    def _import_clause(self, node: tree_sitter.Node) -> None:
        for child in node.named_children:
            self._bind(child, declares=True)

    def _import_specifier(self, node: tree_sitter.Node) -> None:
        self._bind(node, declares=True)

    def _assignment_expression(self, node: tree_sitter.Node) -> None:
        left = node.child_by_field_name("left")
        if left is not None:
            self._bind(left, declares=False)
        self._part(node, "right")

    _augmented_assignment_expression = _assignment_expression

    def _update_expression(self, node: tree_sitter.Node) -> None:
        argument = node.child_by_field_name("argument")
        if argument is not None:
            self._bind(argument, declares=False)

    def _declare(self, name: tree_sitter.Node) -> None:
        self.declared.add(_text(name))
        if not self._depth and not self._blocks:
            self.top.add(_text(name))

    def _bind(self, node: tree_sitter.Node, declares: bool) -> None:
        """The names of a pattern."""
        if node.type in ("identifier", "shorthand_property_identifier_pattern"):
            if declares:
                self._declare(node)
            else:
                self.assigned.add(_text(node))
        elif node.type in ("assignment_pattern", "object_assignment_pattern"):
            left = node.child_by_field_name("left")
            if left is not None:
                self._bind(left, declares)
            self._part(node, "right")
        elif node.type == "pair_pattern":
            key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
            if key is not None and key.type == "computed_property_name":
                self.visit(key)
            if value is not None:
                self._bind(value, declares)
        elif node.type in ("import_specifier", "namespace_import"):
            self._bind(node.child_by_field_name("alias") or node.named_children[0], declares)
        elif node.type in _PATTERNS:
            for child in node.named_children:
                self._bind(child, declares)
        elif node.type != "comment":
            self.visit(node)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode(errors="replace")

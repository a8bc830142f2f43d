"""JavaScript text to a tree: small nodes over what tree-sitter reads. Knows no scopes and no meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tree_sitter
import tree_sitter_javascript

from compiler.facts import Place
from liquefy.errors import GraphError

LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())

FUNCTIONS = frozenset(
    {
        "function_declaration",
        "function_expression",
        "arrow_function",
        "method_definition",
        "generator_function",
        "generator_function_declaration",
    }
)
CLASSES = frozenset({"class_declaration", "class"})
WORDS = frozenset({"async", "static", "get", "set", "*", "const", "let", "var", "of", "in", "await", "default"})
"""Tokens without a name that matter."""


class Node:
    """One piece of syntax. `kids` are the named children in order; `parts` those of them (or operators, or the word
    `default`) that have a field's name. `binding` is what scopes.py finds for an identifier, `info` for a function or
    class."""

    __slots__ = ("binding", "column", "end", "file", "info", "kids", "last", "line", "parent", "parts", "start", "text",
                 "type", "words")  # fmt: skip

    def __init__(self, kind: str, file: str) -> None:
        self.type = kind
        self.file = file
        self.kids: list[Node] = []
        self.parts: dict[str, Node] = {}
        self.words: set[str] = set()
        self.text = ""
        self.line = self.last = self.column = self.start = self.end = 0
        self.parent: Node | None = None
        self.binding: Any = None
        self.info: Any = None

    def __getitem__(self, name: str) -> Node:
        return self.parts[name]

    def get(self, name: str) -> Node | None:
        return self.parts.get(name)

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def walk(self) -> Iterator[Node]:
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.kids))

    def __repr__(self) -> str:
        return f"<{self.type} {self.file}:{self.line}:{self.column}>"


def well_known(node: Node) -> str:
    """`Symbol.iterator` as the name of a field; "" for all else."""
    if node.type != "member_expression" or node["object"].text != "Symbol":
        return ""
    return "@@" + node["property"].text


def parse(file: str, text: str) -> Node:
    """Raises GraphError for what is not JavaScript."""
    data = text.encode()
    tree = tree_sitter.Parser(LANGUAGE).parse(data)
    if tree.root_node.has_error:
        raise _mistake(file, tree.root_node, text)
    return _Copy(file, data).copy(tree.walk())


class _Copy:
    def __init__(self, file: str, data: bytes) -> None:
        self.file, self.data, self.plain = file, data, data.isascii()
        self.lines = data.split(b"\n")

    def copy(self, cursor: tree_sitter.TreeCursor) -> Node:
        root = self._node(cursor.node)
        if cursor.goto_first_child():
            self._children(root, cursor)
        return root

    def _children(self, parent: Node, cursor: tree_sitter.TreeCursor) -> None:
        """The cursor is at the first child of `parent`, and at `parent` again afterwards."""
        while True:
            there = cursor.node
            assert there is not None
            name = cursor.field_name
            if there.is_named and there.type not in ("comment", "html_comment"):
                node = self._node(there)
                node.parent = parent
                parent.kids.append(node)
                if name and name not in parent.parts:
                    parent.parts[name] = node
                if cursor.goto_first_child():
                    self._children(node, cursor)
            elif there.type in WORDS:
                parent.words.add(there.type)
            if name == "operator":
                operator = self._node(there)
                operator.text = there.type
                parent.parts["operator"] = operator
            elif name and there.type == "default":  # `import { default as x }`, `export { x as default }`
                parent.parts[name] = self._node(there)
            if not cursor.goto_next_sibling():
                break
        cursor.goto_parent()

    def _node(self, there: Any) -> Node:
        node = Node(there.type, self.file)
        row, column = there.start_point
        node.line, node.last = row + 1, there.end_point[0] + 1
        node.column = column + 1 if self.plain else len(self.lines[row][:column].decode(errors="replace")) + 1
        node.start, node.end = there.start_byte, there.end_byte
        if there.child_count == 0 or there.type in ("string", "template_string", "number"):
            node.text = self.data[node.start : node.end].decode(errors="replace")
        return node


def _mistake(file: str, root: Any, text: str) -> GraphError:
    stack, found = [root], root
    while stack:
        node = stack.pop()
        if node.is_missing or node.type == "ERROR":
            found = node
            break
        stack.extend(reversed([child for child in node.children if child.has_error or child.is_missing]))
    line = found.start_point[0] + 1
    lines = text.split("\n")
    written = lines[line - 1] if line <= len(lines) else ""
    column = len(written.encode()[: found.start_point[1]].decode(errors="replace")) + 1
    return GraphError(
        file,
        line,
        f"this is not JavaScript, from column {column} on: {written.strip()[:60]}",
        "see that the program runs under Node.js as it is; JSX and TypeScript are not read",
    )


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


def string_value(node: Node) -> str:
    """Of a string literal."""
    out = []
    for kid in node.kids:
        if kid.type == "escape_sequence":
            out.append(_escape(kid.text))
        else:
            out.append(kid.text)
    return "".join(out)


def _escape(text: str) -> str:
    body = text[1:]
    if body[:1] in ("x", "u"):
        digits = body[1:].strip("{}")
        try:
            return chr(int(digits, 16))
        except ValueError:
            return body
    return ESCAPES.get(body, body)

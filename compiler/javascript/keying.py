"""Keys: which part of the request an expression is, and which text. Knows no statements."""

from __future__ import annotations

from compiler.javascript.linking import Linking
from compiler.javascript.scopes import PATTERNS, Binding
from compiler.javascript.syntax import Node, string_value
from compiler.javascript.values import (
    ANY,
    NOTHING,
    Key,
    Part,
    Plain,
    Value,
    Values,
    one,
)

TEXTS = ("params", "headers", "cookies")
"""What is text in a request."""


class Keying(Linking):
    """Expressions as keys and paths."""

    # Keys

    def key_of(self, node: Node | None, depth: int = 0) -> Key | None:
        """The part of the request, or of a parameter, that an expression is."""
        if node is None or depth > 8:
            return None
        while node.type == "parenthesized_expression" and len(node.kids) == 1:
            node = node.kids[0]
        recording, self.recording = self.recording, False
        try:
            return self._key_of(node, depth)
        finally:
            self.recording = recording

    def _key_of(self, node: Node, depth: int) -> Key | None:
        if node.type in ("identifier", "shorthand_property_identifier"):
            return self._key_of_name(node, depth)
        if node.type in ("member_expression", "subscript_expression"):
            found = self._request_part(self.evaluate(node), node)
            if found is not None or node.type == "subscript_expression":
                return found
            outer = self.key_of(node["object"], depth + 1)
            if outer is None or outer.convert or outer.root == "request":
                return None
            return Key(outer.root, (*outer.path, node["property"].text), "", "")
        if node.type == "template_string" and len(node.kids) == 1 and node.kids[0].type == "template_substitution":
            return self._converted(node.kids[0].kids[0], "text", depth)
        if node.type == "unary_expression" and node["operator"].text == "+":
            return self._converted(node["argument"], "number", depth)
        if node.type == "call_expression":
            callee, given = node["function"], node["arguments"].kids
            if callee.type == "identifier" and callee.binding is None and given:
                to = self._to(callee.text, given)
                if to:
                    return self._converted(given[0], to, depth)
            if callee.type == "member_expression":
                return self._request_part(self._header(node), node)
        return None

    def _to(self, called: str, given: list[Node]) -> str:
        """What a function of the language makes of a key; "" for others. `0x1f` is 31, with ten as base 0."""
        if called == "parseInt" and len(given) > 1:
            return "int" if given[1].type == "number" and given[1].text == "10" else ""
        return {"parseInt": "parseInt", "Number": "number", "String": "text"}.get(called, "")

    def _header(self, node: Node) -> Values:
        """`req.get("x-user")`."""
        callee, given = node["function"], node["arguments"].kids
        if callee["property"].text not in ("get", "header") or len(given) != 1 or given[0].type != "string":
            return NOTHING
        if self.evaluate(callee["object"]) == frozenset({Value(Part())}):
            return one(Part(("headers", string_value(given[0]).lower())))
        return NOTHING

    def _converted(self, node: Node, to: str, depth: int) -> Key | None:
        inner = self.key_of(node, depth + 1)
        if inner is None or inner.convert not in ("", to):
            return None
        if to == "text" and inner.root == "request" and inner.path[0] in TEXTS:
            return inner
        return Key(inner.root, inner.path, to, inner.text)

    def _key_of_name(self, node: Node, depth: int) -> Key | None:
        binding: Binding | None = node.binding
        if binding is None or binding.assigned or self.persistent(binding):
            return None
        found = self._request_part(frozenset(self.values.get(binding, set())), node)
        if found is not None:
            return found
        if binding.kind == "param":
            plain = binding.node.parent is not None and binding.node.parent.type not in PATTERNS | {"pair_pattern"}
            return Key(binding, (), "", node.text) if plain else None
        parent = binding.node.parent
        if binding.value is not None and parent is not None and parent.type == "variable_declarator":
            return self.key_of(binding.value, depth + 1)
        return None

    def _request_part(self, values: Values, node: Node) -> Key | None:
        if len(values) != 1:
            return None
        value = next(iter(values))
        if value.via is None and isinstance(value.target, Part) and value.target.path and ANY not in value.target.path:
            if value.target.path[0] in self.changed_kinds:
                return None
            return Key("request", value.target.path, "", ".".join(value.target.path))
        return None

    def text_of(self, node: Node | None) -> str | None:
        """A text that is written in the source, also in a constant or put together; None if it is computed."""
        if node is None:
            return None
        if node.type == "string":
            return string_value(node)
        if node.type == "template_string":
            parts = [
                kid.text if kid.type == "string_fragment" else self.text_of(kid.kids[0]) if kid.kids else None
                for kid in node.kids
            ]
            return None if None in parts else "".join(p for p in parts if p is not None)
        if node.type == "binary_expression" and node["operator"].text == "+":
            left, right = self.text_of(node["left"]), self.text_of(node["right"])
            return None if left is None or right is None else left + right
        if node.type == "parenthesized_expression" and node.kids:
            return self.text_of(node.kids[0])
        if node.type in ("identifier", "member_expression"):
            recording, self.recording = self.recording, False
            found = self.evaluate(node)
            self.recording = recording
            texts = {v.target.text if isinstance(v.target, Plain) else None for v in found}
            return next(iter(texts)) if len(texts) == 1 else None
        if node.type == "binary_expression" and node["operator"].text == "||":
            left, right = self.text_of(node["left"]), self.text_of(node["right"])
            return left or right if left is not None else None
        return None

"""What a program remembers, told to people: captured bytes as plain data. Makes no object of the program.

Knows how `state` writes; nothing of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liquefy.errors import BadFrame
from liquefy.liquid import kinds
from liquefy.values import unpack

DEPTH_MAX = 40
"""Values inside values that are shown; deeper ones are `...`."""


def readable(data: bytes) -> dict[str, Any] | None:
    """The variables by name; None if these bytes were not captured."""
    try:
        shape = unpack(data)
        if not isinstance(shape, dict) or set(shape) != {"v", "n"}:
            return None
        reader = _Reader(shape["n"])
        return {name: reader.child(child) for name, child in shape["v"].items()}
    except (BadFrame, LookupError, TypeError, AttributeError, ValueError):
        return None


class _Reader:
    def __init__(self, nodes: list[Any]) -> None:
        self._nodes = nodes
        self._open: list[int] = []

    def child(self, child: Any) -> Any:
        """A value that contains itself, or is too deep, is `...` there."""
        if type(child) is not list:
            return child
        if child[0] in self._open or len(self._open) > DEPTH_MAX:
            return "..."
        self._open.append(child[0])
        found = self.node(self._nodes[child[0]])
        self._open.pop()
        return found

    def node(self, node: list[Any]) -> Any:
        show = _SHOW.get(node[0])
        return show(self, node) if show is not None else "..."

    def each(self, children: list[Any]) -> list[Any]:
        return [self.child(child) for child in children]

    def named(self, node: list[Any]) -> dict[str, Any]:
        return {name: self.child(child) for name, child in node[2].items()}

    def pairs(self, node: list[Any]) -> dict[str, Any]:
        found = self.each(node[2])
        return {str(key): value for key, value in zip(found[::2], found[1::2], strict=True)}

    def attributes(self, children: dict[str, Any]) -> list[Any]:
        """None where there are none."""
        return [{name: self.child(child) for name, child in children.items()}] if children else []

    def object(self, node: list[Any]) -> dict[str, Any]:
        """Under the name of its class its attributes, and what it has as a list or dict."""
        inside: dict[str, Any] = {name: self.child(child) for name, child in node[3].items()}
        if len(node) > 4:
            inside["..."] = self.node(node[4])
        return {f"<{node[2].partition(':')[2]}>": inside} if node[2] else inside


_SHOW: dict[int, Callable[[_Reader, list[Any]], Any]] = {
    **dict.fromkeys((kinds.LIST, kinds.SET, kinds.TUPLE, kinds.FROZEN, kinds.DEQUE), lambda r, n: r.each(n[2])),
    **dict.fromkeys((kinds.ODICT, kinds.COUNTER, kinds.DEFAULT), lambda r, n: r.node(n[2])),
    **dict.fromkeys((kinds.REF, kinds.BASE), lambda r, n: f"<{n[2]}>"),
    kinds.DICT: _Reader.named,
    kinds.PAIRS: _Reader.pairs,
    kinds.OBJECT: _Reader.object,
    kinds.NAMED: lambda r, n: {f"<{n[2].partition(':')[2]}>": r.each(n[3])},
    kinds.BYTES: lambda r, n: n[2],
    kinds.COUNT: lambda r, n: f"count({n[2]}, {n[3]})",
    kinds.PATTERN: lambda r, n: n[2],
    kinds.PATH: lambda r, n: n[2],
    kinds.RANGE: lambda r, n: f"range({n[2]}, {n[3]}, {n[4]})",
    kinds.SLICE: lambda r, n: f"slice({', '.join(str(each) for each in r.each(n[2:5]))})",
    kinds.RANDOM: lambda r, n: "<random numbers>",
    kinds.FUNCTION: lambda r, n: f"<{n[2]}:{n[3].partition(':')[0]}>",
    kinds.ERROR: lambda r, n: {f"<{n[2].partition(':')[2]}>": [*r.each(n[3]), *r.attributes(n[4])]},
    kinds.FLAG: lambda r, n: {f"<{n[2].partition(':')[2]}>": n[3]},
    kinds.LOCK: lambda r, n: f"<{n[2]}>",
}

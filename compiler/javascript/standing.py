"""What stands inside a piece of code, of all that was noted at places of it: without going through that code again for
each function around it. Knows nothing of what was noted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from compiler.javascript.syntax import Node


class Standing:
    """Of these nodes; those that are noted later are not among them."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._files: dict[str, list[Node]] = {}
        for node in nodes:
            self._files.setdefault(node.file, []).append(node)
        for there in self._files.values():
            there.sort(key=lambda node: (node.start, -node.end))
        self._starts = {file: [node.start for node in there] for file, there in self._files.items()}

    def within(self, top: Node) -> Iterator[Node]:
        """`top` itself among them, in the order of the text."""
        starts = self._starts.get(top.file, [])
        there = self._files.get(top.file, [])
        for index in range(bisect_left(starts, top.start), len(there)):
            node = there[index]
            if node.start >= top.end and node is not top:
                break
            if node.end <= top.end and not _is_around(node, top):
                yield node


def _is_around(node: Node, top: Node) -> bool:
    """It begins and ends where `top` does, and has it inside."""
    if node is top or (node.start, node.end) != (top.start, top.end):
        return False
    at = top.parent
    while at is not None and (at.start, at.end) == (top.start, top.end):
        if at is node:
            return True
        at = at.parent
    return False

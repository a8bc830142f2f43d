"""What a compiled JavaScript program remembers, told to people: captured text as plain data.

Knows how `node/snapshot.mjs` writes; nothing of the program.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from liquefy.liquid.shown import DEPTH_MAX

_BEGIN = '{"roots":'
_ENTRY = "entry"
"""The one root of a keyed context's field."""


def is_snapshot(text: str) -> bool:
    return text.startswith(_BEGIN)


def readable(text: str) -> Any:
    """The variables by name, of a keyed context the entry; the text itself if it was not captured."""
    try:
        shape = json.loads(text)
        reader = _Reader(shape["nodes"])
        shown = {name: reader.value(value) for name, value in shape["roots"].items()}
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        return text
    return shown[_ENTRY] if list(shown) == [_ENTRY] else shown


class _Reader:
    def __init__(self, nodes: list[Any]) -> None:
        self._nodes = nodes
        self._depth = 0
        self._open: list[int] = []

    def value(self, value: Any) -> Any:
        """A value that contains itself, or is too deep, is `...` there."""
        if not isinstance(value, list | dict):
            return value
        if self._depth > DEPTH_MAX:
            return "..."
        self._depth += 1
        found = self.named(value) if isinstance(value, dict) else _SHOW[value[0]](self, value)
        self._depth -= 1
        return found

    def named(self, held: dict[str, Any]) -> dict[str, Any]:
        return {name: self.value(value) for name, value in held.items()}

    def each(self, values: list[Any]) -> list[Any]:
        return [self.value(value) for value in values]

    def node(self, number: int) -> Any:
        if number in self._open:
            return "..."
        self._open.append(number)
        _, value, *private = self._nodes[number]
        found = self.value(value)
        self._open.pop()
        return {**found, **self.named(private[0])} if private and isinstance(found, dict) else found

    def pairs(self, entries: list[list[Any]]) -> Any:
        if all(isinstance(key, str) for key, _ in entries):
            return {key: self.value(value) for key, value in entries}
        return [self.each(entry) for entry in entries]

    def extended(self, value: list[Any]) -> Any:
        _, core, prototype, properties, *_ = value
        held = {name: self.value(each) for name, each, *_ in properties}
        shown = self.value(core)
        if not isinstance(core, dict) and core != ["E"]:
            held = {"...": shown, **held}
        name = "Error" if core == ["E"] and not prototype else _class(prototype) if prototype else ""
        return {f"<{name}>": held} if name else held


def _class(prototype: str) -> str:
    return prototype.strip("%").removesuffix(".prototype")


def _date(ms: float | None) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms) if ms is not None else None
    return f"<Date {moment.isoformat(timespec='milliseconds') if moment is not None else 'Invalid'}>"


_SHOW: dict[str, Callable[[_Reader, list[Any]], Any]] = {
    "a": lambda r, v: r.each(v[1:]),
    "a*": lambda r, v: [],
    "M": lambda r, v: {"<Map>": r.pairs(v[1:])},
    "S": lambda r, v: {"<Set>": r.each(v[1:])},
    "D": lambda r, v: _date(v[1]),
    "R": lambda r, v: f"/{v[1]}/{v[2]}",
    "Y": lambda r, v: {f"<{v[1]}>": v[2]},
    "B": lambda r, v: {"<ArrayBuffer>": v[1]},
    "V": lambda r, v: {f"<{v[1]}>": r.value(v[2])},
    "w": lambda r, v: r.value(v[1]),
    "E": lambda r, v: {"<Error>": {}},
    "u": lambda r, v: "<undefined>",
    "n": lambda r, v: f"<{v[1]}>",
    "b": lambda r, v: f"{v[1]}n",
    "s": lambda r, v: f"Symbol({v[1]})",
    "@": lambda r, v: f"<{v[1]}>",
    "*": lambda r, v: r.node(v[1]),
    "i": lambda r, v: {f"<{_class(v[1])}>": r.named(v[2])},
    "x": _Reader.extended,
}

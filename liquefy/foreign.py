"""Values of JavaScript, as Python has them: what comes from a fluxion in the other language, or from its context.
Each goes back as what it was. What has a counterpart is a subclass of that, and can be used as such; what has
none is a `Foreign`, to be passed on.

Shapes only: `liquefy.values` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

FOREIGN_NAMES = {
    14: "Map",
    15: "Set",
    16: "Date",
    17: "RegExp",
    18: "Error",
    20: "typed array",
    21: "hole in an array",
}
"""By extension type: what a Foreign may be."""


class Undefined:
    """JavaScript's undefined; there is one, UNDEFINED. False, like None."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"

    def __reduce__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


class BigInt(int):
    """A BigInt that would fit into a number; one that would not is an int."""


class Date(datetime):
    """A Date: a time in UTC, in whole milliseconds. What is reckoned from it and is no longer that is stored as a
    datetime."""


class Map(dict[Any, Any]):
    """A Map, in its order."""


class BareDict(dict[Any, Any]):
    """An object without prototype, which JavaScript tells from other objects."""


class OrderedSet(frozenset[Any]):
    """A Set, which has an order. It cannot be changed; make a set of it."""

    order: tuple[Any, ...]

    def __new__(cls, elements: Iterable[Any] = ()) -> OrderedSet:
        order = tuple(dict.fromkeys(elements))
        made = super().__new__(cls, order)
        made.order = order
        return made

    def __iter__(self) -> Iterator[Any]:
        return iter(self.order)

    def __repr__(self) -> str:
        return f"OrderedSet({list(self.order)!r})"


class Foreign:
    """A value that Python has no counterpart for: a regular expression, an error, a Map with objects as keys. It
    cannot be changed. `code` and `data` are its extension type and packed form."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code, self.data = code, data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Foreign) and (self.code, self.data) == (other.code, other.data)

    def __hash__(self) -> int:
        return hash((self.code, self.data))

    def __repr__(self) -> str:
        return f"<{FOREIGN_NAMES.get(self.code, 'value')} of JavaScript>"

"""What an expression may be, as far as it matters: own objects by the place that makes them, functions, classes, parts
of the request, libraries, plain data. And how it was come by: out of which variable, under which key. Shapes only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compiler.javascript.scopes import Binding, Class, Function
from compiler.javascript.syntax import Node

BYTES = "bytes"
"""The label of an array, buffer or view of memory: several may show the same."""

ANY = "*"
"""The field that stands for all fields whose name is not known, and for elements."""


@dataclass(frozen=True)
class Key:
    """A key's expression. `root`: the request ("request"), or a parameter of a function. `path`: what is taken of
    it."""

    root: Binding | str
    path: tuple[str, ...] = ()
    convert: str = ""
    text: str = ""


THING = "thing"
"""The kind of what a package or the language made at start, of which only that is known: it may change."""

ITERATOR = ("@@iterator", "@@asyncIterator")
"""Fields of what the language calls to go through an object; `Symbol.x` is the field `@@x`."""

CALLS = "()"
"""The field of a function that a library made: the functions that it calls."""


@dataclass(eq=False)
class Obj:
    """All objects made at one place in the source. `kind`: object, array, map, set, instance, app, router, module,
    namespace, json, weak, promise, request; wrapper, remembers: a function that a library made."""

    node: Node
    kind: str
    function: Function
    """In which it is made."""
    fields: dict[str, set[Value]] = field(default_factory=dict)
    maker: Any = None
    """Of an instance: its Class or Function."""
    label: str = ""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.node.place}>"


@dataclass(frozen=True)
class Func:
    """An own function. `site`: the call that made it, for one that a function called at start has returned."""

    function: Function
    site: Node | None = None


@dataclass(frozen=True)
class Cls:
    cls: Class


@dataclass(frozen=True)
class Lib:
    """Something of a package or of Node.js. `sort`: as in libraries.py. `path`: how it was come by, `()` for a call's
    result."""

    package: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A part of the request: () is the request itself, ("params", "id"), ("body",)."""

    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plain:
    """Data of no identity that is known: texts, numbers, results. `literal`: a primitive value written in the
    source."""

    literal: bool = False
    text: str | None = None
    """Of a literal text."""


@dataclass(frozen=True)
class Once:
    """Data that differs from run to run. `why`: in words that complete "it is ..."."""

    why: str
    function: Function


@dataclass(frozen=True)
class Word:
    """`res`, `next`, a promise, and other single things."""

    what: str


@dataclass(frozen=True)
class Prim:
    """A method of a built-in thing, taken of `of`."""

    name: str
    of: frozenset[Value]
    base: str = ""


@dataclass(frozen=True)
class Bound:
    """`f.bind(this, ...first)`."""

    function: Value
    first: tuple[frozenset[Value], ...]


@dataclass(frozen=True)
class Via:
    """Out of which variable's or object's content a value came. `key`: the entry, if it is known."""

    base: Obj | Binding
    key: Key | None = None


Target = Obj | Func | Cls | Lib | Part | Plain | Once | Word | Prim | Bound


@dataclass(frozen=True)
class Value:
    target: Target
    via: Via | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.target, self.via)))

    def __hash__(self) -> int:
        known: int = self._hash  # type: ignore[attr-defined]
        return known


Values = frozenset[Value]
NOTHING: Values = frozenset()
DATA = frozenset({Value(Plain())})
LITERAL = frozenset({Value(Plain(literal=True))})
RESPONSE = Value(Word("response"))
NEXT = Value(Word("next"))
REQUEST = Value(Part())
PROMISE = Value(Word("promise"))
PROMISED = frozenset({PROMISE})


def one(target: Target) -> Values:
    return frozenset({Value(target)})

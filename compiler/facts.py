"""What a front end reads from source code, the same for both languages: which variables outlive a request, which
pieces of code touch them and how, where requests enter. `compiler.classify` decides from these facts alone.

A front end never guesses: what it cannot resolve it says as a Hazard, or as a Use of mode ESCAPE. Knows no syntax tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


@dataclass(frozen=True, order=True)
class Place:
    """`file` relative to the service's folder, `line` from 1, `column` from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


NOWHERE = Place("", 0)


class Initial(StrEnum):
    """What a variable that outlives a request is given when the program starts."""

    CODE = "code"
    """A function, class, module, or a literal that cannot change: the same on every node."""
    VALUE = "value"
    """Plain data that may change (list, dict, object, Map, number, ...), made from literals: the same on every node
    at first."""
    ONCE = "once"
    """Data whose making differs from run to run (random, time, a file, a computation that is not understood): must be
    made once per service, so it is state even if nobody writes it."""
    STATELESS = "stateless"
    """A handle of a library known to keep nothing that matters between requests (an app, a router, a database pool, a
    client)."""
    OPAQUE = "opaque"
    """Something whose state cannot be seen or stored: a library's object, a socket, a file, a timer, an emitter."""


@dataclass(frozen=True)
class Variable:
    """A name that outlives a request: of a module, of a class, or of a function that ran at start and whose inner
    functions live on. `id` is unique in the service and is what contexts call it: `app.todos` (module path with dots,
    then the name), for closures `app.makeStore.items`. `constant`: never assigned again (its value may still be
    changed in place)."""

    id: str
    name: str
    place: Place
    initial: Initial
    constant: bool = False
    detail: str = ""
    """For ONCE and OPAQUE: why, in words that complete "it is ...", such as `a session store in memory
    (express-session)`."""
    remedy: str = ""
    """For OPAQUE: what to change to free it, or ""."""


class Mode(StrEnum):
    """How a piece of code touches a variable."""

    READ = "read"
    WRITE = "write"
    WALK = "walk"
    """Looks at all of it: iterates, measures, copies, sends it whole."""
    ESCAPE = "escape"
    """Hands it to code that is not seen, or stores it elsewhere: may be read, written, kept."""


@dataclass(frozen=True)
class KeyOf:
    """By what a collection is indexed: `parameter` is a parameter of the unit, or "request" in a handler; `path` what
    is taken of it, such as ("params", "id"). For ("request", ("params", "id")) the kinds are params, query, headers,
    body, cookies. `convert`: what is made of it, "" for nothing: "int"; in JavaScript also "parseInt" (of any base that
    the text says), "number" and "text". `text`: the expression as written."""

    parameter: str
    path: tuple[str, ...]
    convert: str = ""
    text: str = ""


@dataclass(frozen=True)
class Use:
    """One touch. `key` if only the entry under that key is touched (mode READ or WRITE)."""

    variable: str
    mode: Mode
    place: Place
    key: KeyOf | None = None


@dataclass(frozen=True)
class Call:
    """`unit` calls `callee` (a unit's id). `arguments`: for each parameter of the callee whose argument is an
    expression of the caller's parameters, that expression."""

    callee: str
    arguments: tuple[tuple[str, KeyOf], ...] = ()
    place: Place = NOWHERE


class Harm(StrEnum):
    """What keeps a piece of code from being run anywhere, or from being taken apart."""

    DYNAMIC = "dynamic"
    """eval, with, exec, dynamic require/import, monkey patching: anything may be touched."""
    HELD = "held"
    """A request's socket, response or continuation is kept beyond its handler, for others to use."""
    TIMER = "timer"
    """Works on after the answer: timers, background tasks, threads."""
    LOCAL = "local"
    """Keeps something on the machine: writes files, an embedded database, child processes."""
    OPAQUE = "opaque"
    """Uses an OPAQUE variable, or a library that keeps state of its own."""
    STREAM = "stream"
    """Answers in pieces, as they are made: harm only to state, which is stored with an answer that is complete."""


STREAMS = "answers in pieces, as they are made, and state is stored with the whole answer"
"""What a hazard of Harm.STREAM says."""


@dataclass(frozen=True)
class Hazard:
    """`what` in words that complete "line N ...": `writes the file comments.json`. `remedy`: what to change there, or
    ""."""

    harm: Harm
    what: str
    place: Place
    remedy: str = ""


@dataclass(frozen=True)
class Unit:
    """A piece of code: a function, a method, a handler. `id` is unique: `app.getTodos`, for an anonymous handler
    `app.get_todos_id` (from method and path)."""

    id: str
    name: str
    place: Place
    last_line: int
    uses: tuple[Use, ...] = ()
    calls: tuple[Call, ...] = ()
    hazards: tuple[Hazard, ...] = ()
    waits: bool = False
    """Has await, callbacks of asynchronous calls, promises."""


@dataclass(frozen=True)
class Start:
    """Where requests enter. `path` in the notation of graph.yaml (`/users/{id}`), "" if it cannot be said so; `unit`
    is the handler. `route`: how the runtime finds the handler again, in the words of the front end and runtime of the
    language; "" if it cannot: then these requests are served by the fluxion `app`. `arguments`: what the framework
    passes for the handler's parameters, in words of the request (a parameter "request" needs none)."""

    method: str
    path: str
    unit: str
    place: Place
    route: str = ""
    arguments: tuple[tuple[str, KeyOf], ...] = ()


@dataclass(frozen=True)
class Facts:
    """A whole service. `everywhere`: units that every request runs through (middleware, hooks, error handlers)."""

    language: str
    framework: str
    entry: str
    variables: tuple[Variable, ...] = ()
    units: tuple[Unit, ...] = ()
    starts: tuple[Start, ...] = ()
    everywhere: tuple[str, ...] = ()
    hazards: tuple[Hazard, ...] = ()
    """Of the service as a whole, such as what its modules do while they load."""
    env: tuple[str, ...] = ()
    """Names of the environment variables that the code reads."""
    files: dict[str, str] = field(default_factory=dict)
    """Sources read: path -> text."""

    @cached_property
    def by_id(self) -> dict[str, Unit]:
        return {unit.id: unit for unit in self.units}

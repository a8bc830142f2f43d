"""A service split into fluxions: what a compiler's front end makes, what a `.flx` text says, what is emitted as a
bundle. The one form of both languages. Shapes only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from compiler.facts import NOWHERE, Place


class Keeping(StrEnum):
    """How a group keeps its memory."""

    NONE = "none"
    """It has none: its fluxions run anywhere, side by side."""
    KEYED = "keyed"
    """One context per key."""
    WHOLE = "whole"
    """One context."""
    PINNED = "pinned"
    """The live process is the memory: one node, not moved; what it held is lost with the process."""


class Sort(StrEnum):
    """What a variable is, in the poster's words."""

    SCOPE = "scope"
    STREAM = "stream"
    SHARE = "share"


class Role(StrEnum):
    """How a fluxion's code is run."""

    WHOLE = "whole"
    """Any request that has no fluxion of its own: the whole application under its framework."""
    HANDLER = "handler"
    """One handler, whole, under its framework: takes a request, gives its answer."""
    START = "start"
    """The first part of a handler: takes a request under the framework, sends messages on."""
    STEP = "step"
    """A function of its message: no framework."""
    END = "end"
    """The last part: takes a message, answers the request under the framework."""


@dataclass(frozen=True)
class Sorted:
    """A variable, as classified. `where`: the group whose context holds it, or the stream (`store >> localProcess`)
    it travels on."""

    name: str
    sort: Sort
    where: str
    place: Place
    why: str


@dataclass(frozen=True)
class Stream:
    """`to`, and the variables that travel. `starts`: written `>>` (a new message, as from input); else `->` (the rest
    of the work)."""

    to: str
    variables: tuple[str, ...] = ()
    starts: bool = False


@dataclass(frozen=True)
class Entry:
    """A request that enters at this fluxion: `GET`, `/users/{id}`."""

    method: str
    path: str
    route: str = ""


@dataclass(frozen=True)
class Fluxion:
    """`body` is its code as people read and edit it: for STEP a function's statements, for HANDLER, START and END the
    handler's part, "" for WHOLE (its code is the files). `reads`: variables of the message that the body uses. `key`
    in words of the request (`params.id`), "" if it has none or inherits it."""

    name: str
    role: Role
    group: str
    body: str = ""
    reads: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    """Ids of the variables of its group's context that it touches."""
    key: str = ""
    key_convert: str = ""
    entries: tuple[Entry, ...] = ()
    streams: tuple[Stream, ...] = ()
    waits: bool = False
    unit: str = ""
    place: Place = NOWHERE
    last_line: int = 0


@dataclass(frozen=True)
class Group:
    """The fluxions that share a context. `why`: for WHOLE and PINNED, the reason, for people."""

    name: str
    keeping: Keeping
    variables: tuple[str, ...] = ()
    """Ids, of all that its context holds."""
    why: str = ""


@dataclass(frozen=True)
class Kept:
    """Something that was kept together, or not spread: why, and the line to change that would free it."""

    what: str
    why: str
    place: Place
    remedy: str = ""
    also: tuple[Place, ...] = ()
    """Where the same is done again, or something else that stands in the way."""


@dataclass(frozen=True)
class Program:
    """`files` are the sources as they are loaded (path -> text); where a fluxion's body is cut out of a file the text
    has the hole `⟪name⟫` in its place, so that each line of code is in one place only. `assets`: other files of the
    service's folder that go into the bundle, paths relative to `folder`."""

    name: str
    language: str
    framework: str
    entry: str
    fluxions: tuple[Fluxion, ...]
    groups: tuple[Group, ...]
    variables: tuple[Sorted, ...] = ()
    kept: tuple[Kept, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    folder: str = ""
    env: tuple[str, ...] = ()
    """Names of the environment variables that the code reads: hosts are given them."""
    app: str = ""
    """`module:attribute` of the application, where it was told (`--app`)."""

    def streams(self) -> list[str]:
        """In the poster's notation, in the order of the fluxions: `input >> store`, `store >> localProcess`. The
        application as a whole is told where there is nothing else."""
        found = [f"input >> {f.name}" for f in self.fluxions if f.entries]
        if not found:
            whole = [f.name for f in self.fluxions if f.role is Role.WHOLE]
            found = [line for name in whole for line in (f"input >> {name}", f"{name} >> output")]
        found += [f"{f.name} >> {s.to}" for f in self.fluxions for s in f.streams]
        return list(dict.fromkeys(found))

"""What a `.flx` need not say, because it follows from the rest: how a group keeps its memory, which variables of its
message a body reads. Reading fills it in, printing leaves it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from compiler.program import Fluxion, Group, Keeping, Program, Role, Stream

REQUEST = ("method", "path", "params", "query", "headers", "body")
"""The variables of the message that an entry brings to a step."""

MODULES = {"python": "service.py", "javascript": "service.mjs"}
"""The file that the functions of a program of steps go to, if it names none."""


def entry(program: Program) -> str:
    return program.entry or MODULES.get(program.language, "")


def unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def groups(fluxions: Sequence[Fluxion], said: Sequence[Group]) -> tuple[Group, ...]:
    """Those said, then those of the other fluxions: keyed if a fluxion of it has a key, whole if one has a
    context."""
    known = {group.name for group in said}
    members: dict[str, list[Fluxion]] = {}
    for fluxion in fluxions:
        if fluxion.group not in known:
            members.setdefault(fluxion.group, []).append(fluxion)
    return (*said, *(_group(name, those) for name, those in members.items()))


def _group(name: str, members: Sequence[Fluxion]) -> Group:
    variables = unique(variable for fluxion in members for variable in fluxion.context)
    if any(fluxion.key for fluxion in members):
        return Group(name, Keeping.KEYED, variables)
    return Group(name, Keeping.WHOLE if variables else Keeping.NONE, variables)


def groups_to_say(fluxions: Sequence[Fluxion], all_groups: Sequence[Group]) -> Sequence[Group]:
    """As few of the first ones as will do; those with a memory among them, as readers look for them."""
    last = max((i for i, group in enumerate(all_groups) if group.keeping is not Keeping.NONE), default=-1)
    for count in range(last + 1, len(all_groups)):
        if groups(fluxions, all_groups[:count]) == tuple(all_groups):
            return all_groups[:count]
    return all_groups


def incoming(fluxions: Sequence[Fluxion]) -> dict[str, list[tuple[Fluxion, Stream]]]:
    """By fluxion: who sends to it, along which streams."""
    found: dict[str, list[tuple[Fluxion, Stream]]] = {}
    for fluxion in fluxions:
        for stream in fluxion.streams:
            found.setdefault(stream.to, []).append((fluxion, stream))
    return found


def reads(fluxion: Fluxion, arriving: Iterable[tuple[Fluxion, Stream]]) -> tuple[str, ...]:
    """The variables that come to it and are named in its body, or sent on."""
    names = unique(variable for _, stream in arriving for variable in stream.variables)
    if fluxion.entries and fluxion.role is Role.STEP:
        names = unique((*names, *REQUEST))
    sent = {variable for stream in fluxion.streams for variable in stream.variables}
    return tuple(name for name in names if name in sent or mentions(fluxion.body, name))


def mentions(body: str, name: str) -> bool:
    """Whether the name is there as a word of its own, and not as the attribute of something."""
    if name not in body:
        return False
    return re.search(rf"(?:(?<![\w$.])|(?<=\.\.\.)){re.escape(name)}(?![\w$])", body) is not None

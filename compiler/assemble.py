"""Facts, groups and cut handlers to a Program: fluxions with their bodies, files with holes, the other files of the
folder. The same for both languages.

Knows no syntax: where a body begins and ends it is told.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from compiler.classify import Classified, Part
from compiler.facts import Facts, Place, Unit
from compiler.holes import cut_out, put_holes
from compiler.program import Entry, Fluxion, Group, Keeping, Kept, Program, Role, Sorted, Stream
from liquefy import bundle
from liquefy.errors import UserError
from liquefy.graph import OUTPUT

ASSETS_MAX = 20_000
"""Files of a service's folder that go along; as many as a bundle takes."""

TEXTS_MAX = 64
"""Sources of which it is remembered where their lines begin."""


@dataclass(frozen=True)
class Body:
    """Where a unit's statements stand: text[start:end] of `file`, as offsets of characters."""

    file: str
    start: int
    end: int


@dataclass(frozen=True)
class Chain:
    """A handler taken apart: its fluxions, the first with the role START and the handler's entries to come, the last
    END; the variables that travel; `bodies`: where code of them stands that is cut out of its file. `instead`: the
    handler's statements, in whose place the holes of the first and the last part are, if their bodies were put together
    from elsewhere."""

    fluxions: tuple[Fluxion, ...]
    variables: tuple[Sorted, ...] = ()
    bodies: dict[str, Body] = field(default_factory=dict)
    instead: Body | None = None


def assemble(
    facts: Facts,
    classified: Classified,
    *,
    folder: Path,
    bodies: dict[str, Body],
    chains: dict[str, Chain] | None = None,
    kept: tuple[Kept, ...] = (),
) -> Program:
    """`bodies`: of units, by id. `chains`: handlers that were cut, by the unit's id."""
    chains = chains or {}
    by_id = {unit.id: unit for unit in facts.units}
    fluxions: list[Fluxion] = []
    where: dict[str, Body] = {}
    for part in classified.parts:
        if part.unit in chains:
            chain = chains[part.unit]
            fluxions += [_placed(fluxion, part) for fluxion in chain.fluxions]
            where |= chain.bodies
        else:
            fluxions.append(_handler(part, by_id[part.unit]))
            if part.unit in bodies:
                where[part.name] = bodies[part.unit]
    app = classified.app
    fluxions.append(Fluxion(app.name, Role.WHOLE, app.group, context=app.context, waits=app.waits))
    instead = {c.instead: [f.name for f in c.fluxions if f.role is not Role.STEP] for c in chains.values() if c.instead}
    files, cut = _cut(facts.files, where, instead)
    fluxions = [dataclasses.replace(f, body=cut[f.name]) if f.name in cut else f for f in fluxions]
    travelling = tuple(v for chain in chains.values() for v in chain.variables)
    return Program(
        name=service_name(folder, facts.entry),
        language=facts.language,
        framework=facts.framework,
        entry=facts.entry,
        fluxions=tuple(fluxions),
        groups=classified.groups + tuple(_own_groups(fluxions, classified.groups)),
        variables=classified.variables + travelling,
        kept=tuple(dict.fromkeys(classified.kept + kept)),
        files=files,
        assets=tuple(assets(folder, set(facts.files))),
        folder=str(folder),
        env=facts.env,
    )


def service_name(folder: Path, entry: str) -> str:
    """A graph's name: the entry's, or the folder's if the entry is called as they all are."""
    stem = Path(entry).stem
    common = {"app", "main", "index", "server", "run", "wsgi", "asgi", "manage", "__init__", "__main__", "api"}
    text = folder.resolve().name if stem in common else stem
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")
    return name if name and name[0].isalpha() else f"service-{name}".rstrip("-")


def assets(folder: Path, sources: set[str]) -> Iterator[str]:
    """The other files of the folder, relative, in order. Raises UserError if there are too many."""
    count = 0
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not bundle.is_ignored(Path(base, name)))
        for name in sorted(names):
            path = (Path(base) / name).relative_to(folder).as_posix()
            if path in sources or name.endswith(bundle.IGNORED_SUFFIXES) or not (Path(base) / name).is_file():
                continue
            count += 1
            if count > ASSETS_MAX:
                raise UserError(
                    f"{folder}: more than {ASSETS_MAX:,} files, which all go along with the service\n"
                    "  remedy: move out of the folder what the code does not need"
                )
            yield path


def _handler(part: Part, unit: Unit) -> Fluxion:
    return Fluxion(
        part.name,
        Role.HANDLER,
        part.group,
        context=part.context,
        key=part.key,
        key_convert=part.key_convert,
        entries=tuple(Entry(start.method, start.path, start.route) for start in part.starts),
        streams=(Stream(OUTPUT),),
        waits=part.waits,
        unit=unit.id,
        place=unit.place,
        last_line=unit.last_line,
    )


def _own_groups(fluxions: list[Fluxion], groups: tuple[Group, ...]) -> Iterator[Group]:
    """Parts without context are groups of their own."""
    known = {group.name for group in groups}
    return (Group(name, Keeping.NONE) for name in dict.fromkeys(f.group for f in fluxions) if name not in known)


def _placed(fluxion: Fluxion, part: Part) -> Fluxion:
    if fluxion.role is not Role.START:
        return fluxion
    return dataclasses.replace(fluxion, entries=tuple(Entry(s.method, s.path, s.route) for s in part.starts))


def _cut(
    files: dict[str, str], where: dict[str, Body], instead: dict[Body, list[str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """The files with holes, and the bodies by fluxion. A body inside another stays there; the last of a file is cut
    first, so that the places of the others still hold."""
    named = [*((body, [name]) for name, body in where.items()), *instead.items()]
    outer: list[tuple[Body, list[str]]] = []
    for body, names in sorted(named, key=lambda item: (item[0].file, item[0].start, -item[0].end)):
        if not outer or outer[-1][0].file != body.file or body.start >= outer[-1][0].end:
            outer.append((body, names))
    holed, cut = dict(files), {}
    for body, names in reversed(outer):
        text = holed[body.file]
        if body in instead:
            holed[body.file] = put_holes(text, body.start, body.end, names)
            continue
        found = cut_out(text, body.start, body.end, names[0])
        if found is not None:
            holed[body.file], cut[names[0]] = found
    return holed, cut


def offset(text: str, place: Place) -> int:
    """Of a place's line and column in the text of its file."""
    return _beginnings(text)[place.line - 1] + place.column - 1


@functools.lru_cache(maxsize=TEXTS_MAX)
def _beginnings(text: str) -> list[int]:
    """Where each line begins."""
    found = [0]
    position = text.find("\n")
    while position >= 0:
        found.append(position + 1)
        position = text.find("\n", position + 1)
    return found

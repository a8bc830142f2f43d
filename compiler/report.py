"""What a compiled service is, told to people and to programs: streams, fluxions with their memory and lines, variables,
what was kept together and why. Decides nothing; the words are those of `docs/COMPILER.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from compiler.facts import NOWHERE, Place
from compiler.program import Fluxion, Group, Keeping, Program, Role
from liquefy.wording import counted

MEMORY = {
    Keeping.NONE: "no context: runs anywhere",
    Keeping.KEYED: "one context for each",
    Keeping.WHOLE: "one context",
    Keeping.PINNED: "pinned to one node",
}

ALSO_MAX = 8
"""Further lines that a reason is told with."""

OTHERS = "all other requests"


def as_json(program: Program) -> dict[str, Any]:
    """The shape of `liquefy-ctl compile --json`."""
    groups = {group.name: group for group in program.groups}
    return {
        "service": program.name,
        "language": program.language,
        "framework": program.framework,
        "entry": program.entry,
        "streams": program.streams(),
        "fluxions": [_fluxion_json(fluxion, groups[fluxion.group]) for fluxion in program.fluxions],
        "groups": [
            {
                "name": group.name,
                "keeping": group.keeping.value,
                "variables": list(group.variables),
                "why": group.why,
                "fluxions": [fluxion.name for fluxion in program.fluxions if fluxion.group == group.name],
            }
            for group in program.groups
        ],
        "variables": [
            {"name": v.name, "sort": v.sort.value, "where": v.where, "why": v.why, **_place_json(v.place)}
            for v in program.variables
        ],
        "kept": [
            {
                "what": k.what,
                "why": k.why,
                "remedy": k.remedy,
                **_place_json(k.place),
                "also": [_place_json(place) for place in k.also],
            }
            for k in program.kept
        ],
        "env": list(program.env),
    }  # fmt: skip


def _fluxion_json(fluxion: Fluxion, group: Group) -> dict[str, Any]:
    return {
        "name": fluxion.name,
        "role": fluxion.role.value,
        "group": fluxion.group,
        "keeping": group.keeping.value,
        "context": list(fluxion.context),
        "key": fluxion.key,
        "message": list(fluxion.reads),
        "entries": [f"{entry.method} {entry.path}" for entry in fluxion.entries],
        "streams": [{"to": s.to, "variables": list(s.variables), "starts": s.starts} for s in fluxion.streams],
        "waits": fluxion.waits,
        **_place_json(fluxion.place),
        "last_line": fluxion.last_line,
    }


def _place_json(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line}


def lines(program: Program) -> Iterator[str]:
    """For people, the streams first."""
    yield from program.streams()
    yield ""
    yield _title(program)
    if program.assets:
        yield f"with it {counted(len(program.assets), 'other file')} of its folder"
    groups = {group.name: group for group in program.groups}
    width = max((len(fluxion.name) for fluxion in program.fluxions), default=0)
    for fluxion in program.fluxions:
        yield ""
        for i, line in enumerate(_fluxion_lines(fluxion, groups[fluxion.group])):
            yield f"  {'' if i else fluxion.name:<{width}}  {line}"
    told = {kept.why for kept in program.kept}
    reasons = [group for group in program.groups if group.why and group.why not in told]
    if reasons:
        yield from ("", "memory that is kept in one place")
        for group in reasons:
            lost = "; it is lost when that process ends" if group.keeping is Keeping.PINNED and group.variables else ""
            yield f"  {group.name}: {group.keeping.value}, because {group.why}{lost}"
    if program.variables:
        yield from ("", "variables")
        rows = [(v.sort.value, v.name, v.where, _where(v.place), v.why) for v in program.variables]
        yield from _table(rows)
    if program.kept:
        yield from ("", "kept together")
        for kept in program.kept:
            place = _where(kept.place)
            yield f"  {kept.what}: {kept.why}" + (f" ({place})" if place else "")
            if kept.also:
                shown, more = ", ".join(map(_where, kept.also[:ALSO_MAX])), len(kept.also) - ALSO_MAX
                yield f"    also: {shown}" + (f" and {more} more" if more > 0 else "")
            if kept.remedy:
                yield f"    to free it: {kept.remedy}"


def _title(program: Program) -> str:
    under = f" under {program.framework}" if program.framework else ""
    source = f", from {program.entry}" if program.entry else ""
    count = len({fluxion.group for fluxion in program.fluxions})
    return (
        f"{program.name}: {program.language}{under}{source}: "
        f"{counted(len(program.fluxions), 'fluxion')} in {counted(count, 'group')}"
    )


def _fluxion_lines(fluxion: Fluxion, group: Group) -> Iterator[str]:
    entries = ", ".join(f"{entry.method} {entry.path}" for entry in fluxion.entries)
    if fluxion.role is Role.WHOLE and not entries:
        entries = OTHERS
    yield "  ".join(part for part in (entries, _where(fluxion.place, fluxion.last_line)) if part) or fluxion.role.value
    yield memory(fluxion, group)
    if fluxion.reads:
        yield f"takes [{', '.join(fluxion.reads)}]"
    for stream in fluxion.streams:
        if stream.variables:
            yield f"sends [{', '.join(stream.variables)}] to {stream.to}"


def memory(fluxion: Fluxion, group: Group) -> str:
    """How it is kept: `group users, one context for each params.id: {app.users}`."""
    if group.keeping is Keeping.NONE:
        return MEMORY[group.keeping]
    key = ""
    if group.keeping is Keeping.KEYED:
        key = f" {fluxion.key}" if fluxion.key else " key of the message that leads to it"
    names = f": {{{', '.join(fluxion.context)}}}" if fluxion.context else ""
    return f"group {group.name}, {MEMORY[group.keeping]}{key}{names}"


def _where(place: Place, last: int = 0) -> str:
    if place == NOWHERE:
        return ""
    return f"{place}-{last}" if last > place.line else str(place)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True) if width]
        yield f"  {'  '.join(cells)}".rstrip()


def as_graph(program: Program) -> dict[str, Any]:
    """The shape that the drawing of a deployed graph has, without versions and nodes."""
    inputs: list[dict[str, str]] = []
    streams: list[str] = []
    for fluxion in program.fluxions:
        entries = [(entry.method, entry.path) for entry in fluxion.entries]
        if fluxion.role is Role.WHOLE and not entries:
            entries = [("*", f"({OTHERS})")]
        for method, path in entries:
            name = f"input{len(inputs) + 1}" if inputs else "input"
            inputs.append({"name": name, "method": method, "path": path, "to": fluxion.name})
            streams.append(f"{name} >> {fluxion.name}")
    streams += [f"{f.name} >> {s.to}" for f in program.fluxions for s in f.streams]
    return {
        "name": program.name,
        "version": None,
        "inputs": inputs,
        "fluxions": [
            {"name": f.name, "group": f.group, "key": f.key, "streams": [s.to for s in f.streams]}
            for f in program.fluxions
        ],
        "groups": [
            {
                "name": group.name,
                "stateful": group.keeping is not Keeping.NONE,
                "pinned": group.why if group.keeping is Keeping.PINNED else "",
                "nodes": {},
            }
            for group in program.groups
        ],
        "streams": list(dict.fromkeys(streams)),
    }

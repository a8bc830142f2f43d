"""The front end for Python: a service's source to a Program. Knows nothing of how it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from compiler import remedies
from compiler.assemble import Body, Chain, assemble, offset
from compiler.classify import RESERVED, Classified, classify
from compiler.facts import Place
from compiler.program import Keeping, Kept, Program
from compiler.python.cut import CUT_UNDER, Cutter, cut
from compiler.python.gather import Gathered, gather_facts
from compiler.python.model import Function

_BODY = frozenset(("json", "form", "body", "text", "post", "read", "get_json", "get_data"))
"""What a request's body is read by: it is there."""


def compile(folder: Path, entry: str, app: str | None = None) -> Program:
    """The service whose program is `entry`, a file relative to `folder`. `app`: `module:attribute` of the application,
    where it cannot be seen from the entry."""
    gathered = gather_facts(folder, entry, app)
    facts = gathered.facts
    classified = classify(facts)
    cutters, kept = _cutters(gathered, classified)
    kept += tuple(_waiting(gathered, classified, set(cutters), {each.what: each.place.line for each in kept}))
    # What a handler that is cut touches belongs to the part that touches it.
    if cutters:
        named = [replace(u, name=cutters[u.id].name) if u.id in cutters else u for u in facts.units]
        facts = replace(facts, units=tuple(named))
        classified = classify(facts)
    taken = RESERVED | {part.name for part in classified.parts}
    chains: dict[str, Chain] = {}
    for part in classified.parts:
        if part.unit in cutters:
            instead = body_of(gathered.functions[part.unit])
            chains[part.unit] = cutters[part.unit].chain(part, taken, instead)
    bodies = _bodies(gathered)
    program = assemble(facts, classified, folder=folder, bodies=bodies, chains=chains, kept=kept)
    return replace(program, app=app or "")


def _cutters(gathered: Gathered, classified: Classified) -> tuple[dict[str, Cutter], tuple[Kept, ...]]:
    """The handlers that are cut, by unit, and why others are not. What every request runs through is run twice for a
    handler that is cut: it must be free to."""
    by_id = {unit.id: unit for unit in gathered.facts.units}
    if gathered.facts.framework not in CUT_UNDER:
        return {}, ()
    if any(by_id[unit].uses or by_id[unit].hazards for unit in gathered.facts.everywhere if unit in by_id):
        return {}, ()
    keeping = {group.name: group.keeping for group in classified.groups}
    state = {id_ for group in classified.groups for id_ in group.variables}
    cutters: dict[str, Cutter] = {}
    kept: list[Kept] = []
    for part in classified.parts:
        plain = part.unit in gathered.plain and gathered.facts.framework != "starlette"
        if keeping[part.group] is Keeping.PINNED or plain:
            continue
        stored = gathered.stored.get(part.unit, frozenset())
        found = cut(gathered.machine, gathered.functions[part.unit], part, by_id[part.unit], state, stored)
        if isinstance(found, Kept):
            kept.append(found)
        elif found is not None:
            cutters[part.unit] = found
    return cutters, tuple(kept)


def _waiting(gathered: Gathered, classified: Classified, cut: set[str], told: dict[str, int]) -> Iterator[Kept]:
    """Handlers that have a context while they wait. `cut`: units of those that are taken apart, and do not; `told`: the
    line of the reason why another is not."""
    keeping = {group.name: group.keeping for group in classified.groups}
    for part in classified.parts:
        if part.unit in cut or not part.context or part.unit not in gathered.functions:
            continue
        info = gathered.functions[part.unit]
        lines = [n.lineno for n in ast.walk(info.node) if isinstance(n, ast.stmt | ast.expr) and _waits(n)]
        if lines and keeping[part.group] in (Keeping.KEYED, Keeping.WHOLE):
            place = Place(info.module.file, min(lines))
            yield Kept(part.name, f"line {place.line} {remedies.WAITS}", place, remedies.of_wait(told.get(part.name)))


def _waits(node: ast.AST) -> bool:
    if isinstance(node, ast.Await) and isinstance(node.value, ast.Call):
        called = node.value.func
        return not (isinstance(called, ast.Attribute) and called.attr in _BODY)
    return isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)


def _bodies(gathered: Gathered) -> dict[str, Body]:
    return {unit: body for unit, info in gathered.functions.items() if (body := body_of(info)) is not None}


def body_of(info: Function) -> Body | None:
    """Where the statements of a function stand."""
    if isinstance(info.node, ast.Lambda):
        return None
    first, last = info.node.body[0], info.node.body[-1]
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    start = _offset(info, first.lineno, first.col_offset)
    return Body(info.module.file, start, _offset(info, last.end_lineno, last.end_col_offset))


def _offset(info: Function, line: int, column: int) -> int:
    """ast counts columns in bytes."""
    text = info.module.text
    start = offset(text, Place(info.module.file, line))
    end = text.find("\n", start)
    whole = text[start : end if end >= 0 else len(text)]
    return start + len(whole.encode()[:column].decode())

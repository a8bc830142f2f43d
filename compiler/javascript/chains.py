"""Handlers that were cut, as chains of fluxions with their texts; which handlers are tried. Knows no syntax tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from compiler import remedies
from compiler.assemble import Body, Chain
from compiler.classify import RESERVED, Classified, Part, classify, unused
from compiler.facts import Facts, Place, Unit
from compiler.javascript.cut import Cutter
from compiler.javascript.flow import Flow
from compiler.javascript.pieces import HEADER, REQUEST, Clash, Line, Piece, Uncut
from compiler.javascript.scopes import Binding, Function
from compiler.program import Fluxion, Keeping, Kept, Role, Sort, Sorted, Stream

ASKED = f"""for (const name of {list(HEADER)})
  Object.defineProperty({REQUEST}, name, {{ value: (header) => {REQUEST}.headers[header.toLowerCase()] }});"""
"""Gives the data of a request the methods that read its headers; they do not travel."""

END = "send"
"""The last part, if what answers has a name that another fluxion has."""


RENAMED_MAX = 32
"""Names of one handler that its parts call otherwise."""


@dataclass(frozen=True)
class Cut:
    """What is cut: the facts with the first parts' names, their groups, chains by unit, why others are whole."""

    facts: Facts
    classified: Classified
    chains: dict[str, Chain]
    kept: tuple[Kept, ...]


def cut_all(
    flow: Flow,
    facts: Facts,
    functions: dict[str, Function],
    bodies: dict[str, Body],
    waits: Callable[[Function], Place | None],
) -> Cut:
    """`waits`: where a function waits first."""
    classified = classify(facts)
    by_id = {unit.id: unit for unit in facts.units}
    cutters: dict[str, Cutter] = {}
    kept: list[Kept] = []
    # What every request runs through runs twice for a handler that is cut.
    if not any(by_id[unit].uses or by_id[unit].hazards for unit in facts.everywhere if unit in by_id):
        units = {function: unit for unit, function in functions.items()}
        for part in _tried(classified):
            if part.unit not in functions:
                continue
            if not Cutter(flow, functions[part.unit]).looks_like_one(holds=bool(part.context)):
                continue
            try:
                cutter = _run(flow, functions[part.unit])
                cutter.check(facts, units, {id_ for group in classified.groups for id_ in group.variables})
                cutter.travelling()
                cutters[part.unit] = cutter
            except Uncut as reason:
                kept.append(Kept(part.name, reason.why, reason.where, reason.remedy))
    if cutters:
        named = [replace(u, name=cutters[u.id].pieces[0].name or u.name) if u.id in cutters else u for u in facts.units]
        facts = replace(facts, units=tuple(named))
        classified = classify(facts)
    taken = RESERVED | {part.name for part in classified.parts}
    chains = {
        part.unit: _chain(cutters[part.unit], part, taken, bodies.get(part.unit))
        for part in classified.parts
        if part.unit in cutters
    }
    whole = [part for part in classified.parts if part.unit not in chains]
    kept += _waiting(whole, classified, by_id, functions, waits, {reason.what: reason.place.line for reason in kept})
    return Cut(facts, classified, chains, tuple(kept))


def _run(flow: Flow, handler: Function) -> Cutter:
    """Taken apart; what would mean two things in the parts is called by another name there. Raises Uncut."""
    called: dict[Binding, str] = {}
    while True:
        cutter = Cutter(flow, handler, called)
        try:
            cutter.run()
            return cutter
        except Clash as clash:
            name = clash.binding.name
            if clash.binding in called or len(called) >= RENAMED_MAX:
                why = f"line {clash.where.line}: {name} has two meanings in what is one handler"
                raise Uncut(why, clash.where, "rename one of them") from None
            module = flow.service.sources[handler.file].root
            taken = {node.text for node in module.walk() if node.text} if module is not None else set()
            called[clash.binding] = unused(name, {*called.values(), *taken})


def _waiting(
    parts: list[Part],
    classified: Classified,
    units: dict[str, Unit],
    functions: dict[str, Function],
    waits: Callable[[Function], Place | None],
    told: dict[str, int],
) -> Iterator[Kept]:
    """Handlers that have a context while they wait. `told`: the line of another reason why one is not cut."""
    keeping = {group.name: group.keeping for group in classified.groups}
    for part in parts:
        if keeping[part.group] not in (Keeping.KEYED, Keeping.WHOLE) or not part.context:
            continue
        several = [call.callee for call in units[part.unit].calls] if part.unit not in functions else [part.unit]
        places = [place for unit in several if unit in functions for place in [waits(functions[unit])] if place]
        for place in places[:1]:
            why = f"line {place.line} {remedies.WAITS}"
            yield Kept(part.name, why, place, remedies.of_wait(told.get(part.name)))


def _tried(classified: Classified) -> list[Part]:
    keeping = {group.name: group.keeping for group in classified.groups}
    return [p for p in classified.parts if keeping[p.group] is not Keeping.PINNED and p.group != classified.app.group]


def _chain(cutter: Cutter, part: Part, taken: set[str], instead: Body | None) -> Chain:
    needs, sent = cutter.needs(), cutter.travelling()
    order = [part.name]
    for piece in cutter.pieces[1:]:
        tries = [piece.name] + [f"{piece.name}_{number}" for number in range(2, len(taken) + 3)]
        order.append(next(name for name in tries if name not in taken))
        taken.add(order[-1])
    fluxions: list[Fluxion] = []
    variables: list[Sorted] = []
    for index, piece in enumerate(cutter.pieces):
        last = index == len(cutter.pieces) - 1
        streams = (Stream("output"),) if last else (Stream(order[index + 1], tuple(sent[index])),)
        body = _body(cutter, piece, needs[index], order[index + 1 : index + 2], [] if last else sent[index])
        fluxions.append(_fluxion(order[index], piece, part, body, streams))
        if not last:
            where = f"{order[index]} >> {order[index + 1]}"
            for name in sent[index]:
                readers = ", ".join(order[i] for i in range(index + 1, len(order)) if name in needs[i])
                place = piece.function.node.place if piece.function is not None else fluxions[0].place
                why = f"{order[index]} has it, {readers or order[-1]} reads it"
                variables.append(Sorted(name, Sort.STREAM, where, place, why))
    return Chain(tuple(fluxions), tuple(variables), instead=instead)


def _fluxion(name: str, piece: Piece, part: Part, body: str, streams: tuple[Stream, ...]) -> Fluxion:
    first = piece.role is Role.START
    function = piece.function
    assert function is not None
    return Fluxion(
        name,
        piece.role,
        part.group if first else name,
        body=body,
        context=part.context if first else (),
        key=part.key if first else "",
        key_convert=part.key_convert if first else "",
        streams=streams,
        waits=piece.waits,
        unit=part.unit if first else "",
        place=function.node.place,
        last_line=function.node.last,
    )


def _body(cutter: Cutter, piece: Piece, needs: list[str], following: list[str], sent: list[str]) -> str:
    known = set(needs) if piece.role is not Role.START else set()
    lines = []
    if piece.role is Role.STEP and cutter.asked & set(piece.called):
        lines.append(ASKED)
    for at, line in enumerate(piece.lines):
        later = {name for each in piece.lines[at + 1 :] for name in each.gives}
        lines.append(_text(line, known, later, following, sent))
        known |= set(line.gives)
    if piece.role is Role.START and REQUEST in sent:
        fields = ", ".join(f"{name}: {cutter.request}.{name}" for name in cutter.fields)
        lines.append(f"const {REQUEST} = {{ {fields} }};")
    return "\n".join(lines)


def _text(line: Line, known: set[str], later: set[str], following: list[str], sent: list[str]) -> str:
    """`known`: names that the part has already: they are assigned, not declared again. `later`: those that it gives
    once more."""
    if line.sends is not None:
        fields = ", ".join(f"{n}: {line.sends[n]}" if line.sends.get(n, n) != n else n for n in sent)
        return f'{line.text}emit("{following[0]}", {{ {fields} }}){line.after}'
    if set(line.gives) & known and line.text.startswith("const "):
        if line.text.startswith("const ["):
            rest = set(line.gives) - known
            declared = f"let {', '.join(sorted(rest))};\n" if rest else ""
            return declared + line.text.removeprefix("const ")
        return line.text.removeprefix("const ")
    if set(line.gives) & later and line.text.startswith("const "):
        return "let " + line.text.removeprefix("const ")
    return line.text

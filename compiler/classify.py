"""Facts to groups: which starts share a memory, how it is kept, by which key, and why it is not kept better. Pure; the
same for both languages.

All starts that touch a variable which may change are one group. A group is **pinned** if something in it cannot be
stored or moved, **keyed** if every use of every variable is of the entry under the same part of the request, **none**
if it has no state, else **whole**. What is not shown is not assumed. Knows neither source text nor how fluxions run.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from compiler import remedies
from compiler.facts import NOWHERE, Facts, Harm, Hazard, Initial, KeyOf, Mode, Place, Start, Unit, Variable
from compiler.program import Group, Keeping, Kept, Sort, Sorted
from compiler.reach import KINDS, Reach, Roads, Touch, of_start

APP = "app"
"""The fluxion of all requests that have none of their own."""

RESERVED = {APP, "input", "output"}

_TEXTS = ("", "text")
"""Conversions whose results are found under the same key as what is not converted."""

REASONS_MAX = 6
"""Against a key, that are told of one group: one for each of its variables."""

_KEY_PART = re.compile(r"[A-Za-z0-9_-]+")
_CHANGES = (Mode.WRITE, Mode.ESCAPE)
_VERBS = {Mode.READ: "reads", Mode.WRITE: "writes", Mode.WALK: "goes through all of", Mode.ESCAPE: "hands on"}


@dataclass(frozen=True)
class Part:
    """One handler and the starts that lead to it: a fluxion to be. `context`: ids of the variables that it touches.
    `key` in words of the request."""

    name: str
    unit: str
    starts: tuple[Start, ...]
    group: str
    context: tuple[str, ...] = ()
    key: str = ""
    key_convert: str = ""
    waits: bool = False


@dataclass(frozen=True)
class Classified:
    """`app`: the fluxion for all other requests; its group is `app.group`. It is always there, `parts` may be none."""

    groups: tuple[Group, ...]
    parts: tuple[Part, ...]
    app: Part
    variables: tuple[Sorted, ...]
    kept: tuple[Kept, ...]


@dataclass
class _Member:
    """A part while groups are being found: index in the union."""

    name: str
    unit: str
    starts: tuple[Start, ...]
    reach: Reach


def classify(facts: Facts) -> Classified:
    roads = Roads(facts)
    members = _members(facts, roads)
    common = roads.reach([(unit, ()) for unit in facts.everywhere])
    state = _state(facts, [m.reach for m in members] + [common])
    united, kept = _unite(facts, members, common, state)
    return _conclude(facts, members, common, state, united, kept)


def fluxion_names(units: Iterable[Unit]) -> dict[str, str]:
    """Unit id -> a name that no other has and that a graph takes."""
    taken = set(RESERVED)
    names: dict[str, str] = {}
    for unit in units:
        short = _plain(unit.name or unit.id.rsplit(".", 1)[-1])
        longer = _plain("_".join(unit.id.split(".")[-2:]))
        names[unit.id] = longer if short in taken and longer not in taken else unused(short, taken)
        taken.add(names[unit.id])
    return names


def unused(name: str, taken: Container[str]) -> str:
    """`name`, with a number if it is taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _plain(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[:60]
    return name if name and not name[0].isdigit() else f"f_{name}"


def _members(facts: Facts, roads: Roads) -> list[_Member]:
    """The parts, in the order of the source, and last of all `app`."""
    handlers: dict[str, list[Start]] = {}
    for start in facts.starts:
        if start.route:
            handlers.setdefault(start.unit, []).append(start)
    names = fluxion_names(facts.by_id[unit] for unit in handlers)
    members = [
        _Member(names[unit], unit, tuple(starts), roads.reach([of_start(start) for start in starts]))
        for unit, starts in handlers.items()
    ]
    others = tuple(start for start in facts.starts if not start.route)
    return [*members, _Member(APP, "", others, roads.reach([of_start(start) for start in others]))]


def _state(facts: Facts, reaches: list[Reach]) -> dict[str, Variable]:
    """Variables that are state: some start changes them, or they were made once, or they cannot be seen."""
    changed = {touch.use.variable for r in reaches for touch in r.touches if touch.use.mode in _CHANGES}
    touched = {touch.use.variable for r in reaches for touch in r.touches}
    found: dict[str, Variable] = {}
    for variable in facts.variables:
        if variable.id not in touched or variable.initial is Initial.STATELESS:
            continue
        if variable.initial in (Initial.ONCE, Initial.OPAQUE) or variable.id in changed:
            found[variable.id] = variable
    return found


class _Union:
    def __init__(self, size: int) -> None:
        self._of = list(range(size))

    def find(self, index: int) -> int:
        while self._of[index] != index:
            index = self._of[index]
        return index

    def join(self, indices: Iterable[int]) -> None:
        roots = sorted({self.find(index) for index in indices})
        for root in roots[1:]:
            self._of[root] = roots[0]


def _unite(
    facts: Facts, members: list[_Member], common: Reach, state: dict[str, Variable]
) -> tuple[_Union, list[Kept]]:
    """Which members belong together."""
    union = _Union(len(members))
    every = range(len(members))
    kept: list[Kept] = []
    touching: dict[str, set[int]] = {}
    for index, member in enumerate(members):
        for touch in member.reach.touches:
            touching.setdefault(touch.use.variable, set()).add(index)
    for variable in state:
        union.join(touching.get(variable, ()))
    for harm in (Harm.LOCAL, Harm.OPAQUE):  # what one leaves on the machine or in a library another may find there
        found = [i for i in every if any(h.harm is harm for h in members[i].reach.hazards)]
        if harm is Harm.LOCAL and found:
            found.append(len(members) - 1)  # static files are served from there, too
        union.join(found)
    everything = "all requests"
    for hazard, more, also in _told_once(list(facts.hazards)):
        why = f"line {hazard.place.line} {hazard.what}{more}"
        kept.append(Kept(everything, why, hazard.place, remedies.of_hazard(hazard), also))
    for hazard, more, also in _told_once([h for h in common.hazards if h.harm is not Harm.STREAM]):
        why = f"line {hazard.place.line} {hazard.what}{more}, and every request runs through it"
        kept.append(Kept(everything, why, hazard.place, remedies.of_hazard(hazard), also))
    for touch in _first_touches(common, state):
        why = f"line {touch.use.place.line} {_verb(touch, state)}, and every request runs through it"
        kept.append(Kept(everything, why, touch.use.place, remedies.EVERY_REQUEST))
    dynamic = [h for m in members for h in m.reach.hazards if h.harm is Harm.DYNAMIC]
    for hazard, more, also in _told_once(list(dict.fromkeys(dynamic))):
        why = f"line {hazard.place.line} {hazard.what}{more}: it may touch anything"
        kept.append(Kept(everything, why, hazard.place, remedies.of_hazard(hazard), also))
    if kept:
        union.join(every)
    return union, kept


def _first_touches(reached: Reach, state: dict[str, Variable]) -> list[Touch]:
    """One touch per variable of state, the worst first."""
    worst = (Mode.ESCAPE, Mode.WALK, Mode.WRITE, Mode.READ)
    found: dict[str, Touch] = {}
    for touch in sorted(reached.touches, key=lambda t: (worst.index(t.use.mode), *_in_order(t))):
        if touch.use.variable in state:
            found.setdefault(touch.use.variable, touch)
    return list(found.values())


def _in_order(touch: Touch) -> tuple[Place, str]:
    return touch.use.place, touch.use.variable


def _verb(touch: Touch, state: dict[str, Variable]) -> str:
    return f"{_VERBS[touch.use.mode]} {state[touch.use.variable].name}"


def _conclude(
    facts: Facts, members: list[_Member], common: Reach, state: dict[str, Variable], union: _Union, kept: list[Kept]
) -> Classified:
    clusters: dict[int, list[_Member]] = {}
    for index, member in enumerate(members):
        clusters.setdefault(union.find(index), []).append(member)
    taken = {member.name for member in members}
    groups: list[Group] = []
    parts: dict[str, Part] = {}
    for cluster in clusters.values():
        name = _group_name(cluster, state, taken)
        whole = len(cluster) == len(members)
        reaches = [m.reach for m in cluster] + ([common] if whole else [])
        hazards = list(dict.fromkeys(h for r in reaches for h in r.hazards)) + (list(facts.hazards) if whole else [])
        held = _ids(reaches, state)
        keeping, keys, why = _keeping(name, cluster, reaches, hazards, held, state, kept)
        groups.append(Group(name, keeping, held, why))
        for member in cluster:
            context = _ids([member.reach, *([common] if whole else [])], state)
            path, convert = keys.get(member.name, ("", ""))
            waits = member.reach.waits or common.waits
            parts[member.name] = Part(member.name, member.unit, member.starts, name, context, path, convert, waits)
    ordered = [parts[member.name] for member in members]
    variables = _sorted(state, groups, ordered)
    return Classified(tuple(groups), tuple(ordered[:-1]), ordered[-1], variables, tuple(dict.fromkeys(kept)))


def _ids(reaches: list[Reach], state: dict[str, Variable]) -> tuple[str, ...]:
    touched = {touch.use.variable for r in reaches for touch in r.touches}
    return tuple(variable for variable in state if variable in touched)


def _group_name(cluster: list[_Member], state: dict[str, Variable], taken: set[str]) -> str:
    """Of one fluxion its name, of several that of what they share: it stays the same when a handler is added."""
    names = [member.name for member in cluster]
    if APP in names or len(names) == 1:
        return APP if APP in names else names[0]
    touched = [set(_ids([m.reach], state)) for m in cluster]
    shared = [v for v in state if sum(v in ids for ids in touched) > 1]
    wanted = _plain(state[shared[0]].name) if shared else names[0]
    name = unused(wanted, taken - set(names))
    taken.add(name)
    return name


def _keeping(
    name: str,
    cluster: list[_Member],
    reaches: list[Reach],
    hazards: list[Hazard],
    held: tuple[str, ...],
    state: dict[str, Variable],
    kept: list[Kept],
) -> tuple[Keeping, dict[str, tuple[str, str]], str]:
    """How the group is kept, the key of each member, and why not better."""
    what = ", ".join(member.name for member in cluster)
    reasons = _reasons(what, [h for h in hazards if h.harm is not Harm.STREAM])
    for variable in (state[v] for v in held if state[v].initial is Initial.OPAQUE):
        detail = variable.detail or "something whose state is not seen"
        why = f"line {variable.place.line} makes {variable.name}: it is {detail}"
        reasons.append(Kept(what, why, variable.place, remedies.of_variable(variable)))
    if held:
        reasons += _reasons(what, [h for h in hazards if h.harm is Harm.STREAM])
    if reasons:
        told = {k.place for k in kept}
        kept += [reason for reason in reasons if reason.place not in told]
        return Keeping.PINNED, {}, _with_file(reasons[0])
    if not held:
        return Keeping.NONE, {}, ""
    if len(reaches) > len(cluster) and any(touch.use.variable in state for touch in reaches[-1].touches):
        return Keeping.WHOLE, {}, "every request runs through code that touches its state"
    keys, against = _keys(what, cluster, held, state)
    if not against:
        return Keeping.KEYED, keys, ""
    kept += against
    return Keeping.WHOLE, {}, against[0].why


def _reasons(what: str, hazards: list[Hazard]) -> list[Kept]:
    return [
        Kept(what, f"line {h.place.line} {h.what}{more}", h.place, remedies.of_hazard(h), also)
        for h, more, also in _told_once(hazards)
    ]


def _told_once(hazards: list[Hazard]) -> list[tuple[Hazard, str, tuple[Place, ...]]]:
    """Each kind of hazard at its first place, how often it comes again, and where; in the order of the source."""
    places: dict[tuple[Harm, str], list[Hazard]] = {}
    for hazard in hazards:
        places.setdefault((hazard.harm, hazard.what), []).append(hazard)
    return [
        (found[0], f" (and {len(found) - 1} more)" if len(found) > 1 else "", tuple(h.place for h in found[1:]))
        for found in sorted(
            (sorted(same, key=lambda h: h.place) for same in places.values()),
            key=lambda same: (same[0].place, same[0].what),
        )
    ]


def _with_file(reason: Kept) -> str:
    return f"{reason.place.file}: {reason.why}" if reason.place.file else reason.why


def _keys(
    what: str, cluster: list[_Member], held: tuple[str, ...], state: dict[str, Variable]
) -> tuple[dict[str, tuple[str, str]], list[Kept]]:
    """The key of each member, or what is against it."""
    for member in cluster:
        if member.name == APP:
            why = "requests whose handler cannot be told apart touch it"
            place = member.starts[0].place if member.starts else NOWHERE
            return {}, [Kept(what, why, place, remedies.NOT_TOLD_APART)]
    for variable in (state[v] for v in held):
        if variable.initial is Initial.ONCE:
            why = f"{variable.name} is {variable.detail or 'made once, when the service starts'}"
            return {}, [Kept(what, why, variable.place, remedies.of_variable(variable))]
    keys: dict[str, KeyOf] = {}
    found: dict[str, Kept] = {}
    for member in cluster:
        for touch in sorted(member.reach.touches, key=_in_order):
            if touch.use.variable not in state:
                continue
            against = _against(touch, keys.get(member.name), next(iter(keys.values()), None), state)
            if against is None:
                assert touch.key is not None
                keys.setdefault(member.name, touch.key)
            else:
                _tell(found, touch.use.variable, Kept(what, against[0], touch.use.place, against[1]))
    if found:
        return {}, list(found.values())[:REASONS_MAX]
    return {name: (".".join(key.path), key.convert) for name, key in keys.items()}, []


def _tell(found: dict[str, Kept], variable: str, reason: Kept) -> None:
    """The first for each variable, and on which other lines something is against it."""
    first = found.setdefault(variable, reason)
    if reason.place.line not in [place.line for place in (first.place, *first.also)]:
        found[variable] = replace(first, also=tuple(sorted((*first.also, reason.place))))


def _against(
    touch: Touch, own: KeyOf | None, any_key: KeyOf | None, state: dict[str, Variable]
) -> tuple[str, str] | None:
    """Why this use keeps the group from having a key, and the change that would free it."""
    use, key = touch.use, touch.key
    name = state[use.variable].name
    line = f"line {use.place.line}"
    if use.mode in (Mode.WALK, Mode.ESCAPE):
        return f"{line} {_VERBS[use.mode]} {name}", remedies.against_key(use.mode, use.place.line)
    if use.key is None:
        why = f"{line} {_VERBS[use.mode]} {name} without a key of the request"
        return why, remedies.against_key(use.mode, use.place.line)
    if key is None or not _usable(key):
        written = use.key.text or use.key.parameter
        why = f"line {use.place.line} finds an entry of {name} by {written}, which is not a part of the request"
        return why, remedies.NO_PART
    if own is not None and own.path == key.path and own.convert != key.convert:
        return f"{line} finds an entry of {name} by a key of another type", remedies.OTHER_TYPE
    if own is not None and own.path != key.path:
        why = f"{line} finds an entry of {name} by another part of the request: {'.'.join(key.path)}"
        return why, remedies.OTHER_PART
    if any_key is not None and (any_key.convert in _TEXTS) != (key.convert in _TEXTS):
        return f"{line} finds an entry of {name} by a key of another type", remedies.OTHER_TYPE
    return None


def _usable(key: KeyOf) -> bool:
    if len(key.path) < 2 or key.path[0] not in KINDS or (key.path[0] != "body" and len(key.path) > 2):
        return False
    return all(_KEY_PART.fullmatch(part) for part in key.path)


def _sorted(state: dict[str, Variable], groups: list[Group], parts: list[Part]) -> tuple[Sorted, ...]:
    """Each variable of state as the poster sorts them."""
    found = []
    for group in groups:
        for id_ in group.variables:
            users = [part.name for part in parts if id_ in part.context]
            sort = Sort.SHARE if len(users) > 1 else Sort.SCOPE
            shown = ", ".join(users[:8]) + (f" and {len(users) - 8} more" if len(users) > 8 else "")
            why = f"{shown} share it" if len(users) > 1 else f"{shown} alone touches it"
            found.append(Sorted(id_, sort, group.name, state[id_].place, why))
    return tuple(found)

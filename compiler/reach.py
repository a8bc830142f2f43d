"""What a start touches: its handler's uses, calls and hazards, followed through all the service's own functions, with
each key told in words of the request.

Knows neither groups nor languages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.facts import Call, Facts, Harm, Hazard, KeyOf, Start, Unit, Use

BINDINGS_MAX = 64
"""So many ways of calling one function, by what its arguments are, are told apart; beyond, keys are not followed."""

REQUEST = "request"
KINDS = ("params", "query", "headers", "body", "cookies")

Binding = tuple[tuple[str, KeyOf], ...]


@dataclass(frozen=True)
class Touch:
    """A use that a start reaches, in `unit`. `key`: in words of the request, None if the use has no key or it cannot
    be said so."""

    use: Use
    unit: str
    key: KeyOf | None


@dataclass(frozen=True)
class Reach:
    """All that happens from one start, or from what every request runs through."""

    units: tuple[str, ...]
    touches: tuple[Touch, ...]
    hazards: tuple[Hazard, ...]
    waits: bool


class Roads:
    """Of one service: what many starts lead to is told once."""

    def __init__(self, facts: Facts) -> None:
        self._units = facts.by_id
        self._told: dict[tuple[str, Binding], tuple[Touch, ...]] = {}

    def reach(self, roots: list[tuple[str, Binding]]) -> Reach:
        """From the units `roots`, each with what its parameters are in words of the request."""
        ways: dict[str, set[Binding]] = {}
        touches: list[Touch] = []
        hazards: dict[Hazard, None] = {}
        todo = list(reversed(roots))
        while todo:
            name, binding = todo.pop()
            seen = ways.setdefault(name, set())
            if len(seen) >= BINDINGS_MAX:
                binding = ()
            if binding in seen:
                continue
            unit = self._units.get(name)
            if unit is None:
                raise KeyError(f"facts name the unit {name}, which is not among them")
            touches += self._new(unit, binding, seen)
            seen.add(binding)
            hazards |= dict.fromkeys(unit.hazards)
            bound = dict(binding)
            for call in unit.calls:
                if call.callee in self._units:
                    todo.append((call.callee, _bind(call, bound)))
                else:
                    hazards[unseen(unit, call)] = None
        waits = any(self._units[name].waits for name in ways)
        return Reach(tuple(ways), tuple(touches), tuple(hazards), waits)

    def _new(self, unit: Unit, binding: Binding, before: set[Binding]) -> Iterable[Touch]:
        """What the unit touches so, and did not in the ways that were seen before."""
        found = self._touches(unit, binding)
        if not before:
            return found
        known = {touch for each in before for touch in self._touches(unit, each)}
        return [touch for touch in found if touch not in known]

    def _touches(self, unit: Unit, binding: Binding) -> tuple[Touch, ...]:
        found = self._told.get((unit.id, binding))
        if found is None:
            bound = dict(binding)
            touches = (Touch(use, unit.id, in_request(use.key, bound) if use.key else None) for use in unit.uses)
            found = self._told[unit.id, binding] = tuple(dict.fromkeys(touches))
        return found


def reach(facts: Facts, roots: list[tuple[str, Binding]]) -> Reach:
    return Roads(facts).reach(roots)


def unseen(unit: Unit, call: Call) -> Hazard:
    """A call of code that the front end did not read."""
    place = call.place if call.place.file else unit.place
    return Hazard(Harm.OPAQUE, f"calls {call.callee}, whose code is not seen", place)


def of_start(start: Start) -> tuple[str, Binding]:
    return start.unit, tuple(sorted(start.arguments, key=lambda pair: pair[0]))


def in_request(key: KeyOf, bound: dict[str, KeyOf]) -> KeyOf | None:
    """`key` told of the request instead of a parameter, or None."""
    if key.parameter == REQUEST:
        return key
    outer = bound.get(key.parameter)
    if outer is None or (outer.convert and key.path):
        return None
    if outer.convert and key.convert and outer.convert != key.convert:
        return None
    return KeyOf(REQUEST, outer.path + key.path, outer.convert or key.convert, key.text)


def _bind(call: Call, bound: dict[str, KeyOf]) -> Binding:
    found = ((parameter, in_request(key, bound)) for parameter, key in call.arguments)
    return tuple(sorted(((p, key) for p, key in found if key is not None), key=lambda pair: pair[0]))

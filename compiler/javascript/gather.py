"""What the flow noted, as Facts: units with uses, calls and hazards, starts, variables. Decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from compiler import remedies
from compiler.facts import STREAMS, Call, Facts, Harm, Hazard, KeyOf, Mode, Place, Start, Unit, Use, Variable
from compiler.javascript.asking import Asking
from compiler.javascript.flow import Flow
from compiler.javascript.heap import Called, Danger, Stored, Touched
from compiler.javascript.late import Late
from compiler.javascript.owners import Owners, Root, plain_code
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.starts import Handled, Starts
from compiler.javascript.streamed import Streamed
from compiler.javascript.unanswered import Unanswered
from compiler.javascript.values import THING, Bound, Cls, Func, Key, Lib, Obj, Part, Value, Word
from compiler.javascript.waiting import Waiting

NAME_MAX = 48
"""Letters of a fluxion's name that is made of a path."""


@dataclass
class Found:
    """`units` made so far, by the function; `chains`: of starts with several handlers."""

    ids: dict[Func, str] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)


class Gather:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.owners = Owners(flow)
        self.found = Found()
        self._todo: list[Func] = []
        self._links = self._shared()
        self._changed = self._changed_roots()
        self._late = Late(flow, self._may_be_state)
        self._asking = Asking(flow)
        self._common = False
        """Whether what every request runs through touches state."""
        self._waiting = Waiting(flow, self.owners, self._changed)
        self._unanswered = Unanswered(flow, self._late.responds)
        self._handlers = self._handling()
        self._streamed = Streamed(flow, self._late.responds, self._handlers)
        self._at_requests = self._called_from(self._handlers)
        events = [e for record in flow.records.values() for e in record.events]
        self._writes_files = any(isinstance(e, Danger) and e.harm is Harm.LOCAL and not e.if_writes for e in events)

    def facts(self) -> Facts:
        starts_of = Starts(self.flow)
        entrances = starts_of.find(self._going_on())
        starts = [self._start(handled) for handled in entrances.starts]
        everywhere = [self._unit_id(func) for func in entrances.everywhere]
        everywhere += [self._unit_id(Func(f)) for f in self.flow.callbacks if self._touches_state(f, set())]
        self._common = any(self._touches_state(func.function, set()) for func in entrances.everywhere)
        self._finish()
        hazards = [*entrances.hazards, *self._at_start()]
        service = self.flow.service
        return Facts(
            "javascript",
            self.flow.framework,
            service.entry,
            tuple(self._variables()),
            tuple(self.found.units.values()),
            tuple(starts),
            tuple(dict.fromkeys(everywhere)),
            tuple(dict.fromkeys(hazards)),
            tuple(sorted(self.flow.env)),
            {source.file: source.text for source in service.sources.values() if source.root is not None},
        )

    # Units

    def _start(self, handled: Handled) -> Start:
        last = handled.functions[-1]
        if len(handled.functions) == 1 and last.site is None and not handled.hazards:
            if last not in self.found.ids and not last.function.name:
                self.found.ids[last] = self._free(f"{self.owners.module(last.function.file)}.{name_of(handled)}")
            unit = self._unit_id(last)
        else:
            unit = self._chain(handled)
        return Start(handled.method, handled.path, unit, handled.place, handled.route)

    def _chain(self, handled: Handled) -> str:
        """A unit that stands for several handlers of one route, one after the other."""
        calls = tuple(Call(self._unit_id(func), (), handled.place) for func in handled.functions)
        last = handled.functions[-1].function
        name = last.name or name_of(handled)
        id_ = f"{self.owners.module(handled.place.file)}.{name}"
        between = self._waiting.between(func.function for func in handled.functions)
        hazards = (*handled.hazards, *(self._seen_between(root, place) for root, place in between.items()))
        for unit in self.found.units.values():
            if unit.place == handled.place and unit.calls == calls and unit.hazards == hazards:
                return unit.id
        id_ = self._free(id_)
        self.found.units[id_] = Unit(id_, name, handled.place, last.node.last, (), calls, hazards)
        return id_

    def _free(self, id_: str) -> str:
        unique, number = id_, 2
        while unique in self.found.units or unique in self.found.ids.values():
            unique, number = f"{id_}_{number}", number + 1
        return unique

    def _unit_id(self, func: Func) -> str:
        there = self.found.ids.get(func)
        if there is None:
            function = func.function
            path = self.owners.path(function)
            there = self._free(".".join([self.owners.module(function.file), *path]))
            self.found.ids[func] = there
        if there not in self.found.units and func not in self._todo:
            self._todo.append(func)
        return there

    def _finish(self) -> None:
        done: set[Func] = set()
        while self._todo:
            func = self._todo.pop()
            if func not in done:
                done.add(func)
                unit = self._unit(func)
                self.found.units[unit.id] = unit
                self.found.functions[unit.id] = func.function

    def _unit(self, func: Func) -> Unit:
        function = func.function
        uses: dict[Use, None] = {}
        calls: dict[Call, None] = {}
        hazards: dict[Hazard, None] = {}
        waits = False
        for inner in self._with_inner(function):
            record = self.flow.records.get(inner)
            if record is None:
                continue
            waits = waits or record.waits or inner.asynchronous
            if inner in self._handlers and self._late.silent(inner) and self._touches_state(inner, set()):
                # Where its context is, others would wait for an answer that does not come; as it is, none do.
                hazards[Hazard(Harm.HELD, "never answers", inner.node.place, "answer each request")] = None
            if inner in self._handlers and self._touches_state(inner, set()):
                for place in self._unanswered.places(inner):
                    hazards[Hazard(Harm.HELD, "may end without an answer", place, "answer there, too")] = None
            for place in self._late.places(inner, handles=inner in self._handlers):
                hazards[Hazard(Harm.TIMER, "goes on after the answer", place, "answer when all is done")] = None
            hazards |= dict.fromkeys(self._held_while_waiting(inner))
            for place in self._streamed.places(inner):
                hazards[Hazard(Harm.STREAM, STREAMS, place)] = None
            for event in record.events:
                if isinstance(event, Touched):
                    uses |= dict.fromkeys(self._uses(event, function))
                elif isinstance(event, Called):
                    calls |= dict.fromkeys(self._calls(event, func))
                elif isinstance(event, Stored):
                    for found in self._stored(event):
                        if isinstance(found, Use):
                            uses[found] = None
                        else:
                            hazards[found] = None
                elif event.at_request and self._counts(event):
                    hazards[Hazard(event.harm, event.what, event.place, event.remedy)] = None
        name = function.name or self.found.ids[func].rsplit(".", 1)[-1]
        node = function.node
        return Unit(self.found.ids[func], name, node.place, node.last, tuple(uses), tuple(calls), tuple(hazards), waits)

    def _with_inner(self, function: Function) -> Iterable[Function]:
        """A function and all that are written in it. What a function around it does at start is not its own."""
        todo = [function]
        while todo:
            at = todo.pop(0)
            yield at
            todo += at.inner

    # Uses

    def _uses(self, event: Touched, unit: Function) -> list[Use]:
        key = self._key(event.key, unit)
        if isinstance(event.base, Binding):
            root = self.owners.of_binding.get(event.base)
            return [Use(root.id, event.mode, event.place)] if root is not None else []
        keyed = key is not None and self.owners.keyed(event.base)
        return [
            Use(root.id, event.mode, event.place, key if keyed else None) for root in self.owners.owners(event.base)
        ]

    def _key(self, key: Key | None, unit: Function) -> KeyOf | None:
        if key is None:
            return None
        if isinstance(key.root, str):
            changed = bool(key.path) and key.path[0] in self.flow.changed_kinds
            return None if changed else KeyOf(key.root, key.path, key.convert, key.text)
        if key.root.scope.function is not unit:
            return None
        return KeyOf(key.root.name, key.path, key.convert, key.text)

    def _calls(self, event: Called, func: Func) -> Iterable[Call]:
        made = self.flow.site_arguments.get(func.site) if func.site is not None else None
        if event.through is not None and made is not None and event.through in made:
            for value in made[event.through]:
                target = value.target.function.target if isinstance(value.target, Bound) else value.target
                if isinstance(target, Func):
                    yield Call(self._unit_id(target), (), event.place)
            return
        if event.callee.function.within(func.function) and event.callee.function is not func.function:
            return
        arguments = []
        for parameter, key in event.arguments:
            told = self._key(key, func.function)
            if told is not None:
                arguments.append((parameter, told))
        yield Call(self._unit_id(event.callee), tuple(arguments), event.place)

    # What is stored

    def _stored(self, event: Stored) -> list[Use | Hazard]:
        roots = self._roots_of(event.into)
        if not roots:
            return []
        value = event.value
        found: list[Use | Hazard] = []
        what = self._unstorable(value, set())
        if what:
            harm = Harm.HELD if what[0] == "h" else Harm.OPAQUE
            found.append(Hazard(harm, what[1:], event.place))
        others = set(self._roots_of_value(value)) - set(roots)
        if isinstance(value.target, Obj) and len(self._links.get(value.target, ())) > 1:
            others |= set(self._links[value.target]) - set(roots)
        if others:
            found += [Use(root.id, Mode.WALK, event.place) for root in [*roots, *sorted(others, key=lambda r: r.id)]]
        return found

    def _shared(self) -> dict[Obj, set[Root]]:
        """Objects made while a request is handled -> the variables they are put in."""
        links: dict[Obj, set[Root]] = {}
        for record in self.flow.records.values():
            for event in record.events:
                if isinstance(event, Stored) and isinstance(event.value.target, Obj):
                    links.setdefault(event.value.target, set()).update(self._roots_of(event.into))
        return links

    def _roots_of(self, into: Value | Binding) -> list[Root]:
        if isinstance(into, Binding):
            root = self.owners.of_binding.get(into)
            return [root] if root is not None else []
        return self._roots_of_value(into)

    def _roots_of_value(self, value: Value) -> list[Root]:
        if isinstance(value.target, Obj):
            found = self.owners.owners(value.target)
            if found:
                return found
        if value.via is None:
            return []
        if isinstance(value.via.base, Binding):
            return self._roots_of(value.via.base)
        return self.owners.owners(value.via.base)

    def _unstorable(self, value: Value, seen: set[Obj]) -> str:
        """Why a value cannot be kept in a context, "h" or "o" first for the harm; or ""."""
        target = value.target
        if plain_code(value) and not (isinstance(target, Func) and self._made_at_requests(target.function)):
            return ""
        if isinstance(target, Word):
            if target.what in ("response", "next", "callback"):
                return f"hkeeps a request's {target.what} for others to use"
            if target.what == "timer":
                return "hkeeps a timer"
        if isinstance(target, Part) and target.path == ():
            return "hkeeps a request for others to use"
        if isinstance(target, Func | Bound | Cls):
            function = target.function if isinstance(target, Func) else None
            outside = isinstance(function, Function) and self._made_at_requests(function)
            return "hkeeps a function that was made for a request" if outside or isinstance(target, Bound) else ""
        if isinstance(target, Lib) and target.package not in ("global", "process"):
            if target.path[:1] == ("handle",) or "()" not in target.path:
                return ""
            return f"okeeps an object of the package {target.package}"
        if isinstance(target, Obj):
            if target.kind == "resolver":
                return "hkeeps what continues a request for others to use"
            if target.kind in ("weak", "iterator", "remembers", THING):
                return "okeeps what cannot be stored"
            if target.kind == "date" and target.label:
                return f"okeeps an object of {target.label}"
            new = target.function in self._at_requests or not self.owners.owners(target)
            if target not in seen and new:
                seen.add(target)
                for name, values in target.fields.items():
                    if name != "__proto__":
                        for inner in values:
                            what = self._unstorable(inner, seen)
                            if what:
                                return what
        return ""

    def _made_at_requests(self, function: Function) -> bool:
        """A function is made anew each time that the one around it runs, or that an object of its class is made."""
        field = function.node.parent
        if field is not None and field.type == "field_definition":
            return "static" not in field.words
        outer = function.parent
        return outer is not None and not outer.module and (outer in self._at_requests or not self.flow.starts(outer))

    def _called_from(self, roots: Iterable[Function]) -> set[Function]:
        found: set[Function] = set()
        todo = list(roots)
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                todo += at.inner
                todo += self._late.called(at)
        return found

    # Hazards

    def _held_while_waiting(self, function: Function) -> Iterable[Hazard]:
        """Where others would have to get in while its context is held."""
        for root, place in self._waiting.polls(function):
            what = f"waits again and again for what others do to {root.name}"
            yield Hazard(Harm.HELD, what, place, "answer at once what is there, and let clients ask again")
        if function not in self._handlers:
            return
        for root, place in self._waiting.between([function]).items():
            yield self._seen_between(root, place)
        if self._common or self._touches_state(function, set()):
            asking = [f for f in self._called_from([function]) if self._asking.places(f)]
            for called in sorted(asking, key=lambda f: (f.file, f.node.start)):
                for place in self._asking.places(called):
                    what = "asks this service itself, and waits for the answer"
                    yield Hazard(Harm.HELD, what, place, "call the function that answers there")

    def waits(self, function: Function) -> Place | None:
        """Where it waits first."""
        return self._waiting.work(function).waits

    def _seen_between(self, root: Root, place: Place) -> Hazard:
        what = f"waits between two changes of {root.name}, and others may look at it then"
        return Hazard(Harm.HELD, what, place, f"change {root.name} on one side of the wait alone")

    def _counts(self, event: Danger) -> bool:
        if event.if_writes and not self._writes_files:
            return False
        if event.after is None:
            return True
        touches = self._late.touches(event.after) or self._touches_state(event.after, set())
        return touches and not self._late.answers(event.after)

    def _touches_state(self, function: Function, seen: set[Function]) -> bool:
        if function in seen:
            return False
        seen.add(function)
        for inner in self._with_inner(function):
            record = self.flow.records.get(inner)
            for event in record.events if record is not None else ():
                if isinstance(event, Touched) and self._matters(event):
                    return True
                if isinstance(event, Danger) and event.harm in (Harm.LOCAL, Harm.DYNAMIC):
                    return True
                if isinstance(event, Called) and self._touches_state(event.callee.function, seen):
                    return True
        return False

    def _matters(self, event: Touched) -> bool:
        return self._is_state(event.base)

    def _is_state(self, base: Obj | Binding) -> bool:
        """Whether requests change it."""
        if isinstance(base, Binding):
            values = self.flow.values.get(base, set())
            data = any(not isinstance(v.target, Lib | Func | Cls) for v in values)
            return data and self.owners.of_binding.get(base) in self._changed
        return any(root in self._changed for root in self.owners.owners(base))

    def _may_be_state(self, base: Obj | Binding | Word) -> bool:
        """Whether requests change it, or have put it where it is: for the request that made it, it is no state."""
        if isinstance(base, Word):
            return bool(self._changed)
        held = isinstance(base, Obj) and any(root in self._changed for root in self.owners.holding(base))
        return held or self._is_state(base)

    def _changed_roots(self) -> set[Root]:
        """What is changed by functions; what modules do themselves is done when requests come."""
        found: set[Root] = set()
        for function, record in self.flow.records.items():
            for event in record.events if not function.module else ():
                if isinstance(event, Touched) and event.mode in (Mode.WRITE, Mode.ESCAPE):
                    if isinstance(event.base, Binding):
                        found |= {self.owners.of_binding[event.base]} if event.base in self.owners.of_binding else set()
                    else:
                        found |= set(self.owners.owners(event.base))
        return found

    def _handling(self) -> set[Function]:
        """Functions that the framework calls, and does not wait for."""
        given = [v for made in self.flow.registrations.values() for values in made.handlers for v in values]
        targets = [v.target.function.target if isinstance(v.target, Bound) else v.target for v in given]
        return {t.function for t in targets if isinstance(t, Func)} | set(self.flow.raw_handlers)

    def _at_start(self) -> list[Hazard]:
        """What the modules do while they load that concerns the whole service."""
        found = []
        if not self.flow.settled:
            what = "begins a service whose calls lead further than is followed"
            found.append(Hazard(Harm.DYNAMIC, what, Place(self.flow.service.entry, 1), remedies.TOO_DEEP))
        for function, record in self.flow.records.items():
            if self.flow.starts(function):
                for event in record.events:
                    if isinstance(event, Danger) and event.at_start and self._counts_at_start(event):
                        found.append(Hazard(event.harm, event.what, event.place, event.remedy))
                for place in self._late.endless(function) if not function.module else ():
                    found.append(Hazard(Harm.TIMER, "works on at times (a loop that waits)", place))
        return found

    def _counts_at_start(self, event: Danger) -> bool:
        return event.after is None or self._touches_state(event.after, set())

    # Handlers that leave the request to others

    def _going_on(self) -> dict[Func, bool]:
        found: dict[Func, bool] = {}
        never: set[Func] = set()
        for made in self.flow.registrations.values():
            for values in made.handlers:
                for value in values:
                    target = value.target.function.target if isinstance(value.target, Bound) else value.target
                    if isinstance(target, Func) and target not in found:
                        seen = set(never)
                        found[target] = target not in never and self._goes_on(target, seen)
                        never = never if found[target] else seen
        return found

    def _goes_on(self, func: Func, seen: set[Func]) -> bool:
        if func in seen:
            return False
        seen.add(func)
        for inner in self._with_inner(func.function):
            record = self.flow.records.get(inner)
            if record is None:
                continue
            if record.goes_on:
                return True
            for event in record.events:
                if isinstance(event, Called):
                    made = self.flow.site_arguments.get(func.site) if func.site is not None else None
                    if event.through is not None and made is not None and event.through in made:
                        called = [v.target for v in made[event.through] if isinstance(v.target, Func)]
                    else:
                        called = [event.callee]
                    if any(self._goes_on(callee, seen) for callee in called):
                        return True
        return False

    # Variables

    def _variables(self) -> Iterable[Variable]:
        used: dict[str, bool] = {}
        for unit in self.found.units.values():
            for use in unit.uses:
                used[use.variable] = used.get(use.variable, False) or use.mode in (Mode.WRITE, Mode.ESCAPE)
        for root in self.owners.roots:
            if root.id in used:
                yield self.owners.variable(root, used[root.id])


def name_of(handled: Handled) -> str:
    """Of a start whose handler has none: `get_todos_id`."""
    words = re.findall(r"[A-Za-z0-9]+", handled.path)
    method = "all" if handled.method == "*" else handled.method.lower()
    return "_".join([method, *words])[:NAME_MAX] or method

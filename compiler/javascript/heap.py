"""The heap of the analysis: what each variable and field may hold, read and written; and the record of what each
function touches. Knows no syntax but nodes as names of places.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from compiler.facts import Harm, Mode, Place
from compiler.javascript.modules import Service
from compiler.javascript.scopes import Binding, Class, Function
from compiler.javascript.syntax import Node
from compiler.javascript.values import (
    ANY,
    DATA,
    NOTHING,
    Cls,
    Func,
    Key,
    Lib,
    Obj,
    Once,
    Part,
    Plain,
    Value,
    Values,
    Via,
    Word,
)

VALUES_MAX = 2_000
"""Values that one variable or field is followed with; with more, the service is kept whole."""

WORK_MAX = 4_000_000
"""Steps of following values, some seconds' worth; with more, the service is kept whole."""

REMEMBERED_MAX = 200_000
"""Values of which it is remembered what they are when they come out of something."""

DEEP_MAX = 20_000
"""Values inside one that is handed on; with more, the service is kept whole."""

DECLARED = ("class_declaration", "function_declaration", "generator_function_declaration")

GIVEN = Word("given")
"""What a request brought, or something made of it: it may have been put into a variable as it is."""

PATH_MAX = 4
"""So deep a path into the request or a library is told apart."""


@dataclass(frozen=True)
class Touched:
    """A function touches what `base` holds. `inner`: what came out of it, by `key`."""

    base: Obj | Binding
    mode: Mode
    place: Place
    key: Key | None = None


@dataclass(frozen=True)
class Called:
    """`through`: the parameter of a function around that was called."""

    callee: Func
    arguments: tuple[tuple[str, Key], ...]
    place: Place
    through: Binding | None = None


@dataclass(frozen=True)
class Stored:
    """`value` is put where it outlives the request, if what it is put in does."""

    into: Value | Binding
    value: Value
    place: Place


@dataclass(frozen=True)
class Danger:
    """`at_start`: also a danger of the whole service if it happens while the modules load. `after`: only if that
    function touches state or the machine, and `unless_answering`, does not answer."""

    harm: Harm
    what: str
    place: Place
    remedy: str = ""
    at_start: bool = False
    at_request: bool = True
    after: Function | None = None
    if_writes: bool = False
    """Only if the service writes files somewhere."""


Event = Touched | Called | Stored | Danger


@dataclass
class Record:
    """What one function does, without the functions in it."""

    events: dict[Event, None] = field(default_factory=dict)
    waits: bool = False
    answers: bool = False
    goes_on: bool = False
    """Calls `next` other than with an error."""


class TooMuch(Exception):
    """The service is more than can be followed."""


class Heap:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.values: dict[Binding, set[Value]] = {}
        self.objects: dict[tuple[Node, str], Obj] = {}
        self.these: dict[Function, set[Value]] = {}
        self.returned: dict[Function, set[Value]] = {}
        self.extras: dict[Function | Class | str, Obj] = {}
        """Properties of functions, classes and libraries, and of the request and the response."""
        self.starting: set[Function] = set()
        """Functions that run while the service starts."""
        self.changed_kinds: set[str] = set()
        """Parts of the request that own code changes: no key comes from them."""
        self.env: set[str] = set()
        self.function: Function = next(iter(service.sources.values())).names.top if service.sources else None  # type: ignore[union-attr,assignment]
        self.records: dict[Function, Record] = {}
        self.recording = False
        self.dirty = False
        self.spent = 0
        self._outs: dict[Via, dict[Value, Value]] = {}
        self._outs_of = self._outs_count = 0
        self.chance: frozenset[Value] = frozenset()
        """Of the conditions under which code runs, what differs from run to run."""
        self.touched_at: dict[Node, dict[Obj | Binding | Word, None]] = {}
        """What is touched where, in the code of any function."""
        self.done_at: dict[Node, dict[tuple[Obj | Binding, Mode], None]] = {}
        """How that is touched, and what it came out of, also where it is only looked at."""
        self.called_at: dict[Node, dict[Function, None]] = {}
        """Own functions, where they are called."""
        self.calls_of: dict[Function, dict[Function, None]] = {}
        """Own functions that each function calls."""
        self.loads: dict[str, set[Function]] = {}
        """Which functions load a file of the service, by a call."""
        self.handed_at: set[Node] = set()
        """Where functions are handed to a package that calls them when it is done."""
        self.answered_at: set[Node] = set()
        """Where the request is answered, or left to others to answer."""
        self.written_at: set[Node] = set()
        """Where a part of an answer is written."""

    # The record

    @property
    def record(self) -> Record:
        return self.records.setdefault(self.function, Record())

    def note(self, event: Event) -> None:
        if self.recording:
            self.record.events[event] = None

    def danger(self, harm: Harm, what: str, node: Node, remedy: str = "", *, start: bool = False) -> None:
        self.note(Danger(harm, what, node.place, remedy, at_start=start))

    def touch(self, value: Value, mode: Mode, node: Node, key: Key | None = None) -> None:
        """Of what `value` refers to, and of what it came out of."""
        if not self.recording:
            return
        target = value.target
        at = self.touched_at.setdefault(node, {})
        done = self.done_at.setdefault(node, {})
        if isinstance(target, Obj):
            self.note(Touched(target, mode, node.place, key))
            at[target] = None
            done[target, mode] = None
        if isinstance(target, Part | Plain) and value.via is None and mode is Mode.WRITE:
            at[GIVEN] = None
        if value.via is not None:
            done[value.via.base, mode] = None
        if value.via is not None and mode in (Mode.WRITE, Mode.ESCAPE):
            at[value.via.base] = None
            self.note(Touched(value.via.base, mode, node.place, value.via.key))

    def walk(self, values: Iterable[Value], node: Node, mode: Mode = Mode.WALK) -> None:
        """All of what they refer to is looked at, with what is in it."""
        if not self.recording:
            return
        for value in self.deep(values):
            self.touch(value, mode, node)

    def deep(self, values: Iterable[Value]) -> set[Value]:
        """What they refer to, and what is in it, and so on."""
        found: set[Value] = set()
        todo = list(values)
        while todo:
            if len(found) > DEEP_MAX:
                raise TooMuch
            value = todo.pop()
            if value in found:
                continue
            found.add(value)
            if isinstance(value.target, Obj) and value.target.kind not in ("app", "router"):
                todo += self.inside(value)
        return found

    def targets(self, values: Iterable[Value]) -> set[Value]:
        """What they refer to, and what is in it, and so on, however it was come by."""
        found: set[Value] = set()
        todo = [value.target for value in values]
        seen: set[object] = set()
        while todo:
            target = todo.pop()
            if target in seen:
                continue
            seen.add(target)
            found.add(Value(target))
            if isinstance(target, Obj) and target.kind not in ("app", "router"):
                todo += [v.target for name, held in target.fields.items() if name != "__proto__" for v in held]
        return found

    # Variables and fields

    def starts(self, function: Function) -> bool:
        return function.module or function in self.starting

    def persistent(self, binding: Binding) -> bool:
        function = binding.scope.function
        return function.module or (binding.captured and function in self.starting)

    def put(self, into: set[Value], values: Iterable[Value]) -> None:
        before = len(into)
        into.update(values)
        self.spent += 1 + len(into) // 16
        if self.spent > WORK_MAX or len(into) > VALUES_MAX:
            raise TooMuch
        if len(into) != before:
            self.dirty = True

    def bind(self, binding: Binding, values: Values) -> None:
        self.put(self.values.setdefault(binding, set()), self.chance.union(values) if self.chance else values)

    def held(self, binding: Binding) -> Values:
        """A variable's values; of one that outlives the request they are said to come out of it."""
        there = self.values.get(binding)
        if not there:
            return NOTHING
        if not self.persistent(binding):
            return frozenset(there)
        via = Via(binding)
        known = self._come_out(via)
        return frozenset(known.get(value) or self._come(known, via, value) for value in there)

    def _come_out(self, via: Via) -> dict[Value, Value]:
        """What came out of it so far: most of it comes again."""
        if self._outs_of != len(self.starting) or self._outs_count > REMEMBERED_MAX:
            self._outs_of, self._outs_count = len(self.starting), 0
            self._outs.clear()
        return self._outs.setdefault(via, {})

    def _come(self, known: dict[Value, Value], via: Via, value: Value) -> Value:
        self._outs_count += 1
        found = known[value] = self.out_of(via, value)
        return found

    def out_of(self, via: Via, value: Value) -> Value:
        """Functions and objects made at start are what they are, wherever they are found."""
        target = value.target
        if isinstance(target, Func | Cls | Lib) or (isinstance(target, Obj) and self.starts(target.function)):
            return Value(target)
        if isinstance(target, Plain) and target.literal:
            return value if value.via is None else Value(target)
        return Value(target, via)

    def obj(self, node: Node, kind: str, label: str = "") -> Obj:
        there = self.objects.get((node, kind))
        if there is None:
            there = self.objects[node, kind] = Obj(node, kind, self.function, label=label)
            self.dirty = True
        return there

    def extra(self, of: Function | Class | str) -> Obj:
        there = self.extras.get(of)
        if there is None:
            node = of.node if isinstance(of, Function | Class) else self.function.node
            made = of.parent if isinstance(of, Function) else of.function if isinstance(of, Class) else None
            label = of if isinstance(of, str) else of.name
            there = self.extras[of] = Obj(node, "extra", made or self.function, label=label)
        return there

    def named(self, of: Function | Class) -> bool:
        """Whether it is declared by the module itself, under its own name: it can be found where the service runs."""
        node: Node | None = of.node
        if not of.name or node is None or node.parent is None:
            return False
        if node.type not in DECLARED:
            if node.parent.type != "variable_declarator" or node.parent["name"].text != of.name:
                return False
            node = node.parent.parent
        outer = node.parent if node is not None else None
        return outer is not None and outer.type in ("program", "export_statement")

    def add(self, obj: Obj, name: str, values: Iterable[Value]) -> None:
        self.put(obj.fields.setdefault(name, set()), self.chance.union(values) if self.chance else values)

    def inner(self, value: Value, found: Iterable[Value], key: Key | None = None) -> set[Value]:
        """Values found in what `value` refers to, with what they came out of."""
        target = value.target
        assert isinstance(target, Obj)
        self.spent += 1
        if self.spent > WORK_MAX:
            raise TooMuch
        made = self.starts(target.function) and target.kind not in ("extra", "pair")
        via = Via(target, key) if made else value.via
        if via is None:
            return set(found)
        result: set[Value] = set()
        known = self._come_out(via)
        for item in found:
            result.add(known.get(item) or self._come(known, via, item))
            if item.via is not None and not isinstance(item.target, Func | Cls):
                result.add(item)
        return result

    def inside(self, value: Value) -> set[Value]:
        """All that is in what `value` refers to: its elements and fields."""
        target = value.target
        if isinstance(target, Obj):
            if target.kind == "json":
                return {Value(Plain(), Via(target))}
            found = set().union(*(v for name, v in target.fields.items() if name != "__proto__"))
            return self.inner(value, found)
        if isinstance(target, Lib):
            return {Value(target), Value(Plain())}
        if isinstance(target, Part):
            return {Value(Part((*target.path, ANY)), value.via) if len(target.path) < PATH_MAX else value}
        if isinstance(target, Plain | Once):
            return {Value(target if isinstance(target, Once) else Plain(), value.via)}
        return set()

    def elements(self, values: Iterable[Value]) -> Values:
        """What iterating gives: of a Map also pairs of a key and what is there."""
        found: set[Value] = set()
        for value in values:
            inside = self.inside(value)
            found |= inside
            if isinstance(value.target, Obj) and value.target.kind == "map":
                pair = self.obj(self.function.node, "pair")
                self.add(pair, ANY, inside | DATA)
                found.add(Value(pair))
        return frozenset(found)

    def plain(self, values: Iterable[Value]) -> Values:
        """What is made of them by computing: data, and it differs from run to run if they do."""
        return frozenset(Value(v.target) for v in values if isinstance(v.target, Once)) or DATA


def functions(values: Iterable[Value]) -> list[Func]:
    return [v.target for v in values if isinstance(v.target, Func)]


def is_word(value: Value, what: str) -> bool:
    return isinstance(value.target, Word) and value.target.what == what

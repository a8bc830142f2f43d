"""The codec of what a compiled program remembers: what comes back is what was there, in identity too."""

from __future__ import annotations

import itertools
import re
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquefy.liquid.shown import readable
from liquefy.liquid.slots import ABSENT, SlotError, find_slot
from liquefy.liquid.state import Codec, Unstorable

SOURCE = """
import threading
from collections import defaultdict
from enum import Enum

class Colour(Enum):
    RED = 1

class Todo:
    def __init__(self, title):
        self.title, self.next = title, None

class Slotted:
    __slots__ = ("__hidden", "a")
    def __init__(self, a):
        self.a, self.__hidden = a, [a]
    def hidden(self):
        return self.__hidden

class Names(dict):
    pass

class Store:
    shared = []
    def __init__(self):
        self.lock, self.items = threading.Lock(), {}

def helper():
    return 1

def make(size):
    kept = [size]
    def get():
        return kept
    return get

def counted(x, cache={}):
    return cache

get = make(3)
store = Store()
alias = store.items
todos = [{"id": 1}, {"id": 2}]
first = todos[0]
count = 0
connection = object()
"""


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = ModuleType("service")
    sys.modules["service"] = made
    exec(compile(SOURCE, "service.py", "exec"), made.__dict__)
    yield made
    del sys.modules["service"]


def codec(module: ModuleType, *names: str) -> Codec:
    made = Codec({"app": module})
    made.remember({f"app.{name}": getattr(module, name) for name in names})
    return made


def again(module: ModuleType, value: Any) -> Any:
    made = Codec({"app": module})
    return made.restore(made.capture({"x": value}))["x"]


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            deque([1, [2]], maxlen=3),
            OrderedDict(b=1, a=[2]),
            Counter("aab"),
            defaultdict(list, {"a": [1]}),
            bytearray(b"ab"),
            {(1, "a"): frozenset([1]), 5: None, None: 1.5},
            {"a": {1, "b", (2, 3)}},
            [datetime(2024, 1, 1, tzinfo=UTC), range(1, 9, 2), b"x"],
            SimpleNamespace(a=[1]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_standard(self, module: ModuleType, value: Any) -> None:
        back = again(module, value)
        assert back == value
        assert type(back) is type(value)
        assert getattr(back, "maxlen", None) == getattr(value, "maxlen", None)
        assert getattr(back, "default_factory", None) is getattr(value, "default_factory", None)

    def test_counts_and_patterns(self, module: ModuleType) -> None:
        count = itertools.count(5, 2)
        next(count)
        assert next(again(module, count)) == 7
        assert again(module, re.compile("a+", re.I)).fullmatch("AA")

    def test_the_programs_own(self, module: ModuleType) -> None:
        a, b = module.Todo("a"), module.Todo("b")
        a.next, b.next = b, a
        back = again(module, [a, a, module.Colour.RED, module.helper, module.Slotted(4)])
        assert back[0] is back[1] is back[0].next.next
        assert back[0].title == "a"
        assert back[2] is module.Colour.RED
        assert back[3] is module.helper
        assert (back[4].a, back[4].hidden()) == (4, [4])

    def test_content_and_attributes(self, module: ModuleType) -> None:
        names = module.Names(a=1)
        names.owner = names
        back = again(module, names)
        assert dict(back) == {"a": 1}
        assert back.owner is back

    def test_cycles(self, module: ModuleType) -> None:
        value: list[Any] = [1]
        value.append((value, {"in": value}))
        back = again(module, value)
        assert back[1][0] is back
        assert back[1][1]["in"] is back

    @pytest.mark.parametrize("value", [lambda: 1, threading.Thread(), (i for i in [1]), sys.stdout])
    def test_refused_with_its_place(self, module: ModuleType, value: Any) -> None:
        todo = module.Todo("x")
        todo.next = {"a": value}
        with pytest.raises(Unstorable, match=re.escape("app.todos[1].next['a'] cannot be kept in a context: it is a ")):
            Codec({"app": module}).capture({"app.todos": [0, todo]})

    def test_no_class_from_elsewhere_is_made(self, module: ModuleType) -> None:
        made = Codec({"app": module})
        data = made.capture({"x": module.Todo("a")}).replace(b"\xa8app:Todo", b"\xa8re:Error")
        with pytest.raises(Exception, match=r"re:Error|KeyError"):
            made.restore(data)


class TestInPlace:
    def test_what_was_there_stays_itself(self, module: ModuleType) -> None:
        made = codec(module, "todos", "store")
        before = made.capture({"app.todos": module.todos, "app.store": module.store})
        module.todos[0]["id"] = 9
        module.todos.append({"id": 3})
        module.store.items["x"] = 1
        later = made.capture({"app.todos": module.todos, "app.store": module.store})
        back = made.restore(before)
        assert back["app.todos"] is module.todos
        assert module.first is module.todos[0]
        assert module.todos == [{"id": 1}, {"id": 2}]
        assert module.alias is module.store.items
        assert module.alias == {}
        made.restore(later)
        assert module.first == {"id": 9}
        assert len(module.todos) == 3
        assert module.alias == {"x": 1}
        assert made.capture({"app.todos": module.todos, "app.store": module.store}) == later

    def test_a_variable_bound_anew_leaves_its_aliases(self, module: ModuleType) -> None:
        made = codec(module, "todos")
        was = module.todos
        new = made.capture({"app.todos": [was[1]]})
        back = made.restore(new)["app.todos"]
        assert back is not was
        assert back[0] is was[1]

    def test_handles_are_referred_to(self, module: ModuleType) -> None:
        made = codec(module, "store")
        back = made.restore(made.capture({"x": [module.store.lock, module.connection]}))["x"]
        assert back == [module.store.lock, module.connection]


class TestSlots:
    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("app.count", 0),
            ("app.Store.shared", []),
            ("app.make.kept", [3]),
            ("app.counted.cache", {}),
            ("app.store.items", {}),
        ],
    )
    def test_found_and_set(self, module: ModuleType, variable: str, value: Any) -> None:
        slot = find_slot(variable, {"app": module})
        assert slot.get() == value
        slot.set("new")
        assert find_slot(variable, {"app": module}).get() == "new"

    def test_absent(self, module: ModuleType) -> None:
        slot = find_slot("app.later", {"app": module})
        assert slot.get() is ABSENT
        slot.set(1)
        assert module.later == 1
        slot.set(ABSENT)
        assert not hasattr(module, "later")

    def test_closures_that_are_there_twice(self, module: ModuleType) -> None:
        module.other = module.make(4)
        with pytest.raises(SlotError, match="2 times"):
            find_slot("app.make.kept", {"app": module})


_atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary()
_keys = st.text(max_size=4) | st.integers() | st.tuples(st.integers(), st.text(max_size=2))
_values = st.recursive(
    _atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(_keys, max_size=3)
        | st.builds(lambda values: deque(values, 7), st.lists(inner, max_size=3))
    ),
    max_leaves=20,
)


@given(_values)
def test_any_value_comes_back(value: Any) -> None:
    made = Codec({})
    data = made.capture({"x": value})
    back = made.restore(data)["x"]
    assert back == value
    assert made.capture({"x": back}) == data


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=30))
def test_any_shape_comes_back(edges: list[tuple[int, int, bool]]) -> None:
    """Lists and dicts that hold each other in any way: the same way afterwards."""
    nodes: list[Any] = [[] if i % 2 else {} for i in range(6)]
    for a, b, _ in edges:
        if type(nodes[a]) is list:
            nodes[a].append(nodes[b])
        else:
            nodes[a][str(b)] = nodes[b]
    made = Codec({})
    data = made.capture({"x": nodes})
    back = made.restore(data)["x"]
    numbers = {id(node): i for i, node in enumerate(nodes)}
    there = {id(node): i for i, node in enumerate(back)}
    for old, new in zip(nodes, back, strict=True):
        old_parts = old if type(old) is list else old.values()
        new_parts = new if type(new) is list else new.values()
        assert [numbers[id(p)] for p in old_parts] == [there[id(p)] for p in new_parts]
    assert made.capture({"x": back}) == data


Pair = namedtuple("Pair", "a b")


@dataclass(frozen=True)
class Point:
    x: int


class Kind(Enum):
    A = "a"


def test_named_tuples_and_frozen_dataclasses() -> None:
    module = sys.modules[__name__]
    back = again(module, {Point(1): Pair([1], Kind.A)})
    assert back == {Point(1): Pair([1], Kind.A)}
    assert type(back[Point(1)]) is Pair


def test_what_is_kept_can_be_told_to_people(module: ModuleType) -> None:
    todo = module.Todo("a")
    todo.next = todo
    kept = {"todos": [todo, {1: (2, slice(0, 3))}], "n": 3, "made": defaultdict(list, x=[1]), "f": module.helper}
    assert readable(codec(module).capture(kept)) == {
        "todos": [{"<Todo>": {"title": "a", "next": "..."}}, {"1": [2, "slice(0, 3, None)"]}],
        "n": 3,
        "made": {"x": [1]},
        "f": "<app:helper>",
    }
    assert readable(b"else") is None


class TestExceptionsAndFlags:
    def make(self, module: ModuleType, source: str) -> Any:
        exec(compile(source, "service.py", "exec"), module.__dict__)
        return module

    def test_what_an_exception_says_and_keeps(self, module: ModuleType) -> None:
        own = self.make(
            module,
            "class Failed(Exception):\n    def __init__(self, text, code):\n"
            "        super().__init__(text)\n        self.code = code\n",
        )
        error = own.Failed("broken", 4)
        error.me = [error]
        error.__cause__ = FileNotFoundError(2, "No such file", "a.txt")
        back = again(module, [error, error])
        assert back[0] is back[1] is back[0].me[0]
        assert type(back[0]) is own.Failed
        assert (str(back[0]), back[0].args, back[0].code) == ("broken", ("broken",), 4)
        assert str(back[0].__cause__) == "[Errno 2] No such file: 'a.txt'"
        assert back[0].__suppress_context__

    @pytest.mark.parametrize(
        "error",
        [
            KeyError("a"),
            StopIteration(4),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
            SyntaxError("no", ("f", 1, 3, "a b")),
            OSError(2, "No such file", "a", None, "b"),
            ImportError("no", name="a"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_of_the_language(self, module: ModuleType, error: Exception) -> None:
        back = again(module, error)
        assert type(back) is type(error)
        assert (str(back), back.args, getattr(back, "name", None)) == (
            str(error),
            error.args,
            getattr(error, "name", None),
        )

    def test_an_exception_that_was_there_stays_the_same_one(self, module: ModuleType) -> None:
        own = self.make(module, "class Failed(Exception): pass\nlast = Failed('a')\n")
        made = codec(module, "last")
        kept = made.capture({"app.last": own.last})
        own.last.args, own.last.seen = ("b",), 1
        assert made.restore(kept)["app.last"] is own.last
        assert (own.last.args, vars(own.last)) == (("a",), {})

    def test_flags_at_once(self, module: ModuleType) -> None:
        own = self.make(
            module,
            "import enum\nclass Right(enum.IntFlag):\n    READ = 1\n    WRITE = 2\n"
            "class Plain(enum.Flag):\n    A = 1\n    B = 2\n",
        )
        flags = [own.Right.READ | own.Right.WRITE, own.Right.READ, own.Right(0), own.Plain.A | own.Plain.B, re.I | re.M]
        assert [f is g for f, g in zip(again(module, flags), flags, strict=True)] == [True] * 5

    @pytest.mark.parametrize("base", ["datetime", "Decimal", "bytearray", "array"])
    def test_what_could_not_be_read_again_is_not_kept(self, module: ModuleType, base: str) -> None:
        made_of = {"datetime": "2020, 1, 1", "Decimal": "'1'", "bytearray": "b'a'", "array": "'i'"}
        own = self.make(
            module,
            "from datetime import datetime\nfrom decimal import Decimal\nfrom array import array\n"
            f"class Own({base}): pass\nvalue = Own({made_of[base]})\n",
        )
        made = Codec({"app": module})
        for _ in range(2):
            with pytest.raises(Unstorable, match=r"x cannot be kept in a context: it is something of Own"):
                made.capture({"x": [own.value]})

    def test_reading_to_see_changes_nothing(self, module: ModuleType) -> None:
        made = codec(module, "store", "todos")
        item = module.todos[0]
        module.todos.append(module.Todo("new"))
        made.capture({"app.todos": module.todos, "app.store": module.store})
        assert module.todos[0] is item
        assert module.alias is module.store.items

    def test_collections_of_its_own(self, module: ModuleType) -> None:
        own = self.make(
            module,
            "from collections import OrderedDict, deque\nclass Ordered(OrderedDict): pass\n"
            "class Last(deque): pass\nclass Lists(defaultdict): pass\n",
        )
        back = again(module, [own.Ordered(b=1, a=2), own.Last([1, 2], 2), own.Lists(list, a=[1])])
        assert list(back[0].items()) == [("b", 1), ("a", 2)]
        assert (list(back[1]), back[1].maxlen) == ([1, 2], 2)
        assert back[2]["new"] == []

    def test_too_many_tuples_in_each_other(self, module: ModuleType) -> None:
        value: Any = 1
        for _ in range(101):
            value = ([value],)
        with pytest.raises(Unstorable, match="nested too deep"):
            again(module, value)

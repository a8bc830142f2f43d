"""What no context holds is not to change, and says so if it does."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from liquefy.liquid.binding import Keyed, StrayChange, Whole
from liquefy.liquid.slots import ABSENT, find_slot
from liquefy.liquid.state import Codec
from liquefy.liquid.watch import Watch

SOURCE = """
class Store:
    shared = []
    def __init__(self):
        self.items = {}

class Listed(list):
    pass

todos, limits, names, count, handle = [], {"a": 1}, Listed(), 0, None
store = Store()
users = {"root": {"n": 1}, 7: {"n": 7}}
"""


@pytest.fixture
def module() -> ModuleType:
    made = ModuleType("service")
    exec(compile(SOURCE, "service.py", "exec"), made.__dict__)
    return made


def put(module: ModuleType, name: str, value: Any) -> None:
    setattr(module, name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.limits.update(b=2), "app.limits"),
        (lambda m: m.store.items.update(b=2), "app.store.items"),
        (lambda m: m.Store.shared.append(1), "app.Store.shared"),
        (lambda m: put(m, "count", 1), "app.count"),
    ],
)
def test_a_change_that_nobody_saw_coming(module: ModuleType, change: Any, said: str) -> None:
    watch = Watch({"app": module}, ["app.todos"])
    watch.check()
    change(module)
    with pytest.raises(StrayChange, match=said):
        watch.check()


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda m: m.limits.update(b=2), lambda m: m.limits == {"a": 1}),
        (lambda m: m.limits.clear(), lambda m: m.limits == {"a": 1}),
        (lambda m: m.store.items.update(b=2), lambda m: m.store.items == {}),
        (lambda m: m.Store.shared.append(1), lambda m: m.Store.shared == []),
        (lambda m: put(m, "count", 1), lambda m: m.count == 0),
        (lambda m: delattr(m, "count"), lambda m: m.count == 0),
        (lambda m: put(m, "limits", {}), lambda m: m.limits == {"a": 1}),
    ],
)
def test_a_change_is_put_back_and_fails_only_those_that_were_there(module: ModuleType, change: Any, left: Any) -> None:
    watch = Watch({"app": module}, ["app.todos"])
    guilty = beside = watch.last
    change(module)
    with pytest.raises(StrayChange):
        watch.check(guilty)
    assert left(module)
    with pytest.raises(StrayChange):
        watch.check(beside)
    watch.check(watch.last)
    change(module)
    watch.settle()
    assert left(module)


def test_what_is_too_large_to_be_put_back_ends_the_process(module: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setattr("liquefy.liquid.watch.KEPT_ENTRIES_MAX", 0)
    ended: list[str] = []
    watch = Watch({"app": module}, ["app.todos"], end=ended.append)
    module.limits["b"] = 2
    with pytest.raises(StrayChange):
        watch.check()
    assert ended == ["app.limits"]


def test_a_collection_that_was_replaced_is_there_again(module: ModuleType) -> None:
    users = bound(module, Keyed, "app.users")
    users.bring("a", context := {})
    put(module, "users", None)
    with pytest.raises(StrayChange, match="NoneType"):
        users.take("a", context)
    users.bring("a", context)
    users.take("a", context)


def test_what_libraries_keep_in_their_modules_is_theirs(module: ModuleType) -> None:
    library = ModuleType("library")
    put(library, "_cache", {})
    put(module, "library", library)
    watch = Watch({"app": module}, [])
    library._cache["a"] = 1
    watch.check()


def test_what_groups_hold_may_be_known_by_other_names(module: ModuleType) -> None:
    put(module, "alias", module.todos)
    watch = Watch({"app": module}, ["app.todos"], lambda value: value is module.todos)
    module.alias.append(1)
    watch.check()


def test_what_groups_hold_and_handles_may_change(module: ModuleType) -> None:
    watch = Watch({"app": module}, ["app.todos", "app.store.items", "app.count"])
    module.todos.append(1)
    module.store.items["a"] = 1
    put(module, "count", 2)
    put(module, "handle", object())
    watch.check()


def bound(module: ModuleType, kind: Any, *names: str) -> Any:
    codec = Codec({"app": module})
    slots = [find_slot(name, {"app": module}) for name in names]
    codec.remember({slot.id: slot.get() for slot in slots})
    return kind(codec, slots)


def test_whole_goes_from_process_to_process(module: ModuleType) -> None:
    other = ModuleType("service")
    exec(compile(SOURCE, "service.py", "exec"), other.__dict__)
    here, there = bound(module, Whole, "app.todos", "app.count"), bound(other, Whole, "app.todos", "app.count")
    context: dict[str, Any] = {}
    here.bring(context)
    module.todos.append("a")
    put(module, "count", 1)
    here.take(context)
    was = other.todos
    there.bring(context)
    assert (other.todos, other.count) == (["a"], 1)
    assert other.todos is was
    other.todos.append("b")
    there.take(context)
    here.bring(context)
    assert module.todos == ["a", "b"]


def test_a_change_between_requests_fails_one_message(module: ModuleType) -> None:
    here = bound(module, Whole, "app.todos")
    context: dict[str, Any] = {}
    here.bring(context)
    here.take(context)
    module.todos.append("late")
    for _ in range(2):
        with pytest.raises(StrayChange, match=r"app\.todos"):
            here.bring(context)
    here.bring(context)
    assert module.todos == []


def test_keyed_has_the_entries_of_one_key(module: ModuleType) -> None:
    users = bound(module, Keyed, "app.users")
    assert module.users == {}
    root: dict[str, Any] = {}
    users.bring("root", root)
    module.users["root"]["n"] += 1
    users.take("root", root)
    users.bring("7", seven := {})
    assert module.users == {7: {"n": 7}}
    del module.users[7]
    users.take("7", seven)
    users.bring("7", seven)
    assert module.users == {}
    users.drop("7")
    users.bring("root", root)
    assert module.users == {"root": {"n": 2}}


def test_keyed_refuses_another_key(module: ModuleType) -> None:
    users = bound(module, Keyed, "app.users")
    users.bring("a", context := {})
    module.users.update(a=1, b=2)
    with pytest.raises(StrayChange, match=r"app\.users\['b'\]"):
        users.take("a", context)
    assert module.users == {}


def test_an_attribute_of_a_function_that_the_first_request_makes_is_found(module: ModuleType) -> None:
    exec("def visit():\n    visit.count = getattr(visit, 'count', 0) + 1\n", module.__dict__)
    slot = find_slot("service.visit.count", {"service": module})
    assert slot.get() is ABSENT
    module.visit()
    assert slot.get() == 1
    slot.set(7)
    module.visit()
    assert slot.get() == 8
    slot.set(ABSENT)
    module.visit()
    assert slot.get() == 1

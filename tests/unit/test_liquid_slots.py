"""Where the variables of a compiled Python service are found; how its fluxions are called."""

from __future__ import annotations

from types import ModuleType

from compiler.program import Fluxion, Role
from compiler.python.emit import function_name
from liquefy.liquid.slots import ABSENT, find_slot

PROGRAM = """
def hit():
    hit.count = getattr(hit, "count", 0) + 1
    return hit.count

def make():
    seen = []
    def add(x):
        seen.append(x)
    return add

add = make()
"""


def test_a_property_that_a_function_gets_later() -> None:
    module = ModuleType("app")
    exec(PROGRAM, vars(module))
    slot = find_slot("app.hit.count", {"app": module})
    assert slot.get() is ABSENT
    assert module.hit() == 1
    assert slot.get() == 1
    slot.set(7)
    assert module.hit() == 8
    slot.set(ABSENT)
    assert module.hit() == 1


def test_a_variable_of_a_closure() -> None:
    module = ModuleType("app")
    exec(PROGRAM, vars(module))
    module.add(1)
    assert find_slot("app.make.seen", {"app": module}).get() == [1]


def test_a_handler_may_be_called_like_a_word_of_the_language() -> None:
    assert [function_name(Fluxion(name, Role.HANDLER, name)) for name in ("in", "service", "seen")] == [
        "in_",
        "service_",
        "seen",
    ]

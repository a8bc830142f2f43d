"""The clock of a process while that of its machine is set."""

from __future__ import annotations

import random

from liquefy.clock import TAKEN_OVER_MS, SteadyClock


class Machine:
    wall_ms = 1_700_000_000_000.0
    steady_ms = 5_000.0

    def __init__(self) -> None:
        self.clock = SteadyClock(lambda: self.wall_ms, lambda: self.steady_ms)

    def pass_ms(self, ms: float) -> int:
        self.wall_ms += ms
        self.steady_ms += ms
        return self.clock.now_ms()


def test_it_goes_with_its_machine() -> None:
    machine = Machine()
    assert [machine.pass_ms(10) for _ in range(3)] == [1_700_000_000_000 + ms for ms in (10, 20, 30)]


def test_a_clock_set_forward_is_followed_bit_by_bit() -> None:
    machine = Machine()
    machine.wall_ms += 5_000
    assert machine.pass_ms(10) == 1_700_000_000_015
    for _ in range(1_100):
        now_ms = machine.pass_ms(10)
    assert now_ms == int(machine.wall_ms)


def test_a_clock_set_back_makes_time_slow_and_not_go_back() -> None:
    machine = Machine()
    machine.wall_ms -= 5_000
    assert machine.pass_ms(10) == 1_700_000_000_005
    for _ in range(1_100):
        now_ms = machine.pass_ms(10)
    assert now_ms == int(machine.wall_ms)


def test_a_machine_that_slept_is_believed() -> None:
    machine = Machine()
    machine.wall_ms += TAKEN_OVER_MS + 1
    assert machine.pass_ms(0) == int(machine.wall_ms)


def test_whatever_is_done_to_the_clock_time_does_not_go_back() -> None:
    machine, chance, last_ms = Machine(), random.Random(1), 0
    for _ in range(2_000):
        machine.wall_ms += chance.choice((0, 0, 0, chance.uniform(-1e6, 1e6)))
        now_ms = machine.pass_ms(chance.expovariate(0.1))
        assert now_ms >= last_ms
        last_ms = now_ms

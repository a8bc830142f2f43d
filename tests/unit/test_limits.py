"""Coroutines that take too long are cancelled, by one timer."""

from __future__ import annotations

from typing import Any

import pytest

from liquefy import limits
from liquefy.limits import Limits


class Loop:
    """Timers that end when they are told to."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay_s: float, call: Any) -> Timer:
        self.timers.append(Timer(delay_s, call))
        return self.timers[-1]


class Timer:
    def __init__(self, delay_s: float, call: Any) -> None:
        self.delay_s, self.call, self.cancelled = delay_s, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Task:
    def __init__(self) -> None:
        self.cancels = 0

    def cancel(self) -> None:
        self.cancels += 1


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    time_ns = [10**9]
    monkeypatch.setattr(limits, "perf_counter_ns", lambda: time_ns[0])
    return time_ns


def test_who_is_late_is_cancelled_once_and_the_others_when_they_are(now: list[int]) -> None:
    loop, early, late = Loop(), Task(), Task()
    made: Any = Limits(loop)  # type: ignore[arg-type]
    made.begin(1, early, 2 * 10**9)
    made.begin(2, late, 5 * 10**9)
    assert [timer.delay_s for timer in loop.timers] == [2.0], "one timer, for the first that is due"
    now[0] += 2 * 10**9
    loop.timers[0].call()
    assert (early.cancels, late.cancels) == (1, 0)
    assert [timer.delay_s for timer in loop.timers] == [2.0, 3.0]
    now[0] += 3 * 10**9
    loop.timers[1].call()
    assert (early.cancels, late.cancels) == (1, 1)
    assert len(loop.timers) == 2, "nothing is left to look at"


def test_who_is_done_is_left_alone(now: list[int]) -> None:
    loop, task, next_ = Loop(), Task(), Task()
    made: Any = Limits(loop)  # type: ignore[arg-type]
    made.begin(1, task, 10**9)
    made.end(1)
    made.end(1)
    now[0] += 10**9
    loop.timers[0].call()
    assert task.cancels == 0
    made.begin(2, next_, 10**9)
    assert len(loop.timers) == 2


def test_who_is_due_sooner_than_the_timer_gets_one_of_its_own(now: list[int]) -> None:
    loop, slow, quick = Loop(), Task(), Task()
    made: Any = Limits(loop)  # type: ignore[arg-type]
    made.begin(1, slow, 10 * 10**9)
    made.begin(2, quick, 10**8)
    assert [timer.cancelled for timer in loop.timers] == [True, False]
    now[0] += 10**8
    loop.timers[1].call()
    assert (slow.cancels, quick.cancels) == (0, 1)

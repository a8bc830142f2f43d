"""The time a process goes by: Unix milliseconds that never go back, and that follow a clock that is set in small steps,
so that nobody takes a clock that jumped for somebody's silence. Knows no clock itself; both are given.
"""

from __future__ import annotations

from collections.abc import Callable

FOLLOW = 0.5
"""A clock that was set is followed by so much of the time that passes: after it was put 5 s off, for 10 s."""

TAKEN_OVER_MS = 60_000
"""A clock that is further ahead than this is taken over at once: the machine has slept."""


class SteadyClock:
    """`wall_ms`: Unix time, which may be set at any moment. `steady_ms`: time that only passes."""

    def __init__(self, wall_ms: Callable[[], float], steady_ms: Callable[[], float]) -> None:
        self._wall_ms, self._steady_ms = wall_ms, steady_ms
        self._now_ms, self._read_ms = wall_ms(), steady_ms()

    def now_ms(self) -> int:
        read_ms = self._steady_ms()
        passed_ms, self._read_ms = read_ms - self._read_ms, read_ms
        ahead_ms = self._wall_ms() - self._now_ms - passed_ms
        if ahead_ms <= TAKEN_OVER_MS:
            most_ms = passed_ms * FOLLOW
            ahead_ms = min(most_ms, max(-most_ms, ahead_ms))
        self._now_ms += passed_ms + ahead_ms
        return int(self._now_ms)

"""Ends coroutines that take too long: one timer for all of them, as one each costs as much as a short coroutine.

Does not know what they do, nor what becomes of them.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import Any


class Limits:
    """Tasks under way in this loop, by a number, and when each is to be cancelled. It also keeps them alive."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: dict[int, tuple[int, asyncio.Task[Any]]] = {}
        self._look_ns = 0
        """When the timer ends; 0 while there is none."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, number: int, task: asyncio.Task[Any], limit_ns: int) -> None:
        """From now on it has so long. The number is nobody else's until its `end`."""
        due_ns = perf_counter_ns() + limit_ns
        self._tasks[number] = (due_ns, task)
        if not self._look_ns or due_ns < self._look_ns:
            self._look_at(due_ns)

    def end(self, number: int) -> None:
        """It is over, in time or not. Once is enough."""
        self._tasks.pop(number, None)

    def _look_at(self, due_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look_ns = due_ns
        self._timer = self._loop.call_later(max(0, due_ns - perf_counter_ns()) / 1e9, self._look)

    def _look(self) -> None:
        """Cancel what is late, once; the next look is when the first of the others is due."""
        self._look_ns, self._timer = 0, None
        now_ns = perf_counter_ns()
        for number, (due_ns, task) in list(self._tasks.items()):
            if due_ns <= now_ns:
                del self._tasks[number]
                task.cancel()
        if self._tasks:
            self._look_at(min(due_ns for due_ns, _ in self._tasks.values()))

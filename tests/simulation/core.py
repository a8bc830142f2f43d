"""The virtual clock, the one source of chance, and the story: what happened, to be told when a seed fails.

Everything in the simulation happens in an action of `Sim`; nothing else knows what time it is. Times are
milliseconds since the start, as floats; `unix_ms` is what processes take for the Unix time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

UNIX_START_MS = 1_700_000_000_000


class Violation(AssertionError):
    """A checker's verdict. `about`: words (ids, paths, partitions) to look for in the story."""

    def __init__(self, text: str, *about: str) -> None:
        super().__init__(text)
        self.about = about


class Sim:
    """One seed's world: actions in order of time, then of being asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        """For what happens by the way: delays and the like. What is planned beforehand is drawn from `script`, so that
        leaving a part of it out changes nothing of the rest of the plan."""
        self.script = random.Random(f"script {seed}")
        self.now = 0.0
        self.story: list[tuple[float, str, Any]] = []
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    @property
    def unix_ms(self) -> int:
        return UNIX_START_MS + int(self.now)

    def after(self, delay_ms: float, action: Callable[..., None], *args: Any) -> None:
        """Do it so many milliseconds from now."""
        self._count += 1
        heappush(self._heap, (self.now + delay_ms, self._count, action, args))

    def run(self, until_ms: float) -> None:
        """All actions due by then."""
        heap = self._heap
        while heap and heap[0][0] <= until_ms:
            self.now, _, action, args = heappop(heap)
            self.steps += 1
            action(*args)
        self.now = max(self.now, until_ms)

    def tell(self, who: str, what: Any) -> None:
        """Note it for the story."""
        self.story.append((self.now, who, what))

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

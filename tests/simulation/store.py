"""The store as processes see it: calls that take their time, fail while it is away, are performed and lose their
answer, are tried again, or are performed a second time long after. Behind it is `liquefy.contexts_memory`.

Each commit that is applied is shown to the checkers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core import Sim, Violation

from liquefy.commits import PartitionCommit, Verdict
from liquefy.contexts_memory import MemoryContexts
from liquefy.errors import StoreUnavailable

RETRY_MS = 30.0


class Store:
    """`lose`: how often an answer is lost; `ghost`: how often a try is performed once more, later; `delay_ms`:
    the longest ordinary time of one way."""

    def __init__(self, sim: Sim, delay_ms: float, lose: float, ghost: float) -> None:
        self.sim = sim
        self.memory = MemoryContexts(lambda: sim.unix_ms)
        self.delay_ms = delay_ms
        self.lose = lose
        self.ghost = ghost
        self.on_commit: Callable[[str, PartitionCommit, Verdict], None] = lambda *_: None
        self.on_placed: Callable[[Any], None] = lambda *_: None

    def call(self, process: Any, work: Callable[[], Any], done: Callable[[Any], None], tries: int = 0) -> None:
        """Perform `work` for the process, until it has an answer (`tries`: or so often; then `done` gets the
        StoreUnavailable)."""
        slow = 2_000.0 if self.ghost and self.sim.chance(self.ghost / 20) else self.delay_ms
        self.sim.after(self.sim.between(0.05, slow), self._perform, process, work, done, tries)

    def _perform(self, process: Any, work: Callable[[], Any], done: Callable[[Any], None], tries: int) -> None:
        sim = self.sim
        try:
            result = work()
        except StoreUnavailable as error:
            result = error
        else:
            if self.ghost and process.role == "worker" and sim.chance(self.ghost):
                sim.after(sim.between(1, 300), self._haunt, work)
            if self.lose and sim.chance(self.lose):
                result = StoreUnavailable("the answer was lost")
        if isinstance(result, StoreUnavailable) and tries != 1:
            sim.after(sim.between(1, RETRY_MS), process.deliver, self.call, process, work, done, tries - 1)
        else:
            sim.after(sim.between(0.05, self.delay_ms), process.deliver, done, result)

    def _haunt(self, work: Callable[[], Any]) -> None:
        if self.memory.available:
            work()

    def commit(self, owner: str, commits: list[PartitionCommit]) -> list[Verdict]:
        """One try of a worker's commit."""
        before = [self._sequence(c.partition) for c in commits]
        verdicts = self.memory.commit_now(commits, owner)
        for commit, verdict, sequence in zip(commits, verdicts, before, strict=True):
            applied = self._sequence(commit.partition) != sequence
            self.sim.tell("store", (owner, "applied" if applied else verdict, commit))
            if applied:
                self.on_commit(owner, commit, verdict)
        return verdicts

    def _sequence(self, partition: str) -> int:
        return self.memory.load_now([partition])[0].sequence

    def place(self, requests: list[Any]) -> list[Any]:
        placed = self.memory.place_now(requests)
        for placement in placed:
            self.sim.tell("store", placement)
            self.on_placed(placement)
        return placed


__all__ = ["Store", "Violation"]

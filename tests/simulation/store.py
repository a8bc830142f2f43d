"""The store as processes see it: calls that take their time, fail while it is away, are performed and lose their
answer, are tried again, or are performed a second time long after. Behind it is `liquefy.contexts_memory`.

It can die and come back without what was written last: as it was at one moment before. Each commit that is applied
is shown to the checkers, which then go back to that moment with it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from core import Sim

from liquefy.commits import PartitionCommit, Verdict
from liquefy.contexts_memory import MemoryContexts
from liquefy.errors import StoreUnavailable

RETRY_MS = 30.0

SLOW_ANSWER_MS = 300.0
"""Some answers are on their way for so long: what they say is overtaken by what is stored meanwhile."""


class Store:
    """`lose`: how often an answer is lost; `ghost`: how often a try is performed once more, later; `delay_ms`:
    the longest ordinary time of one way."""

    def __init__(self, sim: Sim, delay_ms: float, lose: float, ghost: float) -> None:
        self.sim = sim
        self.memory = MemoryContexts(lambda: sim.unix_ms)
        self.delay_ms = delay_ms
        self.lose = lose
        self.ghost = ghost
        self._rng = random.Random(f"ghosts {sim.seed}")
        """For what others than workers asked for, so that the other draws of a seed stay what they are."""
        self.on_commit: Callable[[str, PartitionCommit, Verdict], None] = lambda *_: None
        self.on_placed: Callable[[Any], None] = lambda *_: None
        self.on_unplaced: Callable[[list[str]], None] = lambda *_: None
        self.checker: Any = None
        self.late_ms = 0.0
        self.life = 0
        """How often it has come back with less than it had."""
        self.lost_ms = -1.0
        """When it last did."""
        self.terms: Any = None
        self._left: set[tuple[str, int]] = set()
        self.cut_off: set[str] = set()
        """Processes that do not reach it."""

    def call(self, process: Any, work: Callable[[], Any], done: Callable[[Any], None], tries: int = 0) -> None:
        """Perform `work` for the process, until it has an answer (`tries`: or so often; then `done` gets the
        StoreUnavailable)."""
        slow = 2_000.0 if self.ghost and self.sim.chance(self.ghost / 20) else self.delay_ms
        if process.store_life != self.life:
            process.store_life = self.life
            life = -1
        else:
            life = self.life
        delay_ms = self.late_ms + self.sim.between(0.05, slow)
        self.sim.after(delay_ms, self._perform, process, work, done, tries, life)

    def _perform(self, process: Any, work: Any, done: Any, tries: int, life: int) -> None:
        sim = self.sim
        try:
            if life != self.life:
                raise StoreUnavailable("the connection broke")
            if process.name in self.cut_off:
                raise StoreUnavailable("it is not reached from there")
            result = work()
        except StoreUnavailable as error:
            result = error
        else:
            rng = sim.rng if process.role == "worker" else self._rng
            if self.ghost and rng.random() < self.ghost:
                sim.after(rng.uniform(1, 300), self._haunt, process.name, work, life)
            if self.lose and sim.chance(self.lose):
                result = StoreUnavailable("the answer was lost")
        if isinstance(result, StoreUnavailable):
            sim.after(sim.between(0.05, self.delay_ms), process.deliver, process.store_failed)
        if isinstance(result, StoreUnavailable) and tries != 1:
            sim.after(sim.between(1, RETRY_MS), process.deliver, self.call, process, work, done, tries - 1)
        else:
            slow = SLOW_ANSWER_MS if self.ghost and sim.chance(self.ghost) else self.delay_ms
            sim.after(self.late_ms + sim.between(0.05, slow), process.deliver, done, result)

    def _haunt(self, name: str, work: Callable[[], Any], life: int) -> None:
        if self.memory.available and life == self.life:
            self.sim.tell("store", f"does once more what {name} asked for")
            before = self.memory.moves_now()
            work()
            self._left |= {(p, move["epoch"]) for p, move in self.memory.moves_now().items() if p not in before}

    def moves(self) -> dict[str, Any]:
        """Records of moves, without those of moves that had ended and were written once more by a late try: they stay,
        and harm nobody, until the store was away or another controller leads."""
        return {p: move for p, move in self.memory.moves_now().items() if (p, move["epoch"]) not in self._left}

    def keep(self) -> Any:
        """What is on the disk now."""
        return self.life, *copy.deepcopy((self.memory.__dict__, self.checker.__dict__, self.terms.__dict__))

    def restore(self, kept: Any) -> None:
        """It has died and comes back with that; not at once. What it has lost before it cannot come back with."""
        life, memory, checker, terms = kept
        if life != self.life:
            return
        self.memory.__dict__.update(memory)
        self.checker.__dict__.update(checker)
        self.terms.__dict__.update(terms)
        self.memory.available = False
        self.checker.lost = True
        self.life += 1
        self.lost_ms = self.sim.now

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

    def placements(self, partitions: list[str], term: int) -> list[Any]:
        found = self.memory.placements_now(partitions, term)
        for placement in found:
            if placement.epoch:
                self.terms.read(placement.partition, term)
        return found

    def _sequence(self, partition: str) -> int:
        return self.memory.load_now([partition])[0].sequence

    def lead(self, request: Any) -> Any:
        standing = self.memory.lead_now(request)
        self.terms.standing(standing)
        return standing

    def place(self, requests: list[Any], term: int = 0) -> list[Any]:
        before = self.memory.placements_now([request.partition for request in requests])
        placed = self.memory.place_now(requests, term)
        for old, placement in zip(before, placed, strict=True):
            if old != placement:
                self.terms.placed(placement.partition, term)
            self.sim.tell("store", placement)
            self.on_placed(placement)
        return placed

    def unplace(self, partitions: list[str], purge: bool, term: int = 0) -> None:
        self.memory.unplace_now(partitions, purge, term)
        self.on_unplaced(partitions)

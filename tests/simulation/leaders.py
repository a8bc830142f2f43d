"""More than one controller: how many a seed has, what goes wrong with the one that leads, and the judge of terms. Drawn
from chance of its own, so that the other draws of a seed stay what they are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core import Violation
from network import BOTH, TO_BROKER, TO_PEER

from controller.migration import Migration, Migrations, Stage

if TYPE_CHECKING:
    from world import World

FAULTS = ("crash", "crash", "pause", "cut_off", "from_store", "from_broker", "to_broker")


def how_many(seed: int) -> int:
    return random.Random(f"controllers {seed}").choice((1, 1, 1, 2, 2, 3))


class TermChecker:
    """Looks at each write of a controller: who led before may not write what all share, nor place what a later leader
    has read or placed; one leader a term."""

    def __init__(self) -> None:
        self._ruled: dict[str, int] = {}
        self._leaders: dict[int, str] = {}
        self._term = 0

    def standing(self, standing: Any) -> None:
        if not standing.name:
            return
        self._term = max(self._term, standing.term)
        known = self._leaders.setdefault(standing.term, standing.name)
        if known != standing.name:
            raise Violation(f"{known} and {standing.name} lead in term {standing.term}")

    def wrote(self, term: int) -> None:
        """What is not of a partition: graphs, moves, settings."""
        if term < self._term:
            raise Violation(f"written in term {term}, led in {self._term}")

    def read(self, partition: str, term: int) -> None:
        self._ruled[partition] = max(self._ruled.get(partition, 0), term)

    def placed(self, partition: str, term: int) -> None:
        if term and term < self._ruled.get(partition, 0):
            raise Violation(f"{partition}: placed in term {term}, ruled in {self._ruled[partition]}", partition)
        self.read(partition, term)


def plan_leader_faults(world: World) -> None:
    """Only where there is a successor."""
    rng = random.Random(f"leaders {world.sim.seed}")
    if len(world.controllers) < 2 or not world.wildness:
        return
    for _ in range(rng.randint(0, 3)):
        at_ms, fault, for_ms = rng.uniform(300, world.end_ms), rng.choice(FAULTS), rng.uniform(100, 4_000)
        world.enter(at_ms, f"leader: {fault}", _befall, world, fault, for_ms)


def _befall(world: World, fault: str, longest_ms: float) -> None:
    leader = world.controller
    if not leader.alive or leader.paused:
        return
    world.sim.tell(leader.name, f"LEADER {fault.upper()}")
    for_ms = max(1.0, min(longest_ms, world.end_ms - world.sim.now))
    network, sim = world.network, world.sim
    if fault == "crash":
        leader.crash()
    elif fault == "pause":
        leader.pause()
        sim.after(for_ms, leader.resume)
    elif fault in ("cut_off", "from_store"):
        world.store.cut_off.add(leader.name)
        sim.after(for_ms, world.store.cut_off.discard, leader.name)
    if fault in ("cut_off", "from_broker", "to_broker"):
        network.freeze(leader.name, {"cut_off": BOTH, "from_broker": TO_PEER, "to_broker": TO_BROKER}[fault])
        sim.after(for_ms, network.thaw, leader.name)


@contextmanager
def unprepared() -> Iterator[None]:
    """Of no target of a move it is known that it has loaded the code."""
    real = Migrations._begin_next

    def begin_next(self: Any) -> bool:
        for move in self.waiting:
            target = self._cluster.nodes.get(move.target)
            if target is not None:
                target.ready.clear()
        return real(self)

    Migrations._begin_next = begin_next  # type: ignore[method-assign]
    try:
        yield
    finally:
        Migrations._begin_next = real  # type: ignore[method-assign]


@contextmanager
def killed_at(stage: Stage) -> Iterator[list[str]]:
    """Whoever leads dies as a move of his enters this stage; the partitions of those moves. Once in a world."""
    real, real_advance, killed = Migration.enter, Migrations.advance, []

    def enter(self: Any, to: Stage, now_ms: int) -> None:
        real(self, to, now_ms)
        if to is stage and not killed:
            killed.append(self.partition)

    def advance(self: Any) -> None:
        real_advance(self)
        if stage is Stage.PLANNED and self.waiting and not killed:  # its turn has not come in this step
            killed.append(self.waiting[0].partition)

    Migration.enter, Migrations.advance = enter, advance  # type: ignore[method-assign]
    try:
        yield killed
    finally:
        Migration.enter, Migrations.advance = real, real_advance  # type: ignore[method-assign]

"""The judge of how moves end: before the point of no return by abort or completion, after it by completion; in time.

It sees what controllers send to sources, what they log of the ends, what sources say, and which moves the store
applied.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from core import Violation

from liquefy.effects import Log, Relay, ToBroker
from liquefy.messages import Hold, Move, MoveEnded

if TYPE_CHECKING:
    from world import World

CALM_MS = 3_000.0
"""Where nothing goes wrong, a move needs so much beyond its time: asking, landing."""

TROUBLE_MS = 15_000.0
"""Where something does: abort, asking, five times landing, another leader, and faults meanwhile."""

SOURCE_MS = 15_000.0 + 8_000.0
"""A source that nobody reaches gives up by itself after 15 s, unless its last commit is on its way: that takes as
long as faults last."""

ANSWER_MS = 5_000.0
"""What the store said to a controller may be so old when it is acted upon."""

TRUE_AFTERWARDS = ("went away when it had the partition", " meanwhile", "has lost where")
"""Errors of moves past the point of no return, of which nobody could say that they had arrived."""

NOT_GIVEN_UP = ("does not own", "is not active yet", " already", "lost the partition", "fenced")
"""What a source says of moves that it does not begin, or of which it does not know what came."""


class Key(NamedTuple):
    partition: str
    epoch: int
    target: str


class MoveChecker:
    """`sees` each effect of each controller, `applied` what the store did; `look` all the time, `verdict` last."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._open: dict[str, Key] = {}
        self._sent: Counter[Key] = Counter()
        self._failed: dict[Key, list[tuple[float, str]]] = {}
        self._applied: dict[Key, float] = {}
        self._given_up: set[tuple[str, str, int]] = set()
        self._gone: set[tuple[str, str, int]] = set()
        """Of sources, by name."""
        self._moving: dict[Any, float] = {}
        self._recorded: dict[tuple[str, int], float] = {}

    def sees(self, effect: Any) -> None:
        if type(effect) is Relay and type(effect.message) is Move:
            key = Key(effect.message.partition, effect.message.epoch, effect.message.target)
            self._open[key.partition] = key
            self._sent[key] += 1
        elif type(effect) is Log and effect.event in ("move", "move_failed"):
            ended = self._open.pop(effect.fields["partition"], None)
            if ended is not None and effect.event == "move_failed" and effect.fields["to"] == ended.target:
                self._failed.setdefault(ended, []).append((self.world.sim.now, effect.fields["error"]))

    def source_does(self, name: str, effect: Any) -> None:
        """A source that says that it has given a move up stays what it is, until it begins another one."""
        if type(effect) is ToBroker and type(effect.message) is Hold:
            self._given_up.discard((name, effect.message.partition, effect.message.epoch))
        elif type(effect) is Relay and type(effect.message) is MoveEnded:
            said = effect.message
            if said.error and not any(words in said.error for words in NOT_GIVEN_UP):
                if (name, said.partition, said.epoch) in self._gone:
                    self._gone_although_given_up(said.partition, name)
                self._given_up.add((name, said.partition, said.epoch))

    def applied(self, name: str, partition: str, epoch: int, target: str) -> None:
        """The last commit of a source."""
        self._applied[Key(partition, epoch, target)] = self.world.sim.now
        self._gone.add((name, partition, epoch))
        if (name, partition, epoch) in self._given_up:
            self._gone_although_given_up(partition, name)

    def _gone_although_given_up(self, partition: str, name: str) -> None:
        if not self.world.store.life:
            raise Violation(f"{name} says that it has given up to move {partition}, and has moved it", partition)

    def verdict(self) -> None:
        if self.world.store.life:
            return  # what was applied may have been lost
        for key, failures in self._failed.items():
            applied = self._applied.get(key)
            if applied is not None and len(failures) >= self._sent[key]:
                # One that ended later, and says that it went on, is the one that was applied.
                later = any(at >= applied and _is_true_afterwards(error) for at, error in failures)
                for at, error in failures:
                    if at >= applied or not later:
                        self._failed_rightly(key, applied, at, error)

    def _failed_rightly(self, key: Key, applied: float, at: float, error: str) -> None:
        """A source that has given up does not go on. A controller that has given up, because it heard nothing and the
        store knew of nothing, may be wrong later, not before."""
        if _is_true_afterwards(error):
            return
        if error.startswith("given up: ") and applied > at - ANSWER_MS:
            return
        text = f"the move of {key.partition} at epoch {key.epoch} to {key.target} has failed, it is said ({error})"
        raise Violation(f"{text}, and the partition went there", key.partition)

    # -- in time ----------------------------------------------------------------------------------------

    def look(self) -> None:
        world, now = self.world, self.world.sim.now
        move_ms = max((c.config.move_ms for c in world.controllers.values() if not world.wild), default=10_000)
        calm = not world.wildness and not world.wild and world.kill_leader is None
        moving = {}
        for worker in world.workers.values():
            if worker.alive and not worker.paused:
                for partition in worker.state.ownership._moving.values():
                    what = (worker.incarnation, partition.name, partition.epoch)
                    moving[what] = self._moving.get(what, now)
                    if now - moving[what] > (move_ms + CALM_MS if calm else SOURCE_MS):
                        text = f"{partition.name} is moving from {worker.name} and does not end"
                        raise Violation(text, partition.name)
        self._moving = moving
        if world.store.memory.available:
            stored = {(p, move["epoch"]) for p, move in world.store.moves().items()}
            self._recorded = {move: self._recorded.get(move, now) for move in stored}
            for (name, epoch), since in self._recorded.items():
                if now - since > move_ms + (CALM_MS if calm else TROUBLE_MS):
                    raise Violation(f"the move of {name} at epoch {epoch} does not end", name)


def _is_true_afterwards(error: str) -> bool:
    return any(words in error for words in TRUE_AFTERWARDS)

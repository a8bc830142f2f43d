"""Migrations: one object per move, with the states it goes through, and the queue of those to come.

    PLANNED --> PREPARING --> STORING --> MOVING --> LANDING --> DONE
       |            |            |         |  |         ^
       |            |            |         |  +--> ABORTING / ASKING (the store, where it is)
       +------------+------------+---------+----------------------------> FAILED

The point of no return is the source's last commit, in the store. So whenever source, target, broker or time fails, the
move asks the store where the partition is: at the target, it goes forward; else it was given up. Each state has a
deadline; a move always ends. Where partitions go and why is decided elsewhere.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from controller.batches import Batch, pauses
from controller.cluster import Node
from controller.desk import Desk
from controller.events import ReadPlacements, SetJson
from liquefy.commits import Placement
from liquefy.messages import Abort, Landed, Move, MoveEnded, Prepare

ABORT_MS = 1_000
"""A source that was told to give up, and says nothing for so long, is not waited for."""

LAND_MS = 1_000
"""A target that has a partition and is not active after so long is assigned it once more."""

LAND_TRIES_MAX = 5
"""After so many the move ends: the partition is placed, and reconciling goes on."""


class Stage(enum.Enum):
    PLANNED = "planned"
    PREPARING = "preparing"
    STORING = "storing"
    MOVING = "moving"
    ABORTING = "aborting"
    ASKING = "asking"
    LANDING = "landing"
    DONE = "done"
    FAILED = "failed"


NEXT: dict[Stage, frozenset[Stage]] = {
    Stage.PLANNED: frozenset({Stage.PREPARING, Stage.STORING, Stage.DONE, Stage.FAILED}),
    Stage.PREPARING: frozenset({Stage.STORING, Stage.FAILED}),
    Stage.STORING: frozenset({Stage.MOVING, Stage.FAILED}),
    Stage.MOVING: frozenset({Stage.LANDING, Stage.ABORTING, Stage.ASKING, Stage.DONE, Stage.FAILED}),
    Stage.ABORTING: frozenset({Stage.LANDING, Stage.ASKING, Stage.DONE, Stage.FAILED}),
    Stage.ASKING: frozenset({Stage.LANDING, Stage.DONE, Stage.FAILED}),
    Stage.LANDING: frozenset({Stage.DONE, Stage.FAILED}),
    Stage.DONE: frozenset(),
    Stage.FAILED: frozenset(),
}
"""From where a move may go where."""


class Migration:
    """One move. After its end: `error` ("" if it arrived), `pause_us`, `held`, `epoch` at which it is placed."""

    def __init__(self, partition: str, source: str, target: str, reason: str, batch: Batch) -> None:
        self.partition, self.source, self.target, self.reason = partition, source, target, reason
        self.batch = batch
        self.stage = Stage.PLANNED
        self.epoch = 0
        self.error = ""
        self.pause_us = 0
        self.held = 0
        self.landed: set[int] = set()
        """Our connections to the brokers that have said that the target is active."""
        self.tries = 0
        self.stored = False
        self.since_ms = 0
        self.began_ms = 0
        self.on_end: list[Callable[[Migration], None]] = []

    @property
    def ended(self) -> bool:
        return self.stage in (Stage.DONE, Stage.FAILED)

    def enter(self, stage: Stage, now_ms: int) -> None:
        assert stage in NEXT[self.stage], (self.partition, self.stage, stage)
        self.stage, self.since_ms = stage, now_ms


class Migrations:
    """`running` and `waiting` by partition; at most `moves_at_once` run, and a new one begins `move_gap_ms` after one
    ended."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self.running: dict[str, Migration] = {}
        self.waiting: deque[Migration] = deque()
        self._waiting_for: set[str] = set()
        self._gap_until_ms = 0

    # -- what is asked -------------------------------------------------------------------------------------

    def partitions(self) -> set[str]:
        """All under way or waiting."""
        return self._waiting_for | self.running.keys()

    def add(
        self,
        partition: str,
        target: str,
        reason: str,
        batch: Batch,
        on_end: Callable[[Migration], None] | None = None,
    ) -> Migration:
        """Move the partition, once its turn comes. It ends DONE at once if it is there already by then. How the batch
        went is told when the last of its moves has ended."""
        move = self._batched(Migration(partition, self._cluster.where.get(partition, ""), target, reason, batch))
        if on_end is not None:
            move.on_end.append(on_end)
        self.waiting.append(move)
        self._waiting_for.add(partition)
        return move

    def _batched(self, move: Migration) -> Migration:
        if not move.batch.moves:
            move.batch.began_ms = self._desk.now_ms
        move.batch.moves.append(move)
        return move

    def cancel(self, chosen: Callable[[str], bool], why: str) -> None:
        """Moves of these partitions are not wanted any more: those waiting end, those running are aborted."""
        for move in [m for m in self.waiting if chosen(m.partition)]:
            self.waiting.remove(move)
            self._fail(move, why)
        for move in list(self.running.values()):
            if chosen(move.partition) and move.stage is Stage.MOVING:
                self._abort(move)

    def resume(self, moves: dict[str, Any]) -> None:
        """Take up what a controller before us left half done: let the sources give up what they have not committed;
        the store says what they have."""
        batch = Batch("left half done by the controller before")
        made = [Migration(p, m["source"], m["target"], m["reason"], batch) for p, m in sorted(moves.items())]
        for move in [self._batched(move) for move in made]:
            partition, stored = move.partition, moves[move.partition]
            move.epoch, move.stored, move.began_ms = stored["epoch"], True, self._desk.now_ms
            move.stage = Stage.MOVING
            self.running[partition] = move
            if self._cluster.epoch(partition) > move.epoch:
                self.on_placed(self._cluster.placements[partition])
            else:
                move.since_ms = self._desk.now_ms - self._desk.config.move_ms  # overdue, once there is a broker

    # -- events --------------------------------------------------------------------------------------------

    def on_prepared(self, node: Node, graph: str, error: str) -> None:
        for move in list(self.running.values()):
            if move.stage is Stage.PREPARING and move.target == node.name and _graph(move.partition) == graph:
                if error:
                    self._fail(move, f"{node.name} cannot load {graph}: {error.splitlines()[0]}")
                else:
                    self._store(move)

    def on_ended(self, node: Node, ended: MoveEnded) -> bool:
        """The source says: handed over, or given up. False if no move is known to which that belongs."""
        move = self.running.get(ended.partition)
        if move is None or node.name != move.source or ended.epoch != move.epoch:
            return False
        if ended.error and move.stage in (Stage.MOVING, Stage.ABORTING, Stage.ASKING):
            self._fail(move, ended.error)
        elif not ended.error:
            self._placed(move)
            if not self._cluster.is_alive(move.target):
                self._fail(move, f"{move.target} went away when it had the partition")
        return True

    def on_landed(self, landed: Landed, link: int = 0) -> None:
        """The target is active, as a broker says; each has held its part of the messages."""
        move = self.running.get(landed.partition)
        if move is None or landed.epoch <= move.epoch or move.epoch == 0:
            return
        if landed.node != move.target:
            self._overtaken(move, landed.node)
            return
        if link not in move.landed:
            move.landed.add(link)
            move.pause_us, move.held = max(move.pause_us, landed.pause_us), move.held + landed.held
        if move.stage in (Stage.MOVING, Stage.ABORTING, Stage.ASKING, Stage.LANDING):
            self._placed(move)
            if not self._told_by(move.target) - move.landed:
                self._done(move)

    def _told_by(self, name: str) -> set[int]:
        """Our connections to brokers that say when the node is active."""
        node = self._cluster.nodes.get(name)
        return self._desk.links & node.sessions.keys() if node is not None else set()

    def on_placed(self, placement: Placement) -> None:
        """The store's word on a partition, whoever asked for it."""
        move = self.running.get(placement.partition)
        if move is None or placement.epoch <= move.epoch or move.epoch == 0:
            return
        if placement.owner == move.target:
            self._placed(move)
        else:
            self._overtaken(move, placement.owner)

    def on_gone_back(self, partition: str) -> None:
        """The store has lost where it was: however far its move had come, that counts no more. News of it that are late
        would have the partition where the store does not."""
        if partition in self.running:
            self._fail(self.running[partition], f"the store has lost where {partition} was")

    def on_node_gone(self, name: str) -> None:
        """Source or target has died: the store knows how far the move came."""
        for move in list(self.running.values()):
            if name not in (move.source, move.target):
                continue
            if move.stage in (Stage.MOVING, Stage.ABORTING):
                if name == move.target and move.stage is Stage.MOVING:
                    self._abort(move)
                elif name == move.source:
                    self._ask(move)
            elif move.stage in (Stage.PREPARING, Stage.STORING):
                self._fail(move, f"{name} is gone")
            elif move.stage is Stage.LANDING and name == move.target:
                self._fail(move, f"{name} went away when it had the partition")

    def on_session_lost(self, name: str) -> None:
        """What was said to the node by one of the brokers may not have come there, nor its answer to us."""
        for move in list(self.running.values()):
            if move.source == name and move.stage is Stage.MOVING:
                self._abort(move)

    def on_settled(self) -> None:
        """The broker came back and forgot what it held: sources have given up, or their handover may be lost."""
        for move in list(self.running.values()):
            if move.stage in (Stage.MOVING, Stage.ABORTING):
                self._abort(move)

    def advance(self) -> None:
        """Deadlines, and new moves."""
        now_ms = self._desk.now_ms
        if not self._desk.settled:
            return
        for move in list(self.running.values()):
            waited_ms = now_ms - move.since_ms
            if move.stage is Stage.PREPARING and waited_ms > self._desk.config.prepare_ms:
                self._fail(move, f"{move.target} did not load the code within {self._desk.config.prepare_ms} ms")
            elif move.stage is Stage.MOVING and waited_ms >= self._desk.config.move_ms:
                self._abort(move)
            elif move.stage is Stage.ABORTING and waited_ms > ABORT_MS:
                self._ask(move)
            elif move.stage is Stage.LANDING and waited_ms > LAND_MS:
                self._assign_again(move)
        while self.waiting and len(self.running) < self._desk.config.moves_at_once and now_ms >= self._gap_until_ms:
            if not self._begin_next():
                break

    def next_wake_ms(self) -> int | None:
        """When `advance` has something to begin."""
        free = len(self.running) < self._desk.config.moves_at_once
        return self._gap_until_ms if self.waiting and free else None

    # -- states --------------------------------------------------------------------------------------------

    def _begin_next(self) -> bool:
        """Begin the first waiting move whose partition is not under way."""
        move = next((m for m in self.waiting if m.partition not in self.running), None)
        if move is None:
            return False
        self.waiting.remove(move)
        self._waiting_for = {m.partition for m in self.waiting}
        partition = move.partition
        move.source, move.epoch = self._cluster.where.get(partition, ""), self._cluster.epoch(partition)
        move.began_ms = move.since_ms = self._desk.now_ms
        target = self._cluster.nodes.get(move.target)
        if move.source == move.target and move.source:
            self._done(move)
        elif not self._cluster.is_alive(move.source):
            self._fail(move, f"{partition} has no living owner now")
        elif target is None or not target.alive:
            self._fail(move, f"{move.target} is gone")
        elif _graph(partition) in self._cluster.loaded(target):
            self.running[partition] = move
            self._store(move)
        else:
            self.running[partition] = move
            move.enter(Stage.PREPARING, self._desk.now_ms)
            graph = self._cluster.graph_of(partition)
            if graph is None:
                self._fail(move, f"there is no graph {_graph(partition)} any more")
            else:
                target.refused.pop(graph.name, None)
                self._desk.relay(target.session, Prepare(graph))
        return True

    def _store(self, move: Migration) -> None:
        """Written down first, so that a controller after us knows of it."""
        move.enter(Stage.STORING, self._desk.now_ms)
        move.stored = True
        record = {"epoch": move.epoch, "source": move.source, "target": move.target, "reason": move.reason}
        self._desk.store(SetJson("moves", move.partition, record), lambda _: self._send(move))

    def _send(self, move: Migration) -> None:
        if move.stage is not Stage.STORING:
            return
        if self._cluster.epoch(move.partition) != move.epoch or not self._cluster.is_alive(move.source):
            self._fail(move, f"{move.partition} has another owner now")
            return
        move.enter(Stage.MOVING, self._desk.now_ms)
        source = self._cluster.nodes[move.source]
        self._desk.relay(source.session, Move(move.partition, move.epoch, move.target))

    def _abort(self, move: Migration) -> None:
        """Ask the source to give up; it answers, unless it is past the point of no return."""
        if move.stage is Stage.MOVING:
            move.enter(Stage.ABORTING, self._desk.now_ms)
        else:
            move.since_ms = self._desk.now_ms
        source = self._cluster.nodes.get(move.source)
        if source is not None and source.alive:
            self._desk.relay(source.session, Abort(move.partition, move.epoch))
        else:
            self._ask(move)

    def _ask(self, move: Migration) -> None:
        """Where is it? The store's answer decides."""
        move.enter(Stage.ASKING, self._desk.now_ms)
        self._desk.store(ReadPlacements([move.partition]), lambda placements: self._told(move, placements[0]))

    def _told(self, move: Migration, placement: Placement) -> None:
        if move.stage is not Stage.ASKING:
            return
        if placement.epoch <= move.epoch:
            why = "no answer in time" if self._cluster.is_alive(move.source) else f"{move.source} is gone"
            self._fail(move, f"given up: {why}")
            return
        self._cluster.place(placement, move.reason, self._desk.now_ms)
        if placement.owner != move.target:
            self._overtaken(move, placement.owner)
            return
        self._placed(move)
        if self._cluster.is_alive(move.target):
            self._desk.assign(move.partition, placement.epoch, move.target)
        else:
            self._fail(move, f"{move.target} went away when it had the partition")

    def _placed(self, move: Migration) -> None:
        """Past the point of no return: the partition is the target's."""
        self._cluster.place(Placement(move.partition, move.target, move.epoch + 1), move.reason, self._desk.now_ms)
        if move.stage in (Stage.MOVING, Stage.ABORTING, Stage.ASKING):
            move.enter(Stage.LANDING, self._desk.now_ms)

    def _assign_again(self, move: Migration) -> None:
        """The handover was lost with its source or with the broker."""
        move.since_ms = self._desk.now_ms
        move.tries += 1
        if move.tries > LAND_TRIES_MAX:
            self._done(move)
        elif self._cluster.where.get(move.partition) == move.target:
            self._desk.assign(move.partition, self._cluster.epoch(move.partition), move.target)

    def _overtaken(self, move: Migration, owner: str) -> None:
        self._fail(move, f"{move.partition} went to {owner or 'nobody'} meanwhile")

    # -- ends ----------------------------------------------------------------------------------------------

    def _done(self, move: Migration) -> None:
        there_already = move.stage is Stage.PLANNED
        move.enter(Stage.DONE, self._desk.now_ms)
        if not there_already:
            self._desk.migrations += 1
            ms, pause_ms = self._desk.now_ms - move.began_ms, move.pause_us / 1000
            text = (
                f"moved {move.partition} {move.source} -> {move.target} in {ms} ms, "
                f"pause {pause_ms:.1f} ms, {move.held} held"
            )
            fields = {"partition": move.partition, "from": move.source, "to": move.target}
            self._desk.log("debug", text, "move", **fields, ms=ms, pause_ms=pause_ms, held=move.held)
        self._end(move)

    def _fail(self, move: Migration, error: str) -> None:
        move.enter(Stage.FAILED, self._desk.now_ms)
        move.error = error
        text = f"{move.partition} was not moved to {move.target}: {error}"
        fields = {"partition": move.partition, "from": move.source, "to": move.target}
        self._desk.log("debug", text, "move_failed", **fields, error=error)
        self._end(move)

    def _end(self, move: Migration) -> None:
        if self.running.get(move.partition) is move:
            del self.running[move.partition]
            self._gap_until_ms = self._desk.now_ms + self._desk.config.move_gap_ms
        if move.stored:
            self._desk.store(SetJson("moves", move.partition, None), lambda _: None)
        self._waiting_for = {m.partition for m in self.waiting}
        told = move.batch.told(self._desk.now_ms) if move.batch.ended else None
        if told is not None:
            level, text, fields = told
            self._desk.log(level, text, "moved", **fields)
        # Each holds the other, and who waits for the move holds it, too: let go of, they are freed now, not some day.
        if move.batch.ended:
            move.batch.moves.clear()
        on_end, move.on_end = move.on_end, []
        for tell in on_end:
            tell(move)


def results(moves: Iterable[Migration], seconds: float) -> dict[str, Any]:
    """What `liquefy-ctl migrate` gets: see `liquefy.control`."""
    moves = list(moves)
    ended = [move for move in moves if not move.error]
    paused, pause_ms = pauses(ended)
    return {
        "moved": len(ended),
        "failed": len(moves) - len(ended),
        "paused": paused,
        "pause_ms": pause_ms,
        "held": sum(move.held for move in ended),
        "seconds": round(seconds, 3),
        "moves": [
            {
                "partition": move.partition,
                "from": move.source,
                "to": move.target,
                "epoch": move.epoch,
                "pause_ms": move.pause_us / 1000,
                "held": move.held,
                "error": move.error,
            }
            for move in moves
        ],
    }


def _graph(partition: str) -> str:
    return partition[: partition.index("/")]

"""Which partitions this worker owns, and how they come and go: activation, migration as a source, loss.

A migration's source goes through: asked (`Move`) -> holding (`Hold` sent) -> draining (the broker's `Held` marker
came; nothing new is begun) -> committing (the last commit, with the placement) -> handed over. Before the last
commit it may give up; once that is applied, the point of no return, it only goes forward.

Deciding only, like `flow`, whose mailboxes these are.
"""

from __future__ import annotations

from typing import Any

from liquefy.commits import PartitionState, Verdict
from liquefy.effects import Log, Relay, ToBroker
from liquefy.errors import BadFrame
from liquefy.messages import (
    Activated,
    Claim,
    Disown,
    Handover,
    Hold,
    Legacy,
    MoveEnded,
    Posted,
    Release,
    Returned,
    Session,
    decode_message,
)
from worker.events import LoadPartitions
from worker.fleet import Fleet
from worker.flow import Flow
from worker.mailbox import LOCAL, Entry, Life, Move, Partition, Stage

MOVE_MS_MAX = 15_000
"""A source that has not come to its last commit by then gives the move up by itself."""


class Ownership:
    """The partitions of one node, by name, are `flow.partitions`."""

    def __init__(self, name: str, flow: Flow, fleet: Fleet, effects: list[Any]) -> None:
        self.changed = False
        self.session: Session = b""
        self._name = name
        self._flow = flow
        self._fleet = fleet
        self._effects = effects
        self._to_load: list[str] = []
        self._not_yet: list[str] = []
        """The store does not know them as ours yet: it is asked again at the next tick, not at once and without end."""
        self._loaded: dict[str, PartitionState] = {}
        self._rechecked: dict[str, tuple[int, int]] = {}
        """Epoch and sequence at which a partition was when the store was asked whether it has as much."""
        self._moving: dict[str, Partition] = {}

    def claims(self) -> list[Claim]:
        return [Claim(p.name, p.epoch) for p in self._flow.partitions.values()]

    # -- coming -----------------------------------------------------------------------------------------

    def activate(self, name: str, epoch: int, legacy: Legacy | None = None) -> None:
        """The broker routes the partition here: load it, unless its source says what the store has, then handle what
        comes."""
        partition = self._flow.partitions.get(name)
        if partition is not None and partition.epoch == epoch:
            if partition.life is Life.ACTIVE:
                self._effects.append(ToBroker(Activated(name, epoch)))
            return
        if partition is not None:
            if partition.epoch > epoch:
                return
            self.drop(partition)
        fresh = self._flow.partitions[name] = Partition(name, epoch, self._flow.next_read)
        self.changed = True
        if legacy is None:
            self._to_load.append(name)
            return
        # Should the store have lost the source's last commit, ours will not fit, and is refused as a gap.
        fresh.next_out = legacy.next_out
        fresh.acknowledged, fresh.acknowledged_since_ms = list(legacy.acknowledged), self._flow.now_ms
        self._loaded[name] = PartitionState(name, self._name, epoch, legacy.sequence, legacy.outbox)
        self.start()

    def loaded(self, states: list[PartitionState]) -> None:
        """The store says what the partitions are like. They become active once their graph is in force here."""
        for state in states:
            partition = self._flow.partitions.get(state.partition)
            asked = self._rechecked.pop(state.partition, None)
            if partition is not None and asked is not None and partition.life is Life.ACTIVE:
                self._compare(partition, state, asked)
            if partition is None or partition.life is not Life.LOADING:
                continue
            if (state.owner, state.epoch) != (self._name, partition.epoch):
                if state.epoch >= partition.epoch:
                    self.lose(partition, f"it is {state.owner or 'nobody'}'s at epoch {state.epoch}")
                else:
                    self._not_yet.append(partition.name)
                continue
            self._loaded[state.partition] = state
        self.start()

    def tick(self) -> None:
        """Whatever is due by the clock."""
        self._to_load += self._not_yet
        self._not_yet = []

    def recheck(self) -> None:
        """The store was away, and may have come back with less. A partition that has nothing to commit would not
        notice; and what it had sent, and was told to be safe, may be safe no more."""
        for partition in self._flow.partitions.values():
            if partition.life is Life.ACTIVE:
                self._rechecked[partition.name] = partition.epoch, partition.sequence
                self._to_load.append(partition.name)

    def _compare(self, partition: Partition, state: PartitionState, asked: tuple[int, int]) -> None:
        epoch, sequence = asked
        if partition.epoch == epoch == state.epoch and state.sequence < sequence and not partition.committing:
            self._gap(partition)

    def start(self) -> None:
        """Activate what is loaded and whose graph is in force."""
        for name, state in list(self._loaded.items()):
            partition = self._flow.partitions.get(name)
            if partition is None or partition.life is not Life.LOADING or partition.epoch != state.epoch:
                del self._loaded[name]
                continue
            graph = self._fleet.graphs.get(partition.graph)
            if graph is None or partition.group not in graph.group_by_name:
                continue
            del self._loaded[name]
            partition.life = Life.ACTIVE
            partition.stateful = graph.group_by_name[partition.group].stateful
            if partition.stateful:
                partition.unhandled.clear()
            partition.sequence = state.sequence
            partition.next_out = max(partition.next_out, max((seq for seq, _ in state.outbox), default=0) + 1)
            self._effects.append(ToBroker(Activated(name, partition.epoch)))
            for seq, packed in state.outbox:
                self._send_again(partition, seq, packed)
            for entry in partition.unstarted():
                self._flow.admit(entry)
            self._flow.schedule(partition)

    def _send_again(self, partition: Partition, seq: int, packed: bytes) -> None:
        try:
            message = decode_message(packed)
        except BadFrame as error:
            text = f"{partition.name}: outbox entry {seq} is no message: {error}: kept unsent"
            self._effects.append(Log("error", text, "undeliverable"))
            return
        if message.due_ms > self._flow.now_ms:
            self._flow.delay(partition, seq, message)
        else:
            self._flow.send_outbox(partition, seq, message, resend=True)

    # -- going ------------------------------------------------------------------------------------------

    def drop(self, partition: Partition) -> list[Entry]:
        """It is somebody else's: stop and forget. Returns the messages that were there, in order of arrival."""
        self._moving.pop(partition.name, None)
        self._loaded.pop(partition.name, None)
        self.changed = True
        return self._flow.forget_partition(partition)

    def lose(self, partition: Partition, why: str) -> None:
        """The store says that it is not ours at our epoch: drop it and say so."""
        self._effects.append(Log("warning", f"lost {partition.name} at epoch {partition.epoch}: {why}", "lost"))
        self._end_move(partition, f"the source lost the partition: {why}")
        self.drop(partition)
        self._effects.append(ToBroker(Disown(partition.name, partition.epoch)))

    def drop_all(self) -> None:
        """We were declared dead: nothing is ours any more."""
        for partition in list(self._flow.partitions.values()):
            self._end_move(partition, "the source was fenced")
            self.drop(partition)

    # -- moving -----------------------------------------------------------------------------------------

    def move(self, name: str, epoch: int, target: str, controller: Session) -> None:
        """Migrate the partition to `target`."""
        partition = self._flow.partitions.get(name)
        problem = ""
        if partition is None or partition.epoch != epoch:
            problem = f"{self._name} does not own {name} at epoch {epoch}"
        elif partition.life is not Life.ACTIVE:
            problem = f"{name} is not active yet"
        elif target == self._name:
            problem = f"{name} is on {target} already"
        if problem:
            self._effects.append(Relay(controller, MoveEnded(name, epoch, problem)))
            return
        assert partition is not None
        if partition.move is None:
            partition.move = Move(target, controller, self._flow.now_ms)
            self._moving[name] = partition
            self._effects.append(ToBroker(Hold(name, epoch)))

    def held(self, name: str, epoch: int) -> None:
        """Nothing more comes for the partition: begin nothing new, let what runs end."""
        partition = self._moving.get(name)
        if partition is None or partition.epoch != epoch:
            self._effects.append(ToBroker(Release(name, epoch)))
        elif partition.move is not None:
            partition.move.draining = True

    def abort(self, name: str, epoch: int, why: str, release: bool = True) -> None:
        """Give the move up, unless its last commit is on its way."""
        partition = self._moving.get(name)
        if partition is None or partition.epoch != epoch or partition.move is None or partition.move.committing:
            return
        self._end_move(partition, why)
        if release:
            self._effects.append(ToBroker(Release(name, epoch)))
        self._flow.schedule(partition)

    def link_down(self) -> None:
        """The broker is gone, and with it the holds: moves before their last commit are given up."""
        for partition in list(self._moving.values()):
            self.abort(partition.name, partition.epoch, "the broker is gone", release=False)

    def advance(self) -> None:
        """Ask for the last commits that are due, and load what was activated. Called in each step."""
        for partition in list(self._moving.values()):
            move = partition.move
            if move is None or move.committing:
                continue
            # What has run and waits for its commit goes into the last one: it need not have one of its own.
            drained = partition.busy == len(partition.ran) and not partition.committing
            if move.draining and drained and not partition.reset_due:
                move.committing = True
                self._flow.want_commit(partition)
            elif self._flow.now_ms - move.since_ms > MOVE_MS_MAX:
                self.abort(partition.name, partition.epoch, f"not drained within {MOVE_MS_MAX} ms")
        if self._to_load:
            self._effects.append(LoadPartitions(self._to_load))
            self._to_load = []

    def settled(self, partition: Partition, verdict: Verdict) -> None:
        """A commit ended our ownership: handed over, fenced, or the store is not as we left it. Of one that was dropped
        since, nothing is to be done: it may be here again, at another epoch."""
        if self._flow.partitions.get(partition.name) is not partition:
            return
        if verdict.outcome == "ok":
            self._hand_over(partition)
        elif verdict.outcome == "fenced":
            self.lose(partition, "a commit was fenced")
        else:
            self._gap(partition)

    def _gap(self, partition: Partition) -> None:
        text = "the store is not where the last commit left it; loading it anew"
        self._effects.append(Log("error", f"{partition.name}: {text}", "gap"))
        self._reload(partition, "the store lost or gained commits")

    def _hand_over(self, partition: Partition) -> None:
        assert partition.move is not None
        returned: list[Returned] = []
        for entry in partition.unstarted():
            if entry.sender is None:
                continue  # a replayed dead letter: it stays one
            sender = self.session if entry.sender == LOCAL else entry.sender
            if not returned or returned[-1].sender != sender:
                returned.append(Returned(sender, []))
            returned[-1].posted.append(Posted(entry.seq, entry.message, entry.check))
        legacy = self._flow.legacy(partition, partition.move.unsent)
        handover = Handover(partition.name, partition.epoch + 1, partition.move.target, returned, legacy)
        self._effects.append(ToBroker(handover))
        self._end_move(partition, "")
        self.drop(partition)

    def graphs_changed(self) -> None:
        """A version in which a group has a context, and had none before, or the other way round: what is here of it
        begins anew, as what is known of contexts is not what it needs."""
        for partition in list(self._flow.partitions.values()):
            graph = self._fleet.graphs.get(partition.graph)
            group = graph.group_by_name.get(partition.group) if graph is not None else None
            if partition.life is Life.ACTIVE and group is not None and group.stateful != partition.stateful:
                kind = "has a context" if group.stateful else "has no context"
                text = f"{partition.name} {kind} in this version: beginning anew"
                self._effects.append(Log("info", text, "graphs"))
                self._reload(partition, "a new version came")

    def _reload(self, partition: Partition, why: str) -> None:
        """Own it as if it had just come, with all that waits; also what the broker holds for a move."""
        moving = partition.name in self._moving
        self._end_move(partition, why)
        if moving:
            self._effects.append(ToBroker(Release(partition.name, partition.epoch)))
        left = self.drop(partition)
        fresh = Partition(partition.name, partition.epoch, self._flow.next_read)
        self._flow.partitions[fresh.name] = fresh
        for entry in left:
            if not entry.children:
                entry.partition, entry.check = fresh, True
                entry.stage, entry.ticket, entry.result = Stage.QUEUED, 0, None
                fresh.take(entry)
        self._to_load.append(fresh.name)

    def _end_move(self, partition: Partition, error: str) -> None:
        move, partition.move = partition.move, None
        if self._moving.pop(partition.name, None) is not None and move is not None:
            self._effects.append(Relay(move.controller, MoveEnded(partition.name, partition.epoch, error)))

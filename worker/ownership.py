"""Which partitions this worker owns, and how they come and go: activation, migration as a source, loss.

A migration's source goes through: asked (`Move`) -> holding (`Hold` sent) -> draining (the broker's `Held` marker
came; nothing new is begun) -> committing (the last commit, with the placement) -> handed over. Before the last
commit it may give up; once that is applied, the point of no return, it only goes forward.

Of several brokers all that are reached hold, the marker of each is waited for, and to each is handed over, with what
came by it. A broker that was not told what the others know is told by the owner, after a while (`Own`).

Deciding only, like `flow`, whose mailboxes these are.
"""

from __future__ import annotations

from typing import Any

from liquefy.commits import PartitionState, Verdict
from liquefy.effects import Log, Relay, ToBroker
from liquefy.errors import BadFrame
from liquefy.messages import (
    OWN_CLAIMS_MAX,
    RETURNED_MAX,
    Activated,
    Claim,
    Disown,
    Handover,
    Hold,
    Legacy,
    MoveEnded,
    Own,
    Posted,
    Release,
    Returned,
    Session,
    decode_message,
)
from liquefy.messages import returned as returned_by
from liquefy.sending import size_of
from worker.events import LoadPartitions
from worker.fleet import Fleet
from worker.flow import DAMAGED_REMEDY, Flow
from worker.mailbox import LOCAL, Entry, Life, Move, Partition, Stage

MOVE_MS_MAX = 15_000
"""A source that has not come to its last commit by then gives the move up by itself."""


RETURNED_BYTES_MAX = 16 * 1024 * 1024
"""Of messages that a source gives back; more is sent again by who sent it, as it would be too long for a frame."""

OWN_AFTER_MS = 200
"""From the activation of a partition on, brokers that have not been told of it by its source or the controller have so
long to be told; then its owner tells them."""

DAMAGED_LOOK_MS = 5_000
"""A partition that is set aside, as something of it is damaged in the store, is looked at again so often."""


class Ownership:
    """The partitions of one node, by name, are `flow.partitions`."""

    def __init__(self, name: str, flow: Flow, fleet: Fleet, effects: list[Any]) -> None:
        self.changed = False
        self._name = name
        self._flow = flow
        self._links = flow.links
        self._fleet = fleet
        self._effects = effects
        self._to_load: list[str] = []
        self._not_yet: list[str] = []
        """The store does not know them as ours yet: it is asked again at the next tick, not at once and without end."""
        self._loaded: dict[str, PartitionState] = {}
        self._rechecked: dict[str, tuple[int, int]] = {}
        """Epoch and sequence at which a partition was when the store was asked whether it has as much."""
        self._aside_ms: dict[str, int] = {}
        """Partitions of which something is damaged in the store: when they are looked at again."""
        self._told_damaged: dict[str, str] = {}
        self._moving: dict[str, Partition] = {}
        self._untold_ms: dict[str, int] = {}
        """Partitions of which not all brokers may have been told, and since when."""

    def claims(self) -> list[Claim]:
        return [Claim(p.name, p.epoch) for p in self._flow.partitions.values()]

    # -- coming -----------------------------------------------------------------------------------------

    def activate(self, name: str, epoch: int, legacy: Legacy | None = None, link: int = 0) -> None:
        """A broker routes the partition here: load it, unless its source says what the store has, then handle what
        comes."""
        partition = self._flow.partitions.get(name)
        if partition is not None and partition.epoch == epoch:
            partition.brokers.add(link)
            if partition.life is Life.ACTIVE:
                self._effects.append(ToBroker(Activated(name, epoch), link))
            return
        if partition is not None:
            if partition.epoch > epoch:
                return
            self.drop(partition)
        fresh = self._flow.partitions[name] = Partition(name, epoch, self._flow.next_read)
        fresh.brokers.add(link)
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
                if state.damaged:
                    self._set_aside(partition, state.damaged)
                    continue
                self._compare(partition, state, asked)
            if partition is None or partition.life is not Life.LOADING:
                continue
            if state.damaged:
                self._set_aside(partition, state.damaged)
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
        for name in [name for name, due_ms in self._aside_ms.items() if due_ms <= self._flow.now_ms]:
            del self._aside_ms[name]
            self._to_load.append(name)
        if self._untold_ms:
            self._tell_the_others()

    def _tell_the_others(self) -> None:
        """Brokers that do not know, after a while, what is here."""
        due = [name for name, since_ms in self._untold_ms.items() if self._flow.now_ms - since_ms >= OWN_AFTER_MS]
        claims: dict[int, list[Claim]] = {}
        for name in due:
            del self._untold_ms[name]
            partition = self._flow.partitions.get(name)
            if partition is not None and partition.life is Life.ACTIVE:
                for link in self._links.sessions.keys() - partition.brokers:
                    partition.brokers.add(link)
                    claims.setdefault(link, []).append(Claim(name, partition.epoch))
        for link in sorted(claims):
            for start in range(0, len(claims[link]), OWN_CLAIMS_MAX):
                self._effects.append(ToBroker(Own(claims[link][start : start + OWN_CLAIMS_MAX]), link))

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
            partition.leap = max(0, partition.beyond - state.sequence)
            partition.next_out = max(partition.next_out, max((seq for seq, _ in state.outbox), default=0) + 1)
            self._effects += [ToBroker(Activated(name, partition.epoch), link) for link in sorted(partition.brokers)]
            if len(partition.brokers) < self._links.count:
                self._untold_ms[name] = self._flow.now_ms
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

    def drop(self, partition: Partition) -> None:
        """It is somebody else's, who was not handed over what is here: stop and forget."""
        self._take_out(partition)
        self._flow.lost(partition)

    def _take_out(self, partition: Partition) -> list[Entry]:
        """It is here no more. Returns the messages that were there, in order of arrival."""
        self._moving.pop(partition.name, None)
        self._loaded.pop(partition.name, None)
        self._untold_ms.pop(partition.name, None)
        self._aside_ms.pop(partition.name, None)
        self.changed = True
        return self._flow.forget_partition(partition)

    def drop_for(self, partition: Partition, link: int) -> None:
        """A broker says that it is somebody else's; the others may not know yet."""
        self.drop(partition)
        self._disown(partition, link)

    def _disown(self, partition: Partition, but: int = -1) -> None:
        for link in sorted(self._links.sessions.keys() - {but}):
            self._effects.append(ToBroker(Disown(partition.name, partition.epoch), link))

    def lose(self, partition: Partition, why: str) -> None:
        """The store says that it is not ours at our epoch: drop it and say so."""
        self._effects.append(Log("warning", f"lost {partition.name} at epoch {partition.epoch}: {why}", "lost"))
        self._end_move(partition, f"the source lost the partition: {why}")
        self.drop(partition)
        self._disown(partition)

    def drop_all(self, link: int = 0) -> None:
        """We were declared dead, by that broker: nothing is ours any more."""
        for partition in list(self._flow.partitions.values()):
            self._end_move(partition, "the source was fenced")
            self.drop_for(partition, link)

    # -- moving -----------------------------------------------------------------------------------------

    def move(self, name: str, epoch: int, target: str, controller: Session, link: int = 0) -> None:
        """Migrate the partition to `target`, as the controller says by that connection."""
        partition = self._flow.partitions.get(name)
        problem = ""
        if partition is None or partition.epoch != epoch:
            problem = f"{self._name} does not own {name} at epoch {epoch}"
        elif partition.life is not Life.ACTIVE:
            problem = f"{name} is not active yet"
        elif target == self._name:
            problem = f"{name} is on {target} already"
        if problem:
            self._effects.append(Relay(controller, MoveEnded(name, epoch, problem), link))
            return
        assert partition is not None
        if partition.move is None:
            partition.move = Move(target, controller, self._flow.now_ms, link)
            self._moving[name] = partition
            for link in sorted(self._links.sessions):
                self._hold(partition, partition.move, link)

    def _hold(self, partition: Partition, move: Move, link: int) -> None:
        if link not in partition.brokers:
            partition.brokers.add(link)
            self._effects.append(ToBroker(Own([Claim(partition.name, partition.epoch)]), link))
        partition.holds[link] = partition.holds.get(link, 0) + 1
        move.awaited.add(link)
        self._effects.append(ToBroker(Hold(partition.name, partition.epoch), link))

    def held(self, name: str, epoch: int, link: int = 0) -> None:
        """Nothing more comes for the partition by that broker; if by none: begin nothing new, let what runs end."""
        partition = self._flow.partitions.get(name)
        if partition is not None and partition.epoch == epoch and link in partition.holds:
            partition.holds[link] -= 1
            if partition.holds[link]:
                return  # of a move that was given up; that of the present one is to come
            del partition.holds[link]
        partition = self._moving.get(name)
        if partition is None or partition.epoch != epoch:
            self._effects.append(ToBroker(Release(name, epoch), link))
        elif partition.move is not None:
            self._marked(partition.move, link)

    def _marked(self, move: Move, link: int) -> None:
        """Nothing more of the past comes by that broker."""
        move.awaited.discard(link)
        move.draining = not move.awaited

    def abort(self, name: str, epoch: int, why: str, release: bool = True) -> None:
        """Give the move up, unless its last commit is on its way."""
        partition = self._moving.get(name)
        if partition is None or partition.epoch != epoch or partition.move is None or partition.move.committing:
            return
        self._end_move(partition, why)
        if release:
            self._release(partition)
        self._flow.schedule(partition)

    def _release(self, partition: Partition) -> None:
        for link in sorted(self._links.sessions):
            self._effects.append(ToBroker(Release(partition.name, partition.epoch), link))

    def link_up(self, link: int) -> None:
        """That broker is told what is here by our Hello. It holds nothing; handed over to without a hold, it makes
        senders send again."""
        for partition in self._flow.partitions.values():
            partition.brokers.add(link)

    def link_down(self, link: int) -> None:
        """A broker is gone, and with it what it held. When there is none left, moves before their last commit are given
        up."""
        self.changed = True  # the last news of it may be lost
        for partition in self._flow.partitions.values():
            partition.brokers.discard(link)
            partition.holds.pop(link, None)
        for partition in list(self._moving.values()):
            if not self._links.sessions:
                self.abort(partition.name, partition.epoch, "the broker is gone", release=False)
            elif partition.move is not None and link in partition.move.awaited:
                self._marked(partition.move, link)

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
        elif verdict.outcome == "damaged":
            self._set_aside(partition, verdict.why)
        else:
            self._gap(partition)

    def _set_aside(self, partition: Partition, why: str) -> None:
        """It is neither served nor moved, and keeps what waits for it, until that is repaired; all others go on."""
        name = partition.name
        if self._told_damaged.get(name) != why:
            self._told_damaged[name] = why
            text = f"{why}: {name} is set aside; {DAMAGED_REMEDY}: it is looked at every {DAMAGED_LOOK_MS // 1000} s"
            self._effects.append(Log("error", text, "damaged"))
        if partition.life is Life.ACTIVE:
            self._reload(partition, why)
            self._to_load.remove(name)
        self._aside_ms[name] = self._flow.now_ms + DAMAGED_LOOK_MS

    def _gap(self, partition: Partition) -> None:
        text = "the store is not where the last commit left it; loading it anew"
        self._effects.append(Log("error", f"{partition.name}: {text}", "gap"))
        self._reload(partition, "the store lost or gained commits")

    def _hand_over(self, partition: Partition) -> None:
        assert partition.move is not None
        name, epoch, target = partition.name, partition.epoch + 1, partition.move.target
        legacy = self._flow.legacy(partition, partition.move.unsent)
        unstarted = partition.unstarted()
        many = len(unstarted) > RETURNED_MAX or sum(size_of(e.message) for e in unstarted) > RETURNED_BYTES_MAX
        way = self._flow.outgoing.route(name)
        for link in sorted(self._links.sessions.keys() & partition.brokers) or [0]:
            # What we have sent to ourselves goes the way that we send by to where it is now.
            ours = self._links.sessions.get(link, b"") if way is None or way.link == link else b""
            returned = [] if many else self._returned(unstarted, link, ours)
            self._effects.append(ToBroker(Handover(name, epoch, target, returned, legacy, many), link))
        self._end_move(partition, "")
        self._take_out(partition)
        self._flow.outgoing.left(name)

    def _returned(self, entries: list[Entry], link: int, ours: Session) -> list[Returned]:
        """What came by that broker, so that what each sender has sent by it stays whole, and in order. What came by
        several is returned by each. `ours`: our session there, for what we have sent to ourselves; b"": not that."""
        returned: list[tuple[Session, list[Posted]]] = []
        for entry in entries:
            # A replayed dead letter has no sender: it stays one.
            senders = [] if entry.sender is None else [(entry.sender, entry.seq), *reversed(entry.others or ())]
            for session, seq in senders:
                sender = ours if session == LOCAL else session
                if sender and (session == LOCAL or self._links.of(session) == link):
                    if not returned or returned[-1][0] != sender:
                        returned.append((sender, []))
                    returned[-1][1].append(Posted(seq, entry.message, entry.check))
                    break
        return [returned_by(sender, posted) for sender, posted in returned]

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
            self._release(partition)
        left = self._take_out(partition)
        fresh = Partition(partition.name, partition.epoch, self._flow.next_read)
        fresh.brokers, fresh.holds, fresh.paths = partition.brokers, partition.holds, partition.paths
        fresh.beyond = max(partition.beyond, partition.sequence + 1 + partition.leap)
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
            to, link = self._links.towards(move.controller, move.link)
            self._effects.append(Relay(to, MoveEnded(partition.name, partition.epoch, error), link))

"""The way of messages through a worker: arrive, wait for their context, run, commit, leave, be acknowledged.

This is the message path (`docs/PROTOCOL.md`, section 4). It decides only: effects go into the list it was given.
What it does not decide: which partitions are owned (`ownership`), which hosts there are (`fleet`).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from msgspec.structs import replace

from liquefy.commits import DEDUPE_RETENTION_MS, ContextAnswer, Verdict
from liquefy.config import WorkerConfig
from liquefy.effects import Count, Log
from liquefy.graph import OUTPUT, Graph
from liquefy.hosting import Done, Forget, Gone, Piece, Run, Step
from liquefy.links import Links
from liquefy.messages import LEGACY_OUTBOX_MAX, Legacy, Message, Part, Posted, Session, encode
from liquefy.sending import Acks, Outgoing
from worker.accounting import Accounting
from worker.cache import Cache
from worker.commit import Built, build, child, children, destination_of
from worker.events import CommitBatch, ReadContexts, TellHost
from worker.fleet import Fleet
from worker.hosts import SOLO_AFTER_CRASHES, Dispatcher, Host, Streams
from worker.mailbox import ACTIVE, COMMITTING, EMITTED, LOCAL, QUEUED, RAN, Broken, Entry, Finished, Life, Partition
from worker.onward import Onward, passages, sound

ANSWER_GRACE_MS = 5_000
"""An answer that no gateway takes is dropped so long after its client stopped waiting."""

LEGACY_BYTES_MAX = 16 * 1024 * 1024
"""Of outbox entries that a source hands over itself; the target of a partition with more asks the store."""

ACKNOWLEDGED_FLUSH_MS = 500
"""Acknowledged outbox entries are dropped with the next commit; if none comes for so long, by one of their own."""

SPOILT_TOLD_MAX = 1_000
"""Of so many contexts that cannot be read it is known that this was told."""

DAMAGED_REMEDY = "restore that key of Redis from a backup, or delete it and what it held"

Token = tuple[Partition, int] | Entry
"""Whom an acknowledgement is for: an outbox entry of a partition, or the message whose handling emitted it."""


class Flow:
    """All mailboxes of a node, and what is under way from them."""

    def __init__(self, config: WorkerConfig, fleet: Fleet, effects: list[Any]) -> None:
        self.partitions: dict[str, Partition] = {}
        self.links = Links(len(config.broker_addresses))
        self.outgoing = Outgoing(self.links.count)
        self.accounting = Accounting()
        self.now_ms = 0
        self.commit_since_ms = 0
        self.reads_since_ms: dict[int, int] = {}
        self.next_read = 1
        self._hops_max, self._emits_max = config.hops_max, config.emits_max
        self._body_bytes_max, self._context_bytes_max = config.body_bytes_max, config.context_bytes_max
        self._fleet = fleet
        self._effects = effects
        self._dispatcher = Dispatcher(
            config.batch_messages_max, config.batches_in_flight_max, config.async_in_flight_max, self._onward_of
        )
        self._onward = Onward(self.partitions, self.outgoing.clear_of, self._elsewhere, config.hops_max)
        self._acks = Acks(self.links)
        self._local_acks: list[int] = []
        self._finished = Finished()
        self.broken = Broken()
        self._dirty: dict[Partition, None] = {}
        self._committing: dict[str, Built] = {}
        self._commit_tag = 0
        self._asking: dict[Partition, None] = {}
        self._timers: list[tuple[int, int, Partition, int, Message]] = []
        self._timer_count = 0
        self._cache = Cache(config.cache_bytes_max)
        self._told_spoilt: dict[str, None] = {}
        self.moved: list[tuple[Partition, Verdict]] = []
        """Partitions whose last commit, or any commit, ended their ownership; `ownership` takes them."""

    # -- arriving ---------------------------------------------------------------------------------------

    def arrive(self, sender: Session, header: list[Part], parts: list[list[Posted]], link: int = 0) -> list[str]:
        """Messages from elsewhere, by that connection. Returns the partitions among the destinations that are not
        ours."""
        strangers = []
        for part, posteds in zip(header, parts, strict=True):
            partition = self.partitions.get(part.destination)
            if partition is None:
                self.broken.add(part.destination, link, part.path)
                strangers.append(part.destination)
                continue
            if self.broken.has(part.destination, link, part.path):
                continue
            partition.paths[link] = part.path
            for posted in posteds:
                self._take(partition, posted.message, sender, posted.seq, posted.resend)
            self.schedule(partition)
        return strangers

    def _take(self, partition: Partition, message: Message, sender: Session, seq: int, resend: bool) -> None:
        """Into the mailbox; to be scheduled."""
        present = partition.working.get(message.id)
        if present is not None:
            present.sent_again(sender, seq)
            return
        if resend and message.id in self._finished:  # the acknowledgement and this have passed each other
            self._acknowledge(sender, seq)
            return
        entry = Entry(partition, message, sender, seq, resend)
        partition.take(entry)
        if partition.life is ACTIVE:
            self.admit(entry)

    def replay(self, partition: Partition, entry: Entry) -> None:
        """Handle a dead letter again."""
        if entry.id not in partition.working:
            partition.take(entry)
            self.admit(entry)
            self.schedule(partition)

    def admit(self, entry: Entry) -> None:
        """The message takes its place in the queue of its key, or goes to the dead letters unhandled. The partition
        is to be scheduled afterwards."""
        partition = entry.partition
        if not entry.doomed:
            entry.doomed = self._unfit(partition, entry.message)
        if entry.doomed:
            entry.stage = RAN
            entry.result = Done(0, [], {}, (), entry.doomed)
            self._to_commit(partition, entry)
        elif not partition.admit(entry) and partition.queries:
            self._asking[partition] = None

    def _unfit(self, partition: Partition, message: Message) -> str:
        if message.born_ms + DEDUPE_RETENTION_MS < self.now_ms:
            return f"expired: it is {(self.now_ms - message.born_ms) // 1000} s old, and repeats are known for less"
        if message.born_ms - DEDUPE_RETENTION_MS > self.now_ms:
            return f"it is born {(message.born_ms - self.now_ms) // 1000} s from now: who sent it has a wrong clock"
        if message.hops > self._hops_max:
            return f"the message has made {message.hops} hops (limit hops_max {self._hops_max})"
        graph = self._fleet.graphs.get(partition.graph)
        if graph is not None and message.fluxion not in graph.fluxion_by_name:
            return f"there is no fluxion {message.fluxion!r} in version {graph.version} of {graph.name}"
        return ""

    def schedule(self, partition: Partition) -> None:
        """The partition may have messages to run: queue it at the host that handles the first of them."""
        if not partition.ready or partition.scheduled or partition.reset_due or partition.life is not ACTIVE:
            return
        graph = self._fleet.graphs.get(partition.graph)
        fluxion = partition.ready[0].message.fluxion
        if graph is None or fluxion not in graph.fluxion_by_name:
            return
        host = self._fleet.host_for(graph, fluxion, partition.name)
        if partition.host != host.name:
            if partition.busy:
                return
            before, partition.host = partition.host, host.name
            if before and partition.stateful:
                self._forget(partition, before)
                self.requeue(partition)
                return
        host.schedule(partition)

    # -- running ----------------------------------------------------------------------------------------

    def dispatch(self, host: Host) -> None:
        """Give the host what it may have."""
        while items := self._dispatcher.next_batch(host, self.now_ms):
            self._effects.append(TellHost(host.name, Run(items)))

    def _onward_of(
        self, host: Host, partition: Partition, entry: Entry
    ) -> tuple[Streams, tuple[Partition, ...]]:
        return self._onward.of(host, partition, entry, self._fleet.graphs.get(partition.graph))

    def _elsewhere(self, graph: Graph, fluxion: str, partition: str, host: Host) -> bool:
        return self._fleet.host_for(graph, fluxion, partition) is not host

    def ran(self, host: Host, results: list[Done]) -> None:
        """Results, in order."""
        host.progress_ms = self.now_ms
        for done in results:
            underway = self._dispatcher.finish(host, done.ticket)
            if underway is None:
                continue
            entry = underway.entry
            if entry.ticket == done.ticket and entry.partition.life is ACTIVE:
                self._handled(entry, done)
            for partition, _ in underway.lines:
                self.schedule(partition)

    def piece(self, host: Host, piece: Piece) -> None:
        """Part of an answer, ahead of the rest. It leaves at once, and is safe as any message that was emitted."""
        host.progress_ms = self.now_ms
        underway = host.running.get(piece.ticket)
        if underway is None or underway.entry.ticket != piece.ticket:
            return
        entry = underway.entry
        if entry.partition.life is not ACTIVE:
            return
        graph = self._fleet.graphs.get(entry.partition.graph)
        if entry.partition.stateful or piece.emitted.to != OUTPUT:
            text = f"{entry.partition.name}: part of an answer that may not leave before its commit; passed over"
            self._effects.append(Log("error", text, "piece"))
            return
        message = entry.message
        destination, part = child(message, 0, piece.emitted, graph, message.born_ms, self.now_ms, piece.ticket)
        if destination:
            entry.children += 1
            self._post(destination, part, entry, entry.partition.name)

    def hung_up(self, root: bytes) -> None:
        """Nobody waits for the answer to this request any more: tell who handles it."""
        for host in self._fleet.hosts.values():
            for ticket, underway in host.running.items():
                if underway.entry.message.root == root and underway.entry.ticket == ticket:
                    self._effects.append(TellHost(host.name, Gone(ticket)))

    def _handled(self, entry: Entry, done: Done) -> None:
        partition = entry.partition
        graph = self._fleet.graphs.get(partition.graph)
        self.accounting.handled(partition.name, done)
        fault = "" if done.error else self._unsound(partition, done)
        if fault:
            entry.doomed = fault
            if partition.stateful:
                entry.stage = QUEUED
                self.reset(partition)
                return
            done = Done(done.ticket, [], {}, (), fault)
        if done.onward and graph is not None:
            done = self._gone_on(entry, done, graph)
        entry.result = done
        if partition.stateful:
            self._cache.resized(partition, entry.key, done.context_bytes)
        if partition.stateful or done.error or entry.replays or _is_delayed(done):
            entry.stage = RAN
            self._to_commit(partition, entry)
        elif graph is not None:
            partition.busy -= 1
            partition.handled(entry)
            self._emit(entry, done, graph)
        if partition.ready and not partition.scheduled:
            self.schedule(partition)

    def _gone_on(self, entry: Entry, done: Done, graph: Graph) -> Done:
        """What went on in the host, as far as it counts, is in the books of those who did it."""

        def fits(fluxion: str, step: Step) -> bool:
            delayed = _is_delayed(step)
            if delayed:  # that takes a commit, of the partition whose it is
                self._onward.bar(graph, fluxion)
            return not delayed and not self._oversized(step)

        steps = sound(done, graph, fits)
        for source, destination, step in passages(done, steps, graph, entry.partition.name, entry.key):
            self.accounting.sent(source, destination)
            self.accounting.handled(destination, step)
        return done if steps == done.onward else replace(done, onward=steps)

    def _unsound(self, partition: Partition, done: Done) -> str:
        """Why a result cannot stand; hosts run users' code, too."""
        if not partition.stateful and (done.sets or done.removes):
            return "it changed a context, and has none"
        return self._oversized(done) or self._oversized_context(done)

    def _oversized(self, done: Done | Step) -> str:
        many, limit = len(done.emitted), self._body_bytes_max
        if many > self._emits_max:
            return f"it emitted {many} messages (limit emits_max {self._emits_max})"
        for emitted in done.emitted:
            size = len(emitted.body)
            for name, value in emitted.headers:
                size += len(name) + len(value)
            if size > limit:
                return f"it emitted a body of {size} bytes (limit body_bytes_max {limit})"
        return ""

    def _oversized_context(self, done: Done) -> str:
        """By what the host says, and by what is to be stored: users' code may have made it say anything."""
        limit, size = self._context_bytes_max, done.context_bytes
        if done.sets:
            size = max(size, sum(map(len, done.sets)) + sum(map(len, done.sets.values())))
        if size > limit:
            return f"its context has {size} bytes (limit context_bytes_max {limit})"
        return ""

    def _emit(self, entry: Entry, done: Done, graph: Graph) -> None:
        """Without a commit: what was emitted leaves at once; the message is safe when all of it is."""
        parent = entry.message
        for destination, message, source in children(
            parent, done, graph, parent.born_ms, self.now_ms, entry.partition.name, entry.ticket
        ):
            entry.children += 1
            self._post(destination, message, entry, source)
        if not entry.children:
            self._finish(entry)

    def _post(self, destination: str, message: Message, token: Token, source: str, resend: bool = False) -> int:
        """Send it on its way: into the mailbox if that is here and nothing can be overtaken, else to the broker."""
        if destination[0] == "@":
            return self.outgoing.post(destination, message, token, resend)
        self.accounting.sent(source, destination)
        partition = self.partitions.get(destination)
        here = partition is not None and partition.life is ACTIVE and partition.move is None
        if here and not resend and self.outgoing.clear_of(destination):
            assert partition is not None
            way = self.outgoing.route(destination)
            # Later than here it is elsewhere: what is delivered here is lost with it, and overtaken by what goes there.
            if way is None or way.epoch <= partition.epoch:
                seq = self.outgoing.post(destination, message, token, local=True)
                self._take(partition, message, LOCAL, seq, False)
                self.schedule(partition)
                return seq
        return self.outgoing.post(destination, message, token, resend)

    def _finish(self, entry: Entry) -> None:
        """The message is safe: acknowledge it."""
        entry.partition.let_go(entry)
        if not entry.partition.stateful:
            self._finished.ids.add(entry.id)
        sender = entry.sender
        if sender:
            self._acks.add(sender, entry.seq)
        elif sender is not None:
            self._local_acks.append(entry.seq)
        if entry.others:
            for sender, seq in entry.others:
                self._acknowledge(sender, seq)

    def _acknowledge(self, sender: Session, seq: int) -> None:
        if sender == LOCAL:
            self._local_acks.append(seq)
        else:
            self._acks.add(sender, seq)

    def acknowledged(self, seqs: list[int]) -> None:
        """Receivers have these safe."""
        for token in self.outgoing.settle(seqs):
            if type(token) is Entry:
                token.children -= 1
                if not token.children and token.stage is EMITTED:
                    self._finish(token)
            else:
                partition, outbox = token
                if partition.sent.pop(outbox, None) is not None:
                    if not partition.acknowledged:
                        partition.acknowledged_since_ms = self.now_ms
                    partition.acknowledged.append(outbox)

    # -- committing -------------------------------------------------------------------------------------

    def _to_commit(self, partition: Partition, entry: Entry) -> None:
        if not entry.ticket:
            partition.busy += 1
        partition.ran.append(entry)
        self._dirty[partition] = None

    def want_commit(self, partition: Partition) -> None:
        """The partition has something to commit besides results: acknowledged entries, or its move."""
        self._dirty[partition] = None

    def commit(self) -> None:
        """If no commit is under way, make one of everything that waits."""
        if self._committing or not self._dirty:
            return
        commits = []
        gone = {partition for partition, _ in self.moved}  # no commit of ours is valid for these
        for partition in self._dirty:
            move_due = partition.move is not None and partition.move.committing
            if partition in gone:
                continue
            if partition.life is ACTIVE and (partition.ran or partition.acknowledged or move_due):
                built = build(partition, self._fleet.graphs.get(partition.graph), self.now_ms)
                for entry in built.entries:
                    entry.stage = COMMITTING
                partition.committing = True
                self._committing[partition.name] = built
                commits.append(built.commit)
        self._dirty.clear()
        if commits:
            self._commit_tag += 1
            self.commit_since_ms = self.now_ms
            self._effects.append(CommitBatch(self._commit_tag, commits))

    def committed(self, tag: int, verdicts: list[Verdict]) -> None:
        """The store has decided on the commit under way."""
        assert tag == self._commit_tag, f"verdicts of commit {tag} while {self._commit_tag} is under way"
        committing, self._committing = self._committing, {}
        self.commit_since_ms = 0
        for verdict in verdicts:
            built = committing[verdict.partition]
            partition = self.partitions.get(verdict.partition)
            if partition is None or not partition.committing or partition.epoch != built.commit.epoch:
                continue
            partition.committing = False
            partition.busy -= len(built.entries)
            if verdict.outcome == "ok":
                self._applied(partition, built)
                if built.commit.move is not None:
                    self.moved.append((partition, verdict))
                    continue
            elif verdict.outcome == "seen":
                self._repeated(partition, built, verdict)
            else:
                self.moved.append((partition, verdict))
                continue
            if partition.reset_due:
                self.reset(partition)
            self.schedule(partition)

    def _applied(self, partition: Partition, built: Built) -> None:
        partition.sequence, partition.leap = built.commit.becomes, 0
        stateful, contexts = partition.stateful, partition.contexts
        for entry in built.entries:
            if stateful and not entry.doomed:  # doomed ones never used it
                record = contexts.get(entry.key)
                if record is not None and record.users:
                    record.users -= 1
            self._finish(entry)
        if built.commit.move is not None:  # the target finds in the outbox what is to leave
            if partition.move is not None:
                partition.move.unsent = [(outbox, message) for outbox, _, message in built.outgoing]
            return
        for outbox, destination, message in built.outgoing:
            if message.due_ms:
                self.delay(partition, outbox, message)
            else:
                partition.sent[outbox] = self._post(destination, message, (partition, outbox), partition.name)

    def _repeated(self, partition: Partition, built: Built, verdict: Verdict) -> None:
        """Some messages had been handled before. Nothing was applied: acknowledge those, handle the rest again;
        without contexts, the results of the rest are as good as before."""
        duplicates = set(verdict.duplicates)
        self._effects.append(Count("duplicates", len(duplicates)))
        partition.acknowledged.extend(built.commit.acknowledged)
        rest = []
        for entry in built.entries:
            if entry.id in duplicates:
                self._finish(entry)
            else:
                entry.stage = QUEUED if partition.stateful else RAN
                rest.append(entry)
        if partition.move is not None:
            partition.move.committing = False
        if partition.stateful:
            partition.reset_due = True
            # Where one came again unmarked, others will have: found in one look, not in a refused commit each.
            for entry in partition.working.values():
                entry.check = True
        elif rest:
            partition.busy += len(rest)
            partition.ran[:0] = rest
            self._dirty[partition] = None

    def legacy(self, partition: Partition, unsent: list[tuple[int, Message]]) -> Legacy | None:
        """What its next owner starts from, after our last commit; None if it had better ask the store."""
        many = max(len(partition.sent) + len(unsent), len(self._timers)) > LEGACY_OUTBOX_MAX
        if many or any(timer[2] is partition for timer in self._timers):
            return None
        sent = [(outbox, self.outgoing.message(seq)) for outbox, seq in partition.sent.items()]
        outbox = [(seq, encode(message)) for seq, message in sorted([*sent, *unsent], key=lambda entry: entry[0])]
        if sum(len(packed) for _, packed in outbox) > LEGACY_BYTES_MAX:
            return None
        return Legacy(partition.sequence, partition.next_out, outbox, partition.acknowledged)

    # -- delays, outbox ---------------------------------------------------------------------------------

    def delay(self, partition: Partition, outbox: int, message: Message) -> None:
        """Send it when it falls due; until then it waits in the outbox."""
        self._timer_count += 1
        heappush(self._timers, (message.due_ms, self._timer_count, partition, outbox, message))

    def fire(self) -> None:
        """Send what has fallen due."""
        while self._timers and self._timers[0][0] <= self.now_ms:
            _, _, partition, outbox, message = heappop(self._timers)
            if partition.life is ACTIVE and self.partitions.get(partition.name) is partition:
                self.send_outbox(partition, outbox, message)

    def send_outbox(self, partition: Partition, outbox: int, message: Message, resend: bool = False) -> None:
        """Send an outbox entry; `resend` if an earlier owner may have sent it."""
        destination = destination_of(message, self._fleet.graphs.get(partition.graph))
        if destination:
            token = (partition, outbox)
            partition.sent[outbox] = self._post(destination, message, token, partition.name, resend)
        else:
            text = f"{partition.name}: outbox entry {outbox} is for {message.fluxion!r}, which is no more: kept unsent"
            self._effects.append(Log("error", text, "undeliverable"))

    # -- contexts ---------------------------------------------------------------------------------------

    def read(self, read: int, answers: list[ContextAnswer]) -> None:
        """Contexts came from the store."""
        self.reads_since_ms.pop(read, None)
        for answer in answers:
            partition = self.partitions.get(answer.partition)
            if partition is None or partition.life is not ACTIVE or read < partition.fresh_from:
                continue
            if answer.damaged:
                self.moved.append((partition, Verdict(partition.name, "damaged", (), answer.damaged)))
                continue
            duplicates, doomed = partition.answered(answer)
            for entry in duplicates:
                self._finish(entry)
            for entry in doomed:
                self.admit(entry)
            for _, why in answer.spoilt:
                self._tell_spoilt(why)
            for key in answer.contexts:
                self._cache.add(partition, key)
            if partition.queries:
                self._asking[partition] = None
            self.schedule(partition)

    def _tell_spoilt(self, why: str) -> None:
        """Once, of each."""
        if why not in self._told_spoilt:
            if len(self._told_spoilt) >= SPOILT_TOLD_MAX:
                self._told_spoilt.clear()
            self._told_spoilt[why] = None
            text = f"{why}: the messages of that context go to the dead letters; {DAMAGED_REMEDY}, then `dead replay`"
            self._effects.append(Log("error", text, "damaged"))

    def _evict(self) -> None:
        for partition, key in self._cache.evict():
            host = self._fleet.hosts.get(partition.host)
            if host is not None and host.alive:
                self._effects.append(TellHost(host.name, Forget(partition.name, [key])))

    def _forget(self, partition: Partition, host_name: str) -> None:
        """Let go of all contexts of the partition, here and in the host."""
        self._cache.drop(partition)
        host = self._fleet.hosts.get(host_name)
        if host is not None and host.alive and partition.stateful:
            self._effects.append(TellHost(host.name, Forget(partition.name)))

    def reset(self, partition: Partition) -> None:
        """What was run and not committed is void: handle it again, from the contexts as stored. Waits for the
        commit under way, if the partition is in it."""
        partition.reset_due = True
        if partition.committing:
            return
        self._forget(partition, partition.host)
        self.requeue(partition)

    def requeue(self, partition: Partition) -> None:
        """Queue all that is not committed again, in order of arrival."""
        for entry in partition.reset(self.next_read):
            self.admit(entry)
        self.schedule(partition)

    def host_died(self, host: Host) -> None:
        """Its process is gone, and with it the contexts it held and what it ran."""
        for entry in host.died(self.now_ms):
            entry.crashes += 1
            if entry.crashes > SOLO_AFTER_CRASHES:
                entry.doomed = f"its handling ended the host {entry.crashes} times, the last time alone"
        for partition in list(self.partitions.values()):
            if partition.host == host.name:
                self.reset(partition)
            else:
                self.schedule(partition)

    def _let_go_of_stopped(self) -> None:
        """Nothing ran there; but a graph that goes back to code it had before gets hosts of the same names."""
        stopped, self._fleet.stopped = set(self._fleet.stopped), []
        for partition in self.partitions.values():
            if partition.stateful and partition.host in stopped:
                self.reset(partition)

    # -- ownership --------------------------------------------------------------------------------------

    def forget_partition(self, partition: Partition) -> list[Entry]:
        """It is no longer ours: nothing of it is sent, run or committed any more. Returns its messages."""
        partition.life = Life.LOST
        left = partition.abandon()
        self.partitions.pop(partition.name, None)
        self._dirty.pop(partition, None)
        self._asking.pop(partition, None)
        self.outgoing.settle(partition.sent.values())
        self._forget(partition, partition.host)
        return left

    def lost(self, partition: Partition) -> None:
        """It was taken away with all that was in it. What came by a broker is sent again by a new path; what we have
        sent to ourselves at once, or what we send from now on, by a route that we know already, overtakes it."""
        for link, path in partition.paths.items():
            self.broken.add(partition.name, link, path)
        self.outgoing.again(partition.name)

    def flush(self) -> None:
        """End of a step: what can go on, goes."""
        while self._local_acks:
            seqs, self._local_acks = self._local_acks, []
            self.acknowledged(seqs)
        if self._fleet.stopped:
            self._let_go_of_stopped()
        while self._fleet.stranded:
            self.schedule(self._fleet.stranded.pop())
        for host in self._fleet.hosts.values():
            if host.queue:
                self.dispatch(host)
        self.commit()
        if self._asking:
            queries = [query for partition in self._asking if (query := partition.take_query())]
            self._asking.clear()
            if queries:
                self._effects.append(ReadContexts(self.next_read, queries))
                self.reads_since_ms[self.next_read] = self.now_ms
                self.next_read += 1
        self._effects.extend(self.outgoing.flush(self.now_ms))
        self._effects.extend(self._acks.flush(self.now_ms))
        self._evict()

    def tick(self) -> None:
        """Whatever is due by the clock."""
        self.fire()
        self._finished.tick(self.now_ms)
        self.outgoing.on_tick(self.now_ms)
        expired = self.outgoing.expired(self.now_ms, ANSWER_GRACE_MS)
        if expired:
            self._effects.append(Count("answers_expired", len(expired)))
            self.acknowledged(expired)
        if homeless := self.outgoing.homeless():
            self._abandon(homeless)
        for partition in self.partitions.values():
            if partition.acknowledged and self.now_ms - partition.acknowledged_since_ms >= ACKNOWLEDGED_FLUSH_MS:
                self.want_commit(partition)

    def _abandon(self, homeless: list[str]) -> None:
        """What was on its way within a graph that is undeployed, or that the store has lost, has nobody who takes it,
        and nobody whom it could be acknowledged to. Should the graph come back, it is not what began anew with it."""
        here = {partition.graph for partition in self.partitions.values()}
        for destination in homeless:
            graph = destination[: destination.index("/")]
            if graph not in self._fleet.graphs and graph not in here:
                self._effects.append(Count("messages_abandoned", len(self.outgoing.abandon(destination))))


def _is_delayed(done: Done | Step) -> bool:
    for emitted in done.emitted:  # noqa: SIM110  (any() would cost a generator a message)
        if emitted.delay_ms:
            return True
    return False

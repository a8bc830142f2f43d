"""Classic bugs, planted one at a time, to show that the judges see them: `python tests/simulation/run.py --mutants`.

Each function makes one change through `patch` (object, attribute, new value); `planted` undoes it afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import mutants_bounds
import mutants_brokers
import mutants_moves

from broker import state as broker_state
from broker.routing import RouteTable
from liquefy.commits import ContextAnswer, Verdict
from liquefy.contexts_memory import MemoryContexts
from liquefy.messages import Handover
from liquefy.sending import Outgoing
from worker.cache import Cache
from worker.flow import Flow
from worker.hosts import Dispatcher
from worker.mailbox import Life
from worker.onward import Onward, target_of
from worker.ownership import Ownership

Patch = Callable[[Any, str, Any], None]


def no_fencing(patch: Patch) -> None:
    """The store takes commits of whoever sends them."""
    real = MemoryContexts._commit

    def commit(self: Any, commit: Any, owner: str) -> Verdict:
        stored = self._find(commit.partition)
        if commit.epoch < stored.epoch and commit.move is None:
            commit = commit._replace(epoch=stored.epoch, sequence=stored.sequence)
        return real(self, commit, "")

    patch(MemoryContexts, "_commit", commit)


def acknowledged_before_the_commit(patch: Patch) -> None:
    real = Flow._to_commit

    def to_commit(self: Any, partition: Any, entry: Any) -> None:
        real(self, partition, entry)
        if entry.sender:
            self._acks.add(entry.sender, entry.seq)

    patch(Flow, "_to_commit", to_commit)


def outbox_not_sent_again(patch: Patch) -> None:
    """The new owner of a partition forgets what the old one had to send."""
    patch(Ownership, "_send_again", lambda self, partition, seq, message: None)


def no_dedupe(patch: Patch) -> None:
    real, real_read = MemoryContexts._commit, MemoryContexts.read_now

    def read(self: Any, queries: Any) -> Any:
        return [ContextAnswer(a.partition, a.contexts, frozenset()) for a in real_read(self, queries)]

    patch(MemoryContexts, "_commit", lambda self, commit, owner: real(self, commit._replace(seen=[]), owner))
    patch(MemoryContexts, "read_now", read)


def held_before_returned(patch: Patch) -> None:
    """After a migration the newer messages, held by the broker, go before those that the source gives back."""
    real = broker_state.BrokerState.step

    def step(self: Any, event: Any, now_ms: float) -> Any:
        out = real(self, event, now_ms)
        message = getattr(event, "message", None)
        if isinstance(message, Handover):
            forwards = [e for e in out if isinstance(e, broker_state.Forward)]
            others = [e for e in out if not isinstance(e, broker_state.Forward)]
            returned = len(message.returned)
            return others + forwards[returned:] + forwards[:returned]
        return out

    patch(broker_state.BrokerState, "step", step)


def path_kept_at_failover(patch: Patch) -> None:
    real = RouteTable.place

    def place(self: Any, destination: str, node: str, session: bytes, epoch: int, active: bool = False) -> Any:
        old = self.by_destination.get(destination)
        route = real(self, destination, node, session, epoch, active)
        return route if old is None else self._set(route._replace(path=old.path), active)

    patch(RouteTable, "place", place)


def local_delivery_overtakes(patch: Patch) -> None:
    patch(Outgoing, "clear_of", lambda self, destination: True)


def sent_again_out_of_order(patch: Patch) -> None:
    real = Outgoing._restart

    def restart(self: Any, destinations: Any) -> None:
        destinations = list(destinations)
        real(self, destinations)
        for destination in destinations:
            if destination in self._fresh:
                self._fresh[destination].reverse()

    patch(Outgoing, "_restart", restart)


def not_sent_again(patch: Patch) -> None:
    """A new path does not make anybody send again; only the slow safety net does."""
    patch(Outgoing, "_changed", lambda self, changed: None)


def applied_twice(patch: Patch) -> None:
    """A commit that is tried again, because its answer was lost, is applied again."""
    real = MemoryContexts._commit

    def commit(self: Any, commit: Any, owner: str) -> Verdict:
        stored = self._find(commit.partition)
        if stored.epoch == commit.epoch and stored.sequence == commit.becomes:
            commit = commit._replace(sequence=stored.sequence, seen=[])
        return real(self, commit, owner)

    patch(MemoryContexts, "_commit", commit)


def evicted_while_read(patch: Patch) -> None:
    """An answer older than a commit becomes the context."""

    evicted = Cache.evict

    def evict(self: Any) -> Any:
        waiting = {partition: partition.waiting for partition, _ in self._order}
        for partition in waiting:
            partition.waiting = {}
        gone = evicted(self)
        for partition, lines in waiting.items():
            partition.waiting = lines
        return gone

    patch(Cache, "evict", evict)


def contexts_kept_after_refusal(patch: Patch) -> None:
    """Messages are handled again upon contexts that have them already."""

    def reset(self: Any, partition: Any) -> None:
        partition.reset_due = True
        if not partition.committing:
            contexts = dict(partition.contexts)
            entries = partition.reset(self.next_read)
            partition.contexts.update(contexts)
            for entry in entries:
                self.admit(entry)
            self.schedule(partition)

    patch(Flow, "reset", reset)


def same_epoch_at_failover(patch: Patch) -> None:
    real = MemoryContexts.place_now

    def place(self: Any, requests: Any, term: int = 0) -> Any:
        for partition, epoch, owner, _ in requests:
            stored = self._find(partition)
            if stored.epoch == epoch and epoch > 0:
                stored.owner = owner
                return self.placements_now([r.partition for r in requests])
        return real(self, requests, term)

    patch(MemoryContexts, "place_now", place)


def returned_forgotten(patch: Patch) -> None:
    """The source of a migration does not give back what it had not begun."""
    real = Ownership._hand_over

    def hand_over(self: Any, partition: Any) -> None:
        partition.working.clear()
        real(self, partition)

    patch(Ownership, "_hand_over", hand_over)


def coroutines_of_one_key_at_once(patch: Patch) -> None:
    real = Dispatcher._take

    def take(self: Any, host: Any, partition: Any, batch: Any, items: Any) -> None:
        while partition.ready and len(items) < self._batch_max and self.may_run(partition, host):
            items.append(self._item(host, partition, partition.ready.popleft(), batch))

    assert real is not take
    patch(Dispatcher, "_take", take)


def going_on_overtakes(patch: Patch) -> None:
    """A host goes on with a message although earlier ones of its key have not come so far."""
    patch(Onward, "_alone", lambda self, partition, entry: True)
    patch(Onward, "_free", _only_here)


def speculating_overtakes(patch: Patch) -> None:
    """A host goes on with a message although what an earlier one of its key emitted waits for its commit."""
    alone = Onward.__dict__["_alone"]
    patch(Onward, "_alone", lambda self, partition, entry: partition.stateful or alone(self, partition, entry))


def no_terms(patch: Patch) -> None:
    """A controller that another one has followed places partitions as before."""
    patch(MemoryContexts, "_fence", lambda self, term: self._check())
    patch(MemoryContexts, "_fence_partition", lambda self, stored, term: None)


def _only_here(self: Any, host: Any, graph: Any, fluxion: str, message: Any) -> Any:
    target = self._partitions.get(target_of(graph, fluxion, message.key))
    return target if target is not None and target.life is Life.ACTIVE and not target.stateful else None


MUTANTS = [
    no_fencing, acknowledged_before_the_commit, outbox_not_sent_again, no_dedupe, held_before_returned,
    path_kept_at_failover, local_delivery_overtakes, sent_again_out_of_order, not_sent_again, applied_twice,
    evicted_while_read, contexts_kept_after_refusal, same_epoch_at_failover, returned_forgotten,
    coroutines_of_one_key_at_once, going_on_overtakes, speculating_overtakes, no_terms, *mutants_moves.MUTANTS,
    *mutants_brokers.MUTANTS, *mutants_bounds.MUTANTS,
]  # fmt: skip


@contextlib.contextmanager
def planted(mutant: Callable[[Patch], None]) -> Iterator[None]:
    """With this bug in the code."""
    undo: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    mutant(patch)
    try:
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)

"""The hosts of a worker, as far as deciding goes: which there should be, what each has loaded, what runs in it, and
which messages it gets next.

A host is named `graph:bundle:slot`. A partition is served by one host at a time, so that its contexts are in one
place; it changes host (a new version of its graph) when nothing of it runs. Knows no process, socket or clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from liquefy.graph import Graph
from liquefy.hosting import Item
from worker.mailbox import RUNNING, Entry, Partition

RESTART_MS_MIN = 100
RESTART_MS_MAX = 5_000
"""Wait before a host that died is started again: the least at first, doubled while it dies without doing anything."""

SOLO_AFTER_CRASHES = 2
"""A message that was running in so many hosts when they died is handled alone from then on."""


Streams = dict[str, tuple[str, ...]]
"""From a fluxion to others, as in Item."""

NOTHING: Streams = {}


class Way(NamedTuple):
    """Where messages of one fluxion may go on to, and all fluxions on that way."""

    streams: Streams
    targets: tuple[str, ...]


class HostLife(Enum):
    """A host as the worker sees it."""

    WANTED = auto()
    FETCHING = auto()
    STARTING = auto()
    LOADING = auto()
    READY = auto()
    REFUSED = auto()


class Batch:
    """One Run: how many of its plain (not awaiting) messages have no result yet."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0


Line = list[Entry]
"""What waits behind a coroutine, in order. Mostly nothing: an empty deque takes ten times as much memory, and the
time to get it."""


class Underway:
    """One message in a host. `batch` is None while a coroutine may work on it. `lines`: the places of its key, in its
    own partition and in those of coroutines that it may go on to, that are taken for so long."""

    __slots__ = ("batch", "entry", "lines")

    def __init__(self, entry: Entry, batch: Batch | None, lines: tuple[tuple[Partition, Line], ...] = ()) -> None:
        self.entry = entry
        self.batch = batch
        self.lines = lines

    def let_go(self) -> None:
        """It is at its end: what waited is next."""
        for partition, line in self.lines:
            key = self.entry.key
            if partition.awaiting.get(key) is not line:
                continue  # the partition began anew meanwhile
            del partition.awaiting[key]
            partition.ready.extendleft(reversed(line))
            if partition is not self.entry.partition:
                partition.busy -= 1


class Host:
    """One host process, wanted or there."""

    def __init__(self, name: str, bundle: str, slot: int, graph: Graph) -> None:
        self.name = name
        self.bundle = bundle
        self.slot = slot
        self.graph = graph
        self.life = HostLife.WANTED
        self.error = ""
        self.ended_for = ""
        """Why we have ended it; its death says no more than how."""
        self.asynchronous: frozenset[str] = frozenset()
        self.fluxions = frozenset(self.only)
        self.onward: tuple[Graph, frozenset[str], frozenset[str], dict[str, Way]] | None = None
        """What `onward` knows of the graph, as it was with these coroutines and without those fluxions."""
        self.running: dict[int, Underway] = {}
        self.batches = 0
        self.solo = False
        self.queue: deque[Partition] = deque()
        self.progress_ms = self.load_since_ms = 0
        self.restart_ms = RESTART_MS_MIN
        self.start_at_ms = 0
        self.handled = False

    @property
    def alive(self) -> bool:
        """There is a process that can be told things."""
        return self.life in (HostLife.LOADING, HostLife.READY)

    @property
    def only(self) -> tuple[str, ...]:
        """The fluxions of the graph whose code is this host's bundle."""
        return tuple(f.name for f in self.graph.fluxions if f.bundle == self.bundle)

    def schedule(self, partition: Partition) -> None:
        """The partition has messages that may be handled."""
        if not partition.scheduled:
            partition.scheduled = True
            self.queue.append(partition)

    def died(self, now_ms: int) -> list[Entry]:
        """The process is gone. Returns what was running, to be handled again."""
        lost = [each.entry for ticket, each in self.running.items() if each.entry.ticket == ticket]
        for each in self.running.values():
            each.let_go()
        self.running = {}
        self.batches = 0
        self.solo = False
        if self.handled:
            self.restart_ms = RESTART_MS_MIN
        first = self.life is HostLife.READY and self.restart_ms == RESTART_MS_MIN
        self.start_at_ms = now_ms if first else now_ms + self.restart_ms
        self.restart_ms = min(2 * self.restart_ms, RESTART_MS_MAX)
        self.handled = False
        self.life = HostLife.WANTED
        return lost


Permit = Callable[[Host, Partition, Entry], tuple[Streams, tuple[Partition, ...]]]


class Dispatcher:
    """Gives hosts their batches. `batch_max` messages a Run, `batches_max` Runs of plain functions under way,
    `awaiting_max` coroutines. `onward` says what may follow a message at once, and which partitions' coroutines then
    may be at work on its key."""

    def __init__(self, batch_max: int, batches_max: int, awaiting_max: int, onward: Permit) -> None:
        self._batch_max = batch_max
        self._batches_max = batches_max
        self._awaiting_max = awaiting_max
        self._onward = onward
        self._next_ticket = 1

    def next_batch(self, host: Host, now_ms: int) -> list[Item]:
        """The messages that the host should get now; [] if there are none, or it has enough."""
        if host.life is not HostLife.READY or host.solo or not host.queue:
            return []
        if host.batches >= self._batches_max or len(host.running) >= self._awaiting_max + self._batch_max:
            return []
        items: list[Item] = []
        batch = Batch()
        if not host.running:  # until now there was nothing to make progress with
            host.progress_ms = now_ms
        for _ in range(len(host.queue)):
            partition = host.queue.popleft()
            partition.scheduled = False
            self._take(host, partition, batch, items)
            if partition.ready and self.may_run(partition, host):
                host.schedule(partition)
            if host.solo or len(items) >= self._batch_max:
                break
        if batch.left:
            host.batches += 1
        return items

    @staticmethod
    def may_run(partition: Partition, host: Host) -> bool:
        """False while the partition drains for a migration, waits for a reset, or its next message is another
        host's."""
        if partition.reset_due or (partition.move is not None and partition.move.draining):
            return False
        return partition.host == host.name and partition.ready[0].message.fluxion in host.fluxions

    def _take(self, host: Host, partition: Partition, batch: Batch, items: list[Item]) -> None:
        """Move messages of one partition into the batch."""
        ready = partition.ready
        if not ready or not self.may_run(partition, host):
            return
        while ready and len(items) < self._batch_max:
            entry = ready[0]
            if entry.message.fluxion not in host.fluxions:
                return
            line = partition.awaiting.get(entry.key) if partition.awaiting else None
            if line is not None:
                line.append(ready.popleft())
                continue
            if entry.crashes >= SOLO_AFTER_CRASHES:
                if items or host.running:
                    return
                host.solo = True
            ready.popleft()
            items.append(self._item(host, partition, entry, batch))
            if host.solo:
                return

    def _item(self, host: Host, partition: Partition, entry: Entry, batch: Batch) -> Item:
        message = entry.message
        ticket = self._next_ticket
        self._next_ticket += 1
        entry.ticket = ticket
        entry.stage = RUNNING
        partition.busy += 1
        fields = None
        if partition.stateful:
            record = partition.contexts[entry.key]
            fields, record.fields = record.fields, None
        onward: Streams = NOTHING
        coroutines: tuple[Partition, ...] = ()
        if not partition.stateful or host.graph.speculates:
            onward, coroutines = self._onward(host, partition, entry)
        if coroutines or message.fluxion in host.asynchronous:
            own = partition.awaiting[entry.key] = Line()
            lines = [(partition, own)]
            for other in coroutines:
                other.busy += 1  # its migration waits for it, as for its own
                other.host = host.name
                behind = other.awaiting[entry.key] = Line()
                lines.append((other, behind))
            host.running[ticket] = Underway(entry, None, tuple(lines))
        else:
            batch.left += 1
            host.running[ticket] = Underway(entry, batch)
        return Item(
            ticket, partition.graph, message.fluxion, partition.name, entry.key, entry.id, message.body,
            fields, message.deadline_ms, message.trace, onward,
        )  # fmt: skip

    def finish(self, host: Host, ticket: int) -> Underway | None:
        """A result came. Returns what it is of; None if nobody knows. Its entry may be on another run by now."""
        done = host.running.pop(ticket, None)
        if done is None:
            return None
        batch = done.batch
        if batch is not None:
            batch.left -= 1
            if not batch.left:
                host.batches -= 1
        else:
            done.let_go()
        if host.solo and not host.running:
            host.solo = False
        host.handled = True
        return done

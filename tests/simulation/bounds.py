"""Limits of the roles, small in some seeds, and the judge of them: what is kept anywhere is within what is configured,
and where a limit is kept by taking no more requests, none are taken. Drawn from chance of its own, so that the other
draws of a seed stay what they are.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from core import Violation

if TYPE_CHECKING:
    from world import World

BACKLOG_FACTOR = 4
"""With more messages than so many windows a worker takes no requests: as docs/OPERATING.md says."""

STRANGERS_MAX = 1_024

COPIES = 4
"""What has no context may be handled again, and emits again what was emitted before; so often at most, in any seed."""

Drawn = dict[str, dict[str, Any]]


def draw(seed: int) -> Drawn:
    """By role, settings that are not the usual ones."""
    flood: dict[str, Any] = {}
    rng = random.Random(f"floods {seed}")
    if rng.random() < 0.15:
        flood = {"flood_bytes_max": rng.choice((100_000, 200_000))}  # more than what behaves sends at once
    rng = random.Random(f"limits {seed}")
    if rng.random() < 0.6:
        return {"broker": flood, "worker": {}, "gateway": {}, "controller": {}}
    return {
        "broker": flood | {"held_messages_max": rng.choice((0, 3, 20)), "held_bytes_max": rng.choice((500, 1_000_000))},
        "worker": {"queued_bytes_max": rng.choice((300, 3_000, 1_000_000))},
        "gateway": {"queued_bytes_max": rng.choice((2_000, 10_000, 1_000_000))},
        "controller": {"moves_at_once": rng.choice((1, 2, 5)), "move_ms": rng.choice((300, 2_000, 10_000))},
    }


class Bounds:
    """Looks between the steps of the simulation; `beat`, `ticked` and `admitted` are told as it happens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._heavy: dict[str, float] = {}
        """Workers that had too much at each beat and each tick since then."""
        self.near: Counter[str] = Counter()
        """How often a limit mattered."""

    def look(self) -> None:
        for broker in self.world.brokers:
            if broker.alive:
                self._broker(broker)
        for gateway in self.world.gateways.values():
            if gateway.alive:
                self._gateway(gateway)
        for worker in self.world.workers.values():
            if worker.alive:
                self._worker(worker)
        for controller in self.world.controllers.values():
            if controller.leads and not self.world.wild:
                self._controller(controller)
        if self.world.store.memory.available:
            self._outboxes()

    def _within(self, what: str, number: float, bound: float) -> None:
        if number > bound:
            raise Violation(f"{what}: {number}, and {bound} is the bound")

    def _once_each(self, what: str, messages: list[Any]) -> None:
        self._within(f"{what}: the same message, times", max(Counter(messages).values(), default=0), 1)

    def _outboxes(self) -> None:
        stateful = {g.name for versions in self.world.graphs.values() for v in versions for g in v.groups if g.stateful}
        for partition in self.world.partition_names():
            if partition.split("/")[1] in stateful:
                outbox = self.world.store.memory.load_now([partition])[0].outbox
                self._once_each(f"{partition}: its outbox", [packed for _, packed in outbox])

    def _broker(self, broker: Any) -> None:
        """It may hold more than its limit, of what was let in before; then it lets nothing in. Beyond `flood_bytes_max`
        nothing is kept."""
        self._within(f"{broker.name}: strangers", len(broker.state._expelled), STRANGERS_MAX)
        config = broker.state._config
        parts = [held for hold in broker.state._holding.by_partition.values() for held in hold.parts]
        count, size = sum(held.part.count for held in parts), sum(len(held.messages) for held in parts)
        self._within(f"{broker.name}: bytes held", size, config.flood_bytes_max)
        if "flood_bytes_max" in self.world.limits["broker"]:
            for connection in self.world.network.connections.values():
                if connection.broker is broker and not connection.broken:
                    sent = [frames for frames in connection.to_peer.flying if len(frames) > 1]
                    unread = sum(len(frame) for frames in sent for frame in frames)
                    self._within(f"{broker.name}: bytes for {connection.session!r}", unread, 2 * config.flood_bytes_max)
        if count <= config.held_messages_max and size <= config.held_bytes_max:
            return
        self.near["held"] += 1
        for session, windows in broker.granted.items():
            if session in broker.state._peers and any(windows.values()):
                text = f"{broker.name} holds {count} messages, {size} bytes, and grants {windows}"
                raise Violation(f"{text}: {config.held_messages_max}, {config.held_bytes_max} are the bounds")

    # -- gateways ---------------------------------------------------------------------------------------

    def _gateway(self, gateway: Any) -> None:
        figures = gateway.state.figures()
        allowed = sum(gateway.most.values())
        self._within(f"{gateway.name}: requests in flight", figures["requests_outstanding"], allowed)
        self._within(f"{gateway.name}: clients", figures["requests_waiting"], len(gateway.tickets))
        remembered = sum(ask.once for ask in self.world.clients.asks)
        self._within(f"{gateway.name}: answers being stored", figures["answers_storing"], remembered)
        for destination, waiting in gateway.state._outgoing._unacked.items():
            times = Counter(posted.message.id for posted in waiting.values())
            self._within(f"{gateway.name}: a message to {destination}, times", max(times.values()), 1)

    def admitted(self, gateway: Any) -> None:
        """It has just taken a request in."""
        least = gateway.least()
        if not any(least.values()):
            raise Violation(f"{gateway.name} takes a request in, and is granted {least}")
        size = sum(gateway.sizes[ticket] for ticket, ask in gateway.tickets.items() if not ask.once)
        self.near["bytes of requests"] += 2 * size > gateway.config.queued_bytes_max
        self._within(f"{gateway.name}: bytes of requests", size, gateway.config.queued_bytes_max)

    # -- workers ----------------------------------------------------------------------------------------

    def _worker(self, worker: Any) -> None:
        config, flow = worker.state.config, worker.state.flow
        most = config.async_in_flight_max + 2 * config.batch_messages_max  # what awaits may exceed its limit by a batch
        for host in worker.state.fleet.hosts.values():
            self._within(f"{worker.name}: messages at {host.name}", len(host.running), most)
        records = [(p, key, record) for p in flow.partitions.values() for key, record in p.contexts.items()]
        free = sum(record.size for p, key, record in records if not record.users and key not in p.waiting)
        self._within(f"{worker.name}: contexts kept without need", free, config.cache_bytes_max)
        for destination, waiting in flow.outgoing._unacked.items():
            times = Counter(posted.message.id for posted in waiting.values())
            self._within(f"{worker.name}: a message to {destination}, times", max(times.values()), COPIES)

    def beat(self, worker: Any, window: int) -> None:
        """It says how many requests it takes. It sums up its bytes once a beat interval, and that need not be at a beat
        (see `ticked`)."""
        config, now = worker.state.config, self.world.sim.now
        messages = [e.message for p in worker.state.flow.partitions.values() for e in p.working.values()]
        most = BACKLOG_FACTOR * config.window
        if window and len(messages) > most:
            raise Violation(f"{worker.name} has {len(messages)} messages, more than {most}, and takes {window}")
        size = _bytes(worker)
        if size <= config.queued_bytes_max:
            self._heavy.pop(worker.incarnation, None)
            return
        self.near["queued"] += 1
        since = self._heavy.setdefault(worker.incarnation, now)
        if window and now - since > 2 * config.beat_interval_ms:
            text = f"{worker.name} has {size} bytes of messages, more than {config.queued_bytes_max}"
            raise Violation(f"{text}, and takes {window} requests")

    def ticked(self, worker: Any) -> None:
        """It may have summed up its bytes now. If they were few, that is what it goes by for an interval, though there
        were too many at the beats before and after: so only what had too much at every tick must take no requests."""
        if worker.incarnation in self._heavy and _bytes(worker) <= worker.state.config.queued_bytes_max:
            del self._heavy[worker.incarnation]

    # -- controllers ------------------------------------------------------------------------------------

    def _controller(self, controller: Any) -> None:
        moves = controller.state._migrations
        most = max(controller.config.moves_at_once, controller.taken_up)
        self._within(f"{controller.name}: moves at once", len(moves.running), most)
        waiting = Counter(move.partition for move in moves.waiting)
        self.near["moves waiting"] += bool(waiting)
        asked = len(controller.asked)
        for partition, count in waiting.items():
            self._within(f"{controller.name}: moves of {partition} that wait", count, asked + 2)


def _bytes(worker: Any) -> int:
    """Of the messages that it has."""
    partitions = worker.state.flow.partitions.values()
    return sum(len(entry.message.body) for partition in partitions for entry in partition.working.values())

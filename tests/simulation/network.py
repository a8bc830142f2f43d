"""Connections between peers and brokers, as TCP and ZeroMQ make them: in order in each direction, delayed; when
one breaks, a suffix of what is under way is lost in each direction, and both ends learn of it in their own time.
What had arrived of the old connection may be read after the first frames of the new one.

A connection can also be frozen (a network that swallows packets), in both directions or in one: then nothing arrives
there until it is thawed, or somebody loses patience. Knows frames, not what they mean.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from core import Sim

Frames = tuple[bytes, ...]

BOTH, TO_BROKER, TO_PEER = "both ways", "to the broker", "from the broker"

RETRY_MS = 50.0
BROKERS_MAX = 3


class Peer(Protocol):
    name: str

    def up(self, session: bytes, link: int) -> None: ...
    def down(self, link: int) -> None: ...
    def frames(self, frames: Frames, link: int) -> None: ...


class BrokerEnd(Protocol):
    def frames(self, session: bytes, frames: Frames) -> None: ...


class Way:
    """One direction of one connection."""

    __slots__ = ("flying", "last", "stuck")

    def __init__(self) -> None:
        self.flying: deque[Frames] = deque()
        self.last = 0.0
        self.stuck = 0


class Network:
    """All connections. `delay_ms`: the longest ordinary delay; `spike`: how often one takes ten times as long."""

    def __init__(self, sim: Sim, delay_ms: float, spike: float) -> None:
        self.sim = sim
        self.delay_ms = delay_ms
        self.spike = spike
        self.brokers: dict[int, BrokerEnd] = {}
        """Those that run, by number."""
        self.connections: dict[bytes, Connection] = {}
        self.cut_off: dict[tuple[str, int], str] = {}
        """Between which peers and brokers packets are swallowed, and in which direction."""
        self.sessions = 0

    def delay(self) -> float:
        rng = self.sim.rng
        delay = self.delay_ms * rng.random()
        return delay * 10 if self.spike and rng.random() < self.spike else delay

    def broker_down(self, number: int) -> None:
        """Its process died: all connections break."""
        del self.brokers[number]
        for connection in list(self.connections.values()):
            if connection.link.number == number:
                connection.cut()

    def _between(self, name: str, brokers: tuple[int, ...]) -> list[Connection]:
        connections = list(self.connections.values())
        return [c for c in connections if c.link.peer.name == name and (not brokers or c.link.number in brokers)]

    def cut(self, name: str, brokers: tuple[int, ...] = ()) -> None:
        """A peer's connections to these brokers break; to all, if none are given."""
        for connection in self._between(name, brokers):
            connection.cut()

    def freeze(self, name: str, direction: str, brokers: tuple[int, ...] = ()) -> None:
        for number in brokers or range(BROKERS_MAX):
            self.cut_off[name, number] = direction

    def thaw(self, name: str, brokers: tuple[int, ...] = ()) -> None:
        for number in brokers or range(BROKERS_MAX):
            self.cut_off.pop((name, number), None)
        for connection in self._between(name, brokers):
            connection.thaw()


class Connection:
    """One session."""

    def __init__(self, network: Network, link: Link, broker: BrokerEnd) -> None:
        self.network = network
        self.link = link
        self.broker = broker
        network.sessions += 1
        self.session = f"{link.peer.name}#{network.sessions}".encode()
        self.to_broker, self.to_peer = Way(), Way()
        self.broken = False
        self.broker_knows = False
        network.connections[self.session] = self

    def send(self, way: Way, frames: Frames) -> None:
        if self.broken:
            return
        sim = self.network.sim
        way.flying.append(frames)
        way.last = max(way.last + 0.001, sim.now + self.network.delay())
        sim.after(way.last - sim.now, self._arrive, way)

    def _arrive(self, way: Way) -> None:
        if not way.flying:
            return
        if not self.broken and self.network.cut_off:
            swallowed = self.network.cut_off.get((self.link.peer.name, self.link.number), "")
            if swallowed and (swallowed == BOTH or (swallowed == TO_BROKER) == (way is self.to_broker)):
                way.stuck += 1
                return
        frames = way.flying.popleft()
        if way is self.to_broker:
            if self.network.brokers.get(self.link.number) is self.broker:
                self.broker.frames(self.session, frames)
        elif self.link.connection is self:
            self.link.peer.frames(frames, self.link.number)

    def thaw(self) -> None:
        for way in (self.to_broker, self.to_peer):
            for _ in range(way.stuck):
                self.network.sim.after(0.01, self._arrive, way)
            way.stuck = 0

    def cut(self) -> None:
        """It breaks now. A prefix of what is under way still arrives."""
        if self.broken:
            return
        self.broken = True
        sim = self.network.sim
        late = sim.chance(0.3)
        for way in (self.to_broker, self.to_peer):
            # What is stuck in a network that swallows packets has not arrived, and will not.
            keep = 0 if way.stuck else sim.rng.randint(0, len(way.flying))
            kept = list(way.flying)[:keep]
            way.flying.clear()
            if kept and way is self.to_broker and late:
                sim.after(sim.between(0, 400), self._late, kept)
            else:
                way.flying.extend(kept)
        sim.after(sim.between(0, 100), self._broker_learns)
        sim.after(sim.between(0, 100), self.link.broke, self)

    def _late(self, kept: list[Frames]) -> None:
        """Read by the broker long after the connection broke."""
        for frames in kept:
            if self.network.brokers.get(self.link.number) is self.broker:
                self.broker.frames(self.session, frames)

    def _broker_learns(self) -> None:
        self.broker_knows = True
        self.network.connections.pop(self.session, None)


class Link:
    """A peer's end: one connection to broker `number` after the other, as `liquefy.transport.Link`."""

    def __init__(self, network: Network, peer: Any, number: int) -> None:
        self.network = network
        self.peer = peer
        self.number = number
        self.connection: Connection | None = None
        self.speaking: bytes = b""
        """The session that the peer knows of: one that is slow learns late that it has another."""
        self.closed = False
        network.sim.after(network.sim.between(0, 20), self._connect)

    def send(self, *frames: bytes) -> None:
        if self.connection is not None and self.connection.session == self.speaking:
            self.connection.send(self.connection.to_broker, frames)

    def broke(self, connection: Connection) -> None:
        """The peer notices that this connection is no more."""
        if self.connection is connection:
            self.connection = None
            if not self.closed:
                self.peer.down(self.number)
                self.network.sim.after(RETRY_MS, self._connect)

    def reconnect(self) -> None:
        """Give the session up."""
        if self.connection is not None:
            connection = self.connection
            connection.cut()
            self.network.sim.after(0, self.broke, connection)

    def close(self) -> None:
        self.closed = True
        if self.connection is not None:
            self.connection.cut()
            self.connection = None

    def _connect(self) -> None:
        if self.closed or self.connection is not None:
            return
        network = self.network
        broker = network.brokers.get(self.number)
        if broker is None or (self.peer.name, self.number) in network.cut_off:
            network.sim.after(RETRY_MS, self._connect)
            return
        self.connection = Connection(network, self, broker)
        self.peer.up(self.connection.session, self.number)

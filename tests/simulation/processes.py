"""The processes of a cluster: the real deciding half of a role, and around it what its `service.py` does: perform
effects in order, tick, turn frames into events. Nothing here decides anything.

A process can crash (also in the middle of performing what a step asked for), be paused, as by SIGSTOP, and be slow:
then what happens to it waits in line. Its clock is that of its machine, which may be wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core import Violation
from hosts import FakeHost
from network import Frames, Link

from broker import state as br
from liquefy import effects as fx
from liquefy import messages as m
from liquefy.clock import SteadyClock
from liquefy.config import BrokerConfig, WorkerConfig
from worker import events as ev
from worker.state import WorkerState

if TYPE_CHECKING:
    from world import World

WORKER_TICK_MS = 25.0

MISTAKES = (AssertionError, KeyError)
"""What code with a bug in it raises when it notices; other errors are those of a bug that does not fit the code."""


def broker_name(number: int) -> str:
    return f"broker{number + 1}" if number else "broker"


class Process:
    """`fuse`: so many more effects are performed before it crashes."""

    role = ""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.sim = world.sim
        self.name = name
        self.alive = True
        self.paused = False
        self.inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.fuse: int | None = None
        self.lag_ms = 0.0
        """So long it takes to come to the next thing that happens to it."""
        self._coming_to = False
        self._clock = SteadyClock(lambda: self.sim.unix_ms + world.skews.get(name, 0), lambda: self.sim.now)
        self.links: list[Link] = []
        self.store_life = world.store.life
        """Of the store that it is connected to."""

    @property
    def unix_ms(self) -> int:
        return self._clock.now_ms()

    def deliver(self, action: Callable[..., None], *args: Any) -> None:
        """Something happens to this process."""
        if not self.alive:
            return
        if not (self.paused or self.lag_ms or self.inbox):
            self._happen(action, args)
            return
        self.inbox.append((action, args))
        self._come_to()

    def _come_to(self) -> None:
        if self.inbox and not self.paused and not self._coming_to:
            self._coming_to = True
            self.sim.after(self.lag_ms, self._next)

    def _next(self) -> None:
        self._coming_to = False
        if self.alive and not self.paused and self.inbox:
            action, args = self.inbox.popleft()
            self._happen(action, args)
            self._come_to()

    def _happen(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            action(*args)
        except Violation:
            raise
        except MISTAKES as error:
            if not self.world.mistakes_kill:
                raise
            self.sim.tell(self.name, f"DIES OF {type(error).__name__} {error}")
            self.crash()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._come_to()

    def crash(self) -> None:
        if self.alive:
            self.sim.tell(self.name, "CRASH")
            self.alive = False
            self.inbox.clear()
            for link in self.links:
                link.close()
            self.world.crashed(self)

    def perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if self.fuse is not None:
                self.fuse -= 1
                if self.fuse < 0:
                    self.crash()
            if not self.alive:
                return
            self.do(effect)

    def do(self, effect: Any) -> None:
        raise NotImplementedError

    def store_failed(self) -> None:
        """A try of something with the store; it is tried again."""

    def every(self, interval_ms: float, action: Callable[[], None]) -> None:
        """Call it again and again, while the process lives."""

        def again() -> None:
            if self.alive:
                action()
                self.sim.after(interval_ms, self.deliver, again)

        self.sim.after(self.sim.between(0, interval_ms), self.deliver, again)


class PeerProcess(Process):
    """One that has a link to each broker."""

    def open(self) -> None:
        self.links = [Link(self.world.network, self, i) for i in range(self.world.broker_count)]

    def up(self, session: bytes, link: int) -> None:
        self.deliver(self._learns, session, link)

    def _learns(self, session: bytes, link: int) -> None:
        self.links[link].speaking = session
        self.on_up(session, link)

    def down(self, link: int) -> None:
        self.deliver(self.on_down, link)

    def frames(self, frames: Frames, link: int) -> None:
        self.deliver(self.on_frames, frames, link)

    def on_up(self, session: bytes, link: int) -> None:
        raise NotImplementedError

    def on_down(self, link: int) -> None:
        raise NotImplementedError

    def on_frames(self, frames: Frames, link: int) -> None:
        raise NotImplementedError

    def do_link(self, effect: Any) -> bool:
        """Perform what goes to a broker; False if it was something else."""
        kind = type(effect)
        if kind is fx.ToBroker:
            self.tell_sent(broker_name(effect.link), effect.message)
            self.links[effect.link].send(m.encode(effect.message))
        elif kind is fx.Relay:
            self.tell_sent(effect.to, effect.message)
            self.links[effect.link].send(effect.to, m.encode(effect.message))
        elif kind is fx.SendFrame:
            self.sim.tell(self.name, effect)
            self.links[effect.link].send(b"", m.encode(effect.header), m.encode(effect.parts))
        elif kind is fx.Log:
            self.sim.tell(self.name, effect)
        elif kind is not fx.Count:
            return False
        return True

    def tell_sent(self, to: Any, message: Any) -> None:
        if type(message) not in (m.Beat, m.Report, m.LogLine):
            self.sim.tell(self.name, ("to", to, message))


class BrokerProcess(Process):
    role = "broker"

    def __init__(self, world: World, number: int, config: BrokerConfig) -> None:
        super().__init__(world, broker_name(number))
        name, self.number = self.name, number
        self.state = br.BrokerState(config, f"{name}-{self.sim.now}", int(self.sim.now * 1000) << 16)
        self.events: deque[Any] = deque()
        self.granted: dict[bytes, dict[str, int]] = {}
        """What each gateway was told last that it may take in."""
        world.network.brokers[number] = self
        self.every(config.ping_interval_ms, lambda: self.feed(br.Tick()))

    def frames(self, session: bytes, frames: Frames) -> None:
        self.deliver(self._frames, session, frames)

    def _frames(self, session: bytes, frames: Frames) -> None:
        if len(frames) == 3:
            self.feed(br.DataFrom(session, frames[1], frames[2]))
        elif len(frames) == 2:
            self.feed(br.RelayFrom(session, frames[0], frames[1]))
        else:
            self.feed(br.FromPeer(session, m.decode_control(frames[0])))

    def feed(self, event: Any) -> None:
        self.events.append(event)
        while self.events and self.alive:
            self.perform(self.state.step(self.events.popleft(), self.sim.now))

    def crash(self) -> None:
        if self.alive:
            self.world.network.broker_down(self.number)
        super().crash()

    def do(self, effect: Any) -> None:
        kind = type(effect)
        if kind is br.Forward:
            self._send(effect.session, tuple(effect.frames))
        elif kind is br.SendTo:
            if type(effect.message) is not m.Ping:
                self.sim.tell(self.name, ("to", effect.session, effect.message))
            if type(effect.message) is m.Grant:
                self.granted[effect.session] = effect.message.windows
            self._send(effect.session, (m.encode(effect.message),))
        elif kind is br.Cut:
            self.sim.tell(self.name, effect)
            connection = self.world.network.connections.get(effect.session)
            if connection is not None and connection.broker is self:
                connection.cut()
        elif kind is fx.Log:
            self.sim.tell(self.name, effect)
        elif kind is fx.Count and effect.name in ("floods", "unread"):
            self.world.bounds.near[effect.name] += 1
        elif kind is fx.Count and effect.name in ("bad_frames",):
            raise Violation(f"the broker was sent what is not in the protocol: {effect}")

    def _send(self, session: bytes, frames: Frames) -> None:
        connection = self.world.network.connections.get(session)
        if connection is None or connection.broker is not self or connection.broker_knows:
            self.events.append(br.Unreachable(session))
        else:
            connection.send(connection.to_peer, frames)


class WorkerProcess(PeerProcess):
    role = "worker"

    def __init__(self, world: World, name: str, config: WorkerConfig) -> None:
        super().__init__(world, name)
        self.state = WorkerState(config)
        world.incarnations += 1
        self.incarnation = f"{name}.{world.incarnations}"
        self.hosts: dict[str, FakeHost] = {}
        self.load_s = 0.0
        self.stopped = False
        self.open()
        self.every(WORKER_TICK_MS, self._tick)

    def step(self, event: Any) -> None:
        if self.alive:
            effects = self.state.step(event, self.unix_ms)
            if type(event) is ev.Tick:
                self.world.bounds.ticked(self)
            self.perform(effects)

    def _tick(self) -> None:
        self.step(ev.Measured(self.sim.now / 1e5, self.load_s, 1000))
        self.step(ev.Tick())

    def on_up(self, session: bytes, link: int) -> None:
        self.sim.tell(self.name, ("UP", session, broker_name(link)))
        self.step(ev.Up(session, link))

    def on_down(self, link: int) -> None:
        self.sim.tell(self.name, f"DOWN {broker_name(link)}")
        self.step(ev.Down(link))

    def on_frames(self, frames: Frames, link: int) -> None:
        if len(frames) == 3:
            header, parts = m.decode_header(frames[1]), m.decode_payload(frames[2])
            self.sim.tell(self.name, ("data from", frames[0], header, parts))
            self.step(ev.Data(frames[0], header, parts, link))
        elif len(frames) == 2:
            message = m.decode_control(frames[1])
            self.sim.tell(self.name, ("from", frames[0], message))
            self.step(ev.FromPeer(frames[0], message, link))
        else:
            message = m.decode_control(frames[0])
            if type(message) is not m.Ping:
                self.sim.tell(self.name, (f"from {broker_name(link)}", message))
            self.step(ev.FromBroker(message, link))

    def crash(self) -> None:
        super().crash()
        for host in self.hosts.values():
            host.alive = False

    def do(self, effect: Any) -> None:
        if type(effect) is fx.ToBroker and type(effect.message) is m.Beat:
            self.world.bounds.beat(self, effect.message.window)
        self.world.moves.source_does(self.name, effect)
        if self.do_link(effect):
            return
        kind = type(effect)
        store = self.world.store
        if kind is ev.CommitBatch:
            work = lambda: store.commit(self.name, effect.commits)  # noqa: E731
            store.call(self, work, lambda verdicts: self.step(ev.Committed(effect.tag, verdicts)))
        elif kind is ev.ReadContexts:
            work = lambda: store.memory.read_now(effect.queries)  # noqa: E731
            store.call(self, work, lambda answers: self._read(effect, answers))
        elif kind is ev.LoadPartitions:
            work = lambda: store.memory.load_now(effect.partitions)  # noqa: E731
            store.call(self, work, lambda states: self.step(ev.PartitionsLoaded(states)))
        elif kind is ev.TellHost:
            self.sim.tell(self.name, effect)
            self.hosts[effect.host].tell(effect.message)
        elif kind is ev.StartHost:
            self.sim.tell(self.name, effect)
            self.hosts[effect.host] = FakeHost(self, effect.host)
        elif kind is ev.LoadGraph:
            self.hosts[effect.host].load(effect.graph, effect.only)
        elif kind is ev.StopHost:
            if effect.host in self.hosts:
                self.hosts.pop(effect.host).alive = False
        elif kind is ev.KillHost:
            self.hosts[effect.host].die("killed")
        elif kind is ev.Reconnect:
            self.links[effect.link].reconnect()
        elif kind is ev.Exit:
            self.stopped = True
            self.crash()
        else:
            raise Violation(f"unknown effect {effect}")

    def _read(self, effect: ev.ReadContexts, answers: Any) -> None:
        self.sim.tell(self.name, ("read", effect.read, answers))
        self.step(ev.ContextsRead(effect.read, answers))

"""Gateways (the real deciding half) and the HTTP clients in front of them, with the clients' book: what was asked of
whom, and what came back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core import Violation
from network import Frames
from processes import PeerProcess, broker_name
from workload import Body, Plan, pack

from gateway import events as gw
from gateway.pending import GatewayState
from gateway.routes import NoMatch
from liquefy import messages as m
from liquefy.config import GatewayConfig

if TYPE_CHECKING:
    from world import World

GATEWAY_TICK_MS = 25.0
RETRY_MS = 300.0


class Ask:
    """One request of one client, with all its tries (more than one only with an Idempotency-Key).

    `posted`: gateways that took it in, and when; `answers`: (status, body) of those that a fluxion gave, `refused`: the
    gateway's own statuses."""

    def __init__(self, index: int, graph: str, plan: Plan, key: str, once: bool) -> None:
        self.index = index
        self.graph = graph
        self.plan = plan
        self.size = plan.size
        self.key = key
        self.once = once
        self.posted: list[tuple[GatewayProcess, float]] = []
        self.answers: list[tuple[int, bytes, bool]] = []
        self.refused: list[int] = []

    @property
    def path(self) -> str:
        return str(self.index)

    def certain(self, since_ms: float) -> bool:
        """A gateway took it in, none before that, and has not crashed since."""
        return all(at > since_ms for _, at in self.posted) and any(gateway.alive for gateway, _ in self.posted)


class GatewayProcess(PeerProcess):
    role = "gateway"

    def __init__(self, world: World, name: str, config: GatewayConfig, incarnation: int) -> None:
        super().__init__(world, name)
        self.incarnation = f"{name}.{incarnation}"
        self.state = GatewayState(config, self.incarnation.encode()[-6:].rjust(6, b"-"))
        self.tickets: dict[int, Ask] = {}
        self.config = config
        self.sizes: dict[int, int] = {}
        """Of what was asked, by ticket."""
        self.windows: dict[int, dict[str, int]] = {}
        self.most: dict[str, int] = {}
        """The largest window each node has granted."""
        self.count = 0
        self.flushing = False
        self.open()
        self.every(GATEWAY_TICK_MS, lambda: self.step(gw.Tick()))

    def step(self, event: Any) -> None:
        if self.alive:
            self.perform(self.state.step(event, self.unix_ms))
            if self.alive and not self.flushing:
                self.flushing = True
                self.sim.after(0.01, self.deliver, self._flush)

    def _flush(self) -> None:
        self.flushing = False
        self.perform(self.state.step(gw.Flush(), self.unix_ms))

    def on_up(self, session: bytes, link: int) -> None:
        self.sim.tell(self.name, ("UP", session, broker_name(link)))
        self.step(gw.Up(session, link))

    def on_down(self, link: int) -> None:
        self.sim.tell(self.name, f"DOWN {broker_name(link)}")
        self.windows.pop(link, None)
        self._granted()
        self.step(gw.Down(link))

    def on_frames(self, frames: Frames, link: int) -> None:
        if len(frames) == 3:
            header, parts = m.decode_header(frames[1]), m.decode_payload(frames[2])
            self.sim.tell(self.name, ("data from", frames[0], header, parts))
            self.step(gw.DataFromPeer(frames[0], header, parts, link))
        elif len(frames) == 2:
            message = m.decode_control(frames[1])
            self.sim.tell(self.name, ("from", frames[0], message))
            self.step(gw.FromPeer(frames[0], message, link))
        else:
            message = m.decode_control(frames[0])
            if type(message) is m.Grant:
                self.windows[link] = dict(message.windows)
                self._granted()
            if type(message) is not m.Ping:
                self.sim.tell(self.name, (f"from {broker_name(link)}", message))
            self.step(gw.FromBroker(message, link))

    def _granted(self) -> None:
        self.most |= {node: max(window, self.most.get(node, 0)) for node, window in self.least().items()}

    def least(self) -> dict[str, int]:
        """What each node takes of us: the least that any broker has granted."""
        granted = list(self.windows.values())
        return {node: min(g[node] for g in granted if node in g) for node in {n for g in granted for n in g}}

    def crash(self) -> None:
        super().crash()
        for ask in self.tickets.values():
            self.sim.after(RETRY_MS, self.world.clients.over, ask)
        self.tickets.clear()

    # -- clients ----------------------------------------------------------------------------------------

    def lets_in(self, graph: str) -> bool:
        """Whether there is a way to the graph."""
        return not isinstance(self.state.router.match("POST", f"/{graph}/count/k0"), NoMatch)

    def request(self, ask: Ask) -> None:
        """An HTTP request arrives."""
        found = self.state.router.match("POST", f"/{ask.graph}/{ask.plan.fluxion}/{ask.key}")
        if isinstance(found, NoMatch):
            self.world.clients.refused(ask, found.status)
            return
        self.count += 1
        ticket = self.count
        src = "" if ask.once else self.incarnation
        body = pack(Body(ask.path, src, [self.count], ask.plan))
        request = {"method": "POST", "path": f"/{ask.graph}/{ask.plan.fluxion}/{ask.key}", "params": found.params}
        request |= {"query": {}, "headers": {}, "body": ask.path}
        self.tickets[ticket] = ask
        ask.posted.append((self, self.sim.now))
        self.sim.tell(self.name, ("requested", ask.path, ask.plan))
        once = f"once-{ask.index}" if ask.once else None
        self.sizes[ticket] = len(body)
        self.step(gw.Requested(ticket, found.entry, request, body, once))
        if self.tickets.get(ticket) is ask and not ask.once:
            self.world.bounds.admitted(self)

    def do(self, effect: Any) -> None:
        if self.do_link(effect):
            return
        kind = type(effect)
        if kind is gw.Answer:
            self._answered(effect.ticket, effect.status, effect.body, effect.replayed)
        elif kind is gw.Refuse:
            ask = self.tickets.pop(effect.ticket, None)
            if ask is None:
                raise Violation(f"{self.name} answers ticket {effect.ticket} twice")
            self.sim.tell(self.name, ("refused", ask.path, effect))
            if effect.status == 503:
                del ask.posted[max(i for i, (gateway, _) in enumerate(ask.posted) if gateway is self)]
            self.world.clients.refused(ask, effect.status)
        elif kind is gw.Reconnect:
            self.links[effect.link].reconnect()
        else:
            self._store(effect)

    def _answered(self, ticket: int, status: int, body: bytes, replayed: bool) -> None:
        ask = self.tickets.pop(ticket, None)
        if ask is None:
            raise Violation(f"{self.name} answers ticket {ticket} twice")
        self.sim.tell(self.name, ("answered", ask.path, status, body))
        ask.answers.append((status, body, replayed))

    def _store(self, effect: Any) -> None:
        memory, name = self.world.store.memory, effect.root.hex()
        if type(effect) is gw.Begin:
            data = m.encode(effect.kept)
            work = lambda: memory.idem_begin_now("root", name, data, 3600)  # noqa: E731
            done = lambda found: self._looked(effect.root, found, True)  # noqa: E731
        elif type(effect) is gw.Look:
            work = lambda: memory.idem_get_now("root", name)  # noqa: E731
            done = lambda found: self._looked(effect.root, found, False)  # noqa: E731
        else:
            data = m.encode(effect.kept)
            work = lambda: memory.idem_end_now("root", name, data, 3600)  # noqa: E731
            done = lambda found: self._stored(effect.root, found)  # noqa: E731
        self.world.store.call(self, work, done, 1)

    def _looked(self, root: bytes, found: Any, begun: bool) -> None:
        if isinstance(found, Exception):
            self.step(gw.StoreFailed(root, begun))
        else:
            kept = None if found is None else m.msgspec.msgpack.decode(found, type=gw.Kept)
            self.step(gw.Looked(root, kept, begun))

    def _stored(self, root: bytes, found: Any) -> None:
        self.step(gw.StoreFailed(root, False) if isinstance(found, Exception) else gw.Stored(root))


class Clients:
    """All clients of one seed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asks: list[Ask] = []
        self.to_come = 0

    def ask(self, graph: str, plan: Plan, once: bool) -> Ask:
        """A new client asks."""
        ask = Ask(len(self.asks), graph, plan, plan.key, once)
        self.asks.append(ask)
        self._try(ask)
        return ask

    def _try(self, ask: Ask) -> None:
        gateways = [g for g in self.world.gateways.values() if g.alive]
        if gateways:
            gateway = self.world.sim.rng.choice(gateways)
            gateway.deliver(gateway.request, ask)
        elif ask.once:
            self._again(ask)

    def _again(self, ask: Ask) -> None:
        self.to_come += 1
        self.world.sim.after(RETRY_MS, self._retry, ask)

    def _retry(self, ask: Ask) -> None:
        self.to_come -= 1
        self._try(ask)

    def refused(self, ask: Ask, status: int) -> None:
        ask.refused.append(status)
        self.over(ask)

    def over(self, ask: Ask) -> None:
        """A try has failed. Who gave an Idempotency-Key tries again."""
        if ask.once and not ask.answers and self.world.sim.now < self.world.end_ms + 5_000:
            self._again(ask)

"""A small world around a ControllerState: a store, a broker and workers that do what they are told at once, or as a
test says. Virtual time, no randomness but what a test brings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from controller import events as ev
from controller.state import TICK_MS, ControllerState
from liquefy import messages as m
from liquefy.commits import Placement
from liquefy.config import ControllerConfig
from liquefy.control import Reply, Request
from liquefy.effects import Log, Relay, ToBroker
from liquefy.graph import Fluxion, Graph, Group, Input

BUNDLE = b"code"
DIGEST = hashlib.sha256(BUNDLE).hexdigest()
START_MS = 1_000_000


def graph(name: str = "visits", partitions: int = 8, groups: tuple[str, ...] = ("store",), **changes: Any) -> Graph:
    """Keyed stateful groups of one fluxion each, in a chain."""
    fluxions = [
        Fluxion(
            g, f"code:{g}", g, key="user", bundle=DIGEST, streams=(groups[i + 1] if i + 1 < len(groups) else "output",)
        )
        for i, g in enumerate(groups)
    ]
    made = Graph(
        name,
        0,
        DIGEST,
        (Input("input", "GET", f"/{name}/{{user}}", groups[0]),),
        tuple(fluxions),
        tuple(Group(g, True, partitions) for g in groups),
    )
    return msgspec.structs.replace(made, **changes)


class FakeStore:
    """What `liquefy.contexts` does, as far as the controller asks."""

    def __init__(self) -> None:
        self.placements: dict[str, Placement] = {}
        self.graphs: dict[str, Graph] = {}
        self.bundles: set[str] = set()
        self.maps: dict[str, dict[str, Any]] = {"moves": {}, "nodes": {}, "pins": {}}
        self.frozen = ""
        self.contexts: dict[tuple[str, str], dict[str, bytes]] = {}
        self.done: list[Any] = []

    def get(self, partition: str) -> Placement:
        return self.placements.get(partition, Placement(partition, "", 0))

    def do(self, operation: Any) -> Any:
        self.done.append(operation)
        return getattr(self, f"_{type(operation).__name__}")(operation)

    def _ReadEverything(self, operation: Any) -> Any:
        names = [p for g in self.graphs.values() for p in g.partition_names()]
        names += [p for p in self.maps["moves"] if p not in names]
        maps = self.maps
        placements = [self.get(p) for p in names]
        return ev.Everything(
            list(self.graphs.values()),
            placements,
            dict(maps["moves"]),
            dict(maps["nodes"]),
            dict(maps["pins"]),
            self.frozen,
        )

    def _ReadPlacements(self, operation: Any) -> Any:
        return [self.get(p) for p in operation.partitions]

    def _Place(self, operation: Any) -> Any:
        for partition, epoch, owner, least in operation.requests:
            if self.get(partition).epoch == epoch:
                self.placements[partition] = Placement(partition, owner, max(epoch + 1, least))
        return [self.get(request.partition) for request in operation.requests]

    def _Unplace(self, operation: Any) -> None:
        for p in operation.partitions:
            if self.get(p).owner:
                self.placements[p] = Placement(p, "", self.get(p).epoch + 1)

    def _PutBundle(self, operation: Any) -> None:
        self.bundles.add(hashlib.sha256(operation.data).hexdigest())

    def _DropBundles(self, operation: Any) -> None:
        self.bundles &= operation.keep

    def _PutGraph(self, operation: Any) -> None:
        self.graphs[operation.graph.name] = operation.graph

    def _DeleteGraph(self, operation: Any) -> None:
        self.graphs.pop(operation.name, None)

    def _SetJson(self, operation: Any) -> None:
        if operation.value is None:
            self.maps[operation.map].pop(operation.field, None)
        else:
            self.maps[operation.map][operation.field] = operation.value

    def _SetFreeze(self, operation: Any) -> None:
        self.frozen = operation.reason

    def _ReadContext(self, operation: Any) -> dict[str, bytes]:
        return self.contexts.get((operation.partition, operation.key), {})

    def _CountDead(self, operation: Any) -> int:
        return 0


class FakeWorker:
    """Does at once what it is told, unless a test says otherwise. `refuses`: the error of its Prepared; `on_move`:
    "ok", "silent", or the error with which it gives up."""

    def __init__(self, name: str, session: bytes, capacity: float = 1.0) -> None:
        self.name, self.session, self.capacity = name, session, capacity
        self.owned: dict[str, int] = {}
        self.refuses = ""
        self.prepares = True
        self.reports = True
        self.on_move = "ok"
        self.heard: list[Any] = []
        self.connected = True


class World:
    """`hand`: nothing happens by itself but what the store answers (if `stores`)."""

    def __init__(self, hand: bool = False, **config: Any) -> None:
        self.config = ControllerConfig(**config)
        self.store = FakeStore()
        self.hand = hand
        self.stores = True
        self.now_ms = START_MS
        self.workers: dict[str, FakeWorker] = {}
        self.gateways: dict[bytes, list[Any]] = {}
        self.routes: dict[str, m.Route] = {}
        self.replies: list[Reply] = []
        self.logs: list[Log] = []
        self.effects: list[Any] = []
        self.waiting_store: list[ev.Store] = []
        self.loads: Callable[[str, int], dict[str, float]] = lambda name, now_ms: {}
        self.base: Callable[[str], float] = lambda name: 0.0
        """Cores that a node uses beside its partitions."""
        self.traffic: list[tuple[str, str, int]] = []
        self.broker_up = False
        self.broker_since_ms = START_MS
        self._sessions = 0
        self._reported_ms = 0
        self._request = 0
        self.state = ControllerState(self.config)
        self.start()

    # -- the controller's process -------------------------------------------------------------------------

    def start(self) -> None:
        self.feed(ev.Tick())
        self.link_up()

    def restart_controller(self) -> None:
        self.state = ControllerState(self.config)
        self.waiting_store = []
        self.start()

    def link_up(self) -> None:
        if not self.broker_up:
            self.broker_up, self.broker_since_ms = True, self.now_ms
        self.feed(ev.Up(b"controller#1"))

    def link_down(self) -> None:
        self.broker_up = False
        self.feed(ev.Down())

    def feed(self, event: Any) -> None:
        for effect in self.state.step(event, self.now_ms):
            self.perform(effect)

    def perform(self, effect: Any) -> None:
        self.effects.append(effect)
        if isinstance(effect, ev.Store):
            if self.stores:
                self.feed(ev.StoreDone(effect.tag, self.store.do(effect.operation)))
            else:
                self.waiting_store.append(effect)
        elif isinstance(effect, Log):
            self.logs.append(effect)
        elif isinstance(effect, ev.Answer):
            self.replies.append(effect.reply)
        elif isinstance(effect, ToBroker) and self.broker_up:
            self._broker(effect.message)
        elif isinstance(effect, Relay) and self.broker_up:
            self._relay(effect)

    def store_answers(self) -> None:
        while self.waiting_store:
            effect = self.waiting_store.pop(0)
            self.feed(ev.StoreDone(effect.tag, self.store.do(effect.operation)))

    def run(self, ms: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            wake_ms = self.state.next_wake_ms()
            step_ms = min(TICK_MS, end_ms - self.now_ms)
            if wake_ms is not None:
                step_ms = min(step_ms, max(1, wake_ms - self.now_ms))
            self.now_ms += step_ms
            if self.now_ms - self._reported_ms >= 500:
                self._reported_ms = self.now_ms
                self.report()
            self.feed(ev.Tick())

    def until(self, condition: Callable[[], bool], limit_ms: int = 30_000) -> int:
        """Time that passed until the condition held."""
        began_ms = self.now_ms
        while not condition():
            assert self.now_ms - began_ms < limit_ms, "it did not come to that"
            self.run(TICK_MS)
        return self.now_ms - began_ms

    def ask(self, command: str, **arguments: Any) -> int:
        self._request += 1
        self.feed(ev.Asked(b"ctl#1", Request(self._request, command, arguments)))
        return self._request

    def reply(self, request: int) -> Reply:
        """The one that ends the request."""
        return next(reply for reply in self.replies if reply.id == request and reply.end)

    def answered(self, request: int) -> bool:
        return any(reply.id == request and reply.end for reply in self.replies)

    def result(self, command: str, **arguments: Any) -> Any:
        """Ask, wait, and expect no error."""
        request = self.ask(command, **arguments)
        self.until(lambda: self.answered(request), 200_000)
        reply = self.reply(request)
        assert not reply.error, reply.error
        return reply.result

    def error(self, command: str, **arguments: Any) -> str:
        request = self.ask(command, **arguments)
        self.until(lambda: self.answered(request), 400_000)
        return self.reply(request).error

    def deploy(self, made: Graph, **arguments: Any) -> Any:
        return self.result("deploy", graph=msgspec.to_builtins(made), bundle=BUNDLE, **arguments)

    def deploy_error(self, made: Graph) -> str:
        return self.error("deploy", graph=msgspec.to_builtins(made), bundle=BUNDLE)

    # -- the broker and its peers ------------------------------------------------------------------------

    def worker_up(
        self, name: str, claims: dict[str, int] | None = None, capacity: float = 1.0, **traits: Any
    ) -> FakeWorker:
        self._sessions += 1
        worker = FakeWorker(name, f"{name}#{self._sessions}".encode(), capacity)
        for trait, value in traits.items():
            setattr(worker, trait, value)
        worker.owned = dict(claims or {})
        self.workers[name] = worker
        for partition, epoch in worker.owned.items():
            self.routes[partition] = m.Route(partition, name, worker.session, epoch, 1)
        if self.broker_up:
            self.feed(self._peer_up(worker))
        return worker

    def worker_down(self, name: str) -> None:
        worker = self.workers.pop(name)
        for partition, route in list(self.routes.items()):
            if route.session == worker.session:
                self.routes[partition] = route._replace(session=b"")
        if self.broker_up:
            self.feed(ev.FromBroker(m.PeerDown("worker", name, worker.session)))

    def gateway_up(self, name: str) -> list[Any]:
        session = f"{name}#1".encode()
        self.gateways[session] = []
        self.feed(ev.FromBroker(m.PeerUp("gateway", name, session, [], 1.0)))
        return self.gateways[session]

    def _peer_up(self, worker: FakeWorker) -> ev.FromBroker:
        claims = [m.Claim(r.destination, r.epoch) for r in self.routes.values() if r.session == worker.session]
        return ev.FromBroker(m.PeerUp("worker", worker.name, worker.session, claims, worker.capacity))

    def _broker(self, message: Any) -> None:
        if isinstance(message, m.Hello):
            up_ms = self.now_ms - self.broker_since_ms
            self.feed(ev.FromBroker(m.Welcome("broker", list(self.routes.values()), up_ms)))
            for worker in list(self.workers.values()):
                self.feed(self._peer_up(worker))
        elif isinstance(message, m.Assign) and not self.hand:
            for partition, epoch, node in message.claims:
                self.assign(partition, epoch, node)
        elif isinstance(message, m.Unassign):
            for partition in message.partitions:
                self.routes.pop(partition, None)
                for worker in self.workers.values():
                    worker.owned.pop(partition, None)
        elif isinstance(message, m.Expel):
            name = next((w.name for w in self.workers.values() if w.session == message.session), None)
            if name is not None:
                self.worker_down(name)

    def assign(self, partition: str, epoch: int, node: str, held: int = 0, pause_us: int = 0) -> None:
        """The broker's side of an assignment or a handover, up to the activation."""
        known = self.routes.get(partition)
        if known is not None and known.epoch > epoch:
            return
        for worker in self.workers.values():
            worker.owned.pop(partition, None)
        target = self.workers.get(node)
        self.routes[partition] = m.Route(partition, node, target.session if target else b"", epoch, 1)
        if target is not None:
            target.owned[partition] = epoch
            self.feed(ev.FromBroker(m.Landed(partition, epoch, node, held, pause_us)))

    def _relay(self, relay: Relay) -> None:
        if relay.to in self.gateways:
            self.gateways[relay.to].append(relay.message)
        worker = next((w for w in self.workers.values() if w.session == relay.to), None)
        if worker is None:
            return
        worker.heard.append(relay.message)
        if self.hand:
            return
        message = relay.message
        if isinstance(message, m.Prepare) and worker.prepares:
            self.said(worker, m.Prepared(message.graph.name, message.graph.version, worker.refuses))
        elif isinstance(message, m.Move):
            self._move(worker, message)
        elif isinstance(message, m.Abort) and worker.on_move == "silent":
            self.said(worker, m.MoveEnded(message.partition, message.epoch, "the controller gave it up"))

    def _move(self, worker: FakeWorker, move: m.Move) -> None:
        partition, epoch, target = move.partition, move.epoch, move.target
        if worker.on_move == "silent":
            return
        if worker.on_move != "ok" or worker.owned.get(partition) != epoch:
            self.said(worker, m.MoveEnded(partition, epoch, worker.on_move if worker.on_move != "ok" else "not mine"))
            return
        self.store.placements[partition] = Placement(partition, target, epoch + 1)
        self.said(worker, m.MoveEnded(partition, epoch))
        self.assign(partition, epoch + 1, target, held=2, pause_us=1500)

    def said(self, worker: FakeWorker, message: Any) -> None:
        self.feed(ev.FromNode(worker.session, message))

    def report(self) -> None:
        for worker in list(self.workers.values()):
            if not worker.reports:
                continue
            used = {p: c for p, c in self.loads(worker.name, self.now_ms).items() if p in worker.owned}
            loads = [m.PartitionLoad(p, cores * 0.5, int(cores * 1000), 0, 0.0, 0) for p, cores in used.items()]
            traffic = [t for t in self.traffic if t[0] in worker.owned]
            cpu_s = (sum(used.values()) + self.base(worker.name)) * 0.5
            report = m.Report(0.5, loads, traffic, cpu_s, 1, 0, 1, True, len(worker.owned))
            self.said(worker, report)

    # -- looking ------------------------------------------------------------------------------------------

    def owners(self) -> dict[str, str]:
        """As stored."""
        return {p: placement.owner for p, placement in self.store.placements.items()}

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for owner in self.owners().values():
            counts[owner] = counts.get(owner, 0) + 1
        return counts

    def events(self, event: str) -> list[Log]:
        return [log for log in self.logs if log.event == event]

    def consistent(self) -> bool:
        """Each placed partition is active at its owner and nowhere else, at the stored epoch."""
        for partition, (_, owner, epoch) in self.store.placements.items():
            have = {w.name: w.owned[partition] for w in self.workers.values() if partition in w.owned}
            if have != ({owner: epoch} if owner else {}):
                return False
        return True


def cluster(nodes: int = 3, made: Graph | None = None, **config: Any) -> World:
    """A world with a deployed graph, settled."""
    world = World(**config)
    for i in range(1, nodes + 1):
        world.worker_up(f"node{i}")
    world.run(1_500)
    world.deploy(made or graph())
    return world

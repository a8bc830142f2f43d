"""The controller: decides where partitions are, who lives, what moves. Takes an event and the time, returns effects.

Knows no socket, no clock, no Redis. The parts share a `Desk`: `placing` (who owns what), `migration`, `rebalancing`,
`deploying`, `commands`; here is who is told what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controller import events as ev
from controller.cluster import Node
from controller.commands import Commands
from controller.deploying import Deploying
from controller.desk import Desk, Effect
from controller.liveness import Liveness
from controller.migration import Migrations
from controller.placing import START_MS, Placing
from controller.rebalancing import Rebalancing
from controller.recovering import Recovering
from liquefy.config import ControllerConfig
from liquefy.effects import Log
from liquefy.links import Links
from liquefy.messages import (
    Beat,
    Expel,
    Fenced,
    Hello,
    Inventory,
    Landed,
    Leaving,
    LogLine,
    MoveEnded,
    Orphans,
    PeerDown,
    PeerUp,
    Ping,
    Prepared,
    Read,
    Recheck,
    Report,
    Session,
    Welcome,
)
from liquefy.wording import counted

TICK_MS = 50
"""How often the service ticks."""

REJOIN_MS = 1_000
"""From the start of the broker on, peers have so long to say Hello before they count as gone."""

REJOIN_LEAST_MS = 150
"""They have so long in any case: what cut this controller off may have cut them off, too."""

RECONCILE_MS = 2_000
"""How often what is, is compared with what is stored."""

BEAT_MS = 100

SILENCE_MS = 2_000
"""A broker that does not ping for so long is connected to anew."""

GONE_KEPT_MS = 600_000
"""A node that is gone for so long is forgotten, unless it has settings."""

RETRY_REFUSED_MS = 30_000
"""A node that could not load a graph in force is asked again after so long."""


class ControllerState:
    """One that leads, in this `term`."""

    def __init__(self, config: ControllerConfig, term: int = 0) -> None:
        self._config, self._term, self._led_ms = config, term, 0
        self._links = Links(len(config.broker_addresses))
        self._desk = Desk(config)
        self._desk.term = term
        self._cluster = self._desk.cluster
        self._liveness = Liveness(config.hang_ms)
        self._placing = Placing(self._desk, lambda: self._migrations.partitions())
        self._migrations = Migrations(self._desk)
        self._rebalancing = Rebalancing(self._desk, self._placing, self._migrations)
        self._deploying = Deploying(self._desk, self._placing, self._migrations)
        self._recovering = Recovering(self._desk, self._placing, self._migrations, self._deploying)
        self._commands = Commands(self._desk, self._migrations, self._rebalancing, self._deploying)
        self._placing.on_placed = self._migrations.on_placed
        self._placing.on_gone_back = self._migrations.on_gone_back
        self._loading = False
        self._loaded = False
        self._first_welcome = True
        self._settle_ms: int | None = None
        self._reconcile_ms = self._beat_ms = self._refused_ms = 0
        self._events: dict[type, Callable[[Any], None]] = {
            ev.Up: self._up,
            ev.Down: self._down,
            ev.FromBroker: self._from_broker,
            ev.FromNode: self._from_node,
            ev.Asked: lambda e: self._commands.ask(e, self._loaded),
            ev.ClientGone: lambda e: self._desk.journal.gone(e.client),
            ev.StoreDone: lambda e: self._desk.stored(e.tag, e.result),
            ev.StoreHealth: self._store_health,
            ev.Tick: self._tick,
        }
        self._from_broker_handlers: dict[type, Callable[[Any, int], None]] = {
            Welcome: self._welcome,
            PeerUp: self._peer_up,
            PeerDown: self._peer_down,
            Landed: self._landed,
            Orphans: self._orphans,
            LogLine: lambda m, link: self._desk.answer(self._desk.journal.told(m)),
            Fenced: lambda m, link: self._desk.reconnect(link),
            Ping: lambda m, link: self._desk.broker(Read(m.mark), link) if m.mark else None,
        }
        self._from_node_handlers: dict[type, Callable[[Node, Any], None]] = {
            Report: self._report,
            Prepared: self._prepared,
            MoveEnded: self._move_ended,
            Inventory: self._inventory,
            Leaving: self._leaving,
        }

    def step(self, event: ev.Event, now_ms: int) -> list[Effect]:
        """One event in, effects out, to be performed in order. `now_ms`: Unix milliseconds."""
        desk = self._desk
        desk.now_ms = max(desk.now_ms, now_ms)
        if not self._loading:
            self._loading = True
            self._commands.started()
            desk.store(ev.ReadEverything(), self._read)
        self._events[type(event)](event)
        if self._loaded:
            self._placing.advance()
            self._migrations.advance()
            self._deploying.advance()
        return desk.take_effects()

    def next_wake_ms(self) -> int | None:
        """When a Tick is due before the next regular one, if it is."""
        due = [*self._placing.due_ms.values()]
        wake_ms = self._migrations.next_wake_ms()
        if wake_ms is not None:
            due.append(wake_ms)
        return min(due, default=None)

    def log(self, line: Log, now_ms: int) -> list[Effect]:
        """A line that the service has to say."""
        self._desk.now_ms = max(self._desk.now_ms, now_ms)
        self._desk.log(line.level, line.text, line.event, **line.fields)
        return self._desk.take_effects()

    # -- start ---------------------------------------------------------------------------------------------

    def _read(self, found: ev.Everything) -> None:
        """What a controller before us left."""
        cluster, now_ms = self._cluster, self._desk.now_ms
        cluster.graphs = {graph.name: graph for graph in found.graphs}
        for placement in found.placements:
            if self._placing.set_aside(placement):
                continue
            cluster.place(placement, "found there by a new controller", now_ms)
            if placement.owner:
                cluster.node(placement.owner)
        for name, settings in found.nodes.items():
            node = cluster.node(name)
            node.cordoned, node.drained = bool(settings.get("cordoned")), bool(settings.get("drained"))
        cluster.pins = dict(found.pins)
        cluster.frozen = found.frozen
        self._loaded = True
        self._migrations.resume(found.moves)
        self._deploying.started()
        text = (
            f"{counted(len(found.graphs), 'graph')}, {counted(len(cluster.where), 'partition')} placed, "
            f"{counted(len(found.moves), 'move')} half done"
        )
        self._desk.log("info", f"read the store: {text}")
        for link in self._links.sessions:
            self._say_hello(link)

    # -- the links -----------------------------------------------------------------------------------------

    def _up(self, event: ev.Up) -> None:
        self._links.up(event.link, event.session, self._desk.now_ms)
        if self._loaded:
            self._say_hello(event.link)

    def _say_hello(self, link: int) -> None:
        self._led_ms = self._led_ms or self._desk.now_ms
        hello = Hello("controller", self._config.name, term=self._term, started_ms=self._led_ms)
        self._desk.hello(hello, link)

    def _down(self, event: ev.Down) -> None:
        link, desk = event.link, self._desk
        self._links.down(link)
        if link in desk.links:
            desk.log("warning", f"{self._config.broker_named(link)} is gone", "broker")
        desk.links.discard(link)
        cluster = self._cluster
        for node in cluster.nodes.values():
            node.passed_over.pop(link, None)
        for session in [s for s in cluster.gateways if cluster.links[s] == link]:
            del cluster.gateways[session], cluster.links[session]
        if not desk.links:
            desk.settled = False
            self._settle_ms = None
            self._liveness.suspend()
        for node in cluster.alive():
            if len(node.sessions) > 1 and link in node.sessions:
                self._session_lost(node, link)
            elif link in node.sessions:  # if another broker is left, and it does not come there, it counts as hung
                node.confirmed = False

    def _welcome(self, welcome: Welcome, link: int) -> None:
        now_ms, first = self._desk.now_ms, not self._desk.links
        self._desk.links.add(link)
        if first or self._settle_ms is not None:
            settle_ms = now_ms + max(REJOIN_LEAST_MS, REJOIN_MS - welcome.up_ms)
            self._settle_ms = max(settle_ms, self._settle_ms or 0)
        if self._first_welcome:
            self._first_welcome = False
            self._placing.start_until_ms = now_ms + START_MS
        if first:
            self._liveness.resume(now_ms)
        self._placing.welcome(welcome.routes, first)
        self._desk.log("info", f"connected to {self._config.broker_named(link)}", "broker")

    def _settle(self) -> None:
        """Everybody had time to come back."""
        self._settle_ms = None
        self._desk.settled = True
        for node in self._cluster.alive():
            if not node.confirmed:
                self._node_gone(node, "did not come back")
                self._take_up(node)
        self._desk.recheck()
        self._placing.reconcile()
        self._placing.compare_routes()
        self._placing.adopt(self._deploying.names())
        self._migrations.on_settled()
        self._deploying.on_settled()
        self._rebalancing.settle()

    def _from_broker(self, event: ev.FromBroker) -> None:
        self._links.heard(event.link, self._desk.now_ms)
        handler = self._from_broker_handlers.get(type(event.message))
        if handler is not None and self._loaded:
            handler(event.message, event.link)

    def _from_node(self, event: ev.FromNode) -> None:
        message = event.message
        if isinstance(message, LogLine):
            self._desk.answer(self._desk.journal.told(message))
            return
        node = self._cluster.by_session(event.session)
        handler = self._from_node_handlers.get(type(message))
        if node is not None and handler is not None:
            self._liveness.heard(event.session, self._desk.now_ms)
            if event.session == node.session or not isinstance(message, Report):  # it reports by each broker
                handler(node, message)

    # -- peers ---------------------------------------------------------------------------------------------

    def _peer_up(self, peer: PeerUp, link: int) -> None:
        if peer.role == "gateway":
            cluster = self._cluster
            if not self._gateway_sessions(peer.name):
                self._desk.log("info", f"gateway {peer.name} joined", "gateway")
            cluster.gateways[peer.session], cluster.links[peer.session] = peer.address, link
            self._desk.relay(peer.session, self._desk.open_graphs())
        elif peer.role == "worker":
            self._node_up(peer, link)

    def _gateway_sessions(self, name: str) -> list[Session]:
        return [session for session in self._cluster.gateways if session.rpartition(b"#")[0] == name.encode()]

    def _node_up(self, peer: PeerUp, link: int) -> None:
        cluster, now_ms = self._cluster, self._desk.now_ms
        node = cluster.node(peer.name)
        was_here = node.alive and self._links.count > 1
        known = was_here and peer.started_ms == node.started_ms
        for other in node.sessions.keys() - self._desk.links:
            if other != link:
                self._forget_session(node, other)  # of a broker that is gone
        if node.alive and peer.started_ms < node.started_ms:
            # That broker has yet to notice that this process is no more; or the others have, and a clock was set back.
            node.passed_over[link] = peer
            return
        node.passed_over.pop(link, None)
        if known and node.sessions.keys() - {link}:
            self._node_also(node, peer, link)
            return
        same = known or node.sessions.get(link) == peer.session
        if not same and was_here:
            self._node_gone(node, "has begun anew")  # not all brokers have noticed yet
        self._meet(node, peer, link)
        if not same:
            node.since_ms, node.gone_ms = now_ms, 0
            node.hung = node.leaving = False
            node.ready, node.refused, node.report, node.inventory = {}, {}, None, None
            cluster.measures.forget_node(node.name)
        node.confirmed, node.capacity = True, max(peer.capacity, 0.01)
        self._liveness.up(peer.session, now_ms)
        self._desk.equip(node)
        if peer.claims:
            self._desk.relay(peer.session, Recheck())
        self._placing.node_back(node, peer.claims, not same)
        self._rebalancing.settle()
        if known:
            self._deploying.on_settled(node.name)
            self._migrations.on_session_lost(node.name)
        if not same:
            owns = f" with {counted(len(peer.claims), 'partition')}" if peer.claims else ""
            text = f"{node.name} joined{owns} ({node.capacity:g} cores)"
            self._desk.log("info", text, "joined", node=node.name, partitions=len(peer.claims))

    def _node_also(self, node: Node, peer: PeerUp, link: int) -> None:
        """A process that is here has connected to one more broker."""
        self._meet(node, peer, link)
        node.confirmed = True
        self._liveness.up(peer.session, self._desk.now_ms)
        self._desk.relay(peer.session, self._desk.graphs())
        self._placing.node_also(peer.claims)
        self._desk.log("debug", f"{node.name} is connected to {self._config.broker_named(link)}, too", "joined")

    def _meet(self, node: Node, peer: PeerUp, link: int) -> None:
        if node.sessions.get(link, peer.session) != peer.session:
            self._forget_session(node, link)
        node.sessions[link], node.started_ms = peer.session, peer.started_ms
        self._cluster.sessions[peer.session], self._cluster.links[peer.session] = node.name, link

    def _peer_down(self, peer: PeerDown, link: int) -> None:
        if peer.role == "gateway":
            self._cluster.links.pop(peer.session, None)
            known = self._cluster.gateways.pop(peer.session, None) is not None
            if known and not self._gateway_sessions(peer.name):
                self._desk.log("warning", f"gateway {peer.name} is gone", "gateway")
            return
        node = self._cluster.by_session(peer.session)
        if node is not None and len(node.sessions) > 1:
            self._session_lost(node, link)
        elif node is not None:
            self._node_gone(node, "is gone")
            self._take_up(node)
        elif (node := self._cluster.nodes.get(peer.name)) is not None:
            passed_over = node.passed_over.get(link)
            if passed_over is not None and passed_over.session == peer.session:
                del node.passed_over[link]

    def _take_up(self, node: Node) -> None:
        """The process that was taken for the latest of that name is gone. What was passed over for it, and is there
        yet, is the one that lives."""
        passed_over, node.passed_over = node.passed_over, {}
        for link, peer in sorted(passed_over.items()):
            self._node_up(peer, link)

    def _session_lost(self, node: Node, link: int) -> None:
        """It is not reached by that broker any more; by another it is. What was said by the one may be lost."""
        self._forget_session(node, link)
        text = f"{node.name} is not reached by {self._config.broker_named(link)}; by another it is"
        self._desk.log("warning" if link in self._desk.links else "debug", text, "broker", node=node.name)
        self._desk.equip(node)
        self._desk.relay(node.session, Recheck())
        self._deploying.on_settled(node.name)
        self._migrations.on_session_lost(node.name)

    def _node_gone(self, node: Node, why: str) -> None:
        for link in list(node.sessions):
            self._forget_session(node, link)
        node.confirmed, node.inventory = False, None
        node.since_ms = node.gone_ms = self._desk.now_ms
        left = len(self._cluster.owned.get(node.name, ()))
        level = "warning" if left else "info"
        self._desk.log(level, f"{node.name} {why}", "left", node=node.name, partitions=left)
        self._migrations.on_node_gone(node.name)
        self._deploying.on_node_gone(node.name)
        self._placing.node_lost(node)
        self._rebalancing.settle()

    def _forget_session(self, node: Node, link: int) -> None:
        session = node.sessions.pop(link)
        self._liveness.down(session)
        self._cluster.sessions.pop(session, None)
        self._cluster.links.pop(session, None)

    # -- what the broker says ------------------------------------------------------------------------------

    def _landed(self, landed: Landed, link: int) -> None:
        node = self._cluster.nodes.get(landed.node)
        if node is None or link not in node.sessions:  # another broker has told that this process is no more
            self._placing.heard(landed.partition, landed.epoch)
            return
        self._migrations.on_landed(landed, link)
        self._placing.on_landed(landed)
        self._deploying.on_landed(landed.partition)

    def _orphans(self, orphans: Orphans, link: int) -> None:
        if self._desk.settled:
            beyond = self._migrations.partitions() | self._reached_by_others(orphans.partitions, link)
            self._placing.check([p for p in orphans.partitions if p not in beyond])

    def _reached_by_others(self, partitions: list[str], link: int) -> set[str]:
        """Of these, what senders reach by another broker, as the owner is not connected to this one."""
        nodes = self._cluster.nodes
        owners = {p: nodes.get(self._cluster.where.get(p, "")) for p in partitions}
        return {p for p, node in owners.items() if node is not None and node.alive and link not in node.sessions}

    # -- what nodes say ------------------------------------------------------------------------------------

    def _report(self, node: Node, report: Report) -> None:
        node.report = report
        self._cluster.measures.add(node.name, report, self._desk.now_ms)

    def _prepared(self, node: Node, prepared: Prepared) -> None:
        self._deploying.on_prepared(node, prepared)
        if not prepared.error or prepared.graph in node.refused:
            self._migrations.on_prepared(node, prepared.graph, prepared.error)

    def _move_ended(self, node: Node, ended: MoveEnded) -> None:
        partition = ended.partition
        known = self._migrations.on_ended(node, ended)
        if not ended.error and (not known or not self._cluster.is_alive(self._cluster.where.get(partition, ""))):
            self._placing.check([partition])  # handed over, but we asked for it no more, or its target is dead

    def _inventory(self, node: Node, inventory: Inventory) -> None:
        node.inventory = dict(inventory.claims)
        for partition, epoch in inventory.claims:
            self._placing.heard(partition, epoch)

    def _leaving(self, node: Node, leaving: Leaving) -> None:
        if not node.leaving:
            node.leaving = True
            owned = len(self._cluster.owned.get(node.name, ()))
            text = f"{node.name} wants to stop: moving its {counted(owned, 'partition')}; expected: it will have none"
            self._desk.log("info", text, "leaving")
            self._rebalancing.required()

    # -- time ----------------------------------------------------------------------------------------------

    def _tick(self, event: ev.Tick) -> None:
        now_ms = self._desk.now_ms
        hung = self._liveness.hung(now_ms)
        if not self._loaded:
            return
        for session in hung:
            self._hung(session)
        if self._settle_ms is not None and now_ms >= self._settle_ms:
            self._settle()
        for link, _ in self._links.silent(now_ms, SILENCE_MS):
            if link in self._desk.links:
                self._desk.reconnect(link)
        if self._desk.linked and now_ms - self._beat_ms >= BEAT_MS:
            self._beat_ms = now_ms
            self._desk.brokers(Beat())
        if self._desk.settled and now_ms - self._reconcile_ms >= RECONCILE_MS:
            self._reconcile_ms = now_ms
            self._placing.reconcile()
            self._forget_gone()
        if now_ms - self._refused_ms >= RETRY_REFUSED_MS:
            self._refused_ms = now_ms
            for node in self._cluster.alive():
                if node.refused:
                    node.refused.clear()
                    self._desk.equip(node)
        self._rebalancing.advance()
        self._commands.advance()

    def _hung(self, session: Session) -> None:
        node = self._cluster.by_session(session)
        if node is None:
            return
        link = self._cluster.links.get(session, 0)
        self._desk.broker(Expel(session), link)
        if len(node.sessions) > 1:
            self._session_lost(node, link)
            return
        node.hung = True
        self._node_gone(node, f"says nothing for {self._config.hang_ms} ms")
        self._take_up(node)

    def _forget_gone(self) -> None:
        for node in list(self._cluster.nodes.values()):
            unused = not node.alive and not node.cordoned and not self._cluster.owned.get(node.name)
            if unused and self._desk.now_ms - node.gone_ms > GONE_KEPT_MS:
                del self._cluster.nodes[node.name]

    def _store_health(self, event: ev.StoreHealth) -> None:
        if event.ok != self._desk.redis_ok:
            self._desk.redis_ok = event.ok
            if event.ok and self._loaded:
                self._recovering.store_back()
            text = "Redis answers again" if event.ok else "Redis does not answer: what has to be stored waits"
            self._desk.log("info" if event.ok else "warning", text, "redis")

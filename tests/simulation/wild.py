"""A small controller that is wilder than the real one: it places by compare-and-set, assigns whatever is not known
to be active, moves partitions about at random, and forgets everything when it dies. Judged by nobody; it is here to
drive broker and workers into corners to which the real controller would seldom lead them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from network import Frames
from processes import PeerProcess

from liquefy import messages as m
from liquefy.commits import Placement, PlaceRequest
from liquefy.effects import Relay, ToBroker

if TYPE_CHECKING:
    from world import World

TICK_MS = 100.0


class Node:
    def __init__(self, started_ms: int, now: float) -> None:
        self.sessions: dict[int, bytes] = {}
        self.started_ms = started_ms
        self.heard = now
        self.leaving = False
        self.known: dict[str, int] = {}
        """Partition -> epoch: claimed by it or assigned to it. What it has not got so, it has forgotten."""


class WildController(PeerProcess):
    role = "controller"

    def __init__(self, world: World, name: str, hang_ms: float) -> None:
        super().__init__(world, name)
        self.hang_ms = hang_ms
        self.nodes: dict[str, Node] = {}
        self.landed: dict[str, tuple[int, str]] = {}
        self.placements: dict[str, Placement] = {}
        self.reading = False
        self.up_links: set[int] = set()
        self.leads = True
        self.open()
        self.every(TICK_MS, self._tick)

    @property
    def connected(self) -> bool:
        return bool(self.up_links)

    def on_up(self, session: bytes, link: int) -> None:
        if not self.up_links:
            self.nodes, self.landed = {}, {}
        self.up_links.add(link)
        self.do(ToBroker(m.Hello("controller", self.name), link))

    def on_down(self, link: int) -> None:
        self.up_links.discard(link)
        for name, node in list(self.nodes.items()):
            node.sessions.pop(link, None)
            if not node.sessions and self.up_links:
                del self.nodes[name]

    def _tell(self, name: str, message: Any) -> None:
        """By one of the brokers."""
        sessions = self.nodes[name].sessions
        if sessions:
            link = self.sim.rng.choice(sorted(sessions))
            self.do(Relay(sessions[link], message, link))

    def _tell_brokers(self, message: Any) -> None:
        for link in sorted(self.up_links):
            self.do(ToBroker(message, link))

    def _node_up(self, up: m.PeerUp, link: int) -> None:
        node = self.nodes.get(up.name)
        if node is not None and up.started_ms < node.started_ms:
            return
        if node is None or up.started_ms != node.started_ms or not node.sessions.keys() - {link}:
            node = self.nodes[up.name] = Node(up.started_ms, self.sim.now)
            self.landed = {p: who for p, who in self.landed.items() if who[1] != up.name}
        node.sessions[link] = up.session
        node.known.update(up.claims)
        for claim in up.claims:
            self.landed[claim.partition] = (claim.epoch, up.name)

    def on_frames(self, frames: Frames, link: int) -> None:
        message = m.decode_control(frames[-1])
        if len(frames) == 2:
            self._from_node(frames[0], message)
            return
        kind = type(message)
        if kind is m.PeerUp:
            if message.role != "controller":
                self.do(Relay(message.session, m.Graphs(self.world.known_graphs()), link))
            if message.role == "worker":
                self._node_up(message, link)
        elif kind is m.PeerDown and message.role == "worker":
            node = self.nodes.get(message.name)
            if node is not None and node.sessions.get(link) == message.session:
                del node.sessions[link]
                if not node.sessions:
                    del self.nodes[message.name]
                    self._check()
        elif kind is m.Landed:
            node = self.nodes.get(message.node)
            if node is not None and link in node.sessions:  # else it is of a process that is no more
                self.landed[message.partition] = (message.epoch, message.node)
                node.known[message.partition] = message.epoch
        elif kind is m.Orphans:
            for partition in message.partitions:
                self.landed.pop(partition, None)
        elif kind is m.Fenced:
            self.links[link].reconnect()

    def _from_node(self, session: bytes, message: Any) -> None:
        for name, node in self.nodes.items():
            if session in node.sessions.values():
                node.heard = self.sim.now
                node.leaving = node.leaving or type(message) is m.Leaving
                if type(message) is m.Inventory:
                    self._compare(name, dict(message.claims))

    def _compare(self, name: str, owned: dict[str, int]) -> None:
        """What a broker tells of a node when we connect is what it routes there: of that the node may have heard
        nothing, if its connection is broken and the broker has yet to notice. Nobody but the node says so."""
        self.landed = {p: who for p, who in self.landed.items() if who[1] != name or owned.get(p) == who[0]}

    def _tick(self) -> None:
        if not self.connected:
            return
        self._tell_brokers(m.Beat())
        for name, node in list(self.nodes.items()):
            if self.sim.now - node.heard > self.hang_ms:
                self.sim.tell(self.name, ("hung", name))
                del self.nodes[name]
                for link, session in node.sessions.items():
                    self.do(ToBroker(m.Expel(session), link))
        self._check()
        for name, node in self.nodes.items():
            if node.leaving:
                for partition, placement in self.placements.items():
                    others = sorted(n for n, o in self.nodes.items() if not o.leaving)
                    if placement.owner == name and others and self.sim.chance(0.5):
                        self.move(partition, self.sim.rng.choice(others))

    def _check(self) -> None:
        if not self.reading:
            self.reading = True
            names = [name for graph in self.world.known_graphs() for name in graph.partition_names()]
            self.world.store.call(self, lambda: self.world.store.memory.placements_now(names), self._read)

    def _read(self, placements: list[Placement]) -> None:
        """Place what has no living owner; assign what is not known to be active where it is placed."""
        self.reading = False
        self.placements = {p.partition: p for p in placements}
        living = sorted(n for n, node in self.nodes.items() if not node.leaving) or sorted(self.nodes)
        if not self.connected or not living:
            return
        lost = [p for p in placements if p.owner not in self.nodes or self._forgotten(p)]
        if lost:
            requests = [PlaceRequest(p.partition, p.epoch, self.sim.rng.choice(living)) for p in lost]
            self.world.store.call(self, lambda: self.world.store.place(requests), self._assign)
        away = [p for p in placements if p not in lost and self.landed.get(p.partition) != (p.epoch, p.owner)]
        if away:
            self._assign(away)

    def _forgotten(self, placement: Placement) -> bool:
        """Its owner is a new process: what the old one had under way to the store may still be applied, so that it
        must not go on at the same epoch."""
        return self.nodes[placement.owner].known.get(placement.partition) != placement.epoch

    def _assign(self, placements: list[Placement]) -> None:
        for placement in placements:
            if placement.owner in self.nodes:
                self.nodes[placement.owner].known[placement.partition] = placement.epoch
        self._tell_brokers(m.Assign([(p.partition, p.epoch, p.owner) for p in placements]))

    def move(self, partition: str, target: str) -> None:
        placement = self.placements.get(partition)
        if placement is not None and placement.owner in self.nodes:
            self._tell(placement.owner, m.Move(partition, placement.epoch, target))

    def storm(self, rng: random.Random) -> None:
        """Move some partitions somewhere."""
        if self.placements and self.nodes:
            for partition in rng.sample(sorted(self.placements), min(len(self.placements), rng.randint(1, 6))):
                self.move(partition, rng.choice(sorted(self.nodes)))
            if rng.random() < 0.2:
                partition = rng.choice(sorted(self.placements))
                placement = self.placements[partition]
                if placement.owner in self.nodes:
                    self._tell(placement.owner, m.Abort(partition, placement.epoch))

    def do(self, effect: Any) -> None:
        self.do_link(effect)

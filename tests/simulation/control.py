"""The real controller, with its store operations done as its service does them (in order, each until it works; reads
for people beside them, once), and an operator who deploys, migrates, drains and replays by commands.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from core import Violation
from network import Frames
from processes import PeerProcess

from controller import events as ev
from controller.state import TICK_MS, ControllerState
from liquefy import messages as m
from liquefy.config import ControllerConfig
from liquefy.control import Reply, Request
from liquefy.errors import StoreUnavailable
from liquefy.graph import Graph

if TYPE_CHECKING:
    from world import World

_READS = get_args(ev.Read)
DEPLOY_RETRY_MS = 300.0


class ControllerProcess(PeerProcess):
    role = "controller"

    def __init__(self, world: World, name: str, config: ControllerConfig) -> None:
        super().__init__(world, name)
        self.state = ControllerState(config)
        self.queue: deque[ev.Store] = deque()
        self.working = False
        self.health = True
        self.wake_ms: int | None = None
        self.open()
        self.every(TICK_MS, lambda: self.step(ev.Tick()))

    def step(self, event: Any) -> None:
        if not self.alive:
            return
        self.perform(self.state.step(event, self.unix_ms))
        wake_ms = self.state.next_wake_ms() if self.alive else None
        if wake_ms is not None and wake_ms != self.wake_ms:
            self.wake_ms = wake_ms
            self.sim.after(max(1, wake_ms - self.unix_ms), self.deliver, self._woken)

    def _woken(self) -> None:
        self.wake_ms = None
        self.step(ev.Tick())

    def on_up(self, session: bytes) -> None:
        self.sim.tell(self.name, ("UP", session))
        self.step(ev.Up(session))

    def on_down(self) -> None:
        self.sim.tell(self.name, "DOWN")
        self.step(ev.Down())

    def on_frames(self, frames: Frames) -> None:
        message = m.decode_control(frames[-1])
        if type(message) not in (m.Ping, m.Report, m.LogLine):
            self.sim.tell(self.name, ("from", frames[0] if len(frames) == 2 else "broker", message))
        self.step(ev.FromBroker(message) if len(frames) == 1 else ev.FromNode(frames[0], message))

    def do(self, effect: Any) -> None:
        if self.do_link(effect):
            return
        kind = type(effect)
        if kind is ev.Store:
            if isinstance(effect.operation, _READS):
                self.world.store.call(self, lambda: self._do(effect.operation), lambda r: self._read(effect, r), 1)
            else:
                self.queue.append(effect)
                self._work()
        elif kind is ev.Answer:
            self.world.operator.answered(effect.client, effect.reply)
        elif kind is ev.Reconnect:
            assert self.link is not None
            self.link.reconnect()
        else:
            raise Violation(f"unknown effect {effect}")

    # -- the store --------------------------------------------------------------------------------------

    def _work(self) -> None:
        if self.queue and not self.working:
            self.working = True
            effect = self.queue.popleft()
            self.world.store.call(self, lambda: self._do(effect.operation), lambda r: self._done(effect, r))

    def _done(self, effect: ev.Store, result: Any) -> None:
        self.working = False
        self._healthy(True)
        self.step(ev.StoreDone(effect.tag, result))
        self._work()

    def _read(self, effect: ev.Store, result: Any) -> None:
        failed = isinstance(result, StoreUnavailable)
        self._healthy(not failed)
        self.step(ev.StoreDone(effect.tag, ev.Failed(str(result)) if failed else result))

    def _healthy(self, ok: bool) -> None:
        if ok != self.health:
            self.health = ok
            self.step(ev.StoreHealth(ok))

    def _do(self, operation: Any) -> Any:
        memory = self.world.store.memory
        self.sim.tell(self.name, operation)
        match operation:
            case ev.ReadEverything():
                return self._everything()
            case ev.ReadPlacements(partitions):
                return memory.placements_now(partitions)
            case ev.Place(requests):
                return self.world.store.place(requests)
            case ev.Unplace(partitions, purge):
                return self.world.store.unplace(partitions, purge)
            case ev.PutBundle(data):
                return memory.put_bundle_now(data)
            case ev.DropBundles(keep):
                return memory.drop_bundles_now(keep)
            case ev.PutGraph(graph):
                self.world.deployed(graph)
                return memory.put_graph_now(graph)
            case ev.DeleteGraph(name):
                return memory.delete_graph_now(name)
            case ev.SetFreeze(reason):
                return memory.freeze_now(reason or None)
            case ev.SetJson(name, field, value):
                return memory.set_json_now(name, field, value)
            case ev.CountDead(partitions):
                return sum(memory.dead_counts_now(partitions).values())
            case ev.FindDead(partitions, letter):
                for partition in partitions:
                    found = memory.dead_letter_now(partition, letter)
                    if found is not None:
                        return partition, found
                return None
        raise Violation(f"an operation that the simulation does not do: {operation}")

    def _everything(self) -> ev.Everything:
        memory = self.world.store.memory
        graphs, moves = memory.graphs_now(), memory.moves_now()
        names = dict.fromkeys(name for graph in graphs for name in graph.partition_names()) | dict.fromkeys(moves)
        placements = memory.placements_now(list(names))
        nodes, pins = memory.get_json_map_now("nodes"), memory.get_json_map_now("pins")
        return ev.Everything(graphs, placements, moves, nodes, pins, memory.frozen_now() or "")

    # -- what the operator does -------------------------------------------------------------------------

    def ask(self, command: str, **arguments: Any) -> None:
        """As `liquefy-ctl` would."""
        number = self.world.operator.number = self.world.operator.number + 1
        self.sim.tell(self.name, ("asked", number, command, {k: v for k, v in arguments.items() if k != "graph"}))
        self.deliver(self.step, ev.Asked(b"ctl", Request(number, command, arguments)))

    def storm(self, rng: random.Random) -> None:
        """The operator is busy."""
        names = self.world.node_names
        graph = rng.choice(self.world.known_graphs())
        what = rng.choice(["migrate"] * 9 + ["rebalance", "drain", "uncordon", "cordon", "replay", "pin", "freeze"])
        if what in ("migrate", "pin"):
            group = rng.choice(graph.groups)
            index = rng.choice(["", f"/{rng.randrange(group.partitions)}"])
            self.ask(what, what=f"{graph.name}/{group.name}{index}", node=rng.choice(names))
        elif what == "freeze":
            self.ask(rng.choice(("freeze", "unfreeze")), reason="stormy")
        elif what == "rebalance":
            self.ask("rebalance", dry_run=False)
        elif what == "drain" and len(names) > 1:
            self.ask("drain", node=rng.choice(names[1:]))
        elif what == "replay" and self.world.store.memory.available:
            dead = [
                (p, i) for p in graph.partition_names() for i in self.world.store.memory.snapshot(p).get("dead", {})
            ]
            if dead:
                self.ask("dead", action="replay", id=rng.choice(dead)[1].hex())
        else:
            self.ask("cordon" if what == "cordon" else "uncordon", node=rng.choice(names))

    def calm(self) -> None:
        """All nodes may be used again."""
        for name in self.world.node_names:
            self.ask("uncordon", node=name)
        self.ask("unfreeze")


class Operator:
    """Who sits at `liquefy-ctl`: deploys until it has worked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = 0
        self.wanted: dict[str, tuple[int, Graph, int]] = {}
        """By name: the number of the question, the graph, and how often to ask again if nobody answers."""

    def deploy(self, graph: Graph, tries: int = 200) -> None:
        """Ask for it, and again if that has not worked, or nobody has answered, for a while."""
        controller = self.world.controller
        # Noted before it is asked: the answer may come at once.
        self.wanted[graph.name] = asked = (self.number + 1, graph, tries)
        self.world.sim.after(5_000, self._late, asked)
        if controller.alive and not controller.paused:
            bundle = self.world.bundles[graph.bundle]
            controller.ask("deploy", graph=msgspec.to_builtins(graph), bundle=bundle, dry_run=False)

    def _late(self, asked: tuple[int, Graph, int]) -> None:
        _, graph, tries = asked
        if self.wanted.get(graph.name) is asked:
            del self.wanted[graph.name]
            if tries:
                self.deploy(graph, tries - 1)

    def answered(self, client: bytes, reply: Reply) -> None:
        self.world.sim.tell("operator", reply)
        if not reply.end:
            return
        if isinstance(reply.result, dict):
            for move in reply.result.get("moves", ()):
                self.world.checker.told_moved(move)
        for number, graph, _ in list(self.wanted.values()):
            if number == reply.id:
                del self.wanted[graph.name]
                self.world.told_deployed(graph)
                if reply.error and graph.bundle not in self.world.broken:
                    self.wanted[graph.name] = 0, graph, 0
                    self.world.sim.after(DEPLOY_RETRY_MS, self.deploy, graph)

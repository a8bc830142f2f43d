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
from processes import PeerProcess, broker_name

from controller import events as ev
from controller import leading as ld
from controller.state import TICK_MS, ControllerState
from liquefy import messages as m
from liquefy.config import ControllerConfig
from liquefy.control import Reply, Request
from liquefy.errors import Deposed, StoreUnavailable
from liquefy.graph import Graph

if TYPE_CHECKING:
    from world import World

_READS = get_args(ev.Read)
DEPLOY_RETRY_MS = 300.0


class ControllerProcess(PeerProcess):
    role = "controller"

    def __init__(self, world: World, name: str, config: ControllerConfig) -> None:
        super().__init__(world, name)
        self.config = config
        self.leading = ld.Leading(name, name)
        self.state: ControllerState | None = None
        self.queue: deque[ev.Store] = deque()
        self.working = False
        self.health = True
        self.taken_up = 0
        """Moves that a controller before has left half done."""
        self.asked: set[int] = set()
        """Questions that it has not answered to the end."""
        self.wake_ms: int | None = None
        self.sessions: dict[int, bytes] = {}
        self.open()
        self.every(TICK_MS, self._tick)

    def step(self, event: Any) -> None:
        state = self.state
        if not self.alive or state is None:
            return
        self.perform(state.step(event, self.unix_ms))
        if self.world.kill_leader is not None and self.world.kill_leader():
            self.crash()
        wake_ms = state.next_wake_ms() if self.alive and self.state is state else None
        if wake_ms is not None and wake_ms != self.wake_ms:
            self.wake_ms = wake_ms
            self.sim.after(max(1, wake_ms - self.unix_ms), self.deliver, self._woken)

    def _woken(self) -> None:
        self.wake_ms = None
        self.step(ev.Tick())

    @property
    def leads(self) -> bool:
        return self.alive and self.state is not None

    # -- leading ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.decide(ld.Tick(bool(self.sessions)))
        self.step(ev.Tick())

    def decide(self, event: ld.Event) -> None:
        if self.alive:
            self.perform(self.leading.step(event, self.unix_ms))

    def _lead(self, term: int) -> None:
        self.sim.tell(self.name, ("LEADS", term))
        self.state = ControllerState(self.config, term)
        self.asked = set()
        self.queue, self.working = deque(), False
        for link, session in self.sessions.items():
            self.step(ev.Up(session, link))

    def _stand_by(self) -> None:
        self.sim.tell(self.name, "STANDS BY")
        self.state = None
        self.queue.clear()
        for link in self.links:
            link.reconnect()

    def _leased(self, standing: Any) -> None:
        self.decide(ld.Unanswered() if isinstance(standing, StoreUnavailable) else ld.Told(standing))

    # -- the link ---------------------------------------------------------------------------------------

    def on_up(self, session: bytes, link: int) -> None:
        self.sim.tell(self.name, ("UP", session, broker_name(link)))
        self.sessions[link] = session
        self.step(ev.Up(session, link))

    def on_down(self, link: int) -> None:
        self.sim.tell(self.name, f"DOWN {broker_name(link)}")
        self.sessions.pop(link, None)
        self.step(ev.Down(link))

    def on_frames(self, frames: Frames, link: int) -> None:
        message = m.decode_control(frames[-1])
        if type(message) not in (m.Ping, m.Report, m.LogLine):
            self.sim.tell(self.name, ("from", frames[0] if len(frames) == 2 else broker_name(link), message))
        self.step(ev.FromBroker(message, link) if len(frames) == 1 else ev.FromNode(frames[0], message, link))
        if isinstance(message, m.Fenced) and message.term:
            self.decide(ld.Refused(message.term))

    def do(self, effect: Any) -> None:
        self.world.moves.sees(effect)
        if self.do_link(effect):
            return
        kind, state = type(effect), self.state
        if kind is ld.Ask:
            self.world.store.call(self, lambda: self.world.store.lead(effect.request), self._leased, 1)
        elif kind is ld.Lead:
            self._lead(effect.term)
        elif kind is ld.StandBy:
            self._stand_by()
        elif state is None:
            return
        elif kind is ev.Store:
            if isinstance(effect.operation, _READS):
                done = lambda r: self._read(state, effect, r)  # noqa: E731
                self.world.store.call(self, lambda: self._do(effect.operation, 0), done, 1)
            else:
                self.queue.append(effect)
                self._work()
        elif kind is ev.Answer:
            if effect.reply.end:
                self.asked.discard(effect.reply.id)
            self.world.operator.answered(effect.client, effect.reply)
        elif kind is ev.Reconnect:
            self.links[effect.link].reconnect()
        else:
            raise Violation(f"unknown effect {effect}")

    # -- the store --------------------------------------------------------------------------------------

    def _work(self) -> None:
        if self.queue and not self.working:
            self.working = True
            effect, state, term = self.queue.popleft(), self.state, self.leading.term
            work = lambda: self._refusable(effect.operation, term)  # noqa: E731
            self.world.store.call(self, work, lambda r: self._done(state, effect, r))

    def _refusable(self, operation: Any, term: int) -> Any:
        try:
            return self._do(operation, term)
        except Deposed as error:
            return error

    def _done(self, state: Any, effect: ev.Store, result: Any) -> None:
        if state is not self.state:
            return  # of an earlier term
        if isinstance(result, Deposed):
            self.decide(ld.Refused(result.term))
            return
        self.working = False
        self._healthy(True)
        self.step(ev.StoreDone(effect.tag, result))
        self._work()

    def _read(self, state: Any, effect: ev.Store, result: Any) -> None:
        if state is not self.state:
            return
        failed = isinstance(result, StoreUnavailable)
        self._healthy(not failed)
        self.step(ev.StoreDone(effect.tag, ev.Failed(str(result)) if failed else result))

    def store_failed(self) -> None:
        self._healthy(False)

    def _healthy(self, ok: bool) -> None:
        if ok != self.health:
            self.health = ok
            self.step(ev.StoreHealth(ok))

    def _do(self, operation: Any, term: int) -> Any:
        memory = self.world.store.memory
        self.sim.tell(self.name, operation)
        match operation:
            case ev.ReadEverything():
                return self._everything(term)
            case ev.ReadPlacements(partitions):
                return self.world.store.placements(partitions, term)
            case ev.Place(requests):
                return self.world.store.place(requests, term)
            case ev.Unplace(partitions, purge):
                return self.world.store.unplace(partitions, purge, term)
            case ev.PutBundle(data):
                return memory.put_bundle_now(data)
            case ev.DropBundles(keep):
                return memory.drop_bundles_now(keep, term)
            case ev.PutGraph(graph):
                memory.put_graph_now(graph, term)
                self.world.terms.wrote(term)
                return self.world.deployed(graph)
            case ev.DeleteGraph(name):
                memory.delete_graph_now(name, term)
                self.world.deleted(name)
                return self.world.terms.wrote(term)
            case ev.SetFreeze(reason):
                memory.freeze_now(reason or None, term)
                return self.world.terms.wrote(term)
            case ev.SetJson(name, field, value):
                memory.set_json_now(name, field, value, term)
                return self.world.terms.wrote(term)
            case ev.CountDead(partitions):
                return sum(memory.dead_counts_now(partitions).values())
            case ev.FindDead(partitions, letter):
                for partition in partitions:
                    found = memory.dead_letter_now(partition, letter)
                    if found is not None:
                        return partition, found
                return None
        raise Violation(f"an operation that the simulation does not do: {operation}")

    def _everything(self, term: int) -> ev.Everything:
        memory = self.world.store.memory
        graphs, moves = memory.graphs_now(), memory.moves_now()
        self.taken_up = len(moves)
        names = dict.fromkeys(name for graph in graphs for name in graph.partition_names()) | dict.fromkeys(moves)
        placements = self.world.store.placements(list(names), term)
        nodes, pins = memory.get_json_map_now("nodes"), memory.get_json_map_now("pins")
        return ev.Everything(graphs, placements, moves, nodes, pins, memory.frozen_now() or "")

    # -- what the operator does -------------------------------------------------------------------------

    def ask(self, command: str, **arguments: Any) -> None:
        """As `liquefy-ctl` would."""
        number = self.world.operator.number = self.world.operator.number + 1
        self.sim.tell(self.name, ("asked", number, command, {k: v for k, v in arguments.items() if k != "graph"}))
        self.deliver(self._asked, Request(number, command, arguments))

    def _asked(self, request: Request) -> None:
        if self.state is None:
            self.world.operator.answered(b"ctl", self.leading.refusal(request))
        else:
            self.asked.add(request.id)
            self.step(ev.Asked(b"ctl", request))

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
        if self.world.store.lost_ms >= 0 and graph.name not in self.world.checker.graphs:
            # It may have been in force, and the store has lost that before anybody was told.
            self.world.void_ms[graph.name] = float("inf")
        controller = self.world.controller
        heard = controller.alive and not controller.paused
        # Noted before it is asked: the answer may come at once.
        self.wanted[graph.name] = asked = (self.number + 1 if heard else 0, graph, tries)
        self.world.sim.after(5_000, self._late, asked)
        if heard:
            bundle = self.world.bundles[graph.bundle]
            controller.ask("deploy", graph=msgspec.to_builtins(graph), bundle=bundle, dry_run=False, forget=True)

    def look(self) -> bool:
        """All is at rest: what the store has lost, and no controller that lived on knew of, is deployed again. Only
        that: the checker has gone back with the store, so what it has yet was there since. True if there was any."""
        missing = self.missing()
        for name in missing:
            if name in self.world.checker.graphs:
                raise Violation(f"{name} is deployed, the store has not lost that, and it is not in force")
            self.world.void_ms[name] = float("inf")  # gateways have given up what they could not deliver
            self.deploy(self.world.graphs[name][0])
        return bool(missing)

    def missing(self) -> list[str]:
        """Graphs that were deployed, are not stored, and are not being deployed."""
        memory = self.world.store.memory
        if not memory.available:
            return []
        stored = {graph.name for graph in memory.graphs_now()}
        return [name for name in self.world.graphs if name not in stored and name not in self.wanted]

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
                if not reply.error:
                    self.world.told_deployed(graph)
                elif graph.bundle not in self.world.broken:
                    self.wanted[graph.name] = 0, graph, 0
                    self.world.sim.after(DEPLOY_RETRY_MS, self.deploy, graph)

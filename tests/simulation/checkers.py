"""Judges. They share no code with what they judge: they look at what the store applied, at what clients were told, and
at the books in the contexts, and compare that with what the requests' plans say must be.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from brokers import disagreements, unlinked
from clients import Ask
from core import Violation
from workload import BookEntry, Plan, is_stateful, read_body, read_entry

from liquefy.commits import PartitionCommit, Placement, Verdict
from liquefy.graph import OUTPUT
from liquefy.letters import DeadLetter, decode_letter

if TYPE_CHECKING:
    from world import World

COPIES = 4
"""A message may be there more than once: sent again, and still where it was."""


class StoreChecker:
    """Looks at each commit that is applied and each placement: one owner per epoch, no epoch goes back, sequences
    without gap, no message handled twice."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, int], str] = {}
        self._epochs: dict[str, int] = {}
        self._sequences: dict[str, int] = defaultdict(int)
        self._seen: dict[tuple[str, bytes], int] = {}
        """Partition and message, and by which of its births."""
        self.lost = False
        """The store has lost what was written last, perhaps the birth of a request with an Idempotency-Key, too: then
        the next try is born anew, and known by that. `Found` looks whether it may have been."""
        self._outbox: dict[str, dict[int, bytes]] = defaultdict(dict)
        self.graphs: dict[str, int] = {}
        """Those that must be in force, and in which version."""

    def graph_stored(self, name: str, version: int) -> None:
        if version < self.graphs.get(name, 0):
            raise Violation(f"{name} goes back from version {self.graphs[name]} to {version}")
        self.graphs[name] = version

    def graph_deleted(self, name: str, asked: bool) -> None:
        """`asked`: the operator has undeployed it, and not been told since that it is deployed."""
        if name in self.graphs and not asked:
            raise Violation(f"{name} is deleted, and nobody has asked for that")
        self.graphs.pop(name, None)

    def placed(self, placement: Placement) -> None:
        self._owns(placement.partition, placement.epoch, placement.owner)

    def unplaced(self, partitions: list[str]) -> None:
        for partition in partitions:
            self._outbox.pop(partition, None)
        self._seen = {seen: born for seen, born in self._seen.items() if seen[0] not in partitions}

    def told_moved(self, move: dict[str, Any]) -> None:
        """The operator was told how a move ended."""
        epoch, there = move.get("epoch", 0), move["from"] == move["to"]
        owner = self._owners.get((move["partition"], epoch if there else epoch + 1))
        if epoch and not move["error"] and owner not in (None, move["to"]):
            text = f"{move['partition']} was moved to {move['to']}, it is said, and at that epoch it is {owner}'s"
            raise Violation(text, move["partition"])

    def _owns(self, partition: str, epoch: int, owner: str) -> None:
        known = self._owners.setdefault((partition, epoch), owner)
        if known != owner:
            raise Violation(f"{partition} at epoch {epoch} is {known}'s and {owner}'s", partition)
        if epoch < self._epochs.get(partition, 0):
            raise Violation(f"{partition} goes back from epoch {self._epochs[partition]} to {epoch}", partition)
        self._epochs[partition] = epoch

    def applied(self, owner: str, commit: PartitionCommit, verdict: Verdict) -> None:
        partition = commit.partition
        self._owns(partition, commit.epoch, owner)
        if commit.move is not None:
            self._owns(partition, commit.move[1], commit.move[0])
        if commit.sequence != self._sequences[partition]:
            raise Violation(f"{partition}: commit {commit.sequence} after {self._sequences[partition]}", partition)
        self._sequences[partition] = commit.becomes
        for born, message in commit.seen:
            before = self._seen.setdefault((partition, message), -1)
            if before == born or (before >= 0 and not self.lost):
                raise Violation(f"{partition} handled {message.hex()} twice", partition, message.hex())
            self._seen[partition, message] = born
        outbox = self._outbox[partition]
        for seq, packed in commit.outbox:
            if seq in outbox:
                raise Violation(f"{partition}: outbox entry {seq} is overwritten before it is acknowledged", partition)
            outbox[seq] = packed
        for seq in commit.acknowledged:
            if outbox.pop(seq, None) is None:
                raise Violation(f"{partition}: outbox entry {seq} is acknowledged twice", partition)


class Found:
    """What is in the store at the end: entries of books by path, dead letters by path, bits of `flip`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.entries: dict[str, BookEntry] = {}
        self.dead: dict[str, DeadLetter] = {}
        self.bits: dict[str, bool] = {}
        self.spread_anew = world.spread_anew()
        self.calm = not world.wildness and not world.wild  # who places anew without need
        for partition in world.partition_names():
            graph, group, _ = partition.split("/")
            stored = world.store.memory.snapshot(partition)
            for name, fields in stored.items():
                if name.startswith("ctx:"):
                    self._context(graph, group, name[4:], fields)
            keys = {n[4:] for n in stored if n.startswith("ctx:")}
            if keys != stored.get("keys", set()):
                raise Violation(f"{partition}: contexts {sorted(keys)}, keys {sorted(stored['keys'])}", partition)
            for packed in stored.get("dead", {}).values():
                self._letter(decode_letter(packed))

    def _letter(self, letter: DeadLetter) -> None:
        path = read_body(letter.message.body).path
        spread_anew = self.spread_anew and not is_stateful(letter.fluxion)
        twice = path in self.dead and not self._void(path) and not self._born_anew(path)
        if twice and not (spread_anew and self.dead[path].id == letter.id):
            raise Violation(f"{path} has two dead letters", path)
        self.dead[path] = letter

    def _void(self, path: str) -> bool:
        """Of a graph that was undeployed since: what had been seen is forgotten with it."""
        ask = self.world.clients.asks[int(path.split(".")[0])]
        return ask.graph in self.world.void_ms

    def _born_anew(self, path: str) -> bool:
        """Of a request that was asked with its Idempotency-Key before the store lost what was written last, and again
        afterwards: its record may be lost while the request itself is on its way."""
        ask, lost_ms = self.world.clients.asks[int(path.split(".")[0])], self.world.store.lost_ms
        return ask.once and any(at <= lost_ms for _, at in ask.posted) and any(at > lost_ms for _, at in ask.posted)

    def _before_loss(self, path: str) -> bool:
        """What its handling emitted was perhaps sent again, behind later messages that were there already though the
        store had lost their cause."""
        ask = self.world.clients.asks[int(path.split(".")[0])]
        return any(at <= self.world.store.lost_ms for _, at in ask.posted)

    def _context(self, graph: str, group: str, key: str, fields: dict[str, bytes]) -> None:
        where = f"{graph}/{group}/{key}"
        if group == "toggle":
            self.bits[f"{graph}/{key}"] = True
            return
        count = msgspec.msgpack.decode(fields["n"])
        wanted = {"n", f"last{count - 1}", *(f"e{i}" for i in range(count))}
        if set(fields) != wanted:
            raise Violation(f"context {where} is torn: {sorted(fields)}", key)
        last: dict[str, list[int]] = {}
        for i in range(count):
            entry = read_entry(fields[f"e{i}"])
            void = self._void(entry.path)
            if entry.path in self.entries and not void and not self._born_anew(entry.path):
                raise Violation(f"{entry.path} took effect twice", entry.path, entry.id.hex())
            self.entries[entry.path] = entry
            src = re.sub("@[^>]*", "", entry.src) if self.calm else entry.src
            if src and not (self.spread_anew and ">" in src) and not void and not self._before_loss(entry.path):
                if last.get(src, []) >= entry.n:
                    text = f"{where}: from {src}, {entry.n} ({entry.path}) after {last[src]}"
                    raise Violation(text, entry.path, entry.id.hex())
                last[src] = entry.n


class Judge:
    """Compares all that was asked with what was found."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.found = Found(world)
        self.flips: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.expected: set[str] = set()
        self._shaken = False
        """Of the request that is judged: after it came, the store lost what was written last, or its graph was
        undeployed. Then what followed from a message may be there without it."""

    def verdict(self) -> None:
        for ask in self.world.clients.asks:
            self._answers(ask)
            since_ms = self.world.certain_since(ask.graph)
            self._shaken = any(at <= since_ms for _, at in ask.posted)
            self._tree(ask, ask.plan, ask.path, ask.key, bool(ask.posted), ask.certain(since_ms))
        for path in (self.found.entries.keys() | self.found.dead.keys()) - self.expected:
            raise Violation(f"{path} took effect, and should not have", path)
        for key, (least, most) in self.flips.items():
            if least == most and (least % 2 == 1) != self.found.bits.get(key, False):
                raise Violation(f"toggle/{key}: {least} flips, and it is {self.found.bits.get(key, False)}", key)

    def _tree(self, ask: Ask, plan: Plan, path: str, key: str, possible: bool, certain: bool) -> None:
        """`possible`: the message was sent; `certain`: it must have been handled."""
        if plan.fluxion == OUTPUT:
            return
        if not possible:
            return
        self.expected.add(path)
        entry, letter = self.found.entries.get(path), self.found.dead.get(path)
        happened = entry is not None or letter is not None
        if plan.fluxion == "flip" and not plan.fail and letter is None:
            bit = f"{ask.graph}/{key}"
            self.flips[bit][0] += certain
            self.flips[bit][1] += 1
            happened = certain
        if entry is not None and letter is not None and not self._shaken:
            raise Violation(f"{path} took effect and is a dead letter", path)
        recorded = plan.fail or (is_stateful(plan.fluxion) and plan.fluxion != "flip")
        if recorded and certain and not happened:
            raise Violation(f"{path} to {plan.fluxion} was accepted and has no effect", path)
        if plan.fail and entry is not None:
            raise Violation(f"{path} fails by plan and took effect", path)
        if letter is not None and not plan.fail and not self._innocent(letter):
            raise Violation(f"{path} is a dead letter ({letter.error}), and should not be", path)
        if letter is not None:
            return
        for index, child in enumerate(plan.children):
            child_key = child.key or key or ask.path
            child_path = f"{path}.{index}"
            if recorded and not self._shaken:
                self._tree(ask, child, child_path, child_key, happened, happened)
            else:
                self._tree(ask, child, child_path, child_key, True, certain)

    def _innocent(self, letter: DeadLetter) -> bool:
        """It was running when hosts were killed from outside, and is blamed for it."""
        return "ended the host" in letter.error and self.world.witnessed[letter.message.id] > 0

    # -- answers ----------------------------------------------------------------------------------------

    def _answers(self, ask: Ask) -> None:
        if ask.posted and ask.certain(-1.0) and not ask.answers and not ask.refused:
            raise Violation(f"{ask.path} was accepted, and neither answered nor refused", ask.path)
        strange = [s for s in ask.refused if s not in (503, 504, 404)]
        if strange:
            raise Violation(f"{ask.path} was refused with {strange}", ask.path)
        if len(ask.answers) > 1 and not ask.once:
            raise Violation(f"{ask.path} was answered twice: {ask.answers}", ask.path)
        since_ms = self.world.certain_since(ask.graph)
        self._shaken = any(at <= since_ms for _, at in ask.posted)
        if len({(status, body) for status, body, _ in ask.answers}) > 1 and not self._shaken:
            raise Violation(f"{ask.path} was answered differently: {ask.answers}", ask.path)
        for status, body, _ in ask.answers[:1]:
            if status == 500:
                dead = any(p == ask.path or p.startswith(ask.path + ".") for p in self.found.dead)
                if not dead and not self._shaken:
                    raise Violation(f"{ask.path} was answered 500, and has no dead letter", ask.path)
            elif status != 200 or not self._answering(ask, body.decode()):
                raise Violation(f"{ask.path} was answered {status} {body!r}", ask.path)

    def _answering(self, ask: Ask, path: str) -> bool:
        """True if `path` is the answer of the plan, and all books on the way to it have their entry."""
        steps = path.split(".")
        if steps[0] != ask.path:
            return False
        plan, at = ask.plan, ask.path
        for step in steps[1:]:
            recorded = is_stateful(plan.fluxion) and plan.fluxion != "flip"
            if recorded and at not in self.found.entries and not self._shaken:
                raise Violation(f"{path} was answered, and {at} has no effect", at)
            plan, at = plan.children[int(step)], f"{at}.{step}"
        return plan.fluxion == OUTPUT


class Watch:
    """Looks while it runs: is nothing there that nobody has sent? With the judges of limits and of moves."""

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self) -> None:
        self.world.bounds.look()
        self.world.moves.look()
        self._messages()

    def _messages(self) -> None:
        """There are no more, anywhere, than the requests so far can have led to."""
        most = COPIES * sum(ask.size for ask in self.world.clients.asks if ask.posted)
        for broker in self.world.brokers:
            if broker.alive:
                self._within(f"{broker.name}: messages held", broker.state._holding.count, most)
        for worker in self.world.workers.values():
            if worker.alive:
                flow = worker.state.flow
                backlog = sum(len(p.working) for p in flow.partitions.values())
                self._within(f"{worker.name}: messages", backlog, most)
                self._within(f"{worker.name}: unacknowledged", len(flow.outgoing), most)
                self._within(f"{worker.name}: timers", len(flow._timers), most)

    def _within(self, what: str, number: int, bound: int) -> None:
        if number > bound:
            raise Violation(f"{what}: {number}, and {bound} is the bound")


def unsettled(world: World) -> list[str]:
    """What is not at rest; empty when all that was accepted is done with."""
    left: list[str] = [f"{world.clients.to_come} requests to come"] if world.clients.to_come else []
    left += [f"{name} is not deployed" for name in world.operator.wanted]
    left += [trace for name in world.operator.missing() for trace in traces(world, name)]
    processes = [*world.brokers, world.controller, *world.workers.values(), *world.gateways.values()]
    left += [f"{process.name} is down" for process in processes if not process.alive]
    for worker in world.workers.values():
        if worker.alive:
            flow, ownership = worker.state.flow, worker.state.ownership
            left += [f"{worker.name}: {p.name} has {len(p.working)}" for p in flow.partitions.values() if p.working]
            left += [f"{worker.name}: {p} is moving" for p in ownership._moving]
            left += [f"{worker.name} is about to stop"] if worker.state.leaving_since_ms else []
            if len(flow.outgoing):
                left.append(f"{worker.name}: {len(flow.outgoing)} unacknowledged")
    for gateway in world.gateways.values():
        if gateway.alive:
            figures = gateway.state.figures()
            for name in ("requests_waiting", "messages_unacknowledged", "answers_storing", "answers_to_pass_on"):
                if figures[name]:
                    left.append(f"{gateway.name}: {figures[name]} {name}")
    for gateway in world.gateways.values():
        windows = [gateway.windows.get(link, {}) for link in range(world.broker_count)]
        shut = [name for name in world.workers if any(granted.get(name, 0) <= 0 for granted in windows)]
        left += [f"{gateway.name} lets nobody in to {name}" for name in shut]
    memory = world.store.memory
    if not memory.available:
        return [*left, "the store is away"]
    left += [f"{partition} is moving" for partition in world.store.moves()]
    stored_graphs = {graph.name: graph.version for graph in memory.graphs_now()}
    gateways = [gateway for gateway in world.gateways.values() if gateway.alive and not gateway.state.ready]
    left += [f"{gateway.name} knows no graph" for gateway in gateways if stored_graphs]
    for gateway in world.gateways.values():
        if gateway.alive:  # who deploys is answered when gateways are told; they hear of it a moment later
            left += [f"{gateway.name} does not know {name} yet" for name in stored_graphs if not gateway.lets_in(name)]
    in_force = {name for graph in memory.graphs_now() for name in graph.partition_names()}
    if not world.wild and world.controller.leads:
        known = {name: graph.version for name, graph in world.controller.state._cluster.graphs.items()}
        if known != stored_graphs:
            left.append(f"graphs in force are {known}, and stored {stored_graphs}")
        state = world.controller.state
        left += [f"{name} is unplaced, it is said" for name in in_force if not state._cluster.serves(name)]
        left += [f"{name} is moving, it is said" for name in state._migrations.partitions()]
        left += unlinked(world)
    for partition in world.partition_names():
        stored: Any = memory.load_now([partition])[0]
        if stored.outbox:
            left.append(f"{partition}: {len(stored.outbox)} in the outbox")
        if partition not in in_force:
            continue
        worker = world.workers.get(stored.owner)
        if worker is None or not worker.alive or partition not in worker.state.flow.partitions:
            left.append(f"{partition}: placed at {stored.owner or 'nobody'}, who has not got it")
    return left + disagreements(world)


def traces(world: World, graph: str) -> list[str]:
    """What there is left of a graph that is in force no more, and known to nobody who could bring it into force."""
    own = graph + "/"
    left = []
    for worker in world.workers.values():
        if worker.alive:
            left += [f"{worker.name}: has {p} of no graph" for p in worker.state.flow.partitions if p.startswith(own)]
    for broker in world.brokers:
        if broker.alive:
            routes = broker.state._table.by_destination.values()
            left += [f"{broker.name}: {r} of no graph" for r in routes if r.destination.startswith(own) and r.session]
    for gateway in world.gateways.values():
        if gateway.alive and gateway.lets_in(graph):
            left.append(f"{gateway.name} lets in requests of {graph}, which is no graph")
    return left

"""Judges. They share no code with what they judge: they look at what the store applied, at what clients were told, and
at the books in the contexts, and compare that with what the requests' plans say must be.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from clients import Ask
from core import Sim, Violation
from workload import BookEntry, Plan, is_stateful, read_body, read_entry

from liquefy.commits import PartitionCommit, Placement, Verdict
from liquefy.graph import OUTPUT
from liquefy.letters import DeadLetter, decode_letter

if TYPE_CHECKING:
    from world import World


class StoreChecker:
    """Looks at each commit that is applied and each placement: one owner per epoch, no epoch goes back, sequences
    without gap, no message handled twice."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._owners: dict[tuple[str, int], str] = {}
        self._epochs: dict[str, int] = {}
        self._sequences: dict[str, int] = defaultdict(int)
        self._seen: set[tuple[str, bytes]] = set()
        self._outbox: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._used: dict[str, int] = defaultdict(int)

    def placed(self, placement: Placement) -> None:
        self._owns(placement.partition, placement.epoch, placement.owner)

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
        self._sequences[partition] += 1
        for _, message in commit.seen:
            if (partition, message) in self._seen:
                raise Violation(f"{partition} handled {message.hex()} twice", partition, message.hex())
            self._seen.add((partition, message))
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
        memory = world.store.memory
        self.entries: dict[str, BookEntry] = {}
        self.dead: dict[str, DeadLetter] = {}
        self.bits: dict[str, bool] = {}
        self.outbox = 0
        self.spread_anew = world.spread_anew()
        self.calm = not world.wildness
        for partition in world.partition_names():
            group = partition.split("/")[1]
            stored = memory.snapshot(partition)
            self.outbox += len(stored.get("out", {}))
            for name, fields in stored.items():
                if name.startswith("ctx:"):
                    self._context(group, name[4:], fields)
            keys = {n[4:] for n in stored if n.startswith("ctx:")}
            if keys != stored.get("keys", set()):
                raise Violation(f"{partition}: contexts {sorted(keys)}, keys {sorted(stored['keys'])}", partition)
            for packed in stored.get("dead", {}).values():
                letter = decode_letter(packed)
                path = read_body(letter.message.body).path
                spread_anew = world.spread_anew() and not is_stateful(letter.fluxion)
                if path in self.dead and not (spread_anew and self.dead[path].id == letter.id):
                    raise Violation(f"{path} has two dead letters", path)
                self.dead[path] = letter

    def _context(self, group: str, key: str, fields: dict[str, bytes]) -> None:
        where = f"{group}/{key}"
        if group == "toggle":
            self.bits[key] = True
            return
        count = msgspec.msgpack.decode(fields["n"])
        wanted = {"n", f"last{count - 1}", *(f"e{i}" for i in range(count))}
        if set(fields) != wanted:
            raise Violation(f"context {where} is torn: {sorted(fields)}", key)
        last: dict[str, list[int]] = {}
        for i in range(count):
            entry = read_entry(fields[f"e{i}"])
            if entry.path in self.entries:
                raise Violation(f"{entry.path} took effect twice", entry.path, entry.id.hex())
            self.entries[entry.path] = entry
            src = re.sub("@[^>]*", "", entry.src) if self.calm else entry.src
            if src and not (self.spread_anew and ">" in src):
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

    def verdict(self) -> None:
        for ask in self.world.clients.asks:
            self._answers(ask)
            possible = bool(ask.posted)
            self._tree(ask, ask.plan, ask.path, ask.key, possible, ask.certain and possible)
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
            self.flips[key][0] += certain
            self.flips[key][1] += 1
            happened = certain
        if entry is not None and letter is not None:
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
            if recorded:
                self._tree(ask, child, child_path, child_key, happened, happened)
            else:
                self._tree(ask, child, child_path, child_key, True, certain)

    def _innocent(self, letter: DeadLetter) -> bool:
        """It was running when hosts were killed from outside, and is blamed for it."""
        return "ended the host" in letter.error and self.world.witnessed[letter.message.id] > 0

    # -- answers ----------------------------------------------------------------------------------------

    def _answers(self, ask: Ask) -> None:
        strange = [s for s in ask.refused if s not in (503, 504, 404)]
        if strange:
            raise Violation(f"{ask.path} was refused with {strange}", ask.path)
        if len(ask.answers) > 1 and not ask.once:
            raise Violation(f"{ask.path} was answered twice: {ask.answers}", ask.path)
        if len({(status, body) for status, body, _ in ask.answers}) > 1:
            raise Violation(f"{ask.path} was answered differently: {ask.answers}", ask.path)
        for status, body, _ in ask.answers[:1]:
            if status == 500:
                if not any(p == ask.path or p.startswith(ask.path + ".") for p in self.found.dead):
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
            if is_stateful(plan.fluxion) and plan.fluxion != "flip" and at not in self.found.entries:
                raise Violation(f"{path} was answered, and {at} has no effect", at)
            plan, at = plan.children[int(step)], f"{at}.{step}"
        return plan.fluxion == OUTPUT


def check_bounds(world: World) -> None:
    """While it runs: what gateways let in is within the windows."""
    window = world.config.window
    gateways = [g for g in world.gateways.values() if g.alive]
    allowed = window * len(world.node_names) * max(1, len(gateways))
    waiting = sum(g.state.figures()["requests_outstanding"] for g in gateways)
    if waiting > allowed:
        raise Violation(f"{waiting} requests are in flight, with windows of {allowed} in all")


def unsettled(world: World) -> list[str]:
    """What is not at rest; empty when all that was accepted is done with."""
    left: list[str] = [f"{world.clients.to_come} requests to come"] if world.clients.to_come else []
    if world.operator.deploying is not None:
        left.append("a deployment is not done")
    left += [f"{partition} is moving" for partition in world.store.memory.moves_now()]
    for worker in world.workers.values():
        if worker.alive:
            flow, ownership = worker.state.flow, worker.state.ownership
            left += [f"{worker.name}: {p.name} has {len(p.working)}" for p in flow.partitions.values() if p.working]
            left += [f"{worker.name}: {p} is moving" for p in ownership._moving]
            if len(flow.outgoing):
                left.append(f"{worker.name}: {len(flow.outgoing)} unacknowledged")
    for gateway in world.gateways.values():
        if gateway.alive:
            figures = gateway.state.figures()
            for name in ("requests_waiting", "messages_unacknowledged", "answers_storing", "answers_to_pass_on"):
                if figures[name]:
                    left.append(f"{gateway.name}: {figures[name]} {name}")
    memory = world.store.memory
    in_force = set(world.graph_in_force().partition_names())
    for partition in world.partition_names():
        stored: Any = memory.load_now([partition])[0]
        if stored.outbox:
            left.append(f"{partition}: {len(stored.outbox)} in the outbox")
        if partition not in in_force:
            continue
        worker = world.workers.get(stored.owner)
        if worker is None or not worker.alive or partition not in worker.state.flow.partitions:
            left.append(f"{partition}: placed at {stored.owner or 'nobody'}, who has not got it")
    broker = world.broker
    if broker is not None and broker.alive and broker.state._holding.by_partition:
        left.append(f"the broker holds {sorted(broker.state._holding.by_partition)}")
    return left

"""A host process that runs no user code: it keeps the protocol of `liquefy.hosting` and handles messages as their
plans say (`workload`), with contexts cached as a real host caches them. Can be slow, hang and die.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from core import Violation
from workload import AWAITING, TooEarly, handle, is_stateful, read_body

from liquefy.graph import Graph
from liquefy.hosting import Done, Emitted, Forget, Item, Load, Loaded, Ran, Refused, Run, Step
from liquefy.messages import child_id
from worker import events as ev
from worker.commit import target_of

if TYPE_CHECKING:
    from processes import WorkerProcess


FLAKY = 0.05
"""How often a message that goes on fails, and would not if it were tried again."""


class Poisoned(Exception):
    """A message that went on ends the host."""


class Place(NamedTuple):
    """Where a message may be handled, and under which ownership of that partition the worker let it."""

    partition: str
    owned: Any


class Tail(NamedTuple):
    """A coroutine to which a plain message has gone on: its item, where its step belongs, and under which ownership of
    its partition it runs."""

    item: Item
    steps: list[Step]
    owned: Any


class FakeHost:
    """One host of one worker."""

    def __init__(self, worker: WorkerProcess, name: str) -> None:
        self.worker = worker
        self.sim = worker.sim
        self.name = name
        self.alive = True
        self.stuck = False
        self.dying = False
        self.slow = worker.world.slow
        self.contexts: dict[tuple[str, str], dict[str, bytes]] = {}
        self.running: dict[int, Item] = {}
        self._in_last = self._out_last = self._free_at = 0.0
        self._awaiting: dict[tuple[str, str], Any] = {}
        self._resets: Counter[str] = Counter()
        self._places: dict[int, dict[str, Place]] = {}
        """By ticket: of its fluxion, and of the coroutines to which it may go on. As of when the worker asked for it:
        when the host comes to it, a partition may have been dropped and be here anew, of whose keys the worker knows
        that none is taken."""
        self.sim.after(self.sim.between(5, 100), self._started)

    def _started(self) -> None:
        if self.alive:
            self.worker.deliver(self.worker.step, ev.HostStarted(self.name))

    def load(self, graph: Graph, only: tuple[str, ...]) -> None:
        self.tell(Load(graph, "", only))

    def tell(self, message: Any) -> None:
        """The worker sends: it arrives in order."""
        if type(message) is Run:
            most = self.worker.state.config.batch_messages_max
            if len(message.items) > most:
                raise Violation(f"{self.name} is given {len(message.items)} messages at once, and {most} is the bound")
            for item in message.items:
                self._places[item.ticket] = self._allowed(item)
        elif type(message) is Forget and not message.keys:
            self._resets[message.partition] += 1
        self._in_last = max(self._in_last + 0.001, self.sim.now + self.sim.between(0.02, 0.2))
        self.sim.after(self._in_last - self.sim.now, self._got, message)

    def _allowed(self, item: Item) -> dict[str, Place]:
        places = {item.fluxion: Place(item.partition, self._ownership(item.partition))}
        coroutines = {to for targets in item.onward.values() for to in targets if to in AWAITING}
        for to in coroutines - places.keys():
            partition = target_of(self.worker.state.fleet.graphs[item.graph], to, item.key)
            places[to] = Place(partition, self._ownership(partition))
        return places

    def _ownership(self, name: str) -> Any:
        """Another after a reset, which declares void what runs, also what the same step had given to the host."""
        partition = self.worker.state.flow.partitions.get(name)
        return partition and (partition, partition.fresh_from, self._resets[name])

    def _got(self, message: Any) -> None:
        if not self.alive or self.dying:
            return
        if type(message) is Run:
            self._run(message.items)
        elif type(message) is Forget:
            self._forget(message)
        else:
            names = [n for n in message.only if n in AWAITING]
            at = self._busy(self.sim.between(1, 60))
            if message.graph.bundle in self.worker.world.broken:
                self._say(at, Refused(message.graph.name, message.graph.version, "SyntaxError: planned"))
            else:
                self._say(at, Loaded(message.graph.name, message.graph.version, names))

    def _forget(self, message: Forget) -> None:
        for partition, key in list(self.contexts):
            if partition == message.partition and (not message.keys or key in message.keys):
                del self.contexts[partition, key]

    def _busy(self, duration_ms: float) -> float:
        self._free_at = max(self._free_at, self.sim.now) + duration_ms
        return self._free_at

    def _run(self, items: list[Item]) -> None:
        sim = self.sim
        results: list[Done] = []
        # Coroutines last: a plain one of the same key came before, and its result leaves before.
        for item in sorted(items, key=lambda item: item.fluxion in AWAITING):
            self.running[item.ticket] = item
            places = self._places.pop(item.ticket)
            owned = places[item.fluxion].owned
            if owned is not None and self._awaiting.get((item.partition, item.key)) == owned:  # else it was lost
                raise Violation(f"two messages of key {item.key!r} of {item.partition} at once", item.key)
            if read_body(item.body).plan.fail == "poison":
                at = self._busy(0.1)
                if results and sim.chance(0.5):
                    self._say(at, Ran(results))
                sim.after(at - sim.now + 0.1, self.die, "poison")
                self.dying = True
                return
            if item.fluxion in AWAITING:
                at = self._busy(0.02) + sim.between(0.5, 40) * self.slow
                self._awaiting[item.partition, item.key] = owned
                sim.after(at - sim.now, self._awaited, item, self._bind(item), owned)
                continue
            at = self._busy(sim.between(0.02, 2.0) * self.slow)
            try:
                done = self._handle(item, self._bind(item))
                tail = self._tail(item, done, places)
                if tail is None:
                    results.append(done)
                else:
                    sim.after(at + sim.between(0.5, 40) * self.slow - sim.now, self._tail_over, item, done, tail)
            except Poisoned:
                sim.after(at - sim.now + 0.1, self.die, "poison")
                self.dying = True
                return
            if sim.chance(0.3):
                self._say(at, Ran(results))
                results = []
        if results:
            self._say(self._free_at, Ran(results))

    def _awaited(self, item: Item, fields: dict[str, bytes], owned: Any) -> None:
        if self.alive and not self.stuck:
            if self._awaiting.get((item.partition, item.key)) == owned:
                del self._awaiting[item.partition, item.key]
            try:
                self._say(self.sim.now, Ran([self._handle(item, fields)]))
            except Poisoned:
                self.dying = True
                self.sim.after(0.1, self.die, "poison")

    def _bind(self, item: Item) -> dict[str, bytes]:
        """Its context, which a run keeps though it may be forgotten meanwhile."""
        if not is_stateful(item.fluxion):
            return {}
        if item.fields is not None:
            self.contexts[item.partition, item.key] = dict(item.fields)
        elif (item.partition, item.key) not in self.contexts:
            raise Violation(f"{self.name} was not given the context {item.key!r}", item.key)
        return self.contexts[item.partition, item.key]

    def _handle(self, item: Item, fields: dict[str, bytes]) -> Done:
        done = self._do(item, fields, item)
        if not done.error:
            fields.update(done.sets)
            for name in done.removes:
                fields.pop(name, None)
        if item.onward:
            steps = self._onward(item, item.fluxion, item.id, done.emitted, set())
            done = msgspec.structs.replace(done, onward=steps)
        return done

    def _do(self, item: Item, fields: dict[str, bytes], within: Item) -> Done:
        world = self.worker.world
        # And one, as each clock is told in whole milliseconds.
        by, slack_ms = self._handled_by(within), 2 * world.skew_max_ms + 1
        try:
            return handle(item, fields, by, self.sim.unix_ms, slack_ms, world.store.life)
        except TooEarly as early:
            raise Violation(str(early), read_body(item.body).path, item.id.hex()) from None

    def _tail(self, item: Item, done: Done, places: dict[str, Place]) -> Tail | None:
        """The message to a coroutine with which the item may end: there is nothing else that would wait for it."""
        sender, parent, emitted, steps = item.fluxion, item.id, done.emitted, done.onward
        while len(emitted) == 1:
            each, message = emitted[0], child_id(parent, 0)
            if not steps:
                may = each.to in item.onward.get(sender, ()) and not each.key and not each.delay_ms
                if not may or each.to not in AWAITING or read_body(each.body).plan.fail or self.sim.chance(FLAKY):
                    return None
                partition, owned = places[each.to]
                if owned is not None and self._awaiting.get((partition, item.key)) == owned:
                    raise Violation(f"two messages of key {item.key!r} of {partition} at once", item.key)
                self._awaiting[partition, item.key] = owned
                child = Item(0, item.graph, each.to, partition, item.key, message, each.body, onward=item.onward)
                return Tail(child, steps, owned)
            sender, parent, emitted, steps = each.to, message, steps[0].emitted, steps[0].onward
        return None

    def _tail_over(self, item: Item, done: Done, tail: Tail) -> None:
        """The coroutine has come to its end."""
        if not self.alive or self.stuck:
            return
        child = tail.item
        if self._awaiting.get((child.partition, child.key)) == tail.owned:
            del self._awaiting[child.partition, child.key]
        try:
            result = self._do(child, {}, item)
            steps = self._onward(child, child.fluxion, child.id, result.emitted, set())
            tail.steps.append(Step(0, result.emitted, 10, 10, steps))
            self.worker.world.gone_on += 1
            self._say(self.sim.now, Ran([done]))
        except Poisoned:
            self.dying = True
            self.sim.after(0.1, self.die, "poison")

    def _handled_by(self, item: Item) -> str:
        """This process; what was sent again may be handled again behind what came later, so it is in no order with
        what was not."""
        partition = self.worker.state.flow.partitions.get(item.partition)
        entry = partition.working.get(item.id) if partition is not None else None
        if entry is None or not entry.check:
            return self.worker.incarnation
        # Without a context: one that a source gave back and one that was sent again since are of different times.
        return f"{self.worker.incarnation}again{'' if is_stateful(item.fluxion) else item.id.hex()}"

    def _onward(self, item: Item, sender: str, parent: bytes, emitted: list[Emitted], shut: set[str]) -> list[Step]:
        """What may go on, goes on; now and then it does not, or fails."""
        steps = []
        for index, each in enumerate(emitted):
            if each.to not in item.onward.get(sender, ()) or each.key or each.delay_ms or each.to in shut:
                continue
            if each.to in AWAITING:
                continue
            fail = read_body(each.body).plan.fail
            if fail == "poison":
                raise Poisoned
            if fail or self.sim.chance(FLAKY):
                shut.add(each.to)
                continue
            child = Item(0, item.graph, each.to, "", item.key, child_id(parent, index), each.body)
            done = self._do(child, {}, item)
            further = self._onward(item, each.to, child.id, done.emitted, shut)
            steps.append(Step(index, done.emitted, 10, 10, further))
            self.worker.world.gone_on += 1
        return steps

    def _say(self, at: float, message: Any) -> None:
        """In order with what was said before, not before `at`."""
        at = max(at, self._out_last + 0.001) + self.sim.between(0.02, 0.2)
        self._out_last = at
        self.sim.after(at - self.sim.now, self._said, message)

    def _said(self, message: Any) -> None:
        if not self.alive or self.stuck:
            return
        if type(message) is Ran:
            for done in message.results:
                self.running.pop(done.ticket, None)
        self.worker.load_s += 0.001
        self.worker.deliver(self.worker.step, ev.HostSaid(self.name, message))

    def die(self, reason: str) -> None:
        """The process ends; what it said before has been read."""
        if self.alive:
            self.alive = False
            self.sim.tell(self.worker.name, ("host died", self.name, reason, list(self.running.values())))
            if reason != "poison":
                for item in self.running.values():
                    self.worker.world.witness(item)
            self.sim.after(self.sim.between(0.1, 5), self._died, reason)

    def _died(self, reason: str) -> None:
        if self.worker.hosts.get(self.name) is self:
            self.worker.deliver(self.worker.step, ev.HostDied(self.name, reason))

"""Which messages may go on in the host at once, from one fluxion to the next, which has no context, instead of coming
back to the worker in between (`docs/PROTOCOL.md`, section 8). From one with a context only to those that are
`speculative`, as what it changed is not committed yet.

Never so that a message overtakes another of its key, or is handled where its partition is not: so only to partitions
that are here, are not about to move, and have nothing of the key unhandled or on its way. Where a coroutine is among
them, its partition lets nothing of the key pass until the result is there. What the host then makes of a permission
does not matter: what it does not use goes the usual way.

Does not know what a fluxion does, nor how messages leave; deciding only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import chain

from msgspec.structs import replace

from liquefy.graph import Graph
from liquefy.hosting import Done, Step
from liquefy.messages import Message
from worker.commit import target_of
from worker.hosts import NOTHING, Host, Streams, Way
from worker.mailbox import Entry, Life, Partition

ONWARD_SENDERS_MAX = 8
"""So many fluxions may pass messages on in one call of the host: bounds how deep that goes."""

NONE: frozenset[str] = frozenset()


class Onward:
    """Gives permissions. `elsewhere(graph, fluxion, partition, host)`: another host handles these; `clear_of`: nothing
    is on its way there."""

    def __init__(
        self,
        partitions: Mapping[str, Partition],
        clear_of: Callable[[str], bool],
        elsewhere: Callable[[Graph, str, str, Host], bool],
        hops_max: int,
    ) -> None:
        self._partitions = partitions
        self._clear_of = clear_of
        self._elsewhere = elsewhere
        self._hops_max = hops_max
        self._barred: dict[str, tuple[Graph, frozenset[str]]] = {}

    def of(
        self, host: Host, partition: Partition, entry: Entry, graph: Graph | None
    ) -> tuple[Streams, tuple[Partition, ...]]:
        """What may follow the message at once, {} if nothing; and the partitions of coroutines among that."""
        message = entry.message
        if graph is None or graph.version != host.graph.version:
            return NOTHING, ()
        way = self._ways(host, graph).get(message.fluxion)
        if way is None or not self._alone(partition, entry) or message.hops + len(way.streams) > self._hops_max:
            return NOTHING, ()
        coroutines: tuple[Partition, ...] = ()
        for to in way.targets:
            there = self._free(host, graph, to, message)
            if there is None:
                return self._in_part(host, graph, way, message)
            if to in host.asynchronous:
                coroutines += (there,)
        return way.streams, coroutines

    def _in_part(
        self, host: Host, graph: Graph, way: Way, message: Message
    ) -> tuple[Streams, tuple[Partition, ...]]:
        """Where it may not go as far as the graph would allow."""
        free = {to: self._free(host, graph, to, message) for to in way.targets}
        some = {sender: tuple(t for t in targets if free[t]) for sender, targets in way.streams.items()}
        coroutines = [there for to, there in free.items() if there is not None and to in host.asynchronous]
        return {sender: targets for sender, targets in some.items() if targets}, tuple(coroutines)

    def bar(self, graph: Graph, fluxion: str) -> None:
        """It emits what cannot go on: handling it at once would be for nothing."""
        self._barred[graph.name] = (graph, self._barred_in(graph) | {fluxion})

    def _barred_in(self, graph: Graph) -> frozenset[str]:
        of, barred = self._barred.get(graph.name, (None, NONE))
        return barred if of is graph else NONE

    def _alone(self, partition: Partition, entry: Entry) -> bool:
        """Nothing of its key is before it, and nothing is against it: what has ended a host may have done so in a
        fluxion further on, and is to be known by its own name."""
        key = entry.key
        if entry.crashes or entry.replays or key == "":
            return False
        if partition.stateful:  # what others of the key emitted may still wait for their commit
            return partition.contexts[key].users == 1
        return partition.unhandled.get(key) == 1

    def _free(self, host: Host, graph: Graph, fluxion: str, message: Message) -> Partition | None:
        """The partition to which the message would come, if it may be handled there at once."""
        name = target_of(graph, fluxion, message.key)
        target = self._partitions.get(name)
        if (
            target is None
            or target.life is not Life.ACTIVE
            or target.move is not None
            or target.stateful
            or message.key in target.unhandled
            or message.key in target.awaiting
            or (target.busy and target.host != host.name)
            or not self._clear_of(name)
            or self._elsewhere(graph, fluxion, name, host)
        ):
            return None
        return target

    def _ways(self, host: Host, graph: Graph) -> dict[str, Way]:
        """By fluxion, as far as graph and host go."""
        barred = self._barred_in(graph)
        known = host.onward
        if known is None or not (known[0] is graph and known[1] is host.asynchronous and known[2] is barred):
            fit = {f for f in host.fluxions - barred if _is_fit(graph, f)}
            if any(each.raw for each in graph.inputs):
                fit -= host.asynchronous  # answers may come in pieces, which are known by the message that they answer
            free = {f for f in fit if graph.fluxion_by_name[f].speculative}
            ways = {}
            for f in host.fluxions:
                streams = streams_from(graph, f, free if is_stateful(graph, f) else fit, host.asynchronous)
                if streams:
                    ways[f] = Way(streams, tuple(dict.fromkeys(chain.from_iterable(streams.values()))))
            known = host.onward = (graph, host.asynchronous, barred, ways)
        return known[3]


def streams_from(graph: Graph, fluxion: str, fit: Collection[str], asynchronous: Collection[str]) -> Streams:
    """The streams that messages of the fluxion may follow: none back to where they have been, as that would be before
    its time; through one coroutine at most, and from there by one step. While a coroutine waits, others of its key may
    come to a fluxion two steps on, and would be overtaken; to the next one they come through that coroutine, which
    takes one at a time."""
    streams: dict[str, tuple[str, ...]] = {}

    def follow(sender: str, before: tuple[str, ...]) -> None:
        goals = (*before, sender)
        awaits = any(f in asynchronous for f in goals)
        targets = tuple(
            t
            for t in graph.fluxion_by_name[sender].streams
            if t in fit and not reaches(t, goals) and not (awaits and t in asynchronous)
        )
        if sender in streams or not targets or len(streams) >= ONWARD_SENDERS_MAX:
            return
        streams[sender] = targets
        if sender not in asynchronous:
            for target in targets:
                follow(target, (*before, sender))

    def reaches(start: str, goals: tuple[str, ...]) -> bool:
        seen, left = {start}, [start]
        while left:
            at = left.pop()
            if at in goals:
                return True
            new = [t for t in streams.get(at, ()) if t not in seen]
            seen.update(new)
            left += new
        return False

    follow(fluxion, ())
    return streams


def sound(done: Done | Step, graph: Graph, fits: Callable[[str, Step], bool]) -> list[Step]:
    """The steps that count: of messages that were emitted, to fluxions that may be passed, with nothing in what these
    emitted that needs the worker (`fits`). Of the others, the messages are sent, and handled again."""
    steps = []
    for step in done.onward:
        if not 0 <= step.index < len(done.emitted):
            continue
        to = done.emitted[step.index].to
        if not _is_fit(graph, to) or not fits(to, step):
            continue
        if step.onward:
            further = sound(step, graph, fits)
            if len(further) < len(step.onward):
                step = replace(step, onward=further)
        steps.append(step)
    return steps


def passages(
    done: Done | Step, steps: list[Step], graph: Graph, source: str, key: str
) -> list[tuple[str, str, Step]]:
    """Who sent whom what went on: partition, partition, what came of it."""
    passed = []
    for step in steps:
        destination = target_of(graph, done.emitted[step.index].to, key)
        passed.append((source, destination, step))
        passed += passages(step, step.onward, graph, destination, key) if step.onward else []
    return passed


def is_stateful(graph: Graph, fluxion: str) -> bool:
    return graph.group_by_name[graph.fluxion_by_name[fluxion].group].stateful


def _is_fit(graph: Graph, fluxion: str) -> bool:
    known = graph.fluxion_by_name.get(fluxion)
    return known is not None and not known.key and not is_stateful(graph, fluxion)

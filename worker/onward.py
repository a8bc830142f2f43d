"""Which messages may go on in the host at once, from one fluxion without context to the next, instead of coming back
to the worker in between (`docs/PROTOCOL.md`, section 8).

Never so that a message overtakes another of its key, or is handled where its partition is not: so only to partitions
that are here, are not about to move, and have nothing of the key unhandled or on its way. What the host then makes of
a permission does not matter: what it does not use goes the usual way.

Does not know what a fluxion does, nor how messages leave; deciding only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from liquefy.graph import Graph
from liquefy.hosting import Done, Step
from liquefy.messages import Message, partition_index, partition_name
from worker.hosts import Host, Streams
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

    def of(self, host: Host, partition: Partition, entry: Entry, graph: Graph | None) -> Streams:
        """What may follow the message at once; {} if nothing."""
        message = entry.message
        if graph is None or graph.version != host.graph.version or partition.stateful:
            return {}
        streams = self._streams(host, graph).get(message.fluxion)
        if not streams or not self._alone(partition, entry) or message.hops + len(streams) > self._hops_max:
            return {}
        for targets in streams.values():
            for to in targets:
                if not self._free(host, graph, to, message):
                    return self._without_taken(streams, host, graph, message)
        return streams

    def bar(self, graph: Graph, fluxion: str) -> None:
        """It emits what cannot go on: handling it at once would be for nothing."""
        self._barred[graph.name] = (graph, self._barred_in(graph) | {fluxion})

    def _barred_in(self, graph: Graph) -> frozenset[str]:
        of, barred = self._barred.get(graph.name, (None, NONE))
        return barred if of is graph else NONE

    def _alone(self, partition: Partition, entry: Entry) -> bool:
        """Nothing of its key is before it, and nothing is against it: what has ended a host may have done so in a
        fluxion further on, and is to be known by its own name."""
        message = entry.message
        return (
            not entry.crashes
            and not entry.replays
            and message.key != ""
            and partition.unhandled.get(message.key) == 1
        )

    def _free(self, host: Host, graph: Graph, fluxion: str, message: Message) -> bool:
        name = target_of(graph, fluxion, message.key)
        target = self._partitions.get(name)
        return (
            target is not None
            and target.life is Life.ACTIVE
            and target.move is None
            and not target.stateful
            and message.key not in target.unhandled
            and self._clear_of(name)
            and not self._elsewhere(graph, fluxion, name, host)
        )

    def _without_taken(self, streams: Streams, host: Host, graph: Graph, message: Message) -> Streams:
        free = {t for t in {t for ts in streams.values() for t in ts} if self._free(host, graph, t, message)}
        some = {sender: tuple(t for t in targets if t in free) for sender, targets in streams.items()}
        return {sender: targets for sender, targets in some.items() if targets}

    def _streams(self, host: Host, graph: Graph) -> dict[str, Streams]:
        """By fluxion, as far as graph and host go."""
        barred = self._barred_in(graph)
        known = host.onward
        if known is None or not (known[0] is graph and known[1] is host.asynchronous and known[2] is barred):
            fit = {f for f in host.fluxions - host.asynchronous - barred if _is_fit(graph, f)}
            streams = {f: streams_from(graph, f, fit, f in host.asynchronous) for f in host.fluxions}
            known = host.onward = (graph, host.asynchronous, barred, streams)
        return known[3]


def streams_from(graph: Graph, fluxion: str, fit: Collection[str], direct: bool) -> Streams:
    """The streams that messages of the fluxion may follow: none back to where they have been, as that would be before
    its time. `direct`: one step only. While a coroutine waits, others of its key may come to a fluxion two steps on,
    and would be overtaken; to the next one they come through that coroutine, which takes one at a time."""
    streams: dict[str, tuple[str, ...]] = {}

    def follow(sender: str, before: tuple[str, ...]) -> None:
        goals = (*before, sender)
        targets = tuple(t for t in graph.fluxion_by_name[sender].streams if t in fit and not reaches(t, goals))
        if sender in streams or not targets or len(streams) >= ONWARD_SENDERS_MAX:
            return
        streams[sender] = targets
        if not direct:
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


def target_of(graph: Graph, fluxion: str, key: str) -> str:
    """The partition of a fluxion that inherits this key."""
    group = graph.group_by_name[graph.fluxion_by_name[fluxion].group]
    return partition_name(graph.name, group.name, partition_index(key, group.partitions))


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


def _is_fit(graph: Graph, fluxion: str) -> bool:
    known = graph.fluxion_by_name.get(fluxion)
    return known is not None and not known.key and not graph.group_by_name[known.group].stateful

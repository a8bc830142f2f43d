"""From results to one atomic commit: what of a partition's handled messages is written, and what leaves after it.

Pure: results in, `PartitionCommit` and outgoing messages out. Does not know when a commit is made, who performs it,
or where messages go.
"""

from __future__ import annotations

from typing import NamedTuple

from liquefy import values
from liquefy.commits import ContextChange, PartitionCommit
from liquefy.graph import OUTPUT, Graph
from liquefy.hosting import Done, Emitted, Step
from liquefy.letters import DeadLetter, encode_letter
from liquefy.messages import Message, child_id, encode, partition_index
from worker.mailbox import Entry, Partition, bucketed

Outgoing = tuple[int, str, Message]
"""A message that leaves once the commit is applied: its seq in the partition's outbox, its destination, itself."""


class Built(NamedTuple):
    """A commit and what follows from it."""

    commit: PartitionCommit
    entries: list[Entry]
    outgoing: list[Outgoing]


PIECES_INDEX = 2**30
"""Index, with the ticket of the handling added, of all pieces of one answer: pieces of two handlings are told apart."""


def children(
    parent: Message, done: Done | Step, graph: Graph | None, born_ms: int, now_ms: int, source: str, ticket: int = 0
) -> list[tuple[str, Message, str]]:
    """What leaves once `source` has handled the parent (`ticket`): destination, message, and the partition that sends
    it. A message that went on in the host does not leave; its own children do, with the ids they have in any case."""
    if done.onward:
        return _children(parent, parent.id, parent.hops, done, graph, born_ms, now_ms, source, ticket)
    leaving = []
    for index, emitted in enumerate(done.emitted):
        destination, message = child(parent, index, emitted, graph, born_ms, now_ms, ticket)
        if destination:
            leaving.append((destination, message, source))
    return leaving


def _children(
    origin: Message, parent: bytes, hops: int, done: Done | Step, graph: Graph | None, born_ms: int, now_ms: int,
    source: str, ticket: int,
) -> list[tuple[str, Message, str]]:  # fmt: skip
    """Of what goes on in the host, the key and all else is that of the message by which it began (`origin`), but for
    id (`parent`) and hops."""
    steps = {step.index: step for step in done.onward} if done.onward else {}
    leaving: list[tuple[str, Message, str]] = []
    for index, emitted in enumerate(done.emitted):
        step = steps.get(index)
        if step is None:
            destination, message = child(origin, index, emitted, graph, born_ms, now_ms, ticket, parent, hops)
            if destination:
                leaving.append((destination, message, source))
        elif graph is not None:
            at = target_of(graph, emitted.to, origin.key)
            leaving += _children(
                origin, child_id(parent, index), hops + 1, step, graph, born_ms, now_ms, at, 0
            )
    return leaving


def child(
    parent: Message, index: int, emitted: Emitted, graph: Graph | None, born_ms: int, now_ms: int, ticket: int = 0,
    id: bytes = b"", hops: int = -1,
) -> tuple[str, Message]:  # fmt: skip
    """The `index`-th message that handling the parent emitted, and its destination ("" when it is an answer for
    which nobody waits). `born_ms` is the parent's, or the time of the commit (see `docs/PROTOCOL.md`, section 4).
    `id`, `hops`: the parent's, where it is further on than its message says."""
    to = emitted.to
    due_ms = now_ms + emitted.delay_ms if emitted.delay_ms > 0 else 0
    if to == OUTPUT:
        key, destination = parent.key, "@" + parent.gateway if parent.gateway else ""
    elif graph is not None and to in graph.fluxion_by_name:
        key = graph.key_of(to, emitted.key, parent.key, parent.root)
        destination = target_of(graph, to, key)
    else:
        key, destination = parent.key, ""
    if emitted.piece:
        index = PIECES_INDEX + ticket % PIECES_INDEX
    if hops < 0:
        hops = parent.hops
    return destination, Message(  # in the order of its fields: by name it takes half as long again
        child_id(id or parent.id, index), to, key, emitted.body, due_ms or born_ms, parent.root, parent.gateway,
        parent.deadline_ms, due_ms, hops + 1, parent.trace, parent.remember, emitted.status,
        emitted.headers, emitted.piece,
    )  # fmt: skip


def destination_of(message: Message, graph: Graph | None) -> str:
    """Where a message goes: a partition of the graph, `@gateway`, or "" when nobody waits for the answer, or no
    such fluxion is left."""
    if message.fluxion == OUTPUT:
        return "@" + message.gateway if message.gateway else ""
    if graph is None or message.fluxion not in graph.fluxion_by_name:
        return ""
    return target_of(graph, message.fluxion, message.key)


def target_of(graph: Graph, fluxion: str, key: str) -> str:
    """The partition of the fluxion to which a message of that key goes."""
    places = graph.places[fluxion]
    return places[partition_index(key, len(places))]


def failure(entry: Entry, done: Done, now_ms: int) -> tuple[bytes, bytes, Emitted]:
    """The dead letter of a message that could not be handled (id, packed), and the answer to who waits for it."""
    partition, message = entry.partition, entry.message
    letter = DeadLetter(
        id=message.id.hex(),
        graph=partition.graph,
        fluxion=message.fluxion,
        partition=partition.name,
        key=message.key,
        message=message,
        error=done.error,
        traceback=done.traceback,
        time_s=now_ms / 1000,
        attempts=max(1, entry.crashes) if entry.doomed else 2,
    )
    body = values.pack({"error": done.error, "dead_letter": letter.id})
    return message.id, encode_letter(letter), Emitted(OUTPUT, "", body, 0, 500)


def build(partition: Partition, graph: Graph | None, now_ms: int) -> Built:
    """Everything that `partition.ran` asks for, as one commit; takes `ran` and `acknowledged` over. With a move
    whose source this is, the commit hands the partition to the target."""
    entries, partition.ran = partition.ran, []
    changes: dict[str, ContextChange] = {}
    seen: list[tuple[int, bytes]] = []
    dead: list[tuple[bytes, bytes]] = []
    replayed: list[bytes] = []
    outgoing: list[Outgoing] = []
    outbox, name = partition.next_out, partition.name
    for entry in entries:
        message, done = entry.message, entry.result
        seen.append(bucketed(message))
        if done.error:
            letter_id, letter, answer = failure(entry, done, now_ms)
            dead.append((letter_id, letter))
            done = Done(0, [answer], {}, ())
        elif done.sets or done.removes:
            _merge(changes, partition, entry.key, done)
        if entry.replays:
            replayed.append(entry.replays)
        for destination, emitted, _ in children(message, done, graph, now_ms, now_ms, name, entry.ticket):
            outgoing.append((outbox, destination, emitted))
            outbox += 1
    partition.next_out = outbox
    acknowledged, partition.acknowledged = partition.acknowledged, []
    move = partition.move
    commit = PartitionCommit(
        name,
        partition.epoch,
        partition.sequence,
        list(changes.values()),
        seen,
        [(outbox, encode(message)) for outbox, _, message in outgoing],
        acknowledged,
        dead,
        replayed,
        (move.target, partition.epoch + 1) if move and move.committing else None,
        partition.leap,
    )
    return Built(commit, entries, outgoing)


def _merge(changes: dict[str, ContextChange], partition: Partition, key: str, done: Done) -> None:
    record = partition.contexts[key]
    before = changes.get(key) if changes else None
    if before is None:
        change = ContextChange(key, done.sets, done.removes, not record.exists, done.empty)
    else:
        sets = {f: v for f, v in before.sets.items() if f not in done.removes} | done.sets
        removes = tuple(f for f in dict.fromkeys((*before.removes, *done.removes)) if f not in done.sets)
        change = ContextChange(key, sets, removes, before.created, done.empty)
    changes[key] = change
    record.exists = not done.empty

"""What is asked of the store, and what it answers. Shapes only: `liquefy.contexts` does it, on Redis or in
memory; the states of the roles make and read these without knowing which.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

SEEN_BUCKET_MS = 30_000
"""Seen ids are kept in buckets of so much birth time; a bucket expires as a whole."""

DEDUPE_RETENTION_MS = 300_000
"""How long after its birth a message can still be told from its resend. An older one is not handled any more: it
goes to the dead letters as "expired". Costs about 60 bytes of Redis per stateful message handled in that time."""


class ContextChange(msgspec.Struct, frozen=True):
    """Fields of one context set (name -> packed value) and removed. `created`: there was no such context before;
    `emptied`: nothing is left of it."""

    key: str
    sets: dict[str, bytes]
    removes: tuple[str, ...] = ()
    created: bool = False
    emptied: bool = False


class PartitionCommit(NamedTuple):
    """One atomic step of one partition, applied only if (owner, epoch) is as stored, `sequence` is what the one before
    left, and none of `seen` was seen before. It leaves `becomes`.

    `seen`: (bucket, id), bucket = born_ms // SEEN_BUCKET_MS. `outbox`: (seq, packed Message) to add;
    `acknowledged`: outbox seqs to drop. `dead`: (letter id, packed DeadLetter) to add; `replayed`: letters to drop.
    `move`: (target node, new epoch) makes this the last commit of a migration's source: the point of no return.
    """

    partition: str
    epoch: int
    sequence: int
    contexts: list[ContextChange]
    seen: list[tuple[int, bytes]]
    outbox: list[tuple[int, bytes]]
    acknowledged: list[int]
    dead: list[tuple[bytes, bytes]]
    replayed: list[bytes]
    move: tuple[str, int] | None = None
    leap: int = 0
    """`becomes` is so much more than `sequence` + 1: of a partition that was loaded anew, so that no commit of before
    that, which may be on its way yet, fits any more."""

    @property
    def becomes(self) -> int:
        return self.sequence + 1 + self.leap


class Verdict(NamedTuple):
    """What became of one PartitionCommit.

    `ok`: applied (or found applied by an earlier try of the same commit). Refused, whole, otherwise: `fenced` (the
    epoch or owner is another), `gap` (the sequence does not fit: the store lost or gained commits), `seen`
    (`duplicates` had been handled before), `damaged` (`why`: which key of it holds what none of ours does)."""

    partition: str
    outcome: str
    duplicates: tuple[bytes, ...] = ()
    why: str = ""


class ContextQuery(NamedTuple):
    """Contexts to read from one partition, and ids of which to say whether they were seen: (bucket, id)."""

    partition: str
    keys: tuple[str, ...]
    ids: tuple[tuple[int, bytes], ...] = ()


class ContextAnswer(NamedTuple):
    """`contexts`: key -> field -> packed value ({} where there is none). `seen`: those of the ids asked. `spoilt`: keys
    whose contexts cannot be read, and why. `damaged`: why it cannot be said what was seen."""

    partition: str
    contexts: dict[str, dict[str, bytes]]
    seen: frozenset[bytes]
    spoilt: tuple[tuple[str, str], ...] = ()
    damaged: str = ""


class PartitionState(NamedTuple):
    """What a partition's new owner starts from. `outbox` is in order of seq. `damaged`: why none of that is known."""

    partition: str
    owner: str
    epoch: int
    sequence: int
    outbox: list[tuple[int, bytes]]
    damaged: str = ""


DAMAGED = -1


class Placement(NamedTuple):
    """Where one partition is, in Redis: the only truth. owner "" and epoch 0 if it was never placed; epoch DAMAGED if
    that cannot be read, and `owner` is then the name of the key."""

    partition: str
    owner: str
    epoch: int


class PlaceRequest(NamedTuple):
    """Compare-and-set: the partition goes to `owner` at `epoch` + 1 if its stored epoch is `epoch`; at `least` if that
    is more: above epochs that the store has lost."""

    partition: str
    epoch: int
    owner: str
    least: int = 0


class LeadRequest(NamedTuple):
    """A controller's wish to lead (`term` 0), or to go on leading in this term. `known`: the highest term that it has
    heard of. `lease_ms`: 0 gives the lease up. `linked`: it reaches the broker. `address`: where it is asked."""

    name: str
    address: str
    term: int
    known: int
    lease_ms: int
    linked: bool


class Standing(NamedTuple):
    """Who leads, in which term (0: nobody ever did). `wanted`: another controller that reaches the broker waits."""

    term: int
    name: str
    address: str
    wanted: bool = False

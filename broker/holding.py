"""What the broker keeps of others' messages: those held for partitions under migration, in the order in which they
came, unopened (docs/PROTOCOL.md, section 5), and how much of what was forwarded to a peer it has not read yet, by who
sent it (section 1). Knows neither routes nor peers; time is given.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from liquefy.messages import Legacy, Part, Session

PART_BYTES = 512
"""What is kept of a part besides its messages: so the smallest are bounded as well."""

FRAME_BYTES = 512
"""The same of a transmission that waits to be read."""

ENTRY_BYTES = 16
"""About what an entry of an outbox that is handed over takes, besides the message; or a claim, besides its name."""

SOMEBODY: Session = b""
"""Whoever is gone."""


class HeldPart(NamedTuple):
    """A part of a data frame: who sent it, its entry of the header, its messages as they came."""

    sender: Session
    part: Part
    messages: msgspec.Raw


class Hold:
    """One partition held for `source`, its owner at `epoch`, since `since_ms`."""

    def __init__(self, source: Session, epoch: int, since_ms: float) -> None:
        self.source = source
        self.epoch = epoch
        self.since_ms = since_ms
        self.first_ms: float | None = None
        """When the first message was held."""
        self.parts: list[HeldPart] = []
        self.count = 0
        self.bytes = 0


class Pause(NamedTuple):
    """A partition on its way to the owner of `epoch`: `held` messages wait, the oldest since `since_ms`."""

    epoch: int
    held: int
    since_ms: float

    def length_us(self, now_ms: float) -> int:
        return round((now_ms - self.since_ms) * 1000) if self.held else 0


class Holding:
    """All holds. `by_partition` may be read directly; `count` is the number of messages held, `bytes` their size."""

    def __init__(self) -> None:
        self.by_partition: dict[str, Hold] = {}
        self.count = 0
        self.bytes = 0

    def begin(self, partition: str, source: Session, epoch: int, now_ms: float) -> None:
        assert partition not in self.by_partition, partition
        self.by_partition[partition] = Hold(source, epoch, now_ms)

    def add(self, sender: Session, part: Part, messages: msgspec.Raw, now_ms: float) -> None:
        """Hold a part for its destination. Copied: else it would keep its whole frame in memory."""
        hold = self.by_partition[part.destination]
        if hold.first_ms is None:
            hold.first_ms = now_ms
        hold.parts.append(HeldPart(sender, part, messages.copy()))
        size = _size(hold.parts[-1])
        hold.count += part.count
        hold.bytes += size
        self.count += part.count
        self.bytes += size

    def end(self, partition: str) -> Hold | None:
        """The hold, which is over, or None if there was none."""
        hold = self.by_partition.pop(partition, None)
        if hold is not None:
            self.count -= hold.count
            self.bytes -= hold.bytes
        return hold

    def most(self) -> Session:
        """Who sent most of the bytes that are held. Looks at all of them."""
        shares: dict[Session, int] = {}
        for hold in self.by_partition.values():
            for held in hold.parts:
                shares[held.sender] = shares.get(held.sender, 0) + _size(held)
        return max(shares, key=lambda sender: shares[sender])

    def drop(self, sender: Session) -> None:
        """What it sent is held no more; all of it, so that what is left of each other sender has no gap."""
        for hold in self.by_partition.values():
            dropped = [held for held in hold.parts if held.sender == sender]
            if dropped:
                hold.parts = [held for held in hold.parts if held.sender != sender]
                count, size = sum(held.part.count for held in dropped), sum(map(_size, dropped))
                hold.count -= count
                hold.bytes -= size
                self.count -= count
                self.bytes -= size


class Unread:
    """What was forwarded to one peer and is not known to have been read: `bytes` in all, `gone` of them from senders
    that are gone. A mark is put behind it now and then; when the peer names that, it has read all before it."""

    __slots__ = ("_marks", "_shares", "bytes", "gone", "read_ms", "unmarked")

    def __init__(self) -> None:
        self.bytes = 0
        self.gone = 0
        self.unmarked = 0
        """Bytes behind the last mark."""
        self.read_ms = 0.0
        """When the peer last read a mark, or had none to read: it has not read any since."""
        self._shares: dict[Session, int] = {}
        self._marks: deque[tuple[int, dict[Session, int]]] = deque()

    def add(self, sender: Session, size: int) -> None:
        shares = self._shares
        shares[sender] = shares.get(sender, 0) + size
        self.unmarked += size
        self.bytes += size

    def mark(self, mark: int, now_ms: float) -> None:
        """What was added by now is before this mark."""
        if not self._marks:
            self.read_ms = now_ms
        self._marks.append((mark, self._shares))
        self._shares, self.unmarked = {}, 0

    def read(self, mark: int, now_ms: float) -> None:
        """The peer has read as far as this mark; one that it was not sent counts for nothing."""
        if not any(mark == sent for sent, _ in self._marks):
            return
        self.read_ms = now_ms
        reached = 0
        while reached != mark:
            reached, shares = self._marks.popleft()
            self.bytes -= sum(shares.values())
            self.gone -= shares.get(SOMEBODY, 0)

    def stuck_ms(self, now_ms: float) -> float:
        """For how long it has read nothing, though there is something to read."""
        return now_ms - self.read_ms if self._marks else 0.0

    def most(self) -> Session:
        """Who sent most of it, of those that are not gone; SOMEBODY if all are."""
        sums: dict[Session, int] = {}
        for shares in (self._shares, *(shares for _, shares in self._marks)):
            for sender, size in shares.items():
                if sender != SOMEBODY:
                    sums[sender] = sums.get(sender, 0) + size
        return max(sums, key=lambda sender: sums[sender], default=SOMEBODY)

    def forget(self, sender: Session) -> None:
        """It is gone: what it sent is still to be read, and nobody's."""
        for shares in (self._shares, *(shares for _, shares in self._marks)):
            size = shares.pop(sender, 0)
            if size:
                shares[SOMEBODY] = shares.get(SOMEBODY, 0) + size
                self.gone += size


def _size(held: HeldPart) -> int:
    return PART_BYTES + len(held.messages)


def legacy_bytes(legacy: Legacy) -> int:
    """About what it takes in an `Activate`."""
    return sum(ENTRY_BYTES + len(packed) for _, packed in legacy.outbox) + ENTRY_BYTES * len(legacy.acknowledged)


def pause(hold: Hold, epoch: int, returned: int) -> Pause:
    """What the partition's clients wait for: `returned` messages came before the hold began."""
    since_ms = hold.since_ms if returned or hold.first_ms is None else hold.first_ms
    return Pause(epoch, hold.count + returned, since_ms)

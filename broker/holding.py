"""Messages held for partitions under migration: in the order in which they came, unopened. See
docs/PROTOCOL.md, section 5. Knows neither routes nor peers; time is given.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from liquefy.messages import Part, Session


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
        size = len(hold.parts[-1].messages)
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


def pause(hold: Hold, epoch: int, returned: int) -> Pause:
    """What the partition's clients wait for: `returned` messages came before the hold began."""
    since_ms = hold.since_ms if returned or hold.first_ms is None else hold.first_ms
    return Pause(epoch, hold.count + returned, since_ms)

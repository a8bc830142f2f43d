"""Which contexts the hosts of this worker hold decoded, and which must go when they are too many.

First in, first out, with a second chance for those in use. Knows sizes, not contents.
"""

from __future__ import annotations

from worker.mailbox import CONTEXT_OVERHEAD_BYTES, ContextRecord, Partition

FREED_MAX = 256
"""Contexts of partitions that are gone are freed by so many a step: all of a large one's at once would hold up what
waits for its move to end."""


class Cache:
    """All cached contexts of a node; `bytes_max` bounds their packed size, overhead included."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._order: dict[tuple[Partition, str], ContextRecord] = {}
        self._dropped: list[tuple[Partition, dict[str, ContextRecord]]] = []
        """They stand in `_order` and count in `bytes` until they are freed."""
        self.bytes = 0

    def add(self, partition: Partition, key: str) -> None:
        """The partition has read this context."""
        record = partition.contexts.get(key)
        if record is not None and self._order.get((partition, key)) is not record:
            self._order[partition, key] = record
            self.bytes += record.size

    def resized(self, partition: Partition, key: str, context_bytes: int) -> None:
        """A message changed the context: its packed fields have `context_bytes` now."""
        record = partition.contexts.get(key)
        if record is not None:
            size = CONTEXT_OVERHEAD_BYTES + context_bytes
            self.bytes += size - record.size
            record.size = size

    def drop(self, partition: Partition) -> None:
        """All contexts of the partition are gone."""
        if partition.contexts:
            self._dropped.append((partition, partition.contexts))
            partition.contexts = {}

    def _free(self) -> None:
        """Some of what was dropped."""
        left = FREED_MAX
        while self._dropped and left:
            partition, contexts = self._dropped[-1]
            while contexts and left:
                left -= 1
                key, record = contexts.popitem()
                self.bytes -= record.size
                if self._order.get((partition, key)) is record:
                    del self._order[partition, key]
            if not contexts:
                self._dropped.pop()

    def evict(self) -> list[tuple[Partition, str]]:
        """Take out what is too much, oldest first; contexts in use stay, and those that are being read again (the
        answer may be older than what was committed since). Returns what was taken out."""
        self._free()
        while self._dropped and self.bytes > self._bytes_max:
            self._free()
        gone: list[tuple[Partition, str]] = []
        tries = len(self._order)
        while self.bytes > self._bytes_max and tries > 0:
            tries -= 1
            (partition, key), record = next(iter(self._order.items()))
            del self._order[partition, key]
            if record.users or key in partition.waiting:
                self._order[partition, key] = record
                continue
            self.bytes -= record.size
            del partition.contexts[key]
            gone.append((partition, key))
        return gone

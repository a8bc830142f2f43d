"""Which contexts the hosts of this worker hold decoded, and which must go when they are too many.

First in, first out, with a second chance for those in use. Knows sizes, not contents.
"""

from __future__ import annotations

from worker.mailbox import CONTEXT_OVERHEAD_BYTES, ContextRecord, Partition


class Cache:
    """All cached contexts of a node; `bytes_max` bounds their packed size, overhead included."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._order: dict[tuple[Partition, str], ContextRecord] = {}
        self.bytes = 0

    def add(self, partition: Partition, key: str) -> None:
        """The partition has read this context."""
        record = partition.contexts.get(key)
        if record is not None and (partition, key) not in self._order:
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
        for key in partition.contexts:
            record = self._order.pop((partition, key), None)
            if record is not None:
                self.bytes -= record.size
        partition.contexts.clear()

    def evict(self) -> list[tuple[Partition, str]]:
        """Take out what is too much, oldest first; contexts in use stay, and those that are being read again (the
        answer may be older than what was committed since). Returns what was taken out."""
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

"""Which contexts a worker knows to be in its hosts."""

from __future__ import annotations

from worker.cache import FREED_MAX, Cache
from worker.mailbox import CONTEXT_OVERHEAD_BYTES, ContextRecord, Partition

EACH = CONTEXT_OVERHEAD_BYTES + 1


def holding(cache: Cache, name: str, keys: int, epoch: int = 1) -> Partition:
    partition = Partition(name, epoch)
    read(cache, partition, keys)
    return partition


def read(cache: Cache, partition: Partition, keys: int) -> None:
    for number in range(keys):
        partition.contexts[str(number)] = ContextRecord({"n": b"1"})
        cache.add(partition, str(number))


def test_a_large_partition_that_is_gone_is_freed_by_and_by() -> None:
    cache = Cache(1 << 30)
    gone, stays = holding(cache, "g/a/0", 2 * FREED_MAX + 1), holding(cache, "g/a/1", 3)
    cache.drop(gone)
    assert not gone.contexts
    steps = 0
    while cache.bytes > 3 * EACH:
        before = cache.bytes
        assert cache.evict() == []
        assert 0 < before - cache.bytes <= FREED_MAX * EACH
        steps += 1
    assert steps == 3
    cache.drop(stays)
    cache.evict()
    assert cache.bytes == 0


def test_what_is_gone_makes_room_before_anything_is_evicted() -> None:
    room = 3 * FREED_MAX
    cache = Cache(room * EACH)
    gone = holding(cache, "g/a/0", room)
    cache.drop(gone)
    holding(cache, "g/a/1", room)
    assert cache.evict() == []
    assert cache.bytes == room * EACH


def test_a_partition_that_begins_anew_counts_once() -> None:
    cache = Cache(1 << 30)
    keys = FREED_MAX + 5
    partition = holding(cache, "g/a/0", keys)
    cache.drop(partition)
    read(cache, partition, keys)
    cache.evict()
    cache.evict()
    assert cache.bytes == keys * EACH
    cache.drop(partition)
    cache.evict()
    cache.evict()
    assert cache.bytes == 0

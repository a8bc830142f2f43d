"""Commits as commit.lua takes them: one flat list. Knows neither Redis nor what a commit is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from liquefy.commits import PartitionCommit


def flat(commits: Iterable[PartitionCommit]) -> list[str | int | bytes]:
    """What commit.lua takes; its head says how it is laid out."""
    items: list[Any] = []
    for partition, epoch, sequence, contexts, seen, outbox, acknowledged, dead, replayed, move, leap in commits:
        start = len(items)
        target, target_epoch = move or ("", 0)
        buckets = by_bucket(seen)
        items += (0, partition, epoch, sequence, sequence + 1 + leap, target, target_epoch, len(buckets))
        for bucket, ids in buckets.items():
            items += (str(bucket), len(ids))
            items += ids
        items.append(len(contexts))
        for change in contexts:
            sets, removes = change.sets, change.removes
            fate = 2 if change.emptied else 1 if change.created else 0
            items += (change.key, fate, 2 * len(sets), len(removes))
            for field in sets.items():
                items += field
            items += removes
        items.append(2 * len(outbox))
        for seq, message in outbox:
            items += (str(seq), message)
        items.append(len(acknowledged))
        items += map(str, acknowledged)
        items.append(2 * len(dead))
        for letter in dead:
            items += letter
        items.append(len(replayed))
        items += replayed
        items[start] = len(items) - start - 1
    return items


def by_bucket(ids: Iterable[tuple[int, bytes]]) -> dict[int, list[bytes]]:
    buckets: dict[int, list[bytes]] = {}
    for bucket, id_ in ids:
        if bucket in buckets:
            buckets[bucket].append(id_)
        else:
            buckets[bucket] = [id_]
    return buckets

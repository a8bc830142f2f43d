"""The store in memory: the twin of `liquefy.contexts.Contexts`, for the simulation and for tests. Same methods and
meaning, written from docs/PROTOCOL.md section 3 and not from the script; `tests/cluster/test_contexts.py` holds the
two against each other.

Each method `x` has a synchronous core `x_now`. Knows no Redis and no clock: `now_ms` is given. With `available`
set to False every call raises StoreUnavailable and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from liquefy.commits import (
    DEDUPE_RETENTION_MS,
    SEEN_BUCKET_MS,
    ContextAnswer,
    ContextQuery,
    LeadRequest,
    PartitionCommit,
    PartitionState,
    Placement,
    PlaceRequest,
    Standing,
    Verdict,
)
from liquefy.errors import Deposed, LiquefyError, StoreUnavailable
from liquefy.graph import Graph

CLOCK_SKEW_MS = 60_000
"""As in `liquefy.contexts`."""

BROWSE_MAX = 1_000
"""As in `liquefy.contexts`."""


class _Partition:
    """What is stored of one partition. `placed`: it has an owner, or had one; `moved`: epoch and sequence of the
    commit that last moved it."""

    def __init__(self) -> None:
        self.placed = False
        self.owner, self.epoch, self.sequence = "", 0, 0
        self.term = 0
        self.moved: tuple[int, int] | None = None
        self.contexts: dict[str, dict[str, bytes]] = {}
        self.keys: set[str] = set()
        self.seen: dict[int, set[bytes]] = {}
        self.outbox: dict[int, bytes] = {}
        self.dead: dict[bytes, bytes] = {}


class MemoryContexts:
    """The store. `now_ms` gives Unix time in milliseconds, for what expires."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.available = True
        self._now_ms = now_ms
        self._partitions: dict[str, _Partition] = {}
        self._graphs: dict[str, bytes] = {}
        self._bundles: dict[str, bytes] = {}
        self._maps: dict[str, dict[str, bytes]] = {}
        self._frozen: str | None = None
        self._idem: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._leader = Standing(0, "", "")
        self._lease_until_ms = 0
        self._rival: tuple[str, int] = ("", 0)

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailable("the store is away")

    def _find(self, partition: str) -> _Partition:
        """As it is stored now; a new one, kept by nobody, if nothing is."""
        self._check()
        found = self._partitions.get(partition)
        if found is None:
            return _Partition()
        for bucket in [b for b in found.seen if self._expired(b)]:
            del found.seen[bucket]
        return found

    def _expired(self, bucket: int) -> bool:
        return (bucket + 1) * SEEN_BUCKET_MS + DEDUPE_RETENTION_MS + CLOCK_SKEW_MS <= self._now_ms()

    # -- what workers do all the time --------------------------------------------------------------------

    def commit_now(self, commits: Sequence[PartitionCommit], owner: str = "") -> list[Verdict]:
        self._check()
        return [self._commit(commit, owner) for commit in commits]

    def _commit(self, commit: PartitionCommit, owner: str) -> Verdict:
        stored = self._find(commit.partition)
        mine = stored.owner and stored.epoch == commit.epoch and owner in ("", stored.owner)
        if not mine:
            again = commit.move is not None and stored.moved == (commit.epoch, commit.sequence)
            return Verdict(commit.partition, "ok" if again else "fenced")
        if stored.sequence == commit.becomes:
            return Verdict(commit.partition, "ok")
        if stored.sequence != commit.sequence:
            return Verdict(commit.partition, "gap")
        duplicates = [id_ for bucket, id_ in commit.seen if id_ in stored.seen.get(bucket, ())]
        if duplicates:
            return Verdict(commit.partition, "seen", tuple(duplicates))
        self._apply(stored, commit)
        return Verdict(commit.partition, "ok")

    def _apply(self, stored: _Partition, commit: PartitionCommit) -> None:
        for change in commit.contexts:
            fields = {} if change.emptied else {**stored.contexts.get(change.key, {}), **change.sets}
            for name in change.removes:
                fields.pop(name, None)
            stored.contexts[change.key] = fields
            if not fields:
                del stored.contexts[change.key]
            if change.emptied:
                stored.keys.discard(change.key)
            elif change.created:
                stored.keys.add(change.key)
        for bucket, id_ in commit.seen:
            if not self._expired(bucket):
                stored.seen.setdefault(bucket, set()).add(id_)
        stored.outbox.update(commit.outbox)
        for seq in commit.acknowledged:
            stored.outbox.pop(seq, None)
        stored.dead.update(commit.dead)
        for letter in commit.replayed:
            stored.dead.pop(letter, None)
        stored.sequence = commit.becomes
        if commit.move is not None:
            stored.moved = (commit.epoch, commit.sequence)
            stored.owner, stored.epoch = commit.move

    def read_now(self, queries: Sequence[ContextQuery]) -> list[ContextAnswer]:
        self._check()
        answers = []
        for partition, keys, ids in queries:
            stored = self._find(partition)
            contexts = {key: dict(stored.contexts.get(key, {})) for key in keys}
            seen = frozenset(id_ for bucket, id_ in ids if id_ in stored.seen.get(bucket, ()))
            answers.append(ContextAnswer(partition, contexts, seen))
        return answers

    def load_now(self, partitions: Sequence[str]) -> list[PartitionState]:
        self._check()
        states = []
        for partition in partitions:
            stored = self._find(partition)
            outbox = sorted(stored.outbox.items())
            states.append(PartitionState(partition, stored.owner, stored.epoch, stored.sequence, outbox))
        return states

    # -- placement -----------------------------------------------------------------------------------------

    def lead_now(self, request: LeadRequest) -> Standing:
        self._check()
        name, address, term, known, lease_ms, linked = request
        now_ms, leader = self._now_ms(), self._leader
        mine = term > 0 and (term > leader.term or (term == leader.term and leader.name == name))
        if not mine and not term and lease_ms and (leader.name == name or self._lease_until_ms <= now_ms):
            term, mine, self._rival = max(leader.term, known) + 1, True, ("", 0)
        if mine:
            who = (name, address) if lease_ms else ("", "")
            self._leader, self._lease_until_ms = Standing(term, *who), now_ms + lease_ms
            rival, since_ms = self._rival
            return self._leader._replace(wanted=rival not in ("", who[0]) and now_ms - since_ms < lease_ms)
        if lease_ms and linked:
            self._rival = (name, now_ms)
        return leader

    def leader_now(self) -> Standing:
        self._check()
        return self._leader

    def _fence(self, term: int) -> None:
        self._check()
        if 0 < term < self._leader.term:
            raise Deposed(self._leader.term)

    def _fence_partition(self, stored: _Partition, term: int) -> None:
        if 0 < term < stored.term:
            raise Deposed(stored.term)

    def placements_now(self, partitions: Sequence[str], term: int = 0) -> list[Placement]:
        self._check()
        found = []
        for partition in partitions:
            stored = self._find(partition)
            self._fence_partition(stored, term)
            if stored.placed:
                stored.term = max(stored.term, term)
            found.append(Placement(partition, stored.owner, stored.epoch))
        return found

    def place_now(self, requests: Sequence[PlaceRequest], term: int = 0) -> list[Placement]:
        self._check()
        placed = []
        for partition, epoch, owner, least in requests:
            self._fence_partition(self._find(partition), term)
            if self._find(partition).epoch == epoch:
                stored = self._partitions.setdefault(partition, _Partition())
                stored.placed, stored.owner, stored.epoch = True, owner, max(epoch + 1, least)
                stored.term = max(stored.term, term)
            placed += self.placements_now([partition])
        return placed

    def unplace_now(self, partitions: Sequence[str], purge: bool = False, term: int = 0) -> None:
        self._check()
        for partition in partitions:
            stored = self._find(partition)
            self._fence_partition(stored, term)
            if stored.owner:
                stored.owner, stored.epoch = "", stored.epoch + 1
            stored.outbox.clear()
            stored.seen.clear()
            if purge and self._partitions.pop(partition, None) is not None:
                # Contexts are found by their keys: one stored without saying `created` stays, here as there.
                left = {key: fields for key, fields in stored.contexts.items() if key not in stored.keys}
                if left:
                    self._partitions.setdefault(partition, _Partition()).contexts = left

    # -- graphs and bundles --------------------------------------------------------------------------------

    def put_graph_now(self, graph: Graph, term: int = 0) -> None:
        self._fence(term)
        self._graphs[graph.name] = msgspec.msgpack.encode(graph)

    def graphs_now(self) -> list[Graph]:
        self._check()
        return [msgspec.msgpack.decode(self._graphs[name], type=Graph) for name in sorted(self._graphs)]

    def delete_graph_now(self, name: str, term: int = 0) -> None:
        self._fence(term)
        self._graphs.pop(name, None)

    def put_bundle_now(self, data: bytes) -> str:
        self._check()
        sha = hashlib.sha256(data).hexdigest()
        self._bundles[sha] = data
        return sha

    def drop_bundles_now(self, keep: Collection[str], term: int = 0) -> None:
        self._fence(term)
        kept = set(keep)
        for graph in self.graphs_now():
            kept |= {graph.bundle, *graph.bundles}
        self._bundles = {sha: data for sha, data in self._bundles.items() if sha in kept}

    def bundle_now(self, sha: str) -> bytes | None:
        self._check()
        data = self._bundles.get(sha)
        if data is not None and hashlib.sha256(data).hexdigest() != sha:
            raise LiquefyError(f"bundle {sha} is damaged\n  remedy: deploy its graph again")
        return data

    # -- moves, nodes, pins, freeze ------------------------------------------------------------------------

    def put_move_now(self, partition: str, move: dict[str, Any]) -> None:
        self.set_json_now("moves", partition, move)

    def delete_move_now(self, partition: str) -> None:
        self.set_json_now("moves", partition, None)

    def moves_now(self) -> dict[str, Any]:
        return self.get_json_map_now("moves")

    def get_json_map_now(self, name: str) -> dict[str, Any]:
        self._check()
        return {field: msgspec.json.decode(value) for field, value in self._maps.get(name, {}).items()}

    def set_json_now(self, name: str, field: str, value: Any, term: int = 0) -> None:
        self._fence(term)
        stored = self._maps.setdefault(name, {})
        if value is None:
            stored.pop(field, None)
        else:
            stored[field] = msgspec.json.encode(value)

    def freeze_now(self, reason: str | None, term: int = 0) -> None:
        self._fence(term)
        self._frozen = reason

    def frozen_now(self) -> str | None:
        self._check()
        return self._frozen

    # -- browsing ------------------------------------------------------------------------------------------

    def context_now(self, partition: str, key: str) -> dict[str, bytes]:
        return dict(self._find(partition).contexts.get(key, {}))

    def context_keys_now(self, partition: str, limit: int = BROWSE_MAX) -> list[str]:
        return sorted(self._find(partition).keys)[:limit]

    def context_count_now(self, partition: str) -> int:
        return len(self._find(partition).keys)

    def dead_now(self, partitions: Sequence[str], limit: int = BROWSE_MAX) -> list[tuple[str, bytes, bytes]]:
        self._check()
        letters = [(p, id_, letter) for p in partitions for id_, letter in sorted(self._find(p).dead.items())]
        return letters[:limit]

    def dead_counts_now(self, partitions: Sequence[str]) -> dict[str, int]:
        self._check()
        return {partition: len(self._find(partition).dead) for partition in partitions}

    def dead_letter_now(self, partition: str, letter: bytes) -> bytes | None:
        return self._find(partition).dead.get(letter)

    def drop_dead_now(self, partition: str, letter: bytes) -> bool:
        return self._find(partition).dead.pop(letter, None) is not None

    # -- idempotent requests -------------------------------------------------------------------------------

    def idem_begin_now(self, graph: str, key: str, record: bytes, ttl_s: int) -> bytes | None:
        found = self.idem_get_now(graph, key)
        if found is None:
            self.idem_end_now(graph, key, record, ttl_s)
        return found

    def idem_end_now(self, graph: str, key: str, record: bytes, ttl_s: int) -> None:
        self._check()
        self._idem[graph, key] = (record, self._now_ms() + ttl_s * 1_000)

    def idem_get_now(self, graph: str, key: str) -> bytes | None:
        self._check()
        record, until_ms = self._idem.get((graph, key), (b"", 0))
        return record if until_ms > self._now_ms() else None

    # -- the same, to be awaited ---------------------------------------------------------------------------

    async def ping(self) -> bool:
        return self.available

    async def close(self) -> None:
        """Nothing to close: what is stored stays."""

    async def commit(self, commits: Sequence[PartitionCommit], owner: str = "") -> list[Verdict]:
        return self.commit_now(commits, owner)

    async def read(self, queries: Sequence[ContextQuery]) -> list[ContextAnswer]:
        return self.read_now(queries)

    async def load(self, partitions: Sequence[str]) -> list[PartitionState]:
        return self.load_now(partitions)

    async def lead(self, request: LeadRequest) -> Standing:
        return self.lead_now(request)

    async def leader(self) -> Standing:
        return self.leader_now()

    async def placements(self, partitions: Sequence[str], term: int = 0) -> list[Placement]:
        return self.placements_now(partitions, term)

    async def place(self, requests: Sequence[PlaceRequest], term: int = 0) -> list[Placement]:
        return self.place_now(requests, term)

    async def unplace(self, partitions: Sequence[str], purge: bool = False, term: int = 0) -> None:
        self.unplace_now(partitions, purge, term)

    async def put_graph(self, graph: Graph, term: int = 0) -> None:
        self.put_graph_now(graph, term)

    async def graphs(self) -> list[Graph]:
        return self.graphs_now()

    async def delete_graph(self, name: str, term: int = 0) -> None:
        self.delete_graph_now(name, term)

    async def put_bundle(self, data: bytes) -> str:
        return self.put_bundle_now(data)

    async def drop_bundles(self, keep: Collection[str], term: int = 0) -> None:
        self.drop_bundles_now(keep, term)

    async def bundle(self, sha: str) -> bytes | None:
        return self.bundle_now(sha)

    async def put_move(self, partition: str, move: dict[str, Any]) -> None:
        self.put_move_now(partition, move)

    async def delete_move(self, partition: str) -> None:
        self.delete_move_now(partition)

    async def moves(self) -> dict[str, Any]:
        return self.moves_now()

    async def get_json_map(self, name: str) -> dict[str, Any]:
        return self.get_json_map_now(name)

    async def set_json(self, name: str, field: str, value: Any, term: int = 0) -> None:
        self.set_json_now(name, field, value, term)

    async def freeze(self, reason: str | None, term: int = 0) -> None:
        self.freeze_now(reason, term)

    async def frozen(self) -> str | None:
        return self.frozen_now()

    async def context(self, partition: str, key: str) -> dict[str, bytes]:
        return self.context_now(partition, key)

    async def context_keys(self, partition: str, limit: int = BROWSE_MAX) -> list[str]:
        return self.context_keys_now(partition, limit)

    async def context_count(self, partition: str) -> int:
        return self.context_count_now(partition)

    async def dead(self, partitions: Sequence[str], limit: int = BROWSE_MAX) -> list[tuple[str, bytes, bytes]]:
        return self.dead_now(partitions, limit)

    async def dead_counts(self, partitions: Sequence[str]) -> dict[str, int]:
        return self.dead_counts_now(partitions)

    async def dead_letter(self, partition: str, letter: bytes) -> bytes | None:
        return self.dead_letter_now(partition, letter)

    async def drop_dead(self, partition: str, letter: bytes) -> bool:
        return self.drop_dead_now(partition, letter)

    async def idem_begin(self, graph: str, key: str, record: bytes, ttl_s: int) -> bytes | None:
        return self.idem_begin_now(graph, key, record, ttl_s)

    async def idem_end(self, graph: str, key: str, record: bytes, ttl_s: int) -> None:
        self.idem_end_now(graph, key, record, ttl_s)

    async def idem_get(self, graph: str, key: str) -> bytes | None:
        return self.idem_get_now(graph, key)

    # -- for checkers --------------------------------------------------------------------------------------

    def snapshot(self, partition: str) -> dict[str, Any]:
        """All that is stored of a partition, by the last part of its keys in Redis (`meta`, `ctx:alice`, ...)."""
        stored = self._find(partition)
        everything: dict[str, Any] = {
            "keys": set(stored.keys),
            "out": dict(stored.outbox),
            "dead": dict(stored.dead),
            **{f"ctx:{key}": dict(fields) for key, fields in stored.contexts.items()},
            **{f"seen:{bucket}": set(ids) for bucket, ids in stored.seen.items()},
        }
        if stored.placed:
            meta = {"owner": stored.owner, "epoch": stored.epoch, "seq": stored.sequence}
            everything["meta"] = meta if stored.moved is None else meta | {"moved": stored.moved}
        return {name: content for name, content in everything.items() if content}

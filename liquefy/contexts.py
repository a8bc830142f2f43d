"""The store on Redis: contexts, outboxes, seen ids, placements and the few things that outlive the cluster's
processes. With `liquefy.redis_wire`, all that knows Redis; the twin in memory is `liquefy.contexts_memory`, with
the same methods. Keys and types: docs/PROTOCOL.md section 3. Needs Redis 6.2 or newer.

It does not know why anything is stored, and tries nothing twice: a call either has an answer or raises
StoreUnavailable within `timeout_s`, and the caller decides when to try again (a commit may have been applied then;
the same commit again finds that out).

Connections are made on the first call and again after they broke: one for commits, one for reads and one for the
rest, so that a commit never waits behind a large read, nor a read behind a bundle.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Any, TypeVar

import msgpack
import msgspec

from liquefy.commits import (
    DAMAGED,
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
from liquefy.errors import Damaged, LiquefyError
from liquefy.flat import by_bucket, flat
from liquefy.graph import Graph
from liquefy.redis_cluster import SCHEME, ClusterLine, Topology
from liquefy.redis_wire import ROUND_TRIP_MAX, TIMEOUT_S, Line, Script, Servers

CLOCK_SKEW_MS = 60_000
"""A bucket of seen ids outlives the retention by so much, for clocks that differ."""

COMMIT_BYTES_MAX = 64 * 1024 * 1024
"""A larger batch goes in several script calls (Redis takes no argument beyond 512 MiB)."""

PURGE_STEP = 1_000
"""Contexts deleted by one script call."""

BROWSE_MAX = 1_000
"""Keys or dead letters listed unless told otherwise."""

_CONTROL = "{lq}:leader"
"""One of the keys of what controllers share."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_KEEP_MS = DEDUPE_RETENTION_MS + CLOCK_SKEW_MS

_COMMIT, _PLACE = Script("commit.lua"), Script("place.lua")
_UNPLACE, _PURGE = Script("unplace.lua"), Script("purge.lua")
_LEAD, _FENCED, _PROMISE = Script("lead.lua"), Script("fenced.lua"), Script("promise.lua")

_graph = msgspec.msgpack.Decoder(Graph)


class Contexts:
    """The store. All methods raise StoreUnavailable when Redis is away, does not answer within `timeout_s`, or is in
    no state to do it (loading, read-only, out of memory): the work may then have happened or not."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, durability: str = "memory") -> None:
        """`url`: of a server; of several of which one is the primary, with commas; or of some of a cluster's.
        `durability`: when what was written counts."""
        self._cluster = url.startswith(f"{SCHEME}:")
        self._commits: Line | ClusterLine
        self._reads: Line | ClusterLine
        self._rest: Line | ClusterLine
        self._servers: Servers | None = None
        if self._cluster:
            topology = Topology(url, durability)
            self._commits, self._reads, self._rest = (ClusterLine(topology, timeout_s) for _ in range(3))
        else:
            self._servers = Servers(url, durability)
            self._commits, self._reads, self._rest = (Line(self._servers, timeout_s) for _ in range(3))

    async def ping(self) -> bool:
        """Whether Redis answers now."""
        try:
            return bool(await self._rest.call("PING") == b"PONG")
        except LiquefyError:
            return False

    def hang_up(self) -> None:
        """Close the connections; calls under way raise StoreUnavailable."""
        for line in (self._commits, self._reads, self._rest):
            line.close()
        if self._servers is not None:
            self._servers.hang_up()

    async def close(self) -> None:
        """The same, and wait until they are closed."""
        self.hang_up()
        await asyncio.sleep(0)

    # -- what workers do all the time --------------------------------------------------------------------

    async def commit(self, commits: Sequence[PartitionCommit], owner: str = "") -> list[Verdict]:
        """Apply or refuse each, whole; verdicts in the same order. `owner`: name of this node, to be what is
        stored, besides the epoch ("" leaves that out)."""
        if not commits:
            return []
        if self._cluster and len(commits) > 1:
            return list(chain.from_iterable(await self._each([[c] for c in commits], lambda c: self.commit(c, owner))))
        packed = _packer.pack(flat(commits))
        if len(packed) > COMMIT_BYTES_MAX and len(commits) > 1:
            half = len(commits) // 2
            return await self.commit(commits[:half], owner) + await self.commit(commits[half:], owner)
        key = _key(commits[0].partition, "meta")
        return _verdicts(commits, await self._commits.script(_COMMIT, key, owner, SEEN_BUCKET_MS, _KEEP_MS, packed))

    def commit_at_once(
        self, commits: Sequence[PartitionCommit], owner: str, tell: Callable[[list[Verdict] | None], None]
    ) -> bool:
        """`commit` without a task of its own, where all is as it should be. `tell` gets the verdicts; None if anything
        was amiss, and the same is to be tried by `commit`. False: in the first place."""
        if not isinstance(self._commits, Line):
            return False
        packed = _packer.pack(flat(commits))
        if len(packed) > COMMIT_BYTES_MAX:
            return False

        def told(refused: Any) -> None:
            tell(None if refused is None else _verdicts(commits, refused))

        key = _key(commits[0].partition, "meta")
        return self._commits.script_at_once(_COMMIT, key, owner, SEEN_BUCKET_MS, _KEEP_MS, packed, tell=told)

    async def read(self, queries: Sequence[ContextQuery]) -> list[ContextAnswer]:
        """Contexts, and which ids were seen, in one round trip; answers in the same order."""
        return await _apart(queries, self._read, self._read_in_parts)

    async def _read(self, queries: Sequence[ContextQuery]) -> list[ContextAnswer]:
        commands: list[Sequence[str | bytes]] = []
        buckets: list[dict[int, list[bytes]]] = []
        for partition, keys, ids in queries:
            commands += [("HGETALL", f"lq:{{{partition}}}:ctx:{key}") for key in keys]
            buckets.append(grouped := by_bucket(ids))
            commands += [("SMISMEMBER", _key(partition, f"seen:{b}"), *some) for b, some in grouped.items()]
        replies = iter(await self._reads.many(commands))
        answers = []
        for query, grouped in zip(queries, buckets, strict=True):
            contexts = {key: _fields(next(replies)) for key in query.keys}
            seen = [id_ for some in grouped.values() for id_, is_ in zip(some, next(replies), strict=True) if is_]
            answers.append(ContextAnswer(query.partition, contexts, frozenset(seen)))
        return answers

    async def _read_in_parts(self, query: ContextQuery) -> ContextAnswer:
        """Of one partition, of which something cannot be read: what, and all the rest."""
        partition, keys, ids = query
        contexts: dict[str, dict[str, bytes]] = {}
        spoilt, damaged = [], ""
        seen: frozenset[bytes] = frozenset()
        for key in keys:
            try:
                contexts |= (await self._read([ContextQuery(partition, (key,))]))[0].contexts
            except (Damaged, ValueError) as error:
                contexts[key] = {}
                spoilt.append((key, f"{_key(partition, f'ctx:{key}')} {_amiss(error)}"))
        for bucket, some in by_bucket(ids).items():
            try:
                seen |= (await self._read([ContextQuery(partition, (), tuple((bucket, i) for i in some))]))[0].seen
            except Damaged as error:
                damaged = f"{_key(partition, f'seen:{bucket}')} {_amiss(error)}"
        return ContextAnswer(partition, contexts, seen, tuple(spoilt), damaged)

    async def load(self, partitions: Sequence[str]) -> list[PartitionState]:
        """What new owners start from; in the same order."""
        return await _apart(partitions, self._load, self._load_damaged)

    async def _load_damaged(self, partition: str) -> PartitionState:
        kind, amiss = "out", "holds what is no outbox"
        try:
            owner, epoch, sequence = await self._reads.call("HMGET", _key(partition, "meta"), "owner", "epoch", "seq")
            _text(owner), int(epoch or 0), int(sequence or 0)
        except (Damaged, ValueError) as error:
            kind, amiss = "meta", _amiss(error)
        return PartitionState(partition, "", 0, 0, [], f"{_key(partition, kind)} {amiss}")

    async def _load(self, partitions: Sequence[str]) -> list[PartitionState]:
        commands: list[Sequence[str]] = []
        for partition in partitions:
            commands.append(("HMGET", _key(partition, "meta"), "owner", "epoch", "seq"))
            commands.append(("HGETALL", _key(partition, "out")))
        replies = iter(await self._reads.many(commands))
        states = []
        for partition in partitions:
            owner, epoch, sequence = next(replies)
            outbox = sorted((int(seq), message) for seq, message in _pairs(next(replies)))
            states.append(PartitionState(partition, _text(owner), int(epoch or 0), int(sequence or 0), outbox))
        return states

    # -- placement -----------------------------------------------------------------------------------------

    # `term`: of the controller that asks, which must be the last one that leads, or it raises Deposed; 0: of nobody.

    async def lead(self, request: LeadRequest) -> Standing:
        """Who leads from now on, for the length of the lease."""
        name, address, term, known, lease_ms, linked = request
        reply = await self._rest.script(
            _LEAD, "{lq}:leader", name, address, term, known, lease_ms, int(linked), settled=False
        )
        return Standing(int(reply[0]), reply[1].decode(), reply[2].decode(), bool(reply[3]))

    async def leader(self) -> Standing:
        """Who got the lease last."""
        name, address, term = await self._rest.call("HMGET", "{lq}:leader", "name", "address", "term")
        return Standing(int(term or 0), _text(name), _text(address))

    async def placements(self, partitions: Sequence[str], term: int = 0) -> list[Placement]:
        """Where each is; in the same order. From now on no earlier leader places them."""

        async def read(chunk: Sequence[str]) -> list[Placement]:
            if not term:
                replies = await self._rest.many([("HMGET", _key(p, "meta"), "owner", "epoch") for p in chunk])
                return [Placement(p, _text(o), _epoch(e or 0)) for p, (o, e) in zip(chunk, replies, strict=True)]
            script = self._rest.script(_PROMISE, _key(chunk[0], "meta"), term, _packer.pack(chunk))
            found = iter(await script)
            return [Placement(partition, next(found).decode(), _epoch(next(found))) for partition in chunk]

        chunks = [partitions] if not term else self._chunks(partitions)
        return list(chain.from_iterable(await self._each(chunks, lambda chunk: _apart(chunk, read, _misplaced))))

    async def place(self, requests: Sequence[PlaceRequest], term: int = 0) -> list[Placement]:
        """Compare-and-set each; what is stored afterwards, in the same order. It worked (now, or at an earlier
        try) where that is the owner asked for, at the epoch given + 1 or at `least`."""

        async def place(chunk: Sequence[PlaceRequest]) -> list[Placement]:
            script = self._rest.script(_PLACE, _key(chunk[0].partition, "meta"), _packer.pack(chunk), term)
            replies = iter(await script)
            return [Placement(r.partition, next(replies).decode(), _epoch(next(replies))) for r in chunk]

        async def misplaced(request: PlaceRequest) -> Placement:
            return await _misplaced(request.partition)

        chunks = self._chunks(requests)
        return list(chain.from_iterable(await self._each(chunks, lambda chunk: _apart(chunk, place, misplaced))))

    async def unplace(self, partitions: Sequence[str], purge: bool = False, term: int = 0) -> None:
        """Take them from their owners (no owner, epoch + 1), drop outboxes and seen ids. `purge` deletes contexts,
        dead letters and epochs too. Doing it again is harmless."""

        async def unplace(chunk: Sequence[str]) -> None:
            key = _key(chunk[0], "meta")
            await self._rest.script(_UNPLACE, key, SEEN_BUCKET_MS, _KEEP_MS, _packer.pack(chunk), term)

        await self._each(self._chunks(partitions), unplace)
        for partition in partitions if purge else ():
            while await self._rest.script(_PURGE, _key(partition, "meta"), partition, PURGE_STEP):
                pass

    def _chunks(self, some: Sequence[_Item]) -> list[Sequence[_Item]]:
        """What one script call may be about: of a cluster, one partition."""
        size = 1 if self._cluster else ROUND_TRIP_MAX
        return [some[first : first + size] for first in range(0, len(some), size)]

    async def _each(
        self, chunks: Sequence[Sequence[_Item]], work: Callable[[Sequence[_Item]], Awaitable[_Result]]
    ) -> list[_Result]:
        """Side by side; when one fails, the others are done or failed, too."""
        results = await asyncio.gather(*(work(chunk) for chunk in chunks), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]

    # -- graphs and bundles --------------------------------------------------------------------------------

    async def put_graph(self, graph: Graph, term: int = 0) -> None:
        """This version is in force from now on."""
        packed = msgspec.msgpack.encode(graph)
        await self._rest.script(_FENCED, _CONTROL, term, "HSET", "{lq}:graphs", graph.name, packed)

    async def graphs(self) -> list[Graph]:
        """Those in force, by name."""
        stored = _fields(await self._rest.call("HGETALL", "{lq}:graphs"))
        return [_graph.decode(stored[name]) for name in sorted(stored)]

    async def delete_graph(self, name: str, term: int = 0) -> None:
        await self._rest.script(_FENCED, _CONTROL, term, "HDEL", "{lq}:graphs", name)

    async def put_bundle(self, data: bytes) -> str:
        """Store a bundle; its SHA-256 in hexadecimal, by which it is found again."""
        sha = hashlib.sha256(data).hexdigest()
        await self._rest.call("SADD", "{lq}:bundles", sha)  # first, so that none is there that is not listed
        await self._rest.call("SET", f"{{lq}}:bundle:{sha}", data, settled=True)
        return sha

    async def drop_bundles(self, keep: Collection[str], term: int = 0) -> None:
        """Delete the bundles that neither `keep` nor a graph in force names. Whoever prepares a deployment meanwhile
        has its bundle in `keep`, or stores it after this."""
        kept = set(keep)
        for graph in await self.graphs():
            kept |= {graph.bundle, *graph.bundles}
        listed: list[bytes] = list(await self._rest.call("SMEMBERS", "{lq}:bundles"))
        for sha in sorted(name.decode() for name in listed):
            if sha not in kept:
                await self._rest.script(_FENCED, _CONTROL, term, "DEL", f"{{lq}}:bundle:{sha}")
                await self._rest.script(_FENCED, _CONTROL, term, "SREM", "{lq}:bundles", sha)

    async def bundle(self, sha: str) -> bytes | None:
        """Raises LiquefyError if what is stored has another digest."""
        data: bytes | None = await self._rest.call("GET", f"{{lq}}:bundle:{sha}")
        if data is not None and hashlib.sha256(data).hexdigest() != sha:
            raise LiquefyError(f"bundle {sha} in Redis is damaged\n  remedy: deploy its graph again")
        return data

    # -- moves, nodes, pins, freeze ------------------------------------------------------------------------

    async def put_move(self, partition: str, move: dict[str, Any]) -> None:
        """Remember a move under way, for the controller's successor."""
        await self.set_json("moves", partition, move)

    async def delete_move(self, partition: str) -> None:
        await self.set_json("moves", partition, None)

    async def moves(self) -> dict[str, Any]:
        """Moves under way by partition."""
        return await self.get_json_map("moves")

    async def get_json_map(self, name: str) -> dict[str, Any]:
        """All of `{lq}:<name>` ("nodes", "pins", "moves")."""
        stored = _fields(await self._rest.call("HGETALL", f"{{lq}}:{name}"))
        return {field: msgspec.json.decode(value) for field, value in stored.items()}

    async def set_json(self, name: str, field: str, value: Any, term: int = 0) -> None:
        """Set one field of `{lq}:<name>`; None removes it."""
        if value is None:
            await self._rest.script(_FENCED, _CONTROL, term, "HDEL", f"{{lq}}:{name}", field)
        else:
            packed = msgspec.json.encode(value)
            await self._rest.script(_FENCED, _CONTROL, term, "HSET", f"{{lq}}:{name}", field, packed)

    async def freeze(self, reason: str | None, term: int = 0) -> None:
        """No automatic moves, and why; None allows them again."""
        if reason is None:
            await self._rest.script(_FENCED, _CONTROL, term, "DEL", "{lq}:freeze")
        else:
            await self._rest.script(_FENCED, _CONTROL, term, "SET", "{lq}:freeze", reason)

    async def frozen(self) -> str | None:
        """The reason, or None while automatic moves are allowed."""
        reason: bytes | None = await self._rest.call("GET", "{lq}:freeze")
        return None if reason is None else reason.decode()

    # -- browsing ------------------------------------------------------------------------------------------

    async def context(self, partition: str, key: str) -> dict[str, bytes]:
        """Field -> packed value; {} where there is no such context."""
        return _fields(await self._rest.call("HGETALL", _key(partition, f"ctx:{key}")))

    async def context_keys(self, partition: str, limit: int = BROWSE_MAX) -> list[str]:
        """Keys of contexts, sorted; any `limit` of them where there are more."""
        found = await self._scan("SSCAN", _key(partition, "keys"), limit)
        return sorted(key.decode() for key in found)[:limit]

    async def context_count(self, partition: str) -> int:
        return int(await self._rest.call("SCARD", _key(partition, "keys")))

    async def dead(self, partitions: Sequence[str], limit: int = BROWSE_MAX) -> list[tuple[str, bytes, bytes]]:
        """Dead letters (partition, letter id, packed letter), by partition as given and id; no more than `limit`."""
        letters: list[tuple[str, bytes, bytes]] = []
        for partition, count in (await self.dead_counts(partitions)).items():
            if count and len(letters) < limit:
                found = await self._scan("HSCAN", _key(partition, "dead"), limit - len(letters))
                letters += [(partition, id_, letter) for id_, letter in sorted(found.items())]
        return letters[:limit]

    async def dead_counts(self, partitions: Sequence[str]) -> dict[str, int]:
        """Number of dead letters of each."""
        counts = await self._rest.many([("HLEN", _key(p, "dead")) for p in partitions])
        return dict(zip(partitions, counts, strict=True))

    async def dead_letter(self, partition: str, letter: bytes) -> bytes | None:
        reply: bytes | None = await self._rest.call("HGET", _key(partition, "dead"), letter)
        return reply

    async def drop_dead(self, partition: str, letter: bytes) -> bool:
        """Whether there was such a letter."""
        return bool(await self._rest.call("HDEL", _key(partition, "dead"), letter))

    async def _scan(self, command: str, key: str, limit: int) -> dict[bytes, bytes]:
        """At least `limit` entries of a hash, or members of a set (as keys), if there are so many."""
        found: dict[bytes, bytes] = {}
        cursor = b"0"
        while True:
            cursor, entries = await self._rest.call(command, key, cursor, "COUNT", ROUND_TRIP_MAX)
            found.update(_pairs(entries) if command == "HSCAN" else dict.fromkeys(entries, b""))
            if cursor == b"0" or len(found) >= limit:
                return found

    # -- idempotent requests -------------------------------------------------------------------------------

    async def idem_begin(self, graph: str, key: str, record: bytes, ttl_s: int) -> bytes | None:
        """Store the record for `ttl_s` seconds unless there is one for that key: then that one is returned."""
        name = f"lq:idem:{graph}:{key}"
        while True:
            stored, found = await self._rest.many(
                [("SET", name, record, "EX", ttl_s, "NX"), ("GET", name)], settled=True
            )
            if stored is not None:
                return None
            if found is not None:
                return bytes(found)
            # It expired between the two commands: the key is free.

    async def idem_end(self, graph: str, key: str, record: bytes, ttl_s: int) -> None:
        """Replace the record; it is kept for `ttl_s` seconds from now."""
        await self._rest.call("SET", f"lq:idem:{graph}:{key}", record, "EX", ttl_s, settled=True)

    async def idem_get(self, graph: str, key: str) -> bytes | None:
        reply: bytes | None = await self._rest.call("GET", f"lq:idem:{graph}:{key}")
        return reply


# Raw instead of bin: the cmsgpack of Redis' Lua knows the older specification alone.
_packer = msgpack.Packer(use_bin_type=False)


def _verdicts(commits: Sequence[PartitionCommit], refused: Iterable[Any]) -> list[Verdict]:
    """By what commit.lua returned."""
    verdicts = [Verdict(commit.partition, "ok") for commit in commits]
    for index, outcome, *more in refused:
        partition = commits[index - 1].partition
        if outcome == b"damaged":
            verdicts[index - 1] = Verdict(partition, "damaged", (), more[0].decode(errors="replace"))
        else:
            verdicts[index - 1] = Verdict(partition, outcome.decode(), tuple(more))
    return verdicts


async def _apart(
    some: Sequence[_Item],
    ask: Callable[[Sequence[_Item]], Awaitable[list[_Result]]],
    alone: Callable[[_Item], Awaitable[_Result]],
) -> list[_Result]:
    """`ask` for all of them; where a key of theirs is damaged, for fewer at once, till `alone` says what is to be said
    of the one whose it is."""
    try:
        return await ask(some)
    except (Damaged, ValueError):
        if len(some) == 1:
            return [await alone(some[0])]
    half = len(some) // 2
    return await _apart(some[:half], ask, alone) + await _apart(some[half:], ask, alone)


async def _misplaced(partition: str) -> Placement:
    return Placement(partition, _key(partition, "meta"), DAMAGED)


def _epoch(stored: bytes | int) -> int:
    """Raises ValueError."""
    if (epoch := int(stored)) < 0:
        raise ValueError(f"{epoch} is no epoch")
    return epoch


def _amiss(error: Exception) -> str:
    return str(error) if isinstance(error, Damaged) else f"holds what is not ours ({error})"


def _key(partition: str, kind: str) -> str:
    return f"lq:{{{partition}}}:{kind}"


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()


def _pairs(flat: Iterable[bytes]) -> Iterable[tuple[bytes, bytes]]:
    entries = iter(flat)
    return zip(entries, entries, strict=True)


def _fields(flat: Iterable[bytes]) -> dict[str, bytes]:
    return {field.decode(): value for field, value in _pairs(flat)}

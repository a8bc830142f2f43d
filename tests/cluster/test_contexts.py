"""The store on a real Redis: the same as its twin in memory, whatever is asked of it in whatever order; and what it
says when Redis is away, hung or in no state to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from liquefy.commits import (
    DAMAGED,
    SEEN_BUCKET_MS,
    ContextChange,
    ContextQuery,
    LeadRequest,
    PartitionCommit,
    Placement,
    PlaceRequest,
    Standing,
    Verdict,
)
from liquefy.contexts import Contexts
from liquefy.contexts_memory import MemoryContexts
from liquefy.decoding import TIME_MAX_MS
from liquefy.errors import Deposed, LiquefyError, StoreUnavailable, UserError
from liquefy.graph import Fluxion, Graph, Group, Input
from liquefy.redis_cluster import SCHEME, ClusterLine, Topology
from liquefy.redis_server import RedisServer
from liquefy.redis_wire import Line, Servers

KEYS = ("alice", "bob", "Zoë", "a:b}{c", "")
FIELDS = ("count", "name", "é", "")
NODES = ("node1", "node2", "node3")
SEQ_HIGH = 2**53 - 2


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def run(test: Callable[[Contexts], Coroutine[Any, Any, None]], url: str, timeout_s: float = 5.0) -> None:
    async def main() -> None:
        async with opened(url, timeout_s) as store:
            await test(store)

    uvloop.run(main())


@contextlib.asynccontextmanager
async def raw(url: str) -> AsyncIterator[Line | ClusterLine]:
    """Redis itself, to look at what is stored."""
    line = ClusterLine(Topology(url, "memory")) if url.startswith(SCHEME) else Line(Servers(url), 5.0)
    try:
        yield line
    finally:
        line.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def opened(url: str, timeout_s: float = 5.0) -> AsyncIterator[Contexts]:
    store = Contexts(url, timeout_s)
    try:
        yield store
    finally:
        await store.close()


def commit(partition: str, sequence: int = 0, epoch: int = 1, **parts: Any) -> PartitionCommit:
    empty: dict[str, Any] = {
        "contexts": [], "seen": [], "outbox": [], "acknowledged": [], "dead": [], "replayed": []
    }  # fmt: skip
    return PartitionCommit(partition, epoch, sequence, **(empty | parts))


# -- against the twin ------------------------------------------------------------------------------------------


class Commands:
    """Random commands for a few partitions: mostly what a worker would send, often enough what a confused one would."""

    def __init__(self, seed: int, partitions: list[str], twin: MemoryContexts) -> None:
        self.random, self.partitions, self.twin = random.Random(seed), partitions, twin
        self.sent: list[PartitionCommit] = []
        self.bucket = now_ms() // SEEN_BUCKET_MS

    def next(self) -> tuple[str, tuple[Any, ...]]:
        kind = self.random.choices(
            ("commit", "place", "unplace", "read", "load", "browse", "drop_dead"), (60, 12, 4, 8, 8, 4, 4)
        )[0]
        partition = self.random.choice(self.partitions)
        if kind == "commit":
            return "commit", ([self.commit() for _ in range(self.random.randint(1, 4))], self.owner())
        if kind == "place":
            return "place", ([self.place() for _ in range(self.random.randint(1, 3))],)
        if kind == "unplace":
            some = self.random.sample(self.partitions, self.random.randint(1, 2))
            return "unplace", (some, self.random.random() < 0.3)
        if kind == "read":
            ids = tuple(self.seen() for _ in range(self.random.randint(0, 4)))
            return "read", ([ContextQuery(partition, KEYS, ids), ContextQuery(partition, ())],)
        if kind == "load":
            return self.random.choice(("load", "placements", "dead", "dead_counts")), (self.partitions,)
        if kind == "browse":
            name = self.random.choice(("context_keys", "context_count"))
            return name, (partition,)
        return self.random.choice(("drop_dead", "dead_letter")), (partition, self.letter())

    def owner(self) -> str:
        return self.random.choice(("", "", "", *NODES))

    def place(self) -> PlaceRequest:
        partition = self.random.choice(self.partitions)
        epoch = self.twin.placements_now([partition])[0].epoch
        least = self.random.choice((0, 0, epoch, epoch + 3))
        return PlaceRequest(partition, max(0, epoch + self.slip()), self.random.choice(NODES), least)

    def slip(self) -> int:
        """Mostly 0."""
        return self.random.choice((0, 0, 0, 0, 0, 0, 0, 1, -1, 2))

    def commit(self) -> PartitionCommit:
        if self.sent and self.random.random() < 0.15:
            return self.random.choice(self.sent[-4:])
        partition = self.random.choice(self.partitions)
        (state,) = self.twin.load_now([partition])
        epoch, outbox = state.epoch + self.slip(), [seq for seq, _ in state.outbox]
        number = self.random.randint
        made = PartitionCommit(
            partition,
            epoch,
            state.sequence + self.slip(),
            [self.change() for _ in range(number(0, 3))],
            [self.seen() for _ in range(number(0, 2))],
            [(self.random.choice((number(0, 30), SEQ_HIGH)), self.value()) for _ in range(number(0, 3))],
            self.random.sample(outbox, min(len(outbox), number(0, 3))) + [number(0, 30)] * number(0, 1),
            [(self.letter(), self.value()) for _ in range(number(0, 1))],
            [self.letter() for _ in range(number(0, 1))],
            (self.random.choice(NODES), epoch + 1) if self.random.random() < 0.08 else None,
            self.random.choice((0, 0, 0, 7)),
        )
        self.sent.append(made)
        return made

    def change(self) -> ContextChange:
        sets = {name: self.value() for name in self.random.sample(FIELDS, self.random.randint(0, len(FIELDS)))}
        removes = tuple(self.random.sample(FIELDS, self.random.randint(0, 2)))
        created, emptied = self.random.random() < 0.4, self.random.random() < 0.2
        return ContextChange(self.random.choice(KEYS), sets, removes, created, emptied)

    def seen(self) -> tuple[int, bytes]:
        """Few enough ids that some come twice; buckets long expired, in use, and of a clock that is fast."""
        ahead = self.random.choice((-20, -3, -1, 0, 0, 1))
        return self.bucket + ahead, bytes((self.random.randint(0, 60), 0))

    def letter(self) -> bytes:
        return bytes((self.random.randint(0, 5), 0, 255))

    def value(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 31, 32, 33, 255, 256, 257, 70_000)))


async def stored(line: Line | ClusterLine, partition: str) -> dict[str, Any]:
    """As MemoryContexts.snapshot, read from Redis by its keys."""
    prefix = f"lq:{{{partition}}}:"
    pattern = prefix.replace("[", "\\[").replace("*", "\\*")
    everything: dict[str, Any] = {}
    for key in await line.call("KEYS", f"{pattern}*"):
        name = key.decode().removeprefix(prefix)
        if name == "keys" or name.startswith("seen:"):
            everything[name] = set(await line.call("SMEMBERS", key))
            if name == "keys":
                everything[name] = {member.decode() for member in everything[name]}
            else:
                until = (int(name[5:]) + 1) * SEEN_BUCKET_MS + 360_000
                assert abs(now_ms() + await line.call("PTTL", key) - until) < 2_000
            continue
        flat = await line.call("HGETALL", key)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if name == "meta":
            meta: dict[str, Any] = {"owner": fields[b"owner"].decode(), "epoch": int(fields[b"epoch"])}
            meta["seq"] = int(fields.get(b"seq", 0))
            if b"moved" in fields:
                epoch, sequence = fields[b"moved"].split(b":")
                meta["moved"] = (int(epoch), int(sequence))
            everything[name] = meta
        elif name == "out":
            everything[name] = {int(seq): message for seq, message in fields.items()}
        elif name == "dead":
            everything[name] = fields
        else:
            everything[name] = {field.decode(): value for field, value in fields.items()}
    return everything


def comparable(answer: Any) -> Any:
    """Duplicates of a verdict come in no particular order."""
    if isinstance(answer, list) and answer and isinstance(answer[0], Verdict):
        return [(v.partition, v.outcome, sorted(v.duplicates)) for v in answer]
    return answer


@pytest.mark.parametrize("seed", range(24))
def test_redis_and_the_twin_agree(any_redis_url: str, seed: int) -> None:
    async def test(store: Contexts) -> None:
        twin = MemoryContexts(now_ms)
        partitions = [f"g{uuid.uuid4().hex[:8]}/store/{i}" for i in range(3)]
        commands = Commands(seed, partitions, twin)
        async with raw(any_redis_url) as line:
            outcomes: set[str] = set()
            for step in range(150):
                name, arguments = commands.next()
                real = comparable(await getattr(store, name)(*arguments))
                memory = comparable(getattr(twin, f"{name}_now")(*arguments))
                assert real == memory, f"step {step}: {name}{arguments}"
                if name == "commit":
                    outcomes.update(outcome for _, outcome, _ in real)
                if step % 10 == 9:
                    for partition in partitions:
                        assert await stored(line, partition) == twin.snapshot(partition), f"after step {step}"
            assert outcomes >= {"ok", "fenced", "gap"}

    run(test, any_redis_url)


def test_what_is_larger_than_one_call_takes(any_redis_url: str) -> None:
    async def test(store: Contexts) -> None:
        twin, partition, bucket = (
            MemoryContexts(now_ms),
            f"g{uuid.uuid4().hex}/s/0",
            now_ms() // SEEN_BUCKET_MS,
        )
        many = range(9_001)
        first = commit(
            partition,
            contexts=[
                ContextChange("large", {f"f{i}": b"%d" % i for i in many}, (), created=True),
                *(ContextChange(f"k{i}", {"f": b"1"}, (), created=True) for i in range(1_500)),
            ],
            seen=[(bucket, b"%d" % i) for i in many],
            outbox=[(i, b"%d" % i) for i in many],
            dead=[(b"%d" % i, b"!") for i in many],
        )
        second = commit(
            partition,
            1,
            contexts=[ContextChange("large", {}, tuple(f"f{i}" for i in range(9_000)))],
            acknowledged=list(range(9_000)),
            replayed=[b"%d" % i for i in range(9_000)],
        )
        async with raw(any_redis_url) as line:
            for call in (
                ("place", [PlaceRequest(partition, 0, "node1")]),
                ("commit", [first]),
                ("commit", [first._replace(sequence=1)]),
                ("commit", [second]),
                ("read", [ContextQuery(partition, ("large",), tuple((bucket, b"%d" % i) for i in many))]),
                ("context_keys", partition, 5_000),
                ("unplace", [partition], True),
            ):
                name, *arguments = call
                real, memory = (
                    await getattr(store, name)(*arguments),
                    getattr(twin, f"{name}_now")(*arguments),
                )
                assert comparable(real) == comparable(memory), name
                assert await stored(line, partition) == twin.snapshot(partition), name

    run(test, any_redis_url)


def test_what_is_born_as_late_as_a_message_may_be_is_committed_and_seen(any_redis_url: str) -> None:
    async def test(store: Contexts) -> None:
        partition, bucket = f"g{uuid.uuid4().hex}/s/0", TIME_MAX_MS // SEEN_BUCKET_MS
        await store.place([PlaceRequest(partition, 0, "node1")])
        seen = [(bucket, b"1")]
        assert await store.commit([commit(partition, seen=seen)]) == [Verdict(partition, "ok")]
        assert await store.commit([commit(partition, 1, seen=seen)]) == [Verdict(partition, "seen", (b"1",))]

    run(test, any_redis_url)


def test_a_batch_too_large_for_one_call_is_split(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liquefy.contexts.COMMIT_BYTES_MAX", 1_000)

    async def test(store: Contexts) -> None:
        partitions = [f"g{uuid.uuid4().hex}/s/{i}" for i in range(5)]
        await store.place([PlaceRequest(p, 0, "node1") for p in partitions])
        commits = [commit(p, outbox=[(i, b"x" * 900)], sequence=i % 2) for i, p in enumerate(partitions)]
        verdicts = await store.commit(commits)
        assert [(v.partition, v.outcome) for v in verdicts] == [
            (p, "gap" if i % 2 else "ok") for i, p in enumerate(partitions)
        ]

    run(test, redis_url)


def test_everything_that_is_not_of_a_partition(any_redis_url: str) -> None:
    async def test(store: Contexts) -> None:
        twin = MemoryContexts(now_ms)
        graph = Graph(
            "visits", 3, "abc", (Input("input", "GET", "/{user}", "store"),),
            (Fluxion("store", "app:store", "store", "user", streams=("output",)),), (Group("store", True, 32),),
        )  # fmt: skip
        binary = random.Random(1).randbytes(300_000)
        calls: list[tuple[Any, ...]] = [
            ("put_graph", graph), ("graphs",), ("delete_graph", "visits"), ("graphs",),
            ("put_bundle", binary), ("bundle", "0" * 64),
            ("put_move", "g/s/1", {"to": "node2", "epoch": 4}), ("moves",), ("delete_move", "g/s/1"), ("moves",),
            ("set_json", "nodes", "node1", {"cordoned": True}), ("get_json_map", "nodes"),
            ("set_json", "nodes", "node1", None), ("get_json_map", "nodes"), ("get_json_map", "pins"),
            ("frozen",), ("freeze", "a visit: é"), ("frozen",), ("freeze", None), ("frozen",),
            ("idem_get", "g", "k"), ("idem_begin", "g", "k", b"\x00begun", 60), ("idem_begin", "g", "k", b"2", 60),
            ("idem_end", "g", "k", b"\xffdone", 60), ("idem_get", "g", "k"), ("idem_begin", "g", "k", b"3", 60),
            ("load", []), ("placements", []), ("commit", []), ("read", []), ("place", []), ("unplace", []), ("ping",),
        ]  # fmt: skip
        for name, *arguments in calls:
            assert await getattr(store, name)(*arguments) == await getattr(twin, name)(*arguments), (
                name,
                arguments,
            )
        other = await store.put_bundle(b"other")
        sha = await store.put_bundle(binary)
        await store.drop_bundles([sha])
        assert await store.bundle(other) is None
        assert await store.bundle(sha) == binary
        async with raw(any_redis_url) as line:
            assert 0 < await line.call("TTL", "lq:idem:g:k") <= 60
            await line.call("SET", f"{{lq}}:bundle:{sha}", b"damaged")
            with pytest.raises(LiquefyError, match="damaged"):
                await store.bundle(sha)

    run(test, any_redis_url)


# -- when Redis is away --------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Any:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


P = "g/s/0"


def test_what_is_committed_survives_a_kill(server: RedisServer) -> None:
    async def test(store: Contexts) -> None:
        await store.place([PlaceRequest(P, 0, "node1")])
        change = ContextChange("alice", {"count": b"1"}, (), created=True)
        assert await store.commit([commit(P, contexts=[change], outbox=[(1, b"a")])]) == [Verdict(P, "ok")]
        before = await store.load([P])
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await store.commit([commit(P, 1)])
        assert not await store.ping()
        again = RedisServer(server.data_dir, server.port)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(again.start)
        try:
            assert await store.load([P]) == before
            assert await store.context(P, "alice") == {"count": b"1"}
            assert await store.commit([commit(P, 1)]) == [Verdict(P, "ok")]
        finally:
            await asyncio.to_thread(again.stop)

    run(test, server.url)


def test_a_hung_redis_is_given_up_in_time_and_the_same_commit_finds_out(server: RedisServer) -> None:
    async def test(store: Contexts) -> None:
        await store.place([PlaceRequest(P, 0, "node1")])
        await store.commit([commit(P)])
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for call in (store.commit([commit(P, 1, outbox=[(1, b"a")])]), store.load([P])):
                with pytest.raises(StoreUnavailable, match=r"no answer in 0\.3 s"):
                    await call
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await store.commit([commit(P, 1, outbox=[(1, b"a")])]) == [Verdict(P, "ok")]
        (state,) = await store.load([P])
        assert (state.sequence, state.outbox) == (2, [(1, b"a")])

    run(test, server.url, timeout_s=0.3)


def test_after_a_timeout_another_connection_is_made() -> None:
    """The network may have swallowed the first one for good."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        silent = connections == 1
        while await reader.read(1_000):
            if not silent:
                writer.write(b"+PONG\r\n")
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with opened(f"redis://127.0.0.1:{port}/0", 0.2) as store:
                assert not await store.ping()
                assert await store.ping()

    uvloop.run(test())


def test_scripts_that_redis_forgot_are_loaded_again(server: RedisServer) -> None:
    async def test(store: Contexts) -> None:
        await store.place([PlaceRequest(P, 0, "node1")])
        await store.commit([commit(P)])
        async with raw(server.url) as line:
            await line.call("SCRIPT", "FLUSH")
            committed, placed = await asyncio.gather(
                store.commit([commit(P, 1)]), store.place([PlaceRequest(P, 0, "x")])
            )
            assert committed == [Verdict(P, "ok")]
            assert placed == [Placement(P, "node1", 1)]

    run(test, server.url)


def test_a_commit_at_once_says_as_much_as_a_commit_or_that_it_has_to_be_tried_as_one(server: RedisServer) -> None:
    async def test(store: Contexts) -> None:
        async def at_once(*commits: PartitionCommit) -> list[Verdict] | None:
            told: asyncio.Future[list[Verdict] | None] = asyncio.get_running_loop().create_future()
            assert store.commit_at_once(commits, "node1", told.set_result)
            return await told

        bucket, other = now_ms() // SEEN_BUCKET_MS, "g/s/1"
        await store.place([PlaceRequest(P, 0, "node1"), PlaceRequest(other, 0, "node2")])
        assert not store.commit_at_once([commit(P)], "node1", lambda verdicts: None), "there is no connection yet"
        assert await store.commit([commit(P, seen=[(bucket, b"1")])]) == [Verdict(P, "ok")]
        both = await at_once(commit(P, 1, seen=[(bucket, b"1")]), commit(other))
        assert both == [Verdict(P, "seen", (b"1",)), Verdict(other, "fenced")]
        assert await at_once(commit(P, 1)) == [Verdict(P, "ok")]
        async with raw(server.url) as line:
            await line.call("SCRIPT", "FLUSH")
        assert await at_once(commit(P, 2)) is None
        assert await store.commit([commit(P, 2)]) == [Verdict(P, "ok")]
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert await at_once(commit(P, 3)) is None
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await store.commit([commit(P, 3)]) == [Verdict(P, "ok")]

    run(test, server.url, timeout_s=1.0)


@pytest.mark.parametrize(
    ("on", "off", "says"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "OOM"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "READONLY"),
    ],
)
def test_a_redis_in_no_state_to_commit(
    server: RedisServer, on: tuple[str, ...], off: tuple[str, ...], says: str
) -> None:
    async def test(store: Contexts) -> None:
        await store.place([PlaceRequest(P, 0, "node1")])
        async with raw(server.url) as line:
            await line.call(*on)
            change = ContextChange("alice", {"count": b"1"}, (), created=True)
            with pytest.raises(StoreUnavailable, match=says):
                await store.commit([commit(P, contexts=[change])])
            with pytest.raises(StoreUnavailable, match=says):
                await store.freeze("no")
            await line.call(*off)
            assert await store.context(P, "alice") == {}
            assert await store.commit([commit(P, contexts=[change])]) == [Verdict(P, "ok")]

    run(test, server.url)


def test_a_cancelled_call_leaves_the_connection_in_order(redis_url: str) -> None:
    async def test(store: Contexts) -> None:
        partition = f"g{uuid.uuid4().hex}/s/0"
        await store.place([PlaceRequest(partition, 0, "node1")])
        for sequence in range(0, 20, 2):
            task = asyncio.create_task(store.commit([commit(partition, sequence)]))
            await asyncio.sleep(0)
            task.cancel()
            assert await store.commit([commit(partition, sequence)]) == [Verdict(partition, "ok")]
            assert await store.commit([commit(partition, sequence + 1)]) == [Verdict(partition, "ok")]
        assert (await store.load([partition]))[0].sequence == 20

    run(test, redis_url)


def test_addresses(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "data", unix_socket=tmp_path / "s")
    server.start()

    async def test() -> None:
        async with opened(f"unix://{tmp_path}/s?db=3") as three, opened(server.url) as zero:
            await three.freeze("three")
            assert (await three.frozen(), await zero.frozen()) == ("three", None)
            async with raw(server.url) as line:
                await line.call("CONFIG", "SET", "requirepass", "a secret")
        async with opened(server.url) as locked:
            with pytest.raises(StoreUnavailable, match="NOAUTH"):
                await locked.frozen()
        async with opened(f"unix://:a%20secret@{tmp_path}/s?db=3") as allowed:
            assert await allowed.frozen() == "three"
        for wrong in ("http://h", "redis://h:x/0", "redis://h:1/db"):
            with pytest.raises(UserError, match="is not the address of a Redis"):
                Contexts(wrong)
        async with opened("redis://127.0.0.1:1/0") as nobody:
            with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
                await nobody.graphs()

    try:
        uvloop.run(test())
    finally:
        server.stop()


def test_two_servers_never_share_data_nor_a_port(server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another redis-server uses"):
        RedisServer(server.data_dir).start()
    other = RedisServer(tmp_path / "other", server.port)
    with pytest.raises(UserError, match="listening on port"):
        other.start()
    assert not other.running
    assert server.running


# -- who leads -------------------------------------------------------------------------------------------------


def asks(name: str, term: int = 0, known: int = 0, lease_ms: int = 60_000, linked: bool = True) -> LeadRequest:
    return LeadRequest(name, f"tcp://{name}:1", term, known, lease_ms, linked)


async def leaders_come_and_go(store: Any, wait: Callable[[int], Any]) -> None:
    first = await store.lead(asks("one"))
    assert first == Standing(first.term, "one", "tcp://one:1")
    assert await store.leader() == first
    assert await store.lead(asks("two")) == first, "it is taken"
    assert await store.lead(asks("one", first.term)) == first._replace(wanted=True)
    again = await store.lead(asks("one", lease_ms=50))
    assert again.term == first.term + 1, "a process that started anew takes it over at once"
    assert await store.lead(asks("one", first.term, lease_ms=50)) == again, "from the one that was there before"
    await wait(100)
    other = await store.lead(asks("two"))
    assert other == Standing(again.term + 1, "two", "tcp://two:1")
    assert await store.lead(asks("one", again.term)) == other
    assert (await store.lead(asks("two", other.term, lease_ms=0))).name == "", "given up"
    assert (await store.lead(asks("three", known=40))).term == 41, "the store has forgotten what others know"
    assert (await store.lead(asks("two", 50))).term == 50
    assert (await store.lead(asks("two", 50, lease_ms=0))).name == ""
    term = (await store.lead(asks("one", lease_ms=300))).term
    assert not (await store.lead(asks("two", linked=False))).wanted
    assert not (await store.lead(asks("one", term, lease_ms=300))).wanted, "the other one has no broker, either"
    await store.lead(asks("two"))
    assert (await store.lead(asks("one", term, lease_ms=300))).wanted
    await wait(400)
    assert not (await store.lead(asks("one", term, lease_ms=300))).wanted, "it may have lost its broker since"
    await store.lead(asks("one", term, lease_ms=0))


async def none_writes_after_another(store: Any, partition: str) -> None:
    request = [PlaceRequest(partition, 0, "node1")]
    old = (await store.lead(asks("one"))).term
    assert await store.place(request, old) == [Placement(partition, "node1", 1)]
    await store.set_json("pins", partition, "x", old)
    new = (await store.lead(asks("one"))).term
    with pytest.raises(Deposed) as refused:
        await store.set_json("pins", partition, None, old)
    assert refused.value.term == new
    assert (await store.get_json_map("pins"))[partition] == "x"
    assert await store.placements([partition], old) == [Placement(partition, "node1", 1)], "nobody has read it since"
    assert await store.placements([partition], new) == [Placement(partition, "node1", 1)]
    for deed in (
        lambda: store.place([PlaceRequest(partition, 1, "node2")], old),
        lambda: store.unplace([partition], False, old),
        lambda: store.placements([partition], old),
    ):
        with pytest.raises(Deposed):
            await deed()
    assert await store.placements([partition]) == [Placement(partition, "node1", 1)]
    assert await store.place([PlaceRequest(partition, 1, "node2")], new) == [Placement(partition, "node2", 2)]
    await store.set_json("pins", partition, None, new)
    await store.lead(asks("one", new, lease_ms=0))


def test_who_leads(any_redis_url: str) -> None:
    run(lambda store: leaders_come_and_go(store, lambda ms: asyncio.sleep(ms / 1000)), any_redis_url)

    async def on_the_twin() -> None:
        clock = [now_ms()]

        async def wait(ms: int) -> None:
            clock[0] += ms

        await leaders_come_and_go(MemoryContexts(lambda: clock[0]), wait)

    asyncio.run(on_the_twin())


def test_who_led_before_writes_no_more(any_redis_url: str) -> None:
    partition = f"g{uuid.uuid4().hex[:8]}/store/0"
    run(lambda store: none_writes_after_another(store, partition), any_redis_url)
    asyncio.run(none_writes_after_another(MemoryContexts(now_ms), partition))


def test_what_is_damaged_concerns_nobody_else(any_redis_url: str) -> None:
    run(lambda store: whose_keys_are_damaged(store, any_redis_url), any_redis_url)


async def whose_keys_are_damaged(store: Contexts, url: str) -> None:
    name = uuid.uuid4().hex
    meta, out, seen, context, fine = (f"{name}/store/{kind}" for kind in ("meta", "out", "seen", "context", "fine"))
    partitions = [meta, out, seen, context, fine]
    await store.place([PlaceRequest(p, 0, "node1") for p in partitions])
    born = now_ms() // SEEN_BUCKET_MS

    def commit(partition: str, sequence: int = 0) -> PartitionCommit:
        change = ContextChange("a", {"n": b"1"}, (), True)
        return PartitionCommit(partition, 1, sequence, [change], [(born, b"id")], [], [], [], [])

    async with raw(url) as redis:
        await redis.call("HSET", f"lq:{{{meta}}}:meta", "epoch", "garbage")
        for key in (f"lq:{{{out}}}:out", f"lq:{{{seen}}}:seen:{born}", f"lq:{{{context}}}:ctx:a"):
            await redis.call("SET", key, "x")
        await redis.call("HSET", f"lq:{{{context}}}:ctx:b", b"\xff\xfe", "x")
    loaded = {state.partition: state.damaged for state in await store.load(partitions)}
    assert {p: what.split()[0] for p, what in loaded.items() if what} == {
        meta: f"lq:{{{meta}}}:meta",
        out: f"lq:{{{out}}}:out",
    }
    for found in (await store.placements(partitions), await store.placements(partitions, 1)):
        assert [p for p in found if p.epoch == DAMAGED] == [Placement(meta, f"lq:{{{meta}}}:meta", DAMAGED)]
        assert [p for p in found if p.epoch == 1] == [Placement(p, "node1", 1) for p in partitions[1:]]
    placed = await store.place([PlaceRequest(p, 1, "node2") for p in (meta, fine)])
    assert [p.epoch for p in placed] == [DAMAGED, 2]
    await store.place([PlaceRequest(fine, 2, "node1")])

    verdicts = await store.commit([commit(seen), commit(context), commit(fine)._replace(epoch=3)])
    assert [verdict.outcome for verdict in verdicts] == ["damaged", "damaged", "ok"]
    assert verdicts[0].why.startswith(f"lq:{{{seen}}}:seen:{born} is of the wrong type")
    assert verdicts[1].why.startswith(f"lq:{{{context}}}:ctx:a is of the wrong type")
    queries = [ContextQuery(context, ("a", "b", "c"), ((born, b"id"),)), ContextQuery(seen, (), ((born, b"id"),))]
    spoilt, damaged, good = await store.read([*queries, ContextQuery(fine, ("a",), ((born, b"id"),))])
    assert [key for key, _ in spoilt.spoilt] == ["a", "b"]
    assert f"lq:{{{context}}}:ctx:a is of the wrong type" in spoilt.spoilt[0]
    assert not spoilt.seen, "what was not written is not seen"
    assert damaged.damaged.startswith(f"lq:{{{seen}}}:seen:{born}")
    assert (good.contexts, good.seen, good.spoilt, good.damaged) == ({"a": {"n": b"1"}}, {b"id"}, (), "")
    await store.unplace([meta])
    assert (await store.placements([meta]))[0].owner == ""

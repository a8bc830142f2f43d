"""When a commit counts: in the memory of Redis, on its disk, or when a replica has it. On real servers: a replica that
lags, a primary that is lost and its replica promoted; and a whole cluster on it, and on a Redis Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis_processes
from live_cluster import ROOT, LiveCluster, wait_for
from redis_processes import Server, primary_and_replicas, promote, watched
from steady_load import SteadyLoad

from liquefy.commits import ContextChange, ContextQuery, PartitionCommit, PlaceRequest, Verdict
from liquefy.contexts import Contexts
from liquefy.errors import StoreUnavailable

VISITS = ROOT / "examples" / "visits"
RATE = 100.0


def visit(partition: str, sequence: int) -> PartitionCommit:
    change = ContextChange("alice", {"count": b"%d" % sequence}, created=sequence == 0)
    return PartitionCommit(partition, 1, sequence, [change], [], [], [], [], [])


@contextlib.asynccontextmanager
async def opened(urls: str, durability: str) -> AsyncIterator[Contexts]:
    store = Contexts(urls, 3.0, durability)
    try:
        yield store
    finally:
        await store.close()


async def placed(store: Contexts) -> str:
    partition = f"g{uuid.uuid4().hex[:8]}/store/0"
    await store.place([PlaceRequest(partition, 0, "node1")])
    return partition


async def until_committed(store: Contexts, partition: str, sequence: int = 0) -> None:
    """That visit, tried until the store takes it."""
    end_s = time.monotonic() + 20
    while True:
        with contextlib.suppress(StoreUnavailable):
            assert await store.commit([visit(partition, sequence)], "node1") == [Verdict(partition, "ok")]
            return
        assert time.monotonic() < end_s
        await asyncio.sleep(0.1)


def test_a_replicated_commit_counts_when_a_replica_has_it(tmp_path: Path) -> None:
    async def body(primary: Server, replica: Server) -> None:
        async with opened(primary.url, "replicated") as safe, opened(primary.url, "memory") as fast:
            partition = await placed(safe)
            ok = [Verdict(partition, "ok")]
            assert await safe.commit([visit(partition, 0)], "node1") == ok
            with replica.stopped():
                assert await fast.commit([visit(partition, 1)], "node1") == ok, "nobody waits for the replica"
                for _ in range(2):  # the second time it has been applied, and no connection knows of it
                    with pytest.raises(StoreUnavailable, match="no replica has"):
                        await safe.commit([visit(partition, 2)], "node1")
                async with opened(primary.url, "replicated") as other:
                    with pytest.raises(StoreUnavailable):
                        await other.commit([visit(partition, 2)], "node1")
            assert await safe.commit([visit(partition, 2)], "node1") == ok
            replica.ask("REPLICAOF", "NO", "ONE")
            async with opened(replica.url, "memory") as store:
                (answer,) = await store.read([ContextQuery(partition, ("alice",))])
                assert answer.contexts == {"alice": {"count": b"2"}}

    with primary_and_replicas(tmp_path, 1) as (primary, replica):
        asyncio.run(body(primary, replica))


@pytest.mark.parametrize("behind", [0, 1])
def test_either_of_two_replicas_is_enough(tmp_path: Path, behind: int) -> None:
    """One hears of nothing any more, the other one has what counts; and is promoted when the primary is lost."""

    async def body(primary: Server, replicas: list[Server]) -> None:
        late, has = replicas[behind], replicas[1 - behind]
        async with opened(",".join(server.url for server in (primary, *replicas)), "replicated") as store:
            partition = await placed(store)
            await until_committed(store, partition)
            assert late.ask("REPLICAOF", "127.0.0.1", "1") == "+OK"
            await until_committed(store, partition, 1)
            primary.kill()
            assert promote(replicas) is has
            await until_committed(store, partition, 2)  # else it would be refused as a gap
            (answer,) = await store.read([ContextQuery(partition, ("alice",))])
            assert answer.contexts == {"alice": {"count": b"2"}}

    with primary_and_replicas(tmp_path, 2) as (primary, *replicas):
        asyncio.run(body(primary, replicas))


def test_the_primary_is_found_among_the_servers_given(tmp_path: Path) -> None:
    async def body(primary: Server, one: Server, two: Server) -> None:
        urls = ",".join(server.url for server in (one, primary, two))
        async with opened(urls, "replicated") as store:
            partition = await placed(store)
            primary.kill()
            with pytest.raises(StoreUnavailable):
                await store.commit([visit(partition, 0)], "node1")
            promote([one, two])
            await until_committed(store, partition)

    with primary_and_replicas(tmp_path, 2) as (primary, one, two):
        asyncio.run(body(primary, one, two))


def test_a_primary_that_hung_and_was_followed_is_not_believed(tmp_path: Path) -> None:
    """It still has a replica, which has what it writes, and connections that are older than the promotion."""

    async def body(former: Server, one: Server, two: Server) -> None:
        urls = ",".join(server.url for server in (former, one, two))
        async with opened(urls, "replicated") as store:
            partition = await placed(store)
            await store.read([ContextQuery(partition, ("alice",))])
            assert one.ask("REPLICAOF", "NO", "ONE") == "+OK"
            with pytest.raises(StoreUnavailable, match="promoted in its place"):
                await store.commit([visit(partition, 0)], "node1")
            with pytest.raises(StoreUnavailable, match="promoted in its place"):
                await store.read([ContextQuery(partition, ("alice",))])
            assert two.ask("REPLICAOF", "127.0.0.1", str(one.port)) == "+OK"
            assert former.ask("REPLICAOF", "127.0.0.1", str(one.port)) == "+OK"
            await until_committed(store, partition)

    with primary_and_replicas(tmp_path, 2) as (primary, one, two):
        asyncio.run(body(primary, one, two))


def test_a_server_that_was_away_is_asked_as_soon_as_it_can_answer(tmp_path: Path) -> None:
    """Who hangs, comes back and is promoted at once has nothing of what the others have meanwhile."""

    async def body(former: Server, one: Server, two: Server) -> None:
        urls = ",".join(server.url for server in (former, one, two))
        async with opened(urls, "replicated") as store:
            partition = await placed(store)
            with one.stopped():
                await until_committed(store, partition)  # it counts as away now: `two` has what was written
            assert one.ask("REPLICAOF", "NO", "ONE") == "+OK"
            with pytest.raises(StoreUnavailable, match="promoted in its place"):
                await store.commit([visit(partition, 1)], "node1")

    with primary_and_replicas(tmp_path, 2) as (primary, one, two):
        asyncio.run(body(primary, one, two))


@pytest.mark.parametrize(("sync", "fits"), [("everysec", False), ("always", True)])
def test_disk_asks_for_a_redis_that_syncs_before_it_answers(tmp_path: Path, sync: str, fits: bool) -> None:
    async def body(url: str) -> None:
        async with opened(url, "disk") as store:
            if fits:
                await placed(store)
                return
            with pytest.raises(StoreUnavailable, match="appendfsync is not always"):
                await placed(store)

    server = Server(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", sync)
    with redis_processes.servers(server):
        asyncio.run(body(server.url))


def test_no_accepted_message_is_lost_with_the_primary(tmp_path: Path) -> None:
    """Killed under load, its data lost; a replica is promoted by hand."""
    with primary_and_replicas(tmp_path / "redis", 2) as (primary, one, two):
        urls = ",".join(server.url for server in (primary, one, two))
        more = (f"--redis={urls}", "--durability=replicated")
        with LiveCluster(tmp_path / "state", VISITS, 2, more=more) as cluster:
            wait_for(cluster.whole, "the cluster to be whole")
            with SteadyLoad(cluster.http, RATE, seed=time.time_ns() % 10**9) as load:
                wait_for(lambda: load.answered > 100, "answers")
                primary.kill()
                time.sleep(0.5)
                promote([one, two])
                before = load.answered
                wait_for(lambda: load.answered > before + 100, "answers from the replica", 30.0)
                load.stop()
                verdict = load.check(cluster.contexts("visits", "store", load.users))
                assert verdict.clean, f"{verdict} {load.statuses}"


def test_sentinel_promotes_a_replica_and_the_former_primary_comes_back(tmp_path: Path) -> None:
    """With all that it had, and as a primary at first: nobody uses it."""
    with (
        primary_and_replicas(tmp_path / "redis", 2) as (primary, one, two),
        watched(tmp_path / "sentinel", primary),
    ):
        urls = ",".join(server.url for server in (primary, one, two))
        more = (f"--redis={urls}", "--durability=replicated")
        with LiveCluster(tmp_path / "state", VISITS, 2, more=more) as cluster:
            wait_for(cluster.whole, "the cluster to be whole")
            with SteadyLoad(cluster.http, RATE, seed=time.time_ns() % 10**9) as load:
                wait_for(lambda: load.answered > 100, "answers")
                primary.kill()
                before = load.answered
                wait_for(lambda: load.answered > before + 100, "answers from the replica", 40.0)
                primary.start()
                before = load.answered
                wait_for(lambda: "role:slave" in primary.ask("INFO", "replication"), "it to follow", 40.0)
                wait_for(lambda: load.answered > before + 50, "answers")
                load.stop()
                verdict = load.check(cluster.contexts("visits", "store", load.users))
                assert verdict.clean, f"{verdict} {load.statuses}"


def test_a_whole_cluster_on_a_redis_cluster(tmp_path: Path, redis_cluster_url: str) -> None:
    """Partitions on three masters: moves, a killed node, a killed controller, under load."""
    with LiveCluster(tmp_path / "state", VISITS, 2, more=(f"--redis={redis_cluster_url}",)) as cluster:
        wait_for(cluster.whole, "the cluster to be whole")
        with SteadyLoad(cluster.http, RATE, seed=time.time_ns() % 10**9) as load:
            wait_for(lambda: load.answered > 100, "answers")
            moved = cluster.ctl("migrate", "visits/store", "node2")
            assert moved["failed"] == 0
            cluster.kill("node2")
            wait_for(cluster.whole, "the cluster to be whole", 40.0)
            cluster.kill("controller")
            wait_for(cluster.whole, "the cluster to be whole", 40.0)
            load.stop()
            verdict = load.check(cluster.contexts("visits", "store", load.users))
            assert verdict.clean, f"{verdict} {load.statuses}"

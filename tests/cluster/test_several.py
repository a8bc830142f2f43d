"""More than one of a role, on real processes under load that keeps book: controllers of which the one that leads is
killed in each phase of a migration, and gateways side by side."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import urllib.request
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import ROOT, LiveCluster, wait_for
from steady_load import SteadyLoad

from controller.leading import Lead
from controller.service import Service
from liquefy.config import ControllerConfig
from liquefy.control import Request, encode
from liquefy.transport import Asker

VISITS = ROOT / "examples" / "visits"
RATE = 100.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Two controllers, two gateways. A worker that hangs is waited for, so that a test may stop one."""
    settings = {"LIQUEFY_HANG_MS": "8000", "LIQUEFY_MOVE_MS": "1000"}
    more = ("--controllers=2", "--gateways=2")
    state = tmp_path_factory.mktemp("several") / "state"
    with LiveCluster(state, VISITS, 2, settings, redis_sync="always", more=more) as made:
        yield made


@pytest.fixture
def load(cluster: LiveCluster) -> Iterator[SteadyLoad]:
    wait_for(cluster.whole, "the cluster to be whole")
    with SteadyLoad(cluster.http, RATE, seed=time.time_ns() % 10**9) as running:
        wait_for(lambda: running.answered > 20, "the first answers")
        yield running


def leader(cluster: LiveCluster) -> str:
    """As the store has it."""
    name = cluster.store(lambda contexts: contexts.leader()).name
    assert name in ("controller", "controller2")
    return name


def moving(cluster: LiveCluster) -> bool:
    return bool(cluster.store(lambda contexts: contexts.moves()))


def move_all(cluster: LiveCluster, node: str, address: str = "") -> None:
    """Ask for it, and do not wait: the one who is asked is about to die."""
    asker = Asker(address or cluster.store(lambda contexts: contexts.leader()).address)
    asker.send(encode(Request(1, "migrate", {"what": "visits/store", "node": node})))
    time.sleep(0.03)
    asker.close()


PHASES = ("planned", "preparing", "storing", "moving", "aborting", "landing")


@pytest.mark.parametrize("phase", PHASES)
def test_the_next_controller_ends_what_the_killed_one_began(
    cluster: LiveCluster, load: SteadyLoad, phase: str
) -> None:
    first = leader(cluster)
    placed = cluster.placements("visits", "store")
    on_one = sum(owner == "node1" for owner, _ in placed.values())
    source, target = ("node1", "node2") if on_one >= len(placed) / 2 else ("node2", "node1")
    with contextlib.ExitStack() as stopped:
        if phase == "preparing":
            cluster.kill(target)
            wait_for(lambda: cluster.node(target).get("state") == "up", "the target to be back, without the code")
        elif phase in ("moving", "aborting"):
            stopped.enter_context(cluster.stopped(source))
        elif phase == "landing":
            stopped.enter_context(cluster.stopped(target))
        elif phase == "storing":
            stopped.enter_context(cluster.stopped("redis"))
        if phase != "storing":
            move_all(cluster, target)
        if phase in ("moving", "aborting"):
            wait_for(lambda: moving(cluster), "moves to be written down")
            time.sleep(1.3 if phase == "aborting" else 0.0)
        elif phase == "landing":
            wait_for(lambda: cluster.placements("visits", "store") != placed, "the point of no return")
        cluster.kill(first)
        if phase != "planned":
            time.sleep(0.2)
    wait_for(lambda: leader(cluster) != first or cluster.log(first).count("leads (term") > 1, "somebody to lead")
    wait_for(lambda: cluster.whole() and not moving(cluster), "all moves to have ended", 40.0)
    load.stop()
    verdict = load.check(cluster.contexts("visits", "store", load.users))
    assert verdict.clean, f"{verdict} {load.statuses}"


def test_one_that_stands_by_leads_after_the_leader_hangs(cluster: LiveCluster, load: SteadyLoad) -> None:
    first = leader(cluster)
    with cluster.stopped(first):
        wait_for(lambda: leader(cluster) != first, "the other one to lead", 5.0)
        other = cluster.record().controller.split(",")["2" in leader(cluster)]
        reply = wait_for(lambda: _status(cluster, other), "the other one to answer")
        assert {n["state"] for n in reply["nodes"]} == {"up"}
    wait_for(lambda: "stands by" in cluster.log(first), "the first one to see that")
    wait_for(cluster.whole, "the cluster to be whole")
    assert leader(cluster) != first
    load.stop()
    assert load.check(cluster.contexts("visits", "store", load.users)).clean


def _status(cluster: LiveCluster, address: str) -> dict | None:
    reply = cluster.run("status", "--json", "--controller", address)
    return reply.value if reply.code == 0 and reply.value["broker_ok"] else None


def test_nothing_is_left_of_what_a_leader_knew(tmp_path: Path) -> None:
    """Who leads again and again does not grow by that."""

    async def body() -> None:
        places = {"broker": f"ipc://{tmp_path}/broker", "bind": f"ipc://{tmp_path}/control"}
        service = Service(ControllerConfig(redis="redis://127.0.0.1:1", **places))
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        gc.disable()
        try:
            await asyncio.sleep(0)
            service._lead(Lead(1))
            state = weakref.ref(service._state)
            service._stand_by()
            for _ in range(3):
                await asyncio.sleep(0)
            assert state() is None
        finally:
            gc.enable()
            stop.set()
            await running

    asyncio.run(body())


def test_two_gateways_serve_one_cluster_and_each_answers_its_own(cluster: LiveCluster) -> None:
    wait_for(cluster.whole, "the cluster to be whole")
    urls = cluster.ask("status")["http"]
    assert len(urls) == 2
    counts = []
    for turn in range(20):
        with urllib.request.urlopen(f"{urls[turn % 2]}/both", timeout=10) as answer:
            counts.append(answer.read())
    assert len(set(counts)) == 20, "one counter, whichever gateway one comes by"
    cluster.kill("gateway2")
    assert cluster.get("/both").status == 200, "what the one has under way is not the other's"

"""Two brokers on real processes, under load that keeps book: one is killed, hangs, or is stopped while partitions move,
and the other one carries on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from live_cluster import ROOT, LiveCluster, wait_for
from steady_load import SteadyLoad

from ctl.asking import Lost, Refused, Unreachable
from liquefy.control import Request, encode
from liquefy.transport import Asker

VISITS = ROOT / "examples" / "visits"
RATE = 150.0
PAUSE_S_MAX = 1.0
"""Nobody waits longer when a broker dies."""

SETTLE_S = 30.0
MOVES = 3
BROKERS = ("broker", "broker2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    state = tmp_path_factory.mktemp("brokers") / "state"
    more = ("--brokers=2", "--gateways=2")
    with LiveCluster(state, VISITS, 2, {"LIQUEFY_MOVE_MS": "1000"}, more=more) as made:
        yield made


def missing(cluster: LiveCluster) -> str:
    """What is not as it is to be when everybody is connected to both brokers, and nothing moves; "" for nothing."""
    if not cluster.whole():
        with contextlib.suppress(Refused, Unreachable, Lost):
            return f"not whole: {cluster.ask('status')}"
        return "no controller answers"
    status = cluster.ask("status")
    reached = {n["name"]: n["brokers"] for n in status["nodes"]}
    if not all(b["ok"] for b in status["brokers"]) or not all(len(brokers) == 2 for brokers in reached.values()):
        return f"not all are linked: {status['brokers']} {reached}"
    moves = cluster.store(lambda contexts: contexts.moves())
    return f"moves are written down: {moves}" if moves else ""


def settle(cluster: LiveCluster) -> None:
    end_s = time.monotonic() + SETTLE_S
    while problem := missing(cluster):
        assert time.monotonic() < end_s, problem
        time.sleep(0.05)


@pytest.fixture
def load(cluster: LiveCluster) -> Iterator[SteadyLoad]:
    settle(cluster)
    urls = cluster.ask("status")["http"]
    with SteadyLoad(urls, RATE, seed=time.time_ns() % 10**9) as running:
        wait_for(lambda: running.answered > 20, "the first answers")
        yield running


def judge(cluster: LiveCluster, load: SteadyLoad) -> None:
    settle(cluster)
    load.stop()
    verdict = load.check(cluster.contexts("visits", "store", load.users))
    assert verdict.clean, f"{verdict} {load.statuses}"


def move_all(cluster: LiveCluster, node: str) -> Asker:
    """Ask for it; the answer is not waited for."""
    asker = Asker(cluster.controller)
    asker.send(encode(Request(1, "migrate", {"what": "visits/store", "node": node})))
    return asker


def test_messages_are_spread_over_both(cluster: LiveCluster, load: SteadyLoad) -> None:
    """As each forwards some of them, a move waits for messages at either."""
    status = cluster.ask("status")
    assert [broker["ok"] for broker in status["brokers"]] == [True, True]
    moved = cluster.ask("migrate", what="visits/store", node="node1")
    moved = cluster.ask("migrate", what="visits/store", node="node2")
    assert moved["moved"] > 0
    assert moved["failed"] == 0
    judge(cluster, load)


@pytest.mark.parametrize("name", BROKERS)
def test_a_killed_one_is_stood_in_for_by_the_other_within_a_second(
    cluster: LiveCluster, load: SteadyLoad, name: str
) -> None:
    began_s = time.perf_counter()
    cluster.kill(name)
    wait_for(lambda: load.settled(began_s, 1.5), "the service", 60.0)
    outage = load.outage(began_s)
    judge(cluster, load)
    assert outage.back_s < PAUSE_S_MAX, outage
    assert outage.silence_s < PAUSE_S_MAX, outage
    gone = [line for line in cluster.log("controller").splitlines() if "failing over" in line]
    assert not gone, f"a broker's end is nobody else's: {gone}"


@pytest.mark.parametrize("name", BROKERS)
def test_one_is_killed_while_partitions_move(cluster: LiveCluster, load: SteadyLoad, name: str) -> None:
    for turn in range(MOVES):
        asker = move_all(cluster, f"node{turn % 2 + 1}")
        time.sleep(0.02 + 0.03 * turn)  # the moment is the experiment
        began_s = time.perf_counter()
        cluster.kill(name)
        wait_for(lambda since_s=began_s: load.settled(since_s, 1.0), "the service", 60.0)
        asker.close()
        settle(cluster)
    judge(cluster, load)


@pytest.mark.parametrize("name", BROKERS)
def test_one_hangs_and_goes_on(cluster: LiveCluster, load: SteadyLoad, name: str) -> None:
    with cluster.stopped(name):
        began_s = time.perf_counter()
        wait_for(lambda: load.settled(began_s, 1.0), "the service, by the other one", 30.0)
    judge(cluster, load)

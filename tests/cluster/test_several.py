"""More than one of a role, on real processes under load that keeps book: controllers of which the one that leads is
killed in each phase of a migration, and gateways side by side."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import time
import urllib.request
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from live_cluster import ROOT, LiveCluster, wait_for
from steady_load import SteadyLoad

from controller.leading import Lead
from controller.service import Service
from ctl.asking import Controller
from liquefy.config import ControllerConfig
from liquefy.control import Request, encode
from liquefy.transport import Asker

VISITS = ROOT / "examples" / "visits"
RATE = 100.0
MOVE_MS = 1_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Two controllers, two gateways. A worker that hangs is waited for, so that a test may stop one."""
    settings = {"LIQUEFY_HANG_MS": "8000", "LIQUEFY_MOVE_MS": str(MOVE_MS)}
    more = ("--controllers=2", "--gateways=2")
    state = tmp_path_factory.mktemp("several") / "state"
    with LiveCluster(state, VISITS, 2, settings, redis_sync="always", more=more) as made:
        made.ask("freeze", reason="moves are those of the test")
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


def moving(cluster: LiveCluster) -> dict[str, Any]:
    """What is written down of moves that have not ended, by partition."""
    return cluster.store(lambda contexts: contexts.moves())


def move_all(asker: Asker, node: str) -> None:
    """Ask for it, and do not wait: the one who is asked is about to die."""
    asker.send(encode(Request(1, "migrate", {"what": "visits/store", "node": node})))


class Caught:
    """Moves of the partitions of `store` that get as far as a phase and no farther: something is held meanwhile."""

    def __init__(self, cluster: LiveCluster, phase: str, held: contextlib.ExitStack) -> None:
        self._cluster, self._phase = cluster, phase
        self.first, address = cluster.store(lambda contexts: contexts.leader())[1:3]
        self._leader = held.enter_context(Controller(address))
        asker = held.enter_context(contextlib.closing(Asker(address)))
        counts = Counter(owner for owner, _ in self.places().values())
        (source, _), *_ = counts.most_common(1)
        self.target = "node2" if source == "node1" else "node1"
        if phase == "preparing":
            cluster.ask("drain", node=self.target)
        self.placed = self.places()
        self._since_s: dict[str, float] = {}
        if phase == "preparing":
            self._starts_again()
        who = {"preparing": self.target, "landing": self.target, "storing": "redis"}
        held.enter_context(cluster.stopped(who.get(phase, source)))
        if phase == "preparing":
            cluster.ask("uncordon", node=self.target)
        move_all(asker, self.target)

    def _starts_again(self) -> None:
        """The target is another process, that is known to be there, and has not loaded the code yet."""
        self._cluster.kill(self.target)
        wait_for(lambda: self._cluster.node(self.target).get("state") != "drained", "the target to go")
        wait_for(lambda: self._cluster.node(self.target).get("state") == "drained", "the target to be back")

    def places(self) -> dict[str, tuple[str, int]]:
        return self._cluster.placements("visits", "store")

    def _known(self) -> int:
        """How many partitions the leader moves, or is to move, as it says."""
        return int(self._leader.ask("status")["moves"])

    def there(self) -> bool:
        """Whether moves are in that phase, by what the leader says and what is written down."""
        if self._phase == "storing":
            return self._known() > 0  # the store does not answer, so they are not written down
        written, places = moving(self._cluster), self.places()
        if self._phase == "landing":
            return any(places[partition] != self.placed[partition] for partition in written)
        if places != self.placed:
            return False
        if self._phase == "preparing":
            return self._known() > 0 and not written
        if self._phase == "planned":
            return 0 < len(written) < self._known()
        now_s = time.monotonic()
        self._since_s = {partition: self._since_s.get(partition, now_s) for partition in written}
        overdue = any(now_s - since_s > MOVE_MS / 1000 for since_s in self._since_s.values())
        return overdue or (bool(written) and self._phase == "moving")


PHASES = ("planned", "preparing", "storing", "moving", "aborting", "landing")


@pytest.mark.parametrize("phase", PHASES)
def test_the_next_controller_ends_what_the_killed_one_began(
    cluster: LiveCluster, load: SteadyLoad, phase: str
) -> None:
    with contextlib.ExitStack() as held:
        caught = Caught(cluster, phase, held)
        wait_for(caught.there, f"moves to be {phase}")
        before = {} if phase == "storing" else caught.places()
        said = {name: len(cluster.log(name)) for name in ("controller", "controller2")}
        pid = cluster.kill(caught.first)
        wait_for(lambda: not psutil.pid_exists(pid), "the leader to be gone")

    def told(words: str) -> re.Match[str] | None:
        """Of what controllers have said since then."""
        return re.search(words, "".join(cluster.log(name)[length:] for name, length in said.items()))

    found = wait_for(lambda: told(r"(\d+) moves? half done"), "somebody to lead")
    half_done = int(found[1])
    assert bool(half_done) == (phase != "preparing"), "what was written down, and only that, is known to the next one"
    wait_for(lambda: cluster.whole() and not moving(cluster), "all moves to have ended", 40.0)
    ended = told(r"moved.* \(left half done by the controller before\)")
    assert bool(ended) == bool(half_done), "those that were under way were ended"
    gone = 0
    for partition, (owner, epoch) in caught.places().items():
        if (owner, epoch) != caught.placed[partition]:
            assert (owner, epoch) == (caught.target, caught.placed[partition][1] + 1), "it arrived, or else nothing"
            gone += 1
        elif before:
            assert (owner, epoch) == before[partition], "past its point of no return it does not go back"
    arrived = sum(before[partition] != place for partition, place in caught.placed.items() if before)
    assert gone <= arrived + half_done, "those that had not begun stay where they are"
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

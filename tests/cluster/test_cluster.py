"""The whole cluster on real processes, under load that keeps book: every kind of process killed, hung and stopped,
partitions moved, versions brought in, nodes drained and joined. Counters must be exact in each case.

`make chaos` does more of it, at random moments, and holds the service to two seconds.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from live_cluster import ROOT, LiveCluster, wait_for
from steady_load import SteadyLoad, Verdict

from liquefy import confine

VISITS, SHOP = ROOT / "examples" / "visits", ROOT / "examples" / "shop"

RATE = 200.0
BACK_MAX_S = 30.0
"""A service that stays away takes longer, whatever else the machine does; how soon it should be back is for
`make chaos` to measure."""

CALM_S = 0.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """One for all tests here: each must find it whole, and leaves it so."""
    with LiveCluster(tmp_path_factory.mktemp("live") / "state", VISITS, redis_sync="always") as made:
        yield made


@pytest.fixture
def load(cluster: LiveCluster, request: pytest.FixtureRequest) -> Iterator[SteadyLoad]:
    """Running; its users are new."""
    wait_for(cluster.whole, "the cluster to be whole")
    with SteadyLoad(cluster.http, RATE, seed=time.time_ns() % 10**9) as running:
        wait_for(lambda: running.answered > 50, "the first answers")
        yield running


def checked(cluster: LiveCluster, load: SteadyLoad) -> Verdict:
    """The book, closed and clean."""
    load.stop()
    verdict = load.check(cluster.contexts("visits", "store", load.users))
    assert verdict.clean, f"{verdict} {load.statuses}"
    return verdict


LIVE = '''
import asyncio
from liquefy import streaming

gone = []

async def app(message):
    stream = streaming.current()
    path = message["path"]
    if path == "/live/gone":
        stream.send(200, (("content-type", "text/plain"),), repr(gone).encode())
        return
    stream.on_gone = lambda: gone.append(path)
    for number in range(int(message["params"]["n"])):
        stream.send(201, (("X-Live", "yes"),), b"%d\\n" % number)
        if path.startswith("/live/wait") and number == 2:
            while not stream.gone:
                await asyncio.sleep(0.01)
            return
    if path.startswith("/live/fail"):
        raise RuntimeError("in the middle")
'''

LIVE_GRAPH = """
graph: live
inputs:
  app: {route: "* /live/{what}/{n}", raw: true}
  gone: {route: "GET /live/gone", raw: true}
fluxions:
  live: {code: "live:app", pinned: "streams", timeout_s: 5}
streams:
  - app >> live >> output
  - gone >> live
"""


def test_answers_in_pieces(cluster: LiveCluster, tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(LIVE)
    (tmp_path / "graph.yaml").write_text(LIVE_GRAPH)
    cluster.ctl("deploy", str(tmp_path), "--wait")
    host, port = cluster.http.removeprefix("http://").split(":")

    def ask(path: str) -> tuple[socket.socket, bytes]:
        connection = socket.create_connection((host, int(port)), timeout=20)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection, b""

    def until(connection: socket.socket, data: bytes, end: bytes) -> bytes:
        while end not in data:
            more = connection.recv(65536)
            if not more:
                return data
            data += more
        return data

    whole, data = ask("/live/all/3")
    data = until(whole, data, b"0\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 201 ")
    assert b"X-Live: yes\r\n" in data
    with urllib.request.urlopen(cluster.http + "/live/all/3") as answer:
        assert answer.read() == b"0\n1\n2\n"
    failed, data = ask("/live/fail/2")
    data = until(failed, data, b"0\r\n\r\n")
    assert b"1\n" in data
    assert not data.endswith(b"0\r\n\r\n")
    waiting, data = ask("/live/wait/9")
    assert b"2\n" in until(waiting, data, b"2\n")  # as it comes, not at the end
    waiting.close()

    def told() -> bool:
        gone, data = ask("/live/gone")
        with gone:
            return b"/live/wait/9" in until(gone, data, b"0\r\n\r\n")

    wait_for(told, "the host to be told that the client is gone")
    whole.close()
    failed.close()
    cluster.ctl("undeploy", "live")


OTHERS = """
import os, resource
from liquefy import answer


def tried(call):
    try:
        call()
        return "yes"
    except OSError as error:
        return type(error).__name__


def app(message):
    return answer({
        pid: [
            tried(lambda: resource.prlimit(int(pid), resource.RLIMIT_CPU, (1, 1))),
            tried(lambda: os.sched_setaffinity(int(pid), {min(os.sched_getaffinity(0))})),
            tried(lambda: os.setpriority(os.PRIO_PROCESS, int(pid), 19)),
        ]
        for pid in message["params"]["pids"].split("-")
    })
"""
OTHERS_GRAPH = """
graph: others
inputs:
  app: GET /others/{pids}
fluxions:
  others: {code: "others:app"}
streams:
  - app >> others >> output
"""


@pytest.mark.skipif(not confine.can_filter(), reason="this kernel has no filter of calls")
def test_users_code_sets_no_limits_processors_and_priorities_of_others(cluster: LiveCluster, tmp_path: Path) -> None:
    wait_for(cluster.whole, "the cluster to be whole")
    (tmp_path / "others.py").write_text(OTHERS)
    (tmp_path / "graph.yaml").write_text(OTHERS_GRAPH)
    cluster.ctl("deploy", str(tmp_path), "--wait")
    every = [psutil.Process(cluster.pid(process.name)) for process in cluster.record().processes]

    def settings() -> list[object]:
        return [(p.rlimit(psutil.RLIMIT_CPU), p.cpu_affinity(), p.nice()) for p in every if p.is_running()]

    before = settings()
    assert len(before) >= 7, "of all roles, three of them nodes, and Redis"
    told = cluster.get("/others/" + "-".join(str(process.pid) for process in every)).body
    assert settings() == before
    assert told == {str(process.pid): ["PermissionError"] * 3 for process in every}
    cluster.ctl("undeploy", "others")


def more(load: SteadyLoad, requests: int) -> None:
    """Until so many more are answered."""
    goal = load.answered + requests
    wait_for(lambda: load.answered >= goal, f"{requests} more answers", 60.0)


def back(load: SteadyLoad, since_s: float) -> float:
    """Wait until the service is back; after how many seconds it was."""
    wait_for(lambda: load.settled(since_s, CALM_S), "the service to be back", 60.0)
    return load.outage(since_s).back_s


# -- what dies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["node2", "node1/host", "broker", "controller", "gateway1", "redis"])
def test_whatever_is_killed_nothing_is_lost_and_it_comes_back(
    cluster: LiveCluster, load: SteadyLoad, name: str
) -> None:
    pid = cluster.kill(name)
    assert back(load, time.perf_counter()) < BACK_MAX_S
    checked(cluster, load)
    wait_for(lambda: cluster.pid(name) not in (0, pid), f"another {name}")
    wait_for(cluster.whole, "the cluster to be whole")
    wait_for(lambda: not cluster.outboxes("visits"), "the outboxes to be empty")


def test_a_node_that_hangs_is_failed_over_and_is_harmless_when_it_goes_on(
    cluster: LiveCluster, load: SteadyLoad
) -> None:
    mine = {p for p, (owner, _) in cluster.placements("visits", "store").items() if owner == "node3"}
    assert mine
    with cluster.stopped("node3"):
        wait_for(lambda: cluster.node("node3").get("state") == "hung", "node3 to be missed")
        since_s = time.perf_counter()
        back(load, since_s)
        now = cluster.placements("visits", "store")
        assert {now[p][0] for p in mine} <= {"node1", "node2"}
    wait_for(lambda: "declared dead" in cluster.log("node3"), "node3 to learn that it was declared dead")
    wait_for(cluster.whole, "node3 to be back")
    more(load, 100)
    checked(cluster, load)


def hang_redis(cluster: LiveCluster, load: SteadyLoad, seconds: float) -> None:
    """Redis answers nothing for so long: requests are refused, and later everything goes on."""
    with cluster.stopped("redis"):
        end_s = time.monotonic() + seconds
        wait_for(lambda: cluster.get("/nobody", timeout_s=1.0).status == 503, "a request to be refused")
        refused = cluster.get("/nobody")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        wait_for(lambda: time.monotonic() > end_s, "the time to be over", 2 * seconds)
    back(load, time.perf_counter())
    checked(cluster, load)
    wait_for(cluster.whole, "the cluster to be whole")


def test_redis_hangs_for_a_moment(cluster: LiveCluster, load: SteadyLoad) -> None:
    hang_redis(cluster, load, 3.0)


@pytest.mark.slow
def test_redis_is_away_for_half_a_minute(cluster: LiveCluster, load: SteadyLoad) -> None:
    hang_redis(cluster, load, 30.0)


# -- what moves --------------------------------------------------------------------------------------------


def test_twenty_migrations_in_a_row_are_not_noticed(cluster: LiveCluster, load: SteadyLoad) -> None:
    epochs = {p: epoch for p, (_, epoch) in cluster.placements("visits", "store").items()}
    moved = 0
    for turn in range(20):
        result = cluster.ask("migrate", what="store", node=("node1", "node2")[turn % 2])
        assert result["failed"] == 0, result
        moved += result["moved"]
    assert moved >= 19 * len(epochs)
    after = cluster.placements("visits", "store")
    assert {owner for owner, _ in after.values()} == {"node2"}
    assert sum(epoch for _, epoch in after.values()) == sum(epochs.values()) + moved
    checked(cluster, load)
    assert not load.client.retries, f"requests were refused meanwhile: {load.client.retries}"


def test_a_drained_node_is_emptied_and_one_that_is_taken_back_gets_its_share(
    cluster: LiveCluster, load: SteadyLoad
) -> None:
    drained = cluster.ctl("drain", "node1")
    assert drained["left"] == 0
    assert cluster.node("node1")["partitions"] == 0
    assert "node1" not in {owner for owner, _ in cluster.placements("visits", "store").values()}
    cluster.ctl("uncordon", "node1")
    wait_for(lambda: cluster.node("node1")["partitions"] > 16, "node1 to get its share", 40.0)
    checked(cluster, load)
    assert not load.client.retries, f"requests were refused meanwhile: {load.client.retries}"


@contextlib.contextmanager
def further_node(cluster: LiveCluster, folder: Path) -> Iterator[psutil.Popen]:
    """node4, started by hand."""
    command = [sys.executable, "-P", "-m", "worker", "--name=node4", f"--broker={cluster.broker}"]
    command += [f"--redis={cluster.redis}", f"--data-dir={folder}"]
    with (folder / "log").open("wb") as log:
        process = psutil.Popen(command, env=cluster.environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            process.wait()


def test_a_node_joins_and_leaves(cluster: LiveCluster, load: SteadyLoad, tmp_path: Path) -> None:
    with further_node(cluster, tmp_path) as process:
        wait_for(lambda: cluster.node("node4").get("partitions", 0) > 16, "node4 to get its share", 40.0)
        process.terminate()
        assert process.wait(20) == 0
    assert "node4" not in {owner for owner, _ in cluster.placements("visits", "store").values()}
    checked(cluster, load)
    assert not load.client.retries, f"requests were refused meanwhile: {load.client.retries}"


def test_a_nodes_folder_may_be_deleted(cluster: LiveCluster, load: SteadyLoad) -> None:
    pid, folder = cluster.pid("node2"), cluster.state / "node2"
    shutil.rmtree(folder)
    wait_for((folder / "alive").exists, "the node's sign of life")
    cluster.kill("node2/host")
    more(load, 200)
    assert cluster.pid("node2") == pid
    wait_for(lambda: cluster.node("node2").get("hosts") == 1, "the host")
    checked(cluster, load)


# -- what is deployed --------------------------------------------------------------------------------------


def changed(folder: Path, old: str, new: str) -> Path:
    """A copy of examples/visits with other code."""
    made = folder / "visits"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(VISITS, made, ignore=shutil.ignore_patterns("__pycache__"))
    code = (made / "visits.py").read_text()
    assert old in code
    (made / "visits.py").write_text(code.replace(old, new))
    return made


def test_versions_change_without_a_failed_request(cluster: LiveCluster, load: SteadyLoad, tmp_path: Path) -> None:
    assert cluster.get("/regular").body["greeting"].startswith("Welcome to")
    before = cluster.ask("status")["graphs"][0]["version"]
    new = cluster.ctl("deploy", str(changed(tmp_path, '"Hello again, ', '"Salut, ')))
    assert new["version"] == before + 1
    wait_for(lambda: cluster.get("/regular").body["greeting"].startswith("Salut, regular"), "the new version")
    assert cluster.get("/regular").body["visits"] >= 3  # the contexts have stayed
    broken = cluster.run(
        "deploy", str(changed(tmp_path, "import asyncio", "import asyncio, nowhere_to_be_found")),
        "--controller", cluster.controller,
    )  # fmt: skip
    assert broken.code != 0
    assert "nowhere_to_be_found" in broken.errors
    assert cluster.ask("status")["graphs"][0]["version"] == before + 1
    more(load, 100)
    assert cluster.get("/someone-else").status == 200
    checked(cluster, load)
    assert not load.client.retries, f"requests were refused meanwhile: {load.client.retries}"


def test_two_services_side_by_side(cluster: LiveCluster, load: SteadyLoad) -> None:
    cluster.ctl("deploy", str(SHOP), "--wait")
    script = [sys.executable, str(SHOP / "load.py"), "--url", cluster.http, "--idempotent", "--json"]
    done = subprocess.run(
        [*script, "--rate", "60", "--seconds", "3"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["violations"] == []
    assert {g["name"] for g in cluster.ctl("status")["graphs"]} == {"visits", "shop"}
    cluster.ctl("undeploy", "shop", "--purge")
    wait_for(lambda: cluster.get("/stock/tea").status == 404, "the shop to be closed")
    checked(cluster, load)


DIVIDE = """
def divide(message, context):
    context["tried"] = context.get("tried", 0) + 1
    if message["params"]["by"] in ("zero", "nothing"):
        raise ValueError(f"by {message['params']['by']} one cannot divide")
    return {"tried": context["tried"]}
"""
DIVIDE_GRAPH = """
graph: sums
inputs: {input: "GET /divide/{by}"}
fluxions: {divide: {code: "sums:divide", key: params.by}}
streams: [input >> divide, divide >> output]
"""


def test_what_cannot_be_handled_is_kept_shown_replayed_and_dropped(cluster: LiveCluster, tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(DIVIDE)
    (tmp_path / "graph.yaml").write_text(DIVIDE_GRAPH)
    cluster.ctl("deploy", str(tmp_path), "--wait")
    wait_for(lambda: cluster.get("/divide/two").status == 200, "the service")
    letters = {}
    for by in ("zero", "nothing"):
        failed = cluster.get(f"/divide/{by}")
        assert failed.status == 500
        letters[by] = failed.body["dead_letter"]
    assert {entry["id"] for entry in cluster.ctl("dead", "list")} == set(letters.values())
    shown = cluster.ctl("dead", "show", letters["zero"])
    assert (shown["fluxion"], shown["key"]) == ("divide", "zero")
    assert "by zero one cannot divide" in shown["error"]
    assert "sums.py" in shown["traceback"]
    assert cluster.ctl("dead", "drop", letters["nothing"])["done"]
    assert cluster.contexts("sums", "divide", ["zero"]) == {"zero": {}}  # what failed left nothing behind

    (tmp_path / "sums.py").write_text(DIVIDE.replace("raise", "pass #"))
    cluster.ctl("deploy", str(tmp_path))
    assert cluster.ctl("dead", "replay", letters["zero"])["done"]
    wait_for(lambda: cluster.ask("dead", action="list") == [], "the letter to be handled")
    assert cluster.contexts("sums", "divide", ["zero"]) == {"zero": {"tried": 1}}
    cluster.ctl("undeploy", "sums", "--purge")


def test_a_redis_that_lost_everything_is_gone_by(tmp_path: Path) -> None:
    """What was stored is lost; the service goes on, and deployed again it is as new."""
    users = [f"/user{n}" for n in range(40)]
    with LiveCluster(tmp_path / "state", VISITS, nodes=2) as small:
        for _ in range(3):  # epochs above those which follow
            small.ctl("migrate", "store", "node1")
            small.ctl("migrate", "store", "node2")
        assert {small.get(user).body["visits"] for user in users} == {1}
        with socket.create_connection(("127.0.0.1", int(small.redis.rsplit(":", 1)[1].split("/")[0]))) as redis:
            redis.sendall(b"FLUSHALL\r\n")
            assert redis.recv(100) == b"+OK\r\n"
        # Refused, not lost, while the controller finds out: until then no node has the partition.
        for user in users:
            wait_for(lambda user=user: small.get(user).status == 200, f"{user} to be let in")
        assert {small.get(user).body["visits"] for user in users} == {2}
        small.ctl("deploy", str(VISITS))
        wait_for(small.whole, "the cluster to be whole")
        assert {small.get(user).body["visits"] for user in users} == {3}
        small.ctl("migrate", "store", "node1")
        assert {small.get(user).body["visits"] for user in users} == {4}


def test_a_stop_ends_everything(tmp_path: Path) -> None:
    """Of a cluster in which something hangs, too."""
    with LiveCluster(tmp_path / "state", None, nodes=1) as small:
        small.send("node1", signal.SIGSTOP)
        down = small.run("down", "--state", str(small.state), "--json")
        assert down.code == 0, down.errors
        assert small.processes() == []

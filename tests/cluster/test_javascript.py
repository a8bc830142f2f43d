"""Fluxions in JavaScript on a whole cluster: moved, killed and brought in anew, under load that keeps book."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from live_cluster import ROOT, LiveCluster, wait_for
from steady_load import SteadyLoad

from liquefy import confine

VISITS = ROOT / "examples" / "visits-js"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    settings = {"TOLD": "to hosts that ask for it"}
    with LiveCluster(tmp_path_factory.mktemp("live") / "state", VISITS, environment=settings) as made:
        yield made


@pytest.fixture
def load(cluster: LiveCluster) -> Iterator[SteadyLoad]:
    wait_for(cluster.whole, "the cluster to be whole")
    with SteadyLoad(cluster.http, 100.0, seed=time.time_ns() % 10**9) as running:
        wait_for(lambda: running.answered > 50, "the first answers")
        yield running


def checked(cluster: LiveCluster, load: SteadyLoad) -> None:
    load.stop()
    verdict = load.check(cluster.contexts("visits-js", "store", load.users))
    assert verdict.clean, f"{verdict} {load.statuses}"


def test_it_is_moved_while_it_is_used(cluster: LiveCluster, load: SteadyLoad) -> None:
    for node in ("node3", "node1", "node2"):
        cluster.ctl("migrate", "visits-js/store", node)
        wait_for(lambda since=load.answered: load.answered > since + 30, "more answers")
    assert {owner for owner, _ in cluster.placements("visits-js", "store").values()} == {"node2"}
    checked(cluster, load)


@pytest.mark.parametrize("name", ["node2/host", "node1"])
def test_what_is_killed_comes_back_and_nothing_is_lost(cluster: LiveCluster, load: SteadyLoad, name: str) -> None:
    pid = cluster.kill(name)
    wait_for(lambda: cluster.pid(name) not in (0, pid), f"another {name}")
    wait_for(cluster.whole, "the cluster to be whole")
    wait_for(lambda since=load.answered: load.answered > since + 100, "more answers")
    checked(cluster, load)


def test_a_host_dies_with_its_worker(cluster: LiveCluster) -> None:
    wait_for(cluster.whole, "the cluster to be whole")
    host = psutil.Process(wait_for(lambda: cluster.pid("node3/host"), "a host"))
    os.kill(host.pid, signal.SIGSTOP)  # so that it does not end by seeing its connection close
    cluster.kill("node3")
    wait_for(lambda: not host.is_running() or host.status() == psutil.STATUS_ZOMBIE, "the host to be gone")
    wait_for(cluster.whole, "the cluster to be whole")


CODE = """
const seen = require("counted");

exports.app = async function (message, context) {
  context.map ??= new Map([["first", new Date(0)]]);
  if (message.body.path === "/app/loop") for (;;);
  context.map.set(message.id, { n: seen(), big: 2n ** 70n, nothing: undefined });
  return { size: context.map.size, told: process.env.TOLD, home: process.env.LIQUEFY_TEST_CLUSTER };
};
"""

GRAPH = """
graph: app
language: javascript
env: [TOLD]
inputs:
  app: GET /app/{what}
fluxions:
  app: {code: "app:app", group: all, timeout_s: 0.3}
streams:
  - app >> app-fluxion >> output
"""


def test_packages_are_installed_and_a_loop_without_end_ends_in_a_dead_letter(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    (folder / "counted").mkdir(parents=True)
    (folder / "graph.yaml").write_text(GRAPH.replace("  app: {code", "  app-fluxion: {code"))
    (folder / "app.js").write_text(CODE)
    (folder / "counted" / "package.json").write_text(json.dumps({"name": "counted", "version": "1.0.0"}))
    (folder / "counted" / "index.js").write_text("let n = 0;\nmodule.exports = () => ++n;\n")
    package = {"dependencies": {"counted": "file:counted"}, "scripts": {"install": "false"}}
    (folder / "package.json").write_text(json.dumps(package))
    cluster.ctl("deploy", str(folder), "--wait")
    for size in (2, 3):
        answer = cluster.get("/app/x")
        assert (answer.status, answer.body) == (200, {"size": size, "told": "to hosts that ask for it"})
    looped = cluster.get("/app/loop")
    assert looped.status == 500
    assert "ended the host" in looped.body["error"]
    assert cluster.get("/app/x").body["size"] == 4
    cluster.ctl("undeploy", "app")


OTHERS = """
const { constants: { priority }, getPriority, setPriority } = require("node:os");
const { execFileSync } = require("node:child_process");

function tried(call) {
  try {
    call();
    return "yes";
  } catch (error) {
    return error.info?.code ?? error.code;
  }
}

exports.app = (message) => ({
  of_worker: [
    tried(() => setPriority(process.ppid, priority.PRIORITY_LOW)),
    tried(() => process.kill(process.ppid, 0)),
  ],
  own: [
    tried(() => setPriority(getPriority())),
    tried(() => setPriority(process.pid, getPriority())),
    tried(() => execFileSync("/bin/sh", ["-c", "ulimit -t 9; nice -n 1 true"])),
  ],
});
"""


@pytest.mark.skipif(not confine.can_filter(), reason="this kernel has no filter of calls")
def test_users_code_sets_no_priority_of_its_worker(cluster: LiveCluster, tmp_path: Path) -> None:
    (tmp_path / "graph.yaml").write_text(GRAPH.replace("  app: {code", "  app-fluxion: {code"))
    (tmp_path / "app.js").write_text(OTHERS)
    cluster.ctl("deploy", str(tmp_path), "--wait")
    told = cluster.get("/app/x").body
    assert told["of_worker"][0] == "EPERM"
    assert told["of_worker"][1] == ("EPERM" if confine.can_keep_signals() else "yes")
    assert told["own"] == ["yes"] * 3
    cluster.ctl("undeploy", "app")


def test_code_that_cannot_be_imported_is_refused_with_its_line(cluster: LiveCluster, tmp_path: Path) -> None:
    (tmp_path / "graph.yaml").write_text(GRAPH.replace("  app: {code", "  app-fluxion: {code"))
    (tmp_path / "app.js").write_text("exports.app = (message) => 1;\n\nnull.x;\n")
    reply = cluster.run("deploy", str(tmp_path), "--wait", "--controller", cluster.controller)
    assert reply.code != 0
    assert "TypeError: Cannot read properties of null" in reply.errors
    assert "app.js:3" in reply.errors


STREAM = """
import { setTimeout as sleep } from "node:timers/promises";
import { current } from "liquefy/streaming";

export async function live(message) {
  const stream = current();
  stream.send(201, [["X-Live", "yes"]], Buffer.from("begins, "));
  await sleep(4000); // longer than a host may be without progress
  stream.send(201, [], Buffer.from("ends"));
}
"""

STREAM_GRAPH = """
graph: live
language: javascript
inputs:
  in: {route: "GET /live/{what}", raw: true}
fluxions:
  live: {code: "live.mjs:live", pinned: "streams", timeout_s: 0.3}
streams:
  - in >> live >> output
"""


def test_an_answer_in_pieces_may_be_quiet_for_long(cluster: LiveCluster, tmp_path: Path) -> None:
    (tmp_path / "graph.yaml").write_text(STREAM_GRAPH)
    (tmp_path / "live.mjs").write_text(STREAM)
    cluster.ctl("deploy", str(tmp_path), "--wait")
    with urllib.request.urlopen(cluster.http + "/live/x", timeout=20) as answer:
        assert (answer.status, answer.headers["X-Live"]) == (201, "yes")
        since_s = time.perf_counter()
        assert answer.read(len("begins, ")) == b"begins, "
        assert time.perf_counter() - since_s < 3
        assert answer.read() == b"ends"
    cluster.ctl("undeploy", "live")

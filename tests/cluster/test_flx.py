"""A service in the fluxional language on a cluster: deployed from its text, a message variable renamed by hand,
deployed again while it serves."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import ROOT, LiveCluster, wait_for

VISITS = ROOT / "examples/visits-flx/visits.flx"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with LiveCluster(tmp_path_factory.mktemp("flx") / "state", VISITS, nodes=3) as made:
        yield made


def visit(cluster: LiveCluster, user: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{cluster.http}/{user}", timeout=10) as response:
        found: dict[str, object] = json.loads(response.read())
        return found


def test_it_serves_moves_and_goes_on_when_a_message_is_renamed(cluster: LiveCluster, tmp_path: Path) -> None:
    wait_for(cluster.whole, "the cluster to be whole")
    assert visit(cluster, "alice")["greeting"] == "Welcome to Lyon, alice"
    assert visit(cluster, "alice")["visits"] == 2
    for node in ("node1", "node2", "node3"):
        cluster.ctl("migrate", "store", node)
        visit(cluster, "alice")
    renamed = tmp_path / "visits.flx"
    before = VISITS.read_text()
    text = before.replace("user", "visitor")
    assert text.count("visitor") >= 10
    renamed.write_text(text)
    assert cluster.ctl("deploy", str(renamed), "--wait")["version"] == 2
    answer = visit(cluster, "alice")
    assert (answer["visitor"], answer["visits"]) == ("alice", 6)


def test_half_a_rename_is_refused_with_its_line(cluster: LiveCluster, tmp_path: Path) -> None:
    file = tmp_path / "visits.flx"
    file.write_text(VISITS.read_text().replace("-> callExternalDB [user,", "-> callExternalDB [visitor,"))
    reply = cluster.run("deploy", str(file), "--controller", cluster.controller)
    assert reply.code == 2
    assert f"{file}:16:1: 'localProcess' sends visitor" in reply.errors


JAVASCRIPT = """service counters
language javascript

flx count {n} by params.id
  POST /counters/{id}
  -> show [user, n]
  step
    const user = params.id;
    n = (n ?? 0) + 1;

flx show
  -> output [text]
  step
    await new Promise((done) => setTimeout(done, 1));
    const text = `${user}: ${n}`;
"""


def test_bodies_in_javascript(cluster: LiveCluster, tmp_path: Path) -> None:
    file = tmp_path / "counters.flx"

    def count() -> str:
        request = urllib.request.Request(f"{cluster.http}/counters/alice", method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(json.loads(response.read())["text"])

    file.write_text(JAVASCRIPT)
    cluster.ctl("deploy", str(file), "--wait")
    assert wait_for(count, "an answer") == "alice: 1"
    file.write_text(JAVASCRIPT.replace("user", "visitor"))
    cluster.ctl("deploy", str(file), "--wait")
    assert count() == "alice: 2"


def test_a_compiled_program_is_printed_edited_and_deployed_again(cluster: LiveCluster, tmp_path: Path) -> None:
    file = tmp_path / "guestbook.flx"
    cluster.ctl("undeploy", "visits-flx")  # it answers the same requests
    deployed(cluster, ROOT / "examples/guestbook-py/app.py", tmp_path / "one")
    told = wait_for(lambda: visit(cluster, "alice"), "an answer")
    assert (told["visits"], told["regular"]) == (1, False)
    reply = cluster.run("compile", str(ROOT / "examples/guestbook-py/app.py"), "--emit", "flx", "-o", str(file))
    assert reply.code == 0, reply.errors
    text = file.read_text()
    assert text.count("regular") >= 4
    file.write_text(text.replace("regular", "frequent"))
    deployed(cluster, file, tmp_path / "two")
    told = visit(cluster, "alice")
    assert (told["visits"], told["frequent"]) == (2, False)


def deployed(cluster: LiveCluster, source: Path, bundle: Path) -> None:
    """As `deploy` does, but for what it requires: that is installed here, and there may be no index."""
    reply = cluster.run("compile", str(source), "--emit", "bundle", "-o", str(bundle))
    assert reply.code == 0, reply.errors
    (bundle / "requirements.txt").unlink()
    cluster.ctl("deploy", str(bundle), "--wait")

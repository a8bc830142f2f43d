"""Connections with keys: who gets in, as what, and for how long."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from live_cluster import ROOT, LiveCluster, wait_for

from ctl.asking import Controller, Unreachable
from liquefy import confine, keyring, transport
from liquefy import messages as m
from liquefy.errors import UserError
from liquefy.graph import Graph
from liquefy.keyring import Keyring
from liquefy.transport import Asker, Denied, Link, RouterSocket, Silent

REVOKED_S = 5.0
"""Within so long a revoked key is good for nothing."""


class Peer:
    """A connection to a broker with the keys given, that says Hello as some role."""

    def __init__(self, endpoint: str, role: m.Role, name: str, keys: Keyring | None, session: bytes = b"") -> None:
        self.role, self.name = role, name
        self.sessions: list[bytes] = []
        self.got: list[list[bytes]] = []
        self.refused: list[str] = []
        self.downs = 0
        self.link = Link(
            endpoint, name, self.got.append, self._up, self._down, keys, on_refused=self.refused.append
        )
        self.link.open()

    def _up(self, session: bytes) -> None:
        self.sessions.append(session)
        self.link.send([m.encode(m.Hello(self.role, self.name))])

    def _down(self) -> None:
        self.downs += 1

    def heard(self) -> list[m.Control]:
        """What came from the broker, but Fenced and Ping."""
        said = [m.decode_control(frames[-1]) for frames in self.got]
        return [each for each in said if not isinstance(each, m.Fenced | m.Ping)]


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 30)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


class Server:
    """A RouterSocket for workers, and whom it refused."""

    def __init__(self, folder: Path, roles: tuple[str, ...] = ("worker",)) -> None:
        self.got: list[tuple[bytes, list[bytes]]] = []
        self.refused: list[tuple[str, str]] = []
        self.router = RouterSocket(
            "tcp://127.0.0.1:0",
            lambda who, frames: self.got.append((who, frames)),
            Keyring(folder / "broker", "broker"),
            roles,
            lambda who, reason: self.refused.append((who, reason)),
        )
        self.router.bind()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    keyring.create(tmp_path / "keys")
    return tmp_path / "keys"


def test_frames_go_both_ways_between_holders_of_keys(keys: Path) -> None:
    async def test() -> None:
        server = Server(keys)
        peer = Peer(server.router.endpoint, "worker", "node1", Keyring(keys / "worker", "worker"))
        await until(lambda: server.got)
        session = server.got[0][0]
        assert re.fullmatch(rb"node1#[0-9a-f]{8}@worker", session)
        assert server.router.role_of(session) == "worker"
        assert server.router.send(session, [b"", b"a", b"b" * 100_000])
        await until(lambda: peer.got)
        assert peer.got == [[b"", b"a", b"b" * 100_000]]
        peer.link.close()
        server.router.close()
        assert not server.refused

    run(test())


def test_who_has_no_key_a_strange_one_or_one_of_another_role_gets_nothing(keys: Path, tmp_path: Path) -> None:
    async def test() -> None:
        server = Server(keys)
        keyring.create(tmp_path / "others")
        shutil.copy(keys / "allowed", tmp_path / "others/worker/allowed")  # it knows whom to connect to
        strangers = [
            Peer(server.router.endpoint, "worker", "nokey", None),
            Peer(server.router.endpoint, "worker", "strange", Keyring(tmp_path / "others/worker", "worker")),
            Peer(server.router.endpoint, "worker", "gateway", Keyring(keys / "gateway", "gateway")),
        ]
        await until(lambda: len({reason for _, reason in server.refused}) == 3)
        # Who has no key may see nothing but that the connection breaks.
        await until(lambda: all(peer.refused for peer in strangers[1:]))
        await asyncio.sleep(0.2)
        assert not server.got
        assert not any(peer.got or peer.sessions for peer in strangers)
        assert {who for who, _ in server.refused} <= {"127.0.0.1", "somebody"}  # gone before it was looked who it is
        for peer in strangers:
            peer.link.close()
        server.router.close()

    run(test())


def test_a_peer_does_not_speak_to_a_server_with_another_key(keys: Path, tmp_path: Path) -> None:
    async def test() -> None:
        keyring.create(tmp_path / "others")
        server = Server(tmp_path / "others")
        plain = RouterSocket("tcp://127.0.0.1:0", lambda who, frames: None)
        plain.bind()
        for endpoint in (server.router.endpoint, plain.endpoint):
            peer = Peer(endpoint, "worker", "node1", Keyring(keys / "worker", "worker"))
            await asyncio.sleep(0.5)
            assert not peer.sessions
            peer.link.close()
        assert not server.got
        server.router.close()
        plain.close()

    run(test())


def test_who_does_not_shake_hands_in_time_has_not_refused_the_key(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_MAX_MS", 100)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        endpoint = f"tcp://127.0.0.1:{hung.getsockname()[1]}"
        with pytest.raises(Silent, match="has not shaken hands within"):
            Asker(endpoint, Keyring(keys / "operator", "operator"))
        with pytest.raises(Unreachable, match="it may be overloaded"):
            Controller(endpoint, keys=str(keys / "operator"))


def test_a_session_that_names_another_key_is_not_heard(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        server = Server(keys, ("worker", "controller"))
        monkeypatch.setattr("liquefy.transport.keyed_session", lambda session, key: session + b"@controller")
        peer = Peer(server.router.endpoint, "controller", "node1", Keyring(keys / "worker", "worker"))
        await until(lambda: server.refused)
        assert not server.got
        assert "names another key" in server.refused[0][1]
        peer.link.close()
        server.router.close()

    run(test())


def test_a_revoked_key_is_good_for_nothing_and_another_takes_its_place(keys: Path) -> None:
    async def test() -> None:
        server = Server(keys)
        peer = Peer(server.router.endpoint, "worker", "node1", Keyring(keys / "worker", "worker"))
        await until(lambda: server.got)
        session = peer.sessions[0]
        keyring.revoke(keys, "worker")
        await until(lambda: not server.router.send(session, [b"x"]))
        before = len(server.got)
        peer.link.send([b"still here"])
        await until(lambda: server.refused)
        assert len(server.got) == before
        peer.link.reconnect()
        await until(lambda: peer.refused)
        assert len(peer.sessions) == 1
        keyring.add(keys, "worker", "worker2")
        await until(lambda: len(peer.sessions) == 2)
        assert peer.sessions[1].endswith(b"@worker2")
        peer.link.close()
        server.router.close()

    run(test())


def test_a_revoked_server_is_left(keys: Path) -> None:
    async def test() -> None:
        server = Server(keys)
        peer = Peer(server.router.endpoint, "worker", "node1", Keyring(keys / "worker", "worker"))
        await until(lambda: peer.sessions)
        keyring.revoke(keys, "broker")
        await until(lambda: peer.downs)
        await until(lambda: len(peer.refused) == 2)
        assert "revoked" in peer.refused[0]
        assert "in force" in peer.refused[1]
        peer.link.close()
        server.router.close()

    run(test())


# -- a cluster ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    state = tmp_path_factory.mktemp("keys") / "state"
    with LiveCluster(state, ROOT / "examples/visits", nodes=2, keys=True) as live:
        yield live


def test_a_cluster_with_keys_serves_moves_and_deploys(cluster: LiveCluster) -> None:
    assert [cluster.get("/alice").body["visits"] for _ in range(3)] == [1, 2, 3]
    moved = cluster.ctl("migrate", "store", "node2")
    assert moved["moved"]
    assert not moved["failed"]
    assert cluster.get("/alice").body["visits"] == 4
    assert cluster.ctl("deploy", str(ROOT / "examples/visits"))["version"] == 2
    assert cluster.get("/alice").body["visits"] == 5
    for name in ("allowed", "broker/broker.key", "operator/operator.key", "deployer/deployer.key"):
        mode = (Path(cluster.keys) / name).stat().st_mode & 0o777
        assert mode == (0o644 if name == "allowed" else 0o600)


def test_without_an_operators_key_the_controller_says_nothing(cluster: LiveCluster, tmp_path: Path) -> None:
    for environment in ({"LIQUEFY_KEYS": ""}, {"LIQUEFY_KEYS": f"{cluster.keys}/worker"}):
        kept = dict(cluster.environment)
        cluster.environment.update(environment)
        try:
            reply = cluster.run("status", "--json", "--controller", cluster.controller)
        finally:
            cluster.environment = kept
        assert reply.code in (1, 2)
        assert reply.value is None
        assert "operator's key" in reply.errors
    # With a worker's key in an operator's clothes, too.
    keys = tmp_path / "keys"
    shutil.copytree(cluster.keys, keys)
    secret = (keys / "worker/worker.key").read_text().split()[2]
    (keys / "operator/operator.key").write_text(f"operator worker {secret}\n")
    with pytest.raises(Denied):
        Asker(cluster.controller, Keyring(keys, "operator"))
    wait_for(lambda: "its key worker is a worker's, here operator connect" in cluster.log("controller"), "the log")


def test_a_workers_key_cannot_act_as_a_controllers(cluster: LiveCluster) -> None:
    worker = Keyring(f"{cluster.keys}/worker", "worker")

    async def test() -> None:
        peer = Peer(cluster.broker, "controller", "evil", worker)
        await until(lambda: peer.got)
        assert not peer.heard()
        peer.link.reconnect()
        await until(lambda: len(peer.sessions) > 1)
        await asyncio.sleep(0.3)
        assert not peer.heard()
        peer.link.close()
        # Nor by relay, as the worker that it may be.
        peer = Peer(cluster.broker, "worker", "evil", worker)
        await until(lambda: any(isinstance(each, m.Welcome) for each in peer.heard()))
        welcome = next(each for each in peer.heard() if isinstance(each, m.Welcome))
        gateway = next(route.session for route in welcome.routes if route.destination.startswith("@"))
        peer.link.send([gateway, m.encode(m.Graphs([Graph("visits", 99, "", (), (), ())]))])
        await until(lambda: any(isinstance(m.decode_control(frames[-1]), m.Fenced) for frames in peer.got))
        peer.link.close()

    run(test())
    log = cluster.log("broker")
    assert log.count("evil is refused: it says Hello as controller with the key worker, a worker's") == 1
    assert log.count("Graphs is not for a worker to say") == 1
    assert cluster.get("/bob").status == 200


def test_a_revoked_key_ends_within_seconds_and_is_logged_once(cluster: LiveCluster) -> None:
    keys = Path(cluster.keys)
    assert cluster.run("keys", "add", "gateway", "edge", "--json").code == 0
    edge = Keyring(keys / "gateway", "gateway")

    async def test() -> None:
        peer = Peer(cluster.broker, "gateway", "edge", edge)
        await until(lambda: peer.heard())
        assert peer.sessions[0].endswith(b"@edge")
        (keys / "gateway/edge.key").rename(keys / "edge.kept")
        shutil.copytree(keys / "gateway", keys / "thief")
        (keys / "edge.kept").rename(keys / "thief/edge.key")
        assert cluster.run("keys", "revoke", "edge", "--json").code == 0
        began = time.monotonic()
        await until(lambda: "edge (gateway) is gone" in cluster.log("broker"))
        assert time.monotonic() - began < REVOKED_S
        (keys / "thief/gateway.key").unlink()
        await asyncio.sleep(1.0)  # what had arrived before is taken now
        heard = len(peer.got)
        for _ in range(20):
            peer.link.send([m.encode(m.Beat())])
            await asyncio.sleep(0.02)
        assert len(peer.got) == heard
        peer.link.close()
        # The thief's list is as it was; he tries again and again.
        thief = Peer(cluster.broker, "gateway", "edge", Keyring(keys / "thief", "gateway"))
        await asyncio.sleep(2.5)
        assert not thief.got
        thief.link.close()

    run(test())
    assert cluster.log("broker").count("its key edge was revoked") == 1
    assert cluster.log("broker").count("its key is not in force any more") == 1
    assert cluster.get("/carol").status == 200


def test_a_bundle_that_no_allowed_deployer_has_signed_is_refused(cluster: LiveCluster, tmp_path: Path) -> None:
    app = tmp_path / "evil"
    app.mkdir()
    mark = tmp_path / "ran"
    (app / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n\ndef run(message):\n    return None\n"
    )
    (app / "graph.yaml").write_text(
        'graph: evil\ninputs:\n  input: GET /evil\nfluxions:\n  run: {code: "evil:run"}\n'
        "streams:\n  - input >> run\n  - run >> output\n"
    )
    keys = tmp_path / "keys"
    shutil.copytree(cluster.keys, keys)
    shutil.rmtree(keys / "deployer")
    with pytest.raises(UserError):
        Keyring(keys, "deployer")
    stranger = tmp_path / "stranger"
    keyring.create(stranger)
    shutil.copytree(stranger / "deployer", keys / "deployer")
    kept = dict(cluster.environment)
    cluster.environment["LIQUEFY_KEYS"] = str(keys)
    try:
        reply = cluster.run("deploy", str(app), "--json", "--controller", cluster.controller)
    finally:
        cluster.environment = kept
    assert reply.code == 1
    assert "signed by somebody who may not deploy" in reply.errors
    assert "remedy" in reply.errors
    assert not mark.exists()
    assert cluster.run("deploy", str(app), "--json", "--controller", cluster.controller).code == 0
    assert mark.exists()


SPY = '''
import os

from liquefy import answer


def tried(call):
    try:
        call()
        return "yes"
    except Exception as error:
        return type(error).__name__


def spy(message):
    worker = os.getppid()
    return answer({
        "key": tried(lambda: open(KEYS + "/worker/worker.key").read()),
        "list": tried(lambda: open(KEYS + "/allowed").read()),
        "environment of the worker": tried(lambda: open(f"/proc/{worker}/environ").read()),
        "memory of the worker": tried(lambda: open(f"/proc/{worker}/mem", "rb")),
        "signals": tried(lambda: os.kill(worker, 0)),
        "worker chosen when memory is short": tried(lambda: open(f"/proc/{worker}/oom_score_adj", "r+")),
        "broker chosen when memory is short": tried(lambda: open(f"/proc/{BROKER}/oom_score_adj", "r+")),
        "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "ours": [name for name in os.environ if name.startswith("LIQUEFY_")],
        "own files": tried(lambda: open(__file__).read()),
    })
'''


@pytest.mark.skipif(not confine.can_hide(), reason="this kernel has no Landlock")
def test_users_code_reaches_no_key_and_nothing_of_its_worker(cluster: LiveCluster, tmp_path: Path) -> None:
    app = tmp_path / "spy"
    app.mkdir()
    (app / "spying.py").write_text(f"KEYS, BROKER = {cluster.keys!r}, {cluster.pid('broker')}\n" + SPY)
    (app / "graph.yaml").write_text(
        'graph: spy\nenv: [LIQUEFY_REDIS, LIQUEFY_KEYS]\ninputs:\n  input: GET /spy/now\nfluxions:\n'
        '  spy: {code: "spying:spy"}\nstreams:\n  - input >> spy\n  - spy >> output\n'
    )
    reply = cluster.run("deploy", str(app), "--json", "--wait", "--controller", cluster.controller)
    assert reply.code == 0, reply.errors
    told = wait_for(lambda: (r := cluster.get("/spy/now")).status == 200 and r.body, "an answer")
    descriptors = told.pop("descriptors")
    assert told == {
        "key": "PermissionError",
        "list": "PermissionError",
        "environment of the worker": "PermissionError",
        "memory of the worker": "PermissionError",
        "signals": "PermissionError",
        "worker chosen when memory is short": "PermissionError",
        "broker chosen when memory is short": "PermissionError",
        "ours": [],
        "own files": "yes",
    }
    assert len(descriptors) <= 5, "its output, the connection to its worker, and the folder that it lists"

"""liquefy-ctl against a controller that says what it is told to: each command's request, text, JSON and exit code."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ctl import asking
from ctl.__main__ import build
from liquefy import curve
from liquefy.control import Reply, Request, decode_request, encode
from liquefy.transport import RouterSocket

NODE = {
    "name": "node1", "state": "up", "partitions": 11, "load": 0.25, "capacity": 1.0, "utilisation": 0.25, "rate": 120.0,
    "queued": 0, "rss": 45_000_000, "hosts": 1, "since_s": 1.0,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "graphs": [{"name": "visits", "version": 2, "fluxions": 5, "partitions": 160, "unplaced": 0}],
    "nodes": [NODE], "frozen": "", "moves": 0, "redis_ok": True, "broker_ok": True, "http": ["http://h:8080"],
    "uptime_s": 10.0, "migrations": 3, "failovers": 1, "dead": 2,
}  # fmt: skip
MOVE = {
    "partition": "visits/store/1",
    "from": "node1",
    "to": "node3",
    "epoch": 2,
    "pause_ms": 1.5,
    "held": 3,
    "error": "",
}
MOVED = {
    "moved": 1, "failed": 0, "paused": 1, "pause_ms": {"p50": 1.5, "p99": 1.5, "max": 1.5}, "held": 3, "seconds": 0.1,
    "moves": [MOVE],
}  # fmt: skip
FAILED = {**MOVED, "moved": 0, "failed": 1, "moves": [{**MOVE, "error": "node3 is gone"}]}
PLANNED = {
    "partition": "visits/store/1",
    "from": "node1",
    "to": "node2",
    "reason": "node1 is hot",
    "gain": 0.2,
}
GRAPH = {
    "name": "visits", "version": 2, "deadline_ms": 30_000,
    "inputs": [{"name": "input", "method": "GET", "path": "/{id}", "to": "store"}],
    "fluxions": [{"name": "store", "code": "m:f", "group": "store", "key": "params.id", "streams": ["output"]}],
    "groups": [
        {"name": "store", "stateful": True, "pinned": "", "partitions": 32, "nodes": {"node1": 32}, "rate": 1.0}
        | {"load": 0.1}
    ],
    "streams": ["input >> store", "store >> output"],
}  # fmt: skip
WHY = {
    "partition": "visits/store/7", "node": "node1", "epoch": 4, "since_s": 1.0, "reason": "deployed", "load": 0.1,
    "share": 0.5, "pinned": False, "history": [],
}  # fmt: skip
LETTER = {
    "id": "5f", "graph": "visits", "fluxion": "store", "key": "alice", "error": "ValueError: no", "time_s": 1.0,
    "attempts": 2,
}  # fmt: skip
EVENT = {"time_s": 1.0, "event": "move", "text": "store/7 moved", "fields": {}}
LINE = {"time_s": 1.0, "level": "info", "source": "node1", "text": "hello"}

CASES: list[tuple[str, str, dict[str, Any], Any, list[str], int]] = [
    # command line, command, arguments, result, words of the text, exit code
    ("status", "status", {}, STATUS, ["visits", "node1", "http://h:8080", "2 dead letters", "45.0 MB"], 0),
    ("nodes", "nodes", {}, [NODE], ["node1", "up", "25%"], 0),
    ("nodes", "nodes", {}, [], ["no nodes yet"], 0),
    ("top --rounds 1", "status", {}, STATUS, ["visits", "node1"], 0),
    ("graph visits", "graph", {"graph": "visits"}, GRAPH, ["GET /{id}", "store >> output", "node1 (32)"], 0),
    ("migrate store node3", "migrate", {"what": "store", "node": "node3"}, MOVED,
     ["moved visits/store/1 to node3"], 0),
    ("migrate store node3 -v", "migrate", {"what": "store", "node": "node3"}, MOVED, ["visits/store/1", "EPOCH"], 0),
    ("migrate store node3", "migrate", {"what": "store", "node": "node3"}, FAILED, ["not moved: node3 is gone"], 1),
    ("rebalance --dry-run", "rebalance", {"dry_run": True}, {"moves": [PLANNED], "balanced": False},
     ["node1 is hot", "nothing was moved"], 0),
    ("rebalance", "rebalance", {"dry_run": False}, {"moves": [], "balanced": True}, ["balanced"], 0),
    ("rebalance", "rebalance", {"dry_run": False}, {"moves": [PLANNED], "balanced": False, "result": FAILED},
     ["not moved"], 1),
    ("freeze measuring", "freeze", {"reason": "measuring"}, {"frozen": "measuring"}, ["measuring"], 0),
    ("unfreeze", "unfreeze", {}, {"frozen": ""}, ["automatic moves are on"], 0),
    ("drain node2", "drain", {"node": "node2"}, {"node": "node2", "moved": 3, "left": 0, "stay": []},
     ["3 partitions", "is empty"], 0),
    ("drain node2", "drain", {"node": "node2"},
     {"node": "node2", "moved": 3, "left": 2, "stay": [{"partition": "live/store/0", "pinned": "keeps sessions"}]},
     ["could not be moved", "  live/store/0: keeps sessions\n", "and 1 more", "remedy: ", "undeploy live"], 1),
    ("drain node2", "drain", {"node": "node2"},
     {"node": "node2", "moved": 3, "left": 1, "stay": [{"partition": "visits/store/0", "pinned": ""}]},
     ["could not be moved", "tried again", "liquefy-ctl events"], 1),
    ("cordon node2", "cordon", {"node": "node2"}, {"node": "node2", "cordoned": True}, ["nothing new"], 0),
    ("uncordon node2", "uncordon", {"node": "node2"}, {"node": "node2", "cordoned": False}, ["takes part"], 0),
    ("pin store node1", "pin", {"what": "store", "node": "node1"}, {"what": "store", "node": "node1"},
     ["pinned to node1"], 0),
    ("unpin store", "unpin", {"what": "store"}, {"what": "store", "node": ""}, ["may be moved again"], 0),
    ("explain store/7", "explain", {"what": "store/7"}, {"partitions": [WHY]}, ["is on node1", "why: deployed"], 0),
    ("context get store alice", "context", {"action": "get", "what": "store", "key": "alice"},
     {"partition": "visits/store/1", "node": "node1", "key": "alice", "fields": {"count": 3}}, ["alice",
    "count", "3"], 0),
    ("context get store", "context", {"action": "get", "what": "store", "key": ""},
     {"partition": "visits/store/0", "node": "node1", "key": "", "fields": {"count": 3}},
     ["(the one of the group) in visits/store/0", "3"], 0),
    ("context list store", "context", {"action": "list", "what": "store", "limit": 100},
     {"keys": [{"key": "", "partition": "visits/store/0"}], "total": 1}, ["(the one of the group)"], 0),
    ("context list store --limit 1", "context", {"action": "list", "what": "store", "limit": 1},
     {"keys": [{"key": "alice", "partition": "visits/store/1"}], "total": 4}, ["alice", "3 more"], 0),
    ("dead list", "dead", {"action": "list", "graph": ""}, [LETTER], ["5f", "visits/store", "ValueError: no"], 0),
    ("dead list visits", "dead", {"action": "list", "graph": "visits"}, [], ["no dead letters"], 0),
    ("dead show 5f", "dead", {"action": "show", "id": "5f"}, {**LETTER, "body": b"hi", "traceback": "Traceback"},
     ["hi", "Traceback"], 0),
    ("dead replay 5f", "dead", {"action": "replay", "id": "5f"}, {"id": "5f", "done": True}, ["handled again"], 0),
    ("dead drop 5f", "dead", {"action": "drop", "id": "5f"}, {"id": "5f", "done": False}, ["not dropped"], 1),
    ("undeploy visits", "undeploy", {"graph": "visits", "purge": False},
     {"graph": "visits", "partitions": 160, "contexts_kept": True}, ["contexts kept"], 0),
]  # fmt: skip


class Controller:
    """Runs in a thread of its own; answers each command with what stands in `replies`."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[Request] = []
        self.address = ""
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._router = RouterSocket("tcp://127.0.0.1:0", self._on_frames)
        self._router.bind()
        self.address = self._router.endpoint
        self._ready.set()
        await self._stop.wait()
        self._router.close()

    def _on_frames(self, identity: bytes, frames: list[bytes]) -> None:
        request = decode_request(frames[-1])
        self.asked.append(request)
        for r in self.replies.get(request.command, ()):
            self._router.send(identity, [encode(Reply(request.id, r.progress, r.item, r.result, r.error, r.end))])


@pytest.fixture
def controller() -> Iterator[Controller]:
    made = Controller()
    yield made
    made.close()


def call(controller: Controller | None, line: str | list[str], *more: str) -> Result:
    address = ["--controller", controller.address] if controller else []
    words = line.split() if isinstance(line, str) else line
    return CliRunner().invoke(build(), [*words, *address, *more])


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}-{c[5]}" for c in CASES])
def test_each_command_asks_once_and_shows_what_it_gets(controller: Controller, case: tuple[Any, ...]) -> None:
    line, command, arguments, result, words, code = case
    controller.replies[command] = [Reply(0, result=result, end=True)]
    shown = call(controller, line)
    assert shown.exit_code == code, shown.output
    assert [(r.command, r.arguments) for r in controller.asked] == [(command, arguments)]
    for word in words:
        assert word in shown.stdout
    as_json = call(controller, line, "--json")
    assert as_json.exit_code == code
    expected = {**result, "body": "hi"} if isinstance(result, dict) and "body" in result else result
    assert json.loads(as_json.stdout) == expected


@pytest.mark.parametrize(("line", "item", "word"), [("events", EVENT, "store/7 moved"), ("logs node1", LINE, "hello")])
def test_streams_are_shown_item_by_item(controller: Controller, line: str, item: dict[str, Any], word: str) -> None:
    controller.replies[line.split()[0]] = [
        Reply(0, item=item),
        Reply(0, item=item),
        Reply(0, result={}, end=True),
    ]
    shown = call(controller, line)
    assert shown.exit_code == 0
    assert shown.stdout.count(word) == 2
    assert [json.loads(x) for x in call(controller, line, "--json").stdout.splitlines()] == [item, item]


def test_graph_without_a_name_is_the_only_one(controller: Controller, tmp_path: Path) -> None:
    controller.replies = {
        "status": [Reply(0, result=STATUS, end=True)], "graph": [Reply(0, result=GRAPH, end=True)],
    }  # fmt: skip
    shown = call(controller, f"graph --svg {tmp_path}/g.svg")
    assert shown.exit_code == 0
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    several = {**STATUS, "graphs": [{"name": "a"}, {"name": "b"}]}
    controller.replies["status"] = [Reply(0, result=several, end=True)]
    refused = call(controller, "graph")
    assert refused.exit_code == 2
    assert "name one of a, b" in refused.stderr


def test_a_refusal_is_one_message_and_exit_1(controller: Controller) -> None:
    controller.replies["migrate"] = [
        Reply(0, progress="moving"),
        Reply(0, error="no node node9\n  remedy: x", end=True),
    ]
    shown = call(controller, "migrate store node9")
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert shown.stderr == "moving\nerror: no node node9\n  remedy: x\n"


def test_nobody_there_is_exit_3_with_a_remedy(controller: Controller) -> None:
    address = controller.address
    controller.close()
    shown = call(None, ["status", "--controller", address])
    assert shown.exit_code == 3
    assert f"no controller answers at {address} (from --controller): Connection refused" in shown.stderr
    assert "remedy: start a cluster with `liquefy-ctl up`" in shown.stderr


def test_what_is_no_controller_is_not_taken_for_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"

        def greet() -> None:
            with other.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(1)

        thread = threading.Thread(target=greet)
        thread.start()
        shown = call(None, ["status", "--controller", address])
        thread.join()
    assert shown.exit_code == 3
    assert f"no controller answers at {address} (from --controller): what listens there is something" in shown.stderr


def test_a_controller_that_nobody_named_is_named(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    controller.replies["status"] = [Reply(0, result=STATUS, end=True)]
    controller.replies["migrate"] = [Reply(0, error="no node node9\n  remedy: x", end=True)]
    monkeypatch.delenv("LIQUEFY_CONTROLLER", raising=False)
    monkeypatch.setattr(asking, "CONTROL_DEFAULT", controller.address)
    monkeypatch.chdir(tmp_path)
    assert f"controller {controller.address} (from the default)" in call(None, "status").stdout
    refused = call(None, "migrate store node9")
    assert refused.stderr.endswith(f"remedy: x\n  asked: the controller at {controller.address} (from the default)\n")


def test_a_dry_run_needs_no_keys(controller: Controller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIQUEFY_KEYS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curve, "mechanism_of", lambda _: "CURVE")
    (tmp_path / "service.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    shown = call(controller, "deploy service.py --dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert "passed all checks" in shown.stdout
    assert f"the controller at {controller.address} (from --controller) asks for an operator's key" in shown.stdout
    assert call(controller, "deploy service.py").exit_code == 1


def test_memory_that_is_in_one_process_is_told_when_it_is_deployed(controller: Controller, tmp_path: Path) -> None:
    text = "import sqlite3\nfrom flask import Flask\napp = Flask(__name__)\ndb = sqlite3.connect(':memory:')\n"
    text += "@app.get('/')\ndef get():\n    return str(db.execute('select 1').fetchone())\n"
    (tmp_path / "service.py").write_text(text)
    result = {"graph": "service", "version": 1, "partitions": 33, "nodes": ["node1"]}
    controller.replies["deploy"] = [Reply(0, result=result, end=True)]
    shown = call(controller, f"deploy {tmp_path}/service.py --dry-run")
    assert "is lost when its process there ends" in shown.stdout
    assert "service.py: line" in shown.stdout


def test_the_environment_says_where_unless_a_flag_does(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.replies["nodes"] = [Reply(0, result=[NODE], end=True)]
    monkeypatch.setenv("LIQUEFY_CONTROLLER", controller.address)
    assert call(None, "nodes").exit_code == 0
    monkeypatch.setenv("LIQUEFY_CONTROLLER", "7702")
    assert call(controller, "nodes").exit_code == 0
    wrong = call(None, "nodes")
    assert wrong.exit_code == 2
    assert "LIQUEFY_CONTROLLER: '7702' is no endpoint" in wrong.stderr


def test_a_controller_that_hangs_is_found_out(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SILENCE_MAX_S", 0.5)
    monkeypatch.setattr(asking.Controller.ask, "__defaults__", (None, lambda _: None, 0.5))
    shown = call(controller, "nodes")
    assert shown.exit_code == 3
    assert "has not answered for 0.5 s" in shown.stderr


def test_a_controller_that_started_anew_has_forgotten_the_question(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PULSE_S", 0.5)
    controller.replies["status"] = [Reply(0, result={**STATUS, "uptime_s": 0.01}, end=True)]
    shown = call(controller, "drain node1")
    assert shown.exit_code == 3
    assert "started anew while it worked on drain" in shown.stderr


def test_deploy_sends_the_graph_and_its_code(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "graph.yaml").write_text(
        "graph: tiny\ninputs:\n  input: GET /{id}\nfluxions:\n"
        '  store: {code: "tiny:store", key: params.id}\nstreams:\n  - input >> store >> output\n'
    )
    (tmp_path / "tiny.py").write_text("def store(message, context):\n    return {}\n")
    result = {"graph": "tiny", "version": 1, "partitions": 32, "nodes": ["node1"]}
    controller.replies = {
        "deploy": [Reply(0, progress="node1 is ready"), Reply(0, result=result, end=True)],
        "status": [Reply(0, result={**STATUS, "graphs": [{"name": "tiny", "unplaced": 0}]}, end=True)],
    }
    shown = call(controller, f"deploy {tmp_path} --wait")
    assert shown.exit_code == 0, shown.output
    assert "tiny deployed, version 1: 32 partitions on node1" in shown.stdout
    assert "node1 is ready" in shown.stderr
    deploy = controller.asked[0]
    assert deploy.arguments["graph"]["name"] == "tiny"
    assert deploy.arguments["dry_run"] is False
    assert deploy.arguments["graph"]["bundle"] == hashlib.sha256(deploy.arguments["bundle"]).hexdigest()
    (tmp_path / "graph.yaml").write_text("graph: tiny\n")
    wrong = call(controller, f"deploy {tmp_path}/graph.yaml")
    assert wrong.exit_code == 2
    assert "graph.yaml" in wrong.stderr
    assert "remedy" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_every_command_has_an_example() -> None:
    app = build()
    commands = [
        *app.registered_commands,
        *(c for g in app.registered_groups for c in g.typer_instance.registered_commands),
    ]  # type: ignore[union-attr]
    assert len(commands) == 32
    for command in commands:
        assert command.callback is not None
        assert "xample: liquefy-ctl " in (command.callback.__doc__ or "")

"""`liquefy-ctl up` on real processes: what dies comes back, what is stopped leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from ctl import record
from ctl.supervising import ORPHAN_S

ROOT = Path(__file__).parents[2]
BOUND_S = 30.0

T = TypeVar("T")

GRAPH = """\
graph: tiny
inputs:
  input: GET /{id}
fluxions:
  store: {code: "tiny:store", key: params.id}
streams:
  - input >> store >> output
"""
CODE = "def store(message, context):\n    return {}\n"


class Up:
    """One `up` under test, and all processes ever seen below it."""

    def __init__(self, state: Path, port: int) -> None:
        self.state, self.port, self.seen = state, port, set[psutil.Process]()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fake_up.py")), str(self.state), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "FAKE_PORT": str(self.port), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def record(self) -> record.ClusterRecord | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            assert self.process is not None
            self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return record.read(self.state)

    def ready(self) -> record.ClusterRecord:
        def check() -> record.ClusterRecord | None:
            assert self.process is not None
            assert self.process.poll() is None, self.output()
            found = self.record()
            return found if found and found.state == "ready" and found.pid == self.process.pid else None

        return until(check)

    def pid(self, name: str) -> int:
        found = self.record()
        return next((p.pid for p in found.processes if p.name == name), 0) if found else 0

    def end(self, number: int = signal.SIGINT) -> int:
        self.record()
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(BOUND_S)

    def output(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def left(self) -> list[str]:
        """What still runs of all that was ever seen."""
        return [p.name() for p in self.seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    made = Up(tmp_path / "state", free_ports())
    yield made
    made.record() if made.process else None
    if made.process is not None:
        made.process.kill()
        made.process.wait()
        assert made.process.stdout is not None
        made.process.stdout.close()
    for process in made.seen:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def free_ports() -> int:
    """The first of eight ports in a row that nobody has."""
    start = 20_000 + os.getpid() * 16 % 20_000
    for base in range(start, start + 8_000, 8):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + 8):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise AssertionError("no free ports")


def until(condition: Callable[[], T | None]) -> T:
    end = time.monotonic() + BOUND_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_starts_everything_deploys_and_stops_in_order(up: Up, tmp_path: Path) -> None:
    app = tmp_path / "tiny"
    app.mkdir()
    (app / "graph.yaml").write_text(GRAPH)
    (app / "tiny.py").write_text(CODE)
    up.start(str(app))
    found = up.ready()
    assert [p.name for p in found.processes] == [
        "redis",
        "broker",
        "controller",
        "node1",
        "node2",
        "node3",
        "gateway1",
    ]
    assert (up.state / "logs" / "deployed").read_text() == "tiny"
    assert up.end() == 0
    output = up.output()
    assert f"curl http://127.0.0.1:{up.port + 3}/alice" in output
    assert "migrate store node3" in output
    assert "nothing is left running" in output
    order = (up.state / "logs" / "stopped").read_text().split()
    assert order[:2] == ["gateway1", "controller"]
    assert sorted(order[2:5]) == ["node1", "node2", "node3"]
    assert order[5:] == ["broker", "redis"]
    assert up.left() == []
    assert record.read(up.state) is None


@pytest.mark.parametrize("name", ["redis", "broker", "controller", "node2", "gateway1"])
def test_what_is_killed_comes_back(up: Up, name: str) -> None:
    up.start(FAKE_ORPHANS="yes")
    up.ready()
    old = up.pid(name)
    os.kill(old, signal.SIGKILL)
    killed_s = time.monotonic()
    until(lambda: up.pid(name) not in (0, old))
    assert time.monotonic() - killed_s < 2.0
    assert up.end() == 0
    assert f"{name} (pid {old}) was ended by SIGKILL; starting it again" in up.output()
    assert up.left() == []


def test_sigterm_stops_it_too_and_what_ignores_it_is_killed(up: Up) -> None:
    up.start(FAKE_STUBBORN="node2")
    up.ready()
    assert up.end(signal.SIGTERM) == 0
    assert "killed node2" in up.output()
    assert up.left() == []


def test_a_supervisor_that_is_killed_takes_its_processes_along(up: Up) -> None:
    up.start()
    up.ready()
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: up.left() == [])


def test_two_in_one_folder_are_one_too_many(up: Up) -> None:
    up.start()
    first = up.ready()
    second = Up(up.state, up.port)
    second.start()
    assert second.process is not None
    try:
        assert second.process.wait(BOUND_S) == 1
    finally:
        second.process.terminate()
        message, _ = second.process.communicate()
    assert f"a cluster is running already in {up.state} (pid {first.pid})" in message
    assert "Traceback" not in message
    assert up.end() == 0


def test_a_port_in_use_is_said_and_another_one_taken(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port + 3))
        taken.listen()
        up.start()
        found = up.ready()
        assert up.end() == 0
    assert found.http == f"http://127.0.0.1:{up.port + 4}"
    assert f"port {up.port + 3} is in use: http listens on {up.port + 4}" in up.output()


def test_a_state_folder_deleted_under_it_keeps_it_from_nothing(up: Up) -> None:
    up.start()
    up.ready()
    old = up.pid("node1")
    shutil.rmtree(up.state)
    os.kill(old, signal.SIGKILL)
    until(lambda: up.pid("node1") not in (0, old))
    assert up.end() == 0
    assert up.left() == []


def test_what_is_missing_is_said(up: Up) -> None:
    up.start(FAKE_CRASHES="node2", FAKE_READY_S="2")
    assert up.process is not None
    assert up.process.wait(BOUND_S) == 1
    message = up.output()
    assert "not ready after 2 s (--ready SECONDS gives it longer): still waiting for node2" in message
    assert "ValueError: cannot start" in message
    assert up.left() == []


FORKING = """
import os, pathlib, sys, time
child = os.fork()
if child:
    pathlib.Path(sys.argv[1]).write_text(str(child))
time.sleep(1000)
"""

SUPERVISING = """
import os, pathlib, psutil, signal, sys, time
from ctl.supervising import Spec, Supervisor
note, script = pathlib.Path(sys.argv[1]), sys.argv[2]
with Supervisor(note.parent / "logs", lambda level, text: None) as supervisor:
    supervisor.start(Spec("forking", "redis", [sys.executable, "-c", script, str(note)], "", 0))
    while not (note.exists() and note.read_text()):
        supervisor.step(0.02)
    (first,), fork = supervisor.records(), int(note.read_text())
    os.kill(first.pid, signal.SIGKILL)
    since = time.monotonic()
    while psutil.pid_exists(fork) and psutil.Process(fork).status() != psutil.STATUS_ZOMBIE:
        supervisor.step(0.02)
    print(time.monotonic() - since)
"""


def test_a_fork_of_what_was_killed_ends_with_it(tmp_path: Path) -> None:
    """It would keep the connections open, and nobody would learn that they are dead."""
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISING, str(tmp_path / "fork"), FORKING],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=BOUND_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < ORPHAN_S / 2


DAEMON = """
import os, pathlib, sys, time
if not os.fork():
    os.setsid()
    if daemon := os.fork():
        pathlib.Path(sys.argv[1]).write_text(str(daemon))
        os._exit(0)
time.sleep(1000)
"""


def test_what_has_left_its_parent_ends_though_nothing_of_ours_does(tmp_path: Path) -> None:
    """As when users' code starts a daemon: its host, and the worker of that, live on."""
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISING.replace("os.kill(first.pid", "(lambda *_: None)(first.pid"),
         str(tmp_path / "daemon"), DAEMON],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=BOUND_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < BOUND_S

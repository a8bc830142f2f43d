"""`up --detach`, `status` and `down` as a person types them, with stand-ins for the roles and a real Redis."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ctl import record

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_role.py")


class Terminal:
    """A folder in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / ".liquefy"
        fakes = folder / "fakes"
        for kind in ("broker", "controller", "worker", "gateway"):
            (fakes / kind).mkdir(parents=True)
            (fakes / kind / "__init__.py").touch()
            (fakes / kind / "__main__.py").write_text(
                f"import runpy, sys\nsys.argv.insert(1, {kind!r})\nrunpy.run_path({str(FAKE)!r}, run_name='__main__')\n"
            )
        self.environment = {**os.environ, "PYTHONPATH": f"{fakes}:{ROOT}", "FAKE_STATE": str(self.state)}
        self.environment.pop("LIQUEFY_CONTROLLER", None)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "ctl", *words],
            cwd=self.folder, env={**self.environment, **environment}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """`up` and all below it."""
        found = record.read(self.state)
        top = found and record.process(found.pid, found.created_s)
        return [top, *top.children(recursive=True)] if top else []


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    for process in made.processes():
        process.kill()


def running(processes: list[psutil.Process]) -> list[str]:
    return [p.name() for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_up_detached_then_down(terminal: Terminal) -> None:
    up = terminal.run("up", "--detach")
    assert up.returncode == 0, up.stderr
    assert "gateway1" in up.stdout
    processes = terminal.processes()
    assert len(processes) == 1 + 7 + 3
    status = terminal.run("status", "--json")
    assert status.returncode == 0, status.stderr
    assert {n["name"] for n in json.loads(status.stdout)["nodes"]} == {"node1", "node2", "node3"}
    again = terminal.run("up", "--detach")
    assert again.returncode == 2
    assert "a cluster is running already" in again.stderr
    down = terminal.run("down", "--json", "--purge")
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout)["stopped"] is True
    assert running(processes) == []
    assert not terminal.state.exists()
    nothing = terminal.run("down")
    assert nothing.returncode == 2
    assert "no cluster runs in" in nothing.stderr


def test_down_after_up_was_killed_and_then_up_again(terminal: Terminal) -> None:
    assert terminal.run("up", "-d").returncode == 0
    processes = terminal.processes()
    os.kill(processes[0].pid, signal.SIGKILL)
    down = terminal.run("down")
    assert down.returncode == 0, down.stderr
    psutil.wait_procs(processes, timeout=10)
    assert running(processes) == []
    assert terminal.run("up", "-d").returncode == 0
    assert terminal.run("down").returncode == 0


def test_what_fails_when_detached_is_said(terminal: Terminal) -> None:
    up = terminal.run("up", "-d", "--ready", "2", FAKE_CRASHES="gateway1")
    assert up.returncode == 1
    assert "not ready after 2 s (--ready SECONDS gives it longer): still waiting for the gateway to listen" in up.stderr
    assert "ValueError: cannot start" in up.stderr
    assert "Traceback" not in up.stderr
    assert record.read(terminal.state) is None


def test_down_purge_deletes_nothing_that_up_did_not_make(terminal: Terminal) -> None:
    precious = terminal.folder / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    down = terminal.run("down", "--purge", "--state", str(precious))
    assert down.returncode == 2
    assert "holds what `up` did not make (thesis.txt)" in down.stderr
    assert (precious / "thesis.txt").exists()
    shutil.rmtree(precious)


def test_down_purge_deletes_the_keys_that_up_made_and_no_others(terminal: Terminal) -> None:
    names = ("broker.sock", "broker2.sock", "redis.sock", "up.out", "keys.made")
    (terminal.state / "keys").mkdir(parents=True)
    (terminal.state / "node12").mkdir()
    for name in names:
        (terminal.state / name).touch()
    (terminal.state / "keys.made").unlink()
    down = terminal.run("down", "--purge")
    assert down.returncode == 2
    assert "holds what `up` did not make (keys)\n" in down.stderr
    (terminal.state / "keys.made").touch()
    down = terminal.run("down", "--purge")
    assert down.returncode == 0, down.stderr
    assert not terminal.state.exists()


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_what_is_refused_leaves_nothing(terminal: Terminal, how: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        up = terminal.run("up", *how, "--http-port", str(taken.getsockname()[1]))
    assert up.returncode == 2
    assert "is in use" in up.stderr
    assert not terminal.state.exists()

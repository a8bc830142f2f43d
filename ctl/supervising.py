"""Keeps the processes of a local cluster running: starts them, starts again what dies, stops them in order.

Does, and decides nothing: how soon a process comes back is `ctl.restarts`' answer, what a cluster consists of
is `ctl.local`'s. Single-threaded: children die with the thread that started them (see `liquefy.launch`), so all
is done in the thread that calls `step`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from ctl import record
from ctl.restarts import Restarts
from liquefy import launch

STOP_STAGE_S = 3.0
"""How long the processes of one stage of a stop may take to end by themselves; then they are killed."""

ORPHAN_S = 2.0
"""How long a process may outlive the one that started it (a host its worker; what users' code has started, that) before
it is killed; and how often it is looked for. When one of ours has ended, a mere fork of it goes at once: it has its
connections, and who is at their other end waits for answers (a Redis that was killed while a child of it rewrote its
file)."""

PR_SET_CHILD_SUBREAPER = 36

KILL_S = 2.0
"""How long a killed process may take to be gone; only one stuck in the kernel takes longer."""


class Spec(NamedTuple):
    """One process to keep running. `stage`: processes of the lowest stage are stopped first, by `stop_signal`."""

    name: str
    role: str
    command: list[str]
    address: str
    stage: int
    environment: Mapping[str, str] = {}
    stop_signal: int = signal.SIGTERM


class Child(NamedTuple):
    """A process that runs. `started_s` is monotonic, `created_s` Unix seconds."""

    spec: Spec
    process: subprocess.Popen[bytes]
    started_s: float
    created_s: float


class Supervisor:
    """The processes of one cluster, each with its output in `logs/<name>.log`.

    `say(level, text)` is told what happens, `changed()` that a pid is another now. A context manager:
    whatever happens inside, nothing is left running."""

    def __init__(self, logs: Path, say: Callable[[str, str], None], changed: Callable[[], None] = lambda: None) -> None:
        self._logs, self._say, self._changed = logs, say, changed
        self._restarts = Restarts()
        self._counts: dict[str, int] = {}
        self._children: dict[str, Child] = {}
        self._due: dict[str, tuple[float, Spec]] = {}
        self._stopping = False
        self._orphans: dict[int, float] = {}
        self._looked_s = self._ended_s = -ORPHAN_S
        adopt_orphans()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # Without a Python handler the C handler that writes to the pipe is not installed.
        self._old_handler = signal.signal(signal.SIGCHLD, lambda *_: None)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(0.0)
        signal.set_wakeup_fd(self._old_wakeup)
        signal.signal(signal.SIGCHLD, self._old_handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def start(self, spec: Spec) -> None:
        """Start the process, and from now on again whenever it ends."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{spec.name}.log"
        command = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *spec.command]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment}
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # Of its own session, so that Ctrl-C in the terminal reaches us alone and we stop in order.
                start_new_session=True,
            )
        self._children[spec.name] = Child(spec, process, time.monotonic(), record.created_s(process.pid))
        self._changed()

    def step(self, timeout_s: float) -> None:
        """Wait until something ends or is due, at most `timeout_s`; then do what is to be done."""
        due = [at - time.monotonic() for at, _ in self._due.values()]
        with contextlib.suppress(InterruptedError):
            select.select([self._wake_read], [], [], max(0.0, min([timeout_s, *due])))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        self._reap()
        now = time.monotonic()
        if self._orphans or self._ended_s >= self._looked_s or now - self._looked_s >= ORPHAN_S:
            self._end_orphans(ORPHAN_S)
        for name, (at, spec) in list(self._due.items()):
            if at <= now and not self._stopping:
                del self._due[name]
                self._counts[name] = self._counts.get(name, 0) + 1
                self.start(spec)

    def records(self) -> list[record.ProcessRecord]:
        """What runs now."""
        return [
            record.ProcessRecord(
                name, c.spec.role, c.spec.address, c.process.pid, c.created_s, self._counts.get(name, 0)
            )
            for name, c in self._children.items()
        ]

    def restarts(self, name: str) -> int:
        """How often the process was started again."""
        return self._counts.get(name, 0)

    def stop(self, stage_s: float = STOP_STAGE_S, hurry: Callable[[], bool] = lambda: False) -> list[str]:
        """End everything, stage by stage, each within `stage_s` seconds; kill what does not end by then, or
        at once when `hurry()` says so. Returns the names of what had to be killed."""
        self._stopping = True
        self._due.clear()
        killed = []
        for stage in sorted({c.spec.stage for c in self._children.values()}):
            members = [c for c in self._children.values() if c.spec.stage == stage]
            patience_s = 0.0 if hurry() else stage_s
            if patience_s:
                for child in members:
                    child.process.send_signal(child.spec.stop_signal)
                self._wait_for(members, patience_s, hurry)
            for child in members:
                if child.process.poll() is None:
                    killed.append(child.spec.name)
                    child.process.kill()
            self._wait_for(members, KILL_S, lambda: False)
            for child in members:
                del self._children[child.spec.name]
        self._ended_s = time.monotonic()
        grace_s = ORPHAN_S if stage_s else 0.0
        end_s = time.monotonic() + grace_s + KILL_S
        while self._end_orphans(0.0 if hurry() else grace_s) and time.monotonic() < end_s:
            time.sleep(0.02)
        return killed

    def _wait_for(self, members: list[Child], bound_s: float, hurry: Callable[[], bool]) -> None:
        end = time.monotonic() + bound_s
        while any(c.process.poll() is None for c in members) and time.monotonic() < end and not hurry():
            select.select([self._wake_read], [], [], 0.02)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _end_orphans(self, grace_s: float) -> bool:
        """Kill what has been an orphan for `grace_s`, bury what has ended. Whether there are any left."""
        ours = {c.process.pid for c in self._children.values()}
        found = [p for p in psutil.Process().children() if p.pid not in ours]
        now = time.monotonic()
        self._orphans = {p.pid: self._orphans.get(p.pid, now) for p in found}
        self._looked_s, just_ended = now, now - self._ended_s < ORPHAN_S
        for orphan in found:
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError, ProcessLookupError):
                if orphan.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(orphan.pid, os.WNOHANG)
                elif now - self._orphans[orphan.pid] >= grace_s or (
                    just_ended and os.getpgid(orphan.pid) != orphan.pid
                ):
                    self._say("warning", f"{orphan.name()} (pid {orphan.pid}) has outlived its parent: killed")
                    orphan.kill()
        return bool(found)

    def _reap(self) -> None:
        for name, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            del self._children[name]
            now = self._ended_s = time.monotonic()
            wait_s = self._restarts.on_exit(name, now - child.started_s)
            self._due[name] = (now + wait_s, child.spec)
            again = "starting it again" if wait_s == 0 else f"starting it again in {wait_s:g} s"
            self._say("warning", f"{name} (pid {child.process.pid}) {describe_exit(code)}; {again}")


def adopt_orphans() -> None:
    """Processes whose parents die become our children, so that we see them. Linux only; elsewhere none are
    seen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def describe_exit(code: int) -> str:
    """An exit code as `subprocess` gives it, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

"""The service as it is, under its own framework: one process on a port of its own, ended afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cases import Case

START_S = 60.0
END_S = 5.0
SETTLE_S = 0.3
"""A service that listens may still be at work: what it does just after."""

LOG_CHARS_MAX = 1500


class NotStarted(Exception):
    """The original does not run here; `str()` is the end of what it said."""


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@contextlib.contextmanager
def running(case: Case) -> Iterator[str]:
    """The base address while it runs. Raises NotStarted."""
    port = free_port()
    environment = {**os.environ, **case.given(f"127.0.0.1:{port}"), "PORT": str(port), "FORCE_PORT": str(port)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            case.start, cwd=case.folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            if not _listens(process, port):
                log.seek(0)
                raise NotStarted(log.read().decode(errors="replace")[-LOG_CHARS_MAX:])
            time.sleep(SETTLE_S)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


def reset(case: Case) -> None:
    """What `prepare.sh` of the case does before each run, such as emptying a database."""
    script = case.folder / "prepare.sh"
    if script.exists():
        subprocess.run(["bash", str(script)], cwd=case.folder, check=False, capture_output=True, timeout=START_S)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return True
        time.sleep(0.1)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole group: some start helpers of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        time.sleep(0.1)


def lines_of(case: Case) -> int:
    """Lines of its own sources, roughly: files of its language below the folder of the source."""
    suffixes = {".py"} if case.language == "python" else {".js", ".mjs", ".cjs"}
    skipped = {"node_modules", "test", "tests", ".git", "public", "client"}
    total = 0
    for path in Path(case.source.parent).rglob("*"):
        relative = path.relative_to(case.source.parent)
        if path.suffix in suffixes and not skipped & set(relative.parts):
            total += path.read_text(errors="replace").count("\n")
    return total

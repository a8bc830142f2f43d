"""Services as their users write them (`bench/services`), under the server that is usual for each. Knows how they are
started, and not what is asked of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil
import redis as client

from bench.report import ROOT
from liquefy.errors import UserError
from liquefy.redis_server import RedisServer

SERVICES = ROOT / "bench" / "services"
START_S = 60.0


@contextlib.contextmanager
def packages() -> Iterator[Path]:
    """The folder of services, with what those in JavaScript need. Raises UserError if npm cannot get it."""
    with tempfile.TemporaryDirectory(prefix="liquefy-bench-") as name:
        folder = Path(name) / "services"
        shutil.copytree(SERVICES, folder)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=folder / "express", check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"npm cannot install Express: {error}\n  remedy: look at `npm ping`") from None
        yield folder


def versions(folder: Path) -> dict[str, str]:
    """Of the frameworks and their servers; `folder`: that of `packages`."""
    express = json.loads((folder / "express/node_modules/express/package.json").read_text())["version"]
    return {
        "express": express,
        **{name: metadata.version(name) for name in ("flask", "gunicorn", "fastapi", "uvicorn")},
    }


@contextlib.contextmanager
def redis() -> Iterator[RedisServer]:
    """A server for those that store, as Liquefy's own is by default: at a Unix socket, which takes half as much as a
    port."""
    with tempfile.TemporaryDirectory(prefix="liquefy-bench-") as folder:
        server = RedisServer(Path(folder), unix_socket=Path(folder) / "redis.sock")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def visits(store: RedisServer) -> list[int]:
    """How many requests are counted there."""
    with client.Redis.from_url(store.url) as connection:
        return [sum(map(int, connection.hvals("visits")))]


@contextlib.contextmanager
def serving(
    folder: Path, framework: str, store: RedisServer | None, workers: int = 1
) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Its address, and the processes that it consists of."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    module = "stored" if store else "app"
    commands = {
        "flask": ["-m", "gunicorn", "--log-level=error", f"-w{workers}", f"-b127.0.0.1:{port}", f"{module}:app"],
        "fastapi": ["-m", "uvicorn", "--log-level=error", f"--workers={workers}", f"--port={port}", f"{module}:app"],
        "express": [f"{module}.js"],
    }
    command = ["node" if framework == "express" else sys.executable, *commands[framework]]
    environment = {**os.environ, "PORT": str(port), "REDIS_URL": store.url if store else "", "NODE_ENV": "production"}
    process = subprocess.Popen(command, cwd=folder / framework, env=environment, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process)
        yield url, [psutil.Process(process.pid), *([psutil.Process(store.pid)] if store else [])]
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url + "/nobody", timeout=START_S):
                return
        except OSError:
            assert process.poll() is None, f"{process.args} ended with {process.returncode}"
            assert time.monotonic() < end_s, f"{process.args} does not answer"
            time.sleep(0.05)

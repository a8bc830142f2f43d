"""The append-only file of a Redis of ours is made short on demand; and one that could not write it, for want of room,
writes again as soon as there is some."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys
import time
from pathlib import Path

import pytest
import redis_processes
from live_cluster import wait_for
from redis_processes import Server, servers

from liquefy.contexts import Contexts
from liquefy.errors import StoreUnavailable
from liquefy.redis_server import RedisServer, find_server, rewrite_file

UNHARMED = """#!{python}
import os, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.execv({server!r}, [{server!r}, *sys.argv[1:]])
"""
"""Starts a redis-server for which a file that may not grow is a full disk, and not the end."""


def test_a_long_file_is_rewritten_when_asked(tmp_path: Path) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in tmp_path.rglob("appendonly*") if file.is_file())

    server = RedisServer(tmp_path)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"SET a b\r\n" * 1_000)
            answers = b""
            while answers.count(b"+OK") < 1_000:
                answers += connection.recv(65_536)
        long = size()
        assert rewrite_file(server.port)
        wait_for(lambda: size() < long / 2, "it to be rewritten")
    finally:
        server.stop()
    assert not rewrite_file(server.port)


def test_it_writes_again_after_the_disk_was_full_while_the_file_was_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewrite that ends meanwhile leaves Redis nothing to append: by itself it would not try again."""
    starter = tmp_path / "redis"
    starter.write_text(UNHARMED.format(python=sys.executable, server=str(find_server())))
    starter.chmod(0o755)
    monkeypatch.setattr(redis_processes, "find_server", lambda: str(starter))
    server = Server(tmp_path / "data", "--appendonly", "yes", "--appendfsync", "everysec")

    def full(room: int) -> None:
        assert server.process is not None
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    async def written(text: str) -> None:
        """Tried until it is."""
        store, end_s = Contexts(server.url), time.monotonic() + 20
        while await store.frozen() != text:
            assert time.monotonic() < end_s, "it never writes again"
            with contextlib.suppress(StoreUnavailable):
                await store.freeze(text)
            await asyncio.sleep(0.05)
        await store.close()

    with servers(server):
        for number in range(10):
            server.ask("SET", f"key{number}", "value")
        asyncio.run(written("before"))  # the script is there: to load it would be something to append
        server.ask("CONFIG", "SET", "rdb-key-save-delay", "100000")
        assert server.ask("BGREWRITEAOF").startswith("+")
        wait_for(lambda: "aof_rewrite_in_progress:1" in server.ask("INFO", "persistence"), "the rewrite")
        full((tmp_path / "data" / "appendonly.aof").stat().st_size + 10)
        wait_for(lambda: server.ask("SET", "more", "x" * 100).startswith("-MISCONF"), "the disk to be full")
        wait_for(lambda: "aof_rewrite_in_progress:0" in server.ask("INFO", "persistence"), "the rewrite to end")
        full(resource.RLIM_INFINITY)
        assert server.ask("SET", "more", "x").startswith("-MISCONF")
        asyncio.run(written("after"))

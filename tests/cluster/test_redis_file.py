"""The append-only file of a Redis of ours is made short on demand."""

from __future__ import annotations

import socket
from pathlib import Path

from live_cluster import wait_for

from liquefy.redis_server import RedisServer, rewrite_file


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

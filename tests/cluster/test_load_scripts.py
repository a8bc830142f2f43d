"""The load scripts against a small server that counts as examples/visits does, and misbehaves as told: the
checks must pass what is right, through refusals and broken connections, and must notice each kind of wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
START_MAX_S = 30.0


class Server:
    """Counts requests by path, once for each idempotency key. `trouble(n)` says what to do with the n-th: ""
    serve, "refuse" 503, "break" the connection before counting, "lose" it after, "double" count twice,
    "forget" one."""

    def __init__(self, trouble: Callable[[int], str]) -> None:
        self._trouble = trouble
        self._count = 0
        self._visits: Counter[str] = Counter()
        self._once: dict[str, int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split(" ")[1]
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        self._count += 1
        trouble = self._trouble(self._count)
        if trouble == "break":
            return False
        if trouble == "refuse":
            writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            return True
        visits = self._visit(path, headers.get("idempotency-key", ""), trouble)
        if trouble == "lose":
            return False
        body = json.dumps({"user": path[1:], "visits": visits}).encode()
        # In two parts, as a network may do.
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le")
        await asyncio.sleep(0)
        writer.write(b"ngth: %d\r\n\r\n" % len(body) + body)
        return True

    def _visit(self, path: str, key: str, trouble: str) -> int:
        if key in self._once:
            return self._once[key]
        self._visits[path] += {"double": 2, "forget": 0}.get(trouble, 1)
        if key:
            self._once[key] = self._visits[path]
        return self._visits[path]


def visit(trouble: Callable[[int], str], *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and result of examples/visits/load.py against such a server."""

    async def main() -> tuple[int, dict[str, Any]]:
        server = await asyncio.start_server(Server(trouble).serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLES / "visits/load.py"),
            *(
                "--url",
                f"http://127.0.0.1:{port}",
                "--rate",
                "400",
                "--seconds",
                "1",
                "--users",
                "20",
                "--json",
            ),
            *options,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(START_MAX_S):
            output, _ = await process.communicate()
        server.close()
        return process.returncode or 0, json.loads(output)

    return asyncio.run(main())


def test_all_right() -> None:
    code, result = visit(lambda n: "")
    assert (code, result["violations"]) == (0, [])
    assert result["outcomes"] == {"200": 400}
    assert result["visits"] == 400


def test_refused_and_broken_without_keys() -> None:
    """What was refused did not count; what broke may have, and may be missing."""
    troubles = {5: "refuse", 6: "break", 7: "lose"}
    code, result = visit(lambda n: troubles.get(n % 20, ""))
    assert (code, result["violations"]) == (0, [])
    assert result["outcomes"] == {"200": 340, "503": 20, "broken": 40}
    assert result["unsure"] == 40


def test_refused_and_broken_with_keys_each_counts_once() -> None:
    troubles = {5: "refuse", 6: "break", 7: "lose"}
    code, result = visit(lambda n: troubles.get(n % 20, ""), "--idempotent", "--skew", "1.1")
    assert (code, result["violations"]) == (0, [])
    assert result["outcomes"] == {"200": 400}
    assert result["retries"]["503"] >= 20
    assert result["retries"]["broken"] >= 40
    assert result["visits"] == 400


@pytest.mark.parametrize("trouble", ["double", "forget"])
def test_wrong_counts_are_noticed(trouble: str) -> None:
    code, result = visit(lambda n: trouble if n == 200 else "", "--users", "1")
    assert code == 1
    assert result["violations"]


def test_a_server_that_is_not_there() -> None:
    code, result = visit(lambda n: "", "--url", "http://127.0.0.1:1", "--seconds", "0.1", "--idempotent")
    assert code == 0, "half of the connections go to a place that is not there; the others serve"
    assert result["outcomes"] == {"200": 40}

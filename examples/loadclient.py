"""A load client for the examples: HTTP/1.1 over keep-alive connections, at a given rate, with the standard
library alone. What an answer should have been is the business of each example's load.py; this module sends,
retries, and keeps the times.

Requests start when they are due, whether earlier ones were answered or not, and latency counts from when a
request was due: a service that stalls is not flattered. With an idempotency key a request is tried again
until it is answered; the service takes care that it takes effect once.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

TRY_TIMEOUT_S = 35.0
"""An answer that takes longer counts as lost; beyond the deadline of any example."""

RETRY_PAUSE_S, RETRY_PAUSE_MAX_S = 0.05, 0.25
"""Between two tries: the first, doubled with each, and the longest. A service that is away for a second must not be
met by ten thousand tries when it is back."""

RETRIED = frozenset((409, 425, 429, 502, 503, 504))
"""Answers after which a request with an idempotency key is sent again. 409 only if it says Retry-After."""

TICK_S = 0.002
"""Requests due within a tick start together."""


class Answer(NamedTuple):
    """`status` 0: the connection broke, or nothing came within TRY_TIMEOUT_S. `unsure`: no answer with a
    status of 2xx, and the request may have taken effect all the same."""

    status: int
    body: bytes
    latency_s: float
    tries: int
    unsure: bool

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, decoded; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes, bool]] | None = None
        self.alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self.transport, self.alive = cast(asyncio.Transport, transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self._fail("the connection broke")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._fail("an answer without content-length")
            return
        stop = head.find(b"\r\n", at + 17)
        size = int(head[at + 17 : stop if stop > 0 else end])
        if len(self._buffer) < end + 4 + size:
            return
        body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
        if b"\r\nconnection: close" in head:
            self.close()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result((int(head[9:12]), body, b"\r\nretry-after:" in head))

    def ask(self, data: bytes) -> asyncio.Future[tuple[int, bytes, bool]]:
        """Status, body, and whether the answer said Retry-After. Fails with ConnectionError."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self._answer

    def close(self) -> None:
        self.alive = False
        if self.transport is not None:
            self.transport.close()

    def _fail(self, why: str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionError(why))
        self.close()


class Client:
    """Up to `connections` connections to each of the gateways at `urls`, used in turn. `give_up_s`: how long
    a request with an idempotency key is tried again."""

    def __init__(self, urls: list[str], connections: int = 64, give_up_s: float = 60.0) -> None:
        parts = [urlsplit(url) for url in urls]
        self._places = itertools.cycle([(p.hostname or "127.0.0.1", p.port or 80) for p in parts])
        self._host = parts[0].netloc
        self._free = asyncio.Semaphore(connections)
        self._idle: deque[_Connection] = deque()
        self._give_up_s = give_up_s
        self.outcomes: Counter[str] = Counter()
        """Final outcomes: "200", "503", "broken" ..."""
        self.retries: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        """Of answers with a status of 2xx."""
        self.silence_max_s = 0.0
        """Longest time without an answer of status 2xx, from the first such answer on."""
        self._answered_at = 0.0
        self._keys = itertools.count(1)
        self._run = f"{time.time_ns():x}"

    def new_key(self) -> str:
        """An idempotency key that no other run has used."""
        return f"{self._run}-{next(self._keys)}"

    async def ask(self, method: str, path: str, body: Any = None, key: str = "", due: float = 0.0) -> Answer:
        """One request. `body` is sent as JSON; `key`: idempotency key ("": none, and no second try); `due`:
        when it should have started (`time.perf_counter`; 0: now)."""
        data = self._encode(method, path, body, key)
        due = due or time.perf_counter()
        unsure = False
        tries = 0
        while True:
            tries += 1
            status, answer, wait, reached = await self._try(data)
            now = time.perf_counter()
            unsure |= reached and status in (0, 500, 502, 504)
            again = status == 0 or (status in RETRIED and (wait or status != 409))
            if not (key and again) or now - due > self._give_up_s:
                break
            self.retries[str(status) if status else "broken"] += 1
            await asyncio.sleep(min(RETRY_PAUSE_S * 2.0 ** min(tries - 1, 16), RETRY_PAUSE_MAX_S))
        ok = 200 <= status < 300
        self._note(ok, status, now, now - due)
        return Answer(status, answer, now - due, tries, unsure and not ok)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _encode(self, method: str, path: str, body: Any, key: str) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
        if key:
            head += f"Idempotency-Key: {key}\r\n"
        if body is not None or method not in ("GET", "HEAD", "DELETE"):
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return head.encode() + b"\r\n" + content

    async def _try(self, data: bytes) -> tuple[int, bytes, bool, bool]:
        """Status (0: none), body, whether the answer said Retry-After, whether the request may have
        arrived."""
        async with self._free:
            reached = False
            try:
                connection = await self._connection()
                reached = True
                try:
                    async with asyncio.timeout(TRY_TIMEOUT_S):
                        status, body, wait = await connection.ask(data)
                except TimeoutError:
                    connection.close()
                    raise
                if connection.alive:
                    self._idle.append(connection)
            except OSError:  # ConnectionError and TimeoutError too
                return 0, b"", False, reached
            return status, body, wait, True

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.popleft()
            if connection.alive:
                return connection
        host, port = next(self._places)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TRY_TIMEOUT_S):
            _, connection = await loop.create_connection(_Connection, host, port)
        return connection

    def _note(self, ok: bool, status: int, now: float, latency_s: float) -> None:
        self.outcomes[str(status) if status else "broken"] += 1
        if ok:
            if self._answered_at:
                self.silence_max_s = max(self.silence_max_s, now - self._answered_at)
            self._answered_at = now
            self.latencies_s.append(latency_s)


class Tally:
    """The book of a service that counts: each answer for a key says how many requests it has counted for that
    key. Then the numbers of each key are 1, 2 ... n, each once; and what started after an answer had come has
    a higher number than that answer."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.unsure: Counter[str] = Counter()
        """Requests for a key that got no answer and may have been counted."""
        self._numbers: dict[str, set[int]] = {}
        self._highest: dict[str, int] = {}

    @property
    def keys(self) -> int:
        return len(self._numbers)

    @property
    def counted(self) -> int:
        return sum(map(len, self._numbers.values()))

    def highest(self, key: str) -> int:
        """To be asked when a request starts, and given to `enter` with its answer."""
        return self._highest.get(key, 0)

    def enter(self, key: str, field: str, highest_before: int, answer: Answer) -> None:
        """One answer; `field` of its body is the number."""
        if not answer.ok:
            self.unsure[key] += answer.unsure
            return
        body = answer.json()
        number = body.get(field) if isinstance(body, dict) else None
        if not isinstance(number, int):
            self.violations.append(f"{key}: the answer is {answer.body[:200]!r}")
            return
        numbers = self._numbers.setdefault(key, set())
        if number in numbers:
            self.violations.append(f"{key}: number {number} was answered twice")
        if number <= highest_before:
            self.violations.append(
                f"{key}: number {number} was asked for after {highest_before} was answered"
            )
        numbers.add(number)
        self._highest[key] = max(number, self._highest.get(key, 0))

    def close(self) -> list[str]:
        """All violations, also numbers counted that nobody got."""
        for key, numbers in self._numbers.items():
            missing = max(numbers) - len(numbers)
            if missing > self.unsure[key]:
                first = next(n for n in range(1, max(numbers)) if n not in numbers)
                self.violations.append(
                    f"{key}: {missing} counted that were not answered (the first is {first}), "
                    f"and {self.unsure[key]} requests without an answer"
                )
        return self.violations


async def at_rate(rate: float, seconds: float, start: Callable[[float], Awaitable[None]]) -> None:
    """Starts `start(due)` `rate` times a second for so many seconds (or until Ctrl-C), and waits for all."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    running: set[asyncio.Future[None]] = set()
    begin = time.perf_counter()
    total = int(rate * seconds)
    started = 0
    while started < total and not stop.is_set():
        due_count = min(total, int((time.perf_counter() - begin) * rate) + 1)
        for index in range(started, due_count):
            task = asyncio.ensure_future(start(begin + index / rate))
            running.add(task)
            task.add_done_callback(running.discard)
        started = due_count
        await asyncio.sleep(TICK_S)
    if running:
        await asyncio.gather(*running)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all load scripts have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--url", action="append", help=f"gateway; may be given more than once [{local_gateway()}]"
    )
    parser.add_argument("--rate", type=float, default=500, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    parser.add_argument("--give-up", type=float, default=60, help="seconds to try a request again for")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    return parser


def local_gateway() -> str:
    """That of the cluster that `liquefy-ctl up` runs in this folder or one above it; else where one usually is."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        try:
            return str(json.loads((folder / ".liquefy" / "cluster.json").read_text())["http"])
        except (OSError, ValueError, KeyError):
            continue
    return "http://127.0.0.1:8080"


def client_of(options: argparse.Namespace) -> Client:
    urls = options.url or [local_gateway()]
    print(f"load for {', '.join(urls)}", file=sys.stderr)
    return Client(urls, options.connections, options.give_up)


def run(main: Awaitable[int]) -> int:
    """Runs the script's coroutine, on uvloop where there is one; its result is the exit code."""

    async def body() -> int:
        return await main

    try:
        import uvloop
    except ImportError:
        return asyncio.run(body())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return int(runner.run(body()))


def report(client: Client, violations: list[str], as_json: bool, **facts: Any) -> int:
    """Prints what happened; the exit code: 1 if something that must hold did not."""
    if client.outcomes and not client.latencies_s:
        none = f"none of {client.outcomes.total():,} requests was answered well: is it running there?"
        violations = [*violations, none]
    ordered = sorted(client.latencies_s)
    latency_ms = {name: _quantile(ordered, q) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    result = {
        "requests": client.outcomes.total(),
        "outcomes": dict(client.outcomes.most_common()),
        "retries": dict(client.retries.most_common()),
        "latency_ms": latency_ms,
        "silence_max_s": round(client.silence_max_s, 3),
        **facts,
        "violations": violations,
    }
    if as_json:
        print(json.dumps(result), flush=True)
        return 1 if violations else 0
    print(f"requests   {result['requests']:,}: " + _counts(client.outcomes))
    if client.retries:
        print(f"retries    {client.retries.total():,}: " + _counts(client.retries))
    print("latency    " + "  ".join(f"{name} {ms:.1f} ms" for name, ms in latency_ms.items()))
    print(f"silence    {client.silence_max_s:.2f} s at most without a good answer")
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<10} {value}")
    for line in violations[:20]:
        print(f"VIOLATION  {line}", file=sys.stderr)
    print(f"{len(violations)} violations" if violations else "all right")
    return 1 if violations else 0


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} x {name}" for name, count in counter.most_common())


def _quantile(ordered: list[float], q: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000, 2) if ordered else 0.0

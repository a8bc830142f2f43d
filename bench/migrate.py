"""Moving a group's partitions from node to node under load: the pause of each for which messages waited, and what all
requests around the move noticed. Beside a control by hand that stops, saves, restores and starts again.
"""

from __future__ import annotations

import asyncio
import functools
import pickle
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from bench import judging, report
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, Spent, cluster, graph, quantile, wrong
from bench.judging import Book

SHAPES = (
    (1_000, 100),
    (10_000, 100),
    (100_000, 100),
    (1_000_000, 100),
    (1_000, 10_000),
    (10_000, 10_000),
    (200, 1_000_000),
)
"""Keys, and bytes of each: with more than these 200 MB, machine and settings (`cache_bytes_max`) would be measured."""

MAIN = (100_000, 100)
"""The shape that all rates are tried with; the others with the middle one."""

RATES = (1_000, 5_000, 10_000)
MOVES = 4
GAP_S = 0.5
LOAD_AT_ONCE = 256
LOADING_BYTES = 16_000_000
"""How much may be outstanding while contexts are made."""


def names() -> list[str]:
    return [name for shape in SHAPES for name in (*_rates(*shape), _control_name(*shape))]


def run(plan: report.Plan) -> dict[str, Any]:
    cases: list[dict[str, Any]] = []
    for keys, size in SHAPES:
        rates, control = _rates(keys, size), _control_name(keys, size)
        with ExitStack() as stack:
            called: dict[str, Callable[[], dict[str, float]]] = {}
            if any(map(plan.wanted, rates)):
                running = stack.enter_context(cluster(GRAPHS / "keep", nodes=2))
                book = _loaded(running, keys, size)
                called = {n: functools.partial(_case, running, r, keys, size, book) for n, r in rates.items()}
            called[control] = functools.partial(_control, keys, size)
            cases += _compared(report.rounds(plan, called), control)
    return report.result(plan, cases, nodes=2, partitions=16, moves_a_round=MOVES)


def _rates(keys: int, size: int) -> dict[str, int]:
    """The cases of a shape."""
    rates = RATES if (keys, size) == MAIN else (5_000,)
    return {f"{rate:,}/s, {keys:,} keys of {size:,} B": rate for rate in rates}


def _control_name(keys: int, size: int) -> str:
    return f"control, {keys:,} keys of {size:,} B"


def _compared(cases: list[dict[str, Any]], control: str) -> list[dict[str, Any]]:
    """With how many times longer the control's pause is."""
    found = next((case for case in cases if case["case"] == control), None)
    for case in cases if found else ():
        if case is not found and (factor := report.ratio(found["pause p50 ms"], case["pause p50 ms"])):
            case["control/pause"] = factor
    return cases


def _loaded(running: LiveCluster, keys: int, size: int) -> Book:
    """Makes a context for each key."""

    async def body() -> Book:
        left = iter(range(keys))
        outstanding = max(1, min(LOAD_AT_ONCE, LOADING_BYTES // size))
        client = Client(running.broker, graph_, "keep", Book())
        async with client:
            await client.each(outstanding, ((f"key-{i}", {"body": {"bytes": size}}) for i in left))
        assert client.answers == keys, client.book.errors[:3]
        return client.book

    graph_ = graph(running)
    return _run(body())


def _run(body: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(body)


def _case(running: LiveCluster, rate: int, keys: int, size: int, book: Book) -> dict[str, float]:
    return _run(_measure(running, rate, keys, size, book, graph(running)))


async def _measure(running: LiveCluster, rate: int, keys: int, size: int, book: Book, known: Any) -> dict[str, float]:
    chance = random.Random(rate + keys)
    body = {"body": {"bytes": size}}
    async with Client(running.broker, known, "keep", book) as client:
        spent, over = await asyncio.to_thread(Spent, running.processes), asyncio.Event()
        load = asyncio.create_task(client.paced(rate, lambda: (f"key-{chance.randrange(keys)}", body), over))
        await asyncio.sleep(2 * GAP_S)
        results, spans = [], []
        try:
            for _ in range(MOVES):
                places = await asyncio.to_thread(running.placements, "keep", "keep")
                owners = [owner for owner, _ in places.values()]
                target = min(("node1", "node2"), key=owners.count)
                began_s = time.perf_counter()
                results.append(await asyncio.to_thread(running.ask, "migrate", what="keep", node=target))
                spans.append((began_s, time.perf_counter()))
                await asyncio.sleep(GAP_S)
        finally:
            over.set()
            await load
        cpu_s = sum((await asyncio.to_thread(spent.seconds)).values())
    moved = [move for result in results for move in result["moves"]]
    pauses = [move["pause_ms"] for move in moved if move["held"] and not move["error"]]
    during, steady = [], []
    for (began_s, _), latency_s in zip(client.begun, client.latencies_s, strict=True):
        inside = any(begin - latency_s <= began_s <= end for begin, end in spans)
        (during if inside else steady).append(latency_s * 1_000)
    touched, pad = sorted({key for _, key in client.begun}), "x" * size
    found = await asyncio.to_thread(
        wrong, running, "keep", book, client.answers, touched, lambda count: {"count": count, "pad": pad}, size
    )
    found += judging.same("moves that failed", sum(result["failed"] for result in results), 0)
    return {
        "pause p50 ms": quantile(pauses, 0.5), "pause p99 ms": quantile(pauses, 0.99), "paused": len(pauses),
        "moved": len(moved), "p50 ms": quantile(steady, 0.5), "p99 ms": quantile(steady, 0.99),
        "p99 in moves ms": quantile(during, 0.99), "CPU-s/10k": cpu_s / max(1, client.answers) * 10_000,
        "right": report.right(found),
    }  # fmt: skip


def _control(keys: int, size: int) -> dict[str, float]:
    """From telling it to end to the first answer of the one that follows; all of its contexts, as it knows no parts."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        file = Path(folder) / "contexts"
        file.write_bytes(
            pickle.dumps({f"key-{i}": {"count": 0, "pad": f"{i:010}" + "x" * (size - 10)} for i in range(keys)})
        )
        command = [sys.executable, "-m", "bench.control", str(port), str(file)]
        with subprocess.Popen(command, cwd=report.ROOT) as before:
            _asked(port)
            began_s = time.perf_counter()
            before.terminate()
            before.wait()
        with subprocess.Popen(command, cwd=report.ROOT) as after:
            right = _asked(port) == 2
            pause_s = time.perf_counter() - began_s
            after.kill()
    return {"pause p50 ms": pause_s * 1_000, "right": right}


def _asked(port: int) -> int:
    """The count of a key, from when there is somebody to ask."""
    end_s = time.monotonic() + 120
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rwb") as stream:
                stream.write(b"key-0\n")
                stream.flush()
                return int(stream.readline())
        except (ConnectionError, ValueError):
            assert time.monotonic() < end_s, "the control does not answer"
            time.sleep(0.005)

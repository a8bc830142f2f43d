"""Bytes for each context, idle graph, node and message that waits: what the processes of a cluster, Redis among them,
have more of memory (RSS) for so many more of each. What there is more of is counted.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from bench import judging, report
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, cluster, graph, with_children, wrong
from bench.judging import Book

CONTEXTS, CONTEXT_BYTES = 50_000, 100
GRAPHS_MORE = 4
MESSAGES, MESSAGE_BYTES = 20_000, 64
SETTLE_S = 2.0
LOAD_AT_ONCE = 256


def names() -> list[str]:
    return list(_cases())


def run(plan: report.Plan) -> dict[str, Any]:
    """Each case is a cluster of its own, as memory once used is seldom given back."""
    called = {name: functools.partial(_case, measure) for name, measure in _cases().items()}
    return report.result(plan, report.rounds(plan, called), contexts=CONTEXTS, graphs=GRAPHS_MORE, messages=MESSAGES)


def _case(measure: Callable[[LiveCluster], Measured]) -> dict[str, float]:
    with cluster(GRAPHS / "keep", nodes=1) as running:
        time.sleep(SETTLE_S)
        before = _sizes(running)
        of, after, wrong = measure(running)
    grown = {f"{kind} B": max(0, after.get(kind, 0) - before.get(kind, 0)) / of for kind in ("all", *_KINDS)}
    return {**grown, "right": report.right(wrong)}


def _cases() -> dict[str, Callable[[LiveCluster], Measured]]:
    return {
        f"context of {CONTEXT_BYTES} B": _contexts, "idle graph, 1 node": _graphs, "node": _nodes,
        f"queued message of {MESSAGE_BYTES} B": _queued,
    }  # fmt: skip


Measured = tuple[int, dict[str, int], list[str]]
"""How many more there are, the sizes then, and what is wrong with that."""

_KINDS = ("worker", "host", "broker", "controller", "gateway", "redis")


def _sizes(running: LiveCluster) -> dict[str, int]:
    """Resident bytes by role. What processes share of a file is in each."""
    sizes: dict[str, int] = {}
    for process in with_children(running.processes()):
        words = " ".join(process.cmdline())
        kind = next((k for k in _KINDS if f"-m {k}" in words or f"liquefy.{k}" in words or f"{k}-server" in words), "")
        for each in {kind, "all"} if kind else ():
            sizes[each] = sizes.get(each, 0) + process.memory_info().rss
    return sizes


def _contexts(running: LiveCluster) -> Measured:
    async def body() -> None:
        async with Client(running.broker, known, "keep", book) as client:
            messages = ((key, {"body": {"bytes": CONTEXT_BYTES}}) for key in keys)
            await client.each(LOAD_AT_ONCE, messages)

    known, book, keys = graph(running), Book(), [f"key-{i}" for i in range(CONTEXTS)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())
    time.sleep(SETTLE_S)
    sizes = _sizes(running)
    return CONTEXTS, sizes, wrong(running, "keep", book, CONTEXTS, keys, _kept(CONTEXT_BYTES))


def _kept(size: int) -> judging.Expected:
    """What `keep` makes of messages that want so many bytes."""
    return lambda count: {"count": count, "pad": "x" * size}


def _graphs(running: LiveCluster) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(GRAPHS_MORE):
            app = Path(folder) / f"keep{number}"
            shutil.copytree(GRAPHS / "keep", app)
            text = (app / "graph.yaml").read_text()
            (app / "graph.yaml").write_text(
                text.replace("graph: keep", f"graph: keep{number}").replace("/keep\n", f"/keep{number}\n")
            )
            running.ctl("deploy", str(app), "--wait")
    time.sleep(SETTLE_S)
    ready = [known for known in running.ask("status")["graphs"] if not known["unplaced"]]
    return GRAPHS_MORE, _sizes(running), judging.same("graphs", len(ready), 1 + GRAPHS_MORE)


def _nodes(running: LiveCluster) -> Measured:
    """Another cluster, of two."""
    with cluster(GRAPHS / "keep", nodes=2) as larger:
        time.sleep(SETTLE_S)
        up = sum(node["state"] == "up" for node in larger.ask("nodes"))
        return 1, _sizes(larger), judging.same("nodes", up, 2)


def _queued(running: LiveCluster) -> Measured:
    """The host is stopped; what comes waits in front of it. Then it goes on, and all are answered."""
    sizes: dict[str, int] = {}
    found: list[str] = []

    async def body() -> None:
        async with Client(running.broker, known, "keep", book) as client:
            os.kill(host, signal.SIGSTOP)
            try:
                pad = "x" * MESSAGE_BYTES
                messages = ((key, {"body": {"bytes": 0, "pad": pad}}) for key in keys)
                sent = asyncio.create_task(client.each(MESSAGES, messages))
                await asyncio.sleep(2 * SETTLE_S)
                sizes.update(await asyncio.to_thread(_sizes, running))
                waiting = len(book.sent) - len(book.answered)
                found.extend(judging.same("messages that wait", waiting, MESSAGES))
            finally:
                os.kill(host, signal.SIGCONT)
            await sent

    known, host, book, keys = graph(running), running.pid("node1/host"), Book(), [f"key-{i}" for i in range(MESSAGES)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())
    return MESSAGES, sizes, found + wrong(running, "keep", book, MESSAGES, keys, _kept(0))

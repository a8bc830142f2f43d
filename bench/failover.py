"""How long there are no answers from what was on a node, after the node was killed (kill -9), and after it was stopped
(SIGSTOP, its hosts too: connected, and silent). 1,000 messages/s to 1,000 keys; three nodes; broker's client, no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import psutil
import uvloop

from bench import judging, report
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, Spent, cluster, graph, quantile, wait_for, wrong
from bench.judging import Book
from liquefy.messages import partition_index, partition_name

RATE = 1_000.0
KEYS = 1_000
BEFORE_S, AFTER_S = 1.0, 4.0
TIMES = 3
"""In each round."""


SIGNALS = {"kill -9": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}


def names() -> list[str]:
    return list(SIGNALS)


def run(plan: report.Plan) -> dict[str, Any]:
    with cluster(GRAPHS / "counter", nodes=3) as running:
        book = Book()
        cases = {name: functools.partial(_case, running, number, book) for name, number in SIGNALS.items()}
        return report.result(plan, report.rounds(plan, cases), nodes=3, rate=RATE, keys=KEYS, times_a_round=TIMES)


def _case(running: LiveCluster, number: signal.Signals, book: Book) -> dict[str, float]:
    first, last, costs = [], [], []
    right = True
    for _ in range(TIMES):
        wait_for(running.whole, "the cluster to be whole", 60)
        places = running.placements("counter", "count")
        owners = [owner for owner, _ in places.values()]
        victim = max(set(owners), key=owners.count)
        lost = {name for name, (owner, _) in places.items() if owner == victim}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            silent, cpu_s, answers = runner.run(_measure(running, number, victim, lost, book))
        costs.append(cpu_s / max(1, answers) * 10_000)
        first.append(min(silent, default=0.0) * 1_000)
        last.append(max(silent, default=0.0) * 1_000)
        found = wrong(running, "count", book, answers, [f"key-{i}" for i in range(KEYS)], judging.counter_context)
        found += judging.same("partitions that were lost and answer again", len(silent), len(lost))
        right = report.right(found) and right
    return {
        "first ms": quantile(first, 0.5), "all ms": quantile(last, 0.5), "worst ms": max(last),
        "CPU-s/10k": quantile(costs, 0.5), "right": right,
    }  # fmt: skip


async def _measure(
    running: LiveCluster, number: signal.Signals, victim: str, lost: set[str], book: Book
) -> tuple[list[float], float, int]:
    """Seconds until each lost partition answered something that was sent after the end of its node; and in all:
    processor time of the system, answers."""
    known = await asyncio.to_thread(graph, running)
    partitions = known.group_by_name["count"].partitions
    keys: Iterator[str] = cycle(f"key-{i}" for i in range(KEYS))
    pid = await asyncio.to_thread(running.pid, victim)

    def next_() -> tuple[str, Any]:
        key = next(keys)
        return key, {"body": {"n": judging.n_of(book.sent.get(key, 0)), "pad": ""}}

    async with Client(running.broker, known, "count", book) as client:
        spent, over = await asyncio.to_thread(Spent, running.processes), asyncio.Event()
        load = asyncio.create_task(client.paced(RATE, next_, over))
        await asyncio.sleep(BEFORE_S)
        await asyncio.to_thread(spent.look)
        ended = await asyncio.to_thread(_ended, pid, number)
        ended_s = time.perf_counter()
        await asyncio.sleep(AFTER_S)
        over.set()
        await load
        cpu_s = sum((await asyncio.to_thread(spent.seconds)).values())
        if number == signal.SIGSTOP:
            _signal(ended, signal.SIGCONT)
    back: dict[str, float] = {}
    for (began_s, key), latency_s in zip(client.begun, client.latencies_s, strict=True):
        partition = partition_name("counter", "count", partition_index(key, partitions))
        if partition in lost and began_s > ended_s:
            answered_s = began_s + latency_s - ended_s
            back[partition] = min(back.get(partition, answered_s), answered_s)
    return list(back.values()), cpu_s, client.answers


def _ended(pid: int, number: signal.Signals) -> list[psutil.Process]:
    """Those that were given the signal: the node; if it is only stopped its hosts too, which would go on without it."""
    node = psutil.Process(pid)
    processes = [node, *(node.children(recursive=True) if number == signal.SIGSTOP else ())]
    _signal(processes, number)
    return processes


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)

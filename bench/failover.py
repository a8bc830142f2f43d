"""How long there are no answers from what was on a node, after the node was killed (kill -9), and after it was stopped
(SIGSTOP: connected, and silent). 1,000 messages/s to 1,000 keys; three nodes; broker's client, no HTTP.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import uvloop

from bench import report
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, cluster, graph, quantile, wait_for
from liquefy.messages import partition_index, partition_name

RATE = 1_000.0
KEYS = 1_000
BEFORE_S, AFTER_S = 1.0, 4.0
TIMES = 3
"""In each round."""


def run(plan: report.Plan) -> dict[str, Any]:
    with cluster(GRAPHS / "counter", nodes=3) as running:
        counts: dict[str, int] = {}
        cases = {
            name: functools.partial(_case, running, number, counts)
            for name, number in (("kill -9", signal.SIGKILL), ("SIGSTOP", signal.SIGSTOP))
        }
        return report.result(plan, report.rounds(plan, cases), nodes=3, rate=RATE, keys=KEYS, times_a_round=TIMES)


def _case(running: LiveCluster, number: signal.Signals, counts: dict[str, int]) -> dict[str, float]:
    first, last = [], []
    right = True
    for _ in range(TIMES):
        wait_for(running.whole, "the cluster to be whole", 60)
        places = running.placements("counter", "count")
        owners = [owner for owner, _ in places.values()]
        victim = max(set(owners), key=owners.count)
        lost = {name for name, (owner, _) in places.items() if owner == victim}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            silent, fine = runner.run(_measure(running, number, victim, lost, counts))
        first.append(min(silent, default=0.0) * 1_000)
        last.append(max(silent, default=0.0) * 1_000)
        right = right and fine and len(silent) == len(lost)
    return {"first ms": quantile(first, 0.5), "all ms": quantile(last, 0.5), "worst ms": max(last), "right": right}


async def _measure(
    running: LiveCluster, number: signal.Signals, victim: str, lost: set[str], counts: dict[str, int]
) -> tuple[list[float], bool]:
    """Seconds until each lost partition answered something that was sent after the end of its node."""
    known = await asyncio.to_thread(graph, running)
    partitions = known.group_by_name["count"].partitions
    keys: Iterator[str] = cycle(f"key-{i}" for i in range(KEYS))
    pid = await asyncio.to_thread(running.pid, victim)
    async with Client(running.broker, known, "count") as client:
        client.last = counts
        load = asyncio.create_task(
            client.paced(RATE, BEFORE_S + AFTER_S, lambda: (next(keys), {"body": {"n": 1, "pad": ""}}))
        )
        await asyncio.sleep(BEFORE_S)
        os.kill(pid, number)
        ended_s = time.perf_counter()
        await load
        if number == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    back: dict[str, float] = {}
    for (began_s, key), latency_s in zip(client.begun, client.latencies_s, strict=True):
        partition = partition_name("counter", "count", partition_index(key, partitions))
        if partition in lost and began_s > ended_s:
            answered_s = began_s + latency_s - ended_s
            back[partition] = min(back.get(partition, answered_s), answered_s)
    return list(back.values()), not client.errors

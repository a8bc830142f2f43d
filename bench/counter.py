"""A counter per key: what one message costs that changes a context, is committed, and is answered.

1,000 keys, uniform or Zipf(1.0); a closed loop of one client that speaks to the broker (no HTTP). After each case the
contexts must hold exactly what was answered.
"""

from __future__ import annotations

import asyncio
import functools
import random
from itertools import accumulate
from typing import Any

import uvloop

from bench import report
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, Spent, cluster, graph, quantile
from liquefy.values import pack

KEYS = 1_000
OUTSTANDING = (1, 16, 64, 256, 1_024)
PAD = "x" * 64
WARM_S = 1.0


def run(plan: report.Plan) -> dict[str, Any]:
    with cluster(GRAPHS / "counter", nodes=1) as running:
        counts: dict[str, int] = {}
        cases = {
            f"{shape}, {outstanding} outstanding": functools.partial(
                _case, running, plan.seconds, outstanding, shape == "zipf", counts
            )
            for shape in ("uniform", "zipf")
            for outstanding in OUTSTANDING
        }
        return report.result(plan, report.rounds(plan, cases), nodes=1, keys=KEYS, redis_sync="everysec")


def _case(
    running: LiveCluster, seconds: float, outstanding: int, zipf: bool, counts: dict[str, int]
) -> dict[str, float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(running, seconds, outstanding, zipf, counts))


async def _measure(
    running: LiveCluster, seconds: float, outstanding: int, zipf: bool, counts: dict[str, int]
) -> dict[str, float]:
    keys = [f"key-{i}" for i in range(KEYS)]
    bodies = {key: pack({"body": {"key": key, "n": 1, "pad": PAD}}) for key in keys}
    weights = list(accumulate(1 / (i + 1) for i in range(KEYS))) if zipf else None
    chance = random.Random(outstanding)
    drawn = iter(())

    def next_() -> tuple[str, Any]:
        nonlocal drawn
        key = next(drawn, None)
        if key is None:
            drawn = iter(chance.choices(keys, cum_weights=weights, k=4_096))
            key = next(drawn)
        return key, bodies[key]

    async with Client(running.broker, await asyncio.to_thread(graph, running), "count") as client:
        client.last = counts
        await client.run(outstanding, WARM_S, next_)
        spent = Spent(running.processes())
        took_s = await client.run(outstanding, seconds, next_)
        cpu_s = sum(spent.seconds().values())
    contexts = await asyncio.to_thread(running.contexts, "counter", "count", keys)
    right = not client.errors and all(contexts.get(key, {}).get("count") == count for key, count in counts.items())
    right = right and all(context.get("sum") == context.get("count") for context in contexts.values())
    shares = {"p50 ms": 0.5, "p99 ms": 0.99, "p99.9 ms": 0.999}
    return {
        "messages/s": client.answers / took_s,
        "CPU-s/10k": cpu_s / client.answers * 10_000,
        **{name: quantile(client.latencies_s, share) * 1_000 for name, share in shares.items()},
        "right": right,
    }

"""A counter per key: what one message costs that changes a context, is committed, and is answered.

1,000 keys, uniform or Zipf(1.0); a closed loop of one client that speaks to the broker (no HTTP). After each case the
contexts must hold exactly what was answered: how many, their sum, and the last ten in order. With `--durability` the
same for each of several, in turns: what it costs that a commit counts on the disk, or with a replica.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import psutil
import uvloop

from bench import judging, report
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, Spent, graph, lasting, quantile, wrong
from bench.judging import Book
from liquefy.values import pack

KEYS = 1_000
OUTSTANDING = (1, 16, 64, 256, 1_024)
SHAPES = ("uniform", "zipf")
PAD = "x" * 64
WARM_S = 1.0

Processes = Callable[[], list[psutil.Process]]


def names(durabilities: Sequence[str] = ("memory",)) -> list[str]:
    return [_name(*case) for case in itertools.product(SHAPES, OUTSTANDING, durabilities)]


def _name(shape: str, outstanding: int, durability: str) -> str:
    return f"{shape}, {outstanding} outstanding" + (f", {durability}" if durability != "memory" else "")


def run(plan: report.Plan) -> dict[str, Any]:
    with ExitStack() as stack:
        systems = {each: (*stack.enter_context(lasting(GRAPHS / "counter", each)), Book()) for each in plan.durability}
        cases = {
            _name(shape, outstanding, durability): functools.partial(
                _case, *systems[durability], plan.seconds, outstanding, shape == "zipf"
            )
            for shape, outstanding, durability in itertools.product(SHAPES, OUTSTANDING, plan.durability)
        }
        return report.result(
            plan, report.rounds(plan, cases), nodes=1, seconds=plan.seconds, keys=KEYS,
            durability=" ".join(plan.durability),
            redis_sync=" ".join("always" if each == "disk" else "everysec" for each in plan.durability),
        )  # fmt: skip


def _case(
    running: LiveCluster, processes: Processes, book: Book, seconds: float, outstanding: int, zipf: bool
) -> dict[str, float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(running, processes, book, seconds, outstanding, zipf))


async def _measure(
    running: LiveCluster, processes: Processes, book: Book, seconds: float, outstanding: int, zipf: bool
) -> dict[str, float]:
    keys = [f"key-{i}" for i in range(KEYS)]
    bodies = {
        key: [pack({"body": {"key": key, "n": judging.n_of(place), "pad": PAD}}) for place in range(judging.NUMBERS)]
        for key in keys
    }
    weights = list(itertools.accumulate(1 / (i + 1) for i in range(KEYS))) if zipf else None
    chance = random.Random(outstanding)
    drawn = iter(())

    def next_() -> tuple[str, Any]:
        nonlocal drawn
        key = next(drawn, None)
        if key is None:
            drawn = iter(chance.choices(keys, cum_weights=weights, k=4_096))
            key = next(drawn)
        return key, bodies[key][book.sent.get(key, 0) % judging.NUMBERS]

    async with Client(running.broker, await asyncio.to_thread(graph, running), "count", book) as client:
        await client.run(outstanding, WARM_S, next_)
        spent = Spent(processes)
        took_s = await client.run(outstanding, seconds, next_)
        cpu_s = sum(spent.seconds().values())
    found = await asyncio.to_thread(wrong, running, "count", book, client.answers, keys, judging.counter_context)
    shares = {"p5 ms": 0.05, "p50 ms": 0.5, "p99 ms": 0.99, "p99.9 ms": 0.999}
    return {
        "messages/s": client.answers / took_s,
        "CPU-s/10k": cpu_s / max(1, client.answers) * 10_000,
        **{name: quantile(client.latencies_s, share) * 1_000 for name, share in shares.items()},
        "right": report.right(found),
    }

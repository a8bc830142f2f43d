"""What a second node brings where processor time is what limits, and where the parts that all messages pass saturate.

Two nodes of one core each, both on this machine (with two cores everything else has to share them). The model: a role
costs so much for each message and so much for each batch, and batches grow with what is outstanding. It is fitted at
the ends, and checked in the middle.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psutil
import uvloop

from bench import judging, report
from bench.chain import counted, measured, users
from bench.closed_loop import Client
from bench.clusters import GRAPHS, LiveCluster, Spent, cluster, graph, quantile, wrong
from bench.judging import Book

ROUNDS_OF_WORK = 100_000
"""Some milliseconds of Python a message."""

KEYS = 500
OUTSTANDING = 32
WARM_S = 1.0
FITTED, CHECKED = (32, 512), (64, 128, 256)
"""Outstanding."""

WANTED = 100_000
"""Messages a second, for which it is said how many of a role are needed."""


BURNING = {1: "burning, 1 node of one core", 2: "burning, 2 nodes of one core"}
MODEL = "model"


def names() -> list[str]:
    """The model's cases are not measured one without the others."""
    return [*BURNING.values(), MODEL]


def run(plan: report.Plan) -> dict[str, Any]:
    with ExitStack() as stack:
        called: dict[str, Callable[[], dict[str, float]]] = {}
        for nodes, name in filter(lambda each: plan.wanted(each[1]), BURNING.items()):
            running = stack.enter_context(cluster(GRAPHS / "burn", nodes=nodes))
            for index in range(nodes):
                _pin(running.pid(f"node{index + 1}"), index % (os.cpu_count() or 1))
            called[name] = functools.partial(_burn, running, plan.seconds, Book())
        cases = report.rounds(plan, called)
    if len(cases) == len(BURNING) and (factor := report.ratio(cases[1]["messages/s"], cases[0]["messages/s"])):
        cases[1]["to 1 node"] = factor
    if plan.wanted(MODEL):
        cases += _model(plan)
    return report.result(
        plan, cases, seconds=plan.seconds, work=ROUNDS_OF_WORK, outstanding=OUTSTANDING, fitted=FITTED, checked=CHECKED
    )


def _pin(pid: int, core: int) -> None:
    """The node and its hosts, all threads of them."""
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})


def _burn(running: LiveCluster, seconds: float, book: Book) -> dict[str, float]:
    body = {"rounds": ROUNDS_OF_WORK}
    return _asked(running, "burn", OUTSTANDING, seconds, body, book, lambda count: {"count": count})[0]


def _asked(
    running: LiveCluster,
    fluxion: str,
    outstanding: int,
    seconds: float,
    body: dict[str, Any],
    book: Book,
    expected: judging.Expected,
) -> tuple[dict[str, float], dict[str, float]]:
    """Figures, and microseconds of each role a message. The message says `n` as the judge wants it."""
    known = graph(running)
    chance = random.Random(outstanding)

    def next_() -> tuple[str, Any]:
        key = f"key-{chance.randrange(KEYS)}"
        return key, {"body": {"key": key, "n": judging.n_of(book.sent.get(key, 0)), **body}}

    async def measure() -> tuple[dict[str, float], dict[str, float]]:
        async with Client(running.broker, known, fluxion, book) as client:
            await client.run(outstanding, WARM_S, next_)
            spent = Spent(running.processes)
            took_s = await client.run(outstanding, seconds, next_)
            roles = {role: cpu_s / max(1, client.answers) * 1e6 for role, cpu_s in spent.seconds().items()}
        keys = [f"key-{i}" for i in range(KEYS)]
        found = await asyncio.to_thread(wrong, running, fluxion, book, client.answers, keys, expected)
        figures = {
            "messages/s": client.answers / took_s, "p50 ms": quantile(client.latencies_s, 0.5) * 1_000,
            "CPU-s/10k": sum(roles.values()) / 100, "right": report.right(found),
        }  # fmt: skip
        return figures, roles

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure())


def _model(plan: report.Plan) -> list[dict[str, Any]]:
    """A case for each role, one for the gateway and one for each check."""
    with cluster(GRAPHS / "counter", nodes=1) as running:
        taken: dict[int, list[dict[str, float]]] = {}
        book, right = Book(), dict.fromkeys((*FITTED, *CHECKED), True)
        for number in range(plan.rounds):
            for n in (*FITTED, *CHECKED):
                body = {"pad": "x" * 64}
                figures, roles = _asked(running, "count", n, plan.seconds, body, book, judging.counter_context)
                right[n] = right[n] and bool(figures["right"])
                taken.setdefault(n, []).append(roles)
                plan.tell(
                    f"{plan.bench} model {number + 1}/{plan.rounds} {n} outstanding: {sum(roles.values()):.1f} us"
                )
    known = {
        n: {role: quantile([each.get(role, 0.0) for each in rounds], 0.5) for role in rounds[0]}
        for n, rounds in taken.items()
    }
    fitted = {role: fit({n: known[n][role] for n in FITTED}) for role in known[FITTED[0]]}
    cases: list[dict[str, Any]] = []
    for role, (message_us, batch_us) in sorted(fitted.items()):
        if message_us > 0 and role in ("broker", "worker", "host", "redis-server"):
            cases.append(_saturates(role, message_us, batch_us, all(right[n] for n in FITTED)))
    for n in CHECKED:
        told = sum(message_us + batch_us / n for message_us, batch_us in fitted.values())
        measured = sum(known[n].values())
        cases.append(
            {
                "case": f"model, {n} outstanding",
                "us": _one(measured),
                "model us": _one(told),
                "ratio": _one(told / measured),
                "right": right[n],
            }
        )
    return [*cases, _gateway(plan)]


def fit(measured: dict[int, float]) -> tuple[float, float]:
    """Microseconds a message, and a batch (of as many as are outstanding), through two points."""
    (few, of_few), (many, of_many) = sorted(measured.items())
    batch_us = max(0.0, (of_few - of_many) / (1 / few - 1 / many))
    return of_many - batch_us / many, batch_us


def _saturates(role: str, message_us: float, batch_us: float, right: bool) -> dict[str, Any]:
    most = 1e6 / (message_us + batch_us / FITTED[-1])
    return {
        "case": f"model, {role}", "us": _one(message_us), "us a batch": _one(batch_us), "saturates at/s": _one(most),
        f"for {WANTED:,}/s": _one(-(-WANTED // most)), "right": right,
    }  # fmt: skip


def _gateway(plan: report.Plan) -> dict[str, Any]:
    """By HTTP, as that is what it costs."""
    costs: list[float] = []
    right = True
    with cluster(GRAPHS / "chain", nodes=1) as running, users("/u") as script:
        stored = counted(running, "store")
        for _ in range(plan.rounds):
            figures, roles = measured(running.http, running.processes, plan.seconds, 256, script, stored)
            costs.append(roles.get("gateway", 0.0) / max(1.0, figures["answered"]) * 1e6)
            right = right and bool(figures["right"])
    return _saturates("gateway", quantile(costs, 0.5), 0.0, right)


def _one(value: float) -> dict[str, float]:
    return {"median": value, "min": value, "max": value}

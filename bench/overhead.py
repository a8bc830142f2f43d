"""What a hop costs, and what it costs to be liquid at all: the same service plain, plain with Redis, and compiled, in
turns, by `wrk`. Needs wrk and npm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench import report
from bench.chain import Stored, asked, counted, nothing, users, whole
from bench.clusters import GRAPHS, cluster
from bench.services import packages, redis, serving, versions, visits

CONNECTIONS = (1, 64)
Cases = dict[str, Callable[[], dict[str, float]]]
PLAIN = (("flask", 1, 2), ("fastapi", 1, 2), ("express", 1, 1))
"""Framework, processes that keep everything in memory (it is one's own), processes that keep it in Redis."""


def names() -> list[str]:
    labels = [*_HOPS, *(label for each in PLAIN for label in _labels(*each))]
    return [f"{label}, {n} connections" for label in labels for n in CONNECTIONS]


def _labels(framework: str, alone: int, stored: int) -> tuple[str, str, str]:
    """Plain, plain with Redis, liquid."""
    some = {workers: f"{workers} process{'es' * (workers > 1)}" for workers in (alone, stored)}
    return f"{framework}, {some[alone]}", f"{framework} with Redis, {some[stored]}", f"{framework} liquid"


def run(plan: report.Plan) -> dict[str, Any]:
    cases = []
    with ExitStack() as stack:
        named: Cases = {}
        if any(plan.wanted(f"{kind}, {n} connections") for kind in _HOPS for n in CONNECTIONS):
            hops = stack.enter_context(cluster(GRAPHS / "hops"))
            for kind, (path, groups) in _HOPS.items():
                stored = counted(hops, *groups)
                named |= _cases(stack, plan, kind, hops.http, hops.processes, path, stored)
        cases += report.rounds(plan, named)
    with ExitStack() as stack:
        folder = stack.enter_context(packages())
        cases += report.rounds(plan, _services(stack, plan, folder))
        beside = versions(folder)
    return report.result(
        plan, cases, beside, seconds=whole(plan.seconds), nodes=1, redis_sync="everysec", client="wrk -t1"
    )


_HOPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "stateless, 1 hop": ("/stateless/1/u", ()),
    "stateless, 2 hops": ("/stateless/2/u", ()),
    "stateful, 1 hop": ("/stateful/1/u", ("stateful_only",)),
    "stateful, 2 hops": ("/stateful/2/u", ("stateful_first", "stateful_second")),
}
"""The path of each, and the groups that count on it."""

_VISITING = {"flask": "visit", "fastapi": "visit", "express": "get_user"}
"""The group that the compiler makes of each service's route."""


def _services(stack: ExitStack, plan: report.Plan, folder: Path) -> Cases:
    """All of them are up at once, and idle but for the one that is asked."""
    named: Cases = {}
    store = stack.enter_context(redis())
    for framework, alone, stored in PLAIN:
        for label, kept, workers in zip(
            _labels(framework, alone, stored), (None, store), (alone, stored), strict=False
        ):
            if any(plan.wanted(f"{label}, {n} connections") for n in CONNECTIONS):
                url, processes = stack.enter_context(serving(folder, framework, kept, workers))
                counts = functools.partial(visits, kept) if kept else nothing
                named |= _cases(stack, plan, label, url, functools.partial(list, processes), "/u", counts)
        label = _labels(framework, alone, stored)[-1]
        if any(plan.wanted(f"{label}, {n} connections") for n in CONNECTIONS):
            source = folder / framework / ("app.js" if framework == "express" else "app.py")
            running = stack.enter_context(cluster(source))
            counts = counted(running, _VISITING[framework])
            named |= _cases(stack, plan, label, running.http, running.processes, "/u", counts)
    return named


def _cases(
    stack: ExitStack,
    plan: report.Plan,
    label: str,
    url: str,
    processes: Callable[[], list[psutil.Process]],
    path: str,
    stored: Stored,
) -> Cases:
    script = stack.enter_context(users(path))
    return {
        f"{label}, {n} connections": functools.partial(asked, url, processes, whole(plan.seconds), n, script, stored)
        for n in CONNECTIONS
    }

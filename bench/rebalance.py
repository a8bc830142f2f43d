"""How long until even, after loads came to lie unevenly, and how many moves that took; and how long deciding takes
alone, in clusters far larger than one machine has.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from typing import Any

from bench import judging, report, views
from bench.clusters import LiveCluster, cluster, wait_for
from controller import balance
from controller.trial import View

EVEN = 0.10
"""Even is: the highest is at most so much above the mean."""

SEEN = 0.30
"""The skew is there when the highest is so much above the mean."""

STAYS_S = 3.0
"""Nodes that were even for so long count as even since then."""

EVEN_S_MAX = 60.0
RATE, WORK_MS = 150.0, 2.0
SHARES = (0.9, 0.7, 0.5)
"""Of the load on one of three nodes."""

SIZES = ((10, 1_000), (1_000, 100_000), (10_000, 1_000_000))


CHAINS = balance.Limits().moves_max
"""As many are moved in one plan: partitions that belong together, each of them a move."""


def names() -> list[str]:
    plans = [
        name for nodes, partitions in SIZES for skew in views.SKEWS for name in _plan_names(nodes, partitions, skew)
    ]
    return [*plans, *map(_even_name, SHARES)]


def _plan_names(nodes: int, partitions: int, skew: str) -> tuple[str, str]:
    """Of one plan, and of all that would follow it in one."""
    name = f"plan {nodes:,} nodes, {partitions:,} partitions, {skew}"
    return f"{name}, at most {CHAINS} chains", f"{name}, all moves"


def _even_name(share: float) -> str:
    return f"even after {share:.0%} on one of 3 nodes"


def run(plan: report.Plan) -> dict[str, Any]:
    cases = []
    for nodes, partitions in SIZES:
        for skew in views.SKEWS:
            called_so = _plan_names(nodes, partitions, skew)
            if not any(map(plan.wanted, called_so)):
                continue
            view = views.view(nodes, partitions, skew, seed=1)
            called = {
                name: functools.partial(_plan, view, chains)
                for name, chains in zip(called_so, (CHAINS, partitions), strict=True)
            }
            cases += report.rounds(plan, called)
    live = {_even_name(share): functools.partial(_even, share) for share in SHARES}
    cases += report.rounds(plan, live)
    return report.result(plan, cases, rate=RATE, work_ms=WORK_MS, even=EVEN)


def _plan(view: View, moves_max: int) -> dict[str, float]:
    began, spent = time.perf_counter(), time.process_time()
    found = balance.plan(view, (), balance.Limits(moves_max=moves_max), 0)
    took, cpu = time.perf_counter() - began, time.process_time() - spent
    return {
        "s": took, "CPU-s": cpu, "moves": len(found.moves),
        "highest/bound": views.highest(view, [*found.required, *found.moves]) / views.lower_bound(view),
        "right": report.right(judging.planned(view, found)),
    }  # fmt: skip


def _even(share: float) -> dict[str, float]:
    with cluster(report.ROOT / "examples" / "hot", nodes=3) as running:
        places = running.placements("hot", "burn")
        hot = [name.rpartition("/")[2] for name, (owner, _) in places.items() if owner == "node1"]
        command = [sys.executable, str(report.ROOT / "examples/hot/load.py"), "--json", "--url", running.http]
        command += ["--partitions", ",".join(hot), "--share", f"{share:g}", "--ms", f"{WORK_MS:g}"]
        command += ["--rate", f"{RATE:g}", "--seconds", f"{2 * EVEN_S_MAX:g}"]
        environment = {**os.environ, "PYTHONPATH": str(report.ROOT)}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True, env=environment) as load:
            try:
                began = time.perf_counter()
                wait_for(lambda: _above(running) > SEEN, "the skew to be seen")
                even_s = _even_for_good(running, began)
            finally:
                load.terminate()
        now = running.placements("hot", "burn")
        return {"s": even_s, "moves": sum(now[p][0] != places[p][0] for p in places), "right": even_s < EVEN_S_MAX}


def _even_for_good(running: LiveCluster, began: float) -> float:
    """When, since it began, the nodes were even that stayed so; EVEN_S_MAX if they never were."""
    even_s: float | None = None
    while (now_s := time.perf_counter() - began) < EVEN_S_MAX:
        if _above(running) > EVEN:
            even_s = None
        elif even_s is None:
            even_s = now_s
        elif now_s - even_s >= STAYS_S:
            return even_s
        time.sleep(0.25)
    return EVEN_S_MAX


def _above(running: LiveCluster) -> float:
    loads = [node["utilisation"] for node in running.ask("nodes")]
    mean = sum(loads) / len(loads)
    return max(loads) / mean - 1 if mean > 0.05 else 0.0

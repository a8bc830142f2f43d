"""A request through three steps: GET /:id >> store (a context per user) >> localProcess >> callExternalDB (awaits 0 ms)
>> answer, as `wrk` sees it; and the same by hand, in frameworks with a call of Redis. Needs wrk and npm on PATH.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench import report
from bench.clusters import GRAPHS, Spent, cluster
from bench.services import packages, redis, serving
from liquefy.errors import UserError

CONNECTIONS = (1, 16, 64, 256)
USERS = 5_000
WARM_S = 1
PLAIN = (("express", 1), ("fastapi", 1), ("fastapi", 2), ("flask", 2))
"""Framework, and processes."""

Cases = dict[str, Callable[[], dict[str, float]]]


def run(plan: report.Plan) -> dict[str, Any]:
    cases = []
    for nodes in (1, 3):
        with ExitStack() as stack:
            prefix = f"{nodes} node{'s' if nodes > 1 else ''}"
            if any(plan.wanted(name) for name in _names(prefix)):
                running = stack.enter_context(cluster(GRAPHS / "chain", nodes=nodes))
                cases += report.rounds(plan, _cases(stack, plan, prefix, running.http, running.processes))
    with ExitStack() as stack:
        plain = {f"{framework} with Redis x {workers}": (framework, workers) for framework, workers in PLAIN}
        wanted = {prefix: plain[prefix] for prefix in plain if any(map(plan.wanted, _names(prefix)))}
        named: Cases = {}
        if wanted:
            folder, store = stack.enter_context(packages()), stack.enter_context(redis())
            for prefix, (framework, workers) in wanted.items():
                url, processes = stack.enter_context(serving(folder, framework, store, workers))
                named |= _cases(stack, plan, prefix, url, functools.partial(list, processes))
        cases += report.rounds(plan, named)
    return report.result(plan, cases, users=USERS, redis_sync="everysec", client="wrk -t1")


def _names(prefix: str) -> list[str]:
    return [f"{prefix}, {n} connections" for n in CONNECTIONS]


def _cases(
    stack: ExitStack, plan: report.Plan, prefix: str, url: str, processes: Callable[[], list[psutil.Process]]
) -> Cases:
    script = stack.enter_context(users("/u"))
    return {
        name: functools.partial(asked, url, processes, plan.seconds, n, script)
        for n, name in zip(CONNECTIONS, _names(prefix), strict=True)
    }


@contextlib.contextmanager
def users(path: str) -> Iterator[Path]:
    """What makes `wrk` ask for a user at random."""
    if shutil.which("wrk") is None:
        raise UserError("wrk is not on PATH\n  remedy: install it (Debian: apt install wrk)")
    with tempfile.TemporaryDirectory(prefix="liquefy-bench-") as folder:
        script = Path(folder) / "users.lua"
        script.write_text(
            "math.randomseed(os.time())\n"
            f'request = function() return wrk.format("GET", "{path}" .. math.random(1, {USERS})) end\n'
        )
        yield script


def asked(
    url: str, processes: Callable[[], list[psutil.Process]], seconds: float, connections: int, script: Path
) -> dict[str, float]:
    """Figures of one case; processor time of these processes, `wrk` apart."""
    wrk(url, WARM_S, connections, script)
    spent = Spent(processes())
    figures, answered = wrk(url, seconds, connections, script)
    cpu_s = sum(spent.seconds().values())
    return {**figures, "CPU-s/10k": cpu_s / max(1, answered) * 10_000, "right": figures["bad"] == 0}


def wrk(url: str, seconds: float, connections: int, script: Path) -> tuple[dict[str, float], int]:
    """Figures, and how many requests were answered."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(script), url + "/"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answered = int(_found(r"(\d+) requests in", text))
    bad = int(_found(r"Non-2xx or 3xx responses: (\d+)", text)) + sum(
        map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    )
    figures = {
        "requests/s": float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        "p50 ms": _ms(_found(r"^ +50% +(\S+)", text)),
        "p99 ms": _ms(_found(r"^ +99% +(\S+)", text)),
        "bad": bad,
    }
    return figures, answered


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else "0"


def _ms(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1_000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return 0.0

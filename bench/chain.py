"""A request through three steps: GET /:id >> store (a context per user) >> localProcess >> callExternalDB (awaits 0 ms)
>> answer, as `wrk` sees it. Needs wrk on PATH.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import report
from bench.clusters import GRAPHS, LiveCluster, Spent, cluster
from liquefy.errors import UserError

CONNECTIONS = (1, 16, 64, 256)
USERS = 5_000
WARM_S = 1


def run(plan: report.Plan) -> dict[str, Any]:
    if shutil.which("wrk") is None:
        raise UserError("wrk is not on PATH\n  remedy: install it (Debian: apt install wrk)")
    cases = []
    for nodes in (1, 3):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            script = folder / "users.lua"
            script.write_text(
                "math.randomseed(os.time())\n"
                f'request = function() return wrk.format("GET", "/u" .. math.random(1, {USERS})) end\n'
            )
            running = stack.enter_context(cluster(GRAPHS / "chain", nodes=nodes))
            named = {
                f"{nodes} node{'s' if nodes > 1 else ''}, {n} connections": functools.partial(
                    _case, running, plan.seconds, n, script
                )
                for n in CONNECTIONS
            }
            cases += report.rounds(plan, named)
    return report.result(plan, cases, users=USERS, redis_sync="everysec", client="wrk -t1")


def _case(running: LiveCluster, seconds: float, connections: int, script: Path) -> dict[str, float]:
    wrk(running.http, WARM_S, connections, script)
    spent = Spent(running.processes())
    figures, answered = wrk(running.http, seconds, connections, script)
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
        "p50 ms": _ms(_found(r"50%\s+(\S+)", text)),
        "p99 ms": _ms(_found(r"99%\s+(\S+)", text)),
        "bad": bad,
    }
    return figures, answered


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else "0"


def _ms(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1_000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return 0.0

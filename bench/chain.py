"""A request through three steps: GET /:id >> store (a context per user) >> localProcess >> callExternalDB (awaits 0 ms)
>> answer, as `wrk` sees it; and the same by hand, in frameworks with a call of Redis. Needs wrk and npm on PATH.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench import judging, report
from bench.clusters import GRAPHS, LiveCluster, Spent, cluster, graph
from bench.services import packages, redis, serving, versions, visits
from liquefy.errors import UserError

CONNECTIONS = (1, 16, 64, 256)
USERS = 5_000
WARM_S = 1
LOOK_S, LOOKS_MAX = 0.2, 20
"""Between two looks at what is stored, and how many at most."""

PLAIN = (("express", 1), ("fastapi", 1), ("fastapi", 2), ("flask", 2))
"""Framework, and processes."""


def names() -> list[str]:
    services = [name for nodes in (1, 3) for name in _ways(nodes)]
    return [_name(service, n) for service in (*services, *_PLAIN) for n in CONNECTIONS]


def run(plan: report.Plan) -> dict[str, Any]:
    """All are up at once, and idle but for the one that is asked; of each round, what has as many connections follows
    one another, so that what else the machine does falls on all alike."""
    with ExitStack() as stack:
        plain, versions = _plain(stack, plan)
        services, seconds = {**_liquid(stack, plan), **plain}, whole(plan.seconds)
        cases = {
            _name(service, n): functools.partial(asked, url, processes, seconds, n, script, stored)
            for n in CONNECTIONS
            for service, (url, processes, script, stored) in services.items()
        }
        measured = report.rounds(plan, cases)
    return report.result(
        plan, measured, versions, seconds=seconds, users=USERS, redis_sync="everysec", client="wrk -t1"
    )


Stored = Callable[[], list[int]]
"""How many requests each of the steps that count has counted, as it is stored."""

Service = tuple[str, Callable[[], list[psutil.Process]], Path, Stored]
"""Its address, its processes, the script of who asks it, and what it has counted."""


def _liquid(stack: ExitStack, plan: report.Plan) -> dict[str, Service]:
    """The graph has the chain twice: behind `/ahead/`, all that follows the context is speculative."""
    services: dict[str, Service] = {}
    for nodes in (1, 3):
        ways = {label: way for label, way in _ways(nodes).items() if _any(plan, label)}
        if ways:
            running = stack.enter_context(cluster(GRAPHS / "chain", nodes=nodes))
            for label, (path, group) in ways.items():
                script = stack.enter_context(users(path))
                services[label] = (running.http, running.processes, script, counted(running, group))
    return services


def _ways(nodes: int) -> dict[str, tuple[str, str]]:
    """The path of each, and the group that counts on it."""
    name = f"{nodes} node{'s' * (nodes > 1)}"
    return {name: ("/u", "store"), f"{name}, speculative": ("/ahead/u", "storeAhead")}


_PLAIN = {f"{framework} with Redis x {workers}": (framework, workers) for framework, workers in PLAIN}


def _plain(stack: ExitStack, plan: report.Plan) -> tuple[dict[str, Service], dict[str, str]]:
    """And the versions of what they are made with."""
    wanted = {name: what for name, what in _PLAIN.items() if _any(plan, name)}
    services: dict[str, Service] = {}
    made_with: dict[str, str] = {}
    if wanted:
        folder, store, script = (stack.enter_context(each) for each in (packages(), redis(), users("/u")))
        made_with = versions(folder)
        for name, (framework, workers) in wanted.items():
            url, processes = stack.enter_context(serving(folder, framework, store, workers))
            services[name] = (url, functools.partial(list, processes), script, functools.partial(visits, store))
    return services, made_with


def _name(service: str, connections: int) -> str:
    return f"{service}, {connections} connections"


def _any(plan: report.Plan, service: str) -> bool:
    return any(plan.wanted(_name(service, n)) for n in CONNECTIONS)


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


def counted(running: LiveCluster, *groups: str) -> Stored:
    """What these groups have counted of all users, in Redis."""
    name = graph(running).name
    keys = [f"u{number}" for number in range(1, USERS + 1)]
    return lambda: [sum(map(judging.visits, running.contexts(name, group, keys).values())) for group in groups]


def nothing() -> list[int]:
    """Of a service that stores nothing, or only in its own memory: nobody else can look there."""
    return []


def asked(
    url: str,
    processes: Callable[[], list[psutil.Process]],
    seconds: float,
    connections: int,
    script: Path,
    stored: Stored,
) -> dict[str, float]:
    """Figures of one case; processor time of these processes, `wrk` apart."""
    figures, roles = measured(url, processes, seconds, connections, script, stored)
    answered = figures.pop("answered")
    right = figures.pop("right")
    return {**figures, "CPU-s/10k": sum(roles.values()) / max(1.0, answered) * 10_000, "right": right}


def measured(
    url: str,
    processes: Callable[[], list[psutil.Process]],
    seconds: float,
    connections: int,
    script: Path,
    stored: Stored,
) -> tuple[dict[str, float], dict[str, float]]:
    """Figures, `answered` too, and the seconds of each kind of process."""
    before = _settled(stored)
    warm, warm_answered = wrk(url, WARM_S, connections, script)
    spent = Spent(processes)
    figures, answered = wrk(url, seconds, connections, script)
    roles = spent.seconds()
    grown = [now - then for then, now in zip(before, _settled(stored), strict=True)]
    bad = int(warm["bad"] + figures["bad"])
    wrong = [] if answered else ["nothing was answered"]
    wrong += judging.requests(warm_answered + answered, bad, 2 * connections, grown)
    return {**figures, "answered": answered, "right": report.right(wrong)}, roles


def _settled(stored: Stored) -> list[int]:
    """When what was open as `wrk` stopped has ended too: two looks see the same."""
    now = stored()
    for _ in range(LOOKS_MAX):
        if not now:
            break
        time.sleep(LOOK_S)
        before, now = now, stored()
        if now == before:
            break
    return now


def whole(seconds: float) -> int:
    """`wrk` measures for whole seconds."""
    return math.ceil(seconds)


def wrk(url: str, seconds: float, connections: int, script: Path) -> tuple[dict[str, float], int]:
    """Figures, and how many requests were answered."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{whole(seconds)}s", "--latency", "-s", str(script), url + "/"]
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

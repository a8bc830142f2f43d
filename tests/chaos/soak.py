"""Hours of steady load, with a migration every few seconds and a kill every minute: `python tests/chaos/soak.py --hours
2`. Memory, file descriptors and threads of each process, keys and memory of Redis and latency are sampled. In the last
half none of them may grow, and the book must be right.

What is bounded grows, too, until it is full; the first half is its time for that. The table has the slopes of both
halves: what fills has the second one far below the first one, what leaks has the same twice. One process of each role
is spared. The broker and Redis, of which there is one, are killed in the first half alone: memory tells something only
of a process that lives on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

import proving
import psutil
from live_cluster import LiveCluster, wait_for
from redis_processes import Server
from slopes import HOUR_S, Allowed, Growth, growth, slope
from steady_load import SteadyLoad

from ctl.asking import Lost, Refused, Unreachable

SAMPLE_S = 10.0
MOVE_S = 3.0
KILL_S = 60.0
STEP_S = 0.5
WARM_PART = 0.5
"""Of the run. An hour is more than ids handled are kept for (DEDUPE_RETENTION_MS), and than what `SETTINGS` bound takes
to be full."""

QUIET_S = 40.0
SETTINGS = {"LIQUEFY_IDEMPOTENCY_RETENTION_S": "180", "LIQUEFY_EVENTS_MAX": "200", "LIQUEFY_LOG_LINES_MAX": "500"}
"""So that as many answers go as come, and as many events and lines of the log: those that are kept otherwise take hours
to become so many. A key is known for longer than a request is tried: one that came after that would count twice."""

EARLY = ("broker", "redis", "node2", "node3/host", "gateway2", "controller2", "node1/host")
LATER = ("node2", "node3", "node2/host", "node3/host", "gateway2", "controller2")

ALLOWED = {
    "MB": Allowed(2.0, 0.03),
    "files": Allowed(2.0),
    "threads": Allowed(0.5),
    "keys": Allowed(20.0, 0.02),
    "ms": Allowed(1.0, 0.25),
}
"""An hour, by the last word of a series' name. Memory of a process that keeps nothing is not still, either: each time
that more is under way at once than ever before, a page more has been used. Latency is that of a machine that others may
use as well."""

Points = list[tuple[float, float]]


class Samples:
    """Series by name, each with the process it is of: a new one has a series of its own."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, int], Points] = defaultdict(list)

    def add(self, at_s: float, name: str, value: float, pid: int = 0) -> None:
        self.series[name, pid].append((at_s, value))

    def growths(self, warm_s: float) -> dict[str, tuple[Growth, float]]:
        """Of what was there from then on until the end; and its slope before."""
        end_s = max((points[-1][0] for points in self.series.values()), default=0.0)
        found = {}
        for (name, _), points in self.series.items():
            if points[0][0] <= warm_s and points[-1][0] > end_s - 2 * SAMPLE_S:
                judged = growth([p for p in points if p[0] >= warm_s], ALLOWED[name.split()[-1]])
                found[name] = judged, slope([p for p in points if p[0] < warm_s])
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--keep", type=Path, default=None, help="a folder to leave logs, data and samples in")
    options = parser.parse_args()
    more = ("--controllers=2", "--gateways=2")
    with proving.folder("soak", options.keep) as folder:
        cluster = LiveCluster(folder / "state", proving.VISITS, 3, SETTINGS, redis_sync="always", more=more)
        with cluster:
            return soak(cluster, options, folder)


def soak(cluster: LiveCluster, options: argparse.Namespace, folder: Path) -> int:
    seconds = options.hours * HOUR_S
    warm_s = WARM_PART * seconds
    print(f"{options.hours:g} hours at {options.rate:g} requests/s, seed {options.seed}; warm after {warm_s:.0f} s")
    samples = Samples()
    with SteadyLoad(cluster.ask("status")["http"], options.rate, seed=options.seed) as load:
        wait_for(lambda: load.answered > options.rate, "the first answers")
        moved, kills = steady(cluster, load, samples, seconds, warm_s, random.Random(options.seed))
        load.stop()
    (folder / "samples.json").write_text(json.dumps([[*key, points] for key, points in samples.series.items()]))
    problems = []
    for condition, what in (
        (cluster.whole, "all nodes to be up and all partitions placed"),
        (lambda: not cluster.outboxes("visits"), "the outboxes to be empty"),
    ):
        try:
            wait_for(condition, what, QUIET_S)
        except AssertionError as error:
            problems.append(str(error))
    verdict = load.check(cluster.contexts("visits", "store", load.users))
    problems += verdict.examples[:20]
    growths = samples.growths(warm_s)
    told(growths)
    problems += [f"{name} grows by {g.slope:.2f} an hour" for name, (g, _) in growths.items() if g.grows]
    print(
        f"\nkills {kills}  partitions moved {moved}  accepted {verdict.requests}  lost {verdict.lost}  "
        f"doubled {verdict.doubled}  reordered {verdict.reordered}  not answered {verdict.failed}"
    )
    return proving.verdict(problems)


def steady(
    cluster: LiveCluster, load: SteadyLoad, samples: Samples, seconds: float, warm_s: float, chance: random.Random
) -> tuple[int, int]:
    """Partitions moved, and processes killed."""
    began_s = time.monotonic()
    moved = kills = answered = 0
    due = {"sample": 0.0, "move": MOVE_S, "kill": KILL_S}
    while (at_s := time.monotonic() - began_s) < seconds:
        if at_s >= due["sample"]:
            due["sample"] += SAMPLE_S
            sample(cluster, samples, at_s)
            latest, answered = load.entries[answered:], len(load.entries)
            waited = sorted(1000 * (e.answered_s - e.due_s) for e in latest if e.status == 200)
            for name, part in (("p50", 0.5), ("p99", 0.99)) if waited else ():
                samples.add(at_s, f"latency {name} ms", proving.quantile(waited, part))
        if at_s >= due["kill"]:
            due["kill"] += KILL_S
            name = chance.choice(EARLY if at_s < warm_s - KILL_S else LATER)
            cluster.kill(name)
            kills += 1
            print(f"{at_s:7.0f} s  kill -9 {name}, {load.answered} answered, {moved} moved", flush=True)
        if at_s >= due["move"]:
            due["move"] = at_s + MOVE_S
            moved += move(cluster, chance)
        time.sleep(STEP_S)
    return moved, kills


def move(cluster: LiveCluster, chance: random.Random) -> int:
    what = "store" if chance.random() < 0.1 else f"store/{chance.randrange(32)}"
    with contextlib.suppress(Refused, Unreachable, Lost):
        return int(cluster.ask("migrate", what=what, node=f"node{chance.randint(1, 3)}")["moved"])
    return 0


def sample(cluster: LiveCluster, samples: Samples, at_s: float) -> None:
    names = [process.name for process in cluster.record().processes]
    for name in [*names, *(f"{name}/host" for name in names if name.startswith("node"))]:
        with contextlib.suppress(psutil.Error, ValueError):
            pid = cluster.pid(name)
            process = psutil.Process(pid) if pid else None
            if process is None:
                continue
            samples.add(at_s, f"{name} MB", process.memory_info().rss / 1e6, pid)
            samples.add(at_s, f"{name} files", process.num_fds() - clients(process, cluster), pid)
            samples.add(at_s, f"{name} threads", process.num_threads(), pid)
    redis = Server(cluster.state)
    redis.port = int(cluster.redis.rsplit(":", 1)[1].split("/")[0])
    with contextlib.suppress(ValueError, IndexError):  # it has just been killed
        size = int(redis.ask("DBSIZE")[1:])
        used = int(redis.ask("INFO", "memory").split("used_memory:")[1].split()[0])
        samples.add(at_s, "redis keys", size)
        samples.add(at_s, "redis used MB", used / 1e6)


def clients(process: psutil.Process, cluster: LiveCluster) -> int:
    """Connections of those who ask for something: how many these are, and at which gateway, is their own affair."""
    if not any(p.pid == process.pid and p.role == "gateway" for p in cluster.record().processes):
        return 0
    listening = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return sum(c.laddr.port in listening for c in process.net_connections("tcp") if c.status != psutil.CONN_LISTEN)


def told(growths: dict[str, tuple[Growth, float]]) -> None:
    print(f"\n{'last half':<24} {'first':>9} {'last':>9} {'per hour':>10} {'before':>10} {'allowed':>9}")
    for name, (each, before) in sorted(growths.items()):
        note = "GROWS" if each.grows else "" if each.judged else "too short to judge"
        figures = f"{each.first:>9.1f} {each.last:>9.1f} {each.slope:>+10.2f} {before:>+10.2f} {each.allowed:>9.2f}"
        print(f"{name:<24} {figures}  {note}")


if __name__ == "__main__":
    sys.exit(main())

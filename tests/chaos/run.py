"""kill -9 of everything, at random moments, under load that keeps book: `python tests/chaos/run.py --rounds 200`.

Each round picks a role and one of its processes, and a moment; often partitions are being moved then. A round ends
when no answer is late any more. At the end every context must hold exactly what was acknowledged. Exit code 1 if it
does not, if an answer was out of order, or if the service was away for longer than `--back-max` after a kill.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

from live_cluster import LiveCluster, wait_for  # noqa: E402
from steady_load import Outage, SteadyLoad, Verdict  # noqa: E402

from ctl.asking import Lost, Refused, Unreachable  # noqa: E402

TARGETS = {
    "worker": ("node1", "node2", "node3"),
    "host": ("node1/host", "node2/host", "node3/host"),
    "broker": ("broker",),
    "controller": ("controller",),
    "gateway": ("gateway1",),
    "redis": ("redis",),
}
CALM_S = 0.6
"""So long nothing may be late, for a round to end; longer than what counts as late."""

ROUND_S = 60.0
MOMENT_MAX_S = 0.5
MOVE_PAUSE_S = 0.3
QUIET_S = 20.0


class Round(NamedTuple):
    role: str
    outage: Outage


class Mover(threading.Thread):
    """Moves a partition, or a few, or a whole group, now and then. What cannot be moved at the moment is not."""

    def __init__(self, cluster: LiveCluster, seed: int) -> None:
        super().__init__(daemon=True)
        self.moved = self.refused = 0
        self._cluster, self._chance, self._end = cluster, random.Random(seed), threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._chance.uniform(0, MOVE_PAUSE_S)):
            group = self._chance.choice(("store", "store", "localProcess", "send"))
            what = group if self._chance.random() < 0.1 else f"{group}/{self._chance.randrange(32)}"
            try:
                result = self._cluster.ask("migrate", what=what, node=f"node{self._chance.randint(1, 3)}")
                self.moved += result["moved"]
                self.refused += result["failed"]
            except (Refused, Unreachable, Lost):
                self.refused += 1

    def stop(self) -> None:
        self._end.set()
        self.join(ROUND_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="of all random choices [the clock]")
    parser.add_argument("--rate", type=float, default=250.0, help="requests a second")
    parser.add_argument("--roles", default=",".join(TARGETS), help="which to kill")
    parser.add_argument("--back-max", type=float, default=2.0, help="seconds within which the service must be back")
    parser.add_argument("--controllers", type=int, default=1, help="how many; one leads, any may be killed")
    parser.add_argument("--no-moves", action="store_true", help="move nothing meanwhile")
    parser.add_argument("--keep", type=Path, default=None, help="a folder to leave logs and data in")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    print(f"{options.rounds} rounds, seed {seed}, {options.rate:g} requests/s", flush=True)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="liquefy-chaos-"))
    try:
        more = (f"--controllers={options.controllers}",)
        visits = ROOT / "examples" / "visits"
        with LiveCluster(folder / "state", visits, redis_sync="always", more=more) as cluster:
            return chaos(cluster, options, seed)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def chaos(cluster: LiveCluster, options: argparse.Namespace, seed: int) -> int:
    chance = random.Random(seed)
    began_s = time.monotonic()
    rounds: list[Round] = []
    mover = Mover(cluster, seed)
    stuck = ""
    with SteadyLoad(cluster.http, options.rate, seed=seed) as load:
        wait_for(lambda: load.answered > options.rate, "the first answers")
        first_rss = cluster.rss()
        if not options.no_moves:
            mover.start()
        for number in range(1, options.rounds + 1):
            role = chance.choice(options.roles.split(","))
            name = chance.choice(TARGETS[role])
            if role == "controller" and (which := chance.randint(1, options.controllers)) > 1:
                name = f"controller{which}"
            time.sleep(chance.uniform(0, MOMENT_MAX_S))  # the moment is the experiment
            rounds.append(Round(role, one(cluster, load, name)))
            say(number, name, rounds[-1].outage, load, options.back_max)
            if rounds[-1].outage.back_s >= ROUND_S:
                stuck = f"the service did not come back within {ROUND_S:g} s of the end of {name}"
                break
        if not options.no_moves:
            mover.stop()
        load.stop()
    problems = [stuck] if stuck else []
    problems += afterwards(cluster)
    verdict = load.check(cluster.contexts("visits", "store", load.users))
    print(f"{time.monotonic() - began_s:.0f} s; partitions moved {mover.moved}, moves given up {mover.refused}")
    memory(first_rss, cluster.rss())
    return report(rounds, verdict, problems, options.back_max)


def one(cluster: LiveCluster, load: SteadyLoad, name: str) -> Outage:
    """Kill it, and wait until the service is back."""
    cluster.kill(name)
    since_s = time.perf_counter()
    with contextlib.suppress(AssertionError):
        wait_for(lambda: load.settled(since_s, CALM_S), "the service", ROUND_S)
        return load.outage(since_s)
    return Outage(ROUND_S, ROUND_S)


def say(number: int, name: str, outage: Outage, load: SteadyLoad, back_max_s: float) -> None:
    mark = "  LATE" if outage.back_s > back_max_s else ""
    retried = sum(load.client.retries.values())
    print(
        f"{time.strftime('%H:%M:%S')} {number:4} kill -9 {name:<11} back {outage.back_s:5.2f} s  silent "
        f"{outage.silence_s:5.2f} s  answered {load.answered:7}  tried again {retried:6}{mark}",
        flush=True,
    )


def afterwards(cluster: LiveCluster) -> list[str]:
    """What is not as it was, some time after the last request."""
    problems = []
    for condition, what in (
        (cluster.whole, "all nodes to be up and all partitions placed"),
        (lambda: not cluster.outboxes("visits"), "the outboxes to be empty"),
    ):
        try:
            wait_for(condition, what, QUIET_S)
        except AssertionError as error:
            problems.append(str(error))
    letters = cluster.ask("dead", action="list")
    problems += [f"dead letter {letter['id']}: {letter['error']}" for letter in letters]
    return problems


def memory(before: dict[str, int], after: dict[str, int]) -> None:
    grown = (f"{name} {before[name] / 1e6:.0f} -> {after[name] / 1e6:.0f}" for name in before if name in after)
    print("memory in MB (of a process that was killed, of its successor): " + ", ".join(grown))


def report(rounds: Sequence[Round], verdict: Verdict, problems: list[str], back_max_s: float) -> int:
    print(f"\n{'role':<11} {'rounds':>6} {'back p50':>9} {'max':>7} {'silent p50':>11} {'max':>7}   (seconds)")
    for role in (*TARGETS, ""):
        outages = [r.outage for r in rounds if not role or r.role == role]
        if not outages:
            continue
        back = sorted(o.back_s for o in outages)
        silent = sorted(o.silence_s for o in outages)
        middle = len(outages) // 2
        print(
            f"{role or 'all':<11} {len(outages):>6} {back[middle]:>9.2f} {back[-1]:>7.2f} {silent[middle]:>11.2f} "
            f"{silent[-1]:>7.2f}"
        )
    late = sum(r.outage.back_s > back_max_s for r in rounds)
    print(
        f"\nrounds {len(rounds)}  accepted {verdict.requests}  lost {verdict.lost}  doubled {verdict.doubled}  "
        f"reordered {verdict.reordered}  not answered {verdict.failed}  late {late}"
    )
    for line in (*problems, *verdict.examples[:20]):
        print(f"VIOLATION  {line}", file=sys.stderr)
    good = verdict.clean and not problems and not late
    print("all right" if good else "NOT all right")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""A skew and what becomes of it: `python tests/chaos/balance.py --seconds 320`.

Puts `--share` of the load of `examples/hot` on the partitions that one node has, and samples the nodes every second:
within `--even-s` the highest must be within `--band` of the mean, and after that nothing may be moved any more. Exit
code 1 if that does not hold or an answer was not right.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import proving
from live_cluster import LiveCluster, wait_for
from proving import ROOT

from ctl.asking import Controller

SAMPLE_S = 1.0
SKEWED = 0.5
"""The skew counts as begun when the highest node is so far above the mean."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--ms", type=float, default=2.0, help="processor time of a request")
    parser.add_argument("--share", type=float, default=0.9, help="part of the load on one node")
    parser.add_argument("--seconds", type=float, default=320.0)
    parser.add_argument("--band", type=float, default=0.15, help="how far the highest may be above the mean")
    parser.add_argument("--even-s", type=float, default=15.0, help="within how many seconds")
    options = parser.parse_args()
    with proving.folder("balance") as folder, LiveCluster(folder / "state", ROOT / "examples" / "hot") as cluster:
        return prove(cluster, options)


def prove(cluster: LiveCluster, options: argparse.Namespace) -> int:
    places = cluster.placements("hot", "burn")
    hot = [name.rpartition("/")[2] for name, (owner, _) in places.items() if owner == "node1"]
    command = [sys.executable, str(ROOT / "examples/hot/load.py"), "--json", "--url", cluster.http]
    command += ["--partitions", ",".join(hot), "--share", f"{options.share:g}", "--ms", f"{options.ms:g}"]
    command += ["--rate", f"{options.rate:g}", "--seconds", f"{options.seconds:g}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    samples: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as load:
        wait_for(lambda: _above(_loads(cluster)) > SKEWED, "the skew to be seen")
        began_s, began_unix_s = time.monotonic(), time.time()
        while load.poll() is None:
            loads = _loads(cluster)
            above = _above(loads)
            at_s = time.monotonic() - began_s
            samples.append((at_s, above))
            shown = "  ".join(f"{name} {100 * value:5.1f}%" for name, value in sorted(loads.items()))
            print(f"{at_s:6.1f} s   {shown}   highest {100 * above:+.1f}% of the mean", flush=True)
            time.sleep(SAMPLE_S)
        output, _ = load.communicate()
    with Controller(cluster.controller) as controller:
        events = list(controller.follow("events", {"follow": False, "last": 1_000}))
    moves = [e for e in events if e["event"] == "rebalance" and e["time_s"] >= began_unix_s]
    return _judge(options, samples, json.loads(output), moves, began_unix_s)


def _loads(cluster: LiveCluster) -> dict[str, float]:
    return {node["name"]: node["utilisation"] for node in cluster.ask("nodes")}


def _above(loads: dict[str, float]) -> float:
    """How far the highest is above the mean, as a part of the mean."""
    mean = sum(loads.values()) / len(loads)
    return max(loads.values()) / mean - 1 if mean else 0.0


def _judge(
    options: argparse.Namespace,
    samples: list[tuple[float, float]],
    book: dict[str, Any],
    moves: list[dict[str, Any]],
    began_unix_s: float,
) -> int:
    problems = list(book["violations"])
    even_s = next((at_s for at_s, above in samples if above <= options.band), None)
    if even_s is None or even_s > options.even_s:
        problems.append(f"not within {100 * options.band:g}% of even after {options.even_s:g} s (first at {even_s} s)")
    late = [e for e in moves if even_s is not None and e["time_s"] - began_unix_s > max(even_s, options.even_s)]
    for event in moves:
        print(f"{event['time_s'] - began_unix_s:6.1f} s   {event['text']}")
    print(f"requests {book['requests']}: {book['outcomes']}; even after {even_s and round(even_s, 1)} s, "
          f"{len(moves)} decisions, {len(late)} of them later")  # fmt: skip
    if late:
        problems.append(f"{len(late)} decisions after it was even: {[e['text'] for e in late]}")
    return proving.verdict(problems)


if __name__ == "__main__":
    sys.exit(main())

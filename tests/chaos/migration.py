"""Migrations in a row while the service answers: `python tests/chaos/migration.py --rate 2000 --moves 20`.

Moves all partitions of `store` from node to node under the load of `examples/visits/load.py`, which keeps book. Prints
the pauses of the partitions for which messages waited. Exit code 1 if an answer was not right, a context does not hold
exactly what was answered, a move failed, or the 99th percentile of the pauses exceeds `--pause-max-ms`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

import proving
from live_cluster import LiveCluster, wait_for

WARM_S = 4
"""Load before the first move and after the last."""

MOVE_S = 0.5
"""From the end of one move of all partitions to the next."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=2_000.0, help="requests a second")
    parser.add_argument("--moves", type=int, default=20, help="how often all partitions of the group are moved")
    parser.add_argument("--pause-max-ms", type=float, default=20.0, help="what the 99th percentile may be")
    options = parser.parse_args()
    with proving.folder("migration") as folder, LiveCluster(folder / "state", proving.VISITS) as cluster:
        return prove(cluster, options)


def prove(cluster: LiveCluster, options: argparse.Namespace) -> int:
    seconds = 2 * WARM_S + options.moves * 2 * MOVE_S
    command = [sys.executable, str(proving.VISITS / "load.py"), "--json", "--url", cluster.http]
    command += ["--rate", f"{options.rate:g}", "--seconds", f"{seconds:g}"]
    moves: list[dict[str, Any]] = []
    failed = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        wait_for(lambda: _rate(cluster) > options.rate / 2, "the load to flow")
        for number in range(options.moves):
            target = f"node{number % 3 + 1}"
            result = cluster.ask("migrate", what="store", node=target)
            paused = sorted(m["pause_ms"] for m in result["moves"] if m["held"])
            print(f"{number + 1:3} to {target}: {result['moved']} moved in {result['seconds']:.2f} s, {_line(paused)}")
            moves += result["moves"]
            failed += result["failed"]
            wait_for(lambda: load.poll() is not None or _rate(cluster) > options.rate / 2, "the load to flow on")
        output, _ = load.communicate()
    return _judge(cluster, options, json.loads(output), moves, failed)


def _rate(cluster: LiveCluster) -> float:
    """Messages a second that `store` handles."""
    groups = cluster.ask("graph", graph="visits")["groups"]
    return float(next(g["rate"] for g in groups if g["name"] == "store"))


def _line(paused_ms: list[float]) -> str:
    if not paused_ms:
        return "nobody waited"
    p50, p99 = (proving.quantile(paused_ms, part) for part in (0.5, 0.99))
    return f"{len(paused_ms)} paused: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {paused_ms[-1]:.1f} ms"


def _judge(
    cluster: LiveCluster, options: argparse.Namespace, book: dict[str, Any], moves: list[dict[str, Any]], failed: int
) -> int:
    problems = list(book["violations"])
    wrong = {outcome: n for outcome, n in book["outcomes"].items() if outcome != "200"}
    if wrong:
        problems.append(f"answers other than 200: {wrong}")
    if failed:
        problems.append(f"{failed} moves failed")
    keys = cluster.ask("context", action="list", what="visits/store", limit=100_000)["keys"]
    contexts = cluster.contexts("visits", "store", [k["key"] for k in keys])
    counted = sum(fields["visits"] for fields in contexts.values())
    if counted != book["visits"]:
        problems.append(f"the contexts hold {counted} visits, {book['visits']} were answered")
    paused = sorted(m["pause_ms"] for m in moves if m["held"])
    print(f"requests {book['requests']}, latency {book['latency_ms']}, contexts hold {counted} visits")
    print(f"{len(moves)} partitions moved, {sum(m['held'] for m in moves)} messages held; {_line(paused)}")
    if paused and proving.quantile(paused, 0.99) > options.pause_max_ms:
        problems.append(f"the 99th percentile of the pauses exceeds {options.pause_max_ms:g} ms")
    return proving.verdict(problems)


if __name__ == "__main__":
    sys.exit(main())

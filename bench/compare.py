"""Two commits in turns: `python -m bench.compare BASE [NAME ...]`. Each round measures this tree and then BASE's, so
that what else the machine does falls on both; what counts is the ratio of the medians. BASE must have the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.__main__ import NAMES
from bench.report import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Measures two commits in turns.")
    parser.add_argument("base", help="commit to compare this tree with")
    parser.add_argument("names", nargs="*", help=f"benchmarks [counter]: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="liquefy-base-") as folder:
        base = Path(folder) / "base"
        added = subprocess.run(["git", "worktree", "add", "-q", "--detach", str(base), options.base], cwd=ROOT)
        if added.returncode:
            print(f"error: {options.base} is no commit here\n  remedy: give one that `git log` shows", file=sys.stderr)
            return 2
        try:
            for name in options.names or ["counter"]:
                print(_compared(name, base, options), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(base)], cwd=ROOT, check=False)
    return 0


def _compared(name: str, base: Path, options: argparse.Namespace) -> str:
    taken: dict[Path, list[dict[str, Any]]] = {ROOT: [], base: []}
    for _ in range(options.rounds):
        for tree, documents in taken.items():
            documents.append(_measured(name, tree, options))
    lines = [f"{name}: this tree against {options.base}, medians of {options.rounds} rounds in turns"]
    ours, theirs = (_medians(taken[tree]) for tree in (ROOT, base))
    for (case, figure), value in ours.items():
        before = theirs.get((case, figure))
        if before:
            lines.append(f"  {case:32} {figure:12} {value:12,.3f} against {before:12,.3f}: {value / before:.2f}")
    return "\n".join(lines)


def _measured(name: str, tree: Path, options: argparse.Namespace) -> dict[str, Any]:
    words = ["--rounds", "1", "--seconds", f"{options.seconds:g}", "--only", options.only, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", name, *words],
        cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"error: {name} in {tree} ended with {done.returncode}\n{done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _medians(documents: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = {}
    for document in documents:
        for case in document["cases"]:
            for figure, value in case.items():
                if isinstance(value, dict):
                    values.setdefault((case["case"], figure), []).append(value["median"])
    return {place: statistics.median(found) for place, found in values.items()}


if __name__ == "__main__":
    sys.exit(main())

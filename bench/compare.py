"""Two commits in turns: `python -m bench.compare BASE [NAME ...]`. Each round measures this tree and BASE's, the one
first and then the other, so that what else the machine does falls on both; what counts is the median of the ratios
within a round. BASE must have the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import __main__ as bench
from bench.report import ROOT
from liquefy.errors import UserError

END_S = 60.0
"""A benchmark that is told to end has so long to end its clusters."""

OURS, THEIRS = "this tree", "BASE"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Measures two commits in turns.")
    parser.add_argument("base", help="commit to compare this tree with")
    parser.add_argument("names", nargs="*", help=f"benchmarks [counter]: {', '.join(bench.NAMES)}, or all")
    parser.add_argument("--rounds", type=bench.rounds, default=5)
    parser.add_argument("--seconds", type=bench.seconds, default=5.0)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--plain", action="store_true", help="measure plain Python instead of compiled copies")
    options = parser.parse_args()
    names = bench.NAMES if "all" in options.names else tuple(options.names or ["counter"])
    if unknown := set(names) - set(bench.NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(bench.NAMES)}, and all")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(bench.ENDED))
    fine = True
    try:
        names = tuple(bench.fitting(names, options.only))
        with _tree(options.base) as base:
            for name in names:
                runs: dict[str, list[Run]] = {OURS: [], THEIRS: []}
                trees = [(OURS, ROOT), (THEIRS, base)]
                for _ in range(options.rounds):
                    for label, tree in trees:
                        runs[label].append(_measured(name, tree, options))
                    trees.reverse()
                lines, right = compared(runs)
                print(f"{name}: this tree against {options.base}, {options.rounds} rounds in turns", *lines, sep="\n")
                sys.stdout.flush()
                fine = fine and right
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0 if fine else 1


@contextlib.contextmanager
def _tree(commit: str) -> Iterator[Path]:
    """The commit in a folder, which is there for so long. Raises UserError."""
    folder = Path(tempfile.mkdtemp(prefix="liquefy-base-"))
    base = folder / "base"
    try:
        words = ["git", "worktree", "add", "-q", "--detach", str(base), commit]
        if subprocess.run(words, cwd=ROOT).returncode:
            raise UserError(f"{commit} is no commit here\n  remedy: give one that `git log` shows")
        yield base
    finally:
        _ignore_signals()
        if base.exists():
            # Twice: one whose making was broken off is locked.
            words = ["git", "worktree", "remove", "--force", "--force", str(base)]
            subprocess.run(words, cwd=ROOT, check=False)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=False)


Run = tuple[dict[str, Any] | None, str]
"""The document of one run, and how it ended if it has none."""


def _measured(name: str, tree: Path, options: argparse.Namespace) -> Run:
    """One round. In a session of its own, so that a Ctrl-C comes to us alone, and we end it."""
    words = ["--rounds", "1", "--seconds", f"{options.seconds:g}", "--only", options.only, "--json"]
    words += ["--plain"] if options.plain else []
    child = subprocess.Popen(
        [sys.executable, "-m", "bench", name, *words], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        shown, errors = child.communicate()
    except BaseException:
        _ended(child)
        raise
    try:
        document: dict[str, Any] = json.loads(shown)
    except ValueError:
        return None, f"ended with {child.returncode}: {errors.strip() or 'said nothing'}"
    return document, ""


def _ended(child: subprocess.Popen[str]) -> None:
    _ignore_signals()
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _ignore_signals() -> None:
    """From when we end: what is cleaned up then is not to be broken off."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def compared(runs: dict[str, list[Run]]) -> tuple[list[str], bool]:
    """Lines for people, and whether all runs were right."""
    lines = []
    for label, taken in runs.items():
        for number, (document, end) in enumerate(taken, 1):
            if document is None:
                lines.append(f"  {label}, round {number}: {end}")
            else:
                wrong = [case["case"] for case in document["cases"] if not case.get("right", True)]
                lines += [f"  {label}, round {number}: {case}: right NO" for case in wrong]
    right = not lines
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (ours, _), (theirs, _) in zip(runs[OURS], runs[THEIRS], strict=True):
        before = _figures(theirs)
        for figure, value in _figures(ours).items():
            if before.get(figure):
                pairs.setdefault(figure, []).append((value, before[figure]))
    for (case, name), found in pairs.items():
        values, bases = _shown([value for value, _ in found]), _shown([base for _, base in found])
        ratios = [value / base for value, base in found]
        ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"
        lines.append(f"  {case:32} {name:12} {values} against {bases}: {ratio}")
    return lines, right


def _shown(values: list[float]) -> str:
    return f"{statistics.median(values):10,.3f} [{min(values):,.3f}..{max(values):,.3f}]"


def _figures(document: dict[str, Any] | None) -> dict[tuple[str, str], float]:
    """What one run gave, by case and figure."""
    return {
        (case["case"], figure): value["median"]
        for case in (document["cases"] if document else ())
        for figure, value in case.items()
        if isinstance(value, dict)
    }


if __name__ == "__main__":
    sys.exit(main())

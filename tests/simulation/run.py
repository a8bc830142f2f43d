"""Run seeds: `python tests/simulation/run.py --seeds 1000`, or tell the story of one: `--seed 17 --story [word...]`.
`--mutants` plants bugs instead, and says by which seed each was found.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from core import Violation  # noqa: E402
from mutants import MUTANTS, planted  # noqa: E402
from shrink import attempt, explain, story  # noqa: E402
from world import World  # noqa: E402

COLLECT_EACH = 10
"""Memory is tidied between seeds, not while one runs."""


def try_seed(
    seed: int, without: frozenset[int] = frozenset(), mistakes_kill: bool = False
) -> tuple[World, BaseException | None]:
    """Run one seed; what it did wrong, or None."""
    gc.disable()
    try:
        return attempt(seed, without, mistakes_kill)
    finally:
        gc.enable()
        if seed % COLLECT_EACH == 0:
            gc.collect()


def find(mutant: Callable[..., Any], first: int, seeds: int) -> tuple[int, BaseException] | None:
    """The seed that finds a planted bug, and how it shows: what a judge says. That the code with the bug notices it
    by an assertion of its own counts for nothing: its process dies of that. A seed that fails without the bug has
    found another one."""
    for seed in range(first, first + seeds):
        with planted(mutant):
            _, error = try_seed(seed, mistakes_kill=True)
        if error is None:
            continue
        if not isinstance(error, Violation):
            raise error  # planted badly: what it changes is not as it was
        if try_seed(seed)[1] is None:
            return seed, error
    return None


def hunt(first: int, seeds: int, only: list[str]) -> list[str]:
    """Which planted bugs no seed has found."""
    missed = []
    names = [mutant.__name__ for mutant in MUTANTS]
    if unknown := set(only) - set(names):
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}\n  remedy: give some of: {', '.join(names)}")
    for mutant in MUTANTS:
        name = mutant.__name__
        if only and name not in only:
            continue
        found = find(mutant, first, seeds)
        if found is None:
            missed.append(name)
            print(f"{name:<34} NOT FOUND in {seeds} seeds", flush=True)
        else:
            seed, error = found
            text = (str(error) or type(error).__name__)[:100].splitlines()[0]
            print(f"{name:<34} after {seed - first + 1:>4} seeds: {text}", flush=True)
    print(f"{len(only or MUTANTS) - len(missed)} of {len(only or MUTANTS)} planted bugs were found")
    return missed


def tell(seed: int, without: frozenset[int], words: list[str] | None) -> int:
    world, error = try_seed(seed, without)
    if words is not None:
        print("\n".join(story(world, words)))
    if isinstance(error, Violation):
        print(f"seed {seed}: {error}  [{' '.join(error.about)}]")
    elif error is not None:
        traceback.print_exception(error)
    return error is not None


def sweep(first: int, seeds: int, explained: int) -> list[int]:
    """Those of the seeds that fail; the first few are explained."""
    gc.freeze()
    began, failed = time.monotonic(), []
    for seed in range(first, first + seeds):
        _, error = try_seed(seed)
        if error is not None:
            failed.append(seed)
            kind = "" if isinstance(error, Violation) else f"{type(error).__name__}: "
            print(f"seed {seed}: {kind}{str(error)[:300]}", flush=True)
            if len(failed) <= explained:
                print(explain(seed, error), flush=True)
        done = seed - first + 1
        if done % 1_000 == 0:
            print(f"{done} seeds, {time.monotonic() - began:.0f} s, {len(failed)} failed", flush=True)
    seconds = time.monotonic() - began
    rate = f"{seconds:.1f} s (1,000 take {seconds / seeds * 1000:.0f} s)"
    print(f"{seeds} seeds in {rate}, {len(failed)} failed: {failed}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--without", default="", help="numbers of the plan to leave out")
    parser.add_argument("--story", nargs="*", help="tell what happened (lines with one of these words)")
    parser.add_argument("--explain", type=int, default=3, help="explain so many of those that fail")
    parser.add_argument("--mutants", nargs="*", help="plant bugs (all, or these), and see whether they are found")
    arguments = parser.parse_args()
    if arguments.mutants is not None:
        return bool(hunt(arguments.first, arguments.seeds, arguments.mutants))
    if arguments.seed is not None:
        without = frozenset(int(number) for number in arguments.without.split(",") if number.isdigit())
        return tell(arguments.seed, without, arguments.story)
    return bool(sweep(arguments.first, arguments.seeds, arguments.explain))


if __name__ == "__main__":
    sys.exit(main())

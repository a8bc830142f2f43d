"""Run seeds: `python tests/simulation/run.py --seeds 1000`, or tell the story of one: `--seed 17 --story [word...]`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from core import Violation  # noqa: E402
from world import World  # noqa: E402


def try_seed(seed: int) -> tuple[World | None, BaseException | None]:
    """Run one seed; what it did wrong, or None."""
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        return world, error
    return world, None


def tell(world: World, words: list[str], last: int = 0) -> None:
    """The story, or the lines of it that have one of the words."""
    for at, who, what in world.sim.story[-last:]:
        line = f"{at:10.2f} {who:<11} {what}"
        if not words or any(word in line for word in words):
            print(line[:1500])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--story", nargs="*", help="tell what happened (lines with one of these words)")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        world, error = try_seed(arguments.seed)
        if arguments.story is not None and world is not None:
            tell(world, arguments.story)
        if error is not None:
            if isinstance(error, Violation):
                print(f"seed {arguments.seed}: {error}  [{' '.join(error.about)}]")
            else:
                traceback.print_exception(error)
        return error is not None
    began, failed = time.monotonic(), []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        world, error = try_seed(seed)
        if error is not None:
            failed.append(seed)
            kind = "" if isinstance(error, Violation) else f"{type(error).__name__}: "
            print(f"seed {seed}: {kind}{str(error)[:300]}", flush=True)
    seconds = time.monotonic() - began
    print(f"{arguments.seeds} seeds in {seconds:.1f} s ({arguments.seeds / seconds:.1f}/s), {len(failed)} failed: {failed}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Some hundred seeds of the simulated cluster, and the proof that its judges would see a bug. A seed that fails is
replayed with `python tests/simulation/run.py --seed N --story`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutants import MUTANTS, planted
from run import try_seed

SEEDS = 300
SEEDS_MIN = 100
"""So many are run however long it takes."""

SECONDS_MAX = 40.0
"""On a busy machine fewer seeds beyond SEEDS_MIN are run, not a longer time."""

MUTANT_SEEDS = 250
BLOCK = 25
BLOCK_MIN = -(-SEEDS_MIN * BLOCK // SEEDS)

KNOWN = {
    "no_fencing": 17,
    "acknowledged_before_the_commit": 116,
    "local_delivery_overtakes": 118,
    "evicted_while_read": 24,
    "going_on_overtakes": 19,
}
"""Seeds that have found the rarer bugs, to be tried first."""


def run_seeds(
    first: int, attempt: Callable[[int], tuple[Any, BaseException | None]], now_s: Callable[[], float]
) -> int:
    """How many seeds of the block were run: its share of SEEDS_MIN, further ones while its time lasts."""
    until_s = now_s() + SECONDS_MAX * BLOCK / SEEDS
    for count in range(BLOCK):
        if count >= BLOCK_MIN and now_s() > until_s:
            return count
        _, error = attempt(first + count)
        if error is not None:
            raise AssertionError(f"seed {first + count}: {error}") from error
    return BLOCK


@pytest.fixture(scope="module")
def ran(request: pytest.FixtureRequest) -> Iterator[dict[int, int]]:
    """first seed of a block -> how many of it were run; printed at the end."""
    counts: dict[int, int] = {}
    yield counts
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        print(f"\n{sum(counts.values())} of {len(counts) * BLOCK} seeds were run")


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_seeds(first: int, ran: dict[int, int]) -> None:
    ran[first] = run_seeds(first, try_seed, time.monotonic)


def test_that_enough_seeds_were_run(ran: dict[int, int]) -> None:
    if len(ran) < SEEDS // BLOCK:
        pytest.skip("not all blocks were chosen, or one failed")
    assert sum(ran.values()) >= SEEDS_MIN


@pytest.mark.parametrize(("seconds_a_seed", "expected"), [(0.0, BLOCK), (0.2, 17), (60.0, BLOCK_MIN)])
def test_that_a_slow_machine_runs_fewer_seeds_but_enough(seconds_a_seed: float, expected: int) -> None:
    clock, tried = [0.0], []

    def attempt(seed: int) -> tuple[Any, None]:
        tried.append(seed)
        clock[0] += seconds_a_seed
        return None, None

    assert run_seeds(50, attempt, lambda: clock[0]) == expected
    assert tried == list(range(50, 50 + expected))
    assert BLOCK_MIN * SEEDS // BLOCK >= SEEDS_MIN


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_that_a_planted_bug_is_found(mutant: Callable[..., Any]) -> None:
    with planted(mutant):
        for seed in (KNOWN.get(mutant.__name__, 9), *range(MUTANT_SEEDS)):
            if try_seed(seed)[1] is not None:
                return
    raise AssertionError(f"{MUTANT_SEEDS} seeds did not find {mutant.__name__}: {mutant.__doc__}")


def test_that_a_seed_is_always_the_same() -> None:
    one, two = try_seed(9)[0], try_seed(9)[0]
    assert one is not None
    assert two is not None
    assert one.sim.steps == two.sim.steps
    assert [(at, who) for at, who, _ in one.sim.story] == [(at, who) for at, who, _ in two.sim.story]

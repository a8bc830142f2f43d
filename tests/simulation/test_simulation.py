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

from core import Violation
from mutants import MUTANTS, planted
from run import find, try_seed
from shrink import explain, kind_of, shrink
from world import World

from worker.flow import Flow

SEEDS = 300
SEEDS_MIN = 100
"""So many are run however long it takes."""

SECONDS_MAX = 40.0
"""On a busy machine fewer seeds beyond SEEDS_MIN are run, not a longer time."""

MUTANT_SEEDS = 2_000
"""Each planted bug is found within so many; most within ten."""

RARE = (
    "evicted_while_read", "no_terms", "given_up_too_late", "lost_epochs_given_again",
    "handed_over_before_all_markers_came", "local_delivery_overtakes",
)  # fmt: skip
"""Which take hundreds."""

BLOCK = 25
BLOCK_MIN = -(-SEEDS_MIN * BLOCK // SEEDS)


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
            raise AssertionError(explain(first + count, error)) from error
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


def _one(mutant: Callable[..., Any]) -> Any:
    rare = mutant.__name__ in RARE
    return pytest.param(mutant, id=mutant.__name__, marks=[pytest.mark.slow] if rare else [])


@pytest.mark.parametrize("mutant", [_one(mutant) for mutant in MUTANTS])
def test_that_a_planted_bug_is_found(mutant: Callable[..., Any]) -> None:
    assert find(mutant, 0, MUTANT_SEEDS) is not None, f"{MUTANT_SEEDS} seeds did not find it: {mutant.__doc__}"


def test_that_what_only_the_code_itself_notices_is_not_found() -> None:
    noticed = []

    def noticing(patch: Callable[[Any, str, Any], None]) -> None:
        real, first = Flow._to_commit, len(noticed)

        def to_commit(self: Any, partition: Any, entry: Any) -> None:
            if len(noticed) == first:  # its process comes back, and goes on
                noticed.append(partition)
                raise AssertionError
            real(self, partition, entry)

        patch(Flow, "_to_commit", to_commit)

    assert find(noticing, 9, 1) is None
    assert noticed
    with planted(noticing):
        assert isinstance(try_seed(9)[1], AssertionError)  # in a run without planted bugs it counts


def test_that_a_plan_is_shrunk_to_what_is_needed() -> None:
    tried = []

    def fails(without: frozenset[int]) -> bool:
        tried.append(without)
        return not without & {3, 11}

    assert shrink(list(range(20)), fails, lambda: 0.0) == frozenset(range(20)) - {3, 11}
    assert len(tried) < 60


def test_that_time_for_shrinking_is_limited() -> None:
    clock, tried = iter(range(0, 10_000, 25)), []
    shrink(list(range(1_000)), lambda without: bool(tried.append(without)), lambda: next(clock))
    assert len(tried) == 2


def test_that_a_failure_is_told_with_its_seed_its_schedule_and_its_story() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.__name__ == "no_dedupe")
    found = find(mutant, 0, MUTANT_SEEDS)
    assert found is not None
    seed, error = found
    with planted(mutant):
        told = explain(seed, error, shrink_s=5.0)
    assert told.startswith(f"seed {seed}: ")
    schedule, story = told.split("schedule (")[1].split("story of ")
    assert "request of g" in schedule
    assert len(story.splitlines()) > 3


def test_that_leaving_out_leaves_the_rest_of_the_plan_alone() -> None:
    whole, less = World(5), World(5, {0, 3})
    assert whole.plan == less.plan
    assert len(whole.sim._heap) == len(less.sim._heap) + 2


def test_that_failures_are_told_apart_by_what_they_are() -> None:
    one, two = Violation("g/book/0 handled 77ab twice"), Violation("g/acct/1 handled 12 twice")
    assert kind_of(one) == kind_of(two) != kind_of(Violation("3.1 took effect twice"))


def test_that_a_seed_is_always_the_same() -> None:
    one, two = try_seed(9)[0], try_seed(9)[0]
    assert one is not None
    assert two is not None
    assert one.sim.steps == two.sim.steps
    assert [(at, who) for at, who, _ in one.sim.story] == [(at, who) for at, who, _ in two.sim.story]

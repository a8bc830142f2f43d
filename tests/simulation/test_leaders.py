"""Two controllers: whoever leads dies as a move of his enters a phase, and the other one ends the move; nobody who was
followed by another places anything. Seeds of the whole simulation, with their judges."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import leaders
from mutants import no_terms, planted
from run import try_seed
from world import World

from controller import migration
from controller.migration import Stage

DEATHS = 5
"""So many leaders die in each phase."""

SEEDS_MAX = 150
PHASES = tuple(Stage)
SETTINGS: dict[Stage, dict[str, Any]] = {Stage.ABORTING: {"move_ms": 1}, Stage.ASKING: {"move_ms": 1}}
"""Without them few seeds come to these phases."""


def several(count: int) -> list[int]:
    """Seeds with more than one controller."""
    found = [seed for seed in range(10 * count) if leaders.how_many(seed) > 1]
    return found[:count]


@pytest.mark.parametrize("stage", PHASES, ids=lambda stage: stage.value)
def test_a_leader_that_dies_in_a_phase_of_a_move_is_followed_by_one_that_ends_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage is Stage.ASKING:
        monkeypatch.setattr(migration, "ABORT_MS", 0)  # or few seeds come to that phase
    came = 0
    for seed in several(SEEDS_MAX):
        with leaders.killed_at(stage) as killed, leaders.unprepared() if stage is Stage.PREPARING else nullcontext():
            world = World(seed, **SETTINGS.get(stage, {}))
            if world.wild:
                continue
            told: list[str] = []

            def dies(killed: list[str] = killed, told: list[str] = told) -> bool:
                """Once."""
                new = bool(killed) and not told
                told.extend(killed[:1] if new else [])
                return new

            world.kill_leader = dies
            world.run()  # raises what its judges find; among that a move that has not ended
            came += bool(told)
            if came == DEATHS:
                return
    raise AssertionError(f"{came} seeds came to that phase")


def test_that_the_judge_of_terms_bites() -> None:
    with planted(no_terms):
        for seed in (290, *several(250)):  # one that has found it first
            if try_seed(seed)[1] is not None:
                return
    raise AssertionError("no seed found it")

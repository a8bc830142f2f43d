"""Several brokers: one dies as moves come to a phase, on nodes that are slow, and the cluster is whole soon after.
Seeds of the whole simulation, with their judges.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import brokers
from brokers import AT_THE_SOURCE, killed_in
from world import World

from controller.migration import Stage

DEATHS = 8
"""So many brokers die in each phase."""

SEEDS_MAX = 300
WHOLE_MS = 20_000.0
"""So long after the last fault the cluster is whole; the judges of other seeds wait for longer."""

PHASES = (*(stage.value for stage in (Stage.STORING, Stage.MOVING, Stage.LANDING, Stage.DONE)), *AT_THE_SOURCE)


def several() -> list[int]:
    """Seeds with more than one broker."""
    return [seed for seed in range(10 * SEEDS_MAX) if brokers.how_many(seed) > 1][:SEEDS_MAX]


@pytest.mark.parametrize("phase", PHASES)
def test_a_cluster_is_whole_after_a_broker_has_died_in_a_phase_of_moves(phase: str) -> None:
    died = 0
    with killed_in(phase) as begin:
        for seed in several():
            world = World(seed)
            if world.wild or any("hang_host" in planned.what for planned in world.plan):
                continue  # a host that hangs as it loads has its own time, which is as long
            world.rest_ms = WHOLE_MS
            dead = begin(world)
            world.run()  # raises what its judges find
            died += len(dead)
            if died >= DEATHS:
                return
    raise AssertionError(f"{died} brokers died in that phase")

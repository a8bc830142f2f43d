"""Some garbage for everything that reads what comes from outside, always the same; `make fuzz` has more, and other."""

from __future__ import annotations

import random

import pytest
from fuzz.making import Maker
from fuzz.parsers import SEEDS, TARGETS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SLOW = ("python", "javascript", "graph", "flx", "bundle", "gzip", "tar", "http", "redis")
"""They have files, or an event loop, of their own for each try."""


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    bounded = settings(
        max_examples=5 if name in SLOW else 100,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(st.binary(max_size=200))(TARGETS[name]))()


@pytest.mark.parametrize("name", SEEDS)
def test_bytes_that_are_nearly_right(name: str) -> None:
    for data in SEEDS[name]:
        TARGETS[name](data)
    for seed in range(5 if name in SLOW else 200):
        maker = Maker(random.Random(seed))
        TARGETS[name](maker.spoilt(maker.one(SEEDS[name])))

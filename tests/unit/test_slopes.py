"""Growth is told from noise and from outliers."""

from __future__ import annotations

import random

from slopes import SPAN_MIN_S, Allowed, growth, slope


def series(per_hour: float, noise: float = 0.0, spikes: float = 0.0, count: int = 400) -> list[tuple[float, float]]:
    chance = random.Random(1)
    return [
        (10.0 * i, 100 + per_hour * i / 360 + chance.gauss(0, noise) + (spikes if i % 6 == 0 else 0.0))
        for i in range(count)
    ]


def test_a_slope_is_found_through_noise_and_spikes() -> None:
    assert abs(slope(series(5.0)) - 5.0) < 1e-6
    assert abs(slope(series(5.0, noise=3.0, spikes=500.0)) - 5.0) < 2.0
    assert abs(slope(series(0.0, noise=3.0, spikes=500.0))) < 2.0


def test_what_grows_more_than_is_allowed_grows() -> None:
    assert growth(series(5.0), Allowed(4.0)).grows
    assert not growth(series(5.0), Allowed(6.0)).grows
    assert not growth(series(5.0), Allowed(1.0, part=0.1)).grows, "a tenth of about 100 is more"
    assert not growth(series(-5.0), Allowed(1.0)).grows


def test_what_was_hardly_measured_is_not_judged() -> None:
    assert not growth([], Allowed(0.0)).judged
    enough = int(SPAN_MIN_S / 10) + 1
    few = growth(series(50.0, count=enough - 1), Allowed(1.0))
    assert not few.judged
    assert not few.grows
    assert growth(series(50.0, count=enough), Allowed(1.0)).grows

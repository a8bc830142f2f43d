"""Whether something grows: the slope of a series, without being misled by single outliers, and what of it is too much.
Knows nothing of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

POINTS_MAX = 300
"""Of a longer series so many are looked at, evenly spread: all pairs of them are."""

SPAN_MIN_S = 900.0
"""Of less than that nothing is said: what fills slowly and ends looks like what grows."""

HOUR_S = 3_600.0


class Allowed(NamedTuple):
    """Growth per hour that is none: so much, or so large a part of the middle value, whichever is more."""

    amount: float
    part: float = 0.0


class Growth(NamedTuple):
    """`slope` per hour; `judged`: the series is long enough to tell."""

    first: float
    last: float
    slope: float
    allowed: float
    judged: bool

    @property
    def grows(self) -> bool:
        return self.judged and self.slope > self.allowed


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Per hour, of (seconds, value): the median of the slopes of all pairs."""
    step = max(1, len(points) // POINTS_MAX)
    chosen = points[::step]
    found = [
        (y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(chosen) for x2, y2 in chosen[i + 1 :] if x2 > x1
    ]
    return median(found) * HOUR_S if found else 0.0


def growth(points: Sequence[tuple[float, float]], allowed: Allowed) -> Growth:
    """`first` and `last`: middle values of the first and of the last tenth."""
    values = [value for _, value in points]
    if not values:
        return Growth(0.0, 0.0, 0.0, allowed.amount, judged=False)
    tenth = max(1, len(values) // 10)
    limit = max(allowed.amount, allowed.part * abs(median(values)))
    ends = median(values[:tenth]), median(values[-tenth:])
    return Growth(*ends, slope(points), limit, judged=points[-1][0] - points[0][0] >= SPAN_MIN_S)

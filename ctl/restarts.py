"""When a process that ended is started again: at once the first time, later and later while it keeps dying
young.

Decides only; knows neither processes nor clocks. The supervisor tells it what ended and when.
"""

from __future__ import annotations

STEADY_S = 1.0
"""A process that lived so long is healthy again: its next end counts as the first. One that cannot run has ended by
then; one that ran, and is killed again and again, should be back at once."""

BACKOFF_FIRST_S = 0.25
"""The wait before the second start in a row; it doubles with each further one."""

BACKOFF_MAX_S = 2.0
"""The longest wait: what was repaired meanwhile is noticed within so many seconds."""


class Restarts:
    """Counts, per process name, the ends in a row that came within STEADY_S of the start."""

    def __init__(self) -> None:
        self._young: dict[str, int] = {}

    def on_exit(self, name: str, lived_s: float) -> float:
        """The process ended after `lived_s` seconds. Returns the seconds to wait before it is started again.

        The first end counts as the first whenever it comes; from then on a short life lengthens the wait."""
        young = self._young.get(name)
        young = 0 if young is None or lived_s >= STEADY_S else young + 1
        self._young[name] = young
        if young == 0:
            return 0.0
        # The exponent is bounded, so that years of crashes do not overflow a float.
        return min(BACKOFF_FIRST_S * 2.0 ** min(young - 1, 16), BACKOFF_MAX_S)

"""Smoothed measurements: what nodes report becomes cores and messages per second.

Exponential averages over TAU_MS of time, not over samples, so that reports may come late or be left out; a
partition that is not reported has been idle. Knows no clock: `now_ms` is given.
"""

from __future__ import annotations

from math import exp

from liquefy.messages import Report

TAU_MS = 2_000
"""Time constant: after so long, 63 % of a change show."""

SLACK_MS = 1_000
"""A value without new reports stands for so long, then it decays."""

FORGET_BELOW = 1e-4
"""Smaller rates are forgotten."""


class Smoothed:
    """One rate, per second."""

    __slots__ = ("_at_ms", "_value")

    def __init__(self, now_ms: int) -> None:
        self._value = 0.0
        self._at_ms = now_ms

    def add(self, amount: float, interval_s: float, now_ms: int) -> None:
        """`amount` in the `interval_s` before now; nothing between that and the last time."""
        gap_ms = now_ms - self._at_ms - interval_s * 1000
        if gap_ms > 0:
            self._value *= exp(-gap_ms / TAU_MS)
        weight = exp(-interval_s * 1000 / TAU_MS)
        self._value = self._value * weight + amount / interval_s * (1 - weight)
        self._at_ms = now_ms

    def read(self, now_ms: int) -> float:
        idle_ms = now_ms - self._at_ms - SLACK_MS
        return self._value if idle_ms <= 0 else self._value * exp(-idle_ms / TAU_MS)


class Measures:
    """All rates of the cluster. Partitions keep theirs when they move."""

    def __init__(self) -> None:
        self._cpu: dict[str, Smoothed] = {}
        self._messages: dict[str, Smoothed] = {}
        self._traffic: dict[tuple[str, str], Smoothed] = {}
        self._nodes: dict[str, Smoothed] = {}

    def add(self, node: str, report: Report, now_ms: int) -> None:
        interval_s = max(report.interval_s, 0.001)
        self._nodes.setdefault(node, Smoothed(now_ms)).add(report.cpu_s, interval_s, now_ms)
        for load in report.loads:
            name = load.partition
            self._cpu.setdefault(name, Smoothed(now_ms)).add(load.cpu_s, interval_s, now_ms)
            self._messages.setdefault(name, Smoothed(now_ms)).add(load.messages, interval_s, now_ms)
        for source, target, count in report.traffic:
            pair = (source, target) if source < target else (target, source)
            self._traffic.setdefault(pair, Smoothed(now_ms)).add(count, interval_s, now_ms)

    def forget_node(self, node: str) -> None:
        """A node that comes back is measured anew."""
        self._nodes.pop(node, None)

    def node_load(self, node: str, now_ms: int) -> float:
        """Cores used by the node's worker and hosts."""
        return self._nodes[node].read(now_ms) if node in self._nodes else 0.0

    def load(self, partition: str, now_ms: int) -> float:
        """Cores."""
        return self._cpu[partition].read(now_ms) if partition in self._cpu else 0.0

    def rate(self, partition: str, now_ms: int) -> float:
        """Messages per second."""
        return self._messages[partition].read(now_ms) if partition in self._messages else 0.0

    def loads(self, now_ms: int) -> dict[str, float]:
        """Cores of all partitions that used any lately; those idle are forgotten here."""
        loads = _snapshot(self._cpu, now_ms)
        for name in [name for name in self._messages if name not in self._cpu]:
            del self._messages[name]
        return loads

    def traffic(self, now_ms: int) -> dict[str, dict[str, float]]:
        """Messages per second between partitions, both ways."""
        result: dict[str, dict[str, float]] = {}
        for (one, other), rate in _snapshot(self._traffic, now_ms).items():
            if one != other:
                result.setdefault(one, {})[other] = rate
                result.setdefault(other, {})[one] = rate
        return result


def _snapshot(rates: dict, now_ms: int) -> dict:  # type: ignore[type-arg]
    values = {name: rate.read(now_ms) for name, rate in rates.items()}
    for name in [name for name, value in values.items() if value < FORGET_BELOW]:
        del rates[name], values[name]
    return values

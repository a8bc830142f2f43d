"""Smoothed measurements: what nodes report becomes cores and messages per second.

Exponential averages over time, not over samples, so that reports may come late or be left out; a partition that is
not reported has been idle. What partitions use is averaged over all the time since the load last changed: requests
come at random, so a short average of few of them wanders by tens of percent, and to follow it would move partitions
about for ever; while an average that remembers what was before a change would move the wrong ones. Knows no clock:
`now_ms` is given.
"""

from __future__ import annotations

from math import exp

from liquefy.messages import Report

TAU_MS = 2_000
"""Time constant: after so long, 63 % of a change show."""

STEADY_TAU_MS = 15_000
"""Time constant of what partitions use, once the load has not changed for long."""

CHANGE_SHARE_MIN = 0.25
"""Short and long averages that differ, for a node, by this part of what nodes use on average say that the load has
changed: what was before is forgotten. Four times what a short average of some hundred requests is off by chance: if
chance were taken for a change, what is known well would be given away for it. A smaller change shows in the long
averages, by and by."""

CHANGE_MIN = 0.005
"""Cores; smaller differences are no change."""

CHANGE_HOLD_MS = 6_000
"""After a change the short averages need so long to be right again; before that they tell of none."""

SEED_MS = 300
"""What short averages say counts as so much of measurement at a change, until there is something better."""

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


class Total:
    """A sum that forgets with STEADY_TAU_MS: divided by `span_s` of the time since it began, an average of all of it in
    which what is long ago counts less."""

    __slots__ = ("_at_ms", "_value")

    def __init__(self, value: float, now_ms: int) -> None:
        self._value, self._at_ms = value, now_ms

    def add(self, amount: float, now_ms: int) -> None:
        self._value, self._at_ms = self.read(now_ms) + amount, now_ms

    def read(self, now_ms: int) -> float:
        return self._value * exp((self._at_ms - now_ms) / STEADY_TAU_MS)


def span_s(duration_ms: int) -> float:
    """What a `Total` has of one per second after so long."""
    return STEADY_TAU_MS / 1000 * (1 - exp(-duration_ms / STEADY_TAU_MS))


class Measures:
    """All rates of the cluster. Partitions keep theirs when they move."""

    def __init__(self) -> None:
        self._cpu: dict[str, Smoothed] = {}
        self._totals: dict[str, Total] = {}
        """The same partitions: what they used since the load changed."""
        self._at: dict[str, str] = {}
        """Who reported the partition last."""
        self._reported_ms: dict[str, int] = {}
        self._changed_ms = 0
        self._messages: dict[str, Smoothed] = {}
        self._traffic: dict[tuple[str, str], Smoothed] = {}
        self._nodes: dict[str, Smoothed] = {}
        self._bases: dict[str, Smoothed] = {}

    def add(self, node: str, report: Report, now_ms: int) -> None:
        interval_s = max(report.interval_s, 0.001)
        self._nodes.setdefault(node, Smoothed(now_ms)).add(report.cpu_s, interval_s, now_ms)
        # By itself, so that it stays right when partitions come and go.
        base_s = report.cpu_s - sum(load.cpu_s for load in report.loads)
        self._bases.setdefault(node, Smoothed(now_ms)).add(base_s, interval_s, now_ms)
        self._reported_ms[node] = now_ms
        for load in report.loads:
            name = load.partition
            self._at[name] = node
            self._cpu.setdefault(name, Smoothed(now_ms)).add(load.cpu_s, interval_s, now_ms)
            self._totals.setdefault(name, Total(0.0, now_ms)).add(load.cpu_s, now_ms)
            self._messages.setdefault(name, Smoothed(now_ms)).add(load.messages, interval_s, now_ms)
        for source, target, count in report.traffic:
            pair = (source, target) if source < target else (target, source)
            self._traffic.setdefault(pair, Smoothed(now_ms)).add(count, interval_s, now_ms)

        self._notice_change(now_ms)

    def _steady(self, name: str, now_ms: int) -> float:
        """Cores, over the time since the load changed, as far as the partition's node has reported."""
        told_ms = self._reported_ms.get(self._at[name], 0)
        until_ms = max(told_ms if now_ms - told_ms <= SLACK_MS else now_ms, self._changed_ms)
        return self._totals[name].read(until_ms) / span_s(until_ms - self._changed_ms + SEED_MS)

    def _notice_change(self, now_ms: int) -> None:
        """Begin the long averages anew when the short ones say that some node's load is another now."""
        if now_ms - self._changed_ms < CHANGE_HOLD_MS:
            return
        off: dict[str, float] = {}
        total = 0.0
        for name, rate in self._cpu.items():
            steady, node = self._steady(name, now_ms), self._at[name]
            off[node] = off.get(node, 0.0) + rate.read(now_ms) - steady
            total += steady
        mean = total / max(1, len(self._nodes))
        if any(abs(difference) > max(CHANGE_SHARE_MIN * mean, CHANGE_MIN) for difference in off.values()):
            self._changed_ms = now_ms
            seed_s = span_s(SEED_MS)
            self._totals = {name: Total(rate.read(now_ms) * seed_s, now_ms) for name, rate in self._cpu.items()}

    def measured_ms(self, now_ms: int) -> int:
        """Since the load changed last: of so long the averages are."""
        return now_ms - self._changed_ms

    def forget_node(self, node: str) -> None:
        """A node that comes back is measured anew."""
        self._nodes.pop(node, None)
        self._bases.pop(node, None)
        self._reported_ms.pop(node, None)

    def node_load(self, node: str, now_ms: int) -> float:
        """Cores used by the node's worker and hosts."""
        return self._nodes[node].read(now_ms) if node in self._nodes else 0.0

    def base(self, node: str, now_ms: int) -> float:
        """Cores used by the node that no partition accounts for."""
        return max(0.0, self._bases[node].read(now_ms)) if node in self._bases else 0.0

    def load(self, partition: str, now_ms: int) -> float:
        """Cores."""
        return self._steady(partition, now_ms) if partition in self._totals else 0.0

    def rate(self, partition: str, now_ms: int) -> float:
        """Messages per second."""
        return self._messages[partition].read(now_ms) if partition in self._messages else 0.0

    def loads(self, now_ms: int) -> dict[str, float]:
        """Cores of all partitions that used any lately; those idle are forgotten here."""
        _snapshot(self._cpu, now_ms)
        for table in (self._totals, self._messages, self._at):
            for name in table.keys() - self._cpu.keys():
                del table[name]
        return {name: self._steady(name, now_ms) for name in self._cpu}

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

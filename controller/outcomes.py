"""A round of moves in words: why it is made, what it should bring and, measured afterwards in the same quantity, what
it brought. Pure; when rounds are made, and how, is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from controller import balance
from controller.balance import Plan, Step
from controller.trial import View
from liquefy.wording import counted


def as_fields(step: Step) -> dict[str, Any]:
    """As `liquefy.control` shows a planned move."""
    return {
        "partition": step.partition,
        "from": step.source,
        "to": step.target,
        "reason": step.reason,
        "gain": round(step.gain, 4),
        "saved": round(step.saved, 1),
    }


def expected(plan: Plan) -> str:
    """What the moves should bring; "" if there are none."""
    if not plan.moves:
        return ""
    aim = plan.aim
    if aim is None:
        return f"the busiest node then {_above(plan.expected, plan.mean)} the mean"
    if aim.graph:
        return f"partitions of {aim.graph} then: {_each(aim.counts[1])}"
    return f"then {aim.crossing[1]:.0f} messages a second of these between nodes, now {aim.crossing[0]:.0f}"


def decided(plan: Plan) -> str:
    """Why, from where, to where, and what it should bring."""
    moves, utilisation = plan.moves, plan.utilisation

    def at(node: str) -> str:
        return f"{node} ({utilisation.get(node, 0.0):.0%})"

    if len(moves) == 1:
        what = f"{moves[0].partition} from {at(moves[0].source)} to {at(moves[0].target)}"
    else:
        pairs = Counter((step.source, step.target) for step in moves)
        ways = ", ".join(f"{count} from {at(source)} to {at(target)}" for (source, target), count in pairs.items())
        what = counted(len(moves), "partition") + (f", {ways}" if len(pairs) > 1 else ways.lstrip("0123456789"))
    if plan.aim is None:
        why = f"the busiest node is {_above(plan.highest, plan.mean)} the mean of {plan.mean:.0%}"
    else:
        why = moves[0].reason
    return f"moving {what}: {why}; expected: {expected(plan)}"


def brought(before: Plan, moved: int, after: Plan, view: View) -> tuple[str, dict[str, Any]]:
    """(line, fields) of a round of which `moved` partitions arrived: what it was to change as it is now."""
    aim = before.aim
    if aim is None:
        nodes = ", ".join(f"{name} {utilisation:.0%}" for name, utilisation in sorted(after.utilisation.items()))
        text = (
            f"rebalancing took the busiest node from {_above(before.highest, before.mean)} to "
            f"{_above(after.highest, after.mean)} the mean (expected {_above(before.expected, before.mean)}): {nodes}"
        )
        return text, {
            "before": before.highest, "after": after.highest, "expected": before.expected, "mean": after.mean
        }  # fmt: skip
    if aim.graph:
        counts = balance.counts(view, aim.graph)
        text = (
            f"rebalancing moved {counted(moved, 'partition')}; those of {aim.graph} are now: {_each(counts)} "
            f"(expected {_each(aim.counts[1])})"
        )
        return text, {"graph": aim.graph, "before": aim.counts[0], "after": counts, "expected": aim.counts[1]}
    crossing = balance.crossing(view, {step.partition for step in before.moves})
    text = (
        f"rebalancing moved {moved} of {len(before.moves)}, and took their traffic between nodes from "
        f"{aim.crossing[0]:.0f} to {crossing:.0f} messages a second (expected {aim.crossing[1]:.0f})"
    )
    return text, {"before": aim.crossing[0], "after": crossing, "expected": aim.crossing[1]}


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _above(utilisation: float, mean: float) -> str:
    """12% above: how uneven it is, whatever the load does meanwhile."""
    return f"{max(0.0, utilisation / mean - 1) if mean else 0.0:.0%} above"

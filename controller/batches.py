"""Moves that were decided together, and the one line that says how they went: a line for each of hundreds of
partitions would hide everything else. Pure; who decides, and how a move is made, is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from liquefy.wording import counted

if TYPE_CHECKING:
    from controller.migration import Migration


class Batch:
    """`cause`: why all of these move, for people. Filled before the first of them ends."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        self.moves: list[Migration] = []
        self.began_ms = 0

    @property
    def ended(self) -> bool:
        return all(move.ended for move in self.moves)

    def told(self, now_ms: int) -> tuple[str, str, dict[str, Any]] | None:
        """(level, line, fields) of a batch that has ended; None if nothing had to be moved."""
        moved = [move for move in self.moves if not move.error and move.epoch]
        failed = [move for move in self.moves if move.error]
        if not moved and not failed:
            return None
        paused, pause_ms = pauses(moved)
        ms, held = now_ms - self.began_ms, sum(move.held for move in moved)
        fields: dict[str, Any] = {
            "cause": self.cause, "moved": len(moved), "failed": len(failed), "ms": ms, "held": held,
            "paused": paused, "pause_ms": pause_ms,
        }  # fmt: skip
        parts = []
        if len(moved) == 1:
            pause = f"pause {moved[0].pause_us / 1000:.1f} ms"
            parts.append(f"moved {_ways(moved)} in {ms} ms, {pause}, {_messages(held)} held")
        elif moved:
            figures = ", ".join(f"{name} {value:.1f}" for name, value in pause_ms.items())
            whose = "partition that was" if paused == 1 else "partitions that were"
            pause = f"pause of the {paused} {whose} waited for: {figures} ms, {_messages(held)} held"
            what = pause if paused else "nobody waited for one of them"
            parts.append(f"moved {_ways(moved)} in {ms} ms; {what}")
        if failed:
            first = failed[0]
            more = "; others for other reasons" if any(move.error != first.error for move in failed) else ""
            parts.append(f"not moved: {_ways(failed)}: {first.error}{more}")
        return "warning" if failed else "info", f"{'; '.join(parts)} ({self.cause})", fields


def _ways(moves: Sequence[Migration]) -> str:
    """visits/store/7 from node1 to node2; 20 partitions of visits/store from node1 (11) and node2 (9) to node3."""
    if len(moves) == 1:
        what = moves[0].partition
    else:
        groups = {move.partition.rpartition("/")[0] for move in moves}
        names = groups if len(groups) == 1 else {group.partition("/")[0] for group in groups}
        what = f"{counted(len(moves), 'partition')} of {' and '.join(sorted(names))}"
    return f"{what} from {_nodes(move.source for move in moves)} to {_nodes(move.target for move in moves)}"


def _nodes(names: Iterable[str]) -> str:
    counts = Counter(names)
    if len(counts) == 1:
        return next(iter(counts)) or "nowhere"
    told = [f"{name or 'nowhere'} ({count})" for name, count in sorted(counts.items())]
    return f"{', '.join(told[:-1])} and {told[-1]}"


def _messages(count: int) -> str:
    return counted(count, "message")


def pauses(moved: Iterable[Migration]) -> tuple[int, dict[str, float]]:
    """How many of these partitions were waited for, and their pauses in ms: {p50, p99, max}. A partition that nobody
    wanted meanwhile has paused for nobody; counted as 0 it would make the others look short."""
    waited = sorted(move.pause_us / 1000 for move in moved if move.held or move.pause_us)
    return len(waited), {name: quantile(waited, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def quantile(ordered: Sequence[float], part: float) -> float:
    """Of values in order; 0.0 if there are none."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0

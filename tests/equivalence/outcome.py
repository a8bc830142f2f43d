"""What came of one case, and the table of all. Knows nothing of clusters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from compiler import remedies
from compiler.program import Keeping, Program

SAME = "same"
OTHER = "DIFFERS"
REFUSED = "refused"
FAILED = "FAILED"
UNPROVED = "not compared"

COLUMNS = ("program", "tier", "lines", "fluxions", "groups", "keyed", "whole", "pinned", "none", "moved", "nodes")


@dataclasses.dataclass
class Outcome:
    """`result`: one of the words above; `why`: for people. `original`: "as expected", or how it answers otherwise on
    this machine. `served`: the nodes that handled messages. `each`: of the runs with a migration before one request,
    how many were the same. `together`: of the invariant under concurrent requests. `upgrades`: that it has websockets,
    which are refused, in the compiler's words."""

    name: str
    tier: str
    differs: bool
    lines: int
    result: str = UNPROVED
    why: str = ""
    original: str = ""
    fluxions: int = 0
    groups: int = 0
    keyed: int = 0
    whole: int = 0
    pinned: int = 0
    none: int = 0
    reasons: tuple[str, ...] = ()
    upgrades: str = ""
    moved: int = 0
    served: tuple[str, ...] = ()
    each: str = ""
    together: str = ""
    seconds: float = 0.0

    def describe(self, program: Program) -> None:
        """How it was split."""
        keepings = [group.keeping for group in program.groups]
        self.fluxions, self.groups = len(program.fluxions), len(program.groups)
        self.keyed, self.whole = keepings.count(Keeping.KEYED), keepings.count(Keeping.WHOLE)
        self.pinned, self.none = keepings.count(Keeping.PINNED), keepings.count(Keeping.NONE)
        sockets = (kept for kept in program.kept if kept.remedy == remedies.SOCKETS)
        self.upgrades = next((f"{kept.place}: {kept.why}; {kept.remedy}" for kept in sockets), "")
        self.reasons = tuple(f"{g.name}: {g.why}" for g in program.groups if g.why and g.keeping is Keeping.PINNED)

    @property
    def without_a_word(self) -> bool:
        """It answers otherwise than the original, though it was accepted: the one thing that must not be."""
        return self.result in (OTHER, FAILED)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def table(outcomes: Sequence[Outcome]) -> Table:
    made = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        made.add_column(name, justify="left" if name in ("program", "tier") else "right", no_wrap=True)
    made.add_column("result", no_wrap=True)
    made.add_column("", overflow="fold")
    for one in outcomes:
        numbers = (one.lines, one.fluxions, one.groups, one.keyed, one.whole, one.pinned, one.none, one.moved)
        notes = [one.why, one.each, one.together, "" if one.original == "as expected" else one.original]
        made.add_row(
            one.name, one.tier + ("*" if one.differs else ""), *(str(n) if n else "-" for n in numbers),
            str(len(one.served)) if one.served else "-", one.result, "; ".join(note for note in notes if note),
        )  # fmt: skip
    return made


def score(outcomes: Sequence[Outcome]) -> list[str]:
    """Each by itself, never as one percentage."""
    counted = [one for one in outcomes if one.tier in ("T0", "T1", "T2", "T3", "")]
    same = [one for one in counted if one.result == SAME]
    accepted = [one for one in counted if one.fluxions]
    lines = [
        f"accepted unmodified: {len(accepted)} of {len(counted)}",
        f"same on three nodes, moved in the middle: {len(same)}",
        f"  of those whose three copies differ (*): {sum(one.differs for one in same)}"
        f" of {sum(one.differs for one in counted)}",
        f"  with a group moved: {sum(one.moved > 0 for one in same)}; kept on one node throughout: "
        f"{sum(one.moved == 0 for one in same)}",
        f"  handled by more than one node: {sum(len(one.served) > 1 for one in same)}",
        f"split into several groups: {sum(one.groups > 1 for one in accepted)}; with keyed contexts: "
        f"{sum(one.keyed > 0 for one in accepted)}; with something pinned: {sum(one.pinned > 0 for one in accepted)}",
        f"different without a word: {sum(one.without_a_word for one in outcomes)}",
    ]
    if any(one.each for one in outcomes):
        lines.append(f"same with a migration before every request in turn: {sum(_all(one.each) for one in counted)}")
    if any(one.together for one in outcomes):
        held = [one for one in counted if one.together]
        kept = sum("held" in one.together for one in held)
        lines.append(f"invariant held under concurrent requests: {kept} of {len(held)}")
    return lines


def _all(each: str) -> bool:
    same, _, runs = each.removeprefix("each ").partition("/")
    return bool(each) and same == runs


def show(outcomes: Sequence[Outcome]) -> None:
    console = Console(width=200, highlight=False)
    console.print(table(outcomes))
    console.print("\n".join(score(outcomes)), markup=False)

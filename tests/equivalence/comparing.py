"""Two records of the same requests: the same, or where they first differ. Knows only their text."""

from __future__ import annotations

import difflib
from typing import NamedTuple

SHOWN_LINES_MAX = 12
HEAD_LINES = 3


class Difference(NamedTuple):
    """`requests` differ out of `of`; `first` names the first, `text` shows it as a diff. `answered`: but for what is
    written below their answers, such as what a client that is no client of HTTP saw, they are the same."""

    requests: int
    of: int
    first: str
    text: str
    answered: bool = False


def parts(record: str) -> list[str]:
    """One text per request."""
    found = ("\n" + record.strip()).split("\n> ")
    return [part.rstrip() for part in found[1:]] if len(found) > 1 else [record.strip()]


def compare(original: str, compiled: str) -> Difference | None:
    """None if they are the same."""
    left, right = parts(original), parts(compiled)
    differing = [i for i in range(max(len(left), len(right))) if left[i : i + 1] != right[i : i + 1]]
    if not differing:
        return None
    at = differing[0]
    ours, theirs = (side[at] if at < len(side) else "(no answer)" for side in (left, right))
    lines = difflib.unified_diff(ours.splitlines(), theirs.splitlines(), "original", "compiled", lineterm="", n=0)
    return Difference(
        len(differing), len(left), f"{at + 1}: {ours.splitlines()[0] if ours else ''}",
        "\n".join(list(lines)[:SHOWN_LINES_MAX]),
        len(left) == len(right) and all(_began(left[i]) == _began(right[i]) for i in differing),
    )  # fmt: skip


def _began(part: str) -> list[str]:
    """The request, the status and the headers."""
    return [line for line in part.splitlines()[:HEAD_LINES] if line.startswith(("> ", "< ", "content-type:"))]

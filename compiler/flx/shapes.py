"""What is known of a body, whatever its language."""

from __future__ import annotations

from typing import NamedTuple


class Body(NamedTuple):
    """`assigned`: names that it gives a value; `declared`: those of them that it declares for all of itself
    (JavaScript). `used`: names that it takes from outside -> line and column of the first use. `returns`: it ends with
    a return or a throw, so that nothing comes after it. `in_strings`: lines, from 1, that begin inside a text."""

    assigned: frozenset[str]
    declared: frozenset[str]
    used: dict[str, tuple[int, int]]
    waits: bool
    returns: bool
    in_strings: frozenset[int] = frozenset()


class Unreadable(Exception):
    """A body that is not in its language: line and column in it, from 1, and why."""

    def __init__(self, line: int, column: int, why: str) -> None:
        super().__init__(why)
        self.line, self.column, self.why = line, column, why

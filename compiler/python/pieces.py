"""The pieces that a handler is taken apart into, while that is being done: their lines, as they are written and where
they stand. Shapes only.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from compiler.facts import Place
from compiler.program import Role
from compiler.python.model import Function


class Uncut(Exception):
    """Why a handler stays whole, where, and what would free it."""

    def __init__(self, why: str, where: Place, remedy: str = "") -> None:
        super().__init__(why)
        self.why, self.where, self.remedy = why, where, remedy


@dataclass(frozen=True)
class Line:
    """A statement of a piece, as it is written there. `within`: the function that it stands in, in whose lines `first`
    to `last` it is."""

    node: ast.stmt
    text: str
    within: Function
    first: int
    last: int

    def holds(self, where: Place) -> bool:
        return where.file == self.within.module.file and self.first <= where.line <= self.last


@dataclass
class Piece:
    role: Role
    name: str = ""
    function: Function | None = None
    lines: list[Line] = field(default_factory=list)

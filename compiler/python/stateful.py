"""Which pieces of a handler touch state. Each of them gets the context of the handler's group for itself, so what was
one piece of work on state must stay one: pieces that touch it stay together, unless the handler surely waits between
them, where others could have come in anyway.

Knows pieces and names; not how a handler is taken apart.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from compiler.facts import Mode, Place, Unit, Use
from compiler.program import Role
from compiler.python import statements
from compiler.python.libraries import MUTATORS
from compiler.python.model import Function, Lib
from compiler.python.pieces import Line, Piece
from compiler.python.read import place
from compiler.python.used import Names

_WAITS = (
    *("asyncio.sleep", "asyncio.to_thread", "anyio.sleep", "anyio.to_thread.run_sync"),
    *("starlette.concurrency.run_in_threadpool", "fastapi.concurrency.run_in_threadpool"),
)
"""What an `await` of surely lets others run."""

_CHANGERS = ("random.", "heapq.", "bisect.", "operator.", "copy.", "functools.")
_SETTERS = ("builtins.setattr", "builtins.delattr", "builtins.vars")
"""Functions of libraries that may change what they are given."""


class Touches:
    """`state`: ids of the variables that are state."""

    def __init__(self, names: Names, unit: Unit, state: set[str]) -> None:
        self._names = names
        self._uses = [u for u in unit.uses if u.variable in state]

    def first(self, piece: Piece) -> tuple[Place, str] | None:
        """Where the piece touches state, and what it does there; None if it does not."""
        for line in piece.lines:
            for node in ast.walk(line.node):
                if self._names.touches(line.within, node):
                    return place(line.within.module, node if hasattr(node, "lineno") else line.node), "touches state"
            for use in self._uses_of(line):
                if line.holds(use.place):
                    return use.place, _touched(use)
        return next((found for line in piece.lines if (found := self._through_calls(line)) is not None), None)

    def _uses_of(self, line: Line) -> list[Use]:
        """Changes; and reading, where the line has what is no copy of the state, as the names have that travel."""
        live = any(self._names.is_live(line.within, node) for node in ast.walk(line.node))
        return [use for use in self._uses if live or use.mode in (Mode.WRITE, Mode.ESCAPE)]

    def _through_calls(self, line: Line) -> tuple[Place, str] | None:
        """What is part of the state may be changed by whom it is handed to."""
        uses = self._uses_of(line)
        called = self._names.reached_by(line.within, line.node)
        for each in sorted(called, key=lambda f: (f.module.file, f.node.lineno)):
            lines = range(each.node.lineno, (each.node.end_lineno or each.node.lineno) + 1)
            for use in uses:
                if use.place.file == each.module.file and use.place.line in lines:
                    return use.place, _touched(use)
        return None

    def changes(self, piece: Piece) -> Place | None:
        """Where the piece, or what it calls, may change anything in place."""
        for line in piece.lines:
            called = self._names.reached_by(line.within, line.node)
            for function, node in [(line.within, line.node), *((each, each.node) for each in called)]:
                for inner in ast.walk(node):
                    if self._may_change(function, inner):
                        return place(function.module, inner)
        return None

    def _may_change(self, function: Function, node: ast.AST) -> bool:
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            return True
        if isinstance(node, ast.Attribute) and node.attr in MUTATORS:  # called here, or by whom it is handed to
            return True
        if isinstance(node, ast.Name) and node.id in ("setattr", "delattr", "exec", "eval", "vars"):
            return True
        if not isinstance(node, ast.Name | ast.Attribute):
            return isinstance(node, ast.AugAssign)
        atoms = self._names.resolve(function, node)
        return any(isinstance(a, Lib) and (a.name.startswith(_CHANGERS) or a.name in _SETTERS) for a in atoms)

    def waits_between(self, pieces: list[Piece], first: int, last: int) -> bool:
        """Whether something is surely waited for after all that the first piece does with state, and before all that
        the last one does."""
        if any(self._waits_before_state(piece.lines) for piece in pieces[first + 1 : last + 1]):
            return True
        return self._waits_before_state(reversed(pieces[first].lines), backwards=True)

    def _waits_before_state(self, lines: Iterable[Line], backwards: bool = False) -> bool:
        for line in lines:
            found = self._waits(line.within, line.node, backwards, 0)
            if found is not None:
                return found
        return False

    def _waits(self, within: Function, statement: ast.stmt, backwards: bool, depth: int) -> bool | None:
        """Whether a statement surely waits first; None if it does neither that nor touch state."""
        called = self._names.called(within, statement)
        if called is not None and called.wrapper is None and called.awaited and depth < 8:
            inner = statements.body(called.function)
            for each in reversed(inner) if backwards else inner:
                found = self._waits(called.function, each, backwards, depth + 1)
                if found is not None:
                    return found
            return None
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Await) and isinstance(value.value, ast.Call):
            atoms = self._names.resolve(within, value.value.func)
            if atoms and all(isinstance(a, Lib) and a.name in _WAITS for a in atoms):
                arguments = [*value.value.args, *(k.value for k in value.value.keywords)]
                if not any(self._names.touches(within, n) for a in arguments for n in ast.walk(a)):
                    return True
        plain = isinstance(statement, ast.Return | ast.Expr | ast.Assign | ast.AnnAssign)
        return None if plain and not self._touching(within, statement) else False

    def _touching(self, within: Function, statement: ast.stmt) -> bool:
        line = Line(statement, "", within, statement.lineno, statement.end_lineno or statement.lineno)
        return self.first(Piece(Role.STEP, lines=[line])) is not None


def _touched(use: Use) -> str:
    return f"changes {use.variable}" if use.mode in (Mode.WRITE, Mode.ESCAPE) else f"reads {use.variable}"


def united(pieces: list[Piece], touches: Touches) -> tuple[list[Piece], set[int], list[tuple[Place, str]]]:
    """The pieces, those together that must be; which of them touch state; and where those touch it that were put to
    others before them."""
    found = {i: where for i, piece in enumerate(pieces) if (where := touches.first(piece)) is not None}
    indices = sorted(found)
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and not touches.waits_between(pieces, runs[-1][1], index):
            runs[-1] = runs[-1][0], index
        else:
            runs.append((index, index))
    whole: list[Piece] = []
    stateful: set[int] = set()
    together: list[tuple[Place, str]] = []
    at = 0
    for first, last in runs:
        whole += pieces[at:first]
        stateful.add(len(whole))
        whole.append(joined(pieces[first : last + 1]))
        together += [found[i] for i in indices if first < i <= last]
        at = last + 1
    return whole + pieces[at:], stateful, together


def joined(pieces: list[Piece]) -> Piece:
    """Several as one."""
    if len(pieces) == 1:
        return pieces[0]
    roles = {piece.role for piece in pieces}
    role = next((role for role in (Role.END, Role.START) if role in roles), Role.STEP)
    named = pieces[-1] if role is Role.END else pieces[0]
    return Piece(role, named.name, named.function, [line for piece in pieces for line in piece.lines])

"""What the bodies of steps and ends do with their variables: which they give a value, whether they wait, where they
use a name that nothing brings. Python by its syntax tree; of JavaScript as much as the bodies' tokens show. Runs
nothing."""

from __future__ import annotations

import ast
import builtins
import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from compiler.flx import derive, javascript
from compiler.flx.shapes import Body, Unreadable
from compiler.holes import fill
from compiler.program import Fluxion, Program, Role
from liquefy.graph import OUTPUT
from liquefy.graphyaml import nearest

GIVEN = ("message", "context", "emit", "answer")
"""Names that each body has besides its variables."""


class Wrong(NamedTuple):
    """In the body of the fluxion number `fluxion`, in its line `line` (from 1); or, with line 0, in its stream number
    `stream`, or in the fluxion as a whole."""

    fluxion: int
    line: int
    column: int
    problem: str
    remedy: str
    stream: int = -1


LANGUAGE_NAMES = {"javascript": "JavaScript", "python": "Python"}


def check_file(path: str, text: str) -> None:
    """Raises Unreadable if it is code, and not in its language."""
    if path.endswith(".py"):
        _parsed(text, 0)
    elif path.endswith((".js", ".mjs", ".cjs")):
        javascript.names(text)


def of(program: Program, fluxion: Fluxion) -> Body:
    """Raises Unreadable."""
    return javascript.body(fluxion.body) if program.language == "javascript" else python_body(fluxion.body)


def check(program: Program) -> Iterator[Wrong]:
    """What is wrong in the bodies of those that get messages: steps, and ends, which have the names of their place in
    a file besides."""
    files: dict[str, frozenset[str] | None] = {}
    arriving = derive.incoming(program.fluxions)
    for i, fluxion in enumerate(program.fluxions):
        if fluxion.role not in (Role.STEP, Role.END):
            continue
        file = _file_of(program, fluxion)
        if file not in files:
            files[file] = _known(program, file)
        known = files[file]
        brought = {variable for _, stream in arriving.get(fluxion.name, ()) for variable in stream.variables}
        if fluxion.role is Role.END:
            with contextlib.suppress(Unreadable):  # told of its file as a whole
                yield from _unknown(i, fluxion, of(program, fluxion), known, brought)
            continue
        for name in (*fluxion.reads, *fluxion.context, *(v for s in fluxion.streams for v in s.variables)):
            if not name.isidentifier():
                yield Wrong(i, 0, 0, f"{name!r} cannot be a variable of a step", "use letters, digits and _")
        try:
            body = of(program, fluxion)
        except Unreadable as error:
            problem = f"the body of {fluxion.name!r} is not {LANGUAGE_NAMES[program.language]}: {error.why}"
            yield Wrong(i, error.line, error.column, problem, "correct the line")
            continue
        yield from _unknown(i, fluxion, body, known, brought)
        yield from _unsent(i, fluxion, body)


def _unknown(
    at: int, fluxion: Fluxion, body: Body, known: frozenset[str] | None, brought: Iterable[str]
) -> Iterator[Wrong]:
    """Names that the body uses and nothing gives it. `known`: what all bodies have; None if that cannot be told."""
    if known is None:
        return
    own = {*fluxion.reads, *fluxion.context, *body.assigned, *GIVEN, *known}
    for name, (line, column) in body.used.items():
        if name not in own:
            there = ", ".join(sorted(brought)) or "nothing"
            near = nearest(name, [*brought, *fluxion.context, *body.assigned])
            yield Wrong(
                at, line, column, f"{fluxion.name!r} uses {name}, and its message brings {there}{near}",
                f"send {name} along the streams to {fluxion.name!r}, correct the name, or define it in a `file`",
            )  # fmt: skip


def _unsent(at: int, fluxion: Fluxion, body: Body) -> Iterator[Wrong]:
    """Variables that are to travel, and have no value."""
    if body.returns:
        return
    own = {*fluxion.reads, *fluxion.context, *body.assigned}
    for number, stream in enumerate(fluxion.streams):
        for name in stream.variables:
            if name not in own:
                to = "the answer" if stream.to == OUTPUT else repr(stream.to)
                problem = f"{fluxion.name!r} sends {name} to {to} and gives it no value{nearest(name, own)}"
                remedy = f"write `{name} = ...` in its body, or take it out of the stream"
                yield Wrong(at, 0, 0, problem, remedy, number)


def _file_of(program: Program, fluxion: Fluxion) -> str:
    """The file that has what its body may use."""
    if fluxion.role is Role.END:
        return next((path for path, text in program.files.items() if f"⟪{fluxion.name}⟫" in text), "")
    return fluxion.place.file if fluxion.place.file in program.files else derive.entry(program)


def _known(program: Program, file: str) -> frozenset[str] | None:
    """The names that a file defines, and those of the language. None if they cannot be told. What a first part of a
    handler has for itself is none of them: the others run elsewhere."""
    nothing = "pass" if program.language == "python" else ""
    filled = {f.name: nothing if f.role is Role.START else f.body for f in program.fluxions}
    text = fill(program.files.get(file, ""), filled)
    try:
        return javascript.names(text) if program.language == "javascript" else _names(text, program)
    except Unreadable:
        return None  # what reads the emitted file says it


def _names(text: str, program: Program) -> frozenset[str] | None:
    tree = _parsed(text, 0)
    found = set(dir(builtins)) | {"__name__", "__file__"}
    for node in ast.walk(tree):
        match node:
            case ast.alias(name="*"):
                return None
            case ast.alias(name=name, asname=asname):
                found.add(asname or name.partition(".")[0])
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                found.add(name)
    functions = {fluxion.name for fluxion in program.fluxions}
    return frozenset(found | functions)


def python_body(text: str) -> Body:
    """Raises Unreadable."""
    indented = "async def body():\n" + "\n".join(f" {line}" if line.strip() else "" for line in text.split("\n"))
    tree = _parsed(indented + "\n pass\n", 1, 1)
    (function,) = tree.body
    assert isinstance(function, ast.AsyncFunctionDef)
    statements = function.body[:-1]
    scope = _Scope()
    for statement in statements:
        scope.visit(statement)
    returns = bool(statements) and isinstance(statements[-1], ast.Return | ast.Raise)
    used = {name: place for name, place in scope.used.items() if name not in scope.assigned}
    return Body(frozenset(scope.assigned), frozenset(), used, scope.waits, returns, frozenset(scope.in_strings))


def _parsed(text: str, lines_before: int, columns_before: int = 0) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        line = max(1, (error.lineno or 1) - lines_before)
        raise Unreadable(line, max(1, (error.offset or 1) - columns_before), error.msg) from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(1, 1, str(error)) from None


class _Scope(ast.NodeVisitor):
    """Names of one function: those it gives a value, those it uses. A name that an inner function or a comprehension
    has for itself is not told apart from one of the body: then less is complained about, never more."""

    def __init__(self) -> None:
        self.assigned: set[str] = set()
        self.used: dict[str, tuple[int, int]] = {}
        self.in_strings: set[int] = set()
        self.waits = False
        self._depth = 0

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.used.setdefault(node.id, (node.lineno - 1, node.col_offset))
        else:
            self.assigned.add(node.id)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.in_strings.update(range(node.lineno, node.end_lineno or node.lineno))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.in_strings.update(range(node.lineno, node.end_lineno or node.lineno))
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self.assigned.add(node.arg)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.assigned.add(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.assigned.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.assigned.add(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.assigned.add(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.assigned.add(node.rest)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._definition(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._within(node)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.assigned.add(node.name)
        self._within(node)

    def _within(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_Await(self, node: ast.Await) -> None:
        self._wait(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._wait(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self._wait(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        if node.is_async:
            self.waits |= not self._depth
        self.generic_visit(node)

    def _wait(self, node: ast.AST) -> None:
        self.waits |= not self._depth
        self.generic_visit(node)

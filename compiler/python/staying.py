"""Names that stand for what means nothing in another process, although it looks like data: what was called and is not
yet waited for, and times of a clock that each machine has for itself.

Knows statements and what they call; not how a handler is taken apart.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from compiler.python import flow
from compiler.python.libraries import MUTATORS
from compiler.python.model import Function, Lib
from compiler.python.pieces import Line
from compiler.python.used import Names

_CLOCKS = (
    *("time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns", "time.process_time"),
    *("time.process_time_ns", "time.thread_time", "time.thread_time_ns", "timeit.default_timer"),
)
_PROCESSES = ("os.getpid", "os.getppid", "threading.get_ident", "threading.get_native_id")
_BUILTIN = ("id", "hash")
_DEPTH_MAX = 8
"""Functions that hand on to each other what they return."""

_CLOCK = ("a time of a clock that each node has for itself", "take time.time(), which is the same on all nodes")
_PROCESS = ("what another process has otherwise", "ask for it where it is used")

Why = tuple[str, str]
"""What it is, and what to do."""


def staying(names: Names, lines: Iterable[Line]) -> dict[str, Why]:
    """The names, in all the lines."""
    found: dict[str, Why] = {}
    every = list(lines)
    while True:
        before = len(found)
        for line in every:
            why = _made(names, line) or next(_passed(line, found), None)
            if why is not None:
                found = dict.fromkeys(_taking(line.node), why) | found
        if len(found) == before:
            return found


def _made(names: Names, line: Line) -> Why | None:
    """What a line makes of that kind."""
    awaited = {id(n.value) for n in ast.walk(line.node) if isinstance(n, ast.Await)}
    for node in ast.walk(line.node):
        if isinstance(node, ast.Call) and id(node) not in awaited and (called := names.promises(line.within, node)):
            return f"what {called} is still to give", f"await {called}(...) there"
    return _of_process(names, line.within, line.node, ())


def _of_process(names: Names, function: Function, tree: ast.AST, inside: tuple[Function, ...]) -> Why | None:
    """What means something in this process alone, among what is called there; or what functions of the service return
    of that kind."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _BUILTIN and names.is_builtin(function, node):
            return _PROCESS
        for atom in names.meaning(function, node) if isinstance(node, ast.Name | ast.Attribute) else ():
            if isinstance(atom, Lib) and atom.name in _CLOCKS:
                return _CLOCK
            if isinstance(atom, Lib) and atom.name in _PROCESSES:
                return _PROCESS
        own = names.own_function(function, node.func) if isinstance(node, ast.Call) else None
        if own is not None and own not in inside and (why := _returned(names, own, (*inside, own))) is not None:
            return why
    return None


def _returned(names: Names, function: Function, inside: tuple[Function, ...]) -> Why | None:
    if len(inside) > _DEPTH_MAX:
        return None
    made: dict[str, Why] = {}
    simple = [n for n in ast.walk(function.node) if isinstance(n, ast.Assign | ast.AnnAssign | ast.AugAssign)]
    for _ in simple:
        before = len(made)
        for node in simple:
            if (why := _of_process(names, function, node, inside) or next(_loaded(node, made), None)) is not None:
                made.update(dict.fromkeys(flow.bound(node), why))
        if len(made) == before:
            break
    returns = [n.value for n in ast.walk(function.node) if isinstance(n, ast.Return) and n.value is not None]
    found = (_of_process(names, function, value, inside) or next(_loaded(value, made), None) for value in returns)
    return next((why for why in found if why is not None), None)


def _loaded(node: ast.AST, made: dict[str, Why]) -> Iterator[Why]:
    return (made[n.id] for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in made)


def _passed(line: Line, found: dict[str, Why]) -> Iterator[Why]:
    for node in ast.walk(line.node):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in found:
            why = found[node.id]
            waited = isinstance(getattr(line.node, "value", None), ast.Await) and why not in (_CLOCK, _PROCESS)
            if not waited:
                yield why


def _taking(node: ast.AST) -> set[str]:
    """Names that a statement gives a value, or puts something into."""
    found = flow.bound(node)
    for inner in ast.walk(node):
        if not isinstance(inner, ast.Subscript | ast.Attribute) or not isinstance(inner.value, ast.Name):
            continue
        if isinstance(inner.ctx, ast.Store) or (isinstance(inner, ast.Attribute) and inner.attr in MUTATORS):
            found.add(inner.value.id)
    return found

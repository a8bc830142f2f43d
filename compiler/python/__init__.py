"""The front end for Python: a service's source to a Program. Knows nothing of how it is run."""

from __future__ import annotations

import ast
from pathlib import Path

from compiler.assemble import Body, assemble, offset
from compiler.classify import classify
from compiler.facts import Place
from compiler.program import Program
from compiler.python.gather import Gathered, gather_facts
from compiler.python.model import Function


def compile(folder: Path, entry: str, app: str | None = None) -> Program:
    """The service whose program is `entry`, a file relative to `folder`. `app`: `module:attribute` of the application,
    where it cannot be seen from the entry."""
    gathered = gather_facts(folder, entry, app)
    classified = classify(gathered.facts)
    return assemble(gathered.facts, classified, folder=folder, bodies=_bodies(gathered))


def _bodies(gathered: Gathered) -> dict[str, Body]:
    return {unit: body for unit, info in gathered.functions.items() if (body := body_of(info)) is not None}


def body_of(info: Function) -> Body | None:
    """Where the statements of a function stand."""
    if isinstance(info.node, ast.Lambda):
        return None
    first, last = info.node.body[0], info.node.body[-1]
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    start = _offset(info, first.lineno, first.col_offset)
    return Body(info.module.file, start, _offset(info, last.end_lineno, last.end_col_offset))


def _offset(info: Function, line: int, column: int) -> int:
    """ast counts columns in bytes."""
    text = info.module.text
    start = offset(text, Place(info.module.file, line))
    end = text.find("\n", start)
    whole = text[start : end if end >= 0 else len(text)]
    return start + len(whole.encode()[:column].decode())

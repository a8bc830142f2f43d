"""Answers that are made while they are sent: generators that a handler gives its framework. Those that are through at
once, as they only put together what is there, are answers like others.

Knows frameworks only by what the names of their functions say. Decides nothing of groups.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compiler.facts import STREAMS, Harm, Place
from compiler.python.calls import Args
from compiler.python.evaluate import Machine
from compiler.python.model import LAZY, Atoms, Const, Foreign, Ref

EVENTS = "text/event-stream"

_TAKERS = ("response", "stream")
"""Parts of the names of functions that make an answer of an iterator: `Response`, `stream_with_context`."""

_QUICK = frozenset(
    (
        *("abs", "all", "any", "bool", "bytes", "chr", "dict", "enumerate", "float", "hex", "int", "isinstance", "len"),
        *("list", "max", "min", "ord", "range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple"),
        *("zip", "append", "extend", "get", "items", "keys", "values", "pop", "encode", "format", "join", "replace"),
        *("capitalize", "endswith", "startswith", "lower", "lstrip", "rstrip", "split", "strip", "title", "upper"),
        *("dumps", "isoformat", "strftime", "zfill", "StringIO", "BytesIO", "writer", "DictWriter", "writeheader"),
        *("writerow", "writerows", "write", "read", "getvalue", "seek", "truncate", "flush", "close"),
    )
)
"""What a generator may call and is still through at once."""

_WRITTEN = ("streamresponse", "sse_response", "eventsourceresponse")
"""Answers that are written to piece by piece, whatever they are given."""

_ENTRY = frozenset(("get", "join", "read"))
"""These wait, if they are of something else than of data: `queue.get()`, `requests.get(url)`, `thread.join()`."""

_WAITING = ("queue", "requests", "httpx", "session", "client", "socket", "pipe", "stdout")


def returned(m: Machine, value: Atoms, where: Place) -> None:
    """What a handler gives its framework."""
    if any(_streams(m, value)):
        m.hazard(Harm.STREAM, STREAMS, where)


def given(m: Machine, name: str, args: Args, node: ast.AST) -> None:
    """What a function of a library is given in a request."""
    short = name.rpartition(".")[2].lower()
    if m.loading or not any(word in short for word in _TAKERS):
        return
    events = any(isinstance(atom, Const) and str(atom.value).startswith(EVENTS) for atom in args.every())
    body = args.get(0, "response") | args.get(0, "content")
    unseen = any(isinstance(atom, Foreign) for atom in body)
    if short in _WRITTEN or any(_streams(m, args.every())) or (unseen and (events or "iter_" in ast.unparse(node))):
        m.hazard(Harm.STREAM, STREAMS, m.here(node))


def _streams(m: Machine, value: Atoms) -> Iterator[bool]:
    """Of each generator whether it may take its time."""
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.name == LAZY:
            made = m.generators.get(atom.obj)
            yield made is None or not _is_quick(made)


def _is_quick(node: ast.AST) -> bool:
    """Whether all of it is surely done at once."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.While | ast.AsyncFor | ast.AsyncWith | ast.Await | ast.With):
            return False
        if isinstance(inner, ast.Call):
            of, _, name = ast.unparse(inner.func).rpartition(".")
            waiting = any(word in of.lower() for word in _WAITING) or (name != "read" and not inner.args)
            if name not in _QUICK or (name in _ENTRY and waiting):
                return False
    return True

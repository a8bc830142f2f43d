"""What is taken of the request, and which of it can be a key.

A key is the same text or whole number wherever it is computed: what was changed on the way, or may be one of several
things, or of any type (a value in JSON), is none. Knows no statements.
"""

from __future__ import annotations

from compiler.facts import KeyOf
from compiler.python.model import PLAIN, SCALAR, Atoms, Const, Req

_MAPPINGS = {
    # Flask, Quart, bottle
    "args": ("query",),
    "view_args": ("params",),
    "form": ("body",),
    "headers": ("headers",),
    "cookies": ("cookies",),
    # Starlette, aiohttp, microdot
    "path_params": ("params",),
    "query_params": ("query",),
    "match_info": ("params",),
    "query": ("query",),
    "rel_url": (),
}
_TEXTS = frozenset({"method", "path", "url", "data", "remote_addr", "host", "scheme", "full_path", "base_url"})


def attribute(of: Req, name: str) -> Atoms:
    """`request.args`, `body.name`."""
    if of.path == ():
        if name in _MAPPINGS:
            return frozenset({Req(_MAPPINGS[name], text=name)})
        return SCALAR if name in _TEXTS else PLAIN
    return PLAIN


def entry(of: Req, name: str | None) -> Atoms:
    """`request.args["user"]`."""
    if name is None or of.convert or not of.path or (of.path[0] != "body" and len(of.path) > 1):
        return PLAIN
    word = name.lower() if of.path[0] == "headers" else name
    return frozenset({Req((*of.path, word), "", f"{of.text}[{name!r}]")})


def converted(value: Atoms, to: str) -> Atoms:
    """`int(x)`, `str(x)`."""
    if len(value) != 1:
        return SCALAR
    atom = next(iter(value))
    if not isinstance(atom, Req) or len(atom.path) < 2:
        return SCALAR
    if to == "int" and atom.convert in ("", "int"):
        return frozenset({Req(atom.path, "int", f"int({atom.text})")})
    if to == "str" and atom.convert == "" and atom.path[0] != "body":
        return frozenset({atom})
    return SCALAR


def key_of(value: Atoms) -> KeyOf | None:
    """The key that `value` is, if it is one part of the request and nothing else."""
    if len(value) != 1:
        return None
    atom = next(iter(value))
    if not isinstance(atom, Req) or len(atom.path) < 2:
        return None
    return KeyOf("request", atom.path, atom.convert, atom.text)


def constant(value: Atoms) -> str | None:
    if len(value) != 1:
        return None
    atom = next(iter(value))
    if isinstance(atom, Const) and isinstance(atom.value, str | int) and not isinstance(atom.value, bool):
        return str(atom.value)
    return None

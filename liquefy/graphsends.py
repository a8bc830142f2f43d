"""What a function sends, as far as that stands in its text: bodies that are literal dicts, and where they go.
What cannot be told without running it makes the whole answer "not known"; nothing is guessed. Knows no graph.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

Function = ast.FunctionDef | ast.AsyncFunctionDef

Sent = dict[str, list[ast.Dict]]
"""Destination -> the bodies sent there, each a literal dict whose names are all literal texts."""

LIQUEFY = "liquefy"
"""The package from which users' code has `emit` and `answer`."""


class _Unknown(Exception):
    """Only running it would tell."""


def sent_by(function: Function, names: Mapping[str, str], streams: Iterable[str], wanted: Iterable[str]) -> Sent:
    """What the function sends to those `wanted` of its streams of which everything that it sends is known.
    `names`: what the module calls `emit` and `answer` of liquefy (name -> "emit" or "answer"), and liquefy itself
    (name -> "liquefy")."""
    streams = tuple(streams)
    nodes = list(own_nodes(function))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    bound |= {getattr(node, "name", "") or "" for node in nodes}  # a def, a class or an except inside
    bound |= {a.asname or a.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names}
    sends = _Sends({name: what for name, what in names.items() if name not in bound}, streams)
    if any(isinstance(each, ast.Return) for node in nodes for step in _last(node) for each in ast.walk(step)):
        return {}  # a return in `finally` takes the place of those before it
    found: Sent = {}
    for to in wanted:
        try:
            found[to] = [body for node in nodes if isinstance(node, ast.Return) for body in sends.to(to, node.value)]
        except _Unknown:
            continue
    return found


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """All nodes of the body, without what is inside of functions and classes defined there."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _last(node: ast.AST) -> list[ast.stmt]:
    return node.finalbody if isinstance(node, ast.Try | ast.TryStar) else []


class _Sends:
    """Reads returned expressions of one function."""

    def __init__(self, names: Mapping[str, str], streams: tuple[str, ...]) -> None:
        self._names, self._streams = names, streams

    def to(self, name: str, returned: ast.expr | None) -> Iterator[ast.Dict]:
        """Bodies that this `return` sends to `name`. Raises _Unknown."""
        match returned:
            case None | ast.Constant(value=None):
                return
            case ast.IfExp(body=one, orelse=other):
                yield from self.to(name, one)
                yield from self.to(name, other)
            case ast.List(elts=items) | ast.Tuple(elts=items) if items and all(self._is_call(each) for each in items):
                for item in items:
                    yield from self.to(name, item)
            case ast.ListComp(elt=item) if self._streams != (name,) and self._is_call(item):
                # If it comes out empty it is a body, which only a sole stream would take.
                yield from self.to(name, item)
            case ast.Call() if self._is_call(returned):
                yield from self._called(name, returned)
            case ast.Dict() if self._streams == (name,):
                yield _literal(returned)
            case ast.Dict():
                return  # a body goes to a sole stream, and this is none, or another one
            case _:
                raise _Unknown

    def _called(self, name: str, call: ast.Call) -> Iterator[ast.Dict]:
        if self._what(call.func) == "answer":
            return
        given: dict[str | None, ast.expr] = dict(zip(("to", "body", "delay_s"), call.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in call.keywords}
        to = given.get("to")
        if None in given or any(isinstance(each, ast.Starred) for each in call.args) or not _is_text(to):
            raise _Unknown
        assert isinstance(to, ast.Constant)
        if to.value == name:
            yield _literal(given.get("body"))

    def _is_call(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and self._what(node.func) != ""

    def _what(self, function: ast.expr) -> str:
        """ "emit", "answer", or "" for another function."""
        match function:
            case ast.Name(id=name) if self._names.get(name, LIQUEFY) != LIQUEFY:
                return self._names[name]
            case ast.Attribute(value=ast.Name(id=name), attr="emit" | "answer" as what):
                return what if self._names.get(name) == LIQUEFY else ""
        return ""


def _literal(body: ast.expr | None) -> ast.Dict:
    if isinstance(body, ast.Dict) and all(_is_text(name) for name in body.keys):
        return body
    raise _Unknown


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)

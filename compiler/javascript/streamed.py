"""Answers that are made while they are sent: `res.write(...)` on a timer, in a callback, between two `await`s. One that
is written to and ended in one go is an answer like others.

Knows neither variables nor fluxions: it is told what matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from compiler.facts import Place
from compiler.javascript.calling import SYNCHRONOUS
from compiler.javascript.flow import Flow
from compiler.javascript.libraries import names
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import FUNCTIONS, Node

LOOPS = names("for_statement for_in_statement while_statement do_statement")


class Streamed:
    """Of a flow that has run. `responds`: whether a function answers a request, or what it calls does. `handlers`: what
    the framework calls."""

    def __init__(self, flow: Flow, responds: Callable[[Function], bool], handlers: set[Function]) -> None:
        self.flow = flow
        self._responds = responds
        self._handlers = handlers
        self._callers: dict[Function, list[Node]] = {}
        for node, functions in flow.called_at.items():
            for function in functions:
                self._callers.setdefault(function, []).append(node)
        self._open: dict[Function, bool] = {}
        self._places: dict[Function, tuple[Place, ...]] = {}

    def places(self, function: Function) -> tuple[Place, ...]:
        """Where its code, or what that calls at once, writes a part of an answer, and others may have their turn before
        the next."""
        if function not in self._places:
            self._places[function] = tuple(node.place for node in self._writes(function) if self._takes_time(node))
        return self._places[function]

    def _writes(self, function: Function) -> Iterator[Node]:
        for node in _own(function.node):
            called = self.flow.called_at.get(node, ())
            if node in self.flow.written_at or any(self._leaves_open(f) and not _is_handed(f, node) for f in called):
                yield node

    def _leaves_open(self, function: Function) -> bool:
        """It has written, and is over: who calls it goes on with the answer."""
        if function not in self._open:
            self._open[function] = False
            writes = list(self._writes(function))
            self._open[function] = any(not self._is_ended(node) and not self._takes_time(node) for node in writes)
        return self._open[function]

    def _takes_time(self, write: Node) -> bool:
        function, node = _around(write)
        if function is None or self._is_ended(write):
            return function is None
        callers = self._callers.get(function, [])
        left = function in self._handlers or not callers or any(_is_handed(function, call) for call in callers)
        return left or function.asynchronous or _waits_around(function, node)

    def _is_ended(self, write: Node) -> bool:
        """The function around it surely ends the answer after the write, before it waits for anything."""
        function, node = _around(write)
        if function is None or _waits_around(function, node):
            return False
        own = list(_own(function.node))
        ends = [n.start for n in own if n.start >= node.end and self._ends(n) and _is_sure(n, node, function.node)]
        return bool(ends) and not any(_waits(n) and node.start <= n.start < min(ends) for n in own)

    def _ends(self, node: Node) -> bool:
        called = self.flow.called_at.get(node, ())
        return node in self.flow.answered_at or any(self._responds(f) and not _is_handed(f, node) for f in called)


def _around(node: Node) -> tuple[Function | None, Node]:
    """The function that it is in, and where in it: what is handed to `forEach` and the like is done at once."""
    at = node
    while at.parent is not None:
        at = at.parent
        if at.type not in FUNCTIONS:
            continue
        call = at.parent.parent if at.parent is not None and at.parent.type == "arguments" else None
        callee = call.get("function") if call is not None else None
        if call is None or callee is None or at.info.asynchronous:
            return at.info, node
        if callee.type != "member_expression" or callee["property"].text not in SYNCHRONOUS:
            return at.info, node
        at = node = call
    return None, node


def _own(outer: Node) -> Iterator[Node]:
    """What is in a function, without the functions in it."""
    stack = list(outer.kids)
    while stack:
        node = stack.pop()
        yield node
        if node.type not in FUNCTIONS:
            stack += node.kids


def _waits(node: Node) -> bool:
    waits = node.type in ("await_expression", "yield_expression")
    return waits or (node.type == "for_in_statement" and "await" in node.words)


def _waits_around(function: Function, node: Node) -> bool:
    """A loop that it is in waits."""
    at = node
    while at.parent is not None and at is not function.node:
        at = at.parent
        if at.type in LOOPS and (_waits(at) or any(_waits(inner) for inner in _own(at))):
            return True
    return False


def _is_sure(node: Node, before: Node, outer: Node) -> bool:
    """What comes to `before` comes to `node`, too: there is no condition between them."""
    at = node
    while at.parent is not None and at is not outer:
        parent = at.parent
        free = at.start <= before.start and before.end <= at.end
        if not free and _is_optional(at, parent):
            return False
        at = parent
    return True


def _is_optional(node: Node, parent: Node) -> bool:
    if parent.type in ("if_statement", "ternary_expression"):
        return node is not parent["condition"]
    if parent.type == "binary_expression":
        return node is parent["right"]
    return parent.type in LOOPS or parent.type in ("switch_case", "switch_default", "catch_clause")


def _is_handed(function: Function, call: Node) -> bool:
    """The call hands it on, so that others call it: `setInterval(tick, 1000)`."""
    given = call.get("arguments")
    callee = call.get("function")
    if callee is None or given is None:
        return False
    if callee.type == "member_expression" and callee["property"].text in SYNCHRONOUS:
        return False
    return any(kid.info is function or kid.text == function.name != "" for kid in given.kids)

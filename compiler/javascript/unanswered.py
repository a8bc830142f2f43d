"""Where a handler's callback may end without an answer: `(err, row) => { if (err) return; res.json(row); }`. Nobody
will answer that request; where its context is, others would wait for it, and as the program is, none do.

Follows the order of statements. What it cannot tell (loops, listeners, callbacks that count how many are done) it takes
to answer. Knows neither variables nor fluxions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from compiler.facts import Place
from compiler.javascript.calling import SYNCHRONOUS
from compiler.javascript.flow import Flow
from compiler.javascript.libraries import names
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import FUNCTIONS, Node

OFTEN = SYNCHRONOUS | names("on once addListener each eachRow eachSeries times setInterval then catch finally")
"""What is handed to these is called many times, never, or returns what others answer with."""

LOOPS = names("for_statement for_in_statement while_statement do_statement")
FRAMEWORKS = ("express", "http")


class Unanswered:
    """Of a flow that has run. `responds`: whether a function answers a request, or what it calls does."""

    def __init__(self, flow: Flow, responds: Callable[[Function], bool]) -> None:
        self.flow = flow
        self.responds = responds

    def places(self, handler: Function) -> Iterator[Place]:
        """`handler`: what the framework calls with (request, response, next)."""
        given = handler.parameters[1:]
        if self.flow.framework not in FRAMEWORKS or handler.uses_arguments or not 0 < len(given) < 3:
            return
        if all(parameter.type == "identifier" for parameter in given):
            for callback in _callbacks(handler):
                yield from _Ways(self, handler, callback).places()

    def answers(self, node: Node, handler: Function) -> bool:
        """Something in it answers, or may: it names what the handler answers with."""
        given = {parameter.binding for parameter in handler.parameters[1:]}
        for each in node.walk():
            if each.binding is not None and each.binding in given:
                return True
            if each in self.flow.answered_at or any(self.responds(f) for f in self.flow.called_at.get(each, ())):
                return True
        return False


class _Ways:
    """Through one callback. What a walk gives: whether the request has been answered, None where it does not go on."""

    def __init__(self, of: Unanswered, handler: Function, callback: Function) -> None:
        self.of, self.handler, self.callback = of, handler, callback
        self.found: list[Place] = []
        self.last = callback.node
        """After what it is not answered where it ends."""

    def places(self) -> list[Place]:
        body = self.callback.node["body"]
        if self.of.answers(body, self.handler) and self._visit(body, False) is False:
            self.found.append(self.last.place)
        return self.found

    def _visit(self, node: Node, answered: bool | None) -> bool | None:
        if answered is None or answered:
            return answered
        if node.type in ("statement_block", "else_clause"):
            for kid in node.kids:
                answered = self._visit(kid, answered)
            return answered
        if node.type == "if_statement":
            return self._branch(node)
        if node.type == "try_statement":
            return self._try(node)
        if node.type == "throw_statement":
            return None
        answers = self.of.answers(node, self.handler)
        if node.type == "return_statement":
            if not answers:
                self.found.append(node.place)
            return None
        return answers

    def _branch(self, node: Node) -> bool | None:
        if self.of.answers(node["condition"], self.handler) or self._counts(node["condition"]):
            return True
        then = self._visit(node["consequence"], False)
        otherwise = node.get("alternative")
        other = self._visit(otherwise, False) if otherwise is not None else False
        if False in (then, other):
            self.last = node
        return then if other is None else other if then is None else then and other

    def _try(self, node: Node) -> bool | None:
        body = self._visit(node["body"], False)
        handler, last = node.get("handler"), node.get("finalizer")
        caught = self._visit(handler["body"], False) if handler is not None else None
        end = caught if body is None else body if caught is None else body and caught
        return self._visit(last, end) if last is not None else end

    def _counts(self, condition: Node) -> bool:
        """It asks for what others of the handler's callbacks may change: `if (--left === 0)`."""
        named = (each.binding for each in condition.walk())
        scopes = (binding.scope.function for binding in named if binding is not None and binding.kind != "param")
        others = (scope for scope in scopes if scope is not self.callback and not scope.module)
        return any(self.callback.within(scope) for scope in others)


def _callbacks(handler: Function) -> Iterator[Function]:
    """Functions of the handler that are called once, after what they are handed to has been done."""
    for inner in handler.inner:
        call = inner.node.parent.parent if inner.node.parent is not None else None
        if call is None or call.type != "call_expression" or _repeated(call, handler.node):
            continue
        handed = [kid for kid in call["arguments"].kids if kid.type in FUNCTIONS]
        callee = call["function"]
        name = callee["property"].text if callee.type == "member_expression" else callee.text
        if handed != [inner.node] or name in OFTEN or inner.node["body"].type != "statement_block":
            continue
        yield inner
        yield from _callbacks(inner)


def _repeated(call: Node, outer: Node) -> bool:
    at: Node | None = call
    while at is not None and at is not outer:
        if at.type in LOOPS:
            return True
        at = at.parent
    return False

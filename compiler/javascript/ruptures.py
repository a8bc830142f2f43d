"""Which statements of a handler call what it may be cut at: own functions, and waits. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.javascript.naming import Naming
from compiler.javascript.pieces import Called, Rest, only_waits, own_nodes, statements_of
from compiler.javascript.posts import Post, calls_once, post
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.syntax import FUNCTIONS, Node
from compiler.javascript.values import Func
from compiler.program import Role


class Ruptures(Naming):
    def _count(self, function: Function, statements: list[Node], depth: int) -> int:
        found = 0
        for statement in statements:
            called = self._called(statement)
            waits = post(self._flow, statement) if called is None else None
            if waits is not None and depth <= 8:
                found += any(node in self._flow.answered_at for node in waits.callback.walk())
                found += self._count(function, statements_of(waits.callback.info), depth + 1)
            if called is None or depth > 8:
                continue
            body = called.function.node.get("body")
            found += 1 + sum(1 for a in called.arguments for _ in self._calls_in(a))
            if body is not None and body.type == "statement_block":
                found += self._count(called.function, body.kids, depth + 1)
            if called.callback is not None:
                inner = called.callback.get("body")
                found += self._count(function, inner.kids if inner is not None else [], depth + 1)
        return found

    def _called(self, statement: Node) -> Called | None:
        node, returns = statement, False
        target: Node | None = None
        if node.type in ("lexical_declaration", "variable_declaration") and len(node.kids) == 1:
            declarator = node.kids[0]
            value = declarator.get("value")
            if value is None or declarator["name"].type != "identifier":
                return None
            node, target = value, declarator["name"]
        elif node.type == "return_statement" and node.kids:
            node, returns = node.kids[0], True
        elif node.type == "expression_statement":
            node = node.kids[0]
        elif node.type != "call_expression" and node.type != "await_expression":
            return None
        awaited = node.type == "await_expression"
        if awaited:
            node = node.kids[0]
        if node.type != "call_expression":
            return None
        then = self._then(node)
        if then is not None and not awaited and target is None:
            return then
        function = self._own(node["function"])
        if function is None:
            return None
        arguments = node["arguments"].kids
        if awaited and target is None and not returns and only_waits(function):
            return None
        callback = arguments[-1] if arguments and self._is_callback(arguments[-1]) else None
        if callback is not None and (target is not None or awaited):
            return None
        known = callback is None or len(arguments) > len(function.parameters)
        if not known and not calls_once(function, len(arguments) - 1):
            return None
        given = tuple(self._replaced.get(a, a) for a in (arguments[:-1] if callback is not None else arguments))
        return Called(function, node, given, callback, target, returns, awaited)

    def _then(self, node: Node) -> Called | None:
        """`f(x).then((r) => { ... })`."""
        callee = node["function"]
        if callee.type != "member_expression" or callee["property"].text != "then":
            return None
        inner = callee["object"]
        given = node["arguments"].kids
        if inner.type != "call_expression" or len(given) != 1 or given[0].type not in FUNCTIONS:
            return None
        function = self._own(inner["function"])
        if function is None:
            return None
        arguments = tuple(self._replaced.get(a, a) for a in inner["arguments"].kids)
        return Called(function, inner, arguments, given[0], None, True, True)

    def _calls_in(self, argument: Node) -> Iterator[Called]:
        """An argument that is an own function's result, and its arguments that are, the outer ones first."""
        called = self._called(argument) if argument.type in ("call_expression", "await_expression") else None
        if called is not None and called.callback is None:
            yield called
            for inner in called.arguments:
                yield from self._calls_in(inner)

    def _first_inside(self, called: Called) -> tuple[Called, Node, Node] | None:
        """The call that is made first, if it is an argument: with that argument, and the parameter it is for."""
        for parameter, argument in zip(called.function.parameters, called.arguments, strict=False):
            inner = next(self._calls_in(argument), None)
            if inner is None:
                continue
            others = [a for a in called.arguments if a is not argument]
            if any(n.type in ("call_expression", "await_expression") for a in others for n in a.walk()):
                return None  # which are made one after the other
            return self._first_inside(inner) or (inner, argument, parameter)
        return None

    def _own(self, callee: Node) -> Function | None:
        """A function of the handler's file, which its parts can call, too."""
        if callee.type != "identifier" or callee.binding is None or callee.binding in self._rests:
            return None
        values = self._flow.values.get(callee.binding, set())
        found = {v.target for v in values}
        if len(found) != 1 or not callee.binding.scope.function.module:
            return None
        target = next(iter(found))
        if not isinstance(target, Func) or target.site is not None or target.function.file != self._handler.file:
            return None
        function = target.function
        if function in self._active or function.generator or any(p.type != "identifier" for p in function.parameters):
            return None
        return function

    def _is_callback(self, node: Node) -> bool:
        if node.type in FUNCTIONS:
            return all(p.type == "identifier" for p in node.info.parameters)
        return node.type == "identifier" and node.binding in self._rests

    def _callback_parameter(self, called: Called) -> Binding | None:
        if called.callback is None or called.awaited:
            return None
        parameters = called.function.parameters
        index = len(called.arguments)
        binding: Binding | None = parameters[index].binding if index < len(parameters) else None
        return binding

    def _answers(self, called: Called) -> bool:
        """The call of an own function that is given the response: it answers."""
        given = bool(self._response) and any(self._role(a) == self._response for a in called.arguments)
        return (
            given and called.callback is None and self._count(called.function, statements_of(called.function), 0) == 0
        )

    def _answering(self, statements: list[Node]) -> str:
        """The method called on the response, or the function that answers: by the last that does."""
        for statement in reversed(statements):
            called = self._called(statement)
            if called is not None and self._uses(statement, self._response):
                return called.function.name
            for node in statement.walk():
                if node.type == "call_expression" and node["function"].type == "member_expression":
                    at = node["function"]
                    root = at
                    while root.type in ("member_expression", "call_expression"):
                        root = root["object"] if root.type == "member_expression" else root["function"]
                    if self._role(root) and self._role(root) == self._response:
                        return at["property"].text
        return "send"

    def _goes_on(self, statement: Node) -> tuple[Node, Rest, Node | None] | None:
        """`return callback(x)` or `if (c) return callback(x)`: the call, what it calls, the condition."""
        node, condition = statement, None
        if node.type == "if_statement" and node.get("alternative") is None:
            condition, node = node["condition"], node["consequence"]
            if node.type == "statement_block" and len(node.kids) == 1:
                node = node.kids[0]
        if node.type in ("return_statement", "expression_statement") and node.kids:
            node = node.kids[0]
        if node.type == "call_expression" and node["function"].type == "identifier":
            rest = self._rests.get(node["function"].binding)
            if rest is not None:
                return node, rest, condition
        return None

    def _calls_back_itself(self, callback: Binding | None, statements: list[Node]) -> bool:
        """A function calls its callback by its last statement, and hands it to nobody: the callback is what comes
        next."""
        if callback is None:
            return False
        last = self._goes_on(statements[-1])
        named = [n for statement in statements for n in own_nodes(statement) if n.binding is callback]
        every = [n for statement in statements for n in statement.walk() if n.binding is callback]
        calls = [n for n in every if n.parent is not None and n.parent.get("function") is n]
        return last is not None and last[2] is None and len(every) == len(named) == len(calls)

    def _mentions_rest(self, node: Node) -> bool:
        return any(n.type == "identifier" and n.binding in self._rests for n in node.walk())

    def _is_opened(self, waits: Post, function: Function) -> bool:
        """Its callback answers, or goes on with what is to be cut."""
        body = waits.callback["body"]
        if self.pieces[-1].role is Role.END:
            return False
        return self._answers_with(body) or self._mentions_rest(body) or self._count(function, [waits.call], 0) > 0

    def _returns_elsewhere(self, function: Function) -> bool:
        return function is not self._handler and not function.within(self._handler)

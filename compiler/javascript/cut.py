"""Handlers taken apart as on the poster: `input >> store >> localProcess >> callExternalDB >> send >> output`.

A handler is cut at its calls of the service's own functions, by value, with `await`, with `.then` or with a callback,
if they are one after the other, what travels is plain data, and the framework is used by the first and the last part
alone. A function that calls further such functions is written out; the others stay functions that their part calls.
Where one condition does not hold nothing is cut, and it is said why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from compiler.facts import Facts, Place
from compiler.javascript.flow import Flow
from compiler.javascript.posts import Post, calls_once, post
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.syntax import FUNCTIONS, Node
from compiler.javascript.values import Func, Obj, Once, Part, Plain, Value
from compiler.program import Role
from compiler.reach import reach

PIECES_MAX = 32
"""Parts of one handler."""

REQUEST = "request"
"""What travels of the request, for functions that are given it."""

_FIELDS = {"params", "query", "body", "headers", "method", "url", "originalUrl", "path", "cookies", "ip", "hostname",
           "protocol"}  # fmt: skip

_NAMES = ("identifier", "shorthand_property_identifier")
_SHORT_PATTERN = "shorthand_property_identifier_pattern"

HEADER = ("get", "header")
"""Methods of the request by which headers are read."""


class Uncut(Exception):
    """Why a handler stays whole, where, and what would free it."""

    def __init__(self, why: str, where: Place, remedy: str = "") -> None:
        super().__init__(why)
        self.why, self.where, self.remedy = why, where, remedy


class Clash(Exception):
    """A name has two meanings in the parts: this declaration is to be called otherwise."""

    def __init__(self, binding: Binding, where: Place) -> None:
        super().__init__(binding.name)
        self.binding, self.where = binding, where


@dataclass
class Line:
    """Text of a part. `sends`: it is cut in two around what is sent early: parameter -> argument. `uses`: names that
    it uses besides those of its nodes."""

    text: str
    nodes: list[Node] = field(default_factory=list)
    gives: tuple[str, ...] = ()
    sends: dict[str, str] | None = None
    after: str = ""
    uses: tuple[str, ...] = ()


@dataclass
class Piece:
    role: Role
    name: str = ""
    lines: list[Line] = field(default_factory=list)
    called: list[Function] = field(default_factory=list)
    function: Function | None = None
    waits: bool = False


@dataclass
class Rest:
    """What comes after a call: `names` get its results, then `statements` of `function` run. `awaited`: somebody
    waits for what that function returns. `called`: it is a callback, and comes when it is called."""

    names: list[Node]
    statements: list[Node]
    function: Function
    outer: Rest | None
    awaited: bool = False
    called: bool = False


@dataclass(frozen=True)
class Called:
    """A statement that is a call of an own function. `arguments` without the callback."""

    function: Function
    call: Node
    arguments: tuple[Node, ...]
    callback: Node | None = None
    target: Node | None = None
    returns: bool = False
    awaited: bool = False


class Cutter:
    def __init__(self, flow: Flow, handler: Function, called: dict[Binding, str] | None = None) -> None:
        """`called`: what declarations are called in the parts, if not as in the source."""
        self._flow = flow
        self._called_as = dict(called or {})
        self._same: dict[Binding, Binding] = {}
        """Parameters that are given a variable and never another value: they mean that variable."""
        self._handler = handler
        self._data = flow.service.sources[handler.file].text.encode()
        names = [p.text for p in handler.parameters]
        self._request, self._response, self._next = [*names, "", "", ""][:3]
        self._framework = {p.binding: p.text for p in handler.parameters if p.binding is not None}
        """What the handler was given, also where own functions are handed it."""
        self._early_ends: list[tuple[Node, int, Rest]] = []
        """Statements that go on early, the part they are in, and with what they go on."""
        self._resumed: list[tuple[Rest, int, int]] = []
        """After which part and which of its lines."""
        self._replaced_by: dict[Node, str] = {}
        self._replaced: dict[Node, Node] = {}
        """Calls in arguments -> the parameter that has the result."""
        self.pieces = [Piece(Role.START, function=handler)]
        self._rests: dict[Binding, Rest] = {}
        self._active: list[Function] = [handler]
        self._awaiting = [False]
        self._current: dict[str, Binding] = {}
        """Which declaration each name means at this point."""
        self.fields: dict[str, None] = {}
        """What the parts need of the request."""
        self.asked: set[Function] = set()
        """Functions that read headers by the request's methods."""

    def looks_like_one(self, *, holds: bool) -> bool:
        """At least two own functions, one after the other, whatever else; or one wait, if it holds a context then."""
        body = self._handler.node.get("body")
        if body is None or body.type != "statement_block" or not 0 < len(self._handler.parameters) < 4:
            return False
        if any(p.type != "identifier" for p in self._handler.parameters):
            return False
        found = self._count(self._handler, body.kids, 0)
        return found > 1 or (holds and found == 1 and any(post(self._flow, statement) for statement in body.kids))

    def _count(self, function: Function, statements: list[Node], depth: int) -> int:
        found = 0
        for statement in statements:
            called = self._called(statement)
            waits = post(self._flow, statement) if called is None else None
            if waits is not None and depth <= 8:
                found += any(node in self._flow.answered_at for node in waits.callback.walk())
                found += self._count(function, _statements(waits.callback.info), depth + 1)
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

    # Calls

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
        if awaited and target is None and not returns and _only_waits(function):
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

    # Taking apart

    def run(self) -> None:
        body = self._handler.node["body"]
        self._walk(self._handler, body.kids, None)
        last = self.pieces[-1]
        if last.role is not Role.END:
            end = body.kids[-1] if body.kids else body
            raise Uncut(f"line {end.line} is the last thing that it does, and does not answer", end.place)
        self._check_first()
        self._check_early()
        if not 3 <= len(self.pieces) <= PIECES_MAX:
            raise Uncut("has too few parts or too many", self._handler.node.place)

    def _walk(self, function: Function, statements: list[Node], rest: Rest | None) -> None:
        for index, statement in enumerate(statements):
            following = statements[index + 1 :]
            goes_on = self._goes_on(statement)
            if goes_on is not None and not following:
                self._continue(*goes_on)
                return
            called = self._called(statement)
            if called is not None and not following and self._answers(called):
                called = None
            waits = post(self._flow, statement) if called is None else None
            if waits is not None and self._is_opened(waits, function):
                self._check_last(statement, following, rest)
                self._wait_for(waits, function)
                return
            if called is None and not following and self._gives_back(function, statement, rest):
                return
            if called is None:
                self._plain(function, statement, rest, following)
                continue
            inside = self._first_inside(called)
            if inside is not None:
                inner, argument, parameter = inside
                self._replaced[argument] = parameter
                again = Rest([parameter], [statement, *following], function, rest, self._awaiting[-1])
                self._enter(inner, again)
                return
            if called.callback is not None:
                self._check_last(statement, following, rest)
                self._enter(called, self._rest_of(called.callback, function, rest))
            elif called.returns:
                if rest is None:
                    raise Uncut(f"line {statement.line} answers in another function", statement.place)
                self._enter(called, rest)
            else:
                names = [called.target] if called.target is not None else []
                self._enter(called, Rest(names, following, function, rest, self._awaiting[-1]))
            return
        if rest is not None and not rest.called and self.pieces[-1].role is not Role.END and not rest.names:
            self._resume(rest)

    def _check_last(self, statement: Node, following: list[Node], rest: Rest | None) -> None:
        """Nothing is done while it waits for the callback."""
        if following or _pending(rest) is not None:
            raise Uncut(f"line {statement.line} goes on while it waits", statement.place, "go on in the callback")

    def _is_opened(self, waits: Post, function: Function) -> bool:
        """Its callback answers, or goes on with what is to be cut."""
        body = waits.callback["body"]
        if self.pieces[-1].role is Role.END:
            return False
        return self._answers_with(body) or self._mentions_rest(body) or self._count(function, [waits.call], 0) > 0

    def _wait_for(self, waits: Post, function: Function) -> None:
        """What comes then is the callback's."""
        callback = waits.callback.info
        given = [a for a in waits.call["arguments"].kids if a is not waits.callback]
        said = [waits.call["function"], *given]
        if self.pieces[-1].role is Role.START:
            for node in given:
                if any(self._is_elsewhere(n) for n in self._inner(node)):
                    raise Uncut(f"line {node.line} waits by what is of the request or of state", node.place,
                                "name it before")  # fmt: skip
            self.pieces[0].name = self.pieces[0].name or self._handler.name
            self.pieces.append(Piece(Role.STEP, waits.name, function=function))
        piece = self.pieces[-1]
        piece.waits = True
        if waits.function is not None:
            piece.called.append(waits.function)
        for node in said:
            self._check_names(node)
        names = [self._said(name) for name in callback.parameters]
        resolve = "resolve" if len(names) < 2 else "(...given) => resolve(given)"
        left = f"const {names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'} = " if names else ""
        self._replaced_by[waits.callback] = resolve
        text = f"{left}await new Promise((resolve) => {self._text(waits.call)});"
        for name in callback.parameters:
            self._means(name)
        self._add(Line(text, said, tuple(names)))
        body = waits.callback["body"]
        statements = body.kids if body.type == "statement_block" else [body]
        self._resume(Rest([], statements, callback, None, called=True))

    def _answers(self, called: Called) -> bool:
        """The call of an own function that is given the response: it answers."""
        given = bool(self._response) and any(self._role(a) == self._response for a in called.arguments)
        return given and called.callback is None and self._count(called.function, _statements(called.function), 0) == 0

    def _gives_back(self, function: Function, statement: Node, rest: Rest | None) -> bool:
        """`return x;` at the end of a function that is written out: what waits for x goes on."""
        if rest is None or not self._returns_elsewhere(function):
            return False
        if statement.type != "return_statement" or not statement.kids:
            return False
        for name in rest.names[:1]:
            self._bind(name, statement.kids[0])
        self._resume(rest)
        return True

    def _rest_of(self, callback: Node, function: Function, outer: Rest | None) -> Rest:
        if callback.type == "identifier":
            return self._rests[callback.binding]
        body = callback["body"]
        statements = body.kids if body.type == "statement_block" else [body]
        return Rest(list(callback.info.parameters), statements, callback.info, None, called=True)

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

    def _continue(self, call: Node, rest: Rest, condition: Node | None) -> None:
        """The last statement calls the callback."""
        if condition is not None:
            self._check_names(condition)
            self._add(Line(f"if (!{self._text(condition)}) return;", [condition]))
        for name, argument in zip(rest.names, call["arguments"].kids, strict=False):
            self._bind(name, argument)
        self._resume(rest)

    def _resume(self, rest: Rest) -> None:
        self._resumed.append((rest, len(self.pieces) - 1, len(self.pieces[-1].lines)))
        self._awaiting.append(rest.awaited)
        self._walk(rest.function, rest.statements, rest.outer)
        self._awaiting.pop()

    def _bind(self, name: Node, argument: Node) -> None:
        self._check_names(argument)
        self._give(name, argument)

    def _give(self, name: Node, argument: Node) -> None:
        text, said = self._text(argument), self._said(name)
        if text != said:
            self._add(Line(f"const {said} = {text};", [argument], (said,)))
        elif None not in (name.binding, argument.binding) and not name.binding.assigned + argument.binding.assigned:
            self._same[name.binding] = self._meant(argument.binding)
        self._means(name)

    def _means(self, name: Node) -> None:
        if name.binding is not None:
            self._current[self._said(name)] = self._meant(name.binding)

    def _meant(self, binding: Binding) -> Binding:
        return self._same.get(binding, binding)

    def _said(self, node: Node) -> str:
        """A name, as the parts call it."""
        return self._called_as.get(node.binding, node.text) if node.binding is not None else node.text

    def _check_names(self, node: Node) -> None:
        """Its names mean what they meant where it was written."""
        for inner in self._inner(node):
            binding = inner.binding
            if inner.type not in ("identifier", "shorthand_property_identifier") or binding is None:
                continue
            known = self._current.get(self._said(inner))
            within = node.start <= binding.node.start < node.end and binding.node.file == node.file
            if known is not None and known is not self._meant(binding) and not within:
                raise Clash(known, inner.place)

    def _plain(self, function: Function, statement: Node, rest: Rest | None, following: list[Node]) -> None:
        """A statement that calls none of the functions, in the part that is being made."""
        piece = self.pieces[-1]
        pending = _pending(rest)
        if pending is not None and any(n.type == "return_statement" for n in _own_nodes(statement)):
            raise Uncut(f"line {statement.line} ends it early", statement.place, "end it in the handler")
        if piece.role is Role.STEP and self._answers_with(statement):
            if pending is not None:
                why = f"line {statement.line} uses the response between its calls"
                remedy = f"let {function.name or 'it'} return what it finds, and answer in the handler"
                raise Uncut(why, statement.place, remedy)
            self.pieces.append(Piece(Role.END, self._answering([statement, *following]), function=function))
            piece = self.pieces[-1]
        if piece.role is Role.STEP and any(n.type == "throw_statement" for n in statement.walk()):
            raise Uncut(f"line {statement.line} throws", statement.place, "throw in the handler itself")
        early = self._early(statement) if piece.role is Role.STEP else None
        if early is not None:
            piece.lines.append(early)
            return
        if piece.role is Role.STEP and any(n.type == "return_statement" for n in _own_nodes(statement)):
            raise Uncut(f"line {statement.line} ends it early", statement.place, "end it in the handler")
        if function is not self._handler and piece.role is Role.START and self._mentions_rest(statement):
            raise Uncut(f"line {statement.line} goes on early", statement.place)
        self._check_names(statement)
        for name in _declares(statement):
            self._means(name)
        self._add(Line(self._text(statement), [statement], tuple(self._said(n) for n in _declares(statement))))

    def _returns_elsewhere(self, function: Function) -> bool:
        return function is not self._handler and not function.within(self._handler)

    def _early(self, statement: Node) -> Line | None:
        """`if (error) return callback(error);` before the end."""
        found = self._goes_on(statement)
        if found is None or found[2] is None:
            if self._mentions_rest(statement):
                raise Uncut(f"line {statement.line} goes on early", statement.place)
            return None
        call, rest, condition = found
        given = [self._text(a) for a in call["arguments"].kids]
        sends = {self._said(n): given[i] if i < len(given) else "undefined" for i, n in enumerate(rest.names)}
        assert condition is not None
        self._early_ends.append((statement, len(self.pieces) - 1, rest))
        return Line(f"if {self._text(condition)} return ", [statement], (), sends, ";")

    def _mentions_rest(self, node: Node) -> bool:
        return any(n.type == "identifier" and n.binding in self._rests for n in node.walk())

    def _enter(self, called: Called, rest: Rest) -> None:
        function = called.function
        body = function.node.get("body")
        inner = body.kids if body is not None and body.type == "statement_block" else []
        self._active.append(function)
        self._awaiting.append(called.awaited or (called.returns and self._awaiting[-1]))
        callback = self._callback_parameter(called)
        if callback is not None:
            self._rests[callback] = rest
        if inner and self._count(function, inner, 0) > 0:
            self._written_out(called, inner, rest)
        else:
            if callback is not None:
                del self._rests[callback]
            self._leaf(called, rest)
        self._active.pop()
        self._awaiting.pop()

    def _callback_parameter(self, called: Called) -> Binding | None:
        if called.callback is None or called.awaited:
            return None
        parameters = called.function.parameters
        index = len(called.arguments)
        binding: Binding | None = parameters[index].binding if index < len(parameters) else None
        return binding

    def _written_out(self, called: Called, statements: list[Node], rest: Rest) -> None:
        function = called.function
        if self.pieces[-1].role is Role.END:
            raise Uncut(f"line {called.call.line} calls {function.name} when it answers", called.call.place)
        given: list[tuple[Node, Node]] = []
        for parameter, argument in zip(function.parameters, called.arguments, strict=False):
            role = self._role(argument)
            if role:
                if parameter.binding is None or parameter.binding.assigned:
                    raise Uncut(f"line {argument.line} hands the {role} on, and it is changed", argument.place)
                self._framework[parameter.binding] = self._called_as[parameter.binding] = role
                continue
            given.append((parameter, argument))
        self._check_given(given)
        first = len(self.pieces) == 1 and not self.pieces[0].name
        if first and self._handler.name and self.pieces[0].lines:
            self.pieces[0].name, first = self._handler.name, False
        # What looks at state or at the request belongs to what calls, all else to what is called.
        for parameter, argument in given:
            if any(self._is_elsewhere(n) for n in argument.walk() if n.type == "identifier"):
                self._give(parameter, argument)
        if first:
            self.pieces[0].name, self.pieces[0].function = function.name, function
        elif self.pieces[-1].role is Role.START or self.pieces[-1].name != function.name:
            self.pieces.append(Piece(Role.STEP, function.name, function=function))
        for parameter, argument in given:
            if not any(self._is_elsewhere(n) for n in argument.walk() if n.type == "identifier"):
                self._give(parameter, argument)
        self._walk(function, statements, rest)

    def _check_given(self, given: list[tuple[Node, Node]]) -> None:
        """Arguments are all evaluated before the first parameter has its value: none may take another's name."""
        for _, argument in given:
            self._check_names(argument)
        for parameter, own in given:
            for _, argument in given:
                used = [n for n in self._inner(argument) if n.type in _NAMES and n.binding is not None]
                if argument is not own and any(self._said(n) == self._said(parameter) for n in used):
                    if own.type == "identifier" and self._said(own) == self._said(parameter):
                        continue  # it has the value that it had
                    raise Clash(parameter.binding, argument.place)

    def _leaf(self, called: Called, rest: Rest) -> None:
        """A part of its own, that calls the function."""
        function = called.function
        if function.asynchronous and not called.awaited and not called.returns and called.callback is None:
            raise Uncut(f"line {called.call.line} does not wait for {function.name}", called.call.place, "await it")
        waits = self._awaiting[-1] or called.callback is not None
        before: dict[Node, str] = {}
        first = len(self.pieces) == 1 and not self.pieces[0].name
        if self.pieces[-1].role is Role.END:
            raise Uncut(f"line {called.call.line} calls {function.name} when it answers", called.call.place)
        if first and not waits:
            own = self._handler if self._handler.name else function
            self.pieces[0].name, self.pieces[0].function = own.name, own
        else:
            if first:
                self.pieces[0].name = self._handler.name
            before = self._given_before(called)
            self.pieces.append(Piece(Role.STEP, function.name, function=function))
        piece = self.pieces[-1]
        piece.called.append(function)
        piece.waits = piece.waits or waits
        for given in called.arguments:
            if given not in before:
                self._check_names(given)
        arguments = [before.get(a) or self._argument(function, i, a, piece) for i, a in enumerate(called.arguments)]
        names = [self._said(name) for name in rest.names]
        if called.callback is not None and not called.awaited:
            if len(names) == 1:
                text = f"await new Promise((resolve) => {function.name}({', '.join([*arguments, 'resolve'])}));"
                left = names[0]
            else:
                every = ", ".join([*arguments, "(...given) => resolve(given)"])
                text, left = f"await new Promise((resolve) => {function.name}({every}));", f"[{', '.join(names)}]"
        else:
            text = f"{'await ' if waits else ''}{function.name}({', '.join(arguments)});"
            left = names[0] if names else ""
        for name in rest.names:
            self._means(name)
        said = [node for node, text_of in zip(called.arguments, arguments, strict=True) if text_of == self._text(node)]
        uses = tuple(before.values())
        self._add(Line((f"const {left} = " if names else "") + text, said, tuple(names), uses=uses))
        self._resume(rest)

    def _given_before(self, called: Called) -> dict[Node, str]:
        """Arguments that what comes before has to say, as they look at state or at the request, or as it does nothing
        else: their names there."""
        found: dict[Node, str] = {}
        calls_alone = self.pieces[-1].role is Role.STEP and not self.pieces[-1].lines
        for parameter, argument in zip(called.function.parameters, called.arguments, strict=False):
            inside = [n for n in argument.walk() if n.type == "identifier"]
            if argument.type == "identifier" or not inside:
                continue
            if not calls_alone and not any(self._is_elsewhere(n) for n in inside):
                continue
            self._check_names(argument)
            name = parameter.text
            while name in self._current or name in {self._said(n) for n in inside}:
                name += "_"
            if parameter.binding is not None:
                self._current[name] = parameter.binding
            self._add(Line(f"const {name} = {self._text(argument)};", [argument], (name,)))
            found[argument] = name
        return found

    def _is_elsewhere(self, node: Node) -> bool:
        """The request, or a variable of the module that is no function."""
        if self._role(node):
            return True
        binding = node.binding
        if node.type != "identifier" or binding is None or not binding.scope.function.module:
            return False
        return not all(isinstance(value.target, Func) for value in self._flow.values.get(binding, set()))

    def _argument(self, function: Function, index: int, argument: Node, piece: Piece) -> str:
        """An argument as its part says it: of the request only what the function reads of it."""
        role = self._role(argument)
        if not role:
            return self._text(argument)
        if piece.role is Role.START:
            return role
        parameter = function.parameters[index] if index < len(function.parameters) else None
        if parameter is None or not _used(function, parameter):
            return "undefined"
        fields = _fields(function, parameter)
        if role != self._request or fields is None:
            what = {self._request: "request", self._response: "response"}.get(role, role)
            why = f"line {argument.line} hands the {what} on"
            raise Uncut(why, argument.place, "hand on what it needs of it")
        if HEADER[0] in fields:
            self.asked.add(function)
        self.fields |= dict.fromkeys("headers" if name == HEADER[0] else name for name in fields)
        return REQUEST

    def _add(self, line: Line) -> None:
        for node in line.nodes:
            for inner in node.walk():
                if inner.type == "template_string" and inner.last > inner.line:
                    raise Uncut(f"line {inner.line} has a text over several lines", inner.place, "name it outside")
        self.pieces[-1].lines.append(line)

    # Text and names

    def _text(self, node: Node) -> str:
        text = self._renamed(node)
        first = self._data.rfind(b"\n", 0, node.start) + 1
        line = self._data[first : node.start].decode()
        indent = line[: len(line) - len(line.lstrip())]
        return "\n".join([text.split("\n")[0], *(part.removeprefix(indent) for part in text.split("\n")[1:])])

    def _renamed(self, node: Node) -> str:
        """Its text, with names as the parts call them, and what stands for calls that have been made."""
        pieces: list[bytes] = []
        at = node.start
        todo = [node]
        while todo:
            inner = todo.pop()
            said = self._replaced_by.get(inner)
            if inner in self._replaced and inner is not node:
                said = self._said(self._replaced[inner])
            elif inner.binding in self._called_as and inner.type in (*_NAMES, _SHORT_PATTERN):
                name = self._called_as[inner.binding]
                said = name if inner.type == "identifier" else f"{inner.text}: {name}"
            if said is None:
                todo += reversed(inner.kids)
            else:
                pieces += [self._data[at : inner.start], said.encode()]
                at = inner.end
        return b"".join([*pieces, self._data[at : node.end]]).decode()

    def _inner(self, node: Node) -> Iterator[Node]:
        """It and what is in it, parameters in the place of calls that have been made."""
        todo = [node]
        while todo:
            at = self._replaced.get(inner, inner) if (inner := todo.pop()) is not node else inner
            yield at
            todo += reversed(at.kids)

    def _role(self, node: Node) -> str:
        """What the handler calls it, if it is something that the handler was given by the framework."""
        return self._framework.get(node.binding, "") if node.type in _NAMES and node.binding is not None else ""

    def _uses(self, node: Node, name: str) -> bool:
        return bool(name) and any(self._role(n) == name for n in self._inner(node))

    def _answers_with(self, node: Node) -> bool:
        """It uses the response, or hands the request on to others."""
        return self._uses(node, self._response) or self._uses(node, self._next)

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

    def needs(self) -> list[list[str]]:
        """For each part: the names that it uses and does not declare."""
        declared = set(self._current) | ({REQUEST} if self.fields else set())
        found: list[list[str]] = []
        for piece in self.pieces:
            given: set[str] = set()
            needed: dict[str, None] = {}
            for line in piece.lines:
                needed |= dict.fromkeys(name for name in line.uses if name not in given)
                for node in line.nodes:
                    for name in self._names(node):
                        if name in declared and name not in given:
                            needed[name] = None
                    if piece.role is Role.STEP and REQUEST not in line.text and self._uses(node, self._request):
                        raise Uncut(f"line {node.line} uses the request between its calls", node.place,
                                    "take what it needs of it in the handler")  # fmt: skip
                if REQUEST in line.text and self.fields and piece.role is Role.STEP:
                    needed[REQUEST] = None
                given |= set(line.gives)
            found.append(list(needed))
        return found

    def _names(self, node: Node) -> list[str]:
        """What it uses; what it declares has no value before it."""
        declared = {id(each) for each in _declares(node)}
        used = (n for n in self._inner(node) if n.type in _NAMES and n.binding is not None and id(n) not in declared)
        return list(dict.fromkeys(self._said(n) for n in used))

    def travelling(self) -> list[list[str]]:
        """What each part sends to the next."""
        needs = self.needs()
        sent: list[list[str]] = []
        wanted = needs[-1]
        for index in range(len(self.pieces) - 2, -1, -1):
            sent.insert(0, wanted)
            gives = {name for line in self.pieces[index].lines for name in line.gives}
            carried = [name for name in wanted if name not in gives]
            wanted = list(dict.fromkeys([*needs[index], *carried]))
        for name in dict.fromkeys(name for names in sent for name in names):
            if name != REQUEST:
                self._check_plain(name)
        return sent

    def _check_plain(self, name: str) -> None:
        functions = {piece.function for piece in self.pieces} | {self._handler}
        for binding, values in self._flow.values.items():
            inside = any(f is not None and binding.scope.function.within(f) for f in functions)
            here = self._called_as.get(binding, binding.name) == name or self._current.get(name) is binding
            if here and inside:
                for value in values:
                    if not self._plain_value(value, set()):
                        why = f"{name} cannot travel in a message: it may be more than plain data"
                        raise Uncut(why, binding.place, "hand on plain data: texts, numbers, lists, objects")

    def _plain_value(self, value: Value, seen: set[Obj]) -> bool:
        target = value.target
        if isinstance(target, Plain | Once):
            return True
        if isinstance(target, Part):
            return bool(target.path)
        if isinstance(target, Obj) and target.kind in ("object", "array", "date", "map", "set", "json", "pair"):
            if target in seen:
                return True
            seen.add(target)
            if self._flow.starts(target.function):
                return False
            return all(self._plain_value(v, seen) for held in target.fields.values() for v in held)
        return getattr(target, "what", "") == "promise"

    @property
    def request(self) -> str:
        return self._request

    # What must not be

    def _check_first(self) -> None:
        """What the first part does to the request and the response is not there any more when the last is run: it
        answers and ends, or leaves them alone."""
        asked = any(self._uses(node, self._request) for line in self.pieces[-1].lines for node in line.nodes)
        for node in (inner for line in self.pieces[0].lines for top in line.nodes for inner in top.walk()):
            if self._role(node) and self._role(node) != self._request and not _leaves(node):
                raise Uncut(f"line {node.line} begins the answer before it waits", node.place, "do it where it answers")
            changed = _changed(node)
            if changed is not None and self._uses(changed, self._request):
                why = f"line {node.line} changes the request before it waits"
                raise Uncut(why, node.place, "keep it in a variable")
            if asked and node.type == "call_expression":
                self._check_handed(node)

    def _check_early(self) -> None:
        """What goes on early goes on with the next part, and with all of it."""
        for statement, index, rest in self._early_ends:
            end = (index, len(self.pieces[index].lines))
            if not any(end == (after, lines) for resumed, after, lines in self._resumed if resumed is rest):
                why = f"line {statement.line} goes on early"
                raise Uncut(why, statement.place, "go on at the end, or answer there")

    def _check_handed(self, call: Node) -> None:
        """A function that is given the request may change it."""
        for index, argument in enumerate(call["arguments"].kids):
            if self._role(argument) != self._request:
                continue
            for function in self._flow.called_at.get(call, ()):
                parameter = function.parameters[index] if index < len(function.parameters) else None
                if parameter is not None and (parameter.type != "identifier" or _fields(function, parameter) is None):
                    why = f"line {call.line} hands the request on before it waits"
                    raise Uncut(why, call.place, "hand on what it needs of it")

    def check(self, facts: Facts, units: dict[Function, str], state: set[str]) -> None:
        """No state and no framework after the first part."""
        for piece in self.pieces:
            if piece.role is Role.START:
                continue
            for function in piece.called:
                reached = reach(facts, [(units[function], ())]) if function in units else None
                if reached is None:
                    raise Uncut(f"{function.name} is not seen", function.node.place)
                for touch in reached.touches:
                    if touch.use.variable in state:
                        why = f"line {touch.use.place.line} touches {touch.use.variable} after the first part"
                        start = self.pieces[0]
                        alone = piece is self.pieces[1] and not start.called and start.function in (None, self._handler)
                        if alone and not function.asynchronous:  # it is the first function, but is waited for
                            why = f"line {touch.use.place.line} touches {touch.use.variable} and calls back"
                            remedy = f"let {function.name} return its result, then it is the first part"
                            raise Uncut(why, touch.use.place, remedy)
                        raise Uncut(why, touch.use.place, "touch it in the first function, before that calls another")
                thrown = next((n for n in function.node.walk() if n.type == "throw_statement"), None)
                if thrown is not None:
                    raise Uncut(f"line {thrown.line} throws", thrown.place, "throw in the handler itself")
            self._check_touches(facts, [node for line in piece.lines for node in line.nodes], state)

    def _check_touches(self, facts: Facts, nodes: list[Node], state: set[str]) -> None:
        """Neither by themselves nor by what they call, such as methods of the service's own classes."""
        for unit in facts.units:
            touched = [(use.place, use.variable) for use in unit.uses if use.variable in state]
            for call in unit.calls:
                if any(_covers(node, call.place) for node in nodes):
                    reached = reach(facts, [(call.callee, ())])
                    touched += [(call.place, t.use.variable) for t in reached.touches if t.use.variable in state]
            for place, variable in touched:
                if any(_covers(node, place) for node in nodes):
                    why = f"line {place.line} touches {variable} after the first part"
                    raise Uncut(why, place, "touch it in the first function, before that calls another")


_ASSIGNS = ("assignment_expression", "augmented_assignment_expression", "update_expression")


def _changed(node: Node) -> Node | None:
    """Whose property it assigns or takes away."""
    takes_away = node.type == "unary_expression" and node["operator"].text == "delete"
    if not takes_away and node.type not in _ASSIGNS:
        return None
    at = node.get("left") or node["argument"]
    if at.type not in ("member_expression", "subscript_expression"):
        return None
    while at.type in ("member_expression", "subscript_expression"):
        at = at["object"]
    return at


def _leaves(node: Node) -> bool:
    """The handler is over after it: it is in a `return`, or in a block that ends with one."""
    at: Node | None = node
    while at is not None and at.type not in FUNCTIONS:
        if at.type == "return_statement":
            return True
        if at.type == "statement_block" and at.kids and at.kids[-1].type == "return_statement":
            return at.parent is not None and at.parent.type not in FUNCTIONS
        at = at.parent
    return False


def _pending(rest: Rest | None) -> Node | None:
    """What is still to be done when a function that is written out returns."""
    while rest is not None and not rest.called:
        if rest.names or rest.statements:
            return [*rest.names, *rest.statements][0]
        rest = rest.outer
    return None


def _statements(function: Function) -> list[Node]:
    body = function.node.get("body")
    return body.kids if body is not None and body.type == "statement_block" else []


def _only_waits(function: Function) -> bool:
    """A function that makes a promise and nothing else, such as one for some time to pass."""
    body = function.node.get("body")
    if body is not None and body.type == "statement_block" and len(body.kids) == 1:
        kids = body.kids[0].kids
        body = kids[0] if body.kids[0].type == "return_statement" and kids else None
    return body is not None and body.type == "new_expression" and body["constructor"].text == "Promise"


def _covers(node: Node, place: Place) -> bool:
    if place.file != node.place.file or not node.line <= place.line <= node.last:
        return False
    if place.line == node.line and place.column < node.place.column:
        return False
    return node.last > node.line or place.column < node.place.column + node.end - node.start


def _own_nodes(node: Node) -> list[Node]:
    """Of a statement, not of functions in it."""
    found, todo = [], [node]
    while todo:
        at = todo.pop()
        found.append(at)
        todo += [kid for kid in at.kids if kid.type not in FUNCTIONS]
    return found


def _declares(statement: Node) -> list[Node]:
    if statement.type not in ("lexical_declaration", "variable_declaration"):
        return []
    kinds = ("identifier", _SHORT_PATTERN)
    return [n for d in statement.kids if d.type == "variable_declarator" for n in d["name"].walk() if n.type in kinds]


def _used(function: Function, parameter: Node) -> bool:
    return any(n is not parameter and n.binding is parameter.binding for n in function.node.walk())


def _fields(function: Function, parameter: Node) -> list[str] | None:
    """What a function reads of its parameter, if it reads fields of data alone; "get" where it reads headers by
    method."""
    found: dict[str, None] = {}
    for node in function.node.walk():
        if node is parameter or node.binding is not parameter.binding or node.binding is None:
            continue
        parent = node.parent
        if parent is None or parent.type != "member_expression" or parent["object"] is not node:
            return None
        outer = parent.parent
        if parent["property"].text in HEADER and outer is not None and outer.type == "call_expression":
            found[HEADER[0]] = None
            continue
        if parent["property"].text not in _FIELDS:
            return None
        while outer is not None and outer.type in ("member_expression", "subscript_expression"):
            outer = outer.parent
        if (
            outer is not None
            and outer.type in ("assignment_expression", "update_expression")
            and outer.get("left") is not None
        ):
            return None
        found[parent["property"].text] = None
    return list(found)

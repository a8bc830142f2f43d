"""Handlers taken apart as on the poster: `input >> store >> localProcess >> callExternalDB >> send >> output`.

A handler is cut at its calls of the service's own functions, by value, with `await`, with `.then` or with a callback,
if they are one after the other, what travels is plain data, and the framework is used by the first and the last part
alone. A function that calls further such functions is written out; the others stay functions that their part calls.
Where one condition does not hold nothing is cut, and it is said why.
"""

from __future__ import annotations

from compiler.javascript.checks import Checks
from compiler.javascript.pieces import (
    HEADER,
    REQUEST,
    Called,
    Line,
    Piece,
    Rest,
    Uncut,
    declares,
    fields_read,
    left_to_do,
    own_nodes,
    used_in,
)
from compiler.javascript.posts import Post, post
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import Node
from compiler.program import Role

PIECES_MAX = 32
"""Parts of one handler."""


class Cutter(Checks):
    def looks_like_one(self, *, holds: bool) -> bool:
        """At least two own functions, one after the other, whatever else; or one wait, if it holds a context then."""
        body = self._handler.node.get("body")
        if body is None or body.type != "statement_block" or not 0 < len(self._handler.parameters) < 4:
            return False
        if any(p.type != "identifier" for p in self._handler.parameters):
            return False
        found = self._count(self._handler, body.kids, 0)
        return found > 1 or (holds and found == 1 and any(post(self._flow, statement) for statement in body.kids))

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

    def _plain(self, function: Function, statement: Node, rest: Rest | None, following: list[Node]) -> None:
        """A statement that calls none of the functions, in the part that is being made."""
        piece = self.pieces[-1]
        pending = left_to_do(rest)
        if pending is not None and any(n.type == "return_statement" for n in own_nodes(statement)):
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
        if piece.role is Role.STEP and any(n.type == "return_statement" for n in own_nodes(statement)):
            raise Uncut(f"line {statement.line} ends it early", statement.place, "end it in the handler")
        if function is not self._handler and piece.role is Role.START and self._mentions_rest(statement):
            raise Uncut(f"line {statement.line} goes on early", statement.place)
        self._check_names(statement)
        for name in declares(statement):
            self._means(name)
        self._add(Line(self._text(statement), [statement], tuple(self._said(n) for n in declares(statement))))

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

    def _enter(self, called: Called, rest: Rest) -> None:
        function = called.function
        body = function.node.get("body")
        inner = body.kids if body is not None and body.type == "statement_block" else []
        self._active.append(function)
        self._awaiting.append(called.awaited or (called.returns and self._awaiting[-1]))
        callback = self._callback_parameter(called)
        if callback is not None:
            self._rests[callback] = rest
        if inner and (self._count(function, inner, 0) > 0 or self._calls_back_itself(callback, inner)):
            self._written_out(called, inner, rest)
        else:
            if callback is not None:
                del self._rests[callback]
            self._leaf(called, rest)
        self._active.pop()
        self._awaiting.pop()

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

    def _argument(self, function: Function, index: int, argument: Node, piece: Piece) -> str:
        """An argument as its part says it: of the request only what the function reads of it."""
        role = self._role(argument)
        if not role:
            return self._text(argument)
        if piece.role is Role.START:
            return role
        parameter = function.parameters[index] if index < len(function.parameters) else None
        if parameter is None or not used_in(function, parameter):
            return "undefined"
        fields = fields_read(function, parameter)
        if role != self._request or fields is None:
            what = {self._request: "request", self._response: "response"}.get(role, role)
            why = f"line {argument.line} hands the {what} on"
            raise Uncut(why, argument.place, "hand on what it needs of it")
        if HEADER[0] in fields:
            self.asked.add(function)
        self.fields |= dict.fromkeys("headers" if name == HEADER[0] else name for name in fields)
        return REQUEST

"""Handlers taken apart as on the poster: `input >> store >> local_process >> call_external_db >> send >> output`.

A handler is cut at its calls of the service's own functions, and where it waits for a library's with state in hand, if
they are one after the other, what travels is plain data, and the framework is used by the first and the last part
alone. A function that calls further such functions is
written out, the others stay functions that their part calls. Where one condition does not hold nothing is cut.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import partial

from compiler.assemble import Body, Chain
from compiler.classify import Part, unused
from compiler.facts import Place, Unit
from compiler.program import Fluxion, Kept, Role, Sort, Sorted, Stream
from compiler.python import flow, statements
from compiler.python.evaluate import Machine
from compiler.python.model import (
    NOTHING,
    Atoms,
    Const,
    Func,
    Function,
    Lib,
    Module,
    ModuleAtom,
    Ref,
    Req,
)
from compiler.python.pieces import Line, Piece, Uncut
from compiler.python.read import place
from compiler.python.stateful import Touches, joined, united
from compiler.python.travel import Travel
from compiler.python.twice import Twice
from compiler.python.used import Called, Names

PIECES_MAX = 32
"""Parts of one handler."""
END = "send"
"""The last part, if no function of the service makes the response."""

CUT_UNDER = ("flask", "fastapi", "starlette")
"""Frameworks in which the runtime calls a part of a handler instead of the handler."""

_ROUTES = ("route", "get", "post", "put", "delete", "patch", "head", "options", "api_route")


def cut(
    machine: Machine, handler: Function, part: Part, unit: Unit, state: set[str], stored: Atoms
) -> Cutter | Kept | None:
    """The handler taken apart; why it is not, if it looks as if it could be; None if it does not.
    `stored`: what it puts into state."""
    cutter = Cutter(machine, handler, state, stored)
    if not cutter.looks_like_one():
        return None
    try:
        cutter.run()
        cutter.check(unit)
    except Uncut as reason:
        return Kept(part.name, reason.why, reason.where, reason.remedy)
    return cutter


class Cutter:
    def __init__(self, machine: Machine, handler: Function, state: set[str], stored: Atoms) -> None:
        self._m = machine
        self._stored = stored
        self._handler = handler
        self._module = handler.module
        self._state = state
        self._names = Names(machine, state)
        self.pieces = [Piece(Role.START)]
        self._written_out: list[Function] = [handler]
        self._bodies: dict[Function, list[ast.stmt]] = {}
        self._made: set[ast.stmt] = set()
        """Statements that are not in the source as they are."""
        self._active: list[Function] = [handler]
        self._handed: dict[str, Atoms] = {}
        """Names made for arguments, and what they may be."""
        self._travel = Travel(machine, self._names, state, self._written_out, self._handed)
        self._imports: list[list[str]] = []
        self.stateful: set[int] = set()
        """Indices of the pieces that touch state."""
        self._kept: set[str] = set()
        """Parameters of the handler that its last part gets from the others."""
        self.together: list[tuple[Place, str]] = []
        """Where state is touched again, for which pieces stay together."""

    def looks_like_one(self) -> bool:
        """At least two own functions, one after the other, whatever else; or a wait, with state in hand."""
        names: list[str] = []

        def count(function: Function, depth: int) -> None:
            for statement in self._body(function):
                called = self._names.called(function, statement)
                if called is not None and called.function not in self._active and depth < 8:
                    names.append(called.function.name)
                    if not self._framework_itself(called):
                        count(called.function, depth + 1)

        handler = self._handler
        if isinstance(handler.node, ast.Lambda) or handler.shown is not None or handler.cls is not None:
            return False
        if not all(self._is_route(decorator) for decorator in handler.node.decorator_list):
            return False
        count(self._handler, 0)
        return len(names) > 1 or self._waits_with_state()

    def _waits_with_state(self) -> bool:
        """Whether it touches state before it waits for a call: others may work on that meanwhile."""
        touched = False
        for statement in self._body(self._handler):
            called = self._names.called(self._handler, statement)
            if touched and (called.awaited if called is not None else self._waited(self._handler, statement)):
                return True
            touched = touched or any(self._names.touches(self._handler, node) for node in ast.walk(statement))
        return False

    def _waited(self, function: Function, statement: ast.stmt) -> str:
        """The function of a library that a statement waits for, which is a part of its own then; "" if it does not."""
        value = statement.value if isinstance(statement, ast.Assign | ast.Expr | ast.AnnAssign) else None
        call = value.value if isinstance(value, ast.Await) else None
        if not isinstance(call, ast.Call) or function is not self._handler:
            return ""
        atoms = self._names.resolve(function, call.func)
        if not atoms or not all(isinstance(atom, Lib) for atom in atoms):
            return ""
        inside = list(ast.walk(statement))
        if any(self._names.is_framework(function, n) or self._names.touches(function, n) for n in inside):
            return ""
        return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)

    def _is_route(self, decorator: ast.expr) -> bool:
        """`@app.get("/")`: another decorator would have to run around all parts."""
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            return False
        of = self._names.resolve(self._handler, decorator.func.value)
        applications = all(isinstance(a, Ref) and "*app" in a.obj.attrs for a in of)
        return bool(of) and applications and decorator.func.attr in _ROUTES

    # Taking apart

    def _body(self, function: Function) -> list[ast.stmt]:
        """The statements of a function, calls inside calls one after the other, and one return at its end."""
        if function not in self._bodies:
            found: list[ast.stmt] = []
            for statement in self._written(function):
                found += self._unnested(function, statement)
            self._bodies[function] = found
        return self._bodies[function]

    def _written(self, function: Function) -> list[ast.stmt]:
        found = statements.body(function)
        return found if function is self._handler else statements.one_return(found)

    def _unnested(self, function: Function, statement: ast.stmt) -> list[ast.stmt]:
        """`return f(g(x))` as `result = g(x)` and `return f(result)`, if nothing else happens between the two."""
        value = statement.value if isinstance(statement, ast.Return | ast.Expr | ast.Assign) else None
        outer = value.value if isinstance(value, ast.Await) else value
        if not isinstance(outer, ast.Call):
            return [statement]
        arguments = [*outer.args, *(k.value for k in outer.keywords)]
        inner = [a for a in arguments if not isinstance(a, ast.Name | ast.Constant)]
        called = self._names.called(function, ast.Expr(inner[0])) if len(inner) == 1 else None
        if called is None or (isinstance(outer.func, ast.Attribute) and not isinstance(outer.func.value, ast.Name)):
            return [statement]
        name = self._result(function, statements.locals_of(function))
        first = ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], inner[0]), inner[0])
        load = ast.copy_location(ast.Name(name, ast.Load()), inner[0])
        args = [load if a is inner[0] else a for a in outer.args]
        keywords = [ast.keyword(k.arg, load if k.value is inner[0] else k.value) for k in outer.keywords]
        call: ast.expr = ast.copy_location(ast.Call(outer.func, args, keywords), outer)
        if isinstance(value, ast.Await):
            call = ast.copy_location(ast.Await(call), value)
        last: ast.stmt = ast.Return(call) if isinstance(statement, ast.Return) else ast.Expr(call)
        if isinstance(statement, ast.Assign):
            last = ast.Assign(statement.targets, call)
        made = [*self._unnested(function, first), ast.copy_location(last, statement)]
        self._m.values[function.node, name] = self._m.values.get((called.function.node, "return"), NOTHING)
        for each in made:
            self._made.add(ast.fix_missing_locations(each))
        return made

    def _result(self, function: Function, locals_: Iterable[str] = ()) -> str:
        """A name for what a call gave that means nothing else where it stands."""
        modules = (function.module.scope.names, self._handler.module.scope.names)
        return unused("result", {*locals_, *modules[0], *modules[1]})

    def run(self) -> None:
        self._walk(self._handler, None, tail=True)
        if self.pieces[-1].role is not Role.END:
            raise Uncut("its answer is not the last thing that it does", self._at(self._handler, self._handler.node))
        if len(self.pieces) > PIECES_MAX:
            raise Uncut(f"has more than {PIECES_MAX} parts", self._at(self._handler, self._handler.node))
        if len(self.pieces) < 3:
            raise Uncut("has too few parts", self._at(self._handler, self._handler.node))

    def _walk(self, function: Function, target: ast.expr | None, tail: bool) -> None:
        """The statements of a function that is written out, into the pieces. `tail`: its value is the answer."""
        lines = self._body(function)
        calls = [i for i, s in enumerate(lines) if self._chained(function, s) is not None or self._waited(function, s)]
        for index, statement in enumerate(lines):
            last = index == len(lines) - 1
            called = self._chained(function, statement) if index in calls else None
            if called is not None:
                into = target if called.returns else called.target
                self._call(function, called, into, tail, last)
                if called.returns:
                    return
                continue
            ends = tail and (
                (function is self._handler and calls and index > calls[-1]) or isinstance(statement, ast.Return)
            )
            if index in calls:
                self._begins(function, function)
                self.pieces.append(Piece(Role.STEP, self._waited(function, statement), function))
            elif ends and self.pieces[-1].role is not Role.END:
                self._end(function, statement)
            if isinstance(statement, ast.Return) and self.pieces[-1].role is not Role.END:
                if not last:
                    raise Uncut(f"line {statement.lineno} returns before the end", self._at(function, statement))
                self._assign(function, target, statement.value or ast.Constant(None), statement)
                return
            self._inner_returns(function, statement, tail)
            self._add(function, statement)
        if not tail and target is not None:
            self._assign(function, target, ast.Constant(None), lines[-1])
        if function is self._handler and self.pieces[-1].role is Role.STEP:
            self.pieces.append(Piece(Role.END, END, function))
            self._add_node(function, statements.returned(ast.Constant(None)), lines[-1])

    def _inner_returns(self, function: Function, statement: ast.stmt, tail: bool) -> None:
        piece = self.pieces[-1]
        if piece.role is Role.END or (piece.role is Role.START and tail):
            return
        for node in statements.own(statement):
            if isinstance(node, ast.Return):
                remedy = "return at the end of the function alone"
                raise Uncut(f"line {node.lineno} returns before the end", self._at(function, node), remedy)

    def _end(self, function: Function, statement: ast.stmt) -> None:
        """The last piece begins; it is named by the function that makes the response."""
        name = END
        for node in ast.walk(self._body(function)[-1]):
            own = self._names.own_function(function, node.func) if isinstance(node, ast.Call) else None
            if own is not None and self._names.framework(own):
                name = own.name
        self.pieces.append(Piece(Role.END, name, function))

    def _call(self, function: Function, called: Called, target: ast.expr | None, tail: bool, last: bool) -> None:
        callee = called.function
        into_answer = called.returns and tail
        if called.returns and not last:
            raise Uncut(f"line {called.call.lineno} returns before the end", self._at(function, called.call))
        answers = into_answer and callee.name == END and not called.awaited and len(self.pieces) > 1
        if answers or self._framework_itself(called):
            if not into_answer:
                why = f"line {called.call.lineno} makes the answer before the end"
                raise Uncut(why, self._at(function, called.call))
            self._given(function, callee, called)
            self.pieces.append(Piece(Role.END, callee.name, callee))
            self._add_node(
                function, statements.returned(statements.recall(callee, called.call, called.awaited)), called.call
            )
            return
        start = self._begins(function, callee)
        inner = any(self._chained(callee, statement) for statement in self._body(callee))
        if inner and called.wrapper is None and callee not in self._active:
            self._collisions(function, callee, called, into_answer)
            self._given(function, callee, called)
            if not start:
                self.pieces.append(Piece(Role.STEP, callee.name, callee))
            self._written_out.append(callee)
            self._active.append(callee)
            self._walk(callee, target, into_answer)
            self._active.pop()
            return
        if self._names.framework(called.wrapper or callee):
            why = f"line {called.call.lineno} calls {callee.name}, which uses the framework further on"
            raise Uncut(why, self._at(function, called.call))
        call = called.call
        if not start:
            call = self._arguments_here(function, called)
            self.pieces.append(Piece(Role.STEP, callee.name, callee))
        value: ast.expr = ast.Await(call) if called.awaited else call
        if into_answer:
            result = self._result(function)
            self._assign(function, ast.Name(result, ast.Store()), value, called.call)
            self.pieces.append(Piece(Role.END, END, function))
            self._add_node(function, statements.returned(ast.Name(result, ast.Load())), called.call)
            self._m.values[self._handler.node, result] = self._m.values.get((callee.node, "return"), NOTHING)
        else:
            self._assign(function, target, value, called.call)

    def _begins(self, function: Function, callee: Function) -> bool:
        """Whether the function is the first part: the handler before it is a part of its own if it works on state."""
        first = self.pieces[-1]
        if first.role is not Role.START or first.name:
            return False
        own = any(self._names.touches(line.within, n) for line in first.lines for n in ast.walk(line.node))
        first.function = self._handler if own else callee
        first.name = first.function.name
        return not own

    def _arguments_here(self, function: Function, called: Called) -> ast.Call:
        """What touches state or the framework among the arguments is looked up by the caller, before the call."""
        call = called.call
        node = called.function.node.args
        parameters = [a.arg for a in (*node.posonlyargs, *node.args)]
        taken = set().union(*[statements.locals_of(f) for f in self._written_out])

        def here(value: ast.expr, parameter: str) -> ast.expr:
            inside = list(ast.walk(value))
            plain = not any(self._names.touches(function, n) or self._is_request(n) for n in inside)
            if plain and not any(self._names.is_framework(function, n) for n in inside):
                return value
            name = parameter if parameter not in taken else f"{parameter}_of_{called.function.name}"
            self._assign(function, ast.Name(name, ast.Store()), value, call)
            self._handed[name] = self._m.values.get((called.function.node, parameter), NOTHING)
            return ast.copy_location(ast.Name(name, ast.Load()), value)

        arguments = [
            here(value, parameters[i] if i < len(parameters) else f"argument_{i}") for i, value in enumerate(call.args)
        ]
        keywords = [ast.keyword(k.arg, here(k.value, k.arg or "arguments")) for k in call.keywords]
        return ast.copy_location(ast.Call(call.func, arguments, keywords), call)

    def _is_request(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Name):
            return False
        return any(isinstance(atom, Req) and not atom.path for atom in self._travel.atoms(node.id))

    def _given(self, function: Function, callee: Function, called: Called) -> None:
        """Parameters become variables of the piece that calls."""
        node = callee.node.args
        parameters = [a.arg for a in (*node.posonlyargs, *node.args)]
        if node.vararg or node.kwarg or any(isinstance(a, ast.Starred) for a in called.call.args):
            raise Uncut(f"line {called.call.lineno} calls with *arguments", self._at(function, called.call))
        values: dict[str, ast.expr] = dict(zip(parameters, called.call.args, strict=False))
        values |= {k.arg: k.value for k in called.call.keywords if k.arg}
        wanted = [*parameters, *(a.arg for a in node.kwonlyargs)]
        missing = [name for name in wanted if name not in values]
        for name in missing:
            default = callee.defaults.get(name, NOTHING)
            constant = next(iter(default), None) if len(default) == 1 else None
            if not isinstance(constant, Const):
                raise Uncut(f"line {called.call.lineno} leaves {name} to its default", self._at(function, called.call))
            values[name] = ast.Constant(constant.value)
        pairs = [(name, values[name]) for name in wanted if ast.unparse(values[name]) != name]
        if not pairs:
            return
        used = {name for _, value in pairs for name in statements.loads(value)}
        if len(pairs) > 1 and used & {name for name, _ in pairs}:
            target: ast.expr = ast.Tuple([ast.Name(n, ast.Store()) for n, _ in pairs], ast.Store())
            self._assign(function, target, ast.Tuple([v for _, v in pairs], ast.Load()), called.call)
            return
        for name, value in pairs:
            self._assign(function, ast.Name(name, ast.Store()), value, called.call)

    def _collisions(self, function: Function, callee: Function, called: Called, tail: bool) -> None:
        """A name that stands for one thing in the caller and for another in the callee, and is needed after."""
        if tail:
            return
        after = {n for s in self._body(function) if s.lineno > called.call.lineno for n in statements.loads(s)}
        target = {n.id for n in ast.walk(called.target) if isinstance(n, ast.Name)} if called.target else set()
        inside = statements.stores(callee) | {a.arg for a in (*callee.node.args.args, *callee.node.args.kwonlyargs)}
        same = {n.id for n in called.call.args if isinstance(n, ast.Name)} - statements.stores(callee)
        clash = sorted((inside & after) - target - same)
        if clash:
            why = f"line {called.call.lineno}: {clash[0]} is one thing here and another in {callee.name}"
            raise Uncut(why, self._at(function, called.call), f"name it differently in {callee.name}")

    def _assign(self, function: Function, target: ast.expr | None, value: ast.expr, where: ast.AST) -> None:
        node: ast.stmt = ast.Expr(value) if target is None else ast.Assign([target], value)
        if target is None and isinstance(value, ast.Constant):
            return
        self._add_node(function, node, where)

    def _add_node(self, function: Function, node: ast.stmt, where: ast.AST) -> None:
        ast.copy_location(node, where)
        ast.fix_missing_locations(node)
        self._line(function, node, ast.unparse(node), where)

    def _add(self, function: Function, statement: ast.stmt) -> None:
        text = ast.unparse(statement) if statement in self._made else statements.text(function, statement)
        self._line(function, statement, text, statement)

    def _line(self, function: Function, node: ast.stmt, text: str, where: ast.AST) -> None:
        first = getattr(where, "lineno", 0)
        last = getattr(where, "end_lineno", first) or first
        self.pieces[-1].lines.append(Line(node, text, function, first, last))

    # What is called

    def _chained(self, function: Function, statement: ast.stmt) -> Called | None:
        """A call at which the handler may be cut. One of a function that uses the framework only as the answer."""
        called = self._names.called(function, statement)
        if called is None or called.function in self._active:
            return None
        if not self._framework_itself(called):
            return called
        return called if called.returns and function is not self._handler else None

    def _framework_itself(self, called: Called) -> bool:
        """Whether it uses the framework other than in a last call that it hands its work on to."""
        if called.wrapper is not None:
            return self._names.framework(called.wrapper)
        info = called.function
        last = self._names.called(info, self._body(info)[-1])
        onward = last.call.func if last is not None and last.returns else None
        behind = set(ast.walk(onward)) if onward is not None else set()
        return any(self._names.is_framework(info, n) for n in ast.walk(info.node) if n not in behind)

    # What it becomes

    def check(self, unit: Unit) -> None:
        """Which pieces touch state, and that each can be a part of its own. Raises Uncut."""
        self._check_outside(unit)
        self._keep_with_request()
        touches = Touches(self._names, unit, self._state)
        pieces, self.stateful, self.together = united(self.pieces, touches)
        if len(pieces) < 3 and len(self.pieces) > len(pieces):
            where, what = self.together[0]
            why = f"line {where.line} {what} after the first part"
            raise Uncut(why, where, "touch it in one function alone")
        self.pieces = pieces
        for piece in self.pieces:
            self._check_piece(piece)
            self._check_locks(piece)
        self._travel.check_stored(self.pieces, self.stateful, self._stored, touches)
        twice = Twice(self._m, self._names, self._handler, self.pieces)
        twice.check()
        self._kept = twice.travelling(touches)
        self._travel.sent(self.pieces, self.stateful, self._kept)
        self._imports = [self._imported(piece) for piece in self.pieces]

    def _keep_with_request(self) -> None:
        """Parts that use the request object stay with the first: that has it, and it cannot travel."""
        needs, _ = self._travel.flow(self.pieces)
        last = 0
        for i, piece in enumerate(self.pieces):
            if piece.role is Role.STEP and any(self._is_request(ast.Name(name)) for name in needs[i]):
                last = i
        if last:
            self.pieces = [joined(self.pieces[: last + 1]), *self.pieces[last + 1 :]]

    @property
    def name(self) -> str:
        """Of the part that has the handler's context: the first that touches state, else the first."""
        return self.pieces[min(self.stateful, default=0)].name

    def chain(self, part: Part, taken: set[str], instead: Body | None) -> Chain:
        """`part`: of the piece that is called `name`, with its name in the graph. `taken`: names of other fluxions;
        those of this one are added."""
        needs, _ = self._travel.flow(self.pieces)
        sent = self._travel.sent(self.pieces, self.stateful, self._kept)
        placed = partial(self._travel.placed, self.pieces)
        holder = min(self.stateful, default=0)
        order: list[str] = []
        for i, piece in enumerate(self.pieces):
            order.append(part.name if i == holder else unused(piece.name, taken))
            taken.add(order[-1])
        fluxions: list[Fluxion] = []
        variables: list[Sorted] = []
        for i in range(len(self.pieces)):
            last = i == len(self.pieces) - 1
            stream = Stream("output") if last else Stream(order[i + 1], tuple(sent[i]))
            fluxions.append(self._fluxion(i, part, order[i], stream))
            if not last:
                where = f"{order[i]} >> {order[i + 1]}"
                variables += [
                    Sorted(name, Sort.STREAM, where, placed(name), self._why(name, i, needs, order)) for name in sent[i]
                ]
        return Chain(tuple(fluxions), tuple(variables), instead=instead)

    def _fluxion(self, index: int, part: Part, name: str, stream: Stream) -> Fluxion:
        piece = self.pieces[index]
        function = piece.function or self._handler
        holds = index in self.stateful or (index == 0 and not self.stateful)
        first = piece.role is Role.START
        where, last_line = place(function.module, function.node), getattr(function.node, "end_lineno", 0) or 0
        waits = piece.role is Role.STEP and function is self._handler
        if waits or self._home(piece) is not function.module:
            where = Place(self._home(piece).file, piece.lines[0].first)
            last_line = piece.lines[-1].last
        return Fluxion(
            name,
            piece.role,
            part.group if holds else name,
            body="\n".join([*self._imports[index], *self._globals(piece), *(line.text for line in piece.lines)])
            or "pass",
            context=part.context if holds else (),
            key=part.key if holds else "",
            key_convert=part.key_convert if holds else "",
            streams=(stream,),
            waits=any(isinstance(n, ast.Await) for line in piece.lines for n in ast.walk(line.node)),
            unit=part.unit if first else "",
            place=where,
            last_line=last_line,
        )

    # In which module a piece is run

    def _home(self, piece: Piece) -> Module:
        """The first and the last part are cut out of the handler's file."""
        modules = dict.fromkeys(line.within.module for line in piece.lines)
        if piece.role is Role.STEP and len(modules) == 1:
            return next(iter(modules))
        return self._module

    def _globals(self, piece: Piece) -> list[str]:
        """The declaration of what its lines give a value and another part has the declaration of."""
        wanted: dict[str, None] = {}
        for line in piece.lines:
            own = [n for n in ast.walk(line.within.node) if isinstance(n, ast.Global)]
            here = [n for each in piece.lines for n in ast.walk(each.node) if isinstance(n, ast.Global)]
            declared = {name for node in own for name in node.names} - {name for node in here for name in node.names}
            wanted |= dict.fromkeys(sorted(declared & flow.bound(line.node)))
        return [f"global {', '.join(wanted)}"] if wanted else []

    def _imported(self, piece: Piece) -> list[str]:
        """What its lines from other files need of the names of those. Raises Uncut."""
        home = self._home(piece)
        wanted: dict[Module, dict[str, None]] = {}
        for line in piece.lines:
            module = line.within.module
            if module is home:
                continue
            where = self._at(line.within, line.node)
            for name in statements.loads(line.node):
                if name in self._travel.everything or name not in module.scope.names:
                    continue
                if name in home.scope.names and home.scope.names[name] != module.scope.names[name]:
                    raise Uncut(f"{name} is one thing in {home.file} and another in {module.file}", where)
                if name in module.scope.rebound:
                    raise Uncut(f"line {where.line} touches {name}, which {module.file} gives new values", where)
                wanted.setdefault(module, {})[name] = None
        return [f"from {self._spelled(home, module)} import {', '.join(names)}" for module, names in wanted.items()]

    def _spelled(self, home: Module, module: Module) -> str:
        """What the one calls the other where it imports it. Raises Uncut."""
        for node in ast.walk(home.tree):
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                bound = home.scope.names.get(alias.asname or alias.name, NOTHING)
                whole = any(isinstance(a, ModuleAtom) and a.info is module for a in bound)
                if isinstance(node, ast.Import) and whole:
                    return alias.name
                if isinstance(node, ast.ImportFrom):
                    path = "." * node.level + (node.module or "")
                    if whole:
                        return f"{path}.{alias.name}" if node.module else f"{path}{alias.name}"
                    if any(isinstance(a, Func) and a.info.scope is module.scope for a in bound) and node.module:
                        return path
        raise Uncut(f"{home.file} does not import {module.file}", self._at(self._handler, self._handler.node))

    def _why(self, name: str, at: int, needs: list[list[str]], order: list[str]) -> str:
        readers = [order[i] for i in range(at + 1, len(order)) if name in needs[i]]
        return f"{order[at]} has it, {', '.join(readers)} reads it"

    def _check_piece(self, piece: Piece) -> None:
        home = self._home(piece)
        known: set[str] = set()
        """Names in the lines before: none may be declared global after that."""
        for line in piece.lines:
            where = self._at(line.within, line.node)
            for inner in ast.walk(line.node):
                number = getattr(inner, "lineno", where.line)
                odd = isinstance(inner, ast.Nonlocal)
                if isinstance(inner, ast.Call) and self._names.looks_around(line.within, inner):
                    why = f"line {number} takes all names of the handler, which its parts have only some of"
                    raise Uncut(why, where, "write out those that it needs")
                if isinstance(inner, ast.Global):
                    odd = line.within.module is not home or bool(known & set(inner.names))
                if odd:
                    raise Uncut(f"line {number} cannot be in a part of its own", where)
                if piece.role is Role.STEP and self._names.is_framework(line.within, inner):
                    why = f"line {number} uses the framework between two of its calls"
                    raise Uncut(why, where, "do it in the handler, before the first or after the last call")
            made = isinstance(line.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yields = (isinstance(inner, ast.Yield | ast.YieldFrom) for inner in statements.own(line.node))
            if not made and any(yields):
                raise Uncut(f"line {where.line} cannot be in a part of its own", where)
            for name in flow.free(line.node):
                if name not in self._travel.everything and self._names.is_around(line.within, name):
                    why = f"line {where.line} uses {name}, which the function around {line.within.name} has"
                    raise Uncut(why, where, f"make {name} at the level of the module")
            known |= {n.id for n in ast.walk(line.node) if isinstance(n, ast.Name)}

    def _check_locks(self, piece: Piece) -> None:
        """A lock that one part takes, another may not give back: that is in another process."""
        for line in piece.lines:
            for function, tree in self._names.running(line.within, line.node):
                for node in ast.walk(tree):
                    if isinstance(node, ast.Attribute) and self._names.is_lock(function, node):
                        why = f"line {node.lineno} has a lock, which parts on other nodes have not"
                        raise Uncut(why, self._at(function, node), "take it with `with` or `async with`")

    def _check_outside(self, unit: Unit) -> None:
        """What the framework calls around a handler, it calls again around its last part."""
        lines = [line for piece in self.pieces for line in piece.lines]
        called = set().union(*[self._names.reached_by(line.within, line.node) for line in lines])
        written = self._written_out[1:]
        for use in unit.uses:
            where = use.place
            answered = where == place(self._module, self._handler.node)
            inside = (
                answered
                or any(line.holds(where) for line in lines)
                or any(_contains(f, where) for f in (*written, *called))
            )
            if use.variable in self._state and not inside:
                why = f"line {use.place.line} touches {use.variable} before the handler"
                raise Uncut(why, use.place, "touch it in the handler itself")

    def _at(self, function: Function, node: ast.AST) -> Place:
        return place(function.module, node)


def _contains(function: Function, where: Place) -> bool:
    node = function.node
    return where.file == function.module.file and node.lineno <= where.line <= (node.end_lineno or node.lineno)

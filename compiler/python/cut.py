"""Handlers taken apart as on the poster: `input >> store >> local_process >> call_external_db >> send >> output`.

A handler is cut at its calls of the service's own functions, if they are one after the other, what travels is plain
data, and the framework is used by the first and the last part alone. A function that calls further such functions is
written out, the others stay functions that their part calls. Where one condition does not hold nothing is cut.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from compiler.assemble import Body, Chain
from compiler.classify import Part, unused
from compiler.facts import Mode, Place, Unit
from compiler.program import Fluxion, Kept, Role, Sort, Sorted, Stream
from compiler.python.evaluate import Machine
from compiler.python.model import (
    NOTHING,
    Atom,
    Atoms,
    ClassAtom,
    Const,
    Func,
    Function,
    Lib,
    LibMethod,
    Method,
    ModuleAtom,
    Obj,
    Plain,
    Ref,
    Req,
    Scalar,
    Special,
)
from compiler.python.model import Part as Inside
from compiler.python.read import place

PIECES_MAX = 32
"""Parts of one handler."""
END = "send"
"""The last part, if no function of the service makes the response."""

RESERVED = "request"
"""What no variable of a message may be called: the request, on its way to the last part, is."""

CUT_UNDER = ("flask", "fastapi")
"""Frameworks in which the runtime calls a part of a handler instead of the handler."""

_ROUTES = ("route", "get", "post", "put", "delete", "patch", "head", "options", "api_route")
_FRAMEWORKS = (
    *("flask", "quart", "fastapi", "starlette", "aiohttp", "werkzeug", "jinja2", "flask_restful", "flask_restx"),
    *("flask_login", "flask_httpauth", "sanic", "bottle", "microdot", "tornado"),
)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class Uncut(Exception):
    """Why a handler stays whole, where, and what would free it."""

    def __init__(self, why: str, where: Place, remedy: str = "") -> None:
        super().__init__(why)
        self.why, self.where, self.remedy = why, where, remedy


@dataclass
class Piece:
    role: Role
    name: str = ""
    function: Function | None = None
    lines: list[tuple[ast.stmt, str]] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """First and last lines of the original that it runs itself."""


@dataclass(frozen=True)
class Called:
    """A statement that is a call of an own function, its value assigned to `target`, returned, or dropped."""

    function: Function
    call: ast.Call
    target: ast.expr | None
    returns: bool
    awaited: bool


def cut(machine: Machine, handler: Function, part: Part, unit: Unit, state: set[str]) -> Cutter | Kept | None:
    """The handler taken apart; why it is not, if it looks as if it could be; None if it does not."""
    cutter = Cutter(machine, handler, state)
    if not cutter.looks_like_one():
        return None
    try:
        cutter.run()
        cutter.check(unit)
    except Uncut as reason:
        return Kept(part.name, reason.why, reason.where, reason.remedy)
    return cutter


class Cutter:
    def __init__(self, machine: Machine, handler: Function, state: set[str]) -> None:
        self._m = machine
        self._handler = handler
        self._module = handler.module
        self._state = state
        self.pieces = [Piece(Role.START)]
        self._written_out: list[Function] = [handler]
        self._bodies: dict[Function, list[ast.stmt]] = {}
        self._made: set[ast.stmt] = set()
        """Statements that are not in the source as they are."""
        self._active: list[Function] = [handler]
        self._handed: dict[str, Atoms] = {}
        """Names made for arguments, and what they may be."""

    def looks_like_one(self) -> bool:
        """At least two own functions, one after the other, whatever else."""
        names: list[str] = []

        def count(function: Function, depth: int) -> None:
            for statement in self._body(function):
                called = self._called(function, statement)
                if called is not None and called.function not in self._active and depth < 8:
                    names.append(called.function.name)
                    if not self._framework_itself(called.function):
                        count(called.function, depth + 1)

        handler = self._handler
        if isinstance(handler.node, ast.Lambda) or handler.shown is not None or handler.cls is not None:
            return False
        if not all(self._is_route(decorator) for decorator in handler.node.decorator_list):
            return False
        count(self._handler, 0)
        return len(names) > 1

    def _is_route(self, decorator: ast.expr) -> bool:
        """`@app.get("/")`: another decorator would have to run around all parts."""
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            return False
        of = self._resolve(self._handler, decorator.func.value)
        applications = all(isinstance(a, Ref) and "*app" in a.obj.attrs for a in of)
        return bool(of) and applications and decorator.func.attr in _ROUTES

    # Taking apart

    def _body(self, function: Function) -> list[ast.stmt]:
        """The statements of a function, calls inside calls one after the other, and one return at its end."""
        if function not in self._bodies:
            found: list[ast.stmt] = []
            for statement in _one_return(_body(function)) if function is not self._handler else _body(function):
                found += self._unnested(function, statement)
            self._bodies[function] = found
        return self._bodies[function]

    def _unnested(self, function: Function, statement: ast.stmt) -> list[ast.stmt]:
        """`return f(g(x))` as `result = g(x)` and `return f(result)`, if nothing else happens between the two."""
        value = statement.value if isinstance(statement, ast.Return | ast.Expr | ast.Assign) else None
        outer = value.value if isinstance(value, ast.Await) else value
        if not isinstance(outer, ast.Call):
            return [statement]
        arguments = [*outer.args, *(k.value for k in outer.keywords)]
        inner = [a for a in arguments if not isinstance(a, ast.Name | ast.Constant)]
        called = self._called(function, ast.Expr(inner[0])) if len(inner) == 1 else None
        if called is None or (isinstance(outer.func, ast.Attribute) and not isinstance(outer.func.value, ast.Name)):
            return [statement]
        name = "result" if "result" not in _locals(function) else f"{called.function.name}_result"
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
        statements = self._body(function)
        calls = [i for i, s in enumerate(statements) if self._chained(function, s) is not None]
        for index, statement in enumerate(statements):
            last = index == len(statements) - 1
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
            if ends and self.pieces[-1].role is not Role.END:
                self._end(function, statement)
            if isinstance(statement, ast.Return) and self.pieces[-1].role is not Role.END:
                if not last:
                    raise Uncut(f"line {statement.lineno} returns before the end", self._at(function, statement))
                self._assign(function, target, statement.value or ast.Constant(None), statement)
                return
            self._inner_returns(function, statement, tail)
            self._add(function, statement)
        if not tail and target is not None:
            self._assign(function, target, ast.Constant(None), statements[-1])

    def _inner_returns(self, function: Function, statement: ast.stmt, tail: bool) -> None:
        piece = self.pieces[-1]
        if piece.role is Role.END or (piece.role is Role.START and tail):
            return
        for node in _own(statement):
            if isinstance(node, ast.Return):
                remedy = "return at the end of the function alone"
                raise Uncut(f"line {node.lineno} returns before the end", self._at(function, node), remedy)

    def _end(self, function: Function, statement: ast.stmt) -> None:
        """The last piece begins; it is named by the function that makes the response."""
        name = END
        for node in ast.walk(self._body(function)[-1]):
            own = self._own_function(function, node.func) if isinstance(node, ast.Call) else None
            if own is not None and self._framework(own):
                name = own.name
        self.pieces.append(Piece(Role.END, name, function))

    def _call(self, function: Function, called: Called, target: ast.expr | None, tail: bool, last: bool) -> None:
        callee = called.function
        into_answer = called.returns and tail
        if called.returns and not last:
            raise Uncut(f"line {called.call.lineno} returns before the end", self._at(function, called.call))
        answers = into_answer and callee.name == END and not called.awaited and len(self.pieces) > 1
        if answers or self._framework_itself(callee):
            if not into_answer:
                why = f"line {called.call.lineno} makes the answer before the end"
                raise Uncut(why, self._at(function, called.call))
            self._given(function, callee, called)
            self.pieces.append(Piece(Role.END, callee.name, callee))
            self._add_node(function, _returned(_recall(callee, called)), called.call)
            return
        start = self.pieces[-1].role is Role.START and not self.pieces[-1].name
        if start:
            self.pieces[-1].name, self.pieces[-1].function = callee.name, callee
        inner = any(self._chained(callee, statement) for statement in self._body(callee))
        if inner and callee.module is self._module and callee not in self._active:
            self._collisions(function, callee, called, into_answer)
            self._given(function, callee, called)
            if not start:
                self.pieces.append(Piece(Role.STEP, callee.name, callee))
            self._written_out.append(callee)
            self._active.append(callee)
            self._walk(callee, target, into_answer)
            self._active.pop()
            return
        if self._framework(callee):
            why = f"line {called.call.lineno} calls {callee.name}, which uses the framework further on"
            raise Uncut(why, self._at(function, called.call))
        call = called.call
        if not start:
            call = self._arguments_here(function, called)
            self.pieces.append(Piece(Role.STEP, callee.name, callee))
        value: ast.expr = ast.Await(call) if called.awaited else call
        if into_answer:
            self._assign(function, ast.Name("result", ast.Store()), value, called.call)
            self.pieces.append(Piece(Role.END, END, function))
            self._add_node(function, _returned(ast.Name("result", ast.Load())), called.call)
            self._m.values[self._handler.node, "result"] = self._m.values.get((callee.node, "return"), NOTHING)
        else:
            self._assign(function, target, value, called.call)

    def _arguments_here(self, function: Function, called: Called) -> ast.Call:
        """What touches state or the framework among the arguments is looked up by the caller, before the call."""
        call = called.call
        node = called.function.node.args
        parameters = [a.arg for a in (*node.posonlyargs, *node.args)]
        taken = set().union(*[_locals(f) for f in self._written_out])

        def here(value: ast.expr, parameter: str) -> ast.expr:
            inside = list(ast.walk(value))
            plain = not any(self._touches_state(function, n) for n in inside)
            if plain and not any(self._is_framework(function, n, frozenset()) for n in inside):
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
        used = {name for _, value in pairs for name in _loads(value)}
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
        after = {n for s in self._body(function) if s.lineno > called.call.lineno for n in _loads(s)}
        target = {n.id for n in ast.walk(called.target) if isinstance(n, ast.Name)} if called.target else set()
        inside = _stores(callee) | {a.arg for a in (*callee.node.args.args, *callee.node.args.kwonlyargs)}
        same = {n.id for n in called.call.args if isinstance(n, ast.Name)} - _stores(callee)
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
        self.pieces[-1].lines.append((node, ast.unparse(node)))
        self._span(where)

    def _add(self, function: Function, statement: ast.stmt) -> None:
        text = ast.unparse(statement) if statement in self._made else _text(function, statement)
        self.pieces[-1].lines.append((statement, text))
        self._span(statement)

    def _span(self, node: ast.AST) -> None:
        first = getattr(node, "lineno", 0)
        self.pieces[-1].spans.append((first, getattr(node, "end_lineno", first) or first))

    # What is called

    def _chained(self, function: Function, statement: ast.stmt) -> Called | None:
        """A call at which the handler may be cut. One of a function that uses the framework only as the answer."""
        called = self._called(function, statement)
        if called is None or called.function in self._active:
            return None
        if not self._framework_itself(called.function):
            return called
        return called if called.returns and function is not self._handler else None

    def _called(self, function: Function, statement: ast.stmt) -> Called | None:
        target: ast.expr | None = None
        value: ast.expr | None = None
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
            if not isinstance(target, ast.Name | ast.Tuple):
                return None
        elif isinstance(statement, ast.Return | ast.Expr):
            value = statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            target, value = statement.target, statement.value
        awaited = isinstance(value, ast.Await)
        call = value.value if isinstance(value, ast.Await) else value
        if not isinstance(call, ast.Call):
            return None
        own = self._own_function(function, call.func)
        if own is None or own.asynchronous != awaited:
            return None
        return Called(own, call, target, isinstance(statement, ast.Return), awaited)

    def _own_function(self, function: Function, node: ast.expr) -> Function | None:
        if isinstance(node, ast.Name) and node.id in _locals(function):
            return None
        atoms = self._resolve(function, node)
        atom = next(iter(atoms), None) if len(atoms) == 1 else None
        if not isinstance(atom, Func) or atom.bound is not None or atom.info.scope.kind != "module":
            return None
        plain = isinstance(atom.info.node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not plain or atom.info.node.decorator_list:  # type: ignore[union-attr]
            return None
        return None if any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(atom.info.node)) else atom.info

    def _resolve(self, function: Function, node: ast.expr) -> Atoms:
        """What a name of the module, or of a module in it, stands for."""
        if isinstance(node, ast.Name):
            found = function.module.scope.names.get(node.id)
            return found if found is not None else NOTHING
        if isinstance(node, ast.Attribute):
            for atom in self._resolve(function, node.value):
                if isinstance(atom, ModuleAtom):
                    return atom.info.scope.names.get(node.attr, NOTHING)
                if isinstance(atom, Lib):
                    return self._m.named(f"{atom.name}.{node.attr}")
        return NOTHING

    # What is used

    def _framework(self, info: Function, seen: frozenset[Function] = frozenset()) -> bool:
        """Whether it uses the framework, itself or through what it calls."""
        if info in seen:
            return False
        return any(self._is_framework(info, node, seen | {info}) for node in ast.walk(info.node))

    def _framework_itself(self, info: Function) -> bool:
        """The same, but for a last call that it hands its work on to."""
        last = self._called(info, self._body(info)[-1])
        onward = last.call.func if last is not None and last.returns else None
        return any(self._is_framework(info, n, frozenset({info})) for n in ast.walk(info.node) if n is not onward)

    def _is_framework(self, function: Function, node: ast.AST, seen: frozenset[Function]) -> bool:
        if not isinstance(node, ast.Name) or node.id in _locals(function):
            return False
        for atom in self._resolve(function, node):
            if isinstance(atom, Req | Special) and not (isinstance(atom, Special) and atom.kind == "path"):
                return True
            if isinstance(atom, Lib) and atom.name.split(".")[0] in _FRAMEWORKS:
                return True
            if isinstance(atom, Ref) and atom.obj.kind == "lib" and atom.obj.name.split(".")[0] in _FRAMEWORKS:
                return True
            if isinstance(atom, Func) and self._framework(atom.info, seen):
                return True
        return False

    def _touches_state(self, function: Function, node: ast.AST, seen: frozenset[Function] = frozenset()) -> bool:
        if not isinstance(node, ast.Name) or node.id in _locals(function):
            return False
        if f"{function.module.scope.path}.{node.id}" in self._state:
            return True
        for atom in self._resolve(function, node):
            if isinstance(atom, Func) and atom.info not in seen:
                if any(id_.startswith(f"{atom.info.path}.") for id_ in self._state):
                    return True
                inner = seen | {atom.info}
                if any(self._touches_state(atom.info, n, inner) for n in ast.walk(atom.info.node)):
                    return True
            if isinstance(atom, ClassAtom) and any(id_.startswith(f"{atom.info.path}.") for id_ in self._state):
                return True
            if isinstance(atom, Ref) and any(name in self._state for name, _ in atom.obj.roots()):
                return True
        return False

    # What it becomes

    def check(self, unit: Unit) -> None:
        """Raises Uncut."""
        self._check_pieces(unit)
        self._travel(*self._flow())

    def chain(self, part: Part, taken: set[str], instead: Body | None) -> Chain:
        """`part`: of the first piece, with its name. `taken`: names of other fluxions; those of this one are added."""
        needs, gives = self._flow()
        sent = self._travel(needs, gives)
        order = [part.name]
        for piece in self.pieces[1:]:
            order.append(unused(piece.name, taken))
            taken.add(order[-1])
        fluxions: list[Fluxion] = []
        variables: list[Sorted] = []
        for i, piece in enumerate(self.pieces):
            function = piece.function or self._handler
            last = i == len(self.pieces) - 1
            streams = (Stream("output"),) if last else (Stream(order[i + 1], tuple(sent[i])),)
            waits = any(isinstance(n, ast.Await) for node, _ in piece.lines for n in ast.walk(node))
            first = piece.role is Role.START
            fluxions.append(
                Fluxion(
                    order[i],
                    piece.role,
                    part.group if first else order[i],
                    body="\n".join(text for _, text in piece.lines),
                    context=part.context if first else (),
                    key=part.key if first else "",
                    key_convert=part.key_convert if first else "",
                    streams=streams,
                    waits=waits,
                    unit=part.unit if first else "",
                    place=place(function.module, function.node),
                    last_line=getattr(function.node, "end_lineno", 0) or 0,
                )
            )
            if not last:
                where = f"{order[i]} >> {order[i + 1]}"
                variables += [
                    Sorted(name, Sort.STREAM, where, self._placed(name), self._why(name, i, needs, order))
                    for name in sent[i]
                ]
        return Chain(tuple(fluxions), tuple(variables), instead=instead)

    def _placed(self, name: str) -> Place:
        for piece in self.pieces:
            for node, _ in piece.lines:
                if name in _assigned(node):
                    return self._at(self._handler, node)
        return self._at(self._handler, self._handler.node)

    def _why(self, name: str, at: int, needs: list[list[str]], order: list[str]) -> str:
        readers = [order[i] for i in range(at + 1, len(order)) if name in needs[i]]
        return f"{order[at]} has it, {', '.join(readers)} reads it"

    def _check_pieces(self, unit: Unit) -> None:
        for piece in self.pieces:
            for node, _ in piece.lines:
                self._check(piece, node)
            if piece.role is Role.START:
                continue
            self._check_called(piece, unit)
            for use in unit.uses:
                inside = any(first <= use.place.line <= last for first, last in piece.spans)
                if inside and use.mode in (Mode.WRITE, Mode.ESCAPE):
                    raise Uncut(f"line {use.place.line} changes {use.variable} after the first part", use.place)

    def _check_called(self, piece: Piece, unit: Unit) -> None:
        """What is part of the state may be changed by whom it is handed to: that would be a copy."""
        function = piece.function or self._handler
        scope = function if function.module is self._module else self._handler
        seen: set[Function] = set()
        waiting: list[tuple[Function, ast.AST]] = [(scope, node) for node, _ in piece.lines]
        while waiting:
            within, node = waiting.pop()
            for inner in ast.walk(node):
                own = self._own_function(within, inner.func) if isinstance(inner, ast.Call) else None
                if own is None or own in seen:
                    continue
                seen.add(own)
                waiting.append((own, own.node))
                for use in unit.uses:
                    lines = range(own.node.lineno, (own.node.end_lineno or own.node.lineno) + 1)
                    there = use.place.file == own.module.file and use.place.line in lines
                    if there and use.mode in (Mode.WRITE, Mode.ESCAPE) and use.variable in self._state:
                        why = f"line {use.place.line} changes {use.variable} after the first part"
                        raise Uncut(why, use.place, "change it in the first function")

    def _check(self, piece: Piece, node: ast.AST) -> None:
        where = self._at(self._handler, node)
        for inner in ast.walk(node):
            function = piece.function or self._handler
            scope = function if function.module is self._module else self._handler
            line = getattr(inner, "lineno", where.line)
            odd = isinstance(inner, ast.Yield | ast.YieldFrom | ast.Global | ast.Nonlocal)
            if odd and piece.role is not Role.START:
                raise Uncut(f"line {line} cannot be in a part of its own", where)
            if piece.role is Role.STEP and isinstance(inner, ast.Raise | ast.Assert):
                raise Uncut(f"line {line} raises", where, "raise in the handler itself, before or after its calls")
            if piece.role is Role.STEP and self._is_framework(scope, inner, frozenset()):
                why = f"line {line} uses the framework between two of its calls"
                raise Uncut(why, where, "do it in the handler, before the first or after the last call")
            if piece.role is not Role.START and self._touches_state(scope, inner):
                why = f"line {line} touches state after the first part"
                raise Uncut(why, where, "touch it in the first function, before that calls another")

    def _flow(self) -> tuple[list[list[str]], list[set[str]]]:
        """For each piece: the local names that it needs, and those that it surely gives a value."""
        made = set().union(*[_assigned(node) for piece in self.pieces for node, _ in piece.lines])
        everything = set().union(*[_locals(f) for f in self._written_out]) | made
        for function in self._written_out:
            globals_used = {n for n in _loads(function.node) if n not in _locals(function)} & everything
            for name in sorted(globals_used):
                if name in function.module.scope.names:
                    raise Uncut(f"{name} is a name of the module and of a function", self._at(function, function.node))
        needs: list[list[str]] = []
        gives: list[set[str]] = []
        for piece in self.pieces:
            needed: dict[str, None] = {}
            given: set[str] = set()
            for node, _ in piece.lines:
                for name in _loads(node):
                    if name in everything and name not in given:
                        needed[name] = None
                given |= _assigned(node)
            needs.append(list(needed))
            gives.append(given)
        return needs, gives

    def _travel(self, needs: list[list[str]], gives: list[set[str]]) -> list[list[str]]:
        """What each piece sends to the next."""
        own = [a.arg for a in (*self._handler.node.args.posonlyargs, *self._handler.node.args.args)]
        own += [a.arg for a in self._handler.node.args.kwonlyargs]
        changed = set().union(*gives)
        sent: list[list[str]] = []
        wanted = [name for name in needs[-1] if name not in own or name in changed]
        for i in range(len(self.pieces) - 2, -1, -1):
            sent.insert(0, wanted)
            carried = [name for name in wanted if name not in gives[i]]
            wanted = list(dict.fromkeys([*needs[i], *carried]))
        for name in wanted:
            if name not in own:
                raise Uncut(f"{name} does not always have a value", self._placed(name))
        for name in dict.fromkeys(name for names in sent for name in names):
            if name == RESERVED:
                why = f"{name} is what the message itself calls its request"
                raise Uncut(why, self._placed(name), f"name it differently than {name}")
            self._check_plain(name)
        for names in sent:
            self._check_apart(names)
        return sent

    def _atoms(self, name: str) -> list[Atom]:
        """All that a name may be, in all functions that are written out."""
        found = [*self._handed.get(name, NOTHING)]
        for function in self._written_out:
            found += self._m.values.get((function.node, name), NOTHING)
        return found

    def _check_apart(self, names: list[str]) -> None:
        """One object under two names would be two after the message."""
        holders: dict[Obj, str] = {}
        for name in names:
            for obj in _objects(self._atoms(name)):
                other = holders.setdefault(obj, name)
                if other != name:
                    why = f"{name} and {other} may be one object, and would be two in a message"
                    raise Uncut(why, self._placed(name), "hand on one of the two")

    def _check_plain(self, name: str) -> None:
        for atom in self._atoms(name):
            owners = [owner for obj in _objects([atom]) for owner, _ in obj.roots() if owner in self._state]
            if owners:
                why = f"{name} cannot travel in a message: it is part of {owners[0]}, which is state"
                raise Uncut(why, self._placed(name), "hand on what is read of it: texts, numbers, a copy")
        for function in self._written_out:
            atoms = self._m.values.get((function.node, name), NOTHING)
            odd = next((atom for atom in atoms if not _plain(atom, 0)), None)
            if odd is not None:
                why = f"{name} cannot travel in a message: it is {_words(odd)}"
                raise Uncut(why, self._placed(name), "hand on plain data: texts, numbers, lists, dicts")

    def _at(self, function: Function, node: ast.AST) -> Place:
        return place(function.module, node)


def _plain(atom: Atom, depth: int) -> bool:
    if isinstance(atom, Const | Scalar | Plain | Inside):
        return True
    if isinstance(atom, Req):
        return len(atom.path) > 1
    if isinstance(atom, Ref) and atom.obj.kind in ("list", "dict", "set", "tuple") and depth < 8:
        inner = [*atom.obj.elements, *(a for value in atom.obj.attrs.values() for a in value)]
        return all(_plain(a, depth + 1) for a in inner if not (isinstance(a, Ref) and a.obj is atom.obj))
    return False


def _objects(atoms: Iterable[Atom]) -> set[Obj]:
    """The lists, dicts and the like among them and inside them."""
    found: set[Obj] = set()
    waiting = [atom.obj for atom in atoms if isinstance(atom, Ref)]
    while waiting:
        obj = waiting.pop()
        if obj not in found and obj.kind in ("list", "dict", "set", "tuple", "instance"):
            found.add(obj)
            inside = [*obj.elements, *(a for value in obj.attrs.values() for a in value)]
            waiting += [atom.obj for atom in inside if isinstance(atom, Ref)]
    return found


def _words(atom: Atom) -> str:
    if isinstance(atom, Ref):
        return f"a {atom.obj.cls.name}" if atom.obj.cls is not None else f"a {atom.obj.name or atom.obj.kind}"
    if isinstance(atom, Req):
        return "the request" if not atom.path else f"the request's {atom.path[0]}"
    if isinstance(atom, Func | ClassAtom):
        return "a function"
    if isinstance(atom, Method | LibMethod):
        return f"what {atom.name} gives"
    return f"something of {getattr(atom, 'library', 'a library')}"


# Of the syntax


def _body(function: Function) -> list[ast.stmt]:
    """The statements, without the docstring."""
    assert not isinstance(function.node, ast.Lambda)
    found = function.node.body
    first = found[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return found[1:] or [ast.copy_location(ast.Pass(), first)]
    return found


def _one_return(statements: list[ast.stmt]) -> list[ast.stmt]:
    """`if x: return a` at the end, with or without another return behind it, as one return."""
    kept, last = list(statements), None
    if kept and isinstance(kept[-1], ast.Return):
        last = kept.pop()
    if not kept or not isinstance(kept[-1], ast.If):
        return statements
    test = kept[-1]
    inner = [test.body[0], *(test.orelse or [last or ast.Return(None)])]
    if len(test.body) > 1 or len(inner) != 2 or (test.orelse and last):
        return statements
    if any(not isinstance(each, ast.Return) for each in inner):
        return statements
    first, other = (r.value or ast.Constant(None) for r in inner if isinstance(r, ast.Return))
    made = ast.copy_location(ast.Return(ast.IfExp(test.test, first, other)), test)
    return [*kept[:-1], ast.fix_missing_locations(made)]


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement that are not in a function inside it."""
    todo = [node]
    while todo:
        one = todo.pop()
        yield one
        todo += [inner for inner in ast.iter_child_nodes(one) if not isinstance(inner, _SCOPES)]


def _loads(node: ast.AST) -> list[str]:
    found = {n.id: None for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        found[node.target.id] = None
    return list(found)


def _stores(function: Function) -> set[str]:
    names = [n for n in ast.walk(function.node) if isinstance(n, ast.Name)]
    found = {n.id for n in names if isinstance(n.ctx, ast.Store | ast.Del)}
    declared = {name for n in ast.walk(function.node) if isinstance(n, ast.Global | ast.Nonlocal) for name in n.names}
    return found - declared


def _locals(function: Function) -> set[str]:
    node = function.node.args
    parameters = [a.arg for a in (*node.posonlyargs, *node.args, *node.kwonlyargs)]
    others = [a.arg for a in (node.vararg, node.kwarg) if a is not None]
    return {*parameters, *others} | _stores(function)


def _assigned(node: ast.AST) -> set[str]:
    """Names that a statement surely gives a value."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.AnnAssign) and node.value is not None):
        targets = [node.target]
    elif isinstance(node, ast.With | ast.AsyncWith):
        return set().union(*[_assigned(inner) for inner in node.body])
    elif isinstance(node, ast.If) and node.orelse:
        return set().union(*[_assigned(n) for n in node.body]) & set().union(*[_assigned(n) for n in node.orelse])
    return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name) and _is_store(n)}


def _is_store(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _returned(value: ast.expr) -> ast.stmt:
    return ast.Return(value)


def _recall(callee: Function, called: Called) -> ast.expr:
    """The same call, with the parameters that have become variables."""
    node = callee.node.args
    arguments: list[ast.expr] = [ast.Name(a.arg, ast.Load()) for a in (*node.posonlyargs, *node.args)]
    keywords = [ast.keyword(a.arg, ast.Name(a.arg, ast.Load())) for a in node.kwonlyargs]
    call = ast.Call(called.call.func, arguments, keywords)
    return ast.Await(call) if called.awaited else call


def _text(function: Function, statement: ast.stmt) -> str:
    """The statement as written, with the comments before it, moved to the left."""
    lines = function.module.text.split("\n")
    last = statement.end_lineno or statement.lineno
    block = lines[statement.lineno - 1 : last]
    indent = lines[statement.lineno - 1][: statement.col_offset]
    shared = bool(indent.strip()) or any(line.strip() and not line.startswith(indent) for line in block)
    texts = any(
        isinstance(n, ast.Constant | ast.JoinedStr) and n.lineno != n.end_lineno for n in ast.walk(statement)
        if hasattr(n, "lineno")
    )  # fmt: skip
    behind = lines[last - 1].encode()[statement.end_col_offset or 0 :].decode().strip()
    if shared or texts or (behind and not behind.startswith("#")):
        return ast.unparse(statement)
    first = statement.lineno - 1
    while first > 0 and lines[first - 1].startswith(f"{indent}#"):
        first -= 1
    return "\n".join(line.removeprefix(indent) for line in lines[first:last])

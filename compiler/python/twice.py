"""What the last part of a handler would find otherwise than the handler does: its request is given to the framework
once more for it. What the parts before it change of the session, of the request, of the answer is lost, and so is what
they change in what the framework handed to the handler.

Knows pieces and names; not how a handler is taken apart.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compiler.facts import Place
from compiler.python import flow, memory, statements
from compiler.python.evaluate import Machine
from compiler.python.libraries import MUTATORS, words
from compiler.python.model import FILE, NOTHING, Atom, Atoms, Class, Func, Function, Lib, Ref, Req
from compiler.python.pieces import Line, Piece, Uncut
from compiler.python.read import place
from compiler.python.stateful import Touches
from compiler.python.used import Names, of_framework

_LEAVE_NO_TRACE = words(
    "abort jsonify make_response redirect url_for render_template render_template_string send_file escape "
    "send_from_directory has_request_context jsonable_encoder run_in_threadpool"
)
"""Functions of frameworks that change nothing of the request and its answer."""
_PURE = ("werkzeug.", "flask.json.", "starlette.status.", "fastapi.status.")
_SETTERS = ("set_", "delete_", "add_", "remove_")
"""Methods of answers and requests begin so that change them."""
_BODY = words("json get_json form data get_data body values files stream")
_MADE_ANEW = words("g state ctx")
"""What hooks and middleware put there is not the same the next time."""

_READ_ON = words("read readline readlines seek")
_REMEDY = "do it after the last of these calls"


class Twice:
    """Of one handler."""

    def __init__(self, machine: Machine, names: Names, handler: Function, pieces: list[Piece]) -> None:
        self._m = machine
        self._names = names
        self._handler = handler
        self._before = pieces[:-1]
        self._last = pieces[-1:]
        self._bodies: set[tuple[Function, str]] = set()
        """Names of what is read of a request's body."""
        self._parts: set[tuple[Function, str]] = set()
        """Names of what is part of a request, a session, an answer."""

    def check(self) -> None:
        """Raises Uncut."""
        self._check_bound()
        body, anew = None, None
        self._bodies = {name for each in self._nodes(self._before) for name in self._reads_body(*each)}
        while new := {name for each in self._nodes(self._before) for name in self._aliases(*each)} - self._parts:
            self._parts |= new
        for function, node in self._nodes(self._before):
            where = self._at(function, node)
            if changed := self._changed(function, node):
                if self._is_frameworks(function, changed):
                    why = f"line {where.line} changes {ast.unparse(changed)}, which only the last part can"
                    raise Uncut(why, where, _REMEDY)
                if self._is_body(function, changed):
                    body = where
            if (called := self._tells(function, node)) is not None:
                raise Uncut(f"line {where.line} calls {called}, which only the last part can", where, _REMEDY)
            if isinstance(node, ast.Attribute) and node.attr == "stream" and self._is_frameworks(function, node):
                body = where
            if anew is None and self._is_anew(function, node):
                anew = where
        read = self._read_on(self._before)
        for function, node in self._nodes(self._last):
            where = self._at(function, node)
            if read is not None and self._is_file(function, node):
                why = f"lines {read.line} and {where.line} read one file, which the last part has anew"
                raise Uncut(why, read, "read it once")
            again = isinstance(node, ast.Attribute) and node.attr in _BODY and self._is_frameworks(function, node)
            if body is not None and again:
                why = f"line {body.line} changes what line {where.line} reads of the request again"
                raise Uncut(why, body, "read it once")
            if anew is not None and self._is_anew(function, node):
                why = f"lines {anew.line} and {where.line} read what is set anew for the last part"
                raise Uncut(why, anew, "read it once")

    def travelling(self, touches: Touches) -> set[str]:
        """Parameters of the handler that its last part must not be given anew."""
        arguments = self._handler.node.args
        own = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        used = {name for piece in self._before for line in piece.lines for name in statements.loads(line.node)}
        changes = any(touches.changes(piece) for piece in self._before)
        found: set[str] = set()
        for name in own:
            atoms = self._m.values.get((self._handler.node, name), NOTHING)
            injected = (self._handler.node, name) in self._m.injected
            same = memory.scalars(atoms) or any(map(_of_request, atoms))
            if name in used and (injected or (not same and (changes or any(map(_has_methods, atoms))))):
                found.add(name)
        return found

    # What there is

    def _nodes(self, pieces: list[Piece]) -> Iterator[tuple[Function, ast.AST]]:
        """All that may run, with the function that it stands in."""
        seen: set[Function] = set()
        for line in (line for piece in pieces for line in piece.lines):
            for node in ast.walk(line.node):
                yield line.within, node
            for function in self._names.reached_by(line.within, line.node) - seen:
                seen.add(function)
                for node in ast.walk(function.node):
                    yield function, node

    def _changed(self, function: Function, node: ast.AST) -> ast.expr | None:
        """What is changed in place."""
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            return node.value
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name in MUTATORS or name.startswith(_SETTERS):
                return node.func.value
        return None

    def _tells(self, function: Function, node: ast.AST) -> str | None:
        """The function of a framework that is called, if it may leave something with the request."""
        called = [node.func] if isinstance(node, ast.Call) else getattr(node, "decorator_list", [])
        for each in called:
            for atom in self._names.meaning(function, each):
                if not isinstance(atom, Lib) or not of_framework(atom) or atom.name.startswith(_PURE):
                    continue
                short = atom.name.rpartition(".")[2]
                if short not in _LEAVE_NO_TRACE and not short[0].isupper():
                    return short
        return None

    def _read_on(self, pieces: list[Piece]) -> Place | None:
        """Where a file that came with the request is read."""
        for function, node in self._nodes(pieces):
            if isinstance(node, ast.Attribute) and node.attr in _READ_ON and self._is_file(function, node.value):
                return self._at(function, node)
        return None

    def _is_file(self, function: Function, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and any(
            isinstance(a, Ref) and a.obj.name == FILE for a in self._atoms(function, node)
        )

    def _is_anew(self, function: Function, node: ast.AST) -> bool:
        if isinstance(node, ast.Name) and node.id in _MADE_ANEW:
            return self._names.is_framework(function, node)
        return isinstance(node, ast.Attribute) and node.attr in _MADE_ANEW and self._is_frameworks(function, node.value)

    def _reads_body(self, function: Function, node: ast.AST) -> Iterator[tuple[Function, str]]:
        """The names that `data = request.get_json()` gives a value."""
        if isinstance(node, ast.Assign):
            inside = [n for n in ast.walk(node.value) if isinstance(n, ast.Attribute) and n.attr in _BODY]
            if any(self._is_frameworks(function, n) for n in inside):
                yield from ((function, name) for name in flow.bound(node))

    def _aliases(self, function: Function, node: ast.AST) -> Iterator[tuple[Function, str]]:
        """`headers = response.headers`: what is changed there is changed in the answer."""
        if not isinstance(node, ast.Assign) or memory.scalars(self._value(function, node)):
            return
        if self._is_frameworks(function, node.value) and not self._is_body(function, node.value):
            for target in node.targets:
                if isinstance(target, ast.Name) and (function, target.id) not in self._bodies:
                    yield function, target.id

    def _value(self, function: Function, node: ast.Assign) -> Atoms:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return NOTHING.union(*[self._m.values.get((function.node, name), NOTHING) for name in names])

    def _is_body(self, function: Function, node: ast.expr) -> bool:
        name = _root(node)
        if name is not None and (function, name.id) in self._bodies:
            return True
        return any(isinstance(a, Req) and a.path[:1] == ("body",) for a in self._atoms(function, node))

    def _is_frameworks(self, function: Function, node: ast.expr) -> bool:
        """Whether it is part of the request, the session, the answer, or of what the framework keeps with them."""
        name = _root(node)
        if name is None:
            return False
        if any(of_framework(atom) for atom in self._names.meaning(function, name)):
            return True
        if (function, name.id) in self._parts:
            return True
        return name.id in statements.locals_of(function) and any(map(_of_request, self._atoms(function, name)))

    def _atoms(self, function: Function, node: ast.expr) -> list[Atom]:
        name = _root(node)
        return list(self._m.values.get((function.node, name.id), NOTHING)) if name is not None else []

    def _check_bound(self) -> None:
        """Functions, classes and modules of the handler's own are in one part alone."""
        lines = [(i, line) for i, piece in enumerate([*self._before, *self._last]) for line in piece.lines]
        for i, line in lines:
            for name in _bound(line):
                if any(j != i and name in statements.loads(other.node) for j, other in lines):
                    where = self._at(line.within, line.node)
                    why = f"{name}, of line {where.line}, is no data, and used in several parts"
                    raise Uncut(why, where, f"make {name} at the level of the module")

    def _at(self, function: Function, node: ast.AST) -> Place:
        return place(function.module, node if hasattr(node, "lineno") else function.node)


def _root(node: ast.AST) -> ast.Name | None:
    """`request` of `request.get_json()["x"].y`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Await):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node if isinstance(node, ast.Name) else None


def _bound(line: Line) -> Iterator[str]:
    for node in ast.walk(line.node):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _of_request(atom: Atom) -> bool:
    return (isinstance(atom, Req) and not atom.path) or (isinstance(atom, Ref) and of_framework(atom))


def _has_methods(atom: Atom) -> bool:
    """Whether it is of a class of the service, with methods that may change it, or with defaults that are made for
    each request."""
    if not isinstance(atom, Ref) or atom.obj.cls is None:
        return False
    classes: tuple[Class, ...] = atom.obj.cls.lineage()
    if any(isinstance(n, ast.keyword) and n.arg == "default_factory" for cls in classes for n in ast.walk(cls.node)):
        return True
    return any(isinstance(a, Func) for cls in classes for value in cls.scope.names.values() for a in value)

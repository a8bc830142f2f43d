"""What the statements of a handler call and use: functions of the service, the framework, state. A function that is
reached through a class, a module or a decorator counts as one that is called.

Knows names and what they stand for; nothing of how handlers are taken apart.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from compiler.python.evaluate import Machine
from compiler.python.model import (
    NOTHING,
    Atom,
    Atoms,
    Class,
    ClassAtom,
    Func,
    Function,
    Lib,
    ModuleAtom,
    Ref,
    Req,
    Scope,
    Special,
)

_FRAMEWORKS = (
    *("flask", "quart", "fastapi", "starlette", "aiohttp", "werkzeug", "jinja2", "sanic", "bottle", "microdot"),
    "tornado",
)
_EXTENSIONS = ("flask_", "quart_", "fastapi_", "starlette_", "aiohttp_")
_ERRORS = (
    *("flask.abort", "werkzeug.exceptions.", "fastapi.HTTPException", "fastapi.exceptions.HTTPException"),
    "starlette.exceptions.HTTPException",
)
"""What is only raised: the last part of a handler raises it again."""

_LOCKS = ("asyncio.", "threading.", "anyio.", "multiprocessing.")
_PROMISING = (
    *("asyncio.sleep", "asyncio.gather", "asyncio.wait_for", "asyncio.to_thread", "asyncio.shield", "asyncio.wait"),
    *("asyncio.create_task", "asyncio.ensure_future", "asyncio.run_coroutine_threadsafe", "anyio.sleep"),
)
"""What gives something to wait for."""
_SWALLOWING = ("suppress", "ExitStack", "AsyncExitStack", "move_on_after", "move_on_at", "CancelScope", "raises")
"""What a `with` may enter, and then goes on behind it after an error."""


@dataclass(frozen=True)
class Called:
    """A statement that is a call of an own function, its value assigned to `target`, returned, or dropped."""

    function: Function
    call: ast.Call
    target: ast.expr | None
    returns: bool
    awaited: bool
    wrapper: Function | None = None
    """What stands around the function, if a decorator of the service wraps it."""


class Names:
    """Of one service. `state`: ids of the variables that are state."""

    def __init__(self, machine: Machine, state: set[str]) -> None:
        self._m = machine
        self._state = state
        self._touching: dict[Function, bool] = {}
        self._framed: dict[Function, bool] = {}
        self._reaching: dict[Function, frozenset[Function]] = {}

    # What is called

    def called(self, function: Function, statement: ast.stmt) -> Called | None:
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
        own = self.own_function(function, call.func)
        if own is None or own.asynchronous != awaited:
            return None
        (atom,) = self.resolve(function, call.func)
        wrapper = atom.info if isinstance(atom, Func) and atom.info is not own else None
        return Called(own, call, target, isinstance(statement, ast.Return), awaited, wrapper)

    def own_function(self, function: Function, node: ast.expr) -> Function | None:
        """The function of a module that is called so: as it was written, if a decorator of the service wraps it."""
        if isinstance(node, ast.Name) and node.id in function.locals:
            return None
        atoms = self.resolve(function, node)
        atom = next(iter(atoms), None) if len(atoms) == 1 else None
        if not isinstance(atom, Func) or atom.bound is not None:
            return None
        info = atom.info.face()
        plain = isinstance(info.node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not plain or info.scope.kind != "module" or info.asynchronous != atom.info.asynchronous:
            return None
        if info.node.decorator_list and info is atom.info:  # type: ignore[union-attr]
            return None
        return None if any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(info.node)) else info

    def resolve(self, function: Function, node: ast.expr) -> Atoms:
        """What a name of the module, or of a module in it, stands for."""
        if isinstance(node, ast.Name):
            found = function.module.scope.names.get(node.id)
            return found if found is not None else NOTHING
        if isinstance(node, ast.Attribute):
            for atom in self.resolve(function, node.value):
                if isinstance(atom, ModuleAtom):
                    return atom.info.scope.names.get(node.attr, NOTHING)
                if isinstance(atom, Lib):
                    return self._m.named(f"{atom.name}.{node.attr}")
        return NOTHING

    def _global(self, function: Function, node: ast.AST) -> Atoms:
        """What a name that is none of the function's own stands for."""
        first = node
        while isinstance(first, ast.Attribute):
            first = first.value
        if not isinstance(first, ast.Name) or first.id in function.locals:
            return NOTHING
        assert isinstance(node, ast.Name | ast.Attribute)
        around = _around(function, first.id)
        if around is not None:
            found = around.names[first.id] if first is node else NOTHING
            return NOTHING if any(isinstance(a, Func) and a.info is function.shown for a in found) else found
        return self.resolve(function, node)

    def promises(self, function: Function, call: ast.Call) -> str:
        """The function that is called, if what it gives is to be waited for."""
        atoms = self._global(function, call.func) if isinstance(call.func, ast.Name | ast.Attribute) else NOTHING
        if any(isinstance(atom, Lib) and atom.name in _PROMISING for atom in atoms):
            return ast.unparse(call.func)
        own = [atom.info for atom in atoms if isinstance(atom, Func)]
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            instance = self._global(function, call.func.value) | self.of_local(function, call.func.value.id)
            own += [method for atom in instance for method in _functions(atom) if method.name == call.func.attr]
        return next((each.name for each in own if each.asynchronous), "")

    def swallows(self, function: Function, entered: ast.expr) -> bool:
        """Whether what a `with` enters may end an error that is raised in it."""
        made = entered.func if isinstance(entered, ast.Call) else entered
        if not isinstance(made, ast.Name | ast.Attribute):
            return True
        last = made.id if isinstance(made, ast.Name) else made.attr
        if last in _SWALLOWING or (isinstance(entered, ast.Name) and last in function.locals):
            return True
        atoms = self._global(function, made)
        return any(isinstance(a, Func | ClassAtom) or (isinstance(a, Ref) and a.obj.cls is not None) for a in atoms)

    def of_local(self, function: Function, name: str) -> Atoms:
        """What a name of the function's own may be."""
        return self._m.values.get((function.node, name), NOTHING)

    def running(self, function: Function, statement: ast.AST) -> list[tuple[Function, ast.AST]]:
        """What may run when the statement does: itself, and the functions that it reaches."""
        called = sorted(self.reached_by(function, statement), key=lambda f: (f.module.file, f.node.lineno))
        return [(function, statement), *((each, each.node) for each in called)]

    def is_lock(self, function: Function, node: ast.Attribute) -> bool:
        """Whether a lock is taken or given back by name."""
        if node.attr not in ("acquire", "release"):
            return False
        atoms = self._global(function, node.value) if isinstance(node.value, ast.Name | ast.Attribute) else NOTHING
        return any(isinstance(a, Ref) and a.obj.kind == "lib" and a.obj.name.startswith(_LOCKS) for a in atoms)

    def is_around(self, function: Function, name: str) -> bool:
        """Whether it is a name of a function around this one."""
        return name not in function.locals and _around(function, name) is not None

    def looks_around(self, function: Function, call: ast.Call) -> bool:
        """Whether it is given all names of the function, as `locals()` is."""
        name = call.func
        if not isinstance(name, ast.Name) or not self.is_builtin(function, name):
            return False
        return name.id in ("locals", "eval", "exec") or (name.id in ("vars", "dir") and not call.args)

    def is_builtin(self, function: Function, node: ast.Name) -> bool:
        known = node.id in function.locals or node.id in function.module.scope.names
        return not known and _around(function, node.id) is None

    # What is used

    def framework(self, info: Function) -> bool:
        """Whether it uses the framework, itself or through what it calls."""
        return any(self._framework_directly(each) for each in self.reached(info))

    def meaning(self, function: Function, node: ast.AST) -> Atoms:
        """What a name stands for that is none of the function's own, or an attribute of one."""
        return self._global(function, node)

    def is_framework(self, function: Function, node: ast.AST) -> bool:
        atoms = self._global(function, node)
        return any(of_framework(a) or (isinstance(a, Func) and self.framework(a.info)) for a in atoms)

    def _framework_directly(self, info: Function) -> bool:
        if info not in self._framed:
            nodes = ast.walk(info.node)
            self._framed[info] = any(of_framework(a) for node in nodes for a in self._global(info, node))
        return self._framed[info]

    def touches(self, function: Function, node: ast.AST) -> bool:
        """Whether the name leads to state, or to a function or class that uses it."""
        if self._is_state(function, node):
            return True
        reached = (each for a in self._global(function, node) for info in _functions(a) for each in self.reached(info))
        return any(self._touches_directly(info) for info in reached)

    def is_live(self, function: Function, node: ast.AST) -> bool:
        """Whether it is a name of the function's own for what cannot travel, and may lead to state: an object of the
        state itself, one of a class, the request or the application."""
        if not isinstance(node, ast.Name) or node.id not in function.locals:
            return False
        atoms = self.of_local(function, node.id)
        return any(
            (isinstance(a, Req) and not a.path)
            or (isinstance(a, Ref) and (a.obj.cls is not None or of_framework(a)))
            or (isinstance(a, Ref) and any(name in self._state for name, _ in a.obj.roots()))
            for a in atoms
        )

    def _touches_directly(self, info: Function) -> bool:
        if info not in self._touching:
            own = any(id_.startswith(f"{info.path}.") for id_ in self._state)
            self._touching[info] = own or any(self._is_state(info, node) for node in ast.walk(info.node))
        return self._touching[info]

    def _is_state(self, function: Function, node: ast.AST) -> bool:
        if not isinstance(node, ast.Name | ast.Attribute):
            return False
        atoms = self._global(function, node)
        if isinstance(node, ast.Name) and node.id not in function.locals:
            scope = _around(function, node.id) or function.module.scope
            if f"{scope.path}.{node.id}" in self._state:
                return True
        for atom in atoms:
            if isinstance(atom, Ref) and any(name in self._state for name, _ in atom.obj.roots()):
                return True
            if isinstance(atom, ClassAtom) and any(id_.startswith(f"{atom.info.path}.") for id_ in self._state):
                return True
        return False

    def reached_by(self, function: Function, statement: ast.AST) -> set[Function]:
        """What may run when the statement of this function does."""
        nodes = ast.walk(statement)
        return {f for n in nodes for a in self._called_on(function, n) for i in _functions(a) for f in self.reached(i)}

    def _called_on(self, function: Function, node: ast.AST) -> Atoms:
        """What a name stands for, whose functions may be called: of a local name, the methods of what it may be."""
        local = isinstance(node, ast.Name) and node.id in function.locals
        return self.of_local(function, node.id) if local else self._global(function, node)  # type: ignore[attr-defined]

    def reached(self, info: Function) -> frozenset[Function]:
        """What may run if it is called."""
        if info not in self._reaching:
            found = {info}
            waiting = [info]
            while waiting:
                one = waiting.pop()
                inner = [one.shown] if one.shown is not None else []
                inner += [f for node in ast.walk(one.node) for a in self._global(one, node) for f in _functions(a)]
                new = [f for f in dict.fromkeys(inner) if f not in found]
                found |= set(new)
                waiting += new
            self._reaching[info] = frozenset(found)
        return self._reaching[info]


def _around(function: Function, name: str) -> Scope | None:
    """The function around this one whose name it is."""
    scope: Scope | None = function.scope
    while scope is not None and scope.kind == "function":
        if name in scope.names:
            return scope
        scope = scope.parent
    return None


def of_framework(atom: Atom) -> bool:
    """Whether it is the request, or of the framework or what extends it."""
    if isinstance(atom, Req | Special):
        return not (isinstance(atom, Special) and atom.kind == "path")
    if isinstance(atom, Lib):
        return _is_frameworks(atom.name) and not atom.name.startswith(_ERRORS)
    return isinstance(atom, Ref) and atom.obj.kind == "lib" and _is_frameworks(atom.obj.name)


def _is_frameworks(name: str) -> bool:
    package = name.split(".")[0]
    return package in _FRAMEWORKS or package.startswith(_EXTENSIONS)


def _functions(atom: Atom) -> list[Function]:
    if isinstance(atom, Func):
        return [atom.info]
    if isinstance(atom, ClassAtom):
        return _methods(atom.info)
    return _methods(atom.obj.cls) if isinstance(atom, Ref) and atom.obj.cls is not None else []


def _methods(cls: Class) -> list[Function]:
    values = [a for one in cls.lineage() for value in one.scope.names.values() for a in value if isinstance(a, Func)]
    return [f for a in values for f in (a.info, *a.info.setters)]

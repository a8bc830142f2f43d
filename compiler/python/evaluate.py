"""Runs the service's code on atoms: first its modules as they load, then each handler. What a handler does to what is
live is recorded as uses.

A statement is run on all its branches, a loop twice, a function once for each way its arguments look. Statements and
functions are here; expressions, calls and memory beside. Knows no framework.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from compiler import remedies
from compiler.facts import Harm, Hazard, Initial, Mode, Place, Variable
from compiler.python import calls, expressions, memory, templates
from compiler.python.model import (
    NONE,
    NOTHING,
    PLAIN,
    Atoms,
    Class,
    ClassAtom,
    Const,
    Foreign,
    Func,
    Function,
    Lib,
    LibMethod,
    Module,
    ModuleAtom,
    Obj,
    Part,
    Recorder,
    Ref,
    Req,
    Scope,
    Special,
)
from compiler.python.read import Sources, absolute, place

DEPTH_MAX = 40
"""Calls inside calls that are followed; deeper ones are not seen."""
STEPS_MAX = 60_000
"""Statements that are looked at for one handler, or while the service loads; beyond, it is kept in one process."""
WORK_MAX = 300_000
"""Expressions and calls that are looked at while the service loads and for all handlers together, each again for
every way that leads to it and for what may be many things (`memory.THINGS_A_STEP`); beyond, it is kept in one
process."""
TOO_MUCH = "is where what may happen became too much to be followed"

Names = dict[str, Atoms]

_REQUESTS = {"flask", "quart", "flask.globals", "quart.globals", "bottle"}


@dataclass
class Frame:
    """One run of a function, or of a module."""

    scope: Scope
    function: Function | None = None
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    returns: Atoms = NOTHING
    yields: Atoms = NOTHING
    receiver: Atoms = NOTHING
    """What `super()` is about."""

    @property
    def module(self) -> Module:
        return self.scope.module


class Hooks:
    """What a framework sees: overridden by `starts.Frameworks`."""

    def call_library(self, m: Machine, name: str, call: calls.Args, frame: Frame) -> Atoms | None:
        """A call of a library's function or class; None if it is nothing special."""
        return None

    def call_method(self, m: Machine, method: LibMethod, call: calls.Args, frame: Frame) -> Atoms | None:
        return None

    def call_special(self, m: Machine, special: Special, call: calls.Args, frame: Frame) -> Atoms:
        return PLAIN

    def attribute(self, m: Machine, of: Obj, name: str) -> Atoms | None:
        return None

    def instance(self, m: Machine, library: str, where: Place) -> None:
        """An instance of an own class that comes from a library's class is made."""

    def given(self, m: Machine, value: Atoms) -> None:
        """The application is given it while the program loads, such as for its templates."""

    def set_item(self, m: Machine, of: Obj, key: Atoms, value: Atoms, where: Place) -> None:
        return None


class Machine:
    def __init__(self, sources: Sources, hooks: Hooks, embedded: bool) -> None:
        self.sources, self.hooks, self.embedded = sources, hooks, embedded
        self.loading = True
        self.recorder = Recorder()
        self.frames: list[Frame] = []
        self.objects: dict[tuple[str, Place, str], Obj] = {}
        self.generators: dict[Obj, ast.AST] = {}
        """Generators, and the code that makes what they give."""
        self.variables: dict[str, tuple[Scope, str]] = {}
        self.synthetic: dict[str, Variable] = {}
        self.nameless: set[str] = set()
        """Those of objects that no name leads to when the service runs."""
        self.request_attrs: dict[str, Atoms] = {}
        self.callbacks: dict[Func, None] = {}
        """Functions that a library was given: it may call them at any request."""
        self.hazards: dict[Hazard, None] = {}
        self.handed: dict[Obj, Place] = {}
        """What libraries were given while the service loaded, and where: they may look at it at any request."""
        self.env: dict[str, None] = {}
        self.reads: dict[Place, None] = {}
        """Where handlers read files."""
        self.call_place = Place("", 0)
        self.secrets: dict[tuple[Obj, str], tuple[Atoms, Place]] = {}
        """Applications and their settings that are made once (`config.SECRET_KEY`), of what and where."""
        self.signs_always = False
        """Whether every request may look at what is signed."""
        self.operators: dict[Function, tuple[Atoms, Atoms]] = {}
        """Operators of own classes that are being run, and on what."""
        self.operating = False
        self.making: list[Class] = []
        """Classes whose statements are through, and whose metaclass or parents have not done their part."""
        self.values: dict[tuple[ast.AST, str], Atoms] = {}
        """What the names of functions were given, and as "return" what they gave back."""
        self.injected: set[tuple[ast.AST, str]] = set()
        """Parameters of functions that a dependency of a framework gives."""
        self.runs: dict[str, int] = {}
        """How often own functions were called while the service loaded."""
        self.changed = False
        self.steps = 0
        self.work = 0
        """Counts to WORK_MAX."""
        self.gave_up = False
        self._shown: frozenset[str] | None = None
        self._memo: dict[tuple[object, ...], Atoms] = {}
        self.unstorable: dict[str, str] = {}
        """Variables that hold what a library made and a request changes, and what it is."""
        self._active: dict[tuple[object, ...], Atoms] = {}
        self._again: set[tuple[object, ...]] = set()
        """Of what is being run, what was called again meanwhile."""

    # Modules

    def load(self, module: Module) -> None:
        if module.loaded:
            return
        module.loaded = True
        loading, recorder = self.loading, self.recorder
        self.loading, self.recorder = True, Recorder()
        self.changed = True
        module.scope.names |= {
            "__name__": frozenset({Const("__main__"), Const(module.name)}),
            "__file__": frozenset({Const(module.file)}),
        }
        frame = Frame(module.scope)
        self.frames.append(frame)
        self.block(module.tree.body, frame)
        self.frames.pop()
        self.loading, self.recorder = loading, recorder

    def import_name(self, name: str) -> Module | None:
        """Loads the own module `name` with its packages; None if it is a library's."""
        parts = name.split(".")
        found: Module | None = None
        for length in range(1, len(parts) + 1):
            dotted = ".".join(parts[:length])
            module = self.sources.find(dotted)
            if module is None:
                found = None
                if not self.sources.is_folder(dotted):
                    return None
                continue
            if found is not None:
                found.scope.names.setdefault(parts[length - 1], frozenset({ModuleAtom(module)}))
            self.load(module)
            found = module
        return found

    # Requests

    def begin(self) -> Recorder:
        """A new start: what follows is recorded for it."""
        self.loading = False
        self.recorder = Recorder()
        self.steps = 0
        self._memo.clear()
        self._active.clear()
        self._again.clear()
        return self.recorder

    def hazard(self, harm: Harm, what: str, where: Place, remedy: str = "") -> None:
        hazard = Hazard(harm, what, where, remedy)
        if self.loading:
            self.hazards[hazard] = None
        else:
            self.recorder.hazard(hazard)

    def shown_names(self) -> frozenset[str]:
        """What templates look up on what they are given."""
        if self._shown is None:
            texts = [text for module in self.sources.modules.values() for text in templates.written(module.tree)]
            self._shown = templates.names(self.sources.folder, texts)
        return self._shown

    def note_value(self, info: Function, name: str, value: Atoms) -> None:
        if not self.loading:
            self.values[info.node, name] = self.values.get((info.node, name), NOTHING) | value

    def named(self, name: str) -> Atoms:
        """A name of a library, or what it stands for in each request."""
        module, _, last = name.rpartition(".")
        if module in _REQUESTS:
            if last == "request":
                return frozenset({Req()})
            if last == "session":
                return frozenset({Special("request-local", (last,))})
            if last == "g":
                return frozenset({Special("request-local")})
            if last == "current_app":
                return frozenset({Special("current-app")})
        return frozenset({Lib(name)})

    def read_secrets(self, where: Place) -> None:
        """Something that is signed is looked at, or made."""
        for obj, name in self.secrets if not self.loading else ():
            if obj.owner:
                self.recorder.use(f"{obj.owner}.{name}", Mode.READ, where)

    def here(self, node: ast.AST) -> Place:
        return place(self.frames[-1].module, node)

    def exhausted(self, node: ast.AST) -> bool:
        """Whether no more is looked at, told once for the whole service: at the place where it became too much."""
        if self.work <= WORK_MAX:
            return False
        if not self.gave_up:
            self.gave_up = True
            self.hazards[Hazard(Harm.OPAQUE, TOO_MUCH, self.here(node), remedies.TOO_DEEP)] = None
        return True

    # Statements

    def block(self, statements: Iterable[ast.stmt], frame: Frame) -> None:
        for statement in statements:
            self.steps += 1
            if self.exhausted(statement):
                return
            if self.steps > STEPS_MAX:
                where = place(frame.module, statement)
                self.hazard(Harm.OPAQUE, "is too entangled to be followed", where, remedies.TOO_DEEP)
                return
            handler = _STATEMENTS.get(type(statement))
            if handler is not None:
                handler(self, statement, frame)

    def value(self, node: ast.expr | None) -> Atoms:
        return NOTHING if node is None else expressions.evaluate(self, node, self.frames[-1])

    def branches(self, frame: Frame, *bodies: Callable[[], None]) -> None:
        """Each body is run on the names as they are now; after them each name may be what any of them made of it."""
        before = frame.scope.names
        after: list[Names] = []
        for body in bodies:
            frame.scope.names = dict(before)
            body()
            after.append(frame.scope.names)
        frame.scope.names = joined(after)

    def assign(self, target: ast.expr, value: Atoms, frame: Frame) -> None:
        if isinstance(target, ast.Name):
            memory.bind(self, target.id, value, frame, place(frame.module, target))
        elif isinstance(target, ast.Attribute):
            memory.set_attribute(self, self.value(target.value), target.attr, value, self.here(target))
        elif isinstance(target, ast.Subscript):
            memory.set_item(self, self.value(target.value), self.value(target.slice), value, self.here(target))
        elif isinstance(target, ast.Starred):
            whole = memory.fresh(self, "list", target)
            whole.elements |= value
            self.assign(target.value, frozenset({Ref(whole)}), frame)
        elif isinstance(target, ast.Tuple | ast.List):
            items = memory.unpack(self, value, len(target.elts), self.here(target))
            for element, item in zip(target.elts, items, strict=True):
                self.assign(element, item, frame)

    # Functions

    def call(self, function: Func, args: calls.Args) -> Atoms:
        """The value of a call of an own function."""
        info = function.info
        for hazard in info.hazards:
            self.hazard(hazard.harm, hazard.what, hazard.place, hazard.remedy)
        bound = function.bound if function.bound is not None else NOTHING
        key = (info.node, id(info.scope), bound, args.key(), self.loading)
        self.work += 1
        if key in self._active:
            self._again.add(key)
            return self._active[key] or PLAIN
        if not self.loading and key in self._memo:
            return self._memo[key]
        if self.exhausted(info.node):
            return PLAIN
        if len(self.frames) > DEPTH_MAX:
            where = place(info.module, info.node)
            self.hazard(Harm.OPAQUE, "calls too deep to be followed", where, remedies.TOO_DEEP)
            return PLAIN
        self._active[key] = NOTHING
        if "cached" in info.decorators and not self.loading:
            self._remembered(info, bound, args)
        returns = self._run(info, bound, args)
        if returns and not self.loading and key in self._again:
            self._active[key] = returns
            returns |= self._run(info, bound, args)
            if not isinstance(info.node, ast.Lambda) and any(map(_sleeps, ast.walk(info.node))):
                _again(self, info.node, info.node.body, info.module, len(self.recorder.uses))
        del self._active[key]
        self._again.discard(key)
        self._memo[key] = returns
        return returns

    def _remembered(self, info: Function, bound: Atoms, args: calls.Args) -> None:
        """`lru_cache`: it keeps answers; no state if they are always the same, which what it touches tells."""
        outer, self.recorder = self.recorder, Recorder()
        before, self._memo = self._memo, {}  # what was seen already is to be recorded here, too
        value = self._run(info, bound, args)
        inner, self.recorder = self.recorder, outer
        self._memo = before
        if inner.varies:
            outer.varies = True
        if "asked" in info.decorators:  # by what it remembers
            self._cache(info, Initial.OPAQUE)
        if inner.uses or inner.hazards or inner.files or inner.varies:
            self._cache(info, Initial.OPAQUE)
            what = f"remembers what {info.name} gave, which depends on more than its arguments"
            self.hazard(Harm.OPAQUE, what, place(info.module, info.node), "take the lru_cache away")
        for atom in value:
            if isinstance(atom, Ref) and not atom.obj.live and atom.obj.kind != "lib":
                detail = "what lru_cache remembers"
                id_ = f"{info.path}.cache"
                known = self.synthetic.get(id_)
                self.synthetic[id_] = known or Variable(
                    id_, info.name, place(info.module, info.node), Initial.CODE, True, detail
                )
                memory.promote(self, atom.obj, id_)

    def ask_cache(self, info: Function) -> None:
        """`cache_info`, `cache_clear`: what it remembers is state, as somebody looks at it."""
        if "asked" not in info.decorators:
            info.decorators += ("asked",)
            self.changed = True
        self._cache(info, Initial.OPAQUE)

    def _cache(self, info: Function, initial: Initial) -> None:
        id_ = f"{info.path}.cache"
        where = place(info.module, info.node)
        self.synthetic[id_] = Variable(id_, info.name, where, initial, True, "what lru_cache remembers in a process")
        self.recorder.use(id_, Mode.WRITE, where)

    def _run(self, info: Function, bound: Atoms, args: calls.Args) -> Atoms:
        scope = Scope("function", f"{info.path}", info.module, info.scope, self.loading)
        if self.loading:
            scope.captured = _captured(info.node)
            self.runs[info.path] = self.runs.get(info.path, 0) + 1
        frame = Frame(scope, info, receiver=bound)
        self.frames.append(frame)
        try:
            calls.bind_parameters(self, info, bound, args, frame)
            if isinstance(info.node, ast.Lambda):
                return self.value(info.node.body)
            self.block(info.node.body, frame)
        finally:
            self.frames.pop()
        if frame.yields:
            made = memory.fresh(self, "iterator" if self.loading else "list", info.node, memory.lazy(self))
            made.elements |= frame.yields
            self.generators[made] = info.node
            return frozenset({Ref(made)})
        self.note_value(info, "return", frame.returns)
        return frame.returns or NONE

    def define(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, frame: Frame) -> Function:
        scope = frame.scope
        name = node.name if not isinstance(node, ast.Lambda) else f"lambda_{node.lineno}"
        prefix = scope.path
        parts = []
        if frame.function is not None:
            parts = [frame.function.qualname, "<locals>"]
        elif scope.kind == "class":
            parts = [_qualname(scope)]
        info = Function(node, frame.module, scope, name, f"{prefix}.{name}", ".".join([*parts, name]))
        if scope.kind == "class" and frame.function is None:
            info.qualname = f"{_qualname(scope)}.{name}"
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        for argument, default in zip(reversed(positional), reversed(arguments.defaults), strict=False):
            info.defaults[argument.arg] = self._default(info, argument.arg, default)
        for argument, default_or_none in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if default_or_none is not None:
                info.defaults[argument.arg] = self._default(info, argument.arg, default_or_none)
        return info

    def _default(self, info: Function, name: str, node: ast.expr) -> Atoms:
        """A default that can change is made once, and outlives requests like a variable of the function."""
        value = self.value(node)
        for atom in value:
            if isinstance(atom, Ref) and atom.obj.live and not atom.obj.owner and atom.obj.kind != "tuple":
                memory.own(self, atom.obj, f"{info.path}.{name}", name, value)
        return value


@functools.cache
def _captured(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    inner = [one for one in ast.walk(node) if isinstance(one, kinds) and one is not node]
    bodies = [part for one in inner for part in (one.body if isinstance(one.body, list) else [one.body])]
    return frozenset(name.id for body in bodies for name in ast.walk(body) if isinstance(name, ast.Name))


def joined(names: list[Names]) -> Names:
    result = dict(names[0])
    for other in names[1:]:
        for name, value in other.items():
            mine = result.get(name, NOTHING)
            if mine is not value:  # most names no branch has touched
                result[name] = mine | value
    return result


def _qualname(scope: Scope) -> str:
    prefix = f"{scope.module.name}."
    return scope.path.removeprefix(prefix)


def _function(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    info = m.define(node, frame)
    value: Atoms = frozenset({Func(info)})
    if frame.scope.kind == "class":
        info.cls = _class_of(frame)
    for decorator in reversed(node.decorator_list):
        value = calls.decorate(m, m.value(decorator), value, decorator, frame)
    memory.bind(m, node.name, value, frame, place(frame.module, node))


def _class_of(frame: Frame) -> Class | None:
    for atom in frame.scope.names.get("__class__", NOTHING):
        if isinstance(atom, ClassAtom):
            return atom.info
    return None


def _class(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.ClassDef)
    outer = frame.scope
    scope = Scope("class", f"{outer.path}.{node.name}", frame.module, outer, outer.live)
    bases = tuple(m.value(base) for base in node.bases)
    given = {keyword.arg or "": m.value(keyword.value) for keyword in node.keywords}
    metas = given.pop("metaclass", NOTHING)
    cls = Class(node.name, scope.path, _qualname(scope), frame.module, scope, bases, node, metas)
    scope.names["__class__"] = frozenset({ClassAtom(cls)})
    inner = Frame(scope)
    m.frames.append(inner)
    m.block(node.body, inner)
    if _is_model(bases):
        _fields_of_model(node, scope)
    calls.finish_class(m, cls, calls.Args((), tuple(sorted(given.items()))), node)
    m.frames.pop()
    value: Atoms = frozenset({ClassAtom(cls)})
    for decorator in reversed(node.decorator_list):
        value = calls.decorate(m, m.value(decorator), value, decorator, frame)
    memory.bind(m, node.name, value, frame, place(frame.module, node))


def _is_model(bases: Iterable[Atoms]) -> bool:
    return any(
        (isinstance(atom, Lib) and atom.name.startswith("pydantic."))
        or (isinstance(atom, ClassAtom) and _is_model(atom.info.bases))
        for base in bases
        for atom in base
    )


def _fields_of_model(node: ast.ClassDef, scope: Scope) -> None:
    """What is written as a class's attribute says of each instance what it begins with (a list is copied), and is none:
    pydantic takes it away."""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            scope.names.pop(statement.target.id, None)


def _return(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Return)
    frame.returns |= m.value(node.value) if node.value is not None else NONE


def _assign(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Assign)
    value = m.value(node.value)
    for target in node.targets:
        m.assign(target, value, frame)


def _annotated(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.AnnAssign)
    if node.value is not None:
        m.assign(node.target, m.value(node.value), frame)


def _augmented(m: Machine, node: ast.stmt, frame: Frame) -> None:
    """`x += y` changes a list in place and gives a number another value: both."""
    assert isinstance(node, ast.AugAssign)
    value = m.value(node.value)
    load = ast.copy_location(_as_load(node.target), node.target)
    old = m.value(load)
    where = m.here(node)
    memory.consume(m, old, Mode.READ, where)
    memory.change(m, old, where, value)
    m.assign(node.target, memory.combined(m, old, value, node), frame)


def _as_load(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Name):
        return ast.Name(node.id, ast.Load())
    if isinstance(node, ast.Attribute):
        return ast.copy_location(ast.Attribute(node.value, node.attr, ast.Load()), node)
    if isinstance(node, ast.Subscript):
        return ast.copy_location(ast.Subscript(node.value, node.slice, ast.Load()), node)
    return node


def _delete(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Delete)
    for target in node.targets:
        if isinstance(target, ast.Subscript):
            memory.remove_item(m, m.value(target.value), m.value(target.slice), m.here(target))
        elif isinstance(target, ast.Attribute):
            memory.set_attribute(m, m.value(target.value), target.attr, NOTHING, m.here(target))
        elif isinstance(target, ast.Name):
            memory.bind(m, target.id, NONE, frame, m.here(target))


def _if(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.If)
    expressions.truth(m, node.test, frame)
    m.branches(frame, lambda: m.block(node.body, frame), lambda: m.block(node.orelse, frame))


def _while(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.While)

    def once() -> None:
        expressions.truth(m, node.test, frame)
        m.block(node.body, frame)

    def twice() -> None:
        m.branches(frame, once, lambda: None)
        once()

    before = len(m.recorder.uses)
    m.branches(frame, twice, lambda: None)
    m.block(node.orelse, frame)
    if any(_pauses(inner) for inner in ast.walk(node)):
        _again(m, node, [node], frame.module, before)


def _again(m: Machine, around: ast.AST, parts: list[ast.stmt], module: Module, before: int) -> None:
    """What these parts look at, in their own lines or, since there were so many uses before, in what they call, they
    look at again and again, and others may run between."""
    if m.loading:
        return
    lines = {line for part in parts for line in range(part.lineno, (part.end_lineno or part.lineno) + 1)}
    for index, use in enumerate(m.recorder.uses):
        if index >= before or (use.place.file == module.file and use.place.line in lines):
            m.recorder.awaited.setdefault(use.variable, place(module, around))


def _sleeps(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep"


def _pauses(node: ast.AST) -> bool:
    """Whether others may run meanwhile."""
    return _sleeps(node) or isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)


def _for(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.For | ast.AsyncFor)
    _waits(m, node)
    items = memory.walk(m, m.value(node.iter), m.here(node.iter))

    def once() -> None:
        m.assign(node.target, items, frame)
        m.block(node.body, frame)

    def twice() -> None:
        m.branches(frame, once, lambda: None)
        once()

    before = len(m.recorder.uses)
    m.branches(frame, once if m.loading else twice, lambda: None)
    inside = [inner for statement in node.body for inner in ast.walk(statement)]
    if any(isinstance(inner, ast.Break | ast.Return) for inner in inside) and any(map(_sleeps, inside)):
        _again(m, node, node.body, frame.module, before)  # it ends when it has seen what it waits for
    m.block(node.orelse, frame)


def _waits(m: Machine, node: ast.AST) -> None:
    if isinstance(node, ast.AsyncFor | ast.AsyncWith | ast.Await):
        m.recorder.waits = True


def _with(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.With | ast.AsyncWith)
    _waits(m, node)
    for item in node.items:
        value = m.value(item.context_expr)
        entered = calls.enter(m, value, item.context_expr, frame)
        if item.optional_vars is not None:
            m.assign(item.optional_vars, entered, frame)
    m.block(node.body, frame)


def _try(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Try | ast.TryStar)
    m.branches(frame, lambda: m.block([*node.body, *node.orelse], frame), lambda: None)

    def handle(handler: ast.ExceptHandler) -> None:
        if handler.name:
            memory.bind(m, handler.name, PLAIN, frame, m.here(handler))
        m.block(handler.body, frame)

    m.branches(frame, lambda: None, *[lambda h=h: handle(h) for h in node.handlers])
    m.block(node.finalbody, frame)


def _match(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Match)
    subject = m.value(node.subject)
    memory.consume(m, subject, Mode.WALK, m.here(node))

    def one(case: ast.match_case) -> None:
        inside = subject | memory.elements(subject)
        for pattern in ast.walk(case.pattern):
            name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
            if name:
                memory.bind(m, name, inside, frame, m.here(case.pattern))
        if case.guard is not None:
            expressions.truth(m, case.guard, frame)
        m.block(case.body, frame)

    m.branches(frame, lambda: None, *[lambda c=c: one(c) for c in node.cases])


def _expression(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Expr)
    m.value(node.value)


def _raise(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Raise)
    memory.consume(m, m.value(node.exc), Mode.WALK, m.here(node))
    m.value(node.cause)


def _assert(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Assert)
    expressions.truth(m, node.test, frame)
    m.value(node.msg)


def _global(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Global)
    frame.globals |= set(node.names)


def _nonlocal(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Nonlocal)
    frame.nonlocals |= set(node.names)


def _import(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.Import)
    for alias in node.names:
        module = m.import_name(alias.name)
        top = alias.name.split(".")[0]
        if alias.asname:
            value: Atoms = frozenset({ModuleAtom(module) if module else Lib(alias.name)})
            memory.bind(m, alias.asname, value, frame, m.here(node))
            continue
        own = m.sources.find(top)
        memory.bind(m, top, frozenset({ModuleAtom(own) if own else Lib(top)}), frame, m.here(node))


def _import_from(m: Machine, node: ast.stmt, frame: Frame) -> None:
    assert isinstance(node, ast.ImportFrom)
    if node.module == "__future__":
        return
    base = absolute(frame.module, node.module, node.level)
    module = m.import_name(base) if base else None
    for alias in node.names:
        if alias.name == "*":
            if module is None:
                frame.module.stars.append(base)
            else:
                for name, value in list(module.scope.names.items()):
                    if not name.startswith("_"):
                        memory.bind(m, name, value, frame, m.here(node))
            continue
        inner = m.import_name(f"{base}.{alias.name}" if base else alias.name)
        value = NOTHING
        if module is not None:
            value = module.scope.names.get(alias.name, NOTHING)
        if not value and inner is not None:
            value = frozenset({ModuleAtom(inner)})
        if not value:
            own = module is not None
            value = frozenset({Foreign(base, True)}) if own else m.named(f"{base}.{alias.name}")
        memory.bind(m, alias.asname or alias.name, value, frame, m.here(node))


_STATEMENTS: dict[type[ast.stmt], Callable[[Machine, ast.stmt, Frame], None]] = {
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.Return: _return,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Delete: _delete,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.TryStar: _try,
    ast.Match: _match,
    ast.Expr: _expression,
    ast.Raise: _raise,
    ast.Assert: _assert,
    ast.Global: _global,
    ast.Nonlocal: _nonlocal,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
}

__all__ = ["Frame", "Hooks", "Machine", "Part"]

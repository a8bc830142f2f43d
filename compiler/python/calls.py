"""Calls: of own functions and classes, of libraries, of containers' methods. Knows no framework: `Hooks` does."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.facts import Harm, Mode, Place
from compiler.python import builtin, keys, memory, settings
from compiler.python.libraries import (
    CONTAINERS,
    DATA_METHODS,
    GIVE_SAME,
    LISTS_OF_TEXT,
    MUTATORS,
    NEVER_RETURN,
    PROCESS_SETTERS,
    PROCESS_SETTINGS,
    READERS,
    SIGNED,
    STARTS_WORK,
    UNSIGNED,
    VALUES,
    WRITE_INTO,
    Kind,
    about,
    changes,
    gives_data,
    in_memory,
)
from compiler.python.model import (
    NONE,
    NOTHING,
    PLAIN,
    SCALAR,
    Atom,
    Atoms,
    Class,
    ClassAtom,
    Const,
    Foreign,
    Func,
    Function,
    Lib,
    LibMethod,
    Method,
    Obj,
    Once,
    Part,
    Plain,
    Ref,
    Req,
    Scalar,
    Special,
)

if TYPE_CHECKING:
    from compiler.python.evaluate import Frame, Machine

OPERATOR_ROUNDS_MAX = 8
"""So often an operator of an own class is looked at again, as it is used on more inside itself."""

_HARMS = {
    Kind.OPAQUE: (Harm.OPAQUE, "uses {}"),
    Kind.UNKNOWN: (Harm.OPAQUE, "uses {}"),
    Kind.LOCAL: (Harm.LOCAL, "uses {}"),
    Kind.TIMER: (Harm.TIMER, "starts {}"),
    Kind.HELD: (Harm.HELD, "uses {}"),
    Kind.DYNAMIC: (Harm.DYNAMIC, "uses {}"),
}


@dataclass(frozen=True)
class Args:
    """`rest`: what may be anywhere among the positional ones, from `*args`; `anywhere`: the same of `**kwargs`."""

    positional: tuple[Atoms, ...] = ()
    named: tuple[tuple[str, Atoms], ...] = ()
    rest: Atoms = NOTHING
    anywhere: Atoms = NOTHING

    def key(self) -> tuple[object, ...]:
        return (self.positional, self.named, self.rest, self.anywhere)

    def every(self) -> Atoms:
        return NOTHING.union(*self.positional, *(value for _, value in self.named), self.rest, self.anywhere)

    def get(self, index: int, name: str = "") -> Atoms:
        for named, value in self.named:
            if named == name:
                return value
        return self.positional[index] if 0 <= index < len(self.positional) else NOTHING


def arguments(m: Machine, node: ast.Call, frame: Frame) -> Args:
    positional: list[Atoms] = []
    rest: Atoms = NOTHING
    for arg in node.args:
        if isinstance(arg, ast.Starred):
            value = m.value(arg.value)
            spread = _tuple_items(value)
            if spread is not None and not rest:
                positional += spread
            else:
                rest |= memory.walk(m, value, m.here(arg))
        else:
            positional.append(m.value(arg))
    named: dict[str, Atoms] = {}
    anywhere: Atoms = NOTHING
    for keyword in node.keywords:
        value = m.value(keyword.value)
        if keyword.arg is not None:
            named[keyword.arg] = value
            continue
        for atom in value:
            if isinstance(atom, Ref) and atom.obj.kind == "dict" and not atom.obj.live:
                named |= atom.obj.attrs
                anywhere |= atom.obj.elements
            else:
                anywhere |= memory.walk(m, frozenset({atom}), m.here(node))
    return Args(tuple(positional), tuple(sorted(named.items(), key=lambda item: item[0])), rest, anywhere)


def _tuple_items(value: Atoms) -> list[Atoms] | None:
    if len(value) == 1:
        atom = next(iter(value))
        if isinstance(atom, Ref) and atom.obj.kind == "tuple" and not atom.obj.elements:
            return [atom.obj.attrs[str(index)] for index in range(len(atom.obj.attrs))]
    return None


def bind_parameters(m: Machine, info: Function, bound: Atoms, args: Args, frame: Frame) -> None:
    """Parameters get what they may be; a parameter that is not given its default."""
    node = info.node.args
    names = frame.scope.names
    names.update(info.defaults)
    parameters = [a.arg for a in (*node.posonlyargs, *node.args)]
    positional = list(args.positional)
    if bound or (info.kind == "classmethod"):
        positional.insert(0, bound)
    for name, value in zip(parameters, positional, strict=False):
        names[name] = value
    extra = positional[len(parameters) :]
    loose = args.rest | args.anywhere
    for index, name in enumerate(parameters):
        if index >= len(positional) and loose:
            names[name] = names.get(name, NOTHING) | loose
    known = {*parameters, *(a.arg for a in node.kwonlyargs)}
    others: dict[str, Atoms] = {}
    for name, value in args.named:
        if name in known:
            names[name] = value
        else:
            others[name] = value
    for name in known:
        names.setdefault(name, args.anywhere or PLAIN)
        m.note_value(info, name, names[name])
    if node.vararg is not None:
        made = memory.fresh(m, "tuple", node.vararg, str(hash(tuple(extra))))
        for index, value in enumerate(extra):
            made.attrs[str(index)] = made.attrs.get(str(index), NOTHING) | value
        made.elements |= args.rest
        names[node.vararg.arg] = frozenset({Ref(made)})
    if node.kwarg is not None:
        made = memory.fresh(m, "dict", node.kwarg, str(hash(tuple(others.items()))))
        made.live = False
        made.attrs |= others
        made.elements |= args.anywhere
        names[node.kwarg.arg] = frozenset({Ref(made)})
    if m.loading:
        for name, value in names.items():
            memory.note_name(m, frame.scope, name, value, m.here(info.node))


def call(m: Machine, function: Atoms, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    found: Atoms = NOTHING
    if any(isinstance(atom, Func | Method) for atom in function):  # what was looked up, not what it was looked up in
        function = frozenset(atom for atom in function if not _data(atom))
    for atom in sorted(function, key=_order):
        found |= _one(m, atom, args, node, frame)
    return found or PLAIN


def _data(atom: Atom) -> bool:
    """What cannot be called."""
    counted = isinstance(atom, Ref) and atom.obj.kind in memory.COUNTED
    return counted or isinstance(atom, Part | Plain | Scalar | Const | Req)


def _order(atom: Atom) -> str:
    return type(atom).__name__


def _one(m: Machine, atom: Atom, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    if isinstance(atom, Func):
        return m.call(atom, args)
    if isinstance(atom, ClassAtom):
        return make(m, atom.info, args, node, frame)
    if isinstance(atom, Lib):
        return library(m, atom.name, args, node, frame)
    if isinstance(atom, LibMethod):
        return library_method(m, atom, args, node, frame)
    if isinstance(atom, Method):
        return method(m, atom, args, node, frame)
    if isinstance(atom, Special):
        return m.hooks.call_special(m, atom, args, frame)
    if isinstance(atom, Ref) and atom.obj.cls is not None:
        from compiler.python.expressions import attribute

        return call(m, attribute(m, frozenset({atom}), "__call__", node), args, node, frame)
    if isinstance(atom, Req) and atom.path == ("body",):  # `await request.form()`
        return frozenset({Foreign("starlette.datastructures", True)})
    where = m.here(node)
    if isinstance(atom, Ref | Part) and atom.obj.kind in (("data", "other") if isinstance(atom, Ref) else ("other",)):
        return PLAIN
    if isinstance(atom, Ref | Part):
        hand_over(m, args, where, Mode.ESCAPE)
        memory.consume(m, frozenset({atom}), Mode.ESCAPE, where)
        if isinstance(atom, Ref) and atom.obj.kind == "lib":
            memory.touch_library(m, atom.obj, where)
            return frozenset({Foreign(atom.obj.name, about(atom.obj.name)[0] is not Kind.UNKNOWN)})
    elif isinstance(atom, Foreign) and not atom.known:
        m.hazard(Harm.OPAQUE, f"calls something of {atom.library}, which is not known", where)
        hand_over(m, args, where, Mode.ESCAPE)
    else:
        hand_over(m, args, where, Mode.ESCAPE)
    return PLAIN


def hand_over(m: Machine, args: Args, where: Place, mode: Mode) -> None:
    """Code that is not ours is given the arguments: functions among them it may call."""
    value = args.every()
    memory.consume(m, value, mode, where)
    give_functions(m, value)


def give_functions(m: Machine, value: Atoms, arguments: Atoms = PLAIN) -> Atoms:
    """A library may call the functions in `value`: now, and if the program is still loading, at any request."""
    returned: Atoms = NOTHING
    for atom in value:
        if isinstance(atom, Func):
            if m.loading:
                m.callbacks[atom] = None
            else:
                count = len(atom.info.node.args.args) - (1 if atom.bound else 0)
                returned |= m.call(atom, Args(tuple([arguments] * max(count, 0))))
        elif isinstance(atom, ClassAtom) and m.loading:
            _give_methods(m, atom.info, None)
        elif isinstance(atom, Ref) and atom.obj.cls is not None and m.loading:
            _give_methods(m, atom.obj.cls, frozenset({atom}))
            m.handed.setdefault(atom.obj, m.call_place)
        elif isinstance(atom, Ref) and atom.obj.kind in memory.COUNTED:
            inside = frozenset(a for a in memory.elements(frozenset({atom})) if isinstance(a, Func | ClassAtom))
            returned |= give_functions(m, inside, arguments)
            if m.loading:
                m.handed.setdefault(atom.obj, m.call_place)
    return returned


def _give_methods(m: Machine, cls: Class, bound: Atoms | None) -> None:
    for one in cls.lineage():
        for name, inner in list(one.scope.names.items()):
            if bound is None or name not in ("__init__", "__new__"):
                m.callbacks |= {Func(a.info, bound): None for a in inner if isinstance(a, Func)}


def make(m: Machine, cls: Class, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    """An instance of an own class."""
    where = m.here(node)
    obj = memory.fresh(m, "instance", node, cls.path, cls)
    ref: Atoms = frozenset({Ref(obj)})
    for atom in cls.find("__new__"):
        if isinstance(atom, Func):
            ref |= frozenset(a for a in m.call(Func(atom.info, frozenset({ClassAtom(cls)})), args) if _instance(a))
    functions = [atom for atom in cls.find("__init__") if isinstance(atom, Func)]
    for atom in functions:
        m.call(Func(atom.info, ref), args)
    if not functions:
        _plain_fields(m, cls, obj, args, where)
        _default_fields(m, cls, obj, node, frame)
        after_fields(m, cls, ref)
    for name in cls.libraries():
        m.hooks.instance(m, name, where)
        kind, words = about(name)
        if kind in _HARMS and not m.loading:
            harm, text = _HARMS[kind]
            m.hazard(harm, text.format(words), where)
    return ref


CHECKS = "checks"
"""Decorates what a library runs whenever an instance is made or shown."""
_AFTER_FIELDS = ("__post_init__", "__attrs_post_init__", "model_post_init")


def after_fields(m: Machine, cls: Class, ref: Atoms, seen: frozenset[Class] = frozenset()) -> None:
    """What runs when the fields of a dataclass or a model have their values: of it, and of models inside it."""
    if cls in seen or len(seen) > 4:
        return
    for one in cls.lineage():
        for name, inner in list(one.scope.names.items()):
            for atom in inner:
                if isinstance(atom, Func) and (name in _AFTER_FIELDS or CHECKS in atom.info.decorators):
                    of = frozenset({ClassAtom(cls)}) if atom.info.kind == "classmethod" else ref
                    count = max(len(atom.info.node.args.args) - 1, 0)
                    m.call(Func(atom.info, of), Args((PLAIN,) * count))
        for statement in one.node.body:
            if isinstance(statement, ast.AnnAssign):
                for node in ast.walk(statement.annotation):
                    found = one.module.scope.names.get(node.id, NOTHING) if isinstance(node, ast.Name) else NOTHING
                    for atom in found:
                        if isinstance(atom, ClassAtom):
                            after_fields(m, atom.info, PLAIN, seen | {cls})


def _instance(atom: Atom) -> bool:
    return isinstance(atom, Ref | Part)


def bare(m: Machine, value: Atoms, node: ast.AST) -> Atoms:
    """`object.__new__(cls)`."""
    classes = [atom.info for atom in value if isinstance(atom, ClassAtom)]
    return frozenset(Ref(memory.fresh(m, "instance", node, f"{c.path}.__new__", c)) for c in classes) or PLAIN


def made_class(m: Machine, args: Args, node: ast.AST) -> Atoms:
    """`super().__new__(meta, name, bases, names)` in a metaclass: the class that is being made."""
    if not m.making:
        m.hazard(Harm.DYNAMIC, "makes a class at run time", m.here(node), "write the class out")
        return PLAIN
    cls = m.making[-1]
    for atom in args.get(3):
        if isinstance(atom, Ref):
            for name, value in atom.obj.attrs.items():
                if name not in cls.scope.names:
                    memory.rebind(m, cls.scope, name, value, m.here(node))
    return frozenset({ClassAtom(cls)})


def finish_class(m: Machine, cls: Class, given: Args, node: ast.ClassDef) -> None:
    """What runs when a class statement is through: `__set_name__`, `__init_subclass__`, the metaclass."""
    m.making.append(cls)
    this: Atoms = frozenset({ClassAtom(cls)})
    for name, value in list(cls.scope.names.items()):
        for atom in value:
            if isinstance(atom, Ref) and atom.obj.kind == "instance":
                memory.special(m, atom, "__set_name__", this, frozenset({Const(name)}))
    for meta in cls.meta():
        names = memory.fresh(m, "dict", node, cls.path)
        names.attrs |= cls.scope.names
        told = Args((frozenset({Const(cls.name)}), PLAIN, frozenset({Ref(names)})), given.named)
        for method, of in (("__new__", frozenset({ClassAtom(meta)})), ("__init__", this)):
            for inner in meta.find(method):
                if isinstance(inner, Func):
                    m.call(Func(inner.info, of), told)
    for parent_class in cls.lineage()[1:]:
        hooks = [a for a in parent_class.scope.names.get("__init_subclass__", NOTHING) if isinstance(a, Func)]
        for hook in hooks:
            m.call(Func(hook.info, this), given)
        if hooks:
            break
    m.making.pop()


def _plain_fields(m: Machine, cls: Class, obj: Obj, args: Args, where: Place) -> None:
    """A dataclass, a named tuple, a model: its fields are the arguments."""
    fields = [
        statement.target.id
        for one in reversed(cls.lineage())
        for statement in one.node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    ]
    for name, value in zip(fields, args.positional, strict=False):
        obj.attrs[name] = obj.attrs.get(name, NOTHING) | value
    for name, value in args.named:
        obj.attrs[name] = obj.attrs.get(name, NOTHING) | value
    loose = args.rest | args.anywhere | NOTHING.union(*args.positional[len(fields) :])
    if loose:
        obj.elements |= loose
        if cls.libraries():
            memory.consume(m, loose, Mode.WALK, where)
    for value in (*args.positional, *(v for _, v in args.named)):
        memory._contain(m, obj, value)
    if cls.libraries() and not m.loading:
        give_functions(m, args.every())


def _default_fields(m: Machine, cls: Class, obj: Obj, node: ast.AST, frame: Frame) -> None:
    for one in cls.lineage():
        for name, value in list(one.scope.names.items()):
            for atom in value:
                if isinstance(atom, Special) and atom.kind == builtin.FIELD and name not in obj.attrs:
                    inner = builtin.field_value(m, atom, f"{cls.path}.{name}", node, frame)
                    obj.attrs[name] = inner
                    memory._contain(m, obj, inner)


def implicit(m: Machine, value: Atoms, node: ast.AST) -> None:
    """Operators and formatting call what a class defines for them."""
    for atom in value:
        classes = [atom.obj.cls] if isinstance(atom, Ref) and atom.obj.cls else []
        if isinstance(atom, Part):
            classes = sorted(atom.obj.classes, key=lambda c: c.path)
        for cls in classes:
            for one in cls.lineage():
                for name, inner in list(one.scope.names.items()):
                    if name.startswith("__") and name not in ("__init__", "__new__", "__class__", "__call__"):
                        for function in inner:
                            if isinstance(function, Func):
                                _operate(m, function.info, frozenset({atom}), value)


def _operate(m: Machine, info: Function, of: Atoms, with_: Atoms) -> None:
    """Operators that are used inside operators are run one after the other, until nothing new is used on any."""
    before = m.operators.get(info, (NOTHING, NOTHING))
    m.operators[info] = before[0] | of, before[1] | with_
    if m.operating:
        return
    m.operating = True
    done: dict[Function, tuple[Atoms, Atoms]] = {}
    for _ in range(OPERATOR_ROUNDS_MAX):
        todo = {one: given for one, given in m.operators.items() if done.get(one) != given}
        for one, given in todo.items():
            done[one] = given
            m.call(Func(one, given[0]), Args((given[1], PLAIN)))
        if not todo:
            break
    else:
        m.hazard(Harm.OPAQUE, "is too entangled to be followed", Place(info.module.file, info.node.lineno))
    m.operators.clear()
    m.operating = False


def parent(m: Machine, frame: Frame) -> Atoms:
    """`super()`: the same object, seen as its parents; what they define is found through the class."""
    function = frame.function
    cls = function.cls if function is not None else None
    if cls is None:
        return PLAIN
    return frozenset({Special("super", (cls, frame.receiver))})


def decorate(m: Machine, decorator: Atoms, value: Atoms, node: ast.expr, frame: Frame) -> Atoms:
    """What a decorated function or class becomes."""
    found: Atoms = NOTHING
    for atom in sorted(decorator, key=_order):
        found |= _decorate_one(m, atom, value, node, frame)
    return found or value


def _decorate_one(m: Machine, atom: Atom, value: Atoms, node: ast.expr, frame: Frame) -> Atoms:
    name = atom.name if isinstance(atom, Lib) else ""
    short = name.rsplit(".", 1)[-1]
    functions = [a.info for a in value if isinstance(a, Func)]
    if short in ("staticmethod", "classmethod", "property", "cached_property"):
        for info in functions:
            info.kind = "property" if short == "cached_property" else short
            info.decorators += ("kept",) if short == "cached_property" else ()
        return value
    if isinstance(atom, Method) and isinstance(atom.of, Func) and atom.name in ("setter", "getter", "deleter"):
        if atom.name != "getter":
            atom.of.info.setters += functions
        return frozenset({atom.of})
    if short in ("lru_cache", "cache"):
        return _cached(m, value, node)
    if isinstance(atom, Func | ClassAtom):
        return call(m, frozenset({atom}), Args((value,)), node, frame)
    if isinstance(atom, Special):
        return m.hooks.call_special(m, atom, Args((value,)), frame)
    if isinstance(atom, LibMethod):
        special = m.hooks.call_method(m, atom, Args((value,)), frame)
        if special is not None:
            return special
    return _foreign_decorator(m, atom, value, node)


def _foreign_decorator(m: Machine, atom: Atom, value: Atoms, node: ast.expr) -> Atoms:
    """A library's decorator: the function is run by it, as far as is known unchanged."""
    library = ""
    if isinstance(atom, Lib):
        library = atom.name
    elif isinstance(atom, LibMethod):
        library = f"{atom.of.name}.{atom.name}"
    elif isinstance(atom, Foreign):
        library = atom.library
    elif isinstance(atom, Ref) and atom.obj.kind == "lib":  # `@cached(cache={})`
        library = atom.obj.name
    kind, words = about(library) if library else (Kind.PURE, "")
    if library.startswith(("builtins.", "functools.", "dataclasses.", "contextlib.", "abc.", "typing.", "enum.")):
        return value
    from compiler.facts import Hazard

    if not m.loading:  # `@after_this_request`: it is run in this request, or by what is given it
        give_functions(m, value)
    for inner in value:
        if isinstance(inner, Func):
            inner.info.decorators += (CHECKS,) if library.startswith("pydantic.") else ()
            if kind in _HARMS:
                harm, text = _HARMS[kind]
                inner.info.hazards += (Hazard(harm, text.format(words), m.here(node)),)
            if m.loading and isinstance(atom, LibMethod):
                m.callbacks[inner] = None
    return value


def _cached(m: Machine, value: Atoms, node: ast.expr) -> Atoms:
    """Remembers answers: no state as long as the function always gives the same one for the same arguments."""
    for atom in value:
        if isinstance(atom, Func):
            atom.info.decorators += ("cached",)
    return value


def enter(m: Machine, value: Atoms, node: ast.expr, frame: Frame) -> Atoms:
    """`with value as x`."""
    found: Atoms = NOTHING
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.kind == "instance":
            from compiler.python.expressions import attribute

            one: Atoms = frozenset({atom})
            for name in ("__enter__", "__aenter__"):
                if atom.obj.cls is not None and atom.obj.cls.find(name):
                    found |= call(m, attribute(m, one, name, node), Args(), node, frame)
            for name in ("__exit__", "__aexit__"):
                if atom.obj.cls is not None and atom.obj.cls.find(name):
                    call(m, attribute(m, one, name, node), Args((PLAIN, PLAIN, PLAIN)), node, frame)
            found |= one
        elif isinstance(atom, Part):
            memory.by_class(m, frozenset({atom}), "__enter__", "__aenter__", "__exit__", "__aexit__")
            found |= {atom}
        elif isinstance(atom, Ref) and atom.obj.kind == "lib":
            memory.touch_library(m, atom.obj, m.here(node))
            found |= {atom}
        elif isinstance(atom, Ref):
            found |= memory.elements(frozenset({atom})) | {atom}
        else:
            found |= {atom}
    return found


def environment(m: Machine, of: Atoms, key: Atoms) -> None:
    """`os.environ["PORT"]`: the name is noted."""
    if any(isinstance(atom, Lib) and atom.name in ("os.environ", "os.getenv", "environ") for atom in of):
        if not m.loading:
            m.recorder.use(memory.ENVIRONMENT[0], Mode.READ, m.call_place)
        name = keys.constant(key)
        if name:
            m.env[name] = None


def library(m: Machine, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    """A call of a library's function, or of its class."""
    special = m.hooks.call_library(m, name, args, frame)
    if special is not None:
        return special
    if name in ("builtins.object.__setattr__", "builtins.object.__delattr__"):
        return builtin.set_plainly(m, args.get(0), args.get(1), args.get(2), m.here(node))
    if name in ("builtins.type.__new__", "builtins.type") and len(args.positional) > 2:
        return made_class(m, args, node)
    if name == "builtins.object.__new__":
        return bare(m, args.every(), node)
    if name.startswith("builtins."):
        return builtin.call(m, name.removeprefix("builtins."), args, node, frame)
    if name in ("os.getenv", "os.environ.get", "environ.get", "decouple.config"):
        environment(m, frozenset({Lib("os.getenv")}), args.get(0))
        return SCALAR | args.get(1)
    _settings(m, name, m.here(node))
    found = builtin.known(m, name, args, node, frame)
    if found is not None:
        return found
    if name in CONTAINERS:
        return container(m, name, args, node)
    where = m.here(node)
    kind, words = about(name)
    if m.loading:
        return _library_at_load(m, name, args, node, kind, words)
    if kind is Kind.DATABASE and m.embedded:
        m.hazard(Harm.LOCAL, "uses an embedded database (SQLite)", where, "use a database that is elsewhere")
    elif kind in _HARMS:
        harm, text = _HARMS[kind]
        m.hazard(harm, text.format(words), where)
    mode = Mode.ESCAPE if kind in (Kind.UNKNOWN, Kind.OPAQUE) else Mode.WALK
    memory.consume(m, args.every(), mode, where)
    _rendered(m, name, args, node)
    _streamed(m, name, args, node)
    returned = give_functions(m, args.every())
    if in_memory(name):
        returned |= _into_data(m, name, args, where)
    if name in NEVER_RETURN:
        return PLAIN
    if name.startswith(SIGNED):
        m.read_secrets(where)
    if kind is Kind.ONCE:
        m.recorder.varies = True
        return frozenset({Scalar()})
    if gives_data(name):
        return PLAIN | returned
    if name[0].islower() and name.rsplit(".", 1)[-1][:1].isupper() and kind is not Kind.UNKNOWN:
        made = memory.fresh(m, "lib", node, name)
        made.elements |= frozenset(a for a in args.every() if isinstance(a, Part | Ref))
        return frozenset({Ref(made)})
    return frozenset({Foreign(name, kind is not Kind.UNKNOWN)}) | returned


def _into_data(m: Machine, name: str, args: Args, where: Place) -> Atoms:
    """What a function does to arrays and the like that it is given, and which of them it may give back."""
    short = name.rsplit(".", 1)[-1]
    if short in WRITE_INTO:
        memory.change(m, args.get(0), where)
    memory.change(m, args.get(99, "out"), where)
    kept = args.every() if short in GIVE_SAME else NOTHING
    return frozenset(a for a in kept if isinstance(a, Ref | Part))


def _rendered(m: Machine, name: str, args: Args, node: ast.AST) -> None:
    from compiler.python import templates

    if name.rpartition(".")[2] in templates.RENDERING:
        settings.shown_by_templates(m, m.here(node))
        templates.shown(m, args.every(), node)


def _streamed(m: Machine, name: str, args: Args, node: ast.AST) -> None:
    from compiler.python import streamed

    streamed.given(m, name, args, node)


def _settings(m: Machine, name: str, where: Place) -> None:
    """What libraries keep for the whole process."""
    of, _, last = name.rpartition(".")
    if m.loading:
        return
    if of in memory.ENVIRONMENT:
        if last in MUTATORS:
            memory.change_library(m, of, where)
        else:
            m.recorder.use(memory.ENVIRONMENT[0], Mode.READ, where)
    elif name in PROCESS_SETTINGS or (of in ("sys.path", "sys.modules") and last in MUTATORS):
        memory.set_up_later(m, f"a setting of {name.partition('.')[0]} ({last})", where)


def _library_at_load(m: Machine, name: str, args: Args, node: ast.AST, kind: Kind, words: str) -> Atoms:
    where = m.here(node)
    give_functions(m, args.every())
    application = any(isinstance(a, Ref) and a.obj.kind == "lib" and "*app" in a.obj.attrs for a in args.every())
    if application and kind in (Kind.UNKNOWN, Kind.OPAQUE):
        m.hazard(Harm.OPAQUE, f"hands the application to {words}", where)
    m.signs_always |= application and not name.startswith(UNSIGNED)
    if kind is Kind.DYNAMIC:
        m.hazard(Harm.DYNAMIC, f"uses {words}", where)
    if name == "random.seed":
        m.hazard(Harm.OPAQUE, "seeds all random numbers while the service loads", where)
    if kind is Kind.ONCE:
        return frozenset({Once(words, m.here(node))})
    once = [atom for atom in args.every() if isinstance(atom, Once)]
    if name in VALUES:
        return PLAIN | frozenset(once)
    short = name.rsplit(".", 1)[-1]
    if kind is Kind.PURE and in_memory(name):
        return _data_of_library(m, name, args, node) | frozenset(once)
    if kind is Kind.PURE and not short[:1].isupper():
        return frozenset(once) | ({Foreign(name, True)} if not once else NOTHING)
    if once and kind in (Kind.PURE, Kind.DATABASE):
        _random_setting(m, name, once[0], where)
    if kind is Kind.TIMER or (kind is Kind.LOCAL and name.startswith("subprocess")):
        m.hazard(Harm.TIMER, f"starts {words} while the service loads", where)
    made = memory.fresh(m, "lib", node, name)
    made.elements |= args.every()
    return frozenset({Ref(made)})


def _data_of_library(m: Machine, name: str, args: Args, node: ast.AST) -> Atoms:
    """An array, a table, a picture, a document: made while the service loads, it may be changed by requests."""
    same = name.rsplit(".", 1)[-1] in GIVE_SAME
    given = frozenset(a for a in args.every() if isinstance(a, Ref | Part) and a.obj.kind == "other")
    return given if same and given else frozenset({Ref(memory.fresh(m, "other", node, name))})


def _random_setting(m: Machine, name: str, once: Atom, where: Place) -> None:
    assert isinstance(once, Once)
    what = f"gives {name} something that is {once.why}: another on each node"
    m.hazard(Harm.OPAQUE, what, where, "read it from the environment")


def container(m: Machine, name: str, args: Args, node: ast.AST) -> Atoms:
    obj = memory.fresh(m, CONTAINERS[name], node, name)
    if name == "collections.defaultdict":
        obj.inserts = True
        if not m.loading:
            obj.elements |= give_functions(m, args.get(0)) | builtin.empty(m, args.get(0), f"{name}[]", node)
        obj.classes |= {a.info for a in args.get(0) if isinstance(a, ClassAtom)}
    else:
        where = m.here(node)
        for value in args.positional[:1]:
            memory.store(m, obj, memory.walk(m, value, where), where)
    if name == "types.SimpleNamespace":
        for field, value in args.named:
            obj.attrs[field] = obj.attrs.get(field, NOTHING) | value
            memory._contain(m, obj, value)
        if args.anywhere:
            memory.open_up(obj)
            memory.store(m, obj, args.anywhere, m.here(node))
    return frozenset({Ref(obj)})


def library_method(m: Machine, atom: LibMethod, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    special = m.hooks.call_method(m, atom, args, frame)
    if special is not None:
        return special
    where = m.here(node)
    kind, words = about(atom.of.name)
    if m.loading:
        give_functions(m, args.every())
        once = [a for a in args.every() if isinstance(a, Once)]
        if once and kind in (Kind.PURE, Kind.DATABASE):
            _random_setting(m, atom.of.name, once[0], where)
        if kind is Kind.TIMER:
            m.hazard(Harm.TIMER, f"starts {words} while the service loads", where)
        application = any(isinstance(a, Ref) and a.obj.kind == "lib" and "*app" in a.obj.attrs for a in args.every())
        if application and kind in (Kind.UNKNOWN, Kind.OPAQUE):
            m.hazard(Harm.OPAQUE, f"hands the application to {words}", where)
        m.signs_always |= application and not atom.of.name.startswith(UNSIGNED)
        if kind is Kind.ONCE:
            return frozenset({Once(words, m.here(node))})
        if kind is not Kind.PURE:
            return frozenset({Ref(memory.fresh(m, "lib", node, atom.of.name))})
        return frozenset({Foreign(atom.of.name, True), Lib(f"{atom.of.name}.{atom.name}")})
    memory.touch_library(m, atom.of, where)
    if "*state" in atom.of.attrs or ("*app" in atom.of.attrs and atom.of.name.startswith("aiohttp.")):
        found = settings.entry_method(m, atom.of, atom.name, args, where)
        if found is not None:
            return found
    last = atom.name.rpartition(".")[2]
    if kind is Kind.PURE and changes(atom.of.name, last, [name for name, _ in args.named]):
        memory.record(m, atom.of, Mode.WRITE, where)
    if "*app" in atom.of.attrs and (("." in atom.name and last in MUTATORS) or last in PROCESS_SETTERS):
        memory.set_up_later(m, f"{atom.name.rpartition('.')[0]} of the application", where)
    if atom.of.name.startswith(SIGNED):
        m.read_secrets(where)
    if atom.name in STARTS_WORK:
        m.hazard(Harm.TIMER, "starts something that goes on after the answer", where)
    if not atom.of.live and kind in _HARMS:
        harm, text = _HARMS[kind]
        m.hazard(harm, text.format(words), where)
    given = args.every()
    memory.consume(m, given, Mode.WALK if kind not in (Kind.UNKNOWN, Kind.OPAQUE) else Mode.ESCAPE, where)
    returned = give_functions(m, given)
    _rendered(m, atom.name, args, node)
    _streamed(m, atom.name, args, node)
    inside = frozenset(a for a in atom.of.elements if isinstance(a, Part))
    if atom.name in DATA_METHODS and kind is Kind.PURE:
        return PLAIN | returned | inside
    return frozenset({Foreign(atom.of.name, kind is not Kind.UNKNOWN)}) | returned | inside


def method(m: Machine, atom: Method, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    """A method of a container, of data, of the request."""
    of, where = atom.of, m.here(node)
    if isinstance(of, Ref):
        return builtin.container_method(m, of.obj, atom.name, args, node, frame)
    if isinstance(of, Part):
        return _part_method(m, of, atom.name, args, where)
    if isinstance(of, Req):
        return _request_method(m, of, atom.name, args, where)
    if isinstance(of, Special) and of.kind == "path":
        return builtin.path_method(m, of, atom.name, args, where)
    if isinstance(of, Special) and of.data[:1] == (builtin.DEFAULT,):
        return builtin.context_variable(m, of, atom.name, args)
    if isinstance(of, Special) and of.kind == "super":
        return _super_method(m, of, atom.name, args, node, frame)
    if isinstance(of, Foreign) and not of.known:
        m.hazard(Harm.OPAQUE, f"uses {of.library}, a library that is not known", where)
        hand_over(m, args, where, Mode.ESCAPE)
        return frozenset({of})
    if isinstance(of, Foreign) and atom.name in STARTS_WORK:
        m.hazard(Harm.TIMER, "starts something that goes on after the answer", where)
    if isinstance(of, Foreign) and atom.name in PROCESS_SETTERS and of.library.startswith(memory.PROCESS_WIDE):
        memory.set_up_later(m, f"a setting of {of.library.partition('.')[0]} ({atom.name})", where)
    memory.consume(m, args.every(), Mode.WALK, where)
    returned = give_functions(m, args.every())
    if isinstance(of, Foreign) and atom.name in DATA_METHODS:
        return PLAIN | returned
    if isinstance(of, Foreign | Once):
        return frozenset({of}) | returned
    kept = frozenset(a for a in args.every() if isinstance(a, Part))
    text = isinstance(of, Const | Scalar) and not (m.loading and atom.name in LISTS_OF_TEXT)
    return (SCALAR if text else PLAIN) | returned | kept


def _part_method(m: Machine, of: Part, name: str, args: Args, where: Place) -> Atoms:
    given = args.every()
    if of.obj.kind == "other":
        return builtin.other_method(m, of.obj, name, args, where)
    if name in MUTATORS:
        if not m.loading:
            give_functions(m, given, frozenset({of}) | of.obj.elements)
        stored = NOTHING if name in ("sort", "remove", "pop") else given
        if name in ("update", "extend"):
            inside = (memory.walk(m, value, where) for value in (*args.positional, args.rest))
            stored = NOTHING.union(*inside, *(value for _, value in args.named), args.anywhere)
        memory.change(m, frozenset({of}), where, stored, None)
        return frozenset({of}) | of.obj.elements | (args.get(1) if name in ("setdefault", "pop") else NOTHING)
    if name in READERS:
        memory.record(m, of.obj, Mode.READ, where, of.key)
        memory.consume(m, given, Mode.READ, where)
        default = args.get(1) if name == "get" else NOTHING
        return frozenset({of}) | of.obj.elements | (default or (NONE if name == "get" else NOTHING))
    memory.record(m, of.obj, Mode.WRITE, where, of.key)
    memory.record(m, of.obj, Mode.ESCAPE, where)
    hand_over(m, args, where, Mode.ESCAPE)
    return frozenset({of})


def _request_method(m: Machine, of: Req, name: str, args: Args, where: Place) -> Atoms:
    if of.path == () and name in ("post", "form"):
        return frozenset({Req(("body",), text=f"request.{name}()")})
    if name == "get" and of.path:
        found = keys.entry(of, keys.constant(args.get(0)))
        if len(args.positional) > 1 or args.named:
            default = args.get(1, "default")
            return found | default if not args.get(9, "type") else SCALAR | default
        return found
    if name in ("copy", "to_dict", "dict", "model_dump"):
        return PLAIN
    memory.consume(m, args.every(), Mode.WALK, where)
    give_functions(m, args.every())
    return SCALAR if len(of.path) > 1 else PLAIN


def _super_method(m: Machine, of: Special, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    cls, receiver = of.data
    assert isinstance(cls, Class)
    assert isinstance(receiver, frozenset)
    for parent_class in cls.lineage()[1:]:
        inner = parent_class.scope.names.get(name, NOTHING)
        functions = [a for a in inner if isinstance(a, Func)]
        if functions:
            found: Atoms = NOTHING
            for function in functions:
                found |= m.call(Func(function.info, receiver), args)
            return found
    if "builtins.type" in cls.libraries() and name in ("__new__", "__init__"):
        return made_class(m, args, node) if name == "__new__" else NONE
    give_functions(m, args.every())
    memory.consume(m, args.every(), Mode.WALK, m.here(node))
    if name == "__init__":
        return NONE
    if name in ("__setattr__", "__delattr__"):
        return builtin.set_plainly(m, receiver, args.get(0), args.get(1), m.here(node))
    if name == "__new__":
        return bare(m, args.every(), node)
    if name in MUTATORS and set(cls.libraries()) & builtin.COLLECTIONS:
        return builtin.through_class(m, name, Args((receiver, *args.positional), args.named), node, frame)
    for library_name in cls.libraries():
        kind, words = about(library_name)
        if kind in _HARMS:
            harm, text = _HARMS[kind]
            m.hazard(harm, text.format(words), m.here(node))
    return PLAIN


__all__ = ["Args", "Plain"]

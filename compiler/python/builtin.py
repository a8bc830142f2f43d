"""The built-in functions, the methods of containers, and those functions of the standard library that change, keep or
hand back what they are given."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from compiler.facts import Harm, Mode, Place
from compiler.python import keys, memory
from compiler.python.libraries import CONTAINERS, MUTATORS, changes, gives_parts, in_memory, words
from compiler.python.model import (
    NONE,
    NOTHING,
    PLAIN,
    SCALAR,
    Atom,
    Atoms,
    ClassAtom,
    Const,
    Foreign,
    Func,
    Lib,
    LibMethod,
    Method,
    ModuleAtom,
    Obj,
    Once,
    Part,
    Plain,
    Ref,
    Scalar,
    Special,
)

if TYPE_CHECKING:
    from compiler.python.calls import Args
    from compiler.python.evaluate import Frame, Machine

_SCALARS = words(
    "len sum any all repr print isinstance issubclass type id hash callable abs round ord chr bytes format "
    "divmod pow input bool float complex hex oct bin ascii hasattr slice exit quit"
)
_COPIES = words("list tuple set frozenset sorted reversed iter enumerate zip filter dict min max bytearray")
_UNTOUCHED = frozenset({"isinstance", "issubclass", "type", "id", "callable"})
DEFAULT = "default"
"""Of a context variable: what it has where no request has set it, the same thing for all of them."""
FIELD = "field"
"""Of a class: what its instances have if they are given nothing else."""
FIELDS = words("dataclasses.field attr.ib attr.field attrs.field")
COLLECTIONS = frozenset({"builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", *CONTAINERS})
_MADE = {"builtins.list": "list", "builtins.dict": "dict", "builtins.set": "set", **CONTAINERS}
_WRITES_FIRST = words(
    "heapq.heappush heapq.heappop heapq.heapify heapq.heapreplace heapq.heappushpop bisect.insort "
    "bisect.insort_left bisect.insort_right random.shuffle operator.setitem operator.delitem"
)
_PICKS = words(
    "random.choice random.sample random.choices copy.copy itertools.chain itertools.islice "
    "itertools.filterfalse heapq.nlargest heapq.nsmallest operator.getitem functools.reduce itertools.groupby "
    "itertools.chain.from_iterable typing.cast asyncio.gather asyncio.wait_for asyncio.run asyncio.shield "
    "asyncio.wait asyncio.run_coroutine_threadsafe collections.abc.Iterable "
    "starlette.concurrency.run_in_threadpool fastapi.concurrency.run_in_threadpool asyncio.to_thread"
)


def field_value(m: Machine, special: Special, name: str, node: ast.AST, frame: Frame) -> Atoms:
    """What a field holds that was given nothing."""
    from compiler.python.calls import Args as Arguments
    from compiler.python.calls import call as call_any

    factory, default = special.data
    assert isinstance(factory, frozenset)
    assert isinstance(default, frozenset)
    found = default
    for atom in factory:
        one = frozenset({atom})
        found |= empty(m, one, name, node) or call_any(m, one, Arguments(), node, frame)
    return found


def empty(m: Machine, factory: Atoms, name: str, node: ast.AST) -> Atoms:
    """What `list`, `dict`, ... make of nothing."""
    made = [_MADE[atom.name] for atom in factory if isinstance(atom, Lib) and atom.name in _MADE]
    return frozenset(Ref(memory.fresh(m, kind, node, name)) for kind in made)


def call(m: Machine, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    """A built-in function."""
    where = m.here(node)
    special = _BUILTINS.get(name)
    if special is not None:
        return special(m, args, node, frame)
    if "." in name and any(isinstance(atom, Ref | Part) for atom in args.get(0)):
        return through_class(m, name.rpartition(".")[2], args, node, frame)
    if name in ("int", "str"):
        _look(m, args, where, node)
        return keys.converted(args.get(0), name) | _once(args)
    if name in _UNTOUCHED:
        return SCALAR if name != "type" else _classes_of(args.get(0))
    if name == "memoryview":  # what is changed in it is changed in what it shows
        return args.get(0)
    if name in _SCALARS:
        _look(m, args, where, node)
        m_functions(m, args)
        return SCALAR | _once(args)
    if name in _COPIES:
        return copied(m, name, args, node)
    if name and name[0].isupper():  # exceptions
        _look(m, args, where, node)
        return PLAIN if m.loading else frozenset({Foreign(f"builtins.{name}", True)})
    _look(m, args, where, node)
    m_functions(m, args)
    return PLAIN


def through_class(m: Machine, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    """`list.append(items, 1)`: the method of what is given first, whatever a class of the service defines for it."""
    from compiler.python.calls import Args as Arguments
    from compiler.python.calls import method

    found: Atoms = NOTHING
    others = Arguments(args.positional[1:], args.named, args.rest, args.anywhere)
    for atom in args.get(0):
        if isinstance(atom, Ref | Part) and not (isinstance(atom, Ref) and atom.obj.kind == "lib"):
            found |= method(m, Method(atom, name), others, node, frame)
        else:
            memory.consume(m, frozenset({atom}), Mode.WALK, m.here(node))
    return found or PLAIN


def _classes_of(value: Atoms) -> Atoms:
    """`type(x)`."""
    found: Atoms = NOTHING
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.cls is not None:
            found |= {ClassAtom(atom.obj.cls)}
        elif isinstance(atom, Part):
            found |= {ClassAtom(cls) for cls in atom.obj.classes}
        elif isinstance(atom, ClassAtom):
            found |= {ClassAtom(meta) for meta in atom.info.meta()}
    return found or frozenset({Const(None)})


def _once(args: Args) -> Atoms:
    return frozenset(atom for atom in args.every() if isinstance(atom, Once))


def m_functions(m: Machine, args: Args, arguments: Atoms = PLAIN) -> Atoms:
    from compiler.python.calls import give_functions

    return NOTHING if m.loading else give_functions(m, args.every(), arguments)


def _look(m: Machine, args: Args, where: Place, node: ast.AST) -> None:
    from compiler.python.calls import implicit

    memory.consume(m, args.every(), Mode.WALK, where)
    implicit(m, args.every(), node)


def copied(m: Machine, name: str, args: Args, node: ast.AST) -> Atoms:
    """A new container of the old one's things, or one of them."""
    where = m.here(node)
    inside: Atoms = NOTHING
    for value in (*args.positional, args.rest):
        inside |= memory.walk(m, value, where) if value else NOTHING
    functions = m_functions(m, args, inside or PLAIN)
    if name in ("min", "max"):
        return inside | args.get(9, "default") | functions
    if name == "dict":  # of pairs
        pairs = [a.obj for a in inside if isinstance(a, Ref) and a.obj.kind in ("tuple", "list")]
        inside = inside.union(*(pair.attrs.get("1", NOTHING) | pair.elements for pair in pairs))
    lazy = name in ("iter", "zip", "filter", "reversed", "enumerate")
    kind = "iterator" if lazy and m.loading else "dict" if name == "dict" else "list"
    made = memory.fresh(m, kind, node, memory.lazy(m) if lazy else "")
    memory.store(m, made, inside if name != "enumerate" else _pairs(m, inside, node), where)
    for key, value in args.named:
        if key not in ("key", "reverse"):
            made.attrs[key] = made.attrs.get(key, NOTHING) | value
            memory._contain(m, made, value)
    return frozenset({Ref(made)}) | _once(args)


def _pairs(m: Machine, inside: Atoms, node: ast.AST) -> Atoms:
    """What `enumerate` is made of. What comes in again is no change: else a handler would never be done."""
    pair = memory.fresh(m, "tuple", node)
    known = pair.attrs.get("1", NOTHING)
    if not inside <= known:
        pair.attrs["0"], pair.attrs["1"] = SCALAR, known | inside
        m.changed = True
    return frozenset({Ref(pair)})


def _map(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    from compiler.python.calls import Args as Arguments
    from compiler.python.calls import call as call_any

    where = m.here(node)
    items = [memory.walk(m, value, where) for value in args.positional[1:]]
    made = memory.fresh(m, "list", node, memory.lazy(m))
    memory.store(m, made, call_any(m, args.get(0), Arguments(tuple(items)), node, frame), where)
    return frozenset({Ref(made)})


def _filter(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    from compiler.python.calls import Args as Arguments
    from compiler.python.calls import call as call_any

    where = m.here(node)
    items = memory.walk(m, args.get(1), where)
    if not all(isinstance(a, Const) for a in args.get(0)):
        call_any(m, args.get(0), Arguments((items,)), node, frame)
    made = memory.fresh(m, "list", node, memory.lazy(m))
    memory.store(m, made, items, where)
    return frozenset({Ref(made)})


def _next(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    where = m.here(node)
    found: Atoms = NOTHING
    for atom in args.get(0):
        if isinstance(atom, Ref) and atom.obj.kind != "lib":
            if atom.obj.live:
                memory.record(m, atom.obj, Mode.WRITE, where)
            found |= SCALAR if atom.obj.kind == "counter" else memory.elements(frozenset({atom}))
        elif isinstance(atom, Part):
            memory.record(m, atom.obj, Mode.WRITE, where, atom.key)
            found |= {atom}
        elif isinstance(atom, Ref):
            memory.touch_library(m, atom.obj, where)
    return found | args.get(1) or PLAIN


def _getattr(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    from compiler.python.expressions import attribute

    name = keys.constant(args.get(1))
    if name is not None:
        return attribute(m, args.get(0), name, node) | args.get(2)
    if any(isinstance(a, ModuleAtom | ClassAtom | Func | Lib) for a in args.get(0)):
        m.hazard(Harm.DYNAMIC, "finds an attribute by a computed name", m.here(node), "name it")
    found: Atoms = NOTHING
    for atom in args.get(0):
        if isinstance(atom, Ref) and atom.obj.cls is not None:
            for cls in atom.obj.cls.lineage():
                for one in list(cls.scope.names):
                    found |= attribute(m, frozenset({atom}), one, node)
    memory.consume(m, args.get(0), Mode.READ, m.here(node))
    return found | memory.elements(args.get(0)) | args.get(2) or PLAIN


def _setattr(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    name = keys.constant(args.get(1))
    if name is None and any(isinstance(a, ModuleAtom | ClassAtom | Func | Lib) for a in args.get(0)):
        m.hazard(Harm.DYNAMIC, "sets an attribute by a computed name", m.here(node), "name it")
    if name is None:
        for atom in args.get(0):
            if isinstance(atom, Ref):
                memory.open_up(atom.obj)
            if isinstance(atom, Ref) and atom.obj.kind == "lib":
                m.hazard(Harm.DYNAMIC, "sets an attribute by a computed name", m.here(node), "name it")
    memory.set_attribute(m, args.get(0), name or memory.ANY, args.get(2), m.here(node))
    return NONE


def set_plainly(m: Machine, of: Atoms, key: Atoms, value: Atoms, where: Place) -> Atoms:
    """`object.__setattr__`, `super().__setattr__`."""
    name = keys.constant(key)
    for atom in of:
        if name is None and isinstance(atom, Ref):
            memory.open_up(atom.obj)
    memory.set_attribute(m, of, name or memory.ANY, value, where, plainly=True)
    return NONE


def _dynamic(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else "code made at run time"
    m.hazard(Harm.DYNAMIC, f"calls {name}", m.here(node), "write the code out")
    return PLAIN


def _open(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    mode = args.get(1, "mode")
    text = keys.constant(mode) if mode else "r"
    where = m.here(node)
    if text is None or set(text) & set("wax+"):
        if not m.loading:
            name = keys.constant(args.get(0))
            m.hazard(Harm.LOCAL, f"writes the file {name}" if name else "writes a file", where, "keep it elsewhere")
            return frozenset({Foreign("a file", True)})
        return frozenset({Ref(memory.fresh(m, "lib", node, "a file"))})
    if not m.loading:
        m.reads.setdefault(where, None)
        m.recorder.files[where] = None
        return frozenset({Foreign("a file", True)})
    path = keys.constant(args.get(0))
    if path is not None and path.startswith("/"):
        return frozenset({Once(f"read from the file {path}", m.here(node))})
    return frozenset({Foreign("a file", True)})


def _object(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    return frozenset({Ref(memory.fresh(m, "list", node))})


def _vars(m: Machine, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    if not args.positional:
        return _dynamic(m, args, node, frame)
    return attributes(m, args.get(0), node)


def attributes(m: Machine, of: Atoms, node: ast.AST) -> Atoms:
    """`vars(x)`, `x.__dict__`: what is changed in it is changed in x."""
    found: Atoms = NOTHING
    for atom in of:
        if isinstance(atom, ModuleAtom | ClassAtom | Func):
            m.hazard(Harm.DYNAMIC, "reaches attributes by computed names", m.here(node), "name them")
        elif isinstance(atom, Part):
            memory.record(m, atom.obj, Mode.READ, m.here(node), atom.key)
            found |= {atom}
        elif isinstance(atom, Ref) and atom.obj.kind == "instance":
            memory.record(m, atom.obj, Mode.READ, m.here(node))
            memory.open_up(atom.obj)
            inside = NOTHING.union(*atom.obj.attrs.values())
            atom.obj.elements |= frozenset(a for a in inside if not isinstance(a, Const | Scalar | Plain))
            found |= {Part(atom.obj)}
        else:
            memory.consume(m, frozenset({atom}), Mode.ESCAPE, m.here(node))
            found |= PLAIN
    return found


_BUILTINS: dict[str, Callable[[Machine, Args, ast.AST, Frame], Atoms]] = {
    "map": _map,
    "filter": _filter,
    "next": _next,
    "anext": _next,
    "getattr": _getattr,
    "setattr": _setattr,
    "delattr": _setattr,
    "eval": _dynamic,
    "exec": _dynamic,
    "compile": _dynamic,
    "globals": _dynamic,
    "locals": lambda m, args, node, frame: PLAIN,
    "__import__": _dynamic,
    "open": _open,
    "object": _object,
    "vars": _vars,
}


def known(m: Machine, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms | None:
    """Functions of libraries that hand back, change or run what they are given."""
    where = m.here(node)
    if name in _WRITES_FIRST:
        others = NOTHING.union(*args.positional[1:])
        if m.loading and name == "random.shuffle":
            others |= {Once("in an order made at random (random)", m.here(node))}
        memory.change(m, args.get(0), where, others)
        if not m.loading or name == "random.shuffle":
            if m.loading:
                return NONE
            return memory.elements(args.get(0))
        return PLAIN
    if name == "copy.copy" and any(_of_class(atom) for atom in args.get(0)):
        return _replaced(m, args, node)
    if name in _PICKS:
        return _picked(m, name, args, node, frame)
    if name in FIELDS:
        factory = args.get(9, "default_factory") | args.get(9, "factory")
        return frozenset({Special(FIELD, (factory, args.get(9, "default")))})
    if name in ("dataclasses.replace", "attr.evolve", "attrs.evolve", "copy.replace"):
        return _replaced(m, args, node)
    if name == "collections.ChainMap" and not m.loading:
        return args.every() or PLAIN
    if name == "functools.wraps":
        return frozenset({Special("wraps", (args.get(0),))})
    if name in ("functools.partial", "functools.partialmethod"):
        return frozenset({Special("partial", (args,))})
    if name in ("functools.lru_cache", "functools.cache"):
        functions = [a for a in args.every() if isinstance(a, Func)]
        for atom in functions:
            atom.info.decorators += ("cached",)
        return frozenset(functions) or frozenset({Special("lru_cache")})
    if name == "importlib.import_module":
        return _imported(m, args, node)
    if name == "contextlib.suppress":
        return PLAIN
    if name == "copy.deepcopy":
        memory.consume(m, args.every(), Mode.WALK, where)
        return PLAIN | frozenset(a for a in args.every() if isinstance(a, Once))
    if name.startswith("pathlib."):
        return frozenset({Special("path", (args.get(0),))})
    if name in ("threading.Thread", "threading.Timer", "multiprocessing.Process"):
        if not m.loading:
            m.hazard(Harm.TIMER, "starts a thread", where, "do it before the answer, or elsewhere")
            m_functions(m, args)
            return frozenset({Foreign(name, True)})
        return None
    if name == "contextvars.ContextVar":
        return frozenset({Special("request-local", (DEFAULT, args.get(9, "default")))})
    return None


def _of_class(atom: Atom) -> bool:
    return (isinstance(atom, Ref) and atom.obj.cls is not None) or (isinstance(atom, Part) and bool(atom.obj.classes))


def _replaced(m: Machine, args: Args, node: ast.AST) -> Atoms:
    """Another instance, with some fields of its own."""
    found: Atoms = NOTHING
    for atom in args.get(0):
        if not isinstance(atom, Ref | Part):
            continue
        memory.record(m, atom.obj, Mode.READ, m.here(node), atom.key if isinstance(atom, Part) else None)
        classes = {atom.obj.cls} if isinstance(atom, Ref) else atom.obj.classes
        for cls in sorted((c for c in classes if c is not None), key=lambda c: c.path):
            made = memory.fresh(m, "instance", node, cls.path, cls)
            for name, value in (*(atom.obj.attrs.items() if isinstance(atom, Ref) else ()), *args.named):
                made.attrs[name] = made.attrs.get(name, NOTHING) | value
                memory._contain(m, made, value)
            made.elements |= frozenset({atom}) if isinstance(atom, Part) else atom.obj.elements
            found |= {Ref(made)}
        found |= {atom} if not classes - {None} else NOTHING
    return found or PLAIN


def context_variable(m: Machine, of: Special, name: str, args: Args) -> Atoms:
    """A request has what it set itself; before that, what all of them have."""
    default = of.data[1]
    assert isinstance(default, frozenset)
    return default | args.get(0) | PLAIN if name == "get" else PLAIN


def _imported(m: Machine, args: Args, node: ast.AST) -> Atoms:
    text = keys.constant(args.get(0))
    if text is None or text.startswith("."):
        m.hazard(Harm.DYNAMIC, "imports by a computed name", m.here(node), "write the import out")
        return PLAIN
    module = m.import_name(text)
    return frozenset({ModuleAtom(module)}) if module is not None else m.named(text)


def _picked(m: Machine, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    """What is given comes back, or one of it; functions are run."""
    where = m.here(node)
    m.recorder.varies |= name.startswith("random.")
    if name.endswith(("run_in_threadpool", "to_thread")):
        from compiler.python.calls import Args as Arguments
        from compiler.python.calls import call as call_any

        m.recorder.waits = True
        return call_any(m, args.get(0), Arguments(args.positional[1:], args.named), node, frame)
    if m.loading and name.startswith("random."):
        return frozenset({Once("made at random (random)", m.here(node))})
    inside: Atoms = NOTHING
    for value in (*args.positional, args.rest):
        inside |= value if name.startswith("asyncio.") else memory.walk(m, value, where)
    inside |= m_functions(m, args, inside)
    if name in ("random.choice", "operator.getitem", "functools.reduce", "typing.cast") or name.startswith("asyncio."):
        if name == "asyncio.gather":
            made = memory.fresh(m, "list", node)
            memory.store(m, made, inside, where)
            return frozenset({Ref(made)})
        return inside
    made = memory.fresh(m, "list", node)
    memory.store(m, made, inside, where)
    return frozenset({Ref(made)})


_WRITES_PATH = words("write_text write_bytes unlink mkdir rmdir rename replace touch symlink_to hardlink_to chmod")


def path_method(m: Machine, of: Special, name: str, args: Args, where: Place) -> Atoms:
    """Of a `pathlib.Path`: files that are written and read."""
    if name == "open":
        mode = keys.constant(args.get(0, "mode")) if args.get(0, "mode") else "r"
        name = "write_text" if mode is None or set(mode) & set("wax+") else "read_text"
    if name in _WRITES_PATH and not m.loading:
        m.hazard(Harm.LOCAL, "writes a file", where, "keep it elsewhere")
    if name in ("read_text", "read_bytes", "iterdir", "glob", "exists", "stat", "is_file") and not m.loading:
        m.recorder.files[where] = None
    if name in ("read_text", "read_bytes"):
        return PLAIN
    return SCALAR if name.startswith(("is_", "exists", "as_", "stat")) else frozenset({of})


# Methods of containers

_WALKS = frozenset({"items", "keys", "values", "copy", "index", "count", "most_common", "__iter__", "__len__"})


def container_method(m: Machine, obj: Obj, name: str, args: Args, node: ast.AST, frame: Frame) -> Atoms:
    where = m.here(node)
    of: Atoms = frozenset({Ref(obj)})
    key = args.get(0)
    if obj.kind == "dict" and name in ("get", "setdefault", "pop", "__getitem__", "__setitem__", "__delitem__"):
        return _entry_method(m, obj, name, args, where)
    if obj.kind == "other":
        return other_method(m, obj, name, args, where)
    if name in ("__next__", "__anext__"):
        memory.record(m, obj, Mode.WRITE, where)
        return memory.elements(of) or PLAIN
    if name in MUTATORS:
        stored = args.every()
        if name in ("extend", "update", "extendleft"):
            stored = NOTHING
            for value in args.positional:
                stored |= memory.walk(m, value, where)
            for _, value in args.named:
                stored |= value
        inside = memory.elements(of) if name in ("pop", "popitem", "popleft") else NOTHING
        memory.change(m, of, where, NOTHING if name in ("remove", "discard", "pop", "sort") else stored)
        memory.consume(m, args.every(), Mode.WALK if name in ("remove", "discard") else Mode.READ, where, 1)
        m_functions(m, args, memory.elements(of))
        return inside or NONE
    if name == "__contains__":
        memory.contains(m, of, key, where)
        return SCALAR
    memory.walk(m, of, where)
    memory.consume(m, args.every(), Mode.WALK, where)
    m_functions(m, args, memory.elements(of))
    if obj.kind == "data":
        return frozenset({Part(obj)}) | args.get(1)
    if name in ("index", "count", "__len__", "join"):
        return SCALAR
    kind = "dict" if obj.kind == "dict" and name == "copy" else "list"
    made = memory.fresh(m, kind, node, memory.lazy(m) if name in ("items", "keys", "values") else "")
    inside = memory.elements(of)
    if name == "keys":
        inside = SCALAR
    if name in ("items", "most_common"):
        pair = memory.fresh(m, "tuple", node)
        pair.attrs["0"], pair.attrs["1"] = SCALAR, pair.attrs.get("1", NOTHING) | (inside or PLAIN)
        inside = frozenset({Ref(pair)})
    memory.store(m, made, inside, where)
    if name in _WALKS or not obj.live:
        return frozenset({Ref(made)})
    memory.record(m, obj, Mode.ESCAPE, where)
    return frozenset({Ref(made)})


def other_method(m: Machine, obj: Obj, name: str, args: Args, where: Place) -> Atoms:
    """Of what a library made, or of something inside it."""
    changed = changes(obj.name, name, [word for word, _ in args.named])
    memory.record(m, obj, Mode.WRITE if changed else Mode.WALK, where)
    memory.consume(m, args.every(), Mode.WALK, where)
    functions = m_functions(m, args, memory.elements(frozenset({Ref(obj)})))
    if in_memory(obj.name):
        inside = frozenset({Part(obj)}) if gives_parts(obj.name, name) else NOTHING
        return inside | PLAIN | functions
    return PLAIN | functions if changed else frozenset({Part(obj)}) | args.get(1)


def _entry_method(m: Machine, obj: Obj, name: str, args: Args, where: Place) -> Atoms:
    key, default = args.get(0), args.get(1, "default")
    of: Atoms = frozenset({Ref(obj)})
    if name == "__setitem__":
        memory.set_item(m, of, key, args.get(1), where)
        return NONE
    if name in ("pop", "__delitem__"):
        found = memory.get_item(m, of, key, where)
        memory.remove_item(m, of, key, where)
        return found | default
    if name == "setdefault":
        memory.set_item(m, of, key, default, where)
        return memory.get_item(m, of, key, where) | default
    inserts, obj.inserts = obj.inserts, False
    found = memory.get_item(m, of, key, where)
    obj.inserts = inserts
    return found | (default if default else NONE)


__all__ = ["LibMethod", "Method"]

"""Expressions: names, attributes, operators, displays, comprehensions. Knows neither libraries nor frameworks."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING

from compiler.facts import Harm, Mode
from compiler.python import builtin, calls, keys, memory
from compiler.python.libraries import CONTAINERS, MUTATORS, READERS, in_memory
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
    Lib,
    LibMethod,
    Method,
    ModuleAtom,
    Obj,
    Once,
    Part,
    Plain,
    Ref,
    Req,
    Scalar,
    Scope,
    Special,
)

if TYPE_CHECKING:
    from compiler.python.evaluate import Frame, Machine


_CONTAINERS = frozenset(
    {"builtins.list", "builtins.dict", "builtins.set", "collections.UserDict", "collections.UserList", *CONTAINERS}
)
_BUILTINS = frozenset(dir(builtins))


def evaluate(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    handler = _EXPRESSIONS.get(type(node))
    if handler is None:
        return PLAIN
    found = handler(m, node, frame)
    m.work += 1 + len(found) // memory.THINGS_A_STEP
    return found


def truth(m: Machine, node: ast.expr, frame: Frame) -> None:
    """A condition: whether something is empty is seen by looking at all of it."""
    _asked(m, evaluate(m, node, frame), node)


def _asked(m: Machine, value: Atoms, node: ast.AST) -> None:
    memory.consume(m, value, Mode.WALK, m.here(node), memory.ELEMENTS_DEPTH_MAX)
    memory.by_class(m, value, "__bool__", "__len__")


def _constant(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Constant)
    value = node.value
    if isinstance(value, str | int | float | bytes | bool) or value is None:
        return frozenset({Const(value)})
    return SCALAR


def _name(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Name)
    value = memory.lookup(m, node.id, frame, m.here(node))
    if value is not None:
        if any(isinstance(atom, Special) and atom.data == ("session",) for atom in value):
            m.read_secrets(m.here(node))
        return value
    if node.id in _BUILTINS:
        return frozenset({Lib(f"builtins.{node.id}")})
    if frame.module.stars:
        return m.named(f"{frame.module.stars[0]}.{node.id}")
    return frozenset({Foreign(f"a name that is not seen ({node.id})", False)})


def _attribute(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Attribute)
    return attribute(m, evaluate(m, node.value, frame), node.attr, node)


def attribute(m: Machine, of: Atoms, name: str, node: ast.AST) -> Atoms:
    found: Atoms = NOTHING
    for atom in of:
        found |= _one_attribute(m, atom, name, node)
    return found


def _one_attribute(m: Machine, atom: Atom, name: str, node: ast.AST) -> Atoms:
    if name == "__dict__" and isinstance(atom, Part | ModuleAtom | ClassAtom | Func):
        return builtin.attributes(m, frozenset({atom}), node)
    if isinstance(atom, Ref):
        return _of_object(m, atom, name, node)
    if isinstance(atom, Part):
        return _of_part(m, atom, name, node)
    if isinstance(atom, ModuleAtom):
        return _of_module(m, atom, name, node)
    if isinstance(atom, ClassAtom):
        return _of_class(m, atom, name, node)
    if isinstance(atom, Lib):
        if name == "session":
            m.read_secrets(m.here(node))
        return m.named(f"{atom.name}.{name}")
    if isinstance(atom, Special) and atom.kind == "current-app":
        return attribute(m, m.request_attrs.get("[app]", NOTHING), name, node) or PLAIN
    if isinstance(atom, Req):
        return _of_request(m, atom, name)
    if isinstance(atom, Special) and atom.kind == "request-local" and atom.data[:1] == (builtin.DEFAULT,):
        return frozenset({Method(atom, name)})
    if isinstance(atom, Special) and atom.kind == "request-local":
        return m.request_attrs.get(name, NOTHING) | PLAIN
    if isinstance(atom, Func):
        if name in ("__name__", "__doc__", "__module__", "__qualname__"):
            return SCALAR
        if "cached" in atom.info.decorators and name in ("cache_info", "cache_clear") and not m.loading:
            m.ask_cache(atom.info)
            return PLAIN
        return memory.function_attribute(m, atom, name, m.here(node)) | {Method(atom, name)}
    if isinstance(atom, LibMethod):
        return frozenset({LibMethod(atom.of, f"{atom.name}.{name}")})
    if isinstance(atom, Once):
        return frozenset({atom, Method(atom, name)})
    if isinstance(atom, Special) and atom.kind == "path" and name in ("parent", "parents", "name", "stem", "suffix"):
        return frozenset({atom}) if name.startswith("parent") else SCALAR
    if isinstance(atom, Plain | Scalar | Const | Foreign | Special):
        return frozenset({Method(atom, name)})
    return PLAIN


def _of_request(m: Machine, atom: Req, name: str) -> Atoms:
    if atom.path == ():
        hung = m.request_attrs.get(name)
        if hung is not None:
            return hung | keys.attribute(atom, name)
        if name in ("state", "ctx"):
            return frozenset({Special("request-local", (name,))})
        if name in ("app", "config_dict"):
            return m.request_attrs.get("[app]", NOTHING) or PLAIN
        found = keys.attribute(atom, name)
        return found | {Method(atom, name)} if found == PLAIN else found
    return frozenset({Method(atom, name)})


def _of_module(m: Machine, atom: ModuleAtom, name: str, node: ast.AST) -> Atoms:
    from compiler.python.evaluate import Frame

    value = memory.lookup(m, name, Frame(atom.info.scope), m.here(node))
    if value is not None:
        return value
    inner = m.sources.find(f"{atom.info.name}.{name}")
    if inner is not None:
        m.load(inner)
        return frozenset({ModuleAtom(inner)})
    return PLAIN


def _of_class(m: Machine, atom: ClassAtom, name: str, node: ast.AST) -> Atoms:
    cls = atom.info
    homes = cls.homes(name)
    if name == "as_view":
        return frozenset({Special("as_view", (cls,))})
    if not homes:
        for meta in cls.meta():
            if meta.homes(name):
                return _through_class(m, meta, frozenset({atom}), name, node)
        if cls.libraries():
            return frozenset({Lib(f"{cls.libraries()[0]}.{name}")})
        return SCALAR if name.startswith("__") else PLAIN
    _may_run(m, cls, name, node)
    bound: set[Atom] = set()
    for inner in _of_homes(m, homes, name, node):
        if isinstance(inner, Ref) and inner.obj.cls is not None and inner.obj.cls.find("__get__"):
            bound |= memory.special(m, inner, "__get__", NONE, frozenset({atom}))
        elif isinstance(inner, Func) and inner.info.kind == "classmethod":
            bound.add(Func(inner.info, frozenset({atom})))
        else:
            bound.add(inner)
    return frozenset(bound)


def _may_run(m: Machine, cls: Class, name: str, node: ast.AST) -> None:
    """A member of an Enum is told as its value: what its methods do is taken to be done where it is named."""
    if m.loading or name.startswith("_") or not any(n.startswith("enum.") for n in cls.libraries()):
        return
    if any(isinstance(a, Func) for a in cls.find(name)):
        return
    member: Atoms = frozenset({Ref(memory.fresh(m, "instance", node, cls.path, cls))})
    for one in cls.lineage():
        for method in (a for value in list(one.scope.names.values()) for a in value if isinstance(a, Func)):
            count = max(len(method.info.node.args.args) - 1, 0)
            m.call(Func(method.info, member), calls.Args((PLAIN,) * count))


def _of_homes(m: Machine, homes: list[Scope], name: str, node: ast.AST) -> Atoms:
    found: Atoms = NOTHING
    for home in homes:
        found |= home.names[name]
        if not m.loading and home.live:
            memory._read_name(m, home, name, home.names[name], m.here(node))
            found |= memory.standing(m, home, name, home.names[name])
    return found


def bind_method(m: Machine, inner: Atom, receiver: Atoms, cls: Class, node: ast.AST) -> Atoms:
    """What a class's attribute is when it is reached through an instance."""
    if isinstance(inner, Ref) and inner.obj.cls is not None and inner.obj.cls.find("__get__"):
        return memory.special(m, inner, "__get__", receiver, frozenset({ClassAtom(cls)}))
    if isinstance(inner, Special) and inner.kind == builtin.FIELD:
        return PLAIN
    if not isinstance(inner, Func) or inner.bound is not None:
        return frozenset({inner})
    if inner.info.kind == "staticmethod":
        return frozenset({inner})
    if inner.info.kind == "classmethod":
        return frozenset({Func(inner.info, frozenset({ClassAtom(cls)}))})
    if inner.info.kind == "property":
        found = m.call(Func(inner.info, receiver), calls.Args())
        if "kept" in inner.info.decorators and not m.loading:  # it becomes an attribute
            memory.change(m, receiver, m.here(node), found)
            found |= frozenset(Part(a.obj) for a in receiver if isinstance(a, Ref) and a.obj.live)
        return found
    return frozenset({Func(inner.info, receiver)})


def _of_object(m: Machine, atom: Ref, name: str, node: ast.AST) -> Atoms:
    obj = atom.obj
    if obj.kind == "lib":
        special = m.hooks.attribute(m, obj, name)
        if special is not None:
            return special
        memory.read_library_entry(m, obj, name, m.here(node))
        return obj.attrs.get(name, NOTHING) | {LibMethod(obj, name)}
    if obj.kind == "other":
        memory.record(m, obj, Mode.READ, m.here(node))
        return frozenset({Method(atom, name)}) | (frozenset({Part(obj)}) if in_memory(obj.name) else NOTHING)
    if obj.kind != "instance":
        return frozenset({Method(atom, name)})
    if name == "__dict__":
        return builtin.attributes(m, frozenset({atom}), node)
    found = obj.attrs.get(name, NOTHING)
    if memory.ANY in obj.attrs:
        found |= obj.attrs[memory.ANY] | obj.elements
    if found:
        memory.record(m, obj, Mode.READ, m.here(node))
        if obj.live and any(isinstance(a, Plain | Foreign | Req | Once) for a in found):
            found |= {Part(obj)}
    if obj.cls is not None:
        found |= _through_class(m, obj.cls, frozenset({atom}), name, node)
        if not name.startswith("__"):
            named = frozenset({Const(name)})
            found |= memory.special(m, atom, "__getattribute__", named)
            if memory.ANY in obj.attrs and name not in obj.attrs and not obj.cls.homes(name):
                found |= memory.special(m, atom, "__getattr__", named)
    return found or _missing(m, obj, name, node)


def _missing(m: Machine, obj: Obj, name: str, node: ast.AST) -> Atoms:
    """An attribute that no code of ours makes: a library's base class has it, or it is made in a way not seen."""
    if obj.cls is not None and obj.cls.find("__getattr__") and not name.startswith("__"):
        return memory.special(m, Ref(obj), "__getattr__", frozenset({Const(name)}))
    if obj.cls is not None and (set(obj.cls.libraries()) & _CONTAINERS):
        if name == "data":  # of a UserList, a UserDict: what it holds
            memory.record(m, obj, Mode.READ, m.here(node))
            return frozenset({Part(obj)})
        return frozenset({Method(Ref(obj), name)})
    if obj.cls is not None and (libraries := obj.cls.libraries()):
        holder = Obj("lib", obj.place, obj.live, libraries[0], owner=obj.root())
        memory.record(m, obj, Mode.READ, m.here(node))
        shared = m.objects.setdefault(("base", obj.place, f"{libraries[0]}{obj.live}"), holder)
        return frozenset({LibMethod(shared, name), Plain()})
    memory.record(m, obj, Mode.READ, m.here(node))
    return frozenset({Part(obj)}) if obj.live else PLAIN


def _through_class(m: Machine, cls: Class, receiver: Atoms, name: str, node: ast.AST) -> Atoms:
    found: Atoms = NOTHING
    for inner in _of_homes(m, cls.homes(name), name, node):
        found |= bind_method(m, inner, receiver, cls, node)
    return found


def _of_part(m: Machine, atom: Part, name: str, node: ast.AST) -> Atoms:
    """Something inside a live object: an instance of an own class, or data."""
    memory.record(m, atom.obj, Mode.READ, m.here(node), atom.key)
    found: Atoms = NOTHING
    for cls in sorted(atom.obj.classes, key=lambda c: c.path):
        found |= _through_class(m, cls, frozenset({atom}), name, node)
        if not name.startswith("__") and not cls.homes(name):
            found |= memory.special(m, atom, "__getattr__", frozenset({Const(name)}))
    if found and name not in MUTATORS and name not in READERS:
        return found | {atom}
    return found | atom.obj.elements | {atom, Method(atom, name)}


def _subscript(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Subscript)
    of = evaluate(m, node.value, frame)
    where = m.here(node)
    if isinstance(node.slice, ast.Slice):
        evaluate(m, node.slice, frame)
        memory.walk(m, of, where)
        if all(isinstance(atom, Const | Scalar) for atom in of):
            return SCALAR
        made = memory.fresh(m, "list", node)
        made.elements |= memory.elements(of)
        views = frozenset(Part(a.obj) for a in of if isinstance(a, Ref | Part) and a.obj.kind == "other")
        return frozenset({Ref(made)}) | views
    key = evaluate(m, node.slice, frame)
    calls.environment(m, of, key)
    if any(isinstance(atom, Lib) and atom.name.endswith(".Annotated") for atom in of):
        return _annotated(key)
    if any(isinstance(atom, Lib) and atom.name == "sys.modules" for atom in of):
        return _module_named(m, key, node)
    missing: Atoms = NOTHING
    for atom in of:
        if isinstance(atom, Part):
            memory.special(m, atom, "__getitem__", key)
        if isinstance(atom, Part) or (isinstance(atom, Ref) and atom.obj.cls is not None):
            missing |= memory.special(m, atom, "__missing__", key)
        if isinstance(atom, Ref) and atom.obj.kind == "instance" and atom.obj.cls is not None:
            methods = _through_class(m, atom.obj.cls, frozenset({atom}), "__getitem__", node)
            if methods:
                return calls.call(m, methods, calls.Args((key,)), node, frame)
    return memory.get_item(m, of, key, where) | missing


def _module_named(m: Machine, key: Atoms, node: ast.AST) -> Atoms:
    """`sys.modules[__name__]`."""
    found: Atoms = NOTHING
    for atom in key:
        if not isinstance(atom, Const) or not isinstance(atom.value, str):
            m.hazard(Harm.DYNAMIC, "finds a module by a computed name", m.here(node), "import it")
        elif atom.value != "__main__":
            module = m.import_name(atom.value)
            found |= {ModuleAtom(module)} if module is not None else m.named(atom.value)
    return found or PLAIN


def _annotated(key: Atoms) -> Atoms:
    """`Annotated[type, ...]`, by whatever name."""
    for atom in key:
        if isinstance(atom, Ref) and atom.obj.kind == "tuple" and atom.obj.attrs:
            first, *others = atom.obj.attrs.values()
            return frozenset({Special("annotated", (first, NOTHING.union(*others)))})
    return PLAIN


def _operator(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.BinOp)
    left, right = evaluate(m, node.left, frame), evaluate(m, node.right, frame)
    for value in (left, right):
        memory.consume(m, value, Mode.WALK, m.here(node), memory.ELEMENTS_DEPTH_MAX)
        calls.implicit(m, value, node)
    a, b = left, right
    if isinstance(node.op, ast.Add) and len(a) == len(b) == 1:
        x, y = next(iter(a)), next(iter(b))
        if isinstance(x, Const) and isinstance(y, Const) and isinstance(x.value, str) and isinstance(y.value, str):
            return frozenset({Const(x.value + y.value)})
    if isinstance(node.op, ast.Mod) and all(isinstance(x, Const) and isinstance(x.value, str) for x in left):
        once = frozenset(atom for atom in right | memory.elements(right) if isinstance(atom, Once))
        return SCALAR | once
    if not m.loading and memory.scalars(left | right):
        return SCALAR
    return memory.combined(m, left, right, node)


def _unary(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.UnaryOp)
    value = evaluate(m, node.operand, frame)
    _asked(m, value, node)
    if not isinstance(node.op, ast.Not):
        calls.implicit(m, value, node)
    return SCALAR | frozenset(atom for atom in value if isinstance(atom, Once))


def _boolean(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.BoolOp)
    found: Atoms = NOTHING
    for index, value in enumerate(node.values):
        atoms = evaluate(m, value, frame)
        if index < len(node.values) - 1:
            _asked(m, atoms, value)
        found |= atoms
    return found


def _compare(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Compare)
    left = evaluate(m, node.left, frame)
    where = m.here(node)
    once: Atoms = NOTHING
    for operator, comparator in zip(node.ops, node.comparators, strict=True):
        right = evaluate(m, comparator, frame)
        if isinstance(operator, ast.In | ast.NotIn):
            memory.contains(m, right, left, where)
            calls.implicit(m, right, node)
        elif isinstance(operator, ast.Is | ast.IsNot):
            memory.consume(m, left | right, Mode.READ, where)
        else:
            memory.consume(m, left | right, Mode.WALK, where)
            calls.implicit(m, left | right, node)
        once |= frozenset(atom for atom in left | right if isinstance(atom, Once))
        left = right
    return SCALAR | once


def _conditional(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.IfExp)
    truth(m, node.test, frame)
    return evaluate(m, node.body, frame) | evaluate(m, node.orelse, frame)


def _display(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.List | ast.Tuple | ast.Set)
    kind = {ast.List: "list", ast.Tuple: "tuple", ast.Set: "set"}[type(node)]
    made = memory.fresh(m, kind, node)
    items = []
    for element in node.elts:
        if isinstance(element, ast.Starred):
            items.append(memory.walk(m, evaluate(m, element.value, frame), m.here(element)))
        else:
            items.append(evaluate(m, element, frame))
    if kind == "tuple" and not any(isinstance(e, ast.Starred) for e in node.elts):
        for index, item in enumerate(items):
            made.attrs[str(index)] = made.attrs.get(str(index), NOTHING) | item
            memory._contain(m, made, item)
        if all(isinstance(a, Const | Scalar) for item in items for a in item):
            return SCALAR if not items else frozenset({Ref(made)})
    else:
        for item in items:
            if kind == "set":
                memory.hashed(m, item)
            memory.store(m, made, item, m.here(node))
    return frozenset({Ref(made)})


def _dict(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Dict)
    made = memory.fresh(m, "dict", node)
    for key, value in zip(node.keys, node.values, strict=True):
        atoms = evaluate(m, value, frame)
        if key is None:
            memory.store(m, made, memory.walk(m, atoms, m.here(value)), m.here(value))
            continue
        named = evaluate(m, key, frame)
        memory.hashed(m, named)
        name = keys.constant(named)
        if name is None:
            memory.store(m, made, atoms, m.here(value))
        else:
            made.attrs[name] = made.attrs.get(name, NOTHING) | atoms
            memory._contain(m, made, atoms)
    return frozenset({Ref(made)})


def _comprehension(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp)
    from compiler.python.evaluate import Frame

    scope = Scope("function", f"{frame.scope.path}", frame.module, frame.scope, m.loading)
    inner = Frame(scope, frame.function)
    m.frames.append(inner)
    for generator in node.generators:
        if generator.is_async:
            m.recorder.waits = True
        items = memory.walk(m, evaluate(m, generator.iter, inner), m.here(generator.iter))
        m.assign(generator.target, items, inner)
        for condition in generator.ifs:
            truth(m, condition, inner)
    name = memory.lazy(m) if isinstance(node, ast.GeneratorExp) else ""
    made = memory.fresh(m, "dict" if isinstance(node, ast.DictComp) else "list", node, name)
    if isinstance(node, ast.DictComp):
        key = evaluate(m, node.key, inner)
        memory.hashed(m, key)
        memory.consume(m, key, Mode.READ, m.here(node))
        memory.store(m, made, evaluate(m, node.value, inner), m.here(node))
    else:
        memory.store(m, made, evaluate(m, node.elt, inner), m.here(node))
    if isinstance(node, ast.GeneratorExp):
        m.generators[made] = node
    m.frames.pop()
    return frozenset({Ref(made)})


def _joined(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.JoinedStr)
    once: Atoms = NOTHING
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            value = evaluate(m, part.value, frame)
            memory.consume(m, value, Mode.WALK, m.here(node))
            calls.implicit(m, value, node)
            once |= frozenset(atom for atom in value if isinstance(atom, Once))
    return SCALAR | once


def _await(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Await)
    m.recorder.waits = True
    return evaluate(m, node.value, frame)


def _yield(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Yield)
    value = evaluate(m, node.value, frame) if node.value is not None else NONE
    frame.yields |= value
    return PLAIN


def _yield_from(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.YieldFrom)
    frame.yields |= memory.walk(m, evaluate(m, node.value, frame), m.here(node))
    return PLAIN


def _lambda(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Lambda)
    return frozenset({Func(m.define(node, frame))})


def _walrus(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.NamedExpr)
    value = evaluate(m, node.value, frame)
    m.assign(node.target, value, frame)
    return value


def _starred(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Starred)
    return memory.walk(m, evaluate(m, node.value, frame), m.here(node))


def _slice(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Slice)
    for part in (node.lower, node.upper, node.step):
        if part is not None:
            memory.consume(m, evaluate(m, part, frame), Mode.READ, m.here(node))
    return SCALAR


def _call(m: Machine, node: ast.expr, frame: Frame) -> Atoms:
    assert isinstance(node, ast.Call)
    function = evaluate(m, node.func, frame)
    args = calls.arguments(m, node, frame)
    m.call_place = m.here(node)
    if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
        return calls.parent(m, frame)
    if not function:
        m.hazard(Harm.OPAQUE, "calls something that is not seen", m.here(node))
    return calls.call(m, function, args, node, frame)


_EXPRESSIONS: dict[type[ast.expr], Callable[[Machine, ast.expr, Frame], Atoms]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _operator,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.List: _display,
    ast.Tuple: _display,
    ast.Set: _display,
    ast.Dict: _dict,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _comprehension,
    ast.JoinedStr: _joined,
    ast.Await: _await,
    ast.Yield: _yield,
    ast.YieldFrom: _yield_from,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.Starred: _starred,
    ast.Slice: _slice,
    ast.Call: _call,
}

"""Names, attributes and entries: what is read, written, walked or handed on, recorded if it is live.

Knows neither statements nor libraries.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from compiler.facts import NOWHERE, Harm, Initial, KeyOf, Mode, Place, Variable
from compiler.python import keys
from compiler.python.libraries import ITERATES, Kind, about, gives_data, may_change
from compiler.python.model import (
    LAZY,
    NOTHING,
    PLAIN,
    SCALAR,
    SUM,
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

NAMELESS = "an object that no name leads to"

ENVIRONMENT = ("os.environ", "environ")
PROCESS_WIDE = ("logging.",)
"""Libraries whose objects are found by their names anywhere in a process."""

ELEMENTS_DEPTH_MAX = 8
"""Containers inside containers that are looked into when a value is handed on."""

THINGS_A_STEP = 3
"""So many things that a value may be, or classes that are asked for what an operator does, count as one expression
that is looked at."""

ANY = "*"
"""Stands for an attribute whose name is computed."""

_DATA = frozenset({"data", "list", "dict", "set", "tuple", "iterator", "counter", "instance"})
COUNTED = frozenset({"data", "other", "list", "dict", "set", "tuple", "iterator", "counter"})


def fresh(m: Machine, kind: str, node: ast.AST, name: str = "", cls: Class | None = None) -> Obj:
    """The object that is made at `node`: always the same one, so that a program is looked at in bounded time."""
    where = m.here(node)
    key = (f"{kind}{'' if m.loading else '?'}", where, name)
    if m.loading:
        made_for = m.making[-1].path if m.making else ""
        key = (kind, where, f"{name}#{len(m.frames)}{made_for}")
    obj = m.objects.get(key)
    if obj is None:
        obj = m.objects[key] = Obj(kind, where, m.loading, name, cls)
    return obj


def lazy(m: Machine) -> str:
    """The name of a generator, a view or the like that a request makes."""
    return "" if m.loading else LAZY


def own(m: Machine, obj: Obj, variable: str, name: str, value: Atoms) -> None:
    """`obj` is the value of a variable that is no name of a scope."""
    obj.owner = variable
    m.synthetic[variable] = Variable(variable, name, obj.place, initial_of(m, value)[0], True, initial_of(m, value)[1])


# Names


def lookup(m: Machine, name: str, frame: Frame, where: Place) -> Atoms | None:
    scope: Scope | None = frame.scope
    if name in frame.globals:
        scope = frame.module.scope
    first = True
    while scope is not None:
        if name in scope.names and (first or scope.kind != "class"):
            value = scope.names[name]
            if not m.loading and scope.live:
                _read_name(m, scope, name, value, where)
                value |= standing(m, scope, name, value)
            return value
        first = False
        scope = scope.parent
    return None


def _read_name(m: Machine, scope: Scope, name: str, value: Atoms, where: Place) -> None:
    """The name itself is state if it is given other values, or was made once."""
    if name in scope.rebound or any(isinstance(atom, Once) for atom in value):
        m.recorder.use(variable_id(m, scope, name), Mode.READ, where)


def standing(m: Machine, scope: Scope, name: str, value: Atoms) -> Atoms:
    """Data in a variable, made in a way that is not followed (`json.load(file)`): what is changed in it is changed in
    the variable."""
    if library := next((a.library for a in value if isinstance(a, Foreign) and a.known and may_change(a.library)), ""):
        return _kept_by(m, scope, name, library)
    if not any(isinstance(a, Plain) or (isinstance(a, Foreign) and gives_data(a.library)) for a in value):
        return NOTHING
    id_ = variable_id(m, scope, name)
    made = ("data", Place(scope.module.file, 0), id_)
    if made not in m.objects:
        m.objects[made] = Obj("data", scope.places.get(name, NOWHERE), True, name, owner=id_)
    return frozenset({Ref(m.objects[made])})


def _kept_by(m: Machine, scope: Scope, name: str, library: str) -> Atoms:
    """What a library made in a way that is not followed, with methods of which some may change it."""
    id_ = variable_id(m, scope, name)
    kind = "iterator" if library.startswith(ITERATES) else "other"
    made = (kind, Place(scope.module.file, 0), id_)
    if made not in m.objects:
        m.objects[made] = Obj(kind, scope.places.get(name, NOWHERE), True, library, owner=id_)
    return frozenset({Ref(m.objects[made])})


def variable_id(m: Machine, scope: Scope, name: str) -> str:
    id_ = f"{scope.path}.{name}"
    m.variables[id_] = (scope, name)
    return id_


def bind(m: Machine, name: str, value: Atoms, frame: Frame, where: Place) -> None:
    scope = frame.scope
    if frame.function is not None:
        m.note_value(frame.function, name, value)
    if name in frame.globals:
        scope = frame.module.scope
    elif name in frame.nonlocals and scope.parent is not None:
        outer: Scope | None = scope.parent
        while outer is not None and name not in outer.names:
            outer = outer.parent
        scope = outer or scope
    if (scope is frame.scope and scope.live is m.loading) or (scope is frame.scope and not scope.live):
        scope.names[name] = value
    else:
        rebind(m, scope, name, value, where)
        return
    if scope.live:
        note_name(m, scope, name, value, where)


def note_name(m: Machine, scope: Scope, name: str, value: Atoms, where: Place) -> None:
    """At load: an object belongs to the first name that it is given."""
    scope.places.setdefault(name, where)
    scope.assigned[name] = scope.assigned.get(name, 0) + 1
    if scope.kind == "function" and name not in scope.captured:
        return
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.live and not atom.obj.owner and not atom.obj.roots():
            atom.obj.owner = variable_id(m, scope, name)


def rebind(m: Machine, scope: Scope, name: str, value: Atoms, where: Place) -> None:
    """A name of an outer scope is given another value."""
    before = scope.names.get(name, NOTHING)
    if m.loading or not scope.live:
        scope.names[name] = before | value
        if scope.live:
            note_name(m, scope, name, value, where)
        return
    id_ = variable_id(m, scope, name)
    scope.places.setdefault(name, where)
    m.recorder.use(id_, Mode.WRITE, where)
    for atom in value:
        if isinstance(atom, Ref) and not atom.obj.live:
            promote(m, atom.obj, id_)
    keep_check(m, value, where, name)
    kept = value - _requests(value)
    if scope.kind == "class" and name not in scope.names:
        scope.late.add(name)
    if kept - before or name not in scope.rebound:
        m.changed = True
        scope.rebound.add(name)
        scope.names[name] = before | kept | (PLAIN if kept != value else NOTHING)


def _requests(value: Atoms) -> Atoms:
    """What belongs to one request: kept beyond it, it is only data."""
    return frozenset(atom for atom in value if isinstance(atom, Req))


def promote(m: Machine, obj: Obj, owner: str) -> None:
    """A thing made by a request outlives it from now on."""
    obj.live = True
    if not obj.owner:
        obj.owner = owner
    m.changed = True


# Recording


def record(m: Machine, obj: Obj, mode: Mode, where: Place, key: KeyOf | None = None) -> None:
    if m.loading or not obj.live:
        return
    roots = obj.roots()
    if not roots:
        variable = f"{obj.place.file.removesuffix('.py').replace('/', '.')}.line{obj.place.line}"
        _nameless(m, obj, variable)
        roots = [(variable, True)]
    if mode in (Mode.WRITE, Mode.ESCAPE):
        for variable, _ in roots:
            if variable in m.nameless:
                m.synthetic[variable] = replace(m.synthetic[variable], initial=Initial.OPAQUE, detail=NAMELESS)
    if mode is Mode.WRITE and obj.kind in ("other", "iterator", "lib") and may_change(obj.name):
        m.unstorable |= {variable: obj.name for variable, _ in roots}
    for variable, itself in roots:
        m.recorder.use(variable, mode, where, key if itself and obj.kind == "dict" else None)


def _nameless(m: Machine, obj: Obj, variable: str) -> None:
    """It cannot be stored, as it is not found when the service runs. Where nobody changes it, it need not be."""
    initial, detail = initial_of(m, frozenset({Ref(obj)}))
    if initial in (Initial.ONCE, Initial.OPAQUE):
        initial, detail = Initial.OPAQUE, NAMELESS
    m.nameless.add(variable)
    m.synthetic.setdefault(variable, Variable(variable, variable, obj.place, initial, True, detail))
    obj.owner = variable


def change(m: Machine, value: Atoms, where: Place, stored: Atoms = NOTHING, key: KeyOf | None = None) -> None:
    """What `value` may be is changed in place."""
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.kind not in ("lib", "tuple"):
            record(m, atom.obj, Mode.WRITE, where, key)
            store(m, atom.obj, stored, where)
        elif isinstance(atom, Part):
            record(m, atom.obj, Mode.WRITE, where, atom.key)
            store(m, atom.obj, stored, where)
        elif isinstance(atom, Once) and not m.loading:
            pass


def store(m: Machine, obj: Obj, value: Atoms, where: Place) -> None:
    """`value` is put inside `obj`."""
    if not value:
        return
    inside: set[Atom] = set()
    if not obj.mixed and not scalars(value):
        obj.mixed = m.changed = True
    if m.loading:
        value = _without_parts_of_none(value)
    _contents(m, value, inside, obj, 0)
    if obj.live and not m.loading:
        keep_check(m, value, where, obj.root())
        for atom in value | frozenset(inside):
            _twice(m, atom, obj, where)
        inside = {a for a in inside if not isinstance(a, Req) and not (isinstance(a, Ref) and not a.obj.live)}
    if m.loading:
        for atom in value:
            if isinstance(atom, Ref) and atom.obj.live and not atom.obj.owner and atom.obj is not obj:
                put_inside(atom.obj, obj)
    if not inside <= obj.elements:
        obj.elements |= frozenset(inside)
        m.changed = True


def scalars(value: Atoms) -> bool:
    """Whether it is surely nothing that can be changed in place."""
    return all(
        isinstance(a, Const | Scalar)
        or (isinstance(a, Req) and len(a.path) > 1 and (a.path[0] != "body" or a.declared))
        or (isinstance(a, Part) and a.obj.kind == "dict" and not a.obj.classes and a.obj.only_scalars())
        for a in value
    )


def _without_parts_of_none(value: Atoms) -> Atoms:
    """What was inside something that no name leads to is, from now on, inside what it is put into."""
    return frozenset(a for a in value if not (isinstance(a, Part) and not a.obj.roots()))


def _contents(m: Machine, value: Atoms, found: set[Atom], into: Obj, depth: int) -> None:
    """What can be reached from `value` and may be another's, and the own classes in it."""
    m.work += len(value) // THINGS_A_STEP
    for atom in value:
        if isinstance(atom, Ref) and not atom.obj.live and into.live:
            if atom.obj.cls is not None:
                into.classes.add(atom.obj.cls)
            into.classes |= atom.obj.classes
            if depth < ELEMENTS_DEPTH_MAX:
                inner = atom.obj.elements.union(*atom.obj.attrs.values()) if atom.obj.attrs else atom.obj.elements
                _contents(m, inner, found, into, depth + 1)
            continue
        if isinstance(atom, Ref) and atom.obj.cls is not None:
            into.classes.add(atom.obj.cls)
        if isinstance(atom, Part):
            into.classes |= atom.obj.classes
        if (isinstance(atom, Const) and m.loading) or not isinstance(atom, Plain | Const | Scalar) or not into.live:
            found.add(atom)


def _twice(m: Machine, atom: Atom, into: Obj, where: Place) -> None:
    """One thing put into two places is still one thing: what is kept apart would tear it."""
    if isinstance(atom, Const | Scalar | Func | ClassAtom | ModuleAtom | Once):
        return
    if isinstance(atom, Ref | Part) and atom.obj is not into and same_root(atom.obj, into):
        record(m, into, Mode.WRITE, where)
    elif isinstance(atom, Ref) and atom.obj.live and atom.obj is not into:
        if atom.obj.kind == "lib":
            return
        record(m, atom.obj, Mode.ESCAPE, where)
        record(m, into, Mode.ESCAPE, where)
    elif isinstance(atom, Part) and atom.obj is not into:
        record(m, atom.obj, Mode.ESCAPE, where)
        record(m, into, Mode.ESCAPE, where)
    elif isinstance(atom, Part):
        record(m, into, Mode.WRITE, where, atom.key)
    else:
        text = isinstance(atom, Req) and len(atom.path) == 2 and atom.path[0] != "body"
        places = m.recorder.stored.setdefault(atom, set())
        variable = into.root()
        if not text and places - {variable}:
            for other in (into, *[o for o in m.objects.values() if o.owner in places]):
                record(m, other, Mode.ESCAPE, where)
        places.add(variable)


def same_root(one: Obj, other: Obj) -> bool:
    """Whether both belong to the one variable, and to no other."""
    names = [name for name, _ in one.roots()]
    return len(names) == 1 and names == [name for name, _ in other.roots()]


def keep_check(m: Machine, value: Atoms, where: Place, name: str) -> None:
    """What cannot be stored, or belongs to another request's socket, is kept beyond its request."""
    if m.loading:
        return
    short = name.rsplit(".", 1)[-1]
    seen: set[Obj] = set()
    todo = [value]
    while todo:
        atoms = todo.pop()
        m.work += len(atoms) // THINGS_A_STEP
        for atom in atoms:
            what = ""
            if isinstance(atom, Req) and atom.path in ((), ("headers",), ("query",), ("cookies",)):
                what = "a request"
            elif isinstance(atom, Foreign) and not gives_data(atom.library):
                what = f"something of {atom.library}"
            elif isinstance(atom, Special):
                what = "something that cannot be stored"
            elif isinstance(atom, Func) and not atom.info.scope.live:
                what = "a function made for one request"
            elif isinstance(atom, Ref) and not atom.obj.live and atom.obj not in seen:
                seen.add(atom.obj)
                if atom.obj.kind == "lib" and about(atom.obj.name)[0] is not Kind.PURE:
                    what = f"{about(atom.obj.name)[1]} ({atom.obj.name})"
                elif atom.obj.kind == "lib" and _held(atom.obj.name):
                    what = f"a {atom.obj.name}"
                elif len(seen) < 200:
                    todo += [atom.obj.elements, *atom.obj.attrs.values()]
            if what:
                m.hazard(Harm.HELD, f"keeps {what} in {short}, beyond its request", where)


_HELD = ("WebSocket", "Response", "Session", "Client", "Connection", "Stream", "Socket", "Task", "Future", "Lock")


def _held(name: str) -> bool:
    return name.rsplit(".", 1)[-1].endswith(_HELD)


def consume(
    m: Machine, value: Atoms, mode: Mode, where: Place, depth: int = 0, seen: dict[Obj, int] | None = None
) -> None:
    """All of `value` is looked at (WALK, READ) or given away (ESCAPE). `seen`: at which depth objects were already, as
    entries may hold each other in more ways than could be gone."""
    if m.loading:
        return
    seen = {} if seen is None else seen
    m.work += len(value) // THINGS_A_STEP
    for atom in value:
        if isinstance(atom, Ref):
            if seen.get(atom.obj, depth + 1) <= depth:
                continue
            seen[atom.obj] = depth
            if atom.obj.live and atom.obj.kind != "lib":
                record(m, atom.obj, mode, where)
            elif atom.obj.live:
                read_entries(m, atom.obj, where)
                if mode is not Mode.READ:
                    touch_library(m, atom.obj, where)
            if not (atom.obj.live and atom.obj.kind == "lib"):
                _inside(m, atom.obj, mode, where, depth, seen)
        elif isinstance(atom, Part):
            record(m, atom.obj, Mode.READ if mode is Mode.WALK else mode, where, atom.key)
        elif isinstance(atom, Method):
            consume(m, frozenset({atom.of}), mode, where, depth + 1, seen)


def _inside(m: Machine, obj: Obj, mode: Mode, where: Place, depth: int, seen: dict[Obj, int]) -> None:
    if depth < ELEMENTS_DEPTH_MAX and mode is not Mode.READ:
        for inner in (obj.elements, *obj.attrs.values()):
            consume(m, inner, mode, where, depth + 1, seen)


REBOUND = "*rebound "
"""Before the names of what requests put into an application."""


def touch_library(m: Machine, obj: Obj, where: Place) -> None:
    """A live object of a library is used: state, if the library keeps any."""
    if m.loading or not obj.live:
        return
    kind, words = about(obj.name)
    if kind is Kind.LOCAL or (kind is Kind.DATABASE and m.embedded):
        shown = "an embedded database (SQLite)" if kind is Kind.DATABASE else words
        m.hazard(Harm.LOCAL, f"uses {shown}", where, "use a database that is elsewhere")
    elif kind is not Kind.DATABASE and (kind is not Kind.PURE or may_change(obj.name)):
        record(m, obj, Mode.READ, where)


# Entries


def elements(value: Atoms) -> Atoms:
    """What may be inside, without recording."""
    found: Atoms = NOTHING
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.kind not in ("lib", "instance"):
            found |= atom.obj.elements
            found = found.union(*atom.obj.attrs.values()) if atom.obj.attrs else found
            if atom.obj.live:
                found |= {Part(atom.obj)}
        elif isinstance(atom, Part):
            found |= {atom} | atom.obj.elements
        elif isinstance(atom, Req):
            found |= PLAIN
        elif isinstance(atom, Once | Foreign):
            found |= {atom}
        elif isinstance(atom, Plain | Scalar | Const):
            found |= PLAIN
    return found


def walk(m: Machine, value: Atoms, where: Place) -> Atoms:
    """Goes through all of it."""
    given: Atoms = NOTHING
    for atom in value:
        for name in ("__iter__", "__aiter__", "__next__", "__anext__") if _of_own_class(atom) else ():
            inner = special(m, atom, name)
            given |= elements(inner) | (inner if "next" in name else NOTHING)
        if isinstance(atom, Ref) and atom.obj.live and atom.obj.kind != "lib":
            record(m, atom.obj, Mode.WALK, where)
            if atom.obj.kind in ("iterator", "counter"):
                record(m, atom.obj, Mode.WRITE, where)
        elif isinstance(atom, Ref) and atom.obj.kind == "lib":
            touch_library(m, atom.obj, where)
            read_entries(m, atom.obj, where)
        elif isinstance(atom, Part):
            record(m, atom.obj, Mode.READ, where, atom.key)
    return _taken(m, elements(value) | given) or PLAIN


def _taken(m: Machine, value: Atoms) -> Atoms:
    """What a loop gets. As the service loads, what is inside something that no name leads to (a list in the loop's
    head) is on its own from then on."""
    kept = _without_parts_of_none(value) if m.loading else value
    return kept if kept == value else kept | PLAIN


def unpack(m: Machine, value: Atoms, count: int, where: Place) -> list[Atoms]:
    if len(value) == 1:
        atom = next(iter(value))
        if isinstance(atom, Ref) and atom.obj.kind == "tuple" and len(atom.obj.attrs) == count:
            return [_taken(m, atom.obj.attrs[str(index)]) for index in range(count)]
    return [walk(m, value, where)] * count


def get_item(m: Machine, of: Atoms, key: Atoms, where: Place) -> Atoms:
    found: Atoms = NOTHING
    keyed = keys.key_of(key)
    constant = keys.constant(key)
    hashed(m, key)
    for atom in of:
        if isinstance(atom, Req):
            found |= keys.entry(atom, constant)
            if atom.path == ():
                found |= m.request_attrs.get(f"request[{constant}]", NOTHING)
        elif isinstance(atom, Ref) and atom.obj.kind == "lib":
            touch_library(m, atom.obj, where)
            found |= library_entry(m, atom.obj, name_of(key), where)
        elif isinstance(atom, Ref):
            found |= _entry(m, atom.obj, keyed, constant, where)
        elif isinstance(atom, Part):
            record(m, atom.obj, Mode.READ, where, atom.key)
            found |= {atom} | atom.obj.elements
        elif isinstance(atom, Foreign) and atom.known:
            found |= PLAIN
        elif isinstance(atom, Once | Foreign | ClassAtom):
            found |= {atom}
        elif isinstance(atom, LibMethod) and _of_application(atom) and not m.loading:
            found |= {atom} | PLAIN
        elif isinstance(atom, Special) and atom.kind == "request-local" and atom.data in (("state",), ("ctx",)):
            found |= m.request_attrs.get(constant or "", NOTHING) | PLAIN
        else:
            found |= PLAIN
    return found


def _entry(m: Machine, obj: Obj, keyed: KeyOf | None, constant: str | None, where: Place) -> Atoms:
    mode = Mode.WRITE if obj.inserts else Mode.READ
    if obj.live:
        record(m, obj, mode, where, keyed)
    if constant is not None and constant in obj.attrs and not obj.live:
        return obj.attrs[constant]
    found = obj.elements
    if constant is not None and constant in obj.attrs:
        found |= obj.attrs[constant]
    elif obj.attrs:
        found = found.union(*obj.attrs.values())
    if not obj.live:
        return found or PLAIN
    if keyed is None or obj.kind != "dict" or not obj.owner:
        return found | {Part(obj)}
    return _told_as_part(obj, found) | {Part(obj, keyed)}


def _told_as_part(obj: Obj, found: Atoms) -> Atoms:
    """What stands inside `obj` alone is told as part of it; the rest as what it is."""
    told: set[Atom] = set()
    seen: set[Obj] = set()
    todo = list(found)
    while todo:
        atom = todo.pop()
        alone = isinstance(atom, Ref) and all(c is obj or c in seen for c in atom.obj.containers)
        if isinstance(atom, Ref) and alone and not atom.obj.owner and atom.obj.live and atom.obj.kind in _DATA:
            if atom.obj.cls is not None:
                obj.classes.add(atom.obj.cls)
            if atom.obj not in seen:
                seen.add(atom.obj)
                todo += atom.obj.elements.union(*atom.obj.attrs.values())
        elif not isinstance(atom, Const | Scalar | Plain):
            told.add(atom)
    return frozenset(told)


def application(m: Machine, of: Atoms) -> Atoms:
    """With the application itself for what stands for it in a request."""
    if not any(isinstance(atom, Special) and atom.kind == "current-app" for atom in of):
        return of
    return m.request_attrs.get("[app]", NOTHING).union(
        a for a in of if not (isinstance(a, Special) and a.kind == "current-app")
    )


def set_item(m: Machine, of: Atoms, key: Atoms, value: Atoms, where: Place) -> None:
    of = application(m, of)
    keyed, constant = keys.key_of(key), keys.constant(key)
    consume(m, frozenset(a for a in key if isinstance(a, Part)), Mode.READ, where)
    hashed(m, key)
    for atom in of:
        if isinstance(atom, Ref) and atom.obj.kind == "lib":
            m.hooks.set_item(m, atom.obj, key, value, where)
            touch_library(m, atom.obj, where)
            set_library_entry(m, atom.obj, f"[{name_of(key)}]", value, where)
        elif isinstance(atom, Ref):
            special(m, atom, "__setitem__", key, value)
            record(m, atom.obj, Mode.WRITE, where, keyed)
            if constant is not None and (m.loading or not atom.obj.live):
                atom.obj.attrs[constant] = atom.obj.attrs.get(constant, NOTHING) | value
                _contain(m, atom.obj, value)
            else:
                store(m, atom.obj, value, where)
        elif isinstance(atom, Part):
            special(m, atom, "__setitem__", key, value)
            record(m, atom.obj, Mode.WRITE, where, atom.key)
            store(m, atom.obj, value, where)
        elif isinstance(atom, Lib) and not m.loading:
            change_library(m, atom.name, where)
        elif isinstance(atom, LibMethod) and _of_application(atom):
            set_up_later(m, f"{atom.name} of the application", where)
            m.hooks.given(m, value)
        elif isinstance(atom, Req):
            key_name = f"request[{constant}]"
            request_attribute(m, key_name, value)


def put_inside(inner: Obj, outer: Obj) -> None:
    if outer not in inner.containers:
        inner.containers.append(outer)


def _contain(m: Machine, obj: Obj, value: Atoms) -> None:
    if m.loading:
        for atom in value:
            if isinstance(atom, Ref) and atom.obj.live and not atom.obj.owner and atom.obj is not obj:
                put_inside(atom.obj, obj)


def name_of(key: Atoms) -> str | None:
    """What a key of an application is called: a text, or the name of what it is (`web.AppKey`)."""
    constant = keys.constant(key)
    if constant is None and len(key) == 1:
        atom = next(iter(key))
        if isinstance(atom, Ref) and atom.obj.owner:
            return f"<{atom.obj.owner}>"
    return constant


def set_library_entry(m: Machine, obj: Obj, name: str, value: Atoms, where: Place) -> None:
    """`app["todos"] = []`, `app.state.todos = []`: a variable of its own."""
    before = obj.attrs.get(name, NOTHING)
    obj.attrs[name] = before | value
    if not obj.live:
        return
    short = name.strip("[]")
    id_ = f"{obj.owner or obj.name}.{short}"
    if m.loading:
        for atom in value:
            if isinstance(atom, Ref) and atom.obj.live and not atom.obj.owner and not atom.obj.roots():
                own(m, atom.obj, id_, short, value)
                if not reachable(m, obj.owner) or "<" in name:
                    lost = "something that no name leads to when the service runs"
                    m.synthetic[id_] = Variable(id_, short, where, Initial.OPAQUE, True, lost)
        return
    if about(obj.name)[0] not in (Kind.PURE, Kind.DATABASE):
        return
    if "*app" not in obj.attrs and "*state" not in obj.attrs:
        m.hazard(Harm.OPAQUE, f"changes {short if name != '[None]' else 'an entry'} of a {obj.name}", where)
        return
    if name == "[None]":
        set_up_later(m, f"what {obj.name.rpartition('.')[2]} has under a computed name", where)
        return
    keep_check(m, value, where, id_)
    opaque = not reachable(m, obj.owner) or "<" in name
    m.synthetic[id_] = Variable(id_, short, where, Initial.OPAQUE if opaque else Initial.VALUE, False)
    m.recorder.use(id_, Mode.WRITE, where)
    for atom in value:
        if isinstance(atom, Ref) and not atom.obj.live:
            promote(m, atom.obj, id_)
    if f"{REBOUND}{name}" not in obj.attrs or not value <= before:
        obj.attrs[f"{REBOUND}{name}"] = SCALAR
        m.changed = True


def reachable(m: Machine, variable: str) -> bool:
    """Whether a name of a module or class leads to it when the service runs."""
    if variable not in m.variables:
        return variable.rpartition(".")[0] in m.variables and reachable(m, variable.rpartition(".")[0])
    scope, name = m.variables[variable]
    return scope.kind != "function" or name in scope.captured


def read_library_entry(m: Machine, obj: Obj, name: str, where: Place) -> None:
    if not m.loading and obj.live and f"{REBOUND}{name}" in obj.attrs:
        m.recorder.use(f"{obj.owner or obj.name}.{name.strip('[]')}", Mode.READ, where)


def read_entries(m: Machine, obj: Obj, where: Place) -> None:
    """All that requests may have put into it."""
    for name in list(obj.attrs):
        if name.startswith(REBOUND):
            read_library_entry(m, obj, name.removeprefix(REBOUND), where)


def library_entry(m: Machine, obj: Obj, name: str | None, where: Place) -> Atoms:
    read_library_entry(m, obj, f"[{name}]", where)
    every = NOTHING if name else NOTHING.union(*(v for k, v in obj.attrs.items() if k.startswith("[")))
    return obj.attrs.get(f"[{name}]", NOTHING) | every or frozenset({Foreign(obj.name, True)})


def by_class(m: Machine, value: Atoms, *names: str) -> None:
    """Protocols call what own classes define for them: hashes, truth."""
    for atom in value:
        if _of_own_class(atom):
            for name in names:
                special(m, atom, name, *((frozenset({atom}),) if name == "__eq__" else ()))


def _of_own_class(atom: Atom) -> bool:
    return bool(atom.obj.cls is not None if isinstance(atom, Ref) else isinstance(atom, Part) and atom.obj.classes)


def hashed(m: Machine, key: Atoms) -> None:
    """It is looked for in a dict or set."""
    by_class(m, key, "__hash__", "__eq__")
    for atom in key:
        if isinstance(atom, Ref) and atom.obj.kind == "tuple":
            hashed(m, NOTHING.union(*atom.obj.attrs.values()))


def remove_item(m: Machine, of: Atoms, key: Atoms, where: Place) -> None:
    of = application(m, of)
    keyed = keys.key_of(key)
    hashed(m, key)
    for atom in of:
        special(m, atom, "__delitem__", key)
        if isinstance(atom, Ref) and atom.obj.kind != "lib":
            record(m, atom.obj, Mode.WRITE, where, keyed)
        elif isinstance(atom, Part):
            record(m, atom.obj, Mode.WRITE, where, atom.key)
        elif isinstance(atom, Ref):
            touch_library(m, atom.obj, where)
            if not m.loading and atom.obj.live and ("*app" in atom.obj.attrs or "*state" in atom.obj.attrs):
                set_library_entry(m, atom.obj, f"[{name_of(key)}]", NOTHING, where)
        elif isinstance(atom, Lib):
            change_library(m, atom.name, where)
        elif isinstance(atom, LibMethod) and _of_application(atom):
            set_up_later(m, f"{atom.name} of the application", where)


def set_up_later(m: Machine, what: str, where: Place) -> None:
    """A setting of the process is changed by a request: whatever any other does may depend on it."""
    if not m.loading:
        m.hazard(Harm.DYNAMIC, f"changes {what} while requests are handled", where, "do it when the service starts")


def change_library(m: Machine, name: str, where: Place) -> None:
    """`os.environ["X"] = "1"`."""
    if m.loading:
        return
    if name not in ENVIRONMENT:
        m.hazard(Harm.OPAQUE, f"changes {name}", where)
        return
    id_ = ENVIRONMENT[0]
    m.synthetic[id_] = Variable(id_, id_, where, Initial.OPAQUE, True, "the environment of a process")
    m.recorder.use(id_, Mode.WRITE, where)


def contains(m: Machine, of: Atoms, key: Atoms, where: Place) -> None:
    """`key in of`."""
    keyed = keys.key_of(key)
    hashed(m, key)
    for atom in of:
        if isinstance(atom, Ref) and atom.obj.live and atom.obj.kind == "dict":
            record(m, atom.obj, Mode.READ, where, keyed)
        else:
            consume(m, frozenset({atom}), Mode.WALK, where)
    consume(m, key, Mode.READ, where)


# Attributes


def open_up(obj: Obj) -> None:
    """From now on any attribute of it may be whatever was put inside."""
    obj.attrs.setdefault(ANY, NOTHING)


def special(m: Machine, atom: Atom, name: str, *given: Atoms) -> Atoms:
    """What an own class defines for an operator or the like."""
    from compiler.python.calls import Args

    classes: list[Class] = []
    if isinstance(atom, Ref) and atom.obj.cls is not None:
        classes = [atom.obj.cls]
    elif isinstance(atom, Part):
        m.work += len(atom.obj.classes) // THINGS_A_STEP
        classes = sorted((cls for cls in atom.obj.classes if cls.homes(name)), key=lambda c: c.path)
    found: Atoms = NOTHING
    for cls in classes:
        for inner in cls.find(name):
            if isinstance(inner, Func):
                found |= m.call(Func(inner.info, frozenset({atom})), Args(given))
    return found


def _set_by_class(m: Machine, atom: Ref | Part, name: str, value: Atoms) -> None:
    """Setters of properties, descriptors, `__setattr__`."""
    from compiler.python.calls import Args

    special(m, atom, "__setattr__", frozenset({Const(name)}) if name != ANY else SCALAR, value)
    for cls in sorted({atom.obj.cls} if isinstance(atom, Ref) else atom.obj.classes, key=lambda c: c.path if c else ""):
        for inner in cls.find(name) if cls is not None else ():
            if isinstance(inner, Func):
                for setter in inner.info.setters:
                    m.call(Func(setter, frozenset({atom})), Args((value,) if value else ()))
            elif isinstance(inner, Ref):
                special(m, inner, "__set__", frozenset({atom}), value)
                special(m, inner, "__delete__", frozenset({atom})) if not value else None


def set_attribute(m: Machine, of: Atoms, name: str, value: Atoms, where: Place, plainly: bool = False) -> None:
    """`plainly`: whatever the class defines for it."""
    if name == "__dict__":
        m.hazard(Harm.OPAQUE, "gives an object all attributes of another", where, "set them one by one")
    for atom in application(m, of):
        if isinstance(atom, Ref | Part) and not plainly:
            _set_by_class(m, atom, name, value)
        if isinstance(atom, Ref) and atom.obj.kind == "lib":
            m.hooks.set_item(m, atom.obj, frozenset({Const(name)}), value, where)
            touch_library(m, atom.obj, where)
            set_library_entry(m, atom.obj, name, value, where)
        elif isinstance(atom, Ref):
            record(m, atom.obj, Mode.WRITE, where)
            if m.loading or not atom.obj.live:
                before = atom.obj.attrs.get(name, NOTHING)
                atom.obj.attrs[name] = before | value
                _contain(m, atom.obj, value)
            else:
                atom.obj.attrs[name] = atom.obj.attrs.get(name, NOTHING) | (value - _requests(value))
                store(m, atom.obj, value, where)
        elif isinstance(atom, Part):
            record(m, atom.obj, Mode.WRITE, where, atom.key)
            store(m, atom.obj, value, where)
        elif isinstance(atom, ClassAtom | ModuleAtom):
            rebind(m, atom.info.scope, name, value, where)
        elif isinstance(atom, Const) and len(of) == 1 and atom.value is not None and not m.loading:  # of an enum
            m.hazard(Harm.DYNAMIC, f"sets {name} of something that is not seen", where)
        elif isinstance(atom, Func):
            _function_attribute(m, atom, name, value, where)
        elif isinstance(atom, Lib | LibMethod) and not _of_application(atom):
            m.hazard(Harm.DYNAMIC, f"changes {name} of a library", where, "leave libraries as they are")
        elif isinstance(atom, LibMethod):
            set_up_later(m, f"{atom.name}.{name} of the application", where)
        elif isinstance(atom, Foreign) and atom.library.startswith(PROCESS_WIDE):
            set_up_later(m, f"{name} of {atom.library.partition('.')[0]}", where)
        elif isinstance(atom, Req) or (isinstance(atom, Special) and atom.kind == "request-local"):
            request_attribute(m, name, value)
            if name == "permanent":  # such a session is given out again by every request
                m.signs_always = True


def _of_application(atom: Lib | LibMethod) -> bool:
    return isinstance(atom, LibMethod) and "*app" in atom.of.attrs


def request_attribute(m: Machine, name: str, value: Atoms) -> None:
    """Hung on the request, for whatever runs later."""
    before = m.request_attrs.get(name, NOTHING)
    kept = frozenset(a for a in value if not (isinstance(a, Ref) and not a.obj.live))
    for atom in value:
        if isinstance(atom, Ref) and not atom.obj.live:
            kept |= atom.obj.elements | PLAIN
    if not kept <= before:
        m.request_attrs[name] = before | kept
        m.changed = True


def _function_attribute(m: Machine, atom: Func, name: str, value: Atoms, where: Place) -> None:
    """`f.count = 0`: a variable of the function."""
    info = atom.info
    made = ("function", Place(info.module.file, info.node.lineno), info.path)
    holder = m.objects.setdefault(made, _holder(info.path))
    if not holder.owner:
        holder.place = where
        own(m, holder, f"{info.path}.{name}", name, value)
    record(m, holder, Mode.WRITE, where)
    if not m.loading and info.scope.kind == "function":
        lost = "an attribute of a function that another makes"
        m.synthetic[holder.owner] = replace(m.synthetic[holder.owner], initial=Initial.OPAQUE, detail=lost)
    holder.attrs[name] = holder.attrs.get(name, NOTHING) | value


def _holder(path: str) -> Obj:
    return Obj("function", Place("", 0), True, path)


def function_attribute(m: Machine, atom: Func, name: str, where: Place) -> Atoms:
    info = atom.info
    holder = m.objects.get(("function", Place(info.module.file, info.node.lineno), info.path))
    if holder is None or name not in holder.attrs:
        return PLAIN
    record(m, holder, Mode.READ, where)
    return holder.attrs[name]


# Operators


def combined(m: Machine, left: Atoms, right: Atoms, node: ast.AST) -> Atoms:
    """The result of an operator."""
    both = left | right
    once = frozenset(atom for atom in both if isinstance(atom, Once))
    inside = [a for a in both if isinstance(a, Ref | Part)]
    if not inside:
        constant = all(isinstance(a, Const | Scalar | Req) for a in both)
        return once | (SCALAR if constant else PLAIN)
    made = fresh(m, "list", node)
    if (
        isinstance(node, ast.BinOp | ast.AugAssign)
        and isinstance(node.op, ast.Add | ast.Sub)
        and (_numbers(left) or _numbers(right))
    ):
        made.name = SUM
    if m.loading:
        store(m, made, elements(both), m.here(node))
    else:
        made.elements |= elements(both)
    return once | {Ref(made)}


def _numbers(value: Atoms) -> bool:
    return bool(value) and all(isinstance(a, Const) and isinstance(a.value, int | float) for a in value)


# What a variable is at first


def initial_of(m: Machine, value: Atoms) -> tuple[Initial, str]:
    worst = (Initial.CODE, "")
    rank = [Initial.CODE, Initial.STATELESS, Initial.VALUE, Initial.ONCE, Initial.OPAQUE]
    seen: set[Obj] = set()
    todo = list(value)
    while todo:
        atom = todo.pop()
        one = (Initial.CODE, "")
        if isinstance(atom, Once):
            one = (Initial.ONCE, atom.why)
        elif isinstance(atom, Foreign):
            one = (Initial.VALUE, "") if atom.known else (Initial.OPAQUE, f"made by {atom.library}, which is not known")
        elif isinstance(atom, Plain | Scalar | Req | Part):
            one = (Initial.VALUE, "")
        elif isinstance(atom, Ref) and atom.obj.kind == "lib":
            one = _library_object(m, atom.obj)
        elif isinstance(atom, Ref) and atom.obj.kind == "iterator":
            one = (Initial.OPAQUE, "a generator or an iterator, which cannot be stored")
        elif isinstance(atom, Ref):
            one = (Initial.VALUE, "")
            if atom.obj.cls is not None and atom.obj.cls.libraries():
                one = _own_class(atom.obj.cls)
            if atom.obj not in seen:
                seen.add(atom.obj)
                todo += atom.obj.elements
                for inner in atom.obj.attrs.values():
                    todo += inner
        if rank.index(one[0]) > rank.index(worst[0]):
            worst = one
    return worst


def _own_class(cls: Class) -> tuple[Initial, str]:
    for name in cls.libraries():
        kind, words = about(name)
        if kind is Kind.UNKNOWN:
            return Initial.OPAQUE, f"of a class of {words}"
        if kind not in (Kind.PURE, Kind.DATABASE):
            return Initial.OPAQUE, words
    return Initial.VALUE, ""


def _library_object(m: Machine, obj: Obj) -> tuple[Initial, str]:
    kind, words = about(obj.name)
    if kind is Kind.PURE or (kind is Kind.DATABASE and not m.embedded):
        return Initial.STATELESS, ""
    if kind is Kind.ONCE:
        return Initial.ONCE, words
    return Initial.OPAQUE, f"{words} ({obj.name})" if kind is not Kind.UNKNOWN else f"of {words}"

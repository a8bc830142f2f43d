"""A service's facts: its modules are loaded, its startup hooks run, then each handler, until nothing new is seen.

Knows what a handler is called with. Decides nothing of groups.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.facts import Facts, Harm, Hazard, Initial, Mode, Place, Start, Unit, Use, Variable
from compiler.python import keys, memory, named, streamed, templates
from compiler.python.calls import Args, after_fields
from compiler.python.evaluate import Machine
from compiler.python.model import (
    FILE,
    NOTHING,
    PLAIN,
    SCALAR,
    Atom,
    Atoms,
    Class,
    ClassAtom,
    Const,
    Func,
    Function,
    Lib,
    Module,
    Obj,
    Once,
    Plain,
    Recorder,
    Ref,
    Req,
    Special,
)
from compiler.python.model import Part as Inside
from compiler.python.read import Sources, place
from compiler.python.starts import _WITH_ROUTE, Frameworks, Route, in_graph, paths
from liquefy.liquid.program import FACTORY_NAMES

ROUNDS_MAX = 12
"""So often all handlers are looked at again because one showed something new to the others."""

_CHANGES = (Mode.WRITE, Mode.ESCAPE)
_EMBEDDED = re.compile(r"sqlite(\+\w+)?://|SqliteDatabase|engines?\.sqlite")
_HOLDERS = ("list", "dict", "set", "sequence", "mapping", "mutablemapping", "iterable", "any", "object", "bytearray")
_UNCHANGING = frozenset(("str", "int", "float", "bool", "bytes", "None"))
_MODELS = frozenset(("pydantic.BaseModel", "pydantic.main.BaseModel"))
_SCALARS = ("str", "int", "float", "bool", "bytes", "date", "datetime", "UUID", "Decimal")
_SETTINGS = (".env", ".ini", ".cfg", ".toml", ".yaml", ".yml", ".json", ".py")


@dataclass
class Found:
    """One handler as it is looked at: the unit it becomes, the starts that lead to it, what was recorded."""

    unit: str
    function: Function
    recorder: Recorder
    starts: list[Start] = field(default_factory=list)
    name: str = ""


@dataclass
class Gathered:
    facts: Facts
    functions: dict[str, Function]
    """Unit id -> the handler as the person wrote it."""
    machine: Machine
    stored: dict[str, frozenset[Atom]]
    """Unit id -> what it makes and puts into variables that outlive the request."""
    plain: set[str]
    """Handlers that are registered without a decorator: their framework may call them in a way of its own."""


def gather_facts(folder: Path, entry: str, app: str | None) -> Gathered:
    sources = Sources(folder)
    frameworks = Frameworks()
    machine = Machine(sources, frameworks, embedded=False)
    module = sources.entry(entry)
    machine.load(module)
    if app:
        module = named.module_of(app, sources)
        machine.load(module)
        named.check_attribute(app, module, _applications(frameworks, module))
    _factory(machine, frameworks, module, app)
    _startup(machine, frameworks)
    machine.embedded = _embedded(folder, sources)
    if not frameworks.applications:
        what = "makes no application of a framework that is known: the service is run as it is"
        machine.hazards[Hazard(Harm.OPAQUE, what, Place(module.file, 1))] = None
    found: dict[str, Found] = {}
    everywhere: dict[str, Found] = {}
    for _ in range(ROUNDS_MAX):
        machine.changed = False
        found, everywhere = {}, {}
        for function in list(frameworks.everywhere) + list(machine.callbacks):
            _always(machine, function, everywhere)
        for route in list(frameworks.routes):
            _handler(machine, frameworks, route, found)
        if not machine.changed:
            break
    else:
        machine.hazards[Hazard(Harm.OPAQUE, "is too entangled to be followed", place(module, module.tree))] = None
    return _facts(machine, frameworks, entry, found, everywhere)


def _applications(frameworks: Frameworks, module: Module) -> list[str]:
    """The names that a module has for applications."""
    return [
        name
        for name, value in module.scope.names.items()
        if any(isinstance(atom, Ref) and atom.obj in frameworks.applications for atom in value)
    ]


def _factory(m: Machine, frameworks: Frameworks, module: Module, app: str | None) -> None:
    """`create_app`, if that is how the application comes about: what is called to run it, `program.find_app`."""
    names = [*FACTORY_NAMES, "main"]
    if app is not None and app.rpartition(":")[2].split("(")[0]:
        names.insert(0, app.rpartition(":")[2].split("(")[0])
    for name in names:
        for atom in module.scope.names.get(name, NOTHING):
            wanted = app is not None and name == names[0]
            if isinstance(atom, Func) and (wanted or not (frameworks.applications or _needs(atom.info.node.args))):
                from compiler.python.evaluate import Frame

                m.frames.append(Frame(module.scope))
                m.call(atom, Args())
                m.frames.pop()


def _needs(given: ast.arguments) -> bool:
    """Whether a function cannot be called with nothing."""
    return len(given.posonlyargs) + len(given.args) > len(given.defaults) or None in given.kw_defaults


def _startup(m: Machine, frameworks: Frameworks) -> None:
    from compiler.python.evaluate import Frame

    for atom in list(frameworks.startup):
        m.frames.append(Frame(atom.info.module.scope))
        value = m.call(atom, Args((m.request_attrs.get("[app]", PLAIN),) * len(atom.info.node.args.args)))
        _lifespan_state(m, atom.info, value)
        m.frames.pop()


def _lifespan_state(m: Machine, info: Function, value: Atoms) -> None:
    """`yield {"db": db}` hands it to each request as `request.state.db`: the same object to all of them."""
    where = place(info.module, info.node)
    for atom in memory.elements(value) if any(isinstance(a, Ref) and a.obj.kind == "iterator" for a in value) else ():
        if isinstance(atom, Ref) and atom.obj.kind in ("dict", "instance"):
            for name, inner in atom.obj.attrs.items():
                _handed_to_requests(m, f"{info.path}.{name}", name, inner)
            if atom.obj.elements - PLAIN:
                m.hazard(Harm.OPAQUE, "hands requests what is not seen", where, "yield a dict with names written out")
        elif not isinstance(atom, Const | Plain | Inside):
            m.hazard(Harm.OPAQUE, "hands requests what is not seen", where, "yield a dict with names written out")


def _handed_to_requests(m: Machine, id_: str, name: str, value: Atoms) -> None:
    m.request_attrs[name] = m.request_attrs.get(name, NOTHING) | value
    for atom in value:
        if isinstance(atom, Ref) and atom.obj.kind != "lib" and not atom.obj.roots():
            memory.own(m, atom.obj, id_, name, value)
            lost, remedy = "what the application hands to each request", "keep it in a variable of a module"
            m.synthetic[id_] = replace(m.synthetic[id_], initial=Initial.OPAQUE, detail=lost, remedy=remedy)


def _embedded(folder: Path, sources: Sources) -> bool:
    """Whether the address of an embedded database stands anywhere in the sources or settings."""
    if any(_EMBEDDED.search(module.text) for module in sources.modules.values()):
        return True
    for path in sorted(folder.iterdir()):
        settings = path.is_file() and path.name.endswith(_SETTINGS) and path.suffix != ".py"
        if not settings or path.stat().st_size > 100_000:
            continue
        if _EMBEDDED.search(path.read_text("utf-8", "replace")):
            return True
    return False


# Handlers


def _enter(m: Machine, info: Function) -> Recorder:
    from compiler.python.evaluate import Frame

    recorder = m.begin()
    m.frames = [Frame(info.module.scope)]
    return recorder


def _always(m: Machine, function: Func, everywhere: dict[str, Found]) -> None:
    info = function.info
    recorder = _enter(m, info)
    bound = function.bound
    if bound is None and info.cls is not None and info.kind != "staticmethod":
        cls = info.cls
        bound = frozenset({Ref(Obj("instance", place(cls.module, cls.node), False, cls.path, cls))})
    count = max(len(info.node.args.args) - (1 if bound else 0), 0)
    first: Atoms = frozenset({Req()})
    value = m.call(Func(info, bound), Args((first,) + (PLAIN,) * (count - 1) if count else ()))
    memory.consume(m, value, Mode.WALK, place(info.module, info.node))
    templates.shown(m, value, info.node)
    face = info.face()
    everywhere.setdefault(face.path, Found(face.path, face, recorder))
    everywhere[face.path].recorder.uses |= recorder.uses
    everywhere[face.path].recorder.hazards |= recorder.hazards


def _handler(m: Machine, frameworks: Frameworks, route: Route, found: dict[str, Found]) -> None:
    info = route.handler.info
    face = info.face()
    for path, prefix, application, depends in paths(frameworks, route):
        assert application is not None
        framework = frameworks.applications[application]
        said, parameters = in_graph(path, framework)
        recorder = _enter(m, info)
        where = place(face.module, face.node)
        if "WEBSOCKET" in route.methods:
            m.hazard(Harm.HELD, "holds a websocket", where)
        for dependency in memory.elements(depends):
            _depend(m, dependency, parameters)
        args = _arguments(m, route, framework, parameters)
        value = m.call(route.handler, args)
        memory.consume(m, value, Mode.WALK, where)
        streamed.returned(m, value, where)
        if framework in ("aiohttp", "bottle"):  # their decorators fill a template with what is returned
            templates.shown(m, value, face.node)
        _returned_functions(m, value)
        one = found.get(face.path)
        if one is None:
            name = face.name if route.cls is None else f"{route.cls.name}_{face.name}"
            if isinstance(face.node, ast.Lambda):
                name = route.endpoint or name
            one = found[face.path] = Found(face.path, face, recorder, name=name)
        else:
            one.recorder.uses |= recorder.uses
            one.recorder.hazards |= recorder.hazards
            one.recorder.files |= recorder.files
            one.recorder.waits |= recorder.waits
            one.recorder.stored |= recorder.stored
        one.starts += _starts(route, framework, said, prefix, face, where)


def _returned_functions(m: Machine, value: Atoms) -> None:
    from compiler.python.calls import give_functions

    give_functions(m, frozenset(a for a in value if isinstance(a, Func)))


def _starts(route: Route, framework: str, said: str, prefix: str, face: Function, where: Place) -> list[Start]:
    name = ""
    if framework in ("flask", "quart"):
        name = prefix + (route.endpoint or route.handler.info.face().name)
    elif framework in _WITH_ROUTE:
        name = f"{face.module.name}:{face.qualname}"
    if "WEBSOCKET" in route.methods:
        name = ""
    return [Start(method, said, face.path, where, name) for method in route.methods]


def _arguments(m: Machine, route: Route, framework: str, parameters: dict[str, Atoms]) -> Args:
    """What the framework calls the handler with."""
    request: Atoms = frozenset({Req()})
    node = route.handler.info.node
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    own = names[1:] if route.handler.bound is not None else names
    if framework == "fastapi":
        return _injected(m, route.handler.info, parameters)
    if framework in ("starlette", "aiohttp"):
        return Args((request,))
    if framework in ("microdot", "sanic"):
        return Args((request,), tuple(sorted(parameters.items())))
    if framework == "tornado":
        return Args(tuple(SCALAR for _ in own))
    known = dict(parameters.items())
    if node.args.kwarg is None:
        known = {name: value for name, value in known.items() if name in own or name in _keyword_only(node)}
        known |= {name: SCALAR for name in own if name not in known and name not in route.handler.info.defaults}
    return Args((), tuple(sorted(known.items())))


def _keyword_only(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[str]:
    return [a.arg for a in node.args.kwonlyargs]


# FastAPI: what a parameter is follows from its annotation and its default


def _injected(m: Machine, info: Function, parameters: dict[str, Atoms], depth: int = 0) -> Args:
    node = info.node
    named: dict[str, Atoms] = {}
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    if info.cls is not None and info.kind != "staticmethod":
        every = every[1:]
    bodies = [a for a in every if _model(m, info, a) is not None]
    for argument in every:
        default = info.defaults.get(argument.arg, NOTHING)
        value = _parameter(m, info, argument, default, parameters, len(bodies), depth)
        named[argument.arg] = PLAIN if value == SCALAR and _may_hold(argument) else value
    return Args((), tuple(sorted(named.items())))


def _parameter(
    m: Machine, info: Function, argument: ast.arg, default: Atoms, parameters: dict[str, Atoms], bodies: int, depth: int
) -> Atoms:
    name = argument.arg
    base, extra = _annotation(m, info, argument)
    for atom in default | extra:
        if isinstance(atom, Special) and atom.kind == "depends":
            m.injected.add((info.node, name))
            given = atom.data[0]
            assert isinstance(given, frozenset)
            wanted = given or frozenset(a for a in base if isinstance(a, ClassAtom | Func))
            return NOTHING.union(*[_depend(m, one, parameters, depth) for one in wanted]) or PLAIN
        if isinstance(atom, Special) and atom.kind == "parameter":
            if atom.data[3]:  # another value each time
                m.injected.add((info.node, name))
            declared = _declared(atom, name, base)
            return SCALAR if declared == PLAIN and _holds_nothing(argument) else declared
    if extra:  # which may make something else of it, and another thing each time
        m.injected.add((info.node, name))
        return SCALAR
    if name in parameters:
        return _typed(parameters[name], base)
    text = {a.name.rsplit(".", 1)[-1] for a in base if isinstance(a, Lib)}
    if text & {"Request", "WebSocket", "HTTPConnection"}:
        return frozenset({Req()})
    if "BackgroundTasks" in text:
        return frozenset({Ref(Obj("lib", m.here(info.node), False, "fastapi.BackgroundTasks"))})
    if "UploadFile" in text:
        return frozenset({Ref(Obj("lib", m.here(info.node), False, FILE))})
    if "Response" in text:
        return frozenset({Ref(Obj("lib", m.here(info.node), False, "fastapi.Response"))})
    if any(isinstance(a, ClassAtom) for a in base):
        path = ("body",) if bodies == 1 else ("body", name)
        return _body(m, base, path)
    if default:
        return SCALAR
    return _typed(frozenset({Req(("query", name), "", name)}), base)


def _may_hold(argument: ast.arg) -> bool:
    """Whether what is declared so may be changed in place."""
    names = ast.walk(argument.annotation) if argument.annotation is not None else ()
    return any(isinstance(n, ast.Name) and n.id.lower() in _HOLDERS for n in names)


def _holds_nothing(argument: ast.arg) -> bool:
    """Whether it is declared as a text, a number or the like, or None."""
    node = argument.annotation
    if isinstance(node, ast.Subscript) and "Annotated" in ast.unparse(node.value) and isinstance(node.slice, ast.Tuple):
        node = node.slice.elts[0]
    names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)] if node is not None else []
    return bool(names) and set(names) <= {*_SCALARS, "Optional", "Union"}


def _annotation(m: Machine, info: Function, argument: ast.arg) -> tuple[Atoms, Atoms]:
    """The type, and what `Annotated` adds."""
    node = argument.annotation
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = ast.copy_location(ast.parse(node.value, mode="eval").body, node)
        except SyntaxError:
            return NOTHING, NOTHING
    if node is None:
        return NOTHING, NOTHING
    from compiler.python.evaluate import Frame

    m.frames.append(Frame(info.scope))
    recorder, m.recorder = m.recorder, Recorder()
    extra: Atoms = NOTHING
    if isinstance(node, ast.Subscript) and "Annotated" in ast.unparse(node.value) and isinstance(node.slice, ast.Tuple):
        for item in node.slice.elts[1:]:
            extra |= m.value(item)
        node = node.slice.elts[0]
    elif isinstance(node, ast.Name):
        alias = m.value(node)
        m.frames.pop()
        m.recorder = recorder
        for atom in alias:
            if isinstance(atom, Special) and atom.kind == "annotated":
                first, others = atom.data
                assert isinstance(first, frozenset)
                assert isinstance(others, frozenset)
                return first, others
        return alias, NOTHING
    base = m.value(node)
    m.frames.pop()
    m.recorder = recorder
    return base, extra


def _model(m: Machine, info: Function, argument: ast.arg) -> Atom | None:
    base, extra = _annotation(m, info, argument)
    if any(isinstance(a, Special) and a.kind == "depends" for a in info.defaults.get(argument.arg, NOTHING) | extra):
        return None
    return next((a for a in base if isinstance(a, ClassAtom)), None)


def _typed(value: Atoms, base: Atoms) -> Atoms:
    names = {a.name for a in base if isinstance(a, Lib)}
    if names == {"builtins.int"}:
        return keys.converted(value, "int")
    if names == {"builtins.str"} or not base:
        return value
    return SCALAR


def _declared(atom: Special, name: str, base: Atoms) -> Atoms:
    kind, default, alias, _ = atom.data
    assert isinstance(default, frozenset)
    assert isinstance(alias, frozenset)
    required = not default or all(isinstance(a, Const) and a.value is None for a in default) is False
    word = keys.constant(alias) or name
    kinds = {"Query": "query", "Cookie": "cookies", "Path": "params", "Form": "body"}
    if required and not default and str(kind) in kinds:
        return _typed(frozenset({Req((kinds[str(kind)], word), "", word)}), base)
    return PLAIN


def _body(m: Machine, base: Atoms, path: tuple[str, ...]) -> Atoms:
    """A model of the body: an instance of its class, whose plain text fields are parts of the request."""
    for atom in base:
        if isinstance(atom, ClassAtom):
            cls = atom.info
            obj = Obj("instance", place(cls.module, cls.node), False, cls.path, cls)
            checked = any(isinstance(a, Func) and a.info.node.decorator_list  # type: ignore[union-attr]
                          for names in cls.scope.names.values() for a in names
                          if not (isinstance(a, Func) and isinstance(a.info.node, ast.Lambda)))  # fmt: skip
            checked = checked or any({"model_config", "Config"} & set(one.scope.names) for one in cls.lineage())
            validated = not checked and len(base) == 1 and _validated(cls)
            for one in cls.lineage():
                for statement in one.node.body:
                    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                        text = ast.unparse(statement.annotation)
                        plain = text == "str" and statement.value is None and not checked
                        name = statement.target.id
                        value = frozenset({Req((*path, name), "", name, validated)}) if plain else PLAIN
                        if validated and text in _UNCHANGING and statement.value is None and not plain:
                            value = SCALAR
                        obj.attrs.setdefault(name, value)
            after_fields(m, cls, frozenset({Ref(obj)}))
            return frozenset({Ref(obj)})
    return PLAIN


def _validated(cls: Class) -> bool:
    """Whether an instance surely has what its annotations say: pydantic has seen to it, and no code of the service
    had a hand in it. A dataclass takes whatever it is given."""
    for one in cls.lineage():
        bases = [atom for atoms in one.bases for atom in atoms]
        models = all(isinstance(a, ClassAtom) or (isinstance(a, Lib) and a.name in _MODELS) for a in bases)
        here = {*one.scope.names, *one.module.scope.names}
        more = [n for n in one.node.body if not isinstance(n, ast.AnnAssign | ast.Expr | ast.Pass)]
        if not bases or not models or here & _UNCHANGING or more:
            return False
        if one.node.keywords or one.node.decorator_list:
            return False
    return True


def _depend(m: Machine, atom: Atom, parameters: dict[str, Atoms], depth: int = 0) -> Atoms:
    """A dependency runs in the request; what it yields or returns is the parameter."""
    if isinstance(atom, Special) and atom.kind == "depends":
        given = atom.data[0]
        assert isinstance(given, frozenset)
        return NOTHING.union(*[_depend(m, one, parameters, depth) for one in given])
    if depth > 10:
        return PLAIN
    if isinstance(atom, Func):
        value = m.call(atom, _injected(m, atom.info, parameters, depth + 1))
        if any(isinstance(n, ast.Yield) for n in ast.walk(atom.info.node)):
            return memory.elements(value)
        return value
    if isinstance(atom, ClassAtom):
        from compiler.python.calls import make

        init = [a for a in atom.info.find("__init__") if isinstance(a, Func)]
        args = _injected(m, init[0].info, parameters, depth + 1) if init else Args((), ())
        return make(m, atom.info, args, atom.info.node, m.frames[-1])
    if isinstance(atom, Ref):
        if atom.obj.kind == "lib":
            memory.touch_library(m, atom.obj, m.here(ast.Pass(lineno=1, col_offset=0)))
        elif atom.obj.cls is not None:
            for inner in atom.obj.cls.find("__call__"):
                if isinstance(inner, Func):
                    return m.call(Func(inner.info, frozenset({atom})), _injected(m, inner.info, parameters, depth + 1))
    return PLAIN


# Facts


def _facts(
    m: Machine, frameworks: Frameworks, entry: str, found: dict[str, Found], everywhere: dict[str, Found]
) -> Gathered:
    writes = any(h.harm is Harm.LOCAL for one in (*found.values(), *everywhere.values()) for h in one.recorder.hazards)
    secrets = _secrets(m)
    variables = _variables(m)
    every = [one for one in (*found.values(), *everywhere.values()) if one.unit]
    changes = {use.variable for one in every for use in one.recorder.uses if use.mode in _CHANGES}
    for one in every:
        _polls(one, changes)
    units = _same_once(m, variables, [_unit(one, variables, writes) for one in every])
    for id_, variable in variables.items():
        if variable.detail == "what lru_cache remembers" and any(_changes(unit, id_) for unit in units):
            variables[id_] = replace(variable, initial=Initial.OPAQUE)
        if id_ in m.unstorable and any(_changes(unit, id_) for unit in units):
            detail = f"made by {m.unstorable[id_]}, which cannot be stored"
            variables[id_] = replace(variable, initial=Initial.OPAQUE, detail=detail)
        scope = m.variables[id_][0] if id_ in m.variables else None
        several = scope is not None and scope.kind == "function" and m.runs.get(scope.path, 0) > 1
        if several and any(_changes(unit, id_) for unit in units):
            detail = f"another one for each call of {id_.split('.')[-2]}"
            variables[id_] = replace(variable, initial=Initial.OPAQUE, detail=detail)
    units += secrets
    used = {use.variable for unit in units for use in unit.uses}
    changed = {use.variable for unit in units for use in unit.uses if use.mode in ("write", "escape")}
    kept = tuple(
        v for v in variables.values()
        if v.id in used and (v.id in changed or v.initial in (Initial.ONCE, Initial.OPAQUE))
    )  # fmt: skip
    ids = {v.id for v in kept}
    units = [_only(unit, ids) for unit in units]
    unique = {unit.id: unit for unit in reversed(units)}
    given = _handed(m, changed)
    if given is not None:
        unique[given.id] = given
    framework = next(iter(frameworks.applications.values()), "")
    always = tuple(one for one in everywhere if one not in found)
    always += (given.id,) if given is not None else ()
    always += tuple(unit.id for unit in secrets)
    facts = Facts(
        "python",
        framework,
        entry,
        kept,
        tuple(sorted(unique.values(), key=lambda u: (list(found).index(u.id) if u.id in found else 10**6, u.place))),
        tuple(dict.fromkeys(start for one in found.values() for start in one.starts)),
        always,
        tuple(m.hazards),
        tuple(sorted(m.env)),
        {module.file: module.text for module in m.sources.modules.values()},
    )
    functions = {one.unit: one.function for one in found.values()}
    plain = {unit for unit, info in functions.items() if not getattr(info.node, "decorator_list", ())}
    stored = {one.unit: frozenset(one.recorder.stored) for one in found.values()}
    return Gathered(facts, functions, m, stored, plain)


def _same_once(m: Machine, variables: dict[str, Variable], units: list[Unit]) -> list[Unit]:
    """What is made of one thing that is made once belongs together: who reads one reads the others, too."""
    made: dict[Atom, list[str]] = {}
    for id_ in variables:
        if id_ in m.variables:
            scope, name = m.variables[id_]
            for atom in _once_in(scope.names.get(name, NOTHING)):
                made.setdefault(atom, []).append(id_)
    for (app, name), (once, _) in m.secrets.items():
        for atom in once:
            made.setdefault(atom, []).append(f"{app.owner}.{name}")
    together = [ids for ids in made.values() if len(ids) > 1]
    return [_with_others(unit, together) for unit in units] if together else units


def _with_others(unit: Unit, together: list[list[str]]) -> Unit:
    uses = dict.fromkeys(unit.uses)
    for ids in together:
        first = next((use for use in unit.uses if use.variable in ids), None)
        if first is not None:
            uses |= {Use(id_, Mode.READ, first.place): None for id_ in ids if id_ != first.variable}
    return replace(unit, uses=tuple(uses))


def _once_in(value: Atoms) -> set[Atom]:
    found: set[Atom] = set()
    seen: set[Obj] = set()
    todo = list(value)
    while todo:
        atom = todo.pop()
        if isinstance(atom, Once):
            found.add(atom)
        elif isinstance(atom, Ref) and atom.obj not in seen:
            seen.add(atom.obj)
            todo += [inner for each in (atom.obj.elements, *atom.obj.attrs.values()) for inner in each]
    return found


def _secrets(m: Machine) -> list[Unit]:
    """Settings of applications that are made once, as variables; and what reads them at every request, if anything
    does."""
    uses: dict[Use, None] = {}
    for (app, name), (once, where) in m.secrets.items():
        why = next(atom.why for atom in once if isinstance(atom, Once))
        id_ = f"{app.owner}.{name}"
        if not app.owner or not memory.reachable(m, app.owner):
            what = f"gives the application something that is {why}: another on each node"
            m.hazards[Hazard(Harm.OPAQUE, what, where, "read it from the environment")] = None
            continue
        m.synthetic[id_] = Variable(id_, name.rpartition(".")[2], where, Initial.ONCE, True, why)
        if m.signs_always:
            uses[Use(id_, Mode.READ, where)] = None
    where = next(iter(uses)).place if uses else Place("", 0)
    return [Unit("settings", "settings", where, where.line, tuple(uses))] if uses else []


def _changes(unit: Unit, variable: str) -> bool:
    return any(use.variable == variable and use.mode in ("write", "escape") for use in unit.uses)


def _polls(one: Found, changed: set[str]) -> None:
    """A loop that waits until another request changes something would wait for ever, were requests one at a time."""
    for variable, where in one.recorder.awaited.items():
        if variable in changed:
            what = f"waits in a loop for what others do to {variable.rpartition('.')[2]}"
            one.recorder.hazard(Hazard(Harm.HELD, what, where))


def _handed(m: Machine, changed: set[str]) -> Unit | None:
    """What libraries were given while the service loaded, and handlers change: a library may look at it whenever a
    request comes."""
    uses = {
        Use(name, Mode.ESCAPE, where): None
        for obj, where in m.handed.items()
        for name, _ in obj.roots()
        if name in changed and obj.kind != "lib"
    }
    if not uses:
        return None
    where = next(iter(uses)).place
    return Unit("libraries", "libraries", where, where.line, tuple(uses))


def _only(unit: Unit, ids: set[str]) -> Unit:
    uses = tuple(use for use in unit.uses if use.variable in ids)
    return Unit(unit.id, unit.name, unit.place, unit.last_line, uses, (), unit.hazards, unit.waits)


def _unit(one: Found, variables: dict[str, Variable], writes: bool) -> Unit:
    info = one.function
    hazards = dict(one.recorder.hazards)
    if writes:
        for where in one.recorder.files:
            hazards[Hazard(Harm.LOCAL, "reads a file, and the service writes files", where)] = None
    uses: dict[Use, None] = dict.fromkeys(sorted(one.recorder.uses, key=lambda u: (u.place, u.variable, u.mode)))
    last = getattr(info.node, "end_lineno", 0) or 0
    asynchronous = one.recorder.waits
    name = one.name or info.name
    return Unit(one.unit, name, place(info.module, info.node), last, tuple(uses), (), tuple(hazards), asynchronous)


def _variables(m: Machine) -> dict[str, Variable]:
    found = dict(m.synthetic)
    for id_, (scope, name) in m.variables.items():
        value = scope.names.get(name, NOTHING)
        initial, detail = memory.initial_of(m, value)
        rebound = name in scope.rebound
        if rebound and initial in (Initial.CODE, Initial.STATELESS):
            initial = Initial.VALUE
        if scope.kind == "function" and name not in scope.captured:
            initial, detail = Initial.OPAQUE, "something that no name leads to when the service runs"
        if any(isinstance(a, Once) for a in value) and initial is not Initial.OPAQUE:
            initial = Initial.ONCE
        where = scope.places.get(name, Place(scope.module.file, 1))
        found[id_] = Variable(id_, name, where, initial, not rebound, detail)
    return found

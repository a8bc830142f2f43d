"""Where requests enter: routes, as the frameworks register them while the service loads.

Flask, Quart, FastAPI, Starlette and aiohttp give each handler a `route`, by which the runtime finds it again: the
endpoint for Flask and Quart, `module:qualname` for the others. Handlers of other frameworks have none: they are run by
the fluxion `app`. Knows what frameworks do with functions; not what functions do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from compiler.facts import Harm, Initial, Place, Variable
from compiler.python import keys, memory
from compiler.python.calls import Args, give_functions
from compiler.python.evaluate import Frame, Hooks, Machine
from compiler.python.libraries import Kind, about
from compiler.python.model import (
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
    Obj,
    Once,
    Ref,
    Req,
    Scope,
    Special,
)
from compiler.python.read import place

APPLICATIONS = {
    "flask.Flask": "flask",
    "flask.app.Flask": "flask",
    "quart.Quart": "quart",
    "fastapi.FastAPI": "fastapi",
    "fastapi.applications.FastAPI": "fastapi",
    "starlette.applications.Starlette": "starlette",
    "aiohttp.web.Application": "aiohttp",
    "bottle.Bottle": "bottle",
    "microdot.Microdot": "microdot",
    "microdot.asyncio.Microdot": "microdot",
    "microdot.microdot.Microdot": "microdot",
    "sanic.Sanic": "sanic",
    "tornado.web.Application": "tornado",
}
_ROUTERS = {
    "flask.Blueprint",
    "quart.Blueprint",
    "fastapi.APIRouter",
    "starlette.routing.Router",
    "aiohttp.web.RouteTableDef",
    "sanic.Blueprint",
    "flask_restful.Api",
    "flask_restplus.Api",
    "flask_restx.Api",
    "flask_restplus.Namespace",
    "flask_restx.Namespace",
}
_WITH_ROUTE = {"flask", "quart", "fastapi", "starlette", "aiohttp"}
_VERBS = {"get", "post", "put", "delete", "patch", "head", "options", "trace"}
_EVERYWHERE = {
    "before_request", "after_request", "teardown_request", "teardown_appcontext", "errorhandler", "app_errorhandler",
    "before_app_request", "after_app_request", "context_processor", "app_context_processor", "url_value_preprocessor",
    "exception_handler", "middleware", "template_filter", "app_template_filter", "template_global", "before_websocket",
    "register_error_handler", "add_exception_handler", "exception", "on_request", "on_response", "add_template_filter",
}  # fmt: skip
_STARTUP = {
    "before_first_request", "on_event", "add_event_handler", "before_serving", "while_serving", "listener",
    "before_server_start", "register_listener",
}  # fmt: skip
_LIFESPAN = ("lifespan_context", "lifespan", "on_startup")
"""Attributes of an application or its router that are run when it starts."""
_SERVES = {
    "uvicorn.run", "uvicorn.Config", "aiohttp.web.run_app", "bottle.run", "waitress.serve",
    "werkzeug.serving.run_simple", "hypercorn.asyncio.serve", "gunicorn.app.base.BaseApplication",
}  # fmt: skip
_CONVERTED = {"int": "int", "": "", "str": "", "string": "", "path": ""}
_FLASK_PARAMETER = re.compile(r"<(?:([a-zA-Z_]\w*)(?:\([^)]*\))?:)?([A-Za-z_]\w*)>")
_BRACED = re.compile(r"\{([A-Za-z_]\w*)(?::([^{}]*(?:\{[^{}]*\})*[^{}]*))?\}")


@dataclass(frozen=True)
class Route:
    owner: Obj
    methods: tuple[str, ...]
    path: str | None
    handler: Func
    where: Place
    endpoint: str = ""
    depends: Atoms = NOTHING
    cls: Class | None = None


@dataclass(frozen=True)
class Mount:
    child: Obj
    parent: Obj
    prefix: str | None
    replaces: bool = False
    depends: Atoms = NOTHING


@dataclass
class Frameworks(Hooks):
    applications: dict[Obj, str] = field(default_factory=dict)
    routes: dict[Route, None] = field(default_factory=dict)
    mounts: dict[Mount, None] = field(default_factory=dict)
    everywhere: dict[Func, None] = field(default_factory=dict)
    startup: dict[Func, None] = field(default_factory=dict)
    singletons: dict[Class, Obj] = field(default_factory=dict)

    # What libraries make

    def call_library(self, m: Machine, name: str, call: Args, frame: Frame) -> Atoms | None:
        node = frame_node(m)
        if name in APPLICATIONS or name in _ROUTERS:
            return self._application(m, name, call, node)
        if name in _SERVES:
            self._named(m, call)
            return PLAIN
        short = name.rsplit(".", 1)[-1]
        if name.startswith(("starlette.routing.", "fastapi.routing.")):
            return self._starlette_route(m, short, call, node)
        if name.startswith("aiohttp.web.") and (short in _VERBS or short in ("route", "view", "static")):
            return self._aiohttp_route(short, call)
        if name.startswith("bottle.") and (short in _VERBS or short == "route"):
            return self._bottle(m, short, call)
        if short in ("Depends", "Security") and name.startswith("fastapi."):
            return frozenset({Special("depends", (call.get(0, "dependency"),))})
        if name.startswith("fastapi.") and short in ("Query", "Header", "Cookie", "Path", "Body", "Form", "File"):
            given = short, call.get(0, "default"), call.get(9, "alias"), call.get(99, "default_factory")
            return frozenset({Special("parameter", given)})
        if name.endswith("Middleware"):
            self._single(m, call.every())
        return None

    def _named(self, m: Machine, call: Args) -> None:
        """`uvicorn.run("main:app")` loads that module, and calls what makes the application."""
        for atom in call.get(0, "app"):
            if isinstance(atom, Const) and isinstance(atom.value, str) and ":" in atom.value:
                path, _, attribute = atom.value.partition(":")
                module = m.import_name(path)
                for made in module.scope.names.get(attribute.partition(".")[0], NOTHING) if module else ():
                    if isinstance(made, Func) and not self.applications:
                        m.call(made, Args())

    def _application(self, m: Machine, name: str, call: Args, node: Place) -> Atoms:
        obj = m.objects.setdefault(("lib", node, f"{name}{len(m.frames)}"), Obj("lib", node, True, name))
        obj.attrs.setdefault("*app", SCALAR)
        if name in APPLICATIONS:
            self.applications[obj] = APPLICATIONS[name]
            m.request_attrs["[app]"] = m.request_attrs.get("[app]", NOTHING) | {Ref(obj)}
        prefix = keys.constant(call.get(9, "url_prefix") or call.get(9, "prefix")) or ""
        obj.attrs["*prefix"] = frozenset({Const(prefix)})
        obj.attrs["*name"] = call.get(0)
        obj.attrs["*depends"] = call.get(9, "dependencies")
        short = name.rsplit(".", 1)[-1]
        if short in ("Api", "Namespace"):
            for atom in call.get(0, "app"):
                if isinstance(atom, Ref) and atom.obj.kind == "lib":
                    self.mounts[Mount(obj, atom.obj, "")] = None
            if short == "Namespace":
                path = keys.constant(call.get(9, "path")) if call.get(9, "path") else None
                named = keys.constant(call.get(0, "name"))
                obj.attrs["*prefix"] = frozenset({Const(path if path is not None else f"/{named}")})
        if name == "tornado.web.Application":
            self._tornado(m, obj, call.get(0, "handlers"), node)
        self._registered(m, obj, call.get(9, "routes"))
        for parameter in ("lifespan", "on_startup"):
            self._later(call.get(9, parameter))
        for parameter in ("middlewares", "middleware", "exception_handlers"):
            self._always(m, call.get(9, parameter))
            self._single(m, call.get(9, parameter))
        once = [a for a in call.every() if isinstance(a, Once)]
        if once:
            m.hazard(Harm.OPAQUE, f"gives the application something that is {once[0].why}", node)
        return frozenset({Ref(obj)})

    def _starlette_route(self, m: Machine, short: str, call: Args, node: Place) -> Atoms | None:
        if short in ("Route", "WebSocketRoute", "APIRoute"):
            return frozenset({Special("a route", (short, call.get(0, "path"), call.get(1, "endpoint"), call))})
        if short == "Mount":
            return frozenset({Special("a mount", (call.get(0, "path"), call.get(9, "routes"), call.get(1, "app")))})
        return None

    def _aiohttp_route(self, short: str, call: Args) -> Atoms:
        if short == "static":
            return PLAIN
        if short == "route":
            return frozenset({Special("a route", (_text(call.get(0)), call.get(1), call.get(2), call))})
        return frozenset({Special("a route", (short, call.get(0), call.get(1), call))})

    def _bottle(self, m: Machine, short: str, call: Args) -> Atoms:
        where = Place("bottle", 0)
        obj = m.objects.setdefault(("lib", where, "bottle.Bottle"), Obj("lib", where, True, "bottle.Bottle"))
        self.applications[obj] = "bottle"
        methods = _methods(call, short) if short == "route" else (short.upper(),)
        return frozenset({Special("route", (obj, methods, keys.constant(call.get(0, "path")), "", NOTHING))})

    def _tornado(self, m: Machine, obj: Obj, handlers: Atoms, where: Place) -> None:
        for item in memory.elements(handlers):
            inside = memory.elements(frozenset({item}))
            given = NOTHING.union(*(memory.elements(frozenset({atom})) for atom in inside if isinstance(atom, Ref)))
            if any(isinstance(atom, Ref) and atom.obj.live for atom in given):
                # What handlers are initialised with is theirs by names that are not seen.
                m.hazard(Harm.OPAQUE, "gives a handler something that it may change", where)
            for atom in inside:
                if isinstance(atom, ClassAtom):
                    self._class_routes(m, obj, atom.info, None, "", NOTHING)

    # What applications and routers are told

    def call_method(self, m: Machine, method: LibMethod, call: Args, frame: Frame) -> Atoms | None:
        obj, name = method.of, method.name
        if "*app" not in obj.attrs and obj not in self.applications:
            return self._other(m, method, call)
        if not m.loading:
            return None
        if name == "route" or name in _VERBS or name in ("websocket", "websocket_route", "api_route", "view"):
            return self._decorator(m, obj, name, call)
        handler = _TOLD.get(name)
        if handler is not None:
            return handler(self, m, obj, name, call)
        if name in _EVERYWHERE:
            functions = [a for a in call.every() if isinstance(a, Func | ClassAtom) and not _exception(a)]
            self._always(m, frozenset(functions))
            return frozenset({Special("everywhere")}) if not functions else frozenset(functions)
        if name in _STARTUP:
            functions = [a for a in call.every() if isinstance(a, Func)]
            self._later(frozenset(functions))
            event = keys.constant(call.get(0))
            kind = "ignored" if event is not None and "stop" in event + "shutdown" * ("shut" in event) else "startup"
            return frozenset({Special(kind)}) if not functions else frozenset(functions)
        if name.startswith(("on_startup", "cleanup_ctx")):
            self._later(call.every() | memory.elements(call.every()))
            return PLAIN
        if name.startswith(("on_shutdown", "on_cleanup", "cli", "after_serving", "after_server")):
            return frozenset({Special("ignored")})
        if name.startswith("middlewares"):
            self._always(m, call.every())
            return PLAIN
        if name in ("run", "run_until_complete", "listen", "start_server", "run_task"):
            return PLAIN
        return None

    def _other(self, m: Machine, method: LibMethod, call: Args) -> Atoms | None:
        """Methods of libraries that go with a framework."""
        if method.of.name.startswith("flask_httpauth.") and method.name in ("login_required", "auth_required"):
            functions = frozenset(a for a in call.every() if isinstance(a, Func))
            return functions or frozenset({Special("identity")})
        if m.loading and method.name in ("init_app", "attach", "setup"):
            return None
        return None

    def _decorator(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms | None:
        path = keys.constant(call.get(0, "path") or call.get(0, "rule") or call.get(0, "uri"))
        methods = (name.upper(),) if name in _VERBS else _methods(call, name)
        depends = call.get(9, "dependencies")
        endpoint = keys.constant(call.get(9, "endpoint")) or ""
        if name.startswith("websocket"):
            methods = ("WEBSOCKET",)
        return frozenset({Special("route", (obj, methods, path, endpoint, depends))})

    def call_special(self, m: Machine, special: Special, call: Args, frame: Frame) -> Atoms:
        if special.kind == "route":
            obj, methods, path, endpoint, depends = special.data
            for atom in call.get(0):
                self._register(m, obj, methods, path, atom, endpoint, depends)  # type: ignore[arg-type]
            return call.get(0)
        if special.kind == "everywhere":
            self._always(m, call.get(0))
        elif special.kind == "startup":
            self._later(call.get(0))
        elif special.kind == "lru_cache":
            for atom in call.get(0):
                if isinstance(atom, Func):
                    atom.info.decorators += ("cached",)
        elif special.kind == "wraps":
            _stands_for(special, call.get(0))
        elif special.kind == "partial":
            return _partial(m, special, call, frame)
        elif special.kind == "as_view":
            _views_given(m, special.data[0], call)
            return frozenset({Special("view", (special.data[0], keys.constant(call.get(0, "name")) or ""))})
        elif special.kind not in ("ignored", "identity"):
            return PLAIN
        return call.get(0)

    def _register(
        self,
        m: Machine,
        obj: Obj,
        methods: tuple[str, ...],
        path: str | None,
        handler: Atom,
        endpoint: str,
        depends: Atoms,
    ) -> None:
        if isinstance(handler, Func):
            where = place(handler.info.module, handler.info.node)
            self.routes[Route(obj, methods, path, handler, where, endpoint, depends)] = None
        elif isinstance(handler, ClassAtom):
            self._class_routes(m, obj, handler.info, path, endpoint, depends)
        elif isinstance(handler, Special) and handler.kind == "view":
            cls, named = handler.data
            assert isinstance(cls, Class)
            self._class_routes(m, obj, cls, path, endpoint or str(named), depends)
        elif isinstance(handler, Ref) and handler.obj.cls is not None:
            for inner in handler.obj.cls.find("__call__"):
                if isinstance(inner, Func):
                    bound = Func(inner.info, frozenset({handler}))
                    where = place(inner.info.module, inner.info.node)
                    self.routes[Route(obj, methods, path, bound, where, endpoint, depends)] = None
        elif not isinstance(handler, Lib) or about(handler.name)[0] is not Kind.PURE:
            m.hazard(Harm.OPAQUE, "takes requests with a handler that is not seen", m.call_place)

    def _class_routes(self, m: Machine, obj: Obj, cls: Class, path: str | None, endpoint: str, depends: Atoms) -> None:
        instance = Obj("instance", place(cls.module, cls.node), False, cls.path, cls)
        name = endpoint or _endpoint(obj, cls)
        names = list(dict.fromkeys(n for c in cls.lineage() for n in c.scope.names))
        verbs = [n for n in names if n in _VERBS] or [n for n in names if n in ("dispatch_request", "on_message")]
        for verb in verbs:
            for atom in cls.find(verb):
                if isinstance(atom, Func):
                    bound = Func(atom.info, frozenset({Ref(instance)}))
                    methods = (verb.upper(),) if verb in _VERBS else ("GET",)
                    where = place(atom.info.module, atom.info.node)
                    self.routes[Route(obj, methods, path, bound, where, name, depends, cls)] = None
        for common in ("prepare", "initialize", "on_connection_close", "open", "on_close", "__init__"):
            self.everywhere |= {
                Func(a.info, frozenset({Ref(instance)})): None for a in cls.find(common) if isinstance(a, Func)
            }

    def _registered(self, m: Machine, obj: Obj, routes: Atoms) -> None:
        """`routes=[Route(...)]`, `add_routes([...])`."""
        for atom in routes:
            if isinstance(atom, Ref) and atom.obj.kind == "lib" and "*app" in atom.obj.attrs:
                self.mounts[Mount(atom.obj, obj, "")] = None
        for atom in sorted(memory.elements(routes) | routes, key=_told_at):
            if isinstance(atom, Special) and atom.kind == "a route":
                short, path, endpoint, call = atom.data
                assert isinstance(path, frozenset)
                assert isinstance(endpoint, frozenset)
                assert isinstance(call, Args)
                methods = (str(short).upper(),) if str(short).lower() in _VERBS else _methods(call, str(short))
                if str(short).startswith("WebSocket"):
                    methods = ("WEBSOCKET",)
                for handler in endpoint:
                    self._register(m, obj, methods, keys.constant(path), handler, "", NOTHING)
            elif isinstance(atom, Special) and atom.kind == "a mount":
                path, inner, application = atom.data
                assert isinstance(path, frozenset)
                assert isinstance(inner, frozenset)
                assert isinstance(application, frozenset)
                child = Obj("lib", obj.place, True, obj.name, attrs={"*app": SCALAR})
                self.mounts[Mount(child, obj, keys.constant(path))] = None
                self._registered(m, child, inner)
                self._mount(m, obj, "mount", Args((path, application)))

    def _add(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        """`add_url_rule`, `add_route`, `add_api_route`, `add_get`."""
        if name == "add_url_rule":
            path, handler = call.get(0, "rule"), call.get(2, "view_func")
            methods, endpoint = _methods(call, "route"), keys.constant(call.get(1, "endpoint")) or ""
        elif name.startswith("add_") and name[4:] in _VERBS:
            path, handler, methods, endpoint = call.get(0), call.get(1), (name[4:].upper(),), ""
        elif obj.name.startswith("aiohttp."):
            path, handler, methods, endpoint = call.get(1), call.get(2), ((_text(call.get(0)) or "*").upper(),), ""
        elif obj.name.startswith("sanic."):
            path, handler, methods, endpoint = call.get(1), call.get(0), _methods(call, "route"), ""
        else:
            path, handler, methods, endpoint = call.get(0), call.get(1), _methods(call, "route"), ""
        for atom in handler:
            self._register(m, obj, methods, keys.constant(path), atom, endpoint, NOTHING)
        return PLAIN

    def _resource(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        """flask-restful: `add_resource(Class, *paths)`."""
        endpoint = keys.constant(call.get(9, "endpoint")) or ""
        paths = call.positional[1:]
        for atom in call.get(0):
            if isinstance(atom, ClassAtom):
                for path in paths or (NOTHING,):
                    self._class_routes(m, obj, atom.info, keys.constant(path), endpoint, NOTHING)
        return PLAIN

    def _mount(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        """`register_blueprint`, `include_router`, `mount`, `add_namespace`, `add_subapp`."""
        swapped = name in ("mount", "add_subapp") and not obj.name.startswith("microdot")
        child, told = (call.get(1, "app"), call.get(0, "path")) if swapped else (call.get(0), NOTHING)
        told = told or call.get(9, "url_prefix") or call.get(9, "prefix") or call.get(1 if not swapped else 9, "path")
        prefix = keys.constant(told) if told else ""
        replaces = bool(told) and name in ("register_blueprint", "blueprint", "add_namespace")
        for atom in child:
            if isinstance(atom, Ref) and atom.obj.kind == "lib" and "*app" in atom.obj.attrs:
                self.mounts[Mount(atom.obj, obj, prefix, replaces, call.get(9, "dependencies"))] = None
        return PLAIN

    def _namespace(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        base = obj.name.rsplit(".", 1)[0]
        made = self._application(m, f"{base}.Namespace", call, frame_node(m))
        for atom in made:
            assert isinstance(atom, Ref)
            self.mounts[Mount(atom.obj, obj, "")] = None
        return made

    def _routes(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        self._registered(m, obj, call.get(0))
        return PLAIN

    def _init_app(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        for atom in call.get(0):
            if isinstance(atom, Ref) and atom.obj.kind == "lib":
                self.mounts[Mount(obj, atom.obj, "")] = None
        return PLAIN

    def _middleware(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms | None:
        self._single(m, call.every())
        self._always(m, frozenset(a for a in call.every() if isinstance(a, Func)))
        return None

    def _from_object(self, m: Machine, obj: Obj, name: str, call: Args) -> Atoms:
        """`app.config.from_object("settings")` imports."""
        named = keys.constant(call.get(0))
        if named is not None:
            _ = m.import_name(named) or m.import_name(named.rsplit(".", 1)[0])
        return PLAIN

    def _always(self, m: Machine, functions: Atoms) -> None:
        for atom in functions | memory.elements(functions):
            if isinstance(atom, Func):
                self.everywhere[atom] = None
            elif isinstance(atom, ClassAtom):
                self._single(m, frozenset({atom}))

    def _later(self, functions: Atoms) -> None:
        for atom in functions | memory.elements(functions):
            if isinstance(atom, Func):
                self.startup[atom] = None

    def _single(self, m: Machine, classes: Atoms) -> None:
        """A framework makes one instance of the class, and every request runs through it."""
        for atom in classes | memory.elements(classes):
            if isinstance(atom, ClassAtom) and atom.info not in self.singletons:
                cls = atom.info
                obj = Obj("instance", place(cls.module, cls.node), True, cls.path, cls, owner=f"{cls.path}.self")
                detail = "an object that the framework made"
                m.synthetic[obj.owner] = Variable(obj.owner, cls.name, obj.place, Initial.OPAQUE, True, detail)
                self.singletons[cls] = obj
                for name in cls.scope.names:
                    if not name.startswith("__") or name == "__call__":
                        for inner in cls.scope.names[name]:
                            if isinstance(inner, Func):
                                self.everywhere[Func(inner.info, frozenset({Ref(obj)}))] = None

    # What is seen of applications

    def attribute(self, m: Machine, of: Obj, name: str) -> Atoms | None:
        if "*app" in of.attrs and name in ("state", "config", "ctx", "extensions", "router"):
            if name == "router":
                return frozenset({Ref(of)})
            inner = of.attrs.get(f"*{name}")
            if inner is None:
                obj = Obj("lib", of.place, True, f"{of.name}.{name}", owner=f"{of.owner}.{name}" if of.owner else "")
                obj.attrs["*state"] = SCALAR
                obj.attrs["*of"] = frozenset({Ref(of)})
                of.attrs[f"*{name}"] = inner = frozenset({Ref(obj)})
            return inner
        if name == "payload" and "*app" in of.attrs and of.name.startswith("flask_rest"):
            return frozenset({Req(("body",), "", "payload")})
        return None

    def instance(self, m: Machine, library: str, where: Place) -> None:
        if library in APPLICATIONS or library in _ROUTERS:
            m.hazard(Harm.OPAQUE, f"makes an application of a class of its own ({library})", where)

    def set_item(self, m: Machine, of: Obj, key: Atoms, value: Atoms, where: Place) -> None:
        once = [a for a in value if isinstance(a, Once)]
        if m.loading and once and self._secret(m, of, keys.constant(key) or "", frozenset(once), where):
            return
        if m.loading and once and ("*app" in of.attrs or of.name.endswith(".config")):
            what = f"gives the application something that is {once[0].why}: another on each node"
            m.hazard(Harm.OPAQUE, what, where, "read it from the environment")
        if m.loading and "*app" in of.attrs and keys.constant(key) in _LIFESPAN:
            self._later(value)
            return
        if m.loading and "*app" in of.attrs:
            self._always(m, frozenset(a for a in value if isinstance(a, Func)))
            give_functions(m, frozenset(a for a in value if isinstance(a, Ref) and a.obj.cls is not None))

    def given(self, m: Machine, value: Atoms) -> None:
        give_functions(m, value) if m.loading else None

    def _secret(self, m: Machine, of: Obj, name: str, once: Atoms, where: Place) -> bool:
        """A setting of an application that is another at each start, and is looked up at each request: made once."""
        (app,) = (atom.obj for atom in of.attrs.get("*of", frozenset({Ref(of)})) if isinstance(atom, Ref))
        if self.applications.get(app) not in ("flask", "quart"):
            return False
        if (of is app and name == "secret_key") or (of is not app and name.isidentifier()):
            m.secrets[app, name if of is app else f"config.{name}"] = once, where
            m.signs_always |= name not in ("secret_key", "SECRET_KEY")
            return True
        return False


_TOLD = {
    "add_url_rule": Frameworks._add,
    "add_route": Frameworks._add,
    "add_api_route": Frameworks._add,
    **{f"add_{verb}": Frameworks._add for verb in _VERBS},
    "add_resource": Frameworks._resource,
    "register_blueprint": Frameworks._mount,
    "include_router": Frameworks._mount,
    "blueprint": Frameworks._mount,
    "mount": Frameworks._mount,
    "add_subapp": Frameworks._mount,
    "add_namespace": Frameworks._mount,
    "namespace": Frameworks._namespace,
    "add_routes": Frameworks._routes,
    "init_app": Frameworks._init_app,
    "add_middleware": Frameworks._middleware,
    "from_object": Frameworks._from_object,
    "config.from_object": Frameworks._from_object,
}


def frame_node(m: Machine) -> Place:
    return m.call_place


def _exception(atom: Atom) -> bool:
    return isinstance(atom, ClassAtom) and any("Exception" in n or "Error" in n for n in atom.info.libraries())


def _text(value: Atoms) -> str:
    return keys.constant(value) or ""


def _methods(call: Args, short: str) -> tuple[str, ...]:
    """GET alone if none are named; what cannot be read is any."""
    told = call.get(9, "methods") or call.get(9, "method")
    if not told:
        return ("*",) if short in ("view", "mount") else ("GET",)
    found = [keys.constant(frozenset({a})) for a in memory.elements(told) | told if isinstance(a, Const)]
    return tuple(sorted({name.upper() for name in found if name})) or ("*",)


def _endpoint(obj: Obj, cls: Class) -> str:
    if "restful" in obj.name:
        return cls.name.lower()
    if obj.name.startswith(("flask_restplus.", "flask_restx.")):
        dashed = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", cls.name)).lower()
        name = _text(obj.attrs.get("*name", NOTHING))
        return f"{name}_{dashed}" if obj.name.endswith("Namespace") else dashed
    return ""


def _views_given(m: Machine, cls: object, call: Args) -> None:
    """What `as_view` hands on to each view, and the one view of a class that wants no other."""
    if any(isinstance(atom, Ref) for atom in call.every()):
        remedy = "reach it by the name of a module's variable in the class"
        m.hazard(Harm.OPAQUE, "hands objects to the views of a class", m.call_place, remedy)
    told = cls.find("init_every_request") if isinstance(cls, Class) else NOTHING
    if told and told != frozenset({Const(True)}):
        m.hazard(Harm.OPAQUE, "answers all requests with one view of a class", m.call_place)


def _told_at(atom: Atom) -> tuple[tuple[Place, ...], str]:
    """Where the handlers of a route in a list are, and its path: the list's own order is not known, and what comes of
    one source is to be the same each time."""
    if not isinstance(atom, Special) or atom.kind != "a route":
        return (), ""
    _, path, handlers, _ = atom.data
    assert isinstance(path, frozenset)
    assert isinstance(handlers, frozenset)
    infos = [each.info for each in handlers if isinstance(each, Func | ClassAtom)]
    return tuple(sorted(place(info.module, info.node) for info in infos)), _text(path)


def _stands_for(special: Special, wrapper: Atoms) -> None:
    (wrapped,) = special.data
    assert isinstance(wrapped, frozenset)
    for outer in wrapper:
        for inner in wrapped:
            if isinstance(outer, Func) and isinstance(inner, Func):
                outer.info.shown = inner.info


def _partial(m: Machine, special: Special, call: Args, frame: Frame) -> Atoms:
    from compiler.python.calls import call as call_any

    (first,) = special.data
    assert isinstance(first, Args)
    args = Args(first.positional[1:] + call.positional, first.named + call.named, call.rest, call.anywhere)
    return call_any(m, first.get(0), args, frame.module.tree, frame)


# From routes to paths


def paths(frameworks: Frameworks, route: Route) -> list[tuple[str | None, str, Obj | None, Atoms]]:
    """Each way a route is mounted: its whole path, the endpoint's prefix, the application, what it depends on."""
    return _up(frameworks, route.owner, route.path, "", route.depends, 0)


def _up(
    frameworks: Frameworks, owner: Obj, path: str | None, prefix: str, depends: Atoms, depth: int
) -> list[tuple[str | None, str, Obj | None, Atoms]]:
    if depth > 8:
        return []
    own = _text(owner.attrs.get("*prefix", NOTHING))
    depends |= owner.attrs.get("*depends", NOTHING)
    if owner in frameworks.applications:
        return [(None if path is None else own + path, prefix, owner, depends)]
    found: list[tuple[str | None, str, Obj | None, Atoms]] = []
    for mount in frameworks.mounts:
        if mount.child is not owner:
            continue
        if path is None or mount.prefix is None:
            whole = None
        else:
            whole = (mount.prefix if mount.replaces else mount.prefix + own) + path
        name = _text(owner.attrs.get("*name", NOTHING))
        inner = f"{name}.{prefix}" if owner.name.endswith(".Blueprint") and name else prefix
        found += _up(frameworks, mount.parent, whole, inner, depends | mount.depends, depth + 1)
    return found


def in_graph(path: str | None, framework: str) -> tuple[str, dict[str, Atoms]]:
    """A framework's path in the notation of graph.yaml, "" if it cannot be said so; and what its parameters are."""
    if path is None:
        return "", {}
    parameters: dict[str, Atoms] = {}
    rest = False

    def named(converter: str, name: str) -> str:
        nonlocal rest
        known = _CONVERTED.get(converter)
        text = f"{name}"
        atoms: Atoms = frozenset({Req(("params", name), known, text)}) if known is not None else SCALAR
        parameters[name] = atoms
        rest = rest or converter == "path"
        return f"{{{name}{'...' if converter == 'path' else ''}}}"

    if framework in ("flask", "quart", "bottle", "microdot", "sanic"):
        found = _FLASK_PARAMETER.sub(lambda match: named(match.group(1) or "", match.group(2)), path)
    else:
        found = _BRACED.sub(lambda match: named(_converter(match.group(2), framework), match.group(1)), path)
    segments = found.split("/")
    plain = all("{" not in s or re.fullmatch(r"\{\w+(\.\.\.)?\}", s) for s in segments)
    at_end = not rest or segments[-1].endswith("...}")
    literal = all("{" in s or re.fullmatch(r"[A-Za-z0-9._~!$&'()+,;=:@%-]*", s) for s in segments)
    return (found if plain and at_end and literal and found.startswith("/") else ""), parameters


def _converter(text: str | None, framework: str) -> str:
    if not text:
        return ""
    if framework == "aiohttp":
        return "path" if text in (".*", ".+") else "regex"
    return text


__all__ = ["Foreign", "Frameworks", "Function", "Scope"]

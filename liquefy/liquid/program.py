"""A web program, loaded and started the way its developer starts it, in a thread of its own; and what it would have
served, ready to answer. One per process: a host's.

Knows which objects are applications and how programs are started; not what is asked of them.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import inspect
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from liquefy.liquid import capture as capturing
from liquefy.liquid.servers import STARTUP_S_MAX, Server

LISTENING_S = 1.0
"""How long a program that listens by itself may take to say with what, before it is taken as it is."""

APP_NAMES = ("app", "application", "api", "server", "wsgi", "asgi")
FACTORY_NAMES = ("create_app", "make_app", "build_app", "get_app", "init_app", "app_factory", "create_application")

_FRAMEWORKS = {
    "flask": "wsgi",
    "bottle": "wsgi",
    "django": "wsgi",
    "falcon": "wsgi",
    "pyramid": "wsgi",
    "connexion": "wsgi",
    "fastapi": "asgi",
    "starlette": "asgi",
    "litestar": "asgi",
    "quart": "asgi",
    "sanic": "asgi",
    "aiohttp": "aiohttp",
    "tornado": "tornado",
    "microdot": "microdot",
}


class NotStarted(Exception):
    """The program cannot be started, or does not serve. The text is for people."""


class RunningProgram:
    """`entry`: path of its first file in the folder; `app`: `module:attribute` if it was given, else "". `module` is
    that of the entry once it is loaded."""

    def __init__(self, folder: Path, entry: str, app: str = "") -> None:
        self._folder = folder
        self._entry = entry
        self._app = app
        self.main = ""
        """Name of the entry's module while it runs: `__main__`, or its own."""
        self.server: Server | None = None

    def start(self) -> Server:
        """Load it, and have its server. Raises what it raises while it loads, NotStarted."""
        self._capture = capturing.install()
        thread = threading.Thread(target=self._run, name="program", daemon=True)
        thread.start()
        began = listened = time.monotonic()
        while not self._capture.found.wait(0.05 if self._capture.listening else 0.25):
            now = time.monotonic()
            if not self._capture.listening:
                listened = now
            if now - listened > LISTENING_S and self._capture.last_resort():
                break
            if now - began > STARTUP_S_MAX:
                raise NotStarted(f"{self._entry} does not serve {STARTUP_S_MAX:g} s after its start")
        if self._capture.server is None:
            raise self._capture.error or NotStarted(f"{self._entry} does not serve")
        self.server = self._capture.server
        named = sys.modules.get(self._capture.named)
        if named is not None and Path(getattr(named, "__file__", None) or "") == self._folder / self._entry:
            self.main = self._capture.named  # it told the server its own name: it was loaded twice, and this one serves
        return self.server

    # -- in the program's thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            if self._app:
                self._serve_named()
            elif self._serves_itself():
                self._run_main()
            else:
                self.main = _module_name(self._entry)
                self._prepare_path(self._folder)
                self._serve_found(importlib.import_module(self.main))
        except SystemExit as error:
            self._capture.fail(NotStarted(f"{self._entry} ended by itself (code {error.code}) instead of serving"))
        except BaseException as error:
            self._capture.fail(error)

    def _prepare_path(self, first: Path) -> None:
        for folder in (str(self._folder), str(first)):
            if folder in sys.path:
                sys.path.remove(folder)
            sys.path.insert(0, folder)

    def _serve_named(self) -> None:
        module_name, _, attribute = self._app.partition(":")
        self.main = _module_name(self._entry)
        self._prepare_path(self._folder)
        found: Any = importlib.import_module(module_name)
        call = attribute.endswith("()")
        for part in attribute.removesuffix("()").split(".") if attribute else ():
            found = getattr(found, part)
        if not attribute:
            self._serve_found(found)
            return
        kind = "" if call else kind_of(found)
        if not kind:
            found = found()
            kind = kind_of(found)
        self._serve_app(found, kind)

    def _serves_itself(self) -> bool:
        """Whether it is started as a script: it has a main guard, or ends by serving."""
        tree = ast.parse((self._folder / self._entry).read_bytes())
        return any(_is_main_guard(node) or _is_serving(node) for node in tree.body)

    def _run_main(self) -> None:
        path = self._folder / self._entry
        relative = any(
            isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(path.read_bytes()))
        )
        name = _module_name(self._entry)
        self._prepare_path(self._folder if relative else path.parent)
        sys.argv = [str(path)]
        spec = importlib.util.spec_from_file_location("__main__", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        if relative:
            module.__package__ = name.rpartition(".")[0]
            if module.__package__:
                importlib.import_module(module.__package__)
        else:
            module.__spec__ = None
            module.__package__ = None
        self.main = "__main__"
        sys.modules["__main__"] = module
        spec.loader.exec_module(module)
        # It ended: threads that it started may serve, else it has an application that somebody was to serve.
        if self._capture.server is None and not self._capture.listening:
            self._serve_found(module)

    def _serve_found(self, module: ModuleType) -> None:
        found = find_app(module)
        if found is None:
            names = ", ".join(APP_NAMES[:3])
            raise NotStarted(
                f"{self._entry} does not serve, and has no application that could be served; name one with "
                f"--app module:attribute, or call it {names}"
            )
        self._serve_app(*found)

    def _serve_app(self, app: Any, kind: str) -> None:
        """Serve it as its framework would by default."""
        if inspect.iscoroutine(app):
            app = asyncio.get_event_loop().run_until_complete(app)
            kind = kind_of(app)
        if kind == "wsgi":
            self._capture.serve_wsgi(app, True)
        elif kind == "asgi":
            asyncio.run(self._capture.serve_asgi(app))
        elif kind == "aiohttp":
            importlib.import_module("aiohttp.web").run_app(app, print=None)
        elif kind == "tornado":
            app.listen(0)
            importlib.import_module("tornado.ioloop").IOLoop.current().start()
        elif kind == "microdot":
            app.run()
        else:
            raise NotStarted(f"{self._entry}: {type(app).__name__} is no application that is known here")


def _module_name(entry: str) -> str:
    name = entry.removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.dump(node.test) and "__main__" in ast.dump(node.test)


def _is_serving(node: ast.stmt) -> bool:
    """`app.run(...)`, `uvicorn.run(...)`, `asyncio.run(main())`, `serve(app)`, `loop.run_forever()` at top level."""
    names = ("run", "serve", "run_app", "run_simple", "serve_forever", "run_forever", "start", "listen", "main")
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    function = node.value.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in names


def _known_kind(app: Any) -> str:
    for base in type(app).__mro__:
        root = base.__module__.partition(".")[0]
        if root in _FRAMEWORKS and base.__name__ in _APP_CLASSES:
            return _FRAMEWORKS[root]
    return ""


def kind_of(app: Any) -> str:
    """wsgi, asgi, aiohttp, tornado, microdot; "" if it is no application."""
    if inspect.isclass(app) or inspect.ismodule(app):
        return ""
    known = _known_kind(app)
    if known:
        return known
    call = app if inspect.isfunction(app) else getattr(type(app), "__call__", None)  # noqa: B004
    if call is None or not callable(app):
        return ""
    try:
        parameters = [p for p in inspect.signature(app).parameters.values() if p.default is p.empty]
    except Exception:  # also what a stand-in for something else says that is not there now
        return ""
    names = [p.name for p in parameters]
    if len(names) == 3 and names[0] == "scope" and inspect.iscoroutinefunction(call):
        return "asgi"
    return "wsgi" if names[:1] == ["environ"] or names == ["env", "start_response"] else ""


def _needs_nothing(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError):
        return False
    return True


_APP_CLASSES = frozenset(
    ("Flask", "Bottle", "FastAPI", "Starlette", "Quart", "Sanic", "Litestar", "Application", "Microdot", "App",
     "WSGIHandler", "ASGIHandler", "API", "FlaskApp")
)  # fmt: skip


def find_app(module: ModuleType) -> tuple[Any, str] | None:
    """The application in the module, or made by its factory."""
    values = vars(module)
    for name in APP_NAMES:
        if name in values and (kind := kind_of(values[name])):
            return values[name], kind
    for value in values.values():
        if kind := _known_kind(value):
            return value, kind
    for name in FACTORY_NAMES:
        factory = values.get(name)
        if inspect.isfunction(factory) and _needs_nothing(factory):
            made = factory()
            if inspect.iscoroutine(made):
                return made, "aiohttp"
            if kind := kind_of(made):
                return made, kind
    return None

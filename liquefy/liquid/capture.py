"""What a program calls to serve, made to say what it would serve instead. Each framework's part is put in place when
the program imports it, so that nothing is imported that the program does not.

Knows frameworks by their names and calls; not what is done with what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.abc
import os
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from liquefy.liquid.servers import (
    Asgi,
    LoopServer,
    PairServer,
    PortServer,
    QueueServer,
    Server,
    WsgiServer,
    answer_by_protocol,
    answer_by_socket,
)

Patch = Callable[["Capture", Any], None]

_WERKZEUG_FAILURE = (
    "text/html; charset=utf-8",
    b"<!doctype html>\n<html lang=en>\n<title>500 Internal Server Error</title>\n<h1>Internal Server Error</h1>\n"
    b"<p>The server encountered an internal error and was unable to complete your request. Either the server is "
    b"overloaded or there is an error in the application.</p>\n",
)
_WSGIREF_FAILURE = ("text/plain", b"A server error occurred.  Please contact the administrator.")


class Capture:
    """The first server that the program would have run. `found` is set once it is there, or `error`, or the program's
    `end`."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.error: BaseException | None = None
        self.found = threading.Event()
        self.listening: list[int] = []
        """Ports of its own that the program listens on."""
        self.named = ""
        """The module in which the server was told to find the application ("main:app")."""

    # -- what patches call ---------------------------------------------------------------------------------

    def serve(self, server: Server) -> None:
        if self.server is None:
            self.server = server
            self.found.set()

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error
        self.found.set()

    def serve_wsgi(self, app: Any, threaded: bool, failure: tuple[str, bytes] = _WERKZEUG_FAILURE) -> None:
        """Does not return, as a server would not."""
        if threaded:
            self.serve(WsgiServer(app, True, failure))
            hold()
        single = WsgiServer(app, False, failure)
        queued = QueueServer(single.run)
        self.serve(queued)
        queued.serve()

    async def serve_asgi(self, app: Any, root_path: str = "") -> None:
        """Does not return."""
        asgi = Asgi(app, root_path)
        try:
            await asgi.start()
        except RuntimeError as error:
            self.fail(error)
            raise
        self.serve(LoopServer(asyncio.get_running_loop(), asgi.answer))
        await asyncio.Event().wait()

    def listens(self, port: int) -> None:
        self.listening.append(port)

    def last_resort(self) -> bool:
        """Whether the program listens by itself, with a server that is none of those known here."""
        if self.server is None and self.listening:
            self.serve(PortServer(self.listening[0]))
        return self.server is not None


def hold() -> None:
    """For ever: what comes after a server in a program is what is done when it ends."""
    while True:
        threading.Event().wait()


# -- patches ----------------------------------------------------------------------------------------------


def _werkzeug(capture: Capture, module: Any) -> None:
    def run_simple(hostname: Any, port: Any, application: Any, *_: Any, **options: Any) -> None:
        app = application
        if options.get("static_files"):
            app = importlib.import_module("werkzeug.middleware.shared_data").SharedDataMiddleware(
                app, options["static_files"]
            )
        if options.get("use_debugger"):
            app = importlib.import_module("werkzeug.debug").DebuggedApplication(app, evalex=False)
        capture.serve_wsgi(app, bool(options.get("threaded")))

    module.run_simple = run_simple

    def serve_forever(self: Any, *_: Any, **__: Any) -> None:
        capture.serve_wsgi(self.app, bool(self.multithread))

    module.BaseWSGIServer.serve_forever = serve_forever


def _waitress(capture: Capture, module: Any) -> None:
    def serve(app: Any, **_: Any) -> None:
        capture.serve_wsgi(app, True, ("text/plain", b"Internal Server Error"))

    module.serve = serve


def _bottle(_: Capture, module: Any) -> None:
    run = module.run

    def without_reloader(*arguments: Any, **options: Any) -> Any:
        options["reloader"] = False
        return run(*arguments, **options)

    module.run = without_reloader


def _gunicorn(capture: Capture, module: Any) -> None:
    def run(self: Any) -> None:
        capture.serve_wsgi(self.wsgi(), True)

    module.BaseApplication.run = run


def _gevent(capture: Capture, module: Any) -> None:
    def serve_forever(self: Any, *_: Any, **__: Any) -> None:
        capture.serve_wsgi(self.application, False)

    module.WSGIServer.serve_forever = serve_forever


def _uvicorn_server(capture: Capture, module: Any) -> None:
    async def serve(self: Any, sockets: Any = None) -> None:
        config = self.config
        if not config.loaded:
            config.ssl_certfile = config.ssl_keyfile = None
            config.load()
        if isinstance(config.app, str):
            capture.named = config.app.partition(":")[0]
        await capture.serve_asgi(config.loaded_app, config.root_path)

    def run(self: Any, sockets: Any = None) -> None:
        asyncio.run(self.serve())

    module.Server.serve, module.Server.run = serve, run


def _uvicorn_main(_: Capture, module: Any) -> None:
    def run(app: Any, **options: Any) -> None:
        used = ("factory", "interface", "lifespan", "root_path", "proxy_headers", "forwarded_allow_ips", "log_level")
        if options.get("app_dir"):
            sys.path.insert(0, options["app_dir"])
        kept = {name: options[name] for name in used if name in options}
        module.Server(module.Config(app, **kept)).run()

    module.run = run


def _hypercorn(capture: Capture, module: Any) -> None:
    async def serve(app: Any, config: Any, **_: Any) -> None:
        await capture.serve_asgi(app, getattr(config, "root_path", ""))

    module.serve = serve


def _sanic(capture: Capture, module: Any) -> None:
    def run(self: Any, *_: Any, **__: Any) -> None:
        asyncio.run(capture.serve_asgi(self))

    module.Sanic.run = run


def _tornado(capture: Capture, module: Any) -> None:
    def add_sockets(self: Any, sockets: Any) -> None:
        stream = importlib.import_module("tornado.iostream").IOStream

        for each in sockets:
            each.close()

        def take(connection: socket.socket, client: tuple[str, int]) -> None:
            self.handle_stream(_Addressed(connection, stream, client).stream, client)

        async def answer(request: Any) -> Any:
            return await answer_by_socket(take, request)

        capture.serve(LoopServer(asyncio.get_event_loop(), answer))

    module.TCPServer.add_sockets = add_sockets


class _Addressed:
    """A stream of tornado's that takes a socket pair for a connection of the network."""

    def __init__(self, connection: socket.socket, kind: Any, client: tuple[str, int]) -> None:
        self.stream = kind(connection)
        pretended = _Pretended(connection.family, connection.type, connection.proto, connection.detach())
        pretended.setblocking(False)
        pretended.peer = client
        self.stream.socket = pretended


class _Pretended(socket.socket):
    peer: tuple[str, int] = ("127.0.0.1", 0)

    @property
    def family(self) -> Any:
        return socket.AF_INET

    def getpeername(self) -> Any:
        return self.peer

    def setsockopt(self, *arguments: Any) -> None:
        with contextlib.suppress(OSError):
            super().setsockopt(*arguments)


PATCHES: dict[str, Patch] = {
    "werkzeug.serving": _werkzeug,
    "waitress": _waitress,
    "bottle": _bottle,
    "gunicorn.app.base": _gunicorn,
    "gevent.pywsgi": _gevent,
    "uvicorn.server": _uvicorn_server,
    "uvicorn.main": _uvicorn_main,
    "hypercorn.asyncio": _hypercorn,
    "sanic.app": _sanic,
    "tornado.tcpserver": _tornado,
}


# -- the standard library ---------------------------------------------------------------------------------


def _serve_forever(capture: Capture) -> Any:
    def serve_forever(self: Any, poll_interval: float = 0.5) -> None:
        threaded = isinstance(self, socketserver.ThreadingMixIn)
        if hasattr(self, "get_app"):  # wsgiref
            capture.serve_wsgi(self.get_app(), threaded, _WSGIREF_FAILURE)

        def take(connection: socket.socket, client: tuple[str, int]) -> None:
            try:
                self.finish_request(connection, client)
            except Exception:
                self.handle_error(connection, client)

        pair = PairServer(take)
        if threaded:
            capture.serve(pair)
            hold()
        queued = QueueServer(pair.run)
        capture.serve(queued)
        queued.serve()

    return serve_forever


class _Listening:
    """What `create_server` of an event loop returns: a server without sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sockets: tuple[Any, ...] = ()
        self._loop = loop

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def close_clients(self) -> None:
        pass

    async def start_serving(self) -> None:
        pass

    async def serve_forever(self) -> None:
        await asyncio.Event().wait()

    async def wait_closed(self) -> None:
        pass

    async def __aenter__(self) -> _Listening:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def _create_server(capture: Capture) -> Any:
    async def create_server(self: Any, protocol_factory: Any, *_: Any, **__: Any) -> _Listening:
        async def answer(request: Any) -> Any:
            return await answer_by_protocol(protocol_factory, request)

        capture.serve(LoopServer(self, answer))
        return _Listening(self)

    return create_server


def _patch_sockets(capture: Capture) -> None:
    """Nothing of the program listens where others reach it."""
    bind, listen = socket.socket.bind, socket.socket.listen

    def private(self: socket.socket, where: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type & socket.SOCK_STREAM and where[1] != 0:
            where = ("127.0.0.1", 0) if self.family == socket.AF_INET else ("::1", 0)
        bind(self, where)

    def noted(self: socket.socket, *arguments: Any) -> None:
        listen(self, *arguments)
        if self.family == socket.AF_INET:
            capture.listens(self.getsockname()[1])

    socket.socket.bind = private  # type: ignore[assignment,method-assign]
    socket.socket.listen = noted  # type: ignore[assignment,method-assign]


def _patch_signals() -> None:
    """The program does not run in the main thread, where alone signals can be had; it needs none here, as it is ended
    without being asked."""
    set_signal = signal.signal

    def only_ours(number: int, handler: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return set_signal(number, handler)
        return signal.SIG_DFL

    signal.signal = only_ours  # type: ignore[assignment]
    loops: Any = asyncio.SelectorEventLoop
    loops.add_signal_handler = lambda *_: None


class _Finder(importlib.abc.MetaPathFinder):
    """Has patches done as soon as their module is there."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        patch = PATCHES.get(name)
        if patch is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._wrap(spec.loader, patch)
                return spec
        return None

    def _wrap(self, loader: Any, patch: Patch) -> None:
        execute = loader.exec_module

        def and_patch(module: ModuleType) -> None:
            execute(module)
            patch(self._capture, module)

        loader.exec_module = and_patch


def _uvloop(module: Any) -> None:
    """Loops of uvloop cannot be looked into: the program gets those of asyncio."""
    module.install = lambda: None
    module.run = asyncio.run
    module.new_event_loop = asyncio.new_event_loop
    module.EventLoopPolicy = asyncio.DefaultEventLoopPolicy


def install() -> Capture:
    """From now on. Once per process."""
    capture = Capture()
    os.environ.setdefault("AIOHTTP_NOSENDFILE", "1")  # our connections are no sockets
    sys.meta_path.insert(0, _Finder(capture))
    for name, patch in PATCHES.items():
        if name in sys.modules:
            patch(capture, sys.modules[name])
    PATCHES["uvloop"] = lambda _, module: _uvloop(module)
    if "uvloop" in sys.modules:
        _uvloop(sys.modules["uvloop"])
    socketserver.BaseServer.serve_forever = _serve_forever(capture)  # type: ignore[method-assign]
    asyncio.base_events.BaseEventLoop.create_server = _create_server(capture)  # type: ignore[method-assign]
    _patch_sockets(capture)
    _patch_signals()
    return capture

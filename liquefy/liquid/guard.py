"""Asked before each handler, inside its framework: may this message's fluxion run it? If not, the handler is not
called, and what the framework makes of that is thrown away.

A handler is known by several names: its endpoint (Flask, Quart), and module and qualified name of its function or class
(`app.get_todos`; `app.Todo.get`, `app.Todo` for a class). Knows frameworks where they call handlers; not what may run.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from liquefy.liquid.servers import Dropped, current

DEFAULTS_MAX = 10_000
"""Handlers whose defaults are remembered."""

Names = list[str]
Ask = Callable[[Names, str, Mapping[str, Any]], bool]
"""Names of the handler, the method, the parameters of the route: whether to go on."""


def _allowed(names: Names, method: str, params: Mapping[str, Any]) -> bool:
    job = current.get()
    if job is None or job.work is None:
        return True
    allowed: bool = job.work.enters(names, method, params)
    return allowed


def _part(given: Mapping[str, Any]) -> Callable[[], Any] | None:
    """What is to be called instead of the handler, if anything."""
    job = current.get()
    if job is None or job.work is None:
        return None
    part: Callable[[], Any] | None = job.work.part(given)
    return part


def _took(result: Any) -> bool:
    """Whether what a part returned went on as messages."""
    job = current.get()
    return job is not None and bool(job.work.took(result))


def names_of(handler: Any) -> Names:
    """Qualified names of a function, method or class."""
    found = []
    for each in (handler, inspect.unwrap(handler) if callable(handler) and not inspect.isclass(handler) else handler):
        each = getattr(each, "__func__", each)
        each = getattr(each, "view_class", each)
        module, name = getattr(each, "__module__", None), getattr(each, "__qualname__", "")
        if module and name:
            found.append(f"{module}.{name.replace('.<locals>', '')}")
    return list(dict.fromkeys(found))


def _named(endpoint: str, handler: Any, method: str) -> Names:
    found = names_of(handler)
    view = getattr(handler, "view_class", handler)
    if inspect.isclass(view):
        found = [f"{name}.{method.lower()}" for name in found] + found
    return [f"{endpoint}.{method.lower()}", endpoint, *found] if endpoint else found


def _view(application: Any, request: Any) -> tuple[bool, list[str]] | None:
    """Of a request that has a route: whether the framework answers it by itself (OPTIONS), and the names of its
    handler. Flask's and Quart's."""
    rule = request.url_rule
    if request.routing_exception is not None or rule is None:
        return None
    automatic = request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False)
    return automatic, _named(rule.endpoint, application.view_functions.get(rule.endpoint), request.method)


@functools.lru_cache(DEFAULTS_MAX)
def _defaults(handler: Any) -> dict[str, Any]:
    """What its parameters are that the route does not give."""
    parameters = inspect.signature(handler).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def flask(_: Any, module: Any) -> None:
    dispatch = module.Flask.dispatch_request

    def dispatch_request(self: Any, *arguments: Any) -> Any:
        # Without an argument in Flask to 3.1, with its context in later ones.
        request = importlib.import_module("flask").request
        if (view := _view(self, request)) is not None:
            automatic, names = view
            if not automatic and not _allowed(names, request.method, request.view_args or {}):
                raise Dropped
            defaults = _defaults(self.view_functions[request.url_rule.endpoint])
            part = None if automatic else _part(defaults | (request.view_args or {}))
            if part is not None:
                result = self.ensure_sync(part)()
                if _took(result):
                    raise Dropped
                return result
        return dispatch(self, *arguments)

    module.Flask.dispatch_request = dispatch_request


def quart(_: Any, module: Any) -> None:
    dispatch = module.Quart.dispatch_request

    async def dispatch_request(self: Any, *arguments: Any, **options: Any) -> Any:
        request = importlib.import_module("quart").request
        if (view := _view(self, request)) is not None:
            automatic, names = view
            if not automatic and not _allowed(names, request.method, request.view_args or {}):
                return module.Response("")
        return await dispatch(self, *arguments, **options)

    module.Quart.dispatch_request = dispatch_request


def starlette(_: Any, module: Any) -> None:
    handle = module.Route.handle

    async def guarded(self: Any, scope: Any, receive: Any, send: Any) -> None:
        endpoint, method = scope.get("endpoint", self.endpoint), scope["method"]
        fits = not self.methods or method in self.methods
        if fits and not _allowed(_named("", endpoint, method), method, scope.get("path_params") or {}):
            await module.Response("")(scope, receive, send)
            return
        # Routes of FastAPI call their handlers through what is replaced below.
        if fits and inspect.isfunction(endpoint) and not hasattr(self, "dependant"):
            names = list(inspect.signature(endpoint).parameters)[:1]
            if names and (part := _starlette_part(module, endpoint, names[0])) is not None:
                await part(scope, receive, send)
                return
        await handle(self, scope, receive, send)

    module.Route.handle = guarded


def _starlette_part(module: Any, handler: Any, name: str) -> Any:
    """An application that runs the part instead of the handler, which calls the request so; None: the handler."""
    given = _defaults(handler)
    if _part({**given, name: None}) is None:
        return None

    async def endpoint(request: Any) -> Any:
        part = _part({**given, name: request})
        assert part is not None
        result = part()
        if inspect.isawaitable(result):
            result = await result
        return importlib.import_module("starlette.responses").Response("") if _took(result) else result

    return module.request_response(endpoint)


def fastapi(_: Any, module: Any) -> None:
    response = importlib.import_module("starlette.responses").Response
    call = module.run_endpoint_function

    async def run_endpoint_function(*, dependant: Any, values: dict[str, Any], **options: Any) -> Any:
        part = _part(values)
        if part is None:
            return await call(dependant=dependant, values=values, **options)
        result = part()
        if inspect.isawaitable(result):
            result = await result
        return response("") if _took(result) else result

    module.run_endpoint_function = run_endpoint_function
    # Where a route of FastAPI has a way of its own to be handled.
    if "handle" in vars(module.APIRoute):
        starlette(_, _Renamed(module.APIRoute, response))


class _Renamed:
    def __init__(self, route: Any, response: Any) -> None:
        self.Route, self.Response = route, response


def aiohttp(_: Any, module: Any) -> None:
    plain = module.UrlMappingMatchInfo.handler.fget
    guarded: dict[Any, Any] = {}

    def handler(self: Any) -> Any:
        inner = plain(self)
        if inner not in guarded:
            guarded[inner] = _aiohttp_handler(inner)
        return guarded[inner]

    module.UrlMappingMatchInfo.handler = property(handler)


def _aiohttp_handler(inner: Any) -> Any:
    response = importlib.import_module("aiohttp.web").Response

    async def handler(request: Any) -> Any:
        if not _allowed(_named("", inner, request.method), request.method, request.match_info):
            return response()
        return await inner(request)

    handler.__name__ = getattr(inner, "__name__", "handler")
    handler.__doc__ = inner.__doc__
    return handler


def tornado(_: Any, module: Any) -> None:
    execute = module.RequestHandler._execute

    async def guarded(self: Any, transforms: Any, *arguments: Any, **options: Any) -> None:
        method = self.request.method
        params = list(options.items()) or [(str(i), value) for i, value in enumerate(arguments)]
        texts = {k: v.decode() if isinstance(v, bytes) else v for k, v in params}
        if not _allowed(_named("", type(self), method), method, texts):
            self._transforms = transforms
            await self.finish()
            return
        await execute(self, transforms, *arguments, **options)

    module.RequestHandler._execute = guarded


GUARDS: dict[str, Callable[[Any, Any], None]] = {
    "flask.app": flask,
    "quart.app": quart,
    "starlette.routing": starlette,
    "fastapi.routing": fastapi,
    "aiohttp.web_urldispatcher": aiohttp,
    "tornado.web": tornado,
}
"""By the module whose import puts them in place."""

FRAMEWORKS = ("flask", "quart", "starlette", "fastapi", "aiohttp", "tornado")
"""Those that have one."""

"""From a graph and a folder with its code to functions that can be called. Imports the users' modules, checks
that each fluxion's function is there and takes what it will be given.

Does not run fluxions, and knows no socket.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from liquefy.failures import describe
from liquefy.graph import OUTPUT, Fluxion, Graph
from liquefy.hosting import Load


class Target(NamedTuple):
    """Where a fluxion may send to. `key`: the path of the key in the body, in parts; () where it is
    inherited."""

    name: str
    key: tuple[str, ...]


class Spec:
    """One fluxion, ready to be called. `sole` is its only stream, if it has but one; `limit_s` how long a
    call may take, in seconds."""

    __slots__ = ("asynchronous", "function", "limit_ns", "limit_s", "name", "sole", "stateful", "targets")

    def __init__(self, graph: Graph, fluxion: Fluxion, function: Callable[..., Any]) -> None:
        self.name = fluxion.name
        self.function = function
        self.stateful = _is_stateful(graph, fluxion)
        self.asynchronous = _is_async(function)
        self.limit_s = fluxion.timeout_ms / 1000
        self.limit_ns = fluxion.timeout_ms * 1_000_000
        self.targets = {to: Target(to, _key_path(graph, to)) for to in fluxion.streams}
        self.sole = next(iter(self.targets.values())) if len(self.targets) == 1 else None


class LoadError(Exception):
    """Why the code cannot be used: `error` for people, `traceback` the user's, if there is one."""

    def __init__(self, error: str, traceback: str = "") -> None:
        self.error, self.traceback = error, traceback
        super().__init__(error)


def load(order: Load) -> list[Spec]:
    """Import what the order names, from its folder. Raises LoadError for the first fluxion that cannot be
    used."""
    folder = str(Path(order.folder).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
    return [_load_one(order.graph, order.graph.fluxion_by_name[name], folder) for name in order.only]


def _load_one(graph: Graph, fluxion: Fluxion, folder: str) -> Spec:
    module_name, _, function_name = fluxion.code.partition(":")
    what = f"fluxion '{fluxion.name}' ({fluxion.code})"
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # also SystemExit: it would end the host without a word
        line, trace = describe(error, folder)
        raise LoadError(f"{what}: importing the module '{module_name}' failed: {line}", trace) from None
    function: Any = module
    for part in function_name.split("."):
        function = getattr(function, part, None)
    if function is None:
        raise LoadError(f"{what}: {_missing(module, module_name, function_name, folder)}")
    if problem := _misfit(function, _is_stateful(graph, fluxion)):
        raise LoadError(f"{what}: {_place(function, folder)}{problem}")
    return Spec(graph, fluxion, function)


def _missing(module: Any, module_name: str, function_name: str, folder: str) -> str:
    file = getattr(module, "__file__", None) or "built in"
    own = Path(folder, *module_name.split("."))
    if not file.startswith(folder) and (own.with_suffix(".py").exists() or own.is_dir()):
        return f"Python has a module '{module_name}' itself ({file}); rename yours"
    near = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
    there = f"; there are {', '.join(sorted(near)[:10])}" if near else ""
    return f"{file.removeprefix(folder + '/')} has no function '{function_name}'{there}"


def _misfit(function: Any, stateful: bool) -> str:
    """Why the function cannot be this fluxion; "" if it can."""
    if not callable(function):
        return f"is a {type(function).__name__}, not a function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "is a generator (it uses `yield`); return a list of emit(...) instead"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    given = (None, None) if stateful else (None,)
    try:
        signature.bind(*given)
    except TypeError:
        if stateful:
            return f"takes {signature}, but its group has a context; write `(message, context)`"
        return f"takes {signature}, but it has no context; write `(message)`, or give it a group"
    return ""


def _place(function: Any, folder: str) -> str:
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    if code is None:
        return ""
    return f"{code.co_filename.removeprefix(folder + '/')}:{code.co_firstlineno}: "


def _is_async(function: Any) -> bool:
    called = getattr(type(function), "__call__", None)  # noqa: B004  (not whether there is one, but which)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _is_stateful(graph: Graph, fluxion: Fluxion) -> bool:
    group = graph.group_by_name.get(fluxion.group)
    return group is not None and group.stateful


def _key_path(graph: Graph, to: str) -> tuple[str, ...]:
    if to == OUTPUT:
        return ()
    fluxion = graph.fluxion_by_name.get(to)
    return tuple(fluxion.key.split(".")) if fluxion is not None and fluxion.key else ()

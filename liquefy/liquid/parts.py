"""Parts of handlers that were cut, as functions of the module that the handler is in.

The compiler writes them into `liquid_parts/` of the bundle, see `compiler/python/parts.py`. Knows no framework and no
message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

FOLDER = "liquid_parts"


class Sending(NamedTuple):
    """What a part returns where it comes to its end."""

    to: str
    variables: dict[str, Any]


class Parts:
    """`files`: of each fluxion the file of the service that its part is of; "" if it is none."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self._folder = folder
        self._files = files
        self._functions: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}

    def load(self, modules: Mapping[str, ModuleType]) -> None:
        """Inside the program's modules, which have been loaded."""
        for file in dict.fromkeys(file for file in self._files.values() if file):
            path = self._folder / FOLDER / file
            name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            scope: dict[str, Any] = {}
            exec(compile(path.read_bytes(), str(path), "exec"), vars(modules[name]), scope)
            for fluxion, function in scope["parts"](Sending).items():
                self._functions[fluxion] = function, tuple(inspect.signature(function).parameters)

    def call(self, fluxion: str, variables: Mapping[str, Any]) -> Any:
        """Its result, or its coroutine. Raises KeyError for a variable that it needs and is not given."""
        function, names = self._functions[fluxion]
        return function(**{name: variables[name] for name in names})

    def waits(self, fluxion: str) -> bool:
        """Whether it is a coroutine function."""
        return inspect.iscoroutinefunction(self._functions[fluxion][0])


def sendings(result: Any) -> list[tuple[str, dict[str, Any]]]:
    """What a part sends by what it returned: nothing, if that is no sending."""
    if type(result) is Sending:
        return [result]
    if type(result) is list and result and all(type(each) is Sending for each in result):
        return list(result)
    return []

"""Functions that a program makes while it handles requests, and that need nothing of what was around them, such as what
a `defaultdict` inside a `defaultdict` makes its entries with: named by where in the source they are.

Knows neither contexts nor how values are stored.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType


class Made:
    """`modules`: the program's own, by the names that are stored."""

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self._modules = dict(modules)
        self._codes: dict[tuple[str, str], CodeType] = {}

    def name_of(self, function: FunctionType) -> tuple[str, str] | None:
        """Its module and its place there; None if it could not be made anew from them."""
        if function.__closure__ or function.__defaults__ or function.__kwdefaults__ or function.__dict__:
            return None
        for name, module in self._modules.items():
            if function.__globals__ is vars(module):
                return name, _place(function.__code__)
        return None

    def make(self, module: str, place: str) -> FunctionType:
        """Raises KeyError."""
        if (module, place) not in self._codes:
            self._codes |= {(module, _place(code)): code for code in _codes(self._modules[module])}
        code = self._codes[module, place]
        return FunctionType(code, vars(self._modules[module]), code.co_name)


def _codes(module: ModuleType) -> Iterator[CodeType]:
    """Of the functions of a module, and of those that they make."""
    scope = vars(module)
    waiting = [f.__code__ for f in gc.get_objects() if type(f) is FunctionType and f.__globals__ is scope]
    seen: set[int] = set()
    while waiting:
        code = waiting.pop()
        if id(code) not in seen:
            seen.add(id(code))
            yield code
            waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]


def _place(code: CodeType) -> str:
    """Two lambdas of one line differ in their columns."""
    columns = [column for _, _, column, _ in code.co_positions() if column]
    return f"{code.co_qualname}:{code.co_firstlineno}:{min(columns, default=0)}"

"""The variables of a program that no context holds: they are not to change. Looked at after each request, as far as
that is cheap, so that what the compiler did not see fails, and is not forgotten without a word.

Looks at globals: whether they were given other data, and how much is in their collections. Knows no fluxion.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from liquefy.liquid.binding import StrayChange
from liquefy.values import IMMUTABLE

_SIZED = (list, dict, set, deque)


class Watch:
    """Made when the program has been loaded. `held`: ids of the variables that groups have; `reached`: whether groups
    have an object, by whatever name (`from store import notes`)."""

    def __init__(
        self, modules: Mapping[str, ModuleType], held: Iterable[str], reached: Callable[[Any], bool] = lambda _: False
    ) -> None:
        known = set(held)
        self._reached = reached
        self._scopes: list[tuple[str, dict[str, Any], list[str], Callable[[Any], Any], tuple[Any, ...]]] = []
        self._sized: list[tuple[str, Any, int]] = []
        for name, module in modules.items():
            scope = vars(module)
            names = [n for n in scope if not n.startswith("__") and f"{name}.{n}" not in known]
            if len(names) > 1:
                get = operator.itemgetter(*names)
                self._scopes.append((name, scope, names, get, get(scope)))
            for each in names:
                self._look(f"{name}.{each}", scope[each], known, module.__name__)

    def _look(self, place: str, value: Any, known: set[str], module: str) -> None:
        """Collections of a global, of its class or of an instance of the module's classes."""
        if self._reached(value) or isinstance(value, ModuleType):
            return  # a module of the program has its own turn; what a library keeps is the library's
        if _is_sized(value):
            self._sized.append((place, value, len(value)))
            return
        own = value if isinstance(value, type) else type(value)
        if any(base.__module__ not in (module, "builtins") for base in own.__mro__):
            return  # what a library keeps in its own classes, and in those derived from them, is the library's
        for name, inner in list(getattr(value, "__dict__", {}).items()):
            inside = f"{place}.{name}"
            if name.startswith("__"):
                continue
            held = self._reached(inner) or any(inside.startswith(k) or k.startswith(inside) for k in known)
            if _is_sized(inner) and not held:
                self._sized.append((inside, inner, len(inner)))

    def check(self) -> None:
        """Raises StrayChange."""
        for place, value, size in self._sized:
            if len(value) != size:
                raise _stray(place)
        for name, scope, names, get, before in self._scopes:
            now = get(scope)
            if not all(map(operator.is_, now, before)):
                for each, new, old in zip(names, now, before, strict=True):
                    if new is not old and (type(new) in IMMUTABLE or type(new) in _SIZED):
                        raise _stray(f"{name}.{each}")


def _is_sized(value: Any) -> bool:
    # By the type itself: stand-ins for something else answer isinstance() as that would.
    return type(value) in _SIZED or (_SIZED[1] in type(value).__mro__ and type(value).__module__ == "collections")


def _stray(place: str) -> StrayChange:
    return StrayChange(f"{place} changed, and no context holds it: the compiler did not see that a request changes it")

"""The variables of a program that no context holds: they are not to change. Looked at after each request, as far as
that is cheap, so that what the compiler did not see fails, and is not forgotten without a word. What changed is put
back, so that it is the request's failure, and not that of all that come after it.

Looks at globals: whether they were given other data, and how much is in their collections. Knows no fluxion.
"""

from __future__ import annotations

import operator
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from liquefy.liquid.binding import StrayChange
from liquefy.values import IMMUTABLE

_SIZED = (list, dict, set, deque)

KEPT_ENTRIES_MAX = 100_000
"""A collection up to this size is remembered, so that it can be put back. A program whose larger one changed ends."""

EXIT_CHANGED = 72


class Watch:
    """Made when the program has been loaded. `held`: ids of the variables that groups have; `reached`: whether groups
    have an object, by whatever name (`from store import notes`); `end`: what is done if what changed cannot be put
    back, so that a new process takes over."""

    def __init__(
        self,
        modules: Mapping[str, ModuleType],
        held: Iterable[str],
        reached: Callable[[Any], bool] = lambda _: False,
        end: Callable[[str], None] | None = None,
    ) -> None:
        known = set(held)
        self._reached = reached
        self._end = end or _end
        self._lock = threading.Lock()
        """Requests without a context are looked at in threads of their own."""
        self._scopes: list[tuple[str, dict[str, Any], list[str], Callable[[Any], Any], tuple[Any, ...]]] = []
        self._sized: list[tuple[str, Any, int, Any]] = []
        self.last: StrayChange | None = None
        """The latest change that was found. Who finds another than when it began may have made it, or seen it."""
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
            self._keep(place, value)
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
                self._keep(inside, inner)

    def _keep(self, place: str, value: Any) -> None:
        size = len(value)
        entries = value.items() if isinstance(value, dict) else value
        self._sized.append((place, value, size, tuple(entries) if size <= KEPT_ENTRIES_MAX else None))

    def check(self, since: StrayChange | None = None) -> None:
        """`since`: `last` as it was when the request began. Raises StrayChange: if anything changed, which it puts
        back, or was found to have changed meanwhile."""
        with self._lock:
            place = self._put_back()
            if place:
                self.last = StrayChange(
                    f"{place} changed, and no context holds it: the compiler did not see that a request changes it"
                )
        if self.last is not since:
            assert self.last is not None
            raise StrayChange(*self.last.args)

    def settle(self) -> None:
        """For a request that failed anyway: nothing of it stays."""
        try:
            self.check(self.last)
        except StrayChange as error:
            print(error, file=sys.stderr, flush=True)

    def _put_back(self) -> str:
        """Where the first change was; "" if nothing changed. What is inside what was given other values is put back,
        too: all collections hold what they held, in place."""
        found = ""
        for place, value, size, entries in self._sized:
            if len(value) != size:
                found = found or place
                if entries is None:
                    self._end(place)
                else:
                    _refill(value, entries)
        for name, scope, names, get, before in self._scopes:
            try:
                now = get(scope)
            except KeyError:
                now = tuple(scope.get(each) for each in names)  # a name was deleted
            if not all(map(operator.is_, now, before)):
                for each, new, old in zip(names, now, before, strict=True):
                    gone = each not in scope
                    if gone or (new is not old and (type(new) in IMMUTABLE or type(new) in _SIZED)):
                        found = found or f"{name}.{each}"
                        scope[each] = old
        return found


def _refill(value: Any, entries: tuple[Any, ...]) -> None:
    value.clear()
    if isinstance(value, dict):
        for key, entry in entries:  # `update` of a Counter would add them up
            value[key] = entry
    elif isinstance(value, set):
        value.update(entries)
    else:
        value.extend(entries)


def _end(place: str) -> None:
    what = f"{place} changed, no context holds it, and it is too large to be put back: ending"
    print(what, file=sys.stderr, flush=True)
    os._exit(EXIT_CHANGED)


def _is_sized(value: Any) -> bool:
    # By the type itself: stand-ins for something else answer isinstance() as that would.
    return type(value) in _SIZED or (_SIZED[1] in type(value).__mro__ and type(value).__module__ == "collections")

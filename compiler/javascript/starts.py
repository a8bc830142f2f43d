"""Registrations to starts: which requests lead to which handlers, and what runs for every request."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compiler.facts import Harm, Hazard, Place
from compiler.javascript import libraries
from compiler.javascript.flow import Flow
from compiler.javascript.frameworks import MOUNTS_MAX, Registered, graph_path, joined
from compiler.javascript.libraries import Sort, sort_of
from compiler.javascript.values import Bound, Func, Lib, Obj, Plain, Values, Word

NAMED = re.compile(r"[:*](\w+)")

GUARDED = ("express",)
"""Frameworks whose handlers the runtime finds again."""


@dataclass(frozen=True)
class Handled:
    """A start: `functions` in the order they run, the handler last. `hazards`: of what runs between them."""

    method: str
    path: str
    functions: tuple[Func, ...]
    place: Place
    route: str
    hazards: tuple[Hazard, ...] = ()


@dataclass
class Entrances:
    starts: list[Handled]
    everywhere: list[Func]
    hazards: list[Hazard]


class Starts:
    """Of a flow that has run. `goes_on`: whether a handler may leave the request to later ones."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._prefixes: dict[Obj, list[str | None]] = {}

    def find(self, goes_on: dict[Func, bool]) -> Entrances:
        found = Entrances([], [], [])
        for function in self.flow.raw_handlers:
            found.everywhere.append(Func(function))
        order = {file: index for index, file in enumerate(self.flow.service.sources)}
        ordered = sorted(self.flow.registrations.items(), key=lambda item: (order[item[0].file], item[0].start))
        for word, made in ordered:
            if not self.flow.starts(made.function):
                what = "registers a route while a request is handled"
                found.hazards.append(
                    Hazard(Harm.DYNAMIC, what, made.place, "register all routes while the modules load")
                )
            hazards = self._unknown(made)
            functions = [f for values in made.handlers for f in _functions(values)]
            if made.verb == "param" and self._of_routes(made, goes_on):
                continue
            if made.verb == "param" or not self._is_route(made, goes_on):
                found.everywhere += functions
                found.hazards += hazards
            else:
                functions = [*self._before(made, goes_on), *functions]
                found.starts += self._starts(made, tuple(functions), tuple(hazards), str(word.place.file))
        return found

    def _is_route(self, made: Registered, goes_on: dict[Func, bool]) -> bool:
        """Whether its requests end there, in handlers that are known."""
        return (
            made.verb not in ("use", "param")
            and any(_functions(values) for values in made.handlers)
            and not any(_goes_on(f, goes_on) for f in _last(made))
            and made.owner.label.split("?")[0].split(" ")[0] in GUARDED
        )

    # What runs before the handlers of the routes that have a parameter: `router.param("id", load)`

    def _of_routes(self, made: Registered, goes_on: dict[Func, bool]) -> bool:
        """Whether it is known of which routes of its router it is a part, and all those are starts."""
        name = made.paths[0]
        if name is None or self._unknown(made) or not all(_functions(values) for values in made.handlers):
            return False
        others = [r for r in self.flow.registrations.values() if r.owner is made.owner and r.verb != "param"]
        if any(path is None for other in others for path in other.paths):
            return False
        return all(self._is_route(other, goes_on) for other in others if _has(other, name))

    def _before(self, made: Registered, goes_on: dict[Func, bool]) -> list[Func]:
        asked = [r for r in self.flow.registrations.values() if r.owner is made.owner and r.verb == "param"]
        named = [r for r in asked if r.paths[0] is not None and _has(made, r.paths[0]) and self._of_routes(r, goes_on)]
        return [f for r in named for values in r.handlers for f in _functions(values)]

    def _starts(
        self, made: Registered, functions: tuple[Func, ...], hazards: tuple[Hazard, ...], file: str
    ) -> list[Handled]:
        method = {"all": "*", "del": "DELETE"}.get(made.verb, made.verb.upper())
        route = f"{file}:{made.word.line}:{made.word.column}"
        paths: dict[str, None] = {}
        for prefix in self.prefixes(made.owner):
            for path in made.paths or [""]:
                full = None if prefix is None or path is None else joined(prefix, path)
                paths[graph_path(full) if full is not None else ""] = None
        return [Handled(method, path, functions, made.place, route, hazards) for path in paths]

    def prefixes(self, owner: Obj, depth: int = 0) -> list[str | None]:
        """Under which paths an application or router is mounted; None for one that is not known."""
        if owner in self._prefixes:
            return self._prefixes[owner]
        if depth > MOUNTS_MAX:
            return [None]
        mounted = [r for r in self.flow.registrations.values() if owner in r.mounts]
        found: list[str | None] = []
        for made in mounted:
            for outer in self.prefixes(made.owner, depth + 1):
                for path in made.paths or [""]:
                    found.append(None if outer is None or path is None else joined(outer, path))
        if not mounted:
            found = [""] if owner.kind == "app" else [None]
        found = list(dict.fromkeys(found))[:MOUNTS_MAX]
        self._prefixes[owner] = found
        return found

    def _unknown(self, made: Registered) -> list[Hazard]:
        """Handlers that are not seen, or keep state of their own."""
        found = []
        for values in made.handlers:
            called = [v for v in values if not isinstance(v.target, Obj) or v.target.kind in ("app", "router")]
            whats = [_what(value.target) for value in called] or ["runs a handler that cannot be told"]
            for what in dict.fromkeys(w for w in whats if w):
                found.append(Hazard(Harm.OPAQUE, what, made.place))
        return found


def _what(target: object) -> str:
    if isinstance(target, Lib):
        sort = sort_of(target.package)
        if sort in (Sort.STATEFUL, Sort.UNKNOWN) and target.package not in ("global", "process"):
            return f"runs handlers of {libraries.keeps(target.package)}"
        return ""
    if isinstance(target, Word) and target.what == "made of once":
        return "runs middleware made of a value that differs from run to run"
    if isinstance(target, Plain) and not target.literal:
        return "runs a handler that cannot be told"
    return ""


def _functions(values: Values) -> list[Func]:
    found = []
    for value in sorted(values, key=_order):
        target = value.target
        if isinstance(target, Bound):
            target = target.function.target
        if isinstance(target, Func):
            found.append(target)
    return found


def _order(value: object) -> tuple[str, int, int]:
    target = getattr(value, "target", None)
    if isinstance(target, Bound):
        target = target.function.target
    if isinstance(target, Func):
        return target.function.file, target.function.node.start, target.site.start if target.site is not None else 0
    return "", 0, 0


def _has(made: Registered, parameter: str) -> bool:
    """Whether one of its paths has the parameter."""
    return any(path is not None and parameter in NAMED.findall(path) for path in made.paths)


def _last(made: Registered) -> list[Func]:
    for values in reversed(made.handlers):
        found = _functions(values)
        if found:
            return found
    return []


def _goes_on(func: Func, goes_on: dict[Func, bool]) -> bool:
    return goes_on.get(func, True)

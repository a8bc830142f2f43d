"""Which input of which graph a request is for. Pure: a tree over path segments, built once per set of graphs.

Templates: `/users/{id}/orders`, `{name}` one segment that is not empty, `{rest...}` (at the end) all that is
left, empty too. A literal segment beats a parameter, a parameter beats the rest; where the better match does
not have the method, the next that has it is taken. `/a` and `/a/` are two paths. Segments are percent-decoded
after the path was split, so `%2F` is a slash inside a value, never a separator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from liquefy.graph import Graph

RESERVED = "/-/"
"""Paths of the gateway's own; no graph may have an input there."""

ANY = "*"


class Entry(NamedTuple):
    """Where requests of one input go: to `fluxion`, at the one of `places` (partitions) that its key gives. `key`: a
    path into the request, () when there is none: then all share the one context, or, if it is not `stateful`, each
    goes its own way."""

    graph: str
    input: str
    fluxion: str
    places: tuple[str, ...]
    key: tuple[str, ...]
    stateful: bool
    deadline_ms: int
    raw: bool = False


class Match(msgspec.Struct, frozen=True):
    """`params`: name -> decoded value, in the order of the template."""

    entry: Entry
    params: dict[str, str]


class NoMatch(NamedTuple):
    """`status` 404, 405, 400 or 503, `allow` the methods there are (405), `text` for people."""

    status: int
    allow: tuple[str, ...]
    text: str


class _Target(NamedTuple):
    entry: Entry
    names: tuple[str, ...]


class _Node:
    """`rest` and `here` map method -> target."""

    __slots__ = ("children", "here", "parameter", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.here: dict[str, _Target] = {}
        self.rest: dict[str, _Target] = {}


class Router:
    """The inputs of all graphs. Of two that cannot be told apart the one of the graph named first wins;
    `conflicts` has a line for each such pair (deploying refuses them). `graphs` None: they are not known yet, and so
    nobody can say of a request that it is for none of them."""

    def __init__(self, graphs: Iterable[Graph] | None = None) -> None:
        self._known = graphs is not None
        self._root = _Node()
        self._literal: dict[str, dict[str, _Target]] = {}
        self.conflicts: list[str] = []
        self.size = 0
        for graph in sorted(graphs or (), key=lambda g: g.name):
            for item in graph.inputs:
                fluxion = graph.fluxion_by_name[item.to]
                group = graph.group_by_name[fluxion.group]
                entry = Entry(
                    graph=graph.name,
                    input=item.name,
                    fluxion=fluxion.name,
                    places=graph.places[fluxion.name],
                    key=tuple(fluxion.key.split(".")) if fluxion.key else (),
                    stateful=group.stateful,
                    deadline_ms=graph.deadline_ms,
                    raw=item.raw,
                )
                self._add(item.method.upper(), item.path, entry)

    def match(self, method: str, path: str) -> Match | NoMatch:
        """`path` as it came, without the query. HEAD finds what is there for GET."""
        if not self._known:
            return NoMatch(503, (), "which services there are is not known here yet; try again")
        literal = self._literal.get(path)
        if literal is not None:  # templates can only come after it, and only if it lacks the method
            target = _choose(literal, method)
            if target is not None:
                return Match(target.entry, {})
        try:
            segments = _segments(path)
        except UnicodeDecodeError:
            # What the path means is up to the application behind a raw input, if there is one for everything.
            target = _choose(self._root.rest, method)
            if target is not None and target.entry.raw:
                return Match(target.entry, {target.names[0]: path[1:]})
            return NoMatch(400, (), "the path is not UTF-8")
        values: list[str] = []
        allowed: set[str] = set()
        target = _find(self._root, segments, 0, method, values, allowed)
        if target is not None:
            return Match(target.entry, dict(zip(target.names, values, strict=True)))
        if not allowed:
            return NoMatch(404, (), f"no route for {path[:200]}")
        if "GET" in allowed:
            allowed.add("HEAD")
        allow = tuple(sorted(allowed | {"OPTIONS"}))
        return NoMatch(405, allow, f"{method} is not allowed for {path[:200]}: {', '.join(allow)} are")

    def _add(self, method: str, path: str, entry: Entry) -> None:
        where = f"{entry.graph}/{entry.input} ({method} {path})"
        if path.startswith(RESERVED):
            self.conflicts.append(f"{where}: paths below {RESERVED} are the gateway's own")
            return
        node, names = self._root, []
        segments = path.split("/")[1:]
        targets: dict[str, _Target] | None = None
        for segment in segments:
            if not (segment.startswith("{") and segment.endswith("}")):
                node = node.children.setdefault(unquote(segment), _Node())
            elif segment.endswith("...}"):
                names.append(segment[1:-4])
                targets = node.rest
                break
            else:
                names.append(segment[1:-1])
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
        targets = node.here if targets is None else targets
        if method in targets:
            other = targets[method].entry
            self.conflicts.append(f"{where}: the same requests go to {other.graph}/{other.input}")
            return
        targets[method] = _Target(entry, tuple(names))
        self.size += 1
        if not names:
            self._literal[path] = targets


def _choose(targets: dict[str, _Target], method: str) -> _Target | None:
    target = targets.get(method)
    if target is None and method == "HEAD":
        target = targets.get("GET")
    return target or targets.get(ANY)


def _segments(path: str) -> list[str]:
    """Raises UnicodeDecodeError."""
    segments = path.split("/")[1:]
    if "%" in path:
        return [unquote(s, errors="strict") if "%" in s else s for s in segments]
    return segments


def _find(
    node: _Node, segments: list[str], at: int, method: str, values: list[str], allowed: set[str]
) -> _Target | None:
    """The best that has the method; `values` are then its parameters'. `allowed`: the methods of all that fit."""
    if at == len(segments):
        allowed.update(node.here)
        return _choose(node.here, method)
    segment = segments[at]
    child = node.children.get(segment)
    if child is not None:
        target = _find(child, segments, at + 1, method, values, allowed)
        if target is not None:
            return target
    if node.parameter is not None and segment:
        values.append(segment)
        target = _find(node.parameter, segments, at + 1, method, values, allowed)
        if target is not None:
            return target
        values.pop()
    if node.rest:
        allowed.update(node.rest)
        target = _choose(node.rest, method)
        if target is not None:
            values.append("/".join(segments[at:]))
        return target
    return None

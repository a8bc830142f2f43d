"""What must hold of a graph as a whole, and of the small notations inside it: routes, keys, streams.
Functions of what `liquefy.graphfile` has read; they add to its problems. Knows no YAML, no file and no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from liquefy.graph import OUTPUT
from liquefy.graphyaml import Problems, nearest

INPUT = "input"
"""The reserved name of the graph's entry: no fluxion may be called so."""

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"),
    *("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL"),
    *("REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "MKCALENDAR", "LINK", "UNLINK"),
    *("M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE", "SOURCE"),
)
"""What the gateway's HTTP parser (llhttp) reads in a request with a path; CONNECT has none."""

RESERVED_PATH = "/-/"
"""Below it are the gateway's own pages."""

REQUEST_FIELDS = ("params", "query", "headers", "body", "method", "path")
"""What the gateway puts into the message it makes of a request."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@%-]+")
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class DeclaredInput(NamedTuple):
    """An input as written; `line` is where. `method` is "" if its route is not understood."""

    name: str
    line: int
    method: str = ""
    path: str = ""
    raw: bool = False

    @property
    def shape(self) -> str:
        """The path with the parameters' names taken out: what makes two routes the same."""
        return _PARAMETER.sub(lambda m: "{...}" if m[2] else "{}", self.path)

    @property
    def parameters(self) -> list[str]:
        return [match[1] for match in _PARAMETER.finditer(self.path)]


class DeclaredFluxion(NamedTuple):
    """A fluxion as written, with the line of each of its settings."""

    name: str
    line: int
    lines: Mapping[str, int]
    code: str = ""
    group: str = ""
    key: str = ""
    partitions: int = 0
    timeout_ms: int = 0
    language: str = "python"
    pinned: str = ""
    speculative: bool = False

    @property
    def stateful(self) -> bool:
        return bool(self.group or self.key) and not self.pinned

    @property
    def group_name(self) -> str:
        return self.group or self.name


class Stream(NamedTuple):
    """One edge, and the line it stands in."""

    line: int
    source: str
    to: str


def parse_route(name: str, line: int, route: str, problems: Problems, raw: bool = False) -> DeclaredInput:
    """`GET /users/{id}` as method and path."""
    remedy = 'write it as "METHOD /path/{parameter}", for example "GET /{id}"'
    method, _, path = route.partition(" ")
    path = path.strip()
    if not path:
        problems.add(line, f"input {name!r}: {route!r} is not a method and a path", remedy)
        return DeclaredInput(name, line)
    refused = len(problems.errors)
    if method != "*" and method not in METHODS:
        hint = method.upper() if method.upper() in METHODS else f"one of {', '.join(METHODS)} or *"
        problems.add(line, f"input {name!r}: {method!r} is not an HTTP method", f"write {hint}")
    if not path.startswith("/"):
        problems.add(line, f"input {name!r}: the path {path!r} does not start with /", remedy)
        return DeclaredInput(name, line)
    if path.startswith(RESERVED_PATH):
        problems.add(line, f"input {name!r}: {RESERVED_PATH} belongs to the gateway", "choose another path")
    segments = path[1:].removesuffix("/").split("/") if path != "/" else []
    seen: set[str] = set()
    for index, segment in enumerate(segments):
        wrong = _segment_problem(segment, index == len(segments) - 1, seen)
        if wrong:
            problems.add(line, f"input {name!r}: path {path!r}: {wrong}", remedy)
    return (
        DeclaredInput(name, line, method, path, raw) if len(problems.errors) == refused else DeclaredInput(name, line)
    )


def _segment_problem(segment: str, last: bool, seen: set[str]) -> str:
    """What is wrong with one segment of a path, or "". `seen`: the parameters before it; extended."""
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        if not segment:
            return "an empty segment"
        return "" if _LITERAL.fullmatch(segment) else f"the segment {segment!r} is neither text nor {{parameter}}"
    name, rest = parameter[1], parameter[2]
    if rest and not last:
        return f"{segment!r} takes the rest of the path and is not the last segment"
    if name in seen:
        return f"the parameter {name!r} stands twice"
    seen.add(name)
    return ""


def check_pinned(fluxion: DeclaredFluxion, problems: Problems) -> None:
    """What is pinned has no key: one process has it all."""
    if fluxion.pinned and fluxion.key:
        problems.add(
            fluxion.lines["key"],
            f"fluxion {fluxion.name!r} is pinned and has a key",
            "remove one of them: a key spreads it, `pinned` keeps it in one process",
        )


def check_speculative(fluxion: DeclaredFluxion, problems: Problems) -> None:
    """What keeps something is not called for what may be void."""
    if fluxion.speculative and (fluxion.key or fluxion.group or fluxion.pinned):
        problems.add(
            fluxion.lines["speculative"],
            f"fluxion {fluxion.name!r} is speculative and keeps something",
            "remove `speculative`: it is for functions that may be called for nothing",
        )


def check_key(fluxion: DeclaredFluxion, problems: Problems) -> None:
    """The notation of a key is right."""
    if not _KEY.fullmatch(fluxion.key):
        problems.add(
            fluxion.lines["key"],
            f"fluxion {fluxion.name!r}: the key {fluxion.key!r} is not a dotted path",
            "write names with dots between them, for example params.id or user.name",
        )


def check_inputs(inputs: Sequence[DeclaredInput], problems: Problems) -> None:
    """No two inputs take the same requests."""
    seen: dict[tuple[str, str], DeclaredInput] = {}
    for entry in inputs:
        if not entry.method:
            continue
        other = seen.setdefault((entry.method, entry.shape), entry)
        if other is not entry:
            problems.add(
                entry.line,
                f"inputs {other.name!r} and {entry.name!r} take the same requests, {entry.method} {entry.shape}",
                "change the method or the path of one of them",
            )


def check_names(inputs: Sequence[DeclaredInput], fluxions: Sequence[DeclaredFluxion], problems: Problems) -> bool:
    """Whether each name stands for one thing."""
    names = {entry.name for entry in inputs}
    clear = True
    for fluxion in fluxions:
        if fluxion.name in (INPUT, OUTPUT):
            problem = f"{fluxion.name!r} names an edge of the graph, not a fluxion"
        elif fluxion.name in names:
            problem = f"{fluxion.name!r} is an input and a fluxion"
        else:
            continue
        problems.add(fluxion.line, problem, "give the fluxion another name")
        clear = False
    for entry in inputs:
        if entry.name == OUTPUT:
            problems.add(entry.line, "'output' names the exit of the graph", "give the input another name")
            clear = False
    return clear


def parse_streams(items: Sequence[tuple[int, str]], problems: Problems) -> list[Stream]:
    """`a >> b >> c` lines as edges."""
    streams: dict[tuple[str, str], Stream] = {}
    for line, item in items:
        names = [part.strip() for part in item.split(">>")]
        if len(names) < 2 or not all(names) or any(len(name.split()) > 1 for name in names):
            problems.add(line, f"{item!r} is not a stream", "write `from >> to`")
            continue
        for source, to in pairwise(names):
            first = streams.get((source, to))
            if first is not None:
                problems.add(line, f"the stream {source} >> {to} stands twice, first in line {first.line}", "keep one")
            else:
                streams[source, to] = Stream(line, source, to)
    return list(streams.values())


def check_streams(
    streams: Sequence[Stream], inputs: Sequence[str], fluxions: Sequence[str], problems: Problems
) -> None:
    """Every end of a stream is something that may stand there."""
    for line, source, to in streams:
        if source == OUTPUT:
            problems.add(line, "a stream leaves `output`", "`output` answers the request; nothing comes after it")
        elif source not in inputs and source not in fluxions:
            hint = nearest(source, [*inputs, *fluxions])
            problems.add(line, f"unknown name {source!r}{hint}", "declare it under `fluxions:`, or correct it")
        if to in inputs or to == INPUT:
            problems.add(line, f"a stream leads to the input {to!r}", "lead it to a fluxion or to `output`")
        elif to == OUTPUT and source in inputs:
            problems.add(line, f"the input {source!r} leads straight to `output`", "lead it to a fluxion")
        elif to != OUTPUT and to not in fluxions:
            hint = nearest(to, [*fluxions, OUTPUT])
            problems.add(line, f"unknown name {to!r}{hint}", "declare it under `fluxions:`, or correct it")


def check_entries(inputs: Sequence[DeclaredInput], streams: Sequence[Stream], problems: Problems) -> None:
    """Each input has exactly one stream."""
    for entry in inputs:
        leaving = [stream for stream in streams if stream.source == entry.name]
        if not leaving:
            problems.add(entry.line, f"the input {entry.name!r} has no stream", f"add `- {entry.name} >> <a fluxion>`")
        for stream in leaving[1:]:
            problems.add(
                stream.line,
                f"the input {entry.name!r} has a second stream, to {stream.to!r}",
                f"lead it to one fluxion, and from there on to {leaving[0].to!r} and {stream.to!r}",
            )


def check_carried_keys(
    inputs: Sequence[DeclaredInput],
    fluxions: Mapping[str, DeclaredFluxion],
    streams: Sequence[Stream],
    problems: Problems,
) -> None:
    """A fluxion that an input feeds takes its key from what a request has. What a fluxion sends to the next
    one cannot be told before it runs."""
    by_name = {entry.name: entry for entry in inputs}
    for stream in streams:
        entry, fluxion = by_name.get(stream.source), fluxions.get(stream.to)
        if entry is None or fluxion is None or not entry.method or not _KEY.fullmatch(fluxion.key):
            continue
        wrong = _carried_problem(fluxion.key, entry)
        if wrong:
            key = f"fluxion {fluxion.name!r}: the key {fluxion.key!r}"
            problem = f"{key} is not in what {entry.name!r} sends: {wrong}"
            problems.add(fluxion.lines["key"], problem, _key_remedy(entry))


def _carried_problem(key: str, entry: DeclaredInput) -> str:
    head, _, rest = key.partition(".")
    if head not in REQUEST_FIELDS:
        return f"a request has {', '.join(REQUEST_FIELDS)}"
    if head == "params" and rest not in entry.parameters:
        known = ", ".join(entry.parameters)
        return f"its path {entry.path} has {f'the parameters {known}' if known else 'no parameters'}"
    if head in ("query", "headers") and not rest:
        return f"{head} holds many values"
    if head in ("method", "path") and rest:
        return f"{head} is a single text"
    if head == "headers" and rest != rest.lower():
        return "names of headers are in lower case"
    return ""


def _key_remedy(entry: DeclaredInput) -> str:
    choices = [f"params.{name}" for name in entry.parameters]
    choices += ["query.<name>", "headers.<name>", "body.<name>", "method", "path"]
    return f"use one of {', '.join(choices)}"


def check_language(fluxions: Sequence[DeclaredFluxion], problems: Problems) -> None:
    """All are in one language: a host runs one."""
    for fluxion in fluxions[1:]:
        if fluxion.language != fluxions[0].language:
            problems.add(
                fluxion.lines.get("language", fluxion.line),
                f"fluxion {fluxion.name!r} is in {fluxion.language}, {fluxions[0].name!r} in {fluxions[0].language}",
                "write a graph in one language; what another has to do is a graph of its own, asked by HTTP",
            )
            return


def check_groups(fluxions: Sequence[DeclaredFluxion], problems: Problems) -> None:
    """Those that share a context agree on what it is."""
    groups: dict[str, list[DeclaredFluxion]] = {}
    for fluxion in fluxions:
        groups.setdefault(fluxion.group_name, []).append(fluxion)
    for group, members in groups.items():
        first = members[0]
        for member in members[1:]:
            _check_member(group, first, member, problems)
        _check_partitions(group, members, problems)


def _check_member(group: str, first: DeclaredFluxion, member: DeclaredFluxion, problems: Problems) -> None:
    line = member.lines.get("group", member.line)
    if first.pinned or member.pinned:
        if first.pinned != member.pinned:
            problems.add(
                member.lines.get("pinned", line),
                f"group {group!r}: {first.name!r} and {member.name!r} are not pinned for the same reason",
                "give all fluxions of a group the same `pinned`",
            )
    elif not (first.stateful and member.stateful):
        stateless = member if not member.stateful else first
        problems.add(
            line,
            f"group {group!r} has the name of the fluxion {stateless.name!r}, which has no context",
            f"rename the group, or give {stateless.name!r} a key",
        )
    elif bool(first.key) != bool(member.key):
        with_key, without = (first, member) if first.key else (member, first)
        problems.add(
            line,
            f"group {group!r}: fluxion {with_key.name!r} has a key and {without.name!r} has none",
            "give all fluxions of a group a key (a context per key), or none (one context)",
        )


def _check_partitions(group: str, members: Sequence[DeclaredFluxion], problems: Problems) -> None:
    given = [member for member in members if member.partitions]
    if not given:
        return
    first = given[0]
    for member in given[1:]:
        if member.partitions != first.partitions:
            problems.add(
                member.lines["partitions"],
                f"group {group!r} has {first.partitions} partitions by fluxion {first.name!r} "
                f"and {member.partitions} by {member.name!r}",
                "say it once",
            )
    if members[0].pinned and first.partitions != 1:
        problems.add(first.lines["partitions"], f"group {group!r} is pinned: one partition", "remove `partitions`")
    if all(member.stateful and not member.key for member in members) and first.partitions != 1:
        problems.add(
            first.lines["partitions"],
            f"group {group!r} has no key, so one context and one partition, not {first.partitions}",
            "remove `partitions`, or give its fluxions a key",
        )


def check_reached(
    inputs: Sequence[DeclaredInput],
    fluxions: Sequence[DeclaredFluxion],
    streams: Sequence[Stream],
    problems: Problems,
) -> None:
    """Every fluxion can get a message."""
    reached = _reachable([entry.name for entry in inputs], _edges(streams))
    for fluxion in fluxions:
        if fluxion.name not in reached:
            problems.add(
                fluxion.line,
                f"no stream from an input reaches the fluxion {fluxion.name!r}",
                f"add a stream `... >> {fluxion.name}`, or remove it",
            )


def check_exits(fluxions: Sequence[DeclaredFluxion], streams: Sequence[Stream], problems: Problems) -> None:
    """From every fluxion there is a way to `output`, or to a fluxion without streams: none must run in a
    circle for ever. Each circle is reported once, at its first stream."""
    edges = _edges(streams)
    back = _edges(Stream(s.line, s.to, s.source) for s in streams)
    ends = [OUTPUT, *(f.name for f in fluxions if f.name not in edges)]
    explained = _reachable(ends, back)
    for fluxion in fluxions:
        if fluxion.name in explained:
            continue
        way = [fluxion.name]
        while edges[way[-1]][0] not in way:
            way.append(edges[way[-1]][0])
        cycle = way[way.index(edges[way[-1]][0]) :]
        explained |= _reachable(cycle, back)
        line = next(s.line for s in streams if s.source == cycle[0] and s.to in cycle)
        circle = " >> ".join([*cycle, cycle[0]])
        problems.add(
            line,
            f"the cycle {circle} has no way out",
            "add a stream from it to `output` or to a fluxion that ends",
        )


def _edges(streams: Iterable[Stream]) -> dict[str, list[str]]:
    edges: dict[str, list[str]] = {}
    for stream in streams:
        edges.setdefault(stream.source, []).append(stream.to)
    return edges


def _reachable(start: Iterable[str], edges: Mapping[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges.get(name, ())
    return found

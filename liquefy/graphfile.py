"""`graph.yaml`: read into a Graph, and checked so that whatever a person wrote wrong is said with file, line
and remedy, all of it at once. `read` is about the file, `check` about the code it names, which is looked at
without being imported. Knows nothing of clusters: whether another graph has the same name or routes is the
controller's question.

    graph: visits
    deadline_s: 30
    inputs:
      input: GET /{id}
    fluxions:
      store: {code: "visits:store", key: params.id}
      send: {code: "visits:send"}
    streams:
      - input >> store >> send >> output
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import yaml

from liquefy import graphrules as rules
from liquefy.decoding import NAME_CHARS_MAX
from liquefy.graph import OUTPUT, PARTITIONS_DEFAULT, PARTITIONS_MAX, Fluxion, Graph, Group, Input
from liquefy.graphcode import Named, check_code
from liquefy.graphrules import DeclaredFluxion, DeclaredInput
from liquefy.graphyaml import Entry, Problems, compose, mapping, nearest, sequence, text

FLUXIONS_MAX = 1_000
"""Fluxions in one graph, and inputs too."""

DEADLINE_S_DEFAULT = 30.0
"""Seconds a client waits for its answer."""

TIMEOUT_S_DEFAULT = 10.0
"""Seconds one handling may take before its host counts as hung."""

SECONDS_MAX = 3_600.0
"""Longest deadline and timeout."""

LANGUAGES = ("python", "javascript")

ENV_MAX = 256
"""Names in `env`."""


_GRAPH_NAME = re.compile(r"[a-z][a-z0-9-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_CODE = {
    "python": re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII),
    "javascript": re.compile(r"(\./)?[\w$-][\w$.-]*(/[\w$-][\w$.-]*)*:[A-Za-z_$][\w$]*", re.ASCII),
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GRAPH_SETTINGS = ("graph", "deadline_s", "language", "env", "inputs", "fluxions", "streams")
_INPUT_SETTINGS = ("route", "raw")
_FLUXION_SETTINGS = ("code", "group", "key", "partitions", "timeout_s", "language", "pinned", "speculative")


def read(path: Path) -> Graph:
    """The graph of a `graph.yaml`, version 0, without a bundle. Raises GraphErrors with all that is wrong."""
    problems = Problems(str(path))
    graph, _ = _read(path, problems)
    return _found(graph, problems)


def read_with_code(path: Path) -> Graph:
    """As `read` and `check` with the folder of the file, but what is wrong with the graph and with the code is
    said at once: of a graph that is wrong in parts, the code of the rest is checked."""
    problems = Problems(str(path))
    graph, named = _read(path, problems)
    check_code(named, path.parent, problems)
    return _found(graph, problems)


def check(graph: Graph, folder: Path) -> None:
    """Whether the code that the graph names is in the folder and fits: modules compile, functions exist and
    take a context or not as declared. Nothing is imported. Raises GraphErrors; lines of `graph.yaml` are
    known for a graph that comes straight from `read`."""
    file, named = graph.__dict__.get("read_from", ("graph.yaml", None))
    problems = Problems(file)
    if named is None:
        named = [
            Named(f.name, f.code, graph.group_by_name[f.group].stateful, f.key, f.streams, {}, f.language)
            for f in graph.fluxions
        ]
    check_code(named, folder, problems)
    problems.raise_if_any()


def _read(path: Path, problems: Problems) -> tuple[Graph | None, list[Named]]:
    """The graph, None if it has problems; and the fluxions whose code can be looked at all the same."""
    top = mapping(compose(path, problems), "the graph", problems)
    _check_settings(top, _GRAPH_SETTINGS, "the graph", problems)
    for needed in ("graph", "inputs", "fluxions", "streams"):
        if top and needed not in top:
            problems.add(0, f"there is no `{needed}:`", f"add `{needed}:`")
    name = _name(top["graph"], problems) if "graph" in top else ""
    deadline_s = _seconds(top, "deadline_s", DEADLINE_S_DEFAULT, "deadline_s", problems)
    inputs = _read_inputs(top["inputs"], problems) if "inputs" in top else []
    wrong: set[str] = set()
    language = _language(top, problems)
    fluxions = _read_fluxions(top["fluxions"], problems, wrong, language) if "fluxions" in top else {}
    env = _env(top["env"], problems) if "env" in top else ()
    before = len(problems.errors)
    streams = _read_streams(top["streams"], problems) if "streams" in top else []
    streams_read = len(problems.errors) == before
    if inputs and fluxions and streams:  # else that is what is wrong, not that names in it are unknown
        _check_whole(inputs, fluxions, streams, problems)
    known = {*fluxions, *(entry.name for entry in inputs)}
    sound = streams_read and all(stream.source in known for stream in streams)
    named = _named(fluxions, wrong, streams if sound else None)
    if problems:
        return None, named
    graph = _build(name, deadline_s, inputs, list(fluxions.values()), streams, env)
    if excess := graph.excess():
        problems.add(0, excess, "split the service into several graphs, or give groups fewer partitions")
        return None, named
    # Graph has a __dict__ for its cached properties; what is kept there is neither compared nor sent.
    graph.__dict__["read_from"] = (str(path), named)
    return graph, named


def _found(graph: Graph | None, problems: Problems) -> Graph:
    problems.raise_if_any()
    assert graph is not None  # else there are problems
    return graph


def _named(
    fluxions: Mapping[str, DeclaredFluxion], wrong: Set[str], streams: Sequence[rules.Stream] | None
) -> list[Named]:
    """The fluxions that have code. Of what a mistake leaves open (`wrong`: fluxions with mistakes of their own;
    `streams`: None if they have some) nothing is assumed, so that no mistake shows up as several."""
    leads_to: dict[str, list[str]] = {}
    for stream in streams or ():
        leads_to.setdefault(stream.source, []).append(stream.to)
    named = []
    for f in fluxions.values():
        if not _is_code(f.code, f.language):
            continue
        to = leads_to.get(f.name, [])
        open_ended = streams is None or any(n != OUTPUT and (n not in fluxions or n in wrong) for n in to)
        stateful = None if f.name in wrong else f.stateful
        named.append(Named(f.name, f.code, stateful, f.key, None if open_ended else to, f.lines, f.language))
    return named


def _check_whole(
    inputs: Sequence[DeclaredInput],
    fluxions: Mapping[str, DeclaredFluxion],
    streams: Sequence[rules.Stream],
    problems: Problems,
) -> None:
    declared = list(fluxions.values())
    for entry in inputs:
        if entry.name in fluxions:
            line = fluxions[entry.name].line
            problems.add(line, f"{entry.name!r} is an input and a fluxion", "give one of them another name")
    rules.check_inputs(inputs, problems)
    rules.check_groups(declared, problems)
    rules.check_language([f for f in declared if f.language in LANGUAGES], problems)
    if rules.check_names(inputs, declared, problems):
        rules.check_streams(streams, [entry.name for entry in inputs], list(fluxions), problems)
        rules.check_carried_keys(inputs, fluxions, streams, problems)
    if not problems:  # a mistyped name would show up here once more, as a fluxion that nothing reaches
        rules.check_entries(inputs, streams, problems)
    if not problems:
        rules.check_reached(inputs, declared, streams, problems)
        rules.check_exits(declared, streams, problems)


def _check_settings(entries: Mapping[str, Entry], known: Sequence[str], what: str, problems: Problems) -> None:
    for name, entry in entries.items():
        if name not in known:
            problems.add(entry.line, f"{what} has no setting {name!r}{nearest(name, known)}", f"use {', '.join(known)}")


def _name(entry: Entry, problems: Problems) -> str:
    name = text(entry, "`graph`", problems) or ""
    if name and not _GRAPH_NAME.fullmatch(name):
        problems.add(
            entry.line,
            f"{name!r} cannot name a graph",
            "use lower-case letters, digits and -, beginning with a letter",
        )
    _check_length(name, entry.line, problems)
    return name


def _check_length(name: str, line: int, problems: Problems) -> None:
    if len(name) > NAME_CHARS_MAX:
        problems.add(line, f"the name {name[:20]}... has {len(name)} characters", f"use at most {NAME_CHARS_MAX}")


def _declared_name(name: str, line: int, what: str, problems: Problems) -> None:
    if not _NAME.fullmatch(name):
        problems.add(line, f"{name!r} cannot name {what}", "use letters, digits, _ and -, beginning with a letter")
    _check_length(name, line, problems)


def _seconds(entries: Mapping[str, Entry], name: str, default: float, what: str, problems: Problems) -> float:
    if name not in entries:
        return default
    entry = entries[name]
    value = text(entry, what, problems)
    if value is None:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= SECONDS_MAX:
        problems.add(entry.line, f"{what} is {value!r}", f"give a number of seconds from 0.001 to {SECONDS_MAX:.0f}")
        return default
    return seconds


def _language(top: Mapping[str, Entry], problems: Problems) -> str:
    """That of all fluxions which do not say theirs."""
    if "language" not in top:
        return LANGUAGES[0]
    language = text(top["language"], "`language`", problems) or LANGUAGES[0]
    _check_language(language, top["language"].line, "the graph", problems)
    return language if language in LANGUAGES else LANGUAGES[0]


def _check_language(language: str, line: int, what: str, problems: Problems) -> None:
    if language not in LANGUAGES:
        problems.add(line, f"{what}: the language {language!r} cannot be run", f"use {', '.join(LANGUAGES)}")


def _env(entry: Entry, problems: Problems) -> tuple[str, ...]:
    """Names of variables, each once."""
    items = sequence(entry.node, "`env`", problems)
    for line, name in items:
        if not _VARIABLE.fullmatch(name):
            remedy = "write its name alone, such as STUB_PORT; its value is the worker's"
            problems.add(line, f"{name!r} is no name of an environment variable", remedy)
    if len(items) > ENV_MAX:
        problems.add(entry.line, f"`env` has {len(items):,} names", f"name at most {ENV_MAX}")
    return tuple(dict.fromkeys(name for _, name in items))


def _read_inputs(entry: Entry, problems: Problems) -> list[DeclaredInput]:
    inputs = []
    entries = mapping(entry.node, "`inputs`", problems)
    for name, value in entries.items():
        _declared_name(name, value.line, "an input", problems)
        route, raw = _route(name, value, problems)
        if route is None:
            inputs.append(DeclaredInput(name, value.line))
        else:
            inputs.append(rules.parse_route(name, value.line, route, problems, raw))
    _check_count(entry, len(entries), "inputs", problems)
    return inputs


def _route(name: str, entry: Entry, problems: Problems) -> tuple[str | None, bool]:
    """Route and `raw` of an input: `GET /path`, or {route: "GET /path", raw: true}."""
    what = f"the input {name!r}"
    if not isinstance(entry.node, yaml.MappingNode):
        return text(entry, what, problems), False
    settings = mapping(entry.node, what, problems)
    _check_settings(settings, _INPUT_SETTINGS, what, problems)
    given = text(settings["raw"], f"{what}: raw", problems) if "raw" in settings else "false"
    raw = _truth(given or "", entry.line, f"{what}: raw", problems)
    if "route" not in settings:
        problems.add(entry.line, f"{what} has no route", 'add `route: "GET /path"`')
        return None, False
    return text(settings["route"], f"{what}: route", problems), raw


def _truth(value: str, line: int, what: str, problems: Problems) -> bool:
    if value not in ("true", "false"):
        problems.add(line, f"{what} is {value!r}", "write true or false")
    return value == "true"


def _check_count(entry: Entry, count: int, what: str, problems: Problems) -> None:
    if count > FLUXIONS_MAX:
        problems.add(entry.line, f"there are {count:,} {what}", f"declare at most {FLUXIONS_MAX:,}")


def _read_fluxions(entry: Entry, problems: Problems, wrong: set[str], language: str) -> dict[str, DeclaredFluxion]:
    """By name. `wrong` is given the names of those with mistakes."""
    entries = mapping(entry.node, "`fluxions`", problems)
    _check_count(entry, len(entries), "fluxions", problems)
    fluxions = {}
    for name, value in entries.items():
        before = len(problems.errors)
        _declared_name(name, value.line, "a fluxion", problems)
        fluxions[name] = _read_fluxion(name, value, problems, language)
        if len(problems.errors) > before:
            wrong.add(name)
    return fluxions


def _read_fluxion(name: str, entry: Entry, problems: Problems, language: str) -> DeclaredFluxion:
    what = f"fluxion {name!r}"
    shown = entry.node.value if _is_code(entry.node.value, language) else "module:function"
    settings = mapping(entry.node, what, problems, f'{{code: "{shown}"}}')
    _check_settings(settings, _FLUXION_SETTINGS, what, problems)
    known = {s: v for s, v in settings.items() if s in _FLUXION_SETTINGS}
    texts = {s: text(v, f"{what}: {s}", problems) or "" for s, v in known.items()}
    fluxion = DeclaredFluxion(
        name,
        entry.line,
        {s: v.line for s, v in known.items()},
        texts.get("code", ""),
        texts.get("group", ""),
        texts.get("key", ""),
        _partitions(known, what, problems),
        round(_seconds(known, "timeout_s", TIMEOUT_S_DEFAULT, f"{what}: timeout_s", problems) * 1000),
        texts.get("language") or language,
        texts.get("pinned", ""),
        _truth(texts.get("speculative") or "false", entry.line, f"{what}: speculative", problems),
    )
    if settings:
        _check_fluxion(fluxion, problems)
    return fluxion


def _is_code(value: object, language: str) -> bool:
    notation = _CODE.get(language)
    return notation is not None and isinstance(value, str) and notation.fullmatch(value) is not None


def _check_fluxion(fluxion: DeclaredFluxion, problems: Problems) -> None:
    what = f"fluxion {fluxion.name!r}"
    if "code" not in fluxion.lines:
        problems.add(fluxion.line, f"{what} has no code", 'add `code: "module:function"`')
    elif fluxion.code and fluxion.language in LANGUAGES and not _is_code(fluxion.code, fluxion.language):
        problems.add(
            fluxion.lines["code"],
            f"{what}: the code {fluxion.code!r} is not module:function",
            'write "module:function"',
        )
    if fluxion.group:
        _declared_name(fluxion.group, fluxion.lines["group"], "a group", problems)
    if fluxion.key:
        rules.check_key(fluxion, problems)
    rules.check_pinned(fluxion, problems)
    rules.check_speculative(fluxion, problems)
    _check_language(fluxion.language, fluxion.lines.get("language", fluxion.line), what, problems)


def _partitions(settings: Mapping[str, Entry], what: str, problems: Problems) -> int:
    """0 if not given."""
    if "partitions" not in settings:
        return 0
    entry = settings["partitions"]
    value = text(entry, f"{what}: partitions", problems)
    if value is None:
        return 0
    if value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= PARTITIONS_MAX:
        return int(value)
    problems.add(entry.line, f"{what}: partitions is {value!r}", f"give a whole number from 1 to {PARTITIONS_MAX}")
    return 0


def _read_streams(entry: Entry, problems: Problems) -> list[rules.Stream]:
    return rules.parse_streams(sequence(entry.node, "`streams`", problems), problems)


def _build(
    name: str,
    deadline_s: float,
    inputs: Sequence[DeclaredInput],
    fluxions: Sequence[DeclaredFluxion],
    streams: Sequence[rules.Stream],
    env: tuple[str, ...],
) -> Graph:
    leads_to: dict[str, list[str]] = {}
    for stream in streams:
        leads_to.setdefault(stream.source, []).append(stream.to)
    return Graph(
        name=name,
        version=0,
        bundle="",
        inputs=tuple(Input(i.name, i.method, i.path, leads_to[i.name][0], i.raw) for i in inputs),
        fluxions=tuple(
            Fluxion(
                f.name,
                f.code,
                f.group_name,
                f.key,
                f.language,
                "",
                tuple(leads_to.get(f.name, ())),
                f.timeout_ms,
                speculative=f.speculative,
            )
            for f in fluxions
        ),
        groups=_groups(fluxions),
        deadline_ms=round(deadline_s * 1000),
        env=env,
    )


def _groups(fluxions: Sequence[DeclaredFluxion]) -> tuple[Group, ...]:
    members: dict[str, list[DeclaredFluxion]] = {}
    for fluxion in fluxions:
        members.setdefault(fluxion.group_name, []).append(fluxion)
    groups = []
    for name, those in members.items():
        one = (those[0].stateful and not those[0].key) or those[0].pinned
        given = max(f.partitions for f in those)
        groups.append(Group(name, those[0].stateful, 1 if one else given or PARTITIONS_DEFAULT, those[0].pinned))
    return tuple(groups)

"""Reading and checking `graph.yaml`. Mistakes and what is said about them are text files in graph_cases/:
each case is `== what it is about`, files (the first is graph.yaml, others begin with `@@ name`), and after
`--` the expected errors. After a deliberate change of wording: `REWRITE=1 pytest
tests/unit/test_graphfile.py`, then read the diff.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import httptools
import msgspec
import pytest

from controller.checking import check
from liquefy import graphfile
from liquefy.errors import GraphError, GraphErrors, UserError
from liquefy.graph import PARTITIONS_DEFAULT, Fluxion, Graph, Group, Input
from liquefy.graphrules import METHODS

CASES = Path(__file__).parent / "graph_cases"
EXAMPLES = Path(__file__).parents[2] / "examples"


class Case(NamedTuple):
    file: Path
    title: str
    source: str
    expected: str


def cases(file: Path) -> list[Case]:
    found = []
    for block in ("\n" + file.read_text()).split("\n== ")[1:]:
        title, _, rest = block.partition("\n")
        source, separator, expected = rest.partition("\n--\n")
        assert separator, f"{file}: the case {title!r} has no line `--`"
        found.append(Case(file, title, source, expected.strip()))
    return found


def write(case: Case, folder: Path) -> None:
    name = "graph.yaml"
    for block in ("@@ graph.yaml\n" + case.source).split("@@ ")[1:]:
        name, _, text = block.partition("\n")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def outcome(folder: Path) -> str:
    """What a person would see, from inside the folder."""
    try:
        if any(path.suffix in (".py", ".mjs", ".js", ".cjs") for path in folder.rglob("*")):
            graphfile.read_with_code(folder / "graph.yaml")
        else:
            graphfile.read(folder / "graph.yaml")
    except UserError as error:
        return str(error).replace(f"{folder}/", "").replace(str(folder), ".")
    return "accepted"


ALL = [case for file in sorted(CASES.glob("*.txt")) for case in cases(file)]


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.file.stem}: {case.title}")
def test_case(case: Case, tmp_path: Path) -> None:
    write(case, tmp_path)
    found = outcome(tmp_path)
    if os.environ.get("REWRITE"):
        others = [c if c.title != case.title else c._replace(expected=found) for c in cases(case.file)]
        blocks = [f"== {c.title}\n{c.source}\n--\n{c.expected}\n" for c in others]
        case.file.write_text("\n".join(blocks))
        return
    assert found == case.expected


def test_titles_are_unique() -> None:
    for file in CASES.glob("*.txt"):
        titles = [case.title for case in cases(file)]
        assert len(titles) == len(set(titles)), file


WHOLE = """\
graph: visits
deadline_s: 2.5
inputs:
  input: GET /{id}
  search: "* /find/{where}/{rest...}"
fluxions:
  store: {code: "visits:store", key: params.id, timeout_s: 0.5}
  touch: {code: "visits:touch", group: store, key: params.where, partitions: 8}
  total: {code: "visits:total", group: totals}
  send:
    code: "visits.answers:send"
    partitions: 4
    language: python
  plain: {code: "visits:plain"}
streams:
  - input >> store >> send
  - search >> touch
  - touch >> total
  - touch >> plain
  - store >> plain
  - plain >> send
  - send >> output
"""


@pytest.fixture
def whole(tmp_path: Path) -> Graph:
    path = tmp_path / "graph.yaml"
    path.write_text(WHOLE)
    return graphfile.read(path)


def test_reads_everything(whole: Graph) -> None:
    assert whole == Graph(
        name="visits",
        version=0,
        bundle="",
        inputs=(
            Input("input", "GET", "/{id}", "store"),
            Input("search", "*", "/find/{where}/{rest...}", "touch"),
        ),
        fluxions=(
            Fluxion("store", "visits:store", "store", "params.id", streams=("send", "plain"), timeout_ms=500),
            Fluxion("touch", "visits:touch", "store", "params.where", streams=("total", "plain")),
            Fluxion("total", "visits:total", "totals"),
            Fluxion("send", "visits.answers:send", "send", streams=("output",)),
            Fluxion("plain", "visits:plain", "plain", streams=("send",)),
        ),
        groups=(
            Group("store", True, 8),
            Group("totals", True, 1),
            Group("send", False, 4),
            Group("plain", False, PARTITIONS_DEFAULT),
        ),
        deadline_ms=2500,
    )


def test_methods_are_those_that_the_http_parser_reads(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    for method in METHODS:
        ended: list[str] = []
        request = SimpleNamespace(on_message_complete=partial(ended.append, method))
        parser = httptools.HttpRequestParser(request)
        parser.feed_data(f"{method} / HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        assert ended
        assert parser.get_method().decode() == method
        path.write_text(WHOLE.replace("GET /{id}", f"{method} /{{id}}"))
        assert graphfile.read(path).inputs[0].method == method
    assert len(METHODS) == len(set(METHODS))


def test_default_deadline_and_timeout(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(
        "graph: g\ninputs: {input: GET /}\nfluxions: {a: {code: 'm:a'}}\nstreams: [input >> a >> output]\n"
    )
    graph = graphfile.read(path)
    assert graph.deadline_ms == 30_000
    assert graph.fluxions[0].timeout_ms == 10_000


def test_errors_carry_their_parts(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(
        WHOLE.replace("plain >> send", "plian >> send").replace("timeout_s: 0.5", "timeout_s: long")
    )
    with pytest.raises(GraphErrors) as caught:
        graphfile.read(path)
    first, second = caught.value.errors
    assert (first.file, first.line) == (str(path), 7)
    assert second.line == 21
    assert "did you mean 'plain'" in second.problem
    assert str(caught.value) == f"{first}\n{second}"
    assert isinstance(caught.value, GraphError)


def test_a_graph_made_by_hand_is_checked_without_lines(whole: Graph, tmp_path: Path) -> None:
    by_hand = Graph(whole.name, 0, "", whole.inputs, whole.fluxions, whole.groups)
    with pytest.raises(GraphErrors, match=r"^graph.yaml: fluxion 'store': there is no module 'visits'"):
        graphfile.check(by_hand, tmp_path)


def test_names_and_numbers_have_limits(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    many = "".join(f"  f{i}: {{code: 'm:f'}}\n" for i in range(graphfile.FLUXIONS_MAX + 1))
    streams = "".join(f"  - f{i} >> f{i + 1}\n" for i in range(graphfile.FLUXIONS_MAX))
    path.write_text(
        f"graph: g\ninputs:\n  input: GET /\nfluxions:\n{many}streams:\n  - input >> f0\n{streams}"
    )
    with pytest.raises(GraphErrors, match="there are 1,001 fluxions"):
        graphfile.read(path)
    path.write_text(WHOLE.replace("visits", "v" * 65, 1))
    with pytest.raises(GraphErrors, match="has 65 characters"):
        graphfile.read(path)
    path.write_text(WHOLE.replace("visits", "v" * 64, 1))
    assert graphfile.read(path).name == "v" * 64


def test_streams_and_partitions_of_a_graph_have_limits(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    names = [f"f{i}" for i in range(150)]
    fluxions = "".join(f"  {name}: {{code: 'm:f'}}\n" for name in names)
    streams = "".join(f"  - {a} >> {b}\n" for a in names for b in names if a != b)
    head = f"graph: g\ninputs:\n  input: GET /\nfluxions:\n{fluxions}streams:\n  - input >> f0\n  - f1 >> output\n"
    path.write_text(head + streams)
    with pytest.raises(GraphError, match="22,352 streams"):
        graphfile.read(path)
    chain = " >> ".join(names)
    path.write_text(head.replace("'m:f'}", "'m:f', partitions: 4096}") + f"  - {chain} >> output\n")
    with pytest.raises(GraphError, match="614,400 partitions"):
        graphfile.read(path)


def test_a_thousand_fluxions_in_a_chain_are_read(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    names = [f"f{i}" for i in range(graphfile.FLUXIONS_MAX)]
    fluxions = "".join(f"  {name}: {{code: 'm:f'}}\n" for name in names)
    chain = " >> ".join(["input", *names, "output"])
    path.write_text(f"graph: g\ninputs:\n  input: GET /\nfluxions:\n{fluxions}streams:\n  - {chain}\n")
    assert len(graphfile.read(path).fluxions) == graphfile.FLUXIONS_MAX


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"graph: g\x00", "is not YAML"),
        (b"#" * (1024 * 1024 + 1), "is longer than 1,048,576 bytes"),
        (b"[" * 100_000, "nested too deep"),
        (b"a: &a [*a]\n", "has no setting"),
    ],
)
def test_hostile_files(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_bytes(content)
    with pytest.raises(GraphErrors, match=problem):
        graphfile.read(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(GraphErrors, match="cannot be read: no such file or directory"):
        graphfile.read(tmp_path / "graph.yaml")
    with pytest.raises(GraphErrors, match="cannot be read: is a directory"):
        graphfile.read(tmp_path)


def test_nothing_is_imported(tmp_path: Path, whole: Graph) -> None:
    (tmp_path / "visits").mkdir()
    (tmp_path / "visits/__init__.py").write_text(
        "raise SystemExit('imported')\ndef store(m, c): ...\ndef touch(m, c): ...\n"
        "def total(m, c): ...\ndef plain(m): ...\n"
    )
    (tmp_path / "visits/answers.py").write_text("async def send(message): ...\n")
    graphfile.check(whole, tmp_path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/graph.yaml")), ids=lambda p: p.parent.name)
def test_examples_are_right(path: Path) -> None:
    graphfile.check(graphfile.read(path), path.parent)


def test_the_controller_takes_every_name_that_a_graph_file_may_have(tmp_path: Path) -> None:
    fluxion, name = "_" + "f" * (graphfile.NAME_CHARS_MAX - 1), "g" * graphfile.NAME_CHARS_MAX
    file = tmp_path / "graph.yaml"
    file.write_text(
        f'graph: {name}\ninputs: {{in: GET /}}\nfluxions: {{{fluxion}: {{code: "m:f"}}}}\nstreams: [in >> {fluxion}]\n'
    )
    graph = msgspec.structs.replace(graphfile.read(file), bundle=hashlib.sha256(b"").hexdigest())
    check(graph, b"", None, {})


def test_the_language_and_the_environment_are_those_of_the_whole_graph(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    text = WHOLE.replace("language: python", "language: javascript")
    path.write_text(text.replace("\n", "\nlanguage: javascript\nenv: [B, A, B]\n", 1))
    graph = graphfile.read(path)
    assert {fluxion.language for fluxion in graph.fluxions} == {"javascript"}
    assert graph.env == ("B", "A")
    path.write_text(WHOLE)
    assert graphfile.read(path).env == ()

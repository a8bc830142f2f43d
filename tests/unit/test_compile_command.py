"""`liquefy-ctl compile`, `fmt`, and `deploy --dry-run` of source code: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from ctl import compiling, deploying
from ctl.__main__ import build
from ctl.asking import Unreachable
from liquefy.errors import UserError

VISITS = Path(__file__).parents[2] / "examples/visits-flx/visits.flx"
STREAMS = [
    "input >> store",
    "store >> localProcess",
    "localProcess >> callExternalDB",
    "callExternalDB >> send",
    "send >> output",
]


def ctl(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def test_the_report_begins_with_the_streams() -> None:
    result = ctl("compile", VISITS)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:6] == [*STREAMS, ""]
    assert "group store, one context for each params.id: {visits}" in result.stdout


def test_json_has_all_that_the_report_has() -> None:
    told = json.loads(ctl("compile", VISITS, "--json").stdout)
    assert told["streams"] == STREAMS
    store = told["fluxions"][0]
    assert (store["group"], store["keeping"], store["key"]) == ("store", "keyed", "params.id")
    assert store["context"] == ["visits"]
    assert (store["entries"], store["message"], store["line"]) == (["GET /{id}"], ["params"], 8)


def test_all_lines_that_stand_in_the_way_are_told(tmp_path: Path) -> None:
    walks = "".join(f"app.get('/{i}', (req, res) => res.json(seen));\n" for i in range(11))
    (tmp_path / "app.js").write_text(
        "const app = require('express')();\nconst seen = {};\n"
        f"app.put('/:id', (req, res) => res.json(seen[req.params.id] = 1));\n{walks}app.listen(3000);\n"
    )
    lines = ctl("compile", tmp_path / "app.js").stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith("line 4 goes through all of seen (app.js:4)"))
    assert lines[at + 1] == f"    also: {', '.join(f'app.js:{i}' for i in range(5, 13))} and 2 more"


def test_the_language_is_printed_as_it_was_written() -> None:
    assert ctl("compile", VISITS, "--emit", "flx").stdout == VISITS.read_text().replace(
        "# A context for each user, and in it one variable.\n", ""
    ).replace("# Waits, and keeps nobody else from being served.\n", "").partition("\n")[2]


def test_a_bundle_can_be_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert ctl("compile", VISITS, "--emit", "bundle", "-o", out).exit_code == 0
    graph, _ = deploying.read(out)
    assert graph.streams() == STREAMS
    again = ctl("compile", VISITS, "--emit", "bundle", "-o", out)
    assert (again.exit_code, "is not empty" in again.stderr) == (2, True)
    nowhere = ctl("compile", VISITS, "--emit", "bundle")
    assert (nowhere.exit_code, "no folder is given" in nowhere.stderr) == (2, True)


def test_the_picture_has_every_fluxion(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    assert ctl("compile", VISITS, "--svg", file, "--json").exit_code == 0
    text = "".join(ElementTree.parse(file).getroot().itertext())
    for name in ("GET /{id}", "store", "localProcess", "callExternalDB", "send", "output"):
        assert name in text
    assert "version" not in text


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.js", tmp_path, VISITS.with_name("README.md")):
        result = ctl("compile", path)
        assert result.exit_code == 2
        assert "remedy:" in result.stderr
        assert "Traceback" not in result.stderr


def test_source_code_is_deployed_as_what_it_is_compiled_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: str | None) -> None:
        raise Unreachable("no controller")

    monkeypatch.setattr(deploying.Controller, "found", nobody)
    result = ctl("deploy", VISITS, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:6] == [*STREAMS, ""]
    assert json.loads(ctl("deploy", VISITS, "--dry-run", "--json").stdout)["graph"] == "visits-flx"


def test_fmt_formats_and_keeps_comments(tmp_path: Path) -> None:
    file = tmp_path / "a.flx"
    file.write_text("service   a\nlanguage python\n# why\nflx b  &  c\n GET  /\n ->   output\n")
    checked = ctl("fmt", "--check", file)
    assert (checked.exit_code, file.read_text()[:9]) == (1, "service  ")
    assert ctl("fmt", file, "--json").stdout == '{"changed":["' + str(file) + '"],"files":1}\n'
    assert file.read_text() == "service a\nlanguage python\n\n# why\nflx b & c\n  GET /\n  -> output\n"
    assert ctl("fmt", "--check", file).exit_code == 0


def test_fmt_changes_nothing_if_one_file_is_wrong(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.flx", tmp_path / "bad.flx"
    good.write_text("service   a\n")
    bad.write_text("servic\n")
    result = ctl("fmt", good, bad)
    assert (result.exit_code, good.read_text()) == (2, "service   a\n")
    assert f"{bad}:1:1" in result.stderr


def test_a_fluxion_may_be_given_any_name_that_a_flx_takes(tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text("""
const app = require("express")();
const seen = {};
app.get("/:id", function look(req, res) { seen[req.params.id] = 1; res.json(seen[req.params.id]); });
app.listen(process.env.PORT);
""")
    (tmp_path / "package.json").write_text('{"dependencies": {"express": "4"}}')
    file = tmp_path / "a.flx"
    assert ctl("compile", tmp_path / "app.js", "--emit", "flx", "-o", file).exit_code == 0
    text = file.read_text().replace("look {", "look-at & seen {").replace("group look", "group seen")
    file.write_text(text.replace("⟪look⟫", "⟪look-at⟫"))
    assert ctl("fmt", file).exit_code == 0
    assert "look-at" in ctl("compile", file).stdout
    graph, _ = deploying.read(compiling.bundle_folder(compiling.compiled(file, None, lambda _: None)))
    assert "look-at" in [fluxion.name for fluxion in graph.fluxions]


def test_what_only_its_code_shows_is_told_of_a_flx_without_deploying_it(tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text("""
const app = require("express")();
const seen = {};
app.get("/:id", function look(req, res) { seen[req.params.id] = 1; res.json(seen[req.params.id]); });
app.listen(process.env.PORT);
""")
    file = tmp_path / "a.flx"
    assert ctl("compile", tmp_path / "app.js", "--emit", "flx", "-o", file).exit_code == 0
    file.write_text(file.read_text().replace("via app.js:4:5", "via app.js:3:5"))
    for command in ("fmt", "compile", "deploy"):
        result = ctl(command, file)
        assert result.exit_code == 2
        assert "app.js:3: the handler of 'look' is not registered here" in result.stderr
        assert "`via` where it is: app.js:4:5;" in result.stderr


def test_fmt_tells_what_deploy_would_refuse(tmp_path: Path) -> None:
    file = tmp_path / "a.flx"
    file.write_text("service   a\nlanguage python\nflx b\n GET /\n -> c\n")
    for words in (["fmt", "--check"], ["fmt"], ["compile"], ["deploy", "--dry-run"]):
        result = ctl(*words, file)
        assert result.exit_code == 2
        line = 5 if words == ["fmt", "--check"] else 6  # a line between the head and the fluxions is put in
        assert f"{file}:{line}:1: there is no fluxion 'c'" in result.stderr
    assert file.read_text().startswith("service a\n")


@pytest.mark.parametrize("name", ["app.js", "app.mjs", "app.cjs"])
def test_a_folder_with_nothing_but_a_javascript_entry_is_that_service(name: str, tmp_path: Path) -> None:
    said = "import express from 'express';" if name.endswith(".mjs") else "const express = require('express');"
    (tmp_path / name).write_text(
        f"{said}\nconst app = express();\napp.get('/', (req, res) => res.send('hello'));\napp.listen(3000);\n"
    )
    told = json.loads(ctl("compile", tmp_path, "--json").stdout)
    assert (told["language"], told["entry"]) == ("javascript", name)
    graph, _, source, _ = deploying.prepared(tmp_path, None, lambda _: None)
    assert (graph.fluxions[0].language, source) == ("javascript", tmp_path)


def test_a_folder_with_one_flx_is_that_service(tmp_path: Path) -> None:
    (tmp_path / "visits.flx").write_text(VISITS.read_text())
    assert ctl("compile", tmp_path).stdout.splitlines()[:5] == STREAMS
    (tmp_path / "other.flx").write_text(VISITS.read_text())
    refused = ctl("compile", tmp_path)
    assert (refused.exit_code, "there are other.flx, visits.flx" in refused.stderr) == (2, True)


SHOP = "import nosuchpkg, yamlx, json\nfrom flask import Flask\napp = Flask(__name__)\n"


def test_what_a_python_program_imports_and_nobody_names_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SHOP)
    guessed = "which no requirements.txt names and is not installed here: nodes install"
    line = f"app.py:1 imports nosuchpkg, {guessed} nosuchpkg by that name"
    assert f"  {line}" in ctl("compile", tmp_path).stdout.splitlines()
    told = [line, f"app.py:1 imports yamlx, {guessed} yamlx by that name"]
    assert json.loads(ctl("compile", tmp_path, "--json").stdout)["unnamed"] == told
    assert deploying.prepared(tmp_path, None, lambda _: None).told[-2:] == told


@pytest.mark.parametrize(
    ("needed", "told"),
    [
        ("flask\nnosuchpkg[extra]>=1\nyamlx\n", []),
        ("flask\n-r more.txt\n", []),
        ("flask==3.0.0 \\\n    --hash=sha256:00\n# see docs/needs.md\nyamlx\n", ["nosuchpkg"]),
        ("", ["nosuchpkg", "yamlx"]),
    ],
)
def test_what_requirements_txt_does_not_name_is_told(tmp_path: Path, needed: str, told: list[str]) -> None:
    (tmp_path / "app.py").write_text(SHOP)
    (tmp_path / "requirements.txt").write_text(needed)
    unnamed = json.loads(ctl("compile", tmp_path, "--json").stdout)["unnamed"]
    said = "which requirements.txt does not name: it is not installed, unless another package brings it"
    assert unnamed == [f"app.py:1 imports {name}, {said}" for name in told]


def test_a_python_program_goes_before_a_script_for_browsers_beside_it(tmp_path: Path) -> None:
    (tmp_path / "index.js").write_text("document.title = 'shop';\n")
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    assert json.loads(ctl("compile", tmp_path, "--json").stdout)["language"] == "python"


def test_a_folder_that_was_compiled_is_told_from_one_with_a_graph(tmp_path: Path) -> None:
    assert not compiling.is_source(VISITS.parents[1] / "visits")
    (tmp_path / "package.json").write_text("{")
    assert compiling.is_source(tmp_path)
    with pytest.raises(UserError, match="is not JSON"):
        compiling.compiled(tmp_path, None, lambda _: None)

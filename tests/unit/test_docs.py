"""The documents name what the code has: settings with their defaults, limits with their values, messages, keys of the
store, states of a migration, files, tests and other documents.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from controller.migration import NEXT
from liquefy import config, messages

ROOT = Path(__file__).parents[2]
PACKAGES = ("liquefy", "broker", "worker", "controller", "gateway", "compiler", "ctl")
FOLDERS = ("docs", "tests", "examples", "deploy", *PACKAGES)
DRAWING = ("ctl/layers.py", "ctl/svg.py")
LIMIT = re.compile(r"[A-Z][A-Z0-9_]*_(MAX|MIN|MS|NS|S|BYTES|FACTOR|DEFAULT)")
SIZES = {"KiB": 1024, "MiB": 1024**2}
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def limits() -> Iterator[tuple[str, str, float]]:
    """(file, name, value) of each constant that is a number and named like a limit."""
    for path in sources():
        file = path.relative_to(ROOT).as_posix()
        if file in DRAWING:
            continue
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                value: Any = None
                if LIMIT.fullmatch(name):
                    value = eval(compile(ast.Expression(statement.value), file, "eval"), {})
                if isinstance(value, int | float):
                    yield file, name, value


KINDS = (config.GatewayConfig, config.BrokerConfig, config.WorkerConfig, config.ControllerConfig)


@pytest.mark.parametrize("kind", KINDS)
def test_settings(kind: type) -> None:
    heading = f"### {kind.__name__.removesuffix('Config')}\n"
    table = read("OPERATING.md").split(heading)[1].split("\n\n**")[0].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S*) \|", table, re.MULTILINE)
    assert rows == [(field.name, str(field.default)) for field in dataclasses.fields(kind)]


READ_AS = {"broker": "broker_addresses", "brokers": "broker_addresses"}
"""Settings of which one stands for the other are read as what they come to."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_setting_is_read_by_its_role(kind: type) -> None:
    role = ROOT / kind.__name__.removesuffix("Config").lower()
    text = "".join(path.read_text() for path in (*role.glob("*.py"), ROOT / "liquefy/running.py"))
    names = {f.name: READ_AS.get(f.name, f.name) for f in dataclasses.fields(kind)}
    unread = [name for name, read_as in names.items() if not re.search(rf"(config|settings)\.{read_as}\b", text)]
    assert unread == []


def test_limits() -> None:
    found = {}
    row = re.compile(r"^\| `(\S+\.py)` `(\w+)` \| ([\d,.]+)(?: (\w+))?", re.MULTILINE)
    for file, name, number, unit in row.findall(read("OPERATING.md")):
        found[file, name] = float(number.replace(",", "")) * SIZES.get(unit, 1)
    there = {(file, name): value for file, name, value in limits()}
    missing = [f"| `{file}` `{name}` | {there[file, name]:,} |" for file, name in there.keys() - found.keys()]
    assert missing == [], "give these limits their rows in docs/OPERATING.md"
    assert found == there


def test_messages() -> None:
    text = read("PROTOCOL.md")
    assert [m.__name__ for m in get_args(messages.Control) if f"`{m.__name__}`" not in text] == []


def test_keys_of_the_store() -> None:
    rows = re.findall(r"^\| `(?:lq:|\{lq\}:)(?:\{p\}:)?(\w+)", read("PROTOCOL.md"), re.MULTILINE)
    told = {key.split(":")[0] for key in rows}
    used = set()
    for path in (*(ROOT / "liquefy").glob("*.lua"), ROOT / "liquefy/contexts.py"):
        text = path.read_text()
        used |= set(re.findall(r"(?:lq|\{lq\}+):(\w+)", text)) | set(re.findall(r"_key\(\w+, f?\"(\w+)", text))
        used |= set(re.findall(r"(?:get_json_map|set_json)\(\"(\w+)", text))
    assert used <= told
    assert told - used == {"nodes", "pins"}  # named by the controller alone


def test_states_of_a_migration() -> None:
    table = read("ARCHITECTURE.md").split("| from | may go to |")[1].split("\n\n")[0]
    told = {a: set(b.split(", ")) for a, b in re.findall(r"^\| (\w+) \| ([\w, ]+) \|", table, re.MULTILINE)}
    assert told == {a.value: {b.value for b in goes} for a, goes in NEXT.items() if goes}


def test_the_code_map_is_whole() -> None:
    text = read("ARCHITECTURE.md").split("## Code map")[1].split("\n## ")[0]
    for package in PACKAGES:
        section = text.split(f"**`{package}/`")[1].split("\n**")[0]
        files = {p.name for p in (ROOT / package).iterdir() if p.suffix in (".py", ".lua") and p.name[0] != "_"}
        assert set(re.findall(r"`(\w+\.(?:py|lua))`", section)) == files


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_named_is_there(document: Path) -> None:
    text = document.read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target, _, anchor = link.partition("#")
        file = (document.parent / target) if target else document
        assert file.exists(), link
        titles = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {_anchor(title) for title in titles}, link
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name


def test_faults_of_the_simulation() -> None:
    table = read("PROTOCOL.md").split("| what happens | kept |")[1].split("\n\n")[0]
    files = ("faults", "leaders", "brokers", "mutants", "mutants_brokers")
    faults = "".join((ROOT / f"tests/simulation/{name}.py").read_text() for name in files)
    shown = "".join(row.split("|")[-2] for row in table.splitlines() if row.count("|") > 4)
    names = [name for name in re.findall(r"`(\w+)`", shown) if not name.startswith("test_")]
    assert len(names) > 10
    assert [name for name in names if f"def {name}(" not in faults] == []


def test_each_claim_of_what_survives_names_what_shows_it() -> None:
    table = read("PROTOCOL.md").split("| what happens | kept |")[1].split("\n\n")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines()[2:]]
    assert len(rows) > 20
    named = re.compile(r"`(test_\w+|tests/\S+|[a-z]+(?:[_-][a-z]+)*)`")
    assert [row[0] for row in rows if not named.findall(row[-1])] == []
    listed = subprocess.run(
        [sys.executable, ROOT / "tests/chaos/run.py", "--names"], capture_output=True, text=True, check=True
    )
    known = set(listed.stdout.split())
    dashed = [name for row in rows for name in named.findall(row[-1]) if "-" in name and "/" not in name]
    assert len(dashed) > 10
    assert [name for name in dashed if name not in known and not name.startswith("clock-")] == []


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")

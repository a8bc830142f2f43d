"""docs/COMMANDS.md has every command, with all that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ctl.__main__ import build

ROOT = Path(__file__).parents[2]
COMMON = {"--controller", "--json"}


def found(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from found(command, f"{before}{name} ")
        else:
            yield before + name, command


COMMANDS = dict(found(typer.main.get_command(build())))
SECTIONS = {
    title: text.split("\n## ")[0]
    for title, _, text in (
        section.partition("\n") for section in (ROOT / "docs/COMMANDS.md").read_text().split("\n### ")[1:]
    )
}


def test_each_command_has_its_section() -> None:
    assert list(SECTIONS) == list(COMMANDS)
    assert len(COMMANDS) == len([path for path in (ROOT / "ctl/commands").glob("*.py") if path.name != "__init__.py"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_names_all_that_the_command_takes(name: str) -> None:
    usage = SECTIONS[name].strip().splitlines()[0]
    assert usage.startswith(f"`{name}")
    told = set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", usage))
    parameters = [p for p in COMMANDS[name].params if not getattr(p, "hidden", False) and p.name != "help"]
    flags = {flag for p in parameters if p.param_type_name == "option" for flag in p.opts} - COMMON
    assert told == flags
    arguments = [(p.metavar or p.name).upper() for p in parameters if p.param_type_name == "argument"]
    assert re.findall(r"\b[A-Z]+\b", re.sub(r"\[-.*", "", usage)) == arguments


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("up", "top")])
def test_a_section_shows_what_json_prints(name: str) -> None:
    json = any("--json" in p.opts for p in COMMANDS[name].params)
    assert json
    assert "{" in SECTIONS[name] or "as in the list" in SECTIONS[name]

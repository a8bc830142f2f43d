"""The frame of the golden cases, the same for both languages: one text file each, sources in, what they are split into
out. With `--rewrite` what comes out now is written; `git diff` shows what that changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.program import Program
from liquefy.errors import UserError

FILE = re.compile(r"^--- (\S+)$", re.MULTILINE)
RESULT = "=== result\n"


def cases(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.txt"))


def sources(text: str) -> dict[str, str]:
    """Name -> text, of the part before the result."""
    parts = FILE.split(text.partition(RESULT)[0])
    return dict(zip(parts[1::2], (part.lstrip("\n") for part in parts[2::2]), strict=True))


def shown(program: Program) -> str:
    """What a case expects: groups, fluxions, streams of more than one, variables, what was kept and why."""
    lines = []
    for group in program.groups:
        holds = f" {{{', '.join(group.variables)}}}" if group.variables else ""
        lines.append(f"group {group.name}: {group.keeping}{holds}")
    for f in program.fluxions:
        key = f" by {f.key}{' as ' + f.key_convert if f.key_convert else ''}" if f.key else ""
        context = f" {{{', '.join(f.context)}}}" if f.context else ""
        lines.append(f"{f.role} {f.name} & {f.group}{key}{context}{' waits' if f.waits else ''}")
        lines += [f"  {e.method} {e.path or '?'} -> {e.route}" for e in f.entries]
        lines += [f"  {'>>' if s.starts else '->'} {s.to} [{', '.join(s.variables)}]" for s in f.streams]
        if f.role not in ("whole", "handler"):
            lines += [f"  | {line}".rstrip() for line in f.body.split("\n")]
    lines += [f"{v.sort} {v.name} in {v.where}: {v.why}" for v in program.variables]
    lines += [f"kept {k.what} ({k.place}): {k.why}{'; ' + k.remedy if k.remedy else ''}" for k in program.kept]
    if program.env:
        lines.append(f"env {', '.join(program.env)}")
    return "\n".join(lines) + "\n"


def check(case: Path, folder: Path, compile: Callable[[Path, str], Program], request: pytest.FixtureRequest) -> None:
    """The case's sources, compiled in this folder, give what it says."""
    text = case.read_text()
    found = _compiled(folder, sources(text), compile)
    if request.config.getoption("--rewrite", default=False):
        case.write_text(text.partition(RESULT)[0] + RESULT + found)
    assert found == text.partition(RESULT)[2]


def _compiled(folder: Path, files: dict[str, str], compile: Callable[[Path, str], Program]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    try:
        return shown(compile(folder, next(iter(files))))
    except UserError as error:
        return f"error: {error}\n"

"""Golden cases of the Python front end: one text file each, sources in, what they are split into out.

`pytest tests/compiler/test_python_cases.py --rewrite` writes what comes out now; `git diff` shows what that changed.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from compiler.program import Program
from compiler.python import compile
from compiler.python.emit import emit
from liquefy.errors import UserError

CASES = Path(__file__).parent / "cases/python"
FILE = re.compile(r"^--- (\S+)$", re.MULTILINE)
RESULT = "=== result\n"


def cases() -> list[Path]:
    return sorted(CASES.glob("*.txt"))


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


def compiled(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    try:
        return shown(compile(folder, next(iter(files))))
    except UserError as error:
        return f"error: {error}\n"


@pytest.mark.parametrize("case", cases(), ids=lambda path: path.stem)
def test_case(case: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = case.read_text()
    found = compiled(tmp_path, sources(text))
    if request.config.getoption("--rewrite", default=False):
        case.write_text(text.partition(RESULT)[0] + RESULT + found)
    assert found == text.partition(RESULT)[2]


def test_5000_lines_take_less_than_5_seconds(tmp_path: Path) -> None:
    """Modules of a blueprint each, with helpers and state, imported by one application."""
    lines = ["from flask import Flask", "app = Flask(__name__)"]
    for number in range(90):
        lines += [f"from part{number} import pages as pages{number}"]
        lines += [f"app.register_blueprint(pages{number}, url_prefix='/{number}')"]
        (tmp_path / f"part{number}.py").write_text(_module(number))
    (tmp_path / "app.py").write_text("\n".join(lines) + "\n")
    began = time.process_time()
    program = compile(tmp_path, "app.py")
    took = time.process_time() - began
    assert sum(text.count("\n") for text in program.files.values()) > 5000
    assert len(program.fluxions) == 90 * 12 + 1
    assert took < 5


def _module(number: int) -> str:
    text = [
        f"from flask import Blueprint, jsonify, request\npages = Blueprint('p{number}', __name__)\nitems = {{}}\n",
        "def find(key):\n    return items.setdefault(key, {'n': 0})\n",
    ]
    for handler in range(12):
        text.append(
            f"@pages.route('/{handler}/<key>', methods=['GET', 'POST'])\ndef h{number}_{handler}(key):\n"
            "    found = find(key)\n    for word in request.args.values():\n        if word:\n"
            "            found['n'] += len(word)\n    return jsonify(found)\n"
        )
    return "\n".join(text)


def test_what_a_service_imports_is_installed_though_its_handlers_are_cut_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    case = sources((CASES / "cut-poster.txt").read_text())
    (tmp_path / "in/app.py").write_text(case["app.py"])
    emit(compile(tmp_path / "in", "app.py"), tmp_path / "out")
    needed = (tmp_path / "out/requirements.txt").read_text().lower()
    assert re.findall(r"^[a-z]+", needed, re.MULTILINE) == ["flask", "requests"]

"""Golden cases of the Python front end: one text file each, sources in, what they are split into out.

`pytest tests/compiler/test_python_cases.py --rewrite` writes what comes out now; `git diff` shows what that changed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.python import compile
from compiler.python.emit import emit
from tests.compiler import golden

CASES = Path(__file__).parent / "cases/python"


@pytest.mark.parametrize("case", golden.cases(CASES), ids=lambda path: path.stem)
def test_case(case: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    golden.check(case, tmp_path, compile, request)


def test_5000_lines_in_many_modules(tmp_path: Path) -> None:
    """Modules of a blueprint each, with helpers and state, imported by one application."""
    lines = ["from flask import Flask", "app = Flask(__name__)"]
    for number in range(90):
        lines += [f"from part{number} import pages as pages{number}"]
        lines += [f"app.register_blueprint(pages{number}, url_prefix='/{number}')"]
        (tmp_path / f"part{number}.py").write_text(_module(number))
    (tmp_path / "app.py").write_text("\n".join(lines) + "\n")
    program = compile(tmp_path, "app.py")
    assert sum(text.count("\n") for text in program.files.values()) > 5000
    assert len(program.fluxions) == 90 * 12 + 1


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
    case = golden.sources((CASES / "cut-poster.txt").read_text())
    (tmp_path / "in/app.py").write_text(case["app.py"])
    emit(compile(tmp_path / "in", "app.py"), tmp_path / "out")
    needed = (tmp_path / "out/requirements.txt").read_text().lower()
    assert re.findall(r"^[a-z]+", needed, re.MULTILINE) == ["flask", "requests"]

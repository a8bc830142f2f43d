"""Golden cases of the JavaScript front end, as those of Python in test_python_cases.py.

`pytest tests/compiler/test_javascript_cases.py --rewrite` writes what comes out now; `git diff` shows the change.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from compiler.javascript import compile
from tests.compiler import golden

CASES = Path(__file__).parent / "cases/javascript"
LINES = 5_000
COMPILES_S_MAX = 5.0


@pytest.mark.parametrize("case", golden.cases(CASES), ids=lambda path: path.stem)
def test_case(case: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    golden.check(case, tmp_path, compile, request)


def test_many_lines_are_compiled_soon(tmp_path: Path) -> None:
    part = """
const items{n} = {{}};
function look{n}(id) {{
  const found = items{n}[id];
  if (!found) return null;
  return {{ ...found, seen: true }};
}}
app.get("/a{n}/:id", (req, res) => {{
  const found = look{n}(req.params.id);
  if (found === null) return res.status(404).end();
  res.json(found);
}});
app.put("/a{n}/:id", (req, res) => {{
  items{n}[req.params.id] = {{ name: req.body.name }};
  res.end();
}});
"""
    count = LINES // part.count("\n")
    text = 'const app = require("express")();\n' + "".join(part.format(n=n) for n in range(count))
    (tmp_path / "app.js").write_text(text + "app.listen(3000);\n")
    began = time.process_time()
    program = compile(tmp_path, "app.js")
    assert time.process_time() - began < COMPILES_S_MAX
    assert len([group for group in program.groups if group.keeping == "keyed"]) == count

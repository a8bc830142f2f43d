"""Golden cases of the JavaScript front end, as those of Python in test_python_cases.py.

`pytest tests/compiler/test_javascript_cases.py --rewrite` writes what comes out now; `git diff` shows the change.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from compiler.compile import compile_source, emit
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


def test_prototypes_that_may_be_each_others_are_looked_through_once(tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text("""
const app = require("express")();
const plain = { kind: "plain" };
const fancy = { trim: "gold" };
let seen = 0;
function dress(thing, as) { Object.setPrototypeOf(thing, as); }
dress(fancy, plain);
app.post("/undress", (req, res) => { dress(fancy, null); dress(plain, fancy); res.end(); });
app.get("/", (req, res) => { seen += 1; res.send(fancy.kind + fancy.none + seen); });
app.listen(3000);
""")
    assert "seen" in str(compile(tmp_path, "app.js").groups)


def test_a_long_text_of_pieces_and_a_long_else_if_are_compiled(tmp_path: Path) -> None:
    pieces = " +\n".join('"<li>one</li>"' for _ in range(1_500))
    ways = "".join(f"else if (seen === {n}) way = {n};\n" for n in range(1, 400))
    (tmp_path / "app.js").write_text(f"""
const app = require("express")();
let seen = 0;
app.get("/", (req, res) => {{ seen++; res.send({pieces}); }});
app.get("/way", (req, res) => {{ let way; if (seen === 0) way = 0; {ways} res.json(way); }});
app.listen(3000);
""")
    program = compile_source(tmp_path / "app.js")
    (tmp_path / "out").mkdir()
    emit(program, tmp_path / "out")
    assert [group.keeping for group in program.groups if group.variables] == ["whole"]


@pytest.mark.parametrize("order", [1, -1, 7], ids=["callees first", "callers first", "mixed"])
def test_calls_that_are_deep_are_followed_to_their_end(tmp_path: Path, order: int) -> None:
    """What is passed down and what is returned, whatever the order in which the functions are written."""
    deep = 101
    functions = [f"function f{n}(key, done) {{ return f{n + 1}(key, (x) => done(x)) }}" for n in range(deep)]
    functions.append(f"function f{deep}(key, done) {{ done(key); return kept; }}")
    written = functions[::order] if abs(order) == 1 else [functions[n * order % (deep + 1)] for n in range(deep + 1)]
    (tmp_path / "app.js").write_text(f"""
const app = require("express")();
const kept = {{}};
{chr(10).join(written)}
app.post("/k/:id", (req, res) => {{ f0(req.params.id, (key) => {{ f0(key, () => {{}})[key] = 1; }}); res.end(); }});
app.get("/k/:id", (req, res) => res.json(kept[req.params.id]));
app.get("/", (req, res) => res.send("ok"));
app.listen(3000);
""")
    program = compile(tmp_path, "app.js")
    assert not [kept for kept in program.kept if kept.what == "all requests"]
    assert [group.keeping for group in program.groups if group.variables] == ["keyed"]

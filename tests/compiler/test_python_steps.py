"""How much of a Python service is looked at: steps, not seconds. What would take too many is given up, with its
place, and the service is kept in one process."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from compiler.compile import compile_source
from compiler.program import Keeping, Program
from compiler.python import evaluate
from compiler.python.evaluate import TOO_MUCH, WORK_MAX
from compiler.python.gather import gather_facts

FLASK = """
from flask import Flask
app = Flask(__name__)
st = {}
"""


def work(folder: Path, text: str) -> int:
    (folder / "app.py").write_text(text)
    return gather_facts(folder, "app.py", None).machine.work


def compiled(folder: Path, text: str) -> Program:
    (folder / "app.py").write_text(text)
    return compile_source(folder / "app.py")


def inside_each_other(depth: int) -> str:
    lines = ["@app.get('/<id>')", "def h(id):"]
    for level in range(depth):
        lines += ["    " * (level + 1) + f"def inner{level}(a):", "    " * (level + 2) + f"st[id] = {level}"]
    for level in range(depth, 0, -1):
        lines.append("    " * level + f"return inner{level - 1}(id)" if level < depth else "    " * level + "inner(id)")
    return FLASK + "\n".join(lines).replace("inner(id)", f"return inner{depth - 1}(id)")


def test_functions_inside_functions_are_not_run_again_for_each_around_them(tmp_path: Path) -> None:
    assert work(tmp_path, inside_each_other(16)) < 3 * work(tmp_path, inside_each_other(8))


def test_what_calls_itself_is_looked_at_again_with_what_it_gave(tmp_path: Path) -> None:
    """What it does with its own answer is seen only then."""
    text = """
    all_ = []

    def filled(more):
        if not more.pop():
            filled(more).append(more)
        return all_

    @app.post('/')
    def h():
        filled([1, 0])
        return 'x'

    @app.get('/')
    def g():
        return all_
    """
    program = compiled(tmp_path, FLASK + textwrap.dedent(text))
    assert [group.variables for group in program.groups if group.keeping is not Keeping.NONE] == [("app.all_",)]


def handlers(count: int) -> str:
    """Each calls functions that all call each other."""
    lines = [FLASK]
    for n in range(count):
        lines += [f"def f{n}(x):", f"    st[x] = f{(n * 7 + 1) % count}(x)", f"    return f{(n + 1) % count}(x)"]
    for n in range(count):
        lines += [f"@app.get('/{n}/<x>')", f"def h{n}(x):", f"    return f{n}(x)"]
    return "\n".join(lines)


def test_what_is_too_much_is_given_up_at_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = work(tmp_path, handlers(20))
    monkeypatch.setattr(evaluate, "WORK_MAX", whole // 2)
    assert whole // 2 < work(tmp_path, handlers(20)) < whole * 0.6
    program = compiled(tmp_path, handlers(20))
    assert [group.keeping for group in program.groups] == [Keeping.PINNED]
    (kept,) = program.kept
    assert TOO_MUCH in kept.why
    assert kept.place.file == "app.py"
    assert kept.place.line > len(FLASK.split("\n"))
    assert kept.remedy


def test_a_service_of_many_handlers_is_far_from_it(tmp_path: Path) -> None:
    each = "@app.get('/{n}/<id>')\ndef h{n}(id):\n    s{n}[id] = s{n}.get(id, 0) + 1\n    return str(s{n}[id])\n"
    text = FLASK + "".join(f"s{n} = {{}}\n" + each.format(n=n) for n in range(100))
    assert work(tmp_path, text) < WORK_MAX // 20


def many_things(count: int) -> str:
    lines = [f"    if a['n'] > {n}:\n        a = dict(a, k{n}=1)\n        st[id] = a" for n in range(count)]
    return FLASK + "@app.get('/<id>')\ndef h(id):\n    a = st.get(id, {'n': 0})\n" + "\n".join(lines) + "\n    return a"


def test_what_may_be_many_things_counts_as_many(tmp_path: Path) -> None:
    """Each of the statements takes longer than the one before it."""
    assert work(tmp_path, many_things(80)) > 2.5 * work(tmp_path, many_things(40))


@pytest.mark.parametrize(
    "body",
    [
        "    if id == 'a':\n        st[id] = 1\n"
        + "".join(f"    elif id == '{n}':\n        st[id] = {n}\n" for n in range(1000))
        + "    return id",
        "    return (''\n" + "".join(f"        + str(st.get(id, {n}))\n" for n in range(1000)) + "    )",
    ],
    ids=["else-if", "plus"],
)
def test_source_that_is_nested_deeply(body: str, tmp_path: Path) -> None:
    program = compiled(tmp_path, f"{FLASK}@app.get('/<id>')\ndef h(id):\n{body}\n")
    assert [fluxion.name for fluxion in program.fluxions] == ["h", "app"]

"""Mistakes in a `.flx`: each is told with its line, its column and a remedy, all of one file at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.flx.parsing import parse
from compiler.flx.read import read
from compiler.flx.words import FlxError, FlxErrors

HEAD = "service a\nlanguage python\n"

UNREADABLE = [
    ("servis a\n", "1:1", "expected a statement, found 'servis a'"),
    ("flx a\n", "1:1", "the service has no name"),
    ("service a\nservice b\n", "2:1", "this was said in line 1 already"),
    ("service a b\n", "1:11", "expected the end of the line, found 'b'"),
    ("service\n", "1:8", "expected the service, found the end of the line"),
    ('service "a\n', "1:9", "this quoted text has no end"),
    ("service a\n  why x\n", "2:3", "this line belongs to nothing"),
    ("service a\nflx b\n    x = 1\n", "3:5", "no body or file begins above it"),
    ("service a\nflx b\n\t-> c\n", "3:1", "this line is indented by a tab"),
    ("service a\nflx b {x\n", "2:9", "expected `,` or `}`, found the end of the line"),
    ("service a\nflx b {x y}\n", "2:10", "expected `,` or `}`, found 'y}'"),
    ("service a\nflx b & {x}\n", "2:9", "expected a group, found '{x}'"),
    ("service a\nflx b by\n", "2:9", "expected a key, such as params.id, found the end of the line"),
    ("service a\nflx b\n  -> c d\n", "3:8", "expected `[variables]` or the end of the line, found 'd'"),
    ("service a\nflx b\n  GET\n", "3:6", "expected a path, found the end of the line"),
    ("service a\nflx b\n  stepp\n", "3:3", "expected a part of the fluxion, found 'stepp'"),
    ("service a\nflx b\n  step\n  step\n", "4:3", "this was said in line 3 already"),
    ("service a\nflx b\n  from x.py\n", "3:12", "expected `:` and a line, found the end of the line"),
    ("service a\nflx b\n  step newlines many\n", "3:17", "expected how many newlines the text ends with, found 'many'"),
    ("service a\ngroup b shared\n", "2:9", "expected how it keeps its memory: none, keyed, whole, pinned"),
    ("service a\ngroup b none\n  wy x\n", "3:3", "expected `why`, found 'wy x'"),
    ("service a\nscope b in\n", "2:11", "expected a group or a stream, found the end of the line"),
    ("service a\nkept b at c\n", "2:12", "expected `:` and a line"),
    ("service a\nassets x\n", "2:8", "expected the end of the line, and a file on each line below, found 'x'"),
    ("service a\nfile x\n  y\n", "3:3", "this line belongs to nothing"),
]

FLASK = "service a\nlanguage python\nframework flask\nflx b\n  GET /\n  handler\n    return 1\n    return 2\n"
IN_FILE = "file app.py\n    def b():\n        ⟪b⟫\n    x = 1\n"
SENSELESS = [
    (FLASK.replace("2", "(") + IN_FILE, 8, "app.py is not Python: '(' was never closed"),
    (FLASK.replace("    return 1", "    return )") + IN_FILE, 7, "app.py is not Python: unmatched ')'"),
    (FLASK + IN_FILE.replace("x = 1", "x = )"), 12, "app.py is not Python: unmatched ')'"),
    (f"{HEAD}flx b\n  FETCH /\n", 4, "'FETCH' is not an HTTP method"),
    (f"{HEAD}flx b\n  GET users\n", 4, "does not start with /"),
    (f"{HEAD}flx b\n  GET /{{x}}\nflx c\n  GET /{{y}}\n", 6, "take the same requests"),
    (f"{HEAD}flx b by params.user\n  GET /{{id}}\n", 3, "params.user"),
    (f"{HEAD}flx b\n  GET /\nflx c\n", 5, "'c'"),
    (f"{HEAD}flx b\n  GET /\n  -> c\nflx c\n  -> b\n", 5, "has no way out"),
    ("service Big\nlanguage python\nflx a\n  GET /\n", 1, "'Big' cannot name a service"),
    ("service a\nflx b\n  GET /\n", 1, "no language is said"),
    ("service a\nlanguage ruby\nflx b\n  GET /\n", 2, "the language 'ruby' cannot be run"),
    (f"{HEAD}flx b\n", 1, "no request enters anywhere"),
    (f"{HEAD}flx output\n  GET /\n", 3, "'output' cannot name a fluxion"),
    (f"{HEAD}flx b\n  GET /\nflx b\n", 5, "there is a fluxion 'b' in line 3 already"),
    (f"{HEAD}flx b-c\n  GET /\nflx b_c\n", 5, "'b-c' in line 3 already, whose function is called 'b_c', too"),
    (f"{HEAD}group g whole {{x}}\nflx b\n  GET /\n", 3, "no fluxion is of the group 'g'"),
    (f"{HEAD}group b whole {{x}}\nflx b {{y}}\n  GET /\n", 4, "the group 'b' does not hold y"),
    (f"{HEAD}group b whole {{x}}\nflx b {{x}} by params.id\n  GET /\n", 4, "'b' has a key, and its group 'b' is whole"),
    (f"{HEAD}flx b\n  GET /\n  -> stor\nflx store\n", 5, "there is no fluxion 'stor' (did you mean 'store'?)"),
    (f"{HEAD}flx b\n  GET /\n  reads [x]\n", 5, "'b' reads x, which no stream brings"),
    (f"{HEAD}flx b\n  GET /\n  -> output\n  step\n    f(\n", 7, "the body of 'b' is not Python"),
    (f"{HEAD}flx b\n  GET /\n  -> output\n  step\n    a = 1\n    a = bodi\n", 8, "'b' uses bodi"),
    (f"{HEAD}flx b\n  GET /\n  -> output [x]\n", 5, "'b' sends x to the answer and gives it no value"),
    (f"{HEAD}flx b\n  GET /\n  -> c [x]\n  step\n    x = 1\nflx c\n  step\n    print(y)\n", 10, "'c' uses y"),
    (
        f"{HEAD}flx b\n  GET /\n  -> c [x]\n  step\n    x = 1\nflx d\n  POST /\n  -> c [x, y]\n  step\n    x = y = 1\n"
        "flx c\n  step\n    print(x, y)\n",
        5, "'c' reads y, and the stream from 'b' brings x",
    ),
    (
        "service a\nlanguage javascript\nflx b\n  GET /\n  -> output [x]\n  step\n    const y = 1;\n",
        5, "'b' sends x to the answer and gives it no value",
    ),
    ("service a\nlanguage javascript\nflx b\n  GET /\n  step\n    if (\n", 6, "the body of 'b' is not JavaScript"),
    ("service a\nlanguage javascript\nflx b\n  GET /\n  step\n    f(1);\n", 6, "'b' uses f"),
    (
        "service a\nlanguage python\nframework flask\nflx b\n  GET /\n  handler\n    return 1\nfile app.py\n    ⟪c⟫\n",
        4, "no file has a place for the body of 'b'",
    ),
    (
        "service a\nlanguage python\nframework flask\nflx b\n  GET /\n  -> c [x]\n  start\n    y = 1\nflx c\n  end\n"
        "    return '1'\nfile app.py\n    def f():\n        ⟪b⟫\n        ⟪c⟫\n",
        6, "b sends 'x', which is not in its body and does not come to it",
    ),
    (
        "service a\nlanguage python\nframework flask\nflx b\n  GET /\n  -> c [x]\n  start\n    x = y = 1\nflx c\n"
        "  end\n    return str(y)\nfile app.py\n    def f():\n        ⟪b⟫\n        ⟪c⟫\n",
        11, "'c' uses y, and its message brings x",
    ),
    (
        "service a\nlanguage javascript\nframework express\nflx b\n  GET /\n  -> c [x]\n  start\n"
        "    const x = 1, y = 2;\nflx c\n"
        "  end\n    res.json(y);\nfile app.js\n    app.get('/', (req, res) => {\n      ⟪b⟫\n      ⟪c⟫\n    });\n",
        11, "'c' uses y, and its message brings x",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "where", "said"), UNREADABLE)
def test_what_cannot_be_read_is_told_with_its_place(text: str, where: str, said: str) -> None:
    with pytest.raises(FlxErrors) as caught:
        parse(text, "a.flx")
    first = str(caught.value).split("\n")
    assert first[0].startswith(f"a.flx:{where}: ")
    assert said in first[0]
    assert first[1].startswith("  remedy: ")


@pytest.mark.parametrize(("text", "line", "said"), SENSELESS)
def test_what_makes_no_sense_is_told_with_its_line(text: str, line: int, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.flx"
    file.write_text(text)
    with pytest.raises(FlxErrors) as caught:
        read(file)
    assert len(caught.value.errors) == 1, str(caught.value)
    assert str(caught.value).startswith(f"{file}:{line}:")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once_and_none_twice() -> None:
    text = "service a\nflx b {x\n  step\n    one\n    two\nflx c\n  -> d e\n  wrong\n"
    with pytest.raises(FlxErrors) as caught:
        parse(text)
    assert [error.line for error in caught.value.errors] == [2, 7, 8]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "a.flx"
    file.write_bytes(b"service \xff")
    with pytest.raises(FlxError, match="byte 8 is not UTF-8"):
        read(file)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "a.flx"
    file.write_text(f"{HEAD}folder shop\nassets\n  x.txt\nflx b\n  GET /\n")
    with pytest.raises(FlxError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}:3:1: there is no folder {tmp_path / 'shop'}\n  remedy: name it as")
    (tmp_path / "shop").mkdir()
    assert read(file).folder == str(tmp_path / "shop")

"""How much of a JavaScript service is looked at, as it grows: counted, not timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from compiler.compile import compile_source
from compiler.javascript.fields import Fields
from compiler.javascript.flow import Flow
from compiler.javascript.syntax import Node

HEAD = "const express = require('express');\nconst app = express();\nconst db = {};\n"
LATER = "function later(x, done) { setTimeout(() => done(null, x), 1); }\n"


def nodes(folder: Path, text: str) -> int:
    """How often a piece of syntax is gone to, by whoever walks."""
    count = 0
    walk = Node.walk

    def counted(node: Node):  # type: ignore[no-untyped-def]
        nonlocal count
        for each in walk(node):
            count += 1
            yield each

    with patch.object(Node, "walk", counted):
        compiled(folder, text)
    return count


def compiled(folder: Path, text: str) -> None:
    (folder / "app.js").write_text(f"{HEAD}{text}\napp.listen(3000);\n")
    compile_source(folder / "app.js")


def calls(folder: Path, text: str, of: type, name: str) -> int:
    """How often a method is called."""
    count = 0
    method: Callable[..., object] = getattr(of, name)

    def counted(*given, **named):  # type: ignore[no-untyped-def]
        nonlocal count
        count += 1
        return method(*given, **named)

    with patch.object(of, name, counted):
        compiled(folder, text)
    return count


def in_each_other(depth: int) -> str:
    begin = []
    for n in range(depth):
        begin.append(f"later(req.params.id, (e{n}, x{n}) => {{ if (e{n}) return res.send(1); db[x{n}] = {n};")
    return (
        LATER + "app.get('/:id', (req, res) => {\n" + "\n".join(begin) + "\nres.send('y');\n" + "});\n" * depth + "});"
    )


def handlers(count: int) -> str:
    """All of them lead to all functions."""
    lines = [
        f"function f{n}(x) {{ db[x] = {n}; return f{(n * 7 + 1) % count}(x) || f{(n + 1) % count}(x); }}"
        for n in range(count)
    ]
    lines += [f"app.get('/{n}/:id', (req, res) => res.json(f{n}(req.params.id)));" for n in range(count)]
    return "\n".join(lines)


@pytest.mark.parametrize(("shape", "size"), [(in_each_other, 40), (handlers, 60)])
def test_no_code_is_gone_through_for_each_that_leads_to_it(
    shape: Callable[[int], str], size: int, tmp_path: Path
) -> None:
    assert nodes(tmp_path, shape(2 * size)) < 3 * nodes(tmp_path, shape(size))


def extending(count: int) -> str:
    """Each class extends the one before it."""
    lines = ["class K0 { go(k) { return db[k]; } }"]
    lines += [f"class K{n} extends K{n - 1} {{ own{n}(k) {{ return this.go(k); }} }}" for n in range(1, count)]
    lines += [f"const k{n} = new K{n}();" for n in range(count)]
    lines += [f"app.get('/{n}/:id', (req, res) => res.json(k{n}.own{n}(req.params.id)));" for n in range(1, count)]
    return "\n".join(lines)


def test_what_a_class_extends_is_looked_up_when_it_may_be_more(tmp_path: Path) -> None:
    """What is called on an object of each climbs to the first of them."""
    climbed = calls(tmp_path, extending(12), Fields, "of_class")
    assert calls(tmp_path, extending(12), Flow, "variable") < climbed

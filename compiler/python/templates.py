"""What templates do with the objects that they are given: they may change lists, and call methods of own classes.

Templates are not parsed: every name after a dot in any of them is taken to be looked up on everything that any of
them is given. Knows no framework's way of finding a template.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.facts import Mode, Place
from compiler.python import calls, expressions, memory
from compiler.python.libraries import MUTATORS
from compiler.python.model import Atoms, Obj, Part, Ref

if TYPE_CHECKING:
    from compiler.python.evaluate import Machine

SUFFIXES = (".html", ".htm", ".j2", ".jinja", ".jinja2", ".tpl", ".txt", ".xml")
FILES_MAX = 2_000
BYTES_MAX = 500_000
"""Of a template; what is larger is none."""
DEPTH_MAX = 6
"""Objects inside objects that templates are taken to reach."""

_CODE = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_NAME = re.compile(r"\.\s*([A-Za-z_]\w*)")
_LINE = re.compile(r"^\s*%.*$|\{\{.*?\}\}|<%.*?%>", re.MULTILINE | re.DOTALL)

RENDERING = ("render_template", "render_template_string", "stream_template", "TemplateResponse", "template", "render")
"""Last names of functions and methods that fill a template with what they are given."""


def names(folder: Path, texts: list[str]) -> frozenset[str]:
    """What stands after a dot in the templates of a folder, and in those that are written in its sources."""
    found: set[str] = set()
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in SUFFIXES and "node_modules" not in p.parts]
    for path in files[:FILES_MAX]:
        if path.is_file() and path.stat().st_size <= BYTES_MAX:
            texts = [*texts, path.read_text("utf-8", "replace")]
    for text in texts:
        for code in (*_CODE.findall(text), *_LINE.findall(text)):
            found.update(_NAME.findall(code))
    return frozenset(found)


def written(tree: ast.AST) -> list[str]:
    """Texts in a source that may be templates."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ("{{" in node.value or "{%" in node.value)
    ]


def shown(m: Machine, value: Atoms, node: ast.AST, depth: int = 0, seen: set[Obj] | None = None) -> None:
    """A template is given `value`."""
    seen = set() if seen is None else seen
    wanted = m.shown_names()
    if m.loading or depth > DEPTH_MAX or not wanted:
        return
    where = m.here(node)
    for atom in value:
        if not isinstance(atom, Ref | Part) or atom.obj.kind == "lib" or (isinstance(atom, Ref) and atom.obj in seen):
            continue
        if isinstance(atom, Ref):
            seen.add(atom.obj)
        classes = atom.obj.classes | ({atom.obj.cls} if isinstance(atom, Ref) and atom.obj.cls else set())
        for name in sorted({n for cls in classes if cls for one in cls.lineage() for n in one.scope.names} & wanted):
            _looked_up(m, atom, name, node, where)
        if wanted & MUTATORS and not (isinstance(atom, Ref) and (atom.obj.kind == "instance" or not atom.obj.live)):
            memory.change(m, frozenset({atom}), where)
        calls.implicit(m, frozenset({atom}), node)
        if isinstance(atom, Ref):
            for inner in (atom.obj.elements, *atom.obj.attrs.values()):
                shown(m, inner, node, depth + 1, seen)


def _looked_up(m: Machine, atom: Ref | Part, name: str, node: ast.AST, where: Place) -> None:
    memory.record(m, atom.obj, Mode.READ, where)
    found = expressions.attribute(m, frozenset({atom}), name, node)
    calls.give_functions(m, found)

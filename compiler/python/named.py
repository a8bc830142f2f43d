"""The application as a person named it, `module:attribute`: whether there is such a module in the service's folder, and
such a name in it. Knows no framework, and nothing of what the application does.
"""

from __future__ import annotations

import ast
import re

from compiler.python.model import Module
from compiler.python.read import Sources
from liquefy.errors import UserError

_UNSEEN = ("globals(", "vars(", "setattr(", "exec(", "__getattr__", "__dict__")
"""A module with one of these may have names that nobody can read in it."""


def module_of(app: str, sources: Sources) -> Module:
    """The module that is named. Raises UserError if it is none of the folder's."""
    name = app.partition(":")[0]
    found = sources.find(name) if all(re.fullmatch(r"[\w-]+", part) for part in name.split(".")) else None
    if found is None:
        near = sorted(path.stem for path in sources.folder.glob("*.py"))
        there = f", such as {', '.join(f'{each}:app' for each in near[:3])}" if near else ""
        raise UserError(
            f"--app {app}: there is no module {name!r} in {sources.folder}\n"
            f"  remedy: name one as it is imported from there{there}"
        )
    return found


def check_attribute(app: str, module: Module, applications: list[str]) -> None:
    """After the module was loaded. `applications`: its names for what is one. Raises UserError if it has no such
    name."""
    attribute = app.partition(":")[2].split("(")[0]
    name = attribute.split(".")[0]
    if not name or name in module.scope.names or module.stars or any(word in module.text for word in _UNSEEN):
        return
    if any(each in (name, "*") for node in ast.walk(module.tree) for each in _bound(node)):
        return
    known = " or ".join(f"{app.partition(':')[0]}:{each}" for each in applications)
    remedy = f"name the application that is in it{known and f': {known}'}"
    raise UserError(f"--app {app}: {module.file} has no {name!r}\n  remedy: {remedy}")


def _bound(node: ast.AST) -> tuple[str, ...]:
    """The names that a statement may give a module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return tuple((alias.asname or alias.name).split(".")[0] for alias in node.names)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return (node.id,)
    return ()

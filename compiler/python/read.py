"""The service's own modules: found by their imports, parsed with the standard library's parser.

Knows how a dotted name becomes a file, and nothing of what the code means.
"""

from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path

from compiler.facts import Place
from compiler.python.model import Module
from liquefy.errors import GraphError

SOURCE_BYTES_MAX = 4 << 20
"""Of one file of a service's source."""


class Sources:
    """The modules of one folder, each read at its first import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, Module] = {}

    def entry(self, file: str) -> Module:
        path = Path(file)
        parts = list(path.with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        return self._read(file, ".".join(parts) or path.stem)

    def find(self, name: str) -> Module | None:
        """The module of a dotted name, if it is one of the folder's own."""
        if name in self.modules:
            return self.modules[name]
        base = name.replace(".", "/")
        for file in (f"{base}.py", f"{base}/__init__.py"):
            if (self.folder / file).is_file():
                return self._read(file, name)
        return None

    def is_folder(self, name: str) -> bool:
        """Whether a dotted name is a folder without `__init__.py`, with sources in it."""
        path = self.folder / name.replace(".", "/")
        return path.is_dir() and any(path.glob("**/*.py"))

    def _read(self, file: str, name: str) -> Module:
        if name in self.modules:
            return self.modules[name]
        path = self.folder / file
        if path.stat().st_size > SOURCE_BYTES_MAX:
            raise GraphError(file, 0, f"has more than {SOURCE_BYTES_MAX} bytes", "leave it out, or take it apart")
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise GraphError(file, 0, f"is not UTF-8: {error}", "save it as UTF-8") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text, file)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            problem = getattr(error, "msg", None) or str(error)
            if column := getattr(error, "offset", None):
                problem += f", at column {column}"
            raise GraphError(file, line, problem, "correct it") from None
        module = Module(name, file, text, tree, Path(file).name == "__init__.py")
        self.modules[name] = module
        return module


def is_script(path: Path, packages: set[str]) -> bool:
    """Whether a file in these packages is no part of them: it imports what is beside it by its plain name, or starts
    itself, and names no package."""
    if path.name == "__init__.py":
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    roots: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                return False
            roots.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
    if roots & packages:
        return False
    beside = {root for root in roots if (path.parent / f"{root}.py").exists() or (path.parent / root).is_dir()}
    guarded = any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body)
    return guarded or bool(beside - sys.stdlib_module_names)


def place(module: Module, node: ast.AST) -> Place:
    found = module.places.get(node)
    if found is None:
        found = Place(module.file, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)
        module.places[node] = found
    return found


def absolute(module: Module, name: str | None, level: int) -> str:
    """The dotted name of a relative import."""
    if not level:
        return name or ""
    parts = module.name.split(".")
    keep = len(parts) - level + (1 if module.package else 0)
    return ".".join(parts[: max(keep, 0)] + (name.split(".") if name else []))

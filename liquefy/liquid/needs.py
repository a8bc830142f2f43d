"""What a program imports as it starts, and is not there: known without running anything of it, for programs that are
started on one node alone and not before they are asked for.

Looks at the import statements that surely run: not at those inside functions, conditions and `try`.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

FILES_MAX = 500
"""Own modules that are followed."""


def missing(folder: Path, entry: str) -> str:
    """`app.py:3 imports shop, which is not installed`; "" if nothing is known to be missing."""
    waiting, seen = [folder / entry], set[Path]()
    roots = (folder, (folder / entry).parent)
    while waiting and len(seen) < FILES_MAX:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            text = path.read_text("utf-8-sig")
            tree = ast.parse(text)
        except (OSError, ValueError, SyntaxError):
            return ""  # it is said where it is run
        if "sys.path" in text or "sys.modules" in text or "meta_path" in text:
            return ""  # it has its own ways of finding modules
        for name, line in _imported(tree):
            own = [found for root in roots for found in _own(root, name)]
            waiting += own
            if not own and not any((root / name.split(".")[0]).is_dir() for root in roots) and not _there(name):
                return f"{path.relative_to(folder)}:{line} imports {name.split('.')[0]}, which is not installed"
    return ""


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def _own(root: Path, name: str) -> list[Path]:
    """The files that are run for a module of the program's own, its packages first."""
    parts = name.split(".")
    tries = [root.joinpath(*parts[:size], "__init__.py") for size in range(1, len(parts) + 1)]
    tries.append(root.joinpath(*parts).with_suffix(".py"))
    return [path for path in tries if path.is_file()]


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name.split(".")[0]) is not None
    except (ImportError, ValueError):
        return True

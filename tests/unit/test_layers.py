"""Code that decides knows no socket, clock, store or chance, neither directly nor through what it imports. (Who may
import whom among packages is import-linter's part; it does not see the standard library.)
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("liquefy", "broker", "worker", "controller", "gateway", "ctl")

FORBIDDEN = {
    "asyncio", "multiprocessing", "os", "random", "redis", "secrets", "select", "selectors", "signal", "socket",
    "subprocess", "threading", "time", "uuid", "uvloop", "zmq",
}  # fmt: skip

DOING = {
    "__main__", "__init__", "service", "http1", "supervisor", "environments", "files", "installing", "npm", "vouching",
}  # fmt: skip
"""The modules of a role that do; all others of it decide."""

TYPES_ONLY = {("liquefy.values", "uuid")}
"""Imports of which only a type is used, no chance and no clock."""

DECIDING_ROLES = ("broker", "worker", "controller", "gateway")
DECIDING_ELSEWHERE = [
    "ctl.layers", "ctl.restarts", "ctl.svg", "liquefy.admission", "liquefy.commits", "liquefy.control",
    "liquefy.effects", "liquefy.errors", "liquefy.graph", "liquefy.hosting", "liquefy.letters", "liquefy.messages",
    "liquefy.sending",
]  # fmt: skip


def modules() -> dict[str, Path]:
    """All modules of the project by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(tree: ast.AST, known: dict[str, Path]) -> set[str]:
    """Names of what is imported anywhere in the module: project modules in full, others by their first part."""
    found: set[str] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        found |= {n if n in known else n.split(".")[0] for n in names}
    return found


MODULES = modules()
IMPORTS = {name: imports(ast.parse(path.read_text()), MODULES) for name, path in MODULES.items()}
DECIDING = DECIDING_ELSEWHERE + [
    name
    for name in MODULES
    if name.split(".")[0] in DECIDING_ROLES and name.split(".")[-1] not in DOING and "." in name
]


def chains(start: str) -> list[str]:
    """How a module comes to what it must not know, one chain for each such import."""
    found, seen, waiting = [], {start}, [(start, start)]
    for name, chain in waiting:
        for target in sorted(IMPORTS[name]):
            if target in FORBIDDEN and (name, target) not in TYPES_ONLY:
                found.append(f"{chain} -> {target}")
            elif target in MODULES and target not in seen:
                seen.add(target)
                waiting.append((target, f"{chain} -> {target}"))
    return found


@pytest.mark.parametrize("module", DECIDING)
def test_what_decides_does_nothing(module: str) -> None:
    assert chains(module) == []


def test_the_check_sees_what_it_should() -> None:
    assert chains("broker.service")
    assert any(chain.endswith("liquefy.transport -> zmq") for chain in chains("ctl.asking"))

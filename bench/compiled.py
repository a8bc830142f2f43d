"""The copy of this tree that is measured: installed as users install it, with its message path compiled. In a folder of
`build/` that is named after what it was made from, so that no copy is ever older than the tree.

`python -m bench.compiled` makes it and prints where it is: what PYTHONPATH has to begin with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.report import ROOT

PACKAGES = ("liquefy", "broker", "worker", "controller", "gateway", "compiler", "ctl")
BUILD = ROOT / "build"
KEPT_S = 24 * 3600
"""An older copy is deleted when another one is made; till then somebody may run it."""


def made() -> Path:
    """The copy; made now, if it is not there. Raises SystemExit if it cannot be compiled."""
    folder = BUILD / f"compiled-{_digest()}"
    if folder.exists():
        return folder
    BUILD.mkdir(exist_ok=True)
    print(f"compiling the message path into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    unfinished = BUILD / f"unfinished-{os.getpid()}"
    words = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(unfinished)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, str(ROOT)], env={**os.environ, "LIQUEFY_COMPILE": "must"}
    )
    if done.returncode:
        shutil.rmtree(unfinished, ignore_errors=True)
        remedy = "`make lint`, which installs what that needs, and a C compiler; or measure with --plain"
        raise SystemExit(f"error: this tree cannot be compiled\n  remedy: {remedy}")
    for old in BUILD.glob("compiled-*"):
        if time.time() - old.stat().st_mtime > KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    unfinished.rename(folder)
    return folder


def _digest() -> str:
    """Of all that a copy is made from."""
    digest = hashlib.sha256(sys.version.encode())
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    for path in sorted([*sources, ROOT / "pyproject.toml", ROOT / "hatch_build.py"]):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def run_there(arguments: list[str]) -> None:
    """This program again, on the copy; it does not come back. Nothing happens if it runs there already."""
    folder = str(made())
    if os.environ.get("PYTHONPATH", "").split(os.pathsep)[0] == folder:
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((folder, str(ROOT)))}
    os.execve(sys.executable, [sys.executable, "-P", "-m", *arguments], environment)


if __name__ == "__main__":
    print(made())

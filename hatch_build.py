"""Part of building a wheel: with LIQUEFY_COMPILE=1 what decides on the message path becomes machine code, by mypyc. The
sources go along and say the same; an editable install has nothing but them.

Without a C compiler the wheel is plain Python, and says so. LIQUEFY_COMPILE=must fails then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = (
    *(f"worker/{name}.py" for name in ("accounting", "cache", "commit", "fleet", "flow", "hosts", "mailbox", "onward")),
    *(f"worker/{name}.py" for name in ("ownership", "state")),
    *(f"broker/{name}.py" for name in ("holding", "routing", "state")),
    "liquefy/flat.py",
    *(f"gateway/{name}.py" for name in ("answers", "bodies", "http1", "keys", "pending", "records", "routes")),
    *(f"gateway/{name}.py" for name in ("service", "streams")),
    "liquefy/links.py",
    "liquefy/sending.py",
)
"""What every message passes and needs no class of another library as a base."""

PACKAGES = ("liquefy", "broker", "gateway", "worker")

SETUP = f"""
from mypyc.build import mypycify
from setuptools import setup

options = ["--config-file=mypy.ini", *{COMPILED!r}]
setup(name="liquefy", packages=[], ext_modules=mypycify(options, opt_level="3", group_name="liquefy"))
"""

MYPY = """[mypy]
strict = True
ignore_missing_imports = True
warn_unused_ignores = False
warn_return_any = False
disallow_subclassing_any = False
"""


class CompilingHook(BuildHookInterface[Any]):
    """Called by hatchling, which finds it in this file."""

    def dependencies(self) -> list[str]:
        return ["mypy>=1.14", "setuptools", "msgspec>=0.19"] if _wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not _wanted():
            return
        self._folder = Path(tempfile.mkdtemp(prefix="liquefy-build-"))
        problem = _compile(Path(self.root), self._folder)
        if problem and _wanted() == "must":
            raise SystemExit(f"the message path could not be compiled: {problem}")
        if problem:
            self.app.display_warning(f"the message path stays plain Python, as it could not be compiled: {problem}")
            return
        build_data["pure_python"], build_data["infer_tag"] = False, True
        built = self._folder / "built"
        for library in built.rglob("*.so"):
            build_data["force_include"][str(library)] = str(library.relative_to(built))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def _wanted() -> str:
    value = os.environ.get("LIQUEFY_COMPILE", "")
    return "" if value in ("", "0") else value


def _compile(root: Path, folder: Path) -> str:
    """Libraries into `folder/built`, laid out as the packages. Returns what went wrong, or ""."""
    if not shutil.which(os.environ.get("CC", "cc").split()[0]):
        return "there is no C compiler (on Debian: apt install gcc)"
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(root / package, source / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (source / "setup.py").write_text(SETUP)
    (source / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(folder / "built")]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    return "" if done.returncode == 0 else "\n".join((done.stdout + done.stderr).splitlines()[-20:])

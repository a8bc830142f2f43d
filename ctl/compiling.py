"""Source code as a folder that can be deployed: compiled, written out, and the folder removed when this process ends.
Knows no controller."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from compiler.compile import compile_source, emit, is_source, unnamed
from compiler.program import Program
from liquefy.graphfile import read_with_code

TOLD_S = 1.0
"""Compiling that takes longer says so."""


def compiled(path: Path, app: str | None, progress: Callable[[str], None]) -> Program:
    """Raises UserError. `progress` is told if it takes a while."""
    timer = threading.Timer(TOLD_S, progress, (f"compiling {path}",))
    timer.daemon = True
    timer.start()
    try:
        return compile_source(path, app)
    finally:
        timer.cancel()


def bundle_folder(program: Program) -> Path:
    """A new folder with the program as a bundle, until this process ends. Raises UserError."""
    folder = Path(tempfile.mkdtemp(prefix=f"liquefy-{program.name[:32]}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    emit(program, folder)
    return folder


def check_flx(path: Path) -> Program:
    """A `.flx` with all that deploying it would look at. Raises UserError with what it would be refused for."""
    program = compile_source(path, None)
    read_with_code(bundle_folder(program) / "graph.yaml")
    return program


__all__ = ["bundle_folder", "check_flx", "compiled", "is_source", "unnamed"]

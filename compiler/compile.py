"""From a path to a Program, and from a Program to a folder that can be deployed: which front end reads it, which
emitter writes it. Knows no language: the parts of one are imported when something is written in it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from compiler.depth import deeply
from compiler.flx import derive
from compiler.holes import fill
from compiler.program import Program, Role
from liquefy.errors import GraphError, UserError

FLX = ".flx"
PYTHON = (".py",)
JAVASCRIPT = (".js", ".mjs", ".cjs")
PACKAGE = "package.json"

LANGUAGES = {"python": "Python", "javascript": "JavaScript"}

PYTHON_ENTRIES = ("app.py", "main.py", "server.py", "wsgi.py", "asgi.py", "run.py", "manage.py", "application.py")
"""Looked for in a folder, in this order."""

PARENTS_MAX = 16
"""How far up from a file the folder of its service is looked for."""


def is_source(path: Path) -> bool:
    """Whether it is something to compile, rather than a graph.yaml or a folder with one."""
    if path.is_dir():
        starts = (path / PACKAGE).exists() or _python_entry(path) is not None or _other_entry(path) is not None
        return not (path / "graph.yaml").exists() and starts
    return path.suffix in (FLX, *PYTHON, *JAVASCRIPT)


def compile_source(path: Path, app: str | None = None) -> Program:
    """The service that `path` starts: a file of JavaScript or Python, a `.flx`, or a folder with a package.json or such
    a file. `app`: `module:attribute` of the application, where it cannot be found. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: does not exist\n  remedy: name an app.js, an app.py, a .flx, or a folder with one")
    if path.is_dir():
        return _compile_folder(path, app)
    if path.suffix == FLX:
        read = import_module("compiler.flx.read").read
        program: Program = read(path)
        return program
    if path.suffix in PYTHON:
        folder = _python_folder(path)
        return _python(folder, path.resolve().relative_to(folder).as_posix(), app)
    if path.suffix in JAVASCRIPT:
        folder = _javascript_folder(path)
        return _javascript(folder, path.resolve().relative_to(folder).as_posix())
    remedy = "name an app.js, an app.py, a .flx, or a folder with one"
    raise UserError(f"{path}: {path.suffix or path.name!r} is no language that can be compiled\n  remedy: {remedy}")


def emit(program: Program, out: Path) -> None:
    """The program as a folder that `liquefy-ctl deploy` takes. `out` is there and empty. Raises UserError."""
    if _is_steps(program):
        import_module("compiler.flx.emit").emit(program, out)
    elif program.language in LANGUAGES:
        deeply(lambda: _part(program.language, "emit").emit(program, out))
    else:
        raise UserError(
            f"{program.name}: no code can be made of the language {program.language!r}\n"
            f"  remedy: use {' or '.join(LANGUAGES)}"
        )


def _is_steps(program: Program) -> bool:
    return not program.framework and all(fluxion.role is Role.STEP for fluxion in program.fluxions)


def unnamed(program: Program) -> list[str]:
    """A line for each import of a package that the service does not say that it needs, and that is not installed here:
    `app.py:1 imports shpo, which ...`. JavaScript has a package.json, and what it lacks is not installed."""
    if program.language != "python" or _is_steps(program):
        return []
    bodies = {fluxion.name: fluxion.body for fluxion in program.fluxions if fluxion.body}
    files = {path: fill(text, bodies) for path, text in program.files.items()}
    found: list[str] = _part("python", "requirements").unnamed(files, program.assets, Path(program.folder))
    return found


def _compile_folder(folder: Path, app: str | None) -> Program:
    if (folder / PACKAGE).is_file():
        _check_json(folder / PACKAGE)
        return _javascript(folder.resolve(), "")
    entry = _python_entry(folder)
    if app:
        named = Path(*app.partition(":")[0].split(".")).with_suffix(".py")
        package = named.with_suffix("") / "__init__.py"
        entry = next((file.as_posix() for file in (named, package) if (folder / file).is_file()), entry)
    if entry is not None:
        return _python(folder.resolve(), entry, app)
    other = _other_entry(folder)
    if other is not None:
        return compile_source(other)
    found = sorted(file.name for file in folder.iterdir() if file.suffix in (FLX, *PYTHON, *JAVASCRIPT))
    there = f"; there are {', '.join(found[:8])}" if found else ""
    raise UserError(
        f"{folder}: it cannot be told which file starts the service: there is no {PACKAGE}, and none of "
        f"{', '.join((*PYTHON_ENTRIES, *_javascript_entries()))}{there}\n  remedy: name the file that starts it"
    )


def _python_entry(folder: Path) -> str | None:
    return next((name for name in PYTHON_ENTRIES if (folder / name).is_file()), None)


def _other_entry(folder: Path) -> Path | None:
    """What starts a service without a package.json and a Python program: JavaScript, else the one `.flx`. It is then
    as if that file had been named."""
    found = [folder / name for name in _javascript_entries() if (folder / name).is_file()]
    flx = [file for file in folder.iterdir() if file.suffix == FLX and file.is_file()]
    return found[0] if found else flx[0] if len(flx) == 1 else None


def _javascript_entries() -> tuple[str, ...]:
    entries: tuple[str, ...] = _part("javascript", "modules").ENTRIES
    return entries


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        raise GraphError(str(path), line, f"is not JSON: {error}", "correct the line") from None


def _python_folder(path: Path) -> Path:
    """Where its absolute imports begin: the first folder above it that is no package; its own folder if it is run as a
    script, an `__init__.py` beside it or not."""
    own = folder = path.resolve().parent
    packages = set()
    for _ in range(PARENTS_MAX):
        if not (folder / "__init__.py").exists():
            break
        packages.add(folder.name)
        folder = folder.parent
    return own if packages and _part("python", "read").is_script(path.resolve(), packages) else folder


def _javascript_folder(path: Path) -> Path:
    """The folder of its package.json, else its own."""
    own = path.resolve().parent
    for folder in [own, *own.parents][:PARENTS_MAX]:
        if (folder / PACKAGE).is_file():
            return folder
    return own


def _python(folder: Path, entry: str, app: str | None) -> Program:
    program: Program = deeply(lambda: _part("python").compile(folder, entry, app))
    return _with_reads(replace(program, app=app or program.app))


def _javascript(folder: Path, entry: str) -> Program:
    program: Program = deeply(lambda: _part("javascript").compile(folder, entry))
    return _with_reads(program)


def _with_reads(program: Program) -> Program:
    """What a part of a cut handler reads of its message, where the front end does not say it."""
    arriving = derive.incoming(program.fluxions)
    return replace(
        program,
        fluxions=tuple(
            replace(f, reads=f.reads or derive.reads(f, arriving.get(f.name, ()))) for f in program.fluxions
        ),
    )


def _part(language: str, module: str = "") -> ModuleType:
    """`compiler.javascript`, `compiler.javascript.emit`. Raises UserError if this Liquefy does not have it."""
    name = f"compiler.{language}.{module}".rstrip(".")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise UserError(
            f"{LANGUAGES[language]} cannot be compiled by this Liquefy: it has no {name}\n"
            "  remedy: write the service as graph.yaml with functions, or as .flx"
        ) from None

"""liquefy-ctl compile: regular code to fluxions."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from compiler import report
from compiler.compile import FLX, emit
from compiler.flx import printing
from compiler.program import Program
from ctl import compiling, render, svg
from ctl.options import AsJson
from liquefy.errors import UserError


class Form(StrEnum):
    """What is made of the program."""

    REPORT = "report"
    FLX = "flx"
    BUNDLE = "bundle"
    GRAPH = "graph"


def compile(
    path: Annotated[Path, typer.Argument(help="An app.js, app.py or .flx, or a folder with one or a package.json.")],
    app: Annotated[
        str,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="The Python application, if it cannot be found."),
    ] = "",
    form: Annotated[
        Form, typer.Option("--emit", help="The service as .flx, as a folder to deploy, or its graph.yaml.")
    ] = Form.REPORT,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="The file, or for a bundle the folder.")
    ] = None,
    svg_file: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw it into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Split a service into fluxions, and say how. Nothing of it is run.

    Example: liquefy-ctl compile app.js --emit flx -o service.flx
    """
    with render.Progress(f"compiling {path}") as progress:
        program = compiling.compiled(path, app or None, progress)
        if path.suffix == FLX and form is not Form.BUNDLE:
            compiling.check_flx(path)
    made: dict[str, Any] = {}
    if svg_file is not None:
        _write(svg_file, svg.draw(report.as_graph(program)), "--svg")
        made["svg"] = str(svg_file)
    text = _emitted(program, form, path, out, made)
    if as_json:
        render.show({**report.as_json(program), "unnamed": compiling.unnamed(program), **made}, True, Text)
    elif text is not None:
        typer.echo(text, nl=False)
    else:
        for what, where in made.items():
            typer.echo(f"{what}: {where}")


def _emitted(program: Program, form: Form, path: Path, out: Path | None, made: dict[str, Any]) -> str | None:
    """Writes what was asked for; the text to print, if it goes to no file."""
    if form is Form.BUNDLE:
        if out is None:
            raise UserError("--emit bundle: no folder is given\n  remedy: name a new or empty one with -o")
        emit(program, _new_folder(out))
        made["bundle"] = str(out)
        return None
    if form is Form.FLX:
        text = printing.show(_portable(program, path, out))
    elif form is Form.GRAPH:
        text = (compiling.bundle_folder(program) / "graph.yaml").read_text()
    else:
        unnamed = compiling.unnamed(program)
        packages = ["", "packages", *(f"  {line}" for line in unnamed)] if unnamed else []
        text = "\n".join([*report.lines(program), *packages]) + "\n"
    if out is None:
        return text
    _write(out, text, "-o")
    made[form.value] = str(out)
    return None


def _portable(program: Program, path: Path, out: Path | None) -> Program:
    """Its folder as seen from the file that is written, so that both may move together; fluxions that are from the
    `.flx` itself do not say so."""
    fluxions = program.fluxions
    if path.suffix == FLX:
        bare = type(fluxions[0].place)("", 0) if fluxions else None
        fluxions = tuple(replace(f, place=bare) if bare and f.place.file == path.name else f for f in fluxions)
    base = (out.parent if out is not None else Path()).resolve()
    folder = os.path.relpath(program.folder, base) if program.assets else ""
    return replace(program, fluxions=fluxions, folder="" if folder == "." else folder)


def _new_folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        filled = any(out.iterdir())
    except OSError as error:
        raise UserError(f"-o: {out}: {error.strerror}\n  remedy: give a folder that can be written") from None
    if filled:
        raise UserError(f"-o: {out}: is not empty\n  remedy: give a new folder, or empty it")
    return out


def _write(file: Path, text: str, option: str) -> None:
    try:
        file.write_bytes(text.encode())
    except OSError as error:
        raise UserError(f"{option}: {file}: {error.strerror}\n  remedy: give a file that can be written") from None

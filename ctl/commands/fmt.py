"""liquefy-ctl fmt: the fluxional language, as it is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from compiler.flx.parsing import formatted
from compiler.flx.read import text_of
from ctl import compiling, render
from ctl.options import REFUSED_EXIT, AsJson
from liquefy.errors import UserError


def fmt(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="One or several .flx.")],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 if something would be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Format files of the fluxional language. Comments and bodies stay as they are.

    What `deploy` would refuse in them is told, too.

    Example: liquefy-ctl fmt service.flx
    """
    changed: list[str] = []
    # All are read before one is written: a mistake in the last leaves the first as it is.
    texts = [(file, text_of(file)) for file in files]
    for file, text in [(file, (text, formatted(text, str(file)))) for file, text in texts]:
        if text[0] == text[1]:
            continue
        changed.append(str(file))
        if not check:
            try:
                file.write_bytes(text[1].encode())
            except OSError as error:
                raise UserError(f"{file}: {error.strerror}\n  remedy: make it writable") from None
    result = {"changed": changed, "files": len(files)}
    render.show(result, as_json, lambda r: _text(r, check))
    wrong = [error for file in files for error in _mistakes(file)]
    if wrong:
        raise UserError("\n".join(wrong))
    if check and changed:
        raise typer.Exit(REFUSED_EXIT)


def _mistakes(file: Path) -> list[str]:
    """In what it says: how it is written is right."""
    try:
        compiling.check_flx(file)
    except UserError as error:
        return [str(error)]
    return []


def _text(result: dict[str, Any], check: bool) -> Text:
    if not result["changed"]:
        return Text("nothing to change")
    did = "would be formatted" if check else "formatted"
    return Text("\n".join(f"{did}: {file}" for file in result["changed"]))

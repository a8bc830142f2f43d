"""A `.flx` file as a Program that can be emitted: read, checked, its folder found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compiler.facts import NOWHERE, Place
from compiler.flx import check
from compiler.flx.parsing import parse_all
from compiler.flx.words import FlxError
from compiler.program import Program

FLX_BYTES_MAX = 32 * 1024 * 1024
"""Of one file: all sources of a service and some more."""


def read(path: Path) -> Program:
    """Raises FlxErrors. Fluxions that say not where they are from are from here. A folder that the file names is meant
    from where the file is; without one it is that of the file."""
    parsed = parse_all(text_of(path), str(path))
    check.check(parsed, str(path))
    program = parsed.program
    fluxions = tuple(
        replace(fluxion, place=Place(path.name, parsed.lines["flx", i])) if fluxion.place == NOWHERE else fluxion
        for i, fluxion in enumerate(program.fluxions)
    )
    folder = (path.parent / program.folder).resolve()
    if not folder.is_dir():
        line = parsed.lines.get(("folder",), 1)
        remedy = "name it as seen from this file; `compile --emit flx -o FILE` does, what is printed is seen from there"
        raise FlxError(str(path), line, 1, f"there is no folder {folder}", remedy)
    return replace(program, fluxions=fluxions, folder=str(folder))


def text_of(path: Path) -> str:
    """Raises FlxError if it is no text, or too long."""
    try:
        size = path.stat().st_size
        if size > FLX_BYTES_MAX:
            remedy = f"keep it below {FLX_BYTES_MAX // 1024**2} MiB"
            raise FlxError(str(path), 0, 0, f"it has {size:,} bytes", remedy)
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
        raise FlxError(str(path), 0, 0, problem, "save the file as UTF-8 text") from None
    except OSError as error:
        raise FlxError(str(path), 0, 0, f"cannot be read: {error.strerror}", "name a file that can be read") from None

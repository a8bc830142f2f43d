"""Which folder of keys a command is about, and how keys are shown. What is in one is `liquefy.keyring`'s."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ctl import record, render
from liquefy.admission import Key
from liquefy.keyring import FOLDER_DEFAULT

KeysAt = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FOLDER",
        help="The folder of all keys.",
        show_default="LIQUEFY_KEYS, .liquefy-keys here or in a parent folder, or that of `up --keys`",
    ),
]


def folder_of(given: Path | None) -> Path:
    """The folder that is meant; it need not be there."""
    if given is not None:
        return given
    if os.environ.get("LIQUEFY_KEYS"):
        return Path(os.environ["LIQUEFY_KEYS"])
    here = Path.cwd()
    for above in (here, *here.parents):
        if (above / FOLDER_DEFAULT).is_dir():
            return above / FOLDER_DEFAULT
    found = record.find(here)
    return Path(found[1].keys if found is not None and found[1].keys else FOLDER_DEFAULT)


def as_json(folder: Path, keys: Iterable[Key]) -> dict[str, Any]:
    return {"folder": str(folder), "keys": [key._asdict() for key in keys]}


def table(result: dict[str, Any]) -> Any:
    made = render.table("ROLE", "NAME", "PUBLIC KEY", "", title=result["folder"])
    for key in result["keys"]:
        made.add_row(key["role"], key["name"], key["public"], "revoked" if key["revoked"] else "")
    return made

"""liquefy-ctl keys add: one key more."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import keeping, render
from ctl.keeping import KeysAt
from ctl.options import AsJson
from liquefy import keyring


def add(
    role: Annotated[str, typer.Argument(help="broker, controller, worker, gateway, operator or deployer.")],
    name: Annotated[str, typer.Argument(help="How it is called in the list; no two have one name.")],
    public: Annotated[
        str, typer.Option(metavar="HEX", help="The public key, where the secret one is elsewhere and stays there.")
    ] = "",
    keys: KeysAt = None,
    as_json: AsJson = False,
) -> None:
    """Add a key for a role. It is good within a second where the list is this folder's.

    Example: liquefy-ctl keys add worker rack2
    """
    folder = keeping.folder_of(keys)
    made = keyring.add(folder, role, name, public)
    render.show(keeping.as_json(folder, [made]), as_json, keeping.table)

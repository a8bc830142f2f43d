"""liquefy-ctl keys revoke: a key is good for nothing any more."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import keeping, render
from ctl.keeping import KeysAt
from ctl.options import AsJson
from liquefy import keyring


def revoke(
    name: Annotated[str, typer.Argument(help="The key, as `liquefy-ctl keys list` names it.")],
    keys: KeysAt = None,
    as_json: AsJson = False,
) -> None:
    """Take a key out of force, for good. Who holds it is cut off within a second where the list is this folder's.

    Example: liquefy-ctl keys revoke rack2
    """
    folder = keeping.folder_of(keys)
    revoked = keyring.revoke(folder, name)
    render.show(keeping.as_json(folder, [revoked]), as_json, keeping.table)

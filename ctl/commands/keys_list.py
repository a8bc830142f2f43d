"""liquefy-ctl keys list: which keys there are."""

from __future__ import annotations

from ctl import keeping, render
from ctl.keeping import KeysAt
from ctl.options import AsJson
from liquefy import keyring


def list_keys(keys: KeysAt = None, as_json: AsJson = False) -> None:
    """List the keys: role, name, public key, and whether it was revoked.

    Example: liquefy-ctl keys list
    """
    folder = keeping.folder_of(keys)
    render.show(keeping.as_json(folder, keyring.read_list(folder).keys), as_json, keeping.table)

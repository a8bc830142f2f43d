"""liquefy-ctl keys init: a folder with a key for each role."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ctl import keeping, render
from ctl.keeping import KeysAt
from ctl.options import AsJson
from liquefy import keyring


def init(
    keys: KeysAt = None,
    redis: Annotated[
        bool, typer.Option("--redis", help="Have a password of Redis in it, too: LIQUEFY_REDIS_PASSWORD, or a new one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a folder of keys, one for each role. One that is there stays as it is.

    Example: liquefy-ctl keys init
    """
    folder = keeping.folder_of(keys)
    made = keyring.create(folder)
    if redis:
        keyring.create_redis_password(folder, os.environ.get("LIQUEFY_REDIS_PASSWORD", ""))
    result = {**keeping.as_json(folder, keyring.read_list(folder).keys), "made": made}
    render.show(result, as_json, keeping.table)
    if not as_json:
        text = "each machine gets the folders of its roles, and the setting `keys`" if made else "it was there already"
        typer.echo(text)

"""liquefy-ctl context list: the keys that have a context."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, What


def list_keys(
    what: What,
    limit: Annotated[int, typer.Option(help="At most so many keys.", min=1)] = 100,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of a group that have a context.

    Example: liquefy-ctl context list store --limit 20
    """
    with Controller.found(controller) as asked, render.Progress("contexts") as progress:
        result = asked.ask("context", {"action": "list", "what": what, "limit": limit}, progress)
    render.show(result, as_json, render.keys_table)

"""liquefy-ctl context get: one context."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, What


def get(
    what: What,
    key: Annotated[
        str, typer.Argument(help="The key of the context. None for a group that has one for all.", show_default=False)
    ] = "",
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Show the context of a key, or the one of a group that has no keys, as last committed.

    Example: liquefy-ctl context get store alice
    """
    with Controller.found(controller) as asked, render.Progress("context") as progress:
        result = asked.ask("context", {"action": "get", "what": what, "key": key}, progress)
    render.show(result, as_json, render.context_text)

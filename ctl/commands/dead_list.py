"""liquefy-ctl dead list: the messages that could not be handled."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def list_letters(
    graph: Annotated[str, typer.Argument(help="Of this graph alone.", show_default="of all")] = "",
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters: messages whose handling failed twice.

    Example: liquefy-ctl dead list
    """
    with Controller.found(controller) as asked, render.Progress("dead letters") as progress:
        result = asked.ask("dead", {"action": "list", "graph": graph}, progress)
    render.show(result, as_json, render.letters_table)

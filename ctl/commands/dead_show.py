"""liquefy-ctl dead show: one dead letter, whole."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="See `liquefy-ctl dead list`.")],
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter with its body and traceback.

    Example: liquefy-ctl dead show 5f1c09
    """
    with Controller.found(controller) as asked, render.Progress("dead letter") as progress:
        result = asked.ask("dead", {"action": "show", "id": letter}, progress)
    render.show(result, as_json, render.letter_text)

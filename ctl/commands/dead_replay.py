"""liquefy-ctl dead replay: a dead letter is handled again."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import REFUSED_EXIT, AsJson, At


def replay(
    letter: Annotated[str, typer.Argument(metavar="ID", help="See `liquefy-ctl dead list`.")],
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Have a dead letter handled again, say after a new version was deployed.

    Example: liquefy-ctl dead replay 5f1c09
    """
    with Controller.found(controller) as asked, render.Progress("replaying") as progress:
        result = asked.ask("dead", {"action": "replay", "id": letter}, progress)
    render.show(
        result,
        as_json,
        lambda r: render.text(f"{r['id']} {'is handled again' if r['done'] else 'was not replayed'}"),
    )
    if not result["done"]:
        raise typer.Exit(REFUSED_EXIT)

"""liquefy-ctl dead drop: a dead letter is thrown away."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import REFUSED_EXIT, AsJson, At


def drop(
    letter: Annotated[str, typer.Argument(metavar="ID", help="See `liquefy-ctl dead list`.")],
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Throw a dead letter away, for good.

    Example: liquefy-ctl dead drop 5f1c09
    """
    with Controller.found(controller) as asked, render.Progress("dropping") as progress:
        result = asked.ask("dead", {"action": "drop", "id": letter}, progress)
    render.show(result, as_json, lambda r: render.text(f"{r['id']} {'is gone' if r['done'] else 'was not dropped'}"))
    if not result["done"]:
        raise typer.Exit(REFUSED_EXIT)

"""liquefy-ctl freeze: no automatic moves."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def freeze(
    reason: Annotated[str, typer.Argument(help="Why: shown to everybody who looks.")],
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Stop automatic moves until `unfreeze`. Failover and `migrate` go on working.

    Example: liquefy-ctl freeze "measuring"
    """
    with Controller.found(controller) as asked, render.Progress("freeze") as progress:
        result = asked.ask("freeze", {"reason": reason}, progress)
    render.show(result, as_json, lambda r: render.text(f"frozen: no automatic moves: {r['frozen']}"))

"""liquefy-ctl explain: why something is where it is."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, What


def explain(
    what: What,
    each: Annotated[bool, typer.Option("--each", help="A line for every partition.")] = False,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Say where a group or partition is, since when, why, and what it costs there.

    Example: liquefy-ctl explain store/7
    """
    with Controller.found(controller) as asked, render.Progress("explain") as progress:
        result = asked.ask("explain", {"what": what}, progress)
    render.show(result, as_json, lambda r: render.explain_text(r, each))

"""liquefy-ctl unfreeze: automatic moves again."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def unfreeze(controller: At = None, as_json: AsJson = False) -> None:
    """Allow automatic moves again.

    Example: liquefy-ctl unfreeze
    """
    with Controller.found(controller) as asked, render.Progress("unfreeze") as progress:
        result = asked.ask("unfreeze", progress=progress)
    render.show(result, as_json, lambda _: "automatic moves are on")

"""liquefy-ctl unpin: free to move again."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, What


def unpin(what: What, controller: At = None, as_json: AsJson = False) -> None:
    """Let what was pinned be moved again.

    Example: liquefy-ctl unpin store
    """
    with Controller.found(controller) as asked, render.Progress("unpin") as progress:
        result = asked.ask("unpin", {"what": what}, progress)
    render.show(result, as_json, lambda r: render.text(f"{r['what']} may be moved again"))

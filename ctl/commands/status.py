"""liquefy-ctl status: the cluster at a glance."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def status(controller: At = None, as_json: AsJson = False) -> None:
    """Show graphs, nodes, and whether all is well.

    Example: liquefy-ctl status --json
    """
    with Controller.found(controller) as asked, render.Progress("status") as progress:
        result = asked.ask("status", progress=progress)
        where = f"controller {asked.address} (from {asked.source})"
    render.show(result, as_json, lambda status: render.status_table(status, where))

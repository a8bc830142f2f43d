"""liquefy-ctl pin: to a node, to stay."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, Node, What


def pin(what: What, node: Node, controller: At = None, as_json: AsJson = False) -> None:
    """Move a group (or one partition of it) to a node and keep it there. Failover alone moves it.

    Example: liquefy-ctl pin store node1
    """
    with Controller.found(controller) as asked, render.Progress(f"pinning {what} to {node}") as progress:
        result = asked.ask("pin", {"what": what, "node": node}, progress)
    render.show(result, as_json, lambda r: render.text(f"{r['what']} is pinned to {r['node']}"))

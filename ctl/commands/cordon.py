"""liquefy-ctl cordon: nothing new for a node."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, Node


def cordon(node: Node, controller: At = None, as_json: AsJson = False) -> None:
    """Give a node no further partitions; what it has stays.

    Example: liquefy-ctl cordon node2
    """
    with Controller.found(controller) as asked, render.Progress("cordon") as progress:
        result = asked.ask("cordon", {"node": node}, progress)
    render.show(result, as_json, lambda r: render.text(f"{r['node']} gets nothing new until it is uncordoned"))

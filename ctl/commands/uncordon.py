"""liquefy-ctl uncordon: a node takes part again."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At, Node


def uncordon(node: Node, controller: At = None, as_json: AsJson = False) -> None:
    """Let a cordoned or drained node have partitions again.

    Example: liquefy-ctl uncordon node2
    """
    with Controller.found(controller) as asked, render.Progress("uncordon") as progress:
        result = asked.ask("uncordon", {"node": node}, progress)
    render.show(result, as_json, lambda r: render.text(f"{r['node']} takes part again"))

"""liquefy-ctl nodes: what each node has and does."""

from __future__ import annotations

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def nodes(controller: At = None, as_json: AsJson = False) -> None:
    """List the nodes: state, partitions, load, rate, memory.

    Example: liquefy-ctl nodes
    """
    with Controller.found(controller) as asked, render.Progress("nodes") as progress:
        result = asked.ask("nodes", progress=progress)
    render.show(result, as_json, render.nodes_table)

"""liquefy-ctl drain: everything off a node."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text

from ctl import render
from ctl.asking import Controller
from ctl.options import REFUSED_EXIT, AsJson, At, Node
from liquefy.wording import counted


def drain(node: Node, controller: At = None, as_json: AsJson = False) -> None:
    """Move everything off a node and give it nothing new, so that it may stop. `uncordon` takes it back.

    Example: liquefy-ctl drain node2
    """
    with Controller.found(controller) as asked, render.Progress(f"draining {node}") as progress:
        result = asked.ask("drain", {"node": node}, progress)
    render.show(result, as_json, _text)
    if result["left"]:
        raise typer.Exit(REFUSED_EXIT)


def _text(result: dict[str, Any]) -> Text:
    node, left, stay = result["node"], result["left"], result["stay"]
    made = render.text(f"{node} gave {counted(result['moved'], 'partition')} away")
    if not left:
        return made.append(" and is empty: it may stop")
    made.append(f"; {counted(left, 'partition')} could not be moved", style="red")
    for each in stay:
        why = each["pinned"] or "not moved yet; it is tried again until the node is empty"
        made.append_text(render.text(f"\n  {each['partition']}: {why}"))
    if left > len(stay):
        made.append(f"\n  and {left - len(stay):,} more")
    graphs = sorted({each["partition"].partition("/")[0] for each in stay if each["pinned"]})
    if graphs:
        made.append("\n  remedy: ", style="green")
        away = ", ".join(f"`liquefy-ctl undeploy {graph}`" for graph in graphs)
        lost = f"what these remember is in a process of {node}, and lost when it stops: stop it all the same, or {away}"
        made.append_text(render.text(lost))
    else:
        made.append("\n  remedy: ", style="green").append("see `liquefy-ctl events`, and drain it once more")
    return made

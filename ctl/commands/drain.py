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
    made = render.text(f"{result['node']} gave {counted(result['moved'], 'partition')} away")
    if result["left"]:
        return made.append(f"; {counted(result['left'], 'partition')} could not be moved", style="red")
    return made.append(" and is empty: it may stop")

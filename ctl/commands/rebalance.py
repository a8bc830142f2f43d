"""liquefy-ctl rebalance: the moves that would even the load out."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ctl import render
from ctl.asking import Controller
from ctl.options import REFUSED_EXIT, AsJson, At


def rebalance(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the moves, make none.")] = False,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Even the load out now, without waiting for the controller to do it by itself.

    Example: liquefy-ctl rebalance --dry-run
    """
    with Controller.found(controller) as asked, render.Progress("planning") as progress:
        result = asked.ask("rebalance", {"dry_run": dry_run}, progress)
    render.show(result, as_json, lambda r: _text(r, dry_run))
    if isinstance(result.get("result"), dict) and result["result"].get("failed"):
        raise typer.Exit(REFUSED_EXIT)


def _text(result: dict[str, Any], dry_run: bool) -> RenderableType:
    parts = [render.plan_table(result)]
    made = result.get("result")
    if not dry_run and isinstance(made, dict):
        parts.append(render.migration_text(made, "the plan", "their new nodes"))
    elif dry_run and result["moves"]:
        parts.append(Text("nothing was moved (--dry-run)", style="dim"))
    return Group(*parts)

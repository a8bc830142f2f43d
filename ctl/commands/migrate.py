"""liquefy-ctl migrate: partitions to a node, while they serve."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from ctl import render
from ctl.asking import Controller
from ctl.options import REFUSED_EXIT, AsJson, At, Node, What


def migrate(
    what: What,
    node: Node,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each partition.")] = False,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Move a group (or one partition of it) to a node, while it serves.

    Example: liquefy-ctl migrate store node3
    """
    with Controller.found(controller) as asked, render.Progress(f"moving {what} to {node}") as progress:
        result = asked.ask("migrate", {"what": what, "node": node}, progress)
    render.show(result, as_json, lambda r: _text(r, what, node, verbose))
    if result["failed"]:
        raise typer.Exit(REFUSED_EXIT)


def _text(result: dict[str, Any], what: str, node: str, verbose: bool) -> RenderableType:
    groups = {m["partition"].rsplit("/", 1)[0] for m in result["moves"]}
    whole = groups.pop() if len(groups) == 1 and len(result["moves"]) > 1 else what
    line = render.migration_text(result, whole, node)
    return Group(render.moves_table(result["moves"]), line) if verbose and result["moves"] else line

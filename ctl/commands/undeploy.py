"""liquefy-ctl undeploy: takes a graph out of service."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At
from liquefy.wording import counted


def undeploy(
    graph: Annotated[str, typer.Argument(help="The name of the graph.")],
    purge: Annotated[bool, typer.Option("--purge", help="Delete its contexts too.")] = False,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Take a graph out of service. Its contexts are kept for the next deployment, unless --purge.

    Example: liquefy-ctl undeploy visits
    """
    with Controller.found(controller) as asked, render.Progress(f"undeploying {graph}") as progress:
        result = asked.ask("undeploy", {"graph": graph, "purge": purge}, progress)
    render.show(result, as_json, _text)


def _text(result: dict[str, Any]) -> Text:
    kept = "contexts kept" if result["contexts_kept"] else "contexts deleted"
    dropped = counted(result["partitions"], "partition")
    return Text(f"{result['graph']} undeployed: {dropped} dropped, {kept}")

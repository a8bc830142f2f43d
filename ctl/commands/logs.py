"""liquefy-ctl logs: the log of all processes, as the controller has it."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def logs(
    source: Annotated[str, typer.Argument(help="Of this process alone (node2, gateway1).", show_default="of all")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(help="Begin with so many past lines.", min=0)] = 50,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Show the log of the cluster. With --json one line of JSON each.

    Example: liquefy-ctl logs node2 -f
    """
    with Controller.found(controller) as asked:
        for item in asked.follow("logs", {"follow": follow, "last": last, "source": source}):
            render.show(item, as_json, render.log_line)

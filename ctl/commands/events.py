"""liquefy-ctl events: what the cluster decided and met with."""

from __future__ import annotations

from typing import Annotated

import typer

from ctl import render
from ctl.asking import Controller
from ctl.options import AsJson, At


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(help="Begin with so many past ones.", min=0)] = 20,
    every: Annotated[bool, typer.Option("--all", "-a", help="Each single partition's move too.")] = False,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Show moves, failovers, nodes that come and go. With --json one event a line, and all of them.

    Example: liquefy-ctl events -f
    """
    with Controller.found(controller) as asked:
        for item in asked.follow("events", {"follow": follow, "last": last, "detail": every or as_json}):
            render.show(item, as_json, render.event_line)

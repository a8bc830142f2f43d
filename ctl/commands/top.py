"""liquefy-ctl top: the status, live."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ctl import render
from ctl.asking import Controller, Lost, Unreachable
from ctl.options import AsJson, At


def top(
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
    rounds: Annotated[int, typer.Option(help="End after so many looks.", show_default="never", min=0)] = 0,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Watch the cluster live, until Ctrl-C. With --json one status a line.

    Example: liquefy-ctl top --interval 0.5
    """
    asked = Controller.found(controller)
    console = render.console()
    if as_json:
        with asked:
            for _ in _looks(rounds, interval):
                render.show(asked.ask("status"), True, render.status_table)
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for _ in _looks(rounds, interval):
            try:
                asked = asked or Controller.found(controller)
                shown = render.status_table(asked.ask("status"))
            except (Unreachable, Lost) as error:
                # The controller may be on its way back; we watch on.
                asked.close()
                asked = None  # type: ignore[assignment]
                shown = Text(str(error), style="red")
            live.update(Group(Text(time.strftime("%H:%M:%S"), style="dim"), shown), refresh=True)


def _looks(rounds: int, interval: float):  # type: ignore[no-untyped-def]
    count = 0
    while not rounds or count < rounds:
        if count:
            time.sleep(interval)
        count += 1
        yield count

"""liquefy-ctl top: the status, live."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType
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
    console = render.console()
    if as_json:
        with Controller.found(controller) as asked:
            for _ in _looks(rounds, interval):
                render.show(asked.ask("status"), True, render.status_table)
        return
    # A controller that is away at the start is a mistake; one that goes away later may be on its way back.
    Controller.found(controller).close()
    if not console.is_terminal:  # a pipe gets each look as it comes
        for _ in _looks(rounds, interval):
            console.print(_look(controller))
            console.file.flush()
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for _ in _looks(rounds, interval):
            live.update(_look(controller), refresh=True)


def _look(controller: str | None) -> Group:
    shown: RenderableType
    try:
        with Controller.found(controller) as asked:
            shown = render.status_table(asked.ask("status"))
    except (Unreachable, Lost) as error:
        shown = Text(str(error), style="red")
    return Group(Text(time.strftime("%H:%M:%S"), style="dim"), shown)


def _looks(rounds: int, interval: float) -> Iterator[int]:
    """Counts the looks, with a pause between two."""
    for count in itertools.count():
        if rounds and count == rounds:
            return
        if count:
            time.sleep(interval)
        yield count

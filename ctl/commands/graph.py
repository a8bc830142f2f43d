"""liquefy-ctl graph: the streams of a graph, with their nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ctl import render, svg
from ctl.asking import Controller
from ctl.options import AsJson, At
from liquefy.errors import UserError


def graph(
    name: Annotated[str, typer.Argument(help="The graph.", show_default="the only one deployed")] = "",
    svg_file: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw it into this file.")] = None,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Show a graph: its inputs, streams and groups, and where they run.

    Example: liquefy-ctl graph visits --svg visits.svg
    """
    with Controller.found(controller) as asked, render.Progress("graph") as progress:
        result = asked.ask("graph", {"graph": name or only_graph(asked)}, progress)
    if svg_file is None:
        render.show(result, as_json, render.graph_text)
        return
    try:
        svg_file.write_text(svg.draw(result))
    except OSError as error:
        raise UserError(f"--svg: {svg_file}: {error.strerror}\n  remedy: give a file that can be written") from None
    render.show({**result, "svg": str(svg_file)} if as_json else result, as_json, lambda _: Text(f"drawn: {svg_file}"))


def only_graph(asked: Controller) -> str:
    """The name of the one graph deployed. Raises UserError if there are none or several."""
    names = [g["name"] for g in asked.ask("status")["graphs"]]
    if not names:
        raise UserError("no graph is deployed\n  remedy: liquefy-ctl deploy path/to/graph.yaml")
    if len(names) > 1:
        raise UserError(f"several graphs are deployed\n  remedy: name one of {', '.join(sorted(names))}")
    return str(names[0])

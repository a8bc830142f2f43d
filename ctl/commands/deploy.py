"""liquefy-ctl deploy: a graph, new or in a new version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ctl import deploying, render
from ctl.asking import Controller
from ctl.options import AsJson, At
from liquefy.wording import counted


def deploy(
    path: Annotated[Path, typer.Argument(help="A graph.yaml, app.js, app.py or .flx, or a folder with one.")],
    app: Annotated[
        str,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="The Python application, if it cannot be found."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, deploy nothing. Needs no cluster.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when every partition has a node.")] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Contexts of groups that this version has no more may stay behind."),
    ] = False,
    controller: At = None,
    as_json: AsJson = False,
) -> None:
    """Deploy a service, or bring a new version of it in while it serves. Code is compiled first.

    Example: liquefy-ctl deploy app.js
    """
    with render.Progress(f"compiling {path}") as progress:
        graph, folder, _, told = deploying.prepared(path, app or None, progress)
    if told and not as_json:
        typer.echo("\n".join([*told, ""]))
    if dry_run:
        with render.Progress(f"checking {graph.name}") as progress:
            checked = deploying.dry_run(controller, graph, folder, progress, forget)
        render.show(checked, as_json, _checked)
        return
    with Controller.found(controller) as asked, render.Progress(f"deploying {graph.name}") as progress:
        result = deploying.deploy(asked, graph, folder, progress, forget=forget)
        if wait:
            deploying.wait_until_placed(asked, graph.name, progress)
        missing = deploying.wait_for_gateway(asked, graph, progress)
    if missing:
        typer.echo(missing, err=True)
    render.show(result, as_json, lambda r: _text(r, "deployed,"))


def _checked(result: dict[str, Any]) -> Text:
    if result["compared"]:
        return _text(result, "would be deployed as")
    return Text(
        f"{result['graph']}: graph.yaml, its code and its files passed all checks\n"
        f"names and routes were not compared with a cluster: {result['unreachable']}"
    )


def _text(result: dict[str, Any], did: str) -> Text:
    nodes = ", ".join(result["nodes"]) or "no node yet"
    where = f"{counted(result['partitions'], 'partition')} on {nodes}"
    return Text(f"{result['graph']} {did} version {result['version']}: {where}")

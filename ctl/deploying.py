"""A folder with a graph.yaml made ready for the controller, sent, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ctl import compiling
from ctl.asking import TICK_S, Barred, Controller, Refused, Unreachable
from liquefy import bundle, graphfile, signing
from liquefy.errors import LiquefyError, UserError
from liquefy.graph import Graph
from liquefy.keyring import Keyring, own_key

GRAPH_FILE = "graph.yaml"

PREPARE_SILENCE_S = 330.0
"""How long the controller may say nothing while it takes a bundle in and nodes install what it requires."""

PLACED_S = 20.0
"""How long partitions may take to be placed after a deployment was accepted."""

GATEWAY_S = 10.0
"""How long a gateway is waited for where none is connected: in a cluster that has just been started it is the last."""


def graph_path(path: Path) -> Path:
    """The graph.yaml that is meant: the file itself, or the one in the folder. Raises UserError."""
    if path.is_dir():
        if not (path / GRAPH_FILE).is_file():
            raise UserError(
                f"{path}: there is no {GRAPH_FILE} in this folder\n"
                "  remedy: name a folder that has one or a package.json, a graph.yaml, an app.js, an app.py or a .flx"
            )
        return path / GRAPH_FILE
    if not path.exists():
        remedy = "name a graph.yaml, an app.js, an app.py, a .flx, or a folder with one"
        raise UserError(f"{path}: does not exist\n  remedy: {remedy}")
    return path


class Prepared(NamedTuple):
    """Something to deploy: `folder` is the bundle to be, `source` the folder that a person knows. `told`: lines about
    it, none if there is nothing that its author has not written."""

    graph: Graph
    folder: Path
    source: Path
    told: list[str]


def prepared(path: Path, app: str | None, progress: Callable[[str], None]) -> Prepared:
    """A graph.yaml read, or source code compiled; with all checks. Raises UserError."""
    if not compiling.is_source(path):
        graph, folder = read(path)
        return Prepared(graph, folder, folder, _pinned(graph))
    program = compiling.compiled(path, app, progress)
    folder = compiling.bundle_folder(program)
    try:
        graph, _ = read(folder)
    except UserError as error:
        # The folder is of this process alone: how to see what the message speaks of.
        text = str(error).replace(f"{folder}/", "")
        shown = f"`liquefy-ctl compile {path} --emit bundle -o FOLDER` shows what it was compiled to"
        raise UserError(f"{path}: what it was compiled to cannot be deployed; {shown}\n{text}") from None
    told = [*program.streams(), *_pinned(graph), *compiling.unnamed(program)]
    return Prepared(graph, folder, path if path.is_dir() else path.parent, told)


def _pinned(graph: Graph) -> list[str]:
    found = [(group.name, group.pinned) for group in graph.groups if group.pinned]
    return [f"{name} stays on one node, and is lost when its process there ends: {why}" for name, why in found]


def read(path: Path) -> tuple[Graph, Path]:
    """The graph and the folder of its code, both checked. Raises UserError with all that is wrong."""
    file = graph_path(path)
    return graphfile.read_with_code(file), file.parent


def deploy(
    controller: Controller,
    graph: Graph,
    folder: Path,
    progress: Callable[[str], None],
    dry_run: bool = False,
    if_changed: bool = False,
    forget: bool = False,
) -> dict[str, Any]:
    """Send it: {graph, version, partitions, nodes}. Raises Refused with the reason of the node that
    refuses."""
    code = bundle.build(folder)
    if controller.keys is not None:
        code = _signed(code, graph, controller.keys)
    named = msgspec.structs.replace(graph, bundle=bundle.digest(code))
    arguments = {"graph": msgspec.to_builtins(named), "bundle": code, "dry_run": dry_run, "if_changed": if_changed}
    arguments["forget"] = forget
    result: dict[str, Any] = controller.ask("deploy", arguments, progress, PREPARE_SILENCE_S)
    return result


def _signed(code: bytes, graph: Graph, keys: Keyring) -> bytes:
    """Signed by the deployer's key that is with the operator's. Raises UserError if there is none."""
    functions = [signing.function(each.language, each.code) for each in graph.fluxions]
    return signing.sign(code, functions, own_key(keys.folder, "deployer", keys.allowed).secret)


def dry_run(
    address: str | None, graph: Graph, folder: Path, progress: Callable[[str], None], forget: bool = False
) -> dict[str, Any]:
    """What `deploy` would do: its result, and `compared`: whether a cluster said that the name and the routes are
    free. Without a controller, or the keys that it asks for, that is False, `version` is None, `nodes` is empty and
    `unreachable` says why. Raises UserError, Refused."""
    try:
        asked = Controller.found(address)
    except (Unreachable, Barred) as error:
        return _not_compared(graph, folder, error)
    with asked:
        if asked.keys is not None:
            try:
                own_key(asked.keys.folder, "deployer", asked.keys.allowed)
            except UserError as error:
                return _not_compared(graph, folder, error)
        return {**deploy(asked, graph, folder, progress, dry_run=True, forget=forget), "compared": True}


def _not_compared(graph: Graph, folder: Path, error: LiquefyError) -> dict[str, Any]:
    bundle.build(folder)  # its limits are checked too
    return {
        "graph": graph.name,
        "version": None,
        "partitions": sum(group.partitions for group in graph.groups),
        "nodes": [],
        "compared": False,
        "unreachable": str(error).splitlines()[0],
    }


def wait_for_gateway(controller: Controller, graph: Graph, progress: Callable[[str], None]) -> str:
    """Until there is one that can answer the graph's requests. Returns what to say if there is none in time, or ""."""
    end_s = time.monotonic() + GATEWAY_S
    while graph.inputs and not controller.ask("status")["http"]:
        if time.monotonic() > end_s:
            return f"no gateway is connected: nobody can call {graph.name} yet"
        progress("waiting for a gateway")
        time.sleep(TICK_S)
    return ""


def wait_until_placed(controller: Controller, graph: str, progress: Callable[[str], None]) -> None:
    """Until every partition of the graph has a node. Raises Refused after PLACED_S."""
    end_s = time.monotonic() + PLACED_S
    while True:
        known = {g["name"]: g["unplaced"] for g in controller.ask("status")["graphs"]}
        if known.get(graph) == 0:
            return
        if time.monotonic() > end_s:
            raise Refused(
                f"{graph} was deployed, but {known.get(graph, 'all')} of its partitions have no node after "
                f"{PLACED_S:g} s\n"
                "  remedy: see `liquefy-ctl nodes` for nodes that are up, and `liquefy-ctl events`"
            )
        progress("waiting for the partitions to be placed")
        time.sleep(TICK_S)

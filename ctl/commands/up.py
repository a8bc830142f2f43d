"""liquefy-ctl up: a cluster on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ctl import deploying, local, record, render, running
from liquefy.config import DURABILITIES
from liquefy.errors import UserError

DETACH_S = 400.0
"""How long `--detach` waits to be told that the cluster is up; beyond what deploying may take."""


def up(
    app: Annotated[
        Path | None,
        typer.Argument(help="A graph.yaml, app.js, app.py or .flx to deploy, or its folder.", show_default="none"),
    ] = None,
    application: Annotated[
        str,
        typer.Option("--app", metavar="MODULE:ATTRIBUTE", help="The Python application, if it cannot be found."),
    ] = "",
    nodes: Annotated[int, typer.Option(help="How many nodes (worker processes) to start.")] = 3,
    controllers: Annotated[int, typer.Option(help="How many controllers: one leads, the others stand by.")] = 1,
    gateways: Annotated[int, typer.Option(help="How many gateways; the first one has the port.")] = 1,
    brokers: Annotated[int, typer.Option(help="How many brokers: messages are spread over them.")] = 1,
    state: Annotated[Path, typer.Option(help="The folder for logs, data and cluster.json.")] = Path(
        record.FOLDER_DEFAULT
    ),
    redis: Annotated[
        str, typer.Option(
            metavar="URL", help="A Redis that runs already; or a primary and its replicas, with commas.",
            show_default="LIQUEFY_REDIS, or start one",
        )
    ] = "",
    redis_sync: Annotated[
        str, typer.Option(help="everysec, or always: before each answer, so that no end of Redis loses any.")
    ] = local.SYNCS[0],
    durability: Annotated[
        str, typer.Option(help="When a commit counts: in Redis' memory, on its disk, or replicated (needs --redis).")
    ] = DURABILITIES[0],
    http_port: Annotated[
        int | None,
        typer.Option(help="The port of the gateway.", show_default="8080, or the next free one", min=1, max=65_535),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Let in holders of keys alone, of those made in the state folder.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the cluster is up; `down` ends it.")
    ] = False,
    ready: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait until everything is up.")
    ] = running.READY_S,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Start a cluster on this machine, deploy a service, follow the log. Ctrl-C stops everything.

    What dies is started again; code is compiled first. Example: liquefy-ctl up app.js
    """
    redis = redis or os.environ.get("LIQUEFY_REDIS", "")
    size = local.Size(nodes, controllers, gateways, brokers)
    if detach:
        _detach(app, application, size, state, redis, redis_sync, durability, http_port, ready, keys)
        return
    options = running.Options(
        state, app, size, redis, http_port, not background, ready, redis_sync=redis_sync, application=application,
        keys=keys, durability=durability,
    )  # fmt: skip
    code = running.run(options, render.console())
    if code and (failed := record.read(state)) is not None:
        # Kept for `--detach`, which reads it and then removes it.
        if not background:
            record.remove(state)
        sys.stderr.write(f"error: {failed.problem}\n")
    raise typer.Exit(code)


def _detach(
    app: Path | None,
    application: str,
    size: local.Size,
    state: Path,
    redis: str,
    redis_sync: str,
    durability: str,
    http_port: int | None,
    ready: float,
    keys: bool,
) -> None:
    if app is not None:
        # What is wrong with it is said here, not in a log.
        with render.Progress(f"compiling {app}") as progress:
            told = deploying.prepared(app, application or None, progress).told
        if told:
            typer.echo("\n".join([*told, ""]))
    record.made(state)
    running_now = record.read(state)
    if running_now is not None and not record.alive(running_now):
        record.remove(state)
    command = [sys.executable, "-P", "-m", "ctl", "up", "--background"]
    command += [f"--{role}={number}" for role, number in size._asdict().items()]
    command += [f"--state={state}", f"--ready={ready}", f"--redis-sync={redis_sync}"]
    command += ["--keys"] if keys else []
    command += [f"--durability={durability}"]
    command += [f"--http-port={http_port}"] if http_port is not None else []
    command += [f"--app={application}"] if application else []
    command += [str(app)] if app is not None else []
    output = state / record.OUTPUT
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            cwd=os.getcwd(),
            env={**os.environ, "LIQUEFY_REDIS": redis},  # not a flag, as it may have a password, which `ps` would show
        )
    with render.Progress("starting the cluster") as progress:
        end_s = time.monotonic() + DETACH_S
        while time.monotonic() < end_s:
            found = record.read(state)
            if found is not None and found.pid == process.pid and found.state == "ready":
                break
            if process.poll() is not None:
                _failed(process.returncode, output, state, process.pid)
            progress("")
            time.sleep(0.05)
        else:
            raise UserError(f"the cluster is not up after {DETACH_S:g} s\n  remedy: see the logs in {state / 'logs'}")
    running.announce(found, render.console())


def _failed(code: int, output: Path, state: Path, pid: int) -> None:
    found = record.read(state)
    if found is not None and found.pid == pid:
        record.remove(state)
    sys.stderr.write(output.read_text(errors="replace"))
    if [path.name for path in state.iterdir()] == [record.OUTPUT]:
        # Refused before anything was made.
        output.unlink()
        state.rmdir()
    raise typer.Exit(code or 1)

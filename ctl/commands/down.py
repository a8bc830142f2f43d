"""liquefy-ctl down: ends the cluster that `up` runs here."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Annotated

import psutil
import typer

from ctl import record, render
from liquefy.errors import UserError

STOP_S = 30.0
"""How long `up` may take to stop everything; then its processes are killed."""

_OURS = re.compile(
    rf"logs|redis|lock|up\.out|broker\d*\.sock|redis\.sock|node\d+|{record.KEYS_MADE}|{record.FILE_NAME}(\.new)?"
)
"""What `up` makes in its folder."""


def down(
    state: Annotated[
        Path | None,
        typer.Option(help="The folder given to `up`.", show_default=".liquefy here or in a parent folder"),
    ] = None,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the folder too: contexts, graphs, logs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Stop the cluster that `up` runs here, started with --detach or in another terminal.

    Example: liquefy-ctl down --purge
    """
    folder, found = _find(state)
    if found is None and not (purge and folder.is_dir()):
        raise UserError(f"no cluster runs in {folder}\n  remedy: give its folder with --state")
    if purge:
        _check_ours(folder, found is not None and record.alive(found))
    stopped, killed = _end(folder, found) if found is not None else (False, [])
    if purge:
        shutil.rmtree(folder)
    result = {"folder": str(folder), "stopped": stopped, "killed": killed, "purged": purge}
    render.show(result, as_json, lambda r: _text(r))


def _find(state: Path | None) -> tuple[Path, record.ClusterRecord | None]:
    if state is not None:
        return state, record.read(state)
    found = record.find(Path.cwd())
    return found if found is not None else (Path(record.FOLDER_DEFAULT), None)


def _end(folder: Path, found: record.ClusterRecord) -> tuple[bool, list[str]]:
    """Whether something ran, and what had to be killed."""
    killed: list[str] = []
    supervisor = record.process(found.pid, found.created_s)
    if supervisor is not None:
        with render.Progress("stopping the cluster") as progress, contextlib.suppress(psutil.NoSuchProcess):
            supervisor.terminate()
            for _ in range(int(STOP_S / 0.1)):
                if not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE:
                    break
                progress("")
                with contextlib.suppress(psutil.TimeoutExpired):
                    supervisor.wait(0.1)
            else:
                killed.append("up")
                supervisor.kill()
    # Whatever is left: `up` was killed where children do not die with it, or did not stop in time.
    final = record.read(folder) or found
    for entry in final.processes:
        process = record.process(entry.pid, entry.created_s)
        if process is not None and (supervisor is None or killed):
            killed.append(entry.name)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    record.remove(folder)
    return supervisor is not None or bool(killed), killed


def _check_ours(folder: Path, running: bool) -> None:
    """Raises UserError for a folder that does not look like one of ours."""
    strange = {p.name for p in folder.iterdir() if not _is_ours(p)}
    if strange:
        still = "; the cluster runs on" if running else ""
        first = "stop it with `down` alone, and then " if running else ""
        raise UserError(
            f"{folder}: holds what `up` did not make ({', '.join(sorted(strange)[:3])}){still}\n"
            f"  remedy: {first}delete it by hand"
        )


def _is_ours(path: Path) -> bool:
    if path.name == record.KEYS:
        return (path.parent / record.KEYS_MADE).exists()
    return _OURS.fullmatch(path.name) is not None and (path.is_dir() or not path.name.startswith("node"))


def _text(result: dict[str, object]) -> str:
    killed = result["killed"]
    assert isinstance(killed, list)
    line = "stopped" if result["stopped"] else "nothing was running"
    if killed:
        line += f"; had to kill {', '.join(killed)}"
    return line + (f"; {result['folder']} deleted" if result["purged"] else "")

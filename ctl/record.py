"""What `liquefy-ctl up` writes down about a cluster: `.liquefy/cluster.json`, from which every other command
learns where the controller is, and `down` which processes to end.

A pid alone proves nothing, since pids are used again: each is recorded with the time its process was created,
and only a process that has both is ours."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from liquefy.errors import UserError

FOLDER_DEFAULT = ".liquefy"
FILE_NAME = "cluster.json"

LOCK = "lock"
"""Held by the `up` whose folder it is."""

OUTPUT = "up.out"
"""What an `up` in the background says."""

KEYS = "keys"
"""The folder of keys that `up --keys` uses."""

KEYS_MADE = "keys.made"
"""There if `up` made the keys: a person may have put some there."""

CREATED_TOLERANCE_S = 0.05
"""How far two readings of one process' creation time may be apart (clock ticks are 10 ms)."""


class ProcessRecord(msgspec.Struct, frozen=True):
    """One process of the cluster. `address` is where it listens ("" if nowhere), `created_s` Unix seconds."""

    name: str
    role: str
    address: str
    pid: int
    created_s: float
    restarts: int = 0


class ClusterRecord(msgspec.Struct, frozen=True):
    """One run of `up`. `state`: "failed" says why in `problem`. `http` is the gateway's URL. `app` is the
    folder of the graph that was deployed, "" for none; `hints` are the lines to try next. `redis`: without its
    password, as users' code can read this."""

    pid: int
    created_s: float
    started_s: float
    controller: str
    broker: str
    redis: str
    http: str
    state: Literal["starting", "ready", "failed"] = "starting"
    problem: str = ""
    app: str = ""
    processes: list[ProcessRecord] = []
    hints: list[tuple[str, str]] = []
    notes: list[str] = []
    keys: str = ""
    """The folder of keys with which liquefy-ctl connects; "" if it needs none."""


def read(folder: Path) -> ClusterRecord | None:
    """The record in a state folder; None if there is none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=ClusterRecord)
    except (OSError, msgspec.DecodeError):
        return None


def made(folder: Path) -> Path:
    """The state folder, made if need be. Raises UserError if nothing can be kept there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).open("a").close()
    except OSError as error:
        raise UserError(
            f"--state: {folder} is no folder that can be written: {error.strerror}\n  remedy: give another one"
        ) from None
    return folder


def forget_lock(folder: Path) -> None:
    """By the holder of the lock: where nothing else was made in the folder, nothing stays of it."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {LOCK, OUTPUT}:
            (folder / LOCK).unlink()
            folder.rmdir()


def write(folder: Path, record: ClusterRecord) -> None:
    """Replace the record; a reader sees the old or the new one, never half."""
    temporary = folder / f"{FILE_NAME}.new"
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    temporary.replace(folder / FILE_NAME)


def remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (folder / FILE_NAME).unlink()


def find(start: Path) -> tuple[Path, ClusterRecord] | None:
    """The state folder nearest to `start`, in it or in a parent folder, and its record."""
    for folder in (start, *start.parents):
        record = read(folder / FOLDER_DEFAULT)
        if record is not None:
            return folder / FOLDER_DEFAULT, record
    return None


def idle(start: Path) -> Path | None:
    """The nearest state folder, if no cluster runs that it is of."""
    for folder in (start, *start.parents):
        state = folder / FOLDER_DEFAULT
        if (state / LOCK).exists():
            found = read(state)
            return None if found is not None and alive(found) else state
    return None


def process(pid: int, created_s: float) -> psutil.Process | None:
    """The living process that was recorded, or None if it has ended (and perhaps its pid is another's
    now)."""
    try:
        found = psutil.Process(pid)
        if abs(found.create_time() - created_s) > CREATED_TOLERANCE_S or found.status() == psutil.STATUS_ZOMBIE:
            return None
        return found
    except psutil.Error:
        return None


def created_s(pid: int) -> float:
    """When the process was created, Unix seconds; 0 if it has ended already."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def alive(record: ClusterRecord) -> bool:
    """Whether the `up` that wrote the record runs."""
    return process(record.pid, record.created_s) is not None


def myself() -> tuple[int, float]:
    return os.getpid(), created_s(os.getpid())

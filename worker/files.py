"""The folder in which a pinned service runs: a copy of its bundle that it may write to.

    data_dir/services/<graph>/files/       the copy, and what the service wrote
    data_dir/services/<graph>/laid.json    what was copied: {"bundle": digest, "files": {path: SHA-256}}

It outlives hosts, workers and versions of the service: a new version replaces the files of its bundle, but for those
that the service itself changed, and what it wrote stays. Does not know what is run there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVICES = "services"
FILES = "files"
LAID = "laid.json"

_CACHE = "__pycache__"

_locks: dict[Path, asyncio.Lock] = {}


async def prepare(data_dir: Path, graph: str, bundle: Path) -> Path:
    """The folder of the service, with the files of this bundle: a folder named by its digest. Raises OSError."""
    home = data_dir.resolve() / SERVICES / graph
    async with _locks.setdefault(home, asyncio.Lock()):  # several hosts of one graph
        await asyncio.to_thread(lay_out, bundle, home)
    return home / FILES


async def forget(data_dir: Path, graph: str) -> None:
    """Delete what the service wrote on this node, and the copy with it."""
    home = data_dir.resolve() / SERVICES / graph
    async with _locks.setdefault(home, asyncio.Lock()):
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)  # it may be large: nobody waits for it


def lay_out(bundle: Path, home: Path) -> None:
    """Have the files of the bundle in `home`, beside what the service wrote."""
    files, laid = home / FILES, home / LAID
    known = _read(laid)
    if known is None:
        shutil.rmtree(files, ignore_errors=True)  # a first copy that was cut short
        known = {"bundle": "", "files": {}}
    if known["bundle"] == bundle.name:
        return
    files.mkdir(parents=True, exist_ok=True)
    before: dict[str, str] = known["files"]
    after: dict[str, str] = {}
    for path in _paths(bundle):
        after[path] = _digest(bundle / path)
        if not os.path.lexists(files / path) or _digest(files / path) == before.get(path):
            _copy(bundle / path, files / path)
    for path in before.keys() - after.keys():
        if _digest(files / path) == before[path]:
            (files / path).unlink()
    for cache in list(files.rglob(_CACHE)):  # its times are those of files that are gone
        shutil.rmtree(cache, ignore_errors=True)
    _replace(laid, json.dumps({"bundle": bundle.name, "files": after}).encode())


def _read(laid: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(laid.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"bundle", "files"} <= found.keys() else None


def _paths(folder: Path) -> Iterator[str]:
    """Of its files and links, relative to it."""
    for at, folders, names in os.walk(folder):
        links = [name for name in folders if Path(at, name).is_symlink()]
        folders[:] = [name for name in folders if name != _CACHE and name not in links]
        for name in [*names, *links]:
            yield str(Path(at, name).relative_to(folder))


def _digest(path: Path) -> str:
    """"" of a folder, and of what is not there."""
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    """As a whole, or not at all: the service may be reading it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        return  # the service has a file of its own where a folder would be
    partial = target.with_name(f"{target.name}.laid~")
    partial.unlink(missing_ok=True)
    if source.is_symlink():
        partial.symlink_to(os.readlink(source))
    else:
        shutil.copyfile(source, partial)
        shutil.copymode(source, partial)
    partial.replace(target)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}~")
    partial.write_bytes(content)
    partial.replace(path)

"""The code of a graph on this node: bundles unpacked, what they require installed, each once.

    data_dir/bundles/<sha256>/          the files of a bundle
    data_dir/environments/<hash>/       what a requirements.txt or package.json asks for; by its content and the
                                        Python or Node.js in use

A folder that is there is complete. Does not know where bundles come from, nor what is done with the code.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from liquefy import bundle, nodejs
from liquefy.errors import UserError
from worker import npm
from worker.installing import once, run
from worker.vouching import Vouching

REQUIREMENTS = "requirements.txt"

_ARCHIVE = re.compile(r"\.(whl|zip|tar|tar\.\w+|tgz|tbz|txz|tlz)(?!\w)", re.IGNORECASE)
"""What pip takes for a file when it stands without a folder."""

Fetch = Callable[[str], Awaitable[bytes | None]]
Launched = Callable[..., Sequence[str]]
"""The words before the command of an installer that may write to the folders given, and to none else of ours."""

_locks: dict[Path, asyncio.Lock] = {}


class Prepared(NamedTuple):
    """`folder`: the unpacked bundle. `site`: where its Python packages are, None if it has none; those for Node.js
    are linked into the folder. Both absolute."""

    folder: Path
    site: Path | None


async def prepare(
    data_dir: Path,
    digest: str,
    fetch: Fetch,
    install_ms: int = 300_000,
    language: str = "python",
    vouching: Vouching | None = None,
    launched: Launched = lambda *folders: (),
) -> Prepared:
    """Have the bundle of that digest ready to be run; `fetch` is asked for it if it is not here yet, or `vouching` has
    to see it. Raises UserError: the bundle is nowhere, or damaged, nobody vouches for it, or its requirements cannot
    be installed."""
    vouching = vouching or Vouching(None)
    folder = data_dir.resolve() / "bundles" / digest
    async with _lock(folder):
        if not folder.exists() or vouching.needs(digest):
            await _unpack(folder, digest, fetch, vouching)
    if problem := vouching.problem(digest):
        raise UserError(problem)
    environments = data_dir.resolve() / "environments"
    if language == "javascript":
        await _packages(folder, environments, digest, install_ms, launched)
        return Prepared(folder, None)
    requirements = folder / REQUIREMENTS
    if not requirements.is_file() or not _asks_for_anything(requirements):
        return Prepared(folder, None)
    site = environments / _environment_name(requirements, digest)
    async with _lock(site):
        if not site.exists():
            await once(site, lambda partial: _pip(folder, partial, install_ms, launched))
    return Prepared(folder, site)


async def _unpack(folder: Path, digest: str, fetch: Fetch, vouching: Vouching) -> None:
    content = await fetch(digest)
    if content is None:
        raise UserError(f"the bundle {digest[:12]} is not in the store\n  remedy: deploy the graph again")
    if bundle.digest(content) != digest:
        raise UserError(f"the bundle {digest[:12]} is damaged in the store\n  remedy: deploy the graph again")
    code = vouching.opened(content, digest)
    # What is there was vouched for in another process' time, or never: users' code may have written to it since.
    if folder.exists():
        await asyncio.to_thread(shutil.rmtree, folder)
    await asyncio.to_thread(bundle.unpack, code, folder)


async def _packages(
    folder: Path, environments: Path, digest: str, install_ms: int, launched: Launched
) -> None:
    package = npm.wanted(folder)
    if package is None:
        return
    node = await asyncio.to_thread(nodejs.find)
    target = environments / npm.environment_name(folder, package, digest, node)
    async with _lock(target):
        if not target.exists():
            await once(target, lambda made: npm.install(folder, package, node, made, install_ms, launched(made)))
    npm.link(folder, target / npm.MODULES)


def _lock(path: Path) -> asyncio.Lock:
    return _locks.setdefault(path, asyncio.Lock())


def _lines(requirements: Path) -> list[str]:
    lines = requirements.read_text(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def _asks_for_anything(requirements: Path) -> bool:
    return bool(_lines(requirements))


def _environment_name(requirements: Path, digest: str) -> str:
    """The same for all bundles with the same requirements, unless these refer to files of the bundle."""
    lines = _lines(requirements)
    local = any(_names_a_file(line) for line in lines)
    python = f"{sys.implementation.cache_tag} {platform.system()} {platform.machine()}"
    parts = [python, *lines, digest if local else ""]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _names_a_file(line: str) -> bool:
    """Whether pip would look for something in the bundle. In doubt yes: an environment too many costs time, a
    shared one would keep the files of an older version."""
    asked = line.partition(" #")[0]
    if asked.startswith(("-", ".", "/")) or "file:" in asked:
        return True
    return "://" not in asked and ("/" in asked or _ARCHIVE.search(asked) is not None)


async def _pip(folder: Path, target: Path, install_ms: int, launched: Launched) -> None:
    if not any(map(_names_a_file, _lines(folder / REQUIREMENTS))):
        return await _pip_in(folder, target, install_ms, launched(target))
    # What pip builds of the bundle's own folders it writes beside their sources: into a copy.
    copy = Path(tempfile.mkdtemp(prefix=".source.", dir=target.parent))
    try:
        await asyncio.to_thread(shutil.copytree, folder, copy, dirs_exist_ok=True)
        await _pip_in(copy, target, install_ms, launched(target, copy))
    finally:
        await asyncio.to_thread(shutil.rmtree, copy, True)


async def _pip_in(folder: Path, target: Path, install_ms: int, launched: Sequence[str]) -> None:
    command = (
        *launched,
        *(sys.executable, "-P", "-m", "pip", "install", "--target", str(target), "--requirement", REQUIREMENTS),
        *("--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--quiet"),
    )
    code, output = await run(command, folder, install_ms)
    if code is None:
        raise _failed(f"pip was not done after {install_ms / 1000:g} s", output)
    if code != 0:
        raise _failed(f"pip ended with code {code}", output)


def _failed(why: str, output: str) -> UserError:
    return UserError(
        f"{REQUIREMENTS} of the bundle cannot be installed: {why}\n{output}\n"
        "  remedy: correct it, or check that this node reaches a package index (PIP_INDEX_URL)"
    )

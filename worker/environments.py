"""The code of a graph on this node: bundles unpacked, what they require installed, each once.

    data_dir/bundles/<sha256>/          the files of a bundle
    data_dir/environments/<hash>/       what a requirements.txt asks for; by its content and the Python in use

A folder that is there is complete. Does not know where bundles come from, nor what is done with the code.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from liquefy import bundle
from liquefy.errors import UserError

REQUIREMENTS = "requirements.txt"

OUTPUT_CHARS_MAX = 4_000
"""How much of pip's output, from its end, goes into an error."""

_ARCHIVE = re.compile(r"\.(whl|zip|tar|tar\.\w+|tgz|tbz|txz|tlz)(?!\w)", re.IGNORECASE)
"""What pip takes for a file when it stands without a folder."""

Fetch = Callable[[str], Awaitable[bytes | None]]

_locks: dict[Path, asyncio.Lock] = {}


class Prepared(NamedTuple):
    """`folder`: the unpacked bundle. `site`: where its requirements are, None if it has none. Both
    absolute."""

    folder: Path
    site: Path | None


async def prepare(data_dir: Path, digest: str, fetch: Fetch, install_ms: int = 300_000) -> Prepared:
    """Have the bundle of that digest ready to be run; `fetch` is asked for it if it is not here yet. Raises
    UserError: the bundle is nowhere, or damaged, or its requirements cannot be installed."""
    folder = data_dir.resolve() / "bundles" / digest
    async with _lock(folder):
        if not folder.exists():
            content = await fetch(digest)
            if content is None:
                raise UserError(
                    f"the bundle {digest[:12]} is not in the store\n  remedy: deploy the graph again"
                )
            if bundle.digest(content) != digest:
                raise UserError(
                    f"the bundle {digest[:12]} is damaged in the store\n  remedy: deploy the graph again"
                )
            await asyncio.to_thread(bundle.unpack, content, folder)
    requirements = folder / REQUIREMENTS
    if not requirements.is_file() or not _asks_for_anything(requirements):
        return Prepared(folder, None)
    site = data_dir.resolve() / "environments" / _environment_name(requirements, digest)
    async with _lock(site):
        if not site.exists():
            await _install(folder, site, install_ms)
    return Prepared(folder, site)


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


async def _install(folder: Path, site: Path, install_ms: int) -> None:
    site.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{site.name[:16]}.", dir=site.parent))
    try:
        code, output = await _pip(folder, partial, install_ms)
        if code is None:
            raise _failed(f"pip was not done after {install_ms / 1000:g} s", output)
        if code != 0:
            raise _failed(f"pip ended with code {code}", output)
        partial.chmod(0o755)
        try:
            partial.rename(site)
        except OSError:
            if not site.exists():  # else another worker on this machine was faster
                raise
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, True)


async def _pip(folder: Path, target: Path, install_ms: int) -> tuple[int | None, str]:
    """Exit code (None: ended by us after `install_ms`) and output. Runs in a group of its own, as pip starts
    others; PIP_* settings (an index, a folder of wheels) are those of the worker."""
    secret = ("LIQUEFY_", "REDIS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-P",
            "-m",
            "pip",
            "install",
            "--target",
            str(target),
            "--requirement",
            REQUIREMENTS,
        ),
        *("--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--quiet"),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # asked for above
    output = bytearray()
    try:
        async with asyncio.timeout(install_ms / 1000):
            while chunk := await process.stdout.read(65536):
                output += chunk
                del output[: -4 * OUTPUT_CHARS_MAX]
            return await process.wait(), _text(output)
    except TimeoutError:
        return None, _text(output)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _text(output: bytearray) -> str:
    return output.decode(errors="replace").strip()[-OUTPUT_CHARS_MAX:]


def _failed(why: str, output: str) -> UserError:
    return UserError(
        f"{REQUIREMENTS} of the bundle cannot be installed: {why}\n{output}\n"
        "  remedy: correct it, or check that this node reaches a package index (PIP_INDEX_URL)"
    )

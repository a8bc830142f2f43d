"""Running what installs packages: into a folder that appears when it is complete, for a limited time.

Knows neither pip nor npm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OUTPUT_CHARS_MAX = 4_000
"""How much of an installer's output, from its end, goes into an error."""

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
PASSED_ON_PREFIXES = ("pip_", "npm_config_")
PASSED_ON_NETWORK = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir",
                     "requests_ca_bundle", "curl_ca_bundle", "node_extra_ca_certs", "xdg_cache_home")  # fmt: skip
"""What an installer is told of our environment, the last two in capitals or not: as users' code, it has no business
with the rest; an index, a proxy, whom to trust and a cache are its to know."""


class Outcome(NamedTuple):
    """`code` is None if it was ended as it took too long."""

    code: int | None
    output: str


async def once(target: Path, install: Callable[[Path], Awaitable[None]]) -> None:
    """Have `install` fill a folder that becomes `target` when it is done. What it raises leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name[:16]}.", dir=target.parent))
    try:
        await install(partial)
        partial.chmod(0o755)
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # else another worker on this machine was faster
                raise
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, True)


def is_passed_on(name: str) -> bool:
    """Whether an installer gets that variable of our environment."""
    return name in PASSED_ON or name.lower() in PASSED_ON_NETWORK or name.lower().startswith(PASSED_ON_PREFIXES)


async def run(command: Sequence[str], folder: Path, limit_ms: int, more: Mapping[str, str] | None = None) -> Outcome:
    """Run the command in the folder, with `more` variables. In a group of its own, as installers start others."""
    environment = {name: value for name, value in os.environ.items() if is_passed_on(name)}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment | dict(more or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # asked for above
    output = bytearray()
    try:
        async with asyncio.timeout(limit_ms / 1000):
            while chunk := await process.stdout.read(65536):
                output += chunk
                del output[: -4 * OUTPUT_CHARS_MAX]
            return Outcome(await process.wait(), _text(output))
    except TimeoutError:
        return Outcome(None, _text(output))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _text(output: bytearray) -> str:
    return output.decode(errors="replace").strip()[-OUTPUT_CHARS_MAX:]

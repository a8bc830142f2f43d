"""What a worker does about a host that cannot be prepared: it tells why, and lives."""

from __future__ import annotations

import asyncio
import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from liquefy import bundle, log
from liquefy.config import WorkerConfig
from liquefy.effects import Log
from worker import environments, service
from worker import events as ev


class Started:
    """A worker that is asked to start a host of a bundle, and what it says of that."""

    def __init__(self, data_dir: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped: list[Any] = []
        self.logged: list[Log] = []
        monkeypatch.setattr(log, "emit", self.logged.append)
        config = WorkerConfig(name="node1", data_dir=str(data_dir))
        digest = bundle.digest(content)

        async def fetch(_: str) -> bytes:
            return content

        async def body() -> None:
            worker = service.Service(config, asyncio.Event())
            monkeypatch.setattr(worker, "_step", self.stepped.append)
            monkeypatch.setattr(worker._contexts, "bundle", fetch)
            await worker._start_host(ev.StartHost("shop:1", digest, "python"))

        asyncio.run(body())


def test_a_bundle_with_a_deep_path_is_refused_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tarfile.TarInfo("a/" * 1900 + "x").tobuf(tarfile.PAX_FORMAT)
    started = Started(tmp_path, gzip.compress(entry + bytes(1024)), monkeypatch)
    [failed] = started.stepped
    assert isinstance(failed, ev.HostFailed)
    assert "longer than 1024 bytes" in failed.error


def test_an_error_of_ours_costs_the_host_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def prepare(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(environments, "prepare", prepare)
    started = Started(tmp_path, b"", monkeypatch)
    [failed] = started.stepped
    assert isinstance(failed, ev.HostFailed)
    assert "RecursionError" in failed.error
    [line] = started.logged
    assert line.level == "error"
    assert "Traceback" in line.text
    assert "too deep" in line.text

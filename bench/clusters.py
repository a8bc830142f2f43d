"""Clusters to be measured, and what their processes use. Knows how one is started, and not what is asked of it."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.report import ROOT

sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from live_cluster import LiveCluster, wait_for

from controller import batches
from liquefy.graph import Graph

GRAPHS = ROOT / "bench" / "graphs"

__all__ = ["GRAPHS", "LiveCluster", "Spent", "cluster", "graph", "quantile", "wait_for", "with_children"]


@contextlib.contextmanager
def cluster(app: Path, nodes: int = 1, **settings: str) -> Iterator[LiveCluster]:
    """A cluster of its own that runs the service in this folder; `settings` are those of the roles (LIQUEFY_...)."""
    folder = Path(tempfile.mkdtemp(prefix="liquefy-bench-"))
    environment = {f"LIQUEFY_{name.upper()}": value for name, value in settings.items()}
    try:
        with LiveCluster(folder / "state", app, nodes, environment) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def graph(running: LiveCluster) -> Graph:
    """The one graph that runs there."""
    (found,) = running.store(lambda contexts: contexts.graphs())
    return found


def quantile(values: list[float], share: float) -> float:
    """0.0 of none."""
    return batches.quantile(sorted(values), share)


class Spent:
    """Processor time of all processes of a system, from here on."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self._before = {process: _cpu_s(process) for process in with_children(processes)}

    def seconds(self) -> dict[str, float]:
        """By kind of process, those that descend from the ones given included."""
        spent: dict[str, float] = {}
        for process, before in self._before.items():
            with contextlib.suppress(psutil.Error):
                kind = _kind(process)
                spent[kind] = spent.get(kind, 0.0) + _cpu_s(process) - before
        return spent


def with_children(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Hosts and Redis too, which do not show that they belong to the cluster."""
    found = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found += process.children(recursive=True)
    return list(dict.fromkeys(found))


def _cpu_s(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _kind(process: psutil.Process) -> str:
    words = process.cmdline()
    if "-m" in words:
        return words[words.index("-m") + 1].removeprefix("liquefy.")
    if any("host.mjs" in word for word in words):
        return "host"
    return Path(words[0]).name.split()[0] if words else "gone"

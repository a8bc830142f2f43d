"""Clusters to be measured, and what their processes use. Knows how one is started, and not what is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from bench import judging
from bench.report import ROOT

sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from live_cluster import LiveCluster, wait_for
from redis_processes import primary_and_replicas

from controller import batches
from liquefy.contexts import Contexts
from liquefy.graph import Graph

GRAPHS = ROOT / "bench" / "graphs"
READ_BYTES = 2_000_000
"""Of contexts that are read at once, about."""

REPLICAS = 2
"""As many as are recommended."""

__all__ = [
    "GRAPHS", "REPLICAS", "LiveCluster", "Spent", "cluster", "contexts_kept", "graph", "lasting", "quantile",
    "wait_for", "with_children", "wrong",
]  # fmt: skip


@contextlib.contextmanager
def cluster(app: Path, nodes: int = 1, more: tuple[str, ...] = (), **settings: str) -> Iterator[LiveCluster]:
    """A cluster of its own that runs the service in this folder; `settings` are those of the roles (LIQUEFY_...),
    `more` are words for `up`."""
    folder = Path(tempfile.mkdtemp(prefix="liquefy-bench-"))
    environment = {f"LIQUEFY_{name.upper()}": value for name, value in settings.items()}
    try:
        with LiveCluster(folder / "state", app, nodes, environment, more=more) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def lasting(app: Path, durability: str) -> Iterator[tuple[LiveCluster, Callable[[], list[psutil.Process]]]]:
    """One whose commits count when `durability` says so, and its processes, with those of its Redis."""
    more = (f"--durability={durability}",)
    if durability != "replicated":  # `up` has the Redis for that
        with cluster(app, more=more) as running:
            yield running, running.processes
        return
    with (
        tempfile.TemporaryDirectory(prefix="liquefy-bench-") as folder,
        primary_and_replicas(Path(folder), REPLICAS) as servers,
    ):
        stores = [psutil.Process(server.process.pid) for server in servers if server.process is not None]
        urls = ",".join(server.url for server in servers)
        with cluster(app, more=(f"--redis={urls}", *more)) as running:
            yield running, lambda: running.processes() + stores


def graph(running: LiveCluster) -> Graph:
    """The one graph that runs there."""
    (found,) = running.store(lambda contexts: contexts.graphs())
    return found


def contexts_kept(running: LiveCluster, group: str) -> int:
    """How many contexts a group has in Redis."""
    known = graph(running)
    names = [f"{known.name}/{group}/{index}" for index in range(known.group_by_name[group].partitions)]

    async def count(contexts: Contexts) -> int:
        return sum(await asyncio.gather(*map(contexts.context_count, names)))

    return running.store(count)


def wrong(
    running: LiveCluster,
    group: str,
    book: judging.Book,
    answers: int,
    keys: Sequence[str],
    expected: judging.Expected,
    size: int = 100,
) -> list[str]:
    """What is wrong with the book, the contexts of these keys (of `size` bytes each) and the number of all contexts."""
    found = book.wrong(answers)
    known, at_once = graph(running), max(1, READ_BYTES // size)
    for first in range(0, len(keys), at_once):
        some = keys[first : first + at_once]
        found += judging.stored(book, some, running.contexts(known.name, group, some), expected)
    return found + judging.same("contexts", contexts_kept(running, group), len(book.answered))


def quantile(values: list[float], share: float) -> float:
    """0.0 of none."""
    return batches.quantile(sorted(values), share)


class Spent:
    """Processor time of all processes of a system, from here on; of those too that begin later, or end: of these what
    they had used when last looked at."""

    def __init__(self, processes: Callable[[], list[psutil.Process]]) -> None:
        self._processes = processes
        self._kinds: dict[psutil.Process, str] = {}
        self._used_s: dict[psutil.Process, float] = {}
        self.look()
        self._before_s = dict(self._used_s)

    def look(self) -> None:
        """Now; before one is killed. Those that are known first, as it takes a while to find others."""
        self._read(list(self._used_s))
        self._read([process for process in with_children(self._processes()) if process not in self._used_s])

    def _read(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._kinds[process] = _kind(process)
                self._used_s[process] = float(times.user + times.system)

    def seconds(self) -> dict[str, float]:
        """By kind of process, those that descend from the ones given included."""
        self.look()
        spent: dict[str, float] = {}
        for process, used_s in self._used_s.items():
            kind = self._kinds[process]
            spent[kind] = spent.get(kind, 0.0) + used_s - self._before_s.get(process, 0.0)
        return spent


def with_children(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Hosts and Redis too, which do not show that they belong to the cluster."""
    found = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found += process.children(recursive=True)
    return list(dict.fromkeys(found))


def _kind(process: psutil.Process) -> str:
    words = process.cmdline()
    if "-m" in words:
        return words[words.index("-m") + 1].removeprefix("liquefy.")
    if any("host.mjs" in word for word in words):
        return "host"
    return Path(words[0]).name.split()[0] if words else "gone"

"""What each partition costs: CPU, messages, latency, context bytes and traffic, summed between two reports.

CPU is measured by the host per message; what worker and hosts use besides is shared out by the number of messages.
Knows no clock and no psutil: measurements are given.
"""

from __future__ import annotations

from collections import defaultdict

from liquefy.hosting import Done, Step
from liquefy.messages import PartitionLoad, Report
from worker.mailbox import Partition


class _Used:
    __slots__ = ("context_bytes", "cpu_us", "elapsed_us", "messages")

    def __init__(self) -> None:
        self.cpu_us = self.elapsed_us = self.messages = self.context_bytes = 0


class Accounting:
    """One worker's books since its last report."""

    def __init__(self) -> None:
        self._used: defaultdict[str, _Used] = defaultdict(_Used)
        self._traffic: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._since_ms = 0
        self._worker_cpu_s = self._hosts_cpu_s = 0.0
        self._reported_cpu_s: tuple[float, float] | None = None
        self._rss_bytes = 0

    def handled(self, partition: str, done: Done | Step) -> None:
        used = self._used[partition]
        used.cpu_us += done.cpu_us
        used.elapsed_us += done.elapsed_us
        used.messages += 1
        if type(done) is Done and done.sets:
            used.context_bytes += sum(map(len, done.sets.values()))

    def sent(self, source: str, destination: str) -> None:
        self._traffic[source, destination] += 1

    def measured(self, worker_cpu_s: float, hosts_cpu_s: float, rss_bytes: int) -> None:
        """Readings since the process started. Hosts come and go, so theirs may shrink."""
        self._worker_cpu_s, self._hosts_cpu_s, self._rss_bytes = worker_cpu_s, hosts_cpu_s, rss_bytes
        if self._reported_cpu_s is None:
            self._reported_cpu_s = (worker_cpu_s, hosts_cpu_s)

    def report(self, now_ms: int, partitions: dict[str, Partition], hosts: int, redis_ok: bool) -> Report:
        """Close the books and open new ones."""
        interval_s = max(0.001, (now_ms - self._since_ms) / 1000) if self._since_ms else 0.001
        before = self._reported_cpu_s or (0.0, 0.0)
        worker_cpu_s = max(0.0, self._worker_cpu_s - before[0])
        hosts_cpu_s = max(0.0, self._hosts_cpu_s - before[1])
        total = sum(used.messages for used in self._used.values()) or 1
        handled_s = sum(used.cpu_us for used in self._used.values()) / 1e6
        shared_s = worker_cpu_s + max(0.0, hosts_cpu_s - handled_s)
        loads = []
        for name, used in self._used.items():
            partition = partitions.get(name)
            loads.append(
                PartitionLoad(
                    name,
                    used.cpu_us / 1e6 + shared_s * used.messages / total,
                    used.messages,
                    len(partition.working) if partition else 0,
                    used.elapsed_us / 1e6,
                    used.context_bytes,
                )
            )
        report = Report(
            interval_s=interval_s,
            loads=loads,
            traffic=[(a, b, n) for (a, b), n in self._traffic.items()],
            cpu_s=worker_cpu_s + hosts_cpu_s,
            rss_bytes=self._rss_bytes,
            queued=sum(len(p.working) for p in partitions.values()),
            hosts=hosts,
            redis_ok=redis_ok,
            owned=len(partitions),
        )
        self._used.clear()
        self._traffic.clear()
        self._since_ms = now_ms
        self._reported_cpu_s = (self._worker_cpu_s, self._hosts_cpu_s)
        return report

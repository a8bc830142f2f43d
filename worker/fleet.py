"""Which graphs are in force on this node, and the hosts they need: wanted, started, loaded, restarted, stopped.

Deciding only: it appends effects to the list it was given, and is told what became of them.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

from liquefy.effects import Log, Relay
from liquefy.graph import Graph
from liquefy.hosting import Loaded, Refused
from liquefy.messages import Prepared, Session
from worker.events import KillHost, LoadGraph, StartHost, StopHost
from worker.hosts import Host, HostLife
from worker.mailbox import Partition

NAMES_MAX = 1_024
"""Names of hosts that need not be put together again."""

PREPARED_MS = 120_000
"""A graph that was prepared and not brought into force for so long is forgotten, and its hosts stopped."""

HANG_GRACE_MS = 2_000
"""A host ends what exceeds its time limit by itself, and tries once more what raised; one that shows no progress
for so much longer than the two calls may take is ended."""


class _Preparing:
    def __init__(self, graph: Graph, asked_by: dict[int, Session], since_ms: int) -> None:
        self.graph = graph
        self.asked_by = asked_by
        """By connection: one of them may be lost before we are ready."""
        self.since_ms = since_ms
        self.answered = False


class Fleet:
    """Hosts by name, graphs by name."""

    def __init__(self, slots: int, start_ms: int, effects: list[Any]) -> None:
        self.hosts: dict[str, Host] = {}
        self.graphs: dict[str, Graph] = {}
        self.stranded: list[Partition] = []
        """Partitions that stood in the queue of a host that was stopped: another host is theirs now."""
        self.stopped: list[str] = []
        """Hosts that were stopped, and the contexts with them; one of that name that is started again has none."""
        self._slots = max(1, slots)
        self._start_ms = start_ms
        self._effects = effects
        self._preparing: dict[tuple[str, int], _Preparing] = {}
        """By graph and version: one that is in force may be wanted while the next is being brought in."""

    def prepare(self, graph: Graph, asked_by: Session, now_ms: int, link: int = 0) -> None:
        """Get ready to run the graph, and tell who asked, by each connection by which they did, once we are (or why
        not)."""
        known = self._preparing.get((graph.name, graph.version))
        asked = known.asked_by if known is not None and not known.answered else {}
        self._preparing[graph.name, graph.version] = _Preparing(graph, asked | {link: asked_by}, now_ms)
        for host in self._hosts_of(graph):
            if host.life is HostLife.REFUSED:
                host.life = HostLife.WANTED
                host.start_at_ms = now_ms
        self.reconcile(now_ms)
        self._answer()

    def enforce(self, graphs: list[Graph], now_ms: int) -> bool:
        """These graphs are in force, and no others. True if that changes anything."""
        new = {g.name: g for g in graphs}
        if new == self.graphs:
            return False
        self.graphs = new
        for name, version in list(self._preparing):
            if name in new and new[name].version >= version:
                del self._preparing[name, version]
        self.reconcile(now_ms)
        return True

    def host_for(self, graph: Graph, fluxion: str, partition: str) -> Host:
        """The host that handles messages of the partition to the fluxion."""
        slot = 0
        if self._slots > 1:  # what feeds one another, and so has one index, is in one host
            _, group, index = partition.split("/")
            alone = graph.group_by_name[group].partitions == 1
            slot = zlib.crc32((group if alone else index).encode()) % self._slots
        return self.hosts[_name(graph.name, graph.fluxion_by_name[fluxion].bundle, slot)]

    def reconcile(self, now_ms: int) -> None:
        """Start the hosts that are missing and due, load what they lack, stop those nobody needs."""
        for known in [k for k, p in self._preparing.items() if p.answered and now_ms - p.since_ms > PREPARED_MS]:
            del self._preparing[known]
        needed: set[str] = set()
        for graph in [*self.graphs.values(), *(p.graph for p in self._preparing.values())]:
            for host in self._hosts_of(graph):
                needed.add(host.name)
                self._advance(host, graph, now_ms)
        for name in [n for n, host in self.hosts.items() if n not in needed and not host.running]:
            host = self.hosts.pop(name)
            for partition in host.queue:
                partition.scheduled = False
            self.stranded += host.queue
            self.stopped.append(name)
            self._effects.append(StopHost(name))

    def _hosts_of(self, graph: Graph) -> list[Host]:
        hosts = []
        for bundle in sorted(graph.bundles):
            for slot in range(self._slots):
                name = _name(graph.name, bundle, slot)
                if name not in self.hosts:
                    self.hosts[name] = Host(name, bundle, slot, graph)
                hosts.append(self.hosts[name])
        return hosts

    def _advance(self, host: Host, graph: Graph, now_ms: int) -> None:
        if host.life is HostLife.WANTED and now_ms >= host.start_at_ms:
            host.life = HostLife.STARTING
            home = graph.name if any(group.pinned for group in graph.groups) else ""
            self._effects.append(StartHost(host.name, host.bundle, graph.language_of(host.bundle), graph.env, home))
        if host.graph.version < graph.version:
            host.graph = graph
            host.fluxions = frozenset(host.only)
            if host.life in (HostLife.LOADING, HostLife.READY):
                self.load(host, now_ms)

    def load(self, host: Host, now_ms: int) -> None:
        host.life = HostLife.LOADING
        host.load_since_ms = now_ms
        self._effects.append(LoadGraph(host.name, host.graph, host.only))

    def started(self, name: str, now_ms: int) -> None:
        host = self.hosts.get(name)
        if host is None:
            self._effects.append(StopHost(name))
        elif host.life is HostLife.STARTING:
            self.load(host, now_ms)

    def loaded(self, host: Host, message: Loaded) -> bool:
        """The host has the code. True if it can be given messages from now on."""
        if message.version != host.graph.version or host.life is not HostLife.LOADING:
            return False
        host.asynchronous = frozenset(message.asynchronous)
        host.life = HostLife.READY
        self._answer()
        return True

    def refused(self, host: Host, message: Refused) -> None:
        if message.version == host.graph.version:
            self.failed(host, message.told())

    def failed(self, host: Host, error: str) -> None:
        """The host cannot do its work: it is not tried again before somebody prepares its graph anew."""
        host.life = HostLife.REFUSED
        host.error = error
        in_force = self.graphs.get(host.graph.name)
        if in_force is not None and host.bundle in in_force.bundles:
            self._effects.append(Log("error", f"{host.graph.name} cannot run here: {error}", "host"))
        self._answer()

    def died(self, host: Host, reason: str, now_ms: int) -> None:
        """Its process ended; `Host.died` has been called."""
        self._effects.append(Log("warning", f"host {host.name} ended ({reason}); starting another", "host"))
        fault = f"the host {host.ended_for}" if host.ended_for else f"the host ends while it loads the code: {reason}"
        host.ended_for = ""
        for preparing in self._preparing.values():
            unfit = not preparing.answered and host.bundle in preparing.graph.bundles
            if unfit and host.restart_ms > 400:
                host.life, host.error = HostLife.REFUSED, fault
        self.reconcile(now_ms)
        self._answer()

    def _answer(self) -> None:
        for preparing in self._preparing.values():
            if preparing.answered:
                continue
            hosts = self._hosts_of(preparing.graph)
            errors = [h.error for h in hosts if h.life is HostLife.REFUSED]
            loaded = all(h.life is HostLife.READY and h.graph.version >= preparing.graph.version for h in hosts)
            if errors or loaded:
                preparing.answered = True
                answer = Prepared(preparing.graph.name, preparing.graph.version, errors[0] if errors else "")
                self._effects += [Relay(session, answer, link) for link, session in preparing.asked_by.items()]

    def end_hung(self, now_ms: int) -> None:
        """End hosts that show no progress on what they run, or do not come to the end of loading."""
        for host in self.hosts.values():
            if host.life is HostLife.LOADING and now_ms - host.load_since_ms > self._start_ms:
                host.load_since_ms = now_ms
                self._kill(host, f"did not load the code within {self._start_ms} ms (host_start_ms)")
            elif host.life is HostLife.READY and host.running:
                # One for JavaScript shows signs of life, unless a call keeps it from that.
                calls = 1 if host.graph.language_of(host.bundle) == "javascript" else 2
                limit_ms = calls * max(f.timeout_ms for f in host.graph.fluxions) + HANG_GRACE_MS
                if now_ms - host.progress_ms > limit_ms:
                    host.progress_ms = now_ms
                    self._kill(host, "hangs")

    def _kill(self, host: Host, why: str) -> None:
        host.ended_for = why
        self._effects.append(Log("error", f"host {host.name} {why}: ending it", "host"))
        self._effects.append(KillHost(host.name))


@lru_cache(NAMES_MAX)
def _name(graph: str, bundle: str, slot: int) -> str:
    return f"{graph}:{bundle[:12]}:{slot}"

"""What the controller knows: nodes, graphs, placements, pins. Data and indexes; decides nothing.

Placements are a copy: the truth is in Redis, where the source of a migration changes it too. An epoch never goes
back here, except by `forget`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import NamedTuple

from controller.measuring import Measures
from liquefy.commits import Placement
from liquefy.errors import UserError
from liquefy.graph import Graph
from liquefy.messages import PeerUp, Report, Session

HISTORY_MAX = 10
"""Entries of a partition's history kept for `explain`."""


@dataclasses.dataclass
class Node:
    """One node by name. `sessions`: by connection of ours to a broker, its session there; none while it is gone.
    `started_ms`: when its process began, where there are several brokers. `confirmed`: a broker has named a session of
    it since we last connected to that. `ready`: graph -> version that it has loaded; `refused`: graph -> why it has
    not. `cordoned` and `drained` outlive the node, `leaving` does not. `inventory`: what it says that it owns.
    `passed_over`: by connection, a process of that name which seems to have begun before the one that is known."""

    name: str
    sessions: dict[int, Session] = dataclasses.field(default_factory=dict)
    started_ms: int = 0
    confirmed: bool = False
    capacity: float = 1.0
    since_ms: int = 0
    gone_ms: int = 0
    hung: bool = False
    cordoned: bool = False
    drained: bool = False
    leaving: bool = False
    ready: dict[str, int] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    inventory: dict[str, int] | None = None
    report: Report | None = None
    passed_over: dict[int, PeerUp] = dataclasses.field(default_factory=dict)

    @property
    def session(self) -> Session:
        """The one by which it is spoken to; b"" while it is gone."""
        return self.sessions[min(self.sessions)] if self.sessions else b""

    @property
    def alive(self) -> bool:
        return bool(self.sessions)

    @property
    def takes(self) -> bool:
        """Whether it may be given partitions."""
        return self.alive and not (self.cordoned or self.drained or self.leaving)

    @property
    def emptying(self) -> bool:
        return self.drained or self.leaving

    @property
    def state(self) -> str:
        if not self.alive:
            return "hung" if self.hung else "gone"
        return "drained" if self.emptying else "cordoned" if self.cordoned else "up"


class Note(NamedTuple):
    """Why a partition is where it is, since when, and how it came there."""

    since_ms: int
    reason: str
    history: deque[tuple[float, str]]


class Cluster:
    """`where`, `owned` and `counts` are indexes of the placements that have an owner: partition -> node,
    node -> partition -> epoch, node -> graph -> number."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.sessions: dict[Session, str] = {}
        self.gateways: dict[Session, str] = {}
        """Gateways that are connected, and the URL where each listens; a session of each broker."""
        self.links: dict[Session, int] = {}
        """Of nodes and gateways: by which of our connections the session is reached."""
        self.graphs: dict[str, Graph] = {}
        self.closing: set[str] = set()
        """Graphs that are being undeployed: gateways do not have them any more."""
        self.placements: dict[str, Placement] = {}
        self.where: dict[str, str] = {}
        self.owned: dict[str, dict[str, int]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.pins: dict[str, str] = {}
        self.notes: dict[str, Note] = {}
        self.cooling_ms: dict[str, int] = {}
        self.asked_ms: dict[str, int] = {}
        self.measures = Measures()
        self.frozen = ""

    # -- nodes ---------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        return self.nodes.setdefault(name, Node(name))

    def named(self, name: str) -> Node:
        """Raises UserError for a name that is not known."""
        if name not in self.nodes:
            known = ", ".join(sorted(self.nodes)) or "none"
            raise UserError(f"there is no node {name!r}\n  remedy: give one of: {known}")
        return self.nodes[name]

    def by_session(self, session: Session) -> Node | None:
        name = self.sessions.get(session)
        return self.nodes[name] if name is not None else None

    def alive(self) -> list[Node]:
        return [self.nodes[name] for name in sorted(self.nodes) if self.nodes[name].alive]

    def is_alive(self, name: str) -> bool:
        node = self.nodes.get(name)
        return node is not None and node.alive

    def serves(self, partition: str) -> bool:
        """Whether its owner lives and says that it has it, as placed; placed alone it answers nobody yet."""
        node = self.nodes.get(self.where.get(partition, ""))
        return node is not None and node.alive and (node.inventory or {}).get(partition) == self.epoch(partition)

    def loaded(self, node: Node) -> frozenset[str]:
        """Graphs in force that the node can run."""
        return frozenset(name for name, graph in self.graphs.items() if node.ready.get(name) == graph.version)

    # -- placements ----------------------------------------------------------------------------------------

    def place(self, placement: Placement, reason: str, now_ms: int) -> bool:
        """Take a placement over, if it is news. A higher epoch is; so is a first look."""
        partition, owner, epoch = placement
        old = self.placements.get(partition)
        if old is not None and (old.epoch > epoch or old == placement):
            return False
        self._unindex(partition)
        self.placements[partition] = placement
        if owner:
            self.where[partition] = owner
            self.owned.setdefault(owner, {})[partition] = epoch
            graph = partition[: partition.index("/")]
            counts = self.counts.setdefault(owner, {})
            counts[graph] = counts.get(graph, 0) + 1
        note = self.notes.get(partition)
        history = note.history if note is not None else deque(maxlen=HISTORY_MAX)
        if owner:
            history.append((now_ms / 1000, f"{owner} (epoch {epoch}): {reason}"))
        self.notes[partition] = Note(now_ms, reason, history)
        return True

    def forget(self, partition: str) -> None:
        self._unindex(partition)
        for table in (self.placements, self.notes, self.cooling_ms, self.asked_ms):
            table.pop(partition, None)

    def epoch(self, partition: str) -> int:
        placement = self.placements.get(partition)
        return placement.epoch if placement is not None else 0

    def placed(self, graph: str) -> list[str]:
        """All placed partitions of a graph, those left over from earlier versions too."""
        return [p for p in self.where if p.startswith(graph + "/")]

    def graph_of(self, partition: str) -> Graph | None:
        return self.graphs.get(partition[: partition.index("/")])

    def alone(self) -> set[tuple[str, str]]:
        """(graph, group) of the groups that have one partition."""
        groups = ((graph.name, group) for graph in self.graphs.values() for group in graph.groups)
        return {(graph, group.name) for graph, group in groups if group.partitions == 1}

    def fixed(self) -> dict[str, str]:
        """partition -> why, of the groups whose memory is in a process, but for processes that are ending anyway."""
        ending = {node.name for node in self.nodes.values() if node.leaving}
        return {
            partition: group.pinned
            for graph in self.graphs.values()
            for group in graph.groups
            if group.pinned
            for partition in (f"{graph.name}/{group.name}/{i}" for i in range(group.partitions))
            if self.where.get(partition) not in ending
        }

    def pinned(self) -> dict[str, str]:
        """Pins by partition: a pin of a partition goes before that of its group."""
        result: dict[str, str] = {}
        for what, node in sorted(self.pins.items(), key=lambda pin: pin[0].count("/")):
            if what.count("/") == 2:
                result[what] = node
            else:
                graph, group = what.split("/")
                known = self.graphs.get(graph)
                found = known.group_by_name.get(group) if known is not None else None
                result.update((f"{what}/{i}", node) for i in range(found.partitions if found else 0))
        return result

    def _unindex(self, partition: str) -> None:
        owner = self.where.pop(partition, None)
        if owner is not None:
            del self.owned[owner][partition]
            self.counts[owner][partition[: partition.index("/")]] -= 1

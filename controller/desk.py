"""What the parts of the controller share: the settings, what is known, the time of the step, and the effects
asked for in it. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controller.cluster import Cluster, Node
from controller.events import Answer, Operation, Reconnect, Store
from controller.journal import Journal
from liquefy.config import ControllerConfig
from liquefy.effects import Log, Relay, ToBroker
from liquefy.messages import Assign, Control, Graphs, Prepare, Recheck, Session

Effect = ToBroker | Relay | Log | Answer | Store | Reconnect


class Desk:
    """`now_ms` is the time of the present step, Unix milliseconds that never go back."""

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        self.cluster = Cluster()
        self.journal = Journal(config.name, config.events_max, config.log_lines_max)
        self.now_ms = 0
        self.term = 0
        self.links: set[int] = set()
        """Our connections whose brokers have welcomed us."""
        self.settled = False
        """The peers had their time to come back since then; who is not here is gone."""
        self.redis_ok = True
        self.migrations = 0
        self.failovers = 0
        self._effects: list[Effect] = []
        self._assigned: dict[str, tuple[int, str]] = {}
        self._waiting: dict[int, tuple[Operation, Callable[[Any], None]]] = {}
        self._tag = 0
        self._said = 0

    @property
    def linked(self) -> bool:
        """There is a broker."""
        return bool(self.links)

    def take_effects(self) -> list[Effect]:
        """All effects of this step, in order; assignments last, in one message."""
        if self._assigned:
            claims = [(partition, epoch, node) for partition, (epoch, node) in self._assigned.items()]
            self.brokers(Assign(claims))
        self._assigned.clear()
        effects, self._effects = self._effects, []
        return effects

    def assign(self, partition: str, epoch: int, node: str) -> None:
        """Tell the brokers, when this step is through. Lost while there is none: reconciling does it again."""
        self._assigned[partition] = (epoch, node)

    def brokers(self, message: Control) -> None:
        """To all that there are."""
        self._effects += [ToBroker(message, link) for link in sorted(self.links)]

    def broker(self, message: Control, link: int) -> None:
        """To one."""
        if link in self.links:
            self._effects.append(ToBroker(message, link))

    def hello(self, message: Control, link: int) -> None:
        """The one message that goes before the welcome."""
        self._effects.append(ToBroker(message, link))

    def relay(self, to: Session, message: Control) -> None:
        link = self.cluster.links.get(to, 0)
        if link in self.links and to:
            self._effects.append(Relay(to, message, link))

    def answer(self, answers: list[Answer]) -> None:
        self._effects += answers

    def reconnect(self, link: int) -> None:
        self._effects.append(Reconnect(link))

    def store(self, operation: Operation, then: Callable[[Any], None]) -> None:
        """`then(result)` is called in the step in which the result comes."""
        self._tag += 1
        self._waiting[self._tag] = operation, then
        self._effects.append(Store(operation, self._tag))

    def stored(self, tag: int, result: Any) -> None:
        _, then = self._waiting.pop(tag)
        then(result)

    def under_way(self) -> list[Operation]:
        """What the store was asked for, in that order, and has not answered yet."""
        return [operation for operation, _ in self._waiting.values()]

    def log(self, level: str, text: str, event: str = "", **fields: Any) -> None:
        line = Log(level, text, event, fields)
        self._effects.append(line)
        self._effects += self.journal.logged(line, self.now_ms)

    def send_graphs(self, workers: bool = True, gateways: bool = True, purged: tuple[str, ...] = ()) -> None:
        """All graphs in force, to all."""
        for node in self.cluster.alive() if workers else ():
            self.equip(node, purged)
        graphs = self.open_graphs()
        for session in self.cluster.gateways if gateways else ():
            self.relay(session, graphs)

    def equip(self, node: Node, purged: tuple[str, ...] = ()) -> None:
        """The graphs in force, by each broker, then the wish to know when it has loaded them."""
        graphs = self.graphs(purged)
        for session in node.sessions.values():
            self.relay(session, graphs)
        for name, graph in sorted(self.cluster.graphs.items()):
            if node.ready.get(name) != graph.version and name not in node.refused:
                self.relay(node.session, Prepare(graph))

    def recheck(self) -> None:
        """All nodes are to see whether the store has what they stored."""
        for node in self.cluster.alive():
            self.relay(node.session, Recheck())

    def open_graphs(self) -> Graphs:
        """Those that take requests."""
        graphs = self.cluster.graphs
        taking = [graph for name, graph in sorted(graphs.items()) if name not in self.cluster.closing]
        return Graphs(taking, (), *self._numbered())

    def graphs(self, purged: tuple[str, ...] = ()) -> Graphs:
        return Graphs([graph for _, graph in sorted(self.cluster.graphs.items())], purged, *self._numbered())

    def _numbered(self) -> tuple[int, int]:
        """Where there are several brokers, by which the same may come sooner or later."""
        if len(self.config.broker_addresses) == 1:
            return 0, 0
        self._said += 1
        return self.term, self._said

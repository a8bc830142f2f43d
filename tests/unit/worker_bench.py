"""A worker's deciding half on a bench: a store in a dict, hosts that answer when told, every effect kept.

Used by the tests of the worker; knows nothing of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liquefy import values
from liquefy.commits import ContextAnswer, PartitionState, Verdict
from liquefy.config import WorkerConfig
from liquefy.effects import Relay, SendFrame, ToBroker
from liquefy.graph import Fluxion, Graph, Group, Input
from liquefy.hosting import Done, Emitted, Item, Loaded, Ran, Run
from liquefy.messages import Ack, Activate, Graphs, Message, Part, Posted, Route, Welcome, partition_index
from liquefy.sending import ACK_AFTER_MS
from worker import events as ev
from worker.state import WorkerState

CONTROLLER = b"controller#1"
GATEWAY = b"gateway1#1"


def graph(version: int = 1, bundle: str = "b" * 64, partitions: int = 1) -> Graph:
    """input >> store (stateful, keyed) >> tell (stateless) >> call (awaits) >> output"""

    def fluxion(name: str, *streams: str, key: str = "") -> Fluxion:
        return Fluxion(name, f"app:{name}", name, key, bundle=bundle, streams=streams)

    return Graph(
        "shop",
        version,
        bundle,
        (Input("input", "GET", "/{id}", "store"),),
        (fluxion("store", "tell", key="id"), fluxion("tell", "call"), fluxion("call", "output")),
        (Group("store", True, partitions), Group("tell", False, partitions), Group("call", False, partitions)),
    )


Handler = Callable[[Item, int], Done]


class Bench:
    """`handlers[fluxion](item, ticket) -> Done`; by default each passes its body on."""

    def __init__(self, config: WorkerConfig | None = None, spec: Graph | None = None) -> None:
        self.state = WorkerState(config or WorkerConfig(name="node1"))
        self.graph = spec or graph()
        self.now_ms = 1_700_000_000_000
        self.effects: list[Any] = []
        self.runs: list[tuple[str, list[Item]]] = []
        self.commits: list[ev.CommitBatch] = []
        self.reads: list[ev.ReadContexts] = []
        self.stored: dict[tuple[str, str], dict[str, bytes]] = {}
        self.seen: set[bytes] = set()
        self.epochs: dict[str, int] = {}
        self.outboxes: dict[str, list[tuple[int, bytes]]] = {}
        self.auto = True
        self.loads = True
        self.awaiting = ["call"]
        self.handlers: dict[str, Handler] = {}

    def step(self, event: ev.Event) -> list[Any]:
        """One event; the store and the hosts answer at once while `auto`."""
        effects = self.state.step(event, self.now_ms)
        self.effects += effects
        for effect in effects:
            if isinstance(effect, ev.StartHost):
                self.step(ev.HostStarted(effect.host))
            elif isinstance(effect, ev.LoadGraph) and self.loads:
                self.step(ev.HostSaid(effect.host, Loaded(effect.graph.name, effect.graph.version, self.awaiting)))
            elif isinstance(effect, ev.LoadPartitions):
                self.step(ev.PartitionsLoaded([self._state_of(p) for p in effect.partitions]))
            elif isinstance(effect, ev.ReadContexts):
                self.reads.append(effect)
                if self.auto:
                    self.answer_reads()
            elif isinstance(effect, ev.TellHost) and isinstance(effect.message, Run):
                self.runs.append((effect.host, effect.message.items))
                if self.auto:
                    self.answer_runs()
            elif isinstance(effect, ev.CommitBatch):
                self.commits.append(effect)
                if self.auto:
                    self.answer_commits()
        return effects

    def _state_of(self, partition: str) -> PartitionState:
        return PartitionState(partition, "node1", self.epochs.get(partition, 1), 0, self.outboxes.get(partition, []))

    def answer_reads(self) -> None:
        while self.reads:
            effect = self.reads.pop(0)
            answers = [
                ContextAnswer(
                    q.partition,
                    {k: dict(self.stored.get((q.partition, k), {})) for k in q.keys},
                    frozenset(i for _, i in q.ids if i in self.seen),
                )
                for q in effect.queries
            ]
            self.step(ev.ContextsRead(effect.read, answers))

    def answer_runs(self) -> None:
        while self.runs:
            host, items = self.runs.pop(0)
            self.step(ev.HostSaid(host, Ran([self.handle(item) for item in items])))

    def handle(self, item: Item) -> Done:
        if item.fluxion in self.handlers:
            return self.handlers[item.fluxion](item, item.ticket)
        to = self.graph.fluxion_by_name[item.fluxion].streams[0]
        sets = {"n": values.pack(1)} if item.fluxion == "store" else {}
        return Done(item.ticket, [Emitted(to, "", item.body)], sets, (), cpu_us=10, elapsed_us=10)

    def answer_commits(self, outcome: str = "ok", duplicates: tuple[bytes, ...] = ()) -> None:
        asked, self.commits = self.commits, []
        for effect in asked:
            for commit in effect.commits:
                if outcome == "ok":
                    self.seen.update(i for _, i in commit.seen)
                    for change in commit.contexts:
                        self.stored.setdefault((commit.partition, change.key), {}).update(change.sets)
            verdicts = [Verdict(c.partition, outcome, duplicates) for c in effect.commits]
            self.step(ev.Committed(effect.tag, verdicts))

    # -- getting there ----------------------------------------------------------------------------------

    def ready(self, *partitions: str, routes: bool = True) -> Bench:
        """Connected, the graph in force, these partitions active here, everything else on node2."""
        self.step(ev.Up(b"node1#1"))
        elsewhere = [
            Route(p, "node2", b"node2#1", 1, 1) for p in self.graph.partition_names() if p not in partitions
        ]
        here = [Route(p, "node1", b"node1#1", 1, 1) for p in partitions]
        table = [*here, *elsewhere, Route("@gateway1", "gateway1", GATEWAY, 0, 1)] if routes else []
        self.step(ev.FromBroker(Welcome("b", table)))
        self.step(ev.FromPeer(CONTROLLER, Graphs([self.graph])))
        for partition in partitions:
            self.epochs.setdefault(partition, 1)
            self.step(ev.FromBroker(Activate(partition, self.epochs[partition])))
        self.effects.clear()
        return self

    def message(self, number: int, key: str = "alice", fluxion: str = "store", **more: Any) -> Message:
        fields = {"root": b"r%d" % number, "gateway": "gateway1", "deadline_ms": self.now_ms + 30_000} | more
        return Message(b"m%d" % number, fluxion, key, values.pack({"id": key}), self.now_ms, **fields)

    def arrive(self, *messages: Message, resend: bool = False, sender: bytes = GATEWAY, seq: int = 1) -> None:
        """One frame of these messages, by partition."""
        parts: dict[str, list[Posted]] = {}
        for offset, message in enumerate(messages):
            group = self.graph.group_by_name[self.graph.fluxion_by_name[message.fluxion].group]
            name = f"shop/{group.name}/{partition_index(message.key, group.partitions)}"
            parts.setdefault(name, []).append(Posted(seq + offset, message, resend))
        self.step(ev.Data(sender, [Part(n, 1, len(p)) for n, p in parts.items()], list(parts.values())))

    # -- looking ----------------------------------------------------------------------------------------

    def to_broker(self, kind: type) -> list[Any]:
        return [e.message for e in self.effects if isinstance(e, ToBroker) and isinstance(e.message, kind)]

    def relayed(self, kind: type) -> list[tuple[bytes, Any]]:
        if kind is Ack:  # these are gathered for a while
            self.now_ms += ACK_AFTER_MS
            self.step(ev.Tick())
        return [(e.to, e.message) for e in self.effects if isinstance(e, Relay) and isinstance(e.message, kind)]

    def sent(self) -> list[tuple[str, Posted]]:
        """(destination, message) of all that went to the broker."""
        return [
            (part.destination, posted)
            for e in self.effects
            if isinstance(e, SendFrame)
            for part, posteds in zip(e.header, e.parts, strict=True)
            for posted in posteds
        ]

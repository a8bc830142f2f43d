"""One seed: a cluster of some shape, some requests, some faults, and then rest and judgement.

All is drawn from the seed: how many nodes and gateways, how large batches and windows, how slow the network, how wild
the faults. Requests and faults are the `plan`, any part of which can be left out. Faults end at `end_ms`; REST_MS
later at most everything must have settled; then a request to each fluxion must be answered at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from bounds import Bounds, draw
from brokers import how_many as how_many_brokers
from brokers import plan_broker_faults
from checkers import Judge, StoreChecker, Watch, unsettled
from clients import Clients, GatewayProcess
from control import ControllerProcess, Operator
from core import Sim, Violation
from faults import plan_faults
from leaders import TermChecker, how_many, plan_leader_faults
from moves import MoveChecker
from network import Network
from processes import BrokerProcess, WorkerProcess
from store import Store
from wild import WildController
from workload import SINGLE_KEY, STATEFUL, STATELESS, Plan, Shape, bundle_of, make_graph, make_plan

from liquefy.commits import PartitionCommit, Verdict
from liquefy.config import BrokerConfig, ControllerConfig, GatewayConfig, WorkerConfig
from liquefy.graph import OUTPUT, Graph
from liquefy.hosting import Item

REST_MS = 60_000.0
CHECK_MS = 200.0
PROBE_MS = 5_000.0
"""In so long a request is answered when all is at rest."""

HANG_SEEN_MS = 8_000.0
"""In so long a host that hangs is ended, also by a worker whose clock was just put back."""

SKEW_MS_MAX = 5_000
LOSSY = 0.2
"""In so many seeds the store loses what was written last."""


class Planned(NamedTuple):
    number: int
    at_ms: float
    what: str


class World:
    """`without`: numbers of what is planned, and left out. `settings`: of the controllers."""

    def __init__(self, seed: int, without: Collection[int] = (), **settings: Any) -> None:
        self.settings = settings
        self.sim = sim = Sim(seed)
        self.plan: list[Planned] = []
        self.without = without
        rng = sim.script
        self.wildness = rng.choice((0.0, 0.3, 1.0, 1.0, 2.5))
        self.gone_on = 0
        """Messages handled in one call with the one that caused them."""
        self.end_ms = rng.choice((1_500.0, 3_000.0, 5_000.0))
        self.hot = hot = rng.random() < 0.35
        self.slow = rng.choice((1.0, 1.0, 4.0, 10.0) if hot else (1.0, 1.0, 1.0, 6.0))
        chain = hot and rng.random() < 0.4
        self.shape = Shape(
            partitions=rng.choice((1, 2) if hot else (1, 2, 4)),
            keys=rng.choice((1, 2) if hot else (1, 3, 8, 20)),
            depth=3 if chain else rng.choice((1, 2) if hot else (1, 2, 3, 4)),
            fan=rng.choice((1, 2, 2, 3)),
            delays=rng.choice((0, 0, 0.15)),
            failures=rng.choice((0, 0, 0.05)),
            poison=0 if hot else rng.choice((0, 0, 0, 0.01)),
            hot=hot,
            chain=chain,
        )
        self.code_bundles = rng.choice((1, 1, 2))
        first = make_graph(self.shape, 1, self.code_bundles)
        self.graphs: dict[str, list[Graph]] = {"g": [first]}
        """By name, all versions that have been in force, or will be first."""
        if rng.random() < 0.25:
            self.graphs["h"] = [make_graph(self.shape, 1, self.code_bundles, name="h")]
        self.void_ms: dict[str, float] = {}
        """By graph, until when requests may have been lost, as it was undeployed."""
        self.bundles = {first.bundle: bundle_of(1)}
        self.broken: set[str] = set()
        self.network = Network(sim, rng.choice((0.3, 2.0, 10.0)), rng.choice((0, 0.02)))
        trouble = rng.choice((0, 0.02, 0.15)) if self.wildness else 0
        self.store = Store(sim, rng.choice((0.3, 1.0, 8.0)), trouble, trouble)
        self.checker = self.store.checker = StoreChecker()
        self.store.on_commit, self.store.on_placed = self._applied, self.checker.placed
        self.store.on_unplaced = self.checker.unplaced
        self.terms = self.store.terms = TermChecker()
        self.limits = draw(seed)
        self.config = dataclasses.replace(self._worker_config(), **self.limits["worker"])
        self.bounds, self.moves = Bounds(self), MoveChecker(self)
        self.node_names = [f"node{i + 1}" for i in range(rng.choice((1, 2, 3, 3, 4)))]
        self.witnessed: Counter[bytes] = Counter()
        self.broker_count = how_many_brokers(seed)
        self.brokers: list[BrokerProcess] = []
        self.controllers: dict[str, Any] = {}
        self.workers: dict[str, WorkerProcess] = {}
        self.gateways: dict[str, GatewayProcess] = {}
        self.incarnations = 0
        self.mistakes_kill = False
        """A process that runs into an assertion of its own dies of it and comes back, as real ones do, and the seed
        goes on: so that the judges must see a planted bug, not the code in which it is."""
        self.kill_leader: Callable[[], bool] | None = None
        """Asked after each step of who leads, with what it asked for done: whether it dies now."""
        self.rest_ms = REST_MS
        self.clients = Clients(self)
        self.wild = rng.random() < 0.4
        self.lossy = bool(self.wildness) and not self.wild and rng.random() < LOSSY
        self.skews: dict[str, int] = {}
        self.watch = Watch(self)
        self.operator = Operator(self)
        self._start()

    def _worker_config(self) -> WorkerConfig:
        rng = self.sim.script
        return WorkerConfig(
            name="",
            slots=rng.choice((1, 1, 2)),
            window=rng.choice((3, 20, 2048)),
            batch_messages_max=rng.choice((1, 3, 16, 128)),
            batches_in_flight_max=rng.choice((1, 2, 2)),
            async_in_flight_max=rng.choice((1, 4, 512)),
            cache_bytes_max=rng.choice((300, 2_000, 10_000_000)),
        )

    # -- processes --------------------------------------------------------------------------------------

    def _start(self) -> None:
        gateways = [f"gateway{i + 1}" for i in range(self.sim.script.choice((1, 2)))]
        skew_ms = self.sim.script.choice((0, 0, 0, 50, SKEW_MS_MAX))
        if self.wildness:
            machines = (*self.node_names, *gateways, "controller1")
            self.skews = {name: self.sim.script.randint(-skew_ms, skew_ms) for name in machines}
        for i in range(self.broker_count):
            self.brokers.append(BrokerProcess(self, i, BrokerConfig(**self.limits["broker"])))
        for i in range(1 if self.wild else how_many(self.sim.seed)):
            self.start_controller(f"controller{i + 1}")
        for name in self.node_names:
            self.start_worker(name)
        for name in gateways:
            self.start_gateway(name)
        if not self.wild:
            self._deployments()
        else:
            for versions in self.graphs.values():
                self.store.memory.put_graph_now(versions[0])
        self._arrivals()
        plan_faults(self)
        plan_leader_faults(self)
        plan_broker_faults(self)
        jumps = any("clock_jump" in planned.what for planned in self.plan)
        self.skew_max_ms = 1 + (SKEW_MS_MAX if jumps else max(map(abs, self.skews.values()), default=0))  # rounded

    def enter(self, at_ms: float, what: str, action: Callable[..., object], *args: Any) -> None:
        """It is part of the plan; and happens, unless it is left out."""
        number = len(self.plan)
        self.plan.append(Planned(number, at_ms, what))
        if number not in self.without:
            self.sim.after(at_ms, action, *args)

    def _deployments(self) -> None:
        """The first ones, and perhaps a second version (perhaps one that does not load)."""
        rng = self.sim.script
        for versions in self.graphs.values():
            self.sim.after(60.0, self.operator.deploy, versions[0])
        for later in (100, 3_000, 6_000):
            self.sim.after(self.end_ms + later, lambda: self.controller.calm())
        if rng.random() < 0.4:
            second = make_graph(self.shape, 2, self.code_bundles, rng.choice((0, 0, 1)))
            self.bundles[second.bundle] = bundle_of(2)
            broken = rng.random() < 0.3
            if broken:
                self.broken.add(second.bundle)
            self.enter(rng.uniform(400, self.end_ms), "deploy version 2", self._second, second, broken)

    def _second(self, graph: Graph, broken: bool) -> None:
        if graph.name not in self.operator.wanted:
            self.operator.deploy(graph, 0 if broken else 200)

    def undeploy_the_second(self) -> None:
        if "h" in self.graphs and not self.wild and "h" not in self.operator.wanted:
            self.void_ms["h"] = float("inf")
            self.controller.ask("undeploy", graph="h")
            self.operator.wanted["h"] = 0, self.graphs["h"][0], 0
            self.sim.after(2_500, self.operator.deploy, self.graphs["h"][0])

    def _applied(self, owner: str, commit: PartitionCommit, verdict: Verdict) -> None:
        self.checker.applied(owner, commit, verdict)
        if commit.move is not None:
            self.moves.applied(owner, commit.partition, commit.epoch, commit.move[0])

    def deployed(self, graph: Graph) -> None:
        """It comes into force."""
        self.graphs[graph.name].append(graph)
        self.checker.graph_stored(graph.name, graph.version)

    def deleted(self, name: str) -> None:
        """It is in force no more."""
        self.checker.graph_deleted(name, self.void_ms.get(name) == float("inf"))

    def told_deployed(self, graph: Graph) -> None:
        """The operator has an answer."""
        if graph.name in self.void_ms:
            self.void_ms[graph.name] = self.sim.now

    def known_graphs(self) -> list[Graph]:
        """Each in its last version."""
        return [versions[-1] for versions in self.graphs.values()]

    def certain_since(self, graph: str) -> float:
        """What gateways took in later than that has its effect. Before, the store may have lost it, or the graph was
        undeployed."""
        return max(self.void_ms.get(graph, -1.0), self.store.lost_ms)

    def spread_anew(self) -> bool:
        """A later version has another number of partitions: what has no context finds other owners, and those know
        nothing of what the first ones handled, or still handle."""
        return any(len({len(g.partition_names()) for g in versions}) > 1 for versions in self.graphs.values())

    def partition_names(self) -> list[str]:
        """Of all versions."""
        versions = [graph for versions in self.graphs.values() for graph in versions]
        return list(dict.fromkeys(name for graph in versions for name in graph.partition_names()))

    def start_broker(self, number: int) -> None:
        self.brokers[number] = BrokerProcess(self, number, BrokerConfig(**self.limits["broker"]))

    @property
    def addresses(self) -> str:
        """As the settings of peers name the brokers."""
        return ",".join(f"tcp://broker:{number}" for number in range(self.broker_count))

    @property
    def controller(self) -> Any:
        """The one that leads; else one that lives, if any does."""
        found = sorted(self.controllers.values(), key=lambda c: (c.leads, c.alive, c.name))
        return found[-1]

    def start_controller(self, name: str) -> None:
        if self.wild:
            self.controllers[name] = WildController(self, name, 1_500.0)
        else:
            settings = ControllerConfig(name=name, brokers=self.addresses, **self.limits["controller"] | self.settings)
            self.controllers[name] = ControllerProcess(self, name, settings)

    def start_worker(self, name: str) -> None:
        config = dataclasses.replace(self.config, name=name, brokers=self.addresses)
        self.workers[name] = WorkerProcess(self, name, config)

    def start_gateway(self, name: str) -> None:
        self.incarnations += 1
        config = GatewayConfig(name=name, brokers=self.addresses, **self.limits["gateway"])
        self.gateways[name] = GatewayProcess(self, name, config, self.incarnations)

    def crashed(self, process: Any) -> None:
        """It comes back by itself."""
        delay = self.sim.between(50, 1_500)
        if process.role == "broker":
            self.sim.after(delay / 3, self.start_broker, process.number)
        elif process.role == "controller":
            self.sim.after(delay, self.start_controller, process.name)
        elif process.role == "worker":
            self.sim.after(delay, self.start_worker, process.name)
        else:
            self.sim.after(delay, self.start_gateway, process.name)

    def witness(self, item: Item) -> None:
        self.witnessed[item.id] += 1

    # -- requests ---------------------------------------------------------------------------------------

    def _arrivals(self) -> None:
        rng = self.sim.script
        once = rng.choice((0, 0, 0.3))
        count = rng.choice((100, 200) if self.hot else (5, 20, 60, 120))
        start = 300.0
        for _ in range(count):
            plan = make_plan(rng, self.shape)
            if not plan.key and (plan.fluxion in STATEFUL or plan.fluxion == "pass"):
                plan = type(plan)(plan.fluxion, SINGLE_KEY, 0, plan.fail, plan.children)
            at = rng.uniform(start, self.end_ms)
            if rng.random() < (0.8 if self.hot else 0.3):
                at = start + (at - start) // 400 * 400  # bursts
            graph = rng.choice(("g", "g", "g", "h")) if "h" in self.graphs else "g"
            what = f"request of {graph}: {plan}"
            self.enter(at, what, self.clients.ask, graph, plan, rng.random() < once)

    # -- the run ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Violation."""
        sim = self.sim
        while sim.now < self.end_ms:
            sim.run(min(self.end_ms, sim.now + CHECK_MS))
            self.watch.look()
        self.network.spike = self.store.lose = self.store.ghost = 0
        self._rest()
        if self.operator.look():
            self._rest()
        for graph in self.graphs:
            for fluxion in (*STATEFUL, *STATELESS):
                self._probe(graph, fluxion)
        self._rest()
        self.moves.verdict()
        Judge(self).verdict()

    def _rest(self) -> None:
        sim, until_ms = self.sim, self.sim.now + self.rest_ms
        left = [""]
        while left and sim.now < until_ms:
            sim.run(sim.now + CHECK_MS)
            self.watch.look()
            left = unsettled(self)
        if left:
            text = f"not at rest {self.rest_ms / 1000:.0f} s after the last fault:\n  " + "\n  ".join(left[:20])
            raise Violation(text, *re.findall(r"\b[gh]/\w+/\d+", text)[:1])

    def _probe(self, graph: str, fluxion: str, tries: int = 3) -> None:
        """All is well again: who asks is answered. That a host hangs shows only when it is given something."""
        key = SINGLE_KEY if fluxion == "only" else f"k{self.sim.script.randrange(self.shape.keys)}"
        ask = self.clients.ask(graph, Plan(fluxion, key, 0, "", [Plan(OUTPUT)]), False)
        until_ms = self.sim.now + PROBE_MS
        while not ask.answers and not ask.refused and self.sim.now < until_ms:
            self.sim.run(self.sim.now + 5.0)
        if ask.refused == [504] and tries > 1:
            self.sim.run(self.sim.now + HANG_SEEN_MS)
            self._probe(graph, fluxion, tries - 1)
        elif not ask.answers:
            what = f"refused with {ask.refused}" if ask.refused else "not answered"
            raise Violation(f"all is at rest, and {ask.path} to {graph}'s {fluxion} is {what}", ask.path)

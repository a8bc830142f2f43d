"""One seed: a cluster of some shape, some requests, some faults, and then rest and judgement.

All is drawn from the seed: how many nodes and gateways, how large batches and windows, how slow the network, how wild
the faults. Faults end at `end_ms`; REST_MS later everything must have settled.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from checkers import Judge, StoreChecker, check_bounds, unsettled
from clients import Clients, GatewayProcess
from control import ControllerProcess, Operator
from core import Sim, Violation
from faults import plan_faults
from network import Network
from processes import BrokerProcess, Process, WorkerProcess
from store import Store
from wild import WildController
from workload import SINGLE_KEY, STATEFUL, Shape, bundle_of, make_graph, make_plan

from liquefy.config import BrokerConfig, ControllerConfig, GatewayConfig, WorkerConfig
from liquefy.graph import Graph
from liquefy.hosting import Item

REST_MS = 60_000.0
CHECK_MS = 200.0


class World:
    def __init__(self, seed: int) -> None:
        self.sim = sim = Sim(seed)
        rng = sim.rng
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
        self.graphs: list[Graph] = [first]
        self.bundles = {first.bundle: bundle_of(1)}
        self.broken: set[str] = set()
        self.network = Network(sim, rng.choice((0.3, 2.0, 10.0)), rng.choice((0, 0.02)))
        trouble = rng.choice((0, 0.02, 0.15)) if self.wildness else 0
        self.store = Store(sim, rng.choice((0.3, 1.0, 8.0)), trouble, trouble)
        self.checker = StoreChecker(sim)
        self.store.on_commit, self.store.on_placed = self.checker.applied, self.checker.placed
        self.config = self._worker_config(seed)
        self.node_names = [f"node{i + 1}" for i in range(rng.choice((1, 2, 3, 3, 4)))]
        self.witnessed: Counter[bytes] = Counter()
        self.broker: BrokerProcess | None = None
        self.controller: Any = None
        self.workers: dict[str, WorkerProcess] = {}
        self.gateways: dict[str, GatewayProcess] = {}
        self.incarnations = 0
        self.clients = Clients(self)
        self.wild = rng.random() < 0.4
        self.operator = Operator(self)
        self._start()

    def _worker_config(self, seed: int) -> WorkerConfig:
        rng = self.sim.rng
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
        self.start_broker()
        self.start_controller()
        for name in self.node_names:
            self.start_worker(name)
        for i in range(self.sim.rng.choice((1, 2))):
            self.start_gateway(f"gateway{i + 1}")
        if not self.wild:
            self._deployments()
        self._arrivals()
        plan_faults(self)

    def _deployments(self) -> None:
        """The first one, and perhaps a second version (perhaps one that does not load)."""
        rng = self.sim.rng
        self.sim.after(60.0, self.operator.deploy, self.graphs[0])
        for later in (100, 3_000, 6_000):
            self.sim.after(self.end_ms + later, lambda: self.controller.calm())
        if rng.random() < 0.4:
            second = make_graph(self.shape, 2, self.code_bundles, rng.choice((0, 0, 1)))
            self.bundles[second.bundle] = bundle_of(2)
            broken = rng.random() < 0.3
            if broken:
                self.broken.add(second.bundle)
            self.sim.after(rng.uniform(400, self.end_ms), self._second, second, broken)

    def _second(self, graph: Graph, broken: bool) -> None:
        if self.operator.deploying is None:
            self.operator.deploy(graph, 0 if broken else 200)

    def deployed(self, graph: Graph) -> None:
        """It comes into force."""
        self.graphs.append(graph)

    def graph_in_force(self) -> Graph:
        return self.graphs[-1]

    def spread_anew(self) -> bool:
        """A later version has another number of partitions: what has no context finds other owners, and those know
        nothing of what the first ones handled, or still handle."""
        return len({len(graph.partition_names()) for graph in self.graphs}) > 1

    def partition_names(self) -> list[str]:
        """Of all versions."""
        return list(dict.fromkeys(name for graph in self.graphs for name in graph.partition_names()))

    def start_broker(self) -> None:
        self.broker = BrokerProcess(self, "broker", BrokerConfig())

    def start_controller(self) -> None:
        if self.wild:
            self.controller = WildController(self, "controller", 1_500.0)
        else:
            self.controller = ControllerProcess(self, "controller", ControllerConfig())

    def start_worker(self, name: str) -> None:
        self.workers[name] = WorkerProcess(self, name, dataclasses.replace(self.config, name=name))

    def start_gateway(self, name: str) -> None:
        self.incarnations += 1
        self.gateways[name] = GatewayProcess(self, name, GatewayConfig(name=name), self.incarnations)

    def crashed(self, process: Process) -> None:
        """It comes back by itself."""
        delay = self.sim.between(50, 1_500)
        if process.role == "broker":
            self.sim.after(delay / 3, self.start_broker)
        elif process.role == "controller":
            self.sim.after(delay, self.start_controller)
        elif process.role == "worker":
            self.sim.after(delay, self.start_worker, process.name)
        else:
            self.sim.after(delay, self.start_gateway, process.name)

    def witness(self, item: Item) -> None:
        self.witnessed[item.id] += 1

    # -- requests ---------------------------------------------------------------------------------------

    def _arrivals(self) -> None:
        rng = self.sim.rng
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
            self.sim.after(at, self.clients.ask, plan, rng.random() < once)

    # -- the run ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Violation."""
        sim = self.sim
        while sim.now < self.end_ms:
            sim.run(min(self.end_ms, sim.now + CHECK_MS))
            check_bounds(self)
        left = [""]
        while left and sim.now < self.end_ms + REST_MS:
            sim.run(sim.now + CHECK_MS)
            left = unsettled(self)
        if left:
            raise Violation(f"not at rest {REST_MS / 1000:.0f} s after the last fault:\n  " + "\n  ".join(left[:20]))
        Judge(self).verdict()

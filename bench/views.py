"""Clusters as the controller's plan sees them, of any size, with loads that lie as they would after something went
wrong. No cluster is started for them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from controller.balance import Step
from controller.trial import NodeView, View

MEAN = 0.5
"""Utilisation, on average."""

GRAPH_PARTITIONS = 8_192
"""Two groups of as many as a group may have."""

MESSAGES_A_CORE = 5_000.0
"""A second, where a core does nothing else: from a partition of one group to the same of the other."""


def chance(dice: random.Random, nodes: int) -> tuple[int, float]:
    """Placed at random, loads that differ as times between requests do."""
    return dice.randrange(nodes), dice.expovariate(1.0)


def tenth(dice: random.Random, nodes: int) -> tuple[int, float]:
    """A fifth of the partitions too much on a tenth of the nodes."""
    return dice.randrange(max(1, nodes // 10) if dice.random() < 0.2 else nodes), dice.uniform(0.3, 1.0)


def heavy(dice: random.Random, nodes: int) -> tuple[int, float]:
    """A few partitions have most of the load; none more than a node can bear."""
    return dice.randrange(nodes), min(20.0, dice.paretovariate(1.2))


def joined(dice: random.Random, nodes: int) -> tuple[int, float]:
    """A twentieth of the nodes has just joined, and has nothing."""
    return dice.randrange(nodes // 20, nodes), dice.uniform(0.5, 1.0)


SKEWS: dict[str, Callable[[random.Random, int], tuple[int, float]]] = {
    each.__name__: each for each in (chance, tenth, heavy, joined)
}


def view(nodes: int, partitions: int, skew: str, seed: int, capacities: tuple[float, ...] = (1.0,)) -> View:
    """So many of both; node and load of each partition as `skew` draws them. Partitions of the same index talk."""
    dice = random.Random(seed)
    names = [f"node{i}" for i in range(nodes)]
    owned: dict[str, list[str]] = {name: [] for name in names}
    where: dict[str, str] = {}
    drawn: dict[str, float] = {}
    for i in range(partitions):
        graph, rest = divmod(i, GRAPH_PARTITIONS)
        partition = f"g{graph}/{'ab'[rest % 2]}/{rest // 2}"
        place, drawn[partition] = SKEWS[skew](dice, nodes)
        where[partition] = names[place]
        owned[names[place]].append(partition)
    capacity = {name: dice.choice(capacities) for name in names}
    factor = MEAN * sum(capacity.values()) / sum(drawn.values())
    loads = {partition: load * factor for partition, load in drawn.items()}
    names_of, traffic = list(where), dict[str, dict[str, float]]()
    for one, other in zip(names_of[::2], names_of[1::2], strict=False):
        rate = MESSAGES_A_CORE * min(loads[one], loads[other])
        traffic[one], traffic[other] = {other: rate}, {one: rate}
    graphs = frozenset(partition.partition("/")[0] for partition in where)
    shapes = [NodeView(name, capacity[name], 0.0, True, False, graphs) for name in names]
    return View(shapes, owned, where, loads, traffic, {}, {}, {}, {})


def highest(of: View, moves: list[Step]) -> float:
    """Utilisation of the most utilised node after these moves, counted anew."""
    load = {node.name: sum(of.loads[p] for p in of.owned[node.name]) for node in of.nodes}
    for step in moves:
        assert of.where[step.partition] == step.source
        load[step.source] -= of.loads[step.partition]
        load[step.target] += of.loads[step.partition]
    return max(load[node.name] / node.capacity for node in of.nodes)


def lower_bound(of: View) -> float:
    """No placement has its highest utilisation below: all nodes the same, or the heaviest partition alone."""
    mean = sum(of.loads.values()) / sum(node.capacity for node in of.nodes)
    return max(mean, max(of.loads.values()) / max(node.capacity for node in of.nodes))

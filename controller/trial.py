"""The cluster as the plan sees it, and as it would be after steps that are only thought of so far.

Knows no aim: which steps are worth taking is `balance`'s to say. Pure.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple

TARGETS_MAX = 4
"""How many of the least utilised nodes are compared as targets."""

Chain = tuple[str, str]
"""What should stay on one node: (graph, index), or (graph, group) for a group of one partition."""

Unit = tuple[float, tuple[str, ...]]
"""Partitions of one node that move together, and their load."""


class NodeView(NamedTuple):
    """A living node. `capacity` in cores; `base`: cores it uses that no partition accounts for; `takes`: it may be
    given partitions; `leaving`: it is to be emptied; `graphs`: those whose code it has loaded."""

    name: str
    capacity: float
    base: float
    takes: bool
    leaving: bool
    graphs: frozenset[str]


class View(NamedTuple):
    """`owned`: node -> partitions; `where`: partition -> node; `loads`: partition -> cores (idle ones may be
    missing); `traffic`: partition -> partition -> messages per second, symmetric; `pins`: partition -> node;
    `cooling_ms`: partition -> until when it is left alone; `asked_ms`: the same, but only for moves that no load
    demands, because a person moved it; `counts`: node -> graph -> partitions; `alone`: (graph, group) of those groups
    that have one partition."""

    nodes: Sequence[NodeView]
    owned: Mapping[str, Collection[str]]
    where: Mapping[str, str]
    loads: Mapping[str, float]
    traffic: Mapping[str, Mapping[str, float]]
    pins: Mapping[str, str]
    cooling_ms: Mapping[str, int]
    asked_ms: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    alone: Collection[tuple[str, str]] = ()
    fixed: Collection[str] = ()
    """Partitions that no move may touch: what they remember is in the process."""


def load_of(view: View, partitions: Iterable[str]) -> float:
    """Cores. This is asked of every partition there is, so it is one pass in C."""
    return sum(map(view.loads.get, partitions, repeat(0.0)))


def chains_of(view: View, partitions: Iterable[str]) -> list[Chain]:
    """What each of them belongs to. It is asked of many at once, as there are so many."""
    alone, names = view.alone, map(str.split, partitions, repeat("/"))
    if not alone:
        return [(graph, index) for graph, _, index in names]
    return [(graph, group if (graph, group) in alone else index) for graph, group, index in names]


def graph_of(partition: str) -> str:
    return partition[: partition.index("/")]


class Units:
    """What may move off one node, by load, smallest first. There are so many that nothing is made of each: one is a
    position in `names` and `loads`, which are parallel. `chains`: what each of a list belongs to, of which those of the
    same go together."""

    __slots__ = ("_firsts", "_loads", "_members", "_names", "_order")

    def __init__(
        self,
        names: list[str],
        loads: list[float],
        fixed: Collection[str],
        chains: Callable[[list[str]], list[Chain]] | None,
    ) -> None:
        self._names, self._loads = names, loads
        self._members: dict[int, tuple[str, ...]] = {}
        """Of those that are several partitions."""
        self._firsts: dict[str, str] = {}
        """The same partitions: the one at whose position they stand."""
        self._order = [position for position, name in enumerate(names) if name not in fixed]
        if chains is not None:
            self._join(chains([names[position] for position in self._order]))
        self._order.sort(key=self._loads.__getitem__)

    def _join(self, chains: list[Chain]) -> None:
        if len(set(chains)) == len(chains):
            return
        found: dict[Chain, list[int]] = {}
        for each, position in zip(chains, self._order, strict=True):
            found.setdefault(each, []).append(position)
        self._order = [positions[0] for positions in found.values()]
        self._loads = list(self._loads)
        for positions in found.values():
            if len(positions) > 1:
                members = tuple(sorted(self._names[position] for position in positions))
                self._members[positions[0]] = members
                self._firsts |= dict.fromkeys(members, self._names[positions[0]])
                self._loads[positions[0]] = sum(self._loads[position] for position in positions)

    def __iter__(self) -> Iterator[Unit]:
        return map(self._unit, self._order)

    def largest(self) -> Unit | None:
        return self._unit(self._order[-1]) if self._order else None

    def near(self, load: float) -> list[Unit]:
        """The largest of at most that load, and the next larger one, of those that have any."""
        at = bisect_right(self._order, load, key=self._loads.__getitem__)
        return [self._unit(each) for each in self._order[max(0, at - 1) : at + 1] if self._loads[each] > 0.0]

    def discard(self, partitions: tuple[str, ...]) -> None:
        """They are elsewhere, and what they were part of is no more."""
        for first in {self._firsts.get(partition, partition) for partition in partitions}:
            position = self._names.index(first)
            if position in self._order:
                self._order.remove(position)

    def _unit(self, position: int) -> Unit:
        return self._loads[position], self._members.get(position) or (self._names[position],)


class Trial:
    """The view, as it would be after the steps taken so far. Lists of a node's units are made when it is looked at, and
    sums are kept, so that of many nodes only those touched cost anything. `load`: of each node, if it is known."""

    def __init__(
        self, view: View, in_progress: Collection[str], now_ms: int, load: Mapping[str, float] | None = None
    ) -> None:
        self.view, self.in_progress, self.now_ms = view, in_progress, now_ms
        self.nodes = {node.name: node for node in view.nodes}
        self._loads: dict[str, list[float]] = {}
        self.load = dict(load) if load else {n.name: n.base + sum(self._loads_of(n.name)) for n in view.nodes}
        self.utilisation = {name: self.load[name] / node.capacity for name, node in self.nodes.items()}
        self.moved: dict[str, str] = {}
        stay = [n for n in view.nodes if not n.leaving]
        self._stay = {n.name for n in stay}
        self._stuck: set[str] = set()
        self._sum = (sum(self.load[n.name] for n in stay), sum(n.capacity for n in stay))
        self._sum_stuck = (0.0, 0.0)
        cooling = (p for p, until_ms in view.cooling_ms.items() if until_ms > now_ms)
        self._fixed = {*in_progress, *view.pins, *view.fixed, *cooling}
        self._units: dict[tuple[str, bool], Units] = {}
        self._high = [(-self.utilisation[name], name) for name in self.nodes]
        self._low = [(self.utilisation[n.name], n.name) for n in view.nodes if n.takes and not n.leaving]
        heapq.heapify(self._high)
        heapq.heapify(self._low)

    def _loads_of(self, name: str) -> list[float]:
        """Cores, parallel to what the node owns: looked up once, as there are so many."""
        loads = self._loads.get(name)
        if loads is None:
            loads = list(map(self.view.loads.get, self.view.owned.get(name, ()), repeat(0.0)))
            self._loads[name] = loads
        return loads

    def mean(self) -> float:
        """Load over capacity of the nodes that stay."""
        return self._sum[0] / self._sum[1] if self._sum[1] else 0.0

    def reachable(self) -> float:
        """The same, without the nodes that are stuck: what the others can come to."""
        capacity = self._sum[1] - self._sum_stuck[1]
        return (self._sum[0] - self._sum_stuck[0]) / capacity if len(self._stuck) < len(self._stay) else 0.0

    def stick(self, name: str) -> None:
        """No move helps this node."""
        self._stuck.add(name)
        self._sum_stuck = (self._sum_stuck[0] + self.load[name], self._sum_stuck[1] + self.nodes[name].capacity)

    def highest(self) -> float:
        return max((self.utilisation[n.name] for n in self.nodes.values() if not n.leaving), default=0.0)

    def top(self) -> str | None:
        """The most utilised node that stays and is not stuck."""
        while self._high:
            utilisation, name = self._high[0]
            if name in self._stay and name not in self._stuck and -utilisation == self.utilisation[name]:
                return name
            heapq.heappop(self._high)
        return None

    def lowest(self, graph: str, source: str) -> list[str]:
        """Up to TARGETS_MAX least utilised nodes that take partitions of the graph."""
        found: list[tuple[float, str]] = []
        passed: list[tuple[float, str]] = []
        while self._low and len(found) < TARGETS_MAX:
            utilisation, name = heapq.heappop(self._low)
            if utilisation != self.utilisation[name] or (found and found[-1][1] == name):
                continue
            fits = name != source and graph in self.nodes[name].graphs
            (found if fits else passed).append((utilisation, name))
        for entry in (*found, *passed):
            heapq.heappush(self._low, entry)
        return [name for _, name in found]

    def units(self, name: str, whole: bool) -> Units:
        """What may move off the node: chains (`whole`) or single partitions."""
        units = self._units.get((name, whole))
        if units is None:
            names = list(self.view.owned.get(name, ()))
            units = Units(names, self._loads_of(name), self._fixed, partial(chains_of, self.view) if whole else None)
            self._units[name, whole] = units
        return units

    def movable(self, partition: str) -> bool:
        return partition not in self._fixed

    def at(self, partition: str) -> str:
        return self.moved.get(partition) or self.view.where.get(partition, "")

    def affinity(self, partitions: Collection[str], target: str) -> float:
        """Messages per second between these partitions and those on the target."""
        traffic = self.view.traffic
        return sum(
            rate
            for partition in partitions
            for other, rate in traffic.get(partition, {}).items()
            if other not in partitions and self.at(other) == target
        )

    def take(self, unit: Unit, source: str, target: str) -> None:
        """Do the move in the view."""
        load, partitions = unit
        self.load[source] -= load
        self.load[target] += load
        self._sum = (self._sum[0] + load * ((target in self._stay) - (source in self._stay)), self._sum[1])
        stuck = load * ((target in self._stuck) - (source in self._stuck))
        self._sum_stuck = (self._sum_stuck[0] + stuck, self._sum_stuck[1])
        self.moved.update(dict.fromkeys(partitions, target))
        self._fixed.update(partitions)
        for name in (source, target):
            utilisation = self.utilisation[name] = self.load[name] / self.nodes[name].capacity
            heapq.heappush(self._high, (-utilisation, name))
            if self.nodes[name].takes and not self.nodes[name].leaving:
                heapq.heappush(self._low, (utilisation, name))
        for whole in (True, False):
            if (source, whole) in self._units:
                self._units[source, whole].discard(partitions)

"""Which partitions should move, and where partitions without a node should go: pure functions of a view.

Aims, in this order: the highest utilisation of a node as low as it gets, few messages between nodes, few moves.
The partitions of one chain (same graph, same index, joined by streams) stay together as far as loads allow.

Knows no node's session, no migration, no clock: the caller measures, decides when to look, and carries out.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple

NOMINAL_LOAD = 0.0005
"""Cores that a partition is taken to use at least when it is given a place: spreads idle ones by their number."""

GAIN_MIN = 0.002
"""Utilisation by which a move must lower the higher of its two nodes: what moving a partition costs."""

GAIN_PART_MIN = 0.001
"""Where partitions are so small that none brings that much, this part of what their node lies above the mean will do:
a node may be far too high with nothing but such ones to give away."""

GAIN_SHARE_MIN = 0.05
"""The same as a share of the mean utilisation, so that noise of the measurement is not followed; applies to
the plan as a whole."""

TARGETS_MAX = 4
"""How many of the least utilised nodes are compared as targets."""

TRAFFIC_MIN = 20.0
"""Messages per second between nodes that a move must save to be made for the traffic's sake."""

TRAFFIC_SHARE_MIN = 0.25
"""And what part of the partition's whole traffic that must be."""

SHARE_MIN = 0.5
"""A node with less than this part of its share of an idle graph's partitions is given its share."""

Chain = tuple[str, str]
"""What should stay on one node: (graph, index), or (graph, group) for a group of one partition."""


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
    demands, because a person moved it; `counts`: node -> graph -> partitions; `chain`: what belongs together."""

    nodes: Sequence[NodeView]
    owned: Mapping[str, Collection[str]]
    where: Mapping[str, str]
    loads: Mapping[str, float]
    traffic: Mapping[str, Mapping[str, float]]
    pins: Mapping[str, str]
    cooling_ms: Mapping[str, int]
    asked_ms: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    chain: Callable[[str], Chain]
    fixed: Collection[str] = ()
    """Partitions that no move may touch: what they remember is in the process."""


class Limits(NamedTuple):
    """`band`: by which part of the mean the highest node may lie above it; `load_min`: utilisation below which loads
    are not worth moving; `moves_max`: chains moved in one plan."""

    band: float = 0.10
    load_min: float = 0.05
    moves_max: int = 16


class Step(NamedTuple):
    """One partition to move; `gain` is the utilisation by which the higher of the two nodes falls, `saved` the messages
    per second that then no longer go from node to node; 0 where it moves for another reason."""

    partition: str
    source: str
    target: str
    reason: str
    gain: float
    saved: float = 0.0


class Aim(NamedTuple):
    """What a plan's moves should bring besides even loads: partitions of `graph` on each node, now and then, if they
    are for its shares; else, if they are for the traffic, messages per second of what moves that go from node to
    node, now and then."""

    graph: str = ""
    counts: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
    crossing: tuple[float, float] = (0.0, 0.0)


class Plan(NamedTuple):
    """`required`: what drained nodes and pins demand; `moves`: what loads, else shares, else traffic suggest.
    `notes`: what no move can help, by partition. Utilisations: of each node now, the `highest` of them, the highest
    `expected` after the moves, the `mean`. `balanced`: the highest is inside the band (or low). `aim`: None if the
    moves are for the loads."""

    required: list[Step]
    moves: list[Step]
    notes: dict[str, str]
    utilisation: dict[str, float]
    highest: float
    expected: float
    mean: float
    balanced: bool
    aim: Aim | None


def plan(view: View, in_progress: Collection[str], limits: Limits, now_ms: int) -> Plan:
    """What to do now. Partitions in progress are left alone. Deterministic."""
    work = _Work(view, in_progress, now_ms)
    load = dict(work.load)
    utilisation = {name: work.utilisation(name) for name in work.nodes}
    required = _required(work)
    highest, mean = work.highest(), work.mean()
    balanced = highest <= limits.load_min or highest - mean <= limits.band * mean
    moves, notes = _relieve(work, limits)
    if sum(step.gain for step in moves) < GAIN_SHARE_MIN * mean:
        moves, work = [], _Work(view, in_progress, now_ms, load)
    aim = None
    if not moves and not required:
        moves = _share(work, limits) or _gather(work, limits)
        aim = _aim(view, moves) if moves else None
    return Plan(required, moves, notes, utilisation, highest, work.highest(), mean, balanced, aim)


def counts(view: View, graph: str) -> dict[str, int]:
    """Partitions of the graph on each node."""
    return {node.name: view.counts.get(node.name, {}).get(graph, 0) for node in view.nodes}


def crossing(view: View, partitions: Collection[str], moved: Mapping[str, str] | None = None) -> float:
    """Messages per second between these partitions and any others that go from node to node; `moved`: as if they
    were on these nodes."""
    where = {**view.where, **moved} if moved else view.where
    chosen = set(partitions)
    return sum(
        rate / 2 if other in chosen else rate
        for partition in chosen
        for other, rate in view.traffic.get(partition, {}).items()
        if where.get(other, "") != where.get(partition, "")
    )


def _aim(view: View, moves: list[Step]) -> Aim:
    moved = {step.partition: step.target for step in moves}
    if any(step.saved for step in moves):
        return Aim(crossing=(crossing(view, moved), crossing(view, moved, moved)))
    graph = _graph(moves[0].partition)
    now = counts(view, graph)
    then = dict(now)
    for step in moves:
        then[step.source] -= 1
        then[step.target] += 1
    return Aim(graph, (now, then))


def spread(view: View, partitions: Collection[str], fresh: bool = False) -> dict[str, str]:
    """A node for each of these partitions, chains together, heaviest first to the least utilised node that takes
    them; pinned ones where they are pinned. `fresh`: evenly among themselves, whatever the nodes have already.
    Partitions whose graph no such node has loaded are left out."""
    chains: dict[Chain, list[str]] = {}
    chosen: dict[str, str] = {}
    ready = {node.name: node for node in view.nodes if node.takes and not node.leaving}
    placing = set(partitions)
    for partition in partitions:
        pin = ready.get(view.pins.get(partition, ""))
        if pin is not None and _graph(partition) in pin.graphs:
            chosen[partition] = pin.name
        else:
            chains.setdefault(view.chain(partition), []).append(partition)
    have = {name: _nominal(view, [p for p in view.owned.get(name, ()) if p not in placing]) for name in ready}
    given = dict.fromkeys(ready, 0.0) if fresh else dict(have)
    weights = {chain: _nominal(view, members) for chain, members in chains.items()}
    heaps: dict[str, list[tuple[float, float, str]]] = {}
    for chain in sorted(chains, key=lambda c: (-weights[c], c[0], len(c[1]), c[1])):
        heap = heaps.get(chain[0])
        if heap is None:
            heap = [_room(n, given, have) for n in ready.values() if chain[0] in n.graphs]
            heapq.heapify(heap)
            heaps[chain[0]] = heap
        if not heap:
            continue
        while heap[0] != (now := _room(ready[heap[0][2]], given, have)):
            heapq.heapreplace(heap, now)  # it was given something by another graph: nodes only get fuller
        target = heap[0][2]
        given[target] += weights[chain]
        chosen.update(dict.fromkeys(chains[chain], target))
    return chosen


def _room(node: NodeView, given: Mapping[str, float], have: Mapping[str, float]) -> tuple[float, float, str]:
    """By which the next chain's node is chosen: the least."""
    return (given[node.name] / node.capacity, have[node.name] / node.capacity, node.name)


def _nominal(view: View, partitions: Collection[str]) -> float:
    return _load(view, partitions) + NOMINAL_LOAD * len(partitions)


def _load(view: View, partitions: Iterable[str]) -> float:
    """Cores. This is asked of every partition there is, so it is one pass in C."""
    return sum(map(view.loads.get, partitions, repeat(0.0)))


def _graph(partition: str) -> str:
    return partition[: partition.index("/")]


_Unit = tuple[float, tuple[str, ...]]
"""Partitions of one node that move together, and their load."""

_Head = tuple[float, str]
"""A unit by its load and its first partition: there are so many that what is made of each is what planning costs."""


class _Work:
    """The view, as it would be after the steps taken so far. Lists of a node's units are made when it is looked at, and
    sums are kept, so that of many nodes only those touched cost anything. `load`: of each node, if it is known."""

    def __init__(
        self, view: View, in_progress: Collection[str], now_ms: int, load: Mapping[str, float] | None = None
    ) -> None:
        self.view, self.in_progress, self.now_ms = view, in_progress, now_ms
        self.nodes = {node.name: node for node in view.nodes}
        self._loads: dict[str, list[float]] = {}
        self.load = dict(load) if load else {n.name: n.base + sum(self._loads_of(n.name)) for n in view.nodes}
        self.moved: dict[str, str] = {}
        stay = [n for n in view.nodes if not n.leaving]
        self._stay = {n.name for n in stay}
        self._stuck: set[str] = set()
        self._sum = (sum(self.load[n.name] for n in stay), sum(n.capacity for n in stay))
        self._sum_stuck = (0.0, 0.0)
        cooling = (p for p, until_ms in view.cooling_ms.items() if until_ms > now_ms)
        self._fixed = {*in_progress, *view.pins, *view.fixed, *cooling}
        self._heads: dict[tuple[str, bool], list[_Head]] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        """First partition -> all that are of its chain and on its node, where that is more than one."""
        self._high = [(-self.utilisation(name), name) for name in self.nodes]
        self._low = [(self.utilisation(n.name), n.name) for n in view.nodes if n.takes and not n.leaving]
        heapq.heapify(self._high)
        heapq.heapify(self._low)

    def _loads_of(self, name: str) -> list[float]:
        """Cores, parallel to what the node owns: looked up once, as there are so many."""
        loads = self._loads.get(name)
        if loads is None:
            loads = list(map(self.view.loads.get, self.view.owned.get(name, ()), repeat(0.0)))
            self._loads[name] = loads
        return loads

    def utilisation(self, name: str) -> float:
        return self.load[name] / self.nodes[name].capacity

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
        return max((self.utilisation(n.name) for n in self.nodes.values() if not n.leaving), default=0.0)

    def top(self) -> str | None:
        """The most utilised node that stays and is not stuck."""
        while self._high:
            utilisation, name = self._high[0]
            if name in self._stay and name not in self._stuck and -utilisation == self.utilisation(name):
                return name
            heapq.heappop(self._high)
        return None

    def lowest(self, graph: str, source: str) -> list[str]:
        """Up to TARGETS_MAX least utilised nodes that take partitions of the graph."""
        found: list[tuple[float, str]] = []
        passed: list[tuple[float, str]] = []
        while self._low and len(found) < TARGETS_MAX:
            utilisation, name = heapq.heappop(self._low)
            if utilisation != self.utilisation(name) or (found and found[-1][1] == name):
                continue
            fits = name != source and graph in self.nodes[name].graphs
            (found if fits else passed).append((utilisation, name))
        for entry in (*found, *passed):
            heapq.heappush(self._low, entry)
        return [name for _, name in found]

    def heads(self, name: str, whole: bool) -> list[_Head]:
        """What may move off the node, by load, smallest first: chains (`whole`) or single partitions."""
        heads = self._heads.get((name, whole))
        if heads is None:
            fixed = self._fixed
            every = zip(self._loads_of(name), self.view.owned.get(name, ()), strict=True)
            heads = [head for head in every if head[1] not in fixed]
            if whole:
                heads = self._together(heads)
            heads.sort()
            self._heads[name, whole] = heads
        return heads

    def _together(self, heads: list[_Head]) -> list[_Head]:
        """The same, with one for those that are of one chain."""
        chains = [self.view.chain(partition) for _, partition in heads]
        if len(set(chains)) == len(chains):
            return heads
        found: dict[Chain, list[_Head]] = {}
        for chain, head in zip(chains, heads, strict=True):
            found.setdefault(chain, []).append(head)
        several = [chain for chain, members in found.items() if len(members) > 1]
        for chain in several:
            members = tuple(sorted(partition for _, partition in found[chain]))
            self._members[members[0]] = members
            found[chain] = [(sum(load for load, _ in found[chain]), members[0])]
        return [head for members in found.values() for head in members]

    def unit(self, head: _Head, whole: bool) -> _Unit:
        load, first = head
        return load, self._members.get(first, (first,)) if whole else (first,)

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

    def take(self, unit: _Unit, source: str, target: str) -> None:
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
            utilisation = self.utilisation(name)
            heapq.heappush(self._high, (-utilisation, name))
            if self.nodes[name].takes and not self.nodes[name].leaving:
                heapq.heappush(self._low, (utilisation, name))
        for whole in (True, False):
            heads = self._heads.get((source, whole))
            if heads is None:
                continue
            head = (load, partitions[0])
            at = bisect_left(heads, head)
            if at < len(heads) and heads[at] == head and self.unit(head, whole) == unit:
                del heads[at]
            else:  # it was part of one, or consisted of several
                self._heads[source, whole] = [h for h in heads if not {*self.unit(h, whole)[1]} & {*partitions}]


def _required(work: _Work) -> list[Step]:
    """Off the nodes that leave; to where they are pinned."""
    view = work.view
    steps = []
    for partition, node in sorted(view.pins.items()):
        if partition in view.fixed:
            continue
        source = view.where.get(partition, "")
        pin = work.nodes.get(node)
        if pin is None or source in ("", node) or source not in work.nodes or partition in work.in_progress:
            continue
        if _graph(partition) in pin.graphs and not pin.leaving:
            steps.append(Step(partition, source, node, f"pinned to {node}", 0.0))
    decided = {step.partition for step in steps}
    for node_view in view.nodes:
        if not node_view.leaving:
            continue
        owned = view.owned.get(node_view.name, ())
        away = [p for p in owned if p not in work.in_progress and p not in decided and p not in view.fixed]
        for partition, target in spread(view, sorted(away)).items():
            steps.append(Step(partition, node_view.name, target, f"{node_view.name} is being emptied", 0.0))
    for step in steps:
        work.take((view.loads.get(step.partition, 0.0), (step.partition,)), step.source, step.target)
    return steps


def _relieve(work: _Work, limits: Limits) -> tuple[list[Step], dict[str, str]]:
    """Take load off the most utilised nodes, most loaded first, until they are inside half the band."""
    steps: list[Step] = []
    notes: dict[str, str] = {}
    chains = 0
    while chains < limits.moves_max:
        source = work.top()
        if source is None or work.utilisation(source) <= limits.load_min:
            break
        mean = work.reachable()
        if work.utilisation(source) - mean <= (limits.band / 2 if steps else limits.band) * mean:
            break
        found = _best(work, source, mean, limits)
        if found is None:
            notes |= _hot(work, source, limits)
            work.stick(source)
            continue
        unit, target, gain = found
        reason = f"{source} is at {work.utilisation(source):.0%}, {target} at {work.utilisation(target):.0%}"
        steps += [Step(p, source, target, reason, gain if i == 0 else 0.0) for i, p in enumerate(unit[1])]
        work.take(unit, source, target)
        chains += 1
    return steps, notes


def _best(work: _Work, source: str, mean: float, limits: Limits) -> tuple[_Unit, str, float] | None:
    """The chain, else the partition, whose move off the source helps most, and where to."""
    gain_min = min(GAIN_MIN, GAIN_PART_MIN * (work.utilisation(source) - mean))
    for whole in (True, False):
        best: tuple[_Unit, str, float] | None = None
        lowest: dict[str, list[str]] = {}
        for unit in _candidates(work, source, mean, whole, lowest):
            load, partitions = unit
            good = [
                (target, gain)
                for target in _targets(work, source, unit, lowest)
                if (gain := _gain(work, load, source, target)) >= gain_min
            ]
            if not good or (best is not None and good[0][1] <= best[2]):
                continue
            full = mean * (1 + limits.band / 2)
            roomy = [found for found in good if work.load[found[0]] + load <= full * work.nodes[found[0]].capacity]
            if len(roomy) > 1 and not work.view.traffic.keys().isdisjoint(partitions):
                target, gain = max(roomy, key=lambda found: work.affinity(partitions, found[0]))
            else:
                target, gain = (roomy or good)[0]
            best = (unit, target, gain)
        if best is not None:
            return best
    return None


def _targets(work: _Work, source: str, unit: _Unit, lowest: dict[str, list[str]]) -> list[str]:
    """Where the unit could go. `lowest`: what was found already, by graph."""
    graph = _graph(unit[1][0])
    targets = lowest.get(graph)
    if targets is None:
        targets = lowest[graph] = work.lowest(graph, source)
    return targets


def _candidates(work: _Work, source: str, mean: float, whole: bool, lowest: dict[str, list[str]]) -> list[_Unit]:
    """The largest unit that neither sinks the source below the mean nor lifts the lowest node above it, and the
    next larger one."""
    heads = work.heads(source, whole)
    if not heads:
        return []
    targets = _targets(work, source, work.unit(heads[-1], whole), lowest)
    if not targets:
        return []
    room = (mean - work.utilisation(targets[0])) * work.nodes[targets[0]].capacity
    excess = (work.utilisation(source) - mean) * work.nodes[source].capacity
    at = bisect_right(heads, min(room, excess), key=itemgetter(0))
    return [work.unit(head, whole) for head in heads[max(0, at - 1) : at + 1] if head[0] > 0.0]


def _gain(work: _Work, load: float, source: str, target: str) -> float:
    before = max(work.utilisation(source), work.utilisation(target))
    left = (work.load[source] - load) / work.nodes[source].capacity
    grown = (work.load[target] + load) / work.nodes[target].capacity
    return before - max(left, grown)


def _hot(work: _Work, source: str, limits: Limits) -> dict[str, str]:
    """Say so if one partition is what makes the node hot."""
    loads = work.view.loads
    hottest = max(work.view.owned.get(source, ()), key=lambda p: (loads.get(p, 0.0), p), default="")
    load = loads.get(hottest, 0.0)
    share = load / work.nodes[source].capacity
    if not hottest or work.at(hottest) != source or share <= work.mean() * (1 + limits.band):
        return {}
    text = f"hot: {hottest} alone uses {share:.0%} of {source}; a partition runs on one node, so no move helps"
    return {hottest: text}


def _share(work: _Work, limits: Limits) -> list[Step]:
    """Give a node that has far less than its share of an idle graph's partitions that share."""
    view = work.view
    graphs = sorted({graph for counts in view.counts.values() for graph, count in counts.items() if count})
    for graph in graphs:
        nodes = [n for n in view.nodes if n.takes and not n.leaving and graph in n.graphs]
        capacity = sum(n.capacity for n in nodes)
        counts = {n.name: view.counts.get(n.name, {}).get(graph, 0) for n in nodes}
        total = sum(counts.values())
        poor = [n for n in nodes if counts[n.name] < SHARE_MIN * int(total * n.capacity / capacity)]
        if not poor:
            continue
        mine = [p for n in nodes for p in view.owned.get(n.name, ()) if p.startswith(graph + "/")]
        if sum(view.loads.get(p, 0.0) for p in mine) >= limits.load_min:
            continue
        share = {n.name: total * n.capacity / capacity for n in nodes}
        steps = _fill(work, graph, poor[0].name, counts, share, limits)
        if steps:
            return steps
    return []


def _fill(
    work: _Work, graph: str, poor: str, counts: dict[str, int], share: dict[str, float], limits: Limits
) -> list[Step]:
    steps: list[Step] = []
    for _ in range(limits.moves_max):
        found = None
        for donor in sorted(counts, key=lambda name: (share[name] - counts[name], name)):
            over, under = counts[donor] - share[donor], share[poor] - counts[poor]
            found = next(
                (
                    unit
                    for unit in (work.unit(head, True) for head in work.heads(donor, True))
                    if _graph(unit[1][0]) == graph
                    and len(unit[1]) <= min(over, under) + 0.5
                    and all(work.view.asked_ms.get(p, 0) <= work.now_ms for p in unit[1])
                ),
                None,
            )
            if found is not None:
                break
        if found is None:
            break
        reason = f"{poor} has {counts[poor]} of its {share[poor]:.0f} partitions of {graph}"
        steps += [Step(p, donor, poor, reason, 0.0) for p in found[1]]
        counts[donor] -= len(found[1])
        counts[poor] += len(found[1])
        work.take(found, donor, poor)
    return steps


def _gather(work: _Work, limits: Limits) -> list[Step]:
    """Bring partitions to those they talk with, where the loads allow."""
    wishes = []
    for partition in work.view.traffic:
        wish = _wish(work, partition)
        if wish is not None:
            wishes.append((wish[1], partition))
    steps: list[Step] = []
    ceiling = max(work.mean() * (1 + limits.band / 2), limits.load_min)
    for _, partition in sorted(wishes, reverse=True):
        wish = _wish(work, partition)  # once more: those taken before may have changed it
        if wish is None or len(steps) >= limits.moves_max:
            continue
        target, saved = wish
        source, load = work.at(partition), work.view.loads.get(partition, 0.0)
        if (work.load[target] + load) / work.nodes[target].capacity > ceiling:
            continue
        reason = f"saves {saved:.0f} messages a second between {source} and {target}"
        steps.append(Step(partition, source, target, reason, 0.0, saved))
        work.take((load, (partition,)), source, target)
    return steps


def _wish(work: _Work, partition: str) -> tuple[str, float] | None:
    """The node with which the partition talks most, and the messages per second saved by being there."""
    source = work.at(partition)
    if source not in work.nodes or partition in work.moved or not work.movable(partition):
        return None
    if work.view.asked_ms.get(partition, 0) > work.now_ms:
        return None
    pull: dict[str, float] = {}
    for other, rate in work.view.traffic[partition].items():
        pull[work.at(other)] = pull.get(work.at(other), 0.0) + rate
    total, here = sum(pull.values()), pull.get(source, 0.0)
    graph = _graph(partition)
    there = [n for n in pull if n in work.nodes and n != source and work.nodes[n].takes]
    there = [n for n in there if not work.nodes[n].leaving and graph in work.nodes[n].graphs]
    if not there:
        return None
    target = max(there, key=lambda name: (pull[name], name))
    saved = pull[target] - here
    if saved < max(TRAFFIC_MIN, TRAFFIC_SHARE_MIN * total):
        return None
    return target, saved

"""Which partitions should move, and where partitions without a node should go: pure functions of a view.

Aims, in this order: the highest utilisation of a node as low as it gets, few messages between nodes, few moves.
The partitions of one chain (same graph, same index, joined by streams) stay together as far as loads allow.

Knows no node's session, no migration, no clock: the caller measures, decides when to look, and carries out.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from typing import NamedTuple

from controller.trial import Chain, NodeView, Trial, Unit, View, chains_of, graph_of, load_of

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

TRAFFIC_MIN = 20.0
"""Messages per second between nodes that a move must save to be made for the traffic's sake."""

TRAFFIC_SHARE_MIN = 0.25
"""And what part of the partition's whole traffic that must be."""

SHARE_MIN = 0.5
"""A node with less than this part of its share of an idle graph's partitions is given its share."""


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
    trial = Trial(view, in_progress, now_ms)
    load = dict(trial.load)
    utilisation = dict(trial.utilisation)
    required = _required(trial)
    highest, mean = trial.highest(), trial.mean()
    balanced = highest <= limits.load_min or highest - mean <= limits.band * mean
    moves, notes = _relieve(trial, limits)
    if sum(step.gain for step in moves) < GAIN_SHARE_MIN * mean:
        moves, trial = [], Trial(view, in_progress, now_ms, load)
    aim = None
    if not moves and not required:
        moves = _share(trial, limits) or _gather(trial, limits)
        aim = _aim(view, moves) if moves else None
    return Plan(required, moves, notes, utilisation, highest, trial.highest(), mean, balanced, aim)


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
    graph = graph_of(moves[0].partition)
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
    for partition, chain in zip(partitions, chains_of(view, partitions), strict=True):
        pin = ready.get(view.pins.get(partition, ""))
        if pin is not None and graph_of(partition) in pin.graphs:
            chosen[partition] = pin.name
        else:
            chains.setdefault(chain, []).append(partition)
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
    return load_of(view, partitions) + NOMINAL_LOAD * len(partitions)


def _required(trial: Trial) -> list[Step]:
    """Off the nodes that leave; to where they are pinned."""
    view = trial.view
    steps = []
    for partition, node in sorted(view.pins.items()):
        if partition in view.fixed:
            continue
        source = view.where.get(partition, "")
        pin = trial.nodes.get(node)
        if pin is None or source in ("", node) or source not in trial.nodes or partition in trial.in_progress:
            continue
        if graph_of(partition) in pin.graphs and not pin.leaving:
            steps.append(Step(partition, source, node, f"pinned to {node}", 0.0))
    decided = {step.partition for step in steps}
    for node_view in view.nodes:
        if not node_view.leaving:
            continue
        owned = view.owned.get(node_view.name, ())
        away = [p for p in owned if p not in trial.in_progress and p not in decided and p not in view.fixed]
        for partition, target in spread(view, sorted(away)).items():
            steps.append(Step(partition, node_view.name, target, f"{node_view.name} is being emptied", 0.0))
    for step in steps:
        trial.take((view.loads.get(step.partition, 0.0), (step.partition,)), step.source, step.target)
    return steps


def _relieve(trial: Trial, limits: Limits) -> tuple[list[Step], dict[str, str]]:
    """Take load off the most utilised nodes, most loaded first, until they are inside half the band."""
    steps: list[Step] = []
    notes: dict[str, str] = {}
    chains = 0
    while chains < limits.moves_max:
        source = trial.top()
        if source is None or trial.utilisation[source] <= limits.load_min:
            break
        mean = trial.reachable()
        if trial.utilisation[source] - mean <= (limits.band / 2 if steps else limits.band) * mean:
            break
        found = _best(trial, source, mean, limits)
        if found is None:
            notes |= _hot(trial, source, limits)
            trial.stick(source)
            continue
        unit, target, gain = found
        reason = f"{source} is at {trial.utilisation[source]:.0%}, {target} at {trial.utilisation[target]:.0%}"
        steps += [Step(p, source, target, reason, gain if i == 0 else 0.0) for i, p in enumerate(unit[1])]
        trial.take(unit, source, target)
        chains += 1
    return steps, notes


def _best(trial: Trial, source: str, mean: float, limits: Limits) -> tuple[Unit, str, float] | None:
    """The chain, else the partition, whose move off the source helps most, and where to."""
    gain_min = min(GAIN_MIN, GAIN_PART_MIN * (trial.utilisation[source] - mean))
    for whole in (True, False):
        best: tuple[Unit, str, float] | None = None
        lowest: dict[str, list[str]] = {}
        for unit in _candidates(trial, source, mean, whole, lowest):
            load, partitions = unit
            good = [
                (target, gain)
                for target in _targets(trial, source, unit, lowest)
                if (gain := _gain(trial, load, source, target)) >= gain_min
            ]
            if not good or (best is not None and good[0][1] <= best[2]):
                continue
            full = mean * (1 + limits.band / 2)
            roomy = [found for found in good if trial.load[found[0]] + load <= full * trial.nodes[found[0]].capacity]
            if len(roomy) > 1 and not trial.view.traffic.keys().isdisjoint(partitions):
                target, gain = max(roomy, key=lambda found: trial.affinity(partitions, found[0]))
            else:
                target, gain = (roomy or good)[0]
            best = (unit, target, gain)
        if best is not None:
            return best
    return None


def _targets(trial: Trial, source: str, unit: Unit, lowest: dict[str, list[str]]) -> list[str]:
    """Where the unit could go. `lowest`: what was found already, by graph."""
    graph = graph_of(unit[1][0])
    targets = lowest.get(graph)
    if targets is None:
        targets = lowest[graph] = trial.lowest(graph, source)
    return targets


def _candidates(trial: Trial, source: str, mean: float, whole: bool, lowest: dict[str, list[str]]) -> list[Unit]:
    """The largest unit that neither sinks the source below the mean nor lifts the lowest node above it, and the
    next larger one."""
    units = trial.units(source, whole)
    largest = units.largest()
    targets = _targets(trial, source, largest, lowest) if largest is not None else []
    if not targets:
        return []
    room = (mean - trial.utilisation[targets[0]]) * trial.nodes[targets[0]].capacity
    excess = (trial.utilisation[source] - mean) * trial.nodes[source].capacity
    return units.near(min(room, excess))


def _gain(trial: Trial, load: float, source: str, target: str) -> float:
    before = max(trial.utilisation[source], trial.utilisation[target])
    left = (trial.load[source] - load) / trial.nodes[source].capacity
    grown = (trial.load[target] + load) / trial.nodes[target].capacity
    return before - max(left, grown)


def _hot(trial: Trial, source: str, limits: Limits) -> dict[str, str]:
    """Say so if one partition is what makes the node hot."""
    loads = trial.view.loads
    hottest = max(trial.view.owned.get(source, ()), key=lambda p: (loads.get(p, 0.0), p), default="")
    load = loads.get(hottest, 0.0)
    share = load / trial.nodes[source].capacity
    if not hottest or trial.at(hottest) != source or share <= trial.mean() * (1 + limits.band):
        return {}
    text = f"hot: {hottest} alone uses {share:.0%} of {source}; a partition runs on one node, so no move helps"
    return {hottest: text}


def _share(trial: Trial, limits: Limits) -> list[Step]:
    """Give a node that has far less than its share of an idle graph's partitions that share."""
    view = trial.view
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
        steps = _fill(trial, graph, poor[0].name, counts, share, limits)
        if steps:
            return steps
    return []


def _fill(
    trial: Trial, graph: str, poor: str, counts: dict[str, int], share: dict[str, float], limits: Limits
) -> list[Step]:
    steps: list[Step] = []
    for _ in range(limits.moves_max):
        found = None
        for donor in sorted(counts, key=lambda name: (share[name] - counts[name], name)):
            over, under = counts[donor] - share[donor], share[poor] - counts[poor]
            found = next(
                (
                    unit
                    for unit in trial.units(donor, True)
                    if graph_of(unit[1][0]) == graph
                    and len(unit[1]) <= min(over, under) + 0.5
                    and all(trial.view.asked_ms.get(p, 0) <= trial.now_ms for p in unit[1])
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
        trial.take(found, donor, poor)
    return steps


def _gather(trial: Trial, limits: Limits) -> list[Step]:
    """Bring partitions to those they talk with, where the loads allow."""
    wishes = []
    for partition in trial.view.traffic:
        wish = _wish(trial, partition)
        if wish is not None:
            wishes.append((wish[1], partition))
    steps: list[Step] = []
    ceiling = max(trial.mean() * (1 + limits.band / 2), limits.load_min)
    for _, partition in sorted(wishes, reverse=True):
        wish = _wish(trial, partition)  # once more: those taken before may have changed it
        if wish is None or len(steps) >= limits.moves_max:
            continue
        target, saved = wish
        source, load = trial.at(partition), trial.view.loads.get(partition, 0.0)
        if (trial.load[target] + load) / trial.nodes[target].capacity > ceiling:
            continue
        reason = f"saves {saved:.0f} messages a second between {source} and {target}"
        steps.append(Step(partition, source, target, reason, 0.0, saved))
        trial.take((load, (partition,)), source, target)
    return steps


def _wish(trial: Trial, partition: str) -> tuple[str, float] | None:
    """The node with which the partition talks most, and the messages per second saved by being there."""
    source = trial.at(partition)
    if source not in trial.nodes or partition in trial.moved or not trial.movable(partition):
        return None
    if trial.view.asked_ms.get(partition, 0) > trial.now_ms:
        return None
    pull: dict[str, float] = {}
    for other, rate in trial.view.traffic[partition].items():
        pull[trial.at(other)] = pull.get(trial.at(other), 0.0) + rate
    total, here = sum(pull.values()), pull.get(source, 0.0)
    graph = graph_of(partition)
    there = [n for n in pull if n in trial.nodes and n != source and trial.nodes[n].takes]
    there = [n for n in there if not trial.nodes[n].leaving and graph in trial.nodes[n].graphs]
    if not there:
        return None
    target = max(there, key=lambda name: (pull[name], name))
    saved = pull[target] - here
    if saved < max(TRAFFIC_MIN, TRAFFIC_SHARE_MIN * total):
        return None
    return target, saved

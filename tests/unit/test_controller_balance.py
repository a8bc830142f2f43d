"""`balance.plan` and `balance.spread` as functions: apply the answer and look. And the whole loop against noise."""

from __future__ import annotations

import random
from collections.abc import Mapping
from math import exp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import views
from controller.balance import Limits, Plan, Step, crossing, plan, spread
from controller.measuring import Measures, Smoothed
from controller.trial import NodeView, View
from liquefy.messages import PartitionLoad, Report
from tests.unit.controller_world import World, cluster, graph

LIMITS = Limits()


def view(
    owned: Mapping[str, list[str]],
    loads: Mapping[str, float],
    capacity: Mapping[str, float] | None = None,
    cordoned: tuple[str, ...] = (),
    leaving: tuple[str, ...] = (),
    **more: Any,
) -> View:
    graphs = frozenset(p.split("/")[0] for ps in owned.values() for p in ps)
    nodes = [
        NodeView(n, (capacity or {}).get(n, 1.0), 0.0, n not in cordoned and n not in leaving, n in leaving, graphs)
        for n in sorted(owned)
    ]
    counts: dict[str, dict[str, int]] = {}
    for node, partitions in owned.items():
        for partition in partitions:
            of_node = counts.setdefault(node, {})
            of_node[partition.split("/")[0]] = of_node.get(partition.split("/")[0], 0) + 1
    where = {p: node for node, ps in owned.items() for p in ps}
    fields: dict[str, Any] = {"traffic": {}, "pins": {}, "cooling_ms": {}, "asked_ms": {}, **more}
    return View(
        nodes,
        owned,
        where,
        loads,
        fields["traffic"],
        fields["pins"],
        fields["cooling_ms"],
        fields["asked_ms"],
        counts,
    )


def applied(before: View, steps: list[Step]) -> View:
    """The view after the moves; each must be possible."""
    owned = {node: list(ps) for node, ps in before.owned.items()}
    for step in steps:
        owned[step.source].remove(step.partition)
        owned[step.target].append(step.partition)
    capacity = {n.name: n.capacity for n in before.nodes}
    cordoned = tuple(n.name for n in before.nodes if not n.takes and not n.leaving)
    leaving = tuple(n.name for n in before.nodes if n.leaving)
    return view(owned, before.loads, capacity, cordoned, leaving, traffic=before.traffic, pins=before.pins)


def utilisation(of: View) -> dict[str, float]:
    return {n.name: sum(of.loads.get(p, 0.0) for p in of.owned[n.name]) / n.capacity for n in of.nodes}


def rounds(of: View, limits: Limits = LIMITS, rounds_max: int = 30) -> tuple[View, int]:
    """Plan and apply until there is nothing to do."""
    for count in range(rounds_max):
        steps = plan(of, (), limits, 0)
        if not steps.moves and not steps.required:
            return of, count
        of = applied(of, steps.required + steps.moves)
    raise AssertionError("it does not end")


def names(count: int, group: str = "g", graph_name: str = "a") -> list[str]:
    return [f"{graph_name}/{group}/{i}" for i in range(count)]


# -- loads ------------------------------------------------------------------------------------------------


def test_a_skew_is_evened_out_with_few_moves() -> None:
    partitions = names(32)
    loads = dict.fromkeys(partitions, 0.9 / 32)
    before = view({"node1": partitions, "node2": [], "node3": []}, loads)
    one = plan(before, (), LIMITS, 0)
    assert len(one.moves) <= 16
    after, count = rounds(before)
    assert count <= 3
    now = utilisation(after)
    assert max(now.values()) <= 1.15 * sum(now.values()) / 3
    assert one.expected == pytest.approx(max(utilisation(applied(before, one.moves)).values()))


def test_the_largest_that_fits_goes_first() -> None:
    before = view({"node1": ["a/g/0", "a/g/1", "a/g/2"], "node2": []}, {"a/g/0": 0.1, "a/g/1": 0.4, "a/g/2": 0.3})
    steps = plan(before, (), LIMITS, 0).moves
    assert [step.partition for step in steps] == ["a/g/1"]
    assert steps[0].gain == pytest.approx(0.4)
    assert steps[0].reason == "node1 is at 80%, node2 at 0%"


def test_inside_the_band_nothing_moves() -> None:
    before = view({"node1": names(11), "node2": [f"a/h/{i}" for i in range(10)]}, {})
    before = before._replace(loads=dict.fromkeys(before.where, 0.03))
    result = plan(before, (), LIMITS, 0)
    assert result.moves == []
    assert result.balanced


def test_little_load_is_not_worth_moving() -> None:
    before = view({"node1": names(4), "node2": [f"a/h/{i}" for i in range(4)]}, {"a/g/0": 0.02, "a/g/1": 0.02})
    assert plan(before, (), LIMITS, 0).moves == []


def test_a_partition_too_hot_for_any_node_is_named_and_left() -> None:
    before = view({"node1": ["a/g/0"], "node2": ["a/g/1"]}, {"a/g/0": 0.95, "a/g/1": 0.1})
    result = plan(before, (), LIMITS, 0)
    assert result.moves == []
    assert list(result.notes) == ["a/g/0"]
    assert "95% of node1" in result.notes["a/g/0"]


def test_beside_a_hot_partition_the_others_move_away() -> None:
    before = view(
        {"node1": ["a/g/0", "a/g/1", "a/g/2"], "node2": ["a/g/3"], "node3": ["a/g/4"]},
        {"a/g/0": 0.7, "a/g/1": 0.1, "a/g/2": 0.1, "a/g/3": 0.1, "a/g/4": 0.1},
    )
    after, _ = rounds(before)
    assert after.owned["node1"] == ["a/g/0"]


def test_capacity_counts() -> None:
    partitions = names(40)
    before = view({"node1": partitions, "node2": []}, dict.fromkeys(partitions, 0.02), {"node1": 1.0, "node2": 3.0})
    after, _ = rounds(before)
    now = utilisation(after)
    assert now["node1"] == pytest.approx(now["node2"], rel=0.15)


def test_what_is_cooling_or_pinned_or_under_way_stays() -> None:
    partitions = names(3)
    before = view({"node1": partitions, "node2": []}, dict.fromkeys(partitions, 0.3))
    assert plan(before._replace(cooling_ms=dict.fromkeys(partitions, 10)), (), LIMITS, 5).moves == []
    assert plan(before._replace(cooling_ms=dict.fromkeys(partitions, 10)), (), LIMITS, 10).moves
    assert plan(before._replace(pins=dict.fromkeys(partitions, "node1")), (), LIMITS, 0).moves == []
    assert plan(before, partitions, LIMITS, 0).moves == []


def test_chains_move_whole_where_they_can() -> None:
    owned = {"node1": names(8) + names(8, "h"), "node2": []}
    loads = dict.fromkeys(owned["node1"], 0.05)
    after, _ = rounds(view(owned, loads))
    assert all(after.where[f"a/g/{i}"] == after.where[f"a/h/{i}"] for i in range(8))


def test_a_chain_too_heavy_is_split() -> None:
    before = view({"node1": ["a/g/0", "a/h/0"], "node2": []}, {"a/g/0": 0.4, "a/h/0": 0.45})
    after, _ = rounds(before)
    assert max(utilisation(after).values()) == pytest.approx(0.45)


# -- numbers, traffic, nodes ------------------------------------------------------------------------------


def test_a_node_that_joins_an_idle_cluster_gets_its_share() -> None:
    partitions = names(30)
    after, _ = rounds(view({"node1": partitions[:15], "node2": partitions[15:], "node3": []}, {}))
    assert len(after.owned["node3"]) == 10


def test_an_idle_cluster_that_is_about_even_is_left_alone() -> None:
    before = view({"node1": names(12), "node2": names(8, "h"), "node3": names(9, "i")}, {})
    assert plan(before, (), LIMITS, 0).moves == []


def test_traffic_brings_partitions_together() -> None:
    before = view(
        {"node1": ["a/g/0"], "node2": ["a/h/0", "a/h/1"]},
        {},
        traffic={"a/g/0": {"a/h/0": 500.0}, "a/h/0": {"a/g/0": 500.0}},
    )
    after, count = rounds(before)
    assert after.where["a/g/0"] == after.where["a/h/0"]
    assert count == 1


def test_traffic_does_not_overload_a_node() -> None:
    before = view(
        {"node1": ["a/g/0"], "node2": ["a/h/0"]},
        {"a/g/0": 0.5, "a/h/0": 0.5},
        traffic={"a/g/0": {"a/h/0": 500.0}, "a/h/0": {"a/g/0": 500.0}},
    )
    assert plan(before, (), LIMITS, 0).moves == []


def test_a_leaving_node_is_emptied_and_a_cordoned_one_gets_nothing() -> None:
    before = view({"node1": names(9), "node2": [], "node3": []}, {}, leaving=("node1",), cordoned=("node3",))
    after, _ = rounds(before)
    assert {node: len(ps) for node, ps in after.owned.items()} == {"node1": 0, "node2": 9, "node3": 0}


def test_pinned_partitions_go_there() -> None:
    before = view({"node1": names(2), "node2": []}, {}, pins={"a/g/1": "node2"})
    result = plan(before, (), LIMITS, 0)
    assert [(s.partition, s.target, s.reason) for s in result.required] == [("a/g/1", "node2", "pinned to node2")]


def test_spread_respects_loads_pins_and_what_is_loaded() -> None:
    owned = {"node1": names(4), "node2": names(4, "h"), "node3": []}
    before = view(owned, dict.fromkeys(names(4), 0.2), pins={"a/x/5": "node1"})
    chosen = spread(before, [f"a/x/{i}" for i in range(8)])
    assert chosen.pop("a/x/5") == "node1"
    assert set(chosen.values()) == {"node2", "node3"}
    assert spread(before, ["b/x/0"]) == {}


# -- properties -------------------------------------------------------------------------------------------


@st.composite
def clusters(draw: st.DrawFn) -> View:
    nodes = [f"node{i}" for i in range(draw(st.integers(2, 6)))]
    owned: dict[str, list[str]] = {node: [] for node in nodes}
    loads = {}
    for group in ("g", "h"):
        for i in range(draw(st.integers(1, 24))):
            partition = f"a/{group}/{i}"
            owned[draw(st.sampled_from(nodes))].append(partition)
            loads[partition] = draw(st.floats(0, 0.3))
    cordoned = tuple(node for node in nodes[1:] if draw(st.integers(0, 5)) == 0)
    pinned = {p: draw(st.sampled_from(nodes)) for p in loads if draw(st.integers(0, 9)) == 0}
    capacity = {node: draw(st.sampled_from([0.5, 1.0, 4.0])) for node in nodes}
    return view(owned, loads, capacity, cordoned, (), pins=pinned)


@settings(max_examples=150, deadline=None)
@given(clusters())
def test_moves_never_raise_the_highest_and_respect_pins_and_cordons(before: View) -> None:
    before = applied(before, plan(before, (), LIMITS, 0).required)
    result: Plan = plan(before, (), LIMITS, 0)
    takes = {n.name for n in before.nodes if n.takes}
    assert result.required == []
    assert len({step.partition for step in result.moves}) == len(result.moves)
    for step in result.moves:
        assert before.where[step.partition] == step.source != step.target
        assert step.target in takes
        assert step.partition not in before.pins
    after = applied(before, result.moves)
    highest = max(utilisation(before).values())
    assert max(utilisation(after).values()) <= max(highest, LIMITS.load_min * 2) + 1e-9


@settings(max_examples=100, deadline=None)
@given(clusters())
def test_it_converges(before: View) -> None:
    rounds(before)


def test_ten_thousand_nodes_and_many_partitions() -> None:
    owned = {f"node{i}": [f"a/g{i}/{j}" for j in range(10)] for i in range(10_000)}
    owned["node7"] = [f"a/g7/{j}" for j in range(60)]
    loads = dict.fromkeys((p for ps in owned.values() for p in ps), 0.05)
    result = plan(view(owned, loads), (), LIMITS, 0)
    assert result.moves
    assert {step.source for step in result.moves} == {"node7"}


@pytest.mark.parametrize("capacities", [(1.0,), (0.5, 1.0, 4.0)])
@pytest.mark.parametrize("skew", views.SKEWS)
def test_a_thousand_nodes_come_within_a_twentieth_of_the_bound(skew: str, capacities: tuple[float, ...]) -> None:
    before = views.view(1_000, 50_000, skew, 7, capacities)
    result = plan(before, (), Limits(moves_max=50_000), 0)
    assert len({step.partition for step in result.moves}) == len(result.moves)
    assert views.highest(before, result.moves) == pytest.approx(result.expected)
    assert views.highest(before, []) > 1.1 * views.lower_bound(before)
    assert result.expected <= 1.05 * views.lower_bound(before)


def test_nothing_but_small_partitions_can_be_moved_away_too() -> None:
    """None of them brings GAIN_MIN; together they do."""
    partitions = names(400)
    before = view({"node1": partitions, "node2": []}, dict.fromkeys(partitions, 0.001))
    assert plan(before, (), Limits(moves_max=400), 0).expected < 0.211


def test_spreading_fills_the_emptiest_node_of_those_that_have_the_graph() -> None:
    before = view({"node1": ["a/g/0"], "node2": ["b/g/0"], "node3": ["a/g/1", "b/g/1"]}, {})
    graphs = [frozenset("a"), frozenset("b"), frozenset("ab")]
    before = before._replace(nodes=[n._replace(graphs=g) for n, g in zip(before.nodes, graphs, strict=True)])
    chosen = spread(before, [f"{g}/h/{i}" for i in range(4) for g in "ab"], fresh=True)
    counts = {node: list(chosen.values()).count(node) for node in ("node1", "node2", "node3")}
    assert sorted(counts.values()) == [2, 3, 3]
    assert all(n in ("node3", "node1" if p[0] == "a" else "node2") for p, n in chosen.items())


# -- measuring --------------------------------------------------------------------------------------------


def test_a_rate_follows_what_is_reported_and_decays_without() -> None:
    rate = Smoothed(0)
    for i in range(1, 41):
        rate.add(0.25, 0.5, i * 500)
    assert rate.read(20_000) == pytest.approx(0.5, rel=0.01)
    assert rate.read(21_000) == rate.read(20_000)
    assert rate.read(40_000) < 0.001


def test_a_partition_keeps_its_rate_when_it_moves() -> None:
    measures = Measures()
    for i in range(1, 21):
        report = Report(0.5, [PartitionLoad("a/g/0", 0.2, 100, 0, 0.0, 0)], [], 0.2, 0, 0, 1, True, 1)
        measures.add("node1" if i < 11 else "node2", report, i * 500)
    assert measures.load("a/g/0", 10_000) == pytest.approx(0.4, rel=0.02)
    assert measures.rate("a/g/0", 10_000) == pytest.approx(200, rel=0.02)


# -- the loop ---------------------------------------------------------------------------------------------


def skewed(seed: int, noise: float) -> tuple[World, dict[str, float]]:
    """Three nodes; 90 % of the load, which is keyed, lies on what node1 has. Measurements are noisy."""
    world = cluster(3, graph(partitions=32, groups=("store", "local", "send")))
    dice = random.Random(seed)
    mine = [p for p, owner in world.owners().items() if owner == "node1"]
    others = [p for p, owner in world.owners().items() if owner != "node1"]
    true = {p: 0.9 * 0.9 / len(mine) for p in mine} | {p: 0.1 * 0.9 / len(others) for p in others}
    world.loads = lambda name, now_ms: {p: load * dice.uniform(1 - noise, 1 + noise) for p, load in true.items()}
    return world, true


def unevenness(world: World, true: Mapping[str, float]) -> float:
    loads = {name: sum(true[p] for p in worker.owned) for name, worker in world.workers.items()}
    mean = sum(loads.values()) / len(loads)
    return max(abs(load - mean) for load in loads.values()) / mean


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.0, 0.4, 0.9])
def test_a_skew_is_gone_in_fifteen_seconds_and_does_not_come_back(seed: int, noise: float) -> None:
    world, true = skewed(seed, noise)
    assert unevenness(world, true) > 1
    world.until(lambda: unevenness(world, true) <= 0.15, 15_000)
    world.run(15_000)
    moves = len(world.events("move"))
    rebalanced = len(world.events("rebalance"))
    world.run(300_000)
    assert len(world.events("move")) - moves <= 16
    assert len(world.events("rebalance")) - rebalanced <= 1
    assert unevenness(world, true) <= 0.15
    assert world.consistent()


def by_chance(dice: random.Random, mean: float) -> int:
    """How many requests come when so many do on average (Knuth's way of drawing from Poisson's distribution)."""
    left, count = exp(-mean), -1
    product = 1.0
    while product > left:
        product *= dice.random()
        count += 1
    return count


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("even_before", [False, True])
def test_requests_that_come_at_random_are_not_followed_about(seed: int, even_before: bool) -> None:
    """Few enough that in a second a partition gets half as many again, or half as many, by chance alone. Load begins on
    an idle cluster, or shifts to one node of an even one."""
    world = cluster(3, graph(partitions=32))
    dice, cost_s, rate = random.Random(seed), 0.0015, 600.0
    owners = world.owners()
    hot = [p for p, owner in owners.items() if owner == "node1"]
    true = dict.fromkeys(owners, rate * cost_s / len(owners) if even_before else 0.0)

    def measured(name: str, now_ms: int) -> dict[str, float]:
        counts = {p: by_chance(dice, load / cost_s * 0.5) for p, load in true.items()}
        return {p: count * cost_s / 0.5 for p, count in counts.items() if count}

    world.loads = measured
    world.run(30_000)
    assert not world.events("rebalance")
    for partition in owners:
        true[partition] = rate * cost_s * (0.1 / len(owners) + (0.9 / len(hot) if partition in hot else 0.0))
    world.until(lambda: unevenness(world, true) <= 0.15, 15_000)
    world.run(15_000)
    rounds = len(world.events("rebalance"))
    world.run(300_000)
    assert len(world.events("rebalance")) - rounds <= 1
    assert unevenness(world, true) <= 0.15


@pytest.mark.parametrize("seed", range(8))
def test_what_no_partition_accounts_for_wanders_by_chance_and_nothing_moves(seed: int) -> None:
    """The load that is there has been the same for long, and is nearly even."""
    world, dice = cluster(3, graph(partitions=32)), random.Random(seed)
    true = {p: (0.135 if owner == "node1" else 0.12) * 3 / len(world.owners()) for p, owner in world.owners().items()}
    world.loads = lambda name, now_ms: true
    world.base = lambda name: 0.02 * dice.randint(2, 4)  # in half a second; the kernel counts in hundredths
    world.run(30_000)
    rounds = len(world.events("rebalance"))
    world.run(300_000)
    assert len(world.events("rebalance")) == rounds


def test_a_decision_says_why_and_then_what_it_brought() -> None:
    world, _ = skewed(0, 0.1)
    world.run(20_000)
    decision, outcome = world.events("rebalance")[0].text, world.events("rebalanced")[0].text
    assert decision.startswith("moving ")
    assert "from node1 (" in decision
    assert "% above the mean of" in decision
    assert outcome.startswith("rebalancing took the busiest node from ")


def test_a_node_that_joins_under_load_gets_work() -> None:
    world = cluster(2, graph(partitions=32))
    loads = dict.fromkeys(world.owners(), 0.02)
    world.loads = lambda name, now_ms: loads
    world.run(10_000)
    assert world.events("rebalance") == []
    world.worker_up("node3")
    world.until(lambda: len(world.workers["node3"].owned) >= 9, 15_000)
    assert world.consistent()


def test_rebalance_by_hand() -> None:
    world, true = skewed(0, 0.0)
    world.result("freeze", reason="test")
    world.run(6_000)
    before = world.owners()
    planned = world.result("rebalance", dry_run=True)
    assert planned["moves"]
    assert not planned["balanced"]
    assert world.owners() == before
    done = world.result("rebalance", dry_run=False)
    assert done["result"]["moved"] == len(done["moves"]) == len(planned["moves"])
    assert unevenness(world, true) < 1


def moves_that_hang(world: World, silent: bool) -> None:
    for worker in world.workers.values():
        worker.on_move = "silent" if silent else "ok"


def test_a_second_rebalance_is_refused_and_the_first_is_answered() -> None:
    world, _ = skewed(0, 0.0)
    world.result("freeze", reason="test")
    world.run(6_000)
    moves_that_hang(world, True)
    first = world.ask("rebalance", dry_run=False)
    world.run(100)
    assert "already rebalancing (asked for by a person)" in world.error("rebalance", dry_run=False)
    assert world.result("rebalance", dry_run=True)["result"]["moved"] == 0
    assert not world.answered(first)
    moves_that_hang(world, False)
    world.until(lambda: world.answered(first))
    assert world.reply(first).result["result"]["moved"] > 0
    world.until(lambda: len(world.events("rebalanced")) == 1)


def test_a_rebalance_by_hand_during_an_automatic_one_is_refused_and_neither_is_swallowed() -> None:
    world, _ = skewed(0, 0.0)
    moves_that_hang(world, True)
    world.until(lambda: len(world.events("rebalance")) == 1)
    assert "already rebalancing (by itself)" in world.error("rebalance", dry_run=False)
    moves_that_hang(world, False)
    world.until(lambda: not world.result("status")["moves"])
    # At once, before what the first brought could be told.
    again = world.ask("rebalance", dry_run=False)
    world.until(lambda: world.answered(again))
    world.run(10_000)
    assert not world.reply(again).error
    assert len(world.events("rebalanced")) == len(world.events("rebalance"))


def test_a_round_for_the_shares_says_how_many_are_expected_where_and_how_many_there_are() -> None:
    world = cluster(2, graph(partitions=30))
    world.worker_up("node3")
    planned = world.result("rebalance", dry_run=True)
    assert planned["expected"] == "partitions of visits then: node1 10, node2 10, node3 10"
    world.until(lambda: len(world.events("rebalanced")) == 1)
    (decision,), (outcome,) = world.events("rebalance"), world.events("rebalanced")
    assert decision.text.endswith("; expected: partitions of visits then: node1 10, node2 10, node3 10")
    assert outcome.text == (
        "rebalancing moved 10 partitions; those of visits are now: node1 10, node2 10, node3 10 "
        "(expected node1 10, node2 10, node3 10)"
    )
    assert outcome.fields["after"] == outcome.fields["expected"] == {"node1": 10, "node2": 10, "node3": 10}


def test_a_round_for_the_traffic_says_what_is_to_cross_no_more_and_what_crosses() -> None:
    world = cluster(2, graph(partitions=8, groups=("store", "local")))
    owners = world.owners()
    one = next(p for p, owner in owners.items() if owner == "node1" and "/store/" in p)
    other = next(p for p, owner in owners.items() if owner == "node2" and "/local/" in p)
    world.traffic = [(one, other, 100)]
    world.until(lambda: len(world.events("rebalanced")) == 1)
    decision, outcome = world.events("rebalance")[0], world.events("rebalanced")[0]
    (step,) = decision.fields["moves"]
    assert step["saved"] > 20
    assert decision.text.endswith(
        f"expected: then 0 messages a second of these between nodes, now {outcome.fields['before']:.0f}"
    )
    assert outcome.fields["before"] == pytest.approx(step["saved"], abs=0.1)
    assert outcome.fields["after"] == outcome.fields["expected"] == 0.0
    assert outcome.text.endswith("to 0 messages a second (expected 0)")


def test_what_crosses_is_counted_once_and_as_if_moved() -> None:
    before = view(
        {"node1": ["a/g/0", "a/g/1"], "node2": ["a/h/0"]},
        {},
        traffic={
            "a/g/0": {"a/h/0": 50.0, "a/g/1": 7.0},
            "a/g/1": {"a/g/0": 7.0},
            "a/h/0": {"a/g/0": 50.0},
        },
    )
    assert crossing(before, ["a/g/0", "a/h/0"]) == 50.0
    assert crossing(before, ["a/g/0"], {"a/g/0": "node2"}) == 7.0


def test_pins_drains_and_failovers_say_what_is_expected() -> None:
    world = cluster(3)
    world.result("pin", what="store", node="node2")
    assert world.events("pin")[0].text == "visits/store is pinned to node2; expected: all 8 there, now 3"
    world.result("unpin", what="store")
    world.result("drain", node="node2")
    assert world.events("drain")[0].text.endswith("; expected: it will have none")
    assert world.events("drained")[0].text.endswith(", 0 left")
    world.worker_down("node1")
    world.until(lambda: len(world.events("failover")) == 1)
    assert world.events("lost")[0].text.endswith("; expected: all on nodes that live")

"""Deployment, failover, reconciling and commands of the controller, in a small world of its own."""

from __future__ import annotations

import gc
import hashlib

import msgspec
import pytest

from controller import events as ev
from controller.batches import Batch
from controller.migration import Migration
from liquefy import messages as m
from liquefy.commits import DAMAGED, Placement
from liquefy.graph import Fluxion, Graph, Group, Input
from liquefy.messages import partition_index
from liquefy.values import pack
from tests.unit.controller_world import BUNDLE, DIGEST, START_MS, World, cluster, graph

# -- deployment -------------------------------------------------------------------------------------------


def test_a_deployment_spreads_evenly_and_keeps_chains_together() -> None:
    world = cluster(3, graph(partitions=9, groups=("store", "send")))
    assert world.counts() == {"node1": 6, "node2": 6, "node3": 6}
    owners = world.owners()
    assert all(owners[f"visits/store/{i}"] == owners[f"visits/send/{i}"] for i in range(9))
    assert world.consistent()
    assert world.store.graphs["visits"].version == 1


def test_groups_of_one_partition_are_spread() -> None:
    made = graph(partitions=1, groups=("a", "b", "c"))
    world = cluster(3, made)
    assert world.counts() == {"node1": 1, "node2": 1, "node3": 1}


def test_gateways_get_a_graph_when_its_partitions_are_active() -> None:
    world = World()
    world.worker_up("node1")
    heard = world.gateway_up("gateway1")
    world.run(1_500)
    assert heard == [m.Graphs([])]
    world.deploy(graph())
    assert [g.name for g in heard[-1].graphs] == ["visits"]
    assert len(world.workers["node1"].owned) == 8


def test_a_node_that_refuses_leaves_the_old_version_in_force() -> None:
    world = cluster(2)
    world.workers["node2"].refuses = "ModuleNotFoundError: no module named 'requests'"
    text = world.deploy_error(graph())
    assert "node2" in text
    assert "no module named 'requests'" in text
    assert world.store.graphs["visits"].version == 1
    assert world.workers["node1"].heard[-1] == m.Graphs([world.store.graphs["visits"]])
    world.workers["node2"].refuses = ""
    assert world.deploy(graph())["version"] == 2


def test_a_node_that_dies_while_it_prepares_is_not_waited_for() -> None:
    world = cluster(2)
    world.workers["node2"].prepares = False
    request = world.ask("deploy", graph=msgspec.to_builtins(graph()), bundle=BUNDLE)
    world.run(1_000)
    assert not world.answered(request)
    world.worker_down("node2")
    world.run(1_000)
    assert world.reply(request).result["nodes"] == ["node1"]


def test_nobody_prepares_in_time() -> None:
    world = cluster(1, prepare_ms=2_000)
    world.workers["node1"].prepares = False
    assert "not loaded within 2000 ms by: node1" in world.deploy_error(graph())


def test_a_deployment_without_nodes_is_an_error() -> None:
    world = World()
    world.run(1_500)
    assert "no node is up" in world.deploy_error(graph())


def test_a_dry_run_changes_nothing() -> None:
    world = cluster(2)
    before = dict(world.store.graphs), world.owners()
    result = world.deploy(graph("shop"), dry_run=True)
    assert result == {"graph": "shop", "version": 1, "partitions": 8, "nodes": ["node1", "node2"]}
    assert (dict(world.store.graphs), world.owners()) == before


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (graph(partitions=4), "4 partitions instead of 8"),
        (graph(groups=("store",), fluxions=(Fluxion("store", "c:s", "store"),)), "has no key any more"),
        (graph(groups=("store",)), ""),
    ],
)
def test_changes_that_lose_contexts_are_refused(made, text) -> None:  # type: ignore[no-untyped-def]
    world = cluster(1)
    if text:
        assert text in world.deploy_error(made)
        assert world.store.graphs["visits"].version == 1
    else:
        world.deploy(made)


def grouped(stateful: bool = True, **groups: str) -> Graph:
    """Of fluxion -> its group."""
    fluxions = tuple(Fluxion(n, f"c:{n}", g, "user", bundle=DIGEST, streams=("output",)) for n, g in groups.items())
    made = tuple(Group(g, stateful, 8) for g in dict.fromkeys(groups.values()))
    return msgspec.structs.replace(graph(groups=tuple(groups)), fluxions=fluxions, groups=made)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (grouped(a="a"), grouped(b="b"), "group a, which had contexts, is no more; version 1's"),
        (grouped(a="x", b="x"), grouped(a="a", b="b"), "group x, which had contexts, is no more (a is in group a now)"),
        (grouped(a="a", b="b", c="b"), grouped(a="a", b="a", c="b"), "b had the contexts of group b and is in group a"),
        (grouped(a="x", b="x"), grouped(a="x", c="c"), ""),
        (grouped(False, a="a"), grouped(b="b"), ""),
    ],
)
def test_a_version_that_leaves_contexts_behind_is_refused_unless_that_is_said(
    before: Graph, after: Graph, text: str
) -> None:
    world = cluster(1, before)
    if text:
        assert text in world.deploy_error(after)
        assert "--forget" in world.deploy_error(after)
        assert world.store.graphs["visits"].version == 1
    assert world.deploy(after, forget=bool(text))["version"] == 2


def test_two_graphs_that_want_the_same_requests() -> None:
    world = cluster(1)
    other = graph("shop")
    other = msgspec.structs.replace(other, inputs=(Input("in", "*", "/visits/{name}", "store"),))
    text = world.deploy_error(other)
    assert "shop" in text
    assert "visits" in text
    assert "/visits/{user}" in text


def test_a_bundle_that_is_not_the_graphs() -> None:
    world = cluster(1)
    assert "digest" in world.error("deploy", graph=msgspec.to_builtins(graph("shop")), bundle=b"other")


def test_what_a_new_version_has_no_more_is_retired_and_then_dropped() -> None:
    world = cluster(2, graph(groups=("store", "old")), retire_after_ms=5_000)
    world.deploy(graph(groups=("store", "new")), forget=True)
    in_force = world.store.graphs["visits"]
    assert {f.name: f.retired for f in in_force.fluxions} == {"store": False, "new": False, "old": True}
    assert "visits/old/0" in world.workers["node1"].owned or "visits/old/0" in world.workers["node2"].owned
    world.run(6_000)
    in_force = world.store.graphs["visits"]
    assert [f.name for f in in_force.fluxions] == ["store", "new"]
    assert [g.name for g in in_force.groups] == ["store", "new"]
    assert not any(p.startswith("visits/old/") for w in world.workers.values() for p in w.owned)
    assert world.store.get("visits/old/0").owner == ""
    assert world.consistent()


def test_undeploy_takes_it_from_the_gateways_first() -> None:
    world = cluster(2)
    heard = world.gateway_up("gateway1")
    request = world.ask("undeploy", graph="visits", purge=False)
    assert heard[-1] == m.Graphs([])
    assert world.workers["node1"].owned
    world.run(3_000)
    assert world.reply(request).result == {"graph": "visits", "partitions": 8, "contexts_kept": True}
    assert not world.workers["node1"].owned
    assert world.store.graphs == {}
    assert set(world.owners().values()) == {""}
    world.deploy(graph())
    assert world.consistent()
    assert min(p.epoch for p in world.store.placements.values()) == 3


# -- failover ---------------------------------------------------------------------------------------------


def test_a_dead_node_is_replaced_at_once() -> None:
    world = cluster(3)
    lost = {p for p, owner in world.owners().items() if owner == "node2"}
    before = dict(world.store.placements)
    world.worker_down("node2")
    assert world.until(lambda: "node2" not in world.owners().values()) <= 50
    assert all(world.store.placements[p].epoch == before[p].epoch + 1 for p in lost)
    assert all(world.store.placements[p] == before[p] for p in before.keys() - lost)
    assert world.consistent()
    assert len(world.events("failover")) == 1


def test_a_node_that_connects_again_in_one_breath_keeps_what_it_claims() -> None:
    world = cluster(2)
    before = dict(world.store.placements)
    claims = dict(world.workers["node1"].owned)
    world.worker_down("node1")
    world.worker_up("node1", claims)
    world.run(10_000)
    assert world.store.placements == before


def test_a_node_that_started_anew_claims_nothing_and_its_partitions_get_a_new_epoch() -> None:
    world = cluster(1)
    before = dict(world.store.placements)
    world.worker_down("node1")
    world.worker_up("node1")
    world.run(500)
    assert all(world.store.placements[p] == Placement(p, "node1", before[p].epoch + 1) for p in before)
    assert world.consistent()


def test_a_forgotten_partition_is_not_assigned_at_its_old_epoch() -> None:
    world = cluster(1)
    partition = "visits/store/3"
    world.worker_down("node1")
    worker = world.worker_up("node1", prepares=False)
    world.run(100)
    world.feed(ev.FromBroker(m.Orphans([partition])))
    world.run(100)
    assert worker.owned == {}
    world.said(worker, m.Prepared("visits", 1))
    assert worker.owned[partition] == 2


def test_with_nobody_alive_partitions_wait_for_who_comes() -> None:
    world = cluster(2)
    world.worker_down("node1")
    world.worker_down("node2")
    world.run(5_000)
    assert [log.event for log in world.logs if log.level == "warning"].count("waiting") == 1
    world.worker_up("node7")
    world.run(500)
    assert set(world.owners().values()) == {"node7"}
    assert world.consistent()


def test_a_node_that_has_not_loaded_the_graph_gets_nothing() -> None:
    world = cluster(2)
    world.worker_up("node3", refuses="SyntaxError")
    world.worker_down("node2")
    world.run(500)
    assert set(world.owners().values()) == {"node1"}


def test_a_hung_node_is_expelled_and_replaced() -> None:
    world = cluster(3)
    hung = world.workers["node3"]
    hung.reports = False
    world.until(lambda: "node3" not in world.owners().values(), 3_000)
    assert m.Expel(hung.session) in [getattr(e, "message", None) for e in world.effects]
    assert next(n for n in world.result("nodes") if n["name"] == "node3")["state"] == "hung"
    assert world.consistent()


def test_time_in_which_the_controller_itself_slept_is_nobodys_silence() -> None:
    world = cluster(2)
    before = dict(world.store.placements)
    world.now_ms += 60_000
    world.feed(ev.Tick())
    world.run(2_000)
    assert world.store.placements == before


def test_a_broker_outage_moves_nothing_that_comes_back() -> None:
    world = cluster(3)
    before = dict(world.store.placements)
    claims = {name: dict(worker.owned) for name, worker in world.workers.items()}
    world.link_down()
    world.run(20_000)
    world.workers.clear()
    world.routes.clear()
    world.link_up()
    for name in ("node1", "node2"):
        world.run(300)
        world.worker_up(name, claims[name])
    world.run(700)
    for partition, placement in before.items():
        if placement.owner == "node3":
            assert world.store.placements[partition].owner in ("node1", "node2")
        else:
            assert world.store.placements[partition] == placement
    assert world.consistent()


def test_a_node_that_died_unheard_is_failed_over_by_the_next_controller_without_waiting_for_it() -> None:
    world = cluster(2)
    world.run(5_000)
    world.workers.pop("node1")
    world.routes = {p: r for p, r in world.routes.items() if r.node != "node1"}
    world.restart_controller()
    assert world.until(lambda: set(world.owners().values()) == {"node2"}, 1_000) <= 250
    assert world.consistent()


def test_a_broker_that_forgot_a_route_is_told() -> None:
    world = cluster(2)
    partition, epoch = next(iter(world.workers["node1"].owned.items()))
    del world.workers["node1"].owned[partition]
    world.routes.pop(partition)
    world.feed(ev.FromBroker(m.Orphans([partition])))
    assert world.workers["node1"].owned[partition] == epoch
    assert world.consistent()


def test_an_inventory_that_differs_is_repaired() -> None:
    world = cluster(2)
    world.run(3_000)
    worker = world.workers["node1"]
    partition = next(iter(worker.owned))
    del worker.owned[partition]
    world.routes.pop(partition)
    world.said(worker, m.Inventory([m.Claim(p, e) for p, e in worker.owned.items()]))
    world.run(2_500)
    assert world.consistent()


def test_a_store_that_lost_its_placements_is_gone_by_and_filled_again() -> None:
    world = cluster(2)
    world.run(3_000)
    for _ in range(2):  # so that epochs are higher than those which follow
        for node in ("node2", "node1"):
            world.result("migrate", what="store", node=node)
    highest = max(placement.epoch for placement in world.store.placements.values())
    world.store.placements.clear()
    for partition in list(world.routes):
        worker = world.workers["node1"]
        epoch = worker.owned.pop(partition)
        assert epoch > 2
        world.routes[partition] = world.routes[partition]._replace(session=b"")
        world.said(worker, m.Inventory([m.Claim(p, e) for p, e in worker.owned.items()]))
        world.feed(ev.FromBroker(m.Orphans([partition])))
    world.run(3_000)
    assert world.consistent()
    assert min(p.epoch for p in world.store.placements.values()) > highest - 1  # whoever had one then has it no more
    assert sum("the store is back at epoch 0" in log.text for log in world.logs) == len(world.routes)


def test_what_a_store_lost_is_stored_again_when_it_answers_again() -> None:
    world = cluster(2)
    world.run(3_000)
    before = world.store.placements, dict(world.store.graphs)
    world.store.placements = dict(before[0])
    for node in ("node2", "node1"):
        world.result("migrate", what="store", node=node)
    world.result("pin", what="store", node="node1")
    world.result("cordon", node="node2")
    highest = max(placement.epoch for placement in world.store.placements.values())
    world.store.placements, world.store.graphs = before[0], {}
    world.store.maps.update(nodes={}, pins={})
    world.store.bundles.clear()
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.run(3_000)
    assert world.store.graphs == before[1]
    assert world.store.bundles
    assert world.store.maps["pins"] == {"visits/store": "node1"}
    assert world.store.maps["nodes"]["node2"]["cordoned"]
    assert world.consistent()
    assert min(p.epoch for p in world.store.placements.values()) > min(highest, 2)
    assert any("lost what was written last" in log.text for log in world.logs)


def test_what_is_being_stored_when_a_store_that_lost_something_is_compared_is_not_undone() -> None:
    world = cluster(2)
    world.run(3_000)
    world.workers["node2"].prepares = False
    asked = [world.ask("deploy", graph=msgspec.to_builtins(graph(partitions=8)), bundle=BUNDLE)]
    world.store.graphs.clear()
    world.stores = False
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.said(world.workers["node2"], m.Prepared("visits", 2))
    asked += [world.ask("pin", what="store", node="node1"), world.ask("cordon", node="node2"), world.ask("freeze")]
    world.store_answers()  # in order, also what is asked for meanwhile
    world.stores = True
    world.until(lambda: all(world.answered(number) for number in asked))
    assert world.store.graphs["visits"].version == 2
    assert world.store.maps["pins"] == {"visits/store": "node1"}
    assert world.store.maps["nodes"] == {"node2": {"cordoned": True, "drained": False}}
    assert world.store.frozen
    assert not any("version 1" in log.text for log in world.logs if "has lost" in log.text)


def test_an_undoing_that_is_being_stored_when_it_is_compared_is_not_undone_either() -> None:
    world = cluster(2)
    world.run(3_000)
    world.result("pin", what="store", node="node1")
    world.result("cordon", node="node2")
    world.result("freeze")
    world.store.maps.update(nodes={}, pins={})
    world.store.frozen = ""
    world.stores = False
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    asked = [world.ask("unpin", what="store"), world.ask("uncordon", node="node2"), world.ask("unfreeze")]
    world.store_answers()  # in order, also what is asked for meanwhile
    world.stores = True
    world.until(lambda: all(world.answered(number) for number in asked))
    assert world.store.maps["pins"] == world.store.maps["nodes"] == {}
    assert not world.store.frozen


def test_code_of_a_deployment_that_is_prepared_while_the_store_loses_it_is_stored_again() -> None:
    world = cluster(2)
    world.run(3_000)
    code = b"other code"
    digest = hashlib.sha256(code).hexdigest()
    world.workers["node2"].prepares = False
    raw = msgspec.to_builtins(graph(bundle=digest))
    for fluxion in raw["fluxions"]:
        fluxion["bundle"] = digest
    asked = world.ask("deploy", graph=raw, bundle=code)
    world.store.bundles.discard(digest)
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.said(world.workers["node2"], m.Prepared("visits", 2))
    world.until(lambda: world.answered(asked))
    assert digest in world.store.bundles


def test_code_in_force_is_stored_again_though_other_code_was_sent_since() -> None:
    world = cluster(2)
    code = b"other code"
    digest = hashlib.sha256(code).hexdigest()
    world.workers["node2"].refuses = "SyntaxError"
    raw = msgspec.to_builtins(graph(bundle=digest))
    for fluxion in raw["fluxions"]:
        fluxion["bundle"] = digest
    assert "SyntaxError" in world.error("deploy", graph=raw, bundle=code)
    world.store.graphs.clear()
    world.store.bundles.clear()
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.run(100)
    assert world.store.graphs["visits"].version == 1
    assert world.store.bundles == {DIGEST}


def test_a_move_that_the_store_has_lost_is_over_and_late_news_of_it_do_not_count() -> None:
    world = cluster(2)
    world.run(3_000)
    for name in ("node1", "node2"):
        world.result("cordon", node=name)  # nobody takes it meanwhile
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    before = world.store.get(partition)
    world.hand = True
    asked = world.ask("migrate", what=partition.removeprefix("visits/"), node="node2")
    world.run(100)
    world.store.placements[partition] = Placement(partition, "node2", before.epoch + 1)
    world.said(world.workers["node1"], m.MoveEnded(partition, before.epoch))
    world.store.placements[partition] = before
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.run(100)
    assert "the store has lost" in world.reply(asked).result["moves"][0]["error"]
    world.feed(ev.FromBroker(m.Landed(partition, before.epoch + 1, "node2")))
    world.run(100)
    world.hand = False
    world.result("uncordon", node="node1")
    world.run(3_000)
    assert world.store.get(partition).epoch > before.epoch + 1
    assert world.consistent()


def test_a_move_whose_source_was_told_that_it_is_stored_before_the_store_lost_that_is_looked_at_when_it_ends() -> None:
    world = cluster(2)
    world.run(3_000)
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    before = world.store.get(partition)
    world.hand = True
    asked = world.ask("migrate", what=partition.removeprefix("visits/"), node="node2")
    world.run(100)
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.run(100)
    world.said(world.workers["node1"], m.MoveEnded(partition, before.epoch))
    world.assign(partition, before.epoch + 1, "node2")
    for worker in world.workers.values():
        world.said(worker, m.Inventory([m.Claim(p, e) for p, e in worker.owned.items()]))
    world.run(100)
    assert world.reply(asked).result["moved"] == 1
    world.hand = False
    world.run(3_000)
    assert world.store.get(partition).epoch > before.epoch + 1
    assert world.consistent()


def test_a_store_that_was_away_and_lost_nothing_is_left_as_it_is() -> None:
    world = cluster(2)
    world.run(3_000)
    world.store.done.clear()
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.run(1_000)
    kinds = {type(operation).__name__ for operation in world.store.done}
    assert kinds <= {"ReadEverything", "ReadPlacements", "CountDead"}


def test_an_undeployment_that_the_store_lost_is_done_again() -> None:
    world = cluster(2)
    world.run(3_000)
    graphs = dict(world.store.graphs)
    world.result("undeploy", graph="visits")
    world.store.graphs = graphs
    world.feed(ev.StoreHealth(False))
    world.feed(ev.StoreHealth(True))
    world.run(1_000)
    assert not world.store.graphs


def test_deploying_again_fills_a_store_that_lost_everything() -> None:
    world = cluster(2)
    world.run(3_000)
    world.store.placements.clear()
    world.store.graphs.clear()
    world.deploy(graph())  # nobody has noticed until now
    world.run(3_000)
    assert world.consistent()
    assert set(world.store.placements) == set(graph().partition_names())


def test_partitions_that_a_node_has_invented_are_taken_away_and_forgotten_even_if_it_is_gone_by_then() -> None:
    world = cluster(2)
    world.run(3_000)
    claims = [m.Claim(f"invented/s/{number}", 7) for number in range(20)]
    world.stores = False
    for session in (b"flood#1", b"flood#2"):
        world.feed(ev.FromBroker(m.PeerUp("worker", "flood", session, claims, 1.0)))
        world.feed(ev.FromBroker(m.PeerDown("worker", "flood", session)))
    for claim in claims:
        world.routes[claim.partition] = m.Route(claim.partition, "flood", b"", 7, 1)
    world.stores = True
    world.store_answers()
    world.run(1_000)
    assert not [name for name in world.routes if name.startswith("invented")]
    placing = world.state._placing
    assert not [name for name in {**placing._heard, **placing._routes} if name.startswith("invented")]
    assert world.consistent()


def test_a_reading_that_crossed_a_move_is_no_loss_of_the_store() -> None:
    world = cluster(2)
    world.run(3_000)
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    world.feed(ev.FromBroker(m.Orphans([partition])))  # at rest, and harmless
    world.stores = False
    world.feed(ev.FromBroker(m.Orphans([partition])))
    (reading,) = world.waiting_store
    world.waiting_store = []
    before = world.store.do(reading.operation)
    world.stores = True
    world.result("migrate", what=partition.removeprefix("visits/"), node="node2")
    world.feed(ev.StoreDone(reading.tag, before))
    world.run(3_000)
    assert world.owners()[partition] == "node2"
    assert not any("the store is back" in log.text for log in world.logs)
    assert world.consistent()


def test_a_placement_is_not_lost_when_the_landing_before_it_comes_late() -> None:
    world = cluster(2)
    partition = "visits/store/0"
    before = world.store.get(partition)
    world.stores = False
    world.worker_down(before.owner)
    world.run(50)  # its partitions are asked for, and the store takes its time
    world.feed(ev.FromBroker(m.Landed(partition, before.epoch, before.owner)))
    world.stores = True
    world.store_answers()
    world.run(100)
    after = world.store.get(partition)
    assert after.epoch == before.epoch + 1
    assert world.workers[after.owner].owned[partition] == after.epoch


def test_an_assignment_that_a_dead_controller_did_not_send_is_made_good() -> None:
    world = cluster(2)
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    world.store.placements[partition] = Placement(partition, "node2", world.store.get(partition).epoch + 1)
    world.restart_controller()
    world.run(2_000)
    assert world.consistent()


def test_a_graph_in_force_that_nobody_placed_is_placed() -> None:
    world = World()
    world.store.graphs["visits"] = msgspec.structs.replace(graph(), version=1)
    world.restart_controller()
    world.worker_up("node1")
    world.worker_up("node2")
    world.run(2_000)
    assert world.counts() == {"node1": 4, "node2": 4}
    assert world.consistent()


def test_partitions_of_a_graph_that_is_gone_are_taken_away() -> None:
    world = cluster(1)
    world.worker_up("node2", {"ghost/store/1": 4})
    world.run(3_000)
    assert "ghost/store/1" not in world.workers["node2"].owned


def test_an_undeployment_that_a_dead_controller_did_not_end_is_ended() -> None:
    """The graph is not there any more, so nobody could ask for it again."""
    world = cluster(2)
    world.run(3_000)
    world.store.graphs.clear()
    world.restart_controller()
    world.run(3_000)
    assert not any(placement.owner for placement in world.store.placements.values())
    assert not any(worker.owned for worker in world.workers.values())
    world.deploy(graph())
    world.run(1_000)
    assert world.consistent()


def test_a_race_lost_to_a_source_ends_where_the_store_says() -> None:
    world = cluster(3)
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    epoch = world.store.get(partition).epoch
    world.store.placements[partition] = Placement(partition, "node3", epoch + 1)  # its last commit
    world.worker_down("node1")
    world.run(500)
    assert world.store.get(partition) == Placement(partition, "node3", epoch + 1)
    assert world.consistent()


def test_the_store_away_during_a_failover() -> None:
    world = cluster(3)
    world.stores = False
    world.worker_down("node2")
    world.run(10_000)
    assert "node2" in world.owners().values()
    world.stores = True
    world.store_answers()
    world.run(100)
    assert "node2" not in world.owners().values()
    assert world.consistent()


def test_a_cluster_that_starts_waits_for_nodes_that_still_load() -> None:
    world = cluster(3)
    for name in list(world.workers):
        world.workers.pop(name)
    world.routes.clear()
    world.restart_controller()
    world.worker_up("node1")
    slow = [world.worker_up("node2", prepares=False), world.worker_up("node3", prepares=False)]
    world.run(1_500)
    for worker in slow:
        world.said(worker, m.Prepared("visits", 1))
    world.run(500)
    counts = world.counts()
    assert max(counts.values()) - min(counts.values()) <= 1
    assert world.consistent()


# -- commands ---------------------------------------------------------------------------------------------


def test_migrate_reports_each_move() -> None:
    world = cluster(3)
    result = world.result("migrate", what="store", node="node3")
    assert set(world.owners().values()) == {"node3"}
    assert result["moved"] == len(result["moves"]) == 5 or result["moved"] == 6
    assert result["failed"] == 0
    assert result["pause_ms"] == {"p50": 1.5, "p99": 1.5, "max": 1.5}
    assert result["held"] == 2 * result["moved"]
    assert result["paused"] == result["moved"]
    assert result["moves"][0].keys() == {"partition", "from", "to", "epoch", "pause_ms", "held", "error"}
    assert world.store.maps["moves"] == {}
    assert world.consistent()
    assert world.result("migrate", what="visits/store", node="node3")["moved"] == 0


def test_what_has_moved_is_let_go_of() -> None:
    """At once: what holds itself stays until somebody looks for such, which is seldom, and memory grows until then."""
    world = cluster(3)
    gc.collect()
    gc.disable()
    try:
        world.result("migrate", what="store", node="node3")
        world.result("migrate", what="store/1", node="node1")
        left = [kept for kept in gc.get_objects() if isinstance(kept, Migration | Batch)]
    finally:
        gc.enable()
    assert left == []


def test_names_that_are_not_there() -> None:
    world = cluster(1)
    assert "give one of: visits/store" in world.error("migrate", what="shop", node="node1")
    assert "give 0 to 7" in world.error("migrate", what="store/9", node="node1")
    assert "give one of: node1" in world.error("migrate", what="store", node="node9")
    assert "give one of: visits" in world.error("graph", graph="shop")
    assert "no command" in world.error("dance")
    assert "no command" in world.error("stop")  # processes are ended by those who began them
    world.deploy(graph("shop"))
    assert "shop/store, visits/store" in world.error("explain", what="store")
    assert len(world.result("explain", what="shop/store/3")["partitions"]) == 1


def test_drain_empties_a_node_and_uncordon_takes_it_back() -> None:
    world = cluster(3)
    result = world.result("drain", node="node1")
    assert result["left"] == 0
    assert world.workers["node1"].owned == {}
    assert world.store.maps["nodes"] == {"node1": {"cordoned": True, "drained": True}}
    world.worker_down("node1")
    world.worker_up("node1")
    world.run(10_000)
    assert next(n for n in world.result("nodes") if n["name"] == "node1")["state"] == "drained"
    assert world.workers["node1"].owned == {}
    world.result("uncordon", node="node1")
    world.run(20_000)
    assert len(world.workers["node1"].owned) >= 2
    assert world.events("failover") == []


def test_the_last_node_cannot_be_drained() -> None:
    world = cluster(1)
    assert "no other node" in world.error("drain", node="node1")


def test_a_node_that_leaves_is_emptied() -> None:
    world = cluster(2)
    world.said(world.workers["node2"], m.Leaving())
    world.run(1_000)
    assert world.workers["node2"].owned == {}
    assert world.events("failover") == []


def test_what_a_node_that_leaves_still_has_when_it_is_gone_is_failed_over() -> None:
    world = cluster(2)
    owned = set(world.workers["node2"].owned)
    world.said(world.workers["node2"], m.Leaving())
    world.worker_down("node2")
    world.run(1_000)
    assert owned
    assert set(world.owners().values()) == {"node1"}
    assert owned <= set(world.workers["node1"].owned)
    assert world.events("failover") != []


def test_pins_move_there_and_stay() -> None:
    world = cluster(3)
    assert world.result("pin", what="store", node="node2") == {"what": "visits/store", "node": "node2"}
    world.run(2_000)
    assert set(world.owners().values()) == {"node2"}
    world.run(30_000)
    assert set(world.owners().values()) == {"node2"}
    assert "pinned" in world.error("migrate", what="store/1", node="node1")
    world.result("unpin", what="store")
    world.run(30_000)
    assert len(world.counts()) == 3


def test_what_remembers_in_its_process_stays_while_that_lives() -> None:
    world = cluster(3)
    live = graph("live")
    group = msgspec.structs.replace(live.groups[0], stateful=False, partitions=1, pinned="keeps sessions in memory")
    fluxion = msgspec.structs.replace(live.fluxions[0], key="")
    world.deploy(msgspec.structs.replace(live, groups=(group,), fluxions=(fluxion,)))
    at = world.owners()["live/store/0"]
    other = next(name for name in world.workers if name != at)
    assert "keeps sessions in memory" in world.error("migrate", what="live/store", node=other)
    assert "keeps sessions in memory" in world.error("pin", what="live/store", node=other)
    assert world.result("explain", what="live/store")["stays"] == "keeps sessions in memory"
    assert world.result("explain", what="visits/store")["stays"] == ""
    drained = world.result("drain", node=at)
    assert drained["left"] == 1
    assert drained["stay"] == [{"partition": "live/store/0", "pinned": "keeps sessions in memory"}]
    world.run(30_000)
    assert world.owners()["live/store/0"] == at
    world.worker_down(at)
    world.run(10_000)
    assert world.owners()["live/store/0"] != at
    assert [e.fields["partition"] for e in world.events("forgotten")] == ["live/store/0"]


def test_what_remembers_in_a_process_that_ends_may_go() -> None:
    world = cluster(2)
    live = graph("live")
    group = msgspec.structs.replace(live.groups[0], stateful=False, partitions=1, pinned="keeps sessions in memory")
    fluxion = msgspec.structs.replace(live.fluxions[0], key="")
    world.deploy(msgspec.structs.replace(live, groups=(group,), fluxions=(fluxion,)))
    at = world.owners()["live/store/0"]
    world.said(world.workers[at], m.Leaving())
    world.run(1_000)
    assert world.workers[at].owned == {}


def test_freeze_stops_automatic_moves() -> None:
    world = cluster(2)
    assert world.result("freeze", reason="release") == {"frozen": "release"}
    world.worker_up("node3")
    world.run(30_000)
    assert "node3" not in world.owners().values()
    assert world.result("status")["frozen"] == "release"
    world.result("unfreeze")
    world.run(30_000)
    assert world.counts()["node3"] >= 2


def test_status_has_its_shape() -> None:
    world = cluster(2)
    status = world.result("status")
    assert status.keys() == {
        "graphs", "nodes", "frozen", "moves", "redis_ok", "broker_ok", "brokers", "http", "leader", "uptime_s",
        "migrations", "failovers", "dead",
    }  # fmt: skip
    assert status["graphs"] == [{"name": "visits", "version": 1, "fluxions": 1, "partitions": 8, "unplaced": 0}]
    assert status["nodes"][0].keys() == {
        "name", "state", "partitions", "load", "capacity", "utilisation", "rate", "queued", "rss", "hosts",
        "since_s", "brokers",
    }  # fmt: skip
    shown = world.result("graph", graph="visits")
    assert shown["streams"] == ["input >> store", "store >> output"]
    assert shown["groups"][0]["nodes"] == {"node1": 4, "node2": 4}
    partition = world.result("explain", what="store/1")["partitions"][0]
    assert partition["reason"] == "placed when visits version 1 was deployed"
    assert partition["since_s"] >= START_MS / 1000


def test_events_are_followed_until_the_client_goes() -> None:
    world = cluster(2)
    request = world.ask("events", follow=True, last=5)
    before = len(world.replies)
    world.worker_up("node3")
    items = [reply.item["event"] for reply in world.replies[before:] if reply.id == request]
    assert "joined" in items
    world.feed(ev.ClientGone(b"ctl#1"))
    before = len(world.replies)
    world.worker_down("node3")
    assert len(world.replies) == before
    request = world.ask("logs", follow=False, last=1, source="")
    assert world.reply(request).end


def test_a_stateless_group_has_no_context() -> None:
    made = graph(groups=("store", "send"))
    made = msgspec.structs.replace(made, groups=(Group("store", True, 8), Group("send", False, 8)))
    world = cluster(1, made)
    assert "has no context" in world.error("context", action="get", what="send", key="alice")


def test_the_one_context_of_a_group_without_keys_is_shown_without_a_key() -> None:
    made = graph()
    fluxion = msgspec.structs.replace(made.fluxions[0], key="")
    world = cluster(1, msgspec.structs.replace(made, fluxions=(fluxion,), groups=(Group("store", True, 1),)))
    assert "the one context of visits/store is empty" in world.error("context", action="get", what="store", key="")
    world.store.contexts["visits/store/0", ""] = {"n": pack(3)}
    found = world.result("context", action="get", what="store", key="")
    assert (found["key"], found["fields"]) == ("", {"n": 3})
    refused = world.error("context", action="get", what="store", key="alice")
    assert "one context for all" in refused
    assert "remedy: `liquefy-ctl context get visits/store`" in refused


def test_of_a_group_with_keys_one_is_to_be_given() -> None:
    world = cluster(1)
    refused = world.error("context", action="get", what="store", key="")
    assert "visits/store has a context for each user: which is meant?" in refused
    assert "no context of the key 'alice'" in world.error("context", action="get", what="store", key="alice")
    world.store.contexts[f"visits/store/{partition_index('alice', 8)}", "alice"] = {"n": pack(3)}
    assert world.result("context", action="get", what="store", key="alice")["fields"] == {"n": 3}


def test_what_a_pinned_group_remembers_is_in_no_context_and_who_asks_for_it_is_told_why() -> None:
    made = graph(groups=("store",))
    made = msgspec.structs.replace(made, groups=(Group("store", False, 1, "it keeps sessions in memory"),))
    found = cluster(1, made).error("context", action="list", what="store", limit=10)
    assert "in one process" in found
    assert "it keeps sessions in memory" in found


def test_a_deployment_while_the_cluster_settles_is_no_loss() -> None:
    world = World()
    for i in range(1, 4):
        world.worker_up(f"node{i}")
    world.stores = False
    request = world.ask("deploy", graph=msgspec.to_builtins(graph()), bundle=BUNDLE)
    world.stores = True
    world.store_answers()
    world.run(1_500)
    assert not world.reply(request).error
    assert not world.events("lost")
    assert world.counts() == {"node1": 3, "node2": 3, "node3": 2}


def test_what_runs_just_like_that_is_deployed_anew_only_when_asked() -> None:
    world = cluster(2)
    assert world.deploy(graph(), if_changed=True)["version"] == 1
    world.worker_up("node3", refuses="no space left")
    world.run(1_000)
    assert world.error("deploy", graph=msgspec.to_builtins(graph()), bundle=BUNDLE, if_changed=True), "node3 has not"
    world.worker_down("node3")
    assert world.deploy(graph(groups=("store", "new")), if_changed=True)["version"] == 2
    assert world.deploy(graph(groups=("store", "new")))["version"] == 3


def coded(code: bytes, name: str = "visits") -> dict[str, object]:
    sha = hashlib.sha256(code).hexdigest()
    made = graph(name, bundle=sha)
    made = msgspec.structs.replace(made, fluxions=tuple(msgspec.structs.replace(f, bundle=sha) for f in made.fluxions))
    return {"graph": msgspec.to_builtins(made), "bundle": code}


def test_bundles_that_no_graph_names_are_dropped_but_not_one_that_is_being_prepared() -> None:
    world = cluster(2)
    first, shop, second, third = (
        hashlib.sha256(code).hexdigest() for code in (BUNDLE, b"shop", b"second", b"third")
    )
    for worker in world.workers.values():
        worker.prepares = False
    slow = world.ask("deploy", **coded(b"shop", "shop"))
    assert world.store.bundles == {first, shop}
    for worker in world.workers.values():
        worker.prepares = True
    world.result("deploy", **coded(b"second"))
    assert world.store.bundles == {shop, second}, "shop is still loaded by the nodes"
    for worker in world.workers.values():
        world.said(worker, m.Prepared("shop", 1))
    world.until(lambda: world.answered(slow))
    world.workers["node1"].refuses = "no"
    assert "no" in world.error("deploy", **coded(b"third"))
    assert third in world.store.bundles
    world.workers["node1"].refuses = ""
    world.result("undeploy", graph="shop", purge=False)
    assert world.store.bundles == {second}


def test_a_partition_whose_place_cannot_be_read_gets_no_node_until_that_is_repaired() -> None:
    world = cluster(2)
    whole = world.store.placements["visits/store/3"]
    world.store.placements["visits/store/3"] = Placement("visits/store/3", "lq:{visits/store/3}:meta", DAMAGED)
    world.worker_down(whole.owner)
    world.run(10_000)
    told = [line.text for line in world.events("damaged")]
    assert len(told) == 1, told
    assert "lq:{visits/store/3}:meta" in told[0]
    assert len(world.events("lost")) == 1, "it is not failed over again and again"
    other = next(name for name in ("node1", "node2") if name != whole.owner)
    assert len(world.workers[other].owned) == 7, "all others go on"
    world.store.placements["visits/store/3"] = whole
    world.run(10_000)
    assert len(world.workers[other].owned) == 8

from __future__ import annotations

from controller import views
from controller.cluster import Cluster
from controller.naming import Meant
from liquefy.commits import Placement
from liquefy.graph import Fluxion, Graph, Group, Input
from liquefy.messages import PartitionLoad, Report


def test_what_is_placed_is_unplaced_until_its_owner_says_that_it_has_it() -> None:
    # A node that started anew under its old name has nothing, whatever the placements of its last life say.
    cluster = Cluster()
    cluster.graphs["g"] = Graph(
        "g", 1, "", (Input("input", "GET", "/", "f"),), (Fluxion("f", "m:f", "f"),), (Group("f", False, 1),)
    )

    def unplaced() -> object:
        return views.graphs(cluster)[0]["unplaced"]

    assert unplaced() == 1
    cluster.place(Placement("g/f/0", "node1", 2), "deployed", 0)
    node = cluster.node("node1")
    node.sessions = {0: b"node1#1"}
    assert unplaced() == 1
    node.inventory = {"g/f/0": 1}
    assert unplaced() == 1
    node.inventory = {"g/f/0": 2}
    assert unplaced() == 0
    node.sessions = {}
    assert unplaced() == 1


def test_a_share_of_nothing_is_nothing() -> None:
    cluster = Cluster()
    group = Group("f", False, 2)
    graph = Graph("g", 1, "", (Input("input", "GET", "/", "f"),), (Fluxion("f", "m:f", "f"),), (group,))
    meant = Meant("g/f/0", graph, group, ["g/f/0"])
    cluster.place(Placement("g/f/0", "node1", 2), "deployed", 0)
    cluster.place(Placement("g/f/1", "node1", 2), "deployed", 0)

    def explained(cpu_s: float, now_ms: int) -> tuple[float, float]:
        report = Report(1.0, [PartitionLoad("g/f/0", cpu_s, 1, 0, 0.0, 0)], [], cpu_s, 0, 0, 1, True, 2)
        for second in range(60):
            cluster.measures.add("node1", report, now_ms + second * 1_000)
        (told,) = views.explain(cluster, meant, now_ms + 59_000)["partitions"]
        return told["load"], told["share"]

    load, share = explained(0.0002, 1_000_000)
    assert 0 < load < 0.0005, "the least that can be measured"
    assert share == 0.0
    load, share = explained(0.3, 1_100_000)
    assert load > 0.1
    assert share == 1.0

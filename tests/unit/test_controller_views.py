from __future__ import annotations

from controller import views
from controller.cluster import Cluster
from liquefy.commits import Placement
from liquefy.graph import Fluxion, Graph, Group, Input


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
    node.session = b"node1#1"
    assert unplaced() == 1
    node.inventory = {"g/f/0": 1}
    assert unplaced() == 1
    node.inventory = {"g/f/0": 2}
    assert unplaced() == 0
    node.session = b""
    assert unplaced() == 1

from __future__ import annotations

import itertools
from xml.etree import ElementTree

from ctl import svg
from ctl.layers import lay_out

SIZE = (100.0, 40.0)


def graph(streams: list[str]) -> dict[str, object]:
    names = sorted({n for s in streams for n in s.split(" >> ")} - {"input", "output"})
    return {
        "name": "a<b", "version": 3, "deadline_ms": 30_000,
        "inputs": [{"name": "input", "method": "GET", "path": "/{id}", "to": names[0]}],
        "fluxions": [{"name": n, "code": "m:f", "group": n, "key": "id", "streams": []} for n in names],
        "groups": [
            {"name": f"a<b/{n}", "stateful": True, "partitions": 32, "nodes": {"node1": 16, "node2": 16}, "rate": 1.0,
             "load": 0.1}
            for n in names
        ],
        "streams": streams,
    }  # fmt: skip


def test_layers_go_from_left_to_right_and_nothing_overlaps() -> None:
    names = ["in", "a", "b", "c", "d", "out"]
    edges = [("in", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "out"), ("a", "out")]
    layout = lay_out(dict.fromkeys(names, SIZE), edges, ["in"])
    for a, b in edges:
        assert layout.boxes[a].x + layout.boxes[a].width < layout.boxes[b].x
        path = layout.paths[a, b]
        assert [x for x, _ in path] == sorted(x for x, _ in path)
    boxes = list(layout.boxes.values())
    for i, one in enumerate(boxes):
        assert one.x >= 0
        assert one.x + one.width <= layout.width
        assert one.y >= 0
        assert one.y + one.height <= layout.height
        for other in boxes[i + 1 :]:
            assert (
                one.x + one.width <= other.x
                or other.x + other.width <= one.x
                or one.y + one.height <= other.y
                or other.y + other.height <= one.y
            )


def test_an_edge_that_closes_a_cycle_is_drawn_backwards() -> None:
    layout = lay_out(dict.fromkeys(["in", "a", "b"], SIZE), [("in", "a"), ("a", "b"), ("b", "a")], ["in"])
    assert layout.back == [("b", "a")]
    assert layout.boxes["a"].x < layout.boxes["b"].x


def test_crossings_are_taken_out() -> None:
    # In order of names a-y and b-x would cross.
    layout = lay_out(
        dict.fromkeys(["in", "a", "b", "x", "y"], SIZE),
        [("in", "a"), ("in", "b"), ("a", "y"), ("b", "x")],
        ["in"],
    )
    boxes = layout.boxes
    assert (boxes["a"].y < boxes["b"].y) == (boxes["y"].y < boxes["x"].y)


def test_a_chain_of_a_thousand_does_not_overflow() -> None:
    names = [f"f{i}" for i in range(1_000)]
    layout = lay_out(dict.fromkeys(names, SIZE), list(itertools.pairwise(names)), ["f0"])
    assert len(layout.paths) == 999


def test_the_file_is_xml_and_names_everything() -> None:
    streams = ["input >> store", "store >> store", "store >> send", "send >> store", "send >> output"]
    text = svg.draw(graph(streams))
    root = ElementTree.fromstring(text)
    said = " ".join("".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text"))
    for word in (
        "a<b",
        "version 3",
        "input",
        "GET /{id}",
        "store",
        "send",
        "output",
        "node1 16",
        "context by id",
    ):
        assert word in said
    assert len(root.findall(".//*[@class='edge']")) == len(streams)

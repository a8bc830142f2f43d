"""Where the boxes of a drawn graph go: a layered layout, from left to right.

Pure geometry; knows neither fluxions nor SVG. After Sugiyama, Tagawa and Toda, "Methods for visual
understanding of hierarchical system structures" (1981): take cycles out, give each box a layer, order the
layers so that few edges cross, then place. An edge over several layers runs through an invisible box in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

SWEEPS = 8
"""Passes over the layers that reduce crossings; more change nothing in graphs that people draw."""

GAP_X, GAP_Y = 90.0, 28.0
"""Between layers, and between boxes of one layer, in pixels."""

VIA_HEIGHT = 10.0
"""Room for an edge that passes through a layer."""

Edge = tuple[str, str]


class Box(NamedTuple):
    """The upper left corner and the size, in pixels."""

    x: float
    y: float
    width: float
    height: float


class Layout(NamedTuple):
    """`paths`: for each forward edge the points it goes through, from the right of its source to the left of
    its target. `back`: the edges that close a cycle; they are left to the one who draws."""

    boxes: dict[str, Box]
    paths: dict[Edge, list[tuple[float, float]]]
    back: list[Edge]
    width: float
    height: float


def lay_out(sizes: Mapping[str, tuple[float, float]], edges: Sequence[Edge], first: Sequence[str]) -> Layout:
    """Place boxes of the given sizes (width, height). Edges among them; those of `first` begin at the
    left."""
    edges = list(dict.fromkeys(e for e in edges if e[0] != e[1]))
    back = _back_edges(list(dict.fromkeys([*first, *sizes])), edges)
    forward = [e for e in edges if e not in back]
    layer = _layers(list(sizes), forward)
    columns, vias = _with_vias(layer, forward)
    _reduce_crossings(columns, _links(forward, vias))
    return _place(columns, sizes, forward, vias, [e for e in edges if e in back])


def _back_edges(order: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that a depth-first walk finds leading back to where it came from. Without recursion, as
    graphs may be long."""
    out: dict[str, list[str]] = {}
    for a, b in edges:
        out.setdefault(a, []).append(b)
    back: set[Edge] = set()
    state: dict[str, int] = {}  # 1: on the way, 2: done
    for root in order:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(out.get(root, ())))]
        while stack:
            at, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[at] = 2
                stack.pop()
            elif state.get(following) == 1:
                back.add((at, following))
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(out.get(following, ()))))
    return back


def _layers(names: Sequence[str], forward: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each box from a box that nothing leads to."""
    layer = dict.fromkeys(names, 0)
    waiting = dict.fromkeys(names, 0)
    out: dict[str, list[str]] = {}
    for a, b in forward:
        waiting[b] += 1
        out.setdefault(a, []).append(b)
    ready = [n for n in names if not waiting[n]]
    for at in ready:
        for following in out.get(at, ()):
            layer[following] = max(layer[following], layer[at] + 1)
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)
    return layer


def _with_vias(layer: Mapping[str, int], forward: Sequence[Edge]) -> tuple[list[list[str]], dict[Edge, list[str]]]:
    """The boxes of each layer, with the invisible ones; and which of those each edge goes through."""
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for name, at in layer.items():
        columns[at].append(name)
    vias: dict[Edge, list[str]] = {}
    for a, b in forward:
        vias[a, b] = []
        for at in range(layer[a] + 1, layer[b]):
            via = f"\0{a}\0{b}\0{at}"
            vias[a, b].append(via)
            columns[at].append(via)
    return columns, vias


def _links(forward: Sequence[Edge], vias: Mapping[Edge, list[str]]) -> list[Edge]:
    """The edges cut at their invisible boxes: each from one layer to the next."""
    links: list[Edge] = []
    for a, b in forward:
        chain = [a, *vias[a, b], b]
        links += pairwise(chain)
    return links


def _reduce_crossings(columns: list[list[str]], links: Sequence[Edge]) -> None:
    """Order each layer by the mean place of the neighbours, to and fro."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for a, b in links:
        after.setdefault(a, []).append(b)
        before.setdefault(b, []).append(a)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        for column in columns if forth else reversed(columns):
            place = {name: i / max(1, len(c) - 1) if len(c) > 1 else 0.5 for c in columns for i, name in enumerate(c)}
            mean = {
                n: sum(place[m] for m in neighbours[n]) / len(neighbours[n]) if neighbours.get(n) else place[n]
                for n in column
            }
            column.sort(key=mean.__getitem__)


def _place(
    columns: list[list[str]],
    sizes: Mapping[str, tuple[float, float]],
    forward: Sequence[Edge],
    vias: Mapping[Edge, list[str]],
    back: list[Edge],
) -> Layout:
    def size(name: str) -> tuple[float, float]:
        return sizes.get(name, (0.0, VIA_HEIGHT))

    heights = [sum(size(n)[1] for n in c) + GAP_Y * (len(c) - 1) for c in columns]
    height = max(heights, default=0.0)
    boxes: dict[str, Box] = {}
    x = 0.0
    for column, own in zip(columns, heights, strict=True):
        wide = max((size(n)[0] for n in column), default=0.0)
        y = (height - own) / 2
        for name in column:
            w, h = size(name)
            boxes[name] = Box(x + (wide - w) / 2, y, w, h) if w else Box(x, y, wide, h)
            y += h + GAP_Y
        x += wide + GAP_X
    paths = {}
    for edge in forward:
        points = [_right(boxes[edge[0]])]
        for via in vias[edge]:
            points += [_left(boxes[via]), _right(boxes[via])]
        paths[edge] = [*points, _left(boxes[edge[1]])]
    return Layout({n: boxes[n] for n in sizes}, paths, back, max(0.0, x - GAP_X), height)


def _left(box: Box) -> tuple[float, float]:
    return box.x, box.y + box.height / 2


def _right(box: Box) -> tuple[float, float]:
    return box.x + box.width, box.y + box.height / 2

"""What a person means by `store`, `visits/store`, `store/7` or `visits/store/7`. Pure."""

from __future__ import annotations

from typing import NamedTuple

from controller.cluster import Cluster
from liquefy.errors import UserError
from liquefy.graph import Graph, Group


class Meant(NamedTuple):
    """`what` in full: `graph/group` or `graph/group/index`; its partitions."""

    what: str
    graph: Graph
    group: Group
    partitions: list[str]


def graph_named(cluster: Cluster, name: str) -> Graph:
    """Raises UserError, naming those that there are."""
    graph = cluster.graphs.get(name)
    if graph is None:
        known = ", ".join(sorted(cluster.graphs)) or "none"
        raise UserError(f"there is no graph {name!r}\n  remedy: give one of: {known}")
    return graph


def meant(cluster: Cluster, what: str) -> Meant:
    """Raises UserError when nothing, or more than one thing, is called that."""
    parts = [part for part in what.split("/") if part]
    if len(parts) == 3:
        return _of(graph_named(cluster, parts[0]), parts[1], parts[2])
    if len(parts) == 2 and parts[0] in cluster.graphs and _group(cluster.graphs[parts[0]], parts[1]) is not None:
        return _of(cluster.graphs[parts[0]], parts[1], "")
    if len(parts) == 2 and parts[1].isdigit():
        return _of(_only_graph_with(cluster, parts[0]), parts[0], parts[1])
    if len(parts) == 2:
        return _of(graph_named(cluster, parts[0]), parts[1], "")
    if len(parts) == 1:
        return _of(_only_graph_with(cluster, parts[0]), parts[0], "")
    raise UserError(f"{what!r} names nothing\n  remedy: give group, graph/group or graph/group/index")


def _of(graph: Graph, name: str, index: str) -> Meant:
    group = _group(graph, name)
    if group is None:
        raise UserError(f"{graph.name} has no group or fluxion {name!r}\n  remedy: give one of: {_names([graph])}")
    full = f"{graph.name}/{group.name}"
    if not index:
        return Meant(full, graph, group, [f"{full}/{i}" for i in range(group.partitions)])
    if not index.isdigit() or int(index) >= group.partitions:
        raise UserError(f"{full} has no partition {index!r}\n  remedy: give 0 to {group.partitions - 1}")
    return Meant(f"{full}/{int(index)}", graph, group, [f"{full}/{int(index)}"])


def _group(graph: Graph, name: str) -> Group | None:
    """The group of that name, or of the fluxion of that name."""
    fluxion = graph.fluxion_by_name.get(name)
    return graph.group_by_name.get(name) or (graph.group_by_name[fluxion.group] if fluxion is not None else None)


def _only_graph_with(cluster: Cluster, name: str) -> Graph:
    graphs = [graph for _, graph in sorted(cluster.graphs.items()) if _group(graph, name) is not None]
    if len(graphs) == 1:
        return graphs[0]
    if graphs:
        choices = ", ".join(f"{graph.name}/{name}" for graph in graphs)
        raise UserError(f"{name!r} is in several graphs\n  remedy: give one of: {choices}")
    known = _names(list(cluster.graphs.values()))
    raise UserError(f"no graph has a group or fluxion {name!r}\n  remedy: give one of: {known or 'none is deployed'}")


def _names(graphs: list[Graph]) -> str:
    return ", ".join(sorted({f"{g.name}/{group.name}" for g in graphs for group in g.groups}))

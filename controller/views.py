"""What `status`, `nodes`, `graph` and `explain` show: the shapes of `liquefy.control`, made from what is known.
Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from controller.cluster import Cluster, Node
from controller.naming import Meant
from liquefy.graph import Graph

SHARED_LOAD_MIN = 0.01
"""Cores; a node whose partitions use less together is idle, and a share of that is told as 0."""


def brokers(addresses: Sequence[str], linked: Collection[int]) -> list[dict[str, Any]]:
    """Of a Status."""
    return [{"address": address, "ok": i in linked} for i, address in enumerate(addresses)]


def node_status(cluster: Cluster, node: Node, now_ms: int, addresses: Sequence[str]) -> dict[str, Any]:
    owned = cluster.owned.get(node.name, {})
    load = cluster.measures.node_load(node.name, now_ms) if node.alive else 0.0
    report = node.report if node.alive else None
    return {
        "name": node.name,
        "state": node.state,
        "partitions": len(owned),
        "load": round(load, 4),
        "capacity": node.capacity,
        "utilisation": round(load / node.capacity, 4),
        "rate": round(sum(cluster.measures.rate(p, now_ms) for p in owned), 2),
        "queued": report.queued if report else 0,
        "rss": report.rss_bytes if report else 0,
        "hosts": report.hosts if report else 0,
        "since_s": node.since_ms / 1000,
        "brokers": [addresses[link] for link in sorted(node.sessions)],
    }


def nodes(cluster: Cluster, now_ms: int, addresses: Sequence[str] = ("",)) -> list[dict[str, Any]]:
    return [node_status(cluster, cluster.nodes[name], now_ms, addresses) for name in sorted(cluster.nodes)]


def graphs(cluster: Cluster) -> list[dict[str, Any]]:
    """The graphs of a Status."""
    result = []
    for name, graph in sorted(cluster.graphs.items()):
        names = graph.partition_names()
        unplaced = sum(not cluster.serves(partition) for partition in names)
        fluxions = sum(not fluxion.retired for fluxion in graph.fluxions)
        result.append(
            {
                "name": name,
                "version": graph.version,
                "fluxions": fluxions,
                "partitions": len(names),
                "unplaced": unplaced,
            }
        )
    return result


def graph_status(cluster: Cluster, graph: Graph, now_ms: int) -> dict[str, Any]:
    measures = cluster.measures
    groups = []
    for group in graph.groups:
        names = [f"{graph.name}/{group.name}/{i}" for i in range(group.partitions)]
        counts: dict[str, int] = {}
        for name in names:
            owner = cluster.where.get(name, "")
            counts[owner] = counts.get(owner, 0) + 1
        groups.append(
            {
                "name": group.name,
                "stateful": group.stateful,
                "pinned": group.pinned,
                "partitions": group.partitions,
                "nodes": dict(sorted(counts.items())),
                "rate": round(sum(measures.rate(name, now_ms) for name in names), 2),
                "load": round(sum(measures.load(name, now_ms) for name in names), 4),
            }
        )
    return {
        "name": graph.name,
        "version": graph.version,
        "deadline_ms": graph.deadline_ms,
        "inputs": [{"name": i.name, "method": i.method, "path": i.path, "to": i.to} for i in graph.inputs],
        "fluxions": [
            {"name": f.name, "code": f.code, "group": f.group, "key": f.key, "streams": list(f.streams)}
            for f in graph.fluxions
            if not f.retired
        ],
        "groups": groups,
        "streams": graph.streams(),
    }


def explain(cluster: Cluster, meant: Meant, now_ms: int) -> dict[str, Any]:
    """Why each partition is where it is. `share`: its part of its node's load; 0 where that is nothing. `stays`: why
    the group cannot be moved, "" if it can."""
    pinned = cluster.pinned()
    loads: dict[str, float] = {}
    result = []
    for partition in meant.partitions:
        node = cluster.where.get(partition, "")
        if node not in loads:
            loads[node] = sum(cluster.measures.load(p, now_ms) for p in cluster.owned.get(node, ()))
        load, note = cluster.measures.load(partition, now_ms), cluster.notes.get(partition)
        result.append(
            {
                "partition": partition,
                "node": node,
                "epoch": cluster.epoch(partition),
                "since_s": note.since_ms / 1000 if note else 0.0,
                "reason": note.reason if note else "not placed",
                "load": round(load, 4),
                "share": round(load / loads[node], 4) if loads[node] >= SHARED_LOAD_MIN else 0.0,
                "pinned": pinned.get(partition, ""),
                "history": [{"time_s": time_s, "text": text} for time_s, text in (note.history if note else ())],
            }
        )
    return {"stays": meant.group.pinned, "partitions": result}

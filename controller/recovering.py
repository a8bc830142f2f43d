"""When the store was away and answers again: has it come back with less than it had? What it lost is stored once more.

A Redis whose machine dies may lose the last second or two. Its connections break with it, so whoever asks it next
notices that it was away; then everything is read and compared with what is known here. Knows what was stored by this
controller, not what workers commit: they are asked to look for themselves.
"""

from __future__ import annotations

from typing import Any

from controller.deploying import Deploying
from controller.desk import Desk
from controller.events import DeleteGraph, Everything, Operation, PutGraph, ReadEverything, SetFreeze, SetJson
from controller.migration import Migrations
from controller.placing import Placing

_What = tuple[str, ...]


class Recovering:
    def __init__(self, desk: Desk, placing: Placing, migrations: Migrations, deploying: Deploying) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self._placing = placing
        self._migrations = migrations
        self._deploying = deploying

    def store_back(self) -> None:
        """It answers again. Operations are done in order: what is read fits what is known when it comes, except for
        what is being stored then. That was asked for later, and what is known is what it replaces."""
        self._desk.store(ReadEverything(), self._compare)
        self._desk.recheck()
        for move in self._migrations.running.values():
            # Its last commit may be lost, and its source have been told before that it is applied.
            move.on_end.append(lambda ended: self._placing.check([ended.partition]))

    def _compare(self, found: Everything) -> None:
        coming = {_what(operation) for operation in self._desk.under_way()}
        lost = [*self._graphs(found, coming), *self._nodes(found, coming), *self._pins(found, coming)]
        if found.frozen != self._cluster.frozen and ("freeze",) not in coming:
            self._desk.store(SetFreeze(self._cluster.frozen), lambda _: None)
            lost.append("whether automatic moves are frozen")
        for partition in found.moves.keys() - self._migrations.running.keys():
            self._desk.store(SetJson("moves", partition, None), lambda _: None)
        if lost:
            text = f"the store has lost what was written last; storing it again: {', '.join(lost)}"
            self._desk.log("error", text, "store", lost=lost)
        self._placing.check(sorted(self._cluster.placements.keys() | {p.partition for p in found.placements}))

    def _graphs(self, found: Everything, coming: set[_What]) -> list[str]:
        stored = {graph.name: graph for graph in found.graphs}
        behind = [graph for name, graph in sorted(self._cluster.graphs.items()) if stored.get(name) != graph]
        self._deploying.store_bundles_again(behind)
        lost = []
        for graph in behind:
            if ("graph", graph.name) not in coming:
                self._desk.store(PutGraph(graph), lambda _: None)
                lost.append(f"{graph.name} version {graph.version}")
        for name in sorted(stored.keys() - self._cluster.graphs.keys()):
            if ("graph", name) not in coming and self._deploying.undeploy_again(stored[name]):
                lost.append(f"that {name} was undeployed")
        return lost

    def _nodes(self, found: Everything, coming: set[_What]) -> list[str]:
        lost = []
        for name, node in sorted(self._cluster.nodes.items()):
            if ("nodes", name) in coming:
                continue
            settings: dict[str, Any] = {"cordoned": True, "drained": node.drained} if node.cordoned else {}
            if bool(settings) != bool(found.nodes.get(name)) or settings.get("drained", False) != bool(
                found.nodes.get(name, {}).get("drained")
            ):
                self._desk.store(SetJson("nodes", name, settings or None), lambda _: None)
                lost.append(f"settings of {name}")
        return lost

    def _pins(self, found: Everything, coming: set[_What]) -> list[str]:
        lost = []
        for what in sorted(found.pins.keys() | self._cluster.pins.keys()):
            node = self._cluster.pins.get(what)
            if found.pins.get(what) != node and ("pins", what) not in coming:
                self._desk.store(SetJson("pins", what, node), lambda _: None)
                lost.append(f"pin of {what}")
        return lost


def _what(operation: Operation) -> _What:
    """What it writes, if that is compared here: storing this again after it would undo it."""
    match operation:
        case PutGraph(graph):
            return "graph", graph.name
        case DeleteGraph(name):
            return "graph", name
        case SetJson(map_name, field, _):
            return map_name, field
        case SetFreeze():
            return ("freeze",)
    return ()

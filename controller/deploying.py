"""Deployments: checked, prepared on every node, brought into force, placed; and taken away again.

Until every node has loaded a new version nothing changes; whatever fails before, the version in force runs on.
Fluxions that the new version has no more go on ("retired") for messages under way, then are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from controller.checking import check, merge
from controller.cluster import Node
from controller.desk import Desk
from controller.events import DeleteGraph, DropBundles, PutBundle, PutGraph, ReadPlacements, SetJson, Unplace
from controller.migration import Migrations
from controller.placing import Placing
from liquefy.commits import Placement
from liquefy.errors import UserError
from liquefy.graph import Graph
from liquefy.messages import Prepare, Prepared, Unassign
from liquefy.wording import counted

LAND_WAIT_MS = 5_000
"""A deployment is answered when its new partitions are active, or after so long."""

CLOSE_MS = 2_000
"""Between the last request that an undeployed graph takes and its end: what is under way is answered."""

BUNDLE_KEPT_MS = 20_000
"""Code is remembered so long after it was stored; longer while the store is away, which may come back without it."""

Say = Callable[[str], None]
Done = Callable[[dict[str, Any]], None]
Refuse = Callable[[str], None]


class _Deployment:
    def __init__(self, graph: Graph, say: Say, done: Done, refuse: Refuse, now_ms: int) -> None:
        self.graph, self.say, self.done, self.refuse = graph, say, done, refuse
        self.began_ms = now_ms
        self.preparing = False
        self.waiting: set[str] = set()
        self.prepared: set[str] = set()
        self.landing: set[str] | None = None
        self.landing_ms = 0
        self.forgotten: list[str] = []
        """Groups whose memory was the process of the version before."""


class _Closing:
    def __init__(self, graph: str, purge: bool, done: Done, now_ms: int) -> None:
        self.graph, self.purge, self.done, self.since_ms = graph, purge, done, now_ms


class Deploying:
    def __init__(self, desk: Desk, placing: Placing, migrations: Migrations) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self._placing = placing
        self._migrations = migrations
        self._deployments: dict[str, _Deployment] = {}
        self._closing: dict[str, _Closing] = {}
        self._retire_ms: dict[str, int] = {}
        self._bundles: dict[str, tuple[int, bytes]] = {}
        """Code stored lately, by its digest, and when: the store may lose it yet."""
        self._undeployed: dict[str, bool] = {}
        """Graphs that were undeployed, and whether their contexts were deleted."""

    def names(self) -> Collection[str]:
        """Graphs that are being deployed."""
        return self._deployments.keys()

    def started(self) -> None:
        """What a controller before us has left to retire."""
        for name in self._cluster.graphs:
            self._retire_ms[name] = self._desk.now_ms + self._desk.config.retire_after_ms

    # -- deploy --------------------------------------------------------------------------------------------

    def deploy(
        self, graph: Graph, bundle: bytes, dry_run: bool, if_changed: bool, say: Say, done: Done, refuse: Refuse,
        forget: bool = False,
    ) -> None:  # fmt: skip
        """Raises UserError when it cannot be; else answers by `done` or `refuse`, later. `if_changed`: what runs just
        like this stays the version that it is. `forget`: as `check` has it."""
        name = graph.name
        if name in self._deployments or name in self._closing:
            raise UserError(f"{name} is being deployed or undeployed\n  remedy: wait until that is done")
        old = self._cluster.graphs.get(name)
        check(graph, bundle, old, self._cluster.graphs, forget)
        nodes = self._cluster.alive()
        if not nodes:
            raise UserError("no node is up\n  remedy: start a worker; `liquefy-ctl nodes` shows those that are known")
        if not any(node.takes for node in nodes):
            names = ", ".join(node.name for node in nodes)
            raise UserError(f"no node takes partitions: {names} cordoned or drained\n  remedy: uncordon one")
        merged = merge(graph, old)
        if if_changed and old is not None and self._runs_already(msgspec.structs.replace(merged, version=old.version)):
            say(f"{name} runs just like this, as version {old.version}")
            done(self._result(old, [node.name for node in nodes]))
            return
        if dry_run:
            done(self._result(merged, [node.name for node in nodes]))
            return
        deployment = _Deployment(merged, say, done, refuse, self._desk.now_ms)
        deployment.forgotten = [group.name for group in old.groups if group.pinned] if old is not None else []
        self._deployments[name] = deployment
        self._undeployed.pop(name, None)
        self._bundles[graph.bundle] = self._desk.now_ms, bundle
        self._desk.store(PutBundle(bundle), lambda _: self._prepare(deployment))

    def _runs_already(self, graph: Graph) -> bool:
        """Whether this very version is in force, and no node refuses it. Those that still load it will have it."""
        refused = any(graph.name in node.refused for node in self._cluster.alive())
        return self._cluster.graphs.get(graph.name) == graph and not refused

    def _prepare(self, deployment: _Deployment) -> None:
        nodes = self._cluster.alive()
        deployment.waiting = {node.name for node in nodes}
        deployment.preparing = True
        for node in nodes:
            self._desk.relay(node.session, Prepare(deployment.graph))
        deployment.say(f"{len(nodes)} nodes load {deployment.graph.name} version {deployment.graph.version}")
        self._check_prepared(deployment)

    def on_prepared(self, node: Node, prepared: Prepared) -> None:
        """A node has loaded a version, or cannot."""
        name, version, error = prepared.graph, prepared.version, prepared.error
        deployment = self._deployments.get(name)
        expected = deployment is not None and deployment.preparing and deployment.graph.version == version
        if deployment is not None and expected:
            if error and node.name in deployment.waiting:
                before = "; what ran before runs on" if name in self._cluster.graphs else ""
                remedy = f"correct the code, or what it needs, and deploy again{before}"
                text = f"{node.name} cannot run {name} version {version}: {error}"
                self._refuse(deployment, text if "remedy:" in error else f"{text}\n  remedy: {remedy}")
            elif node.name in deployment.waiting:
                deployment.waiting.discard(node.name)
                deployment.prepared.add(node.name)
                deployment.say(f"{node.name} is ready")
                self._check_prepared(deployment)
            return
        graph = self._cluster.graphs.get(name)
        if graph is None or graph.version != version:
            return
        if error:
            if node.refused.get(name) != error:
                self._desk.log("error", f"{node.name} cannot run {name}: {error}", "refused", node=node.name)
            node.refused[name] = error
            node.ready.pop(name, None)
        else:
            node.refused.pop(name, None)
            node.ready[name] = version

    def on_settled(self, only: str = "") -> None:
        """The connection was away, to all or to one: what was said meanwhile did not arrive."""
        for deployment in self._deployments.values():
            for name in sorted(deployment.waiting):
                if only in ("", name):
                    self._desk.relay(self._cluster.nodes[name].session, Prepare(deployment.graph))

    def on_node_gone(self, name: str) -> None:
        for deployment in list(self._deployments.values()):
            deployment.prepared.discard(name)
            if name in deployment.waiting:
                deployment.waiting.discard(name)
                deployment.say(f"{name} is gone")
                self._check_prepared(deployment)

    def _check_prepared(self, deployment: _Deployment) -> None:
        if deployment.waiting or not deployment.preparing:
            return
        if not deployment.prepared:
            self._refuse(deployment, "no node is left that could run it\n  remedy: start a worker, then deploy again")
            return
        deployment.preparing = False
        self._desk.store(PutGraph(deployment.graph), lambda _: self._in_force(deployment))

    def _refuse(self, deployment: _Deployment, error: str) -> None:
        del self._deployments[deployment.graph.name]
        self._forget_bundles()
        self._desk.send_graphs()
        self._desk.log("warning", f"not deployed: {error}", "refused", graph=deployment.graph.name)
        deployment.refuse(error)

    def _in_force(self, deployment: _Deployment) -> None:
        graph = deployment.graph
        self._cluster.graphs[graph.name] = graph
        for name in deployment.prepared:
            node = self._cluster.nodes[name]
            node.refused.pop(graph.name, None)
            node.ready[graph.name] = graph.version
        self._desk.send_graphs(gateways=False)
        self._drop_bundles()
        new = [p for p in graph.partition_names() if not self._cluster.where.get(p)]
        deployment.landing, deployment.landing_ms = set(new), self._desk.now_ms
        if new:
            self._desk.store(ReadPlacements(new), lambda found: self._place(deployment, found))
        # The others are where they were, unless the store has lost them; then this is what a person does about it.
        self._placing.verify(p for p in graph.partition_names() if self._cluster.where.get(p))

    def _place(self, deployment: _Deployment, found: list[Placement]) -> None:
        graph = deployment.graph
        reason = f"placed when {graph.name} version {graph.version} was deployed"
        found = [placement for placement in found if not self._placing.set_aside(placement)]
        for placement in found:
            self._cluster.place(placement, reason, self._desk.now_ms)
        self._placing.want([p.partition for p in found], reason, fresh=True)

    def on_landed(self, partition: str) -> None:
        deployment = self._deployments.get(partition[: partition.index("/")])
        if deployment is not None and deployment.landing is not None:
            deployment.landing.discard(partition)

    def _deployed(self, deployment: _Deployment) -> None:
        graph = deployment.graph
        del self._deployments[graph.name]
        self._desk.send_graphs(workers=False)
        names = set(graph.partition_names())
        if any(f.retired for f in graph.fluxions) or any(p not in names for p in self._cluster.placed(graph.name)):
            self._retire_ms[graph.name] = self._desk.now_ms + self._desk.config.retire_after_ms
        result = self._result(graph, sorted(deployment.prepared))
        ms = self._desk.now_ms - deployment.began_ms
        text = f"deployed {graph.name} version {graph.version}: {counted(len(names), 'partition')}, in {ms} ms"
        self._desk.log("info", text, "deployed", **result)
        for group in deployment.forgotten:
            text = f"{graph.name}/{group} begins anew: what it remembered was in the process of the version before"
            self._desk.log("warning", text, "forgotten", what=f"{graph.name}/{group}")
        deployment.done(result)

    @staticmethod
    def _result(graph: Graph, nodes: list[str]) -> dict[str, Any]:
        partitions = len(graph.partition_names())
        return {"graph": graph.name, "version": graph.version, "partitions": partitions, "nodes": nodes}

    # -- undeploy ------------------------------------------------------------------------------------------

    def undeploy(self, name: str, purge: bool, done: Done) -> None:
        """Raises UserError when it is being deployed."""
        if name in self._deployments or name in self._closing:
            raise UserError(f"{name} is being deployed or undeployed\n  remedy: wait until that is done")
        self._closing[name] = _Closing(name, purge, done, self._desk.now_ms)
        self._cluster.closing.add(name)
        self._migrations.cancel(lambda p: p.startswith(name + "/"), f"{name} is being undeployed")
        self._desk.send_graphs(workers=False)

    def _close(self, closing: _Closing) -> None:
        name = closing.graph
        del self._closing[name]
        self._retire_ms.pop(name, None)
        known = set(self._cluster.graphs[name].partition_names())
        partitions = sorted(known | set(self._cluster.placed(name)))
        del self._cluster.graphs[name]
        self._cluster.closing.discard(name)
        for node in self._cluster.nodes.values():
            node.ready.pop(name, None)
            node.refused.pop(name, None)
        for what in [what for what in self._cluster.pins if what.startswith(name + "/")]:
            del self._cluster.pins[what]
            self._desk.store(SetJson("pins", what, None), lambda _: None)
        self._undeployed[name] = closing.purge
        self._drop(partitions)
        self._desk.store(DeleteGraph(name), lambda _: None)
        self._drop_bundles()
        result = {"graph": name, "partitions": len(partitions), "contexts_kept": not closing.purge}
        self._desk.store(Unplace(partitions, closing.purge), lambda _: self._closed(closing, result))

    def _closed(self, closing: _Closing, result: dict[str, Any]) -> None:
        self._desk.send_graphs(purged=(closing.graph,) if closing.purge else ())
        kept = "contexts deleted" if closing.purge else "contexts kept"
        self._desk.log("info", f"undeployed {closing.graph}: {kept}", "undeployed", **result)
        closing.done(result)

    # -- what the store has lost ---------------------------------------------------------------------------

    def store_bundles_again(self, lost: list[Graph]) -> None:
        """The code of these was lost with them, if it was stored so lately; and that of what is being deployed, which
        is no graph in force yet."""
        named = _code_of([*lost, *(deployment.graph for deployment in self._deployments.values())])
        for digest in sorted(named & self._bundles.keys()):
            self._desk.store(PutBundle(self._bundles[digest][1]), lambda _: None)

    def undeploy_again(self, graph: Graph) -> bool:
        """False if nobody here has undeployed it."""
        if graph.name not in self._undeployed or graph.name in self._deployments:
            return False
        partitions = graph.partition_names()
        self._drop(partitions)
        self._desk.store(DeleteGraph(graph.name), lambda _: None)
        self._desk.store(Unplace(partitions, self._undeployed[graph.name]), lambda _: None)
        return True

    def _drop_bundles(self) -> None:
        """Code that no graph in force names, nor one that is being deployed. The store does one thing after the other,
        so what is deployed from now on is stored after this. Not when fluxions are retired: a node that was just told
        to load that version would find a part of it gone."""
        self._forget_bundles()
        self._desk.store(DropBundles(self._needed()), lambda _: None)

    def _forget_bundles(self) -> None:
        needed = self._needed()
        self._bundles = {digest: kept for digest, kept in self._bundles.items() if digest in needed}

    def _needed(self) -> frozenset[str]:
        """Digests of the code of what is in force or being deployed."""
        return _code_of([*self._cluster.graphs.values(), *(d.graph for d in self._deployments.values())])

    def _drop(self, partitions: list[str]) -> None:
        """Nobody owns these any more."""
        self._desk.brokers(Unassign(partitions))
        self._placing.forget(partitions)
        for partition in partitions:
            self._cluster.forget(partition)

    # -- time ----------------------------------------------------------------------------------------------

    def advance(self) -> None:
        now_ms = self._desk.now_ms
        for name, (stored_ms, _) in list(self._bundles.items()):
            if self._desk.redis_ok and now_ms - stored_ms > BUNDLE_KEPT_MS:
                del self._bundles[name]
        for deployment in list(self._deployments.values()):
            late = now_ms - deployment.began_ms > self._desk.config.prepare_ms
            if deployment.preparing and late:
                slow = ", ".join(sorted(deployment.waiting))
                self._refuse(deployment, f"not loaded within {self._desk.config.prepare_ms} ms by: {slow}")
            elif deployment.landing is not None and (
                not deployment.landing or now_ms - deployment.landing_ms > LAND_WAIT_MS
            ):
                self._deployed(deployment)
        for closing in list(self._closing.values()):
            moving = any(p.startswith(closing.graph + "/") for p in self._migrations.partitions())
            if now_ms - closing.since_ms >= CLOSE_MS and not moving:
                self._close(closing)
        for name, due_ms in list(self._retire_ms.items()):
            if now_ms >= due_ms and name not in self._deployments and name not in self._closing:
                del self._retire_ms[name]
                self._retire(name)

    def _retire(self, name: str) -> None:
        """Drop what the version in force has no more."""
        old = self._cluster.graphs.get(name)
        if old is None:
            return
        fluxions = tuple(f for f in old.fluxions if not f.retired)
        used = {f.group for f in fluxions}
        graph = msgspec.structs.replace(old, fluxions=fluxions, groups=tuple(g for g in old.groups if g.name in used))
        names = set(graph.partition_names())
        left = [p for p in self._cluster.placed(name) if p not in names]
        if graph == old and not left:
            return
        self._migrations.cancel(lambda p: p in left, "its fluxions are retired")
        self._cluster.graphs[name] = graph
        self._desk.store(PutGraph(graph), lambda _: None)
        if left:
            self._drop(left)
            self._desk.store(Unplace(left, False), lambda _: None)
        self._desk.send_graphs()
        gone = ", ".join(f.name for f in old.fluxions if f.retired) or "partitions"
        self._desk.log("info", f"{name}: what version {graph.version} replaced is dropped ({gone})", "retired")


def _code_of(graphs: list[Graph]) -> frozenset[str]:
    """Digests."""
    return frozenset(digest for graph in graphs for digest in (graph.bundle, *graph.bundles))

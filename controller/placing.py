"""Partitions without a node get one: at deployment, at failover, and when what is, differs from what is stored.

Each placement is a compare-and-set in the store with epoch + 1, so that an owner that still lives somewhere is
fenced; then the broker is told. Losing that race is no error: the answer says what is stored, and that is then the
truth to go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from controller import balance, trial
from controller.cluster import Node
from controller.desk import Desk
from controller.events import Place, ReadPlacements, Unplace
from liquefy.commits import DAMAGED, Placement, PlaceRequest
from liquefy.decoding import CLAIM_MAX
from liquefy.messages import Claim, Landed, Route, Unassign
from liquefy.wording import counted

REST_MS = 2_000
"""What was assigned or moved so lately is not suspected to be elsewhere."""

BREATH_MS = 5
"""From the loss of a node to its failover: a node that connects again is named gone and back in one breath."""

START_MS = 3_000
"""Of a cluster that has just started, nodes that still load the code are waited for so long."""


class _Failover:
    def __init__(self, node: str, since_ms: int, left: set[str]) -> None:
        self.node, self.since_ms, self.left, self.count = node, since_ms, left, len(left)
        self.to: Counter[str] = Counter()


class Placing:
    """`homeless`: partition -> why it needs a node. `due_ms`: node -> when its partitions are to be placed anew."""

    def __init__(self, desk: Desk, moving: Callable[[], Collection[str]]) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self._moving = moving
        self.homeless: dict[str, str] = {}
        self.due_ms: dict[str, int] = {}
        self.start_until_ms = 0
        self.fresh: set[str] = set()
        """Partitions of a new graph: placed evenly among themselves."""
        self.on_placed: Callable[[Placement], None] = lambda placement: None
        self.on_gone_back: Callable[[str], None] = lambda partition: None
        self._routes: dict[str, Route] = {}
        self._placing: set[str] = set()
        self._checking: set[str] = set()
        self._behind: dict[str, int] = {}
        """Partitions that were read at an older epoch than this, which is known: read once more, as the first reading
        may have crossed news of a move."""
        self._heard: dict[str, int] = {}
        """The highest epoch at which anybody is known to have had the partition. Only a store that has lost what it
        had stored is behind that."""
        self._assigned_ms: dict[str, int] = {}
        self._damaged: set[str] = set()
        """Partitions of which it cannot be read where they are: they get no node until that is repaired."""
        self._failovers: list[_Failover] = []
        self._waiting_logged = False

    # -- nodes ---------------------------------------------------------------------------------------------

    def node_lost(self, node: Node) -> None:
        """Its partitions are placed anew, after a breath."""
        grace_ms = max(BREATH_MS, self._desk.config.gone_grace_ms)
        self.due_ms[node.name] = self._desk.now_ms + grace_ms

    def node_back(self, node: Node, claims: Iterable[Claim], anew: bool) -> None:
        """What it claims stays. `anew`: by a new session, so what it does not claim, it has forgotten; else the
        broker may just not have been told."""
        self.due_ms.pop(node.name, None)
        claimed = {claim.partition: claim.epoch for claim in claims}
        node.inventory = dict(claimed)
        for partition, epoch in claimed.items():
            self.heard(partition, epoch)
            self._routes[partition] = Route(partition, node.name, node.session, epoch, 0)
        owned = self._cluster.owned.get(node.name, {})
        forgotten = [p for p, epoch in owned.items() if claimed.get(p, 0) < epoch]
        if anew:
            news = "started anew" if not claimed else "came back without some"
            self._lost(node.name, forgotten, f"{node.name} {news}")
        else:
            self.check(forgotten)
        self.check([p for p, epoch in claimed.items() if owned.get(p) != epoch])

    def node_also(self, claims: Iterable[Claim]) -> None:
        """A node that is here has connected to one more broker. What it claimed then may be old by now."""
        for partition, epoch in claims:
            self.heard(partition, epoch)
        self.check([p for p, epoch in claims if epoch > self._cluster.epoch(p)])

    def _lost(self, name: str, partitions: list[str], why: str) -> None:
        now_ms = self._desk.now_ms
        lost = {p for p in partitions if self._cluster.where.get(p) == name and p not in self.homeless}
        if not lost:
            return
        self._desk.failovers += 1
        self._failovers.append(_Failover(name, now_ms, lost))
        for partition in sorted(lost):
            graph = self._cluster.graph_of(partition)
            group = graph.group_by_name.get(partition.split("/")[1]) if graph is not None else None
            if group is not None and group.pinned:
                text = f"{partition} begins anew: what it remembered was in a process of {name} ({group.pinned})"
                self._desk.log("warning", text, "forgotten", partition=partition)
        text = f"{why}: failing over {counted(len(lost), 'partition')}; expected: all on nodes that live"
        self._desk.log("warning", text, "lost", node=name, partitions=len(lost))
        self.homeless.update(dict.fromkeys(sorted(lost), f"failover: {why}"))

    # -- homeless partitions -------------------------------------------------------------------------------

    def want(self, partitions: Iterable[str], reason: str, fresh: bool = False) -> None:
        """These partitions, of which the placement has been read, need a node."""
        for partition in partitions:
            if fresh:
                self.fresh.add(partition)
            self.homeless.setdefault(partition, reason)

    def forget(self, partitions: Iterable[str]) -> None:
        """There are no such partitions any more."""
        for partition in partitions:
            self.homeless.pop(partition, None)
            self.fresh.discard(partition)
            self._assigned_ms.pop(partition, None)
            self._routes.pop(partition, None)
            self._damaged.discard(partition)
            self._heard.pop(partition, None)
            self._landed(partition, "")

    def advance(self) -> None:
        """Place what can be placed now."""
        now_ms = self._desk.now_ms
        for name in [name for name, due_ms in self.due_ms.items() if due_ms <= now_ms]:
            del self.due_ms[name]
            if not self._cluster.is_alive(name):
                node = self._cluster.node(name)
                why = f"{name} {'hangs' if node.hung else 'is gone'}"
                self._lost(name, list(self._cluster.owned.get(name, ())), why)
        if not self._desk.settled or not self.homeless:
            return
        starting = self._starting()
        waiting = [p for p in self.homeless if p not in self._placing and p[: p.index("/")] not in starting]
        if not waiting:
            return
        chosen = self._choose(waiting)
        if chosen:
            self._waiting_logged = False
            requests = [self._request(p, node) for p, node in chosen.items()]
            self._placing.update(chosen)
            self._desk.store(Place(requests), lambda placements: self._placed(requests, placements))
        elif not self._waiting_logged and not any(n.takes for n in self._cluster.nodes.values()):
            self._waiting_logged = True
            text = f"{counted(len(waiting), 'partition')} wait: there is no node to take them"
            self._desk.log("warning", text, "waiting")

    def _request(self, partition: str, node: str) -> PlaceRequest:
        epoch, heard = self._cluster.epoch(partition), self._heard.get(partition, 0)
        # Above a move, too, that was made after that and that nobody here was told of.
        return PlaceRequest(partition, epoch, node, heard + 2 if heard > epoch else 0)

    def heard(self, partition: str, epoch: int) -> None:
        """Somebody has the partition, at that epoch."""
        self._heard[partition] = max(min(epoch, CLAIM_MAX), self._heard.get(partition, 0))

    def _choose(self, waiting: list[str]) -> dict[str, str]:
        view = self.view()
        fresh = [p for p in waiting if p in self.fresh]
        others = [p for p in waiting if p not in self.fresh]
        chosen = balance.spread(view, fresh, fresh=True) if fresh else {}
        if others:
            chosen.update(balance.spread(view, others))
        return chosen

    def _starting(self) -> set[str]:
        """Just after the start, nodes that still load a graph's code are waited for, so that the first does not get
        all."""
        if self._desk.now_ms >= self.start_until_ms:
            return set()
        graphs = self._cluster.graphs.keys()
        nodes = [node for node in self._cluster.alive() if node.takes]
        return {graph for node in nodes for graph in graphs - self._cluster.loaded(node) - node.refused.keys()}

    def view(self) -> trial.View:
        """The cluster as `balance` sees it."""
        cluster, now_ms = self._cluster, self._desk.now_ms
        loads = cluster.measures.loads(now_ms)
        nodes = []
        for node in cluster.alive():
            base = cluster.measures.base(node.name, now_ms)
            graphs = cluster.loaded(node)
            nodes.append(trial.NodeView(node.name, node.capacity, base, node.takes, node.emptying, graphs))
        return trial.View(
            nodes,
            cluster.owned,
            cluster.where,
            loads,
            cluster.measures.traffic(now_ms),
            cluster.pinned(),
            cluster.cooling_ms,
            cluster.asked_ms,
            cluster.counts,
            cluster.alone(),
            cluster.fixed(),
        )

    def _placed(self, requests: list[PlaceRequest], placements: list[Placement]) -> None:
        for request, placement in zip(requests, placements, strict=True):
            partition = request.partition
            self._placing.discard(partition)
            self.fresh.discard(partition)
            if self.set_aside(placement):
                continue
            reason = self.homeless.get(partition)
            if reason is None:
                continue  # undeployed meanwhile
            if placement.epoch < request.epoch:
                self._gone_back(placement, request.epoch)
                continue
            self._learn(placement, reason)

    def _gone_back(self, placement: Placement, known: int) -> None:
        """The store has lost what it had stored. What it has now counts; and the partition is placed anew, above all
        epochs that were given out, so that whoever had it since has it no more and whoever has it now loads it."""
        partition = placement.partition
        text = f"{partition}: the store is back at epoch {placement.epoch}; it was at {known}"
        self._desk.log("error", text, "store")
        self.heard(partition, known)
        self._cluster.forget(partition)
        self._cluster.place(placement, "as stored", self._desk.now_ms)
        self.homeless[partition] = "the store has lost where it was"
        self.on_gone_back(partition)

    def set_aside(self, placement: Placement) -> bool:
        """Whether it cannot be read; then it gets no node, and is looked at again now and then. Told once."""
        partition = placement.partition
        if placement.epoch != DAMAGED:
            self._damaged.discard(partition)
            return False
        self.homeless.pop(partition, None)
        # Where it was counts no more, or it would be failed over again and again; how far its epochs got, does.
        self.heard(partition, self._cluster.epoch(partition))
        self._cluster.forget(partition)
        if partition not in self._damaged:
            self._damaged.add(partition)
            text = f"{placement.owner} is damaged: {partition} gets no node; restore that key of Redis from a backup, "
            text += "or delete it: then the partition is placed anew, with its contexts"
            self._desk.log("error", text, "damaged", partition=partition)
        return True

    def _learn(self, placement: Placement, reason: str) -> None:
        """What is stored: go by it. What is homeless stays so until there is news of it."""
        partition, owner, _ = placement
        news = self._cluster.place(placement, reason, self._desk.now_ms)
        current = self._cluster.placements[partition]
        if current != placement or (partition in self.homeless and not news):
            return
        if self._cluster.is_alive(owner):
            self.homeless.pop(partition, None)
            self._assign(current)
        elif not owner:
            self.homeless.setdefault(partition, reason)
        elif self._desk.settled and owner not in self.due_ms:
            self.homeless.setdefault(partition, f"failover: {owner} is gone")
        if news:
            self.on_placed(current)

    def _assign(self, placement: Placement) -> None:
        self._assigned_ms[placement.partition] = self._desk.now_ms
        self._desk.assign(placement.partition, placement.epoch, placement.owner)

    # -- what the broker says ------------------------------------------------------------------------------

    def on_landed(self, landed: Landed) -> None:
        """A partition is active: where it was assigned, or where its source moved it."""
        partition, epoch, node = landed.partition, landed.epoch, landed.node
        self.heard(partition, epoch)
        known = self._cluster.nodes.get(node)
        if known is not None and known.inventory is not None and epoch >= self._cluster.epoch(partition):
            known.inventory[partition] = epoch
        current = (node, epoch) == self._cluster.placements.get(partition, Placement(partition, "", 0))[1:]
        if current and partition not in self._placing:  # else it is being placed anew: that is what counts
            self.homeless.pop(partition, None)
        if epoch > self._cluster.epoch(partition):
            self.check([partition])
        self._landed(partition, node)

    def _landed(self, partition: str, node: str) -> None:
        for failover in self._failovers:
            if partition in failover.left:
                failover.left.discard(partition)
                failover.to[node] += 1
                if not failover.left:
                    self._failed_over(failover)
        self._failovers = [f for f in self._failovers if f.left]

    def _failed_over(self, failover: _Failover) -> None:
        ms = self._desk.now_ms - failover.since_ms
        to = ", ".join(f"{name or 'nowhere'} ({count})" for name, count in sorted(failover.to.items()))
        text = f"{failover.node}: {counted(failover.count, 'partition')} now at {to}, after {ms} ms"
        fields: dict[str, Any] = {
            "node": failover.node,
            "partitions": failover.count,
            "to": dict(failover.to),
            "ms": ms,
        }
        self._desk.log("info", text, "failover", **fields)

    def welcome(self, routes: Iterable[Route], first: bool = True) -> None:
        """A broker's table; `first`: none other has told us its own since we had none."""
        if first:
            self._routes = {}
        self._routes |= {route.destination: route for route in routes if route.destination[0] != "@"}
        for route in self._routes.values():
            self.heard(route.destination, route.epoch)

    def compare_routes(self) -> None:
        """Once everybody had time to come back: the broker's table against what is stored."""
        wrong = []
        for partition, placement in self._cluster.placements.items():
            route, owner = self._routes.get(partition), self._cluster.nodes.get(placement.owner)
            if owner is None or not owner.alive:
                continue
            if route is None or route.epoch != placement.epoch or route.session not in owner.sessions.values():
                wrong.append(partition)
        unknown = [p for p in self._routes if p not in self._cluster.placements]
        self._routes = {}
        self.check(wrong + unknown)

    def adopt(self, deploying: Collection[str]) -> None:
        """Partitions of graphs in force that nobody ever got: whoever deployed them did not come to it. Those that are
        being deployed now are on their way. And those of graphs that are not in force."""
        self.check([p for p in self._cluster.placements if self._cluster.graph_of(p) is None])
        for name, graph in sorted(self._cluster.graphs.items()):
            if name in deploying:
                continue
            unowned = [p for p in graph.partition_names() if p not in self._cluster.where and p not in self.homeless]
            self.check(unowned)
            if unowned:
                text = f"{name}: {counted(len(unowned), 'partition')} without a node"
                self._desk.log("warning", text, "lost", graph=name)

    # -- what is, against what is stored -------------------------------------------------------------------

    def reconcile(self) -> None:
        """Find what differs: partitions of dead nodes; inventories that are not as placed. Called now and then."""
        cluster, now_ms = self._cluster, self._desk.now_ms
        for name, owned in cluster.owned.items():
            if owned and not cluster.is_alive(name) and name not in self.due_ms:
                self._lost(name, [p for p in owned if p not in self._placing], f"{name} is gone")
        self.check(sorted(self._damaged))
        suspects: set[str] = set()
        moving = self._moving()
        for node in cluster.alive():
            owned = cluster.owned.get(node.name, {})
            if node.inventory is None or node.inventory == owned:
                continue
            suspects.update(p for p, _ in node.inventory.items() ^ owned.items())
        resting_ms = now_ms - REST_MS
        self.check(
            p
            for p in sorted(suspects)
            if p not in moving
            and self._assigned_ms.get(p, 0) < resting_ms
            and (p not in cluster.notes or cluster.notes[p].since_ms < resting_ms)
        )

    def verify(self, partitions: Iterable[str]) -> None:
        """Whether these are stored where they are known to be."""
        moving = self._moving()
        self.check([p for p in partitions if p not in moving])

    def check(self, partitions: Iterable[str]) -> None:
        """Read where these are, and repair what differs."""
        some = [p for p in partitions if p not in self._checking and p not in self._placing]
        if some:
            self._checking.update(some)
            self._desk.store(ReadPlacements(some), self._checked)

    def _checked(self, placements: list[Placement]) -> None:
        gone, behind, strays = [], [], []
        for placement in placements:
            partition = placement.partition
            self._checking.discard(partition)
            if self.set_aside(placement):
                continue
            graph = self._cluster.graph_of(partition)
            if partition in self._placing:
                continue
            if not placement.owner and (graph is None or partition not in graph.partition_names()):
                gone.append(partition)
                self._drop_from_inventories(partition)
                continue
            if graph is None:
                strays.append(partition)
                continue
            known = max(self._cluster.epoch(partition), self._heard.get(partition, 0))
            before = self._behind.pop(partition, 0)
            if placement.epoch < known != before:
                self._behind[partition] = known
                behind.append(partition)
                continue
            if placement.epoch < known:
                self._gone_back(placement, known)
                continue
            self._learn(placement, "as stored")
        if gone:
            self.forget(gone)  # whatever anybody claims would be remembered
            self._desk.brokers(Unassign(gone))
        if strays:
            self._unplace(strays)
        self.check(behind)

    def _unplace(self, strays: list[str]) -> None:
        """They are stored, and their graph is not in force: whoever undeployed it did not come to its partitions, or
        the store has lost that it was deployed. No command could take them away, as there is no such graph."""
        text = f"{strays[0]}: its graph is not deployed; taking {counted(len(strays), 'such partition')} away"
        self._desk.log("warning", text, "stray", partitions=len(strays))
        self._desk.store(Unplace(strays, False), lambda _: None)
        self._desk.brokers(Unassign(strays))
        self.forget(strays)
        for partition in strays:
            self._cluster.forget(partition)
            self._drop_from_inventories(partition)

    def _drop_from_inventories(self, partition: str) -> None:
        for node in self._cluster.alive():
            if node.inventory is not None:
                node.inventory.pop(partition, None)

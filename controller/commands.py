"""The commands of liquefy-ctl: arguments checked, done at once or begun, answered. Shapes: `liquefy.control`.

A mistake of the person is a UserError and becomes the error of the reply; nothing was changed then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from controller import views
from controller.batches import Batch
from controller.browsing import Browsing
from controller.deploying import Deploying
from controller.desk import Desk
from controller.events import Answer, Asked, SetFreeze, SetJson
from controller.migration import Migration, Migrations, results
from controller.naming import graph_named, meant
from controller.outcomes import as_fields, expected
from controller.rebalancing import Rebalancing
from liquefy.control import Reply
from liquefy.errors import UserError
from liquefy.graph import Graph
from liquefy.wording import counted

ASKED_MS = 60_000
"""What a person moved is not moved again for so long to even numbers out or to save traffic; loads still move it."""

LAST_DEFAULT = 20
"""Events or log lines shown unless told otherwise."""


class Query:
    """One question, and the ways to answer it."""

    def __init__(self, desk: Desk, asked: Asked) -> None:
        self._desk, self._client, self._id = desk, asked.client, asked.request.id
        self.client = asked.client
        self.arguments = asked.request.arguments

    def text(self, name: str, default: str | None = None) -> str:
        """Raises UserError when it is missing."""
        value = self.arguments.get(name, default)
        if not isinstance(value, str) or (not value and default is None):
            raise UserError(f"{name!r} is missing\n  remedy: give it; `--help` shows how")
        return value

    def flag(self, name: str) -> bool:
        return bool(self.arguments.get(name, False))

    def number(self, name: str, default: int) -> int:
        value = self.arguments.get(name, default)
        if value is None:
            return default
        if not isinstance(value, int) or value < 0:
            raise UserError(f"{name!r} is {value!r}\n  remedy: give a whole number, 0 or more")
        return value

    def say(self, line: str) -> None:
        self._desk.answer([Answer(self._client, Reply(self._id, progress=line))])

    def done(self, result: Any) -> None:
        self._desk.answer([Answer(self._client, Reply(self._id, result=result, end=True))])

    def refuse(self, error: str) -> None:
        self._desk.answer([Answer(self._client, Reply(self._id, error=error, end=True))])

    def read(self, kind: str) -> None:
        """A stream of events or log lines."""
        last, follow = self.number("last", LAST_DEFAULT), self.flag("follow")
        source, detail = self.text("source", ""), bool(self.arguments.get("detail", True))
        known = {self._desk.config.name, *self._desk.cluster.nodes} | self._desk.journal.sources()
        if source and source not in known:
            names = ", ".join(sorted(known))
            raise UserError(f"{source} has said nothing here\n  remedy: give one of: {names}")
        self._desk.answer(self._desk.journal.read(self._client, self._id, kind, last, follow, source, detail))


class Commands:
    def __init__(
        self,
        desk: Desk,
        migrations: Migrations,
        rebalancing: Rebalancing,
        deploying: Deploying,
    ) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self._migrations = migrations
        self._rebalancing = rebalancing
        self._deploying = deploying
        self._browsing = Browsing(desk)
        self._since_ms: int | None = None
        self._handlers: dict[str, Callable[[Query], None]] = {
            "deploy": self._deploy,
            "undeploy": self._undeploy,
            "status": self._status,
            "nodes": lambda q: q.done(views.nodes(self._cluster, desk.now_ms, desk.config.broker_addresses)),
            "graph": self._graph,
            "migrate": self._migrate,
            "rebalance": self._rebalance,
            "freeze": self._freeze,
            "unfreeze": self._unfreeze,
            "drain": self._drain,
            "cordon": lambda q: self._cordon(q, True),
            "uncordon": lambda q: self._cordon(q, False),
            "pin": self._pin,
            "unpin": self._unpin,
            "explain": self._explain,
            "context": self._browsing.context,
            "dead": self._browsing.dead,
            "events": lambda q: q.read("events"),
            "logs": lambda q: q.read("logs"),
        }

    def started(self) -> None:
        self._since_ms = self._desk.now_ms

    def ask(self, asked: Asked, loaded: bool) -> None:
        """`loaded`: the store has been read; before, only streams, status and nodes are answered."""
        query = Query(self._desk, asked)
        command = asked.request.command
        try:
            handler = self._handlers.get(command)
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise UserError(f"there is no command {command!r}\n  remedy: give one of: {known}")
            if not loaded and command not in ("status", "nodes", "events", "logs"):
                text = "the controller has not read the store yet, or leads no more"
                raise UserError(f"{text}\n  remedy: ask again in a moment; if that lasts, see that Redis runs")
            handler(query)
        except UserError as error:
            query.refuse(str(error))

    def advance(self) -> None:
        self._browsing.advance()

    # -- graphs --------------------------------------------------------------------------------------------

    def _deploy(self, query: Query) -> None:
        raw, bundle = query.arguments.get("graph"), query.arguments.get("bundle", b"")
        try:
            graph = msgspec.convert(raw, Graph)
        except msgspec.ValidationError as error:
            raise UserError(f"the graph is malformed: {error}\n  remedy: use a liquefy-ctl of this version") from None
        if excess := graph.excess():
            raise UserError(f"{excess}\n  remedy: split the service into several graphs")
        if not isinstance(bundle, bytes):
            raise UserError("the bundle is malformed\n  remedy: use a liquefy-ctl of this version")
        dry_run, if_changed, forget = query.flag("dry_run"), query.flag("if_changed"), query.flag("forget")
        self._deploying.deploy(graph, bundle, dry_run, if_changed, query.say, query.done, query.refuse, forget)

    def _undeploy(self, query: Query) -> None:
        graph = graph_named(self._cluster, query.text("graph"))
        self._deploying.undeploy(graph.name, query.flag("purge"), query.done)

    # -- looking -------------------------------------------------------------------------------------------

    def _status(self, query: Query) -> None:
        desk = self._desk
        since_ms = self._since_ms if self._since_ms is not None else desk.now_ms
        query.done(
            {
                "graphs": views.graphs(self._cluster),
                "nodes": views.nodes(self._cluster, desk.now_ms, desk.config.broker_addresses),
                "frozen": self._cluster.frozen,
                "moves": len(self._migrations.partitions()),
                "redis_ok": desk.redis_ok,
                "broker_ok": desk.linked,
                "brokers": views.brokers(desk.config.broker_addresses, desk.links),
                "http": sorted({url for url in self._cluster.gateways.values() if url}),
                "leader": desk.config.name,
                "uptime_s": (desk.now_ms - since_ms) / 1000,
                "migrations": desk.migrations,
                "failovers": desk.failovers,
                "dead": self._browsing.dead_count,
            }
        )

    def _graph(self, query: Query) -> None:
        graph = graph_named(self._cluster, query.text("graph"))
        query.done(views.graph_status(self._cluster, graph, self._desk.now_ms))

    def _explain(self, query: Query) -> None:
        query.done(views.explain(self._cluster, meant(self._cluster, query.text("what")), self._desk.now_ms))

    # -- moving --------------------------------------------------------------------------------------------

    def _migrate(self, query: Query) -> None:
        found, node = meant(self._cluster, query.text("what")), self._cluster.named(query.text("node"))
        if not node.alive:
            raise UserError(f"{node.name} is {node.state}\n  remedy: choose a node that is up")
        if node.emptying:
            raise UserError(f"{node.name} is drained\n  remedy: `liquefy-ctl uncordon {node.name}`, or choose another")
        self._check_movable(found.partitions, node.name)
        pinned = self._cluster.pinned()
        for partition in found.partitions:
            if pinned.get(partition, node.name) != node.name:
                text = f"{partition} is pinned to {pinned[partition]}"
                raise UserError(f"{text}\n  remedy: `liquefy-ctl unpin`, or pin it to {node.name}")
        self._move(query, [p for p in found.partitions if self._cluster.where.get(p) != node.name], node.name)

    def _check_movable(self, partitions: list[str], node: str) -> None:
        """Raises UserError for what stays where its process is."""
        fixed = self._cluster.fixed()
        for partition in partitions:
            if partition in fixed and self._cluster.where.get(partition, node) != node:
                raise UserError(
                    f"{partition} stays on {self._cluster.where[partition]}: {fixed[partition]}\n"
                    "  remedy: change that, and deploy again; moved, it would forget what it remembers"
                )

    def _move(self, query: Query, partitions: list[str], target: str) -> None:
        began_ms = self._desk.now_ms
        moves: list[Migration] = []

        def ended(move: Migration) -> None:
            self._cluster.asked_ms[move.partition] = self._desk.now_ms + ASKED_MS
            self._rebalancing.settle()
            done = sum(m.ended for m in moves)
            if done == len(partitions):
                query.done(results(moves, (self._desk.now_ms - began_ms) / 1000))
            elif done % 32 == 0:
                query.say(f"{done} of {len(partitions)} moved")

        batch = Batch("asked for by a person")
        for partition in partitions:
            moves.append(self._migrations.add(partition, target, batch.cause, batch, ended))
        if not partitions:
            query.done(results([], 0.0))

    def _rebalance(self, query: Query) -> None:
        if not query.flag("dry_run"):
            self._rebalancing.check_free()
        plan = self._rebalancing.plan()
        moves = [as_fields(step) for step in plan.moves]
        head = {"moves": moves, "balanced": plan.balanced, "expected": expected(plan)}
        if query.flag("dry_run") or not plan.moves:
            query.done({**head, "result": results([], 0.0)})
        else:
            self._rebalancing.run(plan, lambda result: query.done({**head, "result": result}))

    def _freeze(self, query: Query) -> None:
        reason = query.text("reason", "") or "by hand"
        self._desk.store(SetFreeze(reason), lambda _: self._frozen(query, reason))

    def _unfreeze(self, query: Query) -> None:
        self._desk.store(SetFreeze(""), lambda _: self._frozen(query, ""))

    def _frozen(self, query: Query, reason: str) -> None:
        self._cluster.frozen = reason
        text = f"no automatic moves: {reason}" if reason else "automatic moves are allowed"
        self._desk.log("info", text, "freeze" if reason else "unfreeze", reason=reason)
        query.done({"frozen": reason})

    # -- nodes and pins ------------------------------------------------------------------------------------

    def _drain(self, query: Query) -> None:
        node = self._cluster.named(query.text("node"))
        owned = len(self._cluster.owned.get(node.name, ()))
        if owned and not any(other.takes and other is not node for other in self._cluster.nodes.values()):
            raise UserError(f"no other node could take the {owned} partitions of {node.name}\n  remedy: start another")

        def begin(_: object) -> None:
            node.cordoned = node.drained = True
            text = f"draining {node.name}: {counted(owned, 'partition')}; expected: it will have none"
            self._desk.log("info", text, "drain", node=node.name)
            self._rebalancing.drain(node.name, done)

        def done(result: dict[str, Any]) -> None:
            stay = [f"{each['partition']} stays: {each['pinned']}" for each in result["stay"] if each["pinned"]]
            text = "; ".join([f"drained {node.name}: {result['moved']} moved, {result['left']} left", *stay])
            self._desk.log("info", text, "drained", **result)
            query.done(result)

        self._desk.store(SetJson("nodes", node.name, {"cordoned": True, "drained": True}), begin)

    def _cordon(self, query: Query, cordoned: bool) -> None:
        node = self._cluster.named(query.text("node"))

        def done(_: object) -> None:
            node.cordoned, node.drained = cordoned, node.drained and cordoned
            word = "cordoned" if cordoned else "uncordoned"
            self._desk.log("info", f"{node.name} is {word}", word, node=node.name)
            query.done({"node": node.name, "cordoned": cordoned})

        value = {"cordoned": True, "drained": node.drained} if cordoned else None
        self._desk.store(SetJson("nodes", node.name, value), done)

    def _pin(self, query: Query) -> None:
        found, node = meant(self._cluster, query.text("what")), self._cluster.named(query.text("node"))
        if node.emptying:
            raise UserError(f"{node.name} is drained\n  remedy: `liquefy-ctl uncordon {node.name}`, or choose another")
        self._check_movable(found.partitions, node.name)

        def done(_: object) -> None:
            self._cluster.pins[found.what] = node.name
            there = sum(self._cluster.where.get(p) == node.name for p in found.partitions)
            text = f"{found.what} is pinned to {node.name}; expected: all {len(found.partitions)} there, now {there}"
            self._desk.log("info", text, "pin", what=found.what, node=node.name)
            self._rebalancing.required()
            query.done({"what": found.what, "node": node.name})

        self._desk.store(SetJson("pins", found.what, node.name), done)

    def _unpin(self, query: Query) -> None:
        what = query.text("what")
        full = what if what in self._cluster.pins else meant(self._cluster, what).what
        if full not in self._cluster.pins:
            pins = ", ".join(sorted(self._cluster.pins)) or "none"
            raise UserError(f"{full} is not pinned\n  remedy: give one of: {pins}")

        def done(_: object) -> None:
            node = self._cluster.pins.pop(full, "")
            self._desk.log("info", f"{full} is not pinned to {node} any more", "unpin", what=full, node=node)
            query.done({"what": full, "node": ""})

        self._desk.store(SetJson("pins", full, None), done)

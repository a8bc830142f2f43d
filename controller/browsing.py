"""Contexts and dead letters for people: read from the store on demand, never kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from controller.desk import Desk
from controller.events import CountDead, DropDead, Failed, FindDead, ReadContext, ReadDead, ReadKeys
from controller.naming import Meant, graph_named, meant
from liquefy import snapshots
from liquefy.errors import BadFrame, UserError
from liquefy.letters import DeadLetter, decode_letter
from liquefy.liquid.shown import readable
from liquefy.messages import Replay, partition_index
from liquefy.values import unpack

if TYPE_CHECKING:
    from controller.commands import Query

COUNT_INTERVAL_MS = 5_000
"""How often dead letters are counted for `status`."""

LIST_LIMIT = 100
"""Keys listed unless told otherwise."""


class Browsing:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self.dead_count = 0
        self._count_ms: int | None = 0

    def advance(self) -> None:
        """Count dead letters now and then."""
        if self._count_ms is None or self._desk.now_ms < self._count_ms or not self._cluster.graphs:
            return
        self._count_ms = None

        def counted(result: int | Failed) -> None:
            self._count_ms = self._desk.now_ms + COUNT_INTERVAL_MS
            if not isinstance(result, Failed):
                self.dead_count = result

        self._desk.store(CountDead(self._partitions("")), counted)

    # -- contexts ------------------------------------------------------------------------------------------

    def context(self, query: Query) -> None:
        action = query.text("action")
        found = meant(self._cluster, query.text("what"))
        if not found.group.stateful:
            why = "has no context"
            if found.group.pinned:
                why = f"is pinned, and what it remembers is in one process, not in a context ({found.group.pinned})"
            raise UserError(f"{found.what} {why}\n  remedy: give a group that has one; `liquefy-ctl graph` shows")
        if action == "get":
            self._get(query, found)
        elif action == "list":
            limit = query.number("limit", LIST_LIMIT)

            def listed(result: tuple[list[tuple[str, str]], int]) -> None:
                keys, total = result
                query.done({"keys": [{"key": key, "partition": p} for key, p in keys], "total": total})

            self._desk.store(ReadKeys(found.partitions, limit), self._or_refuse(query, listed))
        else:
            raise UserError(f"context {action!r}: there is no such action\n  remedy: give get or list")

    def _get(self, query: Query, found: Meant) -> None:
        key = query.text("key", "")
        name = f"{found.graph.name}/{found.group.name}"
        path = next((f.key for f in found.graph.fluxions if f.group == found.group.name and f.key), "")
        if path and not key:
            listing = f"`liquefy-ctl context list {name}` shows those that there are"
            raise UserError(f"{name} has a context for each {path}: which is meant?\n  remedy: give its KEY; {listing}")
        partition = f"{name}/{partition_index(key, found.group.partitions)}"

        def read(fields: dict[str, bytes]) -> None:
            if not fields:
                query.refuse(_no_context(name, key, path))
                return
            node = self._cluster.where.get(partition, "")
            shown = {field: _shown(value) for field, value in sorted(fields.items())}
            query.done({"partition": partition, "node": node, "key": key, "fields": shown})

        self._desk.store(ReadContext(partition, key), self._or_refuse(query, read))

    # -- dead letters --------------------------------------------------------------------------------------

    def dead(self, query: Query) -> None:
        action = query.text("action")
        if action == "list":
            graph = query.text("graph", "") if query.arguments.get("graph") else ""

            def listed(letters: list[tuple[str, bytes, bytes]]) -> None:
                found = [letter for _, _, packed in letters if (letter := _letter(packed)) is not None]
                query.done([_line(letter) for letter in sorted(found, key=lambda letter: letter.time_s)])

            self._desk.store(ReadDead(self._partitions(graph)), self._or_refuse(query, listed))
            return
        actions = {"show": self._show, "replay": self._replay, "drop": self._drop}
        if action not in actions:
            raise UserError(f"dead {action!r}: there is no such action\n  remedy: give list, show, replay or drop")
        name = query.text("id")
        try:
            letter_id = bytes.fromhex(name)
        except ValueError:
            raise UserError(f"{name!r} is no id of a letter\n  remedy: `liquefy-ctl dead list` shows them") from None

        def found_one(found: tuple[str, bytes] | None) -> None:
            if found is None:
                query.refuse(f"there is no dead letter {name}\n  remedy: `liquefy-ctl dead list` shows them")
            else:
                actions[action](query, letter_id, *found)

        self._desk.store(FindDead(self._partitions(""), letter_id), self._or_refuse(query, found_one))

    def _show(self, query: Query, letter_id: bytes, partition: str, packed: bytes) -> None:
        letter = _letter(packed)
        if letter is None:
            query.refuse(f"the letter {letter_id.hex()} of {partition} cannot be read\n  remedy: drop it")
            return
        shown = {"partition": partition, "traceback": letter.traceback, "body": _shown(letter.message.body)}
        query.done({**_line(letter), **shown})

    def _replay(self, query: Query, letter_id: bytes, partition: str, packed: bytes) -> None:
        owner = self._cluster.nodes.get(self._cluster.where.get(partition, ""))
        if owner is None or not owner.alive:
            query.refuse(f"{partition} has no living owner now\n  remedy: wait until it has, then ask again")
            return
        self._desk.relay(owner.session, Replay(partition, packed))
        self._desk.log("info", f"dead letter {letter_id.hex()} of {partition} is handled again", "replay")
        query.done({"id": letter_id.hex(), "done": True})

    def _drop(self, query: Query, letter_id: bytes, partition: str, packed: bytes) -> None:
        def dropped(there_was: bool) -> None:
            query.done({"id": letter_id.hex(), "done": there_was})

        self._desk.store(DropDead(partition, letter_id), self._or_refuse(query, dropped))

    # -- both ----------------------------------------------------------------------------------------------

    def _partitions(self, name: str) -> list[str]:
        """Partitions that may have letters: all of the graph, or of all graphs."""
        graphs = [graph_named(self._cluster, name)] if name else list(self._cluster.graphs.values())
        return [partition for graph in graphs for partition in graph.partition_names()]

    def _or_refuse(self, query: Query, then: Callable[[Any], None]) -> Callable[[Any], None]:
        def result(value: Any) -> None:
            if isinstance(value, Failed):
                query.refuse(f"Redis does not answer: {value.text}\n  remedy: see that it runs, then ask again")
            else:
                then(value)

        return result


def _no_context(name: str, key: str, path: str) -> str:
    """`path`: where the key is found in a request, "" in a group that has one context for all."""
    if path:
        return f"{name} has no context of the key {key!r}\n  remedy: `liquefy-ctl context list {name}`"
    if key:
        return f"{name} has one context for all, none of the key {key!r}\n  remedy: `liquefy-ctl context get {name}`"
    return f"the one context of {name} is empty\n  remedy: ask again when a request has put something there"


def _letter(packed: bytes) -> DeadLetter | None:
    try:
        return decode_letter(packed)
    except BadFrame:
        return None


def _line(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "graph": letter.graph,
        "fluxion": letter.fluxion,
        "key": letter.key,
        "error": letter.error,
        "time_s": letter.time_s,
        "attempts": letter.attempts,
    }


def _shown(packed: bytes) -> Any:
    try:
        value = unpack(packed)
    except BadFrame:
        return repr(packed)
    if isinstance(value, str) and snapshots.is_snapshot(value):
        return _plain(snapshots.readable(value))
    captured = readable(value) if isinstance(value, bytes) else None  # of a compiled service
    return _plain(value if captured is None else captured)


def _plain(value: Any) -> Any:
    """Made of what every program can read; the rest as Python writes it."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else repr(value)
    if isinstance(value, dict):
        return {_text(str(name)): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return repr(value)


def _text(value: str) -> str:
    """As it can be encoded: texts of JavaScript may have half a letter."""
    return value.encode("utf-8", "replace").decode()

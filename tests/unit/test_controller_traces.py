"""Golden traces: conversations of the controller, as text. In `tests/traces/controller_*.txt` a line at the margin is
what happens, the indented lines below it are what the controller does about it. `REWRITE_TRACES=1 pytest ...` writes
them anew: then read the difference.

    nodes node1 node2          a settled cluster of these, with visits/store/0.. placed in turn; nothing acts by itself
    up node1 [p=epoch ...]     a worker connects, with claims          down node1      its connection is gone
    prepared node1 [error]     answers to Prepare                      landed p epoch node [held pause_us]
    ended p epoch [error]      MoveEnded of the partition's source     commit p node   the source's last commit
    migrate what node          a person asks                           wait ms         time passes
    store off | on             the store answers later | now           link down | up
    successor                  the controller dies, another starts     moves           what the store says of moves
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller import events as ev
from liquefy import messages as m
from liquefy.commits import Placement
from liquefy.effects import Log, Relay, ToBroker
from tests.unit.controller_world import World, graph

TRACES = sorted((Path(__file__).parents[1] / "traces").glob("controller_*.txt"))
REWRITE = bool(os.environ.get("REWRITE_TRACES"))


class Conversation:
    def __init__(self) -> None:
        self.world = World(hand=True)

    def say(self, line: str) -> list[str]:
        """What the controller does about the line."""
        command, *words = line.split()
        self.world.effects.clear()
        if command == "nodes":
            self._nodes(words)
            return []
        answer: list[str] = getattr(self, f"_{command}")(*words) or []
        return answer + [text for effect in self.world.effects if (text := shown(effect))]

    def _nodes(self, names: list[str]) -> None:
        world, made = self.world, msgspec.structs.replace(graph(partitions=2 * len(names)), version=1)
        world.store.graphs["visits"] = made
        for i, partition in enumerate(made.partition_names()):
            world.store.placements[partition] = Placement(partition, names[i % len(names)], 1)
        world.restart_controller()
        for name in names:
            owned = {p: 1 for p, (_, owner, _) in world.store.placements.items() if owner == name}
            self._up(name, *(f"{p}=1" for p in owned))
            self._prepared(name)
        world.run(1_500)

    def _up(self, name: str, *claims: str) -> None:
        self.world.worker_up(name, {p: int(epoch) for p, epoch in (claim.split("=") for claim in claims)})

    def _down(self, name: str) -> None:
        self.world.worker_down(name)

    def _prepared(self, name: str, *error: str) -> None:
        self.world.said(self.world.workers[name], m.Prepared("visits", 1, " ".join(error)))

    def _landed(self, partition: str, epoch: str, node: str, held: str = "0", pause_us: str = "0") -> None:
        self.world.feed(ev.FromBroker(m.Landed(partition, int(epoch), node, int(held), int(pause_us))))

    def _ended(self, node: str, partition: str, epoch: str, *error: str) -> None:
        self.world.said(self.world.workers[node], m.MoveEnded(partition, int(epoch), " ".join(error)))

    def _commit(self, partition: str, node: str) -> None:
        old = self.world.store.get(partition)
        self.world.store.placements[partition] = Placement(partition, node, old.epoch + 1)

    def _migrate(self, what: str, node: str) -> None:
        self.world.ask("migrate", what=what, node=node)

    def _wait(self, ms: str) -> None:
        self.world.run(int(ms))

    def _store(self, state: str) -> None:
        self.world.stores = state == "on"
        if self.world.stores:
            self.world.store_answers()

    def _link(self, state: str) -> None:
        if state == "up":
            self.world.link_up()
        else:
            self.world.link_down()

    def _successor(self) -> None:
        self.world.restart_controller()

    def _moves(self) -> list[str]:
        moves = self.world.store.maps["moves"]
        return [
            f"{p}: {move['source']} -> {move['target']} from epoch {move['epoch']}" for p, move in moves.items()
        ] or ["none"]


def shown(effect: Any) -> str:
    """One line, or "" for what says nothing here."""
    if isinstance(effect, Log):
        if effect.event in ("", "broker") or effect.level == "debug":
            return ""
        return f"log {effect.level}: {effect.text}"
    if isinstance(effect, ToBroker):
        if isinstance(effect.message, (m.Beat, m.Hello)):
            return ""
        return f"to broker: {body(effect.message)}"
    if isinstance(effect, Relay):
        name = effect.to.decode().split("#")[0]
        if isinstance(effect.message, (m.Graphs, m.Prepare)):
            return f"to {name}: {type(effect.message).__name__}"
        return f"to {name}: {body(effect.message)}"
    if isinstance(effect, ev.Answer):
        reply = effect.reply
        if reply.error:
            return f"answer: error {reply.error}"
        moves = (reply.result or {}).get("moves", [])
        ends = ", ".join(f"{move['partition']} {move['error'] or 'moved'}" for move in moves)
        return f"answer: {ends}" if reply.end else f"progress: {reply.progress}"
    if isinstance(effect, ev.Store) and isinstance(effect.operation, (ev.Place, ev.ReadPlacements)):
        if isinstance(effect.operation, ev.ReadPlacements):
            return f"store: where are {' '.join(effect.operation.partitions)}"
        return "store: place " + ", ".join(
            f"{p} at {epoch} -> {owner}" for p, epoch, owner, _ in effect.operation.requests
        )
    if isinstance(effect, ev.Store) and isinstance(effect.operation, ev.SetJson):
        return f"store: {'forget' if effect.operation.value is None else 'note'} the move of {effect.operation.field}"
    return ""


def body(message: Any) -> str:
    values = [getattr(message, field) for field in message.__struct_fields__]
    return f"{type(message).__name__} " + " ".join(
        v.decode() if isinstance(v, bytes) else str(v).replace("'", "") for v in values if v != ""
    )


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace(path: Path) -> None:
    text = path.read_text()
    conversation, lines = Conversation(), []
    for line in text.splitlines():
        if not line or line[0] == "#":
            lines.append(line)
        elif line[0] != " ":
            lines.append(line)
            lines += [f"    {effect}" for effect in conversation.say(line)]
    replayed = "\n".join(lines) + "\n"
    if REWRITE:
        path.write_text(replayed)
        return
    assert replayed == text
    assert not conversation.world.waiting_store


def test_there_are_traces() -> None:
    assert len(TRACES) >= 8

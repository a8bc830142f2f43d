"""What a cluster is doing when something goes wrong: serving, moving partitions, deploying, draining. A move can be
held in each of its phases, by a connection that lets nothing through or a process that is stopped: the phases
themselves take milliseconds."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import msgspec
import proving
from world import MOVE_MS, NODES, World, held

from ctl import deploying
from ctl.asking import Lost, Refused, Unreachable
from liquefy import bundle
from liquefy.config import ControllerConfig

REACHED_S = 4.0
"""A phase that has not come about by then does not."""

BACK_S = 40.0
MOVE_PAUSE_S = 0.3
ASKED_S = 0.1
"""A controller has begun with what it was asked."""

STORE = "visits/store"
MOVES_AT_ONCE = ControllerConfig().moves_at_once


def calm(world: World) -> Iterator[None]:
    yield


class _Mover(threading.Thread):
    """Moves a partition, or a group, now and then. What cannot be moved at the moment is not."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._world, self._chance, self.end = world, random.Random(world.chance.random()), threading.Event()

    def run(self) -> None:
        while not self.end.wait(self._chance.uniform(0, MOVE_PAUSE_S)):
            group = self._chance.choice(("store", "store", "localProcess", "send"))
            what = group if self._chance.random() < 0.1 else f"{group}/{self._chance.randrange(32)}"
            with contextlib.suppress(Refused, Unreachable, Lost):
                self._world.ask("migrate", what=what, node=f"node{self._chance.randint(1, NODES)}")


def moves(world: World) -> Iterator[None]:
    """Of this and that, all the time."""
    mover = _Mover(world)
    mover.start()
    yield
    mover.end.set()
    mover.join(BACK_S * world.patience)


def deploy(world: World) -> Iterator[None]:
    """Another version of the code, which prepares on all nodes."""
    folder = world.folder / "version"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(proving.VISITS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "visits.py").open("a") as code:
        code.write(f"\nVERSION = {world.chance.random()}\n")
    graph, _ = deploying.read(folder)
    made = bundle.build(folder)
    named = msgspec.to_builtins(msgspec.structs.replace(graph, bundle=bundle.digest(made)))
    world.say("deploy", {"graph": named, "bundle": made, "dry_run": False, "if_changed": False})
    yield


def drain(world: World) -> Iterator[None]:
    node = f"node{world.chance.randint(1, NODES)}"
    world.say("drain", {"node": node})
    yield
    world.wait(lambda: _taken_back(world, node), f"{node} to be taken back", BACK_S)


def _taken_back(world: World, node: str) -> bool:
    with contextlib.suppress(Refused, Unreachable, Lost):
        world.ask("uncordon", node=node)
        return True
    return False


class Phase:
    """A move of all partitions of `store`, held where `name` says when the first `next` returns."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, world: World) -> Iterator[None]:
        world.wait(lambda: world.leader() and world.primary_answers(), "somebody to lead", BACK_S)
        places = world.placements("visits", "store")
        counts = Counter(owner for owner, _ in places.values() if owner)
        source = counts.most_common(1)[0][0]
        target = world.chance.choice([f"node{i}" for i in range(1, NODES + 1) if f"node{i}" != source])
        with contextlib.ExitStack() as holding:
            try:
                getattr(self, f"_{self.name}")(world, holding, source, target)
                world.reached[self.name] += 1
            except AssertionError:
                world.missed[self.name] += 1
            yield

    def _ask(self, world: World, target: str) -> None:
        world.say("migrate", {"what": STORE, "node": target})

    def _planned(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """More are to be moved than are under way."""
        self._ask(world, target)
        world.wait(lambda: world.moves_known() > MOVES_AT_ONCE, "moves that wait", REACHED_S)

    def _begun(self, world: World, places: dict[str, tuple[str, int]]) -> None:
        """The controller has begun with a move, and for a while it has neither written it down nor done it."""
        world.wait(lambda: world.moves_known() > 0, "the controller to begin", REACHED_S)
        time.sleep(ASKED_S)
        assert world.moves_known() > 0, "the moves are over"
        assert not world.moving(), "a move is written down"
        assert world.placements("visits", "store") == places, "partitions have moved"

    def _preparing(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """The target has just started, and nobody hears that it has loaded the code."""
        world.kill(target)
        world.wait(lambda: world.node(target).get("state") != "up", "the target to go", BACK_S)
        world.wait(lambda: world.node(target).get("state") == "up", "the target", BACK_S)
        holding.enter_context(held(world, [(target, "broker")], "up"))
        places = world.placements("visits", "store")
        self._ask(world, target)
        self._begun(world, places)

    def _storing(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        leader, places = world.leader(), world.placements("visits", "store")
        holding.enter_context(held(world, [(leader, "redis")], "up"))
        world.say("migrate", {"what": STORE, "node": target}, leader)
        self._begun(world, places)

    def _moving(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """The source does not hear of it."""
        holding.enter_context(held(world, [(source, "broker")], "down"))
        self._ask(world, target)
        world.wait(world.moving, "moves to be written down", REACHED_S)

    def _holding(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """The broker does not hear from the source."""
        holding.enter_context(held(world, [(source, "broker")], "up"))
        self._ask(world, target)
        world.wait(world.moving, "moves to be written down", REACHED_S)

    def _draining(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """What runs at the source does not end."""
        holding.enter_context(world.stopped(f"{source}/host"))
        self._ask(world, target)
        world.wait(world.moving, "moves to be written down", REACHED_S)
        time.sleep(ASKED_S)

    def _committing(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """The last commit does not reach the store, or the verdict does not reach the source."""
        way = world.chance.choice(("up", "down"))
        holding.enter_context(held(world, [(source, "redis")], way))
        self._ask(world, target)
        world.wait(world.moving, "moves to be written down", REACHED_S)
        time.sleep(ASKED_S)

    def _aborting(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        self._moving(world, holding, source, target)
        time.sleep(MOVE_MS / 1000 + ASKED_S)

    def _asking(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """The source is gone, and the store does not say where the partition is."""
        leader = world.leader()
        self._moving(world, holding, source, target)
        holding.enter_context(held(world, [(leader, "redis")], "down"))
        world.send(source, signal.SIGKILL)
        time.sleep(ASKED_S)

    def _landing(self, world: World, holding: contextlib.ExitStack, source: str, target: str) -> None:
        """The target does not hear that it has the partition."""
        places = world.placements("visits", "store")
        holding.enter_context(held(world, [(target, "broker")], "down"))
        self._ask(world, target)
        world.wait(lambda: world.placements("visits", "store") != places, "the point of no return", REACHED_S)


PHASES = (
    "planned", "preparing", "storing", "moving", "holding", "draining", "committing", "aborting", "asking", "landing",
)  # fmt: skip
"""Of the controller, and those of the source in its "moving"."""

SCENES = {
    "calm": calm,
    "moves": moves,
    "deploy": deploy,
    "drain": drain,
    **{f"move-{name}": Phase(name) for name in PHASES},
}
"""Generators: what follows the first `yield` ends it."""

"""More than one broker: how many a seed has, what goes wrong with one of them or between it and some peer, and the
judge of their tables. Drawn from chance of its own, so that the other draws of a seed stay what they are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from network import BOTH, TO_BROKER, TO_PEER

from controller.migration import Migration
from worker.ownership import Ownership

if TYPE_CHECKING:
    from world import World

FIRST_MS = 300.0
SLOW_MS = 400
"""So often nodes become slower or faster."""

FAULTS = ("crash", "crash", "crash", "pause", "isolate", "part", "part", "part", "cut", "cut", "slow")


def how_many(seed: int) -> int:
    return random.Random(f"brokers {seed}").choice((1, 1, 2, 2, 3))


def plan_broker_faults(world: World) -> None:
    """Only where there are several; half of them while partitions move."""
    rng = random.Random(f"faults of brokers {world.sim.seed}")
    if len(world.brokers) < 2 or not world.wildness:
        return
    for _ in range(rng.randint(0, 5)):
        at_ms, fault, number = rng.uniform(FIRST_MS, world.end_ms), rng.choice(FAULTS), rng.randrange(10)
        for_ms, direction, chance = rng.uniform(50, 4_000), rng.choice((BOTH, TO_BROKER, TO_PEER)), rng.random()
        if rng.random() < 0.5:
            seed = rng.random()
            world.enter(max(FIRST_MS, at_ms - rng.uniform(0, 30)), "storm", _storm, world, seed)
        text = f"broker {number}: {fault} {direction}"
        world.enter(at_ms, text, _befall, world, fault, number, for_ms, direction, chance)


def _storm(world: World, seed: float) -> None:
    world.controller.deliver(world.controller.storm, random.Random(seed))


def _befall(world: World, fault: str, number: int, longest_ms: float, direction: str, chance: float) -> None:
    sim, network = world.sim, world.network
    broker = world.brokers[number % len(world.brokers)]
    for_ms = max(1.0, min(longest_ms, world.end_ms - sim.now))
    peers = [*world.workers.values(), *world.gateways.values(), *world.controllers.values()]
    peer = peers[int(chance * len(peers))].name
    sim.tell(broker.name, f"BROKER {fault.upper()} {direction} {peer}")
    if fault == "crash":
        if chance < 0.5:
            broker.fuse = int(chance * 16)
            sim.after(max(1.0, min(300.0, world.end_ms - sim.now)), broker.crash)
        else:
            broker.crash()
    elif fault == "pause" and broker.alive and not broker.paused:
        broker.pause()
        sim.after(for_ms, broker.resume)
    elif fault == "slow":
        broker.lag_ms = 0.5 + 5 * chance
        sim.after(for_ms, _quick, broker)
    elif fault == "isolate":
        for other in peers:
            network.freeze(other.name, direction, (broker.number,))
            sim.after(for_ms, network.thaw, other.name, (broker.number,))
    elif fault == "part":
        network.freeze(peer, direction, (broker.number,))
        sim.after(for_ms, network.thaw, peer, (broker.number,))
    elif fault == "cut":
        network.cut(peer, (broker.number,))


def _quick(process: Any) -> None:
    process.lag_ms = 0.0


def disagreements(world: World) -> list[str]:
    """At rest every broker knows every route, and all mean the owner that the store has."""
    left = []
    for broker in world.brokers:
        if not broker.alive:
            continue
        table = broker.state._table.by_destination
        for graph in world.store.memory.graphs_now():
            for stored in world.store.memory.load_now(graph.partition_names()):
                route = table.get(stored.partition)
                found = (route.node, route.epoch) if route is not None and route.session else None
                if found != (stored.owner, stored.epoch):
                    text = f"{stored.partition} is {found}, and stored as {stored.owner}'s at {stored.epoch}"
                    left.append(f"{broker.name}: {text}")
        if broker.state._holding.by_partition:
            left.append(f"{broker.name} holds {sorted(broker.state._holding.by_partition)}")
    return left


def unlinked(world: World) -> list[str]:
    """At rest the controller that leads knows by which session each broker reaches each node."""
    nodes, left = world.controller.state._cluster.nodes, []
    for broker in world.brokers:
        for name, worker in world.workers.items():
            peer = broker.state._by_name.get(("worker", name))
            known = nodes[name].sessions.get(broker.number) if name in nodes else None
            if broker.alive and worker.alive and (peer is None or peer.session != known):
                there = peer and peer.session.decode()
                left.append(f"{name} is {there} at {broker.name}, and the controller has {known and known.decode()}")
    return left


AT_THE_SOURCE = {
    "holding": "_hold", "draining": "_marked", "handing over": "_hand_over", "giving up": "_release",
    "coming": "activate",
}  # fmt: skip
"""What a worker does in a move, by the name of the method that does it."""

RARE = ("giving up",)
"""Phases that few moves come to: a broker dies each time."""

BREAK_MS = (0.0, 0.0, 3.0, 40.0)
"""So long after a move has come to its phase the broker dies, at most."""


@contextmanager
def killed_in(phase: str) -> Iterator[Callable[[World], list[str]]]:
    """Makes brokers die as moves come to this phase, and nodes slow. Called with a world it begins, and returns the
    names of those that died so far; at most three a world."""
    dead: list[str] = []
    worlds: list[World] = []
    rng = random.Random()

    def come() -> None:
        world = worlds[-1] if worlds else None
        if world is None or len(dead) >= 3 or not FIRST_MS < world.sim.now < world.end_ms:
            return
        if phase not in RARE and rng.random() > 0.3:
            return
        broker = world.brokers[rng.randrange(len(world.brokers))]
        dead.append(broker.name)
        world.sim.after(rng.uniform(0, rng.choice(BREAK_MS)), broker.crash)

    def begin(world: World) -> list[str]:
        dead.clear()
        worlds[:] = [world]
        rng.seed(f"{phase} {world.sim.seed}")
        for _ in range(12):
            world.sim.after(rng.uniform(FIRST_MS, world.end_ms), _storm, world, rng.random())
        for at_ms in range(int(FIRST_MS), int(world.end_ms), SLOW_MS):
            world.sim.after(at_ms, _slow, world, rng.random())
        world.sim.after(world.end_ms, _slow, world, 0.0)
        return dead

    owner: Any = Ownership if phase in AT_THE_SOURCE else Migration
    name = AT_THE_SOURCE.get(phase, "enter")
    real = getattr(owner, name)

    def step(self: Any, *args: Any, **more: Any) -> Any:
        if owner is Ownership or args[0].value == phase:
            come()
        return real(self, *args, **more)

    setattr(owner, name, step)
    try:
        yield begin
    finally:
        setattr(owner, name, real)


def _slow(world: World, chance: float) -> None:
    """Every node is slower or faster from now on; as it was, if there is no chance."""
    rng = random.Random(chance)
    for process in (*world.workers.values(), *world.brokers, *world.controllers.values()):
        process.lag_ms = rng.choice((0.0, 1.0, 5.0, 20.0)) if chance else 0.0

"""More than one broker: how many a seed has, what goes wrong with one of them or between it and some peer, and the
judge of their tables. Drawn from chance of its own, so that the other draws of a seed stay what they are.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from network import BOTH, TO_BROKER, TO_PEER

if TYPE_CHECKING:
    from world import World

FAULTS = ("crash", "crash", "crash", "pause", "isolate", "part", "part", "part", "cut", "cut", "slow")


def how_many(seed: int) -> int:
    return random.Random(f"brokers {seed}").choice((1, 1, 2, 2, 3))


def plan_broker_faults(world: World) -> None:
    """Only where there are several; half of them while partitions move."""
    rng = random.Random(f"faults of brokers {world.sim.seed}")
    if len(world.brokers) < 2 or not world.wildness:
        return
    for _ in range(rng.randint(0, 5)):
        at_ms, fault, number = rng.uniform(300, world.end_ms), rng.choice(FAULTS), rng.randrange(10)
        for_ms, direction, chance = rng.uniform(50, 4_000), rng.choice((BOTH, TO_BROKER, TO_PEER)), rng.random()
        if rng.random() < 0.5:
            seed = rng.random()
            world.enter(max(300.0, at_ms - rng.uniform(0, 30)), "storm", _storm, world, seed)
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
            sim.after(300, broker.crash)
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

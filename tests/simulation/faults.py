"""What goes wrong in one seed: drawn beforehand, from nothing to a lot, and over at the world's `end_ms`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from network import BOTH, TO_BROKER, TO_PEER
from processes import Process

if TYPE_CHECKING:
    from world import World

KINDS = (
    ("crash_worker", 3),
    ("crash_host", 3),
    ("crash_broker", 2),
    ("crash_gateway", 1),
    ("crash_controller", 2),
    ("pause_worker", 2),
    ("pause_other", 1),
    ("slow_node", 2),
    ("cut", 4),
    ("freeze", 2),
    ("freeze_one_way", 2),
    ("outage", 2),
    ("late_store", 1),
    ("hang_host", 1),
    ("clock_jump", 1),
    ("storm", 6),
    ("leave", 1),
    ("undeploy", 1),
)
FIRST_MS = 200.0
LOST_MS = (200, 1_000, 1_000, 2_000)
"""What a store that comes back from its append-only file has lost: with everysec a second, two if the disk is slow."""


def plan_faults(world: World) -> None:
    """Enter them into the world's plan."""
    rng = world.sim.script
    count = int(world.wildness * rng.randint(2, 8))
    chosen = [rng.choice(KINDS) for _ in range(rng.randint(1, 6))]
    names = [name for name, _ in chosen]
    weights = [weight for _, weight in chosen]
    for _ in range(count):
        name = rng.choices(names, weights)[0]
        _plan(world, name, rng.uniform(FIRST_MS, world.end_ms))
    storms = rng.choice((0, 10, 40) if world.hot else (0, 3, 15))
    for _ in range(storms):
        _plan(world, "storm", rng.uniform(FIRST_MS, world.end_ms))
    if world.lossy:
        for _ in range(rng.choice((1, 1, 2))):
            _plan(world, "lose_the_last_second", rng.uniform(FIRST_MS, world.end_ms - 300), rng.choice(LOST_MS))


def _plan(world: World, name: str, at_ms: float, *args: Any) -> None:
    fault = Fault(world, random.Random(f"{world.sim.seed} {len(world.plan)}"))
    at_ms = max(FIRST_MS, at_ms - args[0]) if args else at_ms
    world.enter(at_ms, f"{name}{args or ''}", getattr(fault, name), *args)


class Fault:
    """One of them. What it hits is drawn from its own `rng`, so it is the same whatever else is left out."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.sim = world.sim
        self.rng = rng

    def _until_end(self, longest_ms: float) -> float:
        return min(self.rng.uniform(1, longest_ms), max(1.0, self.world.end_ms - self.sim.now))

    def _worker(self) -> Process:
        return self.rng.choice(list(self.world.workers.values()))

    def _other(self) -> Process:
        world = self.world
        return self.rng.choice([self._broker(), world.controller, *world.gateways.values()])

    def _broker(self) -> Process:
        brokers = self.world.brokers
        return brokers[0] if len(brokers) == 1 else self.rng.choice(brokers)

    def _crash(self, process: Process | None) -> None:
        if process is None or not process.alive:
            return
        if self.rng.random() < 0.5:
            process.fuse = self.rng.randint(0, 8)  # in the middle of something
            self.sim.after(self._until_end(300), process.crash)
        else:
            process.crash()

    def crash_worker(self) -> None:
        self._crash(self._worker())

    def crash_broker(self) -> None:
        self._crash(self._broker())

    def crash_gateway(self) -> None:
        self._crash(self.rng.choice(list(self.world.gateways.values())))

    def crash_controller(self) -> None:
        self._crash(self.world.controller)

    def crash_host(self) -> None:
        hosts = [h for w in self.world.workers.values() if w.alive for h in w.hosts.values() if h.alive]
        if hosts:
            self.rng.choice(hosts).die("killed from outside")

    def hang_host(self) -> None:
        hosts = [h for w in self.world.workers.values() if w.alive for h in w.hosts.values() if h.alive]
        if hosts:
            host = self.rng.choice(hosts)
            self.sim.tell(host.worker.name, ("host hangs", host.name))
            host.stuck = True
            for item in host.running.values():
                self.world.witness(item)

    def _pause(self, process: Process | None) -> None:
        if process is not None and process.alive and not process.paused:
            self.sim.tell(process.name, "PAUSE")
            process.pause()
            self.sim.after(self._until_end(self.rng.choice((50, 500, 4_000))), self._resume, process)

    def _resume(self, process: Process) -> None:
        self.sim.tell(process.name, "RESUME")
        process.resume()

    def pause_worker(self) -> None:
        self._pause(self._worker())

    def pause_other(self) -> None:
        self._pause(self._other())

    def slow_node(self) -> None:
        """Everything takes its time there, and comes in order."""
        process = self.rng.choice((self._worker, self._worker, self._other))()
        process.lag_ms = self.rng.choice((0.5, 3.0, 10.0))
        self.sim.tell(process.name, f"SLOW: {process.lag_ms} ms each")
        self.sim.after(self._until_end(4_000), self._quick, process)

    def _quick(self, process: Process) -> None:
        self.sim.tell(process.name, "QUICK")
        process.lag_ms = 0.0

    def clock_jump(self) -> None:
        """Of one machine: it is set."""
        name = self.rng.choice([*self.world.workers, *self.world.gateways, "controller1"])
        self.world.skews[name] = self.rng.randint(-5_000, 5_000)
        self.sim.tell(name, f"CLOCK: {self.world.skews[name]} ms off")

    def _peer(self) -> str:
        world = self.world
        return self.rng.choice([*world.workers, *world.workers, *world.gateways, world.controller.name])

    def cut(self) -> None:
        name = self._peer()
        self.sim.tell(name, "CUT")
        self.world.network.cut(name)

    def freeze(self) -> None:
        self._freeze(BOTH)

    def freeze_one_way(self) -> None:
        self._freeze(self.rng.choice((TO_BROKER, TO_PEER)))

    def _freeze(self, direction: str) -> None:
        name = self._peer()
        self.sim.tell(name, f"FROZEN {direction}")
        self.world.network.freeze(name, direction)
        self.sim.after(self._until_end(self.rng.choice((100, 1_000, 4_000))), self._thaw, name)

    def _thaw(self, name: str) -> None:
        self.sim.tell(name, "THAWED")
        self.world.network.thaw(name)

    def outage(self) -> None:
        self.sim.tell("store", "AWAY")
        self.world.store.memory.available = False
        self.sim.after(self._until_end(self.rng.choice((50, 500, 3_000))), self._back)

    def _back(self) -> None:
        self.sim.tell("store", "BACK")
        self.world.store.memory.available = True

    def late_store(self) -> None:
        """Each of its answers takes its time."""
        self.world.store.late_ms = self.rng.choice((20.0, 200.0))
        self.sim.tell("store", f"LATE: {self.world.store.late_ms} ms")
        self.sim.after(self._until_end(2_000), self._in_time)

    def _in_time(self) -> None:
        self.world.store.late_ms = 0.0

    def lose_the_last_second(self, lost_ms: float) -> None:
        """The machine of the store dies `lost_ms` from now, and what is written from now on was not on its disk."""
        back = self.world.store.keep()
        self.sim.after(lost_ms, self._lose, back)

    def _lose(self, back: Any) -> None:
        self.sim.tell("store", "LOST what was written last, AWAY")
        self.world.store.restore(back)
        self.sim.after(self._until_end(self.rng.choice((1, 100, 1_000))), self._back)

    def storm(self) -> None:
        self.world.controller.deliver(self.world.controller.storm, self.rng)

    def undeploy(self) -> None:
        """The second graph, if there is one; and then it is deployed again."""
        self.world.undeploy_the_second()

    def leave(self) -> None:
        from worker import events as ev

        worker = self._worker()
        if worker.alive:
            worker.deliver(worker.step, ev.StopAsked(self.rng.random() < 0.3))

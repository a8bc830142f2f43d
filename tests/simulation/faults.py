"""What goes wrong in one seed: drawn beforehand, from nothing to a lot, and over at the world's `end_ms`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from processes import Process

if TYPE_CHECKING:
    from world import World

KINDS = (
    ("crash_worker", 3),
    ("crash_host", 3),
    ("crash_broker", 2),
    ("crash_gateway", 1),
    ("crash_controller", 1),
    ("pause_worker", 2),
    ("pause_other", 1),
    ("cut", 4),
    ("freeze", 2),
    ("outage", 2),
    ("hang_host", 1),
    ("storm", 6),
    ("leave", 1),
)
FIRST_MS = 200.0


def plan_faults(world: World) -> None:
    """Enter them into the world's clock."""
    rng = world.sim.rng
    count = int(world.wildness * rng.randint(2, 8))
    chosen = [rng.choice(KINDS) for _ in range(rng.randint(1, 6))]
    names = [name for name, _ in chosen]
    weights = [weight for _, weight in chosen]
    for _ in range(count):
        fault = _Fault(world)
        name = rng.choices(names, weights)[0]
        world.sim.after(rng.uniform(FIRST_MS, world.end_ms), getattr(fault, name))
    storms = rng.choice((0, 10, 40) if world.hot else (0, 3, 15))
    for _ in range(storms):
        world.sim.after(rng.uniform(FIRST_MS, world.end_ms), _Fault(world).storm)


class _Fault:
    def __init__(self, world: World) -> None:
        self.world = world
        self.sim = world.sim

    def _until_end(self, longest_ms: float) -> float:
        return min(self.sim.between(1, longest_ms), max(1.0, self.world.end_ms - self.sim.now))

    def _worker(self) -> Process:
        return self.sim.rng.choice(list(self.world.workers.values()))

    def _other(self) -> Process:
        world = self.world
        assert world.broker is not None
        return self.sim.rng.choice([world.broker, world.controller, *world.gateways.values()])

    def _crash(self, process: Process | None) -> None:
        if process is None or not process.alive:
            return
        if self.sim.chance(0.5):
            process.fuse = self.sim.rng.randint(0, 8)  # in the middle of something
            self.sim.after(300, process.crash)
        else:
            process.crash()

    def crash_worker(self) -> None:
        self._crash(self._worker())

    def crash_broker(self) -> None:
        self._crash(self.world.broker)

    def crash_gateway(self) -> None:
        self._crash(self.sim.rng.choice(list(self.world.gateways.values())))

    def crash_controller(self) -> None:
        self._crash(self.world.controller)

    def crash_host(self) -> None:
        hosts = [h for w in self.world.workers.values() if w.alive for h in w.hosts.values() if h.alive]
        if hosts:
            self.sim.rng.choice(hosts).die("killed from outside")

    def hang_host(self) -> None:
        hosts = [h for w in self.world.workers.values() if w.alive for h in w.hosts.values() if h.alive]
        if hosts:
            host = self.sim.rng.choice(hosts)
            self.sim.tell(host.worker.name, ("host hangs", host.name))
            host.stuck = True
            for item in host.running.values():
                self.world.witness(item)

    def _pause(self, process: Process | None) -> None:
        if process is not None and process.alive and not process.paused:
            self.sim.tell(process.name, "PAUSE")
            process.pause()
            self.sim.after(self._until_end(self.sim.rng.choice((50, 500, 4_000))), self._resume, process)

    def _resume(self, process: Process) -> None:
        self.sim.tell(process.name, "RESUME")
        process.resume()

    def pause_worker(self) -> None:
        self._pause(self._worker())

    def pause_other(self) -> None:
        self._pause(self._other())

    def _peer(self) -> str:
        world = self.world
        return self.sim.rng.choice([*world.workers, *world.workers, *world.gateways, "controller"])

    def cut(self) -> None:
        name = self._peer()
        self.sim.tell(name, "CUT")
        for connection in list(self.world.network.connections.values()):
            if connection.link.peer.name == name:
                connection.cut()

    def freeze(self) -> None:
        name = self._peer()
        self.sim.tell(name, "FROZEN")
        self.world.network.cut_off.add(name)
        self.sim.after(self._until_end(self.sim.rng.choice((100, 1_000, 4_000))), self._thaw, name)

    def _thaw(self, name: str) -> None:
        self.sim.tell(name, "THAWED")
        self.world.network.thaw(name)

    def outage(self) -> None:
        self.sim.tell("store", "AWAY")
        self.world.store.memory.available = False
        self.sim.after(self._until_end(self.sim.rng.choice((50, 500, 3_000))), self._back)

    def _back(self) -> None:
        self.sim.tell("store", "BACK")
        self.world.store.memory.available = True

    def storm(self) -> None:
        self.world.controller.deliver(self.world.controller.storm)

    def leave(self) -> None:
        from worker import events as ev

        worker = self._worker()
        if worker.alive:
            worker.deliver(worker.step, ev.StopAsked(self.sim.chance(0.3)))

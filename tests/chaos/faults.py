"""What can go wrong with a cluster of real processes. A `Fault` has a begin and, later, an end. Kinds are named
"stop-worker"; `chosen` takes whole names or how they begin. Everything random is drawn from the world's chance."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from proxies import Proxy
from world import LINKED, ROLES, SEVERAL_BROKERS, World, clocks_there

HANG_S = (0.1, 4.0)
"""Of processes: some too short to be noticed, some long enough to be given up."""

CUT_S = (0.0, 2.0)
SLOW_S = (1.0, 3.0)
DELAY_S = (0.01, 0.2)
DISK_S = (0.5, 4.0)
CLOCK_S = (1.0, 3.0)
CLOCK_OFF_S = (0.5, 25.0)
"""Of two clocks, one ahead and one behind, that is still less than `CLOCK_SKEW_MS`."""

LEAD_S = 20.0
PROMOTED_S = 60.0


class Fault(NamedTuple):
    """`seconds` from the end of `begin` to `end`. `alone`: the cluster is to get over it by itself, so that recovery
    counts from its begin; else nothing can go on before its end."""

    kind: str
    what: str
    seconds: float
    alone: bool
    begin: Callable[[], None]
    end: Callable[[], None]


Maker = Callable[[World], Fault]


def nothing() -> None:
    pass


def _name(world: World, role: str) -> str:
    if role == "controller":
        return world.leader() or "controller" if world.chance.random() < 0.7 else world.chance.choice(ROLES[role])
    return world.chance.choice(ROLES[role])


def kill(role: str, number: signal.Signals = signal.SIGKILL) -> Maker:
    def make(world: World) -> Fault:
        name = _name(world, role)
        kind = "kill" if number == signal.SIGKILL else "restart"
        alone = role in ("worker", "host", "controller")
        return Fault(f"{kind}-{role}", name, 0.0, alone, lambda: void(world.send(_there(world, name), number)), nothing)

    return make


def _there(world: World, name: str) -> str:
    """A scene may have killed the node, and hold what it needs to come back: then the host is another's."""
    if name not in ROLES["host"] or world.pid(name):
        return name
    return next((other for other in ROLES["host"] if world.pid(other)), name)


def stop(role: str) -> Maker:
    def make(world: World) -> Fault:
        name = _name(world, role)
        stack = contextlib.ExitStack()
        alone = role in ("worker", "controller")
        seconds = world.chance.uniform(*HANG_S)
        return Fault(
            f"stop-{role}", f"{name} for {seconds:.1f} s", seconds, alone,
            lambda: stack.enter_context(world.stopped(_there(world, name))), stack.close,
        )  # fmt: skip

    return make


def void(_: object) -> None:
    """For a lambda that is to return nothing."""


def _linked(world: World, role: str, target: str) -> tuple[str, list[Proxy]]:
    """One process' connections, or those of all to that target."""
    if world.chance.random() < 0.25:
        names = [name for each in LINKED for name in ROLES[each]]
        return f"all > {target}", [proxy for name in names for proxy in world.proxies(name, target)]
    name = _name(world, role)
    return f"{name} > {target}", world.proxies(name, target)


def cut(role: str, target: str) -> Maker:
    def make(world: World) -> Fault:
        what, found = _linked(world, role, target)
        seconds = world.chance.uniform(*CUT_S)

        def begin() -> None:
            world.exchange.do(lambda: [proxy.cut() for proxy in found] and None)

        return Fault(
            f"cut-{role}-{target}", f"{what} for {seconds:.1f} s", seconds, False, begin, lambda: _heal(world, found)
        )

    return make


def half_cut(role: str, target: str) -> Maker:
    def make(world: World) -> Fault:
        what, found = _linked(world, role, target)
        seconds = world.chance.uniform(*HANG_S)
        way, broken = world.chance.choice(("up", "down")), world.chance.random() < 0.5

        def begin() -> None:
            world.exchange.do(lambda: [proxy.hold(way) for proxy in found] and None)

        after = "then broken" if broken else "then as it was"
        return Fault(
            f"half-cut-{role}-{target}", f"{what} {way} for {seconds:.1f} s, {after}", seconds, False, begin,
            lambda: _heal(world, found, broken),
        )  # fmt: skip

    return make


def slow(role: str, target: str) -> Maker:
    def make(world: World) -> Fault:
        what, found = _linked(world, role, target)
        seconds, delay_s = world.chance.uniform(*SLOW_S), world.chance.uniform(*DELAY_S)

        def begin() -> None:
            world.exchange.do(lambda: [proxy.slow(delay_s) for proxy in found] and None)

        text = f"{what} by {1000 * delay_s:.0f} ms for {seconds:.1f} s"
        return Fault(f"slow-{role}-{target}", text, seconds, False, begin, lambda: _heal(world, found))

    return make


def _heal(world: World, found: list[Proxy], broken: bool = False) -> None:
    world.exchange.do(lambda: [proxy.heal(broken) for proxy in found] and None)


def disk(sync: str) -> Maker:
    """Redis' file may not grow. With "always" it ends, and cannot serve before there is room; with "everysec" it
    refuses to write."""

    def make(world: World) -> Fault:
        seconds, room = world.chance.uniform(*DISK_S), world.chance.randrange(4_000)
        folder = world.state / "redis"

        def begin() -> None:
            if sync != "always":
                world.wait(lambda: world.redis_says("CONFIG", "SET", "appendfsync", sync) == "+OK", "Redis")
            limit = max(file.stat().st_size for file in folder.rglob("*") if file.is_file()) + room
            (folder / "limit").write_text(str(limit))
            _limit(world.pid("redis"), limit)

        def end() -> None:
            (folder / "limit").unlink()
            # One that was just being started may have read it.
            world.wait(lambda: _limit(world.pid("redis"), resource.RLIM_INFINITY), "Redis to run")
            world.wait(lambda: _roomy(world), "Redis to write", PROMOTED_S)

        return Fault(f"disk-{sync}", f"full for {seconds:.1f} s after {room} bytes", seconds, False, begin, end)

    return make


def _limit(pid: int, limit: int) -> bool:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            return True
    return False


def _roomy(world: World) -> bool:
    """Whether Redis runs without a limit, and syncs as it should."""
    _limit(world.pid("redis"), resource.RLIM_INFINITY)
    return world.redis_says("CONFIG", "SET", "appendfsync", "always") == "+OK"


def two_controllers(world: World) -> Fault:
    """The one that leads stops until another one leads, and goes on as if it still did."""
    first = world.wait(world.leader, "somebody to lead")
    stack = contextlib.ExitStack()

    def begin() -> None:
        stack.enter_context(world.stopped(first))
        world.wait(lambda: world.leader() not in ("", first), "another one to lead", LEAD_S)

    seconds = world.chance.uniform(0.0, 1.0)
    return Fault("two-controllers", first, seconds, True, begin, stack.close)


def clock(role: str) -> Maker:
    def make(world: World) -> Fault:
        name = _name(world, role)
        seconds = world.chance.uniform(*CLOCK_S)
        off_s = world.chance.uniform(*CLOCK_OFF_S) * world.chance.choice((1, -1))
        file = world.clocks / name
        return Fault(
            f"clock-{role}", f"{name} by {off_s:+.1f} s for {seconds:.1f} s", seconds, True,
            lambda: _set(file, f"{off_s:+.3f}"), lambda: _set(file, "+0"),
        )  # fmt: skip

    return make


def _set(file: Path, text: str) -> None:
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    os.replace(new, file)


def failover(hang: bool) -> Maker:
    """The primary is gone, or hangs; Sentinel promotes a replica; the former one comes back as it was."""

    def make(world: World) -> Fault:
        first = world.primary()
        stack = contextlib.ExitStack()

        def begin() -> None:
            if hang:
                stack.enter_context(first.stopped())
            else:
                first.kill()
            others = [server for server in world.servers if server is not first]
            world.wait(lambda: any("master" in s.ask("ROLE") for s in others), "a replica to be promoted", PROMOTED_S)

        def end() -> None:
            stack.close()
            if not hang:
                first.follow(None)
                first.start()

        kind = "failover-hang" if hang else "failover-kill"
        return Fault(kind, f"port {first.port}", world.chance.uniform(0.0, 1.0), True, begin, end)

    return make


def kill_replica(world: World) -> Fault:
    first = world.primary()
    chosen = world.chance.choice([server for server in world.servers if server is not first])

    def end() -> None:
        chosen.follow(first)
        chosen.start()

    return Fault("kill-replica", f"port {chosen.port}", world.chance.uniform(0.0, 2.0), True, chosen.kill, end)


def kill_one_broker(world: World) -> Fault:
    """The other one carries on."""
    name = world.chance.choice(SEVERAL_BROKERS)
    return Fault("kill-one-broker", name, 0.0, True, lambda: void(world.kill(name)), nothing)


def stop_one_broker(world: World) -> Fault:
    name = world.chance.choice(SEVERAL_BROKERS)
    stack = contextlib.ExitStack()
    seconds = world.chance.uniform(*HANG_S)
    return Fault(
        "stop-one-broker", f"{name} for {seconds:.1f} s", seconds, True,
        lambda: stack.enter_context(world.stopped(name)), stack.close,
    )  # fmt: skip


def part_one_broker(world: World) -> Fault:
    """Between one process, or all, and one broker nothing goes through, one way or both."""
    names = [name for each in LINKED for name in ROLES[each]]
    some = names if world.chance.random() < 0.25 else [world.chance.choice(names)]
    number, seconds = world.chance.randrange(len(SEVERAL_BROKERS)), world.chance.uniform(*HANG_S)
    ways, broken = world.chance.choice((("up",), ("down",), ("up", "down"))), world.chance.random() < 0.5
    found = [world.proxies(name, "broker")[number] for name in some]

    def begin() -> None:
        world.exchange.do(lambda: [proxy.hold(*ways) for proxy in found] and None)

    what = f"{some[0] if len(some) == 1 else 'all'} > {SEVERAL_BROKERS[number]} {' and '.join(ways)}"
    return Fault(
        "part-one-broker", f"{what} for {seconds:.1f} s", seconds, False, begin, lambda: _heal(world, found, broken)
    )


TARGETS = ("broker", "redis")
LOCAL: dict[str, Maker] = {
    **{f"kill-{role}": kill(role) for role in ROLES},
    "restart-broker": kill("broker", signal.SIGTERM),
    **{f"stop-{role}": stop(role) for role in ROLES},
    **{f"cut-{role}-{target}": cut(role, target) for role in LINKED for target in TARGETS},
    **{f"half-cut-{role}-{target}": half_cut(role, target) for role in LINKED for target in TARGETS},
    **{f"slow-{role}-{target}": slow(role, target) for role in LINKED for target in TARGETS},
    "disk-always": disk("always"),
    "disk-everysec": disk("everysec"),
    "two-controllers": two_controllers,
}
"""What is done to a cluster with a Redis of its own."""

REPLICATED: dict[str, Maker] = {
    "failover-kill": failover(hang=False),
    "failover-hang": failover(hang=True),
    "kill-replica": kill_replica,
}
CLOCKS: dict[str, Maker] = {f"clock-{role}": clock(role) for role in ROLES if role != "host"}

BROKERS: dict[str, Maker] = {
    "kill-one-broker": kill_one_broker,
    "stop-one-broker": stop_one_broker,
    "part-one-broker": part_one_broker,
}
"""What is done to a cluster with two brokers."""

KINDS = {
    "local": LOCAL,
    "replicated": REPLICATED,
    "clocks": CLOCKS if clocks_there() else {},
    "brokers": BROKERS,
}
"""By the cluster that they need."""


def chosen(words: Iterable[str]) -> dict[str, dict[str, Maker]]:
    """The kinds that are meant; all if there are no words. Raises ValueError for a word that means none."""
    wanted = [word for word in words if word]
    for word in wanted:
        if not any(_means(word, name) for makers in KINDS.values() for name in makers):
            raise ValueError(word)
    found = {
        layout: {name: maker for name, maker in makers.items() if not wanted or any(_means(w, name) for w in wanted)}
        for layout, makers in KINDS.items()
    }
    return {layout: makers for layout, makers in found.items() if makers}


def _means(word: str, name: str) -> bool:
    return name == word or name.startswith(f"{word}-")

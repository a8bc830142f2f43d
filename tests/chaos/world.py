"""The cluster that faults are done to: several of each role, behind proxies, on a Redis of its own or on a primary with
two replicas and a Sentinel; with clocks that can be set, where libfaketime is. Knows how to ask and how to reach
things; what is done to them is in `faults.py`, and when in `scenes.py`."""

from __future__ import annotations

import contextlib
import glob
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import proving
import redis_processes
from live_cluster import LiveCluster, Result, wait_for
from proxied import LIBRARY
from proxies import Exchange, Proxy

from ctl import record
from ctl.asking import Lost, Refused, Unreachable
from liquefy.contexts import Contexts
from liquefy.control import Request, decode_reply, encode
from liquefy.errors import StoreUnavailable
from liquefy.transport import Asker

NODES, CONTROLLERS, GATEWAYS, BROKERS = 3, 2, 2, 2
MOVE_MS = 1_000
"""So that a move which hangs is given up soon."""

UP_S = 120.0
STORE_S = 5.0
DONE, REFUSED, UNANSWERED = "done", "refused", "not answered"
SAY_S = 0.05
"""A request to a controller needs so long to leave."""

LEFT_SHOWN = 20
LEFT = f"""
local left = {{}}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TTL', key) < 0 then left[#left + 1] = key end
end
return table.concat(left, ' ', 1, math.min({LEFT_SHOWN}, #left))
"""
"""The keys that do not expire."""

ROLES = {
    "worker": tuple(f"node{i}" for i in range(1, NODES + 1)),
    "host": tuple(f"node{i}/host" for i in range(1, NODES + 1)),
    "broker": ("broker",),
    "controller": ("controller", "controller2"),
    "gateway": ("gateway1", "gateway2"),
    "redis": ("redis",),
}
SEVERAL_BROKERS = ("broker", "broker2")
LINKED = ("worker", "controller", "gateway")
"""What has connections to broker and Redis."""


def clocks_there() -> bool:
    return bool(glob.glob(LIBRARY))


class World(LiveCluster):
    """One cluster, for some rounds. `replicated`: on a primary with replicas. `clocks`: each process by a clock that
    can be set. `patience`: so many times longer something may take. `brokers`: with more than one."""

    def __init__(
        self,
        folder: Path,
        chance: random.Random,
        replicated: bool = False,
        clocks: bool = False,
        patience: float = 1.0,
        brokers: bool = False,
    ) -> None:
        settings = {"LIQUEFY_MOVE_MS": str(MOVE_MS)}
        super().__init__(folder / "state", proving.VISITS, NODES, settings, redis_sync="always")
        self.folder, self.chance, self.replicated, self.patience = folder, chance, replicated, patience
        self.brokers = BROKERS if brokers else 1
        self.servers: list[redis_processes.Server] = []
        self.clocks = folder / "clocks"
        if clocks:
            self.clocks.mkdir(parents=True)
            for names in ROLES.values():
                for name in names:
                    if "/" not in name:
                        (self.clocks / name).write_text("+0")
            self.environment["LIQUEFY_CHAOS_CLOCKS"] = str(self.clocks)
        self.exchange = Exchange()
        self._around = contextlib.ExitStack()
        self._asked: list[tuple[str, Asker]] = []
        self.answers: Counter[tuple[str, str]] = Counter()
        """Commands that were asked, and what came of them: DONE, REFUSED, UNANSWERED."""
        self.refusals: list[str] = []
        self.reached: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        """How often a move was caught in each phase, or not."""

    def __enter__(self) -> World:
        with self._around:
            self._around.enter_context(self.exchange)
            if self.replicated:
                made = redis_processes.primary_and_replicas(self.folder / "redis", 2)
                self.servers = self._around.enter_context(made)
                self._around.enter_context(redis_processes.watched(self.folder / "sentinel", self.servers[0]))
            self.environment["LIQUEFY_CHAOS"] = str(self.exchange.control)
            super().__enter__()
            self._around = self._around.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self._around:
            for _, asker in self._asked:
                asker.close()
            super().__exit__(kind, *rest)

    def _up(self) -> None:
        """As `up` does, with each process behind proxies."""
        program = Path(__file__).with_name("chaos_up.py")
        redis = ",".join(server.url for server in self.servers)
        words = [NODES, CONTROLLERS, GATEWAYS, self.brokers, "always", redis]
        command = [sys.executable, program, self.state, proving.VISITS, *words]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "up.out").open("wb") as output:
            started = subprocess.Popen(
                list(map(str, command)), env=self.environment, cwd=proving.ROOT, stdout=output, stderr=output
            )
        end_s = time.monotonic() + UP_S * self.patience
        while (found := record.read(self.state)) is None or found.state != "ready":
            text = (self.folder / "up.out").read_text(errors="replace")
            assert started.poll() is None, f"`up` ended with {started.returncode}: {text}"
            assert time.monotonic() < end_s, f"`up` is not ready: {found} {text}"
            time.sleep(0.05)
        self.http, self.redis, self.controller, self.broker = found.http, found.redis, found.controller, found.broker
        gateways = [p.address for p in found.processes if p.role == "gateway"]
        self.urls = sorted(gateways, key=lambda url: url != self.http)

    def store(self, use: Callable[[Contexts], Awaitable[Result]]) -> Result:
        """Tried again: somebody may just have done something to it."""
        end_s = time.monotonic() + STORE_S * self.patience
        while True:
            try:
                return super().store(use)
            except StoreUnavailable:
                if time.monotonic() > end_s:
                    raise

    # -- where things are ------------------------------------------------------------------------------------

    def port(self, target: str) -> list[int]:
        """Of all that "broker" is, or "redis"."""
        addresses = self.broker if target == "broker" else self.redis
        return [int(address.rsplit(":", 1)[1].split("/")[0]) for address in addresses.split(",")]

    def proxies(self, name: str, target: str) -> list[Proxy]:
        """Between a process and all that "broker" is, or "redis"."""
        return [self.exchange.between(name, port) for port in self.port(target)]

    def leader(self) -> str:
        """The controller that leads, as the store has it; "" while nobody can tell."""
        with contextlib.suppress(Exception):
            return str(self.store(lambda contexts: contexts.leader()).name)
        return ""

    def primary(self) -> redis_processes.Server:
        """Of several; while no two claim to be."""

        def claiming() -> list[redis_processes.Server]:
            return [s for s in self.servers if "master" in s.ask("ROLE")]

        return self.wait(lambda: found[0] if len(found := claiming()) == 1 else None, "one primary", 60.0)

    def moving(self) -> bool:
        """Whether a move is written down."""
        with contextlib.suppress(Exception):
            return bool(self.store(lambda contexts: contexts.moves()))
        return False

    def moves_known(self) -> int:
        """How many partitions the controller moves, or is to move, as it says."""
        with contextlib.suppress(Refused, Unreachable, Lost):
            return int(self.ask("status")["moves"])
        return 0

    def primary_answers(self) -> bool:
        return self.redis_says("PING") == "+PONG"

    def redis_says(self, *words: str) -> str:
        asked = redis_processes.Server(self.folder)
        asked.port = self.primary().port if self.servers else self.port("redis")[0]
        return asked.ask(*words)

    # -- what is asked of it ---------------------------------------------------------------------------------

    def say(self, command: str, arguments: dict[str, Any], leader: str = "") -> None:
        """Asked of the one who leads; the answer is not waited for, as somebody is about to die. `quiet` reads it."""
        leader = leader or self.leader()
        addresses = self.controller.split(",")
        asker = Asker(addresses[-1] if leader.endswith("2") else addresses[0])
        asker.send(encode(Request(1, command, arguments)))
        time.sleep(SAY_S)
        self._asked.append((command, asker))

    def wait(self, condition: Callable[[], Result], what: str, bound_s: float = 20.0) -> Result:
        """As `wait_for`, with patience."""
        return wait_for(condition, what, bound_s * self.patience)

    def quiet(self) -> None:
        """What was asked is not waited for any more. What has been answered is noted."""
        while self._asked:
            command, asker = self._asked.pop()
            outcome = UNANSWERED
            while (data := asker.recv(0)) is not None:
                reply = decode_reply(data)
                if reply.end and not reply.elsewhere:
                    outcome = REFUSED if reply.error else DONE
                    self.refusals += [f"{command}: {reply.error.splitlines()[0]}"] if reply.error else []
            self.answers[command, outcome] += 1
            asker.close()

    # -- at the end ------------------------------------------------------------------------------------------

    def left_behind(self) -> str:
        """Keys that will never go, when nothing is deployed any more: none but who leads, and where nodes have been."""
        kept = {"{lq}:leader", "{lq}:nodes", "{lq}:pins", "{lq}:freeze"}
        text = self.redis_says("EVAL", LEFT, "0")
        return " ".join(key for key in text.split()[1:] if key not in kept)

    def one_primary(self) -> bool:
        """Whether there is one primary, and all others follow it."""
        return not self.servers or self.primary().ask("INFO", "replication").count("state=online") == 2


@contextlib.contextmanager
def held(world: World, names: list[tuple[str, str]], *ways: str) -> Iterator[None]:
    """Nothing goes through, one way or both, meanwhile; then it goes on."""
    found = [proxy for name, target in names for proxy in world.proxies(name, target)]
    world.exchange.do(lambda: [proxy.hold(*ways) for proxy in found] and None)
    try:
        yield
    finally:
        world.exchange.do(lambda: [proxy.heal() for proxy in found] and None)

"""A whole cluster as a person starts it: `liquefy-ctl up --detach`, in a folder and on ports of its own, and what tests
need of it: where it answers, which process is which, commands, what is in its Redis. At the end nothing is left of it.

A context manager. What runs is found by a mark in the environment, which every descendant inherits: so that a process
is found that has lost its parents, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

import liquefy
from ctl import record
from ctl.asking import Controller, Lost, Refused, Unreachable
from liquefy import keyring
from liquefy.commits import ContextQuery
from liquefy.contexts import Contexts
from liquefy.errors import StoreUnavailable
from liquefy.messages import partition_index, partition_name
from liquefy.values import unpack

ROOT = Path(__file__).parents[2]
IMPORTED = str(Path(liquefy.__file__).parents[1])
"""Where our own code is from: this tree, or a compiled copy of it. The roles are to run the same."""

MARK = "LIQUEFY_TEST_CLUSTER"
COMMAND_S = 120.0
ENDED_S = 10.0
STORE_S = 20.0
"""So long it may take until a Redis can be used."""

LOOK_S = 0.02
"""Between two looks whether something has come about."""

Result = TypeVar("Result")


class Reply(NamedTuple):
    """What a command said. `value`: its JSON, None if there is none."""

    code: int
    value: Any
    errors: str


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


class LiveCluster:
    """`app`: a folder of examples, or any with a graph.yaml. `state`, the folder of logs and data, is left.
    `environment`: settings of the roles (LIQUEFY_...). `redis_sync` "always" where Redis is to be killed.
    `more`: further words for `up`."""

    def __init__(
        self,
        state: Path,
        app: Path | None,
        nodes: int = 3,
        environment: dict[str, str] | None = None,
        redis_sync: str = "everysec",
        http_port: int = 0,
        more: tuple[str, ...] = (),
        keys: bool = False,
    ) -> None:
        self._more, self._keys = more, keys
        self._redis_sync, self._http_port = redis_sync, http_port
        self.state, self.nodes = state, nodes
        self._app = app
        self.mark = uuid.uuid4().hex
        kept = {n: v for n, v in os.environ.items() if not n.startswith("LIQUEFY_")}
        self.environment = {**kept, "PYTHONPATH": IMPORTED, MARK: self.mark, **(environment or {})}
        self.http = self.redis = self.controller = self.broker = self.keys = ""

    def __enter__(self) -> LiveCluster:
        try:
            self._up()
        except BaseException:
            self._kill_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()  # a test that failed may have left one stopped
        running = record.read(self.state) is not None  # a test may have ended it
        down = self.run("down", "--state", str(self.state), "--json") if running else Reply(0, None, "")
        left = self.processes()
        names = [f"{p.pid} {' '.join(_command(p))}" for p in left]
        self._kill_all()
        if kind is None:
            assert down.code == 0, down.errors
            assert not names, f"left running after `down`: {names}"

    def _up(self) -> None:
        words = ["up", "--detach", f"--nodes={self.nodes}", f"--state={self.state}", f"--redis-sync={self._redis_sync}"]
        words += ["--keys"] if self._keys else []
        words += [f"--http-port={self._http_port}"] if self._http_port else []
        words += self._more
        reply = self.run(*words, *([str(self._app)] if self._app else []))
        assert reply.code == 0, f"`up` failed: {reply.errors}"
        found = self.record()
        self.keys = found.keys
        if found.keys:
            self.environment["LIQUEFY_KEYS"] = found.keys
        self.http, self.controller, self.broker = found.http, found.controller, found.broker
        self.redis = keyring.redis_url(found.redis, found.keys, "controller")

    # -- commands --------------------------------------------------------------------------------------------

    def run(self, *words: str) -> Reply:
        """A command line of liquefy-ctl."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ctl", *words],
            env=self.environment, capture_output=True, text=True, timeout=COMMAND_S, cwd=ROOT,
        )  # fmt: skip
        with contextlib.suppress(ValueError):
            return Reply(done.returncode, json.loads(done.stdout), done.stderr)
        return Reply(done.returncode, None, done.stderr + done.stdout)

    def ctl(self, *words: str) -> Any:
        """The JSON that a command answers; it must succeed."""
        reply = self.run(*words, "--json", "--controller", self.controller)
        assert reply.code == 0, f"liquefy-ctl {' '.join(words)} ended with {reply.code}: {reply.errors}"
        return reply.value

    def ask(self, command: str, **arguments: Any) -> Any:
        """As `ctl`, without a process of its own. Raises Refused, Unreachable, Lost."""
        with Controller(self.controller, keys=self.keys) as controller:
            return controller.ask(command, arguments)

    def node(self, name: str) -> dict[str, Any]:
        """What the controller says of a node; {} while it says nothing."""
        with contextlib.suppress(Refused, Unreachable, Lost):
            return next((n for n in self.ask("nodes") if n["name"] == name), {})
        return {}

    def whole(self) -> bool:
        """All nodes are up, every partition is placed, nothing moves, and broker and Redis are there."""
        try:
            status = self.ask("status")
        except (Refused, Unreachable, Lost):
            return False
        up = sum(n["state"] == "up" for n in status["nodes"])
        settled = up == self.nodes and status["redis_ok"] and status["broker_ok"] and not status["moves"]
        return settled and not any(g["unplaced"] for g in status["graphs"])

    # -- processes -------------------------------------------------------------------------------------------

    def record(self) -> record.ClusterRecord:
        found = record.read(self.state)
        assert found is not None, f"no cluster runs in {self.state}"
        return found

    def pid(self, name: str) -> int:
        """Of a process by the name that `up` gives it (redis, broker, node1 ...); "node1/host" is the oldest host of a
        node. 0 while there is none."""
        name, _, host = name.partition("/")
        found = next((p for p in self.record().processes if p.name == name), None)
        process = found and record.process(found.pid, found.created_s)
        if process is None:
            return 0
        if not host:
            return process.pid
        with contextlib.suppress(psutil.NoSuchProcess):
            hosts = [p for p in process.children() if any("liquefy.host" in w or "host.mjs" in w for w in _command(p))]
            return min(hosts, key=lambda p: p.create_time()).pid if hosts else 0
        return 0

    def send(self, name: str, number: signal.Signals) -> int:
        """A signal to the process; its pid."""
        pid = wait_for(lambda: self.pid(name), f"{name} to run")
        os.kill(pid, number)
        return pid

    def kill(self, name: str) -> int:
        return self.send(name, signal.SIGKILL)

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """The process does nothing meanwhile (SIGSTOP), and then goes on (SIGCONT)."""
        pid = self.send(name, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def processes(self) -> list[psutil.Process]:
        """All that descends from this cluster's `up`, and has not ended."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _kill_all(self) -> None:
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=ENDED_S)

    def rss(self) -> dict[str, int]:
        """Bytes of memory by name, of each that runs."""
        sizes = {}
        for name in (p.name for p in self.record().processes):
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                sizes[name] = psutil.Process(self.pid(name)).memory_info().rss
        return sizes

    def log(self, name: str) -> str:
        return (self.state / "logs" / f"{name}.log").read_text(errors="replace")

    # -- HTTP and Redis --------------------------------------------------------------------------------------

    def get(self, path: str, timeout_s: float = 30.0) -> Response:
        """One request to the gateway. Status 0: no answer."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=timeout_s) as answer:
                return Response(answer.status, {n.lower(): v for n, v in answer.headers.items()}, _json(answer.read()))
        except urllib.error.HTTPError as error:
            return Response(error.code, {n.lower(): v for n, v in error.headers.items()}, _json(error.read()))
        except OSError:
            return Response(0, {}, None)

    def store(self, use: Callable[[Contexts], Awaitable[Result]]) -> Result:
        """What `use` finds in the cluster's Redis: of several servers in the one that its roles would ask."""
        durability = next((word.partition("=")[2] for word in self._more if word.startswith("--durability=")), "memory")

        async def body() -> Result:
            contexts, end_s = Contexts(self.redis, durability=durability), time.monotonic() + STORE_S
            try:
                while True:
                    try:
                        return await use(contexts)
                    except StoreUnavailable:
                        if time.monotonic() > end_s:
                            raise
                    await asyncio.sleep(0.1)
            finally:
                await contexts.close()

        return asyncio.run(body())

    def contexts(self, graph: str, group: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The context of each key, as it is in Redis."""
        partitions = self._partitions(graph, group)
        wanted: dict[str, list[str]] = {}
        for key in keys:
            wanted.setdefault(partition_name(graph, group, partition_index(key, partitions)), []).append(key)
        queries = [ContextQuery(partition, tuple(some)) for partition, some in wanted.items()]
        answers = self.store(lambda contexts: contexts.read(queries))
        found = {key: fields for answer in answers for key, fields in answer.contexts.items()}
        return {key: {name: unpack(value) for name, value in fields.items()} for key, fields in found.items()}

    def outboxes(self, graph: str) -> dict[str, int]:
        """Entries in the outbox of each partition that has some."""
        (found,) = [g for g in self.store(lambda contexts: contexts.graphs()) if g.name == graph]
        states = self.store(lambda contexts: contexts.load(found.partition_names()))
        return {state.partition: len(state.outbox) for state in states if state.outbox}

    def placements(self, graph: str, group: str) -> dict[str, tuple[str, int]]:
        """Owner and epoch of each partition, as in Redis."""
        names = [partition_name(graph, group, index) for index in range(self._partitions(graph, group))]
        return {p.partition: (p.owner, p.epoch) for p in self.store(lambda contexts: contexts.placements(names))}

    def _partitions(self, graph: str, group: str) -> int:
        (found,) = [g for g in self.store(lambda contexts: contexts.graphs()) if g.name == graph]
        return found.group_by_name[group].partitions


def wait_for(condition: Callable[[], Result], what: str, bound_s: float = 20.0) -> Result:
    """What `condition` says once it says something true. Fails after `bound_s`."""
    end_s = time.monotonic() + bound_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"waited {bound_s:g} s for {what}"
        time.sleep(LOOK_S)
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data

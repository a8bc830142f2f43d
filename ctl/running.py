"""One run of `liquefy-ctl up`: starts a local cluster, waits until it serves, follows its log, and ends it.

The thread of `run` supervises, and never waits for anything else; a second thread asks the controller and
deploys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.text import Text

from ctl import deploying, following, local, record, render
from ctl.asking import TICK_S, Controller, Refused, Unreachable
from ctl.supervising import Supervisor
from liquefy import keyring, redis_server
from liquefy.errors import LiquefyError, UserError
from liquefy.graph import Graph
from liquefy.log import SOURCE_COLUMNS

READY_S = 20.0
"""How long the processes may take until the controller answers, all nodes are up and the gateway listens."""

REDIS_READY_S = 10.0
"""How long the others are kept waiting for Redis; after that they start and wait for it themselves."""

LOG_BYTES_MAX = 64_000_000
"""A log that has grown beyond this is put aside as NAME.log.1, which replaces the one before."""

LOG_CHECK_S = 5.0

REDIS_FILE_BYTES_MAX = 8_000_000
"""A Redis that starts with a longer append-only file is asked to rewrite it: it reads it before it serves."""

KEPT_S = 10.0
"""So long it is waited for services of before to have their places again."""

FOLLOW_S = 0.1
"""How often new lines of the logs are looked for."""


class Options(NamedTuple):
    """What was asked for. `roles`: commands in place of the usual ones, for tests."""

    folder: Path
    app: Path | None = None
    size: local.Size = local.Size()
    redis_url: str = ""
    http_port: int | None = None
    follow: bool = True
    ready_s: float = READY_S
    roles: Mapping[str, list[str]] | None = None
    redis_sync: str = local.SYNCS[0]
    application: str = ""
    keys: bool = False
    durability: str = "memory"


class Stop:
    """What Ctrl-C and SIGTERM have asked for: once, to stop in order; twice, to stop now."""

    def __init__(self) -> None:
        self.asked = 0
        self._old = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def _on_signal(self, *_: object) -> None:
        self.asked += 1

    def restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The state folder, for this process alone; of one that nothing was made in nothing stays. Raises UserError if
    another `up` has it."""
    with contextlib.ExitStack() as kept:
        while True:
            lock = kept.enter_context((record.made(folder) / record.LOCK).open("a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                running = record.read(folder)
                pid = f" (pid {running.pid})" if running else ""
                raise UserError(
                    f"a cluster is running already in {folder}{pid}\n"
                    f"  remedy: stop it with `{local.command_name()} down --state {folder}`, "
                    "or give another folder with --state"
                ) from None
            # Who had it may have deleted it since: then another one can be made, and had.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(lock.fileno()), (folder / record.LOCK).stat()):
                    break
        try:
            yield
        finally:
            record.forget_lock(folder)


def run(options: Options, console: Console) -> int:
    """Bring the cluster up and keep it up until asked to stop. Returns the exit code. Raises UserError for
    what can be seen to be wrong before anything is started."""
    folder = options.folder.absolute()
    found = None
    if options.app is not None:
        with render.Progress(f"compiling {options.app}") as progress:
            found = deploying.prepared(options.app, options.application or None, progress)
        if found.told:
            console.print(Text("\n".join([*found.told, ""])), soft_wrap=True)
    graph, app = (found.graph, found.folder) if found is not None else (None, None)
    source = found.source if found is not None else None
    local.check_size(options.size)
    local.checked_durability(options.durability, options.redis_url, options.redis_sync)
    claimed = local.claimed_ports(options.http_port, bool(options.redis_url), options.size)
    with locked(folder), claimed as ports:
        keys = str(folder / record.KEYS) if options.keys else ""
        if keys:
            there = Path(keys).exists()
            if keyring.create(Path(keys)) and not there:
                (folder / record.KEYS_MADE).touch()
            if options.redis_url:
                keyring.forget_redis_password(Path(keys))
            else:
                keyring.create_redis_password(Path(keys))
        redis = (options.redis_url, options.roles, options.redis_sync)
        cluster = local.compose(folder, ports, options.size, *redis, keys, options.durability)
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        for log in logs.glob("*.log"):
            log.replace(log.with_name(f"{log.name}.1"))
        pid, created_s = record.myself()
        flag = local.flag_for(cluster.controller, folder, Path.cwd(), os.environ)
        first = record.ClusterRecord(
            pid, created_s, time.time(), cluster.controller, cluster.broker, cluster.redis, cluster.http,
            app=str(source.absolute()) if source else "", notes=ports.notes,
            hints=local.hints(graph, source, cluster.http, options.size.nodes, flag), keys=keys,
        )  # fmt: skip
        return _Run(options, folder, cluster, first, graph, app, console).run()


class _Run:
    def __init__(
        self,
        options: Options,
        folder: Path,
        cluster: local.Cluster,
        first: record.ClusterRecord,
        graph: Graph | None,
        app: Path | None,
        console: Console,
    ) -> None:
        self._options, self._folder, self._cluster, self._console = options, folder, cluster, console
        self._record = first
        self._logs = folder / "logs"
        self._stop = Stop()
        self._supervisor = Supervisor(self._logs, self._say, self._write)
        self._starter = Starter(cluster, graph, app, options.ready_s, first.keys)
        self._checked_s = 0.0
        self._tidied = 0

    def run(self) -> int:
        try:
            with self._supervisor:
                try:
                    code = self._bring_up()
                    if code == 0:
                        self._keep_up()
                finally:
                    self._bring_down()
        finally:
            self._stop.restore()
            # "failed" is left for `up --detach`, which waits to be told.
            if self._record.state != "failed":
                record.remove(self._folder)
        return code

    def _bring_up(self) -> int:
        """0 when the cluster serves or somebody wants it stopped, 1 when it does not come up."""
        with render.Progress("starting the processes") as progress:
            specs = self._cluster.specs
            if specs[0].role == "redis":
                self._supervisor.start(specs[0])
                self._step_until(lambda: listens(self._cluster.redis), REDIS_READY_S)
            for spec in specs:
                if spec.role != "redis" and not self._stop.asked:
                    self._supervisor.start(spec)
            self._starter.start()
            while self._starter.is_alive() and not self._stop.asked:
                progress("" if progress.what == self._starter.waiting else self._starter.waiting)
                self._step(TICK_S)
        if self._stop.asked:
            return 0
        if self._starter.problem:
            self._fail(self._starter.problem)
            return 1
        self._write(state="ready")
        self._say("info", "the cluster is up")
        announce(self._record, self._console)
        return 0

    def _fail(self, problem: str) -> None:
        lines = [problem]
        for spec in self._cluster.specs:
            if self._supervisor.restarts(spec.name):
                times = self._supervisor.restarts(spec.name)
                lines.append(f"{spec.name} has been started again {times} times; the end of its log:")
                lines += [f"  {line}" for line in following.tail(self._logs / f"{spec.name}.log", 8)]
        if "remedy:" not in problem:
            lines.append(f"  remedy: see {self._logs} for all that was said")
        self._say("error", problem)
        self._write(state="failed", problem="\n".join(lines))

    def _keep_up(self) -> None:
        follower = following.Follower(self._logs, from_start=True)  # the logs are those of this run
        if self._options.follow and not self._stop.asked:
            self._console.print(Text("the log (Ctrl-C stops everything)", style="dim"))
        while not self._stop.asked:
            self._step(FOLLOW_S if self._options.follow else 1.0)
            if self._options.follow:
                for line in filter(following.is_news, follower.lines()):
                    self._console.print(following.pretty(line), soft_wrap=True)

    def _bring_down(self) -> None:
        if self._options.follow:
            self._console.print(Text("stopping: gateway, controller, nodes, broker, redis", style="dim"))
        asked = self._stop.asked
        killed = self._supervisor.stop(hurry=lambda: self._stop.asked > asked)
        if killed:
            self._say("warning", f"had to kill {', '.join(killed)}")
        if self._options.follow:
            self._console.print(
                Text(
                    f"stopped{', killed ' + ', '.join(killed) if killed else ''}; nothing is left running",
                    style="dim",
                )
            )

    def _step(self, timeout_s: float) -> None:
        self._supervisor.step(timeout_s)
        now_s = time.monotonic()
        if now_s - self._checked_s > LOG_CHECK_S:
            self._checked_s = now_s
            self._tidy_redis()
            for log in self._logs.glob("*.log"):
                with contextlib.suppress(FileNotFoundError):
                    if log.stat().st_size > LOG_BYTES_MAX:
                        # Copied and cut, as its writer has it open (for appending).
                        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                        os.truncate(log, 0)

    def _tidy_redis(self) -> None:
        """By itself Redis rewrites its file when that has doubled since its start: one that is killed again and again
        never does, and takes longer to be back each time. (From version 7 on it keeps count, in other files.)"""
        pid = next((p.pid for p in self._supervisor.records() if p.role == "redis"), 0)
        file = self._folder / "redis" / "appendonly.aof"
        with contextlib.suppress(FileNotFoundError):
            due = pid not in (0, self._tidied) and file.stat().st_size > REDIS_FILE_BYTES_MAX
            with_password = urlsplit(keyring.redis_url(self._cluster.redis, self._record.keys, keyring.REDIS_ROLES[0]))
            if due and redis_server.rewrite_file(with_password.port or 0, with_password.password or ""):
                self._tidied = pid

    def _step_until(self, condition: Callable[[], bool], bound_s: float) -> None:
        end_s = time.monotonic() + bound_s
        while not condition() and time.monotonic() < end_s and not self._stop.asked:
            self._step(0.02)

    def _say(self, level: str, line: str) -> None:
        """A line of our own in the form of `liquefy.log`, in a log of our own."""
        now = time.time()
        mark = "" if level == "info" else f"{level}: "
        # A person may have deleted the folder: no reason to stop what runs.
        with contextlib.suppress(OSError), (self._logs / "up.log").open("a") as log:
            log.write(f"{render.clock_text(now)} {'up':<{SOURCE_COLUMNS}} {mark}{line}\n")

    def _write(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, processes=self._supervisor.records(), **changes)
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            record.write(self._folder, self._record)


class Starter(threading.Thread):
    """Waits until the cluster serves, and deploys. `waiting` says for what now; `problem` why it gave up."""

    def __init__(
        self, cluster: local.Cluster, graph: Graph | None, app: Path | None, ready_s: float, keys: str = ""
    ) -> None:
        super().__init__(daemon=True)
        self._keys = keys
        self._cluster, self._graph, self._app, self._ready_s = cluster, graph, app, ready_s
        self._nodes = {spec.name for spec in cluster.specs if spec.role == "worker"}
        self.waiting = "waiting for the controller to answer"
        self.problem = ""

    def run(self) -> None:
        doing = "starting"
        try:
            end_s = time.monotonic() + self._ready_s
            while self._missing():
                if time.monotonic() > end_s:
                    after = f"after {self._ready_s:g} s (--ready SECONDS gives it longer)"
                    self.problem = f"the cluster is not ready {after}: still {self.waiting}"
                    return
                time.sleep(0.05)
            if self._graph is not None and self._app is not None:
                doing = f"deploying {self._graph.name}"
                self._tell(doing)
                with Controller(self._cluster.controller, keys=self._keys) as controller:
                    deploying.deploy(controller, self._graph, self._app, self._tell, if_changed=True)
                    deploying.wait_until_placed(controller, self._graph.name, self._tell)
            else:
                self._await_kept(time.monotonic() + KEPT_S)
        except LiquefyError as error:
            self.problem = f"{doing}: {error}"

    def _tell(self, line: str) -> None:
        if line:
            self.waiting = line

    def _await_kept(self, end_s: float) -> None:
        """Until what was deployed before has its places again; one that finds none keeps nobody waiting for long."""
        with Controller(self._cluster.controller, keys=self._keys) as controller:
            while time.monotonic() < end_s:
                unplaced = [g["name"] for g in controller.ask("status")["graphs"] if g["unplaced"]]
                if not unplaced:
                    return
                self._tell(f"waiting for {', '.join(unplaced)} to be placed")
                time.sleep(0.05)

    def _missing(self) -> bool:
        """Whether something is; `waiting` then says what."""
        try:
            with Controller(self._cluster.controller, keys=self._keys) as controller:
                status = controller.ask("status", silence_s=2.0)
        except (Unreachable, Refused):
            self.waiting = "waiting for the controller to answer"
            return True
        # Cordoned and drained outlive a node's process: such a node is there, too.
        up = {n["name"] for n in status["nodes"] if n["state"] not in ("gone", "hung")}
        missing = sorted(self._nodes - up)
        if missing:
            self.waiting = f"waiting for {', '.join(missing)}"
        elif not status["redis_ok"]:
            self.waiting = "waiting for redis"
        elif not listens(self._cluster.http):
            self.waiting = "waiting for the gateway to listen"
        else:
            return False
        return True


def listens(url: str) -> bool:
    """Whether a TCP server takes connections there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), 1.0).close()
    except OSError:
        return False
    return True


def announce(cluster: record.ClusterRecord, console: Console) -> None:
    """What runs where, and what to try next."""
    made = render.table("ROLE", "NAME", "ADDRESS", ">PID")
    for p in cluster.processes:
        made.add_row(p.role, p.name, p.address or "-", str(p.pid))
    console.print(made)
    for note in cluster.notes:
        console.print(Text(note, style="yellow"))
    console.print()
    for what, line in cluster.hints:
        console.print(Text.assemble((f"{what:<15} ", "dim"), (line, "bold")), soft_wrap=True)
    if not any("--controller" in line for _, line in cluster.hints):
        there = f"add --controller {cluster.controller}, or set LIQUEFY_CONTROLLER to it"
        console.print(Text.assemble((f"{'elsewhere':<15} ", "dim"), there), soft_wrap=True)
    console.print()

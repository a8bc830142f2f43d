"""What a worker does: owns the link, the store's connections, the host processes and the clock, turns what happens
into events and performs the effects. Decides nothing: `worker.state` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import psutil

import liquefy
from liquefy import confine, log, nodejs, signing
from liquefy.admission import Complaints
from liquefy.clock import SteadyClock
from liquefy.commits import Verdict
from liquefy.config import WorkerConfig
from liquefy.contexts import Contexts
from liquefy.effects import Count, Log, Relay, SendFrame, ToBroker
from liquefy.errors import BadFrame, LiquefyError, StoreUnavailable, UserError
from liquefy.hosting import FromHost, Load, Refused, frame
from liquefy.keyring import LIST, Keyring, redis_url
from liquefy.messages import decode_control, decode_data, encode
from liquefy.running import FAILED
from liquefy.transport import LinkSet
from worker import environments, files
from worker import events as ev
from worker.state import WorkerState
from worker.supervisor import HostProcess, launched
from worker.vouching import Vouching

TICK_MS = 25
"""How often the state is asked what is due."""

STORE_RETRY_MS = 100
"""Between tries while the store does not answer."""

CODE = tuple(str(Path(path).resolve()) for path in (Path(liquefy.__file__).parent.parent, sys.prefix))
"""Of ourselves: what is written there, the next worker would run."""

T = TypeVar("T")


class Service:
    """One worker process."""

    def __init__(self, config: WorkerConfig, stop: asyncio.Event) -> None:
        self._config = config
        self._stop = stop
        self._time = SteadyClock(lambda: time.time() * 1000, lambda: time.monotonic() * 1000)
        self._now_ms = 0
        self._state = WorkerState(config)
        self._complaints = Complaints()
        keys = Keyring.given(config.keys, "worker")
        on = (self._on_frames, self._on_up, self._on_down)
        self._links = LinkSet(config.broker_addresses, config.name, *on, keys, self._on_refused)
        redis = redis_url(config.redis, config.keys, "worker")
        self._contexts = Contexts(redis, durability=config.durability)
        self._hosts: dict[str, HostProcess] = {}
        self._vouching = Vouching(Keyring.given(config.keys, "worker"))
        self._hidden = secret_files(config.keys, config.redis, os.environ, config.host_hidden)
        sealed = bool(self._hidden) or "@" in config.redis
        self._sealed = sealed
        # What was checked before it was unpacked is to stay as it is.
        self._kept = [str(Path(config.data_dir).resolve()), *CODE] if config.keys else []
        self._known = confine.look(secret_files(config.keys, config.redis, os.environ))
        self._prepared: dict[str, environments.Prepared] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._process = psutil.Process()
        self._alive = Path(config.data_dir) / "alive"
        """Touched while the broker is heard: what a container's health check looks at."""
        self._hosts_cpu_s = 0.0
        self._cpu_of: dict[int, float] = {}
        self._exit = asyncio.Event()
        self._flush_due = False
        self._counts: dict[str, int] = {}
        self._perform: dict[type, Callable[[Any], None]] = {
            ToBroker: lambda e: self._links.send[e.link]([encode(e.message)]),
            Relay: lambda e: self._links.send[e.link]([e.to, encode(e.message)]),
            SendFrame: lambda e: self._links.send[e.link]([b"", encode(e.header), encode(e.parts)]),
            Log: self._log,
            Count: self._count,
            ev.TellHost: self._tell_host,
            ev.LoadGraph: self._load_graph,
            ev.CommitBatch: self._commit_at_once,
            ev.ReadContexts: lambda e: self._spawn(self._read(e)),
            ev.LoadPartitions: lambda e: self._spawn(self._load(e)),
            ev.StartHost: lambda e: self._spawn(self._start_host(e)),
            ev.StopHost: self._stop_host,
            ev.ForgetFiles: self._forget_files,
            ev.KillHost: lambda e: self._hosts[e.host].kill() if e.host in self._hosts else None,
            ev.Reconnect: lambda e: self._links.reconnect(e.link),
            ev.Exit: lambda e: self._exit.set(),
        }

    async def run(self) -> None:
        """Until asked to stop (SIGTERM: hand over first; SIGINT, or a second signal: at once)."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: self._step(ev.StopAsked(True)))
        addresses = self._config.broker_addresses
        text = f"starts, pid {os.getpid()}; {'brokers' if len(addresses) > 1 else 'broker'} {', '.join(addresses)}"
        self._log(Log("info", text, "start"))
        if self._sealed:
            confine.seal()
            if not confine.can_hide():
                text = "users' code can read our keys and passwords: this kernel has no Landlock to hide them"
                self._log(Log("warning", text, "exposed"))
        try:
            self._alive.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"--data-dir: {self._alive.parent} is no folder that can be written: {error.strerror}"
            raise UserError(f"{text}\n  remedy: give another one") from None
        self._links.open()
        self._spawn(self._clock())
        self._spawn(self._stopping())
        try:
            await self._exit.wait()
        finally:
            for task in list(self._tasks):
                task.cancel()
            hosts, self._hosts = list(self._hosts.values()), {}  # so that their end is no news
            for host in hosts:
                host.kill()
            counted = ", ".join(f"{name} {count}" for name, count in sorted(self._counts.items()))
            self._log(Log("info", f"stopped{': ' if counted else ''}{counted}", "stop"))
            await asyncio.sleep(0)
            self._links.close()
            await self._contexts.close()

    def _step(self, event: ev.Event) -> None:
        """Handle the event now; what it causes leaves once all that is ready in the loop has been handled too."""
        if not self._flush_due:  # else the time is that of the first event of this turn
            self._flush_due = True
            self._now_ms = self._time.now_ms()
            asyncio.get_running_loop().call_soon(self._flush)
        for effect in self._state.handle(event, self._now_ms):
            self._perform[type(effect)](effect)

    def _flush(self) -> None:
        self._flush_due = False
        for effect in self._state.flush(self._time.now_ms()):
            self._perform[type(effect)](effect)

    async def _clock(self) -> None:
        measured_s = 0.0
        while True:
            await asyncio.sleep(TICK_MS / 1000)
            if time.monotonic() - measured_s >= self._config.report_interval_ms / 1000:
                measured_s = time.monotonic()
                self._step(self._measure())
                if self._state.connected(self._time.now_ms()):
                    self._touch()
            self._step(ev.Tick())

    def _touch(self) -> None:
        """The folder may have been deleted, and the disk be full: nothing that handling messages needs."""
        with contextlib.suppress(OSError):
            self._alive.parent.mkdir(parents=True, exist_ok=True)
            self._alive.touch()

    async def _stopping(self) -> None:
        await self._stop.wait()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: self._step(ev.StopAsked(True)))
        self._step(ev.StopAsked(False))

    def _spawn(self, work: Awaitable[None]) -> None:
        """Run it beside; an error of it ends the process."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": FAILED, "exception": error})

    # -- the link ---------------------------------------------------------------------------------------

    def _on_up(self, session: bytes, link: int = 0) -> None:
        # The Hello first: what comes before it on a session, a log line too, is answered with Fenced.
        self._step(ev.Up(session, link))
        self._log(Log("info", f"connected to {self._config.broker_named(link)} as {session.decode()}", "link"))

    def _on_refused(self, reason: str) -> None:
        self._log(Log("warning", f"not connected to the broker: {reason}", "refused_peer"))

    def _on_down(self, link: int = 0) -> None:
        broker = self._config.broker_named(link)
        self._log(Log("warning", f"the connection to {broker} is gone; connecting again", "link"))
        self._step(ev.Down(link))

    def _on_frames(self, frames: list[bytes], link: int = 0) -> None:
        try:
            event = _decode(frames, link)
        except BadFrame as error:
            if len(frames) in (2, 3):
                for effect in self._complaints.about(frames[0], str(error), link):
                    self._perform[type(effect)](effect)
                return
            broker = self._config.broker_named(link)
            self._log(Log("error", f"{broker} sent what is no message of ours: {error}", "protocol"))
            self._links.reconnect(link)
            return
        self._step(event)

    # -- the store --------------------------------------------------------------------------------------

    async def _insist(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """Until the store has answered."""
        failures = 0
        while True:
            try:
                answer = await call()
            except StoreUnavailable as error:
                failures += 1
                if failures == 1:
                    self._log(Log("warning", f"the store does not answer ({error}); {what} waits", "store"))
                await asyncio.sleep(STORE_RETRY_MS / 1000)
                continue
            if failures:
                self._log(Log("info", f"the store answers again; {what} done after {failures + 1} tries", "store"))
            return answer

    def _commit_at_once(self, effect: ev.CommitBatch) -> None:
        def tell(verdicts: list[Verdict] | None) -> None:
            if verdicts is not None:
                self._step(ev.Committed(effect.tag, verdicts))
            elif not self._exit.is_set():
                self._spawn(self._commit(effect))

        if not self._contexts.commit_at_once(effect.commits, self._config.name, tell):
            self._spawn(self._commit(effect))

    async def _commit(self, effect: ev.CommitBatch) -> None:
        verdicts = await self._insist(lambda: self._contexts.commit(effect.commits, self._config.name), "a commit")
        self._step(ev.Committed(effect.tag, verdicts))

    async def _read(self, effect: ev.ReadContexts) -> None:
        answers = await self._insist(lambda: self._contexts.read(effect.queries), "a read")
        self._step(ev.ContextsRead(effect.read, answers))

    async def _load(self, effect: ev.LoadPartitions) -> None:
        states = await self._insist(lambda: self._contexts.load(effect.partitions), "an activation")
        self._step(ev.PartitionsLoaded(states))

    # -- hosts ------------------------------------------------------------------------------------------

    async def _start_host(self, effect: ev.StartHost) -> None:
        name = effect.host

        async def fetch(digest: str) -> bytes | None:
            return await self._insist(lambda: self._contexts.bundle(digest), "a bundle")

        try:
            prepared = await environments.prepare(
                Path(self._config.data_dir),
                effect.bundle,
                fetch,
                self._config.install_ms,
                effect.language,
                self._vouching,
                lambda *folders: launched(self._order(0, 0, self._kept, folders)),
            )
            if effect.home:
                home = await files.prepare(Path(self._config.data_dir), effect.home, prepared.folder)
                prepared = prepared._replace(folder=home)
            node = await asyncio.to_thread(nodejs.find) if effect.language == "javascript" else None
        except (LiquefyError, OSError) as error:  # a full disk, too
            self._step(ev.HostFailed(name, str(error)))
            return
        except Exception as error:  # of ours: it costs this host. No state has half an event, so the worker goes on
            told = traceback.format_exc()
            self._log(Log("error", f"an error of ours while {name} was prepared\n{told}", "host"))
            self._step(ev.HostFailed(name, f"an error of ours, {type(error).__name__}: the worker's log has more"))
            return
        self._prepared[name] = prepared
        try:
            self._hosts[name] = self._started(effect, prepared, node)
        except OSError as error:
            self._step(ev.HostFailed(name, f"the host cannot be started: {error}"))
            return
        self._step(ev.HostStarted(name))

    def _started(
        self, effect: ev.StartHost, prepared: environments.Prepared, node: nodejs.Node | None
    ) -> HostProcess:
        """Raises OSError."""
        name = effect.host

        def on_message(message: FromHost) -> None:
            self._step(ev.HostSaid(name, message))

        def on_exit(reason: str) -> None:
            self._host_exited(name, reason)

        def on_log(stream: str, line: str) -> None:
            self._printed(name, stream, line)

        on = (on_message, on_exit, on_log)
        own = [*([prepared.folder] if effect.home else []), *_shared(self._config.host_writable)]
        kept = ["/", *self._kept] if self._kept else []  # what it may write to, it is given
        confined = self._order(self._config.host_memory_bytes_max, self._config.host_files_max, kept, own)
        if node is not None:
            return HostProcess.start_node(node.node, prepared.folder, *on, effect.env, confined)
        return HostProcess.start(sys.executable, prepared.folder, prepared.site, *on, effect.env, confined)

    def _order(self, memory_bytes: int, files_max: int, kept: list[str], writable: Sequence[Path]) -> str:
        """What users' code, or what installs packages for it, gives up. It can write to some of what is `kept`."""
        folders = [str(folder) for folder in writable] if kept else []
        return confine.order(memory_bytes, files_max, self._hidden, self._sealed, kept, folders, self._known)

    def _printed(self, host: str, stream: str, line: str) -> None:
        """What users' code prints: marked with its graph, so that nobody takes it for ours."""
        mark = "|" if stream == "stdout" else "!"
        self._log(Log("info", f"{host.split(':')[0]} {mark} {line}", stream))

    def _host_exited(self, name: str, reason: str) -> None:
        host = self._hosts.pop(name, None)
        if host is not None:
            self._hosts_cpu_s += self._cpu_of.pop(host.pid, 0.0)
            self._step(ev.HostDied(name, reason))

    def _tell_host(self, effect: ev.TellHost) -> None:
        host = self._hosts.get(effect.host)
        if host is not None:
            host.send(frame(effect.message))

    def _load_graph(self, effect: ev.LoadGraph) -> None:
        graph, digest = effect.graph, effect.graph.fluxion_by_name[effect.only[0]].bundle
        used = [signing.function(f.language, f.code) for f in map(graph.fluxion_by_name.__getitem__, effect.only)]
        if problem := self._vouching.problem(digest, used):
            refused = ev.HostSaid(effect.host, Refused(graph.name, graph.version, problem, ""))
            asyncio.get_running_loop().call_soon(self._step, refused)
            return
        folder = str(self._prepared[effect.host].folder)
        self._tell_host(ev.TellHost(effect.host, Load(effect.graph, folder, effect.only)))

    def _forget_files(self, effect: ev.ForgetFiles) -> None:
        for graph in effect.graphs:
            self._spawn(files.forget(Path(self._config.data_dir), graph))

    def _stop_host(self, effect: ev.StopHost) -> None:
        host = self._hosts.pop(effect.host, None)
        if host is not None:
            self._hosts_cpu_s += self._cpu_of.pop(host.pid, 0.0)
            host.kill()

    def _measure(self) -> ev.Measured:
        own = self._process.cpu_times()
        rss_bytes = self._process.memory_info().rss
        for host in self._hosts.values():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(host.pid)
                times = process.cpu_times()
                self._cpu_of[host.pid] = times.user + times.system
                rss_bytes += process.memory_info().rss
        return ev.Measured(own.user + own.system, self._hosts_cpu_s + sum(self._cpu_of.values()), rss_bytes)

    # -- log --------------------------------------------------------------------------------------------

    def _log(self, effect: Log) -> None:
        log.emit(effect)
        line = log.told(effect, self._config.name)
        if line is not None and (controller := self._state.links.controller()) is not None:
            self._links.send[controller[1]]([controller[0], encode(line)])

    def _count(self, effect: Count) -> None:
        self._counts[effect.name] = self._counts.get(effect.name, 0) + effect.by


def _shared(more: str) -> list[Path]:
    """What any host may write to: folders for temporary files, devices, and `more`, with commas."""
    folders = [tempfile.gettempdir(), "/tmp", "/var/tmp", *confine.DEVICES, *more.split(",")]
    return [Path(path).resolve() for path in folders if path]


def secret_files(keys: str, redis: str, environment: Mapping[str, str], more: str = "") -> list[str]:
    """The files and folders that users' code is not to see: our keys, and those of other roles if they are beside them;
    the file of settings, which may hold the password of Redis; our key for its TLS; and `more`, with commas."""
    tls_key = [key for url in redis.split(",") for key in parse_qs(urlsplit(url).query).get("key", [])]
    whole = Path(keys).resolve().parent
    if keys and (whole / LIST).is_file():
        keys = str(whole)
    found = [keys, environment.get("LIQUEFY_CONFIG", ""), *tls_key, *more.split(",")]
    return [str(Path(path).resolve()) for path in found if path]


def _decode(frames: list[bytes], link: int) -> ev.Event:
    """One transmission of a broker as an event. Raises BadFrame."""
    if len(frames) == 1:
        return ev.FromBroker(decode_control(frames[0]), link)
    if len(frames) == 2:
        return ev.FromPeer(frames[0], decode_control(frames[1]), link)
    if len(frames) == 3:
        return ev.Data(frames[0], *decode_data(frames[1], frames[2]), link)
    raise BadFrame(f"{len(frames)} frames")

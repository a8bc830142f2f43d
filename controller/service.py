"""Performs what the controller's states decide: owns the link, the control socket, the store's connections and the
clock. Decides nothing: `leading` says when this controller leads, and `state` what it does then.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, get_args

from controller import events as ev
from controller import leading as ld
from controller.desk import Effect
from controller.leading import Leading
from controller.state import TICK_MS, ControllerState
from liquefy import log
from liquefy.admission import Complaints, Refusals, exposure, key_of
from liquefy.clock import SteadyClock
from liquefy.config import ControllerConfig
from liquefy.contexts import Contexts
from liquefy.control import Reply, decode_request, encode
from liquefy.effects import Count, Log, Relay, ToBroker
from liquefy.errors import BadFrame, Damaged, Deposed, StoreUnavailable
from liquefy.keyring import Keyring, redis_url
from liquefy.messages import Fenced, decode_control
from liquefy.messages import encode as encode_message
from liquefy.transport import LinkSet, RouterSocket

STORE_RETRY_MS = 100
"""Between tries of an operation while the store does not answer."""

_READS = get_args(ev.Read)


class Service:
    """One controller. Used within a running loop."""

    def __init__(self, config: ControllerConfig) -> None:
        self._config = config
        keys = Keyring.given(config.keys, "controller")
        on = (self._on_frames, self._on_up, self._on_down)
        self._links = LinkSet(config.broker_addresses, config.name, *on, keys, self._on_refused)
        self._socket = RouterSocket(config.bind, self._on_asked, keys, ("operator",), self._on_refused_client)
        self._refusals, self._malformed, self._complaints = Refusals(), Refusals(), Complaints()
        self._counts: Counter[str] = Counter()
        address = config.bind if config.advertise == "bind" else config.advertise
        self._leading = Leading(config.name, address)
        self._redis = redis_url(config.redis, config.keys, "controller")
        self._leases = Contexts(self._redis, ld.LEASE_MS / 1000, config.durability)
        self._asks: set[asyncio.Task[None]] = set()
        self._time = SteadyClock(lambda: time.time() * 1000, lambda: time.monotonic() * 1000)
        self._wake: asyncio.TimerHandle | None = None
        # While this controller leads:
        self._state: ControllerState | None = None
        self._store: StoreHands | None = None
        self._working: asyncio.Task[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._perform: dict[type, Callable[[Any], None]] = {
            ToBroker: lambda e: self._links.send[e.link]([encode_message(e.message)]),
            Relay: lambda e: self._links.send[e.link]([e.to, encode_message(e.message)]),
            Log: log.emit,
            Count: self._count,
            ev.Answer: lambda e: self._answer(e.client, e.reply),
            ev.Store: lambda e: self._store.ask(e) if self._store is not None else None,
            ev.Reconnect: lambda e: self._links.reconnect(e.link),
            ld.Ask: self._ask_lease,
            ld.Lead: self._lead,
            ld.StandBy: lambda e: self._stand_by(),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises UserError if the endpoint cannot be bound."""
        self._socket.bind()
        self._say(Log("info", f"listening on {self._socket.endpoint}", "start"))
        if exposed := exposure(self._socket.endpoint, self._config.keys):
            self._say(exposed)
        self._links.open()
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(work) for work in (self._clock(), stop.wait())]
        tasks.append(self._failed)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*tasks, *self._asks]:
                task.cancel()
            self._stand_by()
            await asyncio.sleep(0)
            self._links.close()
            self._socket.close()
            await self._leases.close()
            self._counts["refused_peers"] = self._refusals.count
            counted = ", ".join(f"{name} {count}" for name, count in sorted(self._counts.items()) if count)
            log.emit(Log("info", f"stopped{': ' if counted else ''}{counted}", "stop"))

    # -- leading -------------------------------------------------------------------------------------------

    def _decide(self, event: ld.Event) -> None:
        for effect in self._leading.step(event, self._now_ms()):
            if isinstance(effect, Log):
                self._say(effect)
            else:
                self._perform[type(effect)](effect)

    def _say(self, line: Log) -> None:
        self._do(self._state.log(line, self._now_ms()) if self._state is not None else [line])

    def _ask_lease(self, effect: ld.Ask) -> None:
        task = asyncio.ensure_future(self._asked_lease(effect))
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    async def _asked_lease(self, effect: ld.Ask) -> None:
        try:
            standing = await self._leases.lead(effect.request)
        except StoreUnavailable:
            self._decide(ld.Unanswered())
        else:
            self._decide(ld.Told(standing))

    def _lead(self, effect: ld.Lead) -> None:
        self._state = ControllerState(self._config, effect.term)
        contexts = Contexts(self._redis, durability=self._config.durability)
        refused = lambda term: self._decide(ld.Refused(term))  # noqa: E731
        self._store = StoreHands(contexts, self._step, effect.term, refused)
        self._working = asyncio.ensure_future(self._store.work())
        self._working.add_done_callback(self._on_worked)
        for link, session in self._links.up().items():
            self._step(ev.Up(session, link))

    def _on_worked(self, task: asyncio.Task[None]) -> None:
        """It works until it is cancelled, unless it fails; then so does all."""
        if not task.cancelled() and not self._failed.done() and (error := task.exception()) is not None:
            self._failed.set_exception(error)

    def _stand_by(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._working is not None and self._store is not None:
            self._working.cancel()
            self._store.close()
        if self._state is not None:
            self._state = self._store = self._working = None
            # It holds itself in many ways, and memory of a leader that was would stay for long. There is time now.
            asyncio.get_running_loop().call_soon(gc.collect)
        for link in self._links.up():
            self._links.reconnect(link)

    # -- events --------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return self._time.now_ms()

    async def _clock(self) -> None:
        while True:
            self._decide(ld.Tick(bool(self._links.up())))
            self._step(ev.Tick())
            await asyncio.sleep(TICK_MS / 1000)

    def _on_up(self, session: bytes, link: int = 0) -> None:
        self._step(ev.Up(session, link))

    def _on_refused(self, reason: str) -> None:
        log.emit(Log("warning", f"not connected to the broker: {reason}", "refused_peer"))

    def _on_refused_client(self, who: str, reason: str) -> None:
        if (news := self._refusals.note(who, reason)) is not None:
            log.emit(news)

    def _on_down(self, link: int = 0) -> None:
        self._step(ev.Down(link))

    def _on_frames(self, frames: list[bytes], link: int = 0) -> None:
        try:
            message = decode_control(frames[-1])
        except BadFrame as error:
            if len(frames) > 1:
                for effect in self._complaints.about(frames[0], str(error), link):
                    self._perform[type(effect)](effect)
            else:
                broker = self._config.broker_named(link)
                self._say(Log("error", f"{broker} sent what is no message of ours: {error}", "protocol"))
                self._links.reconnect(link)
            return
        self._step(ev.FromBroker(message, link) if len(frames) == 1 else ev.FromNode(frames[0], message, link))
        if isinstance(message, Fenced) and message.term:
            self._decide(ld.Refused(message.term))

    def _on_asked(self, client: bytes, frames: list[bytes]) -> None:
        try:
            request = decode_request(frames[-1] if frames else b"")
        except BadFrame as error:
            who = key_of(client).decode(errors="replace") or "a client"
            self._counts["bad_frames"] += 1
            if self._malformed.note(who, "") is not None:
                log.emit(Log("warning", f"{who} sent what is no request: {error}", "bad_frame"))
            return
        if self._state is None:
            self._answer(client, self._leading.refusal(request))
        else:
            self._step(ev.Asked(client, request))

    def _step(self, event: ev.Event) -> None:
        """What happens while another one leads is nothing to us."""
        state = self._state
        if state is None:
            return
        self._do(state.step(event, self._now_ms()))
        wake_ms = state.next_wake_ms() if self._state is state else None
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if wake_ms is not None:
            delay_s = max(0.001, (wake_ms - self._now_ms()) / 1000)
            self._wake = asyncio.get_running_loop().call_later(delay_s, self._step, ev.Tick())

    # -- effects -------------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._perform[type(effect)](effect)

    def _count(self, effect: Count) -> None:
        self._counts[effect.name] += effect.by

    def _answer(self, client: bytes, reply: Reply) -> None:
        if not self._socket.send(client, [encode(reply)]):
            asyncio.get_running_loop().call_soon(self._step, ev.ClientGone(client))


class StoreHands:
    """Does store operations of one term: in the order asked, each until it works; those of `events.Read` beside them,
    once. When one is refused because another controller leads, none follows, and `refused` is told its term."""

    def __init__(
        self, contexts: Contexts, step: Callable[[ev.Event], None], term: int, refused: Callable[[int], None]
    ) -> None:
        self._contexts, self._term = contexts, term
        self._step, self._refused = step, refused
        self._queue: asyncio.Queue[ev.Store] = asyncio.Queue()
        self._reads: set[asyncio.Task[None]] = set()
        self._ok = True
        self._handlers: dict[type, Callable[[Any], Awaitable[Any]]] = {
            ev.ReadEverything: self._everything,
            ev.ReadPlacements: lambda o: contexts.placements(o.partitions, term),
            ev.Place: lambda o: contexts.place(o.requests, term),
            ev.Unplace: lambda o: contexts.unplace(o.partitions, o.purge, term),
            ev.PutBundle: lambda o: contexts.put_bundle(o.data),
            ev.DropBundles: lambda o: contexts.drop_bundles(o.keep, term),
            ev.PutGraph: lambda o: contexts.put_graph(o.graph, term),
            ev.DeleteGraph: lambda o: contexts.delete_graph(o.name, term),
            ev.SetJson: lambda o: contexts.set_json(o.map, o.field, o.value, term),
            ev.SetFreeze: lambda o: contexts.freeze(o.reason or None, term),
            ev.ReadContext: lambda o: contexts.context(o.partition, o.key),
            ev.ReadKeys: self._keys,
            ev.ReadDead: lambda o: contexts.dead(o.partitions),
            ev.CountDead: self._count_dead,
            ev.FindDead: self._find_dead,
            ev.DropDead: lambda o: contexts.drop_dead(o.partition, o.letter),
        }

    def ask(self, effect: ev.Store) -> None:
        if isinstance(effect.operation, _READS):
            task = asyncio.ensure_future(self._read(effect))
            self._reads.add(task)
            task.add_done_callback(self._reads.discard)
        else:
            self._queue.put_nowait(effect)

    async def work(self) -> None:
        """Until cancelled, or refused."""
        while True:
            operation, tag = await self._queue.get()
            while True:
                try:
                    result = await self._handlers[type(operation)](operation)
                    break
                except Deposed as error:
                    self._refused(error.term)
                    return
                except StoreUnavailable:
                    self._health(False)
                    await asyncio.sleep(STORE_RETRY_MS / 1000)
            self._health(True)
            self._step(ev.StoreDone(tag, result))

    async def _read(self, effect: ev.Store) -> None:
        try:
            result = await self._handlers[type(effect.operation)](effect.operation)
            self._health(True)
        except StoreUnavailable as error:
            result = ev.Failed(str(error))
            self._health(False)
        except (Damaged, ValueError) as error:
            result = ev.Failed(f"a key of it in Redis {error}\n  remedy: restore it from a backup, or delete it")
        self._step(ev.StoreDone(effect.tag, result))

    def _health(self, ok: bool) -> None:
        if ok != self._ok:
            self._ok = ok
            self._step(ev.StoreHealth(ok))

    def close(self) -> None:
        for task in self._reads:
            task.cancel()
        self._contexts.hang_up()

    async def _everything(self, operation: ev.ReadEverything) -> ev.Everything:
        contexts = self._contexts
        graphs, moves = await contexts.graphs(), await contexts.moves()
        partitions = dict.fromkeys(name for graph in graphs for name in graph.partition_names())
        partitions.update(dict.fromkeys(moves))
        placements = await contexts.placements(list(partitions), self._term)
        nodes, pins = await contexts.get_json_map("nodes"), await contexts.get_json_map("pins")
        return ev.Everything(graphs, placements, moves, nodes, pins, await contexts.frozen() or "")

    async def _keys(self, operation: ev.ReadKeys) -> tuple[list[tuple[str, str]], int]:
        found: list[tuple[str, str]] = []
        total = 0
        for partition in operation.partitions:
            total += await self._contexts.context_count(partition)
            if len(found) < operation.limit:
                keys = await self._contexts.context_keys(partition, operation.limit - len(found))
                found += [(key, partition) for key in keys]
        return sorted(found), total

    async def _count_dead(self, operation: ev.CountDead) -> int:
        return sum((await self._contexts.dead_counts(operation.partitions)).values())

    async def _find_dead(self, operation: ev.FindDead) -> tuple[str, bytes] | None:
        for partition in operation.partitions:
            letter = await self._contexts.dead_letter(partition, operation.letter)
            if letter is not None:
                return partition, letter
        return None


async def serve(config: ControllerConfig, stop: asyncio.Event) -> None:
    await Service(config).run(stop)

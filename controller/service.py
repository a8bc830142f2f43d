"""Performs what the controller's state decides: owns the link, the control socket, the store's connections and the
clock. Decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, get_args

from controller import events as ev
from controller.desk import Effect
from controller.state import TICK_MS, ControllerState
from liquefy import log
from liquefy.config import ControllerConfig
from liquefy.contexts import Contexts
from liquefy.control import decode_request, encode
from liquefy.effects import Log, Relay, ToBroker
from liquefy.errors import BadFrame, StoreUnavailable
from liquefy.messages import decode_control
from liquefy.messages import encode as encode_message
from liquefy.transport import Link, RouterSocket

STORE_RETRY_MS = 100
"""Between tries of an operation while the store does not answer."""

_READS = get_args(ev.Read)


class Service:
    """One controller. Used within a running loop."""

    def __init__(self, config: ControllerConfig) -> None:
        self._config = config
        self._state = ControllerState(config)
        self._link = Link(config.broker, config.name, self._on_frames, self._on_up, self._on_down)
        self._socket = RouterSocket(config.bind, self._on_asked)
        self._store = StoreHands(Contexts(config.redis), self._step)
        self._offset_s = time.time() - time.monotonic()
        self._wake: asyncio.TimerHandle | None = None
        self._perform: dict[type, Callable[[Any], None]] = {
            ToBroker: lambda e: self._link.send([encode_message(e.message)]),
            Relay: lambda e: self._link.send([e.to, encode_message(e.message)]),
            Log: log.emit,
            ev.Answer: self._answer,
            ev.Store: self._store.ask,
            ev.Reconnect: lambda e: self._link.reconnect(),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises UserError if the endpoint cannot be bound."""
        self._socket.bind()
        self._do(self._state.log(f"listening on {self._socket.endpoint}", "start", self._now_ms()))
        self._link.open()
        tasks = [asyncio.ensure_future(work) for work in (self._clock(), self._store.work(), stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            if self._wake is not None:
                self._wake.cancel()
            await asyncio.sleep(0)
            self._link.close()
            self._socket.close()
            await self._store.close()
            log.emit(Log("info", "stopped", "stop"))

    # -- events --------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        """Unix milliseconds that never go back."""
        return int((time.monotonic() + self._offset_s) * 1000)

    async def _clock(self) -> None:
        while True:
            self._step(ev.Tick())
            await asyncio.sleep(TICK_MS / 1000)

    def _on_up(self, session: bytes) -> None:
        self._step(ev.Up(session))

    def _on_down(self) -> None:
        self._step(ev.Down())

    def _on_frames(self, frames: list[bytes]) -> None:
        try:
            message = decode_control(frames[-1])
        except BadFrame as error:
            log.emit(Log("warning", f"what came from the broker is not in the protocol: {error}", "bad_frame"))
            return
        self._step(ev.FromBroker(message) if len(frames) == 1 else ev.FromNode(frames[0], message))

    def _on_asked(self, client: bytes, frames: list[bytes]) -> None:
        try:
            self._step(ev.Asked(client, decode_request(frames[-1] if frames else b"")))
        except BadFrame as error:
            log.emit(Log("warning", f"a client sent what is no request: {error}", "bad_frame"))

    def _step(self, event: ev.Event) -> None:
        self._do(self._state.step(event, self._now_ms()))
        wake_ms = self._state.next_wake_ms()
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

    def _answer(self, answer: ev.Answer) -> None:
        if not self._socket.send(answer.client, [encode(answer.reply)]):
            asyncio.get_running_loop().call_soon(self._step, ev.ClientGone(answer.client))


class StoreHands:
    """Does store operations: in the order asked, each until it works; those of `events.Read` beside them, once."""

    def __init__(self, contexts: Contexts, step: Callable[[ev.Event], None]) -> None:
        self._contexts = contexts
        self._step = step
        self._queue: asyncio.Queue[ev.Store] = asyncio.Queue()
        self._reads: set[asyncio.Task[None]] = set()
        self._ok = True
        self._handlers: dict[type, Callable[[Any], Awaitable[Any]]] = {
            ev.ReadEverything: self._everything,
            ev.ReadPlacements: lambda o: contexts.placements(o.partitions),
            ev.Place: lambda o: contexts.place(o.requests),
            ev.Unplace: lambda o: contexts.unplace(o.partitions, o.purge),
            ev.PutBundle: lambda o: contexts.put_bundle(o.data),
            ev.DropBundles: lambda o: contexts.drop_bundles(o.keep),
            ev.PutGraph: lambda o: contexts.put_graph(o.graph),
            ev.DeleteGraph: lambda o: contexts.delete_graph(o.name),
            ev.SetJson: lambda o: contexts.set_json(o.map, o.field, o.value),
            ev.SetFreeze: lambda o: contexts.freeze(o.reason or None),
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
        """Until cancelled."""
        while True:
            operation, tag = await self._queue.get()
            while True:
                try:
                    result = await self._handlers[type(operation)](operation)
                    break
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
        self._step(ev.StoreDone(effect.tag, result))

    def _health(self, ok: bool) -> None:
        if ok != self._ok:
            self._ok = ok
            self._step(ev.StoreHealth(ok))

    async def close(self) -> None:
        for task in self._reads:
            task.cancel()
        await self._contexts.close()

    async def _everything(self, operation: ev.ReadEverything) -> ev.Everything:
        contexts = self._contexts
        graphs, moves = await contexts.graphs(), await contexts.moves()
        partitions = dict.fromkeys(name for graph in graphs for name in graph.partition_names())
        partitions.update(dict.fromkeys(moves))
        placements = await contexts.placements(list(partitions))
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

"""A client that speaks to the broker as a gateway does, without HTTP: so many messages outstanding, the next one when
an answer comes. What it measures is from sending to having the answer in hand.

It keeps the gateway's promises (order, acknowledgement, sending again), as its messages are to be as safe as any.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.judging import Book
from liquefy.graph import Graph
from liquefy.messages import (
    Ack,
    Beat,
    Fenced,
    Hello,
    Message,
    Ping,
    Read,
    Routes,
    Welcome,
    decode_control,
    decode_header,
    decode_payload,
    encode,
    partition_index,
    partition_name,
)
from liquefy.sending import Acks, Outgoing
from liquefy.transport import Link
from liquefy.values import pack, unpack

DEADLINE_MS = 30_000
BEAT_S = 0.1
PACE_S = 0.001
"""Between two looks what is due, where so many a second are to be sent."""

READY_S = 20.0

ANSWER_S = DEADLINE_MS / 1_000 + 10.0
"""A message that has no answer by then is lost."""

LOOK_S = 1.0
"""Between two looks whether one is lost."""

DESTINATIONS_MAX = 10_000
"""Keys whose partition need not be worked out again."""


class Client:
    """One session with the broker. `graph`: whose input is asked; used within a running loop. `book`: where it is
    kept what was sent and answered."""

    def __init__(self, broker: str, graph: Graph, fluxion: str, book: Book) -> None:
        self.book = book
        self._name = f"bench-{secrets.token_hex(3)}"
        self._graph, self._fluxion = graph, fluxion
        group = graph.group_by_name[graph.fluxion_by_name[fluxion].group]
        self._destinations = [partition_name(graph.name, group.name, i) for i in range(group.partitions)]
        self._destination_of = functools.lru_cache(DESTINATIONS_MAX)(self._destination)
        self._link = Link(broker, self._name, self._on_frames, self._on_up, lambda: self._outgoing.on_disconnected())
        self._outgoing, self._acks = Outgoing(), Acks()
        self._ready = asyncio.Event()
        self._prefix = secrets.token_bytes(6)
        self._number = 0
        self._waiting: dict[bytes, tuple[float, str]] = {}
        self._next: Callable[[], tuple[str, Any] | None] = lambda: None
        self._idle = asyncio.Event()
        self._flush_due = False
        self.latencies_s: list[float] = []
        self.begun: list[tuple[float, str]] = []
        """When each of them was due (`time.perf_counter`), and its key."""
        self.answers = 0

    async def __aenter__(self) -> Client:
        self._link.open()
        self._beats = asyncio.create_task(self._beat())
        await asyncio.wait_for(self._ready.wait(), READY_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beats.cancel()
        self._link.close()

    async def run(self, outstanding: int, seconds: float, next_: Callable[[], tuple[str, Any]]) -> float:
        """Keeps so many outstanding for so long, then waits for the last of them. `next_` gives key and body (or
        that packed). Returns how long it took, to the last answer that counts."""
        self._forget()
        begin = time.perf_counter()
        end = begin + seconds
        self._next = lambda: next_() if time.perf_counter() < end else None
        self._idle.clear()
        for _ in range(outstanding):
            self._send()
        self._flush_soon()
        await self._all_answered()
        return time.perf_counter() - begin

    async def each(self, outstanding: int, messages: Iterator[tuple[str, Any]]) -> None:
        """Sends these, so many outstanding, and waits for all answers."""
        self._forget()
        self._next = lambda: next(messages, None)
        self._idle.clear()
        for _ in range(outstanding):
            self._send()
        self._flush_soon()
        await self._all_answered()

    async def paced(self, rate: float, next_: Callable[[], tuple[str, Any]], ended: asyncio.Event) -> None:
        """Sends so many a second until `ended`, whatever comes back, and waits for the last answer. What could not be
        sent in time counts as late."""
        self._forget()
        self._next = lambda: None
        begin = now = time.perf_counter()
        sent = 0
        while not ended.is_set():
            for number in range(sent, sent := int((now - begin) * rate)):
                self._post(*next_(), begin + number / rate)
            self._flush_soon()
            await asyncio.sleep(PACE_S)
            now = time.perf_counter()
        self._idle.clear()
        if self._waiting:
            await self._all_answered()

    async def _all_answered(self) -> None:
        while not self._idle.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LOOK_S)
            self._give_up(time.perf_counter() - ANSWER_S)

    def _give_up(self, before_s: float) -> None:
        """What was due before then and has no answer is waited for no more; the next one takes its place."""
        while self._waiting:
            root, (began_s, key) = next(iter(self._waiting.items()))
            if began_s > before_s:
                break
            del self._waiting[root]
            self.book.error(f"{key}: no answer in {ANSWER_S:g} s")
            self._send()

    def _forget(self) -> None:
        self.latencies_s, self.begun, self.answers = [], [], 0

    # -- one message -------------------------------------------------------------------------------------------

    def _send(self) -> None:
        found = self._next()
        if found is None:
            if not self._waiting:
                self._idle.set()
            return
        self._post(*found, time.perf_counter())

    def _post(self, key: str, body: Any, began_s: float) -> None:
        self._number += 1
        root = self._prefix + self._number.to_bytes(6, "big")
        now_ms = time.time_ns() // 1_000_000
        packed = body if type(body) is bytes else pack(body)
        message = Message(root, self._fluxion, key, packed, now_ms, root, self._name, deadline_ms=now_ms + DEADLINE_MS)
        self._waiting[root] = (began_s, key)
        self.book.send(key)
        self._outgoing.post(self._destination_of(key), message, None)

    def _destination(self, key: str) -> str:
        return self._destinations[partition_index(key, len(self._destinations))]

    def _answered(self, message: Message) -> None:
        found = self._waiting.pop(message.root, None)
        if found is None:
            return
        began, key = found
        self.latencies_s.append(time.perf_counter() - began)
        self.begun.append(found)
        self.answers += 1
        self.book.answer(key, message.status, unpack(message.body))
        self._send()

    # -- the link ----------------------------------------------------------------------------------------------

    def _on_up(self, session: bytes) -> None:
        self._link.send([encode(Hello("gateway", self._name))])

    def _on_frames(self, frames: list[bytes]) -> None:
        if len(frames) == 3:
            decode_header(frames[1])
            for part in decode_payload(frames[2]):
                for posted in part:
                    self._acks.add(frames[0], posted.seq)
                    self._answered(posted.message)
        else:
            message = decode_control(frames[-1])
            if type(message) is Ack:
                self._outgoing.settle(message.seqs)
            elif type(message) is Welcome or type(message) is Routes:
                self._outgoing.on_routes(message.routes, whole=type(message) is Welcome)
                if all(self._outgoing.route(each) for each in self._destinations):
                    self._ready.set()
            elif type(message) is Ping and message.mark:
                self._link.send([encode(Read(message.mark))])
            elif type(message) is Fenced:
                self.book.error("the broker does not know us any more")
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        now_ms = time.time_ns() // 1_000_000
        for frame in self._outgoing.flush(now_ms):
            self._link.send([b"", encode(frame.header), encode(frame.parts)])
        for relay in self._acks.flush(now_ms):
            self._link.send([relay.to, encode(relay.message)])

    async def _beat(self) -> None:
        while True:
            self._link.send([encode(Beat())])
            self._flush_soon()
            await asyncio.sleep(BEAT_S)

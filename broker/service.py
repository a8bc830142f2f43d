"""Performs what the broker's state decides: owns the socket and the clock, and decides nothing."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque

from broker.events import (
    BadFrameFrom,
    Cut,
    DataFrom,
    Effect,
    Event,
    Forward,
    FromPeer,
    RelayFrom,
    SendTo,
    Tick,
    Unreachable,
)
from broker.state import BrokerState
from liquefy import log, messages, running
from liquefy.admission import PEERS, Refusals, exposure
from liquefy.config import BrokerConfig
from liquefy.effects import Log
from liquefy.errors import BadFrame
from liquefy.keyring import Keyring
from liquefy.transport import RouterSocket


class Service:
    """One broker. Used within a running loop."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        # Above all paths of an earlier start, which cannot have given 65,536 of them a millisecond.
        first_path = int(time.time() * 1000) << 16
        self._state = BrokerState(config, secrets.token_hex(8), first_path, secrets.token_bytes(16))
        keys = Keyring.given(config.keys, "broker")
        self._socket = RouterSocket(config.bind, self._on_frames, keys, PEERS, self._on_refused)
        self._refusals = Refusals()
        self._events: deque[Event] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._encoded: tuple[messages.Control, bytes] | None = None
        self.counters: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises UserError if the endpoint cannot be bound."""
        self._socket.bind()
        log.emit(Log("info", f"listening on {self._socket.endpoint}", "start"))
        for endpoint in self._socket.endpoint.split(","):
            if exposed := exposure(endpoint, self._config.keys):
                log.emit(exposed)
        self._tick()
        try:
            await stop.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._socket.close()
            counted = ", ".join(f"{name} {count}" for name, count in sorted(self.counters.items()))
            log.emit(Log("info", f"stopped{': ' if counted else ''}{counted}", "stop"))

    def _tick(self) -> None:
        interval_s = self._config.ping_interval_ms / 1000
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._tick)
        self._feed(Tick())

    def _on_frames(self, session: bytes, frames: list[bytes]) -> None:
        if len(frames) == 3 and not frames[0]:
            self._feed(DataFrom(session, frames[1], frames[2]))
        elif len(frames) == 2:
            self._feed(RelayFrom(session, frames[0], frames[1]))
        elif len(frames) == 1:
            try:
                message = messages.decode_control(frames[0])
            except BadFrame as error:
                self._feed(BadFrameFrom(session, str(error)))
            else:
                self._feed(FromPeer(session, message, self._socket.role_of(session)))
        else:
            self._feed(BadFrameFrom(session, f"{len(frames)} frames"))

    def _on_refused(self, who: str, reason: str) -> None:
        self.counters["refused_peers"] += 1
        if (news := self._refusals.note(who, reason)) is not None:
            self._perform(news)

    def _feed(self, event: Event) -> None:
        """Step, and what follows from performing the effects of it (a peer that cannot be reached)."""
        self._events.append(event)
        while self._events:
            for effect in self._state.step(self._events.popleft(), time.monotonic() * 1000):
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Forward):
            if not self._socket.send(effect.session, effect.frames):
                self._events.append(Unreachable(effect.session))
        elif isinstance(effect, SendTo):
            self._send(effect.session, effect.message)
        elif isinstance(effect, Log):
            log.emit(effect)
            line = log.told(effect, self._config.name)
            if line is not None:
                for session in self._state.controllers:
                    self._send(session, line)
        elif isinstance(effect, Cut):
            self._socket.cut(effect.session)
        else:
            self.counters[effect.name] += effect.by

    def _send(self, session: bytes, message: messages.Control) -> None:
        # The same message often goes to all peers, one after the other.
        if self._encoded is None or self._encoded[0] is not message:
            self._encoded = (message, messages.encode(message))
        if not self._socket.send(session, (self._encoded[1],)):
            self._events.append(Unreachable(session))


async def serve(config: BrokerConfig, stop: asyncio.Event) -> None:
    running.files_allowed()  # each peer takes some
    await Service(config).run(stop)

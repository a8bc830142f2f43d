"""Answers that come in pieces, and the clients they are for. Decides; `gateway.pending` asks it.

Pieces of one handling come in order and may come again, never with a gap: that is what senders promise. Pieces of
another handling of the same message (its worker died) do not continue the first ones: then the client is cut off.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.events import BreakOff, Effect, Stream
from liquefy.links import Links
from liquefy.messages import Hangup, Message, Session


class Streamed:
    """To whom, from whose handling (the pieces' id), up to which number, from which worker, when last."""

    __slots__ = ("heard_ms", "id", "number", "ticket", "worker")

    def __init__(self, ticket: int, id: bytes) -> None:
        self.ticket, self.id, self.number = ticket, id, 0
        self.worker: Session = b""
        self.heard_ms = 0


class Streams:
    """By request. `claim(root)`: the ticket of the client who waits for its answer, None if nobody does. A stream of
    which nothing came for `silence_ms_max` is broken off."""

    def __init__(self, silence_ms_max: int, claim: Callable[[bytes], int | None], links: Links) -> None:
        self._silence_ms_max = silence_ms_max
        self._claim = claim
        self._relay = links.relay
        self._streams: dict[bytes, Streamed] = {}
        self._roots: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, root: bytes) -> bool:
        return root in self._streams

    def take(self, worker: Session, message: Message, now_ms: int) -> list[Effect]:
        """Part of an answer, or what came instead of the rest of it."""
        root, number, last = message.root, abs(message.piece), message.piece < 0
        stream = self._streams.get(root)
        if stream is None:
            ticket = self._claim(root) if number == 1 else None
            if ticket is None:
                return [] if last else [self._relay(worker, Hangup(root))]
            stream = self._streams[root] = Streamed(ticket, message.id)
            self._roots[ticket] = root
        stream.worker, stream.heard_ms = worker, now_ms
        if message.id == stream.id and message.piece and number <= stream.number:
            return []
        if message.id != stream.id or number != stream.number + 1:
            return self._break_off(root, "what made it failed, or began again")
        stream.number = number
        if last:
            self._end(root)
        return [Stream(stream.ticket, message.status or 200, message.headers, message.body, number == 1, last)]

    def cancelled(self, ticket: int) -> list[Effect]:
        """The client went away; [] if it was not being streamed to."""
        root = self._roots.get(ticket)
        return [self._relay(self._end(root).worker, Hangup(root))] if root is not None else []

    def silent(self, now_ms: int) -> list[Effect]:
        """Break off what has been silent for too long."""
        effects: list[Effect] = []
        for root, stream in list(self._streams.items()):
            if now_ms - stream.heard_ms > self._silence_ms_max:
                effects += self._break_off(root, f"nothing came for {self._silence_ms_max} ms")
        return effects

    def _break_off(self, root: bytes, reason: str) -> list[Effect]:
        stream = self._end(root)
        return [BreakOff(stream.ticket, reason), self._relay(stream.worker, Hangup(root))]

    def _end(self, root: bytes) -> Streamed:
        stream = self._streams.pop(root)
        del self._roots[stream.ticket]
        return stream

"""Where the body of an answer goes while it is made: collected, if it is there soon; else, in pieces, to the client
that waits for them.

Called from any thread; the stream that it feeds is called from the host's loop alone. Knows no framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liquefy.streaming import Stream

STREAM_AFTER_S = 0.05
"""A body that is not complete so long after its first piece goes out in pieces."""

STREAM_BYTES = 1024 * 1024
"""And one that has grown to so much."""


class Sink:
    """Of one answer. Without a stream everything is collected. `gone`: nobody waits for it any more."""

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop() if stream is not None else None
        self._pieces: list[bytes] = []
        self._size = 0
        self._armed = False
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self.began = False
        self.gone = False
        self.on_gone: Callable[[], None] = lambda: None
        if stream is not None:
            stream.on_gone = self._hung_up

    def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Before the first piece."""
        self._status, self._headers = status, tuple((name, value) for name, value in headers)

    def piece(self, data: bytes) -> None:
        """A part of a body that may not be the last."""
        if not data:
            return
        self._pieces.append(data)
        if self._loop is None:
            return
        self._size += len(data)
        if self.began or self._size > STREAM_BYTES:
            self._loop.call_soon_threadsafe(self._flush)
        elif not self._armed:
            self._armed = True
            self._loop.call_soon_threadsafe(self._arm, self._loop)

    def collected(self) -> bytes:
        """The whole body, if none of it is out."""
        data = b"".join(self._pieces)
        if self.began:
            return b""
        self._pieces.clear()
        return data

    def finish(self) -> bool:
        """On the host's loop, when all pieces are there: whether they went out."""
        if self.began:
            self._flush()
        return self.began

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(STREAM_AFTER_S, self._flush)

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and self._stream is not None and not self.gone:
            self.began = True
            self._stream.send(self._status, self._headers, b"".join(pieces))

    def _hung_up(self) -> None:
        self.gone = True
        self.on_gone()

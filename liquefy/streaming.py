"""An answer that leaves in pieces, as they come: for fluxions without a context that are `async def`.

    stream = streaming.current()
    stream.send(200, (("content-type", "text/event-stream"),), b"data: 1\\n\\n")   # status and headers with the first
    stream.send(body=b"data: 2\\n\\n")
    return None                                                                # ends it

A piece is out when `send` returns, so none of this can be taken back: what raises after the first piece breaks the
client's connection off instead of answering 500, and is not tried again. Once the first piece is out the time limit
of the call is off. Does not know who listens, nor how pieces travel.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from liquefy.graph import OUTPUT
from liquefy.hosting import Emitted, Piece
from liquefy.values import pack

Headers = tuple[tuple[str, str], ...]


class Stream:
    """The answer of one message, as far as it is streamed. `on_gone`: called once, when the client is gone."""

    def __init__(self, ticket: int, send: Callable[[Piece], None], begun: Callable[[], None]) -> None:
        self.number = 0
        self.gone = False
        self.on_gone: Callable[[], None] = lambda: None
        self._ticket, self._send, self._begun = ticket, send, begun

    def send(self, status: int = 200, headers: Headers = (), body: bytes = b"") -> None:
        """The next piece. Only the first one's status and headers count."""
        if not self.number:
            self._begun()
        self.number += 1
        self._send(Piece(self._ticket, Emitted(OUTPUT, "", pack(body), 0, status, headers, self.number)))

    def end(self) -> Emitted:
        """What tells that no more will come."""
        return Emitted(OUTPUT, "", pack(b""), 0, 0, (), -self.number - 1)

    def hung_up(self) -> None:
        """The client is gone."""
        if not self.gone:
            self.gone = True
            self.on_gone()


_current: ContextVar[Stream | None] = ContextVar("stream", default=None)


def current() -> Stream | None:
    """The stream of the message that is being handled; None where there is none."""
    return _current.get()


def enter(stream: Stream | None) -> None:
    """From here on, in this task, it is the current one; with None there is none."""
    _current.set(stream)

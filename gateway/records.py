"""What the gateway's state keeps: requests, who waits for them, answers on their way, how much it had stored. Decides
nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gateway.events import Kept
from gateway.routes import Entry
from liquefy.messages import Message, Posted, Session
from liquefy.sending import Outgoing

RECORD_BYTES = 256
"""What a record in the store takes besides the answer: its name, when it expires, the fingerprint."""

RETAINED_SLOTS_MAX = 60
"""Parts of the retention, by which what has expired is known."""


class Wait:
    """One client's request. `ticket` is None once the client is gone."""

    __slots__ = ("number", "request", "ticket")

    def __init__(self, ticket: int, number: int, request: Request) -> None:
        self.ticket: int | None = ticket
        self.number = number
        self.request = request


class Request:
    """One message into the cluster and those who wait for its answer. `seq` is 0 until it is posted."""

    __slots__ = ("acked", "destination", "entry", "fingerprint", "look_ms", "message", "node", "seq", "waits")

    def __init__(self, entry: Entry, message: Message, destination: str, node: str) -> None:
        self.entry = entry
        self.message = message
        self.destination = destination
        self.node = node
        self.waits: list[Wait] = []
        self.seq = 0
        self.acked = False
        self.fingerprint = b""
        self.look_ms = 0
        """When to look for the answer in the store (0: it comes to us)."""


class Storing:
    """An answer on its way into the store, and who is to be told when it is there."""

    __slots__ = ("looked", "message", "retry_ms", "senders")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.senders: list[tuple[Session, Posted]] = []
        self.looked: Kept | None = None
        self.retry_ms = 0


class Stray:
    """An answer for a client of another gateway, and whom to acknowledge it to when that one has it, or nobody waits
    any more. `seq` is 0 until it is sent there."""

    __slots__ = ("message", "senders", "seq")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.senders: list[tuple[Session, int]] = []
        self.seq = 0


class Strays:
    """Answers for clients of other gateways, in order, until those have them or their clients wait no more. One that
    comes again, as its sender has not heard, is there once."""

    def __init__(self) -> None:
        self._by_gateway: dict[str, dict[bytes, Stray]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_gateway.values()))

    def add(self, session: Session, posted: Posted) -> None:
        message = posted.message
        strays = self._by_gateway.setdefault(message.gateway, {})
        stray = strays.get(message.id)
        if stray is None:
            stray = strays[message.id] = Stray(message)
        if (session, posted.seq) not in stray.senders:
            stray.senders.append((session, posted.seq))

    def drop(self, stray: Stray) -> None:
        """It needs no further care."""
        gateway, strays = stray.message.gateway, self._by_gateway[stray.message.gateway]
        del strays[stray.message.id]
        if not strays:
            del self._by_gateway[gateway]

    def unsent(self, outgoing: Outgoing) -> Iterator[tuple[str, Stray]]:
        """With their destination: those whose gateway has a route, and that were not sent there."""
        for gateway, strays in self._by_gateway.items():
            destination = "@" + gateway
            if outgoing.route(destination) is not None:
                for stray in strays.values():
                    if not stray.seq:
                        yield destination, stray

    def late(self, outgoing: Outgoing, now_ms: int) -> list[Stray]:
        """Those that nobody waits for any more, and no gateway takes; they are no longer kept here."""
        late = []
        for gateway, strays in self._by_gateway.items():
            if outgoing.route("@" + gateway) is None:
                late += [stray for stray in strays.values() if stray.message.deadline_ms <= now_ms]
        for stray in late:
            self.drop(stray)
        return late


class Retained:
    """How many bytes were stored that have not expired."""

    def __init__(self, retention_ms: int) -> None:
        self._slot_ms = max(1, -(-retention_ms // RETAINED_SLOTS_MAX))
        self._slots: deque[tuple[int, int]] = deque()
        """(number, bytes), in order of time"""
        self._bytes = 0

    def add(self, size: int, now_ms: int) -> None:
        slot = now_ms // self._slot_ms
        if self._slots and self._slots[-1][0] >= slot:
            slot, before = self._slots.pop()
            self._slots.append((slot, before + size))
        else:
            self._slots.append((slot, size))
        self._bytes += size

    def left(self, now_ms: int) -> int:
        """Those that may be there still."""
        gone = now_ms // self._slot_ms - RETAINED_SLOTS_MAX
        while self._slots and self._slots[0][0] < gone:
            self._bytes -= self._slots.popleft()[1]
        return self._bytes

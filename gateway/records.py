"""What the gateway's state keeps: requests, who waits for them, answers on their way. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.events import Kept
from gateway.routes import Entry
from liquefy.messages import Message, Posted, Session
from liquefy.sending import Outgoing


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


class PassedOn:
    """Token of an answer that was sent on to another gateway: whom to acknowledge it to."""

    __slots__ = ("seq", "session")

    def __init__(self, session: Session, seq: int) -> None:
        self.session = session
        self.seq = seq


class Strays:
    """Answers for clients of other gateways, in order, until those are back or their clients wait no more."""

    def __init__(self) -> None:
        self._by_gateway: dict[str, list[tuple[Session, Posted]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_gateway.values()))

    def add(self, sender: Session, posted: Posted) -> None:
        self._by_gateway.setdefault(posted.message.gateway, []).append((sender, posted))

    def take(self, outgoing: Outgoing) -> Iterator[tuple[str, Session, Posted]]:
        """(destination, sender, answer) of those whose gateway has a route; they are no longer kept here."""
        for gateway in list(self._by_gateway):
            destination = "@" + gateway
            if outgoing.route(destination) is not None:
                for sender, posted in self._by_gateway.pop(gateway):
                    yield destination, sender, posted

    def late(self, now_ms: int) -> list[tuple[Session, Posted]]:
        """Those that nobody waits for any more; they are no longer kept here."""
        late = []
        for gateway, waiting in list(self._by_gateway.items()):
            late += [entry for entry in waiting if entry[1].message.deadline_ms <= now_ms]
            left = [entry for entry in waiting if entry[1].message.deadline_ms > now_ms]
            if left:
                self._by_gateway[gateway] = left
            else:
                del self._by_gateway[gateway]
        return late

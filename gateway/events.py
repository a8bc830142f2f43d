"""What the gateway's state is told, and what it asks for beyond `liquefy.effects`. Shapes only."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from gateway.routes import Entry
from liquefy.effects import Count, Log, Relay, SendFrame, ToBroker
from liquefy.messages import Control, Part, Posted, Session


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the store has of one Idempotency-Key: when it was first used, a digest of the request it was used
    for (b"" unknown), and the answer, once there is one (`status` > 0; `body` packed by `liquefy.values`)."""

    born_ms: int
    fingerprint: bytes
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


# -- events -----------------------------------------------------------------------------------------------


class Up(NamedTuple):
    """A new connection to a broker. `link`: its number, as in `liquefy.links`."""

    session: Session
    link: int = 0


class Down(NamedTuple):
    """The connection to a broker is gone."""

    link: int = 0


class FromBroker(NamedTuple):
    message: Control
    link: int = 0


class FromPeer(NamedTuple):
    session: Session
    message: Control
    link: int = 0


class DataFromPeer(NamedTuple):
    """Answers. `parts` is parallel to `header`."""

    session: Session
    header: list[Part]
    parts: list[list[Posted]]
    link: int = 0


class Requested(msgspec.Struct, frozen=True):
    """A client's request that has a route. `request`: {"method", "path", "params", "query", "headers",
    "body"}; `packed`: the same, packed. `once`: its Idempotency-Key, or None."""

    ticket: int
    entry: Entry
    request: dict[str, Any]
    packed: bytes
    once: str | None


class Cancelled(NamedTuple):
    """The client went away. What it asked for happens all the same."""

    ticket: int


class Tick(NamedTuple):
    """Time passes; every TICK_MS or so."""


class Flush(NamedTuple):
    """No more events for now: what was posted may leave. After each event, or each burst of them."""


class Looked(NamedTuple):
    """What Begin or Look found (None: nothing). After Begin, None says that the record is now ours."""

    root: bytes
    kept: Kept | None
    begun: bool


class Stored(NamedTuple):
    """The store has the answer, for good."""

    root: bytes


class StoreFailed(NamedTuple):
    """Begin, Look or Store got no answer; it may or may not have happened."""

    root: bytes
    begun: bool


Event = (
    Up | Down | FromBroker | FromPeer | DataFromPeer | Requested | Cancelled | Tick | Flush
    | Looked | Stored | StoreFailed
)  # fmt: skip


# -- effects ----------------------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True):
    """Respond with a fluxion's answer. `body` is packed by `liquefy.values`. `replayed`: it was another
    request's of the same Idempotency-Key."""

    ticket: int
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    replayed: bool


class Refuse(NamedTuple):
    """Respond with an error of the gateway's own."""

    ticket: int
    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Stream(NamedTuple):
    """Part of a fluxion's answer, of which more comes unless it is the `last`. Status and headers count with the
    `first`. `body` is packed by `liquefy.values`."""

    ticket: int
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    first: bool
    last: bool


class BreakOff(NamedTuple):
    """End the connection in the middle of the answer, so that nobody takes it for whole."""

    ticket: int
    reason: str


class Reconnect(NamedTuple):
    """Give the connection to a broker up and make a new one."""

    link: int = 0


class Begin(NamedTuple):
    """Put the record down unless there is one; tell by Looked(begun=True)."""

    root: bytes
    kept: Kept


class Look(NamedTuple):
    """Read the record; tell by Looked(begun=False)."""

    root: bytes


class Store(NamedTuple):
    """Write the record with its answer; tell by Stored."""

    root: bytes
    kept: Kept


Effect = (
    ToBroker | Relay | SendFrame | Log | Count | Answer | Stream | BreakOff | Refuse | Reconnect
    | Begin | Look | Store
)  # fmt: skip

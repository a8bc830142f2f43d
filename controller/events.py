"""What the controller's state is told, and what it may ask for beyond `liquefy.effects`: shapes only.

Store operations are done by the service in the order asked, and tried until they work; `Read` ones run beside
them and are tried once, since a person waits. Either way the answer comes back as `StoreDone` with the tag.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from liquefy.commits import Placement, PlaceRequest
from liquefy.control import Reply, Request
from liquefy.graph import Graph
from liquefy.messages import Control, Session

# -- events -------------------------------------------------------------------------------------------------


class Up(NamedTuple):
    """The connection to a broker is there: a new session. `link`: its number, as in `liquefy.links`."""

    session: Session
    link: int = 0


class Down(NamedTuple):
    """The connection to a broker is gone."""

    link: int = 0


class FromBroker(NamedTuple):
    message: Control
    link: int = 0


class FromNode(NamedTuple):
    """Relayed by a broker."""

    session: Session
    message: Control
    link: int = 0


class Asked(NamedTuple):
    """A command of liquefy-ctl."""

    client: bytes
    request: Request


class ClientGone(NamedTuple):
    """Nobody reads what goes to this client any more."""

    client: bytes


class StoreDone(NamedTuple):
    """The result of the operation with this tag; of a `Read` that failed, a `Failed`."""

    tag: int
    result: Any


class Failed(NamedTuple):
    text: str


class StoreHealth(NamedTuple):
    """Redis answers, or has stopped answering."""

    ok: bool


class Tick(NamedTuple):
    """Due every TICK_MS, and when `next_wake_ms` says."""


Event = Up | Down | FromBroker | FromNode | Asked | ClientGone | StoreDone | StoreHealth | Tick

# -- effects ------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """To a client of the control socket."""

    client: bytes
    reply: Reply


class Reconnect(NamedTuple):
    """Give the connection to a broker up, and get a new session."""

    link: int = 0


class Store(NamedTuple):
    """Do `operation`; `StoreDone(tag, result)` follows."""

    operation: Operation
    tag: int


class Everything(NamedTuple):
    """What a controller starts from. `moves`, `nodes`, `pins`: the JSON maps; `frozen`: the reason or ""."""

    graphs: list[Graph]
    placements: list[Placement]
    moves: dict[str, Any]
    nodes: dict[str, Any]
    pins: dict[str, Any]
    frozen: str


class ReadEverything(NamedTuple):
    """-> Everything. The placements are those of all partitions of the graphs and of the moves."""


class ReadPlacements(NamedTuple):
    """-> list[Placement]"""

    partitions: list[str]


class Place(NamedTuple):
    """-> list[Placement]: what is stored afterwards."""

    requests: list[PlaceRequest]


class Unplace(NamedTuple):
    """-> None"""

    partitions: list[str]
    purge: bool


class PutBundle(NamedTuple):
    """-> None"""

    data: bytes


class DropBundles(NamedTuple):
    """All but these and those of the graphs in force. -> None"""

    keep: frozenset[str]


class PutGraph(NamedTuple):
    """-> None"""

    graph: Graph


class DeleteGraph(NamedTuple):
    """-> None"""

    name: str


class SetJson(NamedTuple):
    """One field of the map "moves", "nodes" or "pins"; None removes it. -> None"""

    map: str
    field: str
    value: Any


class SetFreeze(NamedTuple):
    """-> None"""

    reason: str


class ReadContext(NamedTuple):
    """-> dict[str, bytes]: field -> packed value."""

    partition: str
    key: str


class ReadKeys(NamedTuple):
    """-> (list of (key, partition), total)"""

    partitions: list[str]
    limit: int


class ReadDead(NamedTuple):
    """-> list of (partition, letter id, packed letter)"""

    partitions: list[str]


class CountDead(NamedTuple):
    """-> int"""

    partitions: list[str]


class FindDead(NamedTuple):
    """-> (partition, packed letter), or None if none of the partitions has it."""

    partitions: list[str]
    letter: bytes


class DropDead(NamedTuple):
    """-> bool"""

    partition: str
    letter: bytes


Read = ReadContext | ReadKeys | ReadDead | CountDead | FindDead | DropDead
Operation = (
    ReadEverything | ReadPlacements | Place | Unplace | PutBundle | DropBundles | PutGraph | DeleteGraph
    | SetJson | SetFreeze | Read
)  # fmt: skip

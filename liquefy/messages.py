"""Every message between processes: one frozen type each, one encoder, one decoder.

Shapes on the wire. A peer (worker, gateway, controller) holds one DEALER connection to the broker; the
number of frames says what it is, so that the broker can forward without opening:

    peer -> broker                                   broker -> peer
    [control]                  for the broker        [control]                        from the broker
    [to_session, control]      relay to a peer       [from_session, control]          relayed
    [b"", header, payload]     data                  [from_session, header, payload]  data

`header` is `list[Part]` (which partitions, by which path, how many messages); `payload` is a list, parallel to
the header, of lists of `Message`. The broker opens the payload only while a partition is held or was moved.

This module knows neither sockets nor what anybody does with a message. Decoding raises `errors.BadFrame`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated, Literal, NamedTuple

import msgspec

from liquefy.decoding import Counter, Destination, Level, Line, Name, Natural, PartitionName, Real, Time, Whole, decoded
from liquefy.errors import BadFrame
from liquefy.graph import Graph

Role = Literal["worker", "gateway", "controller"]

Session = bytes
"""One connection of one peer: the routing id of its DEALER socket, `name#random`. A peer that connects again
is a new session; what was sent to the old one can never reach the new one."""

CLAIMS_MAX = 131_072
"""Partitions of one worker: it says all of them at once. That lists are too long is seen before they are read."""

OWN_CLAIMS_MAX = 8_192
"""In one `Own`: the broker tells controllers of each."""

PARTS_MAX = 16_384
"""In one data frame."""

RETURNED_MAX = 65_536
"""Messages that a source gives back; more are sent again by who sent them."""

LEGACY_OUTBOX_MAX = 512
"""Outbox entries that a source hands over itself; the target of a partition with more asks the store."""

SEQS_MAX = 1_048_576
"""Acknowledgements in one message."""

ID_BYTES_MAX = 40
"""A message id longer than this is replaced by its digest, so that cycles do not grow ids without end."""


Seqs = Annotated[list[Natural], msgspec.Meta(max_length=SEQS_MAX)]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message of a stream; immutable.

    `body` is packed by `liquefy.values` and opened by hosts and gateways alone. `born_ms` (Unix time) picks the
    dedupe bucket: the same for each resend and each derivation of the same id. `due_ms` > 0 delays delivery. `root`
    is the id of the request, `gateway` the name of the gateway that waits ("" when no client waits) and `deadline_ms`
    (Unix time) how long it waits.
    """

    id: bytes
    fluxion: str
    key: str
    body: bytes
    born_ms: Time
    root: bytes = b""
    gateway: str = ""
    deadline_ms: Time = 0
    due_ms: Time = 0
    hops: Counter = 0
    trace: str = ""
    remember: bool = False
    """The client gave an Idempotency-Key: the answer is kept, whichever gateway gets it."""
    status: Natural = 0
    """Only on messages to `output`: the HTTP status, 0 for the default (200)."""
    headers: tuple[tuple[str, str], ...] = ()
    """Only on messages to `output`."""
    piece: Whole = 0
    """Only on messages to `output`: 0 for a whole answer; of one that is streamed the number of the piece, from 1 on,
    and minus that for the last. All pieces of one handling have the same id, those of another handling another
    one."""


class Posted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message on its way: `seq` numbers what one session sends, and is what gets acknowledged."""

    seq: Counter
    message: Message
    resend: bool = False


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of a data frame's header. `destination` is a partition (`graph/group/index`) or a gateway
    (`@name`); `path` is the route the sender believes in (see `Route`)."""

    destination: str
    path: Natural
    count: Natural


class Route(NamedTuple):
    """Where a destination is. `path` changes whenever messages under way may have been lost (a node or the
    broker died, a connection broke), never at a migration: a sender that sees a new path sends everything
    unacknowledged again, in order. `session` is b"" when nobody has it."""

    destination: Destination
    node: str
    session: Session
    epoch: Counter
    path: Natural


class Claim(NamedTuple):
    """A partition that a worker owns, as it says when it connects."""

    partition: PartitionName
    epoch: Counter


class Returned(NamedTuple):
    """Messages that the source of a migration had not begun, given back in order: who sent them, and what (a packed
    list of Posted, which the broker does not open)."""

    sender: Session
    posted: msgspec.Raw


# -- peer -> broker ---------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """First message of a session. Workers name what they own. `capacity` is in cores (workers); `address` is the URL
    where a gateway listens; `term` the one in which a controller leads; `started_ms` when this worker began with
    nothing (its Unix time), where there are several brokers: its sessions are told from those of the next process; or
    since when this controller leads."""

    role: Role
    name: Name
    claims: Annotated[list[Claim], msgspec.Meta(max_length=CLAIMS_MAX)] = []
    capacity: Real = 1.0
    version: Natural = 1
    address: str = ""
    term: Counter = 0
    started_ms: Natural = 0


class Beat(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A peer lives. `window`: how many requests this worker would take in flight from all gateways (0 sheds)."""

    window: Whole = 0


class Malformed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What this session had brought to me cannot be read. The broker, which opens nothing, looks at what it sends from
    now on: nobody is expelled upon somebody else's word."""

    session: Session


class Hold(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Source of a migration: hold new messages for the partition, and send me `Held` behind all that came before."""

    partition: PartitionName
    epoch: Counter


class Release(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Source gives the move up before its last commit: send me what was held."""

    partition: PartitionName
    epoch: Counter


class Legacy(msgspec.Struct, frozen=True, array_like=True):
    """What a partition's next owner starts from, as the source left it in the store with its last commit. `outbox`:
    what is in the partition's outbox there, in order, packed; but for entries whose acknowledgements came since
    (`acknowledged`)."""

    sequence: Counter
    next_out: Counter
    outbox: Annotated[list[tuple[Counter, bytes]], msgspec.Meta(max_length=LEGACY_OUTBOX_MAX)]
    acknowledged: Seqs


class Handover(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Source has committed the placement (target, epoch): route there, `returned` first, then what was held. `again`:
    what waited is too much to be returned, so all of it is to be sent again, by a new path."""

    partition: PartitionName
    epoch: Counter
    target: str
    returned: Annotated[list[Returned], msgspec.Meta(max_length=RETURNED_MAX)] = []
    legacy: Legacy | None = None
    """None: the target is to ask the store."""
    again: bool = False


class Disown(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """This worker does not (any more) own the partition at that epoch. The broker drops the route if it is that."""

    partition: PartitionName
    epoch: Counter


class Own(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """This worker has these, and another broker, or the store, has said so: route there. As if claimed by its Hello."""

    claims: Annotated[list[Claim], msgspec.Meta(max_length=OWN_CLAIMS_MAX)]


class Activated(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The worker has loaded the partition and delivers its messages."""

    partition: PartitionName
    epoch: Counter


class Assign(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller: these placements are committed in Redis; route there and have them activated."""

    claims: list[tuple[PartitionName, Counter, str]]
    """(partition, epoch, node)"""


class Unassign(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller: these partitions are gone (undeploy); forget their routes, tell their owners."""

    partitions: list[PartitionName]


class Expel(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller: this session is dead to us (hung). It is told `Fenced` should it speak again."""

    session: Session


# -- broker -> peer ---------------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Answer to Hello: the whole table. `broker` is new at each start of the broker, which was `up_ms` ago: who is not
    connected long after that is not about to come back."""

    broker: str
    routes: list[Route]
    up_ms: Natural = 0


class Routes(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Changes of the table."""

    routes: list[Route]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The broker lives; also how it finds out which peers are unreachable. With a `mark` it asks, behind what it has
    forwarded, to be told `Read` of that mark."""

    mark: Natural = 0


class Read(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """All that the broker sent before the `Ping` with this mark has been read."""

    mark: Natural


class Grant(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To gateways: how many requests each node takes in flight from this gateway. Replaces the last Grant."""

    windows: dict[str, Whole]


class Held(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To the source: everything routed to it before the hold has been sent; nothing more comes."""

    partition: PartitionName
    epoch: Counter


class Activate(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To the target: the partition is yours at this epoch; its messages follow on this connection."""

    partition: PartitionName
    epoch: Counter
    legacy: Legacy | None = None
    """From its source; None: ask the store."""


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To a worker: the partition is no longer yours (undeployed, or placed elsewhere at a higher epoch)."""

    partition: PartitionName
    epoch: Natural


class Fenced(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Your session is unknown or expelled: forget what you own and say Hello on a new connection. `term`: the highest
    of any controller that said Hello; who led in an earlier one leads no more."""

    term: Natural = 0


class PeerUp(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To controllers."""

    role: Role
    name: str
    session: Session
    claims: list[Claim]
    capacity: Real
    address: str = ""
    started_ms: Natural = 0


class PeerDown(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To controllers: the connection is gone."""

    role: Role
    name: str
    session: Session


class Landed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To controllers: a partition was activated. After a migration, `pause_us` is the time from the first
    held message to the activation at the target (0 if none was held), `held` how many messages were held."""

    partition: PartitionName
    epoch: Counter
    node: str
    held: Natural = 0
    pause_us: Whole = 0


class Orphans(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To controllers: partitions that get messages, or were claimed, but have no living owner."""

    partitions: list[PartitionName]


# -- peer <-> peer, relayed -------------------------------------------------------------------------------


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Receiver to sender: these seqs of yours are safe."""

    seqs: Seqs


class Hangup(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Gateway to worker: the client that waited for the answer to this request is gone. No order: handling goes on,
    but whoever streams an answer, or holds one back for others, may stop."""

    root: bytes


class Graphs(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller to workers and gateways: the graphs in force, all of them. Replaces what came before. `purged`: names
    of graphs of which nothing is to be left. `term`: that of the controller, `number` grows with each that it says: of
    what comes by several brokers, the latest counts."""

    graphs: list[Graph]
    purged: tuple[str, ...] = ()
    term: Counter = 0
    number: Counter = 0


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller to worker: fetch the graph's bundle, install what it requires, start its hosts, load its
    fluxions; answer Prepared."""

    graph: Graph


class Prepared(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to controller. `error` is "" or why the graph cannot run here (with the traceback)."""

    graph: str
    version: Natural
    error: str = ""


class Move(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller to the source: migrate this partition, which you own at `epoch`, to the node `target`."""

    partition: PartitionName
    epoch: Counter
    target: str


class Abort(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller to the source: give the move up if its last commit has not begun."""

    partition: PartitionName
    epoch: Counter


class MoveEnded(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Source to controller: handed over (`error` "") or given up, and why."""

    partition: PartitionName
    epoch: Counter
    error: str = ""


class PartitionLoad(NamedTuple):
    """What one partition used since the last Report: CPU in seconds (its handlers' and its share of the rest),
    messages handled, messages waiting now, sum of their handling times in seconds, bytes of context written."""

    partition: PartitionName
    cpu_s: Real
    messages: Natural
    queued: Whole
    latency_s: Real
    context_bytes: Whole


class Report(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to controller, every `report_interval_ms`; also its sign of life. `traffic`: messages sent from
    partition to partition since the last Report. Loads of partitions without activity are left out."""

    interval_s: Real
    loads: list[PartitionLoad]
    traffic: list[tuple[PartitionName, PartitionName, Whole]]
    cpu_s: Real
    """CPU seconds of the worker and its hosts in the interval."""
    rss_bytes: Whole
    queued: Whole
    hosts: Whole
    redis_ok: bool
    owned: Whole


class Leaving(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to controller: I was asked to stop; move what I have."""


class Inventory(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to controller, at its first Report to that session, and at each whose ownership changed since the last:
    all that it owns. A `PeerUp` may name more: what the broker has routed to a session whose end it has not noticed."""

    claims: Annotated[list[Claim], msgspec.Meta(max_length=CLAIMS_MAX)]


class Replay(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller to the owner: handle this dead letter again; the commit of its handling removes it."""

    partition: PartitionName
    letter: bytes


class Recheck(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Controller to workers: the store was away. Does it still have all that you have stored?"""


class LogLine(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Any role to controller: one line of its log, for `liquefy-ctl logs`."""

    time_s: Real
    level: Level
    source: Name
    text: Line


Control = (
    Hello | Beat | Read | Malformed | Hold | Release | Handover | Disown | Own | Activated | Assign | Unassign | Expel
    | Welcome | Routes | Ping | Grant | Held | Activate | Drop | Fenced | PeerUp | PeerDown | Landed | Orphans
    | Ack | Hangup | Graphs | Prepare | Prepared | Move | Abort | MoveEnded | Report | Leaving | Inventory | Replay |
    Recheck | LogLine
)  # fmt: skip

RELAYED_BY: dict[str, tuple[Role, ...]] = {
    "Ack": ("worker", "gateway"),
    "Hangup": ("gateway",),
    **dict.fromkeys(("Graphs", "Prepare", "Move", "Abort", "Replay", "Recheck"), ("controller",)),
    **dict.fromkeys(("Prepared", "MoveEnded", "Report", "Leaving", "Inventory"), ("worker",)),
    "LogLine": ("worker", "gateway", "controller"),
}
"""Which roles say what to another peer: the broker, which does not open such a message, relays no other."""

_encoder = msgspec.msgpack.Encoder()
_control: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)
_header: msgspec.msgpack.Decoder[list[Part]] = msgspec.msgpack.Decoder(
    Annotated[list[Part], msgspec.Meta(max_length=PARTS_MAX)]
)
_payload: msgspec.msgpack.Decoder[list[list[Posted]]] = msgspec.msgpack.Decoder(
    Annotated[list[list[Posted]], msgspec.Meta(max_length=PARTS_MAX)]
)
_raw_payload: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(
    Annotated[list[msgspec.Raw], msgspec.Meta(max_length=PARTS_MAX)]
)
_posted = msgspec.msgpack.Decoder(list[Posted])
_message = msgspec.msgpack.Decoder(Message)


encode: Callable[[object], bytes] = _encoder.encode
"""Any of the types above, or lists of them, as MessagePack."""


def decode_control(frame: bytes) -> Control:
    """Raises BadFrame on anything that is not one of the control messages."""
    return decoded(_control, frame)


def kind_of(frame: bytes) -> str:
    """The name of a control message's type, without opening the rest. Raises BadFrame."""
    length = frame[1] & 0x1F if len(frame) > 1 and frame[0] & 0xF0 == 0x90 and frame[1] & 0xE0 == 0xA0 else 0
    if not length:
        raise BadFrame(f"{len(frame)} bytes that are no control message")
    return frame[2 : 2 + length].decode(errors="replace")


def decode_header(frame: bytes) -> list[Part]:
    """Raises BadFrame."""
    return decoded(_header, frame)


def decode_payload(frame: bytes) -> list[list[Posted]]:
    """Raises BadFrame."""
    return decoded(_payload, frame)


def decode_data(header: bytes, payload: bytes) -> tuple[list[Part], list[list[Posted]]]:
    """Header and payload, which are parallel. Raises BadFrame."""
    parts, posted = decode_header(header), decode_payload(payload)
    if [part.count for part in parts] != [len(messages) for messages in posted]:
        raise BadFrame(f"a payload of {len(posted)} parts that are not those of the header ({len(parts)})")
    return parts, posted


def split_payload(frame: bytes, header: list[Part]) -> list[msgspec.Raw]:
    """The parts of a payload, unopened; what the broker does to a frame that must go several ways. Raises BadFrame if
    they are not as many, or as long, as the header says."""
    parts = decoded(_raw_payload, frame)
    if [part.count for part in header] != [count_of(raw) for raw in parts]:
        raise BadFrame(f"a payload of {len(parts)} parts that are not those of the header ({len(header)})")
    return parts


def returned(sender: Session, posted: list[Posted]) -> Returned:
    return Returned(sender, msgspec.Raw(encode(posted)))


def decode_posted(raw: msgspec.Raw) -> list[Posted]:
    """Raises BadFrame."""
    return decoded(_posted, memoryview(raw))


def count_of(raw: msgspec.Raw) -> int:
    """How many there are in a packed list; -1 if it is none."""
    packed = bytes(memoryview(raw)[:5])
    first = packed[0]
    if first & 0xF0 == 0x90:
        return first & 0x0F
    width = {0xDC: 2, 0xDD: 4}.get(first)
    return int.from_bytes(packed[1 : 1 + width], "big") if width else -1


def decode_message(data: bytes) -> Message:
    """One stored message (outbox, dead letter). Raises BadFrame."""
    return decoded(_message, data)


_BYTES = [bytes((value,)) for value in range(255)]


def child_id(parent: bytes, index: int) -> bytes:
    """The id of the `index`-th message that the handling of `parent` emits: derived, so that handling a
    message twice names its children the same."""
    derived = parent + (_BYTES[index] if index < 255 else b"\xff" + index.to_bytes(4, "big"))
    return derived if len(derived) <= ID_BYTES_MAX else blake2b(derived, digest_size=20).digest()


def partition_index(key: str, partitions: int) -> int:
    """Stable hash of a key onto 0..partitions-1; the same in every process, version and language (CRC-32)."""
    return zlib.crc32(key.encode()) % partitions


def partition_name(graph: str, group: str, index: int) -> str:
    return f"{graph}/{group}/{index}"

"""What a worker and its hosts say to each other: the shapes, one encoder, one decoder.

Frames are a 4-byte big-endian length and a MessagePack array, over a Unix stream socket pair. Both sides of it are
trusted to be our code, but a host also runs users' code: the worker checks shapes and lengths (BadFrame), and measures
itself what it stores.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

from liquefy.context import FIELD_NAME_BYTES_MAX
from liquefy.decoding import Natural, Whole, decoded
from liquefy.errors import BadFrame
from liquefy.fluxion import DELAY_MAX_S
from liquefy.graph import Graph

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A longer frame from a host is a fault of the host: it is ended."""

ALIVE_S = 0.5
"""A host that streams answers, and one for JavaScript that has anything under way, says so often, by an empty Ran, that
it is alive: a stream may be quiet for long, and so may what waits."""

HOST_FD = 3
"""The descriptor on which a host finds its end of the socket pair."""


KEY_BYTES_MAX = 512
"""A key, as text in UTF-8. What a host says is measured in characters, which are no more."""

FAULT_CHARS_MAX = 65_536
"""Of an error, or of its traceback; hosts cut them much shorter."""

MICROS_MAX = 2**45
"""No handling takes longer (a year): what is summed up from it can be reported."""

Key = Annotated[str, msgspec.Meta(max_length=KEY_BYTES_MAX)]
Field = Annotated[str, msgspec.Meta(max_length=FIELD_NAME_BYTES_MAX)]
Fault = Annotated[str, msgspec.Meta(max_length=FAULT_CHARS_MAX)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=MICROS_MAX)]


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Import the fluxions of this graph whose code is in the bundle at `folder`. `only`: their names.
    Keys and groups of all fluxions of the graph are needed to give emitted messages their keys."""

    graph: Graph
    folder: str
    only: tuple[str, ...]


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message to handle. `ticket` comes back with the result. `partition` names the context cache; `fields`
    is the context as stored (packed values), or None if the host has it already or the fluxion has none.
    `onward`: fluxion -> those to which its messages may go on in the host, at once, if they inherit their key
    and have no delay; the result then says what came of it. A host need not make use of it."""

    ticket: Whole
    graph: str
    fluxion: str
    partition: str
    key: str
    id: bytes
    body: bytes
    fields: dict[str, bytes] | None = None
    deadline_ms: Natural = 0
    trace: str = ""
    onward: dict[str, tuple[str, ...]] = {}


class Run(msgspec.Struct, frozen=True, array_like=True, tag="run"):
    """Handle these. Plain functions run in order, one after the other; coroutine functions are started in order
    and run side by side (the worker never has two of one partition and key under way; one whose result it
    has declared void may still run when the next comes: then the next waits for it)."""

    items: list[Item]


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """Drop cached contexts: of these keys of the partition, or of all its keys (`keys` empty)."""

    partition: str
    keys: list[str] = []


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="gone"):
    """The client who waits for the answer of this one is gone."""

    ticket: Whole


class Piece(msgspec.Struct, frozen=True, array_like=True, tag="piece"):
    """Part of an answer, ahead of its Done; only of fluxions without a context. Done brings the last one."""

    ticket: Whole
    emitted: Emitted


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """The code is in. `asynchronous`: the names of those that are coroutine functions."""

    graph: str
    version: Natural
    asynchronous: list[str]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The code cannot be loaded; `error` names fluxion, module and reason, `traceback` is the user's."""

    graph: str
    version: Natural
    error: Fault
    traceback: Fault = ""

    def told(self) -> str:
        """Both, and what the error says already once: Python's tracebacks end with it, JavaScript's begin."""
        said = self.error.partition("failed: ")[2]
        rest = self.traceback.removesuffix(said).removeprefix(said).strip("\n")
        return f"{self.error}\n{rest}".rstrip()


class Emitted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message that a fluxion sent. `key` is "" where the receiver inherits the sender's key. `status` and
    `headers` only for `output`."""

    to: str
    key: Key
    body: bytes
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=DELAY_MAX_S * 1000)] = 0
    status: Natural = 0
    headers: tuple[tuple[str, str], ...] = ()
    piece: Whole = 0
    """As in `messages.Message`."""


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The emitted message of this index went on in the host, and this is what came of it: it need not be sent,
    what it emitted is sent instead. `onward`: the same of its own messages. Those that failed are not here."""

    index: Whole
    emitted: list[Emitted]
    cpu_us: Micros = 0
    elapsed_us: Micros = 0
    onward: list[Step] = []


class Done(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The result of one Item. `error` is "" or what the fluxion raised twice (then `traceback` is set, nothing
    was emitted and the context is as before). `cpu_us`: processor time; `elapsed_us`: from start to end.
    `context_bytes` is the size of the context's packed fields now; `empty`: it has no field left. `onward`: what
    came of those emitted messages that went on at once."""

    ticket: Whole
    emitted: list[Emitted]
    sets: dict[Field, bytes]
    removes: tuple[Field, ...]
    error: Fault = ""
    traceback: Fault = ""
    cpu_us: Micros = 0
    elapsed_us: Micros = 0
    context_bytes: Natural = 0
    empty: bool = False
    onward: list[Step] = []


class Ran(msgspec.Struct, frozen=True, array_like=True, tag="ran"):
    """Results; those of plain functions in the order of their Run. None: a sign of life."""

    results: list[Done]


ToHost = Load | Run | Forget | Gone
FromHost = Loaded | Refused | Ran | Piece

_encoder = msgspec.msgpack.Encoder()
_to_host: msgspec.msgpack.Decoder[ToHost] = msgspec.msgpack.Decoder(ToHost)
_from_host: msgspec.msgpack.Decoder[FromHost] = msgspec.msgpack.Decoder(FromHost)
_length = struct.Struct(">I")


def frame(message: ToHost | FromHost) -> bytes:
    """The message with its length in front."""
    data = _encoder.encode(message)
    return _length.pack(len(data)) + data


def decode_to_host(data: bytes) -> ToHost:
    """Raises BadFrame."""
    return decoded(_to_host, data)


def decode_from_host(data: bytes) -> FromHost:
    """Raises BadFrame."""
    return decoded(_from_host, data)


class FrameReader:
    """Cuts a byte stream into frames. Raises BadFrame on a length beyond FRAME_BYTES_MAX."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """All frames that are complete with `data`."""
        buffer = self._buffer
        buffer += data
        frames, at = [], 0
        while len(buffer) - at >= 4:
            (size,) = _length.unpack_from(buffer, at)
            if size > FRAME_BYTES_MAX:
                raise BadFrame(f"a frame of {size} bytes (limit {FRAME_BYTES_MAX})")
            if len(buffer) - at - 4 < size:
                break
            frames.append(bytes(buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        del buffer[:at]
        return frames

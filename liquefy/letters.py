"""Dead letters: messages that could not be handled, kept with the reason until a person decides. The shape, one
encoder, one decoder; `PartitionCommit.dead` carries them to the store under `letter id = bytes.fromhex(id)`.

Knows neither the store nor what became of the message.
"""

from __future__ import annotations

import msgspec

from liquefy.decoding import Natural, Real, decoded
from liquefy.messages import Message


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """`id` is the message's id in hex, `partition` the one that holds the letter, `error` one line, `traceback` the
    user's ("" if there is none), `time_s` Unix time of the last try, `attempts` how many there were."""

    id: str
    graph: str
    fluxion: str
    partition: str
    key: str
    message: Message
    error: str
    traceback: str
    time_s: Real
    attempts: Natural


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DeadLetter)


def encode_letter(letter: DeadLetter) -> bytes:
    """As MessagePack."""
    return _encoder.encode(letter)


def decode_letter(data: bytes) -> DeadLetter:
    """Raises BadFrame."""
    return decoded(_decoder, data, "a dead letter")

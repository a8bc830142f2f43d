"""What others sent, as values: whatever it is, the outcome is a value of the type or BadFrame. And the names, lines
and numbers that may be in it: names of a form that others rely on, lines of the log that can be kept, and numbers so
bounded that whoever counts on with one can still send the result, and no sum of them is without a number.

Knows no message.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from liquefy.errors import BadFrame

NUMBER_MAX = 2**62
"""Whole numbers beyond it, either way, are in no message."""

COUNT_MAX = 2**52
"""Epochs, and whatever else its receiver counts on from, begin no higher: above it there is room, also for Lua."""

CLAIM_MAX = 2**51
"""A partition claimed at a higher epoch is nobody's: whoever takes it over must be able to count on."""

TIME_MAX_MS = 2**45
"""No message is born, due or waited for later (the year 3084): what is counted from it is a number for Lua and Redis,
too, in all of its digits."""

REAL_MAX = 1e15
"""The same of others. That leaves out infinities, and what is no number."""

Whole = Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Time = Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX_MS)]
Real = Annotated[float, msgspec.Meta(ge=-REAL_MAX, le=REAL_MAX)]

LINE_CHARS_MAX = 8_192
"""Of a line of the log: a controller keeps thousands of all processes."""

NAME_CHARS_MAX = 64
"""Of the name of a graph, a fluxion, a group, an input, a node, a gateway: they are told to everybody."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"
"""Names are told to people, on terminals too."""

_NAME = rf"[^/@{_CONTROL}][^/{_CONTROL}]{{0,{NAME_CHARS_MAX - 1}}}"
_PARTITION = rf"{_NAME}/{_NAME}/[0-9]{{1,9}}"

Name = Annotated[str, msgspec.Meta(pattern=rf"^{_NAME}\Z")]
"""Of a graph, a fluxion, a group, a node, a gateway."""

Line = Annotated[str, msgspec.Meta(max_length=LINE_CHARS_MAX)]
Level = Annotated[str, msgspec.Meta(pattern=r"^(debug|info|warning|error)\Z")]

PartitionName = Annotated[str, msgspec.Meta(pattern=rf"^{_PARTITION}\Z")]
Destination = Annotated[str, msgspec.Meta(pattern=rf"^({_PARTITION}|@{_NAME})\Z")]

is_partition = re.compile(_PARTITION).fullmatch
"""Whether a name has the form of a partition's: all that is told of partitions relies on it."""

T = TypeVar("T")


def decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes | memoryview, what: str = "") -> T:
    """Raises BadFrame, with `what` it was to be. Text that is not UTF-8 is a ValueError that is no DecodeError."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"{what}{' of ' if what else ''}{len(data)} bytes: {error}") from None

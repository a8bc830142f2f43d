"""Values as bytes, faithfully: what is unpacked has the types of what was packed. Bodies of messages and
fields of contexts are stored and sent in this form, and both languages read it. It is MessagePack, with these
extension types:

    1 tuple      array                                  7 time       text as 5, without the date
    2 set        array, elements in order of their      8 timedelta  [days, seconds, microseconds]
                 packed form (equal sets, equal bytes)  9 Decimal    str()
    3 frozenset  as 2                                  10 UUID       16 bytes
    4 int        beyond 64 bits: big-endian, signed    11 complex    two big-endian doubles
    5 datetime   ISO 8601, then `*` if fold = 1,       12 bytearray  the bytes (a Uint8Array)
                 then `[zone]` if a ZoneInfo is set
    6 date       ISO 8601

and for what JavaScript has (`liquefy.foreign`; `liquefy/node/values.mjs` is this module in JavaScript):

    13 undefined  nothing                              18 Error      [class, hidden properties, others]
    14 Map        array: key, value, key, value ...    19 BigInt     up to 53 bits, as 4
    15 Set        array, in its order                  20 buffer     [class, bytes]: typed arrays, ArrayBuffer
    16 Date       milliseconds, a big-endian double    21 hole       nothing: an element that an array has not
    17 RegExp     [source, flags, lastIndex]           22 object without prototype: map

Everything else is refused with a ValueError that says where in the value it is; nothing is pickled, so
unpacking runs no code of anybody. Does not know what the values are for; their size is the caller's to limit.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import msgspec
from msgpack import ExtType

from liquefy.errors import BadFrame
from liquefy.foreign import UNDEFINED, BareDict, BigInt, Date, Foreign, Map, OrderedSet, Undefined

DEPTH_MAX = 100
"""Tuples, sets and frozensets inside each other. Lists and dicts may be nested LIST_DEPTH_MAX deep between
them."""

LIST_DEPTH_MAX = 500
"""Lists and dicts inside each other. Some more may be taken, never less; what was taken can be unpacked."""

_TUPLE, _SET, _FROZENSET, _INT, _DATETIME, _DATE, _TIME, _TIMEDELTA = range(1, 9)
_DECIMAL, _UUID, _COMPLEX, _BYTEARRAY = range(9, 13)
_UNDEFINED, _MAP, _ORDERED_SET, _JS_DATE, _REGEXP, _ERROR, _BIGINT, _BUFFER, _HOLE, _BARE = range(13, 23)

IMMUTABLE: frozenset[type] = frozenset(
    (
        *(type(None), bool, int, float, str, bytes, complex, datetime, date, time, timedelta, Decimal, UUID),
        *(Undefined, BigInt, Date, Foreign),
    )
)
"""Types whose values cannot change: what was read once needs no second look."""

_SMALL_INT = 2**53 - 1
"""JavaScript's numbers are exact up to it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_double = struct.Struct(">d")
_doubles = struct.Struct(">dd")
_binary = re.compile(b"[\xc4-\xc6]").search


def pack(value: Any, where: str = "value", no_bytearrays: bool = False) -> bytes:
    """The value as bytes. `where` is what the value is called in errors. `no_bytearrays`: it is known to have none, and
    is not searched for them. Raises ValueError, naming type and place."""
    try:
        data: bytes = _pack(value)
        # The packer takes a bytearray for bytes. Only a packed form with a mark of bytes in it can hold one.
        if not no_bytearrays and type(value) not in IMMUTABLE and _binary(data) and _loses_type(value):
            data = _packers[0].pack(_tag_bytearrays(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(_explain(value, where, 0, 0) or f"{where} cannot be stored: {error}") from None
    return data


def unpack(data: bytes) -> Any:
    """The value that was packed. Raises BadFrame on anything that is not a packed value."""
    try:
        return _decode(data)
    except RecursionError:
        return _unpack_deep(data)
    except (msgspec.DecodeError, ValueError, TypeError, struct.error, ArithmeticError, LookupError) as error:
        raise BadFrame(f"{len(data)} bytes that are no packed value: {error}") from None


def _unpack_deep(data: bytes) -> Any:
    # Slower, but its depth does not count on the stack of the caller.
    try:
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=_from_ext)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadFrame(f"{len(data)} bytes that are no packed value: {error}") from None


# -- to bytes ---------------------------------------------------------------------------------------------


class _Packers(list[msgpack.Packer]):
    """One packer for each depth of nested extension types: a packer cannot be used again while it is at
    work."""

    def _add(self, depth: int) -> msgpack.Packer:
        if depth > DEPTH_MAX:
            raise ValueError("nested too deep")
        packer = msgpack.Packer(default=lambda value: _to_ext(value, depth + 1), strict_types=True)
        self.append(packer)
        return packer

    def at(self, depth: int) -> msgpack.Packer:
        return self[depth] if depth < len(self) else self._add(depth)


def _to_ext(value: Any, depth: int) -> ExtType:
    encode = _TO_EXT.get(type(value))
    if encode is None:
        raise TypeError(type(value).__name__)
    return encode(value, depth)


def _sequence(value: Iterable[Any], depth: int) -> bytes:
    data: bytes = _packers.at(depth).pack(list(value))
    return data


def _mapping(value: BareDict, depth: int) -> bytes:
    data: bytes = _packers.at(depth).pack(dict(value))
    return data


def _unordered(value: set[Any] | frozenset[Any], depth: int) -> bytes:
    packer = _packers.at(depth)
    parts = sorted(packer.pack(element) for element in value)
    return bytes(packer.pack_array_header(len(parts))) + b"".join(parts)


def _int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _moment(value: datetime | time) -> bytes:
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        text, name = value.isoformat(), ""
    elif type(zone) is ZoneInfo and zone.key:
        text, name = value.replace(tzinfo=None).isoformat(), f"[{zone.key}]"
    else:
        raise TypeError(type(zone).__name__)
    return f"{text}{'*' if value.fold else ''}{name}".encode()


def _js_date(value: Date, _: int) -> ExtType:
    if value.tzinfo is not UTC or value.microsecond % 1000:
        return ExtType(_DATETIME, _moment(value))
    since: timedelta = datetime.fromisoformat(value.isoformat()) - _EPOCH
    return ExtType(_JS_DATE, _double.pack(since // _MILLISECOND))


def _js_bigint(value: BigInt, _: int) -> ExtType:
    # Beyond it an int is one to JavaScript, too; BigInts are made from smaller ones only, but by anybody.
    return ExtType(_BIGINT if abs(value) <= _SMALL_INT else _INT, _int(value))


_TO_EXT: dict[type, Callable[[Any, int], ExtType]] = {
    tuple: lambda v, depth: ExtType(_TUPLE, _sequence(v, depth)),
    set: lambda v, depth: ExtType(_SET, _unordered(v, depth)),
    frozenset: lambda v, depth: ExtType(_FROZENSET, _unordered(v, depth)),
    int: lambda v, _: ExtType(_INT, _int(v)),
    datetime: lambda v, _: ExtType(_DATETIME, _moment(v)),
    date: lambda v, _: ExtType(_DATE, v.isoformat().encode()),
    time: lambda v, _: ExtType(_TIME, _moment(v)),
    timedelta: lambda v, depth: ExtType(_TIMEDELTA, _sequence((v.days, v.seconds, v.microseconds), depth)),
    Decimal: lambda v, _: ExtType(_DECIMAL, str(v).encode()),
    UUID: lambda v, _: ExtType(_UUID, v.bytes),
    complex: lambda v, _: ExtType(_COMPLEX, _doubles.pack(v.real, v.imag)),
    Undefined: lambda _, __: ExtType(_UNDEFINED, b""),
    BigInt: _js_bigint,
    Date: _js_date,
    Map: lambda v, depth: ExtType(_MAP, _sequence((x for pair in v.items() for x in pair), depth)),
    OrderedSet: lambda v, depth: ExtType(_ORDERED_SET, _sequence(v.order, depth)),
    BareDict: lambda v, depth: ExtType(_BARE, _mapping(v, depth)),
    Foreign: lambda v, _: ExtType(v.code, v.data),
}

_packers = _Packers()
_pack = _packers.at(0).pack


_DICTS = (dict, Map, BareDict)


def _loses_type(value: Any) -> bool:
    """Whether a bytearray or memoryview is anywhere in it."""
    kind = type(value)
    if kind in _DICTS:
        return any(_loses_type(v) for v in value.values())
    if kind is list or kind is tuple:
        return any(_loses_type(v) for v in value)
    return kind is bytearray or kind is memoryview


def _tag_bytearrays(value: Any) -> Any:
    kind = type(value)
    if kind is bytearray:
        return ExtType(_BYTEARRAY, bytes(value))
    if kind is memoryview:
        raise TypeError("memoryview")
    if kind in _DICTS:
        return kind((k, _tag_bytearrays(v)) for k, v in value.items())
    if kind is list or kind is tuple:
        return kind(_tag_bytearrays(v) for v in value)
    return value


# -- from bytes -------------------------------------------------------------------------------------------


def _from_ext(code: int, data: bytes | memoryview) -> Any:
    decode = _FROM_EXT.get(code)
    if decode is None:
        raise ValueError(f"unknown extension type {code}")
    return decode(bytes(data))


def _parse_moment(kind: type[datetime] | type[time], data: bytes) -> Any:
    text, _, name = data.decode().partition("[")
    value = kind.fromisoformat(text.rstrip("*"))
    if name:
        value = value.replace(tzinfo=ZoneInfo(name[:-1]))
    return value.replace(fold=1) if text.endswith("*") else value


def _parse_js_date(data: bytes) -> Any:
    (ms,) = _double.unpack(data)
    try:
        return Date.fromtimestamp(0, UTC) + ms * _MILLISECOND
    except (ValueError, OverflowError):  # no date at all, or one that Python's calendar does not reach
        return Foreign(_JS_DATE, data)


def _parse_map(data: bytes) -> Any:
    parts = unpack(data)
    try:
        found = Map(zip(parts[::2], parts[1::2], strict=True))
    except TypeError:  # a key that is a list or dict
        return Foreign(_MAP, data)
    return found if 2 * len(found) == len(parts) else Foreign(_MAP, data)  # 1 and True are two keys there


def _parse_ordered_set(data: bytes) -> Any:
    parts = unpack(data)
    try:
        found = OrderedSet(parts)
    except TypeError:
        return Foreign(_ORDERED_SET, data)
    return found if len(found) == len(parts) else Foreign(_ORDERED_SET, data)


def _foreign(code: int) -> Callable[[bytes], Any]:
    return lambda data: Foreign(code, data)


_FROM_EXT: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple(unpack(data)),
    _SET: lambda data: set(unpack(data)),
    _FROZENSET: lambda data: frozenset(unpack(data)),
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
    _DATETIME: lambda data: _parse_moment(datetime, data),
    _DATE: lambda data: date.fromisoformat(data.decode()),
    _TIME: lambda data: _parse_moment(time, data),
    _TIMEDELTA: lambda data: timedelta(*unpack(data)),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
    _COMPLEX: lambda data: complex(*_doubles.unpack(data)),
    _BYTEARRAY: bytearray,
    _UNDEFINED: lambda _: UNDEFINED,
    _MAP: _parse_map,
    _ORDERED_SET: _parse_ordered_set,
    _JS_DATE: _parse_js_date,
    _BIGINT: lambda data: BigInt(int.from_bytes(data, "big", signed=True)),
    _BARE: lambda data: BareDict(unpack(data)),
    **{code: _foreign(code) for code in (_REGEXP, _ERROR, _BUFFER, _HOLE)},
}

_decode = msgspec.msgpack.Decoder(ext_hook=_from_ext).decode


# -- errors -----------------------------------------------------------------------------------------------

_REMEDIES = {
    "memoryview": "store bytes(...) of it",
    "generator": "store list(...) of it",
    "coroutine": "await it first (in an `async def` fluxion)",
    "function": "store data, not code",
    "ndarray": "store .tolist() of it",
    "DataFrame": "store .to_dict() of it",
}


def _explain(value: Any, where: str, depth: int, lists: int) -> str:
    """What in the value cannot be packed, and where; "" if nothing is found."""
    kind = type(value)
    if kind is str:
        return "" if _is_text(value) else f"{where} cannot be stored: half of a surrogate pair is no text"
    if kind in (dict, list):
        lists += 1
    elif kind in (tuple, set, frozenset, Map, BareDict, OrderedSet):
        depth += 1
    elif kind in (bytes, bytearray) or kind in IMMUTABLE:
        zone = getattr(value, "tzinfo", None)
        if zone is not None and type(zone) not in (timezone, ZoneInfo):
            return f"{where} cannot be stored: its time zone is a {type(zone).__name__}; use ZoneInfo"
        return ""
    else:
        return _refusal(value, where)
    if depth > DEPTH_MAX or lists > LIST_DEPTH_MAX:
        return f"{where[:100]}... cannot be stored: nested too deep (or it contains itself); store it flatter"
    if kind in _DICTS:
        for k, v in value.items():
            found = _explain(k, f"the key {str(k)[:50]!r} of {where}", depth, lists)
            found = found or _explain(v, _step(where, k), depth, lists)
            if found:
                return found
        return ""
    parts = value if kind in (list, tuple) else sorted(value, key=repr)
    for i, v in enumerate(parts):
        found = _explain(v, f"{where}[{i}]", depth, lists)
        if found:
            return found
    return ""


def _refusal(value: Any, where: str) -> str:
    kind = type(value)
    plain = (int, float, str, dict, list, tuple, set, bytes)
    base = next((b for b in plain if isinstance(value, b)), None)
    remedy = _REMEDIES.get(kind.__name__) or (
        f"store {base.__name__}(...) of it" if base else "store plain values (str, int, dict, list, ...)"
    )
    return f"{kind.__name__} at {where} cannot be stored; {remedy}"


def _step(where: str, key: Any) -> str:
    return f"{where}.{key}" if isinstance(key, str) else f"{where}[{key!r}]"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

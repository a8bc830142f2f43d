"""Makes what a peer might send: values of any message type, mostly of names that the receiver knows, often at the edge,
and bytes that are nearly right. All chance comes from one `random.Random`, so that a run can be had again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from liquefy import values
from liquefy.graph import Graph
from liquefy.messages import Posted

T = TypeVar("T")

NAMES = ("visits", "store", "output", "node1", "node2", "gw", "gw2", "", "@", "a/b", "é", "x" * 300)
PARTITIONS = ("visits/store/0", "visits/store/1", "visits/count/0", "other/store/0", "visits/store/99", "@gw", "/", "")
SESSIONS = (b"node1#1", b"node2#1", b"gw#1", b"gw2#1", b"ctl#1", b"ctl#2", b"", b"nobody#1")
IDS = (b"", b"a", b"b", b"r" * 12, b"\xff" * 40, b"z" * 3000)
NUMBERS = (0, 0, 1, 1, 1, 2, 2, 3, 7, 511, 512, 1_000_000, 2**31, 2**52)
WILD_NUMBERS = (2**53, 2**62, -1, -(2**31), -(2**63), 2**63 - 1, 2**64 - 1)
REALS = (0.0, 0.5, 1.0, 4.0, -1.0, 1e308, float("inf"), float("-inf"), float("nan"))
BODIES = (b"", b"\xc0", values.pack({"n": 1}), values.pack("text"), b"\xc1garbage", values.pack(["x"] * 50))
TEXTS = ("", "a", "GET", "/visits/{user}", "text:function", "content-type", "x\r\ny: z", "é\0", "\ud7ff", "1" * 600)

BY_NAME: dict[str, Sequence[Any]] = {
    **dict.fromkeys(("partition", "destination"), PARTITIONS),
    **dict.fromkeys(("session", "sender"), SESSIONS),
    **dict.fromkeys(("id", "root", "letter"), IDS),
    **dict.fromkeys(("name", "node", "target", "to", "fluxion", "group", "gateway", "graph", "host"), NAMES),
    "body": BODIES,
}
"""What fields of these names mostly hold."""


class Maker:
    """`wild`: how often a number is one that no honest peer would send."""

    def __init__(self, chance: random.Random, wild: float = 0.05) -> None:
        self.chance = chance
        self.known: dict[str, Sequence[Any]] = dict(BY_NAME)
        self._wild = wild

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.chance.randrange(len(choices))]

    def often(self, share: float) -> bool:
        return self.chance.randrange(1000) < share * 1000

    def made(self, kind: type[T], **given: Any) -> T:
        """One of that struct or named tuple; `given` fields as they are."""
        return self._of(inspect.type_info(kind), "", given)

    def control(self, kinds: Sequence[type[Any]], **given: Any) -> Any:
        """One of these messages."""
        kind = self.one(kinds)
        known = {name: value for name, value in given.items() if name in kind.__struct_fields__}
        return self.made(kind, **known)

    def spoilt(self, data: bytes) -> bytes:
        """Bytes that were right: cut, lengthened, flipped, or as they were."""
        frame = bytearray(data)
        for _ in range(self.chance.randrange(4)):
            at = self.chance.randrange(len(frame) + 1)
            match self.chance.randrange(5):
                case 0:
                    del frame[at:]
                case 1:
                    frame[at:at] = self.bytes(8)
                case 2:
                    frame[at : at + 1] = bytes((self.one((0, 0x80, 0x90, 0xC0, 0xC1, 0xC7, 0xCF, 0xDD, 0xDF, 0xFF)),))
                case 3:
                    frame[at:at] = b"\xdd\xff\xff\xff\xff"
                case _:
                    frame[at : at + 4] = b"\xdb\x7f\xff\xff"
        return bytes(frame)

    def bytes(self, most: int) -> bytes:
        return bytes(self.chance.randrange(256) for _ in range(self.chance.randrange(most + 1)))

    def number(self) -> int:
        return self.one(WILD_NUMBERS if self.often(self._wild) else NUMBERS)

    def _of(self, info: inspect.Type, name: str, given: dict[str, Any]) -> Any:
        if isinstance(info, inspect.StructType | inspect.NamedTupleType):
            fields: dict[str, Any] = {}
            for field in info.fields:
                if field.name in given:
                    fields[field.name] = given[field.name]
                elif field.required or self.often(0.6):
                    fields[field.name] = self._of(field.type, field.name, {})
            return info.cls(**(self._fitting(fields) if info.cls is Graph else fields))
        if isinstance(info, inspect.UnionType):
            return self._of(self.one(info.types), name, {})
        if name in self.known and isinstance(info, inspect.StrType | inspect.BytesType | inspect.IntType):
            of = {inspect.StrType: str, inspect.BytesType: bytes, inspect.IntType: int}[type(info)]
            known = [x for x in self.known[name] if isinstance(x, of)]
            if known and self.often(0.95):
                return self.one(known)
        return self._plain(info, name)

    def _fitting(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A graph cannot be made whose parts do not fit together."""
        groups = [group.name for group in fields["groups"]]
        fluxions = tuple(replace(f, group=self.one(groups)) for f in fields["fluxions"]) if groups else ()
        to = [fluxion.name for fluxion in fluxions]
        inputs = tuple(replace(i, to=self.one(to)) for i in fields["inputs"]) if to else ()
        return {**fields, "fluxions": fluxions, "inputs": inputs}

    def _plain(self, info: inspect.Type, name: str) -> Any:
        plain: dict[type, Callable[[], Any]] = {
            inspect.IntType: self.number,
            inspect.FloatType: lambda: self.one(REALS),
            inspect.BoolType: lambda: self.often(0.5),
            inspect.StrType: lambda: self.one(TEXTS),
            inspect.BytesType: lambda: self.bytes(8),
            inspect.NoneType: lambda: None,
            inspect.AnyType: lambda: self.one((None, 1, "x", b"x", [1], {"a": 1}, -0.5)),
        }
        if isinstance(info, inspect.RawType):
            posted = inspect.type_info(list[Posted])
            made = self._of(posted, name, {}) if self.often(0.8) else self._of(inspect.AnyType(), name, {})
            return msgspec.Raw(msgspec.msgpack.encode(made))
        if isinstance(info, inspect.LiteralType):
            return self.one(info.values)
        if isinstance(info, inspect.ListType | inspect.VarTupleType):
            made = [self._of(info.item_type, name, {}) for _ in range(self.one((0, 1, 1, 2, 3)))]
            return made if isinstance(info, inspect.ListType) else tuple(made)
        if isinstance(info, inspect.TupleType):
            return tuple(self._of(item, self._named(item, name), {}) for item in info.item_types)
        if isinstance(info, inspect.DictType):
            keys = [self._of(info.key_type, "name", {}) for _ in range(self.one((0, 1, 2)))]
            return {key: self._of(info.value_type, name, {}) for key in keys}
        return plain[type(info)]()

    def _named(self, info: inspect.Type, name: str) -> str:
        return self.one(("partition", "node")) if name in ("claims", "traffic") else name


def as_sent(message: T, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes] = msgspec.msgpack.encode) -> Any:
    """What arrives of it; raises BadFrame where it is refused on arrival."""
    return decode(encode(message))

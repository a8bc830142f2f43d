"""The context of a message: what a fluxion remembers. Reads and writes like a dict; afterwards says what
changed.

Fields are kept packed, as they are stored, and opened when first read. After a call every field that was
written, and every list, dict or set that was read (and so may have been changed in place), is packed again
and compared: what is equal to the stored form is no change. Between calls only values that cannot change stay
open, so that nothing a fluxion kept hold of can alter a context behind the store's back.

Knows neither where contexts come from nor where changes go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from liquefy.values import IMMUTABLE, pack, unpack

FIELD_NAME_BYTES_MAX = 512
"""Length of a field's name, in UTF-8."""

_MISSING: Any = object()


class Context(MutableMapping[str, Any]):
    """`Context({"visits": 1})` for a test; a host makes them with `from_packed`."""

    __slots__ = ("_dirty", "_removed", "_stored", "_values", "size")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._start({_name(k): pack(v, f"context[{k!r}]") for k, v in (values or {}).items()})

    @classmethod
    def from_packed(cls, fields: dict[str, bytes]) -> Context:
        """The context as stored: name -> packed value. Takes the dict over."""
        context = cls.__new__(cls)
        context._start(fields)
        return context

    def _start(self, fields: dict[str, bytes]) -> None:
        self._stored = fields
        self._values: dict[str, Any] = {}
        self._dirty: set[str] = set()
        self._removed: dict[str, bytes] = {}
        self.size = sum(map(len, fields)) + sum(map(len, fields.values()))
        """Bytes of the packed fields and (in characters) their names, as of the last `changes`."""

    # -- as a dict -----------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            value = self._open(name, self._stored[name])
        return value

    def get(self, name: str, default: Any = None) -> Any:
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            packed = self._stored.get(name)
            return default if packed is None else self._open(name, packed)
        return value

    def _open(self, name: str, packed: bytes) -> Any:
        value = self._values[name] = unpack(packed)
        if type(value) not in IMMUTABLE:
            self._dirty.add(name)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        if type(name) is not str:
            name = _name(name)
        self._dirty.add(name)
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        stored = self._stored.get(name)
        if stored is not None:
            # In this order: a timeout may strike between any two lines, and `rollback` must find the field.
            self._removed[name] = stored
            del self._stored[name]
            self._values.pop(name, None)
        else:
            del self._values[name]
        self._dirty.discard(name)

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._stored

    def __iter__(self) -> Iterator[str]:
        yield from self._stored
        yield from [name for name in self._values if name not in self._stored]

    def __len__(self) -> int:
        return len(self._stored) + sum(name not in self._stored for name in self._values)

    def __ior__(self, other: Mapping[str, Any]) -> Context:
        self.update(other)
        return self

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def copy(self) -> dict[str, Any]:
        """The fields as a dict of its own; the values are those of the context."""
        return dict(self)

    def __repr__(self) -> str:
        return f"Context({dict(self)!r})"

    # -- for the host --------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether nothing is stored (as of the last `changes`)."""
        return not self._stored

    def changes(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """What changed since the last time: fields set (name -> packed value) and names removed. From here on
        this is the stored state. Raises ValueError on a value that cannot be stored; then nothing has
        happened, and `rollback` is due."""
        sets: dict[str, bytes] = {}
        mutable: list[str] = []
        stored, values = self._stored, self._values
        grown = 0
        for name in self._dirty:
            value = values[name]
            if type(value) not in IMMUTABLE:
                mutable.append(name)
            try:
                packed = pack(value)
            except ValueError:
                pack(value, f"context[{name!r}]")  # raises it with the place
                raise
            old = stored.get(name)
            if old is None:
                _check_name(name)
                grown += len(packed) + len(name)
            elif packed == old:
                continue
            else:
                grown += len(packed) - len(old)
            sets[name] = packed
        # From here on nothing fails.
        removes = self._apply_removed(sets) if self._removed else ()
        stored.update(sets)
        self.size += grown
        for name in mutable:
            del values[name]
        self._dirty.clear()
        return sets, removes

    def _apply_removed(self, sets: dict[str, bytes]) -> tuple[str, ...]:
        removed, self._removed = self._removed, {}
        for name, packed in removed.items():
            self.size -= len(packed) + len(name)
        return tuple(name for name in removed if name not in sets)

    def rollback(self) -> None:
        """As after the last `changes`; whatever was interrupted, and wherever."""
        self._stored.update(self._removed)
        self._removed = {}
        self._values = {}
        self._dirty.clear()


def _name(name: object) -> str:
    if isinstance(name, str):
        return str(name)
    raise TypeError(f"names of context fields are strings, not {type(name).__name__}: {name!r}")


def _check_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the context field name {name!r} holds half of a surrogate pair, which is no text") from None
    if size > FIELD_NAME_BYTES_MAX:
        raise ValueError(
            f"the context field name {name[:40]!r}... has {size} bytes (limit {FIELD_NAME_BYTES_MAX}); "
            "put what varies into a value"
        )

"""Variables of a program bound to a context, for the time of one request: brought from it before the handler, taken
back after.

Knows neither requests nor frameworks; what a context is, only as far as one field of it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from liquefy.liquid.slots import ABSENT, Slot
from liquefy.liquid.state import Codec

FIELD = "state"
"""The field of a context with all that a group remembers."""

CHECKED_BYTES_MAX = 16 * 1024
"""A state up to this size is also compared before a request, to see whether it changed on its own."""

Fields = MutableMapping[str, Any]


class StrayChange(Exception):
    """Variables changed where nothing may change them. The text is for people."""


class Whole:
    """All variables of a group, in one context."""

    def __init__(self, codec: Codec, slots: list[Slot]) -> None:
        self._codec = codec
        self._slots = slots
        self._loaded = self._capture()
        self._live: bytes | None = self._loaded
        self._strays = 0

    def bring(self, context: Fields) -> None:
        """What the variables hold is what the context says. Raises StrayChange."""
        live = self._live
        if live is not None and len(live) <= CHECKED_BYTES_MAX and self._capture() != live:
            # Both tries of one message fail, for somebody to see it; then what is stored counts again.
            self._strays += 1
            if self._strays % 2 == 0:
                self._live = None
            names = ", ".join(slot.id for slot in self._slots)
            raise StrayChange(f"changed while no request was handled, which cannot be kept in a context: {names}")
        stored = context.get(FIELD)
        wanted = self._loaded if stored is None else stored
        if live != wanted:
            self._live = None
            values = self._codec.restore(wanted)
            for slot in self._slots:
                value = values.get(slot.id, ABSENT)
                if slot.get() is not value:
                    slot.set(value)
            self._live = wanted

    def take(self, context: Fields) -> None:
        """The context says what the variables hold. The first time always: what was made at start is from then on what
        was stored. Raises Unstorable."""
        self._live = None
        found = self._capture()
        if found != context.get(FIELD):
            context[FIELD] = found
        self._live = found

    def lose(self) -> None:
        """Nobody knows what the variables hold."""
        self._live = None

    def _capture(self) -> bytes:
        return self._codec.capture({slot.id: slot.get() for slot in self._slots})


class Keyed:
    """The entries of one key in a group's collections. Between requests the collections hold nothing: what is there
    after a request, under another key, was not allowed to be touched."""

    def __init__(self, codec: Codec, slots: list[Slot]) -> None:
        self._codec = codec
        self._slots = slots
        self._loaded: dict[str, bytes] = {}
        self._here: set[str] = set()
        self._collections = {slot.id: slot.get() for slot in slots}
        keys = dict.fromkeys(str(key) for slot in slots for key in self._entries(slot))
        for key in keys:
            self._loaded[key] = self._codec.capture(self._pop(key))

    def bring(self, key: str, context: Fields) -> None:
        """The collections have the entries of this key."""
        self._here.add(key)
        stored = context.get(FIELD)
        if stored is None:
            stored = self._loaded.get(key)
        values = self._codec.restore(stored) if stored is not None else {}
        for slot in self._slots:
            for mark, real in (("", key), (_INT, _whole(key))):
                value = values.get(slot.id + mark, ABSENT)
                if value is not ABSENT:
                    self._entries(slot)[real] = value

    def take(self, key: str, context: Fields) -> None:
        """The context has the entries of this key, the collections do not any more. Raises StrayChange, Unstorable."""
        self._here.discard(key)
        values = self._pop(key)
        self.check()
        if values or key in self._loaded:
            found = self._codec.capture(values)
            if found != context.get(FIELD):
                context[FIELD] = found
        elif FIELD in context:
            del context[FIELD]

    def drop(self, key: str) -> None:
        self._here.discard(key)
        self._pop(key)

    def check(self) -> None:
        """Raises StrayChange."""
        for slot in self._slots:
            entries = self._entries(slot)
            others = [key for key in list(entries) if str(key) not in self._here]
            if others:
                for other in others:
                    del entries[other]
                raise StrayChange(f"{slot.id}[{others[0]!r}] was touched by a request for another key")

    def _entries(self, slot: Slot) -> Any:
        found = slot.get()
        if not isinstance(found, dict):
            if isinstance(before := self._collections[slot.id], dict):
                slot.set(before)  # so that it is this request's failure alone
            raise StrayChange(f"{slot.id} is a {type(found).__name__}, and was a dict when it was compiled")
        return found

    def _pop(self, key: str) -> dict[str, Any]:
        values = {}
        for slot in self._slots:
            entries = self._entries(slot)
            for mark, real in (("", key), (_INT, _whole(key))):
                if real in entries:
                    values[slot.id + mark] = entries.pop(real)
        return values


_INT = "#int"
"""Marks the entry of a whole number, which is another than that of the number's text."""


def _whole(key: str) -> int | None:
    try:
        return int(key) if str(int(key)) == key else None
    except ValueError:
        return None

"""What travels between the parts of a handler. Values that a message takes as they are stay what they are; others (a
Counter, a named tuple, an instance of a class of the program, one list in two places) travel as a captured state does,
and are the same on the other side. Knows neither fluxions nor contexts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from liquefy.liquid.state import Codec, Unstorable
from liquefy.values import IMMUTABLE, pack, unpack

FIELD = "carried!"
"""The variable of a message with all others in it: no variable of a part can be called so."""

_INSIDE = (list, tuple, set, frozenset)


class Carrier:
    """For one loaded program. What is there after loading is nothing to it: what is sent is a copy."""

    def __init__(self, own: Mapping[str, ModuleType]) -> None:
        self._codec = Codec(own)
        self._codec.remember({})

    def packed(self, variables: dict[str, Any]) -> dict[str, Any]:
        """For a message. What cannot travel stays in it: who packs the message says so."""
        if _plain(variables):
            return _apart(variables)
        try:
            return {FIELD: self._codec.capture(variables)}
        except Unstorable:
            return variables

    def unpacked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of a message. Raises BadFrame."""
        return {**body, **(self._codec.restore(body[FIELD]) if FIELD in body else {})}


def _apart(variables: dict[str, Any]) -> dict[str, Any]:
    """As they are now: what a framework still does behind the part, such as the end of a dependency, may change them
    before the message leaves."""
    if IMMUTABLE.issuperset(map(type, variables.values())):
        return variables
    with contextlib.suppress(ValueError):
        copied: dict[str, Any] = unpack(pack(variables))
        return copied
    return variables


def _plain(value: Any) -> bool:
    """Whether it is plain data, and nothing that can be changed is in two places of it."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind in IMMUTABLE:
            continue
        if kind not in (tuple, frozenset):
            if id(one) in seen:
                return False
            seen.add(id(one))
        if kind is dict:
            if not IMMUTABLE.issuperset(map(type, one)):
                waiting += one
            one = one.values()
        elif kind is bytearray:
            continue
        elif kind not in _INSIDE:
            return False
        if not IMMUTABLE.issuperset(map(type, one)):
            waiting += one
    return True

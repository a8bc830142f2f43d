"""What a fluxion is given and what it returns. All that a liquid program imports, with `Context`:

    from liquefy import answer, emit

    def store(message, context):
        context["visits"] = context.get("visits", 0) + 1
        return {"id": message["params"]["id"], "visits": context["visits"]}

A fluxion returns None (nothing is sent), a body for its only stream, `emit(...)`, `answer(...)`, or a list of
those. Called in a test with `Message({...})` and `Context({...})` it needs nothing else.

Does not know how messages travel: `liquefy.handling` makes messages and reads what was returned.
"""

from __future__ import annotations

import math
import re
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping
from typing import Any

import msgspec

DELAY_MAX_S = 366 * 24 * 3600
"""The longest delay of an emission, in seconds."""

_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message; its attributes cannot be set. If the body is a mapping, `message["x"]`, `message.get("x")`
    and `"x" in message` look into it.

    From an input the body is {"method", "path", "params": {..}, "query": {..}, "headers": {..}, "body": JSON
    or form as values, else bytes, else None}. `key` is that of the context, `id` in hexadecimal, `deadline`
    the Unix time in seconds until which a client waits (0.0: none does), `trace` the trace id that came with
    the request."""

    body: Any = None
    key: str = ""
    id: str = ""
    fluxion: str = ""
    deadline: float = 0.0
    trace: str = ""

    def __getitem__(self, name: Any) -> Any:
        return self._mapping()[name]

    def get(self, name: Any, default: Any = None) -> Any:
        return self._mapping().get(name, default)

    def __contains__(self, name: Any) -> bool:
        return name in self._mapping()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping())

    def keys(self) -> KeysView[Any]:
        return self._mapping().keys()

    def items(self) -> ItemsView[Any, Any]:
        return self._mapping().items()

    def _mapping(self) -> Mapping[Any, Any]:
        body = self.body
        if type(body) is dict or isinstance(body, Mapping):
            return body
        raise TypeError(f"the body of this message is a {type(body).__name__}, not a mapping: use message.body")


class Emit(msgspec.Struct, frozen=True):
    """Made by `emit`."""

    to: str
    body: Any
    delay_ms: int


class Answer(msgspec.Struct, frozen=True):
    """Made by `answer`."""

    body: Any
    status: int
    headers: tuple[tuple[str, str], ...]


def emit(to: str, body: Any = None, delay_s: float = 0) -> Emit:
    """A message to the fluxion `to`, one of the streams of the fluxion that returns it; delivered `delay_s`
    seconds after it is stored. Raises ValueError, TypeError."""
    if not isinstance(to, str):
        raise TypeError(f"emit(): the first argument is the name of a fluxion, not a {type(to).__name__}")
    if delay_s == 0:
        return Emit(to, body, 0)
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float):
        raise TypeError(f"emit(): delay_s is a number of seconds, not a {type(delay_s).__name__}")
    if not 0 <= delay_s <= DELAY_MAX_S:
        raise ValueError(f"emit(): delay_s={delay_s!r} is not between 0 and {DELAY_MAX_S} seconds")
    return Emit(to, body, math.ceil(delay_s * 1000))


def answer(body: Any = None, status: int = 200, headers: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> Answer:
    """Answer the request with which it all began: str and bytes go out as they are, None as nothing,
    everything else as JSON. Any fluxion may, whatever its streams. Pairs instead of a mapping allow a header
    twice. Raises ValueError, TypeError."""
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"answer(): status is a number, not a {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"answer(): status={status} is not between 200 and 599")
    if not headers:
        return Answer(body, int(status), ())
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return Answer(body, int(status), tuple(_header(name, value) for name, value in pairs))


def _header(name: Any, value: Any) -> tuple[str, str]:
    if not isinstance(name, str) or not _token(name):
        raise ValueError(f"answer(): {name!r} is no name of a header")
    if not isinstance(value, str | int | float):
        raise TypeError(
            f"answer(): the value of header {name} is a text or a number, not a {type(value).__name__}; "
            "a header that is there twice is two pairs: headers=[(name, value), (name, value)]"
        )
    text = str(value)
    if _control(text):
        raise ValueError(f"answer(): the value of header {name} has control characters: {text[:80]!r}")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"answer(): the value of header {name} is not Latin-1: {text[:80]!r}") from None
    return name, text

"""What goes back to a client: status, headers and body of an answer, as HTTP wants them. Pure.

    dict, list, numbers, bool, times, Decimal, UUID ...    application/json
    str                                                          text/plain; charset=utf-8
    bytes                                                        application/octet-stream
    None                                                         no body

unless the answer's headers name a content type. Headers of the connection are the server's own.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from liquefy.foreign import BigInt, Date, Undefined

Rendered = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""

_CONNECTION = frozenset(
    (
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that are the server's to make; those of an answer are passed over."""

_ONLY_NO_KEYS = (type(None), bool, bytes, list, tuple, dict, set, frozenset)
"""JSON has a form for these, unless they are keys of a dict."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_JSON = ("content-type", "application/json")


def render(status: int, headers: tuple[tuple[str, str], ...], body: Any) -> Rendered:
    """Of a fluxion's answer. `status` 0 stands for 200. Raises ValueError on what cannot be sent: a status
    that is none, a header that would break the answer apart (CR, LF), a value without a form."""
    status = status or 200
    if not 200 <= status <= 599:
        raise ValueError(f"the answer's status is {status}; it must be 200 to 599")
    out = [(name, value) for name, value in headers if _checked(name, value) not in _CONNECTION] if headers else []
    if body is None or status in (204, 304):
        return status, out, b""
    kind = type(body)
    if kind is bytes:
        content_type, data = "application/octet-stream", body
    elif kind is str:
        content_type, data = "text/plain; charset=utf-8", body.encode()
    else:
        content_type, data = "application/json", _encode_json(body)
    if not out or all(name.lower() != "content-type" for name, _ in out):
        out.append(("content-type", content_type))
    return status, out, data


def as_it_is(status: int, headers: tuple[tuple[str, str], ...], body: Any, head: bool) -> Rendered:
    """Of an application behind a raw input: nothing is added. `head`: to a HEAD, so the length it states is that of
    another answer. What the cluster itself says, such as of a dead letter, is a dict. Raises ValueError as `render`,
    and for a body that is neither."""
    if not 200 <= status <= 999:
        raise ValueError(f"the answer's status is {status}; it must be 200 to 999")
    if type(body) is dict:
        return render(status, headers, body)
    if body is not None and type(body) is not bytes:
        raise ValueError(f"the answer's body is {type(body).__name__}; behind a raw input it must be bytes")
    own = _CONNECTION - {"content-length"} if head else _CONNECTION
    return status, [(n, v) for n, v in headers if _checked(n, v) not in own], body or b""


def error(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Rendered:
    """Of the gateway itself: {"error": text}."""
    return status, [*headers, _JSON], msgspec.json.encode({"error": text})


def _encode_json(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body, enc_hook=_plain)
    except (TypeError, ValueError, RecursionError) as problem:
        raise ValueError(f"the answer's body has no form in JSON: {problem}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, Undefined):
        return None
    if isinstance(value, BigInt):
        return int(value)
    if isinstance(value, Date):
        return datetime.fromisoformat(value.isoformat())
    kind = type(value).__name__
    raise TypeError(f"{kind} has none as a key" if isinstance(value, _ONLY_NO_KEYS) else f"{kind} has none")


def _checked(name: str, value: str) -> str:
    """The name in lower case."""
    if not _NAME(name):
        raise ValueError(f"the answer's header {name[:80]!r} has a name that HTTP does not allow")
    if _UNPRINTABLE(value):
        raise ValueError(f"the answer's header {name!r} holds a control character: {value[:80]!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the answer's header {name!r} is not Latin-1: {value[:80]!r}") from None
    return name.lower()

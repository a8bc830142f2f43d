"""Keys of requests, as a compiled service finds them in the real arguments of its handlers; and requests that are sent
on to the fluxion that they belong to. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from liquefy.hosting import KEY_BYTES_MAX
from liquefy.liquid.http import Request

_WHOLE = re.compile(r"(\s*[+-]?[\d_]+)\.0*\s*")


def key_in(request: Request, params: Mapping[str, Any], path: str, convert: str = "") -> str:
    """The key at `path` (`params.id`, `query.user`, `headers.x-user`, `body.name`, `cookies.sid`). `convert`: "int" if
    the handler makes a whole number of it. Raises LookupError if there is none that a context can have."""
    kind, *steps = path.split(".")
    found: Any = _part(kind, request, params)
    for step in steps:
        found = found[int(step)] if isinstance(found, list) and step.isdigit() else found[step]
    if convert == "int":
        found = _number(path, found)
    # Parameters that a framework converts, such as UUIDs, have one text each.
    if kind != "params" and (isinstance(found, bool) or not isinstance(found, str | int)):
        raise LookupError(path)
    text = str(found)
    if not 0 < len(text.encode("utf-8", "replace")) <= KEY_BYTES_MAX:
        raise LookupError(path)
    return text


def _number(path: str, found: Any) -> int:
    """As `int()` makes it, and as those that check parameters do, for whom "1.0" is one, too."""
    if isinstance(found, str) and (whole := _WHOLE.fullmatch(found)):
        found = whole[1]
    try:
        return int(found)
    except (ValueError, TypeError, OverflowError):
        raise LookupError(path) from None


def _part(kind: str, request: Request, params: Mapping[str, Any]) -> Any:
    if kind == "params":
        return params
    if kind == "query":
        return {name: values[0] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
    if kind == "headers":
        return {name.lower(): value for name, value in reversed(request.headers)}
    if kind == "cookies":
        try:
            return {name: morsel.value for name, morsel in SimpleCookie(request.header("cookie")).items()}
        except CookieError:
            return {}
    if kind == "body":
        return _body(request)
    raise LookupError(kind)


def _body(request: Request) -> Any:
    content_type = request.header("content-type").partition(";")[0].strip().lower()
    try:
        if content_type == "application/x-www-form-urlencoded":
            fields = parse_qs(request.body.decode(), keep_blank_values=True)
            return {name: values[0] for name, values in fields.items()}
        found = json.loads(request.body)
    except ValueError:
        raise LookupError("body") from None
    if not isinstance(found, dict | list):
        raise LookupError("body")
    return found


def forwarded(body: dict[str, Any], path: str, key: str) -> dict[str, Any]:
    """The body of the message that carries the request on: the key where the receiver's `key` looks for it."""
    inner: Any = key
    for step in reversed(path.split(".")):
        inner = {step: inner}
    return {**inner, "request": body}


def original(body: dict[str, Any]) -> dict[str, Any]:
    """The request as it came from the gateway, forwarded or not."""
    found: dict[str, Any] = body.get("request", body)
    return found

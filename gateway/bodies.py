"""What a request says, as plain values: query, headers' content type, body. Pure. A mistake of the client is
a ValueError whose text is for them; what we do not read at all is an Unsupported.

    application/json, *+json             the value
    application/x-www-form-urlencoded    {name: value}, {name: [values]} where a name is repeated
    multipart/form-data                  the same; a file is {"filename", "content_type", "content": bytes}
    text/*                               str, if its charset is one of CHARSETS
    anything else                        bytes
    no body                              None
"""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
import multipart

FIELDS_MAX = 1_000
"""Fields in a query or a form."""

PART_HEADERS_MAX = 16
"""Headers of one part of a multipart form."""

CHARSETS = frozenset((
    *("utf-8", "utf8", "us-ascii", "ascii", "latin-1", "latin1", "koi8-r", "koi8-u"),
    *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
    *(f"windows-125{part}" for part in range(9)),
    *("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"),
    *("shift_jis", "windows-31j", "euc-jp", "iso-2022-jp", "euc-kr", "gb2312", "gbk", "gb18030", "big5", "big5-hkscs"),
    *("windows-874", "tis-620"),
))  # fmt: skip
"""Of text, as clients name them. No others of those that Python has: some take time by the square of the length
(`punycode`: a minute for one MiB), and each name that it does not know would be remembered for good."""

_CODECS = {"windows-31j": "cp932", "windows-874": "cp874"}
"""What Python calls them, where that is something else."""

_decode_json = msgspec.json.Decoder().decode


class Unsupported(ValueError):
    """Not wrong, but nothing that we read: 415 in place of 400."""


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target: `/path?query`, `http://host/path?query` or `*`."""
    if not target.startswith("/"):
        scheme, separator, rest = target.partition("://")
        if separator and scheme.isalpha():
            at = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
            target = rest[at:] if rest[at : at + 1] == "/" else "/" + rest[at:]
    path, _, query = target.partition("?")
    return path.partition("#")[0], query.partition("#")[0]


def parse_query(query: str) -> dict[str, Any]:
    """name -> value, or a list of values where the name is repeated. Raises ValueError."""
    if not query:
        return {}
    return _fields(query, "the query")


def parse_body(content_type: str, body: bytes) -> Any:
    """See the module. Raises ValueError."""
    if not body:
        return None
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return _json(body)
    if kind == "application/x-www-form-urlencoded":
        try:
            return _fields(body.decode("ascii"), "the form")
        except UnicodeDecodeError:
            raise ValueError("the form is not URL-encoded") from None
    if kind == "multipart/form-data":
        return _multipart(content_type, body)
    if kind.startswith("text/"):
        return _text(parameters, body)
    return body


def _json(body: bytes) -> Any:
    try:
        return _decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("the body is JSON nested too deep") from None


def _fields(text: str, what: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    except ValueError:
        raise ValueError(f"{what} has more than {FIELDS_MAX} fields") from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        _put(found, name, value)
    return found


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    if name not in found:
        found[name] = value
    elif isinstance(found[name], list):
        found[name].append(value)
    else:
        found[name] = [found[name], value]


def _multipart(content_type: str, body: bytes) -> dict[str, Any]:
    _, options = multipart.parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if not boundary:
        raise ValueError("multipart/form-data without a boundary")
    found: dict[str, Any] = {}
    try:
        parser = multipart.MultipartParser(
            io.BytesIO(body),
            boundary,
            content_length=len(body),
            part_limit=FIELDS_MAX,
            memory_limit=len(body) + 1,
            spool_limit=len(body) + 1,
            header_limit=PART_HEADERS_MAX,
            strict=True,
        )
        for part in parser:
            content = part.raw
            if part.filename is not None:
                file = {"filename": part.filename, "content_type": part.content_type, "content": content}
                _put(found, part.name, file)
            else:
                _put(found, part.name, content.decode())
            part.close()
    except (multipart.MultipartError, UnicodeDecodeError, LookupError) as error:
        raise ValueError(f"the body is not multipart/form-data: {error}") from None
    return found


def _text(parameters: str, body: bytes) -> str:
    _, options = multipart.parse_options_header(f"text/plain;{parameters}")
    charset = options.get("charset", "utf-8").lower()
    if charset not in CHARSETS:
        raise Unsupported(f"text in the charset {charset[:40]} is not read here; send it in utf-8, or as bytes")
    try:
        return body.decode(_CODECS.get(charset, charset))
    except UnicodeDecodeError:
        raise ValueError(f"the body is not text in {charset}") from None


def decoded_path(path: str) -> str:
    """The path for people and programs, percent-decoded; bytes that are not UTF-8 become U+FFFD."""
    return unquote_to_bytes(path).decode(errors="replace") if "%" in path else path

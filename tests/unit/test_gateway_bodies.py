"""What requests say and how answers look."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import answers, bodies
from gateway.keys import KeyMissing, find_key


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a?b=c", ("/a", "b=c")),
        ("/a", ("/a", "")),
        ("/a?b?c#d", ("/a", "b?c")),
        ("http://host:1/a/b?c", ("/a/b", "c")),
        ("http://host", ("/", "")),
        ("http://host?x", ("/", "x")),
        ("*", ("*", "")),
    ],
)
def test_targets(target: str, expected: tuple[str, str]) -> None:
    assert bodies.split_target(target) == expected


def test_queries() -> None:
    assert bodies.parse_query("a=1&b=&a=2&c+d=%20%C3%A9&a=3") == {"a": ["1", "2", "3"], "b": "", "c d": " é"}
    with pytest.raises(ValueError, match="the query is not UTF-8"):
        bodies.parse_query("a=%ff")
    with pytest.raises(ValueError, match="more than 1000 fields"):
        bodies.parse_query("a=1&" * 1_001)


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a": [1, 2.5, null, "\xc3\xa9"]}', {"a": [1, 2.5, None, "é"]}),
        ("Application/Vnd.API+JSON; charset=utf-8", b"1", 1),
        ("application/json", b"", None),
        ("", b"", None),
        ("", b"raw", b"raw"),
        ("application/octet-stream", b"\xff", b"\xff"),
        ("text/plain", "é".encode(), "é"),
        ("text/csv; charset=latin-1", b"\xe9", "é"),
        ("application/x-www-form-urlencoded", b"a=1&a=2&b=%26", {"a": ["1", "2"], "b": "&"}),
    ],
)
def test_bodies(content_type: str, body: bytes, expected: Any) -> None:
    assert bodies.parse_body(content_type, body) == expected


MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xc3\xa9\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n'
    b"Content-Type: application/pdf\r\n\r\n\x00\r\n\xff\r\n"
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n--x--\r\n'
)


def test_multipart_forms() -> None:
    assert bodies.parse_body("multipart/form-data; boundary=x", MULTIPART) == {
        "a": ["é", "2"],
        "f": {"filename": "a.bin", "content_type": "application/pdf", "content": b"\x00\r\n\xff"},
    }


@pytest.mark.parametrize(
    ("content_type", "body", "problem"),
    [
        ("application/json", b'{"a": }', r"the body is not JSON: .*\(byte 6\)"),
        ("application/json", b'"\xff"', "the body is not JSON"),
        ("application/json", b"[" * 100_000, "not JSON|nested too deep"),
        ("text/plain", b"\xff", "not text in utf-8"),
        ("text/plain; charset=us-ascii", b"\xff", "not text in us-ascii"),
        ("application/x-www-form-urlencoded", b"\xff", "not URL-encoded"),
        ("multipart/form-data", b"x", "without a boundary"),
        ("multipart/form-data; boundary=x", MULTIPART[:-30], "not multipart/form-data"),
        ("multipart/form-data; boundary=x", b"nonsense", "not multipart/form-data"),
    ],
)
def test_mistakes_in_bodies(content_type: str, body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        bodies.parse_body(content_type, body)


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "unicode_escape", "hex", "nonsense", "x" * 9_000])
def test_charsets_that_are_not_read(charset: str) -> None:
    with pytest.raises(bodies.Unsupported, match=f"text in the charset {charset[:40]} is not read here"):
        bodies.parse_body(f"text/plain; charset={charset}", b"a-b")


@pytest.mark.parametrize("charset", sorted(bodies.CHARSETS))
def test_charsets_that_are(charset: str) -> None:
    name = {"windows-31j": "cp932", "windows-874": "cp874"}.get(charset, charset)
    assert bodies.parse_body(f'text/plain; Charset="{charset.upper()}"', "a b".encode(name)) == "a b"


@given(st.text(max_size=60), st.binary(max_size=60))
def test_no_body_breaks_it(content_type: str, body: bytes) -> None:
    for kind in (
        content_type,
        "application/json",
        "multipart/form-data; boundary=x",
        f"text/plain; {content_type}",
    ):
        with contextlib.suppress(ValueError):
            bodies.parse_body(kind, body)


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        ({"a": 1}, "application/json", b'{"a":1}'),
        ([True, None], "application/json", b"[true,null]"),
        (3, "application/json", b"3"),
        ("é", "text/plain; charset=utf-8", "é".encode()),
        (b"\xff", "application/octet-stream", b"\xff"),
        ((decimal.Decimal("1.50"), complex(1, 2)), "application/json", b'["1.50",[1.0,2.0]]'),
        ([datetime.date(2026, 1, 2), uuid.UUID(int=1)], "application/json", None),
    ],
)
def test_answers(body: Any, content_type: str, data: bytes | None) -> None:
    status, headers, rendered = answers.render(0, (("x-a", "1"),), body)
    assert (status, headers) == (200, [("x-a", "1"), ("content-type", content_type)])
    assert rendered == data or data is None


def test_an_answers_headers() -> None:
    headers = (("Content-Type", "text/html"), ("Content-Length", "99"), ("Transfer-Encoding", "chunked"))
    assert answers.render(201, headers, "<p>") == (201, [("Content-Type", "text/html")], b"<p>")
    assert answers.render(204, (), {"a": 1}) == (204, [], b"")
    assert answers.render(404, (("x", "a"),), None) == (404, [("x", "a")], b"")


@pytest.mark.parametrize(
    ("status", "header", "body"),
    [
        (200, ("x", "a\r\nset-cookie: b"), None),
        (200, ("x\r\ny", "a"), None),
        (200, ("x", "a\nb"), None),
        (200, ("", "a"), None),
        (200, ("x", "\u2603"), None),
        (101, ("x", "a"), None),
        (999, ("x", "a"), None),
        (200, ("x", "a"), {"a": object()}),
        (200, ("x", "a"), {(1, 2): "a"}),
    ],
)
def test_what_cannot_be_sent_is_refused(status: int, header: tuple[str, str], body: Any) -> None:
    with pytest.raises(ValueError, match="the answer's"):
        answers.render(status, (header,), body)


def test_a_key_without_a_form_is_told_from_a_value_without_one() -> None:
    with pytest.raises(ValueError, match="NoneType has none as a key"):
        answers.render(200, (), {None: 1})
    with pytest.raises(ValueError, match=r"object has none$"):
        answers.render(200, (), {"a": object()})


REQUEST = {"params": {"id": "7"}, "body": {"user": {"id": 3, "on": True}, "none": None}, "method": "GET"}


def test_keys() -> None:
    assert find_key(REQUEST, ("params", "id")) == "7"
    assert find_key(REQUEST, ("body", "user", "id")) == "3"
    assert find_key(REQUEST, ("method",)) == "GET"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("params.name", "the request has no params.name"),
        ("body.user.id.more", "the request has no body.user.id.more"),
        ("query.x", "the request has no query.x"),
        ("body.none", "body.none, is neither"),
        ("body.user.on", "body.user.on, is neither"),
        ("body.user", "body.user, is neither"),
    ],
)
def test_keys_that_are_not_there(path: str, problem: str) -> None:
    with pytest.raises(KeyMissing, match=problem):
        find_key(REQUEST, tuple(path.split(".")))


def test_keys_have_a_length() -> None:
    for key in ("", "x" * 513, "é" * 257):
        with pytest.raises(KeyMissing, match="1 to 512"):
            find_key({"params": {"id": key}}, ("params", "id"))

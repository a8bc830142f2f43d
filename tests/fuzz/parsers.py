"""Bytes from outside, to whatever reads them: each function here takes any bytes, and either makes sense of them or
raises what its callers expect. What it made sense of it must be able to write again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from compiler.compile import compile_source, emit
from compiler.flx.parsing import formatted
from gateway import bodies, http1, routes
from liquefy import bundle, control, curve, graphfile, hosting, letters, signing, values
from liquefy import messages as m
from liquefy.admission import PEERS, Allowed
from liquefy.admission import parse as parse_keys
from liquefy.errors import BadFrame, StoreUnavailable, UserError
from liquefy.redis_wire import _Connection

Target = Callable[[bytes], object]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _decoded(decode: Target) -> Target:
    def target(data: bytes) -> None:
        with contextlib.suppress(BadFrame):
            decode(data)

    return target


def _values(data: bytes) -> None:
    try:
        value = values.unpack(data)
    except BadFrame:
        return
    packed = values.pack(value)
    assert values.pack(values.unpack(packed)) == packed


def _host_frames(data: bytes) -> None:
    reader = hosting.FrameReader()
    with contextlib.suppress(BadFrame):
        for at in range(0, len(data), 7):
            for frame in reader.feed(data[at : at + 7]):
                hosting.decode_from_host(frame)


def _text(read: Callable[[str], object]) -> Target:
    def target(data: bytes) -> None:
        with contextlib.suppress(UserError):
            read(data.decode("utf-8", "replace"))

    return target


def _file(name: str, read: Callable[[Path], object]) -> Target:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UserError):
            path = Path(folder, name)
            path.write_bytes(data)
            read(path)

    return target


def _compiled(path: Path) -> None:
    program = compile_source(path)
    with tempfile.TemporaryDirectory() as out:
        emit(program, Path(out, "out"))


TAR_BYTES_MAX = 4_000
"""Of what a bundle may hold, here: so that few bytes are too many."""


def _unpacked(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(bundle, "BUNDLE_BYTES_MAX", TAR_BYTES_MAX):
        around = Path(folder)
        with contextlib.suppress(UserError):
            bundle.unpack(data, around / "in" / "it")
        found = list(around.rglob("*"))
        assert all(path.relative_to(around).parts[0] == "in" and not path.is_symlink() for path in found)
        assert sum(path.stat().st_size for path in found if path.is_file()) <= TAR_BYTES_MAX


TAR_NAMES = (
    *("../a", "/a", "a/../../b", "a", "a/b", "", ".", "a" * 300, "a\x01b", "//x", "a/./b", "é\udcff"),
    *("d/" * 60 + "x", "d/" * 70 + "x", "d/" * 1_900 + "x", "e/" * 400 + "../" * 400 + "x"),
)
TAR_KINDS = (
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME),
)
TAR_SAYS: tuple[dict[str, str], ...] = (
    *({"size": "-1000000000000"}, {"size": "1000000000000"}, {"size": "x"}, {"size": "-1"}, {"mtime": "nan"}),
    *({"path": "../x"}, {"path": "d/" * 1_900}, {"linkpath": "/"}, {"hdrcharset": "BINARY", "path": "x"}),
    {"GNU.sparse.size": "-1000000000000", "GNU.sparse.numblocks": "0", "GNU.sparse.map": ""},
    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "../x", "GNU.sparse.realsize": "5"},
)
"""In the words before a file (PAX)."""


def _tarred(data: bytes) -> None:
    """The same for an archive that is one, with entries as `data` says: four bytes for each, of which most are a file
    or a folder that is as it should be."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for at in range(0, len(data) - 3, 4):
            name, kind, says, size = data[at : at + 4]
            entry = tarfile.TarInfo(f"f{at}" if name < 224 else TAR_NAMES[name % len(TAR_NAMES)])
            entry.type = tarfile.DIRTYPE if kind % 4 == 0 else tarfile.REGTYPE
            if kind >= 240:
                entry.type, entry.linkname = TAR_KINDS[kind % len(TAR_KINDS)], TAR_NAMES[name % len(TAR_NAMES)]
            entry.mode, entry.size = name * 64, size * 16 if entry.isreg() else 0
            entry.pax_headers = TAR_SAYS[says % len(TAR_SAYS)] if says >= 224 else {}
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    _unpacked(gzip.compress(out.getvalue(), 1))
    if data:  # words about a file, as long as they say, or not; one after the other
        said = tarfile.TarInfo("././@LongLink")
        said.type, said.size = (b"L", b"K", b"x", b"g", b"X", b"S")[data[0] % 6], int.from_bytes(data[1:5], "big")
        _unpacked(gzip.compress(said.tobuf(tarfile.GNU_FORMAT) + data[5:].ljust(512, b"\0") + out.getvalue()))
        said.size, words = 512, b"10 path=b\n".ljust(512, b"\0")
        _unpacked(gzip.compress((said.tobuf(tarfile.GNU_FORMAT) + words) * data[-1] * 4 + out.getvalue(), 1))


class Wire:
    """A transport to nowhere."""

    def __init__(self) -> None:
        self.out = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.out += data

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


LIMITS = http1.Limits(10_000, 2_000, 10, 10, 10)


def _http(data: bytes) -> None:
    """One connection; requests are answered at once, after their bodies were read."""
    seen: list[http1.Exchange] = []

    def on_request(exchange: http1.Exchange) -> None:
        seen.append(exchange)
        path, query = bodies.split_target(exchange.target)
        routes.Router(()).match(exchange.method, path)
        assert len(exchange.body) <= LIMITS.body_bytes_max
        with contextlib.suppress(ValueError):
            values.pack([bodies.parse_query(query), exchange.headers, exchange.pairs])
            values.pack(bodies.parse_body(exchange.headers.get("content-type", ""), exchange.body))
        exchange.respond(200, [], b"")

    async def connect() -> None:
        server = http1.Server(LIMITS, on_request, lambda exchange: None, lambda status, text: ([], text.encode()))
        wire = Wire()
        connection = http1.Connection(server)
        connection.connection_made(wire)  # type: ignore[arg-type]
        step = 1 + len(data) % 97
        for at in range(0, len(data), step):
            connection.data_received(data[at : at + step])
        server.now_s += 100
        connection.sweep(server.now_s)
        connection.eof_received()
        connection.connection_lost(None)
        assert not wire.out or wire.out.startswith(b"HTTP/1.1 ")

    asyncio.run(connect())


def _body(data: bytes) -> None:
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain")
    kind = kinds[data[0] % len(kinds)] if data else ""
    with contextlib.suppress(ValueError):
        charset = "; charset=" + data[1:9].decode("latin-1") if data[:1] > b"\x80" else ""
        values.pack(bodies.parse_body(kind + charset, data[1:]))


def _redis(data: bytes) -> None:
    """A server that answers anything: whoever asked gets replies, or is told that it is gone."""

    async def ask() -> None:
        connection = _Connection("nowhere", 1.0)
        connection.connection_made(Wire())  # type: ignore[arg-type]
        asked = [connection.send(b"PING", count) for count in (1, 2, 1)]
        connection.data_received(data)
        connection.give_up()
        connection.connection_lost(None)
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, list | StoreUnavailable), answer

    asyncio.run(ask())


def _zap(data: bytes) -> None:
    said: list[str] = []
    request = data.split(b"\n")
    answer = curve.answer_zap(request, Allowed(), PEERS, lambda who, why: said.append(who))
    assert answer[2] == b"400"
    assert said


def _signed(data: bytes) -> None:
    for bytes_ in (data, signing.MARK + data):
        with contextlib.suppress(UserError):
            signing.checked(bytes_, Allowed())
        with contextlib.suppress(UserError):
            signing.code_of(bytes_)


TARGETS: dict[str, Target] = {
    "control": _decoded(m.decode_control),
    "kind": _decoded(m.kind_of),
    "header": _decoded(m.decode_header),
    "payload": _decoded(m.decode_payload),
    "split": _decoded(lambda data: m.split_payload(data, [m.Part("g/s/0", 1, 1)])),
    "message": _decoded(m.decode_message),
    "letter": _decoded(letters.decode_letter),
    "to_host": _decoded(hosting.decode_to_host),
    "from_host": _host_frames,
    "request": _decoded(control.decode_request),
    "reply": _decoded(control.decode_reply),
    "values": _values,
    "bundle": _unpacked,
    "gzip": lambda data: _unpacked(gzip.compress(data)),
    "tar": _tarred,
    "signed": _signed,
    "keys": _text(lambda text: parse_keys(text, "allowed")),
    "graph": _file("graph.yaml", graphfile.read),
    "flx": _text(formatted),
    "python": _file("app.py", _compiled),
    "javascript": _file("app.js", _compiled),
    "http": _http,
    "body": _body,
    "redis": _redis,
    "zap": _zap,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "control": (m.encode(m.Hello("worker", "node1", [m.Claim("g/s/0", 1)])), m.encode(m.Ack([1, 2]))),
    "header": (m.encode([m.Part("g/s/0", 1, 1)]),),
    "payload": (m.encode([[m.Posted(1, m.Message(b"i", "s", "k", b"b", 1))]]),),
    "split": (m.encode([[m.Posted(1, m.Message(b"i", "s", "k", b"b", 1))]]),),
    "message": (m.encode(m.Message(b"i", "s", "k", b"b", 1)),),
    "from_host": (hosting.frame(hosting.Ran([hosting.Done(1, [hosting.Emitted("t", "", b"b")], {}, ())])),),
    "request": (control.encode(control.Request(1, "migrate", {"what": "store", "node": "node1"})),),
    "values": (
        values.pack((1, {2, 3}, frozenset((4,)), 1 + 2j, bytearray(b"x"))),
        values.pack({"a": [1.5, 2**70, b"x", None]}),
        values.pack(["x", datetime(2024, 2, 29, tzinfo=UTC), Decimal("1.5"), timedelta(1)] * 3),
    ),
    "graph": ((EXAMPLES / "visits" / "graph.yaml").read_bytes(),),
    "flx": ((EXAMPLES / "visits-flx" / "visits.flx").read_bytes(),),
    "python": (
        b"from flask import Flask\napp = Flask(__name__)\nn = {}\n@app.get('/<user>')\ndef f(user):\n"
        b"    n[user] = n.get(user, 0) + 1\n    return str(n[user])\n",
    ),
    "javascript": (
        b"const express = require('express');\nconst app = express();\nconst n = {};\n"
        b"app.get('/:user', (req, res) => {\n  n[req.params.user] = (n[req.params.user] || 0) + 1;\n"
        b"  res.json(n[req.params.user]);\n});\napp.listen(8080);\n",
    ),
    "http": (
        b"POST /a?b=%41 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        b"3\r\n[1]\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
    ),
    "tar": (
        bytes((0, 0, 0, 0)) + bytes((0, 1, 0, 200)) * 2,
        bytes((0, 0, 231, 0)) + bytes((0, 1, 0, 200)) * 2,
        bytes((238, 1, 0, 8)),
    ),
    "body": (
        *(b'\0{"a": [1, 2]}', b"\1a=b&c=%41&a=d"),
        b'\2--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
    ),
    "redis": (b"*2\r\n:1\r\n$3\r\nabc\r\n+OK\r\n-ERR x\r\n:5\r\n",),
    "zap": (b"\n".join((b"1.0", b"1", b"liquefy", b"127.0.0.1", b"", b"CURVE", bytes(32).replace(b"\n", b"x"))),),
    "keys": (b"worker rack2 " + b"a" * 64 + b" revoked\n",),
    "letter": (
        letters.encode_letter(
            letters.DeadLetter("a", "g", "s", "g/s/0", "k", m.Message(b"i", "s", "k", b"b", 1), "e", "t", 1.0, 1)
        ),
    ),
}

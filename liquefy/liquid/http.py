"""Requests and responses of a service that is run without a network: shapes, and their two other forms: HTTP/1.1 bytes
for servers that want a connection, WSGI's `environ`.

Knows no framework, no socket and no fluxion.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from liquefy.liquid.sink import Sink

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer", "expect")
)
"""Headers between a client and its gateway: no business of the service."""

_NO_BODY = frozenset((204, 304))


class Request(NamedTuple):
    """As the gateway got it. `target` is path and query as received, `headers` pairs as received."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    client: str = "127.0.0.1:0"
    scheme: str = "http"

    @property
    def path(self) -> str:
        """Still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str:
        """The first of that name (lower case); "" if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class Response(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class NoResponse(Exception):
    """The service ended a connection without an answer that can be read."""


def request_of(body: dict[str, Any]) -> Request:
    """The request in the body of a message from a raw input."""
    target = body.get("target") or body["path"]
    if not target.startswith("/"):
        _, separator, rest = target.partition("://")
        slash = rest.find("/")
        target = (rest[slash:] if slash >= 0 else "/") if separator else target
    headers = [(name, value) for name, value in body.get("headers") or ()]
    return Request(
        body["method"],
        target,
        headers,
        body.get("body") or b"",
        body.get("client") or "127.0.0.1:0",
        body.get("scheme") or "http",
    )


def address(text: str) -> tuple[str, int]:
    """`127.0.0.1:4711` in parts."""
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port) if port.isdigit() else 0


def server_address(request: Request) -> tuple[str, int]:
    """Where the client thinks it sent the request to."""
    host, separator, port = request.header("host").partition(":")
    return host or "127.0.0.1", int(port) if separator and port.isdigit() else 80


# -- HTTP/1.1 ---------------------------------------------------------------------------------------------


def to_wire(request: Request) -> bytes:
    """The request as a client would send it that wants one answer."""
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    sized = False
    for name, value in request.headers:
        lower = name.lower()
        if lower in HOP_BY_HOP:
            continue
        if lower == "content-length":
            sized, value = True, str(len(request.body))
        lines.append(f"{name}: {value}")
    if request.body and not sized:
        lines.append(f"Content-Length: {len(request.body)}")
    lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body


def from_wire(data: bytes, method: str) -> Response:
    """A whole answer, up to the end of its connection. Raises NoResponse."""
    while True:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            head, separator, rest = data.partition(b"\n\n")
        if not separator:
            raise NoResponse(f"the service closed the connection after {len(data)} bytes, without an answer")
        first, *lines = head.decode("latin-1").splitlines()
        parts = first.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/") or not parts[1].isdigit():
            raise NoResponse(f"the service answered with {first[:60]!r}, which is no HTTP")
        status = int(parts[1])
        if status >= 200:
            break
        data = rest
    headers = [(name.strip(), value.strip()) for name, colon, value in (li.partition(":") for li in lines) if colon]
    if method == "HEAD" or status in _NO_BODY:
        return Response(status, headers, b"")
    lower = {name.lower(): value for name, value in headers}
    if "chunked" in lower.get("transfer-encoding", "").lower():
        return Response(status, headers, _unchunked(rest))
    if lower.get("content-length", "").isdigit():
        rest = rest[: int(lower["content-length"])]
    return Response(status, headers, rest)


def _unchunked(data: bytes) -> bytes:
    return b"".join(Chunks().feed(data))


class Chunks:
    """Takes a chunked body apart, as it comes."""

    def __init__(self) -> None:
        self._data = b""
        self._ended = False

    def feed(self, data: bytes) -> list[bytes]:
        self._data += data
        found: list[bytes] = []
        while not self._ended:
            end = self._data.find(b"\r\n")
            if end < 0:
                break
            try:
                size = int(self._data[:end].partition(b";")[0], 16)
            except ValueError:
                size = 0
            if size == 0:
                self._ended = True
            elif len(self._data) < end + 2 + size + 2:
                break
            else:
                found.append(self._data[end + 2 : end + 2 + size])
                self._data = self._data[end + 2 + size + 2 :]
        return found


class Incoming:
    """An answer of HTTP/1.1 while it comes in: its body goes to the sink, as far as it is known."""

    def __init__(self, method: str, sink: Sink) -> None:
        self._method, self._sink = method, sink
        self._data = b""
        self._chunks: Chunks | None = None
        self._inside = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if not self._inside and not self._head():
            return
        data, self._data = self._data, b""
        for piece in self._chunks.feed(data) if self._chunks is not None else (data,):
            self._sink.piece(piece)

    def _head(self) -> bool:
        """Whether the body has begun, and is one that may take long: without a length."""
        head, separator, rest = self._data.partition(b"\r\n\r\n")
        if not separator or self._method == "HEAD":
            return False
        response = from_wire(head + separator, "HEAD")
        lower = {name.lower(): value for name, value in response.headers}
        if response.status < 200 or response.status in _NO_BODY or "content-length" in lower:
            return False
        self._chunks = Chunks() if "chunked" in lower.get("transfer-encoding", "").lower() else None
        self._sink.start(response.status, [(n, v) for n, v in response.headers if n.lower() not in HOP_BY_HOP])
        self._inside, self._data = True, rest
        return True


# -- WSGI -------------------------------------------------------------------------------------------------


def to_environ(request: Request, threaded: bool) -> dict[str, Any]:
    """WSGI's form."""
    host, port = server_address(request)
    client, client_port = address(request.client)
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threaded,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "REQUEST_URI": request.target,
        "RAW_URI": request.target,
        "REMOTE_ADDR": client,
        "REMOTE_PORT": client_port,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "liquefy",
    }
    for name, value in request.headers:
        if "_" in name or name.lower() in HOP_BY_HOP:
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
            if key in environ:
                value = f"{environ[key]},{value}"
        environ[key] = value
    if request.body:
        environ["CONTENT_LENGTH"] = str(len(request.body))
    return environ


class WsgiAnswer:
    """`start_response`, and what a WSGI application answers through it."""

    __slots__ = ("headers", "status", "written")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.status, self.headers = int(status[:3]), list(headers)
        return self.written.append

    def collect(self, parts: Iterable[bytes], method: str, sink: Sink) -> Response:
        """Raises whatever the application raises while it is read. Closes it."""
        empty = method == "HEAD"
        try:
            for part in parts:
                if self.status and not empty:
                    self._into(sink)
                    sink.piece(part)
                if sink.gone:
                    break
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                try:
                    close()
                except Exception:
                    traceback.print_exc()  # the answer is complete
        if not self.status:
            raise NoResponse("the service did not call start_response")
        self._into(sink)
        data = sink.collected()
        return Response(self.status, self.headers, b"" if empty or self.status in _NO_BODY else data)

    def _into(self, sink: Sink) -> None:
        sink.start(self.status, self.headers)
        for part in self.written:
            sink.piece(part)
        self.written.clear()

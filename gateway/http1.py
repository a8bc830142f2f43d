"""HTTP/1.1 connections: bytes of clients in, one `Exchange` a request out, answers back in order. Parses with
`httptools` (llhttp, strict) on the transports of uvloop; why, see docs/decisions/0001-http-server.md.

What a client can make us hold is bounded here: headers, bodies, pipelined requests, time for each of them,
and connections. Requests of one connection are handled side by side only while all of them are safe (GET,
HEAD ...), as RFC 9112 asks; answers leave in order whatever happens.

Knows no routes, no bodies' meaning and no cluster.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import httptools

SLICE_BYTES = 16 * 1024
"""Parsed at a time: bounds what a client can pipeline into memory, and how far limits are overrun."""

PIPELINE_MAX = 16
"""Requests of one connection under way; no more are read until one is answered."""

CONNECTIONS_MAX = 10_000
"""Further ones are answered 503 and closed."""

BACKLOG = 1_024
"""Connections that the kernel completes before we take them."""

LINGER_S = 2.0
"""After an answer to a request that was not read to its end, the rest is read and thrown away so long:
closing at once would reset the connection before the client has read the answer."""

SWEEP_S = 0.1
"""How often connections are checked for timeouts; also the precision of these."""

RAW_BODY_FACTOR = 8
"""A chunked body may take this many times `body_bytes_max` on the wire (chunks of one byte take six)."""

STREAM_BUFFER_BYTES_MAX = 16 * 1024 * 1024
"""Of a streamed answer, for a client that does not read as fast as it comes; beyond it the client is cut off."""

NAMES_MAX = 256
"""Different names of headers whose lower case is remembered."""

_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_IDLE, _HEAD, _BODY, _LINGER = range(4)
_REASONS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}


class Limits(NamedTuple):
    """See `liquefy.config.GatewayConfig`; times in seconds."""

    body_bytes_max: int
    headers_bytes_max: int
    header_timeout_s: float
    body_timeout_s: float
    keep_alive_s: float
    queued_bytes_max: int = 2**62
    connections_max: int = CONNECTIONS_MAX


class Exchange:
    """One request and its answer. `headers`: lower-case name -> value, repeated ones joined by ", " (`cookie`
    by "; "). `target` is the request target as it came. `respond` may be called at any time, once."""

    __slots__ = (
        "_connection",
        "_pairs",
        "answer",
        "body",
        "chunked",
        "head_out",
        "headers",
        "held",
        "keep_alive",
        "method",
        "pieces",
        "raw",
        "safe",
        "target",
        "ticket",
        "version",
        "whole",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.method = ""
        self.target = ""
        self.version = ""
        self.headers: dict[str, str] = {}
        self._pairs: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.held = 0
        """Bytes of it that count as read and not answered."""
        self.keep_alive = True
        self.safe = False
        self.head_out = False
        self.chunked = False
        self.ticket = 0
        self.raw = False
        """For the application's own use, both."""
        self.answer: tuple[int, list[tuple[str, str]], bytes] | None = None
        self.pieces: list[bytes] | None = None
        """Of a streamed answer: those not written yet. Then the body of `answer` is empty."""
        self.whole = True
        """False while more pieces are to come."""

    @property
    def pairs(self) -> list[list[str]]:
        """The headers as they came: each, in order, with its name as written."""
        return [[name.decode("ascii"), value.decode("latin-1")] for name, value in self._pairs]

    @property
    def client(self) -> str:
        """Address and port of the other side, `127.0.0.1:4711`."""
        return self._connection.peer

    def stream(self, status: int, headers: list[tuple[str, str]]) -> None:
        """As `respond`, but the body follows, by `write`."""
        if self.answer is None:
            self.pieces, self.whole = [], False
            self.answer = (status, headers, b"")
            self._connection.answered(self)

    def write(self, data: bytes, last: bool) -> None:
        """The next piece of a streamed body."""
        if self.pieces is not None and not self.whole:
            self.pieces.append(data)
            self.whole = last
            self._connection.answered(self)

    def break_off(self) -> None:
        """End the connection in the middle of a streamed body."""
        if not self.whole:
            self._connection.abort()

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """`headers` without content-length, date and connection; they are made here. Names and values must be
        free of CR, LF and NUL, in Latin-1. A second call, or one for a client that is gone, does nothing."""
        if self.answer is None:
            self.answer = (status, headers, body)
            self._connection.answered(self)


class Refusal(Exception):
    """Ends a connection: this request is not read any further, and gets this answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Server:
    """Listens, and holds the connections. `on_request(exchange)`: a request is complete and its turn has
    come. `on_gone(exchange)`: its client went away before the answer. `error_answer(status, text)` makes the
    answers to what is not let through to `on_request`."""

    def __init__(
        self,
        limits: Limits,
        on_request: Callable[[Exchange], None],
        on_gone: Callable[[Exchange], None],
        error_answer: Callable[[int, str], tuple[list[tuple[str, str]], bytes]],
    ) -> None:
        self.limits = limits
        self.on_request = on_request
        self.on_gone = on_gone
        self.error_answer = error_answer
        self.connections: set[Connection] = set()
        self.held = 0
        """Bytes of bodies that were read, of all connections, and whose requests are not answered."""
        self.now_s = 0.0
        """Loop time, as of the last sweep."""
        self.date = ""
        self._listener: Any = None  # uvloop's is not what it says: its `sockets` are a list
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Returns the port that is listened on (for port 0). Raises OSError."""
        loop = asyncio.get_running_loop()
        self._sweep()
        made = cast(Callable[[], asyncio.Protocol], lambda: Connection(self))
        self._listener = await loop.create_server(made, host, port, backlog=BACKLOG)
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, wait so long for the answers to those under way, then close everything."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.finish()
        ends = asyncio.get_running_loop().time() + grace_s
        while self.connections and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        self.date = formatdate(usegmt=True)
        for connection in list(self.connections):
            connection.sweep(self.now_s)
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)


class Connection:
    """One client: an `asyncio.Protocol` by what it can do. (As a subclass of it, compiled, it would not know of weak
    references to it.) `_waiting` holds requests read and not begun, `_begun` those whose answers are not
    written."""

    __deletable__ = ("_parser", "_current")  # mypyc wants to know

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Exchange] = deque()
        self._begun: deque[Exchange] = deque()
        self._beginning = False
        self._deaf = False
        """What the client sends from now on is thrown away."""
        self._unparsed = b""
        self._paused = False
        self._choked_since_s: float | None = None
        self._phase = _HEAD
        self._since_s = server.now_s
        self._messages = 0
        self._raw = 0
        self._told = 0
        """Bytes of the headers, or of the body, that the parser has told us of; `_raw` of those it was
        given."""
        self._url = b""
        self._chunks: list[bytes] = []
        self._held = 0
        self._current = Exchange(self)
        """The request that is being read, or is to come: one that was read is not kept here while the client idles."""
        self._refusal: Refusal | None = None

    # -- asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        most = self._limits.connections_max
        if len(self._server.connections) >= most:
            self._refuse(Refusal(503, f"too many connections (limit {most})"))
            self._transport.close()
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.held -= self._held
        self._held = 0
        self._deaf = True
        for exchange in self._begun:
            if exchange.answer is None or not exchange.whole:
                exchange.answer, exchange.whole = (0, [], b""), True
                self._server.on_gone(exchange)
        self._begun.clear()
        self._waiting.clear()
        # These hold us: what was read of a body would stay, counted no more, until somebody looks for such circles.
        del self._parser, self._current

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._paused:
            self._unparsed += data
        else:
            self._feed(data)

    def eof_received(self) -> bool:
        """A client may close its side and still wait for the answers; but of one that is streamed to, or is held by an
        application, nobody would ever learn that it is gone, and its own server would take this for leaving, too."""
        if self._phase == _LINGER or not (self._begun or self._waiting):
            return False
        if any(exchange.raw or not exchange.whole for exchange in self._begun):
            return False
        self.finish()
        return True

    def pause_writing(self) -> None:
        self._choked_since_s = self._server.now_s

    def resume_writing(self) -> None:
        self._choked_since_s = None
        self._begin()
        self._resume_soon()

    @property
    def peer(self) -> str:
        """See Exchange.client."""
        address = self._transport.get_extra_info("peername") or ("", 0)
        return f"{address[0]}:{address[1]}"

    # -- reading ------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES:
            self._parse(data)
            data = b""
        view = memoryview(data)
        at = 0
        while at < len(data) and not self._deaf:
            if len(self._waiting) >= PIPELINE_MAX:
                self._unparsed = data[at:]
                break
            self._parse(view[at : at + SLICE_BYTES])
            at += SLICE_BYTES
        if len(self._waiting) >= PIPELINE_MAX and not self._paused and not self._deaf:
            self._paused = True
            self._transport.pause_reading()

    def _parse(self, piece: bytes | memoryview) -> None:
        if self._phase == _IDLE:
            self._phase, self._since_s = _HEAD, self._server.now_s
        phase, messages = self._phase, self._messages
        try:
            self._parser.feed_data(piece)
            if self._phase == phase and self._messages == messages and not self._deaf:
                self._raw += len(piece)
                self._check_size()
        except httptools.HttpParserUpgrade:
            self._deaf = True
        except httptools.HttpParserCallbackError as error:
            if self._refusal is None:
                raise RuntimeError("the parser was interrupted") from error
            self._refuse(self._refusal)
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(Refusal(501, "unknown method"))
        except httptools.HttpParserError as error:
            if not self._deaf:
                self._refuse(Refusal(400, f"not a request in HTTP/1.1: {error}"))

    def _check_size(self) -> None:
        """Of what the parser keeps or skips without telling us: unfinished headers, chunk frames,
        trailers."""
        limits = self._limits
        if self._phase == _HEAD and self._raw > limits.headers_bytes_max:
            raise _headers_too_large(limits)
        if self._raw > RAW_BODY_FACTOR * limits.body_bytes_max + limits.headers_bytes_max:
            raise _body_too_large(limits)

    def _resume_soon(self) -> None:
        if self._paused and len(self._waiting) < PIPELINE_MAX:
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if not self._paused or self._transport.is_closing() or len(self._waiting) >= PIPELINE_MAX:
            return
        self._paused = False
        self._since_s = self._server.now_s
        data, self._unparsed = self._unparsed, b""
        if data and not self._deaf:
            self._feed(data)
        if not self._paused:
            self._transport.resume_reading()

    # -- the parser's callbacks ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._messages += 1
        self._phase, self._since_s = _HEAD, self._server.now_s
        self._raw = self._told = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._told += len(url)
        if self._told > self._limits.headers_bytes_max:
            limit = self._limits.headers_bytes_max
            self._interrupt(Refusal(414, f"the address is too long (limit {limit} bytes)"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase != _HEAD:
            return  # the trailer of a chunked body: it may be ignored, and must not pass for headers
        self._told += len(name) + len(value) + 4
        if self._told > self._limits.headers_bytes_max:
            self._interrupt(_headers_too_large(self._limits))
        headers = self._current.headers
        self._current._pairs.append((name, value))
        key = _names.get(name) or _name(name)
        text = value.decode("latin-1")
        if key in headers:
            if key == "host":
                self._interrupt(Refusal(400, "more than one Host header"))
            text = headers[key] + ("; " if key == "cookie" else ", ") + text
        headers[key] = text

    def on_headers_complete(self) -> None:
        exchange, parser = self._current, self._parser
        headers = exchange.headers
        method = parser.get_method()
        exchange.method = _methods.get(method) or method.decode("ascii")
        exchange.safe = exchange.method in _SAFE
        exchange.target = self._url.decode("latin-1")
        exchange.version = parser.get_http_version()
        if "host" not in headers and exchange.version == "1.1":
            self._interrupt(Refusal(400, "no Host header"))
        has_body = "content-length" in headers or "transfer-encoding" in headers
        if parser.should_upgrade() and has_body and headers.get("content-length") != "0":
            self._interrupt(Refusal(501, "a request with a body cannot be upgraded to another protocol"))
        if int(headers.get("content-length") or 0) > self._limits.body_bytes_max:
            self._interrupt(_body_too_large(self._limits))
        self._phase, self._since_s = _BODY, self._server.now_s
        self._raw = self._told = 0
        if "expect" in headers and has_body:
            if headers["expect"].lower() != "100-continue":
                self._interrupt(Refusal(417, "only `Expect: 100-continue` is known"))
            if not self._begun and not self._waiting:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._told += len(body)
        if self._told > self._limits.body_bytes_max:
            self._interrupt(_body_too_large(self._limits))
        server = self._server
        if server.held + len(body) > self._limits.queued_bytes_max:
            self._interrupt(Refusal(503, f"{server.held} bytes of requests are being read already; try again"))
        server.held += len(body)
        self._held += len(body)
        self._current.held += len(body)
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        exchange = self._current
        chunks = self._chunks
        if chunks:
            exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._url, self._chunks, self._current = b"", [], Exchange(self)
        exchange.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._deaf = self._deaf or not exchange.keep_alive
        self._phase, self._since_s = _IDLE, self._server.now_s
        self._waiting.append(exchange)
        self._begin()

    def _interrupt(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise refusal

    # -- answering ----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Hand over requests whose turn has come."""
        if self._beginning:
            return
        self._beginning = True
        waiting, begun = self._waiting, self._begun
        while waiting and self._choked_since_s is None:
            exchange = waiting[0]
            if begun and not self._side_by_side(exchange):
                break
            begun.append(waiting.popleft())
            if exchange.answer is None:
                self._server.on_request(exchange)
            else:
                self._write_answers()
        self._beginning = False

    def _side_by_side(self, exchange: Exchange) -> bool:
        """Whether it may be handled beside those that are."""
        begun = self._begun
        safe = exchange.safe and exchange.answer is None and len(begun) < PIPELINE_MAX
        return safe and all(other.safe for other in begun)

    def answered(self, exchange: Exchange) -> None:
        """Called by Exchange.respond."""
        if self._begun and self._begun[0] is exchange:
            self._write_answers()
            self._begin()
            if self._paused:
                self._resume_soon()

    def _write_answers(self) -> None:
        begun = self._begun
        while begun and begun[0].answer is not None:
            exchange = begun[0]
            if exchange.pieces is None:
                self._write(exchange)
            else:
                self._write_pieces(exchange, exchange.pieces)
                if not exchange.whole:
                    return
            begun.popleft()
            self._held -= exchange.held
            self._server.held -= exchange.held
            exchange.held = 0
            self._since_s = self._server.now_s if self._phase == _IDLE else self._since_s
            if not exchange.keep_alive:
                self._waiting.clear()
                self._end()

    def _write(self, exchange: Exchange) -> None:
        assert exchange.answer is not None
        status, headers, body = exchange.answer
        framing = ""
        if status == 204 or status == 304:
            body = b""
        elif exchange.method != "HEAD" or not _states_length(headers):
            framing = f"content-length: {len(body)}\r\n"
        data = self._head(exchange, status, headers, framing)
        self._transport.write(data if exchange.method == "HEAD" else data + body)

    def _head(self, exchange: Exchange, status: int, headers: list[tuple[str, str]], framing: str) -> bytes:
        """Status line and headers; `framing`: the line that says how the body ends, "" if there is none."""
        head = _REASONS.get(status) or f"HTTP/1.1 {status} \r\n"
        for name, value in headers:
            head += f"{name}: {value}\r\n"
        kept = ""
        if not exchange.keep_alive:
            kept = "connection: close\r\n"
        elif exchange.version == "1.0":
            kept = "connection: keep-alive\r\n"
        return f"{head}{framing}{kept}date: {self._server.date}\r\n\r\n".encode("latin-1")

    def _write_pieces(self, exchange: Exchange, pieces: list[bytes]) -> None:
        """What is there of a streamed answer."""
        assert exchange.answer is not None
        if not exchange.head_out:
            exchange.head_out = True
            status, headers, _ = exchange.answer
            measured = _states_length(headers)
            exchange.chunked = not measured and exchange.version == "1.1"
            exchange.keep_alive = exchange.keep_alive and (measured or exchange.chunked)
            framing = "transfer-encoding: chunked\r\n" if exchange.chunked else ""
            self._transport.write(self._head(exchange, status, headers, framing))
        data = b"".join(pieces)
        if exchange.chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if exchange.chunked and exchange.whole:
            data += b"0\r\n\r\n"
        pieces.clear()
        if data and exchange.method != "HEAD":
            self._transport.write(data)
        if self._transport.get_write_buffer_size() > STREAM_BUFFER_BYTES_MAX:
            self._transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, after those before it, what is not read any further."""
        exchange = Exchange(self)
        exchange.method = self._current.method
        exchange.answer = (refusal.status, *self._server.error_answer(refusal.status, refusal.text))
        exchange.keep_alive = False
        self._deaf = True
        self._phase, self._since_s = _LINGER, self._server.now_s
        self._waiting.append(exchange)
        self._begin()

    def _end(self) -> None:
        self._deaf = True
        self._unparsed = b""
        if self._phase != _LINGER:
            self._transport.close()
            return
        self._since_s = self._server.now_s
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._transport.write_eof()

    def finish(self) -> None:
        """Answer what is under way, then close."""
        self._deaf = True
        self._unparsed = b""
        last = self._waiting[-1] if self._waiting else self._begun[-1] if self._begun else None
        if last is None:
            self._transport.close()
        else:
            last.keep_alive = False

    def abort(self) -> None:
        self._transport.abort()

    def sweep(self, now_s: float) -> None:
        """Cut off a client that is too slow."""
        limits, waited_s = self._limits, now_s - self._since_s
        if self._choked_since_s is not None and now_s - self._choked_since_s > limits.body_timeout_s:
            self._transport.abort()
        elif self._phase == _LINGER:
            if waited_s > LINGER_S and not self._begun and not self._waiting:
                self._transport.close()
        elif self._deaf or self._paused:
            pass  # the client can do nothing about it
        elif self._phase == _IDLE:
            if waited_s > limits.keep_alive_s and not self._begun and not self._waiting:
                self._transport.close()
        elif self._phase == _HEAD and waited_s > limits.header_timeout_s:
            if self._messages or self._raw:
                self._refuse(Refusal(408, f"the headers took longer than {limits.header_timeout_s:g} s"))
            else:
                self._transport.close()
        elif self._phase == _BODY and waited_s > limits.body_timeout_s:
            self._refuse(Refusal(408, f"the body took longer than {limits.body_timeout_s:g} s"))


_methods = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

_names: dict[bytes, str] = {}
"""Names of headers as they came -> in lower case; those that most requests have."""


def _name(name: bytes) -> str:
    key = name.lower().decode("ascii")
    if len(_names) < NAMES_MAX:
        _names[name] = key
    return key


def _states_length(headers: list[tuple[str, str]]) -> bool:
    return any(name.lower() == "content-length" for name, _ in headers)


def _headers_too_large(limits: Limits) -> Refusal:
    return Refusal(431, f"the headers are too large (limit {limits.headers_bytes_max} bytes)")


def _body_too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"the body is too large (limit {limits.body_bytes_max} bytes)")

"""HTTP/1.1 connections: bytes of clients in, one `Exchange` a request out, answers back in order. Parses with
`httptools` (llhttp, strict) on the transports of uvloop; why, see docs/decisions/0001-http-server.md.

What a client can make us hold is bounded here: headers, bodies, pipelined requests, answers, time for each of
them, and connections. Requests of one connection are handled side by side only while all of them are safe (GET,
HEAD ...), as RFC 9112 asks; answers leave in order whatever happens. While a request could not begin, none is read:
TCP keeps what the client sends.

`Server.held` counts, of all connections, whatever has to be kept: requests not read to their end, what was read and
waits, bodies, answers that cannot be written. A request that comes whole and begins at once, and an answer to a client
who reads, are not counted but for the body.

Knows no routes, no bodies' meaning and no cluster.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import httptools

SLICE_BYTES = 16 * 1024
"""Of a body, parsed at a time: bounds how far limits are overrun."""

HEAD_SLICE_BYTES = 4 * 1024
"""The same of anything else. Requests pipelined behind one that they wait for are read so far beyond it."""

FIELD_BYTES = 384
"""What a header costs in memory, besides its bytes, which are there twice."""

REQUEST_FIELDS = 4
"""So many headers cost as much as a request without any."""

PIPELINE_MAX = 16
"""Requests of one connection under way. At first it is one, and one more with each answer that the client takes at
once; one again when it does not. No more are read until one is answered, nor while one waits or is not safe."""

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
_VERSIONS = ("1.1", "1.0")
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
        "head_bytes",
        "head_out",
        "headers",
        "held",
        "held_head",
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
        """Bytes of the body, and of an answer that cannot be written yet, that count as kept."""
        self.head_bytes = 0
        """On the wire."""
        self.held_head = 0
        """Bytes of memory of the headers that count as kept."""
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

    def let_go(self) -> None:
        """Nobody looks at headers and body any more: what is packed counts where it is kept."""
        self.headers, self._pairs, self.body = _NO_HEADERS, _NO_PAIRS, b""
        if self.held_head:
            self._connection.hold_head(self, 0)

    def stream(self, status: int, headers: list[tuple[str, str]]) -> None:
        """As `respond`, but the body follows, by `write`."""
        if self.answer is None:
            self.pieces, self.whole = [], False
            self.answer = (status, headers, b"")
            self._connection.answered(self, 0)

    def write(self, data: bytes, last: bool) -> None:
        """The next piece of a streamed body."""
        if self.pieces is not None and not self.whole:
            self.pieces.append(data)
            self.whole = last
            self._connection.answered(self, len(data))

    def break_off(self) -> None:
        """End the connection in the middle of a streamed body."""
        if not self.whole:
            self._connection.abort()

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """`headers` without content-length, date and connection; they are made here. Names and values must be
        free of CR, LF and NUL, in Latin-1. A second call, or one for a client that is gone, does nothing."""
        if self.answer is None:
            self.answer = (status, headers, body)
            self._connection.answered(self, len(body))


class Refusal(Exception):
    """Ends a connection: this request is not read any further, and gets this answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Server:
    """Listens, and holds the connections. `on_request(exchange)`: a request is complete and its turn has
    come. `on_gone(exchange)`: its client went away before the answer. `error_answer(status, text)` makes the
    answers to what is not let through to `on_request`. `on_full(client)`: that one is cut off, as there is no room
    for an answer that it does not read."""

    def __init__(
        self,
        limits: Limits,
        on_request: Callable[[Exchange], None],
        on_gone: Callable[[Exchange], None],
        error_answer: Callable[[int, str], tuple[list[tuple[str, str]], bytes]],
        on_full: Callable[[str], None] = lambda client: None,
    ) -> None:
        self.limits = limits
        self.on_request = on_request
        self.on_gone = on_gone
        self.error_answer = error_answer
        self.on_full = on_full
        self.connections: set[Connection] = set()
        self.held = 0
        """Bytes that are kept for all connections; see the module."""
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
        self._abreast = 1
        """How many may be under way."""
        self._deaf = False
        """What the client sends from now on is thrown away."""
        self._unparsed = b""
        """What came while no request could begin."""
        self._paused = False
        """There is so much of it that no more is read."""
        self._ended = False
        """After that, the client closed its side."""
        self._choked_since_s: float | None = None
        self._phase = _HEAD
        self._since_s = server.now_s
        self._messages = 0
        self._raw = 0
        self._told = 0
        """Bytes of the headers, or of the body, that the parser has told us of; `_raw` of those it was
        given."""
        self._url = b""
        self._body = b""
        self._rest = bytearray()
        """Of the body, what came after its first piece. One thing, not many: each chunk may be of a byte."""
        self._held = 0
        """Our part of what the server holds."""
        self._largest = 0
        """The largest piece that was written since the client had last taken all."""
        self._unread = 0
        """Of what we hold, answers that the client does not take; as of the last sweep."""
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
        if self._unparsed or ((self._begun or self._waiting) and self._full()):
            self._put_off(data)
        else:
            self._feed(data)

    def eof_received(self) -> bool:
        """A client may close its side and still wait for the answers; but of one that is streamed to, or is held by an
        application, nobody would ever learn that it is gone, and its own server would take this for leaving, too."""
        if self._phase == _LINGER or not (self._begun or self._waiting):
            return False
        if any(exchange.raw or not exchange.whole for exchange in self._begun):
            return False
        if self._unparsed:
            self._ended = True
        else:
            self.finish()
        return True

    def pause_writing(self) -> None:
        self._choked_since_s = self._server.now_s
        self._abreast = 1
        self._count_unread()

    def resume_writing(self) -> None:
        self._choked_since_s = None
        self._count_unread()
        self._write_answers()
        self._begin()
        self._resume_soon()

    @property
    def peer(self) -> str:
        """See Exchange.client."""
        address = self._transport.get_extra_info("peername") or ("", 0)
        return f"{address[0]}:{address[1]}"

    # -- reading ------------------------------------------------------------------------------------------

    def _full(self) -> bool:
        """Whether a request that came now could not begin."""
        begun = self._begun
        return bool(self._waiting) or (bool(begun) and (len(begun) >= self._abreast or not begun[0].safe))

    def _feed(self, data: bytes) -> None:
        if len(data) <= HEAD_SLICE_BYTES:
            self._parse(data)
            return
        view, at = memoryview(data), 0
        while at < len(data) and not self._deaf:
            if self._full():
                self._put_off(data[at:])
                return
            end = at + (SLICE_BYTES if self._phase == _BODY else HEAD_SLICE_BYTES)
            self._parse(view[at:end])
            at = end

    def _put_off(self, data: bytes) -> None:
        """Not before what is under way has been answered. A little is taken all the same: who reads nothing does not
        learn that the client is gone."""
        if not self._fits(len(data)):
            self._refuse(self._no_room())
            return
        self._hold(len(data))
        self._unparsed += data
        if not self._paused and len(self._unparsed) > SLICE_BYTES:
            self._paused = True
            self._transport.pause_reading()

    def _fits(self, size: int) -> bool:
        return self._server.held + size <= self._limits.queued_bytes_max

    def _no_room(self) -> Refusal:
        return Refusal(503, f"{self._server.held} bytes of requests and answers are held already; try again")

    def _hold(self, size: int) -> None:
        """Count so much more (or less)."""
        self._held += size
        self._server.held += size

    def hold_head(self, exchange: Exchange, size: int) -> None:
        """Count so much for its headers, in place of what was."""
        self._hold(size - exchange.held_head)
        exchange.held_head = size

    def _keep_head(self, head_bytes: int) -> None:
        """The request that is being read has to be kept. Raises Refusal."""
        exchange = self._current
        size = 2 * head_bytes + FIELD_BYTES * (len(exchange._pairs) + REQUEST_FIELDS)
        if size != exchange.held_head:
            if not self._fits(size - exchange.held_head):
                raise self._no_room()
            self.hold_head(exchange, size)

    def _drop_unparsed(self) -> None:
        self._hold(-len(self._unparsed))
        self._unparsed = b""

    def _parse(self, piece: bytes | memoryview) -> None:
        if self._phase == _IDLE:
            self._phase, self._since_s = _HEAD, self._server.now_s
        phase, messages = self._phase, self._messages
        try:
            self._parser.feed_data(piece)
            if self._phase != _IDLE and not self._deaf:
                if self._phase == phase and self._messages == messages:
                    self._raw += len(piece)
                    self._check_size()
                self._keep_head(max(self._told, self._raw) if self._phase == _HEAD else self._current.head_bytes)
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
        if self._unparsed and not self._full():
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if not self._unparsed or self._transport.is_closing() or self._full():
            return
        self._since_s = self._server.now_s
        data = self._unparsed
        self._drop_unparsed()
        self._feed(data)
        if self._paused and len(self._unparsed) <= SLICE_BYTES:
            self._paused = False
            self._transport.resume_reading()
        if self._ended and not self._unparsed:
            self.finish()

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
        if exchange.version not in _VERSIONS:
            self._interrupt(Refusal(505, "only HTTP/1.1 and HTTP/1.0 are known"))
        if "host" not in headers and exchange.version == "1.1":
            self._interrupt(Refusal(400, "no Host header"))
        has_body = "content-length" in headers or "transfer-encoding" in headers
        if "transfer-encoding" in headers:
            self._check_coding(exchange.version, headers["transfer-encoding"])
        if parser.should_upgrade() and has_body and headers.get("content-length") != "0":
            self._interrupt(Refusal(501, "a request with a body cannot be upgraded to another protocol"))
        if int(headers.get("content-length") or 0) > self._limits.body_bytes_max:
            self._interrupt(_body_too_large(self._limits))
        self._phase, self._since_s = _BODY, self._server.now_s
        exchange.head_bytes = self._told
        self._raw = self._told = 0
        if "expect" in headers and has_body:
            if headers["expect"].lower() != "100-continue":
                self._interrupt(Refusal(417, "only `Expect: 100-continue` is known"))
            if not self._begun and not self._waiting:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _check_coding(self, version: str, coding: str) -> None:
        if version == "1.0":
            self._interrupt(Refusal(400, "Transfer-Encoding in HTTP/1.0, which has none: its end is uncertain"))
        if coding.lower() != "chunked":
            self._interrupt(Refusal(501, "no transfer coding is known but chunked"))

    def on_body(self, body: bytes) -> None:
        self._told += len(body)
        if self._told > self._limits.body_bytes_max:
            self._interrupt(_body_too_large(self._limits))
        if not self._fits(len(body)):
            self._interrupt(self._no_room())
        self._hold(len(body))
        self._current.held += len(body)
        if self._body:
            self._rest += body
        else:
            self._body = body

    def on_message_complete(self) -> None:
        exchange = self._current
        if self._begun or not self._taken():
            self._keep_behind(exchange)
        exchange.body = self._body
        if self._rest:
            exchange.body = b"".join((self._body, self._rest))
            self._rest = bytearray()
        self._url, self._body, self._current = b"", b"", Exchange(self)
        exchange.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._deaf = self._deaf or not exchange.keep_alive
        self._phase, self._since_s = _IDLE, self._server.now_s
        self._waiting.append(exchange)
        self._begin()

    def _keep_behind(self, exchange: Exchange) -> None:
        """Others are under way, or the client does not read: it may have to wait."""
        try:
            self._keep_head(exchange.head_bytes)
        except Refusal as refusal:
            self._interrupt(refusal)

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
        while waiting and self._taken():
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
        safe = exchange.safe and exchange.answer is None and len(begun) < self._abreast
        return safe and all(other.safe for other in begun)

    def answered(self, exchange: Exchange, size: int) -> None:
        """Called by Exchange.respond, with as much of the body as is new."""
        if self._begun and self._begun[0] is exchange and self._taken():
            self._write_answers()
            self._begin()
            if self._unparsed:
                self._resume_soon()
        else:
            self._keep_answer(exchange, size)

    def _keep_answer(self, exchange: Exchange, size: int) -> None:
        """It is not its turn, or the client does not read."""
        exchange.let_go()
        exchange.held += size
        self._hold(size)
        if not self._fits(0) or (exchange.pieces is not None and exchange.held > STREAM_BUFFER_BYTES_MAX):
            self._cut_off()

    def _taken(self) -> bool:
        """Whether the client takes what is written. A function, as every write may change it: what a compiler has seen
        once it takes for granted."""
        return self._choked_since_s is None

    def _count_unread(self) -> None:
        """What the client has not taken of its answers. The transport keeps each piece until the last byte of it has
        left, so that little to be sent may be much that is kept."""
        unread = self._transport.get_write_buffer_size()
        if unread:
            unread = max(unread, self._largest)
        else:
            self._largest = 0
        more = unread - self._unread
        self._unread = unread
        self._hold(more)
        if more > 0 and not self._fits(0):
            self._cut_off()

    def _cut_off(self) -> None:
        if not self._transport.is_closing():
            self._server.on_full(self.peer)
        self._transport.abort()

    def _give_back(self, exchange: Exchange) -> None:
        self._hold(-exchange.held - exchange.held_head)
        exchange.held = exchange.held_head = 0

    def _write_answers(self) -> None:
        begun = self._begun
        while begun and begun[0].answer is not None and self._taken():
            exchange = begun[0]
            if exchange.pieces is None:
                self._write(exchange)
            else:
                self._write_pieces(exchange, exchange.pieces)
                if not exchange.whole:
                    self._give_back(exchange)
                    return
            begun.popleft()
            if self._abreast < PIPELINE_MAX and self._taken():
                self._abreast += 1
            if exchange.held or exchange.held_head:
                self._give_back(exchange)
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
        self._send(data if exchange.method == "HEAD" else data + body)

    def _send(self, data: bytes) -> None:
        if len(data) > self._largest:
            self._largest = len(data)
        self._transport.write(data)

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
            self._send(self._head(exchange, status, headers, framing))
        data = b"".join(pieces)
        if exchange.chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if exchange.chunked and exchange.whole:
            data += b"0\r\n\r\n"
        pieces.clear()
        if data and exchange.method != "HEAD":
            self._send(data)
        if self._transport.get_write_buffer_size() > STREAM_BUFFER_BYTES_MAX:
            self._transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, after those before it, what is not read any further."""
        exchange = Exchange(self)
        exchange.method = self._current.method
        self._give_back(self._current)
        self._current, self._body, self._rest, self._url = Exchange(self), b"", bytearray(), b""
        self._drop_unparsed()
        exchange.answer = (refusal.status, *self._server.error_answer(refusal.status, refusal.text))
        exchange.keep_alive = False
        self._deaf = True
        self._phase, self._since_s = _LINGER, self._server.now_s
        self._waiting.append(exchange)
        self._begin()

    def _end(self) -> None:
        self._deaf = True
        self._drop_unparsed()
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
        self._drop_unparsed()
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
        if self._largest:
            self._count_unread()
        if self._choked_since_s is not None and now_s - self._choked_since_s > limits.body_timeout_s:
            self._transport.abort()
        elif self._unread and waited_s > limits.body_timeout_s and not self._begun and not self._waiting:
            self._transport.abort()  # so little is no reason to choke, and to close would be to wait until it is read
        elif self._phase == _LINGER:
            if waited_s > LINGER_S and not self._begun and not self._waiting:
                self._transport.close()
        elif self._deaf or self._unparsed:  # the client can do nothing about it
            if self._paused and self._broken():
                self._transport.abort()
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

    def _broken(self) -> bool:
        """Whether the client is known to be gone. By itself this is noticed while we read, or when we next write."""
        found = self._transport.get_extra_info("socket")
        return found is not None and found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


_NO_HEADERS: dict[str, str] = {}
_NO_PAIRS: list[tuple[bytes, bytes]] = []
"""Of requests that were let go of, all of them."""

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

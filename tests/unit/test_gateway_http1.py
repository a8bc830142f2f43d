"""What bounds the connections of all clients together, without a socket."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc

import pytest
from fuzz.parsers import LIMITS, Wire

from gateway import http1, routes, service
from liquefy import values

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600\r\n\r\n"


class SlowWire(Wire):
    """To a client who reads when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = 0
        self.connection: http1.Connection | None = None
        self.reading = self.takes = True
        self.cut = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.takes:
            self.unread += len(data)
            if self.unread > 1_000 and self.connection is not None:
                self.connection.pause_writing()

    def abort(self) -> None:
        self.cut = self.closed = True

    def read(self) -> None:
        self.takes, self.unread = True, 0
        assert self.connection is not None
        self.connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Served:
    """A server, what it was asked for, and whom it cut off."""

    def __init__(self, **limits: int) -> None:
        self.asked: list[http1.Exchange] = []
        self.full: list[str] = []
        self.server = http1.Server(
            LIMITS._replace(**limits),
            self.asked.append,
            lambda exchange: None,
            lambda status, text: ([], text.encode()),
            self.full.append,
        )

    def client(self, data: bytes, takes: bool = True) -> tuple[http1.Connection, SlowWire]:
        connection, wire = http1.Connection(self.server), SlowWire()
        wire.connection, wire.takes = connection, takes
        connection.connection_made(wire)  # type: ignore[arg-type]
        connection.data_received(data)
        return connection, wire

    @property
    def held(self) -> int:
        return self.server.held


def heads(*requests: http1.Exchange) -> int:
    return sum(request.held_head for request in requests)


def fields(count: int, value: bytes = b"") -> bytes:
    return b"GET /a HTTP/1.1\r\nHost: a\r\n" + b"".join(b"%x:%b\r\n" % (i, value) for i in range(count)) + b"\r\n"


GET = fields(0)


def test_bodies_that_are_being_read_are_bounded_over_all_connections() -> None:
    served = Served(body_bytes_max=100_000, queued_bytes_max=100_000)
    post = POST.replace(b"600", b"60000")
    served.client(post + bytes(60_000))
    slow, _ = served.client(post + bytes(30_000))
    held = served.held
    assert 90_000 < held < 98_000
    _, refused = served.client(post + bytes(20_000))
    assert refused.out.startswith(b"HTTP/1.1 503 ")
    assert served.held == held
    slow.connection_lost(None)
    assert served.held == 60_000 + heads(served.asked[0])
    served.asked[0].respond(200, [], b"")
    assert served.held == 0
    _, taken = served.client(post + bytes(60_000))
    assert len(served.asked) == 2
    assert not taken.out


@pytest.mark.parametrize("value", [b"", b"xy", b"x" * 500])
@pytest.mark.parametrize("end", [b"", b"Content-Length: 9\r\n\r\n"])
def test_headers_count_as_what_they_cost(value: bytes, end: bytes) -> None:
    """Those of a request that has not all come: unfinished ones, or before the body."""
    served = Served(headers_bytes_max=300_000)
    sent = fields(500, value)[:-2] + end
    served.client(sent)[0].connection_lost(None)
    assert served.held == 0
    tracemalloc.start()
    try:
        connection, _ = served.client(sent)
        cost = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert cost - 20_000 < served.held < 4 * cost
    connection.connection_lost(None)
    assert served.held == 0


def test_headers_beyond_the_limit_are_refused_and_let_go_of() -> None:
    served = Served(queued_bytes_max=150_000, headers_bytes_max=20_000)
    for _ in range(2):
        served.client(fields(150)[:-2])
    held = served.held
    assert held > 100_000
    _, refused = served.client(fields(150)[:-2])
    assert refused.out.startswith(b"HTTP/1.1 503 ")
    assert served.held == held
    _, taken = served.client(GET)
    assert len(served.asked) == 1, "what begins at once costs nothing"
    assert not taken.out


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("pipelined", [3, 1_000])
def test_behind_a_request_that_may_not_be_overtaken_nothing_is_read(pipelined: int, ends: bool) -> None:
    served = Served()

    async def serve() -> None:
        connection, wire = served.client(POST + bytes(600))
        connection.data_received(GET * pipelined)
        assert wire.reading == (pipelined < 10)
        assert served.held == 600 + len(GET * pipelined), "not even parsed"
        assert not ends or connection.eof_received()
        while served.asked[-1].answer is None:
            for exchange in served.asked[:]:
                exchange.respond(200, [], b"")
            connection._resume()
        assert len(served.asked) == 1 + pipelined
        assert wire.reading
        assert wire.closed == ends
        assert served.held == 0
        assert wire.out.count(b"HTTP/1.1 200") == 1 + pipelined

    asyncio.run(serve())


def test_what_is_pipelined_beyond_the_limit_is_refused_in_its_turn() -> None:
    served = Served(queued_bytes_max=5_000)
    connection, wire = served.client(POST + bytes(600))
    connection.data_received(GET * 300)
    assert served.held < 5_000
    served.asked[0].respond(200, [], b"")
    assert [line for line in wire.out.split(b"\r\n") if line.startswith(b"HTTP/1.1")] == [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 503 Service Unavailable",
    ]
    assert served.held == 0


def test_answers_that_are_not_read_keep_further_requests_from_being_begun() -> None:
    served = Served()
    _, wire = served.client(GET * 20, takes=False)
    assert len(served.asked) == 1
    served.asked[0].respond(200, [], bytes(900))
    assert len(served.asked) == 3, "taken: two at a time"
    served.asked[2].respond(200, [], bytes(500))
    assert served.held >= 500, "it is not its turn"
    served.asked[1].respond(200, [], bytes(500))
    assert wire.out.count(b"HTTP/1.1 200") == 2, "the third is kept: nobody reads"
    assert len(served.asked) == 3
    assert served.held > 1_900
    wire.read()
    assert wire.out.count(b"HTTP/1.1 200") == 3
    assert len(served.asked) == 5, "one at a time again, and one more for the third"
    while served.asked[-1].answer is None:
        for exchange in served.asked[:]:
            exchange.respond(200, [], b"")
    assert len(served.asked) == 20
    assert served.held == 0
    assert wire.out.count(b"HTTP/1.1 200") == 20


def test_answers_beyond_the_limit_cost_the_client_its_connection() -> None:
    served = Served(queued_bytes_max=20_000)
    connection, wire = served.client(GET, takes=False)
    served.asked.pop().respond(200, [], bytes(15_000))
    assert not wire.closed
    other, cut = served.client(GET, takes=False)
    served.asked.pop().respond(200, [], bytes(15_000))
    assert cut.closed
    assert served.full == ["127.0.0.1:1"]
    other.connection_lost(None)
    assert 15_000 < served.held < 16_000
    connection.connection_lost(None)
    assert served.held == 0


def test_a_streamed_answer_that_waits_for_its_turn_counts() -> None:
    served = Served(queued_bytes_max=20_000)
    connection, wire = served.client(GET)
    served.asked[0].respond(200, [], b"")
    connection.data_received(GET * 2)
    first, second = served.asked[1:]
    second.stream(200, [])
    for _ in range(10):
        second.write(bytes(1_000), False)
    assert served.held >= 10_000
    first.respond(200, [], b"")
    assert served.held == 0
    second.write(bytes(1_000), True)
    assert served.held == 0
    assert not wire.closed


@pytest.mark.parametrize("request_", [GET, GET[:-2] + b"Connection: close\r\n\r\n"])
def test_little_that_is_not_read_counts_and_is_not_kept_for_good(request_: bytes) -> None:
    served = Served(body_timeout_s=30, keep_alive_s=20)
    connection, wire = served.client(request_, takes=False)
    served.asked[0].respond(200, [], bytes(500))
    connection.sweep(19)
    assert 500 < served.held < 1_000
    connection.sweep(29)
    assert not wire.cut, "what is closed is still written; what is cut off is not"
    connection.sweep(31)
    assert wire.cut


def test_an_answer_counts_whole_until_the_last_byte_of_it_has_left() -> None:
    served = Served()
    connection, wire = served.client(GET, takes=False)
    served.asked[0].respond(200, [], bytes(5_000))
    wire.unread = 10
    connection.resume_writing()
    assert 5_000 < served.held < 5_200
    connection.data_received(GET)
    served.asked[1].respond(200, [], bytes(100))
    connection.sweep(1)
    assert 5_000 < served.held < 5_200, "the second is small, and is no reason to forget the first"
    wire.read()
    assert served.held == 0
    wire.takes = False
    connection.data_received(GET)
    served.asked[2].respond(200, [], bytes(100))
    connection.sweep(2)
    assert 100 < served.held < 300, "what was large once is gone"


def test_requests_that_wait_until_answers_are_read_count() -> None:
    served = Served()
    connection, wire = served.client(GET, takes=False)
    served.asked[0].respond(200, [], bytes(2_000))
    held = served.held
    connection.data_received(fields(50))
    assert len(served.asked) == 1
    assert served.held - held > 50 * http1.FIELD_BYTES
    wire.read()
    served.asked[1].respond(200, [], b"")
    assert served.held == 0


def test_a_body_in_tiny_chunks_costs_no_more_than_it_is_long() -> None:
    served = Served(body_bytes_max=1 << 20)
    begin = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection, _ = served.client(begin)
    tracemalloc.start()
    try:
        for _ in range(100):
            connection.data_received(b"2\r\nab\r\n" * 1_000)
        assert tracemalloc.get_traced_memory()[0] < 400_000
    finally:
        tracemalloc.stop()
    connection.data_received(b"0\r\n\r\n")
    assert served.asked[0].body == b"ab" * 100_000


def test_of_a_connection_that_is_lost_nothing_is_left() -> None:
    """At once, and not only when the garbage is collected: half of a body would be there until then."""
    server = http1.Server(LIMITS, lambda exchange: None, lambda exchange: None, lambda status, text: ([], b""))
    gc.disable()
    try:
        for sent in (b"", POST + bytes(300), POST + bytes(600), POST + bytes(1_200), b"nonsense\r\n\r\n"):
            connection = http1.Connection(server)
            connection.connection_made(Wire())  # type: ignore[arg-type]
            connection.data_received(sent)
            connection.connection_lost(None)
            assert sys.getrefcount(connection) == 2, sent  # ours, and that of the call
    finally:
        gc.enable()


@pytest.mark.parametrize("piece", [1_000, 1 << 20])
def test_of_a_request_that_was_answered_an_idle_connection_keeps_nothing(piece: int) -> None:
    limits = LIMITS._replace(body_bytes_max=1 << 20, headers_bytes_max=200_000)
    respond = lambda exchange: exchange.respond(404, [], b"")  # noqa: E731
    server = http1.Server(limits, respond, lambda exchange: None, lambda status, text: ([], b""))
    connection, wire = http1.Connection(server), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    sent = b"POST /%b HTTP/1.1\r\nHost: a\r\nX: %b\r\nContent-Length: 1000000\r\n\r\n" % (b"a" * 50_000, b"x" * 50_000)
    sent += bytes(1_000_000)
    connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    tracemalloc.start()
    try:
        for start in range(0, len(sent), piece):
            connection.data_received(sent[start : start + piece])
        assert wire.out.count(b"HTTP/1.1 404") == 2
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_a_body_that_is_packed_is_not_kept_beside() -> None:
    asked: list[http1.Exchange] = []
    server = http1.Server(LIMITS, asked.append, lambda exchange: None, lambda status, text: ([], b""))
    for raw in (False, True):
        connection = http1.Connection(server)
        connection.connection_made(Wire())  # type: ignore[arg-type]
        connection.data_received(POST + b"x" * 600)
        exchange = asked.pop()
        entry = routes.Entry("g", "0", "f", ("g/f/0",), (), False, 1_000, raw)
        request, packed = service._read(exchange, routes.Match(entry, {}), "/", "")
        assert values.unpack(packed)["body"] == request["body"] == b"x" * 600
        assert exchange.body == b""
        assert server.held == 600, "until it is answered, what is packed counts"
        exchange.respond(200, [], b"")


@pytest.mark.parametrize(
    "line", [b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", b"GET /a HTTP/0.9\r\nHost: a\r\n\r\n", b"GET /a\r\n\r\n"]
)
def test_other_versions_of_http_are_refused(line: bytes) -> None:
    served = Served()
    _, wire = served.client(line)
    assert wire.out.startswith(b"HTTP/1.1 505 ")
    assert not served.asked

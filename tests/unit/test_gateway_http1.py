"""What bounds the connections of all clients together, without a socket."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest
from fuzz.parsers import LIMITS, Wire

from gateway import http1, routes, service
from liquefy import values

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600\r\n\r\n"


def test_bodies_that_are_being_read_are_bounded_over_all_connections() -> None:
    asked: list[http1.Exchange] = []
    limits = LIMITS._replace(queued_bytes_max=1_000)
    server = http1.Server(limits, asked.append, lambda exchange: None, lambda status, text: ([], text.encode()))

    def client(data: bytes) -> tuple[http1.Connection, Wire]:
        connection, wire = http1.Connection(server), Wire()
        connection.connection_made(wire)  # type: ignore[arg-type]
        connection.data_received(data)
        return connection, wire

    client(POST + bytes(600))
    slow, _ = client(POST + bytes(300))
    assert server.held == 900
    _, refused = client(POST + bytes(200))
    assert refused.out.startswith(b"HTTP/1.1 503 ")
    assert server.held == 900
    slow.connection_lost(None)
    assert server.held == 600
    asked[0].respond(200, [], b"")
    assert server.held == 0
    _, taken = client(POST + bytes(600))
    assert len(asked) == 2
    assert not taken.out


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

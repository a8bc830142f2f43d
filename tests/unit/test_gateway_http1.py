"""What bounds the connections of all clients together, without a socket."""

from __future__ import annotations

import gc
import sys

from fuzz.parsers import LIMITS, Wire

from gateway import http1

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

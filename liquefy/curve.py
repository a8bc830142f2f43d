"""CURVE on ZeroMQ's sockets: what is set on them, what the handshake asks (ZAP), and how a peer's mechanism is seen
before anything is sent to it. Knows keys and frames, not sockets' owners; whom to let in is `liquefy.admission`'s word.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Collection

import zmq

from liquefy.admission import Allowed, Key
from liquefy.keyring import OwnKey

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
"""Where libzmq asks whether to let a key in: one per context."""

GREETING_BYTES = 64
PROBE_S = 0.5
"""How long a server's greeting is waited for; one that gives none says nothing of its mechanism."""

OTHER = "other"
"""No mechanism: who listens there does not greet as ZeroMQ does."""

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f\x03"
"""The beginning of a greeting, up to the version: upon it the other side sends the rest of its own."""


def secure_server(socket: zmq.Socket[bytes], own: OwnKey) -> None:
    """Before `bind`: only who knows our public key is listened to, and only whom the ZAP handler admits."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
    socket.setsockopt(zmq.ZAP_DOMAIN, b"liquefy")
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: zmq.Socket[bytes], own: OwnKey, server: bytes) -> None:
    """Before `connect`: only the holder of the `server` key is spoken to."""
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
    socket.setsockopt(zmq.CURVE_SERVERKEY, server)


def answer_zap(
    request: list[bytes], allowed: Allowed, roles: Collection[str], on_refused: Callable[[str, str], None]
) -> list[bytes]:
    """The reply to one request of ZAP 1.0; `on_refused(address, reason)` where it is no."""
    version, number, _, address, _, mechanism, *credentials = [*request, *[b""] * (6 - len(request))]
    key: Key | str = "it has no key"
    if version == b"1.0" and mechanism == b"CURVE" and len(credentials) == 1:
        key = allowed.admit(credentials[0].hex(), roles)
    if isinstance(key, str):
        on_refused(address.decode(errors="replace"), key)
        return [b"1.0", number, b"400", key.encode(), b"", b""]
    return [b"1.0", number, b"200", b"", key.name.encode(), b""]


def address_of(descriptor: int) -> str:
    """Who is connected by that descriptor of libzmq's; "somebody" if it is closed by now."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
        peer = copy.getpeername()
        if isinstance(peer, tuple):
            return str(peer[0])
    return "somebody"


def mechanism_of(connection: socket.socket) -> str:
    """What the server at the other end of a new TCP connection demands, "NULL" or "CURVE"; "" if it does not say, OTHER
    if it says something else. The connection is of no use afterwards."""
    greeting = b""
    with contextlib.suppress(OSError):
        connection.settimeout(PROBE_S)
        connection.sendall(_SIGNATURE)
        while len(greeting) < GREETING_BYTES and (data := connection.recv(GREETING_BYTES - len(greeting))):
            greeting += data
    if greeting[:1] not in (b"", _SIGNATURE[:1]):
        return OTHER
    return greeting[12:32].rstrip(b"\0").decode(errors="replace") if len(greeting) == GREETING_BYTES else ""

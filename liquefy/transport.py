"""Frames between processes: the only file that knows ZeroMQ. Knows nothing of what the frames mean.

Plain non-blocking sockets under the running event loop, which costs several times less than `zmq.asyncio`.
The descriptor of a ZeroMQ socket is edge triggered, and sending can swallow an edge: so a socket is read
until it is empty after each wake-up and, once the present callback is through, after each send.

Nothing is lost silently within one connection: there are no high-water marks here (admission bounds what is
under way). What was sent and not received when a connection breaks is lost; the owner of the socket learns
of it, and a new connection is a new session.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import struct
from collections.abc import Callable, Sequence

import zmq

from liquefy.errors import UserError

DRAIN_FRAMES_MAX = 256
"""Transmissions read in one go; then others on the loop get their turn."""

RECONNECT_MS = 50
"""From the end of one connection (or try) to the next try."""

CONNECT_MAX_MS = 2_000
"""A connection that is not there after so long is tried anew (names are looked up anew as well)."""

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A peer that sends a longer frame loses its connection."""

_UP = zmq.Event.HANDSHAKE_SUCCEEDED
_DOWN = (
    zmq.Event.DISCONNECTED
    | zmq.Event.CLOSED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


class _Reader:
    """Reads one socket under the running loop, in order, never inside another callback."""

    def __init__(self, socket: zmq.Socket[bytes], on_frames: Callable[[list[bytes]], None]) -> None:
        self._socket = socket
        self._on_frames = on_frames
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._due = False
        self._open = True
        self._loop.add_reader(self._fd, self._drain)

    def soon(self) -> None:
        """Read once the present callback is through: what was just sent may have swallowed an edge."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=0)

    def _drain(self) -> None:
        self._due = True  # sends made meanwhile need no further wake-up: this loop ends at EAGAIN
        receive = self._socket.recv_multipart
        for _ in range(DRAIN_FRAMES_MAX):
            if not self._open:
                return
            try:
                frames = receive(zmq.NOBLOCK)
            except zmq.Again:
                self._due = False
                return
            try:
                self._on_frames(frames)
            except BaseException:
                self._loop.call_soon(self._drain)
                raise
        self._loop.call_soon(self._drain)


class RouterSocket:
    """The side that others connect to; `on_frames(identity, frames)` gets what they send. `endpoint` is
    tcp://interface:port, ipc://path or inproc://name. Used within a running loop."""

    def __init__(self, endpoint: str, on_frames: Callable[[bytes, list[bytes]], None]) -> None:
        self.endpoint = endpoint
        self._on_frames = on_frames
        self._socket = _socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._reader: _Reader | None = None

    def bind(self) -> None:
        """Raises UserError when the endpoint is taken or is none. Port 0: see `endpoint` afterwards."""
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise UserError(_bind_problem(self.endpoint, error)) from None
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._reader = _Reader(self._socket, lambda frames: self._on_frames(frames[0], frames[1:]))

    def send(self, identity: bytes, frames: Sequence[bytes]) -> bool:
        """False when the peer has no connection (any more). Never waits."""
        try:
            self._socket.send_multipart((identity, *frames), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise
            return False
        finally:
            if self._reader is not None:
                self._reader.soon()
        return True

    def close(self) -> None:
        """Twice is as good as once."""
        if self._reader is not None:
            self._reader.close()
        self._socket.close(linger=0)


class Link:
    """A peer's connection to a RouterSocket (tcp:// or ipc://), made anew whenever it breaks.

    `on_up(session)`: a new session can be spoken on. `on_frames(frames)`: the other side sent these on it.
    `on_down()`: the session is over, and what was queued in it thrown away; a new one follows. None of them
    is called inside another one. Starts at `open()`, within a running loop.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[bytes], None],
        on_down: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._name = name
        self._on_frames = on_frames
        self._on_up = on_up
        self._on_down = on_down
        self.session = b""
        """Routing id of the present connection or try."""
        self.up = False
        self._closed = False
        self._reader: _Reader | None = None
        self._monitor: _Reader | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Start to connect. Raises UserError when the endpoint is none."""
        self._connect()

    def send(self, frames: Sequence[bytes]) -> None:
        """Queue for sending. Dropped when there is no session: the next `on_up` is when to speak again."""
        if self.up and self._socket is not None and self._reader is not None:
            with contextlib.suppress(zmq.Again):
                self._socket.send_multipart(frames, zmq.NOBLOCK)
            self._reader.soon()

    def reconnect(self) -> None:
        """Give this session up and get a new one; `on_down` is called soon, not from here."""
        if self.up and not self._closed:
            asyncio.get_running_loop().call_soon(self._break, self.session)

    def close(self) -> None:
        """For good; no callback comes after it."""
        self._closed = True
        self._discard()

    def _connect(self) -> None:
        if self._closed:
            return
        self.session = f"{self._name}#{secrets.token_hex(4)}".encode()
        socket = _socket(zmq.DEALER)
        # A connection that ZeroMQ made again by itself would have the same id and a gap in its stream.
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.IDENTITY, self.session)
        self._socket = socket
        self._monitor = _Reader(socket.get_monitor_socket(_UP | _DOWN), self._on_event)
        self._reader = _Reader(socket, self._on_frames)
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self._discard()
            raise UserError(f"{self._endpoint}: cannot be connected to: {error}\n  remedy: {_FORM}") from None
        self._monitor.soon()
        self._reader.soon()
        self._timer = asyncio.get_running_loop().call_later(CONNECT_MAX_MS / 1000, self._break, self.session)

    def _on_event(self, frames: list[bytes]) -> None:
        event = struct.unpack("=H", frames[0][:2])[0]
        if event & _DOWN:
            self._break(self.session)
        elif event & _UP and not self.up:
            self.up = True
            if self._timer is not None:
                self._timer.cancel()
            self._on_up(self.session)

    def _break(self, session: bytes) -> None:
        if self._closed or session != self.session or self._socket is None:
            return
        was_up = self.up
        self._discard()
        self._timer = asyncio.get_running_loop().call_later(RECONNECT_MS / 1000, self._connect)
        if was_up:
            self._on_down()

    def _discard(self) -> None:
        self.up = False
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None and self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close()
        if self._reader is not None:
            self._reader.close()
        self._socket = self._monitor = self._reader = None


class Asker:
    """A small blocking client of a RouterSocket, for a command that asks, prints and ends. Needs no loop."""

    def __init__(self, endpoint: str) -> None:
        """Connects in the background. Raises UserError when the endpoint is none."""
        self._socket = _socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, f"ctl#{secrets.token_hex(4)}".encode())
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise UserError(f"{endpoint}: cannot be connected to: {error}\n  remedy: {_FORM}") from None

    def send(self, data: bytes) -> None:
        """Queued until the connection is there."""
        self._socket.send(data)

    def recv(self, timeout_s: float) -> bytes | None:
        """The next answer, or None if none came in time."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        frames: list[bytes] = self._socket.recv_multipart()
        return frames[-1]

    def close(self) -> None:
        self._socket.close(linger=0)


def _socket(kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.SNDHWM, 0),
        (zmq.RCVHWM, 0),
        (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
    ):
        socket.setsockopt(option, value)
    return socket


_FORM = "give tcp://host:port or ipc:///path"


def _bind_problem(endpoint: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        remedy = "end the process that listens there (is a cluster running already?), or choose another port"
    elif error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        remedy = "give an address of this machine, or tcp://0.0.0.0:port for all of them"
    else:
        remedy = _FORM
    return f"{endpoint}: cannot listen here: {error}\n  remedy: {remedy}"

"""Frames between processes: the only file that knows ZeroMQ. Knows nothing of what the frames mean.

Plain non-blocking sockets under the running event loop, which costs several times less than `zmq.asyncio`.
The descriptor of a ZeroMQ socket is edge triggered, and sending can swallow an edge: so a socket is read
until it is empty after each wake-up and, once the present callback is through, after each send.

With a `Keyring` connections are encrypted and both sides prove their keys (CURVE); what a peer sends under a session
that does not name its own key, or under a key that was revoked, is dropped before anybody sees it.

Nothing is lost silently within one connection: a high-water mark slows the sender down, or ends the connection of who
does not read (admission bounds what is under way between peers that keep to it). What was sent and not received when a
connection breaks is lost; the owner of the socket learns of it, and a new connection is a new session.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket as stream
import struct
from collections.abc import Callable, Collection, Sequence
from functools import partial

import zmq
from zmq.backend import Socket as Raw

from liquefy import curve
from liquefy.admission import key_of, keyed_session
from liquefy.errors import LiquefyError, UserError
from liquefy.keyring import Keyring, OwnKey

DRAIN_FRAMES_MAX = 256
"""Transmissions read in one go; then others on the loop get their turn."""

RECONNECT_MS = 50
"""From the end of one connection (or try) to the next try."""

CONNECT_MAX_MS = 2_000
"""A connection that is not there after so long is tried anew (names are looked up anew as well)."""

HANDSHAKE_MAX_MS = 10_000
"""A command that has connected waits so long for the other side to take its key."""

KEYS_LOOK_S = 1.0
"""How often it is looked whether the list of keys has changed; how soon a revoked key is good for nothing."""

REFUSED_RETRY_MS = 1_000
"""Until the next try after the other side has refused our key, or we its."""

FRAME_BYTES_MAX = 80 * 1024 * 1024
"""A peer that sends a longer frame loses its connection. The longest are bundles, and messages of the longest body."""

PEER_FRAMES_MAX = 64
"""Transmissions of one peer that wait to be read; then its connection is read no further until some were: who floods
is slowed down, alone."""

QUEUED_FRAMES_MAX = 1_000_000
"""Transmissions that wait for one peer to read them; with more it counts as gone."""

_UP = zmq.Event.HANDSHAKE_SUCCEEDED
_DOWN = (
    zmq.Event.DISCONNECTED
    | zmq.Event.CLOSED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_REFUSED = zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.HANDSHAKE_FAILED_PROTOCOL


_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK) | int(zmq.SNDMORE)
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)


def _identity(descriptor: int) -> tuple[int, int]:
    """Of what is open there: numbers of descriptors are given again. Raises OSError."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """One transmission that is there. `recv_multipart` makes enums of numbers for each frame, and costs twice as
    much."""
    frames: list[zmq.Frame] = []
    more = True
    while more:
        frame = Raw.recv(socket, _NOBLOCK, False)
        frames.append(frame)
        more = frame.more
    return frames


def _opened(frames: list[zmq.Frame]) -> list[bytes]:
    return [frame.bytes for frame in frames]


def _send(socket: zmq.Socket[bytes], frames: Sequence[bytes]) -> None:
    """One transmission. Raises ZMQError, Again."""
    last = len(frames) - 1
    for at in range(last):
        Raw.send(socket, frames[at], _NOBLOCK_MORE)
    Raw.send(socket, frames[last], _NOBLOCK)


class _Reader:
    """Reads one socket under the running loop, in order, never inside another callback."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        on_frames: Callable[[list[bytes]], None],
        opened: Callable[[list[zmq.Frame]], list[bytes]] | None = None,
    ) -> None:
        self._socket = socket
        self._on_frames = on_frames
        self._opened = opened or _opened
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._due = False
        self._open = True
        self._loop.add_reader(self._fd, self._drain)

    def soon(self) -> None:
        """What was just sent may have swallowed an edge: what is there by now is read once the present callback is
        through."""
        if not self._due and int(Raw.get(self._socket, _EVENTS)) & _POLLIN:
            self._due = True
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=0)

    def _drain(self) -> None:
        self._due = True  # sends made meanwhile need no further wake-up: this loop ends when nothing is there
        socket, opened = self._socket, self._opened
        for _ in range(DRAIN_FRAMES_MAX):
            if not self._open:
                return
            if not int(Raw.get(socket, _EVENTS)) & _POLLIN:  # cheaper than to catch Again
                self._due = False
                return
            frames = opened(_receive(socket))
            try:
                self._on_frames(frames)
            except BaseException:
                self._loop.call_soon(self._drain)
                raise
        self._loop.call_soon(self._drain)


class RouterSocket:
    """The side that others connect to; `on_frames(identity, frames)` gets what they send. `endpoint` is
    tcp://interface:port, ipc://path or inproc://name, or several of them with commas. With `keys` only holders of a key
    of one of the `roles` get in; `on_refused(who, reason)` is told of all others. Used within a running loop."""

    def __init__(
        self,
        endpoint: str,
        on_frames: Callable[[bytes, list[bytes]], None],
        keys: Keyring | None = None,
        roles: Collection[str] = (),
        on_refused: Callable[[str, str], None] = lambda who, reason: None,
    ) -> None:
        self.endpoint = endpoint
        self._on_frames = on_frames
        self._gate = _Gate(keys, roles, on_refused) if keys is not None else None
        self._socket = _socket(zmq.ROUTER, self._gate.context if self._gate is not None else None)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.RCVHWM, PEER_FRAMES_MAX)
        self._socket.setsockopt(zmq.SNDHWM, QUEUED_FRAMES_MAX)
        self._reader: _Reader | None = None
        self._connections: dict[bytes, tuple[int, tuple[int, int]]] = {}
        """Of those that have spoken: the descriptor, and what it was of then."""
        self._speakers: dict[int, bytes] = {}
        """By descriptor, who spoke there last."""

    def bind(self) -> None:
        """Raises UserError when the endpoint is taken or is none. Port 0: see `endpoint` afterwards."""
        if self._gate is not None:
            self._gate.guard(self._socket)
        bound = []
        for endpoint in self.endpoint.split(","):
            try:
                self._socket.bind(endpoint)
            except zmq.ZMQError as error:
                self.close()
                raise UserError(_bind_problem(endpoint, error)) from None
            bound.append(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        self.endpoint = ",".join(bound)
        self._reader = _Reader(self._socket, self._deliver, self._opened)

    def role_of(self, identity: bytes) -> str:
        """The role that the peer's key is for; "" if no keys are asked for, or this one was revoked."""
        return self._gate.role_of(identity) if self._gate is not None else ""

    def send(self, identity: bytes, frames: Sequence[bytes]) -> bool:
        """False when the peer has no connection (any more), or its key was revoked. Never waits."""
        if self._gate is not None and not self._gate.role_of(identity):
            return False
        try:
            _send(self._socket, (identity, *frames))
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise
            return False
        finally:
            if self._reader is not None:
                self._reader.soon()
        return True

    def cut(self, identity: bytes) -> None:
        """Close the peer's connection now, with all that waits in it to be sent: libzmq has no call for that, and keeps
        it for as long as the other side likes."""
        descriptor, known = self._connections.pop(identity, (-1, None))
        if known is None:
            return
        self._speakers.pop(descriptor, None)
        with contextlib.suppress(OSError):  # it is closed already
            own = os.dup(descriptor)
            if _identity(own) == known:  # else it is another connection by now
                with stream.socket(fileno=own) as connection:
                    connection.shutdown(stream.SHUT_RDWR)
            else:
                os.close(own)

    def _opened(self, received: list[zmq.Frame]) -> list[bytes]:
        frames = self._gate.opened(received) if self._gate is not None else _opened(received)
        if frames and frames[0] not in self._connections:
            self._learn(frames[0], received[0])
        return frames

    def _learn(self, identity: bytes, frame: zmq.Frame) -> None:
        with contextlib.suppress(OSError, zmq.ZMQError):  # it is closed already, or has no descriptor (inproc)
            descriptor = int(frame.get(zmq.SRCFD))
            known = _identity(descriptor)
            self._connections.pop(self._speakers.get(descriptor, b""), None)
            self._speakers[descriptor] = identity
            self._connections[identity] = descriptor, known

    def close(self) -> None:
        """Twice is as good as once."""
        if self._reader is not None:
            self._reader.close()
        self._socket.close(linger=0)
        if self._gate is not None:
            self._gate.close()

    def _deliver(self, frames: list[bytes]) -> None:
        if frames:  # else the gate has dropped it
            self._on_frames(frames[0], frames[1:])


class _Gate:
    """Who gets in at a RouterSocket. In a context of its own, as that is where libzmq looks for whom to ask."""

    def __init__(self, keys: Keyring, roles: Collection[str], on_refused: Callable[[str, str], None]) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys, self._roles, self._on_refused = keys, frozenset(roles), on_refused
        self._peers: dict[int, str] = {}
        """Addresses of open connections by their descriptors: the events of a failed handshake name no other."""
        self._failed = False
        self._readers: list[_Reader] = []
        self._timer: asyncio.TimerHandle | None = None

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Before it is bound. Raises UserError when there is no key of our own."""
        curve.secure_server(socket, self._keys.own())
        asked = _socket(zmq.REP, self.context)
        asked.bind(curve.ZAP_ENDPOINT)
        events = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
        self._readers = [
            _Reader(asked, lambda request: self._answer(asked, request)),
            _Reader(socket.get_monitor_socket(events), self._on_event),
        ]
        for reader in self._readers:
            reader.soon()
        self._look()

    def role_of(self, identity: bytes) -> str:
        role = self._keys.allowed.role_of(key_of(identity))
        return role if role in self._roles else ""

    def opened(self, received: list[zmq.Frame]) -> list[bytes]:
        """What one transmission holds; [] for one that is not to be seen."""
        identity = received[0].bytes
        name = str(received[0].get("User-Id")).encode()
        if key_of(identity) != name or not self.role_of(identity):
            reason = "its session names another key" if key_of(identity) != name else "its key is not in force any more"
            self._on_refused(f"{received[0].get('Peer-Address')} with the key {name.decode()}", reason)
            return []
        return _opened(received)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for reader in self._readers:
            reader.close()
        self._readers = []
        self.context.destroy(linger=0)

    def _answer(self, asked: zmq.Socket[bytes], request: list[bytes]) -> None:
        asked.send_multipart(curve.answer_zap(request, self._keys.allowed, self._roles, self._on_refused))
        self._readers[0].soon()

    def _on_event(self, frames: list[bytes]) -> None:
        event, value = struct.unpack("=Hi", frames[0][:6])
        if event == zmq.Event.ACCEPTED:
            self._peers[value] = curve.address_of(value)
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
            self._failed = True
        else:
            address = self._peers.pop(value, "somebody")
            if self._failed:
                self._failed = False
                self._on_refused(address, "it has no key, or not ours as that of whom it speaks to")

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(KEYS_LOOK_S, self._look)
        self._keys.refresh()


class Link:
    """A peer's connection to a RouterSocket (tcp:// or ipc://), made anew whenever it breaks.

    `on_up(session)`: a new session can be spoken on. `on_frames(frames)`: the other side sent these on it.
    `on_down()`: the session is over, and what was queued in it thrown away; a new one follows. None of them
    is called inside another one. Starts at `open()`, within a running loop. With `keys` the other side must be a
    `server` by its key; `on_refused(reason)` says that one of the two keys was refused.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[bytes], None],
        on_down: Callable[[], None],
        keys: Keyring | None = None,
        server: str = "broker",
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._endpoint = endpoint
        self._keys, self._server, self._on_refused = keys, server, on_refused
        self._server_key = b""
        self._tries = 0
        self._look_timer: asyncio.TimerHandle | None = None
        self._told = ""
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
                _send(self._socket, frames)
            self._reader.soon()

    def reconnect(self) -> None:
        """Give this session up and get a new one; `on_down` is called soon, not from here."""
        if self.up and not self._closed:
            asyncio.get_running_loop().call_soon(self._break, self.session)

    def close(self) -> None:
        """For good; no callback comes after it."""
        self._closed = True
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._discard()

    def _connect(self) -> None:
        if self._closed:
            return
        self.session = f"{self._name}#{secrets.token_hex(4)}".encode()
        socket = _socket(zmq.DEALER)
        if self._keys is not None and not self._secure(self._keys, socket):
            socket.close(linger=0)
            self._timer = asyncio.get_running_loop().call_later(REFUSED_RETRY_MS / 1000, self._connect)
            return
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

    def _secure(self, keys: Keyring, socket: zmq.Socket[bytes]) -> bool:
        """With the keys of now: they may have been replaced. Each try takes the next of the other side's, if it has
        several. Whether there are any."""
        keys.refresh()
        servers = keys.allowed.publics(self._server)
        try:
            own = keys.own()
            if not servers:
                raise UserError(f"the list of keys has no {self._server}'s that is in force")
        except UserError as error:
            self._refused(str(error))
            return False
        self._server_key = servers[self._tries % len(servers)]
        self._tries += 1
        curve.secure_client(socket, own, self._server_key)
        self.session = keyed_session(self.session, own.name)
        if self._look_timer is None:
            self._look_timer = asyncio.get_running_loop().call_later(KEYS_LOOK_S, self._look, keys)
        return True

    def _look(self, keys: Keyring) -> None:
        self._look_timer = asyncio.get_running_loop().call_later(KEYS_LOOK_S, self._look, keys)
        keys.refresh()
        if self.up and self._server_key not in keys.allowed.publics(self._server):
            self._refused(f"the {self._server}'s key was revoked")
            self._break(self.session)

    def _refused(self, reason: str) -> None:
        """Told once, until a connection comes about."""
        if reason != self._told:
            self._told = reason
            self._on_refused(reason)

    def _on_event(self, frames: list[bytes]) -> None:
        event = struct.unpack("=H", frames[0][:2])[0]
        if event & _REFUSED:
            why = f"the {self._server} refuses our key" if event & zmq.Event.HANDSHAKE_FAILED_AUTH else _MISMATCH
            self._refused(f"{self._endpoint}: {why}")
            self._break(self.session, REFUSED_RETRY_MS if self._keys is not None else RECONNECT_MS)
        elif event & _DOWN:
            self._break(self.session)
        elif event & _UP and not self.up:
            self.up = True
            self._told = ""
            self._tries = max(0, self._tries - 1)  # the next try begins with the key that was good
            if self._timer is not None:
                self._timer.cancel()
            self._on_up(self.session)

    def _break(self, session: bytes, again_ms: int = RECONNECT_MS) -> None:
        if self._closed or session != self.session or self._socket is None:
            return
        was_up = self.up
        self._discard()
        self._timer = asyncio.get_running_loop().call_later(again_ms / 1000, self._connect)
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


class LinkSet:
    """Connections to several brokers, by number: those of `endpoints`, in that order. The callbacks are those of
    `Link`, and for all but the first connection are told its number as `link`."""

    def __init__(
        self,
        endpoints: Sequence[str],
        name: str,
        on_frames: Callable[..., None],
        on_up: Callable[..., None],
        on_down: Callable[..., None],
        keys: Keyring | None = None,
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._links = [
            Link(endpoint, name, _on(on_frames, i), _on(on_up, i), _on(on_down, i), keys, on_refused=on_refused)
            for i, endpoint in enumerate(endpoints)
        ]
        self.send = tuple(link.send for link in self._links)
        """`Link.send` of each; to look it up costs less than a method in between would."""

    def open(self) -> None:
        """Start to connect. Raises UserError when an endpoint is none."""
        for link in self._links:
            link.open()

    def reconnect(self, link: int) -> None:
        """As `Link.reconnect`."""
        self._links[link].reconnect()

    def up(self) -> dict[int, bytes]:
        """The connections that are there, and our session on each."""
        return {i: link.session for i, link in enumerate(self._links) if link.up}

    def close(self) -> None:
        """For good."""
        for link in self._links:
            link.close()


def _on(callback: Callable[..., None], number: int) -> Callable[..., None]:
    """The callback of one connection. Of the first one it is called as it is: that costs nothing where there is one."""
    return partial(callback, link=number) if number else callback


class Denied(LiquefyError):
    """The other side does not take our key, or does not have one that we take."""


class Silent(LiquefyError):
    """Somebody listens there, and has not shaken hands in time: too busy, or hung."""


class Asker:
    """A small blocking client of a RouterSocket, for a command that asks, prints and ends. Needs no loop. With `keys`
    the other side must be a `server` by its key."""

    def __init__(self, endpoint: str, keys: Keyring | None = None, server: str = "controller") -> None:
        """Connects in the background; with keys, waits for the handshake. Raises UserError when the endpoint is none or
        keys are missing, Denied when they do not fit, Silent when nothing came of it in time."""
        session = f"ctl#{secrets.token_hex(4)}".encode()
        if keys is None:
            self._socket = self._dealer(endpoint, session)
            return
        servers, own = keys.allowed.publics(server), keys.own()
        for key in servers:
            self._socket = self._dealer(endpoint, keyed_session(session, own.name), (own, key))
            greeted = self._greeted()
            if greeted:
                return
            self._socket.close(linger=0)
            if greeted is None:
                raise Silent(f"the {server} at {endpoint} has not shaken hands within {HANDSHAKE_MAX_MS / 1000:g} s")
        raise Denied(
            f"the {server} at {endpoint} does not take the key {own.name} of {keys.folder}, or has none of the list\n"
            f"  remedy: give the keys of its cluster (LIQUEFY_KEYS); `liquefy-ctl keys list` shows what is in force"
        )

    @staticmethod
    def _dealer(endpoint: str, session: bytes, keys: tuple[OwnKey, bytes] | None = None) -> zmq.Socket[bytes]:
        socket = _socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, session)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        if keys is not None:
            curve.secure_client(socket, *keys)
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise UserError(f"{endpoint}: cannot be connected to: {error}\n  remedy: {_FORM}") from None
        return socket

    def _greeted(self) -> bool | None:
        """Whether the handshake comes to its end; None if it does not come to any in time."""
        monitor = self._socket.get_monitor_socket(_UP | _DOWN)
        try:
            if not monitor.poll(HANDSHAKE_MAX_MS):
                return None
            return bool(struct.unpack("=H", monitor.recv_multipart()[0][:2])[0] & _UP)
        finally:
            self._socket.disable_monitor()
            monitor.close(linger=0)

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


def _socket(kind: int, context: zmq.Context[zmq.Socket[bytes]] | None = None) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = (context or zmq.Context.instance()).socket(kind)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.SNDHWM, 0),
        (zmq.RCVHWM, 0),
        (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
    ):
        socket.setsockopt(option, value)
    return socket


_MISMATCH = "the other side is not the one whose key we have, or one of us has keys and the other has none"

_FORM = "give tcp://host:port or ipc:///path"


def _bind_problem(endpoint: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        remedy = "end the process that listens there (is a cluster running already?), or choose another port"
    elif error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        remedy = "give an address of this machine, or tcp://0.0.0.0:port for all of them"
    else:
        remedy = _FORM
    return f"{endpoint}: cannot listen here: {error}\n  remedy: {remedy}"

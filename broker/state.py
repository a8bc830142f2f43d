"""What the broker decides: who is connected, where messages go, what is held. See docs/PROTOCOL.md, sections
1, 2, 5, 6 and 7.

Takes an event and the time (milliseconds of a clock that never goes back), returns effects to be performed in
order. Knows no socket, no clock and no store, and opens no message. It keeps nothing that cannot be had again
from the peers and the controller.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from broker.events import (
    BadFrameFrom,
    Cut,
    DataFrom,
    Effect,
    Event,
    Forward,
    FromPeer,
    RelayFrom,
    SendTo,
    Tick,
    Unreachable,
)
from broker.holding import ENTRY_BYTES, FRAME_BYTES, Hold, Holding, Pause, Unread, legacy_bytes, pause
from broker.routing import NOBODY, RouteTable, route_bytes
from liquefy import messages as m
from liquefy.admission import key_of
from liquefy.config import BrokerConfig
from liquefy.decoding import CLAIM_MAX, is_partition
from liquefy.effects import Count, Log
from liquefy.errors import BadFrame
from liquefy.messages import Part, Session
from liquefy.wording import counted

GRANT_INTERVAL_MS = 50
"""Gateways are told of changed windows at most so often."""

ORPHANS_INTERVAL_MS = 500
"""Controllers are told of one partition without owner at most so often."""

FENCED_INTERVAL_MS = 100
"""A session that is unknown is told so at most so often."""

READ_MS = 1_000
"""Of a peer that has read nothing for so long, too much that waits for it is its own fault, not that of who sent it."""

MARKS_MAX = 32
"""So often a peer is asked how far it has read, while it is sent `flood_bytes_max`."""

STRANGERS_MAX = 1_024
"""Sessions remembered as expelled, and as told so; the oldest are forgotten."""


_Handlers = dict[type, Callable[["Peer", Any, float, list[Effect]], None]]


class Peer:
    """One live session."""

    __slots__ = (
        "address", "capacity", "clogged", "heard_ms", "name", "role", "session", "started_ms", "term", "unread",
        "watched", "window",
    )  # fmt: skip

    def __init__(self, session: Session, hello: m.Hello, now_ms: float) -> None:
        self.session = session
        self.role = hello.role
        self.name = hello.name
        self.capacity = hello.capacity
        self.address = hello.address
        self.term = hello.term
        self.started_ms = hello.started_ms
        self.window = 0
        self.watched = False
        """Somebody could not read what it had sent: what it sends is looked at before it is forwarded."""
        self.heard_ms = now_ms
        self.unread = Unread()
        self.clogged = False
        """So much waits for it to be read that gateways are granted nothing of it."""


class BrokerState:
    """`broker_id` names this start of the broker; `first_path` must be above every path of earlier starts. By `secret`
    marks cannot be guessed: nobody can say that it has read what it has not."""

    def __init__(self, config: BrokerConfig, broker_id: str, first_path: int, secret: bytes = b"") -> None:
        self._config = config
        self._secret = secret
        self._marked = 0
        self._clogged_bytes = config.flood_bytes_max // 2
        self._mark_bytes = config.flood_bytes_max // MARKS_MAX
        self._broker_id = broker_id
        self._table = RouteTable(first_path)
        self._holding = Holding()
        self._pauses: dict[str, Pause] = {}
        self._peers: dict[Session, Peer] = {}
        self._by_name: dict[tuple[str, str], Peer] = {}
        self._expelled: dict[Session, None] = {}
        self._fenced_ms: dict[Session, float] = {}
        self._malformed: dict[bytes, None] = {}
        self._impostors: dict[bytes, None] = {}
        self._flooders: dict[bytes, None] = {}
        self._orphans_ms: dict[str, float] = {}
        self._ticked_ms: float | None = None
        self._started_ms = float("inf")
        self._granted: dict[str, int] = {}
        self._granted_ms = float("-inf")
        self._windows_changed = False
        self._full = False
        self._term = self._led_ms = 0
        """Of the last controller, and since when that has led."""
        self._handlers: dict[type, Callable[[Any, float, list[Effect]], None]] = {
            FromPeer: self._on_control,
            RelayFrom: self._on_relay,
            Unreachable: lambda event, now, out: self._down(event.session, "connection closed", now, out),
            BadFrameFrom: lambda event, now, out: self._on_bad_frame(event.session, event.error, now, out),
            Tick: self._on_tick,
        }
        worker: _Handlers = {
            m.Beat: self._on_beat,
            m.Read: self._on_read,
            m.Malformed: self._on_malformed,
            m.Hold: self._on_hold,
            m.Release: self._on_release,
            m.Handover: self._on_handover,
            m.Disown: self._on_disown,
            m.Own: self._on_own,
            m.Activated: self._on_activated,
        }
        controller: _Handlers = {
            m.Beat: self._on_beat,
            m.Read: self._on_read,
            m.Malformed: self._on_malformed,
            m.Assign: self._on_assign,
            m.Unassign: self._on_unassign,
            m.Expel: self._on_expel,
        }
        gateway: _Handlers = {m.Beat: self._on_beat, m.Read: self._on_read, m.Malformed: self._on_malformed}
        self._accepted = {"worker": worker, "controller": controller, "gateway": gateway}

    @property
    def controllers(self) -> list[Session]:
        """Sessions of the connected controllers."""
        return [peer.session for peer in self._peers.values() if peer.role == "controller"]

    def step(self, event: Event, now_ms: float) -> list[Effect]:
        """One event; the effects to perform, in order."""
        out: list[Effect] = []
        self._started_ms = min(self._started_ms, now_ms)
        if type(event) is DataFrom:
            self._on_data(event, now_ms, out)
        else:
            self._handlers[type(event)](event, now_ms, out)
        self._push_routes(out)
        if self._windows_changed and now_ms - self._granted_ms >= GRANT_INTERVAL_MS:
            self._grant(now_ms, out)
        if out and type(event) is FromPeer:
            self._count_told(event.session, now_ms, out)
        return out

    # -- messages under way -------------------------------------------------------------------------------

    def _on_data(self, event: DataFrom, now_ms: float, out: list[Effect]) -> None:
        """Forward whole when all is for one session by the path it has; the header alone is opened."""
        peer = self._peers.get(event.session)
        if peer is None:
            self._fence(event.session, now_ms, out)
            return
        peer.heard_ms = now_ms
        try:
            if peer.watched:
                m.decode_data(event.header, event.payload)
            header = m.decode_header(event.header)
            routes, held = self._table.by_destination, self._holding.by_partition
            to = NOBODY
            for part in header:
                route = routes.get(part.destination)
                if (
                    route is None
                    or route.path != part.path
                    or (route.session != to and to)
                    or not route.session
                    or part.destination in held
                ):
                    self._split(event, header, now_ms, out)
                    return
                to = route.session
        except BadFrame as error:
            self._on_bad_frame(event.session, str(error), now_ms, out)
            return
        if to:
            self._forward(to, [event.session, event.header, event.payload], now_ms, out)

    def _split(self, event: DataFrom, header: list[Part], now_ms: float, out: list[Effect]) -> None:
        """The parts go several ways: each to its session, to where it is held, or nowhere."""
        parts = m.split_payload(event.payload, header)
        frames: dict[Session, tuple[list[Part], list[msgspec.Raw]]] = {}
        orphans: list[str] = []
        stale = held = 0
        for part, raw in zip(header, parts, strict=True):
            route = self._table.by_destination.get(part.destination)
            if route is None or not route.session:
                orphans.append(part.destination)
                stale += 1
            elif route.path != part.path:
                stale += 1
            elif part.destination in self._holding.by_partition:
                self._holding.add(event.session, part, raw, now_ms)
                held += part.count
            else:
                to_header, to_parts = frames.setdefault(route.session, ([], []))
                to_header.append(part)
                to_parts.append(raw)
        for session, (to_header, to_parts) in frames.items():
            self._forward(session, [event.session, m.encode(to_header), m.encode(to_parts)], now_ms, out)
        out.append(Count("frames_split"))
        if stale:
            out.append(Count("stale_parts", stale))
        if held:
            out.append(Count("messages_held", held))
            self._check_held(now_ms, out)
            self._check_full(now_ms, out)
        if orphans:
            told: list[Effect] = []
            self._tell_orphans(orphans, now_ms, told)
            self._count_told(event.session, now_ms, told)
            out += told

    def _on_relay(self, event: RelayFrom, now_ms: float, out: list[Effect]) -> None:
        peer = self._peers.get(event.session)
        if peer is None:
            self._fence(event.session, now_ms, out)
            return
        peer.heard_ms = now_ms
        to = self._peers.get(event.to)
        try:
            kind = m.kind_of(event.payload)
            if peer.watched:
                m.decode_control(event.payload)
        except BadFrame as error:
            self._on_bad_frame(event.session, str(error), now_ms, out)
            return
        if peer.role not in m.RELAYED_BY.get(kind, ()):
            self._on_bad_frame(event.session, f"{kind} is not for a {peer.role} to say", now_ms, out)
        elif to is not None:
            self._forward(event.to, [event.session, event.payload], now_ms, out)
        else:
            out.append(Count("relays_dropped"))

    def _tell_orphans(self, destinations: list[str], now_ms: float, out: list[Effect]) -> None:
        controllers = self.controllers if destinations else []
        due = [
            d
            for d in dict.fromkeys(destinations)
            if is_partition(d) and self._orphans_ms.get(d, -ORPHANS_INTERVAL_MS) + ORPHANS_INTERVAL_MS <= now_ms
        ]
        if controllers and due:
            self._orphans_ms.update((d, now_ms) for d in due)
            out.extend(SendTo(session, m.Orphans(due)) for session in controllers)

    # -- floods -------------------------------------------------------------------------------------------

    def _forward(self, to: Session, frames: list[bytes], now_ms: float, out: list[Effect]) -> None:
        """Unless the peer has too much to read, and it or the sender (the first frame) is cut off for that: then these
        are sent again, to the next owner or by the sender's next session."""
        peer = self._peers.get(to)
        if peer is None or frames[0] in self._expelled:
            return
        size = FRAME_BYTES
        for frame in frames:
            size += len(frame)
        if self._may_get(peer, frames[0], size, now_ms, out):
            out.append(Forward(to, frames))
            if peer.unread.unmarked >= self._mark_bytes:
                self._ask(peer, now_ms, out)

    def _ask(self, peer: Peer, now_ms: float, out: list[Effect]) -> None:
        """It is to say when it has read all that it was sent by now."""
        self._marked += 1
        digest = blake2b(self._marked.to_bytes(8, "big"), key=self._secret, digest_size=6).digest()
        mark = int.from_bytes(digest, "big") + 1
        peer.unread.mark(mark, now_ms)
        out.append(SendTo(peer.session, m.Ping(mark)))

    def _may_get(self, peer: Peer, sender: Session, size: int, now_ms: float, out: list[Effect]) -> bool:
        """False if the peer or the sender was cut off instead: so much is unread. What may be sent is counted."""
        unread = peer.unread
        if unread.bytes + size > self._clogged_bytes and not self._is_taken(peer, sender, size, now_ms, out):
            return False
        unread.add(sender, size)
        return True

    def _is_taken(self, peer: Peer, sender: Session, size: int, now_ms: float, out: list[Effect]) -> bool:
        """Whether more may be sent to a peer that has much to read. Whoever is to blame for too much is cut off: a peer
        that does not read, else who sent most of it. What was sent by those who are gone counts half."""
        if not peer.clogged:
            peer.clogged = self._windows_changed = True
        unread, limit = peer.unread, self._config.flood_bytes_max
        while unread.bytes + size - unread.gone > limit or unread.bytes + size > 2 * limit:
            most = sender if size > limit else unread.most()
            full = unread.bytes + size > 2 * limit and size <= limit
            if full or unread.stuck_ms(now_ms) > READ_MS or not most:
                out.append(Count("unread"))
                text = f"{peer.name} ({peer.role}) is given up: it has not read {unread.bytes} bytes"
                out.append(Log("warning", text, "flood"))
                self._down(peer.session, "it does not read what it is sent", now_ms, out)
                return False
            unread.forget(most)
            self._cut_off(most, f"{peer.name} can read", now_ms, out)
            if most == sender or peer.session not in self._peers:
                return False
        return True

    def _count_told(self, by: Session, now_ms: float, out: list[Effect]) -> None:
        """What others are told because of what a peer has said waits for them as what it sends them does."""
        told, size = None, 0
        for effect in out.copy():
            if type(effect) is not SendTo or (peer := self._peers.get(effect.session)) is None:
                continue
            if effect.message is not told:  # it often goes to all, one after the other
                told, size = effect.message, _told_bytes(effect.message)
            if size:
                if peer.unread.bytes + size > self._clogged_bytes:
                    self._is_taken(peer, by, size, now_ms, out)
                peer.unread.add(by, size)
                if peer.unread.unmarked >= self._mark_bytes and peer.session in self._peers:
                    self._ask(peer, now_ms, out)

    def _check_held(self, now_ms: float, out: list[Effect]) -> None:
        """Whoever sent the most is cut off: it sends all of it again, by its next session."""
        while self._holding.bytes > self._config.flood_bytes_max:
            most = self._holding.most()
            self._holding.drop(most)
            self._cut_off(most, "can be held", now_ms, out)

    def _cut_off(self, session: Session, than: str, now_ms: float, out: list[Effect]) -> None:
        """Logged once per peer, as its next connection is no news."""
        peer = self._peers.get(session)
        if peer is None:
            return
        out.append(Count("floods"))
        who = f"{peer.name} ({peer.role})"
        if who.encode() not in self._flooders:
            _remember(self._flooders, who.encode(), None)
            out.append(Log("warning", f"{who} is cut off: it sends more than {than}", "flood"))
        self._expel(session, "cut off", now_ms, out)
        self._fence(session, now_ms, out)
        out.append(Cut(session))

    def _on_read(self, peer: Peer, said: m.Read, now_ms: float, out: list[Effect]) -> None:
        peer.unread.read(said.mark, now_ms)
        if peer.clogged and peer.unread.bytes <= self._clogged_bytes:
            peer.clogged = False
            self._windows_changed = True

    # -- peers --------------------------------------------------------------------------------------------

    def _on_control(self, event: FromPeer, now_ms: float, out: list[Effect]) -> None:
        peer, message = self._peers.get(event.session), event.message
        if type(message) is m.Hello and event.key_role not in ("", message.role):
            self._on_impostor(event.session, message, event.key_role, now_ms, out)
        elif type(message) is m.Hello and event.session not in self._expelled:
            self._on_hello(event.session, message, now_ms, out)
        elif peer is None:
            self._fence(event.session, now_ms, out)
        else:
            peer.heard_ms = now_ms
            handler = self._accepted[peer.role].get(type(message))
            if handler is None:
                problem = f"{type(message).__name__} is not for a {peer.role} to say"
                self._on_bad_frame(event.session, problem, now_ms, out)
            else:
                handler(peer, message, now_ms, out)

    def _follows(self, session: Session, hello: m.Hello, now_ms: float, out: list[Effect]) -> bool:
        """Whether no later controller has led; those that led before this one are done. A term that is given twice, by
        a store that has lost the first, is done, too: by it peers tell what is older."""
        if hello.term == self._term and hello.term and self._led_ms not in (0, hello.started_ms):
            self._term, self._led_ms = self._term + 1, 0
        if hello.term < self._term:
            out.append(Log("warning", f"{hello.name} leads no more: refused", "peer"))
            self._fence(session, now_ms, out)
            return False
        self._term, self._led_ms = hello.term, hello.started_ms
        for peer in list(self._peers.values()):
            if peer.role == "controller" and peer.term < hello.term:
                self._expel(peer.session, f"{hello.name} leads now", now_ms, out)
                self._fence(peer.session, now_ms, out)
        return True

    def _on_hello(self, session: Session, hello: m.Hello, now_ms: float, out: list[Effect]) -> None:
        if hello.role == "controller" and not self._follows(session, hello, now_ms, out):
            return
        if session not in self._peers:
            who = f"{hello.name} ({hello.role})"
            if hello.role == "worker" and not self._is_room(session, who, hello.name, hello.claims, now_ms, out):
                return
            old = self._by_name.get((hello.role, hello.name))
            if old is not None:
                self._down(old.session, "connected again", now_ms, out)
            peer = Peer(session, hello, now_ms)
            self._peers[session] = self._by_name[hello.role, hello.name] = peer
            refused = 0
            if hello.role == "worker":
                refused = sum(not self._claim(peer, claim, out) for claim in hello.claims)
            elif hello.role == "gateway":
                self._table.place(f"@{hello.name}", hello.name, session, 0, active=True)
            self._windows_changed = True
            claims = self._claims(peer)
            owns = f" with {counted(len(claims), 'partition')}" if claims else ""
            owns += f" ({refused} claims refused)" if refused else ""
            out.append(Log("info", f"{hello.name} ({hello.role}) connected{owns}", "peer"))
            self._push_routes(out, but=session)
            up = self._peer_up(peer)
            out.extend(SendTo(c, up) for c in self.controllers if c != session)
        peer = self._peers[session]
        if not self._may_get(peer, session, FRAME_BYTES + self._table.bytes, now_ms, out):
            return
        up_ms = int(now_ms - self._started_ms)
        out.append(SendTo(session, m.Welcome(self._broker_id, self._table.whole(), up_ms)))
        if peer.role == "controller":
            out.extend(SendTo(session, self._peer_up(p)) for p in self._peers.values() if p is not peer)
        elif peer.role == "gateway":
            self._granted = {}
            self._grant(now_ms, out)

    def _is_room(
        self, session: Session, who: str, node: str, claims: list[m.Claim], now_ms: float, out: list[Effect]
    ) -> bool:
        """Whether the worker may claim so much; else it is expelled. Which partitions there are, nobody here knows."""
        if self._table.takes(claims, node, session):
            return True
        self._on_bad_frame(session, f"it claims {counted(len(claims), 'partition')}: too many", now_ms, out, who)
        out.append(Cut(session))
        return False

    def _claim(self, peer: Peer, claim: m.Claim, out: list[Effect]) -> bool:
        """A worker says that it owns a partition: believed unless somebody else does, or did later."""
        partition, epoch = claim
        if not is_partition(partition) or epoch > CLAIM_MAX:
            return False
        known = self._table.by_destination.get(partition)
        if known is not None and (epoch, peer.name) != (known.epoch, known.node) and epoch <= known.epoch:
            self._drop(peer.session, partition, epoch, out)
            return False
        self._take_from_owner(partition, epoch, out)
        self._table.place(partition, peer.name, peer.session, epoch, active=True)
        return True

    def _claims(self, peer: Peer) -> list[m.Claim]:
        return self._table.claims(peer.session) if peer.role == "worker" else []

    def _peer_up(self, peer: Peer) -> m.PeerUp:
        claims = self._claims(peer)
        return m.PeerUp(peer.role, peer.name, peer.session, claims, peer.capacity, peer.address, peer.started_ms)

    def _down(self, session: Session, reason: str, now_ms: float, out: list[Effect]) -> None:
        """The peer is gone. What it owned has no owner; what was held for it as a source its senders will
        send again, by the path that comes with the next owner."""
        peer = self._peers.pop(session, None)
        if peer is None:
            return
        del self._by_name[peer.role, peer.name]
        if peer.unread.bytes > self._mark_bytes:
            out.append(Cut(session))  # else that stays in memory for as long as the connection is open
        for route in self._table.of(session):
            if peer.role == "gateway":
                self._table.forget(route.destination)
            else:
                self._forget_hold(route.destination)
                self._table.lose(route.destination)
        self._windows_changed = True
        out.append(Log("info", f"{peer.name} ({peer.role}) is gone: {reason}", "peer"))
        down = m.PeerDown(peer.role, peer.name, session)
        out.extend(SendTo(controller, down) for controller in self.controllers)
        self._check_full(now_ms, out)

    def _on_bad_frame(self, session: Session, error: str, now_ms: float, out: list[Effect], who: str = "") -> None:
        out.append(Count("bad_frames"))
        if not who:
            peer = self._peers.get(session)
            who = f"{peer.name} ({peer.role})" if peer is not None else "somebody who has not said Hello"
        if session not in self._expelled:
            if who.encode() not in self._malformed:  # once per peer: a new connection is no news
                _remember(self._malformed, who.encode(), None)
                out.append(Log("warning", f"{who} sent what is not in the protocol: {error}", "bad_frame"))
            self._expel(session, "expelled", now_ms, out)
        self._fence(session, now_ms, out)

    def _on_malformed(self, peer: Peer, said: m.Malformed, now_ms: float, out: list[Effect]) -> None:
        out.append(Count("complaints"))
        if (other := self._peers.get(said.session)) is not None:
            other.watched = True

    def _on_impostor(self, session: Session, hello: m.Hello, key_role: str, now_ms: float, out: list[Effect]) -> None:
        """Who comes with the key of another role, however often, is logged once."""
        out.append(Count("impostors"))
        key = key_of(session)
        if key not in self._impostors:
            _remember(self._impostors, key, None)
            text = f"{hello.name} is refused: it says Hello as {hello.role} with the key {key.decode()}, a {key_role}'s"
            out.append(Log("warning", text, "refused_peer"))
        _remember(self._expelled, session, None)
        self._down(session, "expelled", now_ms, out)
        self._fence(session, now_ms, out)

    def _expel(self, session: Session, reason: str, now_ms: float, out: list[Effect]) -> None:
        _remember(self._expelled, session, None)
        self._down(session, reason, now_ms, out)

    def _fence(self, session: Session, now_ms: float, out: list[Effect]) -> None:
        told_ms = self._fenced_ms.get(session)
        if told_ms is None or now_ms - told_ms >= FENCED_INTERVAL_MS:
            _remember(self._fenced_ms, session, now_ms)
            out.append(SendTo(session, m.Fenced(self._term)))
            out.append(Count("fenced"))

    def _on_tick(self, event: Tick, now_ms: float, out: list[Effect]) -> None:
        interval = self._config.ping_interval_ms
        # While the broker itself did not run it heard nobody: that is not the peers' silence.
        late = max(0.0, now_ms - self._ticked_ms - 2 * interval) if self._ticked_ms is not None else 0.0
        self._ticked_ms = now_ms
        ping = m.Ping()
        for peer in list(self._peers.values()):
            if late:
                peer.heard_ms = min(now_ms, peer.heard_ms + late)
            if now_ms - peer.heard_ms > self._config.silence_max_ms:
                self._down(peer.session, f"silent for {now_ms - peer.heard_ms:.0f} ms", now_ms, out)
            else:
                out.append(SendTo(peer.session, ping))
        if self._orphans_ms:
            past = now_ms - ORPHANS_INTERVAL_MS
            self._orphans_ms = {p: told for p, told in self._orphans_ms.items() if told > past}

    # -- windows ------------------------------------------------------------------------------------------

    def _on_beat(self, peer: Peer, beat: m.Beat, now_ms: float, out: list[Effect]) -> None:
        if beat.window != peer.window:
            peer.window = beat.window
            self._windows_changed = True

    def _grant(self, now_ms: float, out: list[Effect]) -> None:
        """Divide each node's window among the gateways; nothing while too much is held."""
        gateways = [peer.session for peer in self._peers.values() if peer.role == "gateway"]
        windows = {
            peer.name: max(1, peer.window // max(1, len(gateways)))
            if peer.window > 0 and not self._full and not peer.clogged
            else 0
            for peer in self._peers.values()
            if peer.role == "worker"
        }
        self._windows_changed = False
        if windows != self._granted:
            self._granted, self._granted_ms = windows, now_ms
            out.extend(SendTo(session, m.Grant(windows)) for session in gateways)

    def _check_full(self, now_ms: float, out: list[Effect]) -> None:
        holding, config = self._holding, self._config
        full = holding.count > config.held_messages_max or holding.bytes > config.held_bytes_max
        if full != self._full:
            self._full = full
            if full:
                text = (
                    f"{holding.count} messages are held, {holding.bytes} bytes: "
                    "gateways take no more until a migration ends"
                )
                out.append(Log("warning", text, "held"))
            self._grant(now_ms, out)

    # -- placement and migration --------------------------------------------------------------------------

    def _on_assign(self, peer: Peer, assign: m.Assign, now_ms: float, out: list[Effect]) -> None:
        orphans: list[str] = []
        if wrong := [partition for partition, _, _ in assign.claims if not is_partition(partition)]:
            self._on_bad_frame(peer.session, f"{wrong[0]!r} is no partition", now_ms, out)
            return
        for partition, epoch, node in assign.claims:
            known = self._table.by_destination.get(partition)
            if known is not None and epoch < known.epoch:
                out.append(Count("stale_assigns"))
            elif known is not None and (epoch, node) == (known.epoch, known.node) and known.session:
                if self._table.is_active(partition):
                    out.append(SendTo(peer.session, m.Landed(partition, epoch, node)))
                else:
                    out.append(SendTo(known.session, m.Activate(partition, epoch)))
            else:
                self._take_from_owner(partition, epoch, out)
                owner = self._by_name.get(("worker", node))
                self._table.place(partition, node, owner.session if owner else NOBODY, epoch)
                if owner is not None:
                    out.append(SendTo(owner.session, m.Activate(partition, epoch)))
                else:
                    orphans.append(partition)
        self._tell_orphans(orphans, now_ms, out)
        self._check_full(now_ms, out)

    def _on_unassign(self, peer: Peer, unassign: m.Unassign, now_ms: float, out: list[Effect]) -> None:
        for partition in unassign.partitions:
            known = self._table.by_destination.get(partition)
            if known is not None:
                self._take_from_owner(partition, known.epoch + 1, out)
                self._table.forget(partition)
        self._check_full(now_ms, out)

    def _on_expel(self, peer: Peer, expel: m.Expel, now_ms: float, out: list[Effect]) -> None:
        self._expel(expel.session, f"expelled by {peer.name}", now_ms, out)

    def _on_disown(self, peer: Peer, disown: m.Disown, now_ms: float, out: list[Effect]) -> None:
        partition = disown.partition
        if self._table.is_owned(partition, peer.session, disown.epoch):
            self._forget_hold(partition)
            self._table.lose(partition)
            self._tell_orphans([partition], now_ms, out)
            self._check_full(now_ms, out)

    def _on_own(self, peer: Peer, own: m.Own, now_ms: float, out: list[Effect]) -> None:
        """What another broker was told, or we have missed."""
        if not self._is_room(peer.session, f"{peer.name} ({peer.role})", peer.name, own.claims, now_ms, out):
            return
        for claim in own.claims:
            if not self._table.is_owned(claim.partition, peer.session, claim.epoch) and self._claim(peer, claim, out):
                landed = m.Landed(claim.partition, claim.epoch, peer.name)
                out.extend(SendTo(controller, landed) for controller in self.controllers)
        self._check_full(now_ms, out)

    def _on_activated(self, peer: Peer, activated: m.Activated, now_ms: float, out: list[Effect]) -> None:
        partition, epoch = activated.partition, activated.epoch
        if not self._table.is_owned(partition, peer.session, epoch):
            return
        self._table.activated(partition)
        paused = self._pauses.pop(partition, None)
        held, pause_us = (paused.held, paused.length_us(now_ms)) if paused is not None else (0, 0)
        landed = m.Landed(partition, epoch, peer.name, held, pause_us)
        out.extend(SendTo(controller, landed) for controller in self.controllers)

    def _on_hold(self, peer: Peer, hold: m.Hold, now_ms: float, out: list[Effect]) -> None:
        partition, epoch = hold.partition, hold.epoch
        if not self._table.is_owned(partition, peer.session, epoch):
            self._drop(peer.session, partition, epoch, out)
            return
        if partition not in self._holding.by_partition:
            self._holding.begin(partition, peer.session, epoch, now_ms)
        out.append(SendTo(peer.session, m.Held(partition, epoch)))

    def _on_release(self, peer: Peer, release: m.Release, now_ms: float, out: list[Effect]) -> None:
        hold = self._holding.by_partition.get(release.partition)
        if hold is not None and (hold.source, hold.epoch) == (peer.session, release.epoch):
            self._holding.end(release.partition)
            self._forward_held(hold, peer.session, now_ms, out)
            self._check_full(now_ms, out)

    def _on_handover(self, peer: Peer, handover: m.Handover, now_ms: float, out: list[Effect]) -> None:
        """The source's last commit is done: the partition is the target's, with all that waits for it."""
        partition, epoch = handover.partition, handover.epoch
        if not self._table.is_owned(partition, peer.session, epoch - 1):
            out.append(Count("stale_handovers"))
            return
        if any(m.count_of(entry.posted) < 0 for entry in handover.returned):
            self._on_bad_frame(peer.session, f"what it returns of {partition} is no list", now_ms, out)
            return
        hold = self._holding.end(partition)
        target = self._by_name.get(("worker", handover.target))
        if target is not None and handover.legacy is not None:
            size = FRAME_BYTES + legacy_bytes(handover.legacy)
            if not self._may_get(target, peer.session, size, now_ms, out):
                target = self._by_name.get(("worker", handover.target))
                hold = None
        if target is None or hold is None or handover.again:
            # What was under way is lost, or may be (nothing was held, so some of it went to the source after
            # it had stopped): a new path, now or when the target comes, makes senders send it again.
            session = target.session if target is not None else NOBODY
            self._table.place(partition, handover.target, session, epoch)
            if target is not None:
                out.append(SendTo(session, m.Activate(partition, epoch)))
            else:
                self._tell_orphans([partition], now_ms, out)
        else:
            returned = sum(m.count_of(entry.posted) for entry in handover.returned)
            self._pauses[partition] = pause(hold, epoch, returned)
            route = self._table.hand_over(partition, target.name, target.session, epoch)
            out.append(SendTo(target.session, m.Activate(partition, epoch, handover.legacy)))
            for sender, posted in handover.returned:
                header = m.encode([Part(partition, route.path, m.count_of(posted))])
                self._forward(target.session, [sender, header, m.encode([posted])], now_ms, out)
            self._forward_held(hold, target.session, now_ms, out)
        self._check_full(now_ms, out)

    def _forward_held(self, hold: Hold, to: Session, now_ms: float, out: list[Effect]) -> None:
        for sender, part, raw in hold.parts:
            self._forward(to, [sender, m.encode([part]), m.encode([raw])], now_ms, out)

    def _take_from_owner(self, partition: str, epoch: int, out: list[Effect]) -> None:
        """The partition is about to change hands without its owner's help."""
        self._forget_hold(partition)
        owner = self._table.owner(partition)
        if owner:
            out.append(SendTo(owner, m.Drop(partition, max(epoch, self._table.epoch(partition) + 1))))

    def _drop(self, session: Session, partition: str, epoch: int, out: list[Effect]) -> None:
        """Tell a worker that believes to own the partition at `epoch` that it does not."""
        out.append(SendTo(session, m.Drop(partition, max(epoch + 1, self._table.epoch(partition)))))

    def _forget_hold(self, partition: str) -> None:
        self._holding.end(partition)
        self._pauses.pop(partition, None)

    def _push_routes(self, out: list[Effect], but: Session = NOBODY) -> None:
        changes = self._table.take_changes()
        if changes:
            routes = m.Routes(list(changes))
            out.extend(
                SendTo(peer.session, routes)
                for peer in self._peers.values()
                if peer.role != "controller" and peer.session != but
            )


def _remember(sessions: dict[Session, Any], session: Session, value: Any) -> None:
    sessions.pop(session, None)
    sessions[session] = value
    if len(sessions) > STRANGERS_MAX:
        del sessions[next(iter(sessions))]


def _told_bytes(message: m.Control) -> int:
    """About what it takes until it is read; 0 for what is counted elsewhere, or is no answer to anybody."""
    if isinstance(message, m.Welcome | m.Ping | m.Fenced):
        return 0
    if isinstance(message, m.Routes):
        return FRAME_BYTES + sum(map(route_bytes, message.routes))
    if isinstance(message, m.PeerUp):
        return FRAME_BYTES + sum(ENTRY_BYTES + len(claim.partition) for claim in message.claims)
    if isinstance(message, m.Orphans):
        return FRAME_BYTES + sum(ENTRY_BYTES + len(partition) for partition in message.partitions)
    return FRAME_BYTES

"""Outgoing streams of one session: order, acknowledgement, resending. Shared by gateway and worker, because both
promise their receivers the same thing: what they send to one destination first arrives in the order in which
they sent it, with no gap, whatever dies between.

How: a message stays here until acknowledged. A `Route` carries a `path`, which the broker changes whenever
something under way may have been lost; on a new path everything unacknowledged goes out again, in order, before
anything newer. Frames by an old path are dropped by the broker. So of any two messages the earlier one always
arrives first, or again; receivers drop what they have seen.

Knows neither sockets nor clocks; `now_ms` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from liquefy.effects import Relay, SendFrame
from liquefy.links import Links, Way, Ways
from liquefy.messages import PARTS_MAX, Ack, Message, Part, Posted, Route, Session

FRAME_MESSAGES_MAX = 512
"""Messages in one part of a frame; more go in further frames."""

MESSAGE_BYTES = 64
"""About what a message takes in a frame, besides its body, its headers and its texts."""

FULL_FRAME_BYTES = 4 * 1024 * 1024
"""A frame whose messages have so many bytes takes no further one: frames are long only where one message is."""

PACE_BYTES_MAX = 16 * 1024 * 1024
"""Of messages that go to one session within `PACE_MS`; the rest waits. So all that is sent again by a new path does not
come at once: the broker, which bounds what a peer has not read, can tell one that does not read from a flood."""

PACE_MS = 100

RESEND_AFTER_MS = 5_000
"""A destination that acknowledged nothing for so long on an unchanged path is sent everything again. A safety net:
whatever loses messages changes the path, and that is what resends at once."""


ACK_AFTER_MS = 20
"""Acknowledgements are gathered for so long; nobody waits for them, and together they cost one transmission."""

ACKS_MAX = 512
"""So many for one session leave at once."""


class Acks:
    """Acknowledgements to send, by the session that sent what they are for."""

    def __init__(self, links: Links | None = None) -> None:
        self._links = links or Links()
        self._seqs: dict[Session, list[int]] = {}
        self._since_ms = 0

    def add(self, session: Session, seq: int) -> None:
        """The message that `session` sent as `seq` is safe."""
        try:
            self._seqs[session].append(seq)
        except KeyError:
            self._seqs[session] = [seq]

    def flush(self, now_ms: int) -> list[Relay]:
        """What is due: all once the oldest has waited, else those that are many."""
        if not self._seqs:
            return []
        if not self._since_ms:
            self._since_ms = now_ms
        if now_ms - self._since_ms >= ACK_AFTER_MS:
            due, self._seqs, self._since_ms = self._seqs, {}, 0
        else:
            due = {}
            for session, seqs in self._seqs.items():
                if len(seqs) >= ACKS_MAX:
                    due[session] = seqs
            if not due:
                return []
            for session in due:
                del self._seqs[session]
        return [Relay(session, Ack(seqs), self._links.of(session)) for session, seqs in due.items()]


def size_of(message: Message) -> int:
    """About how many bytes it takes in a frame: what it may have much of counts."""
    size = MESSAGE_BYTES + len(message.body) + len(message.key) + len(message.id) + len(message.trace)
    for name, value in message.headers:
        size += len(name) + len(value)
    return size


class _Frames:
    """For one session. `paced`: bytes that it was sent since the pace was last looked at."""

    __slots__ = ("_bytes", "_link", "made", "paced")

    def __init__(self, link: int, paced: int) -> None:
        self._link, self.paced = link, paced
        self.made: list[SendFrame] = []
        self._bytes = FULL_FRAME_BYTES
        """Of the last one."""

    def add(self, destination: str, path: int, fresh: list[Posted]) -> list[Posted]:
        """Returns those that the pace does not allow."""
        start = 0
        while start < len(fresh) and self.paced < PACE_BYTES_MAX:
            if start or self._bytes >= FULL_FRAME_BYTES or len(self.made[-1].header) >= PARTS_MAX:
                self.made.append(SendFrame([], [], self._link))
                self._bytes = 0
            before, end, most = self._bytes, start, min(len(fresh), start + FRAME_MESSAGES_MAX)
            while end < most and (end == start or self._bytes < FULL_FRAME_BYTES):
                self._bytes += size_of(fresh[end].message)
                end += 1
            self.paced += self._bytes - before
            frame = self.made[-1]
            frame.header.append(Part(destination, path, end - start))
            frame.parts.append(fresh[start:end])
            start = end
        return fresh[start:]


class Outgoing:
    """Unacknowledged messages by destination. `token`, given with each message, comes back with its
    acknowledgement and means nothing here. `links`: connections to so many brokers. `stand_in`: what is for a gateway
    that is gone goes to any other one; not so what gateways send, as it is they who stand in."""

    def __init__(self, links: int = 1, stand_in: bool = True) -> None:
        self._stand_in = stand_in
        self._ways = Ways(links)
        self._routes = self._ways.chosen
        self._unacked: dict[str, dict[int, Posted]] = {}
        self._by_seq: dict[int, tuple[str, Any]] = {}
        self._local: dict[str, set[int]] = {}
        self._fresh: dict[str, list[Posted]] = {}
        self._quiet_since_ms: dict[str, int] = {}
        self._next_seq = 1
        self._paced: dict[Session, int] = {}
        """Bytes sent since then."""
        self._paced_ms = 0

    def __len__(self) -> int:
        """Messages unacknowledged."""
        return len(self._by_seq)

    def clear_of(self, destination: str) -> bool:
        """True if nothing on its way to the destination could be overtaken by a local delivery."""
        waiting = self._unacked.get(destination)
        return waiting is None or len(waiting) == len(self._local.get(destination, ()))

    def route(self, destination: str) -> Way | None:
        return self._routes.get(destination)

    def post(self, destination: str, message: Message, token: Any, resend: bool = False, local: bool = False) -> int:
        """Take a message over; it goes out with the next `flush`. Returns its seq. `local`: the caller delivers it
        itself, within this process; it is kept here so that it has its place in the order should that fail."""
        seq = self._next_seq
        self._next_seq += 1
        posted = Posted(seq, message, resend)
        waiting = self._unacked.get(destination)
        if waiting is None:
            self._unacked[destination] = {seq: posted}
        else:
            waiting[seq] = posted
        self._by_seq[seq] = (destination, token)
        if local:
            self._local.setdefault(destination, set()).add(seq)
        elif (fresh := self._fresh.get(destination)) is not None:
            fresh.append(posted)
        else:
            self._fresh[destination] = [posted]
        return seq

    def settle(self, seqs: Iterable[int]) -> list[Any]:
        """Never send these again: they are acknowledged, or somebody else sends them now (their partition moved), or
        nobody waits. Returns their tokens; unknown ones (settled before) are passed over."""
        tokens = []
        by_seq, unacked, local, quiet = self._by_seq, self._unacked, self._local, self._quiet_since_ms
        fresh = self._fresh
        unsent: dict[str, None] = {}
        for seq in seqs:
            entry = by_seq.pop(seq, None)
            if entry is None:
                continue
            destination, token = entry
            waiting = unacked[destination]
            del waiting[seq]
            if not waiting:
                del unacked[destination]
                local.pop(destination, None)
            elif destination in local:
                local[destination].discard(seq)
            if quiet:
                quiet.pop(destination, None)
            if destination in fresh and fresh[destination][0].seq <= seq:  # on its way twice; fresh ones are in order
                unsent[destination] = None
            tokens.append(token)
        for destination in unsent:
            left = [p for p in fresh.pop(destination) if p.seq in by_seq]
            if left:
                fresh[destination] = left
        return tokens

    def message(self, seq: int) -> Message:
        """What was posted as `seq`, which is not acknowledged."""
        return self._unacked[self._by_seq[seq][0]][seq].message

    def expired(self, now_ms: int, grace_ms: int) -> list[int]:
        """Seqs of answers that no gateway takes, whose client has stopped waiting, and that nobody asked to keep."""
        return [
            seq
            for destination, waiting in self._unacked.items()
            if destination[0] == "@" and self.resolve(destination) not in self._routes
            for seq, posted in waiting.items()
            if not posted.message.remember and posted.message.deadline_ms + grace_ms < now_ms
        ]

    def again(self, destination: str) -> None:
        """What was delivered there is lost, or may be: all that is unacknowledged is sent again."""
        self._restart([destination])

    def left(self, destination: str) -> None:
        """It is in this process no more. What was delivered here was handed over: it is on its way, as all else is."""
        self._local.pop(destination, None)

    def homeless(self) -> list[str]:
        """Partitions with unacknowledged messages, and without a route."""
        return [d for d in self._unacked if d not in self._routes and d[0] != "@"]

    def abandon(self, destination: str, chosen: Callable[[Any], bool] = lambda token: True) -> list[Any]:
        """Never send there again: nobody will ever take it. Returns the tokens of those messages."""
        return self.settle([seq for seq in self._unacked.get(destination, ()) if chosen(self._by_seq[seq][1])])

    def on_routes(self, routes: Iterable[Route], whole: bool = False, link: int = 0) -> None:
        """New routes of one broker; `whole` replaces its table. A destination with a new path, or by another broker, is
        sent again from its oldest unacknowledged message."""
        self._changed(self._ways.learn(link, routes, whole))

    def on_disconnected(self, link: int = 0) -> None:
        """That broker is gone: nothing has a route by it until it says so again."""
        self._changed(self._ways.lose(link))

    def _changed(self, changed: dict[str, None]) -> None:
        if any(d[0] == "@" for d in changed):
            changed |= {d: None for d in self._unacked if d[0] == "@" and d not in self._routes}
        self._restart(changed)

    def on_tick(self, now_ms: int) -> None:
        """Send again to destinations that have acknowledged nothing for RESEND_AFTER_MS, by another broker if there
        is one."""
        overdue = []
        for destination in self._unacked:
            if self._quiet_since_ms.setdefault(destination, now_ms) + RESEND_AFTER_MS <= now_ms:
                self._quiet_since_ms[destination] = now_ms
                overdue.append(destination)
        for destination in overdue:
            self._ways.shift(destination)
        self._restart(overdue)

    def flush(self, now_ms: int) -> list[SendFrame]:
        """Frames for all that is fresh and has a route, as far as PACE_BYTES_MAX allows; one frame a node as far as
        FRAME_MESSAGES_MAX and FULL_FRAME_BYTES do."""
        if not self._fresh:
            return []
        if not 0 <= now_ms - self._paced_ms < PACE_MS:
            self._paced, self._paced_ms = {}, now_ms
        filled: dict[Session, _Frames] = {}
        for destination in list(self._fresh):
            route = self._routes.get(self.resolve(destination))
            if route is None:
                continue
            frames = filled.get(route.session)
            if frames is None:
                frames = filled[route.session] = _Frames(route.link, self._paced.get(route.session, 0))
            if frames.paced >= PACE_BYTES_MAX:
                continue
            rest = frames.add(route.destination, route.path, self._fresh.pop(destination))
            if rest:
                self._fresh[destination] = rest
        for session, frames in filled.items():
            self._paced[session] = frames.paced
        return [frame for frames in filled.values() for frame in frames.made]

    def resolve(self, destination: str) -> str:
        """A gateway that is gone is stood in for by any other: it keeps the answer if it is to be remembered."""
        if self._stand_in and destination[0] == "@" and destination not in self._routes:
            return min((d for d in self._routes if d[0] == "@"), default=destination)
        return destination

    def _restart(self, destinations: Iterable[str]) -> None:
        for destination in destinations:
            waiting = self._unacked.get(destination)
            if waiting:
                self._local.pop(destination, None)
                fresh = self._fresh.get(destination, ())
                new = {p.seq for p in fresh if not p.resend}
                self._fresh[destination] = [
                    p if p.seq in new else Posted(p.seq, p.message, True) for p in waiting.values()
                ]

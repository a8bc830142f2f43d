"""One peer's connections to the brokers, as its deciding code knows them, and by which of them is sent where.

Every broker knows every route, and peers are connected to all brokers. A sender picks one of those that have a route
to a destination, by a hash of it, and stays with it while that has one: so all that it sends there goes one way, in
order. When that broker is gone, or has no route any more, the next one is picked, and all that is unacknowledged goes
by it again: a new path, for the sender, like any other.

A connection is named by its number, that of the broker's address in the settings. Knows neither sockets nor messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from liquefy.effects import Relay
from liquefy.messages import Control, Route, Session

MET_MAX = 10_000
"""Sessions of which it is remembered by which broker they are reached; the oldest are forgotten."""


class Way(NamedTuple):
    """A route, and by which of our connections it is taken."""

    destination: str
    node: str
    session: Session
    epoch: int
    path: int
    link: int = 0


class Links:
    """Connections to `count` brokers: our session on each that is there, when it was heard, and whom it leads to."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.sessions: dict[int, Session] = {}
        self.welcomed: set[int] = set()
        self.controllers: dict[int, Session] = {}
        """Sessions of the controller that leads, as far as we know: what it is told by all of them, or by any."""
        self._told = (0, 0)
        self._heard_ms: dict[int, int] = {}
        self._met: dict[Session, int] = {}

    def up(self, link: int, session: Session, now_ms: int) -> None:
        """It can be spoken on."""
        self.sessions[link] = session
        self._heard_ms[link] = now_ms

    def down(self, link: int) -> None:
        """It is gone, and so are all sessions that were reached by it."""
        self.sessions.pop(link, None)
        self.welcomed.discard(link)
        self.controllers.pop(link, None)
        self._heard_ms.pop(link, None)
        self._met = {session: by for session, by in self._met.items() if by != link}

    def heard(self, link: int, now_ms: int) -> None:
        if link in self._heard_ms:
            self._heard_ms[link] = now_ms

    def heard_ms(self) -> int:
        """When any of them was heard last; 0 if there is none."""
        return max(self._heard_ms.values(), default=0)

    def silent(self, now_ms: int, silence_ms_max: int) -> list[tuple[int, int]]:
        """Those that have said nothing for longer, and for how long; each is named once."""
        found = [(link, now_ms - heard) for link, heard in self._heard_ms.items() if now_ms - heard > silence_ms_max]
        for link, _ in found:
            self._heard_ms[link] = now_ms
        return found

    def met(self, session: Session, link: int) -> None:
        """The session was heard on that connection. Need not be said of the first one: what is not known is that."""
        if session not in self._met:
            self._met[session] = link
            if len(self._met) > MET_MAX:
                del self._met[next(iter(self._met))]

    def led(self, session: Session, link: int, term: int, number: int) -> bool:
        """The controller that leads in this term says on that connection what is in force. False if that is old:
        another controller has followed it, or it has said something newer on another connection."""
        if term < self._told[0] and self.count > 1:
            return False
        if term > self._told[0]:
            self.controllers.clear()
        self.controllers[link] = session
        news = (term, number) >= self._told or self.count == 1
        self._told = max(self._told, (term, number))
        return news

    def asked(self, session: Session, link: int) -> None:
        """A controller asks for something; it leads, unless we know of one that does."""
        if self.count == 1 or not self.controllers:
            self.controllers[link] = session

    def controller(self) -> tuple[Session, int] | None:
        """One session of the controller, and by which connection it is reached."""
        link = min(self.controllers, default=-1)
        return (self.controllers[link], link) if self.controllers else None

    def towards(self, session: Session, link: int) -> tuple[Session, int]:
        """Who was heard as `session` on that connection; by another one, if that is gone and it is the controller."""
        return (session, link) if link in self.sessions else self.controller() or (session, link)

    def relay(self, to: Session, message: Control) -> Relay:
        """To a peer that was met."""
        return Relay(to, message, self.of(to))

    def of(self, session: Session) -> int:
        """By which connection a session is reached."""
        return self._met.get(session, 0)


class Ways:
    """What each broker has for routes, and the way that is taken to each destination: `chosen`, which may be read
    directly (it is, for each frame)."""

    def __init__(self, count: int = 1) -> None:
        self.chosen: dict[str, Way] = {}
        self._tables: list[dict[str, Way]] = [{} for _ in range(count)]
        self._shifts: dict[str, int] = {}

    def learn(self, link: int, routes: Iterable[Route], whole: bool = False) -> dict[str, None]:
        """A broker's routes have changed, or are these (`whole`). Returns the destinations to which another way is
        taken now, or none."""
        table = self._tables[link]
        touched: dict[str, None] = {}
        if whole:
            touched = dict.fromkeys(table)
            self._clear(link)
        for route in routes:
            touched[route.destination] = None
            if route.session:
                table[route.destination] = Way(*route, link)
            else:
                table.pop(route.destination, None)
        return self._choose(touched)

    def lose(self, link: int) -> dict[str, None]:
        """The broker is gone. Returns the destinations that are sent to by another one now; what has no way left is
        named when it has one again."""
        touched = list(self._tables[link])
        self._clear(link)
        return {d: None for d in self._choose(touched) if d in self.chosen}

    def shift(self, destination: str) -> None:
        """What is sent there by the present way has no effect: take another one, if there is."""
        if len(self._tables) > 1:
            self._shifts[destination] = self._shifts.get(destination, 0) + 1
            self._choose([destination])

    def _clear(self, link: int) -> None:
        for destination in self._tables[link]:
            if self.chosen[destination].link == link:
                del self.chosen[destination]
        self._tables[link].clear()

    def _choose(self, destinations: Iterable[str]) -> dict[str, None]:
        changed: dict[str, None] = {}
        for destination in destinations:
            way, old = self._best(destination), self.chosen.get(destination)
            if way is not None:
                self.chosen[destination] = way
                if old is None or (old.link, old.path) != (way.link, way.path):
                    changed[destination] = None
            elif old is not None:
                del self.chosen[destination]
                changed[destination] = None
        return changed

    def _best(self, destination: str) -> Way | None:
        """Of the brokers that have a route the first, counted from the one that the destination is meant for: so one
        that comes or goes changes nothing for what goes by the others."""
        tables = self._tables
        if len(tables) == 1:
            return tables[0].get(destination)
        digest = blake2b(destination.encode(), digest_size=4).digest()
        first = int.from_bytes(digest, "big") + self._shifts.get(destination, 0)
        for step in range(len(tables)):
            way = tables[(first + step) % len(tables)].get(destination)
            if way is not None:
                return way
        return None

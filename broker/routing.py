"""The route table: where each destination is, at which epoch, by which path. See docs/PROTOCOL.md, section 2.

A data structure that keeps two promises: a destination's epoch never goes back while it is known, and a path
is never given twice. Knows neither peers nor messages nor time.
"""

from __future__ import annotations

from collections.abc import Iterable

from liquefy.messages import Claim, Route, Session

NOBODY: Session = b""

ROUTE_BYTES = 32
"""About what a route takes in a message, besides its names."""

TABLE_BYTES_MAX = 32 * 1024 * 1024
"""Of all routes, as everybody who connects is told all of them in one frame. Who claims what does not fit is
expelled."""


class RouteTable:
    """`by_destination` may be read directly (it is, for each frame); it is changed by the methods alone,
    which note what changed until `take_changes`. `first_path` must be above all paths of earlier brokers."""

    def __init__(self, first_path: int) -> None:
        self.by_destination: dict[str, Route] = {}
        self.bytes = 0
        """About what all of them take in a message."""
        self._next_path = first_path
        self._active: set[str] = set()
        self._changed: dict[str, Route] = {}

    def epoch(self, destination: str) -> int:
        """-1 if the destination is unknown."""
        route = self.by_destination.get(destination)
        return route.epoch if route is not None else -1

    def owner(self, destination: str) -> Session:
        """The session that has it, NOBODY if none does."""
        route = self.by_destination.get(destination)
        return route.session if route is not None else NOBODY

    def is_owned(self, destination: str, session: Session, epoch: int) -> bool:
        route = self.by_destination.get(destination)
        return route is not None and route.session == session != NOBODY and route.epoch == epoch

    def place(self, destination: str, node: str, session: Session, epoch: int, active: bool = False) -> Route:
        """A new owner (or the old one by a new connection), by a new path: what was under way may be lost."""
        assert epoch >= self.epoch(destination), (destination, epoch)
        route = Route(destination, node, session, epoch, self._new_path())
        return self._set(route, active)

    def hand_over(self, destination: str, node: str, session: Session, epoch: int) -> Route:
        """A new owner to whom nothing is lost: the path stays."""
        old = self.by_destination[destination]
        assert epoch > old.epoch, (old, epoch)
        assert old.session, old
        assert session, destination
        return self._set(Route(destination, node, session, epoch, old.path), active=False)

    def lose(self, destination: str) -> None:
        """The owner is gone; who it was, and its epoch, are remembered."""
        self._set(self.by_destination[destination]._replace(session=NOBODY), active=False)

    def forget(self, destination: str) -> None:
        """There is no such destination any more."""
        route = self.by_destination.pop(destination)
        self.bytes -= route_bytes(route)
        self._active.discard(destination)
        self._changed[destination] = route._replace(session=NOBODY)

    def activated(self, destination: str) -> None:
        """The owner delivers its messages."""
        assert self.by_destination[destination].session
        self._active.add(destination)

    def is_active(self, destination: str) -> bool:
        return destination in self._active

    def of(self, session: Session) -> list[Route]:
        """What one session owns."""
        return [route for route in self.by_destination.values() if route.session == session]

    def claims(self, session: Session) -> list[Claim]:
        return [Claim(route.destination, route.epoch) for route in self.of(session)]

    def takes(self, claims: Iterable[Claim], node: str, session: Session) -> bool:
        """Whether there is room for these. Destinations that are known may take as much again, by longer names of who
        has them: nobody who comes back is refused for what others have claimed."""
        room, limit = TABLE_BYTES_MAX - self.bytes, 0
        for partition, _ in claims:
            room -= route_bytes(Route(partition, node, session, 0, 0))
            if (route := self.by_destination.get(partition)) is not None:
                room += route_bytes(route)
            else:
                limit = TABLE_BYTES_MAX
        return room >= limit - TABLE_BYTES_MAX

    def whole(self) -> list[Route]:
        return list(self.by_destination.values())

    def take_changes(self) -> Iterable[Route]:
        """The latest route of each destination changed since the last call."""
        if not self._changed:
            return ()
        changes = list(self._changed.values())
        self._changed = {}
        return changes

    def _set(self, route: Route, active: bool) -> Route:
        before = self.by_destination.get(route.destination)
        self.bytes += route_bytes(route) - (route_bytes(before) if before is not None else 0)
        self.by_destination[route.destination] = self._changed[route.destination] = route
        (self._active.add if active else self._active.discard)(route.destination)
        return route

    def _new_path(self) -> int:
        self._next_path += 1
        return self._next_path


def route_bytes(route: Route) -> int:
    return ROUTE_BYTES + len(route.destination.encode()) + len(route.node.encode()) + len(route.session)

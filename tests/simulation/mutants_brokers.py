"""More classic bugs, as in `mutants`: of several brokers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liquefy.sending import Outgoing
from worker.ownership import Ownership

Patch = Callable[[Any, str, Any], None]


def handed_over_before_all_markers_came(patch: Patch) -> None:
    """The source of a migration takes the marker of one broker for those of all."""

    def marked(self: Any, move: Any, link: int) -> None:
        move.awaited.clear()
        move.draining = True

    patch(Ownership, "_marked", marked)


def spread_over_two_brokers_at_once(patch: Patch) -> None:
    """A sender sends to one destination by this broker and that in turn."""
    real = Outgoing.flush
    turns: dict[Any, int] = {}

    def flush(self: Any, now_ms: int) -> Any:
        for destination in self._fresh:
            ways = [table[destination] for table in self._ways._tables if destination in table]
            if len(ways) > 1:
                turns[destination] = turns.get(destination, 0) + 1
                self._routes[destination] = ways[turns[destination] % len(ways)]
        return real(self, now_ms)

    patch(Outgoing, "flush", flush)


def not_sent_again_by_another_broker(patch: Patch) -> None:
    """What went by a broker that died is sent again only after a long time."""

    def on_disconnected(self: Any, link: int = 0) -> None:
        self._ways.lose(link)

    patch(Outgoing, "on_disconnected", on_disconnected)


MUTANTS = [
    handed_over_before_all_markers_came, spread_over_two_brokers_at_once, not_sent_again_by_another_broker,
]  # fmt: skip

"""More classic bugs, as in `mutants`: limits that are not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.state import BrokerState
from controller.migration import Migrations
from gateway.pending import GatewayState
from worker.cache import Cache
from worker.state import WorkerState

Patch = Callable[[Any, str, Any], None]


def held_without_bound(patch: Patch) -> None:
    """A broker grants windows however much it holds."""
    patch(BrokerState, "_check_full", lambda self, now_ms, out: None)


def queued_without_bound(patch: Patch) -> None:
    """A worker takes requests however many bytes wait."""
    patch(WorkerState, "window", lambda self: 0 if self.stalled() else self.config.window)


def taken_in_without_bound(patch: Patch) -> None:
    """A gateway does not count the bytes of requests."""
    real = GatewayState._admit

    def admit(self: Any, event: Any, root: bytes, key: str, now_ms: int) -> Any:
        self._queued_bytes = 0
        return real(self, event, root, key, now_ms)

    patch(GatewayState, "_admit", admit)


def cached_without_bound(patch: Patch) -> None:
    patch(Cache, "evict", lambda self: [])


def all_moves_at_once(patch: Patch) -> None:
    real = Migrations.advance

    def advance(self: Any) -> None:
        real(self)
        while self.waiting and self._desk.settled and self._begin_next():
            pass

    patch(Migrations, "advance", advance)


MUTANTS = [
    held_without_bound, queued_without_bound, taken_in_without_bound, cached_without_bound, all_moves_at_once,
]  # fmt: skip

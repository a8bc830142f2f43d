"""Who has given a sign of life: finds workers that are connected but hung. Dead connections are the broker's to
notice; what becomes of a hung worker's partitions is not known here.

While the broker is away nobody can be heard, and while this process itself does not run neither: no such time
counts as somebody's silence.
"""

from __future__ import annotations

from liquefy.messages import Session

LATE_MS = 500
"""Ticks further apart than this mean that this process did not run: the time is nobody's silence."""


class Liveness:
    """Sessions, and when each was heard last."""

    def __init__(self, hang_ms: int) -> None:
        self._hang_ms = hang_ms
        self._heard_ms: dict[Session, int] = {}
        self._suspended = False
        self._ticked_ms: int | None = None

    def up(self, session: Session, now_ms: int) -> None:
        self._heard_ms[session] = now_ms

    def heard(self, session: Session, now_ms: int) -> None:
        if session in self._heard_ms:
            self._heard_ms[session] = now_ms

    def down(self, session: Session) -> None:
        self._heard_ms.pop(session, None)

    def suspend(self) -> None:
        """The broker is gone."""
        self._suspended = True

    def resume(self, now_ms: int) -> None:
        """The broker is back: everybody starts afresh."""
        self._suspended = False
        self._ticked_ms = now_ms
        self._heard_ms = dict.fromkeys(self._heard_ms, now_ms)

    def hung(self, now_ms: int) -> list[Session]:
        """Sessions silent for longer than `hang_ms`; each is named once, and then no longer watched."""
        late_ms = now_ms - self._ticked_ms if self._ticked_ms is not None else 0
        self._ticked_ms = now_ms
        if late_ms > LATE_MS:
            self._heard_ms = {s: min(now_ms, heard + late_ms) for s, heard in self._heard_ms.items()}
        if self._suspended:
            return []
        found = [s for s, heard_ms in self._heard_ms.items() if now_ms - heard_ms > self._hang_ms]
        for session in found:
            del self._heard_ms[session]
        return found

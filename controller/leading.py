"""Which of several controllers leads: asks the store for a lease, and for it again and again. Takes an event and the
time, returns effects.

Knows no store and no clock, nor what a leader does. That a leader which was followed by another does no harm is not
held here: its writes are refused by their term (`place.lua`, `fenced.lua`), and the broker closes its session. So a
leader that the store does not answer goes on; it can do nothing, but tell people so.
"""

from __future__ import annotations

from typing import NamedTuple

from liquefy.commits import LeadRequest, Standing
from liquefy.control import Reply, Request
from liquefy.effects import Log

LEASE_MS = 1_500
"""A leader that has not been heard of by the store for so long is followed by another."""

ASK_MS = 300
"""How often the store is asked."""

UNLINKED_MS = 2_000
"""A leader without a broker gives up after so long, if another one has one."""


class Tick(NamedTuple):
    """Due often. `linked`: there is a connection to the broker."""

    linked: bool


class Told(NamedTuple):
    """What the store answered."""

    standing: Standing


class Unanswered(NamedTuple):
    """The store did not answer."""


class Refused(NamedTuple):
    """The store refused a write, or the broker the session: it has heard of a leader in this `term`."""

    term: int


Event = Tick | Told | Unanswered | Refused


class Ask(NamedTuple):
    """Ask the store; `Told` or `Unanswered` follows."""

    request: LeadRequest


class Lead(NamedTuple):
    """Begin to lead, in this term."""

    term: int


class StandBy(NamedTuple):
    """Lead no more: forget all, and give the session up."""


Effect = Ask | Lead | StandBy | Log


class Leading:
    """`term`: the one in which this controller leads, 0 while it does not."""

    def __init__(self, name: str, address: str) -> None:
        self._name, self._address = name, address
        self.term = 0
        self.leader = Standing(0, "", "")
        self._known = 0
        self._asking = False
        self._due_ms = 0
        self._waits_ms = 0
        self._linked_ms = 0

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """One event in, effects out, to be performed in order."""
        if isinstance(event, Tick):
            return self._tick(event.linked, now_ms)
        if isinstance(event, Refused):
            return self._refused(event.term, now_ms)
        self._asking = False
        return self._told(event.standing, now_ms) if isinstance(event, Told) else []

    def refusal(self, request: Request) -> Reply:
        """What a person is told who asks here while another one leads."""
        leader = self.leader
        if leader.name and leader.name != self._name:
            text = f"{self._name} stands by; {leader.name} leads\n  remedy: ask {leader.address}"
            return Reply(request.id, error=text, end=True, elsewhere=leader.address)
        text = f"{self._name} stands by, and nobody leads yet\n  remedy: ask again; if it stays so, look at Redis"
        return Reply(request.id, error=text, end=True, elsewhere=self._address)

    def _tick(self, linked: bool, now_ms: int) -> list[Effect]:
        if linked or not self._linked_ms:
            self._linked_ms = now_ms
        if self._asking or now_ms < self._due_ms:
            return []
        if not self.term and not linked and now_ms < self._waits_ms:
            return []
        self._asking, self._due_ms = True, now_ms + ASK_MS
        return [Ask(LeadRequest(self._name, self._address, self.term, self._known, LEASE_MS, linked))]

    def _told(self, standing: Standing, now_ms: int) -> list[Effect]:
        before, self.leader = self.leader, standing
        self._known = max(self._known, standing.term)
        leads = standing.name == self._name and standing.term > 0
        if leads and self.term == standing.term:
            return self._goes_on(standing, now_ms)
        if self.term:
            self.term = 0
            # Of the same name: somebody started this one twice. They are not to take it from each other at once.
            self._due_ms = now_ms + (LEASE_MS if leads else 0)
            return [Log("warning", f"{standing.name or 'nobody'} leads now: stands by", "deposed"), StandBy()]
        if leads:
            self.term = standing.term
            return [Log("info", f"leads (term {standing.term})", "leads"), Lead(standing.term)]
        if standing.name not in (before.name, "", self._name):
            return [Log("info", f"stands by: {standing.name} leads at {standing.address}", "stands_by")]
        return []

    def _refused(self, term: int, now_ms: int) -> list[Effect]:
        """The store says who leads; it may have forgotten what terms there were, and the broker not."""
        self._known, self._due_ms = max(self._known, term), now_ms
        if term <= self.term or not self.term:
            return []
        self.term = 0
        return [Log("warning", "was refused: leads no more", "deposed"), StandBy()]

    def _goes_on(self, standing: Standing, now_ms: int) -> list[Effect]:
        if not standing.wanted or now_ms - self._linked_ms < UNLINKED_MS:
            return []
        self._waits_ms = now_ms + 2 * LEASE_MS
        give_up = Ask(LeadRequest(self._name, self._address, self.term, self._known, 0, False))
        self.term, self._asking = 0, True
        text = "has no broker, and another controller has: it is to lead"
        return [Log("warning", text, "deposed"), StandBy(), give_up]

"""Which of several controllers leads."""

from __future__ import annotations

from controller.leading import (
    ASK_MS,
    LEASE_MS,
    UNLINKED_MS,
    Ask,
    Effect,
    Lead,
    Leading,
    Refused,
    StandBy,
    Tick,
    Told,
    Unanswered,
)
from liquefy.commits import LeadRequest, Standing
from liquefy.control import Request
from liquefy.effects import Log

ME, OTHER = "controller", "controller2"


def deeds(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Log)]


def leader(term: int = 1) -> Leading:
    """One that leads since 1,000."""
    leading = Leading(ME, "tcp://me:1")
    assert deeds(leading.step(Tick(True), 1_000)) == [Ask(LeadRequest(ME, "tcp://me:1", 0, 0, LEASE_MS, True))]
    assert deeds(leading.step(Told(Standing(term, ME, "tcp://me:1")), 1_000)) == [Lead(term)]
    return leading


def test_who_gets_the_lease_leads_and_asks_for_it_again() -> None:
    leading = leader(7)
    assert leading.step(Tick(True), 1_000 + ASK_MS - 1) == []
    assert deeds(leading.step(Tick(True), 1_000 + ASK_MS)) == [
        Ask(LeadRequest(ME, "tcp://me:1", 7, 7, LEASE_MS, True))
    ]
    assert leading.step(Tick(True), 9_000) == [], "one question at a time"
    assert leading.step(Told(Standing(7, ME, "tcp://me:1")), 9_000) == []
    assert leading.term == 7


def test_who_does_not_get_it_stands_by_and_says_who_leads() -> None:
    leading = Leading(ME, "tcp://me:1")
    leading.step(Tick(True), 1_000)
    assert deeds(leading.step(Told(Standing(3, OTHER, "tcp://other:1")), 1_000)) == []
    reply = leading.refusal(Request(4, "status"))
    assert (reply.id, reply.elsewhere, reply.end) == (4, "tcp://other:1", True)
    assert "controller2 leads" in reply.error
    (asks,) = deeds(leading.step(Tick(True), 1_000 + ASK_MS))
    assert isinstance(asks, Ask)
    assert asks.request.known == 3


def test_a_leader_that_the_store_does_not_answer_leads_on() -> None:
    leading = leader()
    for now_ms in range(2_000, 60_000, 500):
        leading.step(Tick(True), now_ms)
        assert leading.step(Unanswered(), now_ms) == []
    assert leading.term == 1


def test_a_leader_that_was_followed_stands_by() -> None:
    leading = leader()
    leading.step(Tick(True), 2_000)
    assert deeds(leading.step(Told(Standing(2, OTHER, "tcp://other:1")), 2_000)) == [StandBy()]
    assert leading.term == 0


def test_a_leader_whose_write_was_refused_asks_for_a_higher_term() -> None:
    leading = leader(3)
    assert leading.step(Refused(3), 1_100) == [], "its own"
    assert deeds(leading.step(Refused(9), 1_200)) == [StandBy()]
    (asks,) = deeds(leading.step(Tick(True), 1_200))
    assert isinstance(asks, Ask)
    assert (asks.request.term, asks.request.known) == (0, 9)


def test_two_of_one_name_do_not_take_it_from_each_other_at_once() -> None:
    leading = leader()
    leading.step(Tick(True), 2_000)
    assert deeds(leading.step(Told(Standing(2, ME, "tcp://me:1")), 2_000)) == [StandBy()]
    assert leading.step(Tick(True), 2_000 + LEASE_MS - 1) == []


def test_a_leader_without_a_broker_gives_up_if_another_has_one() -> None:
    assert LEASE_MS < UNLINKED_MS, "what the store knows of the other one is news of after the broker was lost"
    leading = leader()
    wanted, alone = Standing(1, ME, "tcp://me:1", True), Standing(1, ME, "tcp://me:1")
    leading.step(Tick(False), 2_000)
    assert leading.step(Told(wanted), 2_000) == [], "not yet"
    leading.step(Tick(False), 1_000 + UNLINKED_MS)
    assert leading.step(Told(alone), 1_000 + UNLINKED_MS) == [], "nobody else could do better"
    leading.step(Tick(False), 2_000 + UNLINKED_MS)
    stands_by, gives_up = deeds(leading.step(Told(wanted), 2_000 + UNLINKED_MS))
    assert stands_by == StandBy()
    assert isinstance(gives_up, Ask)
    assert gives_up.request.lease_ms == 0
    assert leading.step(Told(Standing(1, "", "")), 2_000 + UNLINKED_MS) == []
    assert leading.step(Tick(False), 3_000 + UNLINKED_MS) == [], "it leaves it to the other one"
    assert deeds(leading.step(Tick(True), 3_000 + UNLINKED_MS)), "unless it has a broker again"

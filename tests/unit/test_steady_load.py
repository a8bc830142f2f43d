"""The book that judges the chaos: what was made, acknowledged, and what the contexts hold."""

from __future__ import annotations

import pytest
from steady_load import Entry, SteadyLoad

ANSWERED, NOT_ANSWERED = 200, 0


def book(*entries: tuple[int, int]) -> SteadyLoad:
    """Of one user: status and number of each request, each made after the one before it was answered."""
    load = SteadyLoad("http://127.0.0.1:1", users=1)
    highest = 0
    for at, (status, number) in enumerate(entries):
        load.entries.append(Entry(load.users[0], at, at + 0.5, status, number, highest, 1))
        highest = max(highest, number)
    load.started = len(entries)
    return load


@pytest.mark.parametrize(
    ("entries", "held", "lost", "doubled", "failed"),
    [
        ([(ANSWERED, 1), (ANSWERED, 2)], 2, 0, 0, 0),
        ([(ANSWERED, 1), (ANSWERED, 2)], 1, 1, 0, 0),
        ([(ANSWERED, 1), (ANSWERED, 2)], 3, 0, 1, 0),
        ([(ANSWERED, 1), (NOT_ANSWERED, 0)], 1, 0, 0, 1),
        ([(ANSWERED, 1), (NOT_ANSWERED, 0), (ANSWERED, 3)], 3, 0, 0, 1),
        ([(ANSWERED, 1), (NOT_ANSWERED, 0)], 3, 0, 1, 1),
    ],
)
def test_what_was_not_answered_may_have_counted_once(
    entries: list[tuple[int, int]], held: int, lost: int, doubled: int, failed: int
) -> None:
    load = book(*entries)
    verdict = load.check({load.users[0]: {"visits": held}})
    assert (verdict.lost, verdict.doubled, verdict.reordered, verdict.failed) == (lost, doubled, 0, failed)
    assert verdict.clean == (not (lost or doubled or failed))


def test_an_answer_that_came_twice_is_told() -> None:
    load = book((ANSWERED, 1), (ANSWERED, 1))
    assert load.check({load.users[0]: {"visits": 2}}).reordered


@pytest.mark.parametrize(
    ("status", "unsure", "held", "doubled"),
    [
        (200, False, 2, 0),
        (200, False, 3, 1),
        (503, False, 1, 0),
        (503, False, 2, 1),
        (504, True, 2, 0),
        (0, True, 3, 1),
    ],
)
def test_a_request_without_a_key_counts_once_if_it_was_answered_and_not_if_it_was_turned_away(
    status: int, unsure: bool, held: int, doubled: int
) -> None:
    load = book((ANSWERED, 1))
    user = load.users[0]
    load.entries.append(Entry(user, 2, 2.5, status, 2 if status == 200 else 0, 1, 1, False, unsure))
    load.started = 2
    verdict = load.check({user: {"visits": held}})
    assert (verdict.lost, verdict.doubled, verdict.reordered, verdict.failed) == (0, doubled, 0, 0)
    assert verdict.clean == (not doubled)

"""The judges of the benchmarks: each says no to a bug that is planted here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from worker_bench import graph as worker_graph

from bench import closed_loop, judging, report, views
from bench.judging import Book, counter_context, n_of
from controller import balance
from liquefy.messages import Message
from liquefy.values import pack

KEYS = ("a", "b")
SENT = 25


def book_of(messages: int = SENT) -> Book:
    """So many of each key, all answered."""
    book = Book()
    for place in range(messages):
        for key in KEYS:
            book.send(key)
            book.answer(key, 200, place + 1)
    return book


def counted(numbers: list[int]) -> dict[str, Any]:
    """What `counter` makes of these n."""
    return {"count": len(numbers), "sum": sum(numbers), "last": numbers[-judging.LAST :]}


NUMBERS = [n_of(place) for place in range(SENT)]


def test_nothing_is_wrong_where_all_had_their_effect_once() -> None:
    book = book_of()
    assert not book.wrong(answers=2 * SENT)
    assert not judging.stored(book, KEYS, dict.fromkeys(KEYS, counted(NUMBERS)), counter_context)


@pytest.mark.parametrize("messages", [1, 9, 10, 11, 12, 100])
def test_the_context_of_a_counter_is_what_its_messages_make(messages: int) -> None:
    assert counter_context(messages) == counted([n_of(place) for place in range(messages)])


@pytest.mark.parametrize(
    "numbers",
    [
        NUMBERS[:-1],
        [*NUMBERS, NUMBERS[-1]],
        [*NUMBERS[:-1], NUMBERS[0] + 20],
        [*NUMBERS[:-2], NUMBERS[-1], NUMBERS[-2]],
        [*NUMBERS[:3], NUMBERS[2], *NUMBERS[4:]],
        [],
    ],
    ids=["one lost", "one twice", "another n", "order", "one lost and another twice", "no context"],
)
def test_a_stored_context_that_is_not_what_was_answered(numbers: list[int]) -> None:
    contexts = {"a": counted(NUMBERS), "b": counted(numbers) if numbers else {}}
    [line] = judging.stored(book_of(), KEYS, contexts, counter_context)
    assert line.startswith("b, of which 25 were answered")


def test_a_context_of_a_key_that_nobody_asked_for() -> None:
    assert judging.stored(book_of(), (*KEYS, "c"), dict.fromkeys((*KEYS, "c"), counted(NUMBERS)), counter_context)


@pytest.mark.parametrize(
    ("status", "body"), [(200, SENT), (200, SENT + 2), (503, SENT + 1)], ids=["again", "one is missing", "an error"]
)
def test_an_answer_that_is_not_the_next_one(status: int, body: Any) -> None:
    book = book_of()
    book.send("a")
    book.answer("a", status, body)
    assert len(book.wrong(answers=1)) == 1


def test_what_has_no_answer_and_where_there_is_none() -> None:
    book = book_of()
    assert book.wrong(answers=0) == ["nothing was answered"]
    book.send("a")
    assert book.wrong(answers=2 * SENT) == ["51 messages were sent, 50 answered"]


def test_errors_are_kept_up_to_a_limit() -> None:
    book = Book()
    for place in range(2 * judging.ERRORS_MAX):
        book.send("a")
        book.answer("a", 200, place + 2)
    assert len(book.errors) == judging.ERRORS_MAX


def test_requests_are_what_was_answered_and_at_most_what_was_open() -> None:
    assert not judging.requests(1_000, 0, 64, [1_000, 1_064])
    assert judging.requests(1_000, 0, 64, [999])
    assert judging.requests(1_000, 0, 64, [1_000, 1_065])
    assert judging.requests(1_000, 1, 64, [1_000])
    assert judging.requests(0, 0, 64, [0])


def test_visits_are_found_in_what_is_stored() -> None:
    assert judging.visits({}) == 0
    assert judging.visits({"visits": 3}) == judging.visits({"count": 3}) == 3
    assert judging.visits({"state": pack({"v": {"app.visits": 3}, "n": []})}) == 3
    assert judging.visits({"entry:app.visits": '{"roots":{"entry":3},"nodes":[]}'}) == 3


def test_numbers_that_differ() -> None:
    assert not judging.same("nodes", 2, 2)
    assert judging.same("nodes", 1, 2) == ["nodes: 1 instead of 2"]


# -- plans -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", views.SKEWS)
def test_a_plan_is_right(skew: str) -> None:
    view = views.view(20, 400, skew, seed=1)
    assert not judging.planned(view, balance.plan(view, (), balance.Limits(moves_max=400), 0))


def test_a_plan_that_is_wrong() -> None:
    view = views.view(20, 400, "tenth", seed=1)
    plan = balance.plan(view, (), balance.Limits(), 0)
    first = plan.moves[0]
    back = first._replace(source=first.target, target=first.source)
    assert judging.planned(view, plan._replace(expected=plan.expected * 0.99))
    assert judging.planned(view, plan._replace(moves=plan.moves[1:]))
    assert judging.planned(view, plan._replace(moves=[*plan.moves, first])) == ["a partition is moved twice"]
    assert judging.planned(view, plan._replace(moves=[back, *plan.moves[1:]]))
    assert judging.planned(view, plan._replace(moves=[first._replace(target="gone"), *plan.moves[1:]]))
    worse = [first._replace(partition=p, source=view.where[p], target="node0") for p in view.owned["node1"]]
    expected = views.highest(view, worse)
    assert judging.planned(view, plan._replace(moves=worse, expected=expected))


# -- who asks --------------------------------------------------------------------------------------------------


def client_of(book: Book) -> closed_loop.Client:
    """One that is not connected."""
    return closed_loop.Client("tcp://127.0.0.1:1", worker_graph(), "store", book)


def messages() -> Iterator[tuple[str, Any]]:
    for place in range(5):
        yield "a", {"body": place}


def test_a_message_that_is_never_answered_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "ANSWER_S", 0.0)
    monkeypatch.setattr(closed_loop, "LOOK_S", 0.0)
    book = Book()

    async def ask() -> None:
        client = client_of(book)
        await client.each(2, messages())
        await client.run(2, 0.0, lambda: ("a", {}))
        over = asyncio.Event()
        over.set()
        await client.paced(1e9, lambda: ("b", {}), over)

    asyncio.run(ask())
    assert book.sent["a"] == 5
    assert book.errors == ["a: no answer in 0 s"] * 5
    assert book.wrong(answers=0)


def test_a_second_answer_of_one_message_counts_once() -> None:
    book = Book()

    async def ask() -> None:
        client = client_of(book)
        client._post("a", {}, 0.0)
        [root] = client._waiting
        answer = Message(root, "", "a", pack(1), 0, root, "", status=200)
        client._answered(answer)
        client._answered(answer)

    asyncio.run(ask())
    assert book.answered == {"a": 1}
    assert not book.wrong(answers=1)


def test_what_is_wrong_is_told_and_is_not_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.right([])
    assert not report.right([f"line {i}" for i in range(8)])
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "wrong: line 0"
    assert said[-1] == "wrong: and 3 more"

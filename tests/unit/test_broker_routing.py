"""The route table: paths never repeat, epochs never go back."""

from __future__ import annotations

import random

import pytest

from broker.routing import ROUTE_BYTES, RouteTable
from liquefy.messages import Claim, Welcome, encode


def test_each_placement_has_a_path_of_its_own_and_a_handover_keeps_it() -> None:
    table = RouteTable(100)
    first = table.place("g/a/0", "n1", b"n1#1", 1)
    second = table.place("g/a/0", "n1", b"n1#2", 1)
    assert 100 < first.path < second.path
    assert table.hand_over("g/a/0", "n2", b"n2#1", 2).path == second.path


def test_an_epoch_that_goes_back_is_a_mistake_of_ours() -> None:
    table = RouteTable(0)
    table.place("g/a/0", "n1", b"n1#1", 5)
    with pytest.raises(AssertionError):
        table.place("g/a/0", "n2", b"n2#1", 4)
    with pytest.raises(AssertionError):
        table.hand_over("g/a/0", "n2", b"n2#1", 5)
    table.lose("g/a/0")
    assert table.epoch("g/a/0") == 5
    with pytest.raises(AssertionError):
        table.place("g/a/0", "n2", b"n2#1", 4)


def test_changes_are_told_once_and_the_latest_only() -> None:
    table = RouteTable(0)
    table.place("g/a/0", "n1", b"n1#1", 1)
    table.place("g/a/1", "n1", b"n1#1", 1)
    table.forget("g/a/0")
    assert [(r.destination, r.session) for r in table.take_changes()] == [("g/a/0", b""), ("g/a/1", b"n1#1")]
    assert not table.take_changes()
    assert [r.destination for r in table.whole()] == ["g/a/1"]


def test_activity_ends_with_ownership() -> None:
    table = RouteTable(0)
    table.place("g/a/0", "n1", b"n1#1", 1, active=True)
    assert table.claims(b"n1#1") == [Claim("g/a/0", 1)]
    table.hand_over("g/a/0", "n2", b"n2#1", 2)
    assert not table.is_active("g/a/0")
    table.activated("g/a/0")
    assert table.is_active("g/a/0")
    table.lose("g/a/0")
    assert not table.is_active("g/a/0")
    assert not table.is_owned("g/a/0", b"", 2)


@pytest.mark.parametrize("seed", range(20))
def test_the_table_knows_how_long_it_is_when_all_of_it_is_told(seed: int) -> None:
    rng = random.Random(seed)
    table, names = RouteTable(2**50), ["g", "Zoë", "x" * 60]
    for epoch in range(200):
        destination = f"{rng.choice(names)}/{rng.choice(names)}/{rng.randrange(3)}"
        node, known = rng.choice(names), destination in table.by_destination
        if rng.random() < 0.6:
            table.place(destination, node, rng.choice((b"", b"n1#1", b"a longer session")), epoch)
        elif known and table.owner(destination) and rng.random() < 0.5:
            table.hand_over(destination, node, b"n2#12", epoch)
        elif known and rng.random() < 0.5:
            table.lose(destination)
        elif known:
            table.forget(destination)
        told = len(encode(Welcome("b", table.whole())))
        assert told - 40 <= table.bytes <= told + len(table.whole()) * ROUTE_BYTES
    for destination in list(table.by_destination):
        table.forget(destination)
    assert table.bytes == 0


def test_what_is_claimed_again_takes_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    table = RouteTable(0)
    table.place("g/a/0", "n1", b"n1#1", 1)
    monkeypatch.setattr("broker.routing.TABLE_BYTES_MAX", 2 * table.bytes)
    again, one, two = Claim("g/a/0", 2), Claim("g/a/1", 1), Claim("g/a/2", 1)
    assert table.takes([again, one], "n2", b"n2#1")
    assert not table.takes([again, one, two], "n2", b"n2#1")
    assert not table.takes([again, one], "n2", b"n2#12")
    table.place("g/a/3", "n1", b"n1#1", 1)
    assert table.takes([again], "n" * 40, b"n2#12")
    assert not table.takes([again], "n" * 40, b"n" * 200)

"""The route table: paths never repeat, epochs never go back."""

from __future__ import annotations

import pytest

from broker.routing import RouteTable
from liquefy.messages import Claim


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

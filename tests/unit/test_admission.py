"""Who may speak here: the list of keys, whom it admits, and who was refused."""

from __future__ import annotations

import pytest

from liquefy.admission import (
    REFUSED_PEERS_MAX,
    Allowed,
    Complaints,
    Key,
    Refusals,
    exposure,
    key_of,
    keyed_session,
    parse,
)
from liquefy.effects import Count, Log, ToBroker
from liquefy.errors import UserError
from liquefy.messages import Malformed

A, B, C = "aa" * 32, "bb" * 32, "cc" * 32
LIST = Allowed([Key("worker", "worker", A), Key("controller", "boss", B), Key("worker", "old", C, revoked=True)])


def test_a_list_is_read_as_it_was_written() -> None:
    assert parse(LIST.text(), "allowed").keys == LIST.keys


def test_only_keys_in_force_of_the_roles_asked_for_are_admitted() -> None:
    assert LIST.admit(A, ("worker", "gateway")) == LIST.keys[0]
    assert LIST.admit(B, ("worker",)) == "its key boss is a controller's, here worker connect"
    assert LIST.admit(C, ("worker",)) == "its key old was revoked"
    assert LIST.admit("dd" * 32, ("worker",)) == "its key dddddddddddd is not in the list"
    assert Allowed().admit(A, ("worker",)) == "its key aaaaaaaaaaaa is not in the list"


def test_a_revoked_key_has_no_role_and_is_connected_to_no_more() -> None:
    assert [LIST.role_of(name) for name in (b"worker", b"boss", b"old", b"none", b"")] == [
        "worker", "controller", "", "", "",
    ]  # fmt: skip
    more = Allowed([*LIST.keys, Key("worker", "new", "dd" * 32)])
    assert more.publics("worker") == [b"\xdd" * 32, b"\xaa" * 32]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("worker node1", "is not `role name public-key`"),
        (f"worker node1 {A} gone", "is not `role name public-key`"),
        (f"root node1 {A}", "'root' is no role"),
        (f"worker no/de {A}", "'no/de' is no name"),
        (f"worker node1 {A[:-1]}", "is no public key"),
        (f"worker node1 {A.upper()}", "is no public key"),
        (f"gateway x {B}", "two keys of the name x"),
        (f"gateway y {C}", "there under another name"),
    ],
)
def test_a_list_that_cannot_be_is_refused_with_its_line(line: str, problem: str) -> None:
    with pytest.raises(UserError) as raised:
        parse(f"# keys\n\nworker x {C}\n{line}\n", "/etc/allowed")
    assert str(raised.value).startswith("/etc/allowed:4: ")
    assert problem in str(raised.value)
    assert "remedy" in str(raised.value)


def test_a_session_names_its_key() -> None:
    assert keyed_session(b"node1#ab", "worker") == b"node1#ab@worker"
    assert key_of(b"node1#ab@worker") == b"worker"
    assert key_of(b"node1#ab@boss@worker") == b"worker"
    assert key_of(b"node1#ab") == b""


def test_each_refused_peer_is_told_of_once() -> None:
    refusals = Refusals()
    told = [refusals.note(f"10.0.0.{number % 3}", "no key") for number in range(30)]
    assert [line.text for line in told if line] == [f"10.0.0.{number} is refused: no key" for number in range(3)]
    assert refusals.note("10.0.0.1", "revoked") is not None
    assert refusals.count == 31
    for number in range(2 * REFUSED_PEERS_MAX):
        refusals.note(str(number), "no key")
    assert len(refusals._known) == REFUSED_PEERS_MAX


@pytest.mark.parametrize(
    ("endpoint", "keys", "told"),
    [
        ("tcp://127.0.0.1:7701", "", False),
        ("tcp://[::1]:7701", "", False),
        ("ipc:///tmp/x", "", False),
        ("tcp://0.0.0.0:7701", "", True),
        ("tcp://10.1.2.3:7701", "", True),
        ("tcp://0.0.0.0:7701", "/keys", False),
    ],
)
def test_who_listens_beyond_the_machine_without_keys_says_so(endpoint: str, keys: str, told: bool) -> None:
    assert (exposure(endpoint, keys) is not None) is told


def test_what_cannot_be_read_is_counted_logged_once_per_peer_and_told_once_per_session() -> None:
    complaints = Complaints()
    first = complaints.about(b"gw#1", "garbage")
    assert [type(effect) for effect in first] == [Count, Log, ToBroker]
    assert first[2] == ToBroker(Malformed(b"gw#1"))
    assert complaints.about(b"gw#1", "other garbage") == [Count("bad_frames")]
    assert complaints.about(b"gw#2", "garbage") == [Count("bad_frames"), ToBroker(Malformed(b"gw#2"))]

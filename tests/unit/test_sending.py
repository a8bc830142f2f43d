"""Outgoing streams and acknowledgements: order, resending, what a new path does."""

from __future__ import annotations

import pytest

from liquefy.effects import Relay, SendFrame
from liquefy.messages import Ack, Message, Route, encode
from liquefy.sending import (
    ACK_AFTER_MS,
    ACKS_MAX,
    FRAME_MESSAGES_MAX,
    FULL_FRAME_BYTES,
    PACE_BYTES_MAX,
    PACE_MS,
    RESEND_AFTER_MS,
    Acks,
    Outgoing,
)

A, B = b"node1#1", b"node2#1"


def message(number: int, **more: object) -> Message:
    return Message(b"%d" % number, "f", "k", b"", 0, **more)  # type: ignore[arg-type]


def ids(frames: list[SendFrame]) -> list[tuple[str, int, list[tuple[bytes, bool]]]]:
    return [
        (part.destination, part.path, [(p.message.id, p.resend) for p in posted])
        for frame in frames
        for part, posted in zip(frame.header, frame.parts, strict=True)
    ]


def route(destination: str = "g/f/0", session: bytes = A, path: int = 1) -> Route:
    return Route(destination, "node", session, 1, path)


def test_what_has_no_route_waits_for_one() -> None:
    out = Outgoing()
    out.post("g/f/0", message(1), "token")
    assert out.flush(0) == []
    out.on_routes([route()])
    assert ids(out.flush(0)) == [("g/f/0", 1, [(b"1", False)])]
    assert out.flush(0) == []


def test_one_frame_a_node_whatever_the_number_of_destinations() -> None:
    out = Outgoing()
    out.on_routes([route("g/f/0"), route("g/f/1"), route("g/f/2", B)])
    for index in range(3):
        out.post(f"g/f/{index}", message(index), None)
    assert len(out.flush(0)) == 2


def test_many_messages_go_in_several_frames_in_order() -> None:
    out = Outgoing()
    out.on_routes([route()])
    for number in range(FRAME_MESSAGES_MAX * 2 + 1):
        out.post("g/f/0", message(number), None)
    frames = ids(out.flush(0))
    assert [len(posted) for _, _, posted in frames] == [FRAME_MESSAGES_MAX, FRAME_MESSAGES_MAX, 1]
    assert [i for _, _, posted in frames for i, _ in posted] == [b"%d" % n for n in range(FRAME_MESSAGES_MAX * 2 + 1)]


def test_a_frame_that_is_full_of_bytes_takes_no_further_message() -> None:
    out = Outgoing()
    out.on_routes([route("g/f/0"), route("g/f/1")])
    sizes = [1, FULL_FRAME_BYTES - 1, 1, FULL_FRAME_BYTES + 1, 1, 1]
    for number, size in enumerate(sizes):
        out.post("g/f/0", Message(b"%d" % number, "f", "k", bytes(size), 0), None)
    out.post("g/f/1", Message(b"6", "f", "k", bytes(FULL_FRAME_BYTES), 0), None)
    out.post("g/f/1", Message(b"7", "f", "k", b"", 0), None)
    frames = out.flush(0)
    carried = [[posted.message.id for part in frame.parts for posted in part] for frame in frames]
    assert carried == [[b"0", b"1"], [b"2", b"3"], [b"4", b"5", b"6"], [b"7"]]
    assert all([part.count for part in frame.header] == [len(p) for p in frame.parts] for frame in frames)


def test_headers_and_keys_fill_a_frame_as_bodies_do() -> None:
    out = Outgoing()
    out.on_routes([route("g/f/0"), route("@gateway1")])
    for number in range(3):
        headers = (("x-big", "a" * FULL_FRAME_BYTES),)
        out.post("@gateway1", Message(b"%d" % number, "output", "", b"", 0, headers=headers), None)
    assert [len(frame.parts[0]) for frame in out.flush(0)] == [1, 1, 1]
    many = 4 * FULL_FRAME_BYTES // 512
    for number in range(many):
        out.post("g/f/0", Message(b"%d" % number, "f", "k" * 512, b"", 0), None)
    out.on_routes([route(f"g/f/{number}") for number in range(1, many)])
    for number in range(1, many):
        out.post(f"g/f/{number}", Message(b"%d" % number, "f", "k" * 512, b"", 0), None)
    longest = max(len(encode(frame.parts)) for at in range(1, 9) for frame in out.flush(at * PACE_MS))
    assert longest < FULL_FRAME_BYTES + 512 * 1024
    assert not out.flush(9 * PACE_MS)


def test_partitions_that_are_too_many_for_a_frame_go_in_further_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liquefy.sending.PARTS_MAX", 2)
    out = Outgoing()
    out.on_routes([route(f"g/f/{number}") for number in range(5)])
    for number in range(5):
        out.post(f"g/f/{number}", message(number), None)
    frames = out.flush(0)
    assert [[part.destination for part in frame.header] for frame in frames] == [
        ["g/f/0", "g/f/1"],
        ["g/f/2", "g/f/3"],
        ["g/f/4"],
    ]


def test_what_is_acknowledged_before_it_is_sent_again_is_not() -> None:
    out = Outgoing()
    out.on_routes([route("g/f/0")])
    seqs = [out.post("g/f/0", message(number), None) for number in range(3)]
    out.flush(0)
    out.on_tick(0)
    out.on_tick(RESEND_AFTER_MS)
    out.settle(seqs[:2])
    assert [i for _, _, posted in ids(out.flush(RESEND_AFTER_MS)) for i, _ in posted] == [b"2"]


def test_what_is_much_goes_bit_by_bit_in_order_and_keeps_nobody_else_waiting() -> None:
    out = Outgoing()
    out.on_routes([route("g/f/0"), route("g/f/1"), route("g/f/2", B)])
    body, count = bytes(2**20), 2 * PACE_BYTES_MAX // 2**20
    for number in range(count):
        out.post("g/f/0", Message(b"%d" % number, "f", "k", body, 0), None)
    out.post("g/f/1", message(1_000), None)
    out.post("g/f/2", message(2_000), None)

    def carried(now_ms: int) -> list[bytes]:
        return [i for _, _, posted in ids(out.flush(now_ms)) for i, _ in posted]

    first = [b"%d" % number for number in range(count // 2)]
    assert sorted(carried(PACE_MS)) == sorted([*first, b"2000"])
    assert carried(2 * PACE_MS - 1) == []
    out.post("g/f/2", message(2_001), None)
    assert carried(2 * PACE_MS - 1) == [b"2001"]
    assert carried(2 * PACE_MS) == [b"1000", *[b"%d" % number for number in range(count // 2, count)]]
    out.on_routes([route("g/f/0", path=2)])
    assert carried(4 * PACE_MS) == first


def test_acknowledging_gives_the_tokens_back_once() -> None:
    out = Outgoing()
    first, second = out.post("g/f/0", message(1), "one"), out.post("g/f/0", message(2), "two")
    assert out.settle([second, 99]) == ["two"]
    assert out.settle([second, first]) == ["one"]
    assert len(out) == 0


def test_a_new_path_sends_everything_unacknowledged_again_in_order_before_anything_newer() -> None:
    out = Outgoing()
    out.on_routes([route()])
    first = out.post("g/f/0", message(1), None)
    out.post("g/f/0", message(2), None)
    out.flush(0)
    out.settle([first])
    out.post("g/f/0", message(3), None)
    out.on_routes([route(session=B, path=2)])
    assert ids(out.flush(0)) == [("g/f/0", 2, [(b"2", True), (b"3", False)])]


def test_a_moved_destination_with_the_same_path_is_not_sent_again() -> None:
    out = Outgoing()
    out.on_routes([route()])
    out.post("g/f/0", message(1), None)
    out.flush(0)
    out.on_routes([route(session=B)])
    assert out.flush(0) == []
    out.post("g/f/0", message(2), None)
    assert ids(out.flush(0)) == [("g/f/0", 1, [(b"2", False)])]


def test_a_whole_table_sends_everything_again() -> None:
    out = Outgoing()
    out.on_routes([route()])
    out.post("g/f/0", message(1), None)
    out.flush(0)
    out.on_disconnected()
    out.on_routes([route(path=5)], whole=True)
    assert ids(out.flush(0)) == [("g/f/0", 5, [(b"1", True)])]


def test_a_destination_that_stays_silent_is_sent_everything_again() -> None:
    out = Outgoing()
    out.on_routes([route()])
    out.post("g/f/0", message(1), None)
    out.flush(0)
    out.on_tick(1)
    out.on_tick(RESEND_AFTER_MS)
    assert out.flush(0) == []
    out.on_tick(RESEND_AFTER_MS + 1)
    assert ids(out.flush(0)) == [("g/f/0", 1, [(b"1", True)])]


def test_what_is_forgotten_is_not_sent_even_if_it_was_about_to_be() -> None:
    out = Outgoing()
    out.on_routes([route()])
    seqs = [out.post("g/f/0", message(n), None) for n in range(3)]
    out.settle(seqs[:2])
    assert ids(out.flush(0)) == [("g/f/0", 1, [(b"2", False)])]


def test_a_local_delivery_keeps_its_place_and_goes_out_when_the_path_changes() -> None:
    out = Outgoing()
    out.on_routes([route()])
    out.post("g/f/0", message(1), None, local=True)
    assert out.clear_of("g/f/0")
    assert out.flush(0) == []
    out.post("g/f/0", message(2), None)
    assert not out.clear_of("g/f/0")
    out.on_routes([route(path=2)])
    assert ids(out.flush(0)) == [("g/f/0", 2, [(b"1", True), (b"2", False)])]


def test_a_gateway_that_is_gone_is_stood_in_for() -> None:
    out = Outgoing()
    out.on_routes([route("@gateway2", B, 3)])
    out.post("@gateway1", message(1), None)
    assert ids(out.flush(0)) == [("@gateway2", 3, [(b"1", False)])]
    out.on_routes([route("@gateway1", A, 4)])
    assert ids(out.flush(0)) == [("@gateway1", 4, [(b"1", True)])]


def test_answers_nobody_waits_for_expire_unless_they_are_to_be_remembered() -> None:
    out = Outgoing()
    gone = out.post("@gateway1", message(1, deadline_ms=1_000), None)
    out.post("@gateway1", message(2, deadline_ms=1_000, remember=True), None)
    out.post("g/f/0", message(3, deadline_ms=1_000), None)
    assert out.expired(1_500, 1_000) == []
    assert out.expired(2_001, 1_000) == [gone]


def test_acknowledgements_are_gathered_for_a_while() -> None:
    acks = Acks()
    acks.add(A, 1)
    assert acks.flush(100) == []
    acks.add(A, 2)
    acks.add(B, 9)
    assert acks.flush(100 + ACK_AFTER_MS) == [Relay(A, Ack([1, 2])), Relay(B, Ack([9]))]
    assert acks.flush(1_000) == []


def test_many_acknowledgements_leave_at_once() -> None:
    acks = Acks()
    for seq in range(ACKS_MAX):
        acks.add(A, seq)
    acks.add(B, 1)
    assert [relay.to for relay in acks.flush(100)] == [A]

"""Several brokers, as a peer sees them: which is taken for what, what follows when one goes, where a session is."""

from __future__ import annotations

from liquefy.effects import Relay, SendFrame
from liquefy.links import Links, Ways
from liquefy.messages import Ack, Message, Route
from liquefy.sending import ACK_AFTER_MS, RESEND_AFTER_MS, Acks, Outgoing

NAMES = [f"g/f/{i}" for i in range(24)]


def route(destination: str, link: int, path: int = 1, session: bytes | None = None, epoch: int = 1) -> Route:
    return Route(destination, "node1", b"node1#%d" % link if session is None else session, epoch, path)


def table(link: int, path: int = 1) -> list[Route]:
    return [route(name, link, path) for name in NAMES]


def ways(links: int = 2) -> Ways:
    made = Ways(links)
    for link in range(links):
        made.learn(link, table(link), True)
    return made


def taken(made: Ways) -> dict[str, int]:
    return {destination: way.link for destination, way in made.chosen.items()}


def test_destinations_are_spread_over_all_brokers_and_each_has_one() -> None:
    made = ways(3)
    assert set(taken(made).values()) == {0, 1, 2}
    assert taken(made) == taken(ways(3)), "whoever sends, and whenever"


def test_when_a_broker_goes_what_went_by_it_goes_by_another_and_nothing_else_changes() -> None:
    made = ways()
    before = taken(made)
    changed = made.lose(0)
    assert set(changed) == {name for name, link in before.items() if link == 0}
    assert set(taken(made).values()) == {1}
    back = made.learn(0, table(0, path=9), True)
    assert set(back) == set(changed)
    assert taken(made) == before


def test_one_that_has_no_route_is_not_taken() -> None:
    made = ways()
    name = next(name for name, link in taken(made).items() if link == 0)
    assert made.learn(0, [route(name, 0, session=b"")]) == {name: None}
    assert made.chosen[name].link == 1
    assert made.learn(1, [route(name, 1, session=b"")]) == {name: None}
    assert name not in made.chosen


def test_a_new_path_at_a_broker_that_is_not_taken_changes_nothing() -> None:
    made = ways()
    name = next(name for name, link in taken(made).items() if link == 0)
    assert made.learn(1, [route(name, 1, path=7)]) == {}
    assert made.learn(0, [route(name, 0, path=7)]) == {name: None}


def test_the_same_path_of_another_broker_is_another_path() -> None:
    made = ways()
    name = next(name for name, link in taken(made).items() if link == 0)
    made.learn(0, [route(name, 0, path=5)])
    made.learn(1, [route(name, 1, path=5)])
    assert made.learn(0, [route(name, 0, session=b"")]) == {name: None}


def test_what_has_no_effect_is_sent_again_by_another_broker() -> None:
    out = Outgoing(2)
    for link in range(2):
        out.on_routes(table(link), True, link)
    out.post(NAMES[0], Message(b"1", "f", "k", b"", 0), None)
    [first] = out.flush(0)
    out.on_tick(0)
    out.on_tick(RESEND_AFTER_MS)
    [again] = out.flush(RESEND_AFTER_MS)
    assert {first.link, again.link} == {0, 1}
    assert again.header[0].destination == first.header[0].destination


def test_what_a_dead_broker_had_is_sent_again_in_order_before_anything_newer() -> None:
    out = Outgoing(2)
    for link in range(2):
        out.on_routes(table(link), True, link)
    for number in (1, 2):
        out.post(NAMES[0], Message(b"%d" % number, "f", "k", b"", 0), None)
    [first] = out.flush(0)
    out.post(NAMES[0], Message(b"3", "f", "k", b"", 0), None)
    out.on_disconnected(first.link)
    [again] = out.flush(0)
    assert again.link == 1 - first.link
    assert [(p.message.id, p.resend) for p in again.parts[0]] == [(b"1", True), (b"2", True), (b"3", False)]


def test_frames_of_one_step_go_by_the_brokers_of_their_destinations() -> None:
    out = Outgoing(2)
    for link in range(2):
        out.on_routes(table(link), True, link)
    for name in NAMES:
        out.post(name, Message(name.encode(), "f", "k", b"", 0), None)
    frames: list[SendFrame] = out.flush(0)
    assert sorted(frame.link for frame in frames) == [0, 1]
    assert sum(len(frame.header) for frame in frames) == len(NAMES)


def test_acknowledgements_go_back_by_the_broker_by_which_the_message_came() -> None:
    links = Links(2)
    links.up(0, b"me#0", 0)
    links.up(1, b"me#1", 0)
    links.met(b"gw#7", 1)
    acks = Acks(links)
    acks.add(b"gw#7", 3)
    acks.add(b"gw#8", 4)
    acks.flush(1)
    assert acks.flush(1 + ACK_AFTER_MS) == [Relay(b"gw#7", Ack([3]), 1), Relay(b"gw#8", Ack([4]), 0)]
    links.down(1)
    assert links.of(b"gw#7") == 0


def test_what_an_earlier_leader_says_is_old_and_so_is_what_comes_late_by_a_slow_broker() -> None:
    links = Links(2)
    links.up(0, b"me#0", 0)
    links.up(1, b"me#1", 0)
    assert links.led(b"one#0", 0, term=1, number=4)
    assert links.led(b"one#1", 1, term=1, number=4), "the same, by the other broker"
    assert links.led(b"one#1", 1, term=1, number=5)
    assert not links.led(b"one#0", 0, term=1, number=4)
    assert links.controllers == {0: b"one#0", 1: b"one#1"}
    assert links.led(b"two#1", 1, term=2, number=1)
    assert links.controllers == {1: b"two#1"}
    assert not links.led(b"one#0", 0, term=1, number=9)
    assert links.controllers == {1: b"two#1"}
    assert links.towards(b"two#1", 1) == (b"two#1", 1)
    links.led(b"two#0", 0, term=2, number=2)
    links.down(1)
    assert links.towards(b"two#1", 1) == (b"two#0", 0), "by the one that is left"


def test_a_silent_connection_is_named_once() -> None:
    links = Links(2)
    links.up(0, b"me#0", 0)
    links.up(1, b"me#1", 0)
    links.heard(1, 900)
    assert links.silent(1_001, 1_000) == [(0, 1_001)]
    assert links.silent(1_002, 1_000) == []

"""The broker's decisions: who gets what, in which order, by which path; who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from broker.events import (
    BadFrameFrom,
    Cut,
    DataFrom,
    Effect,
    Event,
    Forward,
    FromPeer,
    RelayFrom,
    SendTo,
    Tick,
    Unreachable,
)
from broker.state import READ_MS, BrokerState
from liquefy import messages as m
from liquefy.config import BrokerConfig
from liquefy.effects import Count, Log
from liquefy.messages import Claim, Message, Part, Posted, Returned, Route

P, Q = "shop/cart/0", "shop/cart/1"
ACK = m.encode(m.Ack([1]))
Kind = TypeVar("Kind")


class Broker:
    """A state, its clock, and how to talk to it."""

    def __init__(self, **settings: Any) -> None:
        self.state = BrokerState(BrokerConfig(**settings), "b1", 1_000)
        self.now_ms = 0.0
        self.out: list[Effect] = []

    def step(self, event: Any) -> list[Effect]:
        self.out = self.state.step(event, self.now_ms)
        return self.out

    def say(self, session: bytes, message: m.Control) -> list[Effect]:
        return self.step(FromPeer(session, message))

    def worker(self, name: str, *claims: tuple[str, int], session: bytes = b"") -> bytes:
        session = session or f"{name}#1".encode()
        self.say(session, m.Hello("worker", name, [Claim(*c) for c in claims]))
        return session

    def gateway(self, name: str = "gw", session: bytes = b"") -> bytes:
        session = session or f"{name}#1".encode()
        self.say(session, m.Hello("gateway", name))
        return session

    def controller(self) -> bytes:
        self.say(b"ctl#1", m.Hello("controller", "controller"))
        return b"ctl#1"

    def route(self, destination: str) -> Route | None:
        """As a peer that connects now is told."""
        self.say(b"probe#1", m.Hello("controller", "probe"))
        (welcome,) = self.told(b"probe#1", m.Welcome)
        self.step(Unreachable(b"probe#1"))
        return {r.destination: r for r in welcome.routes}.get(destination)

    def path(self, destination: str) -> int:
        route = self.route(destination)
        assert route is not None
        return route.path

    def data(self, sender: bytes, *parts: tuple[str, int, int]) -> list[Effect]:
        """(destination, path, number): one message each, with that number as seq."""
        header = m.encode([Part(d, path, 1) for d, path, _ in parts])
        return self.step(DataFrom(sender, header, m.encode([[posted(n)] for _, _, n in parts])))

    def told(self, session: bytes, kind: type[Kind]) -> list[Kind]:
        return [
            e.message
            for e in self.out
            if type(e) is SendTo and e.session == session and type(e.message) is kind
        ]

    def delivered(self, session: bytes) -> list[tuple[str, int]]:
        return delivered(self.out, session)

    def move_to_handover(self, source: bytes, target: str, *returned: Returned) -> list[Effect]:
        return self.say(source, m.Handover(P, 8, target, list(returned)))


def posted(number: int, resend: bool = False) -> Posted:
    return Posted(number, Message(b"id%d" % number, "cart", "k", b"", 0), resend)


def delivered(out: list[Effect], session: bytes) -> list[tuple[str, int]]:
    """(destination, seq) of all messages forwarded to a session, in order."""
    found = []
    for effect in out:
        if type(effect) is Forward and effect.session == session:
            _, header, payload = effect.frames
            for part, messages in zip(m.decode_header(header), m.decode_payload(payload), strict=True):
                assert part.count == len(messages)
                found += [(part.destination, p.seq) for p in messages]
    return found


def counted(out: list[Effect], name: str) -> int:
    return sum(e.by for e in out if type(e) is Count and e.name == name)


# -- forwarding -------------------------------------------------------------------------------------------


def test_a_frame_for_one_session_is_forwarded_unopened() -> None:
    b = Broker()
    node, gw = b.worker("node1", (P, 3), (Q, 5)), b.gateway()
    header = m.encode([Part(P, b.path(P), 2), Part(Q, b.path(Q), 1)])
    assert b.step(DataFrom(gw, header, b"never opened")) == [Forward(node, [gw, header, b"never opened"])]


def test_a_frame_for_two_nodes_is_split() -> None:
    b = Broker()
    one, two, gw = b.worker("node1", (P, 3)), b.worker("node2", (Q, 5)), b.gateway()
    b.data(gw, (P, b.path(P), 1), (Q, b.path(Q), 2), (P, b.path(P), 3))
    assert b.delivered(one) == [(P, 1), (P, 3)]
    assert b.delivered(two) == [(Q, 2)]


def test_parts_by_a_stale_path_are_dropped_the_others_arrive() -> None:
    b = Broker()
    node, gw = b.worker("node1", (P, 3), (Q, 5)), b.gateway()
    out = b.data(gw, (P, b.path(P) - 1, 1), (Q, b.path(Q), 2))
    assert b.delivered(node) == [(Q, 2)]
    assert counted(out, "stale_parts") == 1


def test_answers_reach_gateways_by_the_path_of_their_connection() -> None:
    b = Broker()
    node, gw = b.worker("node1"), b.gateway()
    old = b.path("@gw")
    b.data(node, ("@gw", old, 1))
    assert b.delivered(gw) == [("@gw", 1)]
    again = b.gateway(session=b"gw#2")
    assert b.path("@gw") != old
    b.data(node, ("@gw", old, 2))
    assert b.delivered(again) == []


def test_a_gateway_that_is_gone_is_no_destination_any_more() -> None:
    b = Broker()
    node, gw = b.worker("node1"), b.gateway()
    b.step(Unreachable(gw))
    (routes,) = b.told(node, m.Routes)
    assert [(r.destination, r.session) for r in routes.routes] == [("@gw", b"")]
    assert b.route("@gw") is None


def test_relays_reach_the_session_and_no_other() -> None:
    b = Broker()
    node, gw = b.worker("node1"), b.gateway()
    assert b.step(RelayFrom(node, gw, ACK)) == [Forward(gw, [node, ACK])]
    out = b.step(RelayFrom(node, b"gw#0", ACK))
    assert not [e for e in out if type(e) is Forward]
    assert counted(out, "relays_dropped") == 1


def test_each_role_says_its_own_to_other_peers_and_nothing_else() -> None:
    b = Broker()
    node, gw, controller = b.worker("node1"), b.gateway(), b.controller()
    for sender, to, message in (
        (controller, node, m.Graphs([])),
        (node, controller, m.Leaving()),
        (gw, node, m.Hangup(b"root")),
        (gw, controller, m.LogLine(0.0, "info", "gw", "text")),
    ):
        payload = m.encode(message)
        assert b.step(RelayFrom(sender, to, payload)) == [Forward(to, [sender, payload])]
    for message in (m.Graphs([]), m.Hello("controller", "x")):
        b = Broker()
        node, gw = b.worker("node1"), b.gateway()
        b.controller()
        out = b.step(RelayFrom(node, gw, m.encode(message)))
        assert not [e for e in out if type(e) is Forward]
        assert counted(out, "bad_frames") == 1
        assert m.Fenced() in [e.message for e in out if type(e) is SendTo and e.session == node]


@pytest.mark.parametrize("role", ["controller", "gateway"])
def test_the_key_of_a_worker_says_hello_as_nothing_else(role: m.Role) -> None:
    b = Broker()
    controller = b.controller()
    logs = []
    for number in range(3):
        session = f"evil#{number}@worker".encode()
        out = b.step(FromPeer(session, m.Hello(role, "evil", term=99), "worker"))
        assert counted(out, "impostors") == 1
        assert {type(e.message) for e in out if type(e) is SendTo} == {m.Fenced}
        logs += [e.text for e in out if type(e) is Log]
        assert not [e for e in b.say(session, m.Hello("worker", "evil")) if type(e) is Log]
    assert logs == [f"evil is refused: it says Hello as {role} with the key worker, a worker's"]
    assert list(b.state.controllers) == [controller]
    out = b.step(FromPeer(b"good#1@worker", m.Hello("worker", "good"), "worker"))
    assert any(type(e) is SendTo and type(e.message) is m.Welcome for e in out)


# -- migration --------------------------------------------------------------------------------------------


def held_move() -> tuple[Broker, bytes, bytes, bytes, bytes, int]:
    """P at node1, epoch 7, held; a controller, a gateway, node2."""
    b = Broker()
    controller, source, target, gw = (
        b.controller(),
        b.worker("node1", (P, 7), (Q, 1)),
        b.worker("node2"),
        b.gateway(),
    )
    path = b.path(P)
    b.say(source, m.Hold(P, 7))
    assert b.told(source, m.Held) == [m.Held(P, 7)]
    return b, controller, source, target, gw, path


def test_a_hold_keeps_its_messages_and_lets_the_others_through() -> None:
    b, _, source, target, gw, path = held_move()
    b.data(gw, (P, path, 1), (Q, b.path(Q), 2))
    assert b.delivered(source) == [(Q, 2)]
    b.data(gw, (P, path, 3))
    assert b.delivered(source) == b.delivered(target) == []


def test_handover_delivers_activate_then_returned_then_held_then_later_in_order() -> None:
    b, _, source, target, gw, path = held_move()
    b.data(gw, (P, path, 3))
    b.data(gw, (P, path, 4))
    out = b.move_to_handover(source, "node2", m.returned(gw, [posted(1), posted(2, resend=True)]))
    later = b.data(gw, (P, path, 5))
    to_target = [e for e in out if type(e) in (SendTo, Forward) and e.session == target]  # type: ignore[union-attr]
    assert to_target[0] == SendTo(target, m.Activate(P, 8))
    assert delivered(out + later, target) == [(P, 1), (P, 2), (P, 3), (P, 4), (P, 5)]
    first = next(e for e in out if type(e) is Forward)
    assert first.frames[0] == gw
    assert [p.resend for p in m.decode_payload(first.frames[2])[0]] == [False, True]
    assert delivered(out + later, source) == []


def test_what_is_returned_and_no_list_costs_the_source_its_session() -> None:
    b, _, source, target, _, _ = held_move()
    b.move_to_handover(source, "node2", m.returned(b"gw#1", []), Returned(b"gw#1", msgspec.Raw(m.encode({"a": 1}))))
    assert b.told(source, m.Fenced)
    assert not b.told(target, m.Activate)


def test_a_migration_keeps_the_path_and_pushes_the_new_session() -> None:
    b, _, source, target, gw, path = held_move()
    b.move_to_handover(source, "node2")
    for peer in (gw, source, target):
        assert b.told(peer, m.Routes) == [m.Routes([Route(P, "node2", target, 8, path)])]


def test_landed_tells_the_pause_from_the_first_held_message() -> None:
    b, controller, source, target, gw, path = held_move()
    b.now_ms = 5
    b.data(gw, (P, path, 3))
    b.now_ms = 6
    b.data(gw, (P, path, 4))
    b.now_ms = 7
    b.move_to_handover(source, "node2")
    b.now_ms = 9.5
    b.say(target, m.Activated(P, 8))
    assert b.told(controller, m.Landed) == [m.Landed(P, 8, "node2", held=2, pause_us=4_500)]


def test_the_pause_of_returned_messages_begins_with_the_hold() -> None:
    b, controller, source, target, gw, _ = held_move()
    b.now_ms = 4
    b.move_to_handover(source, "node2", m.returned(gw, [posted(1)]))
    b.say(target, m.Activated(P, 8))
    assert b.told(controller, m.Landed) == [m.Landed(P, 8, "node2", held=1, pause_us=4_000)]


def test_a_move_that_held_nothing_paused_nobody() -> None:
    b, controller, source, target, _, _ = held_move()
    b.now_ms = 4
    b.move_to_handover(source, "node2")
    b.say(target, m.Activated(P, 8))
    assert b.told(controller, m.Landed) == [m.Landed(P, 8, "node2")]


def test_release_gives_the_source_what_was_held_in_order() -> None:
    b, _, source, _, gw, path = held_move()
    b.data(gw, (P, path, 1))
    b.data(gw, (P, path, 2))
    out = b.say(source, m.Release(P, 7)) + b.data(gw, (P, path, 3))
    assert delivered(out, source) == [(P, 1), (P, 2), (P, 3)]
    assert b.path(P) == path


def test_hold_by_another_than_the_owner_is_answered_with_drop() -> None:
    b = Broker()
    b.worker("node1", (P, 7))
    other = b.worker("node2")
    b.say(other, m.Hold(P, 6))
    assert b.told(other, m.Drop) == [m.Drop(P, 7)]
    assert not b.told(other, m.Held)


def test_hold_said_twice_is_answered_twice_and_keeps_what_is_held() -> None:
    b, _, source, target, gw, path = held_move()
    b.data(gw, (P, path, 1))
    b.say(source, m.Hold(P, 7))
    assert b.told(source, m.Held) == [m.Held(P, 7)]
    b.move_to_handover(source, "node2")
    assert b.delivered(target) == [(P, 1)]


def test_a_handover_by_another_than_the_owner_changes_nothing() -> None:
    b, _, source, target, _, path = held_move()
    b.say(target, m.Handover(P, 8, "node2"))
    b.say(source, m.Handover(P, 9, "node2"))
    route = b.route(P)
    assert route == Route(P, "node1", source, 7, path)


def test_handover_to_a_target_that_is_gone_remembers_the_epoch_and_waits_for_assign() -> None:
    b, controller, source, target, gw, path = held_move()
    b.data(gw, (P, path, 1))
    b.step(Unreachable(target))
    out = b.move_to_handover(source, "node2")
    assert b.told(controller, m.Orphans) == [m.Orphans([P])]
    route = b.route(P)
    assert route is not None
    assert (route.node, route.session, route.epoch) == ("node2", b"", 8)
    assert not [e for e in out if type(e) is Forward]
    third = b.worker("node3")
    b.say(controller, m.Assign([(P, 9, "node3")]))
    assert b.told(third, m.Activate) == [m.Activate(P, 9)]
    assert b.path(P) != path


def test_handover_without_a_hold_gives_a_new_path() -> None:
    b = Broker()
    source, target = b.worker("node1", (P, 7)), b.worker("node2")
    path = b.path(P)
    b.move_to_handover(source, "node2")
    assert b.told(target, m.Activate) == [m.Activate(P, 8)]
    assert b.path(P) != path


def test_what_is_too_much_to_be_returned_is_sent_again_with_what_was_held_by_a_new_path() -> None:
    b, _, source, target, gw, path = held_move()
    b.data(gw, (P, path, 3))
    out = b.say(source, m.Handover(P, 8, "node2", again=True))
    assert b.told(target, m.Activate) == [m.Activate(P, 8)]
    assert not [e for e in out if type(e) is Forward]
    [route] = b.told(gw, m.Routes)[0].routes
    assert (route.session, route.epoch) == (target, 8)
    assert route.path > path


def test_the_source_dies_while_holding_what_was_held_is_sent_again_by_its_senders() -> None:
    b, controller, source, target, gw, path = held_move()
    b.data(gw, (P, path, 1))
    b.step(Unreachable(source))
    assert b.told(controller, m.PeerDown) == [m.PeerDown("worker", "node1", source)]
    out = b.say(controller, m.Assign([(P, 8, "node2")]))
    assert delivered(out, target) == []
    assert b.path(P) != path
    b.data(gw, (P, b.path(P), 1))
    assert b.delivered(target) == [(P, 1)]


# -- placement --------------------------------------------------------------------------------------------


def test_assign_activates_drops_at_the_old_owner_and_changes_the_path() -> None:
    b = Broker()
    controller, old, new, gw = b.controller(), b.worker("node1", (P, 7)), b.worker("node2"), b.gateway()
    path = b.path(P)
    b.say(controller, m.Assign([(P, 8, "node2")]))
    assert b.told(old, m.Drop) == [m.Drop(P, 8)]
    assert b.told(new, m.Activate) == [m.Activate(P, 8)]
    (routes,) = b.told(gw, m.Routes)
    assert routes.routes[0][:4] == (P, "node2", new, 8)
    assert routes.routes[0].path != path
    b.say(new, m.Activated(P, 8))
    assert b.told(controller, m.Landed) == [m.Landed(P, 8, "node2")]


def test_assign_said_again_activates_again_until_it_was_then_says_landed() -> None:
    b = Broker()
    controller, node = b.controller(), b.worker("node1")
    b.say(controller, m.Assign([(P, 1, "node1")]))
    path = b.path(P)
    b.say(controller, m.Assign([(P, 1, "node1")]))
    assert b.told(node, m.Activate) == [m.Activate(P, 1)]
    b.say(node, m.Activated(P, 1))
    b.say(controller, m.Assign([(P, 1, "node1")]))
    assert not b.told(node, m.Activate)
    assert b.told(controller, m.Landed) == [m.Landed(P, 1, "node1")]
    assert b.path(P) == path


def test_an_assign_of_an_older_epoch_changes_nothing() -> None:
    b = Broker()
    controller, node = b.controller(), b.worker("node1", (P, 7))
    other = b.worker("node2")
    b.say(controller, m.Assign([(P, 6, "node2")]))
    assert not b.told(other, m.Activate)
    route = b.route(P)
    assert route is not None
    assert route.session == node


def test_assign_during_a_hold_ends_it() -> None:
    b, controller, source, _target, gw, path = held_move()
    b.data(gw, (P, path, 1))
    b.say(controller, m.Assign([(P, 9, "node2")]))
    b.say(source, m.Release(P, 7))
    assert b.delivered(source) == []
    assert b.path(P) != path


def test_unassign_forgets_the_route_and_tells_the_owner() -> None:
    b = Broker()
    controller, node, gw = b.controller(), b.worker("node1", (P, 7)), b.gateway()
    b.say(controller, m.Unassign([P, Q]))
    assert b.told(node, m.Drop) == [m.Drop(P, 8)]
    (routes,) = b.told(gw, m.Routes)
    assert [(r.destination, r.session) for r in routes.routes] == [(P, b"")]
    assert b.route(P) is None


def test_disown_leaves_an_orphan() -> None:
    b = Broker()
    controller, node, gw = b.controller(), b.worker("node1", (P, 7)), b.gateway()
    b.say(node, m.Disown(P, 6))
    assert not b.told(controller, m.Orphans)
    b.say(node, m.Disown(P, 7))
    assert b.told(controller, m.Orphans) == [m.Orphans([P])]
    (routes,) = b.told(gw, m.Routes)
    assert routes.routes[0].session == b""


def test_messages_without_an_owner_are_told_to_controllers_now_and_then() -> None:
    b = Broker()
    controller, gw = b.controller(), b.gateway()
    b.data(gw, (P, 1, 1), ("@gone", 1, 1))
    assert b.told(controller, m.Orphans) == [m.Orphans([P])]
    b.now_ms = 499
    b.data(gw, (P, 1, 1))
    assert not b.told(controller, m.Orphans)
    b.step(Tick())
    b.now_ms = 500
    b.data(gw, (P, 1, 1))
    assert b.told(controller, m.Orphans) == [m.Orphans([P])]


# -- peers ------------------------------------------------------------------------------------------------


def test_hello_is_answered_with_the_whole_table() -> None:
    b = Broker()
    b.worker("node1", (P, 7))
    b.gateway()
    (welcome,) = b.told(b"gw#1", m.Welcome)
    assert (welcome.broker, welcome.up_ms) == ("b1", 0)
    assert {(r.destination, r.session, r.epoch) for r in welcome.routes} == {
        (P, b"node1#1", 7),
        ("@gw", b"gw#1", 0),
    }
    b.now_ms += 700
    b.gateway("gw2")
    assert len(b.told(b"node1#1", m.Routes)) == 1
    assert not b.told(b"gw2#1", m.Routes)
    (welcome,) = b.told(b"gw2#1", m.Welcome)
    assert welcome.up_ms == 700


def test_a_connection_made_again_gets_new_paths() -> None:
    b = Broker()
    controller, old = b.controller(), b.worker("node1", (P, 7), (Q, 1))
    path = b.path(P)
    new = b.worker("node1", (P, 7), session=b"node1#2")
    assert b.told(controller, m.PeerDown) == [m.PeerDown("worker", "node1", old)]
    assert b.told(controller, m.PeerUp) == [m.PeerUp("worker", "node1", new, [Claim(P, 7)], 1.0)]
    assert b.path(P) != path
    unclaimed = b.route(Q)
    assert unclaimed is not None
    assert (unclaimed.node, unclaimed.session, unclaimed.epoch) == ("node1", b"", 1)
    assert old not in b.state.controllers
    b.step(RelayFrom(old, controller, b""))
    assert b.told(old, m.Fenced)


def test_a_restarted_broker_gives_paths_above_the_old_ones() -> None:
    b = Broker()
    b.worker("node1", (P, 7))
    assert b.path(P) > 1_000


def test_claims_with_an_older_epoch_or_of_somebody_elses_are_refused() -> None:
    b = Broker()
    owner = b.worker("node1", (P, 7))
    for claim, answer in (((P, 6), m.Drop(P, 7)), ((P, 7), m.Drop(P, 8))):
        late = b.worker("node2", claim, session=b"node2#%d" % claim[1])
        assert b.told(late, m.Drop) == [answer]
        route = b.route(P)
        assert route is not None
        assert route.session == owner


@pytest.mark.parametrize("name", ["", "@gw", "shop", "shop/cart", "shop//0", "shop/cart/0/1", "@shop/cart/0"])
def test_what_is_no_partition_comes_into_no_table(name: str) -> None:
    broker = Broker()
    controller, gateway = broker.controller(), broker.gateway()
    worker = broker.worker("w1", (name, 7))
    before = broker.route(name)
    broker.data(gateway, (name, 1, 1))
    assert broker.told(controller, m.Orphans) == []
    broker.say(controller, m.Assign([(P, 1, "w1"), (name, 9, "w1")]))
    assert broker.told(worker, m.Activate) == []
    assert [e for e in broker.out if type(e) is Log and "is no partition" in e.text]
    assert broker.route(name) == before
    assert broker.route(P) is None


def test_a_claim_with_a_newer_epoch_wins() -> None:
    b = Broker()
    old = b.worker("node1", (P, 7))
    new = b.worker("node2", (P, 8))
    assert b.told(old, m.Drop) == [m.Drop(P, 8)]
    route = b.route(P)
    assert route is not None
    assert (route.session, route.epoch) == (new, 8)


def test_a_controller_that_comes_is_told_of_all_peers_after_the_welcome() -> None:
    b = Broker()
    b.worker("node1", (P, 7))
    b.gateway()
    controller = b.controller()
    kinds = [type(e.message) for e in b.out if type(e) is SendTo and e.session == controller]
    assert kinds == [m.Welcome, m.PeerUp, m.PeerUp]
    assert {(up.name, tuple(up.claims)) for up in b.told(controller, m.PeerUp)} == {
        ("node1", ((P, 7),)),
        ("gw", ()),
    }


def test_each_peer_is_pinged_and_one_that_is_silent_is_gone() -> None:
    b = Broker(silence_max_ms=200)
    controller, node = b.controller(), b.worker("node1", (P, 7))
    while b.now_ms < 200:
        b.now_ms += 50
        b.step(Tick())
        assert b.told(node, m.Ping)
        b.say(controller, m.Beat())
    b.now_ms += 50
    b.step(Tick())
    assert b.told(controller, m.PeerDown) == [m.PeerDown("worker", "node1", node)]
    assert b.told(controller, m.Ping)


def test_the_time_in_which_the_broker_itself_stood_still_is_nobodys_silence() -> None:
    b = Broker(silence_max_ms=200)
    controller = b.controller()
    b.step(Tick())
    b.now_ms = 60_000
    b.step(Tick())
    assert b.told(controller, m.Ping)


def test_an_expelled_session_is_answered_fenced_whatever_it_says() -> None:
    b = Broker()
    controller, node, gw = b.controller(), b.worker("node1", (P, 7)), b.gateway()
    b.say(controller, m.Expel(node))
    assert b.told(controller, m.PeerDown)
    assert b.told(gw, m.Routes)[0].routes[0].session == b""
    for event in (
        FromPeer(node, m.Hello("worker", "node1", [Claim(P, 7)])),
        FromPeer(node, m.Activated(P, 7)),
        RelayFrom(node, gw, b"ack"),
        DataFrom(node, m.encode([Part("@gw", 1, 1)]), b""),
    ):
        b.now_ms += 100
        assert b.step(event)[0] == SendTo(node, m.Fenced())
        assert not [e for e in b.out if type(e) is Forward]
    b.now_ms += 99
    assert b.step(event) == []
    fresh = b.worker("node1", (P, 7), session=b"node1#2")
    assert b.told(fresh, m.Welcome)


def test_a_malformed_frame_costs_the_peer_its_session_and_is_logged_once() -> None:
    b = Broker()
    controller = b.controller()
    good = m.encode([Part(P, 1, 1)])
    bads: list[Callable[[bytes], Event]] = [
        lambda s: BadFrameFrom(s, "4 frames"),
        lambda s: DataFrom(s, b"\xc1", b""),
        lambda s: DataFrom(s, good, b"\xc1"),
        lambda s: DataFrom(s, good, m.encode([])),
        lambda s: FromPeer(s, m.Ping()),
        lambda s: FromPeer(s, m.Assign([(P, 9, "evil")])),
    ]
    for n, bad in enumerate(bads):
        node = b.worker("node1", session=b"node1#%d" % n)
        out = b.step(bad(node))
        assert b.told(node, m.Fenced)
        assert b.told(controller, m.PeerDown)
        assert len([e for e in out if type(e) is Log and e.level == "warning"]) == (1 if n == 0 else 0)
        out = b.step(BadFrameFrom(node, "again"))
        assert counted(out, "bad_frames") == 1
        assert not [e for e in out if type(e) is Log]
    assert b.route(P) is None


# -- windows ----------------------------------------------------------------------------------------------


def test_windows_are_divided_among_the_gateways() -> None:
    b = Broker()
    one, two, gw = b.worker("node1"), b.worker("node2"), b.gateway()
    b.say(one, m.Beat(window=100))
    b.now_ms = 60
    b.say(two, m.Beat(window=1))
    assert b.told(gw, m.Grant)[-1] == m.Grant({"node1": 100, "node2": 1})
    other = b.gateway("gw2")
    for gateway in (gw, other):
        assert b.told(gateway, m.Grant) == [m.Grant({"node1": 50, "node2": 1})]


def test_changed_windows_are_pushed_at_most_every_50_ms() -> None:
    b = Broker()
    node, gw = b.worker("node1"), b.gateway()
    b.say(node, m.Beat(window=10))
    assert not b.told(gw, m.Grant)
    b.now_ms = 50
    b.step(Tick())
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 10})]
    b.now_ms = 200
    b.say(node, m.Beat(window=10))
    assert not b.told(gw, m.Grant)
    b.step(Unreachable(node))
    assert b.told(gw, m.Grant) == [m.Grant({})]


def holding(b: Broker) -> tuple[bytes, bytes]:
    """A worker that has asked to hold its partition, and a gateway."""
    source, gw = b.worker("node1", (P, 7)), b.gateway()
    b.say(source, m.Beat(window=10))
    b.now_ms = 100
    b.say(source, m.Hold(P, 7))
    return source, gw


def test_nothing_is_granted_while_too_much_is_held() -> None:
    b = Broker(held_messages_max=1)
    source, gw = holding(b)
    path = b.path(P)
    b.data(gw, (P, path, 1))
    assert not b.told(gw, m.Grant)
    out = b.data(gw, (P, path, 2))
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 0})]
    assert [e.level for e in out if type(e) is Log] == ["warning"]
    out = b.data(gw, (P, path, 3))
    assert not [e for e in out if type(e) is Log]
    b.say(source, m.Release(P, 7))
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 10})]


def test_bytes_that_are_held_are_bounded_as_well() -> None:
    b = Broker(held_bytes_max=100)
    source, gw = holding(b)
    for number in range(20):
        b.data(gw, (P, b.path(P), number))
    assert b.state._holding.bytes > 100
    assert b.state._full
    b.say(source, m.Release(P, 7))
    assert b.state._holding.bytes == 0
    assert not b.state._full


def test_what_a_dead_source_held_for_is_not_held_any_more() -> None:
    b = Broker(held_messages_max=0)
    source, node, gw = b.worker("node1", (P, 7)), b.worker("node2"), b.gateway()
    b.say(node, m.Beat(window=10))
    b.now_ms = 100
    b.say(source, m.Hold(P, 7))
    b.data(gw, (P, b.path(P), 1))
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 0, "node2": 0})]
    b.step(Unreachable(source))
    assert b.told(gw, m.Grant) == [m.Grant({"node2": 10})]


def test_a_change_that_makes_no_difference_to_gateways_is_not_pushed() -> None:
    b = Broker()
    node, gw = b.worker("node1"), b.gateway()
    b.gateway("gw2")
    b.now_ms = 100
    b.say(node, m.Beat(window=10))
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 5})]
    b.now_ms = 200
    b.say(node, m.Beat(window=11))
    assert not b.told(gw, m.Grant)


# -- floods ----------------------------------------------------------------------------------------------

LIMIT = 100_000


def send(b: Broker, sender: bytes, size: int, number: int = 1) -> list[Effect]:
    """A message of that size to P."""
    message = Posted(number, Message(b"id%d" % number, "cart", "k", bytes(size), 0))
    header = m.encode([Part(P, b.state._table.by_destination[P].path, 1)])
    return b.step(DataFrom(sender, header, m.encode([[message]])))


def marks(b: Broker, session: bytes) -> list[int]:
    """Those that the peer was sent in the last step."""
    return [ping.mark for ping in b.told(session, m.Ping) if ping.mark]


def pour(b: Broker, sender: bytes, node: bytes, most: int = 200, reads: bool = False) -> int:
    """Messages of a hundredth of the limit, until somebody is cut off; how many were forwarded."""
    for number in range(most):
        send(b, sender, LIMIT // 100)
        if any(type(e) is Cut for e in b.out):
            return number
        if reads:
            for mark in marks(b, node):
                b.say(node, m.Read(mark))
    return most


def test_what_a_peer_reads_is_not_counted_any_more() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, gw = b.worker("node1", (P, 7)), b.gateway()
    assert pour(b, gw, node, 1_000, reads=True) == 1_000
    assert b.state._peers[node].unread.bytes < LIMIT / 16


def test_who_sends_more_than_a_peer_can_read_is_cut_off_and_nobody_else() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, gw, flood = b.worker("node1", (P, 7)), b.gateway(), b.gateway("flood")
    send(b, gw, 30_000)
    assert pour(b, flood, node) < 70
    assert [e for e in b.out if type(e) is Cut] == [Cut(flood)]
    assert delivered(b.out, node) == []
    assert counted(b.out, "floods") == 1
    assert b.told(flood, m.Fenced)
    assert [e.event for e in b.out if type(e) is Log and e.level == "warning"] == ["flood"]
    assert delivered(send(b, gw, 1, 9), node) == [(P, 9)]
    assert delivered(send(b, flood, 1, 9), node) == []
    again = b.gateway("flood", b"flood#2")
    send(b, again, 2 * LIMIT)
    assert not [e for e in b.out if type(e) is Log and e.level == "warning"], "it is logged once"


def test_a_peer_that_reads_nothing_for_long_is_given_up_and_not_who_sends_to_it() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, gw, ctl = b.worker("node1", (P, 7)), b.gateway(), b.controller()
    path = b.path(P)
    for number in range(20):
        send(b, gw, LIMIT // 40, number)
    b.now_ms += READ_MS + 1
    b.say(node, m.Beat())
    pour(b, gw, node)
    assert [e for e in b.out if type(e) is Cut] == [Cut(node)]
    assert counted(b.out, "unread") == 1
    assert b.told(ctl, m.PeerDown) == [m.PeerDown("worker", "node1", node)]
    assert b.told(gw, m.Routes)[0].routes[0].session == b"", "nobody has it"
    node = b.worker("node1", (P, 7), session=b"node1#2")
    assert b.path(P) > path, "all that was sent to it is sent again"
    assert delivered(send(b, gw, 1, 9), node) == [(P, 9)]


def test_many_floods_one_after_the_other_fill_no_memory_either() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node = b.worker("node1", (P, 7))
    number = forwarded = 0
    while Cut(node) not in b.out:
        number += 1
        forwarded += pour(b, b.gateway("flood", b"flood#%d" % number), node)
    assert 1.5 * LIMIT < forwarded * LIMIT / 100 * 1.4 < 2.2 * LIMIT
    assert node not in b.state._peers


def test_nobody_can_say_that_it_has_read_what_it_has_not() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, gw = b.worker("node1", (P, 7)), b.gateway()
    sent: list[int] = []
    for _ in range(40):
        send(b, gw, LIMIT // 100)
        sent += marks(b, node)
    unread = b.state._peers[node].unread
    before = unread.bytes
    for mark in (0, 1, before, sent[-1] + 1, 2**62):
        b.say(node, m.Read(mark))
    assert unread.bytes == before
    b.say(node, m.Read(sent[-1]))
    assert unread.bytes == unread.unmarked < LIMIT / 16
    b.say(node, m.Read(sent[-1]))
    b.say(node, m.Read(sent[0]))
    assert unread.bytes == unread.unmarked


def test_nothing_is_granted_of_a_node_that_has_much_to_read() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, gw = b.worker("node1", (P, 7)), b.gateway()
    b.say(node, m.Beat(window=10))
    b.now_ms += 100
    sent: list[int] = []
    for _ in range(60):
        send(b, gw, LIMIT // 100)
        sent += marks(b, node)
        b.now_ms += 1
        if b.told(gw, m.Grant) == [m.Grant({"node1": 0})]:
            break
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 0})]
    b.now_ms += 100
    b.say(node, m.Read(sent[-1]))
    assert b.told(gw, m.Grant) == [m.Grant({"node1": 10})]


def test_beyond_the_limit_who_sent_most_of_what_is_held_is_cut_off_and_what_others_sent_stays() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    source, gw = holding(b)
    flood = b.worker("flood")
    for number in range(5):
        send(b, gw, LIMIT // 100, number)
    cut = pour(b, flood, source)
    assert cut < 95
    assert [e for e in b.out if type(e) is Cut] == [Cut(flood)]
    assert counted(b.out, "floods") == 1
    assert b.state._holding.bytes < LIMIT / 10
    b.say(source, m.Release(P, 7))
    assert delivered(b.out, source) == [(P, number) for number in range(5)]
    assert (b.state._holding.bytes, b.state._holding.count) == (0, 0)


def test_what_is_handed_over_with_a_partition_counts_as_sent_by_its_source() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    source, target, ctl = b.worker("node1"), b.worker("node2"), b.controller()
    legacy = m.Legacy(1, 2, [(1, bytes(LIMIT // 4))], [])
    for epoch in range(1, 19, 2):
        b.say(source, m.Own([Claim(P, epoch)]))
        path = b.path(P)
        b.say(source, m.Hold(P, epoch))
        b.say(source, m.Handover(P, epoch + 1, "node2", legacy=legacy))
        if Cut(source) in b.out:
            break
        assert b.told(target, m.Activate) == [m.Activate(P, epoch + 1, legacy)]
        b.say(target, m.Disown(P, epoch + 1))
    assert epoch == 7
    assert b.told(target, m.Activate) == [m.Activate(P, epoch + 1)], "it asks the store"
    assert b.told(ctl, m.PeerDown) == [m.PeerDown("worker", "node1", source)]
    assert b.path(P) > path, "what was held is sent again"


def test_the_smallest_messages_that_are_held_are_bounded_as_well() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    _, gw = holding(b)
    for number in range(LIMIT // 512 + 1):
        send(b, gw, 0, number)
    assert gw not in b.state._peers


def test_who_asks_for_the_routes_again_and_again_and_does_not_read_them_is_cut_off() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    asked = 0
    while Cut(b"gw#1") not in b.out:
        asked += 1
        b.say(b"gw#1", m.Hello("gateway", "gw"))
    assert 10 < asked <= LIMIT / 256


def test_a_worker_that_claims_too_much_is_expelled_and_nobody_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.routing.TABLE_BYTES_MAX", 250)
    b = Broker()
    gw, ctl = b.gateway(), b.controller()
    claims = [(f"shop/cart/{number}", 1) for number in range(4)]
    for number in (1, 2):
        flood = b.worker("flood", *claims, session=b"flood#%d" % number)
        assert b.told(flood, m.Fenced)
        assert Cut(flood) in b.out
        assert counted(b.out, "bad_frames") == 1
        assert [e.event for e in b.out if type(e) is Log] == (["bad_frame"] if number == 1 else []), "logged once"
        assert not b.told(flood, m.Welcome) + b.told(gw, m.Routes) + b.told(ctl, m.PeerUp)
        b.say(flood, m.Hello("worker", "flood"))
        assert not b.told(flood, m.Welcome)
    assert b.route(P) is None
    node = b.worker("node1", *claims[:3])
    assert b.told(node, m.Welcome)


def test_what_everybody_is_told_at_once_is_bounded_however_many_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.routing.TABLE_BYTES_MAX", 10_000)
    b = Broker()
    gw = b.gateway()
    expelled = 0
    for number in range(40):
        flood = b.worker(f"flood{number}", *((f"{'x' * 60}/{number}/{index}", 1) for index in range(10)))
        expelled += Cut(flood) in b.out
        b.step(Unreachable(flood))
    other = b.worker("other")
    for number in range(40):
        b.say(other, m.Own([Claim(f"shop/cart/{number}", 1)]))
        if Cut(other) in b.out:
            break
    assert expelled > 20
    assert 0 < number < 40
    b.say(gw, m.Hello("gateway", "gw"))
    [welcome] = b.told(gw, m.Welcome)
    assert len(m.encode(welcome)) < 10_100


@pytest.mark.parametrize("asks", ["owns", "holds", "connects", "sends"])
def test_who_has_others_told_more_than_they_read_is_cut_off(asks: str) -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, ctl, flood = b.worker("node1", (Q, 1)), b.controller(), b.worker("flood")
    cut: list[bytes] = []
    for number in range(1, 300):
        if asks == "owns":
            b.say(flood, m.Own([Claim(P, number)]))
        elif asks == "holds":
            b.say(flood, m.Hold(P, number))
        elif asks == "sends":  # for partitions that nobody has
            b.data(flood, *((f"shop/cart/{number * 100 + index}", 1, 1) for index in range(4)))
        else:
            flood = b.worker("flood", *((f"shop/cart/{index}", number) for index in range(10, 20)))
        cut += [e.session for e in b.out if type(e) is Cut]
        if flood in cut:
            break
    assert 20 < number < 250
    assert not {node, ctl} & set(cut)


def test_what_waits_for_a_peer_that_is_given_up_as_silent_goes_with_its_connection() -> None:
    b = Broker(flood_bytes_max=LIMIT)
    node, gw = b.worker("node1", (P, 7)), b.gateway()
    send(b, gw, LIMIT // 10)
    while Cut(node) not in b.out:
        b.now_ms += 50
        b.say(gw, m.Beat())
        b.step(Tick())
    assert b.now_ms == 10_050
    assert Cut(gw) not in b.out


# -- what cannot be read ---------------------------------------------------------------------------------


def test_whose_frames_somebody_could_not_read_is_looked_at_before_they_are_forwarded() -> None:
    broker = Broker()
    node, gateway = broker.worker("node1", (P, 1)), broker.gateway()
    garbage = DataFrom(gateway, m.encode([Part(P, broker.path(P), 1)]), b"\xc1garbage")
    assert any(isinstance(e, Forward) for e in broker.step(garbage)), "the broker opens nothing without a reason"
    broker.say(node, m.Malformed(gateway))
    assert any(isinstance(e, Forward) for e in broker.data(gateway, (P, broker.path(P), 1))), "nobody is expelled yet"
    out = broker.step(garbage)
    assert not any(isinstance(e, Forward) for e in out)
    assert broker.told(gateway, m.Fenced)
    assert Count("bad_frames") in out


def test_relayed_messages_of_who_is_watched_are_looked_at_as_well() -> None:
    broker = Broker()
    node, gateway = broker.worker("node1"), broker.gateway()
    garbage = RelayFrom(gateway, node, ACK[:-1])
    assert broker.step(garbage) == [Forward(node, [gateway, ACK[:-1]])]
    broker.say(node, m.Malformed(gateway))
    assert broker.step(RelayFrom(gateway, node, ACK)) == [Forward(node, [gateway, ACK])]
    broker.step(garbage)
    assert broker.told(gateway, m.Fenced)


def test_who_sends_garbage_is_logged_once_however_often_it_comes_back() -> None:
    broker = Broker()
    lines = []
    for number in range(3):
        gateway = broker.gateway(session=b"gw#%d" % number)
        out = broker.step(BadFrameFrom(gateway, f"garbage {number}"))
        assert Count("bad_frames") in out
        lines += [e for e in out if isinstance(e, Log) and e.event == "bad_frame"]
        lines += [e for e in broker.step(BadFrameFrom(b"stranger#%d" % number, "x")) if isinstance(e, Log)]
    assert [line.text.split(" sent")[0] for line in lines] == ["gw (gateway)", "somebody who has not said Hello"]


# -- several brokers --------------------------------------------------------------------------------------


def test_what_an_owner_says_that_it_has_is_believed_as_a_claim_is() -> None:
    b = Broker()
    ctl, gw = b.controller(), b.gateway()
    old, new = b.worker("node1", (P, 7)), b.worker("node2")
    path = b.path(P)
    b.say(old, m.Hold(P, 7))
    b.say(new, m.Own([Claim(P, 8)]))
    assert b.told(old, m.Drop) == [m.Drop(P, 8)]
    assert b.told(ctl, m.Landed) == [m.Landed(P, 8, "node2")]
    assert b.told(gw, m.Routes)
    assert b.route(P)[1:4] == ("node2", new, 8)
    assert b.path(P) > path
    assert P not in b.state._holding.by_partition
    b.say(old, m.Handover(P, 8, "node2", [], None))
    assert b.route(P)[1:4] == ("node2", new, 8), "what the source says late changes nothing"


def test_what_an_owner_says_that_it_has_and_has_no_more_is_refused() -> None:
    b = Broker()
    old, new = b.worker("node1"), b.worker("node2", (P, 8))
    path = b.path(P)
    b.say(old, m.Own([Claim(P, 7)]))
    assert b.told(old, m.Drop) == [m.Drop(P, 8)]
    b.say(new, m.Own([Claim(P, 8)]))
    assert b.route(P)[1:4] == ("node2", new, 8)
    assert b.path(P) == path, "what is known costs no new path"


def test_a_term_that_the_store_has_given_twice_is_done() -> None:
    b = Broker()
    b.say(b"one#1", m.Hello("controller", "one", term=2, started_ms=5))
    assert b.told(b"one#1", m.Welcome)
    b.say(b"one#2", m.Hello("controller", "one", term=2, started_ms=5))
    assert b.told(b"one#2", m.Welcome), "the same, connected anew"
    b.say(b"two#1", m.Hello("controller", "two", term=2, started_ms=9))
    assert b.told(b"two#1", m.Fenced) == [m.Fenced(3)]
    b.say(b"two#2", m.Hello("controller", "two", term=4, started_ms=12))
    assert b.told(b"two#2", m.Welcome)

"""A worker with two brokers: partitions that come by either, moves that wait for both, a broker that goes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from worker_bench import GATEWAY, Bench, graph

from liquefy.config import WorkerConfig
from liquefy.effects import Relay, ToBroker
from liquefy.hosting import Loaded
from liquefy.messages import (
    Abort,
    Activate,
    Activated,
    Beat,
    Claim,
    Disown,
    Drop,
    Fenced,
    Graphs,
    Handover,
    Held,
    Hello,
    Hold,
    Inventory,
    Move,
    MoveEnded,
    Own,
    Part,
    Posted,
    Prepare,
    Prepared,
    Release,
    Report,
    Route,
    Welcome,
    decode_posted,
)
from worker import events as ev
from worker import mailbox
from worker.ownership import OWN_AFTER_MS

P = "shop/store/0"
CONTROLLERS = (b"controller#1", b"controller#2")
GATEWAY2 = b"gateway1#2"


def two(*activated: int) -> Bench:
    """Connected to both; the partition was activated by these brokers."""
    bench = Bench(WorkerConfig(name="node1", brokers="tcp://a:1,tcp://b:1"))
    for link in (0, 1):
        bench.step(ev.Up(b"node1#%d" % link, link))
        bench.step(ev.FromBroker(Welcome("b", []), link))
        bench.step(ev.FromPeer(CONTROLLERS[link], Graphs([bench.graph], (), 1, 1), link))
    bench.epochs[P] = 1
    for link in activated:
        bench.step(ev.FromBroker(Activate(P, 1), link))
    bench.effects.clear()
    return bench


def told(bench: Bench, *kinds: type) -> list[tuple[int, Any]]:
    """Which broker was told what, since the last look."""
    found = [(e.link, e.message) for e in bench.effects if isinstance(e, ToBroker) and isinstance(e.message, kinds)]
    bench.effects.clear()
    return found


def arrive(bench: Bench, number: int, link: int, seq: int) -> None:
    sender = (GATEWAY, GATEWAY2)[link]
    posted = Posted(seq, bench.message(number), False)
    bench.step(ev.Data(sender, [Part(P, 1, 1)], [[posted]], link))


def test_it_says_hello_with_all_it_has_to_each_broker_and_beats_for_each() -> None:
    bench = two(0)
    bench.step(ev.Down(1))
    bench.step(ev.Up(b"node1#9", 1))
    [(link, hello)] = told(bench, Hello)
    assert (link, hello.claims) == (1, [Claim(P, 1)])
    assert hello.started_ms > 0
    bench.now_ms += 1_000
    bench.step(ev.Tick())
    assert [link for link, _ in told(bench, Beat)] == [0, 1]


def test_it_is_loaded_once_and_both_brokers_hear_that_it_is_active() -> None:
    bench = two()
    bench.step(ev.FromBroker(Activate(P, 1), 1))
    assert told(bench, Activated) == [(1, Activated(P, 1))]
    bench.step(ev.FromBroker(Activate(P, 1), 0))
    assert told(bench, Activated) == [(0, Activated(P, 1))]


def test_a_broker_is_told_of_so_many_partitions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.ownership.OWN_CLAIMS_MAX", 2)
    bench = two()
    names = list(bench.graph.partition_names())[:3]
    for name in names:
        bench.epochs[name] = 1
        bench.step(ev.FromBroker(Activate(name, 1), 0))
    bench.now_ms += OWN_AFTER_MS
    bench.step(ev.Tick())
    heard = [(link, [claim.partition for claim in own.claims]) for link, own in told(bench, Own)]
    assert heard == [(1, names[:2]), (1, names[2:])]


def test_a_broker_that_nobody_has_told_is_told_by_the_owner_after_a_while() -> None:
    bench = two(0)
    bench.step(ev.Tick())
    assert told(bench, Own) == []
    bench.now_ms += OWN_AFTER_MS
    bench.step(ev.Tick())
    assert told(bench, Own) == [(1, Own([Claim(P, 1)]))]
    bench.now_ms += OWN_AFTER_MS
    bench.step(ev.Tick())
    assert told(bench, Own) == []


def test_what_one_broker_takes_away_the_others_are_told_of() -> None:
    bench = two(0, 1)
    bench.step(ev.FromBroker(Drop(P, 2), 1))
    assert told(bench, Disown) == [(0, Disown(P, 1))]


def test_a_move_waits_for_the_markers_of_both_and_hands_over_to_both() -> None:
    bench = two(0, 1)
    bench.auto = False
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    assert told(bench, Hold) == [(0, Hold(P, 1)), (1, Hold(P, 1))]
    bench.step(ev.FromBroker(Held(P, 1), 1))
    assert bench.commits == []
    bench.step(ev.FromBroker(Held(P, 1), 0))
    assert [c.move for batch in bench.commits for c in batch.commits] == [("node3", 2)]
    bench.answer_commits()
    assert [(link, m.target, m.epoch) for link, m in told(bench, Handover)] == [(0, "node3", 2), (1, "node3", 2)]


def test_what_came_by_a_broker_is_returned_by_it_whole_and_in_order() -> None:
    bench = two(0, 1)
    bench.auto = False
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    bench.step(ev.FromBroker(Held(P, 1), 0))
    bench.step(ev.FromBroker(Held(P, 1), 1))
    # The last commit is under way. What comes now is not begun any more; one message of the two comes twice.
    arrive(bench, 1, link=0, seq=1)
    arrive(bench, 2, link=0, seq=2)
    arrive(bench, 1, link=1, seq=1)
    bench.answer_commits()
    by_link = {link: handover.returned for link, handover in told(bench, Handover)}
    ids = {
        link: [(r.sender, [p.message.id for p in decode_posted(r.posted)]) for r in returned]
        for link, returned in by_link.items()
    }
    assert ids == {0: [(GATEWAY, [b"m1", b"m2"])], 1: [(GATEWAY2, [b"m1"])]}


def test_a_broker_that_goes_is_not_waited_for() -> None:
    bench = two(0, 1)
    bench.auto = False
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    bench.step(ev.FromBroker(Held(P, 1), 1))
    bench.step(ev.Down(0))
    assert bench.commits
    bench.answer_commits()
    assert [link for link, _ in told(bench, Handover)] == [1]


def test_the_end_of_a_move_is_told_by_the_broker_that_is_left() -> None:
    bench = two(0, 1)
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    bench.step(ev.FromBroker(Held(P, 1), 1))
    bench.step(ev.Down(0))
    ended = [(e.to, e.link) for e in bench.effects if isinstance(e, Relay) and isinstance(e.message, MoveEnded)]
    assert ended == [(CONTROLLERS[1], 1)]


def test_when_the_last_broker_goes_the_move_is_given_up() -> None:
    bench = two(0, 1)
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    bench.step(ev.Down(0))
    bench.step(ev.Down(1))
    assert bench.state.flow.partitions[P].move is None


def test_a_marker_of_a_move_that_was_given_up_is_not_one_of_the_next() -> None:
    bench = two(0, 1)
    bench.auto = False
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    bench.step(ev.FromPeer(CONTROLLERS[0], Abort(P, 1)))
    assert [link for link, _ in told(bench, Release)] == [0, 1]
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node2")))
    bench.step(ev.FromBroker(Held(P, 1), 0))
    bench.step(ev.FromBroker(Held(P, 1), 0))
    bench.step(ev.FromBroker(Held(P, 1), 1))
    assert bench.commits == [], "the second broker has still to hold for the second move"
    bench.step(ev.FromBroker(Held(P, 1), 1))
    assert bench.commits


def test_a_broker_that_does_not_know_of_the_partition_is_told_before_it_is_to_hold() -> None:
    bench = two(0)
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node3")))
    assert told(bench, Own, Hold) == [(0, Hold(P, 1)), (1, Own([Claim(P, 1)])), (1, Hold(P, 1))]


def test_fenced_by_one_broker_it_keeps_what_it_has_fenced_by_the_last_it_begins_anew() -> None:
    bench = two(0, 1)
    bench.step(ev.FromBroker(Fenced(), 0))
    assert P in bench.state.flow.partitions
    assert ev.Reconnect(0) in bench.effects
    bench.step(ev.Down(0))
    bench.step(ev.FromBroker(Fenced(), 1))
    assert not bench.state.flow.partitions
    assert ev.Reconnect(1) in bench.effects


def test_what_an_earlier_controller_says_late_is_not_in_force() -> None:
    bench = two()
    bench.step(ev.FromPeer(b"next#1", Graphs([bench.graph], (), 2, 1), 1))
    bench.step(ev.FromPeer(CONTROLLERS[0], Graphs([], (), 1, 9), 0))
    assert bench.state.fleet.graphs
    bench.step(ev.FromPeer(b"next#0", Graphs([], (), 2, 2), 0))
    assert not bench.state.fleet.graphs


def test_it_reports_by_each_broker_as_that_is_a_sign_of_life_of_each_session() -> None:
    bench = two(0, 1)
    bench.now_ms += 1_000
    bench.step(ev.Tick())
    reports = [(e.to, e.link) for e in bench.effects if isinstance(e, Relay) and isinstance(e.message, Report)]
    assert reports == [(CONTROLLERS[0], 0), (CONTROLLERS[1], 1)]


def test_a_controller_that_is_new_is_told_what_is_here_as_a_broker_may_say_more() -> None:
    """A broker that has not noticed yet that this session is gone, names what it has routed there since."""
    bench = two(0)

    def inventories() -> list[tuple[bytes, list[Claim]]]:
        bench.effects.clear()
        bench.now_ms += bench.state.config.report_interval_ms
        bench.step(ev.Tick())
        relayed = [e for e in bench.effects if isinstance(e, Relay)]
        return [(e.to, e.message.claims) for e in relayed if isinstance(e.message, Inventory)]

    assert inventories() == [(CONTROLLERS[0], [Claim(P, 1)])]
    assert inventories() == []
    bench.step(ev.FromPeer(b"controller#3", Graphs([bench.graph], (), 2, 1), 1))
    assert inventories() == [(b"controller#3", [Claim(P, 1)])]
    assert inventories() == []


def test_who_asks_it_to_load_code_is_answered_by_the_same_broker() -> None:
    bench = two()
    bench.step(ev.FromPeer(CONTROLLERS[1], Prepare(bench.graph), 1))
    said = [(e.to, e.link) for e in bench.effects if isinstance(e, Relay)]
    assert said == [(CONTROLLERS[1], 1)]


def test_who_asks_by_two_brokers_is_answered_by_both_as_one_may_be_lost_meanwhile() -> None:
    bench = two()
    bench.loads = False
    asked = graph(version=2, bundle="c" * 64)
    for link, controller in ((1, CONTROLLERS[1]), (0, CONTROLLERS[0])):
        bench.step(ev.FromPeer(controller, Prepare(asked), link))
    [host] = {e.host for e in bench.effects if isinstance(e, ev.LoadGraph)}
    bench.step(ev.HostSaid(host, Loaded("shop", 2, ["call"])))
    said = {(e.to, e.link) for e in bench.effects if isinstance(e, Relay) and isinstance(e.message, Prepared)}
    assert said == {(CONTROLLERS[0], 0), (CONTROLLERS[1], 1)}


def test_routes_of_both_brokers_are_used() -> None:
    bench = two()
    for link in (0, 1):
        routes = [Route(f"shop/tell/{i}", "node2", b"node2#%d" % link, 1, 1) for i in range(4)]
        bench.step(ev.FromBroker(Welcome("b", routes), link))
    ways = [bench.state.flow.outgoing.route(f"shop/tell/{i}") for i in range(4)]
    assert {way.link for way in ways if way is not None} == {0, 1}


def by(bench: Bench, link: int, path: int, *numbers: int) -> None:
    """These messages come by that broker, by that path, each with its number as its seq."""
    posted = [Posted(number, bench.message(number), False) for number in numbers]
    bench.step(ev.Data((GATEWAY, GATEWAY2)[link], [Part(P, path, len(posted))], [posted], link))


def waiting(bench: Bench) -> list[bytes]:
    return list(bench.state.flow.partitions[P].working)


@pytest.mark.parametrize("dropped", [False, True])
def test_what_a_slower_broker_brings_yet_is_not_taken_without_what_came_before_it(dropped: bool) -> None:
    bench = two(0, 1)
    bench.auto = False
    by(bench, 0, 5, 1)
    bench.epochs[P] = 2
    if dropped:
        bench.step(ev.FromBroker(Drop(P, 2), 1))
    bench.step(ev.FromBroker(Activate(P, 2), 1))
    by(bench, 0, 5, 2)  # that broker does not know yet that the first one is lost
    assert waiting(bench) == []
    bench.step(ev.FromBroker(Activate(P, 2), 0))
    by(bench, 0, 6, 1, 2, 3)
    assert waiting(bench) == [b"m1", b"m2", b"m3"]


def test_what_came_while_the_partition_was_not_here_is_a_gap_as_well() -> None:
    bench = two(0, 1)
    bench.auto = False
    bench.step(ev.FromBroker(Drop(P, 2), 1))
    by(bench, 0, 5, 1)
    bench.epochs[P] = 2
    bench.step(ev.FromBroker(Activate(P, 2), 1))
    by(bench, 0, 5, 2)
    assert waiting(bench) == []
    by(bench, 1, 5, 1, 2)  # another broker's paths are others
    assert waiting(bench) == [b"m1", b"m2"]


def test_what_was_taken_away_comes_to_the_next_session_by_whatever_path() -> None:
    bench = two(0, 1)
    bench.auto = False
    by(bench, 0, 5, 1)
    bench.epochs[P] = 2
    bench.step(ev.FromBroker(Activate(P, 2), 1))
    bench.step(ev.Down(0))
    bench.step(ev.Up(b"node1#9", 0))
    by(bench, 0, 5, 1)  # of a broker that began anew
    assert waiting(bench) == [b"m1"]


def test_a_partition_that_was_handed_over_and_comes_back_keeps_its_path() -> None:
    bench = two(0, 1)
    by(bench, 0, 5, 1)
    bench.step(ev.FromPeer(CONTROLLERS[0], Move(P, 1, "node2"), 0))
    bench.step(ev.FromBroker(Held(P, 1), 0))
    bench.step(ev.FromBroker(Held(P, 1), 1))
    assert P not in bench.state.flow.partitions
    bench.epochs[P] = 3
    bench.step(ev.FromBroker(Activate(P, 3), 0))
    bench.auto = False
    by(bench, 0, 5, 2)
    assert waiting(bench) == [b"m2"]


def test_what_was_broken_is_remembered_of_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "BROKEN_MAX", 2)
    broken = mailbox.Broken()
    for number in range(3):
        broken.add(f"shop/store/{number}", 0, 5)
    assert [broken.has(f"shop/store/{number}", 0, 5) for number in range(3)] == [False, True, True]
    assert not broken.has("shop/store/1", 0, 6)  # a new path
    assert len(broken._paths) == 1

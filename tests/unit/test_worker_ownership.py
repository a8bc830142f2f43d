"""How partitions come to a worker and leave it: activation, migration at the source, loss, giving up."""

from __future__ import annotations

import gc
import sys

import pytest
from msgspec.structs import replace
from worker_bench import CONTROLLER, GATEWAY, Bench

from liquefy.commits import ContextAnswer, PartitionState, Verdict
from liquefy.effects import Log, SendFrame, ToBroker
from liquefy.hosting import Ran
from liquefy.messages import (
    Abort,
    Ack,
    Activate,
    Activated,
    Disown,
    Drop,
    Fenced,
    Graphs,
    Handover,
    Held,
    Hello,
    Hold,
    Legacy,
    Move,
    MoveEnded,
    Recheck,
    Release,
    Route,
    Routes,
    child_id,
    count_of,
    decode_message,
    decode_posted,
    encode,
)
from liquefy.sending import size_of
from worker import events as ev
from worker.mailbox import Life
from worker.ownership import DAMAGED_LOOK_MS
from worker.state import LEAVE_SILENCE_MS

P = "shop/store/0"


def moving(bench: Bench) -> Bench:
    bench.step(ev.FromPeer(CONTROLLER, Move(P, 1, "node3")))
    return bench


def test_an_active_partition_says_so_again_when_asked_again() -> None:
    bench = Bench().ready(P)
    bench.step(ev.FromBroker(Activate(P, 1)))
    assert bench.to_broker(Activated) == [Activated(P, 1)]


def test_messages_that_come_before_the_load_is_done_wait_for_it() -> None:
    bench = Bench()
    bench.epochs[P] = 1
    bench.ready()
    loads: list[ev.LoadPartitions] = []
    effects = bench.state.step(ev.FromBroker(Activate(P, 1)), bench.now_ms)
    loads += [e for e in effects if isinstance(e, ev.LoadPartitions)]
    bench.arrive(bench.message(1))
    assert bench.relayed(Ack) == []
    bench.step(ev.PartitionsLoaded([PartitionState(P, "node1", 1, 0, [])]))
    assert bench.relayed(Ack) == [(GATEWAY, Ack([1]))]


def test_a_partition_that_is_behind_in_the_store_is_loaded_anew_when_asked_to_look() -> None:
    bench = Bench().ready(P)
    bench.arrive(bench.message(1))
    partition = bench.state.flow.partitions[P]
    assert partition.sequence == 1
    left = replace(bench.message(7), fluxion="tell", id=b"left")
    effects = bench.state.step(ev.FromPeer(CONTROLLER, Recheck()), bench.now_ms)
    [asked] = [e for e in effects if isinstance(e, ev.LoadPartitions)]
    assert asked.partitions == [P]
    back = PartitionState(P, "node1", 1, 0, [(1, encode(left))])
    effects = bench.state.step(ev.PartitionsLoaded([back]), bench.now_ms)
    assert [e.partitions for e in effects if isinstance(e, ev.LoadPartitions)] == [[P]]
    effects = bench.state.step(ev.PartitionsLoaded([back]), bench.now_ms)
    assert bench.state.flow.partitions[P].sequence == 0
    assert [p.message for e in effects if isinstance(e, SendFrame) for part in e.parts for p in part] == [left]


def test_a_partition_that_the_store_has_is_left_alone_when_asked_to_look() -> None:
    bench = Bench().ready(P)
    bench.arrive(bench.message(1))
    partition = bench.state.flow.partitions[P]
    bench.state.step(ev.FromPeer(CONTROLLER, Recheck()), bench.now_ms)
    bench.arrive(bench.message(2))  # commits before the answer comes
    bench.state.step(ev.PartitionsLoaded([PartitionState(P, "node1", 1, 1, [])]), bench.now_ms)
    assert bench.state.flow.partitions[P] is partition
    assert partition.sequence == 2


def test_the_target_goes_by_what_the_source_left() -> None:
    bench = Bench().ready()
    left = replace(bench.message(7), fluxion="tell", id=b"left")
    effects = bench.state.step(ev.FromBroker(Activate(P, 2, Legacy(5, 9, [(8, encode(left))], [7]))), bench.now_ms)
    assert not [e for e in effects if isinstance(e, ev.LoadPartitions)]
    assert [e.message for e in effects if isinstance(e, ToBroker)] == [Activated(P, 2)]
    assert [p.message for e in effects if isinstance(e, SendFrame) for part in e.parts for p in part] == [left]
    partition = bench.state.flow.partitions[P]
    assert (partition.sequence, partition.next_out, partition.acknowledged) == (5, 9, [7])


def test_a_version_in_which_a_group_gets_a_context_or_loses_it() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    groups = [replace(group, stateful=False) if group.name == "store" else group for group in bench.graph.groups]
    bench.step(ev.FromPeer(CONTROLLER, Graphs([replace(bench.graph, version=2, groups=tuple(groups))])))
    without = bench.state.flow.partitions[P]
    assert (without.life, without.stateful) == (Life.ACTIVE, False)
    assert [entry.message.id for entry in without.working.values()] == [b"m1"]
    bench.step(ev.FromPeer(CONTROLLER, Graphs([replace(bench.graph, version=3)])))
    assert bench.state.flow.partitions[P] is not without
    assert bench.state.flow.partitions[P].stateful is True


def test_a_partition_that_the_store_gives_to_another_is_disowned() -> None:
    bench = Bench().ready()
    bench.state.step(ev.FromBroker(Activate(P, 1)), bench.now_ms)
    bench.step(ev.PartitionsLoaded([PartitionState(P, "node2", 2, 0, [])]))
    assert bench.to_broker(Disown) == [Disown(P, 1)]
    assert P not in bench.state.flow.partitions


def test_the_source_drains_commits_and_hands_over_in_that_order() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    moving(bench)
    assert bench.to_broker(Hold) == [Hold(P, 1)]
    bench.step(ev.FromBroker(Held(P, 1)))
    assert not bench.commits
    bench.answer_runs()
    [last] = bench.commits
    assert last.commits[0].move == ("node3", 2)
    assert len(last.commits[0].seen) == 1
    assert bench.to_broker(Handover) == []
    bench.answer_commits()
    [handover] = bench.to_broker(Handover)
    assert (handover.partition, handover.epoch, handover.target, handover.returned) == (P, 2, "node3", [])
    assert (handover.legacy.sequence, handover.legacy.next_out, handover.legacy.acknowledged) == (1, 2, [])
    assert [(seq, decode_message(packed).fluxion) for seq, packed in handover.legacy.outbox] == [(1, "tell")]
    assert (CONTROLLER, MoveEnded(P, 1, "")) in bench.relayed(MoveEnded)
    assert P not in bench.state.flow.partitions


def test_the_source_waits_for_a_coroutine_and_returns_what_stands_behind_it() -> None:
    bench = Bench()
    bench.awaiting = ["store"]
    bench.ready(P)
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    bench.answer_reads()
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    assert not bench.commits
    assert len(bench.runs) == 1
    bench.answer_runs()
    [last] = bench.commits
    assert last.commits[0].move == ("node3", 2)
    assert [i for _, i in last.commits[0].seen] == [b"m1"]
    bench.answer_commits()
    [handover] = bench.to_broker(Handover)
    assert [[p.message.id for p in decode_posted(r.posted)] for r in handover.returned] == [[b"m2"]]
    assert not bench.runs


def test_what_was_not_begun_is_returned_in_order_and_not_run() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    bench.arrive(bench.message(3), sender=b"node2#1", seq=8)
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    bench.answer_reads()
    assert not bench.runs
    bench.answer_commits()
    [handover] = bench.to_broker(Handover)
    returned = [(r.sender, [(p.seq, p.message.id) for p in decode_posted(r.posted)]) for r in handover.returned]
    assert returned == [(GATEWAY, [(1, b"m1"), (2, b"m2")]), (b"node2#1", [(8, b"m3")])]


def test_what_waits_and_is_too_much_for_a_frame_is_not_returned_but_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Bench().message(1), Bench().message(2)
    size = size_of(first) + size_of(second)
    for limit, many in ((size, False), (size - 1, True)):
        monkeypatch.setattr("worker.ownership.RETURNED_BYTES_MAX", limit)
        bench = Bench().ready(P)
        bench.auto = False
        bench.arrive(first, second)
        moving(bench)
        bench.step(ev.FromBroker(Held(P, 1)))
        bench.answer_commits()
        [handover] = bench.to_broker(Handover)
        assert handover.again is many
        assert [count_of(returned.posted) for returned in handover.returned] == ([] if many else [2])


def test_messages_that_are_many_are_not_returned_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.ownership.RETURNED_MAX", 1)
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    bench.answer_commits()
    [handover] = bench.to_broker(Handover)
    assert (handover.again, handover.returned) == (True, [])


def test_an_outbox_of_many_bytes_is_left_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def handed_over() -> Handover:
        bench = Bench().ready(P)
        bench.auto = False
        bench.arrive(bench.message(1))
        bench.answer_reads()
        moving(bench)
        bench.step(ev.FromBroker(Held(P, 1)))
        bench.answer_runs()
        bench.answer_commits()
        [handover] = bench.to_broker(Handover)
        return handover

    legacy = handed_over().legacy
    assert legacy is not None
    size = sum(len(packed) for _, packed in legacy.outbox)
    monkeypatch.setattr("worker.flow.LEGACY_BYTES_MAX", size)
    assert handed_over().legacy == legacy
    monkeypatch.setattr("worker.flow.LEGACY_BYTES_MAX", size - 1)
    assert handed_over().legacy is None


def test_of_a_partition_that_went_elsewhere_nothing_is_left() -> None:
    """At once, and not only when the garbage is collected: each message that waited would be there until then."""
    bench = Bench().ready(P)
    bench.auto = False
    gc.disable()
    try:
        bench.arrive(bench.message(1), bench.message(2))
        partition = bench.state.flow.partitions[P]
        bench.step(ev.FromBroker(Drop(P, 2)))
        assert P not in bench.state.flow.partitions
        assert sys.getrefcount(partition) == 2  # ours, and that of the call
    finally:
        gc.enable()


def test_a_moved_partition_leaves_its_unacknowledged_messages_to_the_target() -> None:
    bench = Bench().ready(P)
    bench.arrive(bench.message(1))
    assert len(bench.state.flow.outgoing) == 1
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    assert len(bench.state.flow.outgoing) == 0


TELL, CALL = "shop/tell/0", "shop/call/0"


def stored(bench: Bench, number: int) -> None:
    """The message is handled and committed, and what it emitted leaves; nothing further is answered."""
    bench.auto = False
    bench.arrive(bench.message(number), seq=number)
    bench.answer_reads()
    bench.answer_runs()
    bench.answer_commits()


def sent(bench: Bench) -> list[tuple[str, bytes, bool]]:
    return [(to, posted.message.id, posted.resend) for to, posted in bench.sent()]


def test_what_was_delivered_here_to_a_partition_that_is_taken_away_is_sent_again_before_anything_newer() -> None:
    bench = Bench().ready(P, TELL)
    stored(bench, 1)
    assert sent(bench) == []  # it did not leave this node
    bench.epochs[TELL] = 2
    bench.step(ev.FromBroker(Drop(TELL, 2)))
    bench.step(ev.FromBroker(Activate(TELL, 2)))  # the new path is to come
    stored(bench, 2)
    assert sent(bench) == [(TELL, child_id(b"m1", 0), True), (TELL, child_id(b"m2", 0), False)]
    assert not bench.state.flow.partitions[TELL].working


def test_what_is_somewhere_else_by_its_route_gets_nothing_here() -> None:
    """A broker that is slow has given it to us since: what was handled here would be lost, and overtaken."""
    bench = Bench().ready(P, TELL)
    bench.step(ev.FromBroker(Routes([Route(TELL, "node2", b"node2#1", 2, 2)])))
    stored(bench, 1)
    assert sent(bench) == [(TELL, child_id(b"m1", 0), False)]
    assert not bench.state.flow.partitions[TELL].working


def test_what_was_delivered_here_and_handed_over_is_not_overtaken_when_the_partition_comes_back() -> None:
    bench = Bench().ready(TELL, CALL)
    bench.auto = False
    bench.arrive(bench.message(1, fluxion="tell"), bench.message(2, fluxion="tell"))
    [(host, items)] = bench.runs
    bench.runs.clear()
    bench.step(ev.HostSaid(host, Ran([bench.handle(item) for item in items])))
    bench.step(ev.FromPeer(CONTROLLER, Move(CALL, 1, "node2")))
    bench.step(ev.FromBroker(Held(CALL, 1)))
    bench.answer_runs()
    bench.answer_commits()
    [handover] = bench.to_broker(Handover)
    [returned] = handover.returned  # the first one was begun
    assert [posted.message.id for posted in decode_posted(returned.posted)] == [child_id(b"m2", 0)]
    bench.epochs[CALL] = 3
    bench.step(ev.FromBroker(Activate(CALL, 3)))  # should it come back as well, it comes behind this
    bench.effects.clear()
    bench.arrive(bench.message(3, fluxion="tell"), seq=3)
    bench.answer_runs()
    assert sent(bench) == [(CALL, child_id(b"m3", 0), False)]


def test_what_was_on_its_way_within_a_graph_that_is_no_more_is_let_go_of() -> None:
    """Nobody will ever acknowledge it; and a graph of that name that is deployed later begins anew."""
    bench = Bench().ready("shop/tell/0")
    bench.arrive(bench.message(1, fluxion="tell"))
    bench.step(ev.FromBroker(Routes([Route("shop/call/0", "node2", b"", 1, 1)])))
    bench.step(ev.Tick())
    assert len(bench.state.flow.outgoing) == 1  # an owner is gone: there will be another one
    bench.step(ev.FromPeer(CONTROLLER, Graphs([])))
    bench.step(ev.Tick())
    assert len(bench.state.flow.outgoing) == 1  # news of another controller may cross; we have a part of it yet
    bench.step(ev.FromBroker(Drop("shop/tell/0", 2)))
    bench.step(ev.Tick())
    assert len(bench.state.flow.outgoing) == 0


def test_an_abort_before_the_last_commit_releases_and_goes_on() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    bench.answer_reads()
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    bench.step(ev.FromPeer(CONTROLLER, Abort(P, 1)))
    assert bench.to_broker(Release) == [Release(P, 1)]
    bench.auto = True
    bench.answer_runs()
    assert bench.relayed(Ack) == [(GATEWAY, Ack([1, 2]))]
    assert P in bench.state.flow.partitions


def test_an_abort_after_the_last_commit_began_comes_too_late() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    assert bench.commits
    bench.step(ev.FromPeer(CONTROLLER, Abort(P, 1)))
    assert bench.to_broker(Release) == []
    bench.answer_commits()
    assert bench.to_broker(Handover)


def test_a_lost_broker_gives_up_moves_before_their_last_commit() -> None:
    bench = Bench().ready(P)
    moving(bench)
    bench.step(ev.Down())
    assert bench.state.flow.partitions[P].move is None
    bench.step(ev.Up(b"node1#2"))
    [hello] = bench.to_broker(Hello)
    assert [tuple(c) for c in hello.claims] == [(P, 1)]


def test_a_source_that_cannot_drain_gives_up_by_itself() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    bench.now_ms += 20_000
    bench.step(ev.Tick())
    assert bench.to_broker(Release) == [Release(P, 1)]


def test_a_fenced_commit_loses_the_partition_and_acknowledges_nothing() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    bench.answer_commits("fenced")
    assert bench.relayed(Ack) == []
    assert bench.to_broker(Disown) == [Disown(P, 1)]
    assert P not in bench.state.flow.partitions


@pytest.mark.parametrize("outcome", ["ok", "fenced", "gap"])
def test_a_verdict_on_a_former_ownership_does_not_touch_the_partition_that_came_back(outcome: str) -> None:
    """Failed over to the node that had it: verdict, drop and activation are heard of at once."""
    bench = Bench().ready(P)
    if outcome == "ok":
        moving(bench)
        bench.auto = False
        bench.step(ev.FromBroker(Held(P, 1)))
    else:
        bench.auto = False
        bench.arrive(bench.message(1))
        bench.answer_reads()
        bench.answer_runs()
    [commit] = bench.commits
    verdict = Verdict(P, outcome)
    events = (ev.Committed(commit.tag, [verdict]), ev.FromBroker(Drop(P, 2)), ev.FromBroker(Activate(P, 2)))
    effects = [effect for event in events for effect in bench.state.handle(event, bench.now_ms)]
    effects += bench.state.flush(bench.now_ms)
    assert bench.state.flow.partitions[P].epoch == 2
    assert [e.message for e in effects if isinstance(e, ToBroker)] == []
    effects = bench.state.step(ev.PartitionsLoaded([PartitionState(P, "node1", 2, 0, [])]), bench.now_ms)
    assert [e.message for e in effects if isinstance(e, ToBroker)] == [Activated(P, 2)]


def test_a_store_that_lost_commits_makes_the_worker_load_the_partition_anew() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    bench.auto = True
    bench.answer_commits("gap")
    assert bench.relayed(Ack) == [(GATEWAY, Ack([1]))]
    assert bench.seen == {b"m1"}


def test_commits_of_before_a_partition_was_loaded_anew_fit_no_more() -> None:
    bench = Bench().ready(P)
    for number in (1, 2, 3):
        bench.arrive(bench.message(number))
    bench.auto = False
    bench.arrive(bench.message(4))
    bench.answer_runs()
    old = bench.commits[-1].commits[0]  # this one may be on its way yet
    bench.answer_commits("gap")
    bench.answer_reads()
    bench.answer_runs()
    new = bench.commits[-1].commits[0]
    assert new.sequence == 0
    assert new.becomes > max(old.sequence, old.becomes)


def test_a_store_that_lost_commits_ends_a_move_and_what_was_held_for_it_comes_back() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    bench.auto = True
    bench.answer_commits("gap")
    [(_, ended)] = bench.relayed(MoveEnded)
    assert "lost" in ended.error
    assert bench.to_broker(Release) == [Release(P, 1)]


def test_a_move_of_what_is_not_owned_is_refused_with_a_reason() -> None:
    bench = Bench().ready(P)
    bench.step(ev.FromPeer(CONTROLLER, Move(P, 9, "node3")))
    [(_, ended)] = bench.relayed(MoveEnded)
    assert "epoch 9" in ended.error


def test_drop_is_obeyed_only_for_a_newer_epoch() -> None:
    bench = Bench().ready(P)
    bench.step(ev.FromBroker(Drop(P, 1)))
    assert P in bench.state.flow.partitions
    bench.step(ev.FromBroker(Drop(P, 2)))
    assert P not in bench.state.flow.partitions


def test_a_fenced_worker_forgets_everything_and_starts_afresh() -> None:
    bench = Bench().ready(P)
    bench.step(ev.FromBroker(Fenced()))
    assert not bench.state.flow.partitions
    assert any(isinstance(e, ev.Reconnect) for e in bench.effects)


def test_a_leaving_worker_stops_when_it_is_empty() -> None:
    bench = Bench().ready(P)
    bench.step(ev.StopAsked(False))
    assert not any(isinstance(e, ev.Exit) for e in bench.effects)
    assert bench.state.window() > 0, "until it is moved, nobody else could take what is for it"
    moving(bench)
    bench.step(ev.FromBroker(Held(P, 1)))
    bench.step(ev.Tick())
    assert any(isinstance(e, ev.Exit) for e in bench.effects)


def test_a_leaving_worker_stops_with_what_did_not_go_when_its_time_is_over() -> None:
    bench = Bench().ready(P)
    config, began_ms = bench.state.config, bench.now_ms
    bench.step(ev.StopAsked(False))
    while bench.now_ms < began_ms + config.stop_grace_ms:
        assert not any(isinstance(e, ev.Exit) for e in bench.effects)
        moving(bench)  # it is asked for the move again and again, and the broker does not hold what is for it
        bench.now_ms += 500
        bench.step(ev.Tick())
    bench.now_ms = began_ms + config.stop_grace_ms + 1
    bench.step(ev.Tick())
    assert any(isinstance(e, ev.Exit) for e in bench.effects)
    assert leaving(bench)[-1] == "stops with 1 partition left here: no node took them"


def test_a_leaving_worker_that_is_asked_for_no_move_does_not_wait() -> None:
    bench = Bench().ready(P)
    bench.step(ev.StopAsked(False))
    bench.now_ms += LEAVE_SILENCE_MS
    bench.step(ev.Tick())
    assert not any(isinstance(e, ev.Exit) for e in bench.effects)
    bench.now_ms += 1
    bench.step(ev.Tick())
    assert any(isinstance(e, ev.Exit) for e in bench.effects)
    assert leaving(bench)[-1] == "stops with 1 partition left here: no node took them"


def leaving(bench: Bench) -> list[str]:
    return [effect.text for effect in bench.effects if isinstance(effect, Log) and effect.event == "leaving"]


def told(effects: list[object]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Log) and effect.event == "damaged"]


def test_a_partition_that_is_damaged_in_the_store_is_set_aside_and_looked_at_again() -> None:
    bench = Bench().ready()
    bench.state.step(ev.FromBroker(Activate(P, 1)), bench.now_ms)
    bad = PartitionState(P, "", 0, 0, [], "lq:{p}:meta is of the wrong type")
    [text] = told(bench.state.step(ev.PartitionsLoaded([bad]), bench.now_ms))
    assert "lq:{p}:meta" in text
    assert "delete it" in text
    bench.arrive(bench.message(1))
    assert bench.relayed(Ack) == []
    bench.now_ms += DAMAGED_LOOK_MS
    effects = bench.state.step(ev.Tick(), bench.now_ms)
    assert [e.partitions for e in effects if isinstance(e, ev.LoadPartitions)] == [[P]]
    assert not told(bench.state.step(ev.PartitionsLoaded([bad]), bench.now_ms)), "once"
    bench.now_ms += DAMAGED_LOOK_MS
    bench.state.step(ev.Tick(), bench.now_ms)
    bench.step(ev.PartitionsLoaded([PartitionState(P, "node1", 1, 0, [])]))
    assert bench.relayed(Ack) == [(GATEWAY, Ack([1]))]


def test_a_commit_that_meets_what_is_damaged_sets_its_partition_aside() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    [batch] = bench.commits
    effects = bench.state.step(
        ev.Committed(batch.tag, [Verdict(P, "damaged", (), "lq:{p}:seen:1 is of the wrong type")]), bench.now_ms
    )
    assert "lq:{p}:seen:1" in told(effects)[0]
    assert not [e for e in effects if isinstance(e, ev.LoadPartitions)], "not at once and without end"
    assert bench.state.flow.partitions[P].life is Life.LOADING
    bench.now_ms += DAMAGED_LOOK_MS
    effects = bench.state.step(ev.Tick(), bench.now_ms)
    assert [e.partitions for e in effects if isinstance(e, ev.LoadPartitions)] == [[P]]


def test_messages_of_a_context_that_cannot_be_read_are_dead_letters_and_others_go_on() -> None:
    bench = Bench().ready(P)
    bench.auto = False
    bench.arrive(bench.message(1, "alice"), bench.message(2, "bob"))
    [read] = bench.reads
    answer = ContextAnswer(P, {"alice": {}, "bob": {}}, frozenset(), (("alice", "lq:{p}:ctx:alice is damaged"),))
    assert "lq:{p}:ctx:alice" in told(bench.step(ev.ContextsRead(read.read, [answer])))[0]
    [batch] = bench.commits
    assert [(len(commit.dead), commit.contexts) for commit in batch.commits] == [(1, [])]
    bench.answer_commits()
    assert [item.key for _, items in bench.runs for item in items] == ["bob"]

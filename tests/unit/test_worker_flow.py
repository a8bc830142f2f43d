"""The way of messages through a worker: contexts, commits, acknowledgement, order, repeats, failures."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from worker_bench import CONTROLLER, GATEWAY, Bench, graph

from liquefy import values
from liquefy.commits import DEDUPE_RETENTION_MS, ContextAnswer
from liquefy.config import WorkerConfig
from liquefy.hosting import Done, Emitted, Forget, Item, Loaded, Ran
from liquefy.letters import decode_letter
from liquefy.messages import Ack, Beat, Graphs, Prepare, Prepared, Replay, child_id, encode
from worker import events as ev
from worker.fleet import HANG_GRACE_MS


def acked(bench: Bench) -> list[int]:
    return [seq for to, ack in bench.relayed(Ack) if to == GATEWAY for seq in ack.seqs]


def test_a_stateful_message_is_acknowledged_only_after_its_commit() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    assert len(bench.commits) == 1
    assert acked(bench) == []
    assert bench.sent() == []
    bench.answer_commits()
    assert acked(bench) == [1]
    [(destination, posted)] = bench.sent()
    assert destination == "shop/tell/0"
    assert posted.message.id == child_id(b"m1", 0)
    assert posted.message.key == "alice"


def test_a_stateless_message_is_acknowledged_when_all_it_emitted_is() -> None:
    bench = Bench().ready("shop/tell/0")
    bench.arrive(bench.message(1, fluxion="tell"))
    assert acked(bench) == []
    assert not bench.commits
    [(destination, posted)] = bench.sent()
    assert destination == "shop/call/0"
    bench.step(ev.FromPeer(b"node2#1", Ack([posted.seq])))
    assert acked(bench) == [1]


def test_a_chain_on_one_node_stays_there_and_answers() -> None:
    bench = Bench().ready("shop/store/0", "shop/tell/0", "shop/call/0")
    bench.arrive(bench.message(1))
    [(destination, posted)] = bench.sent()
    assert destination == "@gateway1"
    assert posted.message.root == b"r1"
    bench.step(ev.FromPeer(GATEWAY, Ack([posted.seq])))
    assert acked(bench) == [1]
    assert not any(p.working for p in bench.state.flow.partitions.values())


def test_the_host_gets_a_context_once_and_keeps_it() -> None:
    bench = Bench().ready("shop/store/0")
    bench.stored["shop/store/0", "alice"] = {"n": values.pack(7)}
    seen: list[Any] = []

    def store(item: Item, ticket: int) -> Done:
        seen.append(item.fields)
        return Done(ticket, [], {"n": values.pack(8)}, ())

    bench.handlers["store"] = store
    bench.arrive(bench.message(1))
    bench.arrive(bench.message(2), seq=2)
    assert seen == [{"n": values.pack(7)}, None]


def test_one_commit_at_a_time_and_the_next_takes_all_that_waited() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    for number in (2, 3, 4):
        bench.arrive(bench.message(number), seq=number)
        bench.answer_runs()
    assert len(bench.commits) == 1
    bench.answer_commits()
    assert len(bench.commits) == 1
    bench.answer_commits()
    assert acked(bench) == [1, 2, 3, 4]


def test_messages_of_a_key_run_in_order_while_its_context_is_read() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2), bench.message(3, key="bob"))
    bench.arrive(bench.message(4), seq=4)
    bench.answer_reads()
    ids = [item.id for _, items in bench.runs for item in items]
    assert [i for i in ids if i != b"m3"] == [b"m1", b"m2", b"m4"]
    assert b"m3" in ids


def test_a_coroutine_keeps_its_key_to_itself() -> None:
    bench = Bench().ready("shop/call/0")
    bench.auto = False
    bench.arrive(*(bench.message(n, fluxion="call", key=key) for n, key in ((1, "a"), (2, "a"), (3, "b"))))
    [(host, items)] = bench.runs
    assert [item.id for item in items] == [b"m1", b"m3"]
    bench.runs.clear()
    bench.step(ev.HostSaid(host, Ran([Done(items[0].ticket, [], {}, ())])))
    [(_, items)] = bench.runs
    assert [item.id for item in items] == [b"m2"]


def awaiting_store() -> Bench:
    """`store` is a coroutine function; it counts in its context."""
    bench = Bench()
    bench.awaiting = ["store"]
    return bench.ready("shop/store/0")


def test_a_coroutine_keeps_its_context_until_it_has_returned() -> None:
    bench = awaiting_store()
    bench.stored["shop/store/0", "a"] = {"n": values.pack(7)}
    bench.auto = False
    bench.arrive(*(bench.message(n, key=key) for n, key in ((1, "a"), (2, "a"), (3, "b"))))
    bench.answer_reads()
    [(host, items)] = bench.runs
    assert [(item.id, item.fields) for item in items] == [(b"m1", {"n": values.pack(7)}), (b"m3", {})]
    bench.runs.clear()
    assert not bench.commits
    bench.step(ev.HostSaid(host, Ran([Done(items[0].ticket, [], {"n": values.pack(8)}, ())])))
    [commit] = bench.commits
    assert [(c.key, c.sets) for c in commit.commits[0].contexts] == [("a", {"n": values.pack(8)})]
    [(_, items)] = bench.runs  # before the commit: the host has the context as it was left
    assert [(item.id, item.fields) for item in items] == [(b"m2", None)]
    assert acked(bench) == []
    bench.answer_commits()
    assert acked(bench) == [1]


def test_a_coroutine_whose_commit_is_void_is_run_again_from_the_context_as_stored() -> None:
    bench = awaiting_store()
    bench.auto = False
    bench.arrive(bench.message(1, key="a"), bench.message(2, key="b"))
    bench.answer_reads()
    [(host, [first, second])] = bench.runs
    bench.runs.clear()
    bench.step(ev.HostSaid(host, Ran([Done(first.ticket, [], {"n": values.pack(1)}, ())])))
    bench.answer_commits("seen", (b"m1",))
    bench.step(ev.HostSaid(host, Ran([Done(second.ticket, [], {"n": values.pack(1)}, ())])))  # of before
    assert not bench.commits
    bench.answer_reads()
    [(_, [again])] = bench.runs
    assert (again.id, again.fields) == (b"m2", {})


def test_an_oversized_coroutine_frees_its_key() -> None:
    bench = awaiting_store()
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    bench.answer_reads()
    [(host, [item])] = bench.runs
    bench.runs.clear()
    body = b"x" * (bench.state.config.body_bytes_max + 1)
    bench.step(ev.HostSaid(host, Ran([Done(item.ticket, [Emitted("tell", "", body)], {}, ())])))
    bench.answer_reads()
    [(_, [item])] = bench.runs
    assert (item.id, item.fields) == (b"m2", {})
    assert bench.commits[0].commits[0].dead


def test_a_repeat_of_what_is_under_way_is_not_run_again_but_answered_to_both_sessions() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.arrive(bench.message(1), resend=True, sender=b"gateway1#2", seq=77)
    assert len(bench.runs) == 1
    bench.answer_runs()
    bench.answer_commits()
    assert bench.relayed(Ack) == [(b"gateway1#2", Ack([77])), (GATEWAY, Ack([1]))]


def test_what_was_sent_again_as_its_acknowledgement_was_on_its_way_is_not_handled_again() -> None:
    bench = Bench().ready("shop/tell/0", "shop/call/0")
    bench.arrive(bench.message(1, fluxion="call"))
    [(_, posted)] = bench.sent()
    bench.step(ev.FromPeer(GATEWAY, Ack([posted.seq])))
    ran: list[bytes] = []
    bench.handlers["call"] = lambda item, ticket: ran.append(item.id) or Done(ticket, [], {}, ())
    bench.arrive(bench.message(1, fluxion="call"), resend=True, seq=7)
    assert ran == []
    assert acked(bench) == [1, 7]
    bench.arrive(bench.message(2, fluxion="call"), resend=True, seq=8)
    assert ran == [b"m2"]


def test_a_repeat_of_what_was_committed_is_acknowledged_unrun() -> None:
    bench = Bench().ready("shop/store/0")
    bench.arrive(bench.message(1))
    assert acked(bench) == [1]
    bench.effects.clear()
    ran: list[bytes] = []
    bench.handlers["store"] = lambda item, ticket: ran.append(item.id) or Done(ticket, [], {}, ())
    bench.arrive(bench.message(1), resend=True, seq=9)
    assert acked(bench) == [9]
    assert ran == []


def test_a_commit_refused_for_duplicates_is_made_again_without_them() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    bench.answer_reads()
    bench.answer_runs()
    bench.answer_commits("seen", (b"m1",))
    assert acked(bench) == [1]
    assert any(isinstance(e, ev.TellHost) and isinstance(e.message, Forget) for e in bench.effects)
    bench.auto = True
    bench.answer_reads()
    assert acked(bench) == [1, 2]
    assert bench.seen == {b"m2"}


def test_after_a_refusal_for_duplicates_all_that_waits_is_looked_up_at_once() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(*(bench.message(n) for n in range(1, 6)))
    bench.answer_reads()
    bench.answer_runs()
    bench.seen = {b"m1", b"m2", b"m4"}
    bench.answer_commits("seen", (b"m1",))
    [read] = bench.reads
    assert {i for query in read.queries for _, i in query.ids} == {b"m2", b"m3", b"m4", b"m5"}
    bench.runs.clear()
    bench.answer_reads()
    assert acked(bench) == [1, 2, 4]
    assert [item.id for _, items in bench.runs for item in items] == [b"m3", b"m5"]


def test_what_a_user_raised_twice_becomes_a_dead_letter_and_an_answer() -> None:
    bench = Bench().ready("shop/store/0")
    bench.handlers["store"] = lambda item, ticket: Done(ticket, [], {}, (), "ValueError: no", "Traceback ...")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    [(letter_id, packed)] = bench.commits[0].commits[0].dead
    letter = decode_letter(packed)
    assert (letter_id, letter.error, letter.fluxion) == (b"m1", "ValueError: no", "store")
    assert bench.commits[0].commits[0].contexts == []
    bench.answer_commits()
    [(destination, posted)] = bench.sent()
    assert destination == "@gateway1"
    assert posted.message.status == 500
    assert values.unpack(posted.message.body)["dead_letter"] == b"m1".hex()


def test_a_replayed_letter_leaves_with_the_commit_of_its_handling() -> None:
    bench = Bench().ready("shop/store/0")
    bench.handlers["store"] = lambda item, ticket: Done(ticket, [], {}, (), "ValueError: no")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    [(_, packed)] = bench.commits[0].commits[0].dead
    bench.answer_commits()
    del bench.handlers["store"]
    bench.step(ev.FromPeer(b"controller#1", Replay("shop/store/0", packed)))
    bench.answer_runs()
    [commit] = bench.commits[0].commits
    assert commit.replayed == [b"m1"]
    assert commit.dead == []


def test_a_message_too_old_to_be_told_from_its_repeat_is_not_run() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    old = bench.message(1)
    bench.now_ms += DEDUPE_RETENTION_MS + 1
    bench.arrive(old)
    assert not bench.runs
    [(_, packed)] = bench.commits[0].commits[0].dead
    assert decode_letter(packed).error.startswith("expired")


def test_a_message_that_is_born_long_after_now_is_not_run() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.now_ms += DEDUPE_RETENTION_MS
    soon = bench.message(1)
    bench.now_ms += 1
    late = bench.message(2)
    bench.now_ms -= DEDUPE_RETENTION_MS + 1
    bench.arrive(soon)
    bench.answer_reads()
    bench.answer_runs()
    assert [(len(c.seen), c.dead) for c in bench.commits[0].commits] == [(1, [])]
    bench.answer_commits()
    bench.arrive(late, seq=2)
    assert not bench.runs
    [(_, packed)] = bench.commits[0].commits[0].dead
    assert decode_letter(packed).error.startswith("it is born 300 s from now")


@pytest.mark.parametrize(
    ("done", "limit"),
    [
        (Done(0, [Emitted("tell", "", b"")] * 3, {}, ()), "emits_max"),
        (Done(0, [Emitted("tell", "", b"x" * 200)], {}, ()), "body_bytes_max"),
        (Done(0, [Emitted("tell", "", b"", headers=(("name", "x" * 97),))], {}, ()), "body_bytes_max"),
        (Done(0, [], {"n": b"x"}, (), context_bytes=200), "context_bytes_max"),
        (Done(0, [], {"n": b"x" * 50, "m": b"x" * 49}, (), context_bytes=1), "context_bytes_max"),
        (Done(0, [], {"n" * 51: b"x" * 50}, (), context_bytes=1), "context_bytes_max"),
    ],
)
def test_what_exceeds_a_limit_is_a_dead_letter_that_names_it(done: Done, limit: str) -> None:
    config = WorkerConfig(name="node1", emits_max=2, body_bytes_max=100, context_bytes_max=100)
    bench = Bench(config).ready("shop/store/0")
    bench.handlers["store"] = lambda item, ticket: type(done)(
        ticket, done.emitted, done.sets, done.removes, context_bytes=done.context_bytes
    )
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    [commit] = bench.commits[0].commits
    assert limit in decode_letter(commit.dead[0][1]).error
    assert commit.contexts == []


def test_a_dead_host_costs_a_restart_and_nothing_else() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1), bench.message(2))
    bench.answer_reads()
    [(host, items)] = bench.runs
    assert len(items) == 2
    bench.runs.clear()
    bench.now_ms += 1_000
    bench.step(ev.HostDied(host, "signal 9"))
    bench.step(ev.Tick())
    bench.answer_reads()
    [(_, items)] = bench.runs
    assert [item.id for item in items] == [b"m1", b"m2"]
    assert items[0].fields == {}
    bench.auto = True
    bench.answer_runs()
    assert acked(bench) == [1, 2]


def test_a_message_that_ends_hosts_is_singled_out() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(*(bench.message(n) for n in (1, 2, 3)))
    deaths = 0
    for _ in range(40):
        bench.now_ms += 6_000
        bench.answer_reads()
        while bench.runs:
            host, items = bench.runs.pop(0)
            if any(item.id == b"m2" for item in items):
                deaths += 1
                bench.runs.clear()
                bench.step(ev.HostDied(host, "signal 11"))
                break
            bench.step(ev.HostSaid(host, Ran([bench.handle(item) for item in items])))
        bench.answer_commits()
        bench.step(ev.Tick())
    assert acked(bench) == [1, 2, 3]
    assert deaths == 3
    assert bench.seen == {b"m1", b"m2", b"m3"}
    assert any(posted.message.status == 500 for _, posted in bench.sent())


def killed(bench: Bench) -> bool:
    return any(isinstance(e, ev.KillHost) for e in bench.effects)


def test_a_host_that_had_nothing_to_do_for_long_does_not_hang() -> None:
    bench = Bench().ready("shop/tell/0")
    for number in (1, 2):
        bench.now_ms += 60_000
        bench.auto = False
        bench.arrive(bench.message(number, fluxion="tell"), seq=number)
        bench.now_ms += 100
        bench.step(ev.Tick())
        assert not killed(bench)
        bench.answer_runs()


def test_a_host_has_time_for_a_call_and_its_second_try_and_no_more() -> None:
    bench = Bench().ready("shop/tell/0")
    bench.auto = False
    bench.arrive(bench.message(1, fluxion="tell"))
    longest_ms = max(f.timeout_ms for f in bench.graph.fluxions)
    bench.now_ms += 2 * longest_ms + HANG_GRACE_MS
    bench.step(ev.Tick())
    assert not killed(bench)
    bench.now_ms += 1
    bench.step(ev.Tick())
    assert killed(bench)


def test_delayed_messages_wait_in_the_outbox() -> None:
    bench = Bench().ready("shop/store/0")
    bench.handlers["store"] = lambda item, ticket: Done(ticket, [Emitted("tell", "", b"\xc0", 5_000)], {}, ())
    bench.arrive(bench.message(1))
    due_ms = bench.now_ms + 5_000
    assert acked(bench) == [1]
    assert bench.sent() == []
    bench.now_ms = due_ms
    bench.step(ev.Tick())
    [(destination, posted)] = bench.sent()
    assert destination == "shop/tell/0"
    assert posted.message.born_ms == posted.message.due_ms == due_ms


def test_a_stateless_fluxion_that_delays_commits_the_delay() -> None:
    bench = Bench().ready("shop/tell/0")
    bench.handlers["tell"] = lambda item, ticket: Done(ticket, [Emitted("call", "", b"\xc0", 5_000)], {}, ())
    bench.auto = False
    bench.arrive(bench.message(1, fluxion="tell"))
    bench.answer_runs()
    assert [len(c.outbox) for c in bench.commits[0].commits] == [1]


def test_acknowledged_outbox_entries_leave_with_the_next_commit() -> None:
    bench = Bench().ready("shop/store/0")
    bench.arrive(bench.message(1))
    [(_, posted)] = bench.sent()
    bench.step(ev.FromPeer(b"node2#1", Ack([posted.seq])))
    bench.auto = False
    bench.arrive(bench.message(2), seq=2)
    bench.answer_runs()
    assert bench.commits[0].commits[0].acknowledged == [1]


def test_acknowledged_outbox_entries_leave_by_themselves_when_nothing_else_is_committed() -> None:
    bench = Bench().ready("shop/store/0")
    bench.arrive(bench.message(1))
    [(_, posted)] = bench.sent()
    bench.step(ev.FromPeer(b"node2#1", Ack([posted.seq])))
    bench.auto = False
    bench.now_ms += 600
    bench.step(ev.Tick())
    assert bench.commits[0].commits[0].acknowledged == [1]


def test_a_store_that_stalls_closes_the_window() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.answer_runs()
    bench.now_ms += 600
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 0
    bench.answer_commits()
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 2_048


def test_too_many_bytes_that_wait_close_the_window() -> None:
    bench = Bench(WorkerConfig(name="node1", queued_bytes_max=10)).ready("shop/store/0")
    bench.auto = False
    bench.arrive(msgspec.structs.replace(bench.message(1), body=values.pack("x" * 20)))
    bench.now_ms += 200
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 0
    bench.answer_reads()
    bench.answer_runs()
    bench.answer_commits()
    bench.now_ms += 200
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 2_048


def test_bytes_that_wait_are_seen_within_a_beat_interval_though_the_window_has_changed_since_the_last_beat() -> None:
    bench = Bench(WorkerConfig(name="node1", queued_bytes_max=10, beat_interval_ms=100, stall_ms=20))
    bench.ready("shop/store/0")
    bench.auto = False
    bench.now_ms += 200
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 2_048
    bench.arrive(msgspec.structs.replace(bench.message(1), body=values.pack("x" * 20)))
    bench.now_ms += 60
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 0  # the store has not answered
    bench.answer_reads()
    bench.now_ms += 60
    bench.step(ev.Tick())
    assert bench.to_broker(Beat)[-1].window == 0


def test_a_new_version_takes_over_when_nothing_of_the_partition_runs() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    [(old, _)] = bench.runs
    bench.graph = graph(version=2, bundle="c" * 64)
    bench.step(ev.FromPeer(b"controller#1", Graphs([bench.graph])))
    bench.arrive(bench.message(2), seq=2)
    assert len(bench.runs) == 1
    bench.auto = True
    bench.handlers["store"] = lambda item, ticket: Done(ticket, [], {"n": values.pack(item.fields)}, ())
    bench.answer_runs()
    assert acked(bench) == [1, 2]
    hosts = {e.host for e in bench.effects if isinstance(e, ev.TellHost)}
    assert len(hosts) == 2
    assert old in hosts
    assert values.unpack(bench.stored["shop/store/0", "alice"]["n"]) is not None


def test_a_host_of_the_code_before_the_last_has_no_contexts_when_it_starts_again() -> None:
    bench = Bench().ready("shop/store/0")
    bench.handlers["store"] = lambda item, ticket: Done(ticket, [], {"n": values.pack(1)}, ())
    bench.arrive(bench.message(1))
    asked = bench.handlers["store"] = Mock(side_effect=bench.handlers["store"])
    bench.arrive(bench.message(2), seq=2)
    assert asked.call_args.args[0].fields is None  # its host has it
    for version, bundle in ((2, "c" * 64), (3, "b" * 64)):
        bench.graph = graph(version, bundle)
        bench.step(ev.FromPeer(CONTROLLER, Graphs([bench.graph])))
    bench.arrive(bench.message(3), seq=3)
    assert asked.call_args.args[0].fields == {"n": values.pack(1)}


def test_contexts_beyond_the_limit_are_let_go() -> None:
    bench = Bench(WorkerConfig(name="node1", cache_bytes_max=1_000)).ready("shop/store/0")
    for number in range(10):
        bench.arrive(bench.message(number, key=f"user{number}"), seq=number)
    forgotten = [e.message for e in bench.effects if isinstance(e, ev.TellHost) and isinstance(e.message, Forget)]
    assert [f.keys for f in forgotten][:2] == [["user0"], ["user1"]]
    assert len(bench.state.flow.partitions["shop/store/0"].contexts) <= 5


def test_a_context_that_is_being_read_again_is_not_let_go_of() -> None:
    """What is read was so before a commit that has come about since: taken for the context, it would undo that."""
    bench = Bench(WorkerConfig(name="node1", cache_bytes_max=0)).ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    bench.arrive(bench.message(2), resend=True, seq=2)
    [read] = bench.reads
    before = [ContextAnswer(query.partition, {"alice": {}}, frozenset()) for query in read.queries]
    bench.answer_runs()
    bench.answer_commits()
    bench.step(ev.Tick())
    bench.step(ev.ContextsRead(read.read, before))
    [(_, [item])] = bench.runs[-1:]
    assert item.id == b"m2"
    assert item.fields is None, "the host has them as they are"


def test_an_activated_partition_sends_its_outbox_again() -> None:
    bench = Bench()
    waiting = bench.message(5, fluxion="tell")
    bench.outboxes["shop/store/0"] = [(4, encode(waiting))]
    bench.step(ev.Up(b"node1#1"))
    bench.ready("shop/store/0")
    bench.step(ev.Tick())
    bench.effects.clear()
    partition = bench.state.flow.partitions["shop/store/0"]
    assert list(partition.sent) == [4]
    assert partition.next_out == 5


def test_a_version_whose_code_never_ends_loading_is_refused_as_that() -> None:
    bench = Bench().ready("shop/store/0")
    bench.auto = False
    bench.loads = False
    bench.step(ev.FromPeer(CONTROLLER, Prepare(graph(version=2, bundle="c" * 64))))
    for _ in range(10):
        bench.now_ms += 20_001
        for effect in bench.step(ev.Tick()):
            if isinstance(effect, ev.KillHost):
                bench.step(ev.HostDied(effect.host, "signal 9"))
    (prepared,) = [message for to, message in bench.relayed(Prepared) if to == CONTROLLER]
    assert prepared.error == "the host did not load the code within 20000 ms (host_start_ms)"


def test_who_is_asked_for_the_version_in_force_does_not_forget_the_next() -> None:
    """Not even if the one comes by another broker than the other, and so later than it was said."""
    bench = Bench().ready("shop/store/0")
    bench.loads = False
    for asked, by in ((graph(version=2, bundle="c" * 64), CONTROLLER), (bench.graph, b"controller#2")):
        bench.step(ev.FromPeer(by, Prepare(asked)))
    [host] = [e.host for e in bench.effects if isinstance(e, ev.LoadGraph)]
    bench.step(ev.HostSaid(host, Loaded("shop", 2, ["call"])))
    said = [(to, p.version, p.error) for to, p in bench.relayed(Prepared)]
    assert (b"controller#2", 1, "") in said
    assert (CONTROLLER, 2, "") in said


def test_hosts_are_started_for_the_language_and_with_the_variables_of_their_graph() -> None:
    plain = graph()
    fluxions = tuple(msgspec.structs.replace(f, language="javascript") for f in plain.fluxions)
    bench = Bench(spec=msgspec.structs.replace(plain, fluxions=fluxions, env=("TOLD",)))
    bench.step(ev.Up(b"node1#1"))
    bench.step(ev.FromPeer(CONTROLLER, Graphs([bench.graph])))
    [start] = [e for e in bench.effects if isinstance(e, ev.StartHost)]
    assert (start.language, start.env) == ("javascript", ("TOLD",))


def test_where_something_is_pinned_hosts_run_in_a_folder_of_the_graphs_own_which_a_purge_deletes() -> None:
    plain = graph()
    groups = (msgspec.structs.replace(plain.groups[0], pinned="files"), *plain.groups[1:])
    for spec, home in ((plain, ""), (msgspec.structs.replace(plain, groups=groups), plain.name)):
        bench = Bench(spec=spec)
        bench.step(ev.Up(b"node1#1"))
        bench.step(ev.FromPeer(CONTROLLER, Graphs([bench.graph])))
        [start] = [e for e in bench.effects if isinstance(e, ev.StartHost)]
        assert start.home == home
        effects = bench.step(ev.FromPeer(CONTROLLER, Graphs([], ("shop",))))
        assert [e for e in effects if isinstance(e, ev.ForgetFiles)] == [ev.ForgetFiles(("shop",))]


def test_a_host_for_javascript_that_shows_no_life_has_time_for_one_call() -> None:
    plain = graph()
    fluxions = tuple(msgspec.structs.replace(f, language="javascript") for f in plain.fluxions)
    bench = Bench(spec=msgspec.structs.replace(plain, fluxions=fluxions)).ready("shop/store/0")
    bench.auto = False
    bench.arrive(bench.message(1))
    bench.answer_reads()
    [(host, _)] = bench.runs
    for _ in range(3):
        bench.now_ms += fluxions[0].timeout_ms + HANG_GRACE_MS
        bench.step(ev.Tick())
        assert not killed(bench)
        bench.step(ev.HostSaid(host, Ran([])))
    bench.now_ms += fluxions[0].timeout_ms + HANG_GRACE_MS + 1
    bench.step(ev.Tick())
    assert killed(bench)


def test_a_loop_ends_in_the_dead_letters() -> None:
    around = graph()
    fluxions = tuple(
        msgspec.structs.replace(f, streams=("tell",)) if f.name == "call" else f for f in around.fluxions
    )
    bench = Bench(WorkerConfig(name="node1", hops_max=20), msgspec.structs.replace(around, fluxions=fluxions))
    bench.ready("shop/store/0", "shop/tell/0", "shop/call/0")
    bench.auto = False
    bench.arrive(bench.message(1, fluxion="tell"))
    dead: list[bytes] = []
    for _ in range(60):
        bench.answer_runs()
        dead += [letter for effect in bench.commits for commit in effect.commits for _, letter in commit.dead]
        bench.answer_commits()
    (letter,) = map(decode_letter, dead)
    assert "hops_max 20" in letter.error
    assert letter.message.hops == 21

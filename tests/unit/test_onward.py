"""What may go on in the host at once, and what becomes of it: never past another of its key, nor where it is not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from worker_bench import CONTROLLER, GATEWAY, Bench
from worker_bench import graph as worker_graph

from liquefy.config import WorkerConfig
from liquefy.graph import Fluxion, Graph, Group, Input
from liquefy.hosting import Done, Emitted, Item, Ran, Step
from liquefy.messages import Ack, Activate, Held, Move, Report, child_id, decode_message
from worker import events as ev
from worker.onward import streams_from

ALL = ("shop/call/0", "shop/tell/0", "shop/show/0", "shop/send/0")


def chain(version: int = 1, **streams: tuple[str, ...]) -> Graph:
    """call (awaits) >> tell >> show >> send >> output, all without context."""
    names = {"call": ("tell",), "tell": ("show",), "show": ("send",), "send": ("output",), **streams}
    fluxions = tuple(Fluxion(n, f"app:{n}", n, bundle="b" * 64, streams=to) for n, to in names.items())
    groups = tuple(Group(n, False, 1) for n in names)
    return Graph("shop", version, "b" * 64, (Input("input", "GET", "/{id}", "tell"),), fluxions, groups)


def bench_of(*partitions: str, config: WorkerConfig | None = None) -> Bench:
    bench = Bench(config, chain()).ready(*(partitions or ALL))
    bench.auto = False
    return bench


def asked(bench: Bench) -> list[Item]:
    items = [item for _, items in bench.runs for item in items]
    bench.runs.clear()
    return items


def said(bench: Bench, *results: Done) -> None:
    bench.step(ev.HostSaid(next(iter(bench.state.fleet.hosts)), Ran(list(results))))


def to(fluxion: str, delay_ms: int = 0) -> list[Emitted]:
    return [Emitted(fluxion, "", b"\xc0", delay_ms)]


def test_a_message_may_go_on_as_far_as_its_partitions_are_here() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    assert item.onward == {"tell": ("show",), "show": ("send",)}
    bench = bench_of("shop/tell/0", "shop/show/0")
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    assert item.onward == {"tell": ("show",)}


def test_what_comes_of_it_leaves_under_the_ids_it_has_in_any_case() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    steps = [Step(0, to("send"), 20, 20, [Step(0, to("output"), 30, 30)])]
    said(bench, Done(item.ticket, to("show"), {}, (), cpu_us=10, elapsed_us=10, onward=steps))
    [(destination, posted)] = bench.sent()
    assert destination == "@gateway1"
    assert posted.message.id == child_id(child_id(child_id(b"m1", 0), 0), 0)
    assert (posted.message.hops, posted.message.root, posted.message.born_ms) == (3, b"r1", bench.now_ms)
    bench.step(ev.FromPeer(GATEWAY, Ack([posted.seq])))
    assert [ack.seqs for _, ack in bench.relayed(Ack)] == [[1]]
    bench.now_ms += 60_000
    bench.step(ev.Tick())
    [(_, report)] = bench.relayed(Report)
    assert {load.partition: load.messages for load in report.loads} == dict.fromkeys(ALL[1:], 1)
    assert {(a, b) for a, b, _ in report.traffic} == {("shop/tell/0", "shop/show/0"), ("shop/show/0", "shop/send/0")}


def test_a_coroutine_goes_on_by_one_step() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="call"))
    [item] = asked(bench)
    assert item.onward == {"call": ("tell",)}


def front_of_coroutine() -> Bench:
    """tell >> call (awaits) >> show >> send >> output"""
    spec = chain(tell=("call",), call=("show",))
    bench = Bench(None, spec).ready(*ALL)
    bench.auto = False
    return bench


def test_a_plain_one_goes_on_to_a_coroutine_and_from_there_by_one_step() -> None:
    bench = front_of_coroutine()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    assert item.onward == {"tell": ("call",), "call": ("show",)}
    steps = [Step(0, to("show"), 20, 20, [Step(0, to("send"), 30, 30)])]
    said(bench, Done(item.ticket, to("call"), {}, (), onward=steps))
    [after] = asked(bench)
    assert (after.fluxion, after.id) == ("send", child_id(child_id(child_id(b"m1", 0), 0), 0))


def test_nothing_of_the_key_passes_a_coroutine_that_was_gone_on_to() -> None:
    bench = front_of_coroutine()
    bench.arrive(bench.message(1, fluxion="tell"))
    [first] = asked(bench)
    bench.arrive(bench.message(2, fluxion="call"), seq=2)
    bench.arrive(bench.message(3, fluxion="tell"), seq=3)
    bench.arrive(bench.message(4, "bob", fluxion="call"), seq=4)
    assert [item.key for item in asked(bench)] == ["bob"], "the key of the first waits, others do not"
    said(bench, Done(first.ticket, to("call"), {}, ()))  # the host made no use of it
    again = asked(bench)
    assert [(i.fluxion, i.id) for i in again] == [("call", b"m2"), ("tell", b"m3")]
    assert "tell" not in again[1].onward, "for two are before it where it would go"
    said(bench, Done(again[0].ticket, [], {}, ()))
    assert [i.id for i in asked(bench)] == [child_id(b"m1", 0)]


def test_a_coroutine_that_was_gone_on_to_is_waited_for_before_its_partition_moves() -> None:
    bench = front_of_coroutine()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    bench.step(ev.FromPeer(CONTROLLER, Move("shop/call/0", 1, "node2")))
    bench.step(ev.FromBroker(Held("shop/call/0", 1)))
    assert not bench.commits
    said(bench, Done(item.ticket, to("call"), {}, (), onward=[Step(0, [], 1, 1)]))
    assert [c.commits[0].partition for c in bench.commits] == ["shop/call/0"]


def test_a_host_that_dies_lets_go_of_the_coroutines_that_were_gone_on_to() -> None:
    bench = front_of_coroutine()
    bench.arrive(bench.message(1, fluxion="tell"))
    asked(bench)
    bench.arrive(bench.message(2, fluxion="call"), seq=2)
    [host] = bench.state.fleet.hosts
    bench.step(ev.HostDied(host, "signal 9"))
    bench.now_ms += 10_000
    bench.step(ev.Tick())
    assert sorted((i.fluxion, i.id) for i in asked(bench)) == [("call", b"m2"), ("tell", b"m1")]


def test_nothing_goes_on_past_others_of_its_key() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="tell"), bench.message(2, fluxion="tell"))
    bench.arrive(bench.message(3, "bob", fluxion="tell"), seq=3)
    one, two, other = asked(bench)
    assert (one.onward, two.onward) == ({}, {})
    assert "tell" in other.onward
    said(bench, *(Done(i.ticket, to("show") if i is one else [], {}, ()) for i in (one, two, other)))
    bench.arrive(bench.message(4, fluxion="tell"), seq=4)
    show, four = asked(bench)
    assert show.fluxion == "show"
    assert four.onward == {"show": ("send",)}, "the child of the first is still to be handled by show"
    said(bench, Done(show.ticket, [], {}, ()), Done(four.ticket, [], {}, ()))
    bench.arrive(bench.message(5, fluxion="tell"), seq=5)
    [five] = asked(bench)
    assert "tell" in five.onward


def speculative(*names: str) -> Graph:
    """store (a context per key) >> tell >> call (awaits) >> output"""
    plain = worker_graph()
    fluxions = tuple(replace(f, speculative=f.name in names) for f in plain.fluxions)
    return replace(plain, fluxions=fluxions)


def bench_that_speculates(*names: str) -> Bench:
    bench = Bench(None, speculative(*names)).ready("shop/store/0", "shop/tell/0", "shop/call/0")
    bench.auto = False
    return bench


def stored(bench: Bench, number: int, key: str = "ann") -> list[Item]:
    """One more message for `store`; what the host is then asked."""
    bench.arrive(bench.message(number, key), seq=number)
    bench.answer_reads()
    return asked(bench)


def test_from_a_context_messages_go_on_to_what_is_speculative_alone() -> None:
    assert [item.onward for item in stored(bench_that_speculates(), 1)] == [{}]
    assert [item.onward for item in stored(bench_that_speculates("call"), 1)] == [{}]
    assert [item.onward for item in stored(bench_that_speculates("tell"), 1)] == [{"store": ("tell",)}]
    both = stored(bench_that_speculates("tell", "call"), 1)
    assert [item.onward for item in both] == [{"store": ("tell",), "tell": ("call",)}]


def test_what_went_on_before_the_commit_leaves_after_it() -> None:
    bench = bench_that_speculates("tell", "call")
    [item] = stored(bench, 1)
    steps = [Step(0, to("call"), 20, 20, [Step(0, to("output"), 30, 30)])]
    said(bench, Done(item.ticket, to("tell"), {"n": b"\x01"}, (), onward=steps))
    assert bench.sent() == [], "nothing leaves before its commit"
    [commit] = bench.commits[0].commits
    [(_, packed)] = commit.outbox
    answer = decode_message(packed)
    assert (answer.fluxion, answer.id) == ("output", child_id(child_id(child_id(b"m1", 0), 0), 0))
    bench.answer_commits()
    assert [destination for destination, _ in bench.sent()] == ["@gateway1"]


def test_nothing_goes_on_before_what_an_uncommitted_one_of_its_key_sent() -> None:
    bench = bench_that_speculates("tell", "call")
    bench.awaiting = []
    [first] = stored(bench, 1)
    [second] = stored(bench, 2, "bob")
    assert first.onward
    assert second.onward
    said(bench, Done(first.ticket, to("tell"), {"n": b"\x01"}, ()))  # the host made no use of it
    [third] = stored(bench, 3)
    assert third.onward == {}, "the first one's message leaves with its commit, and would be overtaken"
    bench.answer_commits()
    assert [item.fluxion for item in asked(bench)] == ["tell"]
    said(bench, Done(third.ticket, to("tell"), {"n": b"\x02"}, ()))
    bench.answer_commits()


def test_a_refused_commit_makes_void_what_went_on() -> None:
    bench = bench_that_speculates("tell", "call")
    [item] = stored(bench, 1)
    steps = [Step(0, to("call"), 20, 20, [Step(0, to("output"), 30, 30)])]
    said(bench, Done(item.ticket, to("tell"), {"n": b"\x01"}, (), onward=steps))
    bench.answer_commits("fenced")
    assert bench.sent() == []


def test_nothing_goes_on_past_what_is_on_its_way_through_the_broker() -> None:
    bench = bench_of("shop/tell/0")
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    said(bench, Done(item.ticket, to("show"), {}, ()))
    bench.epochs["shop/show/0"] = 2
    bench.step(ev.FromBroker(Activate("shop/show/0", 2)))
    bench.arrive(bench.message(2, fluxion="tell"), seq=2)
    [item] = asked(bench)
    assert item.onward == {}
    [(_, posted)] = bench.sent()
    bench.step(ev.FromPeer(b"node2#1", Ack([posted.seq])))
    said(bench, Done(item.ticket, [], {}, ()))
    bench.arrive(bench.message(3, fluxion="tell"), seq=3)
    [item] = asked(bench)
    assert item.onward == {"tell": ("show",)}


@pytest.mark.parametrize("held", [False, True])
def test_nothing_goes_on_to_a_partition_that_is_to_move(held: bool) -> None:
    bench = bench_of()
    bench.step(ev.FromPeer(CONTROLLER, Move("shop/show/0", 1, "node2")))
    if held:
        bench.step(ev.FromBroker(Held("shop/show/0", 1)))
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    assert "tell" not in item.onward


def test_what_has_ended_a_host_goes_step_by_step() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    assert item.onward
    bench.step(ev.HostDied(next(iter(bench.state.fleet.hosts)), "signal 11"))
    bench.now_ms += 1_000
    bench.step(ev.Tick())
    [item] = asked(bench)
    assert (item.id, item.onward) == (b"m1", {})


def test_what_emits_with_a_delay_is_handled_where_its_outbox_is_and_not_tried_again() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    said(bench, Done(item.ticket, to("show"), {}, (), onward=[Step(0, to("send", 500))]))
    assert bench.commits == []
    assert bench.sent() == []
    [item] = asked(bench)
    assert (item.fluxion, item.id) == ("show", child_id(b"m1", 0))
    said(bench, Done(item.ticket, to("send", 500), {}, ()))
    assert [commit.partition for commit in bench.commits[0].commits] == ["shop/show/0"]
    bench.arrive(bench.message(2, "bob", fluxion="tell"), seq=2)
    [item] = asked(bench)
    assert item.onward == {}


def test_what_emits_too_much_is_left_to_its_own_partition() -> None:
    bench = bench_of(config=WorkerConfig(name="node1", emits_max=2))
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    said(bench, Done(item.ticket, to("show"), {}, (), onward=[Step(0, to("send") * 3)]))
    [item] = asked(bench)
    assert (item.fluxion, item.onward) == ("show", {"show": ("send",)})


def test_steps_that_cannot_be_are_passed_over() -> None:
    bench = bench_of()
    bench.arrive(bench.message(1, fluxion="tell"))
    [item] = asked(bench)
    said(bench, Done(item.ticket, to("output"), {}, (), onward=[Step(0, to("output")), Step(7, [])]))
    [(destination, posted)] = bench.sent()
    assert (destination, posted.message.id) == ("@gateway1", child_id(b"m1", 0))


def test_hops_are_counted_all_the_same() -> None:
    bench = bench_of(config=WorkerConfig(name="node1", hops_max=5))
    bench.arrive(bench.message(1, fluxion="tell", hops=4))
    [item] = asked(bench)
    assert item.onward == {}


@pytest.mark.parametrize("slots", [2, 3])
def test_what_feeds_one_another_has_one_host_of_several(slots: int) -> None:
    graph = Graph(
        "g", 1, "b", (), (Fluxion("a", "m:a", "a", bundle="b"), Fluxion("c", "m:c", "c", bundle="b")),
        (Group("a", False, 32), Group("c", False, 32)),
    )  # fmt: skip
    bench = Bench(WorkerConfig(name="node1", slots=slots), graph).ready()
    hosts = [
        tuple(bench.state.fleet.host_for(graph, f, f"g/{f}/{i}").slot for f in ("a", "c")) for i in range(32)
    ]
    assert all(a == c for a, c in hosts)
    assert {a for a, _ in hosts} == set(range(slots))


def test_nothing_goes_back_to_where_it_has_been() -> None:
    graph = chain(show=("tell", "send", "show"), send=("show", "output"))
    fit = {"tell", "show", "send"}
    assert streams_from(graph, "tell", fit, ()) == {"tell": ("show",), "show": ("send",)}
    assert streams_from(graph, "send", fit, ()) == {"send": ("show",), "show": ("tell",)}
    assert streams_from(graph, "call", {"show"}, {"call"}) == {}

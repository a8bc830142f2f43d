"""The core of a host: items in, results out; no socket, no process."""

import contextlib
import signal
import sys
import time

import pytest

from liquefy import answer, emit
from liquefy.errors import BadFrame
from liquefy.graph import Fluxion, Graph, Group
from liquefy.handling import FREED_MAX, Runner, results
from liquefy.hosting import KEY_BYTES_MAX, Done, Emitted, Item
from liquefy.loading import Spec
from liquefy.values import pack, unpack

PARTITION = "g/users/3"

GRAPH = Graph(
    "g",
    1,
    "bundle",
    (),
    (
        Fluxion("store", "m:store", "users", key="params.id", streams=("show",), timeout_ms=300),
        Fluxion("show", "m:show", "show", streams=("output",)),
        Fluxion("split", "m:split", "split", streams=("store", "show", "rows"), timeout_ms=300),
        Fluxion("rows", "m:rows", "rows", key="rows.1.id"),
        Fluxion("end", "m:end", "end"),
    ),
    (
        Group("users", True, 32),
        Group("rows", True, 32),
        Group("show", False, 1),
        Group("split", False, 1),
        Group("end", False, 1),
    ),
)


class Bench:
    """A runner with functions given by fluxion name."""

    def __init__(self, **functions):
        self.batches: list[list[Done]] = []
        self.runner = Runner(self.batches.append)
        specs = [Spec(GRAPH, GRAPH.fluxion_by_name[name], function) for name, function in functions.items()]
        self.runner.add("g", specs)

    def run(self, *items):
        self.batches.clear()
        self.runner.run(items)
        return [done for batch in self.batches for done in batch]

    def one(self, item):
        (done,) = self.run(item)
        return done


def item(fluxion="store", body=None, key="alice", fields=None, ticket=1, **more):
    return Item(ticket, "g", fluxion, PARTITION, key, b"\x01\x02", pack(body), fields, **more)


def count(message, context):
    context["n"] = context.get("n", 0) + 1
    return context["n"]


def test_a_message_is_handled_with_its_context():
    seen = []

    def store(message, context):
        seen.append(message)
        context["visits"] = context.get("visits", 0) + 1
        context["items"].append(message["x"])
        del context["old"]
        return {"visits": context["visits"]}

    fields = {"visits": pack(1), "items": pack([1]), "old": pack(0), "same": pack(5)}
    done = Bench(store=store).one(item(body={"x": 7}, fields=fields, deadline_ms=2500, trace="t"))
    assert done.error == ""
    assert {n: unpack(v) for n, v in done.sets.items()} == {"visits": 2, "items": [1, 7]}
    assert done.removes == ("old",)
    assert done.emitted == [Emitted("show", "", pack({"visits": 2}))]
    assert done.context_bytes == sum(
        len(n) + len(pack(v)) for n, v in {"visits": 2, "items": [1, 7], "same": 5}.items()
    )
    assert (seen[0].key, seen[0].id, seen[0].fluxion) == ("alice", "0102", "store")
    assert (seen[0].deadline, seen[0].trace) == (2.5, "t")


def test_contexts_are_kept_until_forgotten_and_replaced_when_given():
    bench = Bench(store=count)
    assert unpack(bench.one(item(fields={})).sets["n"]) == 1
    assert unpack(bench.one(item()).sets["n"]) == 2
    assert unpack(bench.one(item(key="bob", fields={"n": pack(5)})).sets["n"]) == 6
    assert unpack(bench.one(item()).sets["n"]) == 3
    assert unpack(bench.one(item(fields={"n": pack(10)})).sets["n"]) == 11
    bench.runner.forget(PARTITION, ["alice"])
    assert unpack(bench.one(item(key="bob")).sets["n"]) == 7
    with pytest.raises(BadFrame, match="without its context"):
        bench.one(item())
    bench.runner.forget(PARTITION, [])
    with pytest.raises(BadFrame, match="without its context"):
        bench.one(item(key="bob"))


def test_many_contexts_are_gone_at_once_and_freed_by_and_by():
    bench = Bench(store=count)
    bench.run(*(item(key=f"k{n}", fields={}) for n in range(2 * FREED_MAX)))
    bench.runner.forget(PARTITION, [])
    with pytest.raises(BadFrame, match="without its context"):
        bench.one(item(key=f"k{FREED_MAX}"))
    assert [len(contexts) for contexts in bench.runner.left] == [FREED_MAX]
    assert unpack(bench.one(item(key="k1", fields={})).sets["n"]) == 1
    bench.runner.free()
    assert bench.runner.left == []
    assert unpack(bench.one(item(key="k1")).sets["n"]) == 2


def test_what_was_not_loaded_is_not_run():
    with pytest.raises(BadFrame, match="g/show, which is not loaded"):
        Bench(store=count).one(item("show"))


def test_an_emptied_context_is_said_to_be_empty():
    done = Bench(store=lambda m, c: c.clear()).one(item(fields={"n": pack(1)}))
    assert (done.removes, done.empty, done.context_bytes) == (("n",), True, 0)


# -- what is returned ----------------------------------------------------------------------------------------


def returned(value, fluxion="split"):
    return Bench(**{fluxion: lambda message: value}).one(item(fluxion))


def test_nothing_returned_is_nothing_sent():
    assert returned(None).emitted == []
    assert returned(None, "end").error == ""


def test_a_plain_value_goes_to_the_only_stream():
    assert returned({"a": (1, 2)}, "show").emitted == [Emitted("output", "", pack({"a": (1, 2)}))]
    assert returned([1, "a"], "show").emitted == [Emitted("output", "", pack([1, "a"]))]
    assert returned([], "show").emitted == [Emitted("output", "", pack([]))]


def test_emissions_go_where_they_say_with_the_key_of_the_receiver():
    done = returned(
        [
            emit("store", {"params": {"id": 17}}, delay_s=1.5),
            emit("show", 1),
            emit("rows", {"rows": [{}, {"id": "x"}]}),
            answer({"ok": True}, 201, {"X-A": "b"}),
        ]
    )
    assert done.emitted == [
        Emitted("store", "17", pack({"params": {"id": 17}}), 1500),
        Emitted("show", "", pack(1)),
        Emitted("rows", "x", pack({"rows": [{}, {"id": "x"}]})),
        Emitted("output", "", pack({"ok": True}), 0, 201, (("X-A", "b"),)),
    ]


def test_answering_needs_no_stream():
    assert returned(answer("hi"), "end").emitted == [Emitted("output", "", pack("hi"), 0, 200)]


@pytest.mark.parametrize(
    ("fluxion", "value", "words"),
    [
        ("split", {"a": 1}, ["'store', 'show', 'rows'", 'emit("store", body)']),
        ("end", 5, ["'end' returned a int", "no stream"]),
        ("split", emit("nowhere", 1), ["no stream to 'nowhere'", "'store', 'show', 'rows'"]),
        ("split", [emit("show", 1), {"a": 1}], ["list", "dict in it"]),
        (
            "split",
            emit("store", {"params": {"a": 1}}),
            [
                "'store' carries no key: 'params.id' not found in {'params'}",
                "correct `key: params.id` of 'store' in graph.yaml",
            ],
        ),
        ("split", emit("store", 5), ["'store' carries no key", "not found in a int"]),
        ("split", emit("rows", {"rows": [1]}), ["'rows' carries no key: 'rows.1.id'"]),
        ("split", emit("store", {"params": {"id": True}}), ["no usable key", "is True"]),
        ("split", emit("store", {"params": {"id": 1.5}}), ["no usable key", "is 1.5"]),
        ("split", emit("store", {"params": {"id": ""}}), ["no usable key", "is ''"]),
        (
            "split",
            emit("store", {"params": {"id": "é" * (KEY_BYTES_MAX // 2 + 1)}}),
            ["no usable key", "512 bytes"],
        ),
        ("split", emit("store", {"params": {"id": "\ud800"}}), ["no usable key"]),
        ("split", emit("store", {"params": {"id": 10**5000}}), ["no usable key"]),
        ("split", emit("show", {"a": [object()]}), ["object at body.a[0] cannot be stored"]),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_sender(fluxion, value, words):
    done = returned(value, fluxion)
    assert all(word in done.error for word in words), done.error
    assert done.emitted == []
    assert done.traceback


def test_a_key_of_the_greatest_length_is_taken():
    key = "é" * (KEY_BYTES_MAX // 2)
    assert returned(emit("store", {"params": {"id": key}})).emitted[0].key == key


# -- failures ------------------------------------------------------------------------------------------------


def test_what_fails_once_is_done_again_from_the_start():
    tries = []

    def store(message, context):
        message["list"].append(1)
        context["n"] += 1
        context["items"].append(1)
        tries.append((len(message["list"]), context["n"], len(context["items"])))
        if len(tries) == 1:
            del context["n"]
            raise ValueError("the first time")

    done = Bench(store=store).one(item(body={"list": []}, fields={"n": pack(1), "items": pack([])}))
    assert tries == [(1, 2, 1), (1, 2, 1)]
    assert done.error == ""
    assert {n: unpack(v) for n, v in done.sets.items()} == {"n": 2, "items": [1]}


def test_what_fails_twice_leaves_the_context_and_says_where():
    tries = []

    def store(message, context):
        if message.body == "fail":
            tries.append(1)
            context["n"] = 100
            context["bad"] = 1
            raise ValueError("the reason")
        return count(message, context)

    bench = Bench(store=store)
    fine, failed, after = bench.run(item(fields={"n": pack(1)}), item(body="fail"), item())
    assert len(tries) == 2
    assert (fine.error, after.error) == ("", "")
    assert failed.error == "ValueError: the reason"
    assert 'raise ValueError("the reason")' in failed.traceback
    assert "handling.py" not in failed.traceback.replace("test_handling.py", "")
    assert (failed.emitted, failed.sets, failed.removes) == ([], {}, ())
    assert {n: unpack(v) for n, v in after.sets.items()} == {"n": 3}


def test_the_second_failure_is_told_alone():
    def store(message, context):
        return 1 / 0

    done = Bench(store=store).one(item(fields={}))
    assert done.error == "ZeroDivisionError: division by zero"
    assert done.traceback.count("Traceback") == 1
    assert "During handling" not in done.traceback


def test_a_function_may_look_at_what_is_being_handled_in_both_tries():
    seen = []

    def store(message, context):
        seen.append(sys.exception())
        raise ValueError("why")

    Bench(store=store).one(item(fields={}))
    assert seen == [None, None]


def test_a_value_that_cannot_be_stored_undoes_the_message():
    def store(message, context):
        context["n"] = 2
        context["bad"] = object()

    bench = Bench(store=store)
    done = bench.one(item(fields={"n": pack(1)}))
    assert "object at context['bad'] cannot be stored" in done.error
    assert done.sets == {}


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_whatever_is_raised_is_the_failure_of_one_message(kind):
    def store(message, context):
        raise kind("why")

    assert Bench(store=store).one(item(fields={})).error == f"{kind.__name__}: why"


def test_text_that_cannot_be_encoded_is_made_so():
    def store(message, context):
        raise ValueError("\ud800")

    done = Bench(store=store).one(item(fields={}))
    done.error.encode()
    done.traceback.encode()


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_what_takes_too_long_is_ended_and_not_tried_again():
    tries = []

    def store(message, context):
        if message.body == "slow":
            tries.append(1)
            with contextlib.suppress(Exception):
                spin(5)
        return count(message, context)

    start = time.perf_counter()
    _, slow, after = Bench(store=store).run(item(fields={}), item(body="slow"), item())
    assert time.perf_counter() - start < 3
    assert len(tries) == 1
    assert slow.error == "timed out after 0.3 s"
    assert "spin(5)" in slow.traceback
    assert slow.sets == {}
    assert unpack(after.sets["n"]) == 2


@pytest.mark.parametrize("swallow", ["returns", "raises", "goes on"])
def test_a_timeout_cannot_be_swallowed(swallow):
    def store(message, context):
        try:
            spin(5)
        except BaseException:
            if swallow == "raises":
                raise ValueError("another") from None
        if swallow == "goes on":
            spin(5)

    start = time.perf_counter()
    assert Bench(store=store).one(item(fields={})).error == "timed out after 0.3 s"
    assert time.perf_counter() - start < 3


def test_an_alarm_between_batches_or_of_users_code_does_no_harm():
    def store(message, context):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)

    bench = Bench(store=store, split=lambda message: spin(5))
    assert bench.one(item(fields={})).error == ""
    assert bench.one(item("split")).error == "timed out after 0.3 s"
    signal.raise_signal(signal.SIGALRM)


def test_the_limit_is_that_of_each_call_not_of_the_batch():
    def split(message):
        spin(0.1)

    assert [d.error for d in Bench(split=split).run(*[item("split")] * 4)] == [""] * 4


# -- results -------------------------------------------------------------------------------------------------


def test_results_come_in_order_and_those_of_a_long_batch_in_parts():
    bench = Bench(split=lambda message: spin(message.body))
    done = bench.run(*(item("split", body=0.025 if t == 3 else 0, ticket=t) for t in range(6)))
    assert [d.ticket for d in done] == [0, 1, 2, 3, 4, 5]
    assert [[d.ticket for d in batch] for batch in bench.batches] == [[0, 1, 2, 3], [4, 5]]
    assert 25_000 <= done[3].elapsed_us < 500_000
    assert done[3].cpu_us > 10 * done[2].cpu_us


def test_processor_time_is_divided_and_none_of_it_is_lost():
    rows = [(t, [], {}, (), "", "", 300, 0, False, []) for t in range(7)]
    done = results(rows, 10_000, [1, 1, 1, 1, 1, 1, 4])
    assert sum(d.cpu_us for d in done) == 10
    assert done[6].cpu_us == 4


# -- going on in the host ------------------------------------------------------------------------------------

ONWARD = {"split": ("show", "end"), "show": ("end",)}


def going(**functions):
    """split >> show >> end, as far as the item allows."""
    seen = []

    def noting(name, function):
        def note(message):
            seen.append((name, message.body, message.id, message.key))
            return function(message)

        return note

    given = {"split": lambda m: m.body, "show": lambda m: m.body, "end": lambda m: None, **functions}
    graph = Graph(
        "g",
        1,
        "bundle",
        (),
        (
            Fluxion("split", "m:split", "split", streams=("show", "end"), timeout_ms=300),
            Fluxion("show", "m:show", "show", streams=("end",), timeout_ms=300),
            Fluxion("end", "m:end", "end", timeout_ms=300),
        ),
        tuple(Group(name, False, 1) for name in ("split", "show", "end")),
    )
    batches = []
    runner = Runner(batches.extend)
    runner.add("g", [Spec(graph, graph.fluxion_by_name[n], noting(n, f)) for n, f in given.items()])

    def run(*items):
        runner.run(items)
        done, batches[:] = batches[:], []
        return done

    return run, seen


def test_messages_go_on_depth_first_and_keep_their_ids():
    run, seen = going(split=lambda m: [emit("show", 1), emit("show", 2)])
    (done,) = run(item("split", onward=ONWARD))
    ids = {1: "010200", 2: "010201"}
    assert seen[1:] == [
        ("show", 1, ids[1], "alice"), ("end", 1, ids[1] + "00", "alice"),
        ("show", 2, ids[2], "alice"), ("end", 2, ids[2] + "00", "alice"),
    ]  # fmt: skip
    assert [e.to for e in done.emitted] == ["show", "show"]
    assert [(s.index, [e.to for e in s.emitted]) for s in done.onward] == [(0, ["end"]), (1, ["end"])]
    assert [(s.index, s.emitted) for s in done.onward[0].onward] == [(0, [])]


def test_only_what_is_allowed_and_comes_without_delay_goes_on():
    run, seen = going(split=lambda m: [emit("show", 1, delay_s=1), emit("end", 2)])
    (done,) = run(item("split", onward={"split": ("show",)}))
    assert (done.onward, len(seen)) == ([], 1)
    (done,) = run(item("split"))
    assert done.onward == []


def test_what_fails_is_left_to_the_worker_and_what_would_overtake_it_too():
    def show(message):
        if message.body == 1:
            raise ValueError("as asked")
        return message.body

    run, seen = going(split=lambda m: [emit("show", 1), emit("show", 2), emit("end", 3)], show=show)
    done, other = run(item("split", onward=ONWARD), item("split", onward=ONWARD, ticket=2))
    for each in (done, other):
        assert each.error == ""
        assert [s.index for s in each.onward] == [2]
    assert [name for name, *_ in seen] == ["split", "show", "end"] * 2


def test_a_step_that_takes_too_long_is_ended_and_left_to_the_worker():
    run, _ = going(split=lambda m: emit("end", 1), end=lambda m: time.sleep(5))
    start = time.monotonic()
    (done,) = run(item("split", onward=ONWARD))
    assert (done.error, done.onward) == ("", [])
    assert time.monotonic() - start < 2


def test_after_a_long_call_nothing_goes_on():
    run, seen = going(split=lambda m: spin(0.03) or emit("end", 1))
    (done,) = run(item("split", onward=ONWARD))
    assert (done.onward, len(seen)) == ([], 1)


def test_after_a_second_try_nothing_goes_on():
    tries = []

    def split(message):
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return emit("end", 1)

    run, _ = going(split=split)
    (done,) = run(item("split", onward=ONWARD))
    assert (done.error, len(done.emitted), done.onward) == ("", 1, [])


def test_processor_time_of_steps_is_their_own():
    run, _ = going(split=lambda m: emit("end", 1), end=lambda m: spin(0.01))
    (done,) = run(item("split", onward=ONWARD))
    assert done.onward[0].cpu_us > 10 * done.cpu_us
    assert done.onward[0].elapsed_us > 9_000 > done.elapsed_us

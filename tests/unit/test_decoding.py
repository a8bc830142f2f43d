"""Whatever bytes a peer sends: a message of ours, or BadFrame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from liquefy import control, hosting, letters
from liquefy import messages as m
from liquefy.context import FIELD_NAME_BYTES_MAX
from liquefy.decoding import COUNT_MAX, NAME_CHARS_MAX, NUMBER_MAX, TIME_MAX_MS
from liquefy.errors import BadFrame
from liquefy.graph import Fluxion, Graph, Group, Input

DECODERS: list[Callable[[bytes], Any]] = [
    m.decode_control,
    m.decode_header,
    m.decode_payload,
    lambda data: m.split_payload(data, []),
    m.decode_message,
    letters.decode_letter,
    hosting.decode_to_host,
    hosting.decode_from_host,
    control.decode_request,
    control.decode_reply,
]


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff" * 1_000,
        b"\xdd\x7f\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x92\xa5Expel\xa1\xff" + b"\0",
    ],
)
def test_garbage_is_a_bad_frame(decode: Callable[[bytes], Any], data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(data)


def test_text_that_is_no_text_is_a_bad_frame() -> None:
    right = m.encode(m.Hello("worker", "node-1"))
    with pytest.raises(BadFrame):
        m.decode_control(right.replace(b"node-1", b"node\xff1"))
    asked = control.encode(control.Request(1, "status", {"x": "name"}))
    with pytest.raises(BadFrame):
        control.decode_request(asked.replace(b"name", b"n\xc0me"))


@pytest.mark.parametrize(
    "message",
    [
        m.Handover("g/s/0", NUMBER_MAX + 1, "node1"),
        m.Disown("g/s/0", -1),
        m.Ack([-1]),
        m.Hello("worker", "node1", capacity=float("inf")),
        m.Hello("worker", "node1", capacity=float("nan")),
        m.Report(float("nan"), [], [], 0.0, 0, 0, 0, True, 0),
        m.Prepare(Graph("g", 1, "", (), (), (Group("s", True, 0),))),
        m.Prepare(Graph("g", 1, "", (), (), (Group("s", True, 10**9),))),
    ],
)
def test_numbers_that_nobody_could_count_on_with_are_refused(message: Any) -> None:
    with pytest.raises(BadFrame):
        m.decode_control(msgspec.msgpack.encode(message))


@pytest.mark.parametrize("field", ["born_ms", "deadline_ms", "due_ms", "hops"])
def test_no_message_is_of_a_time_or_has_hops_that_nobody_could_count_on_with(field: str) -> None:
    limit = COUNT_MAX if field == "hops" else TIME_MAX_MS

    def packed(value: int) -> bytes:
        fields = {"born_ms": 1} | {field: value}
        return m.encode([[m.Posted(1, m.Message(id=b"i", fluxion="s", key="k", body=b"", **fields))]])

    assert getattr(m.decode_payload(packed(limit))[0][0].message, field) == limit
    for wrong in (-1, limit + 1, 2**62):
        with pytest.raises(BadFrame):
            m.decode_payload(packed(wrong))


@pytest.mark.parametrize("partition", ["", "/", "g/s", "g/s/0/1", "@g/s/0", "g//0", "/s/0", "g/s/x", "g/s/0\n"])
def test_a_partition_has_a_name_of_three_parts(partition: str) -> None:
    with pytest.raises(BadFrame):
        m.decode_control(m.encode(m.Disown(partition, 1)))


@pytest.mark.parametrize("name", ["no\x1bde", "node\n", "\x7fnode", "node\x9b2J", "\0", "@node", "no/de", ""])
def test_a_name_drives_no_terminal_and_is_no_path(name: str) -> None:
    with pytest.raises(BadFrame):
        m.decode_control(m.encode(m.Hello("worker", name)))


def test_what_a_host_says_has_a_length_and_times_that_can_be_summed_up() -> None:
    def ran(done: hosting.Done) -> bytes:
        return hosting.frame(hosting.Ran([done]))[4:]

    key, name, fault, us = hosting.KEY_BYTES_MAX, FIELD_NAME_BYTES_MAX, hosting.FAULT_CHARS_MAX, hosting.MICROS_MAX
    for more in (0, 1):
        emitted = hosting.Emitted("s", "k" * (key + more), b"")
        for done in (
            hosting.Done(1, [emitted], {}, ()),
            hosting.Done(1, [], {}, (), onward=[hosting.Step(0, [emitted])]),
            hosting.Done(1, [], {"f" * (name + more): b""}, ()),
            hosting.Done(1, [], {}, ("f" * (name + more),)),
            hosting.Done(1, [], {}, (), error="e" * (fault + more)),
            hosting.Done(1, [], {}, (), traceback="e" * (fault + more)),
            hosting.Done(1, [], {}, (), cpu_us=us + more),
            hosting.Done(1, [], {}, (), elapsed_us=us + more),
            hosting.Done(1, [], {}, (), onward=[hosting.Step(0, [], us + more)]),
        ):
            if not more:
                assert hosting.decode_from_host(ran(done)) == hosting.Ran([done])
            else:
                with pytest.raises(BadFrame):
                    hosting.decode_from_host(ran(done))


def claims(count: int) -> list[m.Claim]:
    return [m.Claim("g/s/0", 1)] * count


def split(data: bytes) -> Any:
    return m.split_payload(data, [m.Part("g/s/0", 1, 0)] * m.PARTS_MAX)


@pytest.mark.parametrize(
    ("made", "limit", "decode"),
    [
        (lambda count: m.Hello("worker", "node1", claims(count)), m.CLAIMS_MAX, m.decode_control),
        (lambda count: m.Own(claims(count)), m.OWN_CLAIMS_MAX, m.decode_control),
        (lambda count: m.Inventory(claims(count)), m.CLAIMS_MAX, m.decode_control),
        (lambda count: m.Ack([1] * count), m.SEQS_MAX, m.decode_control),
        (
            lambda count: m.Handover("g/s/0", 1, "node2", [m.returned(b"gw#1", [])] * count),
            m.RETURNED_MAX,
            m.decode_control,
        ),
        (
            lambda count: m.Handover("g/s/0", 1, "node2", legacy=m.Legacy(1, 1, [(1, b"")] * count, [])),
            m.LEGACY_OUTBOX_MAX,
            m.decode_control,
        ),
        (
            lambda count: m.Handover("g/s/0", 1, "node2", legacy=m.Legacy(1, 1, [], [1] * count)),
            m.SEQS_MAX,
            m.decode_control,
        ),
        (lambda count: [m.Part("g/s/0", 1, 0)] * count, m.PARTS_MAX, m.decode_header),
        (lambda count: [[]] * count, m.PARTS_MAX, m.decode_payload),
        (lambda count: [[]] * count, m.PARTS_MAX, split),
    ],
)
def test_a_list_has_a_length(made: Callable[[int], Any], limit: int, decode: Callable[[bytes], Any]) -> None:
    decode(m.encode(made(limit)))
    with pytest.raises(BadFrame, match=f"length <= {limit}"):
        decode(m.encode(made(limit + 1)))


def test_a_name_has_a_length() -> None:
    for name, fits in (("n" * NAME_CHARS_MAX, True), ("n" * (NAME_CHARS_MAX + 1), False)):
        for message in (
            m.Hello("worker", name),
            m.Hello("worker", "node1", [m.Claim(f"{name}/s/0", 1)]),
            m.Own([m.Claim(f"g/{name}/0", 1)]),
            m.Welcome("broker", [m.Route(f"@{name}", "gateway1", b"gateway1#1", 0, 1)]),
        ):
            packed = m.encode(message)
            if fits:
                assert m.decode_control(packed) == message
            else:
                with pytest.raises(BadFrame):
                    m.decode_control(packed)


def test_a_graph_whose_parts_do_not_fit_together_is_none() -> None:
    group, fluxion = Group("s", True, 1), Fluxion("s", "m:f", "s")
    with pytest.raises(ValueError, match="goes to a fluxion that the graph 'g' has not"):
        Graph("g", 1, "", (Input("i", "GET", "/", "t"),), (fluxion,), (group,))
    with pytest.raises(ValueError, match="is in a group that the graph 'g' has not"):
        Graph("g", 1, "", (), (fluxion,), ())
    right = m.encode(m.Prepare(Graph("g", 1, "", (), (fluxion,), (group,))))
    assert isinstance(m.decode_control(right), m.Prepare)
    with pytest.raises(BadFrame):
        m.decode_control(right.replace(b"\xa5group\xa1s", b"\xa5group\xa1t"))


def test_a_payload_is_as_long_as_its_header_says() -> None:
    posted = m.Posted(1, m.Message(b"i", "s", "k", b"", 1))
    header, payload = m.encode([m.Part("g/s/0", 1, 1)]), m.encode([[posted]])
    assert m.decode_data(header, payload)[1] == [[posted]]
    assert len(m.split_payload(payload, m.decode_header(header))) == 1
    for wrong in ([], [[]], [[posted], []], [[posted] * 2], [posted], [0]):
        with pytest.raises(BadFrame):
            m.decode_data(header, m.encode(wrong))
    for wrong in ([], [[]], [[posted], []], [[posted] * 2], [0], [[posted] * 70_000]):
        with pytest.raises(BadFrame):
            m.split_payload(m.encode(wrong), m.decode_header(header))

"""What users import: a fluxion is tested by calling it; mistakes are told where they are made."""

import pytest

from liquefy import Context, Message, answer, emit


def store(message, context):
    context["visits"] = context.get("visits", 0) + 1
    return emit("show", {"id": message["params"]["id"], "visits": context["visits"]}, delay_s=0.25)


def test_a_fluxion_is_tested_by_calling_it():
    context = Context({"visits": 1})
    sent = store(Message({"params": {"id": "alice"}}), context)
    assert sent == emit("show", {"id": "alice", "visits": 2}, delay_s=0.25)
    assert sent.delay_ms == 250
    assert context == {"visits": 2}


def test_a_message_reads_like_its_body():
    message = Message({"x": 1}, key="k", id="ab", fluxion="f", deadline=2.5, trace="t")
    assert message["x"] == 1
    assert message.get("y", 2) == 2
    assert "x" in message
    assert "y" not in message
    assert {**message} == {"x": 1}
    assert list(message) == ["x"]
    assert (message.body, message.key, message.id) == ({"x": 1}, "k", "ab")
    assert (message.fluxion, message.deadline, message.trace) == ("f", 2.5, "t")


def test_a_message_cannot_be_changed():
    with pytest.raises(AttributeError):
        Message({}).body = 1
    with pytest.raises(TypeError):
        Message({})["x"] = 1


@pytest.mark.parametrize("read", [lambda m: m["x"], lambda m: m.get("x"), lambda m: "x" in m])
def test_a_body_that_is_no_mapping_says_so(read):
    with pytest.raises(TypeError, match="is a list, not a mapping"):
        read(Message([1]))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"to": 5}, TypeError, "name of a fluxion"),
        ({"to": "x", "delay_s": -1}, ValueError, "delay_s=-1"),
        ({"to": "x", "delay_s": float("nan")}, ValueError, "delay_s=nan"),
        ({"to": "x", "delay_s": "1"}, TypeError, "number of seconds"),
    ],
)
def test_emit_checks_its_arguments(arguments, kind, words):
    with pytest.raises(kind, match=words):
        emit(**arguments)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"status": 99}, ValueError, "between 200 and 599"),
        ({"status": "200"}, TypeError, "status is a number"),
        ({"headers": {"a b": "x"}}, ValueError, "no name of a header"),
        ({"headers": {"a": "x\r\nSet-Cookie: y"}}, ValueError, "control characters"),
        ({"headers": {"a": "\u20ac"}}, ValueError, "Latin-1"),
        ({"headers": {"a": ["x", "y"]}}, TypeError, "not a list; .* two pairs"),
        ({"headers": {"a": b"x"}}, TypeError, "not a bytes"),
        ({"headers": {"a": None}}, TypeError, "not a NoneType"),
    ],
)
def test_answer_checks_its_arguments(arguments, kind, words):
    with pytest.raises(kind, match=words):
        answer(None, **arguments)


def test_answer_takes_a_header_twice():
    pairs = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert answer("x", headers=pairs).headers == tuple(pairs)
    assert answer("x", 201, {"X-Count": 3}).headers == (("X-Count", "3"),)

"""Values survive packing with their types; what cannot is refused with its place."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquefy.errors import BadFrame
from liquefy.values import DEPTH_MAX, LIST_DEPTH_MAX, pack, unpack

ZONES = st.sampled_from([None, UTC, ZoneInfo("Europe/Paris"), timezone(timedelta(hours=-3, minutes=30))])

text = st.text(st.characters(exclude_categories=["Cs"]))


def is_equal_to_itself(value):
    return not (isinstance(value, Decimal) and value.is_nan()) and value == value


hashable_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats()
    | text
    | st.binary()
    | st.datetimes(timezones=ZONES)
    | st.dates()
    | st.times(timezones=st.sampled_from([None, UTC]))
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
)

hashables = st.recursive(
    hashable_leaves.filter(is_equal_to_itself),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)

values = st.recursive(
    hashable_leaves | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
        | st.frozensets(hashables, max_size=4)
    ),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    """Equal, of the same types all the way down, and nan is nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, j) and same(v, w) for (k, v), (j, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, set | frozenset):
        return a == b and sorted(map(shape, a)) == sorted(map(shape, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, Decimal):
        return str(a) == str(b)
    if isinstance(a, datetime | time):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.tzinfo == b.tzinfo and a.fold == b.fold
    return a == b


def shape(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(shape, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(shape, value)))}}}"
    return f"{type(value).__name__} {value!r}"


@settings(max_examples=300, deadline=None)
@given(values)
def test_round_trip_keeps_values_and_types(value):
    assert same(unpack(pack(value)), value)


@settings(max_examples=100, deadline=None)
@given(st.sets(hashables, max_size=6))
def test_equal_sets_have_equal_bytes(value):
    elements = list(value)
    assert pack({*elements}) == pack({*elements[::-1]})


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        2**5000,
        float("inf"),
        -0.0,
        [b"bytes", bytearray(b"array"), (bytearray(b"in a tuple"), {"x": bytearray()})],
        {(1, "a"): 1, frozenset([2]): 2, None: 3, 1.5: 4, b"b": 5, date(2024, 2, 29): 6},
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2024, 10, 27, 2, 30, fold=1),
        time(1, 2, 3, 4, tzinfo=UTC),
        timedelta.min,
        Decimal("1E+999999"),
        Decimal("-0"),
        UUID(int=5),
        complex(float("nan"), -0.0),
        "żółć 🎈",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_round_trip_of_the_unusual(value):
    assert same(unpack(pack(value)), value)


class Thing:
    pass


class Name(str):
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Thing(), ["Thing at value cannot be stored"]),
        ({"a": {"b": [1, 2, 3, Thing()]}}, ["Thing at value.a.b[3] cannot be stored"]),
        ([(1, {"x": print})], ["value[0][1].x", "cannot be stored"]),
        ({1: {Thing}}, ["type at value[1][0] cannot be stored"]),
        ({"name": Name("x")}, ["Name at value.name", "store str(...) of it"]),
        ((i for i in range(2)), ["generator", "list(...)"]),
        ([memoryview(b"x")], ["memoryview at value[0]", "bytes(...)"]),
        ({"a": "\ud800"}, ["value.a", "surrogate"]),
        ({Name("x"): 1}, ["Name at the key 'x' of value"]),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_place(value, words):
    with pytest.raises(ValueError) as raised:
        pack(value)
    assert all(word in str(raised.value) for word in words), raised.value


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("wrap", "depth"),
    [(lambda v: [v], LIST_DEPTH_MAX), (lambda v: {"a": v}, LIST_DEPTH_MAX), (lambda v: (v,), DEPTH_MAX)],
)
def test_depth_is_limited_and_what_is_within_comes_back(wrap, depth):
    packed = pack(nested(depth, wrap))
    assert pack(unpack(packed)) == packed
    with pytest.raises(ValueError, match="nested too deep"):
        pack(nested(depth + 1000, wrap))


def test_deep_values_are_unpacked_however_deep_the_caller_stands():
    packed = pack(nested(LIST_DEPTH_MAX, lambda v: [v]))

    def descend(levels):
        return descend(levels - 1) if levels else unpack(packed)

    assert pack(descend(700)) == packed


def test_a_value_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested too deep"):
        pack(loop)


def test_packing_works_after_a_refusal():
    with pytest.raises(ValueError):
        pack([1, (2, {3, (4, Thing())})])
    assert unpack(pack([1, (2, {3, (4, 5)})])) == [1, (2, {3, (4, 5)})]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        b"\xd4\x63\x00",
        b"\xc7\x02\x05zz",
        b"\xd4\x0a\x00",
        b"\x01\x02",
        b"\xd4\x09x",
        b"\xa1\xff",
    ],
)
def test_what_is_no_packed_value_is_a_bad_frame(data):
    with pytest.raises(BadFrame):
        unpack(data)

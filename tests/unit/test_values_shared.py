"""The two codecs agree: values.json has values in both languages with their bytes."""

from __future__ import annotations

import json
import math
import struct
import subprocess
from datetime import UTC, date, datetime, time, timedelta, timezone  # noqa: F401  (names of values.json)
from decimal import Decimal  # noqa: F401
from pathlib import Path
from typing import Any
from uuid import UUID  # noqa: F401
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_values import same, values

from liquefy import nodejs
from liquefy.foreign import UNDEFINED, BareDict, BigInt, Date, Foreign, Map, OrderedSet
from liquefy.values import pack, unpack

HERE = Path(__file__).parent
VECTORS: list[dict[str, str]] = json.loads((HERE / "values.json").read_text())


def name(vector: dict[str, str]) -> str:
    return (vector.get("python") or vector["javascript"])[:40]


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_what_is_shared_is_read_and_written_alike(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["bytes"])
    found = unpack(data)
    assert pack(found) == data
    if "python" in vector:
        value = eval(vector["python"])
        assert pack(value) == data
        assert same(found, value)


def test_javascript_agrees() -> None:
    command = [str(nodejs.find().node), str(HERE / "values_test.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def survives(value: Any, element: bool = False) -> bool:
    """Whether JavaScript can tell all of it apart: 5.0 is 5 there, -0 in a Set is 0, and numbers come first among an
    object's names."""
    if isinstance(value, float):
        if math.isnan(value):  # there is one NaN in JavaScript, whatever its bits
            return struct.pack(">d", value) == b"\x7f\xf8" + bytes(6)
        return not value.is_integer() or abs(value) >= 2**53 or (str(value) == "-0.0" and not element)
    if isinstance(value, dict):
        return all(survives(k, True) and survives(v) and not str(k).isdecimal() for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(survives, value))
    if isinstance(value, set | frozenset):
        return all(survives(each, True) for each in value)
    return True


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(values.filter(survives), min_size=20, max_size=100))
def test_what_python_has_passes_through_javascript_unharmed(several: list[Any]) -> None:
    lines = [pack(value).hex() for value in several]
    command = [str(nodejs.find().node), str(HERE / "values_echo.mjs")]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == lines


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("new Map([[1, 'int'], [true, 'bool'], [{a: 1}, 'object'], [[2], 'array']])", Foreign),
        ("new Set([{a: 1}, [1], 1, true])", Foreign),
        ("new Date(NaN)", Foreign),
        ("new Date(8.64e15)", Foreign),
        ("/a\\/b[c]/giu", Foreign),
    ],
)
def test_what_has_no_counterpart_is_carried(source: str, kind: type) -> None:
    [vector] = [v for v in VECTORS if v.get("javascript") == source]
    found = unpack(bytes.fromhex(vector["bytes"]))
    assert type(found) is kind
    assert pack([{"x": found}]) == b"\x91\x81\xa1x" + bytes.fromhex(vector["bytes"])


def test_foreign_values_can_be_used_as_what_they_are_like() -> None:
    assert BigInt(5) + 1 == 6
    assert not UNDEFINED
    assert unpack(pack(Map({1: "a"})))[1] == "a"
    ordered = unpack(pack(OrderedSet([3, 1, 3])))
    assert 1 in ordered
    assert list(ordered) == [3, 1]
    assert unpack(pack(BareDict(a=1)))["a"] == 1


def test_what_is_reckoned_from_a_date_keeps_what_it_has() -> None:
    start = Date(2024, 1, 1, tzinfo=UTC)
    later: Any = start + timedelta(milliseconds=5)
    assert type(unpack(pack(later))) is Date
    elsewhere = start.astimezone(ZoneInfo("Asia/Tokyo"))
    for other in (start + timedelta(microseconds=5), start.replace(tzinfo=None), elsewhere):
        found = unpack(pack(other))
        assert type(found) is datetime
        assert (found, found.tzinfo) == (other, other.tzinfo)

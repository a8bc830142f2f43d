"""The two codecs agree: values.json has values in both languages with their bytes."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, date, datetime, time, timedelta, timezone  # noqa: F401  (names of values.json)
from decimal import Decimal  # noqa: F401
from pathlib import Path
from typing import Any
from uuid import UUID  # noqa: F401
from zoneinfo import ZoneInfo

import pytest
from test_values import same

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

from __future__ import annotations

import io
import json

import pytest
from rich.console import RenderableType

from ctl import render


def plain(value: RenderableType) -> str:
    out = io.StringIO()
    render.console(out).print(value)
    return out.getvalue()


def move(index: int, error: str = "") -> dict[str, object]:
    return {
        "partition": f"visits/store/{index}", "from": "node1", "to": "node3", "epoch": 2, "pause_ms": 1.5, "held": 3,
        "error": error,
    }  # fmt: skip


def migration(moved: int, failed: int, errors: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "moved": moved, "failed": failed, "paused": min(moved, 9), "pause_ms": {"p50": 1.94, "p99": 4.06, "max": 5.0},
        "held": 61, "seconds": 0.41, "moves": [move(i, e) for i, e in enumerate(errors or ("",) * moved)],
    }  # fmt: skip


def test_a_migration_in_one_line() -> None:
    assert plain(render.migration_text(migration(32, 0), "visits/store", "node3")).splitlines() == [
        "moved 32 partitions of visits/store to node3 in 0.4 s; "
        "pause of the 9 partitions that were waited for: p50 1.9 ms, p99 4.1 ms, max 5.0 ms; 61 messages held"
    ]
    quiet = {**migration(32, 0), "paused": 0, "held": 0}
    assert plain(render.migration_text(quiet, "visits/store", "node3")).splitlines() == [
        "moved 32 partitions of visits/store to node3 in 0.4 s; nobody waited for one of them"
    ]


def test_a_migration_that_failed_in_part_says_why() -> None:
    text = plain(render.migration_text(migration(1, 1, ("", "the target is gone")), "visits/store", "node3"))
    assert text.startswith("moved 1 partition of visits/store")
    assert "1 partition not moved: the target is gone" in text


def test_nothing_to_move_is_no_failure() -> None:
    assert plain(render.migration_text(migration(0, 0), "visits/store", "node3")) == (
        "nothing to move: all of visits/store is on node3\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.05, "50 ms"), (12, "12 s"), (200, "3 min"), (7500, "2 h 05 min"), (400_000, "4 d"), (-1, "0 ms")],
)
def test_durations(seconds: float, text: str) -> None:
    assert render.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (123_000_000, "123 MB"), (5e13, "50.0 TB")],
)
def test_sizes(size: float, text: str) -> None:
    assert render.bytes_text(size) == text


def test_json_prints_bytes_as_text_or_base64() -> None:
    value = {"body": b"abc", b"key": [b"\xff\xfe", (1, None)]}
    assert json.loads(render.to_json(value)) == {"body": "abc", "key": ["//4=", [1, None]]}
    assert "\n" not in render.to_json({"text": "two\nlines"})


def test_what_users_wrote_is_shown_as_it_is_but_drives_no_terminal() -> None:
    letter = {
        "id": "5f",
        "error": "[red]no[/red]",
        "body": {"a": 1},
        "traceback": "Traceback\n  \x1b[31mx",
        "time_s": 0.0,
    }
    shown = plain(render.letter_text(letter))
    assert "[red]no[/red]" in shown
    assert "\x1b" not in shown
    assert '"a": 1' in shown


def test_many_partitions_are_explained_in_a_table_few_with_their_history() -> None:
    def row(index: int) -> dict[str, object]:
        return {
            "partition": f"visits/store/{index}", "node": "node1", "epoch": 4, "since_s": 1.0, "reason": "deployed",
            "load": 0.1, "share": 0.5, "pinned": True, "history": [{"time_s": 1.0, "text": "moved by hand"}],
        }  # fmt: skip

    few = plain(render.explain_text({"partitions": [row(7)]}))
    assert "visits/store/7 is on node1" in few
    assert "epoch 4, pinned" in few
    assert "moved by hand" in few
    rows = [row(i) for i in range(31)] + [{**row(31), "node": "node2", "load": 0.7}]
    many = plain(render.explain_text({"partitions": rows}, each=True))
    assert "moved by hand" not in many
    assert len(many.splitlines()) == 33
    alike = plain(render.explain_text({"partitions": rows})).splitlines()
    assert alike[0].strip() == "visits/store"
    assert alike[2].split()[:3] == ["node1", "31", "0-30"]
    assert alike[3].split()[:3] == ["node2", "1", "31"]
    assert alike[4].startswith("the most loaded is 31: 0.700 cores")


def test_of_a_pinned_group_it_is_said_first_that_it_is_and_why() -> None:
    row = {
        "partition": "live/store/0", "node": "node1", "epoch": 4, "since_s": 1.0, "reason": "deployed",
        "load": 0.1, "share": 0.5, "pinned": "", "history": [],
    }  # fmt: skip
    shown = " ".join(plain(render.explain_text({"stays": "keeps [red]sessions[/red]", "partitions": [row]})).split())
    assert shown.startswith("live/store is pinned: ")
    assert "lost when that ends: keeps [red]sessions[/red] live/store/0 is on node1" in shown
    assert "pinned" not in plain(render.explain_text({"stays": "", "partitions": [row]}))


def test_ranges() -> None:
    assert render.ranges_text([9, 0, 1, 2, 5, 10]) == "0-2, 5, 9-10"


def test_a_plan_says_what_each_move_and_all_of_them_should_bring() -> None:
    way = {"partition": "visits/store/1", "from": "node1", "to": "node2"}
    step = {**way, "reason": "saves", "gain": 0.0, "saved": 512.3}
    expected = "then 0 messages a second of these between nodes, now 512"
    text = plain(render.plan_table({"moves": [step], "balanced": True, "expected": expected}))
    assert " 512" in text.splitlines()[1]
    assert "0.000" not in text
    assert text.splitlines()[-1] == f"expected: {expected}"

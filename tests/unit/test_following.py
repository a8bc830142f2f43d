from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ctl import following
from ctl.following import Follower, LogLine, parse
from liquefy import log
from liquefy.effects import Log


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("node1", "info", "hello there"),
        ("node1", "info", "store/7: node1 -> node3"),
        ("node1", "warning", "redis is away"),
        ("node1", "error", "  warning: in it"),
        ("a-rather-long-name", "info", "  indented"),
        ("node1", "info", "  indented"),
    ],
)
def test_what_the_roles_write_is_read_back(
    name: str, level: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    try:
        log.setup(name)
        log.emit(Log(level, text, "event"))
    finally:
        root.handlers[:] = kept[0]
        root.setLevel(kept[1])
    line = parse(capsys.readouterr().err.rstrip("\n"), "file", "00:00:00.000")
    assert (line.source, line.level, line.text) == (name, level, text)


def test_what_has_another_form_is_shown_as_it_is() -> None:
    line = parse("ready to accept", "redis", "12:00:00.000")
    assert line == LogLine("12:00:00.000", "redis", "info", "ready to accept")


def test_lines_of_redis_have_their_time_and_level() -> None:
    line = parse("11:M 22 Nov 2026 19:21:48.123 # memory is short", "redis", "12:00:00.000")
    assert line == LogLine("19:21:48.123", "redis", "warning", "memory is short")
    assert parse("11:C 22 Nov 2026 19:21:48.123 # Configuration loaded", "redis", "").level == "info"
    advice = parse("9:M 22 Nov 2026 19:21:48.123 # WARNING Memory overcommit must be enabled!", "redis", "")
    assert not following.is_news(advice)
    assert following.is_news(line)
    assert following.is_news(parse("10:00:00.000 node1      hello", "node1", ""))


def test_a_line_says_each_thing_once_and_its_level_where_it_matters() -> None:
    plain = following.pretty(LogLine("12:00:00.000", "node1", "info", "moved store/7")).plain
    assert plain.split(maxsplit=2) == ["12:00:00.000", "node1", "moved store/7"]
    assert following.pretty(LogLine("12:00:00.000", "node1", "warning", "away")).plain.endswith("  warning: away")


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    shown = following.pretty(LogLine("12:00:00.000", "no\x1bde1", "info", "a\x1b[2Jb [bold]c[/bold]")).plain
    assert "\x1b" not in shown
    assert "[bold]c[/bold]" in shown


def test_new_lines_of_all_logs_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "node1.log").write_text("old\n")
    follower = Follower(tmp_path)
    with (tmp_path / "node1.log").open("a") as one, (tmp_path / "broker.log").open("a") as two:
        one.write("10:00:00.002 node1      second\nTraceback\n  deep\n10:00:00.004 node1      cut of")
        two.write("10:00:00.001 broker     first\n10:00:00.003 broker     third\n")
    lines = follower.lines()
    assert [line.text for line in lines] == ["first", "second", "Traceback", "  deep", "third"]
    with (tmp_path / "node1.log").open("a") as one:
        one.write("f\n")
    assert [line.text for line in follower.lines()] == ["cut off"]


def test_a_log_that_was_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "node1.log"
    path.write_text("a long first line\n")
    follower = Follower(tmp_path, from_start=True)
    assert [line.text for line in follower.lines()] == ["a long first line"]
    path.write_text("new\n")
    assert [line.text for line in follower.lines()] == ["new"]


def test_tail(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("".join(f"{i}\n" for i in range(10)))
    assert following.tail(tmp_path / "x.log", 2) == ["8", "9"]
    assert following.tail(tmp_path / "none.log", 2) == []

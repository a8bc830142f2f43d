"""Lines of the log, for people and for programs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from liquefy import log
from liquefy.decoding import LINE_CHARS_MAX
from liquefy.effects import Log
from liquefy.errors import BadFrame, ConfigError
from liquefy.messages import LogLine, decode_control, encode
from liquefy.wording import plain


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_text_is_one_plain_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("node1")
    log.emit(Log("info", "store/7: node1 -> node3", "move"))
    log.emit(Log("warning", "odd"))
    log.emit(Log("debug", "not shown"))
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} node1      store/7: node1 -> node3", first)
    assert second.endswith(" node1      warning: odd")


def test_json_has_the_fields_and_tracebacks_of_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("node1", "json")
    log.emit(Log("info", "moved", "move", {"partition": "store/7"}))
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("asyncio").exception("callback failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.pop("time_s") > 0
    assert first == {
        "level": "info", "source": "node1", "event": "move", "text": "moved", "partition": "store/7",
    }  # fmt: skip
    assert second["level"] == "error"
    assert "ValueError: broken" in second["text"]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="remedy: give one of text, json"):
        log.setup("node1", "xml")


FORGED = "ev\x1b[31mil\x9b2J\u202e\r\n12:00:00.000 node1      all is well\n    deeper"
SHOWN = "ev\\x1b[31mil\\x9b2J\\u202e\\r\n    12:00:00.000 node1      all is well\n    deeper"


def test_what_others_wrote_drives_no_terminal_and_passes_for_no_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.setup("gateway1")
    log.emit(Log("warning", FORGED))
    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("asyncio").exception("callback failed")
    said = capsys.readouterr().err
    assert said.split(" gateway1   ")[1].startswith(f"warning: {SHOWN}\n")
    assert [line[13:].split()[0] for line in said.splitlines() if line[0] != " "] == ["gateway1", "gateway1"]
    log.setup("gateway1", "json")
    log.emit(Log("warning", FORGED))
    assert json.loads(capsys.readouterr().err)["text"] == SHOWN


def test_a_line_has_a_length(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("begin" + "A" * 2**24 + "end", "begin" + "\x1b" * 2**24 + "end"):
        said = plain(text)
        assert LINE_CHARS_MAX - 2 <= len(said) <= LINE_CHARS_MAX
        assert (said[:5], said[-3:]) == ("begin", "end")
        assert plain(said) == said
        log.setup("node1")
        log.emit(Log("info", text))
        assert len(capsys.readouterr().err) < LINE_CHARS_MAX + 50
        line = log.told(Log("info", text), "node1")
        assert decode_control(encode(line)) == line
    assert log.told(Log("debug", "not told"), "node1") is None


@pytest.mark.parametrize(
    "fields",
    [("fatal", "node1", "x"), ("info", "no\x1bde", "x"), ("info", "", "x"), ("info", "node1", "x" * 8_193)],
)
def test_a_line_that_no_process_of_ours_would_send_is_no_message(fields: tuple[str, str, str]) -> None:
    with pytest.raises(BadFrame):
        decode_control(encode(LogLine(1.0, *fields)))

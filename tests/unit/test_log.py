"""Lines of the log, for people and for programs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from liquefy import log
from liquefy.effects import Log
from liquefy.errors import ConfigError


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

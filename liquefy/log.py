"""The log of a process: one line an event on stderr, for people (`text`) or for programs (`json`).

    19:02:11.123 node1      handing over visits/store/7
    19:02:11.456 node1      warning: the store does not answer

In text the word for the event is left out, as it would only say twice what the line says. Colour only on a terminal.
Whatever others have put into a line (names, paths, errors), it is one line, or more that are indented, of bounded
length and without characters that could drive a terminal.
Lines of libraries take the same form. Does not know where else a line is told (services relay theirs to the
controller).
"""

from __future__ import annotations

import json
import logging
import sys
import time

from liquefy.effects import Log
from liquefy.errors import ConfigError
from liquefy.messages import LogLine
from liquefy.wording import plain

FORMATS = ("text", "json")

SOURCE_COLUMNS = 10
"""Names of processes take at least so many columns, so that the texts stand below each other."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_COLOURS = {logging.DEBUG: "2", logging.INFO: "0", logging.WARNING: "33", logging.ERROR: "31"}
_logger = logging.getLogger("liquefy")


def setup(name: str, log_format: str = "text", level: str = "info") -> None:
    """Send all logging of this process to stderr, as lines of `name`. Raises ConfigError (format)."""
    if log_format not in FORMATS:
        raise ConfigError(f"log_format: {log_format!r} is unknown\n  remedy: give one of {', '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(name) if log_format == "json" else _Text(name, sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _logger.setLevel(_LEVELS[level])


def emit(effect: Log) -> None:
    """Write one line."""
    level = _LEVELS[effect.level]
    if _logger.isEnabledFor(level):
        _logger.log(level, "%s", effect.text, extra={"event": effect.event, "fields": effect.fields})


def told(effect: Log, source: str) -> LogLine | None:
    """The line for `liquefy-ctl logs`, as of now; None if it is not for it."""
    if _LEVELS[effect.level] < logging.INFO:
        return None
    return LogLine(time.time(), effect.level, source, plain(effect.text))


class _Text(logging.Formatter):
    def __init__(self, name: str, colour: bool) -> None:
        super().__init__()
        self._name, self._colour = name, colour

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        mark = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = mark + plain(record.getMessage()) + plain(_traceback(self, record))
        line = f"{clock}.{int(record.msecs):03} {self._name:<{SOURCE_COLUMNS}} {text}"
        return f"\x1b[{_COLOURS.get(record.levelno, '31')}m{line}\x1b[0m" if self._colour else line


class _Json(logging.Formatter):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time_s": round(record.created, 3),
            "level": record.levelname.lower(),
            "source": self._name,
            "event": getattr(record, "event", ""),
            "text": plain(record.getMessage()) + plain(_traceback(self, record)),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, default=repr)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""

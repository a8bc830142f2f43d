"""The logs of a local cluster, merged as they grow, and one line of them for people.

Reads files only; who writes them, and when they are cut, is the supervisor's business. The form of a line is
that of `liquefy.log`; whatever else a process prints is shown as it is."""

from __future__ import annotations

import re
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from ctl.render import log_text
from liquefy.log import SOURCE_COLUMNS

READ_BYTES_MAX = 256 * 1024
"""Read from one log in one go; the rest comes next time."""

LINE_BYTES_MAX = 16 * 1024
"""A longer line is shown in pieces."""

_LINE = re.compile(r"(?P<clock>\d\d:\d\d:\d\d\.\d{3}) (?P<source>\S+) +(?P<text>.*)", re.DOTALL)

_MARK = re.compile(r"(?P<level>debug|warning|error|critical): (?P<text>.*)", re.DOTALL)
"""Before the text of lines that are no plain information."""

_REDIS = re.compile(r"\d+:[A-Z] \d+ \w+ \d+ (?P<clock>\d\d:\d\d:\d\d\.\d{3}) (?P<mark>\S) (?P<text>.*)")
"""A line of redis-server; the mark # is for warnings."""

_REDIS_HARMLESS = (
    "oO0OoO0OoO0Oo", "Redis version=", "Configuration loaded", "Server initialized", "User requested",
    "Redis is now ready to exit", "WARNING",
)  # fmt: skip
"""What it marks as a warning each time it starts or stops: greetings, and advice about the settings of this machine."""



class LogLine(NamedTuple):
    """One line of one process. `clock` is local time of day."""

    clock: str
    source: str
    level: str
    text: str


def parse(line: str, source: str, clock: str) -> LogLine:
    """A line as `liquefy.log` writes it; any other one gets `source` and `clock` from the caller."""
    redis = _REDIS.fullmatch(line)
    if redis is not None:
        serious = redis["mark"] == "#" and not redis["text"].startswith(_REDIS_HARMLESS)
        return LogLine(redis["clock"], source, "warning" if serious else "info", redis["text"])
    match = _LINE.fullmatch(line)
    if match is None:
        return LogLine(clock, source, "info", line)
    # Padding is cut to its columns: what is indented by its writer stays so.
    body = line[max(match.end("source"), match.start("source") + SOURCE_COLUMNS) + 1 :]
    mark = _MARK.fullmatch(body)
    if mark is None:
        return LogLine(match["clock"], match["source"], "info", body)
    return LogLine(match["clock"], match["source"], mark["level"], mark["text"])


def is_news(line: LogLine) -> bool:
    """Whether it is shown to one who follows everything: what redis-server says of itself when all is well is not."""
    return line.source != "redis" or line.level != "info"


def pretty(line: LogLine) -> Text:
    """Time, source in a colour of its own, what happened in the colour of its level."""
    return log_text(line.clock, line.source, line.level, line.text)


class Follower:
    """What is new in the logs of a folder at each call of `lines`."""

    def __init__(self, folder: Path, from_start: bool = False) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}
        self._rests: dict[Path, bytes] = {}
        if not from_start:
            self._offsets = {path: path.stat().st_size for path in folder.glob("*.log")}

    def lines(self) -> list[LogLine]:
        """New whole lines of all logs; those that carry a time in order of it."""
        clock = time.strftime("%H:%M:%S.000")
        found: list[LogLine] = []
        for path in sorted(self._folder.glob("*.log")):
            for line in self._new(path):
                last = found[-1].clock if found and found[-1].source == path.stem else clock
                found.append(parse(line, path.stem, last))
        # Stable, so that the lines of one traceback stay together behind their first.
        return sorted(found, key=lambda line: line.clock)

    def _new(self, path: Path) -> list[str]:
        try:
            with path.open("rb") as log:
                size = log.seek(0, 2)
                offset = self._offsets.get(path, 0)
                if size < offset:  # it was cut
                    offset = 0
                log.seek(offset)
                data = log.read(READ_BYTES_MAX)
        except FileNotFoundError:
            return []
        self._offsets[path] = offset + len(data)
        *whole, rest = (self._rests.pop(path, b"") + data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            whole, rest = [*whole, rest], b""
        if rest:
            self._rests[path] = rest
        return [line.decode(errors="replace").rstrip() for line in whole if line.strip()]


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, [] if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - READ_BYTES_MAX))
            return [line.decode(errors="replace").rstrip() for line in deque(log, maxlen=count)]
    except FileNotFoundError:
        return []

"""What happened, for people: rings of the last events and log lines, and the clients that follow them. Knows
neither sockets nor files.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from controller.events import Answer
from liquefy.control import Reply
from liquefy.effects import Log
from liquefy.messages import LogLine
from liquefy.wording import plain


class _Follower(NamedTuple):
    client: bytes
    id: int
    kind: str
    source: str
    detail: bool


class Journal:
    """`events_max`, `log_lines_max`: how many are kept. What the followers are due is in `out`."""

    def __init__(self, name: str, events_max: int, log_lines_max: int) -> None:
        self._name = name
        self._events: deque[dict[str, Any]] = deque(maxlen=events_max)
        self._lines: deque[dict[str, Any]] = deque(maxlen=log_lines_max)
        self._followers: list[_Follower] = []

    def logged(self, log: Log, now_ms: int) -> list[Answer]:
        """A line of the controller itself; an event if it has a word for it. Lines for debugging are events at most."""
        answers: list[Answer] = []
        text = plain(log.text)
        if log.level != "debug":
            answers += self.told(LogLine(now_ms / 1000, log.level, self._name, text))
        if log.event:
            fields = {name: plain(value) if type(value) is str else value for name, value in log.fields.items()}
            item = {"time_s": now_ms / 1000, "level": log.level, "event": log.event, "text": text, "fields": fields}
            self._events.append(item)
            answers += self._deliver("events", item)
        return answers

    def told(self, line: LogLine) -> list[Answer]:
        """A line of any process."""
        item = {"time_s": line.time_s, "level": line.level, "source": line.source, "text": plain(line.text)}
        self._lines.append(item)
        return self._deliver("logs", item)

    def sources(self) -> set[str]:
        """Whose lines are kept."""
        return {line["source"] for line in self._lines}

    def read(
        self, client: bytes, id: int, kind: str, last: int, follow: bool, source: str, detail: bool
    ) -> list[Answer]:
        """The last items of `kind` ("events" or "logs"), and all that come, if `follow`. `detail`: those for debugging
        too."""
        follower = _Follower(client, id, kind, source, detail)
        ring = self._events if kind == "events" else self._lines
        items = [item for item in ring if _wants(follower, kind, item)]
        answers = [Answer(client, Reply(id, item=item)) for item in items[max(0, len(items) - last) :]]
        if follow:
            self._followers.append(follower)
        else:
            answers.append(Answer(client, Reply(id, result={}, end=True)))
        return answers

    def gone(self, client: bytes) -> None:
        self._followers = [f for f in self._followers if f.client != client]

    def _deliver(self, kind: str, item: dict[str, Any]) -> list[Answer]:
        return [Answer(f.client, Reply(f.id, item=item)) for f in self._followers if _wants(f, kind, item)]


def _wants(follower: _Follower, kind: str, item: dict[str, Any]) -> bool:
    return (
        follower.kind == kind
        and (not follower.source or follower.source == item.get("source"))
        and (follower.detail or item["level"] != "debug")
    )

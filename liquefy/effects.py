"""What a state may ask for. A state takes an event and the time and returns a list of these; a service performs
them in order. Effects of one role alone are in that role's `state.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from liquefy.messages import Control, Part, Posted, Session


class ToBroker(NamedTuple):
    """A control message for a broker itself: the one at our connection `link`, as `liquefy.links` has them."""

    message: Control
    link: int = 0


class Relay(NamedTuple):
    """A control message for another peer, through that broker."""

    to: Session
    message: Control
    link: int = 0


class SendFrame(NamedTuple):
    """Messages for one node, through that broker: `header[i]` describes `parts[i]`."""

    header: list[Part]
    parts: list[list[Posted]]
    link: int = 0


class Log(NamedTuple):
    """A line of the log. `level` is "debug", "info", "warning" or "error"; `event` a stable word for programs
    ("move", "failover", ...) or ""; `text` is for people; `fields` for `--json`."""

    level: str
    text: str
    event: str = ""
    fields: dict[str, Any] = {}  # noqa: RUF012  (never mutated; a NamedTuple's default)


class Count(NamedTuple):
    """Add to a counter that the role reports."""

    name: str
    by: int = 1

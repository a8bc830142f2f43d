"""What the broker's state is told, and what it wants done: shapes only."""

from __future__ import annotations

from typing import NamedTuple

from liquefy import messages as m
from liquefy.effects import Count, Log
from liquefy.messages import Session


class FromPeer(NamedTuple):
    """A control message for the broker."""

    session: Session
    message: m.Control
    key_role: str = ""
    """What the peer may be by its key; "" where no keys are asked for."""


class RelayFrom(NamedTuple):
    """A control message for the peer `to`, unopened."""

    session: Session
    to: Session
    payload: bytes


class DataFrom(NamedTuple):
    """A data frame: `header` is a list of Part, `payload` is parallel to it."""

    session: Session
    header: bytes
    payload: bytes


class Unreachable(NamedTuple):
    """A send to this session was refused: its connection is gone."""

    session: Session


class BadFrameFrom(NamedTuple):
    """The peer sent what is not in the protocol."""

    session: Session
    error: str


class Tick(NamedTuple):
    """Due every `ping_interval_ms`."""


Event = FromPeer | RelayFrom | DataFrom | Unreachable | BadFrameFrom | Tick


class SendTo(NamedTuple):
    """A control message from the broker."""

    session: Session
    message: m.Control


class Forward(NamedTuple):
    """These frames, as they are (sender first)."""

    session: Session
    frames: list[bytes]


class Cut(NamedTuple):
    """Close the connection of this session, now: what waits in it to be read is let go of."""

    session: Session


Effect = SendTo | Forward | Cut | Log | Count

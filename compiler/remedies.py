"""What to change, for people, where the front end that found something knows nothing better: a sentence for each kind
of harm, and for each reason against a key. Knows no language.
"""

from __future__ import annotations

from compiler.facts import Harm, Hazard, Initial, Mode, Variable

_OF_HARM = {
    Harm.DYNAMIC: "write out what it does there, or do it when the service starts",
    Harm.HELD: "answer each request by itself, and keep plain data of it for others",
    Harm.TIMER: "do it before the answer, or in a service of its own",
    Harm.LOCAL: "keep it where all nodes reach it: in a database, or in a variable of a module",
    Harm.STREAM: "answer at once there, and send events from a handler that touches nothing that is kept",
    Harm.OPAQUE: "keep what requests change in plain data of a module, or where all nodes reach it",
}
SOCKETS = "requests to upgrade are answered 501: send events (text/event-stream), or let clients ask again"
_OF_SOCKETS = ("websocket", "socket.io", "clients' connections")

EVERY_REQUEST = "do it in the handlers that need it"
NOT_TOLD_APART = "register those handlers under paths that are written out"

_BY_PART = (
    "one context for all is fine; to spread it, keep one for each user, or whatever the requests name, under one part "
    "of the request as it comes, such as an id of the path: not changed, joined to another, or one of several"
)
_AGAINST = {
    Mode.READ: _BY_PART,
    Mode.WRITE: _BY_PART,
    Mode.ESCAPE: "hand on what is needed of it, such as one entry or a copy",
}
WAITS = "waits, and keeps its context from others meanwhile"
APART = "let functions of the service do it, one after the other: first what touches state, then what waits"
TOO_DEEP = "let fewer functions call one another in a row, and fewer ways lead to each"
NO_PART = "use that part of the request itself as the key"
OTHER_PART = "find all entries by the same part of the request"
OTHER_TYPE = "convert the key in the same way everywhere"


def of_hazard(hazard: Hazard) -> str:
    if hazard.remedy:
        return hazard.remedy
    held = hazard.harm in (Harm.HELD, Harm.OPAQUE, Harm.TIMER)
    return SOCKETS if held and any(word in hazard.what for word in _OF_SOCKETS) else _OF_HARM[hazard.harm]


def of_wait(first: int | None) -> str:
    """Of a handler that waits with its context. `first`: the line of another reason why it is not cut."""
    return APART if first is None else f"see to line {first} first"


def of_variable(variable: Variable) -> str:
    """Of one that cannot be stored, or is made once."""
    if variable.remedy:
        return variable.remedy
    if variable.initial is Initial.ONCE:
        return "make it of what is written in the source, or read it from the environment, if it may be the same always"
    if any(word in variable.detail for word in _OF_SOCKETS):
        return SOCKETS
    return _OF_HARM[Harm.OPAQUE]


def against_key(mode: Mode, line: int) -> str:
    """Of a use that is not of one entry alone, in that line."""
    if mode is Mode.WALK:
        return f"keep what line {line} needs of all entries in a variable of its own"
    return _AGAINST[mode]

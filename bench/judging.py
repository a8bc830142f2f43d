"""What makes a measurement right: what was answered, against what is stored. Each judge returns what is wrong, a line
each; nothing is right. Pure: knows no cluster, no client and no clock, and prints nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench import views
from controller.balance import Plan
from controller.trial import View
from liquefy.values import unpack

ERRORS_MAX = 100
"""Kept; where one message is lost, all that follow on its key are wrong."""

LAST = 10
"""How many n a context of `counter` keeps."""

NUMBERS = LAST + 1
"""The n of a key's messages are 1 to so many, over and over: one more than are kept, so that it shows in them if a
message had no effect, or two, or came too early."""

CLOSE = 1e-9
"""Two ways to add the same loads differ by their rounding."""


class Book:
    """Of each key, how many messages were sent and how many answered since its context began. An answer is the count
    of the key: as each message has its effect once, and those of a key in order, the next answer is one more. What was
    wrong once stays wrong, in the cases that follow on the same contexts too."""

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.errors: list[str] = []

    def send(self, key: str) -> None:
        self.sent[key] = self.sent.get(key, 0) + 1

    def answer(self, key: str, status: int, body: Any) -> None:
        count = self.answered[key] = self.answered.get(key, 0) + 1
        if status not in (0, 200):
            self.error(f"{key}: {status} {body}")
        elif body != count:
            self.error(f"{key}: answer {count:,} says {body}")

    def error(self, text: str) -> None:
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(text)

    def wrong(self, answers: int) -> list[str]:
        """`answers`: how many there were in the time that is measured."""
        sent, answered = sum(self.sent.values()), sum(self.answered.values())
        found = list(self.errors)
        if sent != answered:
            found.append(f"{sent:,} messages were sent, {answered:,} answered")
        return found if answers else [*found, "nothing was answered"]


Expected = Callable[[int], dict[str, Any]]
"""What the context of a key has to be after so many messages."""


def n_of(place: int) -> int:
    """The n of a key's message, its first is at 0."""
    return place % NUMBERS + 1


def counter_context(count: int) -> dict[str, Any]:
    """Of `counter`, if the n are those of `n_of`."""
    whole, rest = divmod(count, NUMBERS)
    total = whole * NUMBERS * (NUMBERS + 1) // 2 + rest * (rest + 1) // 2
    return {"count": count, "sum": total, "last": [n_of(place) for place in range(max(0, count - LAST), count)]}


def stored(book: Book, keys: Iterable[str], contexts: Mapping[str, dict[str, Any]], expected: Expected) -> list[str]:
    """The contexts of these keys, as they are stored; none where nothing was answered."""
    found = []
    for key in keys:
        count, context = book.answered.get(key, 0), contexts.get(key, {})
        wanted = expected(count) if count else {}
        if context != wanted:
            differ = [name for name in {**context, **wanted} if context.get(name) != wanted.get(name)]
            shown = ", ".join(f"{n} {_short(context.get(n))} instead of {_short(wanted.get(n))}" for n in differ)
            found.append(f"{key}, of which {count:,} were answered, has {shown}")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}... ({len(text)})"


def same(what: str, have: Any, want: Any) -> list[str]:
    return [] if have == want else [f"{what}: {have} instead of {want}"]


def requests(answered: int, bad: int, open_max: int, grown: Iterable[int] = ()) -> list[str]:
    """Of who asks by HTTP and does not look at the answers. `open_max`: requests that may have had no answer yet when
    it stopped; `grown`: by how much each count went up that is stored."""
    found = [] if answered else ["nothing was answered"]
    if bad:
        found.append(f"{bad:,} requests failed")
    for more in grown:
        if not answered <= more <= answered + open_max:
            found.append(f"{answered:,} were answered (up to {open_max:,} were open), and {more:,} counted")
    return found


def visits(context: Mapping[str, Any]) -> int:
    """How many requests a context has counted: written by hand, or as the compiler keeps a module's dict."""
    if "state" in context:
        return int(unpack(context["state"])["v"]["app.visits"])
    if "entry:app.visits" in context:
        return int(json.loads(context["entry:app.visits"])["roots"]["entry"])
    return int(context.get("visits", context.get("count", 0)))


def planned(view: View, plan: Plan) -> list[str]:
    """Moves that can be made, and that bring what the plan says."""
    moves = [*plan.required, *plan.moves]
    nodes = {node.name for node in view.nodes if node.takes and not node.leaving}
    found = [f"{step.partition} is not on {step.source}" for step in moves if view.where[step.partition] != step.source]
    found += [f"{step.target} takes no partitions" for step in moves if step.target not in nodes]
    if len({step.partition for step in moves}) != len(moves):
        found.append("a partition is moved twice")
    if found:
        return found
    highest = views.highest(view, moves)
    if abs(highest - plan.expected) > CLOSE * len(view.where):
        found.append(f"the highest is {highest:.6f} then, and the plan says {plan.expected:.6f}")
    if highest > views.highest(view, []) + CLOSE:
        found.append(f"the highest is {highest:.6f} then, more than before")
    return found

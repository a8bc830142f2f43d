"""What flows through a simulated cluster. Each request carries its whole plan: which fluxion emits what to whom, what
fails. So what must have happened in the end is known without asking anybody.

A handling leaves an entry in its context (the *book*): which message, from whom, the how-manieth. `src` and `n` of a
body say from whom, and its place in the order of what they sent: messages with one `src` must reach one context in
rising order of `n`. A message that is promised no order has no `src`. What comes by way of fluxions without context
is promised order among what went through the same processes ("@node1.7" in `src`); while no process fails, migrations
keep it in order whichever way it went. Without a context, what is sent again may be handled again, behind what came
later: it is promised no order.
"""

from __future__ import annotations

import hashlib
import random
from typing import NamedTuple

import msgspec

from liquefy.graph import OUTPUT, Fluxion, Graph, Group, Input
from liquefy.hosting import Done, Emitted, Item

STATEFUL = {"count": "acct", "sum": "acct", "ledger": "book", "only": "single", "flip": "toggle"}
"""Fluxions with a context, and their groups. `count` and `sum` share theirs; `flip` keeps a bit and no book."""

STATELESS = ("pass", "spread", "echo", "call", "fetch")
SPECULATIVE = ("spread", "echo", "fetch")
"""Those that may be called before a commit, in every other seed or so."""

CHAIN = ("count", "echo", "spread", "ledger")
AWAITING = ("call", "fetch", "sum")
SINGLE_KEY = "-"
DEADLINE_MS = 4_000


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """One message: to `fluxion`, of `key` ("" inherits), after `delay_ms`. `fail`: "", "raise" or "poison"."""

    fluxion: str
    key: str = ""
    delay_ms: int = 0
    fail: str = ""
    children: list[Plan] = []

    @property
    def size(self) -> int:
        """Messages, this one included."""
        return 1 + sum(child.size for child in self.children)


class Body(msgspec.Struct, frozen=True, array_like=True):
    """`path`: request, then the index of each emission, as "17.0.2"."""

    path: str
    src: str
    n: list[int]
    plan: Plan
    not_before_ms: int = 0
    """Of a delayed message: the Unix time before which it must not be handled."""


class BookEntry(msgspec.Struct, frozen=True, array_like=True):
    path: str
    src: str
    n: list[int]
    id: bytes


class Shape(NamedTuple):
    """What requests of one seed are like."""

    partitions: int
    keys: int
    depth: int
    fan: int
    delays: float
    failures: float
    poison: float
    hot: bool = False
    """Much traffic between few keys, where order is easily lost."""
    chain: bool = False
    """All of it by one way, from context to context past fluxions without: there order is lost if these overtake."""


class TooEarly(Exception):
    """A delayed message is handled before its time."""


_body = msgspec.msgpack.Decoder(Body)
_entry = msgspec.msgpack.Decoder(BookEntry)
pack = msgspec.msgpack.Encoder().encode


def read_body(data: bytes) -> Body:
    return _body.decode(data)


def read_entry(data: bytes) -> BookEntry:
    return _entry.decode(data)


def is_stateful(fluxion: str) -> bool:
    return fluxion in STATEFUL


def group_of(fluxion: str) -> str:
    return STATEFUL.get(fluxion, fluxion)


def bundle_of(version: int) -> bytes:
    """The code of one version, as far as anybody here looks at it."""
    return f"code of version {version}".encode()


def make_graph(shape: Shape, version: int = 1, bundles: int = 1, more: int = 0, name: str = "g") -> Graph:
    """The graph that all seeds share, under this name; `bundles` > 1 spreads the code over so many hosts. Each version
    has other code, and `more` partitions of what has no context."""
    digest = hashlib.sha256(bundle_of(version)).hexdigest()
    names = [*STATEFUL, *STATELESS]
    everywhere = (*names, OUTPUT)
    fluxions = tuple(
        Fluxion(
            name=fluxion,
            code=f"code:{fluxion}",
            group=group_of(fluxion),
            key="params.key" if fluxion in STATEFUL or fluxion == "pass" else "",
            bundle=digest if i % bundles == 0 else f"other{version}",
            streams=everywhere,
            timeout_ms=300,
            speculative=fluxion in SPECULATIVE and shape.partitions % 2 == 1,
        )
        for i, fluxion in enumerate(names)
    )
    groups = tuple(
        Group(each, each not in STATELESS, 1 if each == "single" else shape.partitions + more * (each in STATELESS))
        for each in dict.fromkeys(group_of(n) for n in names)
    )
    inputs = tuple(Input(f"in-{n}", "POST", f"/{name}/{n}/{{key}}", n) for n in names)
    return Graph(name, version, digest, inputs, fluxions, groups, DEADLINE_MS)


def make_plan(rng: random.Random, shape: Shape) -> Plan:
    """A request: a tree of messages with one answer in it."""
    answered = [False]
    return _plan(rng, shape, shape.depth, answered, True)


def _plan(rng: random.Random, shape: Shape, depth: int, answered: list[bool], root: bool) -> Plan:
    if shape.chain:
        fluxion = CHAIN[-1 - depth] if rng.random() < 0.95 else "call"
    elif shape.hot:
        fluxion = rng.choice(("count", "sum", "ledger", "ledger", "pass", "spread", "echo", "call"))
    else:
        fluxion = rng.choice(("count", "count", "sum", "ledger", "only", "flip", *STATELESS))
    inherits = fluxion in STATELESS and fluxion != "pass"
    key = "" if not root and (inherits or rng.random() < 0.4) else f"k{int(shape.keys * rng.random() ** 2)}"
    if fluxion == "only":
        key = SINGLE_KEY
    elif fluxion == "flip" and not key:
        key = "k0"  # who judges the bits must know the key
    fail = ""
    if rng.random() < shape.failures:
        fail = "raise"
    elif rng.random() < shape.poison:
        fail = "poison"
    children: list[Plan] = []
    answers = not answered[0] and (depth == 0 or rng.random() < 0.3)
    if answers:
        answered[0] = True
    fan = rng.randint(0, shape.fan) if depth else 0
    if not answered[0] and depth:
        fan = max(1, fan)
    if fluxion == "spread" and depth:
        fan += rng.randint(0, 2)
    for _ in range(fan):
        child = _plan(rng, shape, depth - 1, answered, False)
        if rng.random() < shape.delays:
            child = Plan(child.fluxion, child.key, rng.choice((5, 40, 300)), child.fail, child.children)
        children.append(child)
    if answers:
        children.insert(rng.randint(0, len(children)), Plan(OUTPUT))
    return Plan(fluxion, key, 0, fail, children)


def handle(item: Item, fields: dict[str, bytes], process: str, now_ms: int, slack_ms: int = 0, life: int = 0) -> Done:
    """What the fluxion does with the message, as its plan says; `fields` is its context, not to be changed.
    `process`: who sends what comes of it; without a context, the sender is that process and not the partition.
    `slack_ms`: how far two clocks may be from each other. `life`: of the store; where it has lost commits, the same
    numbers are given out again."""
    body = read_body(item.body)
    plan = body.plan
    if plan.fluxion != item.fluxion:
        raise AssertionError(f"{body.path} is for {plan.fluxion} and came to {item.fluxion}")
    if now_ms < body.not_before_ms:
        raise TooEarly(f"{body.path} is handled {body.not_before_ms - now_ms} ms before it is due")
    if plan.fail:
        return Done(item.ticket, [], {}, (), f"ValueError: planned at {body.path}", "Traceback", 10, 10)
    sets: dict[str, bytes] = {}
    removes: tuple[str, ...] = ()
    ordered = not any(child.delay_ms for child in plan.children)
    if item.fluxion == "flip":
        if "on" in fields:
            removes = ("on",)
        else:
            sets = {"on": b"\xc3"}
        src, n = "", []
    elif is_stateful(item.fluxion):
        count = msgspec.msgpack.decode(fields["n"]) if "n" in fields else 0
        entry = BookEntry(body.path, body.src, body.n, item.id)
        sets = {"n": pack(count + 1), f"e{count}": pack(entry), f"last{count}": b"\xc0"}
        removes = (f"last{count - 1}",) if count else ()
        src, n = f"{group_of(item.fluxion)}/{item.key}{f'#{life}' if life else ''}", [count]
    else:
        src = f"{body.src}>{item.fluxion}:{item.key}@{process}" if body.src and ordered else ""
        n = body.n
    emitted = []
    for index, child in enumerate(plan.children):
        child_src = "" if child.delay_ms else src
        path = f"{body.path}.{index}"
        not_before_ms = now_ms + child.delay_ms - slack_ms if child.delay_ms else 0
        made = Body(path, child_src, [*n, index], child, not_before_ms)
        data = path.encode() if child.fluxion == OUTPUT else pack(made)
        emitted.append(Emitted(child.fluxion, child.key, data, child.delay_ms))
    after = {**fields, **sets}
    for name in removes:
        del after[name]
    size = sum(map(len, after.values()))
    return Done(item.ticket, emitted, sets, removes, "", "", 10, 10, size, not after)

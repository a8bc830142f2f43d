"""From a seed that fails to what of its plan is needed for that, and to the story of what went wrong.

Shrinking leaves parts of the plan out, halves first, as long as what remains fails in the same way.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import msgspec
from core import Violation
from workload import read_body
from world import World

from liquefy.commits import PartitionCommit
from liquefy.graph import OUTPUT
from liquefy.hosting import Item
from liquefy.messages import Message, Posted, Route, decode_message

SHRINK_S = 60.0
STORY_LINES = 80


def kind_of(error: BaseException) -> str:
    """What failed, without names and numbers."""
    text = str(error).splitlines()[0] if isinstance(error, Violation) else type(error).__name__
    return re.sub(r"[\w.@#>/]*\d[\w.@#>/]*|'[^']*'|\[.*|\{.*", "_", text)


def attempt(seed: int, without: frozenset[int], mistakes_kill: bool = False) -> tuple[World, BaseException | None]:
    """Run one seed, less a part of its plan; what it did wrong, or None."""
    world = World(seed, without)
    world.mistakes_kill = mistakes_kill
    try:
        world.run()
    except Exception as error:
        return world, error
    return world, None


def shrink(
    numbers: list[int], fails: Callable[[frozenset[int]], bool], now_s: Callable[[], float], limit_s: float = SHRINK_S
) -> frozenset[int]:
    """What can be left out of `numbers`, so that it still fails."""
    until_s = now_s() + limit_s
    without: frozenset[int] = frozenset()
    size = max(1, len(numbers) // 2)
    while True:
        left = [n for n in numbers if n not in without]
        gone = False
        for start in range(0, len(left), size):
            if now_s() > until_s:
                return without
            chosen = without | frozenset(left[start : start + size])
            if fails(chosen):
                without, gone = chosen, True
        if size == 1 and not gone:
            return without
        size = size if gone and size == 1 else max(1, size // 2)


def explain(seed: int, error: BaseException, shrink_s: float = SHRINK_S) -> str:
    """The seed, its shrunk schedule, and the story of the message or partition that went wrong."""
    world = World(seed)
    kind = kind_of(error)

    def fails(without: frozenset[int]) -> bool:
        found = attempt(seed, without)[1]
        return found is not None and kind_of(found) == kind

    without = shrink([planned.number for planned in world.plan], fails, time.monotonic, shrink_s)
    world, found = attempt(seed, without)
    error = found or error
    kept = [planned for planned in world.plan if planned.number not in without]
    lines = [f"seed {seed}: {error}", "", f"schedule ({len(kept)} of {len(world.plan)} are needed):"]
    lines += [f"{p.at_ms:10.2f} {p.what[:120]}" for p in sorted(kept, key=lambda p: p.at_ms)]
    about = list(getattr(error, "about", ()))
    lines += ["", f"story of {' and '.join(about) or 'the end'}:"]
    lines += story(world, about)[-STORY_LINES:]
    left_out = ",".join(map(str, sorted(without)))
    lines += ["", f"again: python tests/simulation/run.py --seed {seed} --without {left_out or '-'} --story"]
    return "\n".join(lines)


def story(world: World, words: list[str]) -> list[str]:
    """What happened, or the lines of it that have one of the words, as words."""
    wanted = re.compile("|".join(rf"(?<![\w.]){re.escape(word)}(?![\w.])" for word in words)) if words else None
    told = (f"{at:10.2f} {who:<11} {shorten(what)}"[:1_000] for at, who, what in world.sim.story)
    return [line for line in told if wanted is None or wanted.search(line)]


def shorten(what: object) -> str:
    """As one can read it: messages by id, path and addressee, structures without names."""
    if isinstance(what, str):
        return what
    if isinstance(what, bytes):
        return what.decode() if what.isascii() and what.decode().isprintable() else what.hex()
    if isinstance(what, Message):
        path = what.body.decode(errors="replace") if what.fluxion == OUTPUT else ""
        if not path:
            with contextlib.suppress(msgspec.DecodeError):
                path = read_body(what.body).path
        return f"<{path} {what.id.hex()} to {what.fluxion}:{what.key}{f' due {what.due_ms}' if what.due_ms else ''}>"
    if isinstance(what, Posted):
        return f"{what.seq}{'R' if what.resend else ''}{shorten(what.message)}"
    if isinstance(what, Route):
        return f"{what.destination}@{shorten(what.session)}/e{what.epoch}/p{what.path}"
    if isinstance(what, PartitionCommit):
        out = [(seq, decode_message(packed)) for seq, packed in what.outbox]
        keys = [(c.key, sorted(c.sets), c.removes, c.emptied) for c in what.contexts]
        return (
            f"{what.partition} e{what.epoch} s{what.sequence} contexts {shorten(keys)} "
            f"seen {shorten([i for _, i in what.seen])} "
            f"out {shorten(out)} acked {what.acknowledged} dead {shorten([i for i, _ in what.dead])} {what.move or ''}"
        )
    if isinstance(what, Item):
        return f"{what.ticket}:{what.partition} {what.id.hex()}{'+' if what.fields is not None else ''}"
    if isinstance(what, frozenset):
        what = sorted(what)
    if isinstance(what, tuple | list):
        name = type(what).__name__ if hasattr(what, "_fields") else ""
        return f"{name}({', '.join(map(shorten, what))})"
    if isinstance(what, dict):
        return "{" + ", ".join(f"{shorten(k)}: {shorten(v)}" for k, v in what.items()) + "}"
    if isinstance(what, msgspec.Struct):
        return f"{type(what).__name__}({', '.join(shorten(getattr(what, f)) for f in what.__struct_fields__)})"
    return str(what)

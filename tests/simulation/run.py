"""Run seeds: `python tests/simulation/run.py --seeds 1000`, or tell the story of one: `--seed 17 --story [word...]`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import msgspec  # noqa: E402
from core import Violation  # noqa: E402
from mutants import MUTANTS, planted  # noqa: E402
from workload import read_body  # noqa: E402
from world import World  # noqa: E402

from liquefy.commits import PartitionCommit  # noqa: E402
from liquefy.graph import OUTPUT  # noqa: E402
from liquefy.hosting import Item  # noqa: E402
from liquefy.messages import Message, Posted, Route, decode_message  # noqa: E402


def try_seed(seed: int) -> tuple[World | None, BaseException | None]:
    """Run one seed; what it did wrong, or None."""
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        return world, error
    return world, None


def tell(world: World, words: list[str], last: int = 0) -> None:
    """The story, or the lines of it that have one of the words."""
    for at, who, what in world.sim.story[-last:]:
        line = f"{at:10.2f} {who:<11} {shorten(what)}"
        if not words or any(word in line for word in words):
            print(line[:3000])


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


def hunt(seeds: int) -> list[str]:
    """Which planted bugs no seed has found."""
    missed = []
    for mutant in MUTANTS:
        with planted(mutant):
            for seed in range(seeds):
                _, error = try_seed(seed)
                if error is not None:
                    print(f"{mutant.__name__:<34} seed {seed}: {str(error)[:100].splitlines()[0]}", flush=True)
                    break
            else:
                missed.append(mutant.__name__)
                print(f"{mutant.__name__:<34} NOT FOUND in {seeds} seeds", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--story", nargs="*", help="tell what happened (lines with one of these words)")
    parser.add_argument("--mutants", action="store_true", help="plant bugs, and see whether they are found")
    arguments = parser.parse_args()
    if arguments.mutants:
        return bool(hunt(arguments.seeds))
    if arguments.seed is not None:
        world, error = try_seed(arguments.seed)
        if arguments.story is not None and world is not None:
            tell(world, arguments.story)
        if error is not None:
            if isinstance(error, Violation):
                print(f"seed {arguments.seed}: {error}  [{' '.join(error.about)}]")
            else:
                traceback.print_exception(error)
        return error is not None
    began, failed = time.monotonic(), []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        world, error = try_seed(seed)
        if error is not None:
            failed.append(seed)
            kind = "" if isinstance(error, Violation) else f"{type(error).__name__}: "
            print(f"seed {seed}: {kind}{str(error)[:300]}", flush=True)
    seconds = time.monotonic() - began
    rate = f"{seconds:.1f} s ({arguments.seeds / seconds:.1f}/s)"
    print(f"{arguments.seeds} seeds in {rate}, {len(failed)} failed: {failed}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""make fuzz MINUTES=n [TARGET=name,...]: bytes for every parser and stories for every state, each for its share of the
time. With atheris (which `make fuzz` installs where it has wheels: Linux on x86-64) the bytes follow the code that they
reach; without it hypothesis makes more of those that the tests have, and of what fails the least that does. Stories
are those of seeds that follow each other. What fails is printed with what it takes to have it again; exit 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import random
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

import hypothesis
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "unit")]

OURS = ("liquefy", "broker", "worker", "controller", "gateway", "compiler")

GUIDED = sys.argv[1:2] == ["--guided"]
if GUIDED:
    import atheris  # type: ignore[import-not-found]

    # All that is loaded, the standard library and all, would take minutes, for each target.
    following = atheris.instrument_imports(include=list(OURS), enable_loader_override=False)
else:
    following = contextlib.nullcontext()

with following:
    from fuzz.making import Maker
    from fuzz.parsers import SEEDS, TARGETS
    from fuzz.states import STORIES

BOUNDED = hypothesis.settings(
    max_examples=500,
    database=None,
    deadline=None,
    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    suppress_health_check=list(hypothesis.HealthCheck),
)
"""One round; after it comes the next seed."""

SLOW_S = 10.0
"""A call that takes longer is a failure."""

START_S = 120.0
"""So much longer than its share of the time a process of atheris may take, to begin and to end."""


def tried(name: str, seed: int) -> str:
    """What went wrong with the story of that seed, or ""."""
    began = time.monotonic()
    try:
        STORIES[name](Maker(random.Random(seed)))
    except Exception:
        return f"{name}, seed {seed}:\n{traceback.format_exc()}"
    took_s = time.monotonic() - began
    return f"{name}, seed {seed}: took {took_s:.1f} s" if took_s > SLOW_S else ""


def told(name: str, seconds: float, first: int) -> bool:
    """Stories until the time is over, or something is found; whether nothing was."""
    ends, seed = time.monotonic() + seconds, first
    while time.monotonic() < ends:
        found = tried(name, seed)
        if found:
            print(found, file=sys.stderr)
            return False
        seed += 1
    print(f"{name:<12} {seed - first} tried, nothing found")
    return True


def made(name: str) -> SearchStrategy[bytes]:
    """Any bytes, and those that are nearly right."""
    seeds = SEEDS.get(name, ())
    chance = strategies.randoms(use_true_random=False)
    near = chance.map(Maker).map(lambda maker: maker.spoilt(maker.one(seeds)))
    return strategies.one_of(near, near, strategies.binary(max_size=200)) if seeds else strategies.binary(max_size=200)


def searched(name: str, seconds: float, first: int) -> bool:
    """By hypothesis, until the time is over, or something is found; whether nothing was."""
    ends, count, failed = time.monotonic() + seconds, 0, False

    def one(data: bytes) -> None:
        nonlocal count, failed
        began = time.monotonic()
        if began >= ends and not failed:
            return
        count += 1
        try:
            TARGETS[name](data)
            took_s = time.monotonic() - began
            assert took_s <= SLOW_S, f"took {took_s:.1f} s"
        except Exception:
            failed = True
            raise

    for round_ in itertools.count(first):
        if time.monotonic() >= ends:
            break
        try:
            hypothesis.seed(round_)(BOUNDED(hypothesis.given(made(name))(one)))()
        except Exception:
            print(f"{name}, again: --target {name} --seed {round_}\n{traceback.format_exc()}", file=sys.stderr)
            return False
    print(f"{name:<12} {count} tried, nothing found")
    return True


def guided(name: str, seconds: float) -> bool:
    """By atheris, in a process of its own, as it ends the one that it is in."""
    corpus = ROOT / ".fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(SEEDS.get(name, ())):
        (corpus / f"seed{number}").write_bytes(data)
    command = [sys.executable, __file__, "--guided", name, f"-max_total_time={int(seconds) + 1}", str(corpus)]
    try:
        done = subprocess.run(
            command, cwd=corpus, capture_output=True, text=True, check=False, timeout=seconds + START_S
        )
    except subprocess.TimeoutExpired:
        print(f"{name:<12} did not end within {seconds + START_S:.0f} s")
        return False
    tried = re.search(r"Done (\d+) runs", done.stderr)
    if done.returncode == 0 and tried is not None:
        print(f"{name:<12} {tried[1]} tried, nothing found", flush=True)
        return True
    print(f"{name:<12} {done.stderr[-4_000:]}", flush=True)
    return False


def follow(name: str, arguments: list[str]) -> None:
    """In the process of its own."""
    target = TARGETS[name]
    atheris.Setup([name, *arguments], lambda data: target(data) and None)
    atheris.Fuzz()


def main() -> None:
    if GUIDED:
        follow(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--target", default="", help="names with commas; all without")
    parser.add_argument("--seed", type=int, default=int(time.time()) * 1_000_000)
    chosen = parser.parse_args()
    names = chosen.target.split(",") if chosen.target else [*TARGETS, *STORIES]
    if unknown := set(names) - {*TARGETS, *STORIES}:
        parser.error(f"no target {min(unknown)}; there are {', '.join([*TARGETS, *STORIES])}")
    seconds = chosen.minutes * 60 / len(names)
    follows = importlib.util.find_spec("atheris") is not None
    print(f"{len(names)} targets, {seconds:.0f} s each, {'by atheris' if follows else 'by hypothesis'}")
    good = []
    for name in names:
        if name in STORIES:
            good.append(told(name, seconds, chosen.seed))
        else:
            good.append(guided(name, seconds) if follows else searched(name, seconds, chosen.seed))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()

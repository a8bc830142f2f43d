"""Everything that can go wrong, while anything is done, under load that keeps book: `python tests/chaos/run.py --rounds
200 --kinds kill,cut-worker --scenes calm,move-landing`.

Each round has a scene (`scenes.py`) and a fault (`faults.py`), each pair of them once before any comes again, and draws
a moment; it ends when no answer is late any more.
After so many rounds, a leg, the load ends: then each context must hold exactly what was acknowledged, nothing may be
left in outboxes, dead letters, moves and, when the service is undeployed, in Redis, and no process after the cluster's
end. Exit code 1 if anything is not so. A leg that fails can be had again with its seed: `--seed S --leg N`.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import proving
from faults import KINDS, Fault, Maker, chosen
from scenes import SCENES
from steady_load import Outage, SteadyLoad, Verdict
from world import DONE, REFUSED, World

CALM_S = 0.6
"""So long nothing may be late, for a round to end; longer than what counts as late."""

ROUND_S = 60.0
MOMENT_MAX_S = 0.5
HELD_MAX_S = 0.5
"""From a fault on a move is held in its phase so long, at most."""

LEG_ROUNDS = 40
QUIET_S = 40.0
STALL_S = 20.0
"""Somebody who waits longer than that is worth a look at the logs."""

FIRST_S = 60.0

KEYLESS = 4
"""Each so manieth request has no Idempotency-Key."""

TRIES_MIN = 4
MISSED_MAX = REFUSED_MAX = 0.5
"""From so many tries on, a phase that is missed more often, or a command that is refused more often, proves nothing."""

REFUSALS_SHOWN = 5


Pair = tuple[Maker, str]
"""What goes wrong, and in which scene."""


class Round(NamedTuple):
    kind: str
    scene: str
    outage: Outage


class Leg(NamedTuple):
    """What some rounds on one cluster came to. `problems`: what is not right."""

    rounds: list[Round]
    verdict: Verdict
    problems: list[str]
    reached: Counter[str]
    missed: Counter[str]
    answers: Counter[tuple[str, str]]
    refusals: list[str]


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    names = " ".join(name for makers in KINDS.values() for name in makers)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="of all random choices [the clock]")
    parser.add_argument("--leg", type=int, default=None, help="only this one")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--kinds", default="", help=f"of faults, or how their names begin [all] of: {names}")
    parser.add_argument("--scenes", default="", help=f"or how their names begin [all] of: {' '.join(SCENES)}")
    parser.add_argument("--back-max", type=float, default=0.0, help="seconds within which it must be back [any]")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        help="on a machine that others use, too, so many times longer nobody is late, and is waited for",
    )
    parser.add_argument("--names", action="store_true", help="print the names of faults and scenes, and do nothing")
    parser.add_argument("--keep", type=Path, default=None, help="a folder to leave logs and data in")
    return parser.parse_args()


def main() -> int:
    options = options_of(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    if options.names:
        print(*[name for makers in KINDS.values() for name in makers], *SCENES)
        return 0
    try:
        kinds = chosen(options.kinds.split(","))
    except ValueError as error:
        sys.exit(f"--kinds: {error} is no kind of fault\n  remedy: see --help")
    scenes = [name for name in SCENES if any(name.startswith(word) for word in options.scenes.split(","))]
    if not scenes:
        sys.exit(f"--scenes: {options.scenes!r} names none\n  remedy: see --help")
    if not KINDS["clocks"]:
        print("libfaketime is not there (Debian's package libfaketime): no clock is set")
    print(f"{options.rounds} rounds, seed {seed}, {options.rate:g} requests/s", flush=True)
    legs = []
    for number, (layout, pairs) in enumerate(planned(kinds, scenes, options.rounds, seed), 1):
        if options.leg in (None, number):
            print(f"leg {number}: {layout}, {len(pairs)} rounds", flush=True)
            legs.append(leg(options, f"{seed}/{number}", layout, pairs))
            for problem in legs[-1].problems:
                print(f"VIOLATION  seed {seed} leg {number}: {problem}", file=sys.stderr, flush=True)
    return report(legs, options.back_max)


def planned(
    kinds: dict[str, dict[str, Maker]], scenes: list[str], rounds: int, seed: int
) -> list[tuple[str, list[Pair]]]:
    """Layout and rounds of each leg: so that each kind has its share."""
    total = sum(len(makers) for makers in kinds.values())
    made = []
    for layout, makers in kinds.items():
        wanted = max(1, round(rounds * len(makers) / total)) if rounds else 0
        found = list(islice(drawn(random.Random(f"{seed}/{layout}"), makers, scenes), wanted))
        made += [(layout, found[first : first + LEG_ROUNDS]) for first in range(0, wanted, LEG_ROUNDS)]
    return made


def drawn(chance: random.Random, makers: dict[str, Maker], scenes: list[str]) -> Iterator[Pair]:
    """Without end: each kind as often as any other, and in each scene once before it is in one again."""
    orders = {name: chance.sample(scenes, len(scenes)) for name in makers}
    for turn in count():
        for name in chance.sample([*makers], len(makers)):
            yield makers[name], orders[name][turn % len(scenes)]


def leg(options: argparse.Namespace, seed: str, layout: str, pairs: list[Pair]) -> Leg:
    chance = random.Random(seed)
    done: list[Round] = []
    keep = options.keep and options.keep / seed.replace("/", "-")
    verdict, problems = Verdict(0, 0, 0, 0, 0, []), ["it was interrupted"]
    with proving.folder("chaos", keep, lambda: problems or any(map(stalled, done))) as folder:
        patience = options.patience
        world = World(folder, chance, layout == "replicated", layout == "clocks", patience, layout == "brokers")
        try:
            with world:
                seed_of_load = chance.randrange(10**6)
                with SteadyLoad(
                    world.urls, options.rate, seed=seed_of_load, patience=patience, keyless=KEYLESS
                ) as load:
                    world.wait(lambda: load.answered > options.rate / 2, "the first answers", FIRST_S)
                    problems = rounds_of(world, load, pairs, done)
                    load.stop()
                problems += afterwards(world)
                verdict = load.check(world.contexts("visits", "store", load.users))
                problems += verdict.examples[:20]
                problems += emptied(world)
        except Exception:  # whatever it was, the other legs tell something, too
            problems = [traceback.format_exc()]
        return Leg(done, verdict, problems, world.reached, world.missed, world.answers, world.refusals)


def rounds_of(world: World, load: SteadyLoad, pairs: list[Pair], done: list[Round]) -> list[str]:
    """Adds to `done`; the problem that ended it early."""
    round_s = world.patience * ROUND_S
    for maker, scene in pairs:
        fault, outage = one(world, load, maker, scene)
        done.append(Round(fault.kind, scene, outage))
        retried = sum(load.client.retries.values())
        print(
            f"{time.strftime('%H:%M:%S')} {len(done):4} {scene:<15} {fault.kind:<26} {fault.what:<60} back "
            f"{outage.back_s:5.2f} s  silent {outage.silence_s:5.2f} s  answered {load.answered:7}  again {retried:6}",
            flush=True,
        )
        if stalled(done[-1]):
            print("         " + longest(load), flush=True)
        if outage.back_s >= round_s:
            return [f"the service did not come back within {round_s:g} s after {fault.kind}: {fault.what}, {scene}"]
    return []


def stalled(one: Round) -> bool:
    return one.outage.back_s > STALL_S


def longest(load: SteadyLoad) -> str:
    """Who has waited longest, of those answered lately or not yet."""
    now_s, now_unix_s = time.perf_counter(), time.time()
    lately = [e for e in load.entries if e.answered_s > now_s - ROUND_S]
    worst = max(lately, key=lambda e: e.answered_s - e.due_s, default=None)
    text = f"{len(load.open_since())} not answered"
    if worst is not None:
        due = time.strftime("%H:%M:%S", time.localtime(now_unix_s - now_s + worst.due_s))
        text += f"; {worst.user} asked at {due} for {worst.answered_s - worst.due_s:.1f} s, {worst.tries} times"
    return text


def one(world: World, load: SteadyLoad, maker: Maker, scene: str) -> tuple[Fault, Outage]:
    """A fault in a scene, and wait until the service is back."""
    chance, calm_s, round_s = world.chance, world.patience * CALM_S, world.patience * ROUND_S
    time.sleep(chance.uniform(0, MOMENT_MAX_S))  # the moment is the experiment
    fault = maker(world)
    with contextlib.closing(SCENES[scene](world)) as doing:
        next(doing)
        time.sleep(chance.choice((0.0, chance.uniform(0, MOMENT_MAX_S))))
        began_s = time.perf_counter()
        fault.begin()
        held_s = min(fault.seconds, chance.uniform(0, HELD_MAX_S))
        time.sleep(held_s)
        if scene.startswith("move-"):
            next(doing, None)
        time.sleep(fault.seconds - held_s)
        fault.end()
        since_s = began_s if fault.alone else time.perf_counter()
        with contextlib.suppress(AssertionError):
            ended_s = time.perf_counter()
            world.wait(lambda: load.settled(ended_s, calm_s), "the service", ROUND_S)
            outage = Outage(load.outage(began_s).silence_s, load.outage(since_s).back_s)
            next(doing, None)
            world.wait(world.one_primary, "the replicas", ROUND_S)
            world.quiet()
            return fault, outage
    return fault, Outage(round_s, round_s)


def afterwards(world: World) -> list[str]:
    """What is not as it was, some time after the last request."""
    problems = []
    for condition, what in (
        (world.whole, "all nodes to be up and all partitions placed"),
        (lambda: not world.outboxes("visits"), "the outboxes to be empty"),
        (lambda: not world.moving(), "all moves to have ended"),
    ):
        try:
            world.wait(condition, what, QUIET_S)
        except AssertionError as error:
            problems.append(str(error))
    letters = world.ask("dead", action="list")
    problems += [f"dead letter {letter['id']}: {letter['error']}" for letter in letters]
    return problems


def emptied(world: World) -> list[str]:
    """Keys that are left when nothing is deployed any more."""
    world.ctl("undeploy", "visits", "--purge")
    with contextlib.suppress(AssertionError):
        world.wait(lambda: not world.left_behind(), "the keys to go", QUIET_S)
    left = world.left_behind()
    return [f"keys are left in Redis: {left}"] if left else []


def unproven(reached: Counter[str], missed: Counter[str], answers: Counter[tuple[str, str]]) -> list[str]:
    """What the rounds were meant to do and mostly have not done."""
    problems = []
    for name in sorted(reached | missed):
        tries = reached[name] + missed[name]
        if tries >= TRIES_MIN and missed[name] > MISSED_MAX * tries:
            problems.append(f"moves were caught {name} {reached[name]} times of {tries}")
    for command in sorted({command for command, _ in answers}):
        done, refused = answers[command, DONE], answers[command, REFUSED]
        if done + refused >= TRIES_MIN and refused > REFUSED_MAX * (done + refused):
            problems.append(f"{command} was refused {refused} times of {done + refused}")
    return problems


def report(legs: list[Leg], back_max_s: float) -> int:
    rounds = [each for made in legs for each in made.rounds]
    by_kind: dict[str, list[Outage]] = defaultdict(list)
    for kind, _, outage in rounds:
        by_kind[kind].append(outage)
    print(f"\n{'fault':<26} {'rounds':>6} {'back p50':>9} {'max':>7} {'silent p50':>11} {'max':>7}   (seconds)")
    for kind in (*sorted(by_kind), "all"):
        outages = by_kind[kind] if kind != "all" else [each.outage for each in rounds]
        if outages:
            back, silent = sorted(o.back_s for o in outages), sorted(o.silence_s for o in outages)
            print(
                f"{kind:<26} {len(outages):>6} {proving.quantile(back, 0.5):>9.2f} {back[-1]:>7.2f} "
                f"{proving.quantile(silent, 0.5):>11.2f} {silent[-1]:>7.2f}"
            )
    print("\nrounds by scene: " + ", ".join(f"{k} {n}" for k, n in sorted(Counter(r.scene for r in rounds).items())))
    reached, missed = sum((m.reached for m in legs), Counter()), sum((m.missed for m in legs), Counter())
    answers = sum((m.answers for m in legs), Counter())
    phases = (f"{name} {reached[name]} of {reached[name] + missed[name]}" for name in sorted(reached | missed))
    print("moves caught in their phase: " + ", ".join(phases))
    print("asked: " + ", ".join(f"{command} {what} {n}" for (command, what), n in sorted(answers.items())))
    for text, n in Counter(text for made in legs for text in made.refusals).most_common(REFUSALS_SHOWN):
        print(f"  {n} x {text}")
    late = sum(each.outage.back_s > back_max_s > 0 for each in rounds)
    verdicts = [made.verdict for made in legs]
    accepted, lost, doubled, reordered, failed = (sum(v[i] for v in verdicts) for i in range(5))
    print(
        f"\nrounds {len(rounds)}  accepted {accepted}  lost {lost}  doubled {doubled}  reordered {reordered}  "
        f"not answered {failed}  late {late}"
    )
    problems = [problem.splitlines()[-1] for made in legs for problem in made.problems]
    problems += unproven(reached, missed, answers)
    return proving.verdict([*problems, *([f"{late} rounds took longer than {back_max_s:g} s"] if late else [])])


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench NAME [--rounds N] [--seconds S] [--json]`; without a name, all of them in turn."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import signal
import sys
from collections.abc import Sequence

from bench import compiled, counter, report
from liquefy.config import DURABILITIES
from liquefy.errors import UserError

NAMES = ("counter", "chain", "overhead", "migrate", "failover", "rebalance", "scale", "memory", "compile")
CHOICE = "counter"
"""The one that is measured with each durability."""

ENDED = 128 + signal.SIGTERM
"""The exit code of one that was told to end."""


def main() -> int:
    try:
        return _main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def fitting(names: Sequence[str], only: str, durability: Sequence[str] = DURABILITIES[:1]) -> list[str]:
    """Those of these benchmarks that have such a case. Raises UserError if there is none."""
    cases = {name: importlib.import_module(f"bench.{name}").names() for name in names}
    if CHOICE in cases:
        cases[CHOICE] = counter.names(durability)
    found = [name for name in names if any(only in case for case in cases[name])]
    if not found:
        listed = "\n".join(f"    {name}: {case}" for name in names for case in cases[name])
        raise UserError(f"no case has {only!r} in its name\n  remedy: give a part of one of these\n{listed}")
    return found


def seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError
    return value


def rounds(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def durabilities(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.split(",")))
    if not set(found) <= set(DURABILITIES):
        raise ValueError
    return found


def _end(*_: object) -> None:
    """What was started is ended, then; being told so once more does not disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(ENDED)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures; `all` is every benchmark in turn.")
    parser.add_argument("name", nargs="?", default="all", choices=("all", *NAMES))
    parser.add_argument(
        "--rounds", type=rounds, default=5, help="of each case; the table has median, least and most [5]"
    )
    parser.add_argument(
        "--seconds", type=seconds, default=5.0, help="a case is measured for, where it is not what it takes [5]"
    )
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument(
        "--durability", type=durabilities, default=DURABILITIES[:1],
        help=f"when a commit counts, for `{CHOICE}`; several with commas, in turns: {','.join(DURABILITIES)} [memory]",
    )  # fmt: skip
    parser.add_argument("--plain", action="store_true", help="measure plain Python instead of a compiled copy")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.durability != DURABILITIES[:1] and options.name != CHOICE:
        parser.error(f"--durability is for `{CHOICE}` alone")
    signal.signal(signal.SIGTERM, _end)
    names = fitting(NAMES if options.name == "all" else (options.name,), options.only, options.durability)
    if not options.plain:
        compiled.run_there(["bench", *sys.argv[1:]])
    results = []
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        plan = report.Plan(name, options.rounds, options.seconds, options.only, options.json, options.durability)
        result = module.run(plan)
        results.append(result)
        if not options.json:
            print(report.table(result))
    if options.json:
        print(json.dumps(results if options.name == "all" else results[0], indent=2))
    return 0 if all(case.get("right", True) for result in results for case in result["cases"]) else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench NAME [--rounds N] [--seconds S] [--json]`; without a name, all of them in turn."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys

from bench import compiled, report

NAMES = ("counter", "chain", "overhead", "migrate", "failover", "rebalance", "scale", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures; `all` is every benchmark in turn.")
    parser.add_argument("name", nargs="?", default="all", choices=("all", *NAMES))
    parser.add_argument("--rounds", type=int, default=5, help="of each case; the table has median, least and most [5]")
    parser.add_argument("--seconds", type=float, default=5.0, help="a case is measured for in each round [5]")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--plain", action="store_true", help="measure plain Python instead of a compiled copy")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if not options.plain:
        compiled.run_there(["bench", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended, then
    results = []
    for name in NAMES if options.name == "all" else (options.name,):
        module = importlib.import_module(f"bench.{name}")
        plan = report.Plan(name, options.rounds, options.seconds, options.only, quiet=options.json)
        result = module.run(plan)
        results.append(result)
        if not options.json:
            print(report.table(result))
    if options.json:
        print(json.dumps(results if options.name == "all" else results[0], indent=2))
    return 0 if all(case.get("right", True) for result in results for case in result["cases"]) else 1


if __name__ == "__main__":
    sys.exit(main())

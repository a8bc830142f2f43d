"""Each service twice, as it is and compiled on three nodes, with the same requests and every group moved in the middle:
`python tests/equivalence/equivalence.py FOLDER [NAME ...]`.

`--each` moves before every request in turn as well, a run for each; `--together` also sends many requests at once,
where the folder has a `conc.py` that knows an invariant of the service. Exit code 1 if one answers otherwise without
a word.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster"), str(Path(__file__).resolve().parent)]

import cases  # noqa: E402
import original  # noqa: E402
from cases import Case  # noqa: E402
from comparing import compare  # noqa: E402
from compiled import Cluster, Deployed, compile_case  # noqa: E402
from original import NotStarted  # noqa: E402
from outcome import FAILED, OTHER, REFUSED, SAME, UNPROVED, Outcome, show  # noqa: E402
from requesting import count, masked, play  # noqa: E402

from compiler.program import Program  # noqa: E402
from ctl.asking import Refused  # noqa: E402
from liquefy.errors import UserError  # noqa: E402

CONCURRENT = "conc.py"
CONCURRENT_S = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="only these: todo-inmem, or js/todo-inmem")
    parser.add_argument("--each", action="store_true", help="move before every request in turn, too")
    parser.add_argument("--together", action="store_true", help="many requests at once, too")
    parser.add_argument("--originals", action="store_true", help="only look whether the originals run and answer")
    parser.add_argument("--show", action="store_true", help="what was answered, where it differs")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_intermixed_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended, then
    outcomes = run(cases.find(given.folder, tuple(given.names)), given)
    if given.json:
        print(json.dumps([one.as_json() for one in outcomes], indent=2))
    else:
        show(outcomes)
    return 1 if any(one.without_a_word for one in outcomes) else 0


def run(wanted: Iterable[Case], given: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    for case in wanted:
        begun_s = time.monotonic()
        one = Outcome(case.label, case.tier, case.differs, original.lines_of(case))
        try:
            _one(case, one, given)
        except Exception as error:  # the others are wanted all the same
            one.result, one.why = FAILED, f"{type(error).__name__}: {error}"[:600]
        one.seconds = round(time.monotonic() - begun_s, 1)
        outcomes.append(one)
        print(f"{one.name}: {one.result} {one.why} ({one.seconds} s)", file=sys.stderr, flush=True)
    return outcomes


def _one(case: Case, one: Outcome, given: argparse.Namespace) -> None:
    text = _original(case, one)
    if given.originals:
        return
    try:
        original.reset(case)
        program = compile_case(case)
    except UserError as error:
        one.result, one.why = REFUSED, str(error)
        return
    one.describe(program)
    if not text:
        one.result, one.why = UNPROVED, one.original or "has no requests"
        return
    with Cluster(case) as cluster:
        try:
            _compiled(case, one, cluster, program, text)
            if given.show and one.result == OTHER:
                print(one.why, file=sys.stderr)
            if given.each and one.result == SAME:
                _each(case, one, cluster, program, text)
            if given.together and one.result == SAME:
                _together(case, one, cluster, program)
        except (Refused, UserError) as refused:
            one.result, one.why = REFUSED, str(refused)
        if one.result == FAILED and given.show:
            for log in sorted(cluster.logs().glob("node*.log")):
                print(log.read_text()[-3000:], file=sys.stderr)


def _original(case: Case, one: Outcome) -> str:
    """What it answers, "" if it does not run here. What is expected is said to be so where it is known."""
    if case.requests is None:
        return ""
    original.reset(case)
    try:
        with original.running(case) as base:
            text = play(case, base)
    except NotStarted as error:
        one.original = f"the original does not run here: {str(error).strip().splitlines()[-1:]}"
        return ""
    if case.expected is not None:
        difference = compare(masked(case, case.expected.read_text(errors="replace")), text)
        one.original = (
            f"the original: {difference.requests} of {difference.of} not as expected, first {difference.first}"
            if difference
            else "as expected"
        )
        if difference:
            print(f"{case.label}: {one.original}\n{difference.text}", file=sys.stderr)
    return text


def _compiled(case: Case, one: Outcome, cluster: Cluster, program: Program, text: str) -> None:
    original.reset(case)
    with cluster.deployed(program) as deployed:
        found = play(case, cluster.address, count(text) // 2 + 1, deployed.hook, deployed.move_all)
        deployed.settle()
        _judge(one, text, found, deployed)
        one.moved, one.served = len(deployed.moved), tuple(sorted(deployed.served))


def _judge(one: Outcome, text: str, found: str, deployed: Deployed) -> None:
    difference = compare(text, found)
    if difference and difference.answered and one.upgrades:
        one.result, one.why = REFUSED, one.upgrades
    elif difference:
        one.result = OTHER
        one.why = f"{difference.requests} of {difference.of}, first {difference.first}\n{difference.text}"
    elif deployed.failed:
        one.result, one.why = FAILED, f"moves: {deployed.failed}"
    else:
        one.result = SAME


def _each(case: Case, one: Outcome, cluster: Cluster, program: Program, text: str) -> None:
    runs, same = count(text), 0
    for at in range(1, runs + 1):
        original.reset(case)
        with cluster.deployed(program) as deployed:
            found = play(case, cluster.address, at, deployed.hook, deployed.move_all)
            difference = compare(text, found)
            same += difference is None
            if difference and not one.why:
                one.why = f"moved before request {at}: {difference.first}\n{difference.text}"
    one.each = f"each {same}/{runs}"
    if same < runs:
        one.result = OTHER


def _together(case: Case, one: Outcome, cluster: Cluster, program: Program) -> None:
    script = next((p / CONCURRENT for p in case.folder.parents if (p / CONCURRENT).exists()), None)
    invariant = "todo" if case.name.startswith("todo-") and case.name != "todo-aiohttp" else case.name
    if script is None or f"@t('{invariant}')" not in script.read_text():
        return
    original.reset(case)
    with cluster.deployed(program) as deployed:
        done = subprocess.Popen([sys.executable, str(script), cluster.address, invariant])
        time.sleep(0.3)
        deployed.move_all()
        code = done.wait(CONCURRENT_S)
    one.together = "concurrent: held" if code == 0 else "concurrent: BROKEN"
    if code:
        one.result, one.why = OTHER, "its invariant does not hold under concurrent requests"


if __name__ == "__main__":
    sys.exit(main())

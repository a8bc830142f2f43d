"""What all benchmarks share: rounds and their medians, the machine and the commit that a figure belongs to, and the
table. Does not know what is measured.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from liquefy import redis_server, sending

ROOT = Path(__file__).resolve().parents[1]
WRONG_SHOWN_MAX = 5


class Plan(NamedTuple):
    """What was asked for. `only`: part of the names of cases to run; `quiet`: nothing but the result is printed;
    `durability`: of commits, where a benchmark has a choice."""

    bench: str
    rounds: int
    seconds: float
    only: str = ""
    quiet: bool = False
    durability: tuple[str, ...] = ("memory",)

    def tell(self, text: str) -> None:
        """Where it is, for who waits."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def wanted(self, case: str) -> bool:
        return self.only in case


def rounds(plan: Plan, cases: dict[str, Callable[[], dict[str, float]]]) -> list[dict[str, Any]]:
    """Each case once a round, one after the other, so that what else the machine does falls on all alike. Returns for
    each case its name, and for each figure the median, least and most of the rounds."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in cases if plan.wanted(name)}
    for number in range(plan.rounds):
        for name, figures in taken.items():
            figures.append(cases[name]())
            shown = ", ".join(f"{key} {_short(value)}" for key, value in figures[-1].items())
            plan.tell(f"{plan.bench} {number + 1}/{plan.rounds} {name}: {shown}")
    return [{"case": name, **merged(figures)} for name, figures in taken.items() if figures]


def merged(figures: list[dict[str, float]]) -> dict[str, Any]:
    """Figure -> median, min and max over the rounds. A truth is true if it was in each."""
    result: dict[str, Any] = {}
    for key in figures[0]:
        values = [each[key] for each in figures if key in each]
        if isinstance(values[0], bool):
            result[key] = all(values)
        else:
            result[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return result


def right(wrong: list[str]) -> bool:
    """Whether nothing is wrong; says what is, if anything."""
    for line in wrong[:WRONG_SHOWN_MAX]:
        print(f"wrong: {line}", file=sys.stderr, flush=True)
    if len(wrong) > WRONG_SHOWN_MAX:
        print(f"wrong: and {len(wrong) - WRONG_SHOWN_MAX:,} more", file=sys.stderr, flush=True)
    return not wrong


def ratio(above: dict[str, float], below: dict[str, float]) -> dict[str, float]:
    """Of two figures; least and most are what they may have been in one round. {} if the lower one was 0."""
    if below["min"] <= 0:
        return {}
    return {
        "median": above["median"] / below["median"],
        "min": above["min"] / below["max"],
        "max": above["max"] / below["min"],
    }


def result(
    plan: Plan, cases: list[dict[str, Any]], beside: Mapping[str, str] | None = None, **settings: Any
) -> dict[str, Any]:
    """The document of one benchmark. `beside`: versions of what it is compared with."""
    return {
        "bench": plan.bench,
        "commit": commit(),
        "machine": machine(),
        "versions": {**versions(), **(beside or {})},
        "settings": {"rounds": plan.rounds, "compiled": is_compiled(), **settings},
        "cases": cases,
    }


def table(document: dict[str, Any]) -> str:
    """The document for people: a line a case; median, and least and most in brackets."""
    cases = document["cases"]
    keys = list(dict.fromkeys(key for case in cases for key in case if key != "case"))
    rows = [["case", *keys], *([case["case"], *(_cell(case.get(key)) for key in keys)] for case in cases)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    settings = ", ".join(f"{name} {value}" for name, value in document["settings"].items())
    head = f"{document['bench']} at {document['commit']}; {document['machine']}; {settings}"
    return "\n".join([head, *lines, ""])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{_short(value['median'])} [{_short(value['min'])}..{_short(value['max'])}]"
    return "" if value is None else {True: "yes", False: "NO"}.get(value, str(value))


def _short(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def commit() -> str:
    """Of this tree; with a `+` where files differ from it."""
    try:
        sha = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return sha + ("+" if changed else "")


def is_compiled() -> bool:
    """Whether what is measured has its message path as machine code (`bench.compiled`)."""
    return not str(sending.__file__).endswith(".py")


def machine() -> str:
    """Processor, how many, and how busy it was before."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} x {model}, load {os.getloadavg()[0]:.1f}"


def versions() -> dict[str, str]:
    """Of what the figures depend on; without the programs that are not there."""
    packages = ("pyzmq", "msgspec", "uvloop", "hiredis", "httptools")
    programs = {"redis-server": str(redis_server.find_server()), "node": "node", "wrk": "wrk"}
    found = {name: _version(path) for name, path in programs.items()}
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        **{name: version for name, version in found.items() if version},
    }


def _version(program: str) -> str:
    """The first that it says which looks like one; `wrk` says it and fails."""
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return ""
    match = re.search(r"\d+\.\d+[\w.+-]*", shown)
    return match[0] if match else ""

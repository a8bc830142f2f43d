"""What a benchmark is asked for, and what is told of it."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bench import __main__ as bench
from bench import chain, clusters, compare, compiled, counter, migrate, report, views
from liquefy.errors import UserError


@pytest.mark.parametrize("name", bench.NAMES)
def test_cases_have_names_of_their_own(name: str) -> None:
    names = importlib.import_module(f"bench.{name}").names()
    assert names
    assert len(set(names)) == len(names)


def test_only_chooses_the_benchmarks_that_have_such_a_case() -> None:
    assert bench.fitting(bench.NAMES, "") == list(bench.NAMES)
    assert bench.fitting(bench.NAMES, "kill -9") == ["failover"]
    with pytest.raises(UserError, match=r"(?s)no case has 'kill -8'.*failover: SIGSTOP"):
        bench.fitting(["failover"], "kill -8")


@pytest.mark.parametrize("words", [["counter", "--only", "nothing"], ["all", "--only", "nothing"]])
def test_only_that_fits_nothing_ends_before_anything_is_started(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    monkeypatch.setattr(bench.signal, "signal", lambda *_: None)
    monkeypatch.setattr(compiled, "run_there", lambda _: pytest.fail("it was compiled"))
    assert bench.main() == 2
    assert "counter: zipf, 1024 outstanding" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--seconds", "0"], ["--seconds", "nan"], ["--seconds", "-1"]])
def test_numbers_with_which_nothing_is_measured(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "counter", *words])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2


@pytest.mark.parametrize("words", [["chain", "--durability", "disk"], ["counter", "--durability", "memory,floppy"]])
def test_durability_is_one_of_those_of_one_benchmark(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2


def test_each_durability_has_cases_of_its_own() -> None:
    both = counter.names(("memory", "disk"))
    assert len(set(both)) == 2 * len(counter.names())
    assert set(counter.names()) < set(both)
    assert bench.fitting(["counter"], "64 outstanding, disk", ("memory", "disk")) == ["counter"]
    with pytest.raises(UserError, match="no case has 'disk'"):
        bench.fitting(["counter"], "disk")


def test_wrk_measures_whole_seconds() -> None:
    assert [chain.whole(seconds) for seconds in (0.5, 1.0, 1.2)] == [1, 1, 2]


def test_a_ratio_has_the_least_and_the_most_that_it_may_have_been() -> None:
    above, below = ({"median": m, "min": least, "max": most} for m, least, most in ((100, 90, 120), (2, 1, 3)))
    assert report.ratio(above, below) == {"median": 50, "min": 30, "max": 120}
    assert report.ratio(above, {**below, "min": 0}) == {}


def test_migrations_are_compared_with_their_control() -> None:
    one = {"median": 1.0, "min": 1.0, "max": 1.0}
    cases = [{"case": "moved", "pause p50 ms": one}, {"case": "control", "pause p50 ms": dict.fromkeys(one, 50.0)}]
    moved, control = migrate._compared(cases, "control")
    assert moved["control/pause"]["median"] == 50.0
    assert "control/pause" not in control
    assert migrate._compared([{"case": "moved", "pause p50 ms": one}], "control") == [
        {"case": "moved", "pause p50 ms": one}
    ]


def test_partitions_of_the_same_index_talk() -> None:
    view = views.view(10, 1_000, "chance", seed=1)
    assert view.traffic.keys() == view.where.keys()
    for one, others in view.traffic.items():
        ((other, rate),) = others.items()
        assert one.rpartition("/")[2] == other.rpartition("/")[2]
        assert rate == view.traffic[other][one] > 0


class Process:
    """As `psutil` has one."""

    def __init__(self, kind: str, used_s: float) -> None:
        self.kind, self.used_s, self.gone = kind, used_s, False

    def children(self, recursive: bool) -> list[Process]:
        return []

    def cmdline(self) -> list[str]:
        return ["python", "-m", self.kind]

    def cpu_times(self) -> SimpleNamespace:
        if self.gone:
            raise psutil.NoSuchProcess(1)
        return SimpleNamespace(user=self.used_s, system=0.0)


def test_processor_time_is_that_of_processes_that_end_or_begin_too() -> None:
    broker, killed, successor = Process("broker", 5.0), Process("worker", 7.0), Process("worker", 0.0)
    there: list[Any] = [broker, killed]
    spent = clusters.Spent(lambda: [each for each in there if not each.gone])
    broker.used_s, killed.used_s = 6.0, 9.0
    spent.look()
    killed.gone = True
    successor.used_s = 0.5
    there.append(successor)
    assert spent.seconds() == {"broker": 1.0, "worker": 2.5}


# -- two commits -----------------------------------------------------------------------------------------------


def run_of(value: float, right: bool = True) -> compare.Run:
    figures: dict[str, Any] = {"messages/s": {"median": value, "min": value, "max": value}}
    return {"cases": [{"case": "uniform", **figures, "right": right}]}, ""


def test_rounds_are_compared_within_themselves_and_least_and_most_shown() -> None:
    ours, theirs = [run_of(10), run_of(30), run_of(20)], [run_of(10), run_of(10), run_of(11)]
    lines, right = compare.compared({compare.OURS: ours, compare.THEIRS: theirs})
    assert right
    values = ["20.000", "[10.000..30.000]", "against", "10.000", "[10.000..11.000]:"]
    assert [line.split() for line in lines] == [["uniform", "messages/s", *values, "1.82", "[1.00..3.00]"]]


def test_what_was_not_right_is_told_and_the_rest_compared() -> None:
    ours, theirs = [run_of(10), run_of(20, right=False)], [run_of(10), (None, "ended with 1: no room")]
    lines, right = compare.compared({compare.OURS: ours, compare.THEIRS: theirs})
    assert not right
    assert lines[:2] == ["  this tree, round 2: uniform: right NO", "  BASE, round 2: ended with 1: no room"]
    assert len(lines) == 3

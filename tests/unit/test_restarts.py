from __future__ import annotations

from ctl.restarts import BACKOFF_FIRST_S, BACKOFF_MAX_S, STEADY_S, Restarts


def test_the_first_end_is_answered_at_once() -> None:
    assert Restarts().on_exit("broker", 0.1) == 0.0
    assert Restarts().on_exit("broker", 1000.0) == 0.0


def test_who_dies_young_again_waits_longer_and_longer_up_to_a_bound() -> None:
    restarts = Restarts()
    waits = [restarts.on_exit("broker", 0.1) for _ in range(8)]
    assert waits[:4] == [0.0, BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert waits == sorted(waits)
    assert set(waits[4:]) == {BACKOFF_MAX_S}


def test_a_steady_life_counts_as_a_new_start() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.on_exit("broker", 0.1)
    assert restarts.on_exit("broker", STEADY_S) == 0.0
    assert restarts.on_exit("broker", STEADY_S - 0.1) == BACKOFF_FIRST_S


def test_years_of_crashes_are_no_problem() -> None:
    restarts = Restarts()
    for _ in range(3_000):
        wait_s = restarts.on_exit("broker", 0.1)
    assert wait_s == BACKOFF_MAX_S


def test_each_process_has_its_own_count() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.on_exit("broker", 0.1)
    assert restarts.on_exit("node1", 0.1) == 0.0

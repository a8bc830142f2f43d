"""Who counts as hung."""

from controller.liveness import Liveness

A, B = b"node1#1", b"node2#1"


def ticked(liveness: Liveness, now_ms: int) -> list[bytes]:
    """Ticks as regular as the service's, up to `now_ms`."""
    found = []
    for at_ms in range(0, now_ms + 1, 50):
        found = liveness.hung(at_ms)
        if found:
            break
    return found


def test_silence_is_found_once() -> None:
    liveness = Liveness(1_500)
    liveness.up(A, 0)
    liveness.up(B, 0)
    for at_ms in range(0, 1_501, 50):
        liveness.heard(B, at_ms)
        assert liveness.hung(at_ms) == []
    assert liveness.hung(1_550) == [A]
    assert liveness.hung(1_600) == []


def test_who_is_gone_is_not_hung() -> None:
    liveness = Liveness(1_500)
    liveness.up(A, 0)
    liveness.down(A)
    liveness.heard(A, 100)
    assert ticked(liveness, 5_000) == []


def test_while_the_broker_is_away_nobody_is_silent() -> None:
    liveness = Liveness(1_500)
    liveness.up(A, 0)
    liveness.suspend()
    assert ticked(liveness, 60_000) == []
    liveness.resume(60_000)
    for at_ms in range(60_000, 61_501, 50):
        assert liveness.hung(at_ms) == []
    assert liveness.hung(61_550) == [A]


def test_the_time_this_process_slept_counts_for_nobody() -> None:
    liveness = Liveness(1_500)
    liveness.up(A, 0)
    assert ticked(liveness, 1_000) == []
    assert liveness.hung(31_000) == []
    assert liveness.hung(31_400) == []
    assert liveness.hung(31_800) == [A]

"""Counts, as people say them."""

from liquefy.wording import counted


def test_counts() -> None:
    assert counted(1, "partition") == "1 partition"
    assert counted(2_000, "partition") == "2,000 partitions"
    assert counted(0, "entry") == "0 entries"

"""How numbers of things are said, to people. Knows nothing of the things."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """1 partition, 2 partitions, 1,000 entries."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"

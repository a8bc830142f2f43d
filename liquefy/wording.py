"""How things are said to people: numbers of them, and what others wrote. Knows nothing of the things."""

from __future__ import annotations

import re

from liquefy.decoding import LINE_CHARS_MAX

_INDENTED = "\n    "
_NOT_INDENTED = re.compile(r"\n(?!    )")


def counted(count: int, noun: str) -> str:
    """1 partition, 2 partitions, 1,000 entries."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def plain(text: str) -> str:
    """As it may be shown and kept: too long a text loses its middle; what follows a line break is indented, so that
    nothing in it passes for a line of its own."""
    text = _cut(text)
    if not text.isprintable():
        text = _NOT_INDENTED.sub(_INDENTED, text)
        text = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    return _cut(text)


def _cut(text: str) -> str:
    most = (LINE_CHARS_MAX - 5) // 2
    return text if len(text) <= LINE_CHARS_MAX else f"{text[:most]} ... {text[-most:]}"

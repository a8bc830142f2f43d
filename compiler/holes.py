"""Bodies cut out of their files, each leaving the hole `⟪name⟫`, and put back: each line of code is in one place only.

A body is shown without the indentation of the place it was cut from. Knows no language.
"""

from __future__ import annotations

import re

_BLANKS = re.compile(r"[ \t]*")
_HOLE = re.compile(r"⟪([A-Za-z_][\w-]*)⟫")
_HOLES = re.compile(r"⟪[A-Za-z_][\w-]*⟫(?:\s*⟪[A-Za-z_][\w-]*⟫)*")
"""One hole, or several with nothing between them."""


def cut_out(text: str, start: int, end: int, name: str) -> tuple[str, str] | None:
    """`text` with a hole in place of text[start:end], and the body; None if it would not come back as it was (such as
    for a text over several lines that stands further left)."""
    indent = _indent(text, start)
    lines = text[start:end].split("\n")
    body = "\n".join([lines[0], *(line.removeprefix(indent) for line in lines[1:])])
    holed = f"{text[:start]}⟪{name}⟫{text[end:]}"
    if "⟪" in body or "⟫" in body or fill(holed, {name: body}) != text:
        return None
    return holed, body


def put_holes(text: str, start: int, end: int, names: list[str]) -> str:
    """`text` with holes, one a line, in place of text[start:end]."""
    between = "\n" + _indent(text, start)
    return text[:start] + between.join(f"⟪{name}⟫" for name in names) + text[end:]


def fill(text: str, bodies: dict[str, str]) -> str:
    """The holes of `text` filled. A hole that has no body stays."""
    return _HOLE.sub(lambda match: _put(match, text, bodies), text)


def _put(match: re.Match[str], text: str, bodies: dict[str, str]) -> str:
    """What stands in the place of a hole."""
    body = bodies.get(match.group(1))
    if body is None:
        return match.group(0)
    indent = _indent(text, match.start())
    first, *others = body.split("\n")
    return "\n".join([first, *(indent + line if line else line for line in others)])


def unfilled(text: str, bodies: dict[str, str], position: int) -> int | None:
    """Where a position of the filled text is in `text` with its holes; None within a body."""
    longer = 0
    for match in _HOLE.finditer(text):
        start = match.start() + longer
        put = _put(match, text, bodies)
        if position < start:
            break
        if position < start + len(put):
            return None
        longer += len(put) - len(match.group(0))
    return position - longer


def cut_from(holed: str, original: str, position: int) -> int | None:
    """Where a position of `original` is in `holed`, the same text with holes in place of parts of it, whatever fills
    them; None within such a part."""
    before, after = 0, 0
    for match in _HOLES.finditer(holed):
        kept = holed[after : match.start()]
        start = original.find(kept, before)
        if start < 0 or position < start:
            return None
        if position < start + len(kept):
            return after + position - start
        before, after = start + len(kept), match.end()
    kept = holed[after:]
    start = len(original) - len(kept)
    return after + position - start if start >= before and position >= start and original.endswith(kept) else None


def _indent(text: str, position: int) -> str:
    """The blanks at the beginning of the line of `position`."""
    line = text.rfind("\n", 0, position) + 1
    blanks = _BLANKS.match(text, line)
    return blanks.group(0) if blanks is not None else ""

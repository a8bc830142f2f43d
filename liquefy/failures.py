"""What users' code raised, as text for people: one line, and the traceback without our own frames."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path

ERROR_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 16_000
"""Longer ones lose their middle."""

_OURS = (str(Path(__file__).parent), importlib.__file__, "<frozen importlib")


def describe(error: BaseException, folder: str) -> tuple[str, str]:
    """(line, traceback) of something raised by code in `folder`, whose path is left out. Both are valid
    text."""
    found = traceback.TracebackException.from_exception(error)
    line = "".join(found.format_exception_only()).strip()
    each: traceback.TracebackException | None = found
    for _ in range(10):
        if each is None:
            break
        kept = [f for f in each.stack if not f.filename.startswith(_OURS)]
        each.stack = traceback.StackSummary.from_list(kept)
        each = each.__cause__ or each.__context__
    text = "".join(found.format()).strip().replace(f'File "{folder}/', 'File "')
    return cut(line, ERROR_CHARS_MAX), cut(text, TRACEBACK_CHARS_MAX)


def cut(text: str, limit: int) -> str:
    """At most about `limit` characters of the text, from both ends, as can be encoded."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
    return text.encode("utf-8", "replace").decode()

"""Work on source that is nested deeply, such as a text put together of a thousand pieces by `+`: one call for each
level is more than a thread of Python's has room for by itself. Knows nothing of what is worked on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from liquefy.errors import UserError

DEPTH_MAX = 60_000
"""Calls within calls; a level of the source takes some ten of them."""

STACK_BYTES = 512 * 1024 * 1024
"""Only what is used of it is taken from memory."""

T = TypeVar("T")


def deeply(work: Callable[[], T]) -> T:
    """What `work` gives, or raises. Raises UserError if it goes deeper than there is room for."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except RecursionError:
            errors.append(_too_deep())
        except BaseException as error:
            errors.append(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(STACK_BYTES)
    sys.setrecursionlimit(max(limit, DEPTH_MAX))
    try:
        thread = threading.Thread(target=run, name="deep", daemon=True)
        thread.start()
        threading.stack_size(size)
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    if errors:
        raise errors[0]
    return results[0]


def _too_deep() -> UserError:
    return UserError(
        "the source is nested more deeply than can be read\n"
        "  remedy: split what is long in one expression or one `else if`, or keep it in a file that is not imported"
    )

"""Errors of functions between the first and the last part of a handler, as values: the last part raises them again,
under the framework, which answers as it would have. Knows neither messages nor frameworks.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping
from typing import Any

from liquefy.liquid.state import Codec
from liquefy.values import pack

FIELD = "raised!"
"""The variable of a message with an error in it: no variable of a part can be called so."""

NOTE_LINES_MAX = 6


def told(codec: Codec, error: Exception) -> dict[str, Any] | None:
    """An error as a value; None if it cannot be made again from one."""
    name = codec.name_of(type(error))
    attributes = {key: value for key, value in vars(error).items() if key != "__notes__"}
    if not name:
        return None
    with contextlib.suppress(ValueError, TypeError):
        pack([list(error.args), attributes])
        lines = traceback.format_tb(error.__traceback__)[-NOTE_LINES_MAX:]
        return {"class": name, "args": list(error.args), "attributes": attributes, "where": "".join(lines)}
    return None


def again(codec: Codec, value: Mapping[str, Any]) -> Exception:
    """Raises KeyError, AttributeError, TypeError if this program has no such error."""
    kind = codec.named(value["class"])
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise TypeError(f"{value['class']} is no error")
    error = kind.__new__(kind, *value["args"])
    error.args = tuple(value["args"])
    vars(error).update(value["attributes"])
    error.add_note(f"Where it was raised:\n{value['where']}")
    assert isinstance(error, Exception)
    return error

"""Errors of functions between the first and the last part of a handler, as values: the last part raises them again,
under the framework, which answers as it would have. Knows neither messages nor frameworks.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from liquefy.liquid.carried import Carrier
from liquefy.liquid.state import Codec
from liquefy.values import pack

FIELD = "raised!"
"""The variable of a message with an error in it: no variable of a part can be called so."""

NOTE_LINES_MAX = 6

BEFORE_MAX = 4
"""Errors before the error, each the reason of the next, that are told with it."""

_BEFORE = ("__context__", "__cause__")


def told(codec: Codec, carrier: Carrier, error: Exception, depth: int = 0) -> dict[str, Any] | None:
    """An error as a value; None if it cannot be made again from one."""
    name = codec.name_of(type(error))
    attributes = {key: value for key, value in vars(error).items() if key != "__notes__"}
    if not name:
        return None
    with contextlib.suppress(ValueError, TypeError):
        lines = traceback.format_tb(error.__traceback__)[-NOTE_LINES_MAX:]
        value: dict[str, Any] = {"class": name, "where": "".join(lines)}
        value |= carrier.packed({"args": list(error.args), "made": list(_made_of(error)), "attributes": attributes})
        pack(value)
        for link in _BEFORE:
            before = getattr(error, link)
            if isinstance(before, Exception) and depth < BEFORE_MAX:
                value[link] = told(codec, carrier, before, depth + 1)
        return value
    return None


def again(codec: Codec, carrier: Carrier, told_: Mapping[str, Any]) -> Exception:
    """Raises KeyError, AttributeError, TypeError if this program has no such error."""
    value = carrier.unpacked(told_)
    kind = codec.named(value["class"])
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise TypeError(f"{value['class']} is no error")
    error = kind.__new__(kind, *value["made"])
    # What errors of the language keep beside their arguments: the name of a file, the place in a text.
    keep: Any = next(init for each in kind.__mro__ if (init := vars(each).get("__init__")) and not _is_code(init))
    keep(error, *value["made"])
    error.args = tuple(value["args"])
    vars(error).update(value["attributes"])
    error.add_note(f"Where it was raised:\n{value['where']}")
    for link in _BEFORE:
        if value.get(link) is not None:
            setattr(error, link, again(codec, carrier, value[link]))
    assert isinstance(error, Exception)
    return error


def _made_of(error: Exception) -> tuple[Any, ...]:
    """What an error of its built-in class is made of."""
    if _is_code(type(error).__reduce__):
        return error.args
    reduced: Any = error.__reduce__()
    return tuple(reduced[1])


def _is_code(method: object) -> bool:
    """Whether it is no method of the language itself, and may do anything."""
    return isinstance(method, FunctionType)

"""Exceptions that a program keeps in its state: what of them is theirs, beside their class, and how one is made of it.

What they hold is all that decides what they say and do, but for the traceback: its frames belong to one process. No
`__init__` is run: what the language's own errors keep beside their arguments (the number of an OSError, the place of a
UnicodeError) is set as it was. Knows neither nodes nor bytes.
"""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

LINKS = ("__cause__", "__context__", "__suppress_context__")
"""What led to it; given in the order in which they are to be set."""

_ELSEWHERE = frozenset({"__dict__", "__weakref__", "obj"})
"""Told on their own, or not told: what a name was looked up in (`AttributeError.obj`) is there for hints alone."""


def inside(error: BaseException) -> dict[str, Any]:
    """What it keeps in fields of its class and of those of the language, by their names."""
    found = {}
    for name, field in _fields(type(error)).items():
        try:
            value = field.__get__(error)
        except (AttributeError, TypeError):  # it has none now
            continue
        if value is not None:
            found[name] = value
    return found


def can_be_made(kind: type) -> bool:
    """Groups keep the errors in them where nobody can put them."""
    return not issubclass(kind, BaseExceptionGroup)


def blank(kind: Any) -> BaseException:
    """Raises TypeError if the class is none of exceptions."""
    if not issubclass(kind, BaseException) or not can_be_made(kind):
        raise TypeError(f"{kind.__qualname__} is no class of exceptions")
    native = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    made: BaseException = native.__new__(kind)
    return made


def fill(error: BaseException, args: tuple[Any, ...], attributes: dict[str, Any], fields: dict[str, Any]) -> None:
    error.args = args
    vars(error).clear()
    vars(error).update(attributes)
    places = _fields(type(error))
    for name in inside(error):
        if name not in fields:
            places[name].__delete__(error)
    for name, value in fields.items():
        places[name].__set__(error, value)


def _fields(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in kind.__mro__:
        if each in (BaseException, object):
            continue
        for name, field in vars(each).items():
            if isinstance(field, MemberDescriptorType | GetSetDescriptorType) and name not in _ELSEWHERE:
                found.setdefault(name, field)
    return found

"""Variables of a loaded program, found by the ids that the compiler gave them: globals, class attributes, closure
cells, defaults of parameters, attributes of functions and objects.

Knows how Python keeps variables; not what their values are nor what is done with them.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from collections.abc import Callable, Mapping
from types import CellType, FunctionType, ModuleType
from typing import Any

ABSENT: Any = object()
"""Instead of the value of a variable that has none now."""


class SlotError(Exception):
    """A variable of the manifest that the program does not have."""


class Slot:
    """One variable: its value can be had and replaced. ABSENT stands for none."""

    __slots__ = ("_get", "_set", "id")

    def __init__(self, variable: str, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self.id = variable
        self._get, self._set = get, put

    def get(self) -> Any:
        try:
            return self._get()
        except (KeyError, AttributeError, ValueError, IndexError):
            return ABSENT

    def set(self, value: Any) -> None:
        self._set(value)


def find_slot(variable: str, modules: Mapping[str, ModuleType]) -> Slot:
    """`app.todos`, `app.Store.items`, `app.make_store.items`; `modules`: by the names that ids begin with. Raises
    SlotError."""
    parts = variable.split(".")
    for size in range(len(parts) - 1, 0, -1):
        module = modules.get(".".join(parts[:size]))
        if module is not None:
            return _inside(variable, module, parts[size:])
    raise SlotError(f"the variable {variable}: there is no such module in the program")


def modules_of(names: Mapping[str, str], entry: str, main: str) -> dict[str, ModuleType]:
    """Of the modules `names` (name -> file) those that are loaded; the one of the file `entry` is called `main` while
    it runs."""
    found = {name: sys.modules[name] for name in names if name in sys.modules}
    for name, file in names.items():
        if file == entry and main in sys.modules:
            found[name] = sys.modules[main]
        short = name.rpartition(".")[2]
        if name not in found and short in sys.modules and _is_file(sys.modules[short], file):
            found[name] = sys.modules[short]
    return found


def _is_file(module: ModuleType, file: str) -> bool:
    return (getattr(module, "__file__", None) or "").endswith("/" + file)


def _inside(variable: str, module: ModuleType, parts: list[str]) -> Slot:
    owner: Any = module
    for index, part in enumerate(parts[:-1]):
        inner = _member(owner, part)
        if inner is ABSENT:
            return _cell_slot(variable, module, parts)
        owner = inner
        if isinstance(_unwrapped(owner), FunctionType) and index < len(parts) - 2:
            return _cell_slot(variable, module, parts)
    name = parts[-1]
    function = _unwrapped(owner)
    if isinstance(function, FunctionType):
        return _of_function(variable, module, function, owner, parts)
    if isinstance(owner, ModuleType):
        scope = vars(owner)
        return _slot(variable, lambda: scope[name], lambda value: _put(scope, name, value))
    if inspect.isclass(owner):
        return _slot(variable, lambda: vars(owner)[name], lambda value: _set_attribute(owner, name, value))
    if isinstance(owner, Mapping) or (hasattr(owner, "__getitem__") and not hasattr(owner, name)):
        return _slot(variable, lambda: owner[name], lambda value: _put(owner, name, value))
    return _slot(variable, lambda: getattr(owner, name), lambda value: _set_attribute(owner, name, value))


def _slot(variable: str, get: Callable[[], Any], put: Callable[[Any], None]) -> Slot:
    return Slot(variable, get, put)


def _put(scope: Any, name: str, value: Any) -> None:
    if value is ABSENT:
        scope.pop(name, None)
    else:
        scope[name] = value


def _set_attribute(owner: Any, name: str, value: Any) -> None:
    if value is ABSENT:
        with contextlib.suppress(AttributeError):
            delattr(owner, name)
    else:
        setattr(owner, name, value)


def _member(owner: Any, name: str) -> Any:
    if isinstance(owner, ModuleType) or inspect.isclass(owner):
        found = vars(owner).get(name, ABSENT)
        return found.__func__ if isinstance(found, staticmethod | classmethod) else found
    return getattr(owner, name, ABSENT)


def _unwrapped(value: Any) -> Any:
    if not callable(value) or inspect.isclass(value):
        return value
    with contextlib.suppress(ValueError):
        return inspect.unwrap(value)
    return value


def _of_function(variable: str, module: ModuleType, function: FunctionType, owner: Any, parts: list[str]) -> Slot:
    """`owner`: what has the function's name, which may be a decorator's work around it."""
    name = parts[-1]
    positional = list(inspect.signature(function).parameters.values())
    defaults = [p.name for p in positional if p.default is not p.empty and p.kind is not p.KEYWORD_ONLY]
    if name in defaults:
        index = defaults.index(name) - len(defaults)

        def put(value: Any) -> None:
            values = list(function.__defaults__ or ())
            values[index] = value
            function.__defaults__ = tuple(values)

        return _slot(variable, lambda: (function.__defaults__ or ())[index], put)
    keywords = function.__kwdefaults__
    if keywords is not None and name in keywords:
        return _slot(variable, lambda: keywords[name], lambda value: _put(keywords, name, value))
    code = function.__code__
    if hasattr(owner, "__dict__") and (name in vars(owner) or name not in (*code.co_varnames, *code.co_cellvars)):
        # An attribute, or one that the first request will make.
        return _slot(variable, lambda: vars(owner)[name], lambda value: _set_attribute(owner, name, value))
    return _cell_slot(variable, module, parts)


def _cell_slot(variable: str, module: ModuleType, parts: list[str]) -> Slot:
    """A local of a function that ran once and whose inner functions live on."""
    *outer, name = parts
    prefix = ".".join(outer) + "."
    cells: dict[int, CellType] = {}
    for each in gc.get_objects():
        if type(each) is not FunctionType or each.__globals__ is not vars(module):
            continue
        plain = each.__code__.co_qualname.replace(".<locals>", "")  # its own: `functools.wraps` takes over another's
        if name in each.__code__.co_freevars and plain.startswith(prefix):
            cell = (each.__closure__ or ())[each.__code__.co_freevars.index(name)]
            cells[id(cell)] = cell
    if len(cells) != 1:
        how = "is not there" if not cells else f"is there {len(cells)} times"
        raise SlotError(f"the variable {variable} {how} after the program has started")
    (cell,) = cells.values()

    def put(value: Any) -> None:
        if value is ABSENT:
            del cell.cell_contents
        else:
            cell.cell_contents = value

    return _slot(variable, lambda: cell.cell_contents, put)

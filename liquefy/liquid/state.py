"""What a program remembers, as bytes and back: graphs of objects with identity and cycles, instances of the program's
own classes among them.

    {"v": {name: child}, "n": [node, ...]}
    child   a value that cannot change, as it is; or [number of its node]
    node    [kind, base, content, ...]: `base` names the object that was there when the program was loaded, or None

Objects that the program had when it was loaded, and that are no data (functions, classes, locks, handles of libraries),
are referred to by name. Nothing is executed to bring values back: only classes of the program's own modules and the few
standard types here are made, by allocating and setting attributes. Knows neither contexts nor fluxions.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, Flag
from pathlib import PosixPath, PurePosixPath
from types import BuiltinFunctionType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from liquefy.errors import BadFrame
from liquefy.liquid import exceptions, kinds
from liquefy.liquid.made import Made
from liquefy.liquid.slots import ABSENT
from liquefy.values import IMMUTABLE, pack, unpack

_CONTENT = (list, set, deque, OrderedDict, defaultdict, Counter, dict)
"""Built-in containers; instances of classes derived from one have its content as well as attributes."""

_REFERABLE = (FunctionType, BuiltinFunctionType, type, ModuleType)
TUPLES_MAX = 100
"""Tuples inside each other: they are read all at once, and have to be readable wherever they were written."""

_LOCKS = {"lock": "threading", "RLock": "threading"}


class Unstorable(Exception):
    """A value that cannot be kept in a context. `path` leads to it, the outermost step first."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.path: list[str] = []
        super().__init__(what)

    def at(self, step: str) -> Unstorable:
        self.path.insert(0, step)
        return self

    def __str__(self) -> str:
        return f"{''.join(self.path)} cannot be kept in a context: it is {self.what}"


class Codec:
    """For one loaded program. `own`: names of its modules, whose classes may be made. Call `remember` once for what is
    there after loading, before anything is captured."""

    def __init__(self, own: Mapping[str, ModuleType]) -> None:
        self._modules = dict(own)
        self._names = {id(module): name for name, module in own.items()}
        self._called = {module.__name__: name for name, module in own.items()}
        self._based: dict[int, str] = {}
        self._base: dict[str, Any] = {}
        self._places: dict[int, str] = {}
        self._loaded: dict[str, Any] = {}
        self._made = Made(own)
        self._proven: set[type] = set()
        """Classes of which something that was captured has been read back."""

    # -- what is there after loading -----------------------------------------------------------------------

    def remember(self, roots: Mapping[str, Any]) -> None:
        """`roots`: the variables that will be captured, by name."""
        for name, value in roots.items():
            if value is not ABSENT:
                self._remember(value, name)
        for name, module in self._modules.items():
            for attribute, value in vars(module).items():
                if type(value) in IMMUTABLE or attribute.startswith("__"):
                    continue
                place = f"{name}:{attribute}"
                if id(value) not in self._based:
                    self._places.setdefault(id(value), place)
                    self._loaded[place] = value

    def has(self, value: Any) -> bool:
        """Whether it is part of what was remembered."""
        return id(value) in self._based

    def _remember(self, root: Any, name: str) -> None:
        waiting = [(root, name)]
        while waiting:
            value, place = waiting.pop()
            if type(value) in IMMUTABLE or id(value) in self._based:
                continue
            if isinstance(value, _REFERABLE) and self.name_of(value):
                continue
            if type(value) not in (tuple, frozenset):
                self._based[id(value)] = place
                self._base[place] = value  # kept alive: ids are not given again
            waiting += _parts(value, place, self._is_own(type(value)))

    def _is_own(self, kind: type) -> bool:
        return kind.__module__ in self._called

    # -- to bytes ------------------------------------------------------------------------------------------

    def capture(self, values: Mapping[str, Any]) -> bytes:
        """The values, and all that they lead to. Raises Unstorable."""
        writer = _Writer(self)
        found = {}
        for name, value in values.items():
            if value is ABSENT:
                continue
            try:
                found[name] = writer.child(value)
            except Unstorable as problem:
                raise problem.at(name) from None
            except RecursionError:
                raise Unstorable("nested too deep").at(name) from None
        try:
            data = pack({"v": found, "n": writer.nodes}, no_bytearrays=True)
        except ValueError as error:
            raise Unstorable(str(error)).at(", ".join(found)) from None
        if writer.unproven:
            self._prove(data, writer.unproven, ", ".join(found))
        return data

    def _prove(self, data: bytes, classes: set[type], where: str) -> None:
        """What cannot be read is not to be kept: every request for it would fail from then on. Raises Unstorable."""
        try:
            self._read(data, apart=True)
        except BadFrame as error:
            names = ", ".join(sorted(each.__qualname__ for each in classes))
            raise Unstorable(f"something of {names}, which could not be read again ({error.__cause__!r})").at(
                where
            ) from None
        self._proven |= classes

    # -- from bytes ----------------------------------------------------------------------------------------

    def restore(self, data: bytes) -> dict[str, Any]:
        """The values by name. Objects that were there when the program was loaded are those of this process, with
        their content replaced. Raises BadFrame."""
        return self._read(data)

    def _read(self, data: bytes, apart: bool = False) -> dict[str, Any]:
        """`apart`: nothing of this process is changed."""
        shape = unpack(data)
        try:
            reader = _Reader(self, shape["n"], {} if apart else self._base)
            return {name: reader.value(child) for name, child in shape["v"].items()}
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BadFrame(f"a stored state that does not fit the program: {error!r}") from error

    # -- names ---------------------------------------------------------------------------------------------

    def name_of(self, value: Any) -> str:
        """Of a function, class or module; "" if it is found nowhere."""
        if isinstance(value, ModuleType):
            return f"{self._names.get(id(value), value.__name__)}:"
        module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if module is None or "<" in path:
            return ""
        name = f"{self._called.get(module, module)}:{path}"
        try:
            return name if self.named(name) is value else ""
        except (KeyError, AttributeError):
            return ""

    def named(self, name: str) -> Any:
        """Raises KeyError, AttributeError. Looks it up; imports nothing."""
        module, _, path = name.partition(":")
        found: Any = self._modules.get(module) or sys.modules[module]
        for part in path.split(".") if path else ():
            found = found.__dict__[part] if isinstance(found, type | ModuleType) else getattr(found, part)
            if isinstance(found, staticmethod | classmethod):
                found = found.__func__
        return found

    def class_named(self, name: str) -> type:
        """One that may be made: of the program. Raises KeyError, AttributeError, TypeError."""
        found = self._loaded.get(name)
        if not isinstance(found, type):
            found = self.named(name)
        if not isinstance(found, type) or not self._is_own(found):
            raise TypeError(f"{name} is no class of the program")
        return found


def _parts(value: Any, place: str, own: bool) -> list[tuple[Any, str]]:
    """What it holds, each with its place."""
    parts: list[tuple[Any, str]] = []
    if isinstance(value, dict):
        parts += [(v, f"{place}[{k!r}]") for k, v in value.items() if type(k) in (str, int, bool)]
    elif isinstance(value, list | tuple | deque):
        parts += [(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if own or type(value) is SimpleNamespace:
        parts += [(v, f"{place}.{k}") for k, v in _attributes(value).items()]
    return parts


def _attributes(value: Any) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{kind.__name__.lstrip('_')}{name}"
            try:
                found[name] = kind.__dict__[name].__get__(value)
            except (AttributeError, KeyError):
                continue
    return found


class _Writer:
    """One capture."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._based = codec._based
        self._numbers: dict[int, int] = {}
        self._tuples = 0
        self.nodes: list[Any] = []
        self.unproven: set[type] = set()

    def child(self, value: Any) -> Any:
        if type(value) in IMMUTABLE:
            return value
        number = self._numbers.get(id(value))
        return [self._node(value) if number is None else number]

    def _node(self, value: Any) -> int:
        nodes = self.nodes
        number = self._numbers[id(value)] = len(nodes)
        nodes.append(None)
        encode = _ENCODE.get(type(value))
        node = self._other(value, type(value)) if encode is None else encode(self, value)
        base = self._based.get(id(value))
        if base is not None and node[0] != kinds.BASE:
            node[1] = base
        nodes[number] = node
        return number

    def _other(self, value: Any, kind: type) -> list[Any]:
        codec = self._codec
        if kind not in codec._proven:
            self.unproven.add(kind)
        if isinstance(value, Enum):
            return self._member(value, kind)
        if isinstance(value, _REFERABLE):
            if name := codec.name_of(value):
                return [kinds.REF, None, name]
        elif isinstance(value, BaseException) and (codec._is_own(kind) or id(value) not in codec._based):
            return self._error(value, kind)
        elif codec._is_own(kind):
            return self._own(value, kind)
        place = codec._based.get(id(value))
        if place is not None:
            return [kinds.BASE, None, place]
        place = codec._places.get(id(value))
        if place is not None:
            return [kinds.REF, None, place]
        if kind is FunctionType and (made := codec._made.name_of(value)):
            return [kinds.FUNCTION, None, *made]
        if kind.__name__ in _LOCKS and not _is_locked(value):
            return [kinds.LOCK, None, kind.__name__]
        raise Unstorable(f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", ""))

    def _member(self, value: Any, kind: Any) -> list[Any]:
        name = self._class(kind)
        if kind.__members__.get(value.name) is value:
            return [kinds.REF, None, f"{name}.{value.name}"]
        if isinstance(value, Flag) and type(value.value) is int:  # several at once, or none
            return [kinds.FLAG, None, name, value.value]
        raise Unstorable(f"a {kind.__qualname__} that is none of its members")

    def _error(self, value: BaseException, kind: type) -> list[Any]:
        name = self._class(kind)
        if not exceptions.can_be_made(kind):
            raise Unstorable(f"a {kind.__qualname__}, a group of exceptions")
        links = {link: found for link in exceptions.LINKS if (found := getattr(value, link))}
        args = self._sequence(value.args)
        inside = self._named(exceptions.inside(value))
        return [kinds.ERROR, None, name, args, self._named(vars(value)), inside, self._named(links)]

    def _class(self, kind: type) -> str:
        name = self._codec.name_of(kind)
        if not name:
            raise Unstorable(f"of the class {kind.__qualname__}, which is no class of a module")
        return name

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes."""
        found = {}
        for key, each in values.items():
            try:
                found[key] = self.child(each)
            except Unstorable as problem:
                raise problem.at(f".{key}") from None
        return found

    def _own(self, value: Any, kind: type) -> list[Any]:
        name = self._class(kind)
        if isinstance(value, tuple):
            return [kinds.NAMED, None, name, self._tuple(value)]
        content = next((base for base in _CONTENT if isinstance(value, base)), None)
        attributes = self._named(_attributes(value))
        node: list[Any] = [kinds.OBJECT, None, name, attributes]
        if content is not None:
            inner = content if content in (list, set, deque, defaultdict) else dict
            node.append(_ENCODE[inner](self, value))
        elif isinstance(value, int | str | float | bytes | frozenset):
            raise Unstorable(f"of the class {kind.__qualname__}, which is derived from {kind.__mro__[-2].__name__}")
        return node

    def _sequence(self, value: Iterable[Any]) -> list[Any]:
        found, index = [], 0
        try:
            for index, each in enumerate(value):  # noqa: B007  (where it failed)
                found.append(each if type(each) in IMMUTABLE else self.child(each))
        except Unstorable as problem:
            raise problem.at(f"[{index}]") from None
        return found

    def _tuple(self, value: tuple[Any, ...]) -> list[Any]:
        self._tuples += 1
        if self._tuples > TUPLES_MAX:
            raise Unstorable("nested too deep")
        found = self._sequence(value)
        self._tuples -= 1
        return found

    def _dict(self, value: dict[Any, Any]) -> list[Any]:
        key: Any = None
        try:
            found = {}
            for key, each in value.items():
                if type(key) is not str:
                    break
                found[key] = each if type(each) in IMMUTABLE else self.child(each)
            else:
                return [kinds.DICT, None, found]
            pairs = []
            for key, each in value.items():
                pairs += [self.child(key), self.child(each)]
        except Unstorable as problem:
            raise problem.at(f"[{key!r}]") from None
        return [kinds.PAIRS, None, pairs]

    def _set(self, value: Iterable[Any]) -> list[Any]:
        # In an order of their own where they have one: equal sets, equal bytes.
        with contextlib.suppress(ValueError):
            value = sorted(value, key=pack)
        try:
            return [self.child(each) for each in value]
        except Unstorable as problem:
            raise problem.at("{...}") from None


def _is_locked(lock: Any) -> bool:
    locked = getattr(lock, "locked", None)
    return bool(locked()) if locked is not None else "locked" in repr(lock).split()[0]


_ENCODE: dict[type, Callable[[_Writer, Any], list[Any]]] = {
    dict: _Writer._dict,
    list: lambda w, v: [kinds.LIST, None, w._sequence(v)],
    set: lambda w, v: [kinds.SET, None, w._set(v)],
    frozenset: lambda w, v: [kinds.FROZEN, None, w._set(v)],
    tuple: lambda w, v: [kinds.TUPLE, None, w._tuple(v)],
    deque: lambda w, v: [kinds.DEQUE, None, w._sequence(v), v.maxlen],
    OrderedDict: lambda w, v: [kinds.ODICT, None, w._dict(v)],
    Counter: lambda w, v: [kinds.COUNTER, None, w._dict(v)],
    defaultdict: lambda w, v: [kinds.DEFAULT, None, w._dict(v), w.child(v.default_factory)],
    bytearray: lambda w, v: [kinds.BYTES, None, bytes(v)],
    SimpleNamespace: lambda w, v: [kinds.OBJECT, None, "", w._dict(vars(v))[2]],
    itertools.count: lambda w, v: [kinds.COUNT, None, *_count(v)],
    re.Pattern: lambda w, v: [kinds.PATTERN, None, v.pattern, v.flags],
    PosixPath: lambda w, v: [kinds.PATH, None, str(v), True],
    PurePosixPath: lambda w, v: [kinds.PATH, None, str(v), False],
    range: lambda w, v: [kinds.RANGE, None, v.start, v.stop, v.step],
    slice: lambda w, v: [kinds.SLICE, None, *w._sequence((v.start, v.stop, v.step))],
    random.Random: lambda w, v: [kinds.RANDOM, None, w._sequence(v.getstate())],
}


def _count(value: itertools.count[Any]) -> list[Any]:
    """Start and step; only its text says them."""
    found = re.fullmatch(r"count\((-?\d+)(?:, (-?\d+))?\)", repr(value))
    if found is None:
        raise Unstorable("a count of something else than whole numbers")
    return [int(found[1]), int(found[2] or 1)]


class _Reader:
    """One restoration: mutable objects are allocated first and filled last, so that cycles close; immutable ones are
    made in between, when they are asked for."""

    def __init__(self, codec: Codec, nodes: list[Any], base: Mapping[str, Any]) -> None:
        """`base`: objects that are there, and are filled instead of new ones."""
        self._codec = codec
        self._nodes = nodes
        self._made: list[Any] = [ABSENT] * len(nodes)
        for number, node in enumerate(nodes):
            allocate = _ALLOCATE.get(node[0])
            if allocate is not None:
                fresh = allocate(self, node)
                there = base.get(node[1], ABSENT) if node[1] is not None else ABSENT
                self._made[number] = there if type(there) is type(fresh) else fresh
        for late in (False, True):
            for number, node in enumerate(nodes):
                if node[0] in _ALLOCATE and (_hashes(node) is late):
                    self._fill(self._made[number], node)

    def value(self, child: Any) -> Any:
        if type(child) is not list:
            return child
        number = child[0]
        made = self._made[number]
        if made is ABSENT:
            node = self._nodes[number]
            made = self._made[number] = _MAKE[node[0]](self, node)
        return made

    def values(self, children: Iterable[Any]) -> list[Any]:
        return [self.value(child) if type(child) is list else child for child in children]

    def _fill(self, target: Any, node: list[Any]) -> None:
        kind = node[0]
        if kind == kinds.OBJECT:
            self._fill_object(target, node)
        elif kind == kinds.LIST:
            target[:] = self.values(node[2])
        elif kind == kinds.SET:
            found = self.values(node[2])
            target.clear()
            target.update(found)
        elif kind == kinds.DEQUE:
            found = self.values(node[2])
            target.clear()
            target.extend(found)
        elif kind == kinds.BYTES:
            target[:] = node[2]
        elif kind in (kinds.DICT, kinds.PAIRS):
            self._fill_dict(target, node)
        elif kind in (kinds.ODICT, kinds.COUNTER, kinds.DEFAULT):
            self._fill_dict(target, node[2])
            if kind == kinds.DEFAULT:
                target.default_factory = self.value(node[3])
        elif kind == kinds.RANDOM:
            version, state, gauss = self.values(node[2])
            target.setstate((version, tuple(state), gauss))
        elif kind == kinds.ERROR:
            exceptions.fill(target, tuple(self.values(node[3])), self._each(node[4]), self._each(node[5]))
            links = self._each(node[6])
            for name in exceptions.LINKS:
                setattr(target, name, links.get(name, False if name == exceptions.LINKS[-1] else None))

    def _each(self, children: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.value(child) for name, child in children.items()}

    def _fill_dict(self, target: Any, node: list[Any]) -> None:
        if node[0] == kinds.DICT:
            items = {key: self.value(child) for key, child in node[2].items()}
        else:
            found = self.values(node[2])
            items = dict(zip(found[::2], found[1::2], strict=True))
        native: Any = OrderedDict if isinstance(target, OrderedDict) else dict  # which keeps the order on its own
        native.clear(target)
        for key, value in items.items():
            native.__setitem__(target, key, value)

    def _fill_object(self, target: Any, node: list[Any]) -> None:
        attributes = self._each(node[3])
        if not node[2]:
            target.__dict__.clear()
            target.__dict__.update(attributes)
            return
        for name in _attributes(target):
            if name not in attributes:
                _delete(target, name)
        own = getattr(target, "__dict__", None)
        for name, value in attributes.items():
            descriptor = _slot_of(type(target), name)
            if descriptor is not None:
                descriptor.__set__(target, value)
            elif own is not None:
                own[name] = value
        if len(node) > 4:
            self._fill(target, node[4])


def _slot_of(kind: type, name: str) -> Any:
    for base in kind.__mro__:
        found = base.__dict__.get(name)
        if found is not None and type(found).__name__ == "member_descriptor":
            return found
    return None


def _delete(target: Any, name: str) -> None:
    descriptor = _slot_of(type(target), name)
    if descriptor is not None:
        descriptor.__delete__(target)
    else:
        target.__dict__.pop(name, None)


def _hashes(node: list[Any]) -> bool:
    """Whether filling it asks its content for hashes, which their attributes may decide."""
    inner = node[4] if node[0] == kinds.OBJECT and len(node) > 4 else node
    if inner[0] in (kinds.ODICT, kinds.COUNTER, kinds.DEFAULT):
        inner = inner[2]
    return inner[0] in (kinds.SET, kinds.PAIRS)


def _new(reader: _Reader, node: list[Any]) -> Any:
    if not node[2]:
        return SimpleNamespace()
    kind = reader._codec.class_named(node[2])
    content = next((base for base in _CONTENT if issubclass(kind, base)), object)
    made: Any = content.__new__(kind)
    if content is deque:
        deque.__init__(made, (), node[4][3])
    return made


_ALLOCATE: dict[int, Callable[[_Reader, list[Any]], Any]] = {
    kinds.LIST: lambda r, n: [],
    kinds.DICT: lambda r, n: {},
    kinds.PAIRS: lambda r, n: {},
    kinds.SET: lambda r, n: set(),
    kinds.DEQUE: lambda r, n: deque(maxlen=n[3]),
    kinds.ODICT: lambda r, n: OrderedDict(),
    kinds.COUNTER: lambda r, n: Counter(),
    kinds.DEFAULT: lambda r, n: defaultdict(),
    kinds.BYTES: lambda r, n: bytearray(),
    kinds.OBJECT: _new,
    kinds.RANDOM: lambda r, n: random.Random(),
    kinds.ERROR: lambda r, n: exceptions.blank(r._codec.named(n[2])),
}


def _flag(reader: _Reader, node: list[Any]) -> Any:
    kind = reader._codec.named(node[2])
    if not isinstance(kind, type) or not issubclass(kind, Flag):
        raise TypeError(f"{node[2]} is no class of flags")
    return kind(node[3])


def _lock(_: _Reader, node: list[Any]) -> Any:
    import threading

    return threading.Lock() if node[2] == "lock" else threading.RLock()


def _referred(reader: _Reader, node: list[Any]) -> Any:
    codec = reader._codec
    return codec._loaded[node[2]] if node[2] in codec._loaded else codec.named(node[2])


def _named_tuple(reader: _Reader, node: list[Any]) -> Any:
    kind: Any = reader._codec.class_named(node[2])
    return tuple.__new__(kind, reader.values(node[3]))


_MAKE: dict[int, Callable[[_Reader, list[Any]], Any]] = {
    kinds.TUPLE: lambda r, n: tuple(r.values(n[2])),
    kinds.FROZEN: lambda r, n: frozenset(r.values(n[2])),
    kinds.REF: _referred,
    kinds.BASE: lambda r, n: r._codec._base[n[2]],
    kinds.NAMED: _named_tuple,
    kinds.COUNT: lambda r, n: itertools.count(n[2], n[3]),
    kinds.PATTERN: lambda r, n: re.compile(n[2], n[3]),
    kinds.PATH: lambda r, n: (PosixPath if n[3] else PurePosixPath)(n[2]),
    kinds.RANGE: lambda r, n: range(n[2], n[3], n[4]),
    kinds.SLICE: lambda r, n: slice(*r.values(n[2:5])),
    kinds.FLAG: _flag,
    kinds.LOCK: _lock,
    kinds.FUNCTION: lambda r, n: r._codec._made.make(n[2], n[3]),
}

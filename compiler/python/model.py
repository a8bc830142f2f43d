"""What the front end takes values to be: atoms (a value is a set of those it may be), objects, scopes, functions.

An object is named by where it is made. One made while the program loads outlives requests (`live`); what is inside it
is told as a Part. Knows neither libraries nor frameworks.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property

from compiler.facts import NOWHERE, Hazard, KeyOf, Mode, Place, Use
from compiler.python import flow


@dataclass(frozen=True)
class Const:
    value: str | int | float | bytes | bool | None


@dataclass(frozen=True)
class Scalar:
    """A text or a number made by the code: cannot be changed in place."""


@dataclass(frozen=True)
class Plain:
    """Data that nobody else has: the result of a function that keeps nothing."""


@dataclass(frozen=True)
class Once:
    """Data that is another at each start. `why` completes "it is ...", `where` it is made."""

    why: str
    where: Place = NOWHERE


@dataclass(frozen=True)
class Req:
    """A part of the request: `path` as in KeyOf, () is the request itself."""

    path: tuple[str, ...] = ()
    convert: str = ""
    text: str = field(default="", compare=False)
    declared: bool = False
    """Whether it is a text, as the framework has seen to: it cannot be changed in place."""


@dataclass(frozen=True)
class Foreign:
    """What a library gave. `known`: by one that is known to keep nothing."""

    library: str
    known: bool


@dataclass(frozen=True)
class Lib:
    """A name of a library: `flask.request`."""

    name: str


@dataclass(frozen=True)
class LibMethod:
    """A method of a library's object, not yet called."""

    of: Obj
    name: str


@dataclass(frozen=True)
class Special:
    """What a front end made itself, such as a decorator that registers a route: `kind`, and what it needs."""

    kind: str
    data: tuple[object, ...] = ()


@dataclass(frozen=True)
class Ref:
    obj: Obj


@dataclass(frozen=True)
class Part:
    """Something inside a live object, reached by `key` if that is a part of the request."""

    obj: Obj
    key: KeyOf | None = None


@dataclass(frozen=True)
class Method:
    """A method of a container or of something unknown, not yet called."""

    of: Atom
    name: str


@dataclass(frozen=True)
class Func:
    info: Function
    bound: frozenset[Atom] | None = None


@dataclass(frozen=True)
class ClassAtom:
    info: Class


@dataclass(frozen=True)
class ModuleAtom:
    info: Module


LAZY = "what is made as it is looked at"
"""Name of an object that is a generator, a view or the like."""

FILE = "fastapi.UploadFile"
"""Name of a file that came with a request."""

SUM = "a sum"
"""Name of a list that would be one of something and a number: in no service that works."""

Atom = (
    Const | Scalar | Plain | Once | Req | Foreign | Lib | LibMethod | Special | Ref | Part | Method | Func | ClassAtom
    | ModuleAtom
)  # fmt: skip
Atoms = frozenset[Atom]

NOTHING: Atoms = frozenset()
SCALAR: Atoms = frozenset({Scalar()})
PLAIN: Atoms = frozenset({Plain()})
NONE: Atoms = frozenset({Const(None)})


@dataclass(eq=False)
class Obj:
    """`kind`: list, dict, set, tuple, instance, lib, iterator, counter. `name`: of a lib its library's name."""

    kind: str
    place: Place
    live: bool
    name: str = ""
    cls: Class | None = None
    owner: str = ""
    """Id of the variable it is the value of."""
    containers: list[Obj] = field(default_factory=list)
    """What it was put into while the program loaded."""
    attrs: dict[str, Atoms] = field(default_factory=dict)
    """Attributes, and entries under a literal key."""
    elements: Atoms = NOTHING
    classes: set[Class] = field(default_factory=set)
    """Own classes of what was put inside."""
    inserts: bool = False
    """A read makes an entry (defaultdict)."""
    mixed: bool = False
    """Something was put inside that may be changed in place."""

    def roots(self) -> list[tuple[str, bool]]:
        """The variables it belongs to, and whether it is that variable's own value."""
        if self.owner:
            return [(self.owner, True)]
        found: dict[str, None] = {}
        seen, todo = {self}, list(self.containers)
        while todo:
            obj = todo.pop()
            if obj in seen:
                continue
            seen.add(obj)
            if obj.owner:
                found[obj.owner] = None
            else:
                todo += obj.containers
        return [(name, False) for name in found]

    def only_scalars(self) -> bool:
        """Whether all that is inside cannot be changed in place."""
        inside = [*self.elements, *(atom for value in self.attrs.values() for atom in value)]
        return not self.mixed and all(isinstance(atom, Const | Scalar) for atom in inside)

    def root(self) -> str:
        return next((name for name, _ in self.roots()), "")


@dataclass(eq=False)
class Scope:
    """Names. `path`: prefix of the ids of its variables."""

    kind: str
    path: str
    module: Module
    parent: Scope | None
    live: bool
    names: dict[str, Atoms] = field(default_factory=dict)
    rebound: set[str] = field(default_factory=set)
    """Names that are given another value while requests are handled."""
    places: dict[str, Place] = field(default_factory=dict)
    assigned: dict[str, int] = field(default_factory=dict)
    captured: frozenset[str] = frozenset()
    """Of a function: names that its inner functions use."""
    late: set[str] = field(default_factory=set)
    """Of a class: names that only requests give it; until then a parent's counts."""


@dataclass(eq=False)
class Function:
    """A function, with the scope it was made in. `shown`: the function that it wraps and stands for."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    module: Module
    scope: Scope
    name: str
    path: str
    qualname: str
    cls: Class | None = None
    defaults: dict[str, Atoms] = field(default_factory=dict)
    decorators: tuple[str, ...] = ()
    kind: str = ""
    """staticmethod, classmethod, property or ""."""
    hazards: tuple[Hazard, ...] = ()
    shown: Function | None = None
    setters: list[Function] = field(default_factory=list)
    """Of a property: what is run when it is given a value, or deleted."""

    @property
    def asynchronous(self) -> bool:
        return isinstance(self.node, ast.AsyncFunctionDef)

    @cached_property
    def locals(self) -> frozenset[str]:
        """The names of its own, the parameters with them."""
        return frozenset(flow.locals_in(self.node))

    def face(self) -> Function:
        return self.shown.face() if self.shown is not None and self.shown is not self else self


@dataclass(eq=False)
class Class:
    name: str
    path: str
    qualname: str
    module: Module
    scope: Scope
    bases: tuple[Atoms, ...]
    node: ast.ClassDef
    metas: Atoms = frozenset()
    """What stands as its metaclass."""
    _lineage: tuple[Class, ...] = ()

    def lineage(self) -> tuple[Class, ...]:
        """Itself and all that it comes from; what a class comes from does not change."""
        if not self._lineage:
            self._lineage = tuple(self._found_lineage())
        return self._lineage

    def _found_lineage(self) -> list[Class]:
        found = [self]
        for base in self.bases:
            for atom in base:
                if isinstance(atom, ClassAtom) and atom.info not in found:
                    found += [cls for cls in atom.info.lineage() if cls not in found]
        return found

    def libraries(self) -> list[str]:
        """Names of the library classes it comes from."""
        return [a.name for cls in self.lineage() for base in cls.bases for a in base if isinstance(a, Lib)] + [
            a.of.name + "." + a.name
            for cls in self.lineage()
            for base in cls.bases
            for a in base
            if isinstance(a, LibMethod)
        ]

    def find(self, name: str) -> Atoms:
        homes = self.homes(name)
        return NOTHING.union(*(scope.names[name] for scope in homes)) if homes else NOTHING

    def homes(self, name: str) -> list[Scope]:
        """The scopes that the name may be found in, the first that surely has it last."""
        found: list[Scope] = []
        for cls in self.lineage():
            if name in cls.scope.names:
                found.append(cls.scope)
                if name not in cls.scope.late:
                    break
        return found

    def meta(self) -> list[Class]:
        """Its metaclasses of the service, and its parents'."""
        every = [atom.info for cls in self.lineage() for atom in cls.metas if isinstance(atom, ClassAtom)]
        return list(dict.fromkeys(every))


@dataclass(eq=False)
class Module:
    """One source file. `name`: dotted, relative to the service's folder."""

    name: str
    file: str
    text: str
    tree: ast.Module
    package: bool
    scope: Scope = field(init=False)
    stars: list[str] = field(default_factory=list)
    """Libraries all of whose names are imported."""
    loaded: bool = False
    places: dict[ast.AST, Place] = field(default_factory=dict)
    """Where its nodes are, of those that were asked for: most are asked for again."""

    def __post_init__(self) -> None:
        self.scope = Scope("module", self.name, self, None, True)


@dataclass
class Recorder:
    """What one start does."""

    uses: dict[Use, None] = field(default_factory=dict)
    hazards: dict[Hazard, None] = field(default_factory=dict)
    waits: bool = False
    varies: bool = False
    """It uses what is another at each call: the time, chance."""
    stored: dict[Atom, set[str]] = field(default_factory=dict)
    """Fresh things, and the variables they were put into."""
    files: dict[Place, None] = field(default_factory=dict)
    """Where it reads files."""
    awaited: dict[str, Place] = field(default_factory=dict)
    """Variables that a loop looks at while it waits, and where."""

    def use(self, variable: str, mode: Mode, place: Place, key: KeyOf | None = None) -> None:
        self.uses[Use(variable, mode, place, key if mode in (Mode.READ, Mode.WRITE) else None)] = None

    def hazard(self, hazard: Hazard) -> None:
        self.hazards[hazard] = None

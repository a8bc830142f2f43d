"""What the parts of a handler send each other: the names that each needs and those that it surely gives a value; and
that what they stand for can travel: plain data, of which the parts after it may have a copy.

Knows pieces and what names may be; not how a handler is taken apart.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from compiler.facts import Place
from compiler.python import flow, memory, statements, staying
from compiler.python.evaluate import Machine
from compiler.python.model import (
    LAZY,
    NOTHING,
    SUM,
    Atom,
    Atoms,
    ClassAtom,
    Const,
    Func,
    Function,
    LibMethod,
    Method,
    Obj,
    Plain,
    Ref,
    Req,
    Scalar,
)
from compiler.python.model import Part as Inside
from compiler.python.pieces import Line, Piece, Uncut
from compiler.python.read import place
from compiler.python.stateful import Touches
from compiler.python.used import Names

RESERVED = "request"
"""What no variable of a message may be called: the request, on its way to the last part, is."""

_VOWELS = tuple("aeioAEIO")
"""Before which it is "an"; a word with u more often begins as "you" does."""

_NO_VALUE = "give it a value before, whatever happens"
_A_COPY = "hand on what is read of it: texts, numbers, a copy"


class Travel:
    """Of one handler. `written_out`: the functions whose statements its parts have, itself first; `handed`: names made
    for arguments, and what they may be."""

    def __init__(
        self, machine: Machine, names: Names, state: set[str], written_out: list[Function], handed: dict[str, Atoms]
    ) -> None:
        self._m = machine
        self._names = names
        self._state = state
        self._written_out = written_out
        self._handed = handed
        self.everything: set[str] = set()
        """All names of the parts' own."""

    # Which names

    def flow(self, pieces: list[Piece]) -> tuple[list[list[str]], list[set[str]]]:
        """For each piece: the local names that it needs, and those that it surely gives a value. Raises Uncut."""
        made = set().union(*[flow.bound(line.node) for piece in pieces for line in piece.lines])
        declared = {n for f in self._written_out for node in ast.walk(f.node) if isinstance(node, ast.Global)
                    for n in node.names}  # fmt: skip
        self.everything = set().union(*[statements.locals_of(f) for f in self._written_out]) | (made - declared)
        if both := sorted(self.everything & declared):
            raise Uncut(f"{both[0]} is a name of the module and of a function", self.placed(pieces, both[0]))
        for function in self._written_out:
            own = statements.locals_of(function)
            for name in sorted({n for n in flow.free(function.node) if n not in own} & self.everything):
                if name in function.module.scope.names:
                    raise Uncut(f"{name} is a name of the module and of a function", _at(function, function.node))
        needs: list[list[str]] = []
        gives: list[set[str]] = []
        for piece in pieces:
            within = piece.lines[0].within if piece.lines else self._written_out[0]
            run = flow.Flow(lambda entered, within=within: self._names.swallows(within, entered))  # type: ignore[misc]
            run.of(line.node for line in piece.lines)
            needs.append([name for name in run.needed if name in self.everything])
            gives.append(self.everything if run.given is None else run.given)
        return needs, gives

    def sent(self, pieces: list[Piece], stateful: set[int], kept: set[str]) -> list[list[str]]:
        """What each piece sends to the next. `kept`: parameters of the handler that the last part gets from the others.
        Raises Uncut."""
        needs, gives = self.flow(pieces)
        own = [a.arg for a in (*self._node.args.posonlyargs, *self._node.args.args, *self._node.args.kwonlyargs)]
        lines = [line for piece in pieces for line in piece.lines]
        changed = kept.union(*[flow.bound(line.node) for line in lines])
        sent: list[list[str]] = []
        wanted = [name for name in needs[-1] if name not in own or name in changed]
        for i in range(len(pieces) - 2, -1, -1):
            sent.insert(0, wanted)
            carried = [name for name in wanted if name not in gives[i]]
            wanted = list(dict.fromkeys([*needs[i], *carried]))
        for name in wanted:
            if name not in own:
                raise Uncut(f"{name} does not always have a value", self.placed(pieces, name), _NO_VALUE)
        self._check(pieces, stateful, sent)
        return sent

    @property
    def _node(self) -> ast.FunctionDef | ast.AsyncFunctionDef:
        node = self._written_out[0].node
        assert not isinstance(node, ast.Lambda)
        return node

    def placed(self, pieces: list[Piece], name: str) -> Place:
        """Where a name gets its value."""
        for piece in pieces:
            for line in piece.lines:
                if name in flow.bound(line.node):
                    return _at(line.within, line.node)
        return _at(self._written_out[0], self._node)

    # What they stand for

    def atoms(self, name: str) -> list[Atom]:
        """All that a name may be, in all functions that are written out."""
        found = [*self._handed.get(name, NOTHING)]
        for function in self._written_out:
            found += self._m.values.get((function.node, name), NOTHING)
        return found

    def _check(self, pieces: list[Piece], stateful: set[int], sent: list[list[str]]) -> None:
        stays = staying.staying(self._names, [line for piece in pieces for line in piece.lines])
        for name in dict.fromkeys(name for names in sent for name in names):
            where = self.placed(pieces, name)
            if name == RESERVED:
                why = f"{name} is what the message itself calls its request"
                raise Uncut(why, where, f"name it differently than {name}")
            if name in stays:
                what, remedy = stays[name]
                raise Uncut(f"{name} cannot travel in a message: it is {what}", where, remedy)
            self._check_plain(name, where)
        for names in sent:
            self._check_apart(pieces, names)
        last = max(stateful, default=0)
        for name in dict.fromkeys(name for names in sent[:last] for name in names if last > min(stateful)):
            if any(isinstance(a, Inside) and not a.obj.only_scalars() for a in self.atoms(name)):
                why = f"{name} may be part of the state, which a later part changes"
                raise Uncut(why, self.placed(pieces, name), _A_COPY)

    def _check_apart(self, pieces: list[Piece], names: list[str]) -> None:
        """One object under two names would be two after the message."""
        holders: dict[Obj, str] = {}
        for name in names:
            for obj in _objects(self.atoms(name)):
                other = holders.setdefault(obj, name)
                if other != name:
                    why = f"{name} and {other} may be one object, and would be two in a message"
                    raise Uncut(why, self.placed(pieces, name), "hand on one of the two")

    def _check_plain(self, name: str, where: Place) -> None:
        for atom in self.atoms(name):
            owners = [owner for obj in _objects([atom]) for owner, _ in obj.roots() if owner in self._state]
            if owners:
                why = f"{name} cannot travel in a message: it is part of {owners[0]}, which is state"
                raise Uncut(why, where, _A_COPY)
        for function in self._written_out:
            atoms = self._m.values.get((function.node, name), NOTHING)
            odd = next((atom for atom in atoms if not _plain(atom, 0)), None)
            if odd is not None:
                why = f"{name} cannot travel in a message: it is {_words(odd)}"
                raise Uncut(why, where, "hand on plain data: texts, numbers, lists, dicts")

    def check_stored(self, pieces: list[Piece], stateful: set[int], stored: Atoms, touches: Touches) -> None:
        """What was put into state is changed there only where the state is: a later part has a copy. Others may change
        it there while the handler waits, and the copy would not show that. Raises Uncut."""
        kept = frozenset(atom for atom in stored if not memory.scalars(frozenset({atom})))
        objects = _objects(kept)
        needs, _ = self.flow(pieces)
        first = min(stateful, default=len(pieces))
        for i in range(first + 1, len(pieces)):
            waits = next((line for line in _behind(pieces[first : i + 1], touches) if _waits(line)), None)
            for name in needs[i]:
                atoms = self.atoms(name)
                if not (kept.intersection(atoms) or objects & _objects(atoms)):
                    continue
                if (where := touches.changes(pieces[i])) is not None:
                    why = f"line {where.line} may change {name}, which is part of the state by then"
                    raise Uncut(why, where, f"change {name} before it is put there")
                inside = [a for a in atoms if _plain(a, 0) and not (isinstance(a, Ref) and a.obj.name == SUM)]
                shared = kept.intersection(inside) or objects & _objects(inside)
                if waits is not None and shared:
                    why = f"others may change {name}, which may be part of the state, while line {waits.first} waits"
                    raise Uncut(why, self.placed(pieces, name), "hand on a copy of it, made before")


def _at(function: Function, node: ast.AST) -> Place:
    return place(function.module, node)


def _behind(pieces: list[Piece], touches: Touches) -> list[Line]:
    """Their lines, from the first on that touches state."""
    lines = [line for piece in pieces for line in piece.lines]
    at = (i for i, line in enumerate(lines) if touches.first(Piece(pieces[0].role, lines=[line])) is not None)
    return lines[next(at, 0) :]


def _waits(line: Line) -> bool:
    return any(isinstance(node, ast.Await) for node in ast.walk(line.node))


def _plain(atom: Atom, depth: int) -> bool:
    if isinstance(atom, Const | Scalar | Plain | Inside):
        return True
    if isinstance(atom, Req):
        return len(atom.path) > 1
    if isinstance(atom, Ref) and atom.obj.name == LAZY:
        return False
    if isinstance(atom, Ref) and atom.obj.kind in ("list", "dict", "set", "tuple") and depth < 8:
        inner = [*atom.obj.elements, *(a for value in atom.obj.attrs.values() for a in value)]
        return all(_plain(a, depth + 1) for a in inner if not (isinstance(a, Ref) and a.obj is atom.obj))
    return False


def _objects(atoms: Iterable[Atom]) -> set[Obj]:
    """The lists, dicts and the like among them and inside them."""
    found: set[Obj] = set()
    waiting = [atom.obj for atom in atoms if isinstance(atom, Ref)]
    while waiting:
        obj = waiting.pop()
        if obj not in found and obj.kind in ("list", "dict", "set", "tuple", "instance"):
            found.add(obj)
            inside = [*obj.elements, *(a for value in obj.attrs.values() for a in value)]
            waiting += [atom.obj for atom in inside if isinstance(atom, Ref)]
    return found


def _odd_inside(atom: Atom, depth: int) -> Atom | None:
    """What in a list, a dict or the like is no plain data."""
    if not isinstance(atom, Ref) or atom.obj.name == LAZY or depth > 8:
        return None
    inner = [*atom.obj.elements, *(a for value in atom.obj.attrs.values() for a in value)]
    odd = [a for a in inner if not (isinstance(a, Ref) and a.obj is atom.obj) and not _plain(a, depth + 1)]
    return (_odd_inside(odd[0], depth + 1) or odd[0]) if odd else None


def _words(atom: Atom) -> str:
    if isinstance(atom, Ref) and atom.obj.kind in ("list", "dict", "set", "tuple"):
        inside = _odd_inside(atom, 0)
        if inside is not None and not (isinstance(inside, Ref) and inside.obj.kind == atom.obj.kind):
            return f"a {atom.obj.kind} with something inside: {_words(inside)}"
    if isinstance(atom, Ref) and atom.obj.name == LAZY:
        return "made as it is looked at"
    if isinstance(atom, Ref):
        called = atom.obj.cls.name if atom.obj.cls is not None else atom.obj.name or atom.obj.kind
        return f"{'an' if called[:1] in _VOWELS else 'a'} {called}"
    if isinstance(atom, Req):
        return "the request" if not atom.path else f"the request's {atom.path[0]}"
    if isinstance(atom, Func | ClassAtom):
        return "a function"
    if isinstance(atom, Method | LibMethod):
        return f"what {atom.name} gives"
    return f"something of {getattr(atom, 'library', 'a library')}"

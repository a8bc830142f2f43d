"""Dicts that an application keeps, such as its settings: what their methods read and change, entry by entry. Knows no
framework by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.facts import Place
from compiler.python import memory
from compiler.python.model import NONE, NOTHING, PLAIN, Atoms, Obj, Ref

if TYPE_CHECKING:
    from compiler.python.calls import Args
    from compiler.python.evaluate import Machine


def entry_method(m: Machine, obj: Obj, name: str, args: Args, where: Place) -> Atoms | None:
    """A method of a dict that an application keeps, called by a request; None if it is none of a dict's."""
    if name in ("get", "pop", "setdefault") and args.get(0):
        key, default = memory.name_of(args.get(0)), args.get(1, "default")
        if name != "get":
            memory.set_library_entry(m, obj, f"[{key}]", default if name == "setdefault" else NOTHING, where)
        if key is None:
            memory.read_entries(m, obj, where)
        return memory.library_entry(m, obj, key, where) | default
    if name in ("update", "from_mapping", "clear", "popitem"):
        for word, value in args.named:
            memory.set_library_entry(m, obj, f"[{word}]", value, where)
        if args.positional or args.anywhere or not args.named:
            memory.set_up_later(m, f"all of {obj.name.rpartition('.')[2]} of the application", where)
        return NONE
    if name in ("items", "keys", "values", "copy", "get_namespace", "__iter__", "__len__", "__contains__"):
        memory.read_entries(m, obj, where)
        return NOTHING.union(*(v for k, v in obj.attrs.items() if k.startswith("["))) | PLAIN
    return None


def shown_by_templates(m: Machine, where: Place) -> None:
    """Templates are given the settings of the application."""
    for atom in m.request_attrs.get("[app]", NOTHING):
        for kept in atom.obj.attrs.get("*config", NOTHING) if isinstance(atom, Ref) else ():
            if isinstance(kept, Ref):
                memory.read_entries(m, kept.obj, where)

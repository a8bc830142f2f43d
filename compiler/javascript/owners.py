"""Which variable each object belongs to: what is made at start and found from a variable of a module, of a closure
that lives on, or from what a module exports. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.facts import Initial, Place, Variable
from compiler.javascript import libraries
from compiler.javascript.flow import Flow
from compiler.javascript.libraries import Sort, sort_of
from compiler.javascript.modules import Source
from compiler.javascript.scopes import Binding, Class, Function
from compiler.javascript.syntax import Node, string_value
from compiler.javascript.values import BYTES, THING, Bound, Cls, Func, Lib, Obj, Once, Plain, Value, Word

ERRORS = {"Error", "TypeError", "RangeError", "Object", "EvalError", "SyntaxError"}

PROMISE_HELD = "a promise"
LOADED_LATE = "of a file that is loaded when a request needs it"

DATA_KINDS = {"object", "array", "map", "set", "instance"}


@dataclass(eq=False)
class Root:
    """Something that holds objects while the service runs. `opaque`: why it cannot be stored if it changes, or ""."""

    id: str
    name: str
    place: Place
    values: set[Value]
    binding: Binding | None = None
    opaque: str = ""

    @property
    def constant(self) -> bool:
        return self.binding is None or not self.binding.assigned


class Owners:
    """Of a flow that has run."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.roots: list[Root] = []
        self.of_binding: dict[Binding, Root] = {}
        self._ids: set[str] = set()
        self._direct: dict[Obj, Root] = {}
        self._reached: dict[Obj, list[Root]] = {}
        self._loaded = self._at_start()
        self._applications: dict[Obj, Root] = {}
        """With data in their properties."""
        self._variables()
        self._exports()
        self._properties()
        self._own()

    def owners(self, obj: Obj) -> list[Root]:
        """The roots that a touch of the object touches."""
        if not self.flow.starts(obj.function):
            return []
        if obj in self._applications:
            return [self._applications[obj]]
        direct = self._direct.get(obj)
        if direct is not None and direct.constant:
            return [direct]
        found = list(self._reached.get(obj, []))
        named = [r for r in found if r.binding is not None or r.opaque]
        if named and all(r.constant for r in named):
            return named
        return found

    def holding(self, obj: Obj) -> list[Root]:
        """The roots that an object made while a request is handled may be put in: what is done to it then is the
        request's own, and once that has been answered it is not."""
        return [] if self.flow.starts(obj.function) else list(self._reached.get(obj, []))

    def keyed(self, obj: Obj) -> bool:
        """Whether it is a collection that its variable holds itself, always this one."""
        root = self._direct.get(obj)
        return (
            root is not None
            and root.binding is not None
            and root.constant
            and obj.kind in ("object", "map")
            and {v.target for v in root.values} == {obj}
        )

    # Roots

    def _root(self, id_: str, name: str, place: Place, values: set[Value], binding: Binding | None = None) -> Root:
        unique, number = id_, 2
        while unique in self._ids:
            unique, number = f"{id_}_{number}", number + 1
        self._ids.add(unique)
        root = Root(unique, name, place, values, binding)
        self.roots.append(root)
        if binding is not None:
            self.of_binding[binding] = root
        return root

    def _variables(self) -> None:
        for binding in list(self.flow.values):
            if binding.kind == "global":
                root = self._root(
                    f"global.{binding.name}", binding.name, binding.place, self.flow.values[binding], binding
                )
                root.opaque = "a variable that is declared nowhere"
            elif binding.kind == "function" and all(plain_code(v) for v in self.flow.values[binding]):
                continue
            elif binding.kind not in ("builtin", "import") and self.flow.persistent(binding):
                id_ = ".".join([self.module(binding.node.file), *self.path(binding.scope.function), binding.name])
                self._root(id_, binding.name, binding.place, self.flow.values[binding], binding)

    def module(self, file: str) -> str:
        return self.flow.service.sources[file].id

    def path(self, function: Function) -> list[str]:
        """Names of the functions around, the outermost first."""
        names: list[str] = []
        at: Function | None = function
        while at is not None and not at.module:
            names.append(at.name or f"f{at.node.line}")
            if at.owner is not None and at.owner.name:
                names.append(at.owner.name)
            at = at.parent
        return names[::-1]

    def _exports(self) -> None:
        for file, obj in list(self.flow.module_objects.items()):
            if obj.kind == "module":
                place = Place(file, 1, 1)
                self._root(f"{self.module(file)}.exports", "module.exports", place, {Value(obj)})
        for source in self.flow.service.sources.values():
            if source.names is not None and source.esm:
                self._default(source)

    def _default(self, source: Source) -> None:
        for name, node in self.flow.exported(source):
            if name == "default" and node.type not in ("identifier",) and node.info is None:
                root = self._root(
                    f"{source.id}.default", "default", node.place, set(self.flow.export(source, "default"))
                )
                for obj in self.flow.objects.values():
                    if _within(obj.node, node) and obj.function is (source.names.top if source.names else None):
                        self._direct[obj] = root

    def _properties(self) -> None:
        """Of functions, classes, libraries and applications: they outlive a request, and are not stored."""
        for of, extra in list(self.flow.extras.items()):
            if of in ("request", "response", "response.locals") or (
                isinstance(of, str) and of.startswith("arguments ")
            ):
                continue
            values = {v for name, field in extra.fields.items() if name != "prototype" for v in field}
            named = isinstance(of, Function | Class) and self.flow.named(of)
            if not any(isinstance(v.target, Obj | Plain | Once if named else Obj) for v in values):
                continue
            name = of.name if isinstance(of, Function | Class) else of.removeprefix("lib ")
            file = of.file if isinstance(of, Function | Class) else extra.node.file
            line = of.node.place if isinstance(of, Function | Class) else extra.node.place
            values = {Value(extra)} if named else values
            root = self._root(f"{self.module(file)}.{name or 'f'}.properties", name, line, values)
            root.opaque = "" if named else f"kept in properties of {name or 'a function'}"
        for obj in list(self.flow.objects.values()):
            if obj.kind in ("app", "router"):
                values = {v for f, field in obj.fields.items() for v in field if f not in ("owner", "prefix")}
                if any(_kept(v) for v in values):
                    root = self._root(
                        f"{self.module(obj.node.file)}.{obj.kind}.locals", "locals", obj.node.place, values
                    )
                    root.opaque = "kept in properties of the application"
                    self._applications[obj] = root

    # What belongs to whom

    def _own(self) -> None:
        by_file: dict[str, list[Obj]] = {}
        for obj in self.flow.objects.values():
            by_file.setdefault(obj.node.file, []).append(obj)
        for binding, root in self.of_binding.items():
            value = binding.value
            if value is None:
                continue
            held = _held(root.values)
            functions = any(isinstance(v.target, Func | Bound) for v in root.values | _inside(held))
            for obj in by_file.get(value.file, []):
                of_app = obj.kind.startswith("app ")
                if obj.function is not binding.scope.function or of_app or not _within(obj.node, value):
                    continue
                if obj in held or not functions:
                    self._direct[obj] = root
        for root in list(self.roots):
            if root.binding is not None and not root.opaque and root.constant and _imports(root.binding.node):
                json = [v.target for v in root.values if isinstance(v.target, Obj) and v.target.kind == "json"]
                for obj in json:
                    self._reached.setdefault(obj, [root])
                continue
            self._reach(root)
        for obj in self.flow.module_objects.values():
            if obj.kind == "json" and obj not in self._reached:
                root = self._root(self.module(obj.label), obj.label, Place(obj.label, 1, 1), {Value(obj)})
                root.opaque = "the content of a JSON file that several modules share"
                self._reached[obj] = [root]
        self._nameless()

    def _nameless(self) -> None:
        """What is made at start and lives on by its methods alone."""
        for obj in list(self.flow.objects.values()):
            if obj.kind not in DATA_KINDS or obj in self._direct or obj in self._reached:
                continue
            if self.flow.starts(obj.function):
                name = (obj.label if obj.label != BYTES else "") or f"line{obj.node.line}"
                root = self._root(f"{self.module(obj.node.file)}.{name}", name, obj.node.place, {Value(obj)})
                root.opaque = "an object that no variable leads to"
                self._reach(root)

    def _reach(self, root: Root) -> None:
        todo = [v.target for v in root.values if isinstance(v.target, Obj)]
        seen: set[Obj] = set()
        while todo:
            obj = todo.pop()
            if obj in seen:
                continue
            seen.add(obj)
            owner = self._direct.get(obj)
            if owner is not None and owner is not root and owner.constant and self.flow.starts(obj.function):
                continue
            if obj.kind == "prototype" or (obj.kind in ("app", "router") and not root.opaque):
                continue
            there = self._reached.setdefault(obj, [])
            if obj.kind != "json" or not there:
                there.append(root)
            todo += [v.target for values in obj.fields.values() for v in values if isinstance(v.target, Obj)]

    def _at_start(self) -> set[str]:
        """The files that are loaded when the service starts."""
        sources = self.flow.service.sources
        found: set[str] = set()
        todo = [self.flow.service.entry]
        called = {
            (function.file, led): None
            for led, functions in self.flow.loads.items()
            for function in functions
            if self.flow.starts(function)
        }
        while todo:
            file = todo.pop()
            if file in found:
                continue
            found.add(file)
            todo += [led for of, led in called if of == file]
            root = sources[file].root if file in sources else None
            for node in root.kids if root is not None else ():
                named = node.get("source") if node.type in ("import_statement", "export_statement") else None
                if named is not None and string_value(named) in sources[file].leads:
                    todo.append(sources[file].leads[string_value(named)])
        return found

    # Variables

    def variable(self, root: Root, written: bool) -> Variable:
        """`written`: a request may assign it."""
        initial, detail = self._initial(root, written)
        remedy = "load that file when the service starts" if detail == LOADED_LATE else ""
        return Variable(root.id, root.name, root.place, initial, root.constant, detail, remedy=remedy)

    def _initial(self, root: Root, written: bool) -> tuple[Initial, str]:
        found: dict[Initial, str] = {}
        self._look(root.values, root, found, set())
        if written and PROMISE_HELD in found.values():
            return Initial.OPAQUE, PROMISE_HELD
        if written and THING in found.values():
            return Initial.OPAQUE, "an object of a library, which calls may change"
        if written and root.place.file not in self._loaded:
            return Initial.OPAQUE, LOADED_LATE
        if root.opaque and (written or Initial.ONCE in found):
            return Initial.OPAQUE, root.opaque
        for initial in (Initial.OPAQUE, Initial.ONCE, Initial.VALUE):
            if initial in found:
                return initial, found[initial]
        if written and (Initial.STATELESS not in found or "data" in found.values()):
            return Initial.VALUE, ""
        return (Initial.STATELESS, "") if Initial.STATELESS in found else (Initial.CODE, "")

    def _look(self, values: Iterable[Value], root: Root, found: dict[Initial, str], seen: set[Obj]) -> None:
        for value in values:
            initial, detail = self._sort(value)
            if initial is not Initial.CODE:
                found.setdefault(initial, detail)
            target = value.target
            if isinstance(target, Word) and target.what == "promise":
                found[Initial.CODE] = PROMISE_HELD
            if isinstance(target, Obj) and target.kind == THING:
                found[Initial.STATELESS] = THING
            if isinstance(target, Obj) and target not in seen and target.kind not in ("app", "router"):
                seen.add(target)
                owner = self._direct.get(target)
                if owner is None or owner is root or not owner.constant:
                    for field in target.fields.values():
                        self._look(field, root, found, seen)

    def _sort(self, value: Value) -> tuple[Initial, str]:
        target = value.target
        if isinstance(target, Once):
            return (Initial.ONCE, target.why) if self.flow.starts(target.function) else (Initial.VALUE, "")
        if isinstance(target, Lib):
            return _of_library(target)
        if isinstance(target, Obj):
            return self._of_object(target)
        if isinstance(target, Word):
            return _of_word(target)
        if isinstance(target, Func | Cls):
            return Initial.CODE, ""
        if isinstance(target, Plain) and target.literal:
            return Initial.CODE, ""
        return Initial.VALUE, ""

    def _of_object(self, obj: Obj) -> tuple[Initial, str]:
        if obj.kind in ("app", "router"):
            return Initial.STATELESS, ""
        if obj.kind in ("module", "exports", "module-data", "prototype", "extra"):
            return Initial.CODE, ""
        if obj.kind == "weak":
            return Initial.OPAQUE, "a collection whose entries cannot be listed"
        if obj.kind in ("iterator", "resolver"):
            return Initial.OPAQUE, "work that is under way"
        if obj.kind == "remembers":
            return Initial.OPAQUE, "something that remembers how it was used"
        if obj.kind in ("wrapper", THING):
            return Initial.STATELESS, ""
        for base in obj.fields.get("__base__", set()):
            if isinstance(base.target, Lib) and not (
                base.target.package == "global" and base.target.path[-1:][0] in ERRORS
            ):
                name = base.target.path[-1] if base.target.path else base.target.package
                return Initial.OPAQUE, f"an object that extends {name}"
        return Initial.VALUE, ""


def _held(values: Iterable[Value]) -> set[Obj]:
    """The objects among the values, and what those hold; what functions hold on to is not seen."""
    found: set[Obj] = set()
    todo = [v.target for v in values if isinstance(v.target, Obj)]
    while todo:
        obj = todo.pop()
        if obj not in found:
            found.add(obj)
            todo += [v.target for v in _inside({obj}) if isinstance(v.target, Obj)]
    return found


def _inside(objects: Iterable[Obj]) -> set[Value]:
    return {value for obj in objects for values in obj.fields.values() for value in values}


def _kept(value: Value) -> bool:
    """Whether a property of an application is data."""
    target = value.target
    return isinstance(target, Plain | Once) or (isinstance(target, Obj) and target.kind not in ("app", "router"))


def _of_library(lib: Lib) -> tuple[Initial, str]:
    package = lib.package
    if package in ("global", "process"):
        return Initial.CODE, ""
    sort = sort_of(package)
    if package == "events" and "()" not in lib.path:
        return Initial.CODE, ""
    if sort in (Sort.STATEFUL, Sort.UNKNOWN):
        return Initial.OPAQUE, libraries.keeps(package)
    if sort is Sort.CLIENT and lib.path[:1] == ("()",):
        return Initial.STATELESS, "data"
    return Initial.STATELESS, ""


def _of_word(word: Word) -> tuple[Initial, str]:
    if word.what == "made of once":
        return Initial.OPAQUE, "made of a value that differs from run to run"
    if word.what == "shared memory":
        return Initial.OPAQUE, "memory that threads share"
    if word.what in ("timer", "proxy"):
        return Initial.OPAQUE, f"a {word.what}"
    return Initial.CODE, ""


def plain_code(value: Value) -> bool:
    """A function that uses no variable of a function around it."""
    if not isinstance(value.target, Func):
        return False
    own = value.target.function
    for node in own.node.walk():
        if isinstance(node.binding, Binding):
            outer = node.binding.scope.function
            if not outer.module and not outer.within(own):
                return False
    return True


def _within(inner: Node, outer: Node) -> bool:
    return inner.file == outer.file and outer.start <= inner.start and inner.end <= outer.end


def _imports(node: Node) -> bool:
    """Whether a name is declared as what a `require` gives."""
    at: Node | None = node
    while at is not None and at.type != "variable_declarator":
        at = at.parent if at.type not in ("program", "statement_block") else None
    value = at.get("value") if at is not None else None
    while value is not None and value.type in ("member_expression", "call_expression"):
        if value.type == "call_expression":
            callee = value["function"]
            if callee.type == "identifier" and callee.text == "require":
                return True
            value = None
        else:
            value = value["object"]
    return False

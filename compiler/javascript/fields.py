"""Properties: reading `a.b`, writing `a.b = c`, of own objects, classes, the request, libraries. Knows no calls."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from compiler.facts import Harm, Mode
from compiler.javascript.heap import PATH_MAX, Danger, Heap, Stored, functions, is_word
from compiler.javascript.libraries import Sort, sort_of
from compiler.javascript.modules import Source
from compiler.javascript.scopes import Binding, Class, Function
from compiler.javascript.syntax import Node, well_known
from compiler.javascript.values import (
    ANY,
    BYTES,
    ITERATOR,
    NOTHING,
    REQUEST,
    RESPONSE,
    Cls,
    Func,
    Key,
    Lib,
    Obj,
    Once,
    Part,
    Plain,
    Value,
    Values,
    Via,
    Word,
    one,
)

KINDS = {"params", "query", "headers", "body", "cookies"}
APP_METHODS = {
    "use",
    "get",
    "post",
    "put",
    "delete",
    "patch",
    "all",
    "route",
    "handle",
    "listen",
    "render",
    "param",
    "set",
    "engine",
}
"""Of an application of a framework: what code does to these changes the framework."""

REGISTERS = {"use", "get", "post", "put", "delete", "patch", "all", "route", "param"}
"""Of an application or a router: what registers handlers."""

DATA_FIELDS = {
    "data",
    "rows",
    "body",
    "status",
    "rowCount",
    "affectedRows",
    "insertId",
    "ok",
    "message",
    "code",
    "statusCode",
}
"""Of what a library's call gives: plain data."""

TAKEN_OFF = {
    *("push", "unshift", "splice", "pop", "shift", "sort", "reverse", "fill", "add", "delete", "clear", "set"),
    *("get", "has", "at", "find", "findLast", "forEach", "map", "filter", "reduce", "slice", "concat", "values"),
    *("keys", "entries"),
}
"""Methods of collections: what they do is known where they are called."""

APP_READS = {"get", "enabled", "disabled", "path", "render", "mountpath"}

GLOBALS = (("global",), ("globalThis",))

AS_TEXT = ("toString", "valueOf", "@@toPrimitive")
"""Methods of own objects that are called where a text or a number is made of them."""


class Fields(Heap):
    """Reading and writing properties."""

    def call(self, func: Func, this: Values, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        raise NotImplementedError

    def evaluate(self, node: Node) -> Values:
        raise NotImplementedError

    @cached_property
    def _climbed(self) -> set[Obj]:
        """Whose prototypes are being looked through."""
        return set()

    # What the language calls by itself

    @cached_property
    def _accessors(self) -> bool:
        """Whether own code has any of what is called where objects are looked through."""
        texts = [source.text for source in self.service.sources.values()]
        return any(word in text for word in ("toJSON", "get ", "definePropert", "Symbol") for text in texts)

    def walk(self, values: Iterable[Value], node: Node, mode: Mode = Mode.WALK) -> None:
        """Getters are called by who looks an object through, and toJSON by who makes a text of it."""
        super().walk(values, node, mode)
        if not self._accessors:
            return
        for value in self.deep(values):
            obj = value.target
            if isinstance(obj, Obj) and obj.kind in ("object", "instance"):
                getters = [v for name, held in obj.fields.items() if name.startswith("get ") for v in held]
                self._call_each(getters, value, node)
                self._call_each(self._of_object(value, obj, "toJSON", node, None), value, node)
                self._call_each(self._iterators(value, obj, node), value, node)

    def _iterators(self, value: Value, obj: Obj, node: Node) -> list[Value]:
        """What goes through an own object: not just any function that is kept in it."""
        if obj.kind not in ("object", "instance"):
            return []
        found = frozenset().union(*(self._of_object(value, obj, name, node, None) for name in ITERATOR))
        others = {v.target for v in obj.fields.get(ANY, set())}
        return [v for v in found if isinstance(v.target, Func) and v.target not in others]

    def elements(self, values: Iterable[Value]) -> Values:
        """Of own objects with an iterator, what that gives."""
        values = list(values)
        found = super().elements(values)
        if not self._accessors:
            return found
        for value in values:
            if isinstance(value.target, Obj):
                for method in functions(self._iterators(value, value.target, value.target.node)):
                    found |= self._given(method)
        return found

    def _given(self, method: Func) -> Values:
        """What it returns may have a method that returns it."""
        given = set(self.returned.get(method.function, set()))
        for _ in range(2):
            inner = {v for g in given if isinstance(g.target, Obj) for v in self.inside(g)}
            given |= inner.union(*(self.returned.get(func.function, set()) for func in functions(inner)))
        return frozenset(given)

    def as_text(self, values: Iterable[Value], node: Node) -> None:
        """A text or a number is made of them."""
        for value in values:
            obj = value.target
            if isinstance(obj, Obj) and obj.kind in ("object", "instance"):
                for name in AS_TEXT:
                    self._call_each(self._of_object(value, obj, name, node, None), value, node)

    def _call_each(self, methods: Iterable[Value], this: Value, node: Node) -> None:
        for method in methods:
            if isinstance(method.target, Func):
                self.call(method.target, frozenset({this}), [], node, [])

    # Reading

    def read(self, values: Iterable[Value], name: str, node: Node, key: Key | None = None) -> Values:
        """The property `name` (ANY: a computed one) of what the values may be."""
        found: set[Value] = set()
        for value in values:
            found |= self._read(value, name, node, key)
        return frozenset(found)

    def _read(self, value: Value, name: str, node: Node, key: Key | None) -> set[Value]:
        target = value.target
        if isinstance(target, Obj):
            return self._of_object(value, target, name, node, key)
        if isinstance(target, Func):
            return self._of_function(target, name, node)
        if isinstance(target, Cls):
            return set(self.of_class(target.cls, name, static=True, value=value, node=node))
        if isinstance(target, Part):
            return self._of_request(value, target, name)
        if isinstance(target, Lib):
            return self._of_library(target, name, node)
        if isinstance(target, Word):
            if target.what == "app" and name not in APP_READS:
                self.danger(Harm.OPAQUE, f"reaches the application's {name} through the request", node)
            return self._of_word(target, name)
        if isinstance(target, Once):
            return {Value(target)}
        if isinstance(target, Plain) and target.literal and target.text is None:
            return set()
        return {Value(Plain(), value.via)}

    def _of_object(self, value: Value, obj: Obj, name: str, node: Node, key: Key | None) -> set[Value]:
        if obj.kind == "module-data":
            return self._of_module(obj, name)
        if obj.kind == "app" and name in ("locals", "settings", "context"):
            made = self.obj(obj.node, f"app {name}")
            made.function = obj.function
            self.add(obj, name, one(made))
        if obj.kind in ("app", "router") and (name in REGISTERS or name == ANY) and not obj.fields.get(name):
            what = "takes a method off the application that registers handlers"
            self.danger(Harm.DYNAMIC, what, node, "call it on the application", start=True)
        if obj.kind not in ("app", "router", "resolver") or (name in obj.fields and obj.kind != "resolver"):
            self.touch(value, Mode.READ, node, key)
        if obj.kind in ("array", "map", "set") and name in TAKEN_OFF:
            self.danger(Harm.OPAQUE, f"takes the method {name} off its collection", node, "call it there", start=True)
        if obj.kind == "json":
            return {Value(Plain(), Via(obj))}
        if obj.label == BYTES and name == "buffer":
            return {value}
        if name == ANY:
            found = set().union(*(v for field, v in obj.fields.items() if field != "__proto__"))
        else:
            found = obj.fields.get(name, set()) | obj.fields.get(ANY, set())
        result = self.inner(value, found, key)
        if obj not in self._climbed:  # as far as can be told, they may be each other's prototypes
            self._climbed.add(obj)
            for proto in self._prototypes(obj):
                result |= self._read(proto, name, node, None)
            self._climbed.discard(obj)
        if isinstance(obj.maker, Class):
            result |= self.of_class(obj.maker, name, static=False, value=value, node=node)
        getters = [v for f in (f"get {name}", f"get {ANY}") for v in obj.fields.get(f, set())]
        for getter in functions(getters):
            result |= self.call(getter, frozenset({value}), [], node, [])
        return result

    def _prototypes(self, obj: Obj) -> set[Value]:
        made = isinstance(obj.maker, Function) and self.extra(obj.maker).fields.get("prototype", set())
        return obj.fields.get("__proto__", set()) | (made or set())

    def _of_function(self, func: Func, name: str, node: Node) -> set[Value]:
        own = self.extra(func.function)
        if name == "constructor":
            return {Value(Lib("global", ("Function",)))}
        if name == "prototype" and "prototype" not in own.fields:
            made = self.obj(func.function.node, "prototype")
            made.function = func.function.parent or func.function
            own.fields["prototype"] = {Value(made)}
        return self._property_of(func.function, name, node)

    def _property_of(self, of: Function | Class, name: str, node: Node) -> set[Value]:
        own = self.extra(of)
        found = set(own.fields.get(name, set()) | own.fields.get(ANY, set()))
        if name == "prototype" or not any(isinstance(v.target, Plain | Once | Obj) for v in found):
            return found
        self.touch(Value(own), Mode.READ, node)
        via = Via(own)
        return {self.out_of(via, value) for value in found}

    def of_class(self, cls: Class, name: str, *, static: bool, value: Value, node: Node) -> Values:
        """A method, a getter's result or a static field, of the class or those it extends."""
        found: set[Value] = set()
        for member in self._members(cls, name, static):
            if member.type == "method_definition" and member.info is not None:
                func = Func(member.info)
                if "get" in member.words:
                    found |= self.call(func, frozenset({value}), [], node, [])
                elif "set" not in member.words:
                    found.add(Value(func))
        if static:
            found |= self._property_of(cls, name, node)
            if name == "prototype":
                found.add(Value(Word("prototype")))
        for base in self.bases(cls):
            if isinstance(base.target, Cls):
                found |= self.of_class(base.target.cls, name, static=static, value=value, node=node)
            elif isinstance(base.target, Func):
                for item in self.extra(base.target.function).fields.get("prototype", set()):
                    found |= self._read(item, name, node, None)
            elif isinstance(base.target, Lib):
                found.add(Value(Lib(base.target.package, (*base.target.path, name)[:PATH_MAX])))
        return frozenset(found)

    def _members(self, cls: Class, name: str, static: bool) -> tuple[Node, ...]:
        """Those that may have the name."""
        found = self._named.get((cls, name, static))
        if found is None:
            members = [m for m in cls.node["body"].kids if m.type in ("method_definition", "field_definition")]
            every = [(m, m.get("name") or m.get("property")) for m in members if ("static" in m.words) == static]
            own = (m for m, named in every if named is not None and name in (_name_of(named) or name, ANY))
            found = self._named[cls, name, static] = tuple(own)
        return found

    @cached_property
    def _named(self) -> dict[tuple[Class, str, bool], tuple[Node, ...]]:
        return {}

    def bases(self, cls: Class) -> Values:
        if cls.base is None:
            return NOTHING
        binding: Binding | None = cls.base.binding if cls.base.type == "identifier" else None
        binding = None if binding is not None and binding.kind == "import" else binding
        state = (len(self.values.get(binding, ())), len(self.starting)) if binding is not None else None
        known = self._bases.get(cls)
        if known is not None and known[0] == state:
            return known[1]
        recording, self.recording = self.recording, False
        try:
            found = self.evaluate(cls.base)
        finally:
            self.recording = recording
        if state is not None:
            self._bases[cls] = state, found
        return found

    @cached_property
    def _bases(self) -> dict[Class, tuple[tuple[int, int], Values]]:
        """Of classes that extend what a name stands for, as long as that stands for no more than it did."""
        return {}

    def _of_request(self, value: Value, part: Part, name: str) -> set[Value]:
        fields = self.extra("request").fields
        if part.path == ():
            if name in ("res", "response"):
                return {RESPONSE}
            if name in ("req", "request"):
                return {REQUEST}
            if name in ("app", "socket", "connection"):
                return {Value(Word(name))}
            found = set(fields.get(name, set()) | fields.get(ANY, set()))
            if name == ANY:
                found = set().union(*fields.values()) if fields else set()
            found.add(Value(Part((name,)), value.via))
            return found
        found = set(fields.get(f"{part.path[0]}.", set()))
        path = (*part.path, name)
        found.add(Value(Part(path), value.via) if len(path) <= PATH_MAX else value)
        return found

    def _of_library(self, lib: Lib, name: str, node: Node) -> set[Value]:
        if lib.package == "process":
            if lib.path == () and name == "env":
                return {Value(Lib("process", ("env",)))}
            if lib.path == ("env",):
                if name != ANY:
                    self.env.add(name)
                return {Value(Plain(literal=True))}
            if lib.path == () and name in ("pid", "hrtime", "uptime"):
                return {Value(Once(f"process.{name}", self.function))}
            return {Value(Lib("process", (*lib.path, name)[:PATH_MAX]))}
        own = self.extras.get(f"lib {lib.package}")
        stored = set(own.fields.get(name, set())) if own is not None else set()
        if lib.package == "global" and lib.path in GLOBALS:
            return stored | self.global_property(name, node) or {Value(Lib("global", (name,)))}
        if name == "default" and lib.path == ():
            return {Value(lib)}
        if name == "length":
            return {Value(Plain(literal=True))}
        if lib.path[:1] in (("()",), ("handle",)):
            return {Value(Plain()), *stored} if name in DATA_FIELDS else {Value(lib), *stored}
        return {Value(Lib(lib.package, (*lib.path, name)[-PATH_MAX:])), *stored}

    def global_property(self, name: str, node: Node) -> set[Value]:
        """What `global.name` holds, which is the same as a `name` that is declared nowhere."""
        raise NotImplementedError

    def write_global(self, name: str, values: Values, node: Node) -> bool:
        """Whether it is such a variable."""
        raise NotImplementedError

    def _of_word(self, word: Word, name: str) -> set[Value]:
        if word.what == "response":
            own = self.extra("response").fields
            if name == "locals":
                locals_ = self.extra("response.locals")
                return {Value(locals_)}
            if name in ("req", "request"):
                return {REQUEST}
            return set(own.get(name, set())) or {Value(Plain())}
        if word.what == "app":
            return {Value(Word("app"))}
        return {Value(Plain())}

    # Modules

    def _of_module(self, obj: Obj, name: str) -> set[Value]:
        source: Source = obj.maker
        if name == ANY:
            names = {n for n, _ in self.exported(source)}
            return set().union(*(self.export(source, n) for n in names)) if names else set()
        return set(self.export(source, name))

    def exported(self, source: Source) -> list[tuple[str, Node]]:
        raise NotImplementedError

    def export(self, source: Source, name: str, depth: int = 0) -> Values:
        raise NotImplementedError

    # Writing

    def write(self, holders: Iterable[Value], name: str, values: Values, node: Node, key: Key | None = None) -> None:
        for holder in holders:
            self._write(holder, name, values, node, key)

    def _write(self, holder: Value, name: str, values: Values, node: Node, key: Key | None) -> None:
        target = holder.target
        if isinstance(target, Obj):
            if target.kind in ("app", "router") and name in APP_METHODS:
                self.danger(Harm.DYNAMIC, f"changes the framework's {name}", node, start=True)
            self.add(target, name, values)
            self.touch(holder, Mode.WRITE, node, key)
            self.store(holder, values, node)
            self._setters(holder, target, name, values, node)
        elif isinstance(target, Func | Cls):
            own = self.extra(target.function if isinstance(target, Func) else target.cls)
            self.add(own, name, values)
            of = target.function if isinstance(target, Func) else target.cls
            called = of.name
            if self.named(of):
                self.touch(Value(own), Mode.WRITE, node)
                self.store(Value(own), values, node)
                return
            self.note(
                Danger(
                    Harm.OPAQUE,
                    f"keeps state in a property of {called or 'a function'}",
                    node.place,
                    "keep it in a variable of the module",
                )
            )
        elif isinstance(target, Part):
            self._write_request(holder, target, name, values, node)
        elif isinstance(target, Lib):
            self._write_library(target, name, values, node)
        elif is_word(holder, "response"):
            self.add(self.extra("response"), name, values)
            if name in ("body", "statusCode", "status"):
                self.record.answers = True
                self.walk(values, node)
        elif isinstance(target, Word) and target.what in ("app", "prototype"):
            self.danger(Harm.DYNAMIC, f"changes the {target.what} of a framework or class", node, start=True)
        else:
            self.touch(holder, Mode.WRITE, node, key)
            self.store(holder, values, node)

    def _setters(self, holder: Value, obj: Obj, name: str, values: Values, node: Node) -> None:
        for value in obj.fields.get(f"set {name}", set()).copy():
            if isinstance(value.target, Func):
                self.call(value.target, frozenset({holder}), [values], node, [])
        cls = obj.maker
        while isinstance(cls, Class):
            for member in cls.node["body"].kids:
                if member.type == "method_definition" and "set" in member.words and member["name"].text == name:
                    self.call(Func(member.info), frozenset({holder}), [values], node, [])
            cls = next((b.target.cls for b in self.bases(cls) if isinstance(b.target, Cls)), None)

    def _write_request(self, holder: Value, part: Part, name: str, values: Values, node: Node) -> None:
        own = self.extra("request")
        if holder.via is not None or part.path:
            self.touch(holder, Mode.WRITE, node)
        if part.path == ():
            if name in KINDS or name in ("url", "originalUrl", "path", "method"):
                self.changed_kinds.add(name)
            if name == "body":
                self.record.answers = True
                self.walk(values, node)
            self.add(own, name, values)
        else:
            if part.path[0] in KINDS:
                self.changed_kinds.add(part.path[0])
            self.add(own, f"{part.path[0]}.", values)

    def _write_library(self, lib: Lib, name: str, values: Values, node: Node) -> None:
        if lib.package == "process" and lib.path[:1] == ("env",):
            self.danger(Harm.DYNAMIC, f"changes process.env.{name}", node, "keep it in a variable")
            return
        if lib.package == "global" and lib.path in GLOBALS and self.write_global(name, values, node):
            return
        self.add(self.extra(f"lib {lib.package}"), name, values)
        sort = sort_of(lib.package)
        framework = sort is Sort.FRAMEWORK and ({"response", "request", "prototype", "application"} & set(lib.path))
        if "prototype" in lib.path or "__proto__" in lib.path or framework:
            self.danger(Harm.DYNAMIC, f"changes {'.'.join((lib.package, *lib.path))}.{name}", node, start=True)
        elif lib.package == "global":
            what = f"keeps {'something' if name == ANY else name} in the global object"
            self.danger(Harm.DYNAMIC, what, node, "keep it in a variable of a module")
        else:
            of_all = "()" not in lib.path and "handle" not in lib.path
            what = f"changes {'.'.join((lib.package, *lib.path))}.{name}"
            self.danger(Harm.DYNAMIC if of_all else Harm.OPAQUE, what, node)

    def store(self, into: Value | Binding, values: Values, node: Node) -> None:
        if self.recording:
            for value in values:
                if not (isinstance(value.target, Plain) and value.target.literal):
                    self.note(Stored(into, value, node.place))

    def remove(self, holders: Iterable[Value], node: Node, key: Key | None) -> None:
        """`delete holder[key]`."""
        for holder in holders:
            self.touch(holder, Mode.WRITE, node, key)
            if isinstance(holder.target, Part) and holder.target.path:
                self.changed_kinds.add(holder.target.path[0])


def module_values(source: Source, obj: Obj) -> Values:
    """What `require` or `import * as` gives for an ES module."""
    obj.maker = source
    return one(obj)


def _name_of(named: Node) -> str:
    """Of a member of a class; "" for one that is computed."""
    return well_known(named.kids[0]) if named.type == "computed_property_name" else named.text

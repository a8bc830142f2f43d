"""Calls: of own functions and classes, of methods of arrays, maps and the like, of what the language has built in.
Knows no syntax but a call's.
"""

from __future__ import annotations

import re

from compiler.facts import Harm, Mode
from compiler.javascript.fields import Fields
from compiler.javascript.heap import Called, Danger, functions
from compiler.javascript.libraries import PLAIN_RESULTS, RANDOM, UNCHANGED, Sort, keeps, may_change, names, sort_of
from compiler.javascript.scopes import Binding, Class, Function
from compiler.javascript.syntax import Node
from compiler.javascript.values import (
    ANY,
    BYTES,
    CALLS,
    DATA,
    ITERATOR,
    LITERAL,
    NOTHING,
    PROMISE,
    THING,
    Bound,
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
    Word,
    one,
)

CHANGES = names(
    """push unshift splice pop shift sort reverse fill copyWithin add delete clear set append write setDate
    setFullYear setHours setMinutes setMonth setSeconds setTime setMilliseconds"""
)
"""Methods that change what they are called on."""

SETTERS = re.compile(r"(set|write|swap)[A-Z0-9]")
"""Of dates, buffers and views of memory, as `setUTCHours`, `writeUInt8`: they change what they are called on, too."""

CALLS_BACK = names(
    """forEach map filter find findIndex findLast findLastIndex some every reduce reduceRight flatMap sort toSorted"""
)
GIVES_ELEMENT = names("""find findLast pop shift at get""")
GIVES_SAME = names("""filter slice concat splice sort reverse flat toSorted toReversed toSpliced with fill""")
ITERATES = {"values", "keys", "entries", ANY, *ITERATOR}
"""Methods that give an iterator: `list[Symbol.iterator]()` is one, too."""

INTEROP = {"_interopRequireDefault", "__importDefault", "_interopRequireWildcard", "__importStar", "interopDefault"}

SHUFFLED = names("sort toSorted filter find findIndex findLast findLastIndex some every")
"""Methods whose results depend on what the function that they are given returns."""

BY_KEY = {"get": Mode.READ, "has": Mode.READ, "set": Mode.WRITE, "delete": Mode.WRITE}
"""Methods of a Map that touch one entry."""

MADE_OF_FUNCTIONS = ("wrapper", "remembers")
CALLED_WITH = 4
"""Arguments that a library may give to a function that it was given."""

SYNCHRONOUS = CALLS_BACK | {"replace", "replaceAll", "from", "fromEntries", "groupBy"}


class Calling(Fields):
    """Calls of what is not a package's."""

    site_arguments: dict[Node, dict[Binding, Values]]

    def assign(self, target: Node, values: Values, *, declares: bool = False) -> None:
        raise NotImplementedError

    def key_of(self, node: Node | None) -> Key | None:
        raise NotImplementedError

    # Own functions

    def call(self, func: Func, this: Values, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        function = func.function
        self.calls_of.setdefault(self.function, {})[function] = None
        if function.name in INTEROP and len(arguments) == 1:
            return self._interop(arguments[0], node)
        if self.starts(self.function) and function not in self.starting:
            self.starting.add(function)
            self.dirty = True
        self.put(self.these.setdefault(function, set()), this)
        if function.uses_arguments:
            self.add(self.extra(f"arguments {function.node.start} {function.file}"), ANY, frozenset().union(*arguments))
        for index, parameter in enumerate(function.parameters):
            self.assign(parameter, self._argument(function, parameter, index, arguments), declares=True)
        self._note_call(func, node, nodes)
        return self._result(func, node, nodes, arguments)

    def _interop(self, values: Values, node: Node) -> Values:
        """What tools that turn ES modules into CommonJS wrap each `require` in."""
        made = self.obj(node, "interop")
        kept: set[Value] = set()
        for value in values:
            target = value.target
            if isinstance(target, Lib) or (isinstance(target, Obj) and self.made_of_esm(target)):
                kept.add(value)
            else:
                self.add(made, "default", {value})
                kept.add(Value(made))
        return frozenset(kept)

    def made_of_esm(self, obj: Obj) -> bool:
        """Whether it is the exports of an ES module that a tool has made CommonJS."""
        source = self.service.sources.get(obj.label)
        return obj.kind == "exports" and source is not None and "__esModule" in source.text

    def _argument(self, function: Function, parameter: Node, index: int, arguments: list[Values]) -> Values:
        if parameter.type == "rest_pattern":
            rest = self.obj(parameter, "array")
            rest.function = function
            self.add(rest, ANY, frozenset().union(*arguments[index:]))
            return one(rest)
        return arguments[index] if index < len(arguments) else NOTHING

    def _note_call(self, func: Func, node: Node, nodes: list[Node], through: Binding | None = None) -> None:
        if not self.recording:
            return
        self.called_at.setdefault(node, {})[func.function] = None
        callee = node.get("function")
        if callee is not None and callee.type == "identifier" and callee.binding is not None:
            binding: Binding = callee.binding
            if binding.kind == "param" and binding.scope.function is not self.function:
                through = binding
        found = []
        for parameter, argument in zip(func.function.parameters, nodes, strict=False):
            if parameter.type == "identifier" and argument.type != "spread_element":
                key = self.key_of(argument)
                if key is not None:
                    found.append((parameter.text, key))
        self.note(Called(func, tuple(found), node.place, through))

    def _result(self, func: Func, node: Node, nodes: list[Node], arguments: list[Values]) -> Values:
        """What it returned, with keys of its parameters told in those of this call."""
        function = func.function
        found: set[Value] = set()
        for value in self.returned.get(function, set()):
            target, via = value.target, value.via
            if via is not None and via.key is not None and isinstance(via.key.root, Binding):
                via = type(via)(via.base, self._told(via.key, function, nodes))
            if isinstance(target, Func) and target.site is None and target.function.parent is function:
                made = self.site_arguments.setdefault(node, {})
                for parameter, values in zip(function.parameters, arguments, strict=False):
                    if parameter.type == "identifier" and parameter.binding is not None:
                        made[parameter.binding] = made.get(parameter.binding, NOTHING) | values
                target = Func(target.function, node)
            found.add(Value(target, via))
        if function.asynchronous:
            found.add(PROMISE)
        if function.generator:
            made_of = self.obj(node, "iterator")
            self.add(made_of, ANY, found)
            return one(made_of)
        return frozenset(found)

    def _told(self, key: Key, function: Function, nodes: list[Node]) -> Key | None:
        assert isinstance(key.root, Binding)
        if key.root.scope.function is not function:
            return None
        for parameter, argument in zip(function.parameters, nodes, strict=False):
            if parameter.binding is key.root and argument.type != "spread_element":
                outer = self.key_of(argument)
                if outer is None or (outer.convert and (key.path or key.convert not in ("", outer.convert))):
                    return None
                return Key(outer.root, outer.path + key.path, outer.convert or key.convert, outer.text)
        return None

    def call_values(
        self, callees: Values, this: Values, arguments: list[Values], node: Node, nodes: list[Node]
    ) -> Values:
        found: set[Value] = set()
        for callee in callees:
            found |= self.call_value(callee, this, arguments, node, nodes)
        return frozenset(found)

    def call_value(self, callee: Value, this: Values, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        target = callee.target
        if isinstance(target, Func):
            return self.call(target, this, arguments, node, nodes)
        if isinstance(target, Bound):
            return self.call_value(target.function, this, [*target.first, *arguments], node, [])
        if isinstance(target, Lib):
            return self.call_library(target, arguments, node, nodes)
        if isinstance(target, Obj):
            return self._call_object(target, arguments, node)
        if isinstance(target, Word):
            return self._call_word(target, arguments, node)
        self._unseen(arguments, node)
        return frozenset({Value(Plain(), callee.via)})

    def _call_object(self, obj: Obj, arguments: list[Values], node: Node) -> Values:
        if obj.kind in MADE_OF_FUNCTIONS:
            self.touch(Value(obj), Mode.WRITE, node)
            every = frozenset().union(*arguments)
            given = [*arguments, *[every | DATA] * (CALLED_WITH - len(arguments))]
            return self.call_values(frozenset(obj.fields.get(CALLS, set())), NOTHING, given, node, []) | DATA
        if obj.kind == "resolver":
            self.add(obj, ANY, frozenset().union(*arguments))
            self.record.answers = True
            return DATA
        if obj.kind in ("app", "router"):
            for values in arguments:
                self.walk(values, node)
            return DATA
        return NOTHING

    def _call_word(self, word: Word, arguments: list[Values], node: Node) -> Values:
        self.record.answers = True
        if word.what == "next":
            self.answered_at.add(node)
            if not arguments or not node.get("arguments") or not self._errors(node["arguments"]):
                self.record.goes_on = True
            return one(Word("promise")) | DATA
        self._unseen(arguments, node)
        return DATA

    def _errors(self, arguments: Node) -> bool:
        """`next(error)`, and not `next()` or `next("route")`."""
        return bool(arguments.kids) and arguments.kids[0].type not in ("string", "null", "undefined")

    def _unseen(self, arguments: list[Values], node: Node) -> None:
        """Code that is not seen gets them: a callback that a library gave."""
        for values in arguments:
            self.walk([v for v in values if v.via is not None or isinstance(v.target, Obj)], node, Mode.ESCAPE)

    def call_library(self, lib: Lib, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        raise NotImplementedError

    def call_back(self, values: Values, arguments: list[Values], node: Node) -> Values:
        """Functions among `values` are called with them."""
        found: set[Value] = set()
        for value in values:
            if isinstance(value.target, Func | Bound) or (
                isinstance(value.target, Obj) and value.target.kind == "resolver"
            ):
                found |= self.call_value(value, NOTHING, arguments, node, [])
            elif isinstance(value.target, Word) and value.target.what in ("next", "callback"):
                self.record.answers = True
                self._unseen(arguments, node)
        return frozenset(found)

    # New objects

    def construct(self, callees: Values, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        found: set[Value] = set()
        for callee in callees:
            target = callee.target
            if isinstance(target, Cls):
                found |= self._instance(target.cls, arguments, node, nodes)
            elif isinstance(target, Func):
                made = self.obj(node, "instance")
                made.maker = target.function
                found.add(Value(made))
                found |= self.call(target, one(made), arguments, node, nodes) - PRIMITIVE
            elif isinstance(target, Lib):
                found |= self.construct_library(target, arguments, node, nodes)
            elif not isinstance(target, Obj):
                self._unseen(arguments, node)
                found |= DATA
        return frozenset(found)

    def construct_library(self, lib: Lib, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        raise NotImplementedError

    def _instance(self, cls: Class, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        made = self.obj(node, "instance", cls.name)
        made.maker = cls
        this = one(made)
        self.initialise(cls, this, arguments, node, nodes)
        return this

    def initialise(self, cls: Class, this: Values, arguments: list[Values], node: Node, nodes: list[Node]) -> None:
        """Runs the constructor, or the one of what it extends."""
        self.put(self.these.setdefault(self.fields_of(cls), set()), this)
        for member in cls.node["body"].kids:
            named = member.get("name")
            if member.type == "method_definition" and named is not None and named.text == "constructor":
                self.call(Func(member.info), this, arguments, node, nodes)
                return
        self.construct_base(cls, this, arguments, node, nodes)

    def construct_base(self, cls: Class, this: Values, arguments: list[Values], node: Node, nodes: list[Node]) -> None:
        for base in self.bases(cls):
            if isinstance(base.target, Cls):
                self.initialise(base.target.cls, this, arguments, node, nodes)
            elif isinstance(base.target, Func):
                self.call(base.target, this, arguments, node, nodes)
            elif isinstance(base.target, Lib):
                for value in this:
                    if isinstance(value.target, Obj):
                        self.add(value.target, "__base__", {Value(base.target)})

    def fields_of(self, cls: Class) -> Function:
        """Stands for the code of the class's fields."""
        raise NotImplementedError

    # Methods of what the language has

    def method(self, value: Value, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        """A method that is not an own function, called on `value`."""
        target = value.target
        if name in ("then", "catch", "finally") and not isinstance(target, Lib):
            return self._then(value, name, arguments, node)
        if isinstance(target, Func | Cls | Bound) and name in ("call", "apply", "bind"):
            return self._applied(value, name, arguments, node, nodes)
        if (
            isinstance(target, Obj)
            and target.kind in ("object", "instance", "extra")
            and name in ("hasOwnProperty", "propertyIsEnumerable")
        ):
            self.touch(value, Mode.READ, node, self.key_of(nodes[0]) if nodes else None)
            return DATA
        if isinstance(target, Obj) and target.kind in MADE_OF_FUNCTIONS:
            return self._call_object(target, arguments, node)
        if isinstance(target, Obj) and target.kind == THING:
            return self._of_thing(value, target, name, arguments, node)
        return self._of_collection(value, name, arguments, node, nodes)

    def _of_thing(self, value: Value, thing: Obj, name: str, arguments: list[Values], node: Node) -> Values:
        """A method of an object of which it is not known what it keeps."""
        given = frozenset().union(*arguments)
        self.touch(value, Mode.WRITE if may_change(thing.label, name) else Mode.READ, node)
        self.walk(given, node)
        self.call_back(given, [DATA, DATA], node)
        return DATA if name in PLAIN_RESULTS or name in UNCHANGED else frozenset({value}) | DATA

    def _then(self, value: Value, name: str, arguments: list[Values], node: Node) -> Values:
        self.record.waits = True
        settled = frozenset() if value == PROMISE else frozenset({value})
        given = DATA if name == "catch" else settled
        found = frozenset().union(*(self.call_back(values, [given], node) for values in arguments[:1]))
        for values in arguments[1:]:
            found |= self.call_back(values, [DATA], node)
        return (found if name == "then" else found | settled) | {PROMISE}

    def _applied(self, value: Value, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        this = arguments[0] if arguments else NOTHING
        if name == "bind":
            if isinstance(value.target, Func):
                self.put(self.these.setdefault(value.target.function, set()), this)
            # What is bound stays bound; bound again and again it would have no end.
            return one(value.target if isinstance(value.target, Bound) else Bound(value, tuple(arguments[1:])))
        if name == "apply":
            every = self.elements(arguments[1]) if len(arguments) > 1 else NOTHING
            return self.call_value(value, this, [every] * 8, node, [])
        if isinstance(value.target, Cls):
            self.initialise(value.target.cls, this, arguments[1:], node, nodes[1:])
            return this
        return self.call_value(value, this, arguments[1:], node, nodes[1:])

    def _of_collection(self, value: Value, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        target = value.target
        every = frozenset().union(*arguments) if arguments else NOTHING
        key = self._touch_collection(value, name, node, nodes)
        if isinstance(target, Part) and _changes(name) and target.path:
            self.changed_kinds.add(target.path[0])
        if isinstance(target, Obj) and target.label == BYTES and name in ("subarray", "slice"):
            return frozenset({value})
        if name == "copy":  # of a buffer, into what it is given
            for filled in every:
                self.touch(filled, Mode.WRITE, node)
        inside = self._inside_by(value, key) if key is not None else frozenset(self.inside(value))
        keeps_nothing = name == "sort" or _takes_out(target, name)  # which compares by what it is given
        if name in CHANGES and every and not keeps_nothing:
            self._put_in(value, name, arguments, node)
        results: Values = NOTHING
        if name in CALLS_BACK or functions(every):
            given = [
                inside | (self._starts_of(arguments) if name.startswith("reduce") else NOTHING),
                inside,
                one_self(value),
            ]
            for values in arguments:
                results |= self.call_back(values, given, node)
        if name in SHUFFLED and isinstance(target, Obj):
            once = frozenset(Value(v.target) for v in results if isinstance(v.target, Once))
            if once:
                self.add(target, ANY, once)
                inside |= once
        if name in GIVES_ELEMENT:
            return inside | results if name == "get" else inside
        if name == "next" and isinstance(target, Obj) and target.kind == "iterator":
            made = self.obj(node, "pair")
            self.add(made, "value", inside)
            return one(made) | DATA
        if name in ITERATES and isinstance(target, Obj) and target.kind in ("array", "map", "set"):
            made = self.obj(node, "iterator")
            self.add(made, ANY, self.elements({value}) | DATA)
            return one(made)
        if name in GIVES_SAME:
            made = self.obj(node, "array")
            self.add(made, ANY, inside | (every if name in ("concat", "fill", "with") else NOTHING))
            if name == "concat":
                self.add(made, ANY, self.elements(every))
                self.walk(every, node)
            kept = frozenset({value}) if name in ("sort", "reverse", "fill") else NOTHING
            return one(made) | kept
        if name in ("map", "flatMap"):
            made = self.obj(node, "array")
            self.add(made, ANY, results | (self.elements(results) if name == "flatMap" else NOTHING))
            return one(made)
        if name.startswith("reduce"):
            return results | self._starts_of(arguments)
        if name in ("set", "add"):
            return frozenset({value})
        if isinstance(target, Once):
            return frozenset({value})
        if isinstance(target, Plain) and target.literal:
            return DATA if every or name else LITERAL
        return frozenset({Value(Plain(), value.via)}) | (inside if isinstance(target, Plain) else NOTHING)

    def _inside_by(self, value: Value, key: Key) -> Values:
        assert isinstance(value.target, Obj)
        return frozenset(self.inner(value, value.target.fields.get(ANY, set()), key))

    def _starts_of(self, arguments: list[Values]) -> Values:
        return arguments[1] if len(arguments) > 1 else NOTHING

    def _touch_collection(self, value: Value, name: str, node: Node, nodes: list[Node]) -> Key | None:
        """Notes how the method touches it; the key, if only one entry."""
        target = value.target
        kind = target.kind if isinstance(target, Obj) else ""
        if kind == "map" and name in BY_KEY and nodes:
            key = self.key_of(nodes[0])
            self.touch(value, BY_KEY[name], node, key)
            return key
        if _changes(name) or (kind == "regex" and name in ("test", "exec")):
            if not isinstance(target, Word):
                self.touch(value, Mode.WRITE, node)
        elif kind in ("set", "weak") and name == "has":
            self.touch(value, Mode.READ, node)
        else:
            self.touch(value, Mode.WALK, node)
        return None

    def _put_in(self, value: Value, name: str, arguments: list[Values], node: Node) -> None:
        put = arguments[1:] if name in ("set", "splice") else arguments
        items = frozenset().union(*put) if put else NOTHING
        if isinstance(value.target, Obj):
            self.add(value.target, ANY, items)
        self.store(value, items, node)

    # Once per run

    def random(self, package: str) -> Values:
        return one(Once(RANDOM.get(package, "made anew at each start"), self.function))

    def uses_package(self, package: str, node: Node) -> None:
        """Its use is noted where it is imported inside a function; a variable that holds it is looked at as such."""
        if sort_of(package) in (Sort.STATEFUL, Sort.UNKNOWN):
            self.note(Danger(Harm.OPAQUE, f"uses {keeps(package)}", node.place))


PRIMITIVE = LITERAL | DATA


def _changes(name: str) -> bool:
    return name in CHANGES or SETTERS.match(name) is not None


def _takes_out(target: object, name: str) -> bool:
    """Whether it finds an entry by what it is given, and keeps nothing of that."""
    return name == "delete" and isinstance(target, Obj) and target.kind in ("map", "set", "weak")


def one_self(value: Value) -> Values:
    return frozenset({value})

"""Calls of packages, of Node.js and of the language's global objects: what they do with what they are given, what they
give. Knows frameworks only as something that is registered with.
"""

from __future__ import annotations

from compiler.facts import Harm, Mode
from compiler.javascript import libraries
from compiler.javascript.calling import Calling
from compiler.javascript.heap import Danger, functions
from compiler.javascript.libraries import Sort, sort_of
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import Node
from compiler.javascript.values import (
    ANY,
    BYTES,
    CALLS,
    DATA,
    LITERAL,
    NOTHING,
    PROMISED,
    REQUEST,
    RESPONSE,
    THING,
    Bound,
    Func,
    Lib,
    Obj,
    Once,
    Plain,
    Value,
    Values,
    Word,
    one,
)

TIMERS = {"setTimeout", "setInterval", "setImmediate", "queueMicrotask"}
AT_ONCE = {"setImmediate", "queueMicrotask", "nextTick"}
"""Given no time: what they call it with is next to the function."""
COLLECTIONS = {"Map": "map", "Set": "set", "WeakMap": "weak", "WeakSet": "weak", "WeakRef": "weak", "Array": "array"}
BUFFERS = {"ArrayBuffer", "SharedArrayBuffer", "DataView"}
FILLS = libraries.names("randomFillSync randomFill getRandomValues encodeInto readSync read")
"""Functions that write into the memory that they are given."""


LISTENS = libraries.names("on once addListener prependListener each forEach eachAsync listen")
"""Methods of packages whose functions are called again and again, mostly before another that ends it."""

BEFORE_ANSWER = libraries.names(
    """status set header setHeader setHeaders appendHeader append type contentType cookie clearCookie vary links
    location attachment get getHeader getHeaders getHeaderNames hasHeader removeHeader on once off addListener
    removeListener setTimeout write writeHead flushHeaders cork uncork writeContinue setDefaultEncoding"""
)
"""Methods of the response after which it is still to be answered."""


class Packages(Calling):
    """Calls of what is not the service's own."""

    _made_by: Node
    callbacks: dict[Function, Node]
    """Own functions that a package calls when it likes, such as hooks."""

    def register(self, lib: Lib, arguments: list[Values], node: Node, nodes: list[Node], *, new: bool) -> Values | None:
        """What a framework makes: an application, a router; None if it makes neither."""
        raise NotImplementedError

    def method_of(self, value: Value, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        raise NotImplementedError

    def call_library(self, lib: Lib, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        package, name = lib.package, lib.path[-1] if lib.path else ""
        if package == "global":
            return self._global(lib.path, arguments, node, nodes)
        if package == "process":
            return self._process(name, arguments, node)
        made = self.register(lib, arguments, node, nodes, new=False)
        if made is not None:
            return made
        return self._package(lib, arguments, node)

    def construct_library(self, lib: Lib, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        if lib.package == "global":
            return self._new(lib.path[-1] if lib.path else "", arguments, node, nodes)
        made = self.register(lib, arguments, node, nodes, new=True)
        if made is not None:
            return made
        return self._package(lib, arguments, node)

    # Packages

    def _package(self, lib: Lib, arguments: list[Values], node: Node) -> Values:
        package, name = lib.package, lib.path[-1] if lib.path else ""
        sort = sort_of(package)
        every = frozenset().union(*arguments) if arguments else NOTHING
        if sort is Sort.WRAPPER:
            return every
        changes = sort is Sort.PURE and name in libraries.MUTATES_FIRST and package.startswith(("lodash", "underscore"))
        if package in ("object-assign", "extend", "merge", "deepmerge", "xtend"):
            changes = package != "xtend" and package != "deepmerge"
        if changes and arguments:
            self._assigned(arguments, node)
            self.write(arguments[0], ANY, frozenset().union(*arguments[2:]), node)  # `set(object, path, value)`
            return arguments[0] | self.elements(arguments[0])
        known = sort not in (Sort.UNKNOWN, Sort.STATEFUL)
        self.walk(every, node, Mode.WALK if known and name != "chain" else Mode.ESCAPE)
        self._filled(name, every, node)
        if sort is Sort.MACHINE:
            return self._machine(lib, arguments, node)
        if libraries.sets(package, name) and lib.path == (name,) and arguments:
            self.danger(Harm.DYNAMIC, f"changes the settings of {package} ({name})", node)
        if sort is Sort.PURE and name in libraries.COUNTS:
            what = f"uses a counter that {package} has for itself ({name})"
            self.danger(Harm.OPAQUE, what, node, "count in a variable of the module")
        if sort is Sort.PURE and name in libraries.WRAPS and functions(every):
            return self._wrapper(name, every, node)
        changing = package in libraries.CHANGING or name in libraries.CHANGING_MADE
        if sort is Sort.PURE and changing and "()" not in lib.path and self.starts(self.function):
            return one(self.obj(node, "remembers"))
        self._given_functions(sort, package, name, every, node)
        self._concerns_all(sort, package, every, node)
        self._made_by = node
        result = self._gives(lib, sort, package, name, every, new=node.type == "new_expression")
        if sort is Sort.PURE:
            result |= frozenset(v for v in self.elements(every) if v.via is not None or isinstance(v.target, Obj))
            result |= frozenset(v for v in every if isinstance(v.target, Obj) and package in PASSING)
            if name in GROUPS and package in PASSING:
                group = self.obj(node, "array")
                self.add(group, ANY, self.elements(every))
                result |= one(group)
                made = self.obj(node, "object")
                self.add(made, ANY, one(group))
                result |= one(made)
        return result

    def _wrapper(self, name: str, every: Values, node: Node) -> Values:
        """A function that calls those it was made of, when it is called itself."""
        made = self.obj(node, "remembers" if name in libraries.REMEMBERS else "wrapper")
        self.add(made, CALLS, frozenset(v for v in every if isinstance(v.target, Func | Bound)))
        self.add(made, ANY, every)
        return one(made)

    def _concerns_all(self, sort: Sort, package: str, every: Values, node: Node) -> None:
        """At start, the application, its server or functions are given to something that keeps them for itself."""
        local = sort is Sort.CLIENT and package in libraries.SQL and self._on_this_machine(every)
        if local:
            what = "uses a database in a file (sqlite)"
            self.danger(Harm.LOCAL, what, node, "use a database that all nodes reach", start=True)
        if sort not in (Sort.STATEFUL, Sort.UNKNOWN) or not self.starts(self.function):
            return
        for value in self._deep(every):
            target = value.target
            app = isinstance(target, Obj) and target.kind in ("app", "router")
            server = isinstance(target, Lib) and target.path[:1] == ("server",)
            if app or server or isinstance(target, Func):
                self.danger(Harm.OPAQUE, f"uses {libraries.keeps(package)}", node, start=True)
                return

    def _on_this_machine(self, every: Values) -> bool:
        texts = {v.target.text or "" for v in self._deep(every) if isinstance(v.target, Plain)}
        if any(text.startswith("sqlite") or text == "better-sqlite3" for text in texts):
            return True
        needed = self.service.package.get("dependencies")
        return isinstance(needed, dict) and bool({"sqlite3", "better-sqlite3", "sql.js"} & set(needed))

    def _gives(self, lib: Lib, sort: Sort, package: str, name: str, every: Values, *, new: bool) -> Values:
        if sort is Sort.PURE:
            if package in libraries.RANDOM or (package == "crypto" and name in libraries.CRYPTO_RANDOM):
                return self.random(package) if self.starts(self.function) else DATA
            if package == "os":
                return one(Once("of the machine it runs on", self.function))
            once = frozenset(Value(v.target) for v in every if isinstance(v.target, Once))
            if name in libraries.CHANCES and self.starts(self.function):
                return self.random_now("made at random") | self.elements(every)
            if name in libraries.PLAIN_RESULTS or package in PASSING:
                return once or DATA
            made = frozenset({Value(Lib(package, ("()",)))}) | once
            return made | (self.thing(package, name) if "()" not in lib.path else NOTHING)
        if package in ("express-session", "koa-session") and self._has_store(every):
            return one(Lib("cookie-session", ("()",)))
        handle = new or len(lib.path) == 0 or name in libraries.CONNECTS or lib.path[:1] == ("default",)
        found = one(Lib(package, ("handle",) if handle and sort is Sort.CLIENT else ("()",)))
        if sort is Sort.MIDDLEWARE and any(isinstance(v.target, Once) for v in self._deep(every)):
            return found | frozenset({Value(Word("made of once"))})
        return found

    def thing(self, package: str, name: str) -> Values:
        """What is made at start may change later, if it has methods for that."""
        if package in libraries.KEEPS_NOTHING or name in libraries.UNCHANGED or not self.starts(self.function):
            return NOTHING
        return one(self.obj(self._made_by, THING, package))

    def _has_store(self, every: Values) -> bool:
        for value in every:
            if isinstance(value.target, Obj):
                for kept in value.target.fields.get("store", set()):
                    if isinstance(kept.target, Lib) and sort_of(kept.target.package) is Sort.CLIENT:
                        return True
        return False

    def _deep(self, values: Values) -> Values:
        return frozenset(self.targets(values))

    def _given_functions(self, sort: Sort, package: str, name: str, every: Values, node: Node) -> None:
        """Functions handed to a package: called at once, when it is done, or whenever it likes."""
        given = [v for v in self._deep(every) if isinstance(v.target, Func | Bound)]
        if not given:
            return
        if package == "resource-router-middleware":
            for value in given:
                given_to = [frozenset({REQUEST}), frozenset({RESPONSE}) | DATA, one(Word("callback"))]
                self.call_value(value, NOTHING, given_to, node, [])
        else:
            plain = one(Lib(package, ("()",))) | DATA if sort is not Sort.PURE else DATA | self.elements(every)
            for value in given:
                self.call_value(value, NOTHING, [plain, plain, plain | one(Word("callback"))], node, [])
        if sort is not Sort.PURE:
            self.record.waits = True
            if name not in LISTENS:
                self.handed_at.add(node)
        if (sort is not Sort.PURE or package in libraries.KEEPS_FUNCTIONS) and self.starts(self.function):
            for function in functions(given):
                self.callbacks.setdefault(function.function, node)

    def _machine(self, lib: Lib, arguments: list[Values], node: Node) -> Values:
        name = lib.path[-1] if lib.path else ""
        if name not in LISTENS and not name.endswith("Sync"):
            self.handed_at.add(node)
        for values in arguments:
            self.call_back(values, [DATA, DATA], node)
        self.record.waits = self.record.waits or not name.endswith("Sync")
        if lib.package in ("child_process", "execa", "shelljs"):
            self.danger(Harm.LOCAL, "starts a process", node, start=True)
        elif name in libraries.FILE_WRITES or lib.package in ("write-file-atomic", "mkdirp", "rimraf"):
            self.danger(
                Harm.LOCAL,
                f"writes files ({name or lib.package})",
                node,
                "keep it in a variable or a database",
                start=True,
            )
        elif name in libraries.WATCHES:
            self.danger(Harm.TIMER, "watches a file", node, start=True)
        elif self.starts(self.function) and name.startswith(("read", "exists", "stat", "access", "lstat")):
            return one(Once("what a file holds when it starts", self.function)) | PROMISED
        else:
            self.note(Danger(Harm.LOCAL, "reads files that may be written here", node.place, if_writes=True))
        return DATA | (NOTHING if name.endswith("Sync") else PROMISED)

    def _process(self, name: str, arguments: list[Values], node: Node) -> Values:
        if name == "nextTick":
            return self._timer(name, arguments, node, [])
        if name in ("on", "once"):
            for values in arguments:
                self.call_back(values, [DATA, DATA], node)
        elif name == "chdir":
            self.danger(Harm.DYNAMIC, "changes the folder it works in", node, start=True)
        elif name in ("hrtime", "uptime", "memoryUsage"):
            return one(Once("made of the time it starts", self.function))
        return LITERAL if name == "cwd" else DATA

    # Global functions

    def _global(self, path: tuple[str, ...], arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        owner, name = (path[0] if len(path) > 1 else ""), path[-1]
        if path and path[0] in ("global", "globalThis", "window"):
            owner = path[1] if len(path) > 2 else ""
        every = frozenset().union(*arguments) if arguments else NOTHING
        if name in ("eval", "Function") and not owner:
            self.danger(Harm.DYNAMIC, f"calls {name}", node, "write the code itself", start=True)
            self.walk(every, node, Mode.ESCAPE)
            return DATA
        if name in TIMERS and not owner:
            return self._timer(name, arguments, node, nodes)
        if "prototype" in path and name in ("call", "apply"):
            return self._borrowed(path, arguments, node, nodes)
        if name == "bind" and any(isinstance(v.target, Obj) for v in every):
            what = f"binds {path[-2]} to what it works on"
            self.danger(Harm.OPAQUE, what, node, "call it as a method", start=True)
        if owner == "Object" or owner == "Reflect":
            return self._object(name, arguments, node, nodes)
        if owner == "Promise":
            return self._promise(name, arguments, node)
        if (owner, name) == ("Map", "groupBy"):
            self.walk(every, node)
            made = self.obj(node, "map")
            self.add(made, ANY, self._grouped(self.elements(arguments[0] if arguments else NOTHING), arguments, node))
            return one(made)
        if owner == "Array" and name in ("from", "of"):
            return self._array_from(name, arguments, node)
        if (owner, name) in (("Math", "random"), ("crypto", "randomUUID"), ("crypto", "getRandomValues")):
            return self.random_now("a random number")
        if (owner, name) in (("Date", "now"), ("performance", "now")):
            return self.random_now("made of the time it starts")
        if name == "Date" and not owner:
            return self.random_now("made of the time it starts")
        if (owner or name) == "Symbol":
            return one(Word("symbol"))
        if name in ("Map", "Set", "Array", "RegExp", "Error") and not owner:
            return self._new(name, arguments, node, nodes)
        if name == "fetch" and not owner:
            self.record.waits = True
            self.walk(every, node)
            return one(Lib("fetch", ("()",))) | PROMISED
        if owner == "Buffer" and name in ("alloc", "allocUnsafe", "allocUnsafeSlow", "from", "concat"):
            return self._memory(name, every, node)
        if owner == "Atomics" and name != "load":
            for value in arguments[0] if arguments else NOTHING:
                self.touch(value, Mode.WRITE, node)
        self._filled(name, every, node)
        if name == "structuredClone" or (owner, name) == ("JSON", "stringify"):
            self.walk(every, node)
            return self.plain(every)
        if name == "require":
            return DATA
        self.walk(every, node)
        for values in arguments:
            self.call_back(values, [DATA, DATA], node)
        return self.plain(self._deep(every))

    def _filled(self, name: str, every: Values, node: Node) -> None:
        if name in FILLS:
            for value in every:
                if isinstance(value.target, Obj) and value.target.label == BYTES:
                    self.touch(value, Mode.WRITE, node)
                    self.add(value.target, ANY, self.random_now("filled when it starts"))

    def random_now(self, why: str) -> Values:
        return one(Once(why, self.function)) if self.starts(self.function) else DATA

    def _borrowed(self, path: tuple[str, ...], arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        """`Array.prototype.push.call(list, x)`."""
        name = path[-2]
        rest = arguments[1:] if path[-1] == "call" else [self.elements(v) for v in arguments[1:2]]
        found: Values = NOTHING
        for value in arguments[0] if arguments else NOTHING:
            found |= self.method_of(value, name, rest, node, nodes[1:] if path[-1] == "call" else [])
        return found

    def _object(self, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        first = arguments[0] if arguments else NOTHING
        every = frozenset().union(*arguments) if arguments else NOTHING
        if name == "assign":
            self._assigned(arguments, node)
            return first
        if name in ("freeze", "seal", "preventExtensions"):
            return first
        if name == "create":
            made = self.obj(node, "object")
            self.add(made, "__proto__", first)
            return one(made)
        if name in (
            "defineProperty",
            "defineProperties",
            "setPrototypeOf",
            "set",
            "deleteProperty",
            "__defineGetter__",
        ):
            self._defined(name, arguments, node, nodes)
            return first
        if name in ("keys", "values", "entries", "getOwnPropertyNames", "fromEntries", "ownKeys", "groupBy"):
            self.walk(first, node)
            made = self.obj(node, "object" if name in ("fromEntries", "groupBy") else "array")
            inside = DATA if name in ("keys", "getOwnPropertyNames", "ownKeys") else self.elements(first)
            if name == "fromEntries":  # of each pair the second
                inside = self.elements(inside)
            if name == "groupBy":
                inside = self._grouped(inside, arguments, node)
            self.add(made, ANY, inside)
            if name == "entries":
                pair = self.obj(node, "pair")
                self.add(pair, ANY, self.elements(first) | DATA)
                self.add(made, ANY, one(pair))
            return one(made)
        if name == "hasOwn" or (name == "has" and len(nodes) > 1):
            key = self.key_of(nodes[1]) if len(nodes) > 1 else None
            for value in first:
                self.touch(value, Mode.READ, node, key)
            return DATA
        self.walk(every, node)
        return DATA

    def _grouped(self, inside: Values, arguments: list[Values], node: Node) -> Values:
        group = self.obj(node, "array")
        self.add(group, ANY, inside)
        self.call_back(arguments[1] if len(arguments) > 1 else NOTHING, [inside, DATA], node)
        return one(group)

    def _assigned(self, arguments: list[Values], node: Node) -> None:
        first = arguments[0] if arguments else NOTHING
        for source in arguments[1:]:
            self.walk(source, node)
            for value in source:
                self.copy_fields(value, first, node)

    def copy_fields(self, value: Value, into: Values, node: Node) -> None:
        """`Object.assign(into, value)` and spreads: the fields, not what they hold."""
        target = value.target
        if isinstance(target, Obj) and target.kind not in ("json", "array", "map", "set"):
            for name, held in list(target.fields.items()):
                if name != "__proto__":
                    self.write(into, name, frozenset(self.inner(value, held)), node)
        else:
            self.write(into, ANY, frozenset(self.inside(value)), node)

    def _defined(self, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> None:
        described = self.elements(frozenset().union(*arguments[1:])) if len(arguments) > 1 else NOTHING
        if name == "set" and len(arguments) > 2:
            described = arguments[2]
        if name == "defineProperties":
            described |= self.elements(described)
        named = nodes[1] if len(nodes) > 1 else None
        field = "".join(k.text for k in named.kids) if named is not None and named.type == "string" else ANY
        if name in ("setPrototypeOf", "defineProperties"):
            field = "__proto__" if name == "setPrototypeOf" else ANY
            described = described | (arguments[1] if name == "setPrototypeOf" and len(arguments) > 1 else NOTHING)
        if field == "__esModule":
            return
        self._getters(name, field, arguments)
        for value in described:
            if isinstance(value.target, Func):
                described |= self.call(value.target, arguments[0], [], node, [])
        self.write(arguments[0] if arguments else NOTHING, field, described, node)

    def _getters(self, name: str, field: str, arguments: list[Values]) -> None:
        """What is described by `get` and `set` is called by who reads and writes the property."""
        if name not in ("defineProperty", "defineProperties") or len(arguments) < 2:
            return
        found = [(field, v.target) for v in arguments[-1] if isinstance(v.target, Obj)]
        if name == "defineProperties":
            every = [pair for _, obj in found for pair in list(obj.fields.items())]
            found = [(key, v.target) for key, values in every for v in values if isinstance(v.target, Obj)]
        for holder in [v.target for v in arguments[0] if isinstance(v.target, Obj)]:
            for key, described in found:
                for kind in ("get", "set"):
                    if described.fields.get(kind):
                        self.add(holder, f"{kind} {key}", described.fields[kind])

    def _promise(self, name: str, arguments: list[Values], node: Node) -> Values:
        self.record.waits = True
        first = arguments[0] if arguments else NOTHING
        if name in ("resolve", "reject"):
            return (first if name == "resolve" else NOTHING) | PROMISED
        if name in ("all", "allSettled"):
            made = self.obj(node, "array")
            items = self.elements(first)
            if name == "allSettled":
                settled = self.obj(node, "object")
                self.add(settled, "value", items)
                self.add(settled, ANY, DATA)
                items = one(settled)
            self.add(made, ANY, items)
            return one(made) | PROMISED
        return self.elements(first) | PROMISED

    def _array_from(self, name: str, arguments: list[Values], node: Node) -> Values:
        made = self.obj(node, "array")
        items = frozenset().union(*arguments) if name == "of" else self.elements(arguments[0] if arguments else NOTHING)
        if name == "from":
            self.walk(arguments[0] if arguments else NOTHING, node)
        if len(arguments) > 1 and name == "from":
            items = self.call_back(arguments[1], [items, DATA], node)
        self.add(made, ANY, items)
        return one(made)

    def _timer(self, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        for values in arguments[:1]:
            self.call_back(values, arguments[1 if name in AT_ONCE else 2 :], node)
            for value in values:
                target = value.target.function.target if isinstance(value.target, Bound) else value.target
                if isinstance(target, Func):
                    what = (
                        "works on after the answer" if not self.starts(self.function) else f"works on at times ({name})"
                    )
                    self.note(Danger(Harm.TIMER, what, node.place, "", at_start=True, after=target.function))
                elif isinstance(value.target, Word):
                    self.record.answers = True
        self.record.waits = True
        return one(Word("timer"))

    # New objects of the language

    def _new(self, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        every = frozenset().union(*arguments) if arguments else NOTHING
        if name in BUFFERS or (name.endswith("Array") and name != "Array"):
            return self._memory(name, every, node)
        if name in COLLECTIONS:
            made = self.obj(node, COLLECTIONS.get(name, "array"))
            items = self.elements(every) if name not in ("Array",) else every
            self.walk(every, node)
            if name == "Map":
                items = self.elements(items)
            self.add(made, ANY, items)
            return one(made)
        if name == "Promise":
            return self._new_promise(arguments, node)
        if name == "Date" and not arguments:
            return self.random_now("made of the time it starts") | one(self.obj(node, "date"))
        if name in ("Function",):
            self.danger(Harm.DYNAMIC, "makes a function of text", node, "write the code itself", start=True)
        if name == "Proxy":
            self.walk(every, node)
            return every | one(Word("proxy"))
        self.walk(every, node)
        if name in ("Date", "Object", "URLSearchParams", "URL"):
            kind, label = ("object", "") if name == "Object" else ("date", "" if name == "Date" else name)
            return one(self.obj(node, kind, label)) | self.plain(every) - DATA
        if name == "RegExp":
            return self.plain(every) | one(self.obj(node, "regex", _flags(arguments)))
        self._made_by = node
        return self.plain(every) | (self.thing("global", name) if name not in libraries.FIXED else NOTHING)

    def _memory(self, name: str, every: Values, node: Node) -> Values:
        """A buffer or a view: it may show the memory of what it is made of."""
        made = self.obj(node, "array", BYTES)
        self.add(made, ANY, DATA)
        self.walk(every, node)
        shown = frozenset(v for v in every if isinstance(v.target, Obj) and v.target.label == BYTES)
        shown |= frozenset(Value(Plain(), v.via) for v in every if isinstance(v.target, Plain) and v.via is not None)
        word = Value(Word("shared memory"))
        shared = frozenset({word}) if name == "SharedArrayBuffer" or word in every else NOTHING
        return one(made) | shown | shared | self.once(every)

    def once(self, every: Values) -> Values:
        return frozenset(Value(v.target) for v in every if isinstance(v.target, Once))

    def _new_promise(self, arguments: list[Values], node: Node) -> Values:
        resolver = self.obj(node, "resolver")
        self.record.waits = True
        for values in arguments[:1]:
            self.call_back(values, [one(resolver), one(Word("callback"))], node)
        return frozenset(resolver.fields.get(ANY, set())) | PROMISED | DATA

    # The request and the response

    def of_response(self, name: str, arguments: list[Values], node: Node) -> Values:
        self.record.answers = True
        if name not in BEFORE_ANSWER:
            self.answered_at.add(node)
        if name == "write":
            self.written_at.add(node)
        if name in ("sendFile", "sendfile", "download"):
            self.note(Danger(Harm.LOCAL, "reads files that may be written here", node.place, if_writes=True))
        if name == "render":
            self.rendered(node)
        for values in arguments:
            self.walk(values, node)
            for value in values:
                if isinstance(value.target, Func):
                    self.call(value.target, NOTHING, [DATA, DATA], node, [])
                    if name in ("on", "once", "addListener"):
                        what = "works on after the answer"
                        self.note(Danger(Harm.TIMER, what, node.place, after=value.target.function))
        return frozenset({RESPONSE})

    def rendered(self, node: Node) -> None:
        """Templates are given the locals of the application, with its settings."""
        self.setting_read(node)
        for obj in list(self.objects.values()):
            if obj.kind == "app locals":
                self.walk({Value(obj)}, node)

    def setting_read(self, node: Node) -> None:
        raise NotImplementedError

    def of_request(self, value: Value, name: str, arguments: list[Values], node: Node) -> Values:
        """Methods of the request itself, such as `req.get("host")` and `req.on("data", ...)`."""
        self.record.waits = self.record.waits or name in ("on", "once", "pipe")
        for values in arguments:
            self.walk(values, node)
            self.call_back(values, [DATA, DATA], node)
        if name in ("throw", "redirect", "render", "assert", "attachment"):
            self.record.answers = True
        return DATA


def _flags(arguments: list[Values]) -> str:
    """Of `new RegExp(pattern, flags)`; if they are not known, all."""
    if len(arguments) < 2:
        return ""
    return "".join("y" if not isinstance(v.target, Plain) else v.target.text or "y" for v in arguments[1])


GROUPS = {"groupBy", "partition", "chunk", "zip", "unzip", "toPairs", "entries"}
"""Functions of such packages that give lists in a list or an object."""

PASSING = {
    "lodash",
    "underscore",
    "ramda",
    "rambda",
    "bluebird",
    "q",
    "async",
    "clone",
    "util",
    "p-map",
    "co",
    "p-limit",
}
"""Packages of functions that give what they are given, or parts of it."""

"""Express, Koa, Fastify and the http module: what makes an application or a router, what is registered with it, under
which path, and what its functions are given. Knows nothing of what handlers do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from compiler.facts import Harm, Place
from compiler.javascript.libraries import FRAMEWORKS, names
from compiler.javascript.packages import Packages
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import Node
from compiler.javascript.values import (
    DATA,
    NEXT,
    NOTHING,
    REQUEST,
    RESPONSE,
    Bound,
    Func,
    Lib,
    Obj,
    Part,
    Plain,
    Value,
    Values,
    Word,
    one,
)

VERBS = names(
    """get post put delete patch head options all del checkout copy lock merge mkactivity mkcol move m-search notify
    purge report search subscribe trace unlock unsubscribe"""
)
EMITTER = names("on once addListener emit removeListener off removeAllListeners prependListener listeners")

OF_EXPRESS = frozenset(
    {
        *("case sensitive routing", "env", "etag", "jsonp callback name", "json escape", "json replacer"),
        *("json spaces", "query parser", "strict routing", "subdomain offset", "trust proxy", "views"),
        *("view cache", "view engine", "x-powered-by", "view"),
    }
)
"""Settings that Express looks at while it answers."""

MOUNTS_MAX = 32
"""Prefixes under which one router is mounted; with more its paths are not told."""


@dataclass(eq=False)
class Registered:
    """One call of `app.use`, `app.get` and the like. `paths`: as written; None if one is computed or no text; of
    `app.param` the parameter's name.
    `handlers`: what it was given, in order. `word`: the node of the method's name."""

    owner: Obj
    verb: str
    paths: list[str | None]
    handlers: list[Values]
    word: Node
    function: Function
    mounts: list[Obj] = field(default_factory=list)

    @property
    def place(self) -> Place:
        return self.word.place


class Frameworks(Packages):
    """What applications and routers are told."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.registrations: dict[Node, Registered] = {}
        self.framework = ""
        self.settings_change = False
        """Whether a request changes settings of the application."""
        self.raw_handlers: dict[Function, Node] = {}
        """Functions that get requests without a path."""

    def text_of(self, node: Node | None) -> str | None:
        raise NotImplementedError

    # Applications

    def register(self, lib: Lib, arguments: list[Values], node: Node, nodes: list[Node], *, new: bool) -> Values | None:
        framework = FRAMEWORKS.get(lib.package)
        if framework is None:
            return None
        name = lib.path[-1] if lib.path else ""
        if framework == "express":
            if name in ("", "application", "createServer"):
                return self._application(node, "express")
            if name == "Router":
                return self._router(node, "express", nodes)
        elif framework == "koa":
            if lib.package == "koa" and name in ("", "default"):
                return self._application(node, "koa")
            if lib.package != "koa":
                return self._router(node, "koa", nodes)
        elif framework == "fastify" and name in ("", "fastify", "default"):
            return self._application(node, "fastify")
        elif framework == "http":
            return self._http(lib, name, arguments, node)
        for values in arguments:
            self.walk(values, node)
            self.call_back(values, [DATA, DATA], node)
        return one(Lib(lib.package, (*lib.path, "()")[-3:]))

    def _application(self, node: Node, label: str) -> Values:
        if self.framework in ("", "http"):
            self.framework = label
        return one(self.obj(node, "app", label))

    def _router(self, node: Node, label: str, nodes: list[Node]) -> Values:
        made = self.obj(node, "router", label)
        if label == "koa" and nodes and nodes[0].type == "object":
            for pair in nodes[0].kids:
                if pair.type == "pair" and pair["key"].text == "prefix":
                    text = self.text_of(pair["value"])
                    self.add(made, "prefix", self.evaluate(pair["value"]))
                    made.label = "koa" if text is not None else "koa?"
        return one(made)

    def _http(self, lib: Lib, name: str, arguments: list[Values], node: Node) -> Values:
        every = frozenset().union(*arguments) if arguments else NOTHING
        if name in ("createServer", "Server", "createSecureServer"):
            self.framework = self.framework or "http"
            for value in every:
                self._raw(value, node)
            return one(Lib(lib.package, ("server",)))
        if lib.path[:1] == ("server",):
            return self._server(lib, name, every, node)
        self.record.waits = True
        self.walk(every, node)
        self.call_back(every, [one(Lib(lib.package, ("()",)))], node)
        return one(Lib(lib.package, ("()",)))

    def _server(self, lib: Lib, name: str, every: Values, node: Node) -> Values:
        """A method of a server, which is an emitter, too."""
        texts = {v.target.text for v in every if isinstance(v.target, Plain)}
        if name in EMITTER and "request" in texts:
            for value in every:
                self._raw(value, node)
            return one(lib)
        if name in EMITTER and (not self.starts(self.function) or texts & {"upgrade", "connection", "connect"}):
            what = "uses the server as an emitter, whose listeners live in this process"
            what = "serves requests to upgrade, as to a websocket" if "upgrade" in texts else what
            self.danger(Harm.OPAQUE, what, node, start=True)
        self.call_many(every, [DATA, DATA], node)
        return one(lib)

    def _raw(self, value: Value, node: Node) -> None:
        if isinstance(value.target, Func | Bound):
            self._handle(value, [frozenset({REQUEST}), frozenset({RESPONSE})], node)
            if isinstance(value.target, Func):
                self.raw_handlers.setdefault(value.target.function, node)

    def _handle(self, value: Value, arguments: list[Values], node: Node) -> None:
        """A handler is given its arguments; it does not run at start for that."""
        outer = self.function
        self.function = self.serving(node)
        try:
            self.call_value(value, NOTHING, arguments, node, [])
        finally:
            self.function = outer

    def serving(self, node: Node) -> Function:
        """Stands for the framework, which calls handlers."""
        there = getattr(self, "_serving", None)
        if there is None:
            there = Function(node, "framework", node.file, None)
            there.node = Node("framework", node.file)
            self._serving = there
        assert isinstance(there, Function)
        return there

    def call_many(self, values: Values, arguments: list[Values], node: Node) -> None:
        self.call_back(values, arguments, node)

    # Registering

    def registered(self, owner: Obj, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        """A method of an application or a router."""
        this = one(owner)
        label = owner.label.rstrip("?")
        if label == "fastify":
            return self._fastify(owner, name, arguments, node, nodes)
        if name in VERBS and (len(arguments) > 1 or owner.label == "express route"):
            self._add(owner, name, arguments, node, nodes)
        elif name == "use":
            self._add(owner, "use", arguments, node, nodes)
        elif name == "route":
            return one(self._route(owner, node, nodes))
        elif name == "param":
            self._parameter(owner, arguments, node, nodes)
        elif name in ("routes", "middleware", "allowedMethods") and label == "koa":
            return this if name != "allowedMethods" else one(Lib("koa-compose", ("()",)))
        elif name == "prefix" and nodes:
            self.add(owner, "prefix", arguments[0])
        elif name in ("listen", "ready", "on", "once", "engine", "onerror", "addListener"):
            if name == "engine":
                self._set_functions(arguments, node)
            for values in arguments if name != "engine" else ():
                self.call_back(values, [DATA, DATA, DATA], node)
                if name in ("on", "once", "onerror", "addListener"):
                    self._may_run(values, node)
            if name == "listen":
                return one(Lib("http", ("server",)))
        elif name in ("set", "enable", "disable", "locals"):
            self._set(owner, arguments, node, nodes)
        elif name == "callback":
            return this
        elif name in ("get", "enabled", "disabled", "path", "render"):
            for values in arguments[1:]:
                self.walk(values, node)
            self.rendered(node) if name == "render" else self.setting_read(node)
            return frozenset(owner.fields.get("settings", set())) | DATA
        elif name in ("call", "apply", "bind"):
            return this
        else:
            self._unknown_method(arguments, node)
        return this

    def _may_run(self, values: Values, node: Node) -> None:
        """For any request."""
        for value in values:
            if isinstance(value.target, Func):
                self.raw_handlers.setdefault(value.target.function, node)

    def _unknown_method(self, arguments: list[Values], node: Node) -> None:
        """What it is given may run for every request."""
        given = [frozenset({REQUEST}), frozenset({RESPONSE}), frozenset({NEXT})]
        for values in arguments:
            self.walk(values, node)
            for value in values:
                if isinstance(value.target, Func | Bound):
                    self._handle(value, given, node)
                if isinstance(value.target, Func):
                    self.raw_handlers.setdefault(value.target.function, node)

    def _set(self, owner: Obj, arguments: list[Values], node: Node, nodes: list[Node]) -> None:
        values = frozenset().union(*arguments[1:]) if len(arguments) > 1 else NOTHING
        self.add(owner, "settings", values)
        self._set_functions(arguments[1:], node)
        if not self.starts(self.function):
            self.setting_changed(nodes, node)

    def setting_changed(self, nodes: list[Node], node: Node) -> None:
        """By a request: those of the framework change all answers, any other only what reads it."""
        self.dirty = self.dirty or not self.settings_change
        self.settings_change = True
        name = self.text_of(nodes[0]) if nodes else None
        harm = Harm.DYNAMIC if name is None or name.lower() in OF_EXPRESS else Harm.OPAQUE
        self.danger(harm, "changes the application's settings", node, "keep it in a variable of the module")

    def setting_read(self, node: Node) -> None:
        """One that a request may have changed is in the live application alone."""
        if self.settings_change and not self.starts(self.function):
            what = "reads the application's settings, which requests change"
            self.danger(Harm.OPAQUE, what, node, "keep it in a variable of the module")

    def _set_functions(self, arguments: list[Values], node: Node) -> None:
        """Settings and engines that are functions are called while requests are answered."""
        for value in frozenset().union(*arguments):
            if isinstance(value.target, Func | Bound):
                self._handle(value, [DATA, DATA, one(Word("callback")) | DATA], node)
            if isinstance(value.target, Func):
                self.callbacks.setdefault(value.target.function, node)

    def _route(self, owner: Obj, node: Node, nodes: list[Node]) -> Obj:
        made = self.obj(node, "router", "express route")
        made.fields.setdefault("owner", set()).add(Value(owner))
        made.maker = nodes[0] if nodes else None
        return made

    def _add(self, owner: Obj, verb: str, arguments: list[Values], node: Node, nodes: list[Node]) -> None:
        paths: list[str | None] = []
        real = owner
        if owner.label == "express route":
            real = next((v.target for v in owner.fields["owner"] if isinstance(v.target, Obj)), owner)
            paths = self._paths(owner.maker)
            handlers = list(arguments)
        else:
            handlers = list(arguments)
            if verb != "use" or (nodes and self._is_path(nodes[0], arguments[0])):
                paths = self._paths(nodes[0] if nodes else None)
                handlers = handlers[1:]
                if owner.label.startswith("koa") and len(handlers) > 1 and self.text_of(nodes[1]) is not None:
                    paths, handlers = self._paths(nodes[1]), handlers[1:]
        word = _word(node)
        flat = [values for given in handlers for values in self._flat(given)]
        made = Registered(real, verb, paths, flat, word, self.function)
        made.mounts = [
            v.target for g in flat for v in g if isinstance(v.target, Obj) and v.target.kind in ("app", "router")
        ]
        if word not in self.registrations:
            self.dirty = True
        self.registrations[word] = made
        for values in flat:
            for value in values:
                self._give(value, node, owner.label.startswith("koa"))

    def _is_path(self, node: Node, values: Values) -> bool:
        if node.type in ("string", "template_string", "regex", "binary_expression"):
            return True
        if node.type == "array":
            return all(kid.type in ("string", "regex", "template_string") for kid in node.kids)
        return self.text_of(node) is not None

    def _paths(self, node: Node | None) -> list[str | None]:
        if node is not None and node.type == "array":
            return [self.text_of(kid) for kid in node.kids]
        return [self.text_of(node)]

    def _flat(self, values: Values) -> list[Values]:
        """Handlers may be given in lists."""
        lists = [v for v in values if isinstance(v.target, Obj) and v.target.kind == "array"]
        if not lists:
            return [values]
        node = lists[0].target.node if isinstance(lists[0].target, Obj) else None
        if len(values) == 1 and node is not None and node.type == "array":
            return [found for kid in node.kids for found in self._flat(self._argument_of(kid))]
        return [values - frozenset(lists), self.elements(lists)]

    def _argument_of(self, node: Node) -> Values:
        recording, self.recording = self.recording, False
        found = self.elements(self.evaluate(node.kids[0])) if node.type == "spread_element" else self.evaluate(node)
        self.recording = recording
        return found

    def _give(self, value: Value, node: Node, koa: bool) -> None:
        target = value.target
        if not isinstance(target, Func | Bound):
            return
        if koa:
            arguments: list[Values] = [frozenset({REQUEST}), frozenset({NEXT})]
        elif isinstance(target, Func) and len(target.function.parameters) == 4:
            arguments = [DATA, frozenset({REQUEST}), frozenset({RESPONSE}), frozenset({NEXT})]
        else:
            arguments = [frozenset({REQUEST}), frozenset({RESPONSE}), frozenset({NEXT})]
        self._handle(value, arguments, node)

    def _parameter(self, owner: Obj, arguments: list[Values], node: Node, nodes: list[Node]) -> None:
        name = self.text_of(nodes[0]) if nodes else None
        part = one(Part(("params", name))) if name else DATA
        word = _word(node)
        if word not in self.registrations:
            self.dirty = True
        self.registrations[word] = Registered(owner, "param", [name], arguments[1:], word, self.function)
        first = [part, frozenset({REQUEST}), frozenset({NEXT})]
        if not owner.label.startswith("koa"):
            first = [frozenset({REQUEST}), frozenset({RESPONSE}), frozenset({NEXT}), part, DATA]
        for values in arguments[1:]:
            for value in values:
                self._handle(value, first, node)

    def _fastify(self, owner: Obj, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        """Its hooks, plugins and routes are not told apart: all it is given runs for every request."""
        given = [frozenset({REQUEST}), frozenset({RESPONSE}), frozenset({NEXT})]
        every = frozenset().union(*arguments) if arguments else NOTHING
        if name.startswith("decorate") and any(_data(value) for value in every):
            what = "keeps a value in the application (decorate)"
            self.danger(Harm.OPAQUE, what, node, "keep it in a variable of the module", start=True)
        for value in self._deep(every):
            if not isinstance(value.target, Func):
                continue
            if name == "register":
                self.call_value(value, NOTHING, [one(owner), DATA, one(Word("callback"))], node, [])
            elif name in ("listen", "ready", "after"):
                self.call_value(value, NOTHING, [DATA, DATA], node, [])
            else:
                self._handle(value, given, node)
                self.raw_handlers.setdefault(value.target.function, node)
        return one(owner)


def _data(value: Value) -> bool:
    return isinstance(value.target, Obj) and value.target.kind in ("object", "array", "map", "set", "instance")


def _word(node: Node) -> Node:
    """Of a call its method's name, `app.get` or `app["get"]`."""
    callee = node["function"]
    while callee.type == "parenthesized_expression" and len(callee.kids) == 1:
        callee = callee.kids[0]
    return callee.get("property") or callee.get("index") or node


PARAMETER = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)")


def graph_path(path: str) -> str:
    """Express's `/users/:id` in the notation of graph.yaml, `/users/{id}`; "" if it cannot be said so."""
    parts = []
    for part in path.strip("/").split("/") if path.strip("/") else []:
        match = PARAMETER.fullmatch(part)
        if match:
            parts.append("{" + match.group(1) + "}")
        elif re.fullmatch(r"[A-Za-z0-9._~@!$&',;=-]+", part):
            parts.append(part)
        else:
            return ""
    names = [part for part in parts if part.startswith("{")]
    return "" if len(set(names)) < len(names) else "/" + "/".join(parts)


def joined(prefix: str, path: str) -> str:
    return prefix.rstrip("/") + "/" + path.lstrip("/")

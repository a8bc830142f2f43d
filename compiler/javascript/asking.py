"""Where a function asks the service that it is part of, over HTTP. What answers may need the very context that is held
by who asks: then both wait.

Seen are addresses that are written: this machine with the port that the service listens on, and the host that the
request was sent to. Knows neither state nor handlers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.facts import Place
from compiler.javascript.flow import Flow
from compiler.javascript.libraries import names
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.syntax import FUNCTIONS, Node, string_value
from compiler.javascript.values import Lib

ASK = names(
    """fetch axios node-fetch got request request-promise request-promise-native superagent needle phin undici
    isomorphic-fetch cross-fetch whatwg-fetch unirest bent ky http https"""
)
THIS_MACHINE = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0)(?::(\d*))?")
HOST = names("host hostname origin")
HTTP_PORT = "80"
NAMED_MAX = 4
"""Names for names, and so on, so deep are looked up."""


class Asking:
    """Of a flow that has run."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._places: dict[Function, tuple[Place, ...]] = {}
        self.listens: set[str] = set()
        """On which ports, as they are written: numbers, and names of variables and of the environment."""
        for source in flow.service.sources.values():
            for node in source.names.top.node.walk() if source.names is not None else ():
                callee = node.get("function") if node.type == "call_expression" else None
                if callee is not None and callee.type == "member_expression" and callee["property"].text == "listen":
                    for given in node["arguments"].kids[:1]:
                        self.listens |= set(self._words(given))

    def places(self, function: Function) -> tuple[Place, ...]:
        """Functions in it are looked through on their own."""
        if function not in self._places:
            self._places[function] = tuple(self._looked_through(function))
        return self._places[function]

    def _looked_through(self, function: Function) -> Iterator[Place]:
        body = function.node.get("body")
        todo = [body] if body is not None else []
        while todo:
            node = todo.pop()
            todo += [kid for kid in node.kids if kid.type not in FUNCTIONS]
            if node.type == "call_expression" and self._asks(node["function"]) and self._is_own(node, 0):
                yield node.place

    def _asks(self, callee: Node) -> bool:
        """It is a client, or a method of one; and not of what one has answered."""
        while callee.type == "member_expression":
            callee = callee["object"]
        if callee.type != "identifier":
            return False
        if callee.binding is None:
            return callee.text == "fetch"
        libs = [v.target for v in self.flow.variable(callee.binding, callee, quiet=True) if isinstance(v.target, Lib)]
        return any(lib.package in ASK and "()" not in lib.path for lib in libs)

    def _is_own(self, told: Node, deep: int) -> bool:
        """An expression has the address of the service itself in it."""
        return any(self._says(node, told, deep) for node in told.walk() if node.type not in FUNCTIONS)

    def _says(self, node: Node, told: Node, deep: int) -> bool:
        if node.type in ("string", "template_string"):
            text = string_value(node) if node.type == "string" else node.text
            return any(self._is_here(found.group(1), node, told) for found in THIS_MACHINE.finditer(text))
        if node.type == "member_expression" and node["property"].text in HOST:
            return _is_request(node["object"])
        if node.type == "call_expression" and node["function"].type == "member_expression":
            asked = [string_value(kid).lower() for kid in node["arguments"].kids if kid.type == "string"]
            return asked == ["host"] and _is_request(node["function"]["object"])
        value = _written(node) if deep < NAMED_MAX else None
        return value is not None and self._is_own(value, deep + 1)

    def _is_here(self, port: str | None, node: Node, told: Node) -> bool:
        """`port`: what stands after a name of this machine; "" where it is put together with something."""
        if port:
            return port in self.listens
        at = node
        while at.type != "object" and at is not told and at.parent is not None:
            at = at.parent
        if at.type == "object":  # { host: "localhost", port: 3000 }
            ports = [kid["value"] for kid in at.kids if kid.type == "pair" and kid["key"].text == "port"]
            ports += [kid for kid in at.kids if kid.type == "shorthand_property_identifier" and kid.text == "port"]
            return any(self.listens.intersection(self._words(each)) for each in ports) or (
                not ports and port is None and HTTP_PORT in self.listens
            )
        if port is None:
            return HTTP_PORT in self.listens
        return bool(self.listens.intersection(self._words(told)))

    def _words(self, node: Node, deep: int = 0) -> Iterator[str]:
        """Numbers, and names of variables and properties, and what these are declared as."""
        for each in node.walk():
            if each.type == "number" or (each.type == "string" and string_value(each).isdigit()):
                yield each.text.strip("'\"")
            elif each.type in ("identifier", "property_identifier", "shorthand_property_identifier"):
                if each.text not in ("process", "env", "Number", "parseInt"):
                    yield each.text
                value = _written(each) if deep < NAMED_MAX else None
                if value is not None:
                    yield from self._words(value, deep + 1)


def _written(node: Node) -> Node | None:
    """What a name is declared as."""
    binding = node.binding
    if node.type not in ("identifier", "shorthand_property_identifier") or not isinstance(binding, Binding):
        return None
    value = binding.value
    return value if isinstance(value, Node) and value.type not in FUNCTIONS else None


def _is_request(node: Node) -> bool:
    """`req`, `req.headers`, `ctx.request`."""
    if node.type == "member_expression" and node["property"].text in ("headers", "request", "req"):
        return _is_request(node["object"])
    return node.type == "identifier" and isinstance(node.binding, Binding) and node.binding.kind == "param"

"""Handlers of which it can be seen that they answer before they are over, or not at all: `(request, response)`, where
the response is only ever told to answer, and only by the handler's own statements. What such a handler has not
answered when it has returned, nobody will answer.

Knows syntax alone: a function of that form may be something else than a handler.
"""

from __future__ import annotations

from collections.abc import Callable

import tree_sitter

Node = tree_sitter.Node

_ANSWERS = frozenset({"send", "json", "jsonp", "end", "sendStatus", "redirect"})
_TELLS = _ANSWERS | frozenset(
    {
        *("status", "set", "header", "setHeader", "removeHeader", "getHeader", "hasHeader", "get", "type", "vary"),
        *("contentType", "cookie", "clearCookie", "location", "links", "append", "attachment", "writeHead"),
    }
)
"""Methods of a response that are over when they return."""

_FUNCTIONS = frozenset(
    {
        *("function_declaration", "function_expression", "arrow_function", "method_definition"),
        *("generator_function", "generator_function_declaration"),
    }
)
_KEEP = frozenset({"arguments", "variable_declarator", "assignment_expression", "pair", "array"})
_PLAIN = frozenset({"function_declaration", "function_expression", "arrow_function"})


def over_when_it_returns(function: Node, read: Callable[[Node], str]) -> bool:
    """`read`: the text of a node. Of an asynchronous function: when what it promises is there."""
    body = function.child_by_field_name("body")
    given = function.child_by_field_name("parameters")
    if function.type not in _PLAIN or body is None or given is None or body.type != "statement_block":
        return False
    parameters = [child for child in given.named_children if child.type != "comment"]
    if len(parameters) != 2 or any(parameter.type != "identifier" for parameter in parameters):
        return False
    request, response = map(read, parameters)
    answers = False
    stack = [(child, False) for child in body.named_children]
    while stack:
        node, inner = stack.pop()
        if node.type in ("identifier", "shorthand_property_identifier"):
            name = read(node)
            if name == "arguments" or (name == request and not _asked(node, read)):
                return False
            if name == response:
                told = [] if inner else _told(node, read)
                if not told:
                    return False
                answers = answers or not _ANSWERS.isdisjoint(told)
        deeper = inner or node.type in _FUNCTIONS
        stack.extend((child, deeper) for child in node.named_children)
    return answers


def _asked(node: Node, read: Callable[[Node], str]) -> bool:
    """It is looked into, and neither handed on nor asked for what can answer."""
    parent = node.parent
    if parent is None or parent.type == "variable_declarator":
        return parent is not None
    name = parent.child_by_field_name("property")
    return parent.type == "member_expression" and name is not None and read(name) not in ("res", "next", "socket")


def _told(node: Node, read: Callable[[Node], str]) -> list[str]:
    """The methods that are called on it, one after the other: `response.status(400).json(...)`; none if it is used in
    another way."""
    found: list[str] = []
    at = node
    while at.parent is not None and at.parent.type == "member_expression":
        name = at.parent.child_by_field_name("property")
        call = at.parent.parent
        if at.parent.child_by_field_name("object") != at or call is None or name is None:
            return []
        if call.type != "call_expression" or call.child_by_field_name("function") != at.parent:
            return [*found, ""] if found or read(name) in ("headersSent", "statusCode", "locals") else []
        if read(name) not in _TELLS:
            return []
        found.append(read(name))
        at = call
    kept = at.parent is None or at.parent.type in _KEEP
    return [] if not found or kept else found

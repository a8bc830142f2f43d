"""Where a function hands on a callback that is called once, when something has been done: the rest of the work. Knows
neither handlers nor parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.javascript.flow import Flow
from compiler.javascript.late import named, written
from compiler.javascript.libraries import names
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import FUNCTIONS, Node
from compiler.javascript.unanswered import LOOPS, OFTEN
from compiler.javascript.values import Lib

ONCE = {
    "fs": names("readFile access exists realpath"),
    "dns": names("lookup resolve resolve4 resolve6 reverse"),
    "crypto": names("randomBytes randomInt pbkdf2 scrypt"),
    "zlib": names("gzip gunzip deflate inflate brotliCompress brotliDecompress"),
    "bcrypt": names("hash compare genSalt"),
    "bcryptjs": names("hash compare genSalt"),
}
"""Functions that call what they are given last once, with data."""

TIMERS = names("setTimeout setImmediate")
"""What is given to these first."""

AGAIN = OFTEN - names("then catch finally once")


@dataclass(frozen=True)
class Post:
    """`call` is given `callback`. `function`: the own method that is called, if it is one."""

    call: Node
    callback: Node
    name: str
    function: Function | None = None


def post(flow: Flow, statement: Node) -> Post | None:
    """The statement is such a call, of something that is no function of the service with a name of its own."""
    node = statement
    if node.type in ("expression_statement", "return_statement") and node.kids:
        node = node.kids[0]
    if node.type != "call_expression" or not node["arguments"].kids:
        return None
    callee, arguments = node["function"], node["arguments"].kids
    timer = callee.type == "identifier" and callee.binding is None and callee.text in TIMERS
    callback = arguments[0] if timer else arguments[-1]
    functions = [argument for argument in arguments if argument.type in FUNCTIONS]
    if (
        functions != [callback]
        or callback.info.generator
        or any(p.type != "identifier" for p in callback.info.parameters)
    ):
        return None
    if timer:
        return Post(node, callback, callee.text)
    if callee.type != "member_expression" or callee["object"].type != "identifier":
        return None
    name = callee["property"].text
    handed = {*written(node), *named(flow, node)}
    own = [function for function in flow.called_at.get(node, ()) if function not in handed]
    if own:
        index = len(arguments) - 1
        there = len(own) == 1 and index < len(own[0].parameters) and calls_once(own[0], index)
        return Post(node, callback, name, own[0]) if there else None
    held = callee["object"]
    values = flow.variable(held.binding, held, quiet=True) if held.binding is not None else frozenset()
    packages = {value.target.package if isinstance(value.target, Lib) else "" for value in values}
    known = len(packages) == 1 and name in ONCE.get(next(iter(packages)).removeprefix("node:"), frozenset())
    return Post(node, callback, name) if known else None


def calls_once(function: Function, index: int) -> bool:
    """What its parameter is given it calls, or hands on, neither in a loop nor to what calls it again and again."""
    parameter = function.parameters[index]
    for node in function.node.walk():
        if node is parameter or node.type != "identifier" or node.binding is not parameter.binding:
            continue
        at: Node | None = node
        while at is not None and at is not function.node:
            around = at.parent
            if at.type in LOOPS or (around is not None and around.type == "arguments" and _again(around)):
                return False
            at = around
    return True


def _again(arguments: Node) -> bool:
    call = arguments.parent
    callee = call.get("function") if call is not None else None
    if callee is None:
        return False
    return (callee["property"].text if callee.type == "member_expression" else callee.text) in AGAIN

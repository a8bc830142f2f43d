"""Parts of a handler as they are taken apart, why one is not, and what syntax says of statements. Knows no values."""

from __future__ import annotations

from dataclasses import dataclass, field

from compiler.facts import Place, Unit
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.syntax import FUNCTIONS, Node
from compiler.program import Role

REQUEST = "request"
"""What travels of the request, for functions that are given it."""

FIELDS = {"params", "query", "body", "headers", "method", "url", "originalUrl", "path", "cookies", "ip", "hostname",
           "protocol"}  # fmt: skip

NAMES = ("identifier", "shorthand_property_identifier")
SHORT_PATTERN = "shorthand_property_identifier_pattern"
ASSIGNS = ("assignment_expression", "augmented_assignment_expression", "update_expression")

HEADER = ("get", "header")
"""Methods of the request by which headers are read."""


class Uncut(Exception):
    """Why a handler stays whole, where, and what would free it."""

    def __init__(self, why: str, where: Place, remedy: str = "") -> None:
        super().__init__(why)
        self.why, self.where, self.remedy = why, where, remedy


class Clash(Exception):
    """A name has two meanings in the parts: this declaration is to be called otherwise."""

    def __init__(self, binding: Binding, where: Place) -> None:
        super().__init__(binding.name)
        self.binding, self.where = binding, where


@dataclass
class Line:
    """Text of a part. `sends`: it is cut in two around what is sent early: parameter -> argument. `uses`: names that
    it uses besides those of its nodes."""

    text: str
    nodes: list[Node] = field(default_factory=list)
    gives: tuple[str, ...] = ()
    sends: dict[str, str] | None = None
    after: str = ""
    uses: tuple[str, ...] = ()


@dataclass
class Piece:
    role: Role
    name: str = ""
    lines: list[Line] = field(default_factory=list)
    called: list[Function] = field(default_factory=list)
    function: Function | None = None
    waits: bool = False


@dataclass
class Rest:
    """What comes after a call: `names` get its results, then `statements` of `function` run. `awaited`: somebody
    waits for what that function returns. `called`: it is a callback, and comes when it is called."""

    names: list[Node]
    statements: list[Node]
    function: Function
    outer: Rest | None
    awaited: bool = False
    called: bool = False


@dataclass(frozen=True)
class Called:
    """A statement that is a call of an own function. `arguments` without the callback."""

    function: Function
    call: Node
    arguments: tuple[Node, ...]
    callback: Node | None = None
    target: Node | None = None
    returns: bool = False
    awaited: bool = False


def changed_in(node: Node) -> Node | None:
    """Whose property it assigns or takes away."""
    takes_away = node.type == "unary_expression" and node["operator"].text == "delete"
    if not takes_away and node.type not in ASSIGNS:
        return None
    at = node.get("left") or node["argument"]
    if at.type not in ("member_expression", "subscript_expression"):
        return None
    while at.type in ("member_expression", "subscript_expression"):
        at = at["object"]
    return at


def leaves(node: Node) -> bool:
    """The handler is over after it: it is in a `return`, or in a block that ends with one."""
    at: Node | None = node
    while at is not None and at.type not in FUNCTIONS:
        if at.type == "return_statement":
            return True
        if at.type == "statement_block" and at.kids and at.kids[-1].type == "return_statement":
            return at.parent is not None and at.parent.type not in FUNCTIONS
        at = at.parent
    return False


def left_to_do(rest: Rest | None) -> Node | None:
    """What is still to be done when a function that is written out returns."""
    while rest is not None and not rest.called:
        if rest.names or rest.statements:
            return [*rest.names, *rest.statements][0]
        rest = rest.outer
    return None


def statements_of(function: Function) -> list[Node]:
    body = function.node.get("body")
    return body.kids if body is not None and body.type == "statement_block" else []


def only_waits(function: Function) -> bool:
    """A function that makes a promise and nothing else, such as one for some time to pass."""
    body = function.node.get("body")
    if body is not None and body.type == "statement_block" and len(body.kids) == 1:
        kids = body.kids[0].kids
        body = kids[0] if body.kids[0].type == "return_statement" and kids else None
    return body is not None and body.type == "new_expression" and body["constructor"].text == "Promise"


def meets(node: Node, unit: Unit) -> bool:
    """What the unit does may be done there."""
    return node.file == unit.place.file and node.line <= unit.last_line and unit.place.line <= node.last


def covers(node: Node, place: Place) -> bool:
    if place.file != node.file or not node.line <= place.line <= node.last:
        return False
    if place.line == node.line and place.column < node.column:
        return False
    return node.last > node.line or place.column < node.column + node.end - node.start


def own_nodes(node: Node) -> list[Node]:
    """Of a statement, not of functions in it."""
    found, todo = [], [node]
    while todo:
        at = todo.pop()
        found.append(at)
        todo += [kid for kid in at.kids if kid.type not in FUNCTIONS]
    return found


def declares(statement: Node) -> list[Node]:
    if statement.type not in ("lexical_declaration", "variable_declaration"):
        return []
    kinds = ("identifier", SHORT_PATTERN)
    return [n for d in statement.kids if d.type == "variable_declarator" for n in d["name"].walk() if n.type in kinds]


def used_in(function: Function, parameter: Node) -> bool:
    return any(n is not parameter and n.binding is parameter.binding for n in function.node.walk())


def fields_read(function: Function, parameter: Node) -> list[str] | None:
    """What a function reads of its parameter, if it reads fields of data alone; "get" where it reads headers by
    method."""
    found: dict[str, None] = {}
    for node in function.node.walk():
        if node is parameter or node.binding is not parameter.binding or node.binding is None:
            continue
        parent = node.parent
        if parent is None or parent.type != "member_expression" or parent["object"] is not node:
            return None
        outer = parent.parent
        if parent["property"].text in HEADER and outer is not None and outer.type == "call_expression":
            found[HEADER[0]] = None
            continue
        if parent["property"].text not in FIELDS:
            return None
        while outer is not None and outer.type in ("member_expression", "subscript_expression"):
            outer = outer.parent
        if (
            outer is not None
            and outer.type in ("assignment_expression", "update_expression")
            and outer.get("left") is not None
        ):
            return None
        found[parent["property"].text] = None
    return list(found)

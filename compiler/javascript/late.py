"""What a function still does when its request may have been answered: code after an `await` that follows the answer,
promises that nobody waits for. What it changes then is changed when the message is over, and its context stored.

Follows the order of statements, which the flow does not. Knows neither variables nor fluxions: it is told what matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from compiler.facts import Place
from compiler.javascript.calling import CALLS_BACK
from compiler.javascript.flow import Flow
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.standing import Standing
from compiler.javascript.syntax import FUNCTIONS, Node
from compiler.javascript.values import PROMISE, Func, Obj, Word

SETTLES = ("then", "catch", "finally")
GIVES_PROMISES = ("map", "flatMap", "reduce", "reduceRight")
"""Methods whose result has what the functions they are given have returned."""

CALLS_DEEP_MAX = 32
"""Own functions that call each other so deep are followed; deeper ones are taken not to go on."""


@dataclass(frozen=True)
class _At:
    """Where the walk is. `answered`: the request may have been answered; `late`: and others had their turn since."""

    answered: bool = False
    late: bool = False

    def or_(self, other: _At | None) -> _At:
        return self if other is None else _At(self.answered or other.answered, self.late or other.late)


@dataclass
class _Walk:
    """One function's. `thrown`: before something that may throw; `left`: whatever was, for `finally` and what comes
    after the function."""

    found: dict[Place, None] = field(default_factory=dict)
    thrown: list[_At] = field(default_factory=list)
    jumps: list[_At] = field(default_factory=list)
    exits: list[tuple[_At, Node | None]] = field(default_factory=list)
    depth: int = 0
    handles: bool = False


class Late:
    """Of a flow that has run. `matters`: whether a touch is one of state that requests change."""

    def __init__(self, flow: Flow, matters: Callable[[Obj | Binding | Word], bool]) -> None:
        self.flow = flow
        self.matters = matters
        self._known: dict[tuple[Function, bool], tuple[Place, ...]] = {}
        self._answers: dict[Function, bool] = {}
        self._responds: dict[Function, bool] = {}
        self._touches: dict[Function, bool] = {}
        self._throws: dict[Function, bool] = {}
        self._calling = Standing(flow.called_at)
        self._touching = Standing(flow.touched_at)
        self._answering = Standing(flow.answered_at)
        self._called: dict[Function, list[Function]] = {}
        self._bodies: dict[tuple[Function, _At, int], tuple[_At, _Walk]] = {}

    def places(self, function: Function, *, handles: bool) -> tuple[Place, ...]:
        """Where the function touches state late. `handles`: a framework calls it, and does not wait for it."""
        return self._of(function, _At(), handles, 0)

    def _of(self, function: Function, at: _At, handles: bool, depth: int) -> tuple[Place, ...]:
        key = (function, at.answered)
        if handles or key not in self._known:
            self._known.setdefault(key, ())
            walk = _Walk(depth=depth)
            self._body(function, at, walk, handles)
            if handles:
                return tuple(walk.found)
            self._known[key] = tuple(walk.found)
        return self._known[key]

    def _inside(self, function: Function, at: _At, walk: _Walk) -> _At:
        """Of a function where it stands, which may stand in many others: the same each time."""
        key = (function, at, walk.depth)
        if key not in self._bodies:
            inner = _Walk(depth=walk.depth)
            self._bodies[key] = self._body(function, at, inner, False), inner
        end, known = self._bodies[key]
        walk.found |= known.found
        walk.thrown += dict.fromkeys(known.thrown)
        return end

    def _body(self, function: Function, at: _At, walk: _Walk, handles: bool) -> _At:
        body = function.node.get("body")
        if body is None:
            return at
        if body.type != "statement_block":
            if handles:
                self._dropped(body, walk)
            return self._visit(body, at, walk) or at
        exits, outer = walk.exits, walk.handles
        walk.exits, walk.handles = [], handles
        end = self._visit(body, at, walk)
        for exit_, _ in walk.exits:
            end = exit_.or_(end)
        walk.exits, walk.handles = exits, outer
        return end or at

    # Statements

    def _visit(self, node: Node, at: _At | None, walk: _Walk) -> _At | None:
        if at is None:
            return None
        way = getattr(self, f"_s_{node.type}", None)
        if way is not None:
            found: _At | None = way(node, at, walk)
            return found
        if node.type in FUNCTIONS:
            return at  # it runs where it is called
        return self._plainly(node, at, walk)

    def _plainly(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        here: _At | None = at
        for kid in node.kids:
            here = self._visit(kid, here, walk)
        return self._touched(node, here, walk)

    def _touched(self, node: Node, at: _At | None, walk: _Walk) -> _At | None:
        if at is not None and at.late and any(self.matters(base) for base in self.flow.touched_at.get(node, ())):
            walk.found[node.place] = None
        return at

    def _s_expression_statement(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        if node.kids:
            self._dropped(node.kids[0], walk)
        return self._plainly(node, at, walk)

    def _s_return_statement(self, node: Node, at: _At, walk: _Walk) -> None:
        if node.kids and walk.handles:
            self._dropped(node.kids[0], walk)
        end = self._plainly(node, at, walk)
        walk.exits.append((end or at, node.kids[0] if node.kids else None))

    def _s_throw_statement(self, node: Node, at: _At, walk: _Walk) -> None:
        end = self._plainly(node, at, walk)
        walk.thrown.append(end or at)

    def _s_break_statement(self, node: Node, at: _At, walk: _Walk) -> None:
        walk.jumps.append(at)

    _s_continue_statement = _s_break_statement

    def _s_if_statement(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        condition = self._visit(node["condition"], at, walk)
        if condition is None:
            return None
        then = self._visit(node["consequence"], condition, walk)
        otherwise = node.get("alternative")
        if then is None and not at.answered and self._answers_if(node["condition"]):
            condition = at  # where that function had answered, the branch ends: `if (!allowed(req, res)) return;`
        other = self._visit(otherwise, condition, walk) if otherwise is not None else condition
        return _join(then, other)

    def _s_ternary_expression(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        condition = self._visit(node["condition"], at, walk)
        return _join(
            self._visit(node["consequence"], condition, walk), self._visit(node["alternative"], condition, walk)
        )

    def _s_binary_expression(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        left = self._visit(node["left"], at, walk)
        right = self._visit(node["right"], left, walk)
        return self._touched(node, _join(left, right), walk)

    def _s_assignment_expression(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        right = self._visit(node["right"], at, walk)
        return self._visit(node["left"], right, walk)

    _s_augmented_assignment_expression = _s_assignment_expression

    def _loop(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        """Twice: what the first round leaves the second begins with."""
        here: _At | None = at
        outer = walk.jumps
        for _ in range(2):
            walk.jumps = []
            end: _At | None = here
            for kid in node.kids:
                end = self._visit(kid, end, walk)
                if node.type == "for_in_statement" and kid is node["right"] and "await" in node.words:
                    end = _waited(end)
            for jump in walk.jumps:
                end = jump.or_(end)
            here = _join(here, end)
            self._touched(node, here, walk)
        walk.jumps = outer
        return here

    _s_for_statement = _s_for_in_statement = _s_while_statement = _s_do_statement = _loop

    def _s_switch_statement(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        begin = self._visit(node["value"], at, walk)
        outer, walk.jumps = walk.jumps, []
        here, end = begin, begin
        for case in node["body"].kids:
            here = self._visit(case, _join(begin, here), walk)
            end = _join(end, here)
        for jump in walk.jumps:
            end = jump.or_(end)
        walk.jumps = outer
        return end

    def _s_try_statement(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        outer, walk.thrown = walk.thrown, []
        before = len(walk.exits)
        end = self._visit(node["body"], at, walk)
        failed = at
        for thrown in walk.thrown:
            failed = thrown.or_(failed)
        walk.thrown = outer
        handler, last = node.get("handler"), node.get("finalizer")
        if handler is not None:
            end = _join(end, self._visit(handler, failed, walk))
        else:
            walk.thrown.append(failed)
        if last is not None:
            entered = failed.or_(end)
            for exit_, _ in walk.exits[before:]:
                entered = exit_.or_(entered)
            after = self._visit(last, entered, walk)
            end = after if end is not None else None
        return end

    # Waiting, answering, calling

    def _s_await_expression(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        here = self._plainly(node, at, walk)
        if here is not None:
            walk.thrown.append(here)
        return _waited(here)

    def _s_call_expression(self, node: Node, at: _At, walk: _Walk) -> _At | None:
        here = self._plainly(node, at, walk)
        if here is None:
            return None
        walk.thrown.append(here)
        callees = self._callees(node)
        if here.answered and walk.depth < CALLS_DEEP_MAX:
            for callee in callees:
                if here.late and self.touches(callee):
                    walk.found[node.place] = None
                if self._of(callee, here, False, walk.depth + 1):
                    walk.found[node.place] = None
        here = self._handed(node, here, walk)
        self._left(node, callees, walk)
        if node in self.flow.answered_at or any(self.responds(callee) for callee in callees):
            here = _At(True, here.late)
        return here

    _s_new_expression = _s_call_expression

    def _callees(self, node: Node) -> list[Function]:
        """Own functions that the call calls, those that are written as its arguments left out."""
        handed = set(written(node))
        return [f for f in self.flow.called_at.get(node, ()) if f not in handed]

    def _handed(self, node: Node, at: _At, walk: _Walk) -> _At:
        """Functions written as arguments: called now, or when it has waited."""
        callee = node.get("function")
        name = callee["property"].text if callee is not None and callee.type == "member_expression" else ""
        here = at
        for function in written(node):
            begin = here if name in CALLS_BACK else _waited(here) or here
            end = self._inside(function, begin, walk)
            here = _At(here.answered or end.answered, here.late)
        return here

    # Promises that nobody waits for

    def _dropped(self, node: Node, walk: _Walk) -> None:
        """The value of an expression is used by nobody. If its work does not end with the answer, the answer may come
        before it."""
        functions: list[Function] = []
        begun: list[Function] = []
        later = False
        while True:
            while node.type in ("parenthesized_expression", "unary_expression") and node.kids:
                node = node.kids[-1]
            if node.type != "call_expression":
                break
            functions += written(node)
            functions += [f for f in named(self.flow, node) if f not in functions]
            later = later or node in self.flow.handed_at
            callee = node["function"]
            if callee.type == "member_expression" and callee["property"].text in SETTLES:
                node, later = callee["object"], True
                continue
            begun = [f for f in self._callees(node) if f.asynchronous or PROMISE in self.flow.returned.get(f, ())]
            break
        if not begun and not later:
            return
        if any(self.answers(f) for f in functions) or any(self.responds(f) for f in begun):
            return
        for function in begun:
            for place in self._of(function, _At(answered=True), False, walk.depth + 1):
                walk.found[place] = None
        for function in functions:
            if self.touches(function):
                walk.found[self._touched_in(function)] = None

    def _left(self, node: Node, callees: list[Function], walk: _Walk) -> None:
        """What the call begins and nobody waits for, or not for all of it: `items.forEach(async ...)`, a promise in a
        variable that is not looked at, those that lose a race, the others where one of several fails."""
        callee = node.get("function")
        name = callee["property"].text if callee is not None and callee.type == "member_expression" else ""
        each = [*written(node), *named(self.flow, node)] if name in CALLS_BACK else []
        begun = [f for f in (*each, *callees) if f.asynchronous or PROMISE in self.flow.returned.get(f, ())]
        if not begun or any(self.responds(f) for f in begun):
            return
        left = True if each and name not in GIVES_PROMISES else unwaited(node, self._answers_then)
        if isinstance(left, Node):
            beside = (f for at in left.walk() for f in self.flow.called_at.get(at, ()))
            left = any(self.throws(f) for f in (*begun, *beside))
        if left:
            for function in begun:
                for place in self._of(function, _At(answered=True), False, walk.depth + 1):
                    walk.found[place] = None

    def _answers_then(self, call: Node) -> bool:
        return any(self.answers(f) for f in (*written(call), *named(self.flow, call)))

    def _touched_in(self, function: Function) -> Place:
        """Where it touches state first, or calls what does."""
        return next((node.place for node in function.node.walk() if self._touches_at(node)), function.node.place)

    def _touches_at(self, node: Node) -> bool:
        own = any(self.matters(base) for base in self.flow.touched_at.get(node, ()))
        return own or any(self.touches(f) for f in self.flow.called_at.get(node, ()))

    def _answers_if(self, condition: Node) -> bool:
        """Whether it is an own function's result that says whether the function has answered."""
        negated = False
        while True:
            if condition.type == "parenthesized_expression" or condition.type == "await_expression":
                condition = condition.kids[0]
            elif condition.type == "unary_expression" and condition["operator"].text == "!":
                negated, condition = not negated, condition["argument"]
            else:
                break
        callees = self._callees(condition) if condition.type == "call_expression" else []
        return bool(callees) and all(self._says(callee, "false" if negated else "true") for callee in callees)

    def _says(self, function: Function, word: str) -> bool:
        """Whether it returns this wherever it has answered."""
        walk = _Walk()
        body = function.node.get("body")
        if body is None or body.type != "statement_block":
            return False
        end = self._visit(body, _At(), walk)
        if end is not None:
            walk.exits.append((end, None))
        nothing = ("false", "null", "undefined")
        for at, value in walk.exits:
            said = value.type if value is not None else "undefined"
            if at.answered and not (said == word or (word == "false" and said in nothing)):
                return False
        return True

    def endless(self, function: Function) -> Iterator[Place]:
        """Loops that wait at each round, and touch state: as a timer does."""
        todo = list(function.node.kids)
        while todo:
            node = todo.pop()
            if node.type in FUNCTIONS:
                continue
            todo += node.kids
            head = node.get("condition")
            if node.type not in ("while_statement", "do_statement") and (node.type != "for_statement" or head):
                continue
            inside = list(node.walk())
            if any(n.type == "await_expression" for n in inside) and any(self._touches_at(n) for n in inside):
                yield node.place

    # What functions do

    def answers(self, function: Function) -> bool:
        """It answers a request, settles a promise, or calls back; or what it calls does. The promises that what it
        calls makes for itself do not count."""
        if function not in self._answers:
            self._answers[function] = False
            own = any(self._record_answers(inner) for inner in with_inner(function))
            called = self.called(function)
            self._answers[function] = own or any(self._record_answers(f) or self.responds(f) for f in called)
        return self._answers[function]

    def silent(self, function: Function) -> bool:
        """It handles a request, and never throws, nor so much as names what it could answer or go on with."""
        given = function.parameters[2:] if len(function.parameters) == 4 else function.parameters[1:]  # (error, ...)
        body = function.node.get("body")
        if self.flow.framework not in ("express", "http") or function.uses_arguments or body is None:
            return False
        if any(parameter.type != "identifier" for parameter in function.parameters):
            return False
        names = {parameter.text for parameter in given} | {"res", "next"}
        nodes = list(body.walk())
        if any(node.type == "throw_statement" for node in nodes):
            return False
        return not any(node.text in names for node in nodes if "identifier" in node.type)

    def _record_answers(self, function: Function) -> bool:
        return function in self.flow.records and self.flow.records[function].answers

    def responds(self, function: Function) -> bool:
        """It, or what it calls, answers the request."""
        if function not in self._responds:
            self._responds[function] = False
            own = any(True for _ in self._answering.within(function.node))
            self._responds[function] = own or self._calls(function, self.responds)
        return self._responds[function]

    def throws(self, function: Function) -> bool:
        """It, or what it calls, has a `throw`."""
        if function not in self._throws:
            self._throws[function] = False
            own = any(node.type == "throw_statement" for node in function.node.walk())
            self._throws[function] = own or self._calls(function, self.throws)
        return self._throws[function]

    def touches(self, function: Function) -> bool:
        """It, or what it calls, touches state."""
        if function not in self._touches:
            self._touches[function] = False
            self._touches[function] = self._touches_itself(function) or self._calls(function, self.touches)
        return self._touches[function]

    def _touches_itself(self, function: Function) -> bool:
        for node in self._touching.within(function.node):
            if any(self.matters(base) for base in self.flow.touched_at[node]):
                return True
        return False

    def _calls(self, function: Function, does: Callable[[Function], bool]) -> bool:
        return any(does(f) for f in self.called(function))

    def called(self, function: Function) -> list[Function]:
        """Own functions that it calls, or that functions written in it call."""
        if function not in self._called:
            nodes = self._calling.within(function.node)
            self._called[function] = list(dict.fromkeys(f for node in nodes for f in self.flow.called_at[node]))
        return self._called[function]


def _join(one: _At | None, other: _At | None) -> _At | None:
    return other if one is None else one.or_(other)


def _waited(at: _At | None) -> _At | None:
    return None if at is None else _At(at.answered, at.late or at.answered)


def with_inner(function: Function) -> Iterator[Function]:
    todo = [function]
    while todo:
        at = todo.pop()
        yield at
        todo += at.inner


def written(node: Node) -> list[Function]:
    """Functions that are written as a call's arguments."""
    there = node.get("arguments")
    return [kid.info for kid in there.kids if kid.type in FUNCTIONS] if there is not None else []


def named(flow: Flow, node: Node) -> Iterator[Function]:
    """Functions that a call hands on by their name."""
    there = node.get("arguments")
    for kid in there.kids if there is not None else ():
        yield from meant(flow, kid)


def meant(flow: Flow, node: Node) -> Iterator[Function]:
    """Functions that a name may mean."""
    binding = node.binding if node.type == "identifier" else None
    for value in flow.values.get(binding, ()) if isinstance(binding, Binding) else ():
        if isinstance(value.target, Func):
            yield value.target.function


_THROUGH = ("parenthesized_expression", "unary_expression", "binary_expression", "ternary_expression", "array")


def unwaited(call: Node, answers: Callable[[Node], bool]) -> bool | Node:
    """Whether nobody waits for the promise that a call gives; the call of `Promise.all` if it is one of several that
    are waited for until the first fails. What is handed on or kept counts as waited for. `answers`: whether what a
    `.then(...)` is given does."""
    at = call
    together: Node | None = None
    while at.parent is not None:
        parent = at.parent
        if parent.type == "expression_statement":
            return True
        if parent.type == "await_expression":
            return together or False
        if parent.type == "variable_declarator":
            return not _looked_at(parent["name"])
        if parent.type == "arguments":
            called = parent.parent.get("function") if parent.parent is not None else None
            if called is None or called.type != "member_expression" or called["object"].text != "Promise":
                return False
            way = called["property"].text
            if way in ("race", "any"):
                return True
            at = parent.parent or at
            together = at if way == "all" else together
        elif parent.type == "member_expression" and parent["property"].text in SETTLES and parent.parent is not None:
            at = parent.parent
            if answers(at):
                return together or False
        elif parent.type in _THROUGH:
            at = parent
        else:
            return False
    return False


def _looked_at(name: Node) -> bool:
    """Whether a variable is used anywhere but where it is declared; a pattern is."""
    binding = name.binding
    if name.type != "identifier" or not isinstance(binding, Binding):
        return True
    around = binding.scope.function.node
    return any(node.binding is binding and node is not name for node in around.walk() if node.type in _NAMES)


_NAMES = ("identifier", "shorthand_property_identifier")

"""What a function does to state on both sides of a wait. Where it has its context meanwhile, nobody else gets in: who
waits for what others do waits for ever, and what it has changed so far nobody sees.

Follows the order of statements, which the flow does not: what a piece of code does is put together of what its pieces
do, one after the other, as one of several, again and again. Knows neither groups nor fluxions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from compiler.facts import Mode, Place
from compiler.javascript.calling import SYNCHRONOUS
from compiler.javascript.flow import Flow
from compiler.javascript.late import meant, named, with_inner, written
from compiler.javascript.libraries import names
from compiler.javascript.owners import Owners, Root
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.standing import Standing
from compiler.javascript.syntax import FUNCTIONS, Node
from compiler.javascript.values import PROMISE, Lib, Obj

LOOPS = names("while_statement do_statement for_statement for_in_statement")
AGAIN = names("setInterval whilst doWhilst until doUntil during forever retry retryable")
"""What calls a function that it is given again and again, and waits between."""

AT_ONCE = SYNCHRONOUS | names("nextTick queueMicrotask Promise")
"""What calls a function that it is given before any other request gets in."""

ENDS = names("return_statement break_statement continue_statement throw_statement")

_CHANGES = (Mode.WRITE, Mode.ESCAPE)


@dataclass(frozen=True)
class Work:
    """What a piece of code may do. `writes`: state that it changes; `held`: that it changes, if what it makes has been
    put there before. `ahead`, `after`: of these, before and after it waits, and where. `found`: what it changes, waits,
    and changes again."""

    writes: frozenset[Root] = frozenset()
    held: frozenset[Root] = frozenset()
    waits: Place | None = None
    ahead: Mapping[Root, Place] = field(default_factory=dict)
    after: Mapping[Root, Place] = field(default_factory=dict)
    found: Mapping[Root, Place] = field(default_factory=dict)

    def then(self, next_: Work) -> Work:
        """`next_` follows."""
        found = {**next_.found, **self.found}
        for root in next_.writes | next_.held:
            if root in self.ahead:
                found.setdefault(root, self.ahead[root])
        for root, place in next_.after.items():
            if root in self.writes:
                found.setdefault(root, place)
        ahead, after = {**next_.ahead, **self.ahead}, {**next_.after, **self.after}
        if next_.waits is not None:
            ahead = {**dict.fromkeys(self.writes, next_.waits), **ahead}
        if self.waits is not None:
            after = {**dict.fromkeys(next_.writes | next_.held, self.waits), **after}
        return Work(self.writes | next_.writes, self.held | next_.held, self.waits or next_.waits, ahead, after, found)

    def or_(self, other: Work) -> Work:
        """One of both."""
        return Work(
            self.writes | other.writes,
            self.held | other.held,
            self.waits or other.waits,
            {**other.ahead, **self.ahead},
            {**other.after, **self.after},
            {**other.found, **self.found},
        )


NONE = Work()


@dataclass(frozen=True)
class Ways:
    """`on`: where it goes on with what follows, None if it does not; `left`: where the function is left."""

    on: Work | None = NONE
    left: Work | None = None

    def then(self, next_: Ways) -> Ways:
        if self.on is None:
            return self
        on = self.on.then(next_.on) if next_.on is not None else None
        return Ways(on, _either(self.left, self.on.then(next_.left) if next_.left is not None else None))

    def or_(self, other: Ways) -> Ways:
        return Ways(_either(self.on, other.on), _either(self.left, other.left))


def _either(one: Work | None, other: Work | None) -> Work | None:
    return other if one is None else one if other is None else one.or_(other)


class Waiting:
    """Of a flow that has run. `changed`: what requests change."""

    def __init__(self, flow: Flow, owners: Owners, changed: set[Root]) -> None:
        self.flow = flow
        self.owners = owners
        self.changed = changed
        self._works: dict[Function, Work] = {}
        self._prompt: dict[Function, bool] = {}
        self._calls: dict[Function, dict[Node, list[Function]]] = {}
        self._own_calls: dict[Function, list[Function]] = {}
        self._polls: dict[Function, tuple[tuple[Root, Place], ...]] = {}
        self._doing = Standing(flow.done_at)
        self._calling = Standing(flow.called_at)

    def between(self, functions: Iterable[Function]) -> Mapping[Root, Place]:
        """What is changed, and changed again after a wait, by functions that are called one after the other: each with
        the place of the wait."""
        work = NONE
        for function in functions:
            work = work.then(self.work(function))
        return work.found

    # Statements

    def work(self, function: Function) -> Work:
        if function not in self._works:
            self._works[function] = NONE  # a function that calls itself
            body = function.node.get("body")
            ways = self._ways(body) if body is not None else Ways()
            self._works[function] = _either(ways.on, ways.left) or NONE
        return self._works[function]

    def _ways(self, node: Node | None) -> Ways:
        if node is None or node.type in FUNCTIONS:
            return Ways()  # a function runs where it is called
        way = getattr(self, f"_s_{node.type}", None)
        if way is not None:
            found: Ways = way(node)
            return found
        if node.type in LOOPS:
            return self._loop(node)
        return self._in_order(node.kids).then(Ways(self._done(node)))

    def _in_order(self, nodes: Iterable[Node]) -> Ways:
        ways = Ways()
        for node in nodes:
            ways = ways.then(self._ways(node))
        return ways

    def _s_return_statement(self, node: Node) -> Ways:
        ways = self._in_order(node.kids)
        return Ways(None, _either(ways.on, ways.left))

    _s_throw_statement = _s_return_statement

    def _s_if_statement(self, node: Node) -> Ways:
        branches = self._ways(node["consequence"]).or_(self._ways(node.get("alternative")))
        return self._ways(node["condition"]).then(branches)

    _s_ternary_expression = _s_if_statement

    def _s_binary_expression(self, node: Node) -> Ways:
        right = self._ways(node["right"])
        if node["operator"].text in ("||", "&&", "??"):
            right = right.or_(Ways())
        return self._ways(node["left"]).then(right).then(Ways(self._done(node)))

    def _s_assignment_expression(self, node: Node) -> Ways:
        return self._ways(node["right"]).then(self._ways(node["left"])).then(Ways(self._done(node)))

    _s_augmented_assignment_expression = _s_assignment_expression

    def _loop(self, node: Node) -> Ways:
        once = self._in_order(node.kids)
        if node.type == "for_in_statement" and "await" in node.words:
            once = Ways(Work(waits=node.place)).then(once)
        return Ways().or_(once.then(once)).then(Ways(self._done(node)))

    def _s_switch_statement(self, node: Node) -> Ways:
        cases, below = Ways(), Ways()
        for case in reversed(node["body"].kids):
            ways = self._in_order(case.kids)
            ends = bool(case.kids) and case.kids[-1].type in ENDS
            below = ways if ends else ways.then(below)
            cases = cases.or_(below)
        return self._ways(node["value"]).then(cases)

    def _s_try_statement(self, node: Node) -> Ways:
        ways = self._ways(node["body"])
        handler, last = node.get("handler"), node.get("finalizer")
        if handler is not None:
            failed = NONE.or_(_either(ways.on, ways.left) or NONE)
            ways = ways.or_(Ways(failed).then(self._ways(handler)))
        if last is not None:
            end = self._ways(last)
            left = Ways(ways.left).then(end) if ways.left is not None else Ways(None)
            on = Ways(ways.on).then(end)
            ways = Ways(on.on, _either(on.left, _either(left.on, left.left)))
        return ways

    # Waiting, calling, touching

    def _s_await_expression(self, node: Node) -> Ways:
        ways = self._in_order(node.kids)
        return ways if self._is_prompt(node.kids[0]) else ways.then(Ways(Work(waits=node.place)))

    def _s_call_expression(self, node: Node) -> Ways:
        ways = self._in_order(node.kids).then(Ways(self._done(node)))
        own, given = self._called(node), self._given(node)
        work = Ways(None)
        for callee in own:
            work = work.or_(Ways(self.work(callee)))
        ways = ways.then(work) if own else ways
        handed = NONE
        for function in given:
            handed = handed.then(self.work(function))
        if _name(node) in AT_ONCE:
            return ways.then(Ways().or_(Ways(handed.then(handed))))
        if own or not (given or any(named(self.flow, node))):
            return ways.then(Ways(handed))
        return ways.then(Ways(Work(waits=node.place).then(handed)))

    _s_new_expression = _s_call_expression

    def _called(self, node: Node) -> list[Function]:
        """Own functions that the call calls. What a function was handed, it calls where that is handed to it."""
        callee = node.get("function")
        if callee is not None and callee.binding is not None and callee.binding.kind == "param":
            return []
        handed = {*written(node), *named(self.flow, node)}
        return [function for function in self.flow.called_at.get(node, ()) if function not in handed]

    def _given(self, node: Node) -> list[Function]:
        """Functions that are handed to what is called, those left out that the function around was handed."""
        there = node.get("arguments")
        own = [kid for kid in there.kids if kid.binding is None or kid.binding.kind != "param"] if there else []
        return [*written(node), *(function for kid in own for function in meant(self.flow, kid))]

    def _is_prompt(self, awaited: Node) -> bool:
        """Whether it is over before others get in: the call of an own function that waits for nothing itself."""
        callees = list(self._called(awaited)) if awaited.type == "call_expression" else []
        return bool(callees) and all(self._over_at_once(callee) for callee in callees)

    def _over_at_once(self, function: Function) -> bool:
        if function not in self._prompt:
            self._prompt[function] = True
            given = self.flow.returned.get(function, set())
            self._prompt[function] = (
                function.asynchronous
                and not any(value == PROMISE or isinstance(value.target, Lib) for value in given)
                and all(self._is_prompt(n.kids[0]) for n in _own(function) if n.type == "await_expression")
                and not any(n.type == "for_in_statement" and "await" in n.words for n in _own(function))
            )
        return self._prompt[function]

    def _done(self, node: Node) -> Work:
        writes: set[Root] = set()
        held: set[Root] = set()
        for base, mode in self.flow.done_at.get(node, ()):
            if mode in _CHANGES:
                writes |= self._roots(base)
                held |= self._holding(base)
        return Work(frozenset(writes), frozenset(held)) if writes or held else NONE

    def _roots(self, base: Obj | Binding) -> set[Root]:
        if isinstance(base, Binding):
            root = self.owners.of_binding.get(base)
            return {root} & self.changed if root is not None else set()
        return self.changed.intersection(self.owners.owners(base))

    def _holding(self, base: Obj | Binding) -> set[Root]:
        return self.changed.intersection(self.owners.holding(base)) if isinstance(base, Obj) else set()

    # Looking again and again

    def polls(self, function: Function) -> tuple[tuple[Root, Place], ...]:
        """What it looks at again and again, and waits between: in a loop, by calling itself, by a timer. Functions in
        it are looked through on their own."""
        if function not in self._polls:
            self._polls[function] = tuple(self._polled(function))
        return self._polls[function]

    def _polled(self, function: Function) -> Iterator[tuple[Root, Place]]:
        for node in _own(function):
            if node.type in LOOPS and self._waits_in(node):
                around = [kid for kid in node.kids if kid is not node.get("right")]
                seen = self._seen(around, self._put_before(function, node))
                yield from ((root, node.place) for root in _in_order(seen))
            elif node.type == "call_expression" and _name(node) in AGAIN and not self._called(node):
                for given in (*written(node), *named(self.flow, node)):
                    yield from ((root, node.place) for root in _in_order(self._seen([given.node])))
        record = self.flow.records.get(function)
        inner = [self.flow.records.get(each) for each in with_inner(function)]
        if record is not None and any(r is not None and r.waits for r in inner):
            again = self._again(function)
            if again is not None:
                yield from ((root, again.place) for root in _in_order(self._seen([function.node])))

    def _waits_in(self, loop: Node) -> bool:
        if loop.type == "for_in_statement" and "await" in loop.words:
            return True
        return any(n.type == "await_expression" and not self._is_prompt(n.kids[0]) for n in _own_nodes(loop))

    def _put_before(self, function: Function, loop: Node) -> set[Root]:
        """State that is changed before the loop, by the function or those around it: what has been put there is looked
        at by its own name."""
        outer = function
        while outer.parent is not None and not outer.parent.module:
            outer = outer.parent
        found: set[Root] = set()
        for node in self._doing.within(outer.node):
            for base, mode in self.flow.done_at[node] if node.start < loop.start else ():
                found |= self._roots(base) if mode in _CHANGES else set()
        return found

    def _seen(self, nodes: Iterable[Node], put: Collection[Root] = ()) -> set[Root]:
        """State that is touched there, also by what is called there, and so on."""
        found: set[Root] = set()
        done: set[Function] = set()
        todo = [(node, put) for node in nodes]
        while todo:
            top, put = todo.pop()
            for node in self._doing.within(top):
                for base, _ in self.flow.done_at[node]:
                    found |= self._roots(base) | self._holding(base).intersection(put)
            for node in self._calling.within(top):
                for callee in self.flow.called_at[node]:
                    if callee not in done:
                        done.add(callee)
                        todo.append((callee.node, ()))
        return found

    def _again(self, function: Function) -> Node | None:
        """Where it leads to itself."""
        if function not in self._led_to(function):
            return None
        for node, callees in self._leads(function).items():
            seen: set[Function] = set()
            todo = list(callees)
            while todo:
                at = todo.pop()
                if at is function:
                    return node
                if at not in seen:
                    seen.add(at)
                    todo += [f for further in self._leads(at).values() for f in further]
        return None

    def _led_to(self, function: Function) -> set[Function]:
        """Where it leads, by what it does itself and what functions in it do."""
        found: set[Function] = set()
        seen: set[Function] = set()
        todo = [function]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            todo += at.inner
            new = [f for f in self._own_leads(at) if f not in found]
            found |= set(new)
            todo += new
        return found

    def _own_leads(self, function: Function) -> list[Function]:
        if function not in self._own_calls:
            calls = (n for n in _own_nodes(function.node) if n.type in ("call_expression", "new_expression"))
            self._own_calls[function] = [f for n in calls for f in (*self._called(n), *self._given(n))]
        return self._own_calls[function]

    def _leads(self, function: Function) -> dict[Node, list[Function]]:
        """Where it, or a function in it, calls own functions or hands them on."""
        if function not in self._calls:
            calls = (node for node in function.node.walk() if node.type in ("call_expression", "new_expression"))
            found = {node: [*self._called(node), *self._given(node)] for node in calls}
            self._calls[function] = {node: functions for node, functions in found.items() if functions}
        return self._calls[function]


def _in_order(roots: set[Root]) -> list[Root]:
    return sorted(roots, key=lambda root: root.id)


def _name(call: Node) -> str:
    callee = call.get("function") or call.get("constructor")
    if callee is None:
        return ""
    return callee["property"].text if callee.type == "member_expression" else callee.text


def _own(function: Function) -> Iterator[Node]:
    body = function.node.get("body")
    return _own_nodes(body) if body is not None else iter(())


def _own_nodes(top: Node) -> Iterator[Node]:
    """Without functions that are written in it."""
    todo = [top]
    while todo:
        node = todo.pop()
        yield node
        todo += [kid for kid in reversed(node.kids) if kid.type not in FUNCTIONS]

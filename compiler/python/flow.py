"""Which names a run of statements needs from before it, and which it surely gives a value: as Python's own rules are,
with comprehensions, functions inside, `match`, `del`, and branches that do not come to their end.

Knows syntax alone; whether a `with` may swallow errors it is told.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Given = set[str] | None
"""Names that surely have a value; None: it does not come so far."""
Swallows = Callable[[ast.expr], bool]
"""Whether what is entered by a `with` may end an error."""


def bound(node: ast.AST) -> set[str]:
    """Names that it may give a value or take it from, in the function that it stands in."""
    found: set[str] = set()
    for inner in _own(node):
        match inner:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.alias(name=name, asname=asname):
                found.add(asname or name.partition(".")[0])
    return found


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What is evaluated in its own scope: of comprehensions only what a walrus in them names."""
    waiting: list[ast.AST] = [node]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, _COMPREHENSIONS):
            yield from (n.target for n in ast.walk(one) if isinstance(n, ast.NamedExpr))
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting += one.decorator_list
        elif not isinstance(one, ast.Lambda):
            waiting += ast.iter_child_nodes(one)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {a.arg for a in every if a is not None}


def stores_in(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names that the statements of a function give a value, as its own."""
    body = node.body if isinstance(node.body, list) else [node.body]
    declared = {name for n in body for inner in _own(n) if isinstance(inner, ast.Global | ast.Nonlocal)
                for name in inner.names}  # fmt: skip
    return set().union(*map(bound, body)) - declared


def locals_in(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names of a function of its own, the parameters with them."""
    return parameters(node) | stores_in(node)


def free(node: ast.AST) -> list[str]:
    """Names that it loads and that are none of a scope inside it."""
    return list(Flow().of([ast.Expr(node) if isinstance(node, ast.expr) else node]).needed)


class Flow:
    """One run of statements, in the order in which they are."""

    def __init__(self, swallows: Swallows = lambda _: True) -> None:
        self._swallows = swallows
        self.needed: dict[str, None] = {}
        self.given: Given = set()
        self._breaks: list[list[set[str]]] = []

    def of(self, statements: Iterable[ast.AST]) -> Flow:
        self.given = self._block(statements, self.given)
        return self

    # Statements

    def _block(self, statements: Iterable[ast.AST], given: Given) -> Given:
        for statement in statements:
            if given is None:  # never run, and yet part of the function: what it names is asked for
                self._statement(statement, set())
            else:
                given = self._statement(statement, given)
        return given

    def _statement(self, node: ast.AST, given: set[str]) -> Given:
        given = set(given)
        match node:
            case ast.If():
                self._expression(node.test, given)
                return _both(self._block(node.body, given), self._block(node.orelse, given))
            case ast.While() | ast.For() | ast.AsyncFor():
                return self._loop(node, given)
            case ast.Try() | ast.TryStar():
                return self._try(node, given)
            case ast.With() | ast.AsyncWith():
                return self._with(node, given)
            case ast.Match():
                return self._match(node, given)
            case ast.Return() | ast.Raise():
                self._parts(node, given)
                return None
            case ast.Break():
                if self._breaks:
                    self._breaks[-1].append(given)
                return None
            case ast.Continue():
                return None
            case ast.Delete():
                self._parts(node, given)
                return given - bound(node)
        self._simple(node, given)
        return given

    def _simple(self, node: ast.AST, given: set[str]) -> None:
        match node:
            case ast.Assign():
                self._expression(node.value, given)
                self._targets(node.targets, given)
            case ast.AugAssign():
                if isinstance(node.target, ast.Name):
                    self._load(node.target.id, given)
                self._expression(node.value, given)
                self._targets([node.target], given)
            case ast.AnnAssign():  # annotations of local names are not evaluated
                if node.value is not None:
                    self._expression(node.value, given)
                    self._targets([node.target], given)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node, given)
                given.add(node.name)
            case ast.ClassDef():
                for each in (*node.decorator_list, *node.bases, *(k.value for k in node.keywords)):
                    self._expression(each, given)
                self._inside(node.body, given, set())
                given.add(node.name)
            case ast.Import() | ast.ImportFrom():
                given |= bound(node)
            case ast.Global() | ast.Pass():
                pass
            case ast.Nonlocal():
                for name in node.names:
                    self._load(name, given)
            case _:
                self._parts(node, given)

    def _loop(self, node: ast.While | ast.For | ast.AsyncFor, given: set[str]) -> Given:
        self._breaks.append([])
        endless = False
        inside = set(given)
        if isinstance(node, ast.While):
            self._expression(node.test, given)
            inside = set(given)
            endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        else:
            self._expression(node.iter, given)
            inside = set(given)
            self._targets([node.target], inside)
        self._block(node.body, inside)
        lost = _deleted(node.body)
        after: Given = None if endless else given - lost
        if node.orelse and after is not None:
            after = self._block(node.orelse, after)
        for each in self._breaks.pop():
            after = _both(after, each)
        return after

    def _try(self, node: ast.Try | ast.TryStar, given: set[str]) -> Given:
        before = given - _deleted(node.body)
        after = self._block(node.body, given)
        if node.orelse:
            after = self._block(node.orelse, after)
        for handler in node.handlers:
            if handler.type is not None:
                self._expression(handler.type, set(before))
            name = {handler.name} if handler.name else set()
            ended = self._block(handler.body, before | name)
            after = _both(after, ended - name if ended is not None else None)
        if node.finalbody:
            at_least = before - _deleted([*node.orelse, *node.handlers])
            ended = self._block(node.finalbody, at_least)
            if ended is None or after is None:
                return None
            after = (after - _deleted(node.finalbody)) | ended
        return after

    def _with(self, node: ast.With | ast.AsyncWith, given: set[str]) -> Given:
        for item in node.items:
            self._expression(item.context_expr, given)
            if item.optional_vars is not None:
                self._targets([item.optional_vars], given)
        ended = self._block(node.body, given)
        if any(self._swallows(item.context_expr) for item in node.items):
            return given - _deleted(node.body)
        return ended

    def _match(self, node: ast.Match, given: set[str]) -> Given:
        self._expression(node.subject, given)
        after: Given = None
        always = False
        for case in node.cases:
            inside = given | bound(case.pattern)
            for value in ast.walk(case.pattern):
                if isinstance(value, ast.expr):
                    self._expression(value, set(given))
            if case.guard is not None:
                self._expression(case.guard, inside)
            after = _both(after, self._block(case.body, inside))
            always = always or (case.guard is None and _takes_all(case.pattern))
        return after if always else _both(after, given)

    # Expressions

    def _load(self, name: str, given: set[str]) -> None:
        if name not in given:
            self.needed[name] = None

    def _targets(self, targets: Iterable[ast.expr], given: set[str]) -> None:
        for target in targets:
            self._expression(target, given)
            given |= bound(target)

    def _parts(self, node: ast.AST, given: set[str]) -> None:
        for inner in ast.iter_child_nodes(node):
            self._expression(inner, given)

    def _expression(self, node: ast.AST, given: set[str]) -> None:
        """Adds to `given` what it surely gives a value."""
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                self._load(name, given)
            case ast.NamedExpr():
                self._expression(node.value, given)
                given |= bound(node.target)
            case ast.BoolOp():
                self._expression(node.values[0], given)
                for each in node.values[1:]:
                    self._expression(each, set(given))
            case ast.IfExp():
                self._expression(node.test, given)
                one, other = set(given), set(given)
                self._expression(node.body, one)
                self._expression(node.orelse, other)
                given |= one & other
            case ast.Lambda():
                self._function(node, given)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, given)
            case _:
                self._parts(node, given)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, given: set[str]
    ) -> None:
        self._expression(node.generators[0].iter, given)
        inside = set(given)
        for i, each in enumerate(node.generators):
            if i:
                self._expression(each.iter, inside)
            self._targets([each.target], inside)
            for test in each.ifs:
                self._expression(test, inside)
        for value in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self._expression(value, inside)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, given: set[str]) -> None:
        """It is made: its defaults are evaluated; what its body uses is asked for when it is called, at the earliest
        here."""
        for each in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self._expression(each, given)
        if not isinstance(node, ast.Lambda):
            for each in node.decorator_list:
                self._expression(each, given)
        name = set() if isinstance(node, ast.Lambda) else {node.name}
        self._inside(node.body if isinstance(node.body, list) else [node.body], given, locals_in(node) | name)

    def _inside(self, body: Iterable[ast.AST], given: set[str], own: set[str]) -> None:
        inner = Flow(self._swallows).of(ast.Expr(each) if isinstance(each, ast.expr) else each for each in body)
        for name in inner.needed:
            if name not in own:
                self._load(name, given)


def _both(one: Given, other: Given) -> Given:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _deleted(statements: Iterable[ast.AST]) -> set[str]:
    """Names that may be without a value after them."""
    found: set[str] = set()
    for inner in (inner for statement in statements for inner in _own(statement)):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Del):
            found.add(inner.id)
        elif isinstance(inner, ast.ExceptHandler) and inner.name:
            found.add(inner.name)
    return found


def _takes_all(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(map(_takes_all, pattern.patterns))
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _takes_all(pattern.pattern))

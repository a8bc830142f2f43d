"""Statements of handlers, as syntax: which names they load and give, how they are written. Knows no values."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compiler.python import flow
from compiler.python.model import Function

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def body(function: Function) -> list[ast.stmt]:
    """The statements, without the docstring."""
    assert not isinstance(function.node, ast.Lambda)
    found = function.node.body
    first = found[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return found[1:] or [ast.copy_location(ast.Pass(), first)]
    return found


def one_return(statements: list[ast.stmt]) -> list[ast.stmt]:
    """`if x: return a` at the end, with or without another return behind it, as one return."""
    kept, last = list(statements), None
    if kept and isinstance(kept[-1], ast.Return):
        last = kept.pop()
    if not kept or not isinstance(kept[-1], ast.If):
        return statements
    test = kept[-1]
    inner = [test.body[0], *(test.orelse or [last or ast.Return(None)])]
    if len(test.body) > 1 or len(inner) != 2 or (test.orelse and last):
        return statements
    if any(not isinstance(each, ast.Return) for each in inner):
        return statements
    first, other = (r.value or ast.Constant(None) for r in inner if isinstance(r, ast.Return))
    made = ast.copy_location(ast.Return(ast.IfExp(test.test, first, other)), test)
    return [*kept[:-1], ast.fix_missing_locations(made)]


def own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement that are not in a function inside it."""
    todo = [node]
    while todo:
        one = todo.pop()
        yield one
        todo += [inner for inner in ast.iter_child_nodes(one) if not isinstance(inner, _SCOPES)]


def loads(node: ast.AST) -> list[str]:
    found = {n.id: None for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        found[node.target.id] = None
    return list(found)


def stores(function: Function) -> set[str]:
    return flow.stores_in(function.node)


def locals_of(function: Function) -> frozenset[str]:
    return function.locals


def returned(value: ast.expr) -> ast.stmt:
    return ast.Return(value)


def recall(callee: Function, call: ast.Call, awaited: bool) -> ast.expr:
    """The same call, with the parameters that have become variables."""
    node = callee.node.args
    arguments: list[ast.expr] = [ast.Name(a.arg, ast.Load()) for a in (*node.posonlyargs, *node.args)]
    keywords = [ast.keyword(a.arg, ast.Name(a.arg, ast.Load())) for a in node.kwonlyargs]
    again = ast.Call(call.func, arguments, keywords)
    return ast.Await(again) if awaited else again


def text(function: Function, statement: ast.stmt) -> str:
    """The statement as written, with the comments before it, moved to the left."""
    lines = function.module.text.split("\n")
    last = statement.end_lineno or statement.lineno
    block = lines[statement.lineno - 1 : last]
    indent = lines[statement.lineno - 1][: statement.col_offset]
    shared = bool(indent.strip()) or any(line.strip() and not line.startswith(indent) for line in block)
    texts = any(
        isinstance(n, ast.Constant | ast.JoinedStr) and n.lineno != n.end_lineno for n in ast.walk(statement)
        if hasattr(n, "lineno")
    )  # fmt: skip
    behind = lines[last - 1].encode()[statement.end_col_offset or 0 :].decode().strip()
    if shared or texts or (behind and not behind.startswith("#")):
        return ast.unparse(statement)
    first = statement.lineno - 1
    while first > 0 and lines[first - 1].startswith(f"{indent}#"):
        first -= 1
    return "\n".join(line.removeprefix(indent) for line in lines[first:last])

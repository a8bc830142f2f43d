"""Whether the code a graph names exists and fits, found by parsing it: nothing of it is imported or run, so
that a deployment can be checked anywhere. What cannot be told that way (a decorator, `import *`) is let pass;
the host that loads the code has the last word.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from liquefy.graphjavascript import check_javascript
from liquefy.graphsends import LIQUEFY, Function, own_nodes, sent_by
from liquefy.graphyaml import Problems, nearest


class Named(NamedTuple):
    """A fluxion, as far as its code is concerned. `code` is `module:function`. `lines`: setting -> its line in the
    file, 0 if it comes from none. `stateful` and `streams` are None when a mistake of the graph leaves them open:
    then nothing is said that depends on them."""

    name: str
    code: str
    stateful: bool | None
    key: str = ""
    streams: Sequence[str] | None = None
    lines: Mapping[str, int] = {}
    language: str = "python"


class Module:
    """What one module defines at its top level. `open_ended`: an `import *` may have defined anything.
    `liquefy_names`: what it calls `emit`, `answer` and the package that has them, see `liquefy.graphsends`."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions: dict[str, Function] = {}
        self.names: set[str] = set()
        self.liquefy_names: dict[str, str] = {}
        self.open_ended = False
        for statement in _top_level(tree.body):
            self._add(statement)

    def _add(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.functions[name] = statement
                self.names.add(name)
                self.liquefy_names.pop(name, None)
                return
            case ast.ClassDef(name=name):
                names = {name}
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
                self.open_ended |= "*" in names
            case ast.Assign(targets=targets):
                names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                names = {name}
            case _:
                return
        self.names |= names
        for name in names:
            self.functions.pop(name, None)  # what is bound later is what the module has
            self.liquefy_names.pop(name, None)
        match statement:
            case ast.Import(names=aliases):
                self.liquefy_names |= {a.asname or a.name: LIQUEFY for a in aliases if a.name == LIQUEFY}
            case ast.ImportFrom(module="liquefy", names=aliases, level=0):
                known = ("emit", "answer")
                self.liquefy_names |= {a.asname or a.name: a.name for a in aliases if a.name in known}


def check_code(fluxions: Sequence[Named], folder: Path, problems: Problems) -> None:
    """Adds what is wrong with each fluxion's code."""
    check_javascript([f for f in fluxions if f.language == "javascript"], folder, problems)
    fluxions = [f for f in fluxions if f.language == "python"]
    modules: dict[str, Module | None] = {}
    by_name = {fluxion.name: fluxion for fluxion in fluxions}
    for fluxion in fluxions:
        module_name, _, function_name = fluxion.code.partition(":")
        line = fluxion.lines.get("code", 0)
        path = find_module(folder, module_name)
        if module_name not in modules:
            modules[module_name] = _parse(path, problems) if path is not None else None
            if path is None:
                _add_missing_module(fluxion, module_name, folder, line, problems)
        module = modules[module_name]
        if path is not None and module is not None:
            _check_function(fluxion, function_name, module, path, line, problems)
            _check_keys(fluxion, function_name, module, path, by_name, problems)


def find_module(folder: Path, name: str) -> Path | None:
    """The file of a module (`a.b`) in a folder: a/b.py, or a/b/__init__.py."""
    base = folder.joinpath(*name.split("."))
    candidates = (base / "__init__.py", base.parent / f"{base.name}.py")
    return next((path for path in candidates if path.is_file()), None)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run at import, also inside `if`, `try`, `with` and loops."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for field in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(statement, field, ()):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _parse(path: Path, problems: Problems) -> Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Module(ast.parse(path.read_bytes(), filename=str(path)))
    except SyntaxError as error:
        problems.add(error.lineno or 0, f"is not Python: {error.msg}", "correct the line", file=str(path))
    except (ValueError, OSError, RecursionError) as error:
        problems.add(0, f"cannot be read as Python: {error}", "save it as UTF-8 Python source", file=str(path))
    return None


def _add_missing_module(fluxion: Named, name: str, folder: Path, line: int, problems: Problems) -> None:
    there = sorted(path.stem for path in folder.glob("*.py"))
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    problems.add(
        line,
        f"fluxion {fluxion.name!r}: there is no module {name!r} in {folder}{nearest(name, there)}",
        f"create {file}, or correct `code`",
    )


def _check_function(fluxion: Named, name: str, module: Module, path: Path, line: int, problems: Problems) -> None:
    if name not in module.names and not module.open_ended:
        problems.add(
            line,
            f"fluxion {fluxion.name!r}: {path} has no function {name!r}{nearest(name, module.functions)}",
            f"write `def {name}(...)` at the top level of {path.name}, or correct `code`",
        )
    function = module.functions.get(name)
    if function is None or function.decorator_list:
        return
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own_nodes(function)):
        problems.add(
            function.lineno,
            f"fluxion {fluxion.name!r}: {name} yields",
            "return one value, or a list of what to emit",
            file=str(path),
        )
    if fluxion.stateful is not None:
        _check_arguments(fluxion, name, function, fluxion.stateful, path, problems)


def _check_keys(
    fluxion: Named, name: str, module: Module, path: Path, by_name: Mapping[str, Named], problems: Problems
) -> None:
    """What it sends to a fluxion with a key carries that key, where that can be told."""
    function = module.functions.get(name)
    if function is None or function.decorator_list or fluxion.streams is None:
        return
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own_nodes(function)):
        return
    keyed = [to for to in fluxion.streams if to in by_name and by_name[to].key]
    for to, bodies in sent_by(function, module.liquefy_names, fluxion.streams, keyed).items():
        key, line = by_name[to].key, by_name[to].lines.get("key", 0)
        first = key.partition(".")[0]
        where = f"{problems.file}:{line}" if line else problems.file
        for body in bodies:
            carried = [each.value for each in body.keys if isinstance(each, ast.Constant)]
            if first in carried:
                continue
            problems.add(
                body.lineno,
                f"fluxion {fluxion.name!r}: what it sends to {to!r} carries no key: {key!r} ({where}) is not in "
                f"{{{', '.join(map(repr, carried))}}}{nearest(first, map(str, carried))}",
                f"put {first!r} into it, or correct the `key` of {to!r} in {where}",
                file=str(path),
            )


def _check_arguments(
    fluxion: Named, name: str, function: Function, stateful: bool, path: Path, problems: Problems
) -> None:
    wanted = ("message", "context") if stateful else ("message",)
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    enough = arguments.vararg is not None or len(positional) >= len(wanted)
    keyword_only = [a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None]
    if enough and needed <= len(wanted) and not keyword_only:
        return
    has = "has a context" if stateful else "has no context"
    remedy = f"write `def {name}({', '.join(wanted)})`"
    if not stateful and needed == 2:
        remedy += ", or give the fluxion a key or a group"
    if stateful and len(positional) == 1:
        remedy += ", or remove its key and group"
    signature = ast.unparse(arguments)
    problem = f"fluxion {fluxion.name!r} {has}, and {name}({signature}) cannot be called with ({', '.join(wanted)})"
    problems.add(function.lineno, problem, remedy, file=str(path))

"""Whether the JavaScript that a graph names exists and fits, found by parsing it; as `liquefy.graphcode` for Python.
What cannot be told that way (a computed export, `export *`) is let pass; the host that loads it has the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tree_sitter
import tree_sitter_javascript

from liquefy import nodejs
from liquefy.graphyaml import Problems, nearest

if TYPE_CHECKING:
    from liquefy.graphcode import Named

SUFFIXES = (".mjs", ".js", ".cjs")
"""Of files that a module's name without one may stand for, in order."""

_LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())
_FUNCTIONS = ("function_declaration", "function_expression", "arrow_function", "method_definition")
_GENERATORS = ("generator_function_declaration", "generator_function")
_CLASSES = ("class_declaration", "class")
_EXPORTS = ("exports", "module.exports")


class Export(NamedTuple):
    """What a module exports by a name: the function or class, None if it is not told what it is."""

    node: tree_sitter.Node | None


class Module:
    """What one file exports. `open_ended`: it may export more than can be seen."""

    def __init__(self, root: tree_sitter.Node) -> None:
        self.exports: dict[str, Export] = {}
        self.open_ended = False
        self._local: dict[str, tree_sitter.Node] = {}
        for statement in root.named_children:
            self._declared(statement.child_by_field_name("declaration") or statement, self._local)
        for statement in root.named_children:
            if statement.type == "export_statement":
                self._export(statement)
        self._common_js(root)

    def _declared(self, node: tree_sitter.Node, into: dict[str, tree_sitter.Node]) -> None:
        """Names that a declaration binds, with what they are bound to."""
        name = node.child_by_field_name("name")
        if node.type in (*_FUNCTIONS, *_GENERATORS, *_CLASSES) and name is not None:
            into[_text(name)] = node
        for declarator in node.named_children if node.type.endswith("_declaration") else ():
            name, value = declarator.child_by_field_name("name"), declarator.child_by_field_name("value")
            if declarator.type == "variable_declarator" and name is not None:
                if name.type == "identifier":
                    into[_text(name)] = value or declarator
                else:
                    into |= {_text(n): declarator for n in _all(name) if n.type.startswith(("identifier", "shorthand"))}

    def _export(self, statement: tree_sitter.Node) -> None:
        declaration = statement.child_by_field_name("declaration")
        if declaration is not None and not any(c.type == "default" for c in statement.children):
            found: dict[str, tree_sitter.Node] = {}
            self._declared(declaration, found)
            self.exports |= {name: Export(node) for name, node in found.items()}
        for part in statement.named_children:
            if part.type == "export_clause":
                for specifier in part.named_children:
                    name = specifier.child_by_field_name("name")
                    alias = specifier.child_by_field_name("alias") or name
                    if name is not None and alias is not None:
                        self.exports[_text(alias).strip("\"'")] = self._of(name)
            elif part.type == "namespace_export":
                self.exports[_text(part).rpartition(" ")[2]] = Export(None)
        kinds = [child.type for child in statement.children]
        if "*" in kinds:
            self.open_ended = True
        value = statement.child_by_field_name("value")
        if value is not None:
            self._whole(value)

    def _of(self, node: tree_sitter.Node) -> Export:
        if node.type in ("identifier", "shorthand_property_identifier"):
            return Export(self._local.get(_text(node)))
        return Export(node)

    def _whole(self, value: tree_sitter.Node) -> None:
        """An object whose properties are exported: `export default`, `module.exports =`."""
        if value.type != "object":
            self.open_ended = self.open_ended or value.type not in (*_FUNCTIONS, *_GENERATORS, *_CLASSES)
            return
        for part in value.named_children:
            key = part.child_by_field_name("key") or part.child_by_field_name("name")
            if part.type == "shorthand_property_identifier":
                self.exports[_text(part)] = self._of(part)
            elif key is not None and key.type in ("property_identifier", "string"):
                body = part.child_by_field_name("value")
                self.exports[_text(key).strip("\"'")] = self._of(body) if body is not None else Export(part)
            elif part.type != "comment":
                self.open_ended = True

    def _common_js(self, root: tree_sitter.Node) -> None:
        for node in _all(root):
            if node.type == "identifier" and _text(node) in ("exports", "module"):
                self._used(node)

    def _used(self, node: tree_sitter.Node) -> None:
        """`exports` or `module`, wherever it stands."""
        outer = node.parent
        if _text(node) == "module":
            if outer is None or outer.type != "member_expression" or _text(outer) != "module.exports":
                return
            node, outer = outer, outer.parent
        if outer is not None and outer.type == "member_expression" and outer.child_by_field_name("object") == node:
            name = outer.child_by_field_name("property")
            assignment = outer.parent
            right = assignment.child_by_field_name("right") if assignment is not None else None
            if right is not None and name is not None and right.prev_named_sibling == outer:  # else it is read
                self.exports[_text(name)] = self._of(right)
            return
        right = outer.child_by_field_name("right") if outer is not None else None
        if right is not None and right.prev_named_sibling == node:
            if right.type != "assignment_expression" and _text(right) not in _EXPORTS:
                self._whole(right)
            return
        if right != node:
            self.open_ended = True


def check_javascript(fluxions: Sequence[Named], folder: Path, problems: Problems) -> None:
    """Adds what is wrong with each fluxion's code."""
    modules: dict[Path, Module | None] = {}
    for fluxion in fluxions:
        name, _, function = fluxion.code.rpartition(":")
        line = fluxion.lines.get("code", 0)
        path = find_module(folder, name)
        if path is None:
            there = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES)
            wanted = " or ".join(candidates(name)[:3])
            problem = f"fluxion {fluxion.name!r}: there is no {wanted} in {folder}{nearest(name, there)}"
            problems.add(line, problem, f"create {folder / candidates(name)[0]}, or correct `code`")
            continue
        if path not in modules:
            modules[path] = _parse(path, problems)
        module = modules[path]
        if module is not None:
            _check_function(fluxion, function, module, path, line, problems)


def candidates(name: str) -> list[str]:
    """The files that a module's name in graph.yaml may stand for, in order."""
    bare = name.removeprefix("./")
    if bare.endswith(SUFFIXES):
        return [bare]
    folders = [bare.replace(".", "/")] if "." in bare and "/" not in bare else []
    return [each + suffix for each in (bare, *folders) for suffix in SUFFIXES]


def find_module(folder: Path, name: str) -> Path | None:
    """The file of a module in a folder."""
    return next((folder / each for each in candidates(name) if (folder / each).is_file()), None)


def _parse(path: Path, problems: Problems) -> Module | None:
    try:
        root = tree_sitter.Parser(_LANGUAGE).parse(path.read_bytes()).root_node
    except (OSError, ValueError) as error:
        problems.add(0, f"cannot be read: {error}", "save it as UTF-8 JavaScript source", file=str(path))
        return None
    # Our grammar may be older than the language that this file is written in.
    if root.has_error and nodejs.parses(path) is not True:
        broken = next((node for node in _all(root) if node.type == "ERROR" or node.is_missing), root)
        problems.add(broken.start_point.row + 1, "is not JavaScript", "correct the line", file=str(path))
        return None
    module = Module(root)
    module.open_ended |= root.has_error
    return module


def _check_function(fluxion: Named, name: str, module: Module, path: Path, line: int, problems: Problems) -> None:
    export = module.exports.get(name)
    if export is None:
        if not module.open_ended:
            problems.add(
                line,
                f"fluxion {fluxion.name!r}: {path} exports no {name!r}{nearest(name, module.exports)}",
                f"write `export function {name}(...)` in {path.name}, or correct `code`",
            )
        return
    node = export.node
    if node is None or fluxion.stateful is None:
        return
    wrong, remedy = "", f"write `function {name}({'message, context' if fluxion.stateful else 'message'})`"
    if node.type in _CLASSES:
        wrong = f"{name} is a class"
    elif node.type in _GENERATORS or (node.type == "method_definition" and any(c.type == "*" for c in node.children)):
        wrong, remedy = f"{name} yields", "return one value, or an array of what to emit"
    elif node.type in _FUNCTIONS:
        needed = _needed(node)
        if needed > (2 if fluxion.stateful else 1):
            wrong = f"{name} takes {needed} arguments, and it has {'a' if fluxion.stateful else 'no'} context"
    if wrong:
        problems.add(node.start_point.row + 1, f"fluxion {fluxion.name!r}: {wrong}", remedy, file=str(path))


def _needed(function: tree_sitter.Node) -> int:
    """How many parameters have no default, up to the first that has one; as the `length` of a function."""
    parameters = function.child_by_field_name("parameters")
    count = 0
    for each in parameters.named_children if parameters is not None else ():
        if each.type in ("assignment_pattern", "rest_pattern"):
            break
        count += each.type != "comment"
    return count


def _all(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += reversed(each.children)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode(errors="replace")

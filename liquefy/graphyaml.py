"""YAML with line numbers: a document as nodes that know their line, and the problems found on the way,
collected so that a person sees all of them at once. Knows nothing of graphs; constructs no Python objects
from tags, and reads every scalar as the text that stands in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import yaml

from liquefy.errors import GraphError, GraphErrors

YAML_BYTES_MAX = 1024 * 1024
"""A longer graph file is refused unread."""

PROBLEMS_MAX = 50
"""Problems collected before the rest is left for the next try."""


class Entry(NamedTuple):
    """One `key: value` of a mapping; `line` (1-based) is that of the key."""

    line: int
    node: yaml.Node


class Problems:
    """Collects GraphErrors of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.errors: list[GraphError] = []

    def __bool__(self) -> bool:
        return bool(self.errors)

    def add(self, line: int, problem: str, remedy: str, file: str = "") -> None:
        """One more, unless the same was said of that line before."""
        error = GraphError(file or self.file, line, problem, remedy)
        if all((error.file, line, problem) != (e.file, e.line, e.problem) for e in self.errors):
            self.errors.append(error)

    def raise_if_any(self) -> None:
        """Raises GraphErrors, sorted by file and line, the file of this collection first."""
        if self.errors:
            ordered = sorted(self.errors, key=lambda e: (e.file != self.file, e.file, e.line))
            raise GraphErrors(ordered[:PROBLEMS_MAX])


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'store'?)`, or "" when nothing is near."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def compose(path: Path, problems: Problems) -> yaml.Node:
    """The document's root node. Raises GraphErrors if there is no such file, or it is no YAML."""
    text = _read_text(path, problems)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        _add_yaml_error(error, text, problems)
    except RecursionError:
        problems.add(0, "the YAML is nested too deep", "a graph needs three levels")
    else:
        if root is not None:
            return root
        problems.add(0, "the file is empty", "write `graph:`, `inputs:`, `fluxions:` and `streams:`")
    problems.raise_if_any()
    raise AssertionError("unreachable")


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def mapping(node: yaml.Node, what: str, problems: Problems, example: str = "name: value") -> dict[str, Entry]:
    """The entries of a mapping node. A node of another kind or without entries, and names that stand twice,
    are added to the problems."""
    if not isinstance(node, yaml.MappingNode) or not node.value:
        wrong = "is empty" if not node.value else f"is not made of lines `{example}`"
        problems.add(line_of(node), f"{what} {wrong}", f"write `{example}` there, indented")
        return {}
    entries: dict[str, Entry] = {}
    for key, value in node.value:
        line = line_of(key)
        if not isinstance(key, yaml.ScalarNode):
            problems.add(line, f"a name in {what} is not text", "use plain names")
        elif key.value in entries:
            first = entries[key.value].line
            problems.add(
                line,
                f"{key.value!r} is in {what} twice, first in line {first}",
                "rename or remove one of them",
            )
        else:
            entries[key.value] = Entry(line, value)
    return entries


def sequence(node: yaml.Node, what: str, problems: Problems) -> list[tuple[int, str]]:
    """The scalars of a sequence node, each with its line. Another kind of node, or none, is a problem."""
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        wrong = "is empty" if not node.value else "is not a list"
        problems.add(line_of(node), f"{what} {wrong}", f"write {what} as lines that start with `- `")
        return []
    items = []
    for item in node.value:
        value = text(Entry(line_of(item), item), f"an item of {what}", problems)
        if value is not None:
            items.append((line_of(item), value))
    return items


def text(entry: Entry, what: str, problems: Problems) -> str | None:
    """The text of a scalar; None, and a problem, if it is something else or nothing."""
    node = entry.node
    if isinstance(node, yaml.ScalarNode) and node.value:
        return str(node.value)
    if isinstance(node, yaml.ScalarNode):
        problems.add(entry.line, f"{what} has no value", "give it one, or remove the line")
    else:
        problems.add(entry.line, f"{what} is not a single value", "write one value; quote it if it has brackets")
    return None


def _read_text(path: Path, problems: Problems) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(YAML_BYTES_MAX + 1)
        if len(data) <= YAML_BYTES_MAX:
            return data.decode()
        problems.add(0, f"is longer than {YAML_BYTES_MAX:,} bytes", "split the service into several graphs")
    except UnicodeDecodeError:
        problems.add(0, "is not UTF-8 text", "save it as UTF-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        problems.add(0, f"cannot be read: {reason}", "give the path of a graph.yaml")
    problems.raise_if_any()
    raise AssertionError("unreachable")


def _add_yaml_error(error: yaml.YAMLError, source: str, problems: Problems) -> None:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    if mark is None:
        problems.add(0, f"is not YAML: {what}", "remove what is not text")
        return
    lines = source.splitlines()
    text_at = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in text_at:
        remedy = "indent with spaces, not with tabs"
    elif ": *" in text_at or "- *" in text_at:
        remedy = 'quote a value that starts with `*`: "* /path"'
    else:
        remedy = "check indentation, colons, brackets and quotes of this line and the one before"
    problems.add(mark.line + 1, f"is not YAML: {what}", remedy)

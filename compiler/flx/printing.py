"""A Program as the text of a `.flx`. What follows from the rest is left out. Reads nothing: `compiler.flx.parsing` is
the way back, and `parse(print(program)) == program` for any program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compiler.facts import NOWHERE, Place
from compiler.flx import derive
from compiler.flx.words import quoted, shown_names, shown_path, shown_place, shown_prose, shown_word
from compiler.program import Entry, Fluxion, Group, Kept, Program, Role, Sorted, Stream

Anchor = tuple[str | int, ...]
"""What a comment stands above."""

Comments = Mapping[Anchor, Sequence[str]]

ITEM = "  "
TEXT = "    "
BODY_NEWLINES = 0
FILE_NEWLINES = 1
"""Newlines that a body and a file end with, if nothing else is said."""

END: Anchor = ("end",)


def show(program: Program, comments: Comments | None = None) -> str:
    """The text. `comments`: lines of comments, `#` included, by what they stand above."""
    printer = _Printer(comments or {})
    printer.program(program)
    return printer.text()


class _Printer:
    def __init__(self, comments: Comments) -> None:
        self._comments = comments
        self._lines: list[str] = []

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _gap(self) -> None:
        if self._lines and self._lines[-1] != "":
            self._lines.append("")

    def _line(self, anchor: Anchor, line: str, indent: str = "") -> None:
        self._lines += [f"{indent}{comment}" for comment in self._comments.get(anchor, ())]
        self._lines.append(f"{indent}{line}")

    def program(self, program: Program) -> None:
        self._head(program)
        kept = [i for i, group in enumerate(program.groups) if self._comments.get(("group", group.name))]
        said = derive.groups_to_say(program.fluxions, program.groups)
        self._gap()
        for group in program.groups[: max([len(said), *(i + 1 for i in kept)])]:
            self._group(group)
        arriving = derive.incoming(program.fluxions)
        for i, fluxion in enumerate(program.fluxions):
            self._gap()
            self._fluxion(("flx", i), fluxion, derive.reads(fluxion, arriving.get(fluxion.name, ())))
        self._gap()
        for i, kept_together in enumerate(program.kept):
            self._kept(("kept", i), kept_together)
        self._gap()
        for i, variable in enumerate(program.variables):
            self._sorted(("sorted", i), variable)
        if program.assets:
            self._gap()
            self._line(("assets",), "assets")
            for i, asset in enumerate(program.assets):
                self._line(("assets", i), shown_word(asset), ITEM)
        for path, text in program.files.items():
            self._gap()
            self._text(("file", path), "", f"file {shown_word(path)}", text, FILE_NEWLINES)
        if end := self._comments.get(END, ()):
            self._gap()
            self._lines += end
        while self._lines and self._lines[-1] == "":
            self._lines.pop()

    def _head(self, program: Program) -> None:
        self._line(("service",), f"service {shown_word(program.name)}")
        for keyword, value in (
            ("language", program.language),
            ("framework", program.framework),
            ("entry", program.entry),
            ("app", program.app),
            ("folder", program.folder),
        ):
            if value:
                self._line((keyword,), f"{keyword} {shown_word(value)}")
        if program.env:
            self._line(("env",), f"env {', '.join(shown_word(name) for name in program.env)}")

    def _group(self, group: Group) -> None:
        anchor = ("group", group.name)
        names = f" {shown_names(group.variables, '{}')}" if group.variables else ""
        self._line(anchor, f"group {shown_word(group.name)} {group.keeping.value}{names}")
        self._prose(anchor, "why", group.why)

    def _prose(self, anchor: Anchor, keyword: str, text: str) -> None:
        if text:
            self._line((*anchor, keyword), f"{keyword} {shown_prose(text)}", ITEM)

    def _fluxion(self, anchor: Anchor, fluxion: Fluxion, derived: tuple[str, ...]) -> None:
        self._line(anchor, _fluxion_line(fluxion))
        for i, entry in enumerate(fluxion.entries):
            self._line((*anchor, "entry", i), _entry_line(entry), ITEM)
        for i, stream in enumerate(fluxion.streams):
            self._line((*anchor, "stream", i), _stream_line(stream), ITEM)
        if fluxion.reads != derived:
            self._line((*anchor, "reads"), f"reads {shown_names(fluxion.reads, '[]')}", ITEM)
        if fluxion.place != NOWHERE or fluxion.last_line:
            self._line((*anchor, "from"), f"from {shown_place(fluxion.place, fluxion.last_line)}", ITEM)
        if fluxion.unit:
            self._line((*anchor, "unit"), f"unit {shown_word(fluxion.unit)}", ITEM)
        head = fluxion.role.value + (" waits" if fluxion.waits else "")
        if head != Role.STEP.value or fluxion.body:
            self._text((*anchor, "body"), ITEM, head, fluxion.body, BODY_NEWLINES)

    def _text(self, anchor: Anchor, indent: str, head: str, text: str, newlines: int) -> None:
        core = text.rstrip("\n")
        ending = len(text) - len(core)
        self._line(anchor, head + (f" newlines {ending}" if ending != newlines else ""), indent)
        if core:
            self._lines += [f"{TEXT}{line}" if line else "" for line in core.split("\n")]

    def _kept(self, anchor: Anchor, kept: Kept) -> None:
        self._line(anchor, f"kept {shown_word(kept.what)}{_at(kept.place)}")
        self._prose(anchor, "why", kept.why)
        self._prose(anchor, "remedy", kept.remedy)
        for i, place in enumerate(kept.also):
            self._line((*anchor, "also", i), f"also{_at(place)}", ITEM)

    def _sorted(self, anchor: Anchor, variable: Sorted) -> None:
        where = f" in {_where(variable.where)}" if variable.where else ""
        self._line(anchor, f"{variable.sort.value} {shown_word(variable.name)}{where}{_at(variable.place)}")
        self._prose(anchor, "why", variable.why)


def _at(place: Place) -> str:
    return "" if place == NOWHERE else f" at {shown_place(place)}"


def _where(where: str) -> str:
    """A group, or a stream as `a >> b`."""
    source, arrow, to = where.partition(" >> ")
    if arrow and source and to and " >> " not in to:
        return f"{shown_word(source)} >> {shown_word(to)}"
    return shown_word(where)


def _fluxion_line(fluxion: Fluxion) -> str:
    line = f"flx {shown_word(fluxion.name)}"
    if fluxion.group != fluxion.name:
        line += f" & {shown_word(fluxion.group)}"
    if fluxion.context:
        line += f" {shown_names(fluxion.context, '{}')}"
    if fluxion.key or fluxion.key_convert:
        line += f" by {shown_word(fluxion.key)}"
        line += f" as {shown_word(fluxion.key_convert)}" if fluxion.key_convert else ""
    return line


def _entry_line(entry: Entry) -> str:
    method = entry.method if is_method(entry.method) else quoted(entry.method)
    via = f" via {shown_prose(entry.route)}" if entry.route else ""
    return f"{method} {shown_path(entry.path)}{via}"


def is_method(word: str) -> bool:
    """GET, M-SEARCH, `*`: what can begin the line of an entry."""
    return word == "*" or (word.isascii() and word.isupper() and word.replace("-", "").replace("_", "").isalpha())


def _stream_line(stream: Stream) -> str:
    variables = f" {shown_names(stream.variables, '[]')}" if stream.variables else ""
    return f"{'>>' if stream.starts else '->'} {shown_word(stream.to)}{variables}"

"""The text of a `.flx` read into a Program, line by line. Whether what it says makes sense is `compiler.flx.check`'s
question; whether it can be read is asked here. Comments are kept aside, for `fmt`.

A line of structure is indented by 0 to 3 spaces, a line of a body or file by 4 and more: so any text can be a body, as
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from compiler.facts import NOWHERE
from compiler.flx import derive
from compiler.flx.printing import BODY_NEWLINES, END, FILE_NEWLINES, TEXT, Anchor, is_method, show
from compiler.flx.words import FlxError, FlxErrors, Scanner
from compiler.program import Entry, Fluxion, Group, Keeping, Kept, Program, Role, Sort, Sorted, Stream

TOP = "service, language, framework, entry, app, folder, env, group, flx, kept, scope, stream, share, assets or file"
ROLES = ", ".join(role.value for role in Role)
KEEPINGS = ", ".join(keeping.value for keeping in Keeping)
INDENT = len(TEXT)


@dataclass
class Parsed:
    """`lines`: where each thing is said, from 1. `comments`: what stands above each."""

    program: Program
    lines: dict[Anchor, int] = field(default_factory=dict)
    comments: dict[Anchor, list[str]] = field(default_factory=dict)


def parse(text: str, file: str = "service.flx") -> Program:
    """Raises FlxErrors with all that cannot be read."""
    return parse_all(text, file).program


def parse_all(text: str, file: str = "service.flx") -> Parsed:
    """With lines and comments. Raises FlxErrors."""
    return _Parser(file, text).run()


class _Parser:
    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._lines = text.split("\n")
        self._next = 0
        self._errors: list[FlxError] = []
        self._pending: list[str] = []
        self._parsed_lines: dict[Anchor, int] = {}
        self._comments: dict[Anchor, list[str]] = {}
        self._settings: dict[str, Any] = {}
        self._groups: list[Group] = []
        self._fluxions: list[Fluxion] = []
        self._reads: set[int] = set()
        self._kept: list[Kept] = []
        self._sorted: list[Sorted] = []
        self._assets: list[str] = []
        self._files: dict[str, str] = {}
        # What an indented line belongs to: its anchor, and who reads it.
        self._owner: Anchor = ()
        self._item: Callable[[Scanner], None] | None = None

    def run(self) -> Parsed:
        while self._next < len(self._lines):
            try:
                self._one()
            except FlxError as error:
                self._errors.append(error)
                self._skip_what_hangs_on_it()
        if self._pending:
            self._comments[END] = self._pending
        if "name" not in self._settings and not self._errors:
            remedy = "write `service NAME` in the first line"
            self._errors.append(FlxError(self._file, 1, 1, "the service has no name", remedy))
        if self._errors:
            raise FlxErrors(self._errors)
        fluxions = self._with_reads()
        program = Program(
            fluxions=fluxions,
            groups=derive.groups(fluxions, self._groups),
            variables=tuple(self._sorted),
            kept=tuple(self._kept),
            files=self._files,
            assets=tuple(self._assets),
            **{"language": "", "framework": "", "entry": "", **self._settings},
        )
        return Parsed(program, self._parsed_lines, self._comments)

    def _with_reads(self) -> tuple[Fluxion, ...]:
        arriving = derive.incoming(self._fluxions)
        return tuple(
            f if i in self._reads else replace(f, reads=derive.reads(f, arriving.get(f.name, ())))
            for i, f in enumerate(self._fluxions)
        )

    # -- lines ----------------------------------------------------------------------------------------------

    def _one(self) -> None:
        line = self._lines[self._next]
        self._next += 1
        stripped = line.lstrip(" ")
        indent = len(line) - len(stripped)
        if not stripped.strip():
            return
        scanner = Scanner(self._file, self._next, line)
        if stripped.startswith("\t"):
            scanner.at = indent
            raise scanner.error("this line is indented by a tab", "indent by spaces: 2 for a part, 4 for a text")
        if indent >= INDENT:
            raise scanner.error(
                "this line is indented as a text is, and no body or file begins above it",
                f"write what the body is ({ROLES}) on a line of its own above it, indented by 2",
            )
        if stripped.startswith("#"):
            self._pending.append(stripped.rstrip())
        elif indent == 0:
            self._item = None
            self._statement(scanner)
        elif self._item is None:
            raise scanner.error("this line belongs to nothing", f"begin the line above it with {TOP}")
        else:
            self._item(scanner)

    def _statement(self, scanner: Scanner) -> None:
        keyword = scanner.word("a statement", f"begin the line with {TOP}")
        reader = self._READERS.get(keyword)
        if reader is None:
            scanner.at = 0
            raise scanner.expected("a statement", f"begin the line with {TOP}")
        reader(self, scanner, keyword)

    def _mark(self, anchor: Anchor, scanner: Scanner) -> None:
        if anchor in self._parsed_lines:
            before = self._parsed_lines[anchor]
            scanner.at = len(scanner.text) - len(scanner.text.lstrip())
            raise scanner.error(f"this was said in line {before} already", "remove one of the two")
        self._parsed_lines[anchor] = scanner.line
        if self._pending:
            self._comments[anchor] = self._pending
            self._pending = []

    def _skip_what_hangs_on_it(self) -> None:
        """After a mistake: its text, and if it is that of a statement, its parts."""
        wrong = self._next
        statement = not self._lines[self._next - 1].startswith((" ", "\t"))
        while self._next < len(self._lines) and self._lines[self._next].startswith(" " if statement else TEXT):
            self._next += 1
        for anchor in [anchor for anchor, line in self._parsed_lines.items() if statement and line == wrong]:
            del self._parsed_lines[anchor]

    def _text(self, newlines: int) -> str:
        """The lines from here on that are indented by 4, without that; empty lines at the end are not of it."""
        found: list[str] = []
        while self._next < len(self._lines):
            line = self._lines[self._next]
            if line.startswith(TEXT):
                found.append(line[INDENT:])
            elif not line.strip():
                found.append("")
            else:
                break
            self._next += 1
        while found and not found[-1]:
            found.pop()
        return "\n".join(found) + "\n" * newlines

    def _newlines(self, scanner: Scanner, default: int) -> int:
        count = scanner.number("how many newlines the text ends with") if scanner.take("newlines") else default
        scanner.end("the end of the line")
        return count

    # -- statements -----------------------------------------------------------------------------------------

    def _setting(self, scanner: Scanner, keyword: str) -> None:
        self._mark((keyword,), scanner)
        name = "name" if keyword == "service" else keyword
        self._settings[name] = scanner.word(f"the {keyword}", f"write `{keyword} NAME`")
        scanner.end("the end of the line")

    def _env(self, scanner: Scanner, _: str) -> None:
        self._mark(("env",), scanner)
        self._settings["env"] = scanner.separated("the name of an environment variable")
        scanner.end("`,` or the end of the line")

    def _group(self, scanner: Scanner, _: str) -> None:
        name = scanner.word("the group's name", "write `group NAME keyed {variable}`")
        anchor = ("group", name)
        self._mark(anchor, scanner)
        start = scanner.at
        word = scanner.word(f"how it keeps its memory: {KEEPINGS}", f"write one of {KEEPINGS}")
        if word not in [keeping.value for keeping in Keeping]:
            scanner.at = start
            raise scanner.expected(f"how it keeps its memory: {KEEPINGS}", f"write one of {KEEPINGS}")
        variables = scanner.names("{", "}", "a variable")
        scanner.end("`{variables}` or the end of the line")
        at = len(self._groups)
        self._groups.append(Group(name, Keeping(word), variables))

        def item(line: Scanner) -> None:
            why = self._prose(line, anchor, ("why",))[1]
            self._groups[at] = replace(self._groups[at], why=why)

        self._item = item

    def _prose(self, scanner: Scanner, anchor: Anchor, known: tuple[str, ...]) -> tuple[str, str]:
        for keyword in known:
            if scanner.take(keyword):
                self._mark((*anchor, keyword), scanner)
                return keyword, scanner.prose("a reason")
        raise scanner.expected(" or ".join(f"`{keyword}`" for keyword in known), "write it, or remove the line")

    def _kept_together(self, scanner: Scanner, _: str) -> None:
        anchor = ("kept", len(self._kept))
        self._mark(anchor, scanner)
        what = scanner.word("what is kept together", "write `kept NAME at file:line`")
        self._kept.append(Kept(what, "", self._at(scanner)))

        def item(line: Scanner) -> None:
            kept = self._kept[-1]
            if line.take("also"):
                self._mark((*anchor, "also", len(kept.also)), line)
                self._kept[-1] = replace(kept, also=(*kept.also, self._at(line)))
                return
            keyword, text = self._prose(line, anchor, ("why", "remedy", "also"))
            change: dict[str, Any] = {keyword: text}
            self._kept[-1] = replace(kept, **change)

        self._item = item

    def _variable(self, scanner: Scanner, keyword: str) -> None:
        anchor = ("sorted", len(self._sorted))
        self._mark(anchor, scanner)
        name = scanner.word("a variable", f"write `{keyword} NAME in GROUP at file:line`")
        where = ""
        if scanner.take("in"):
            where = scanner.word("a group or a stream", "write `in GROUP`, or `in a >> b`")
            if scanner.take(">>"):
                where += " >> " + scanner.word("a fluxion", "write `in a >> b`")
        self._sorted.append(Sorted(name, Sort(keyword), where, self._at(scanner), ""))

        def item(line: Scanner) -> None:
            self._sorted[-1] = replace(self._sorted[-1], why=self._prose(line, anchor, ("why",))[1])

        self._item = item

    def _at(self, scanner: Scanner) -> Any:
        place = scanner.place()[0] if scanner.take("at") else NOWHERE
        scanner.end("`at file:line` or the end of the line")
        return place

    def _all_assets(self, scanner: Scanner, _: str) -> None:
        self._mark(("assets",), scanner)
        scanner.end("the end of the line, and a file on each line below")

        def item(line: Scanner) -> None:
            self._mark(("assets", len(self._assets)), line)
            self._assets.append(line.word("a file", "write its path, in quotes if there is a space in it"))
            line.end("the end of the line")

        self._item = item

    def _file_text(self, scanner: Scanner, _: str) -> None:
        path = scanner.word("the file's path", "write `file PATH`, and its text below, indented by 4")
        self._mark(("file", path), scanner)
        newlines = self._newlines(scanner, FILE_NEWLINES)
        self._files[path] = self._text(newlines)

    # -- fluxions -------------------------------------------------------------------------------------------

    def _fluxion(self, scanner: Scanner, _: str) -> None:
        anchor = ("flx", len(self._fluxions))
        self._mark(anchor, scanner)
        remedy = "write `flx NAME & GROUP {variables} by KEY`; all but the name may be left out"
        name = scanner.word("the fluxion's name", remedy)
        group = scanner.word("a group", remedy) if scanner.take("&") else name
        context = scanner.names("{", "}", "a variable of the context")
        key, convert = "", ""
        if scanner.take("by"):
            key = scanner.word("a key, such as params.id", remedy)
            convert = scanner.word("a type, such as int", remedy) if scanner.take("as") else ""
        scanner.end("`& GROUP`, `{variables}`, `by KEY` or the end of the line")
        self._fluxions.append(Fluxion(name, Role.STEP, group, context=context, key=key, key_convert=convert))
        self._item = lambda line: self._part(line, anchor)

    def _part(self, scanner: Scanner, anchor: Anchor) -> None:
        fluxion = self._fluxions[-1]
        for arrow in (">>", "->"):
            if scanner.take(arrow):
                self._stream(scanner, anchor, fluxion, arrow)
                return
        if scanner.take("reads"):
            self._mark((*anchor, "reads"), scanner)
            self._reads.add(len(self._fluxions) - 1)
            self._change(reads=scanner.names("[", "]", "a variable of the message"))
        elif scanner.take("from"):
            self._mark((*anchor, "from"), scanner)
            place, last = scanner.place()
            self._change(place=place, last_line=last)
        elif scanner.take("unit"):
            self._mark((*anchor, "unit"), scanner)
            self._change(unit=scanner.word("a unit", "write `unit app.getUser`"))
        elif not self._entry(scanner, anchor, fluxion):
            self._body(scanner, anchor)
        scanner.end("the end of the line")

    def _change(self, **fields: Any) -> None:
        self._fluxions[-1] = replace(self._fluxions[-1], **fields)

    def _stream(self, scanner: Scanner, anchor: Anchor, fluxion: Fluxion, arrow: str) -> None:
        self._mark((*anchor, "stream", len(fluxion.streams)), scanner)
        to = scanner.word("a fluxion, or output", f"write `{arrow} NAME [variables]`")
        variables = scanner.names("[", "]", "a variable that travels")
        scanner.end("`[variables]` or the end of the line")
        self._change(streams=(*fluxion.streams, Stream(to, variables, arrow == ">>")))

    def _entry(self, scanner: Scanner, anchor: Anchor, fluxion: Fluxion) -> bool:
        start = scanner.at
        quoted = scanner.text.startswith('"', start)
        method = scanner.word("a part of the fluxion", f"write METHOD /path, a stream, or one of {ROLES}")
        if not quoted and not is_method(method):
            scanner.at = start
            return False
        self._mark((*anchor, "entry", len(fluxion.entries)), scanner)
        path = scanner.path("a path", "write METHOD /path, such as GET /users/{id}")
        route = scanner.prose("a route") if scanner.take("via") else ""
        self._change(entries=(*fluxion.entries, Entry(method, path, route)))
        return True

    def _body(self, scanner: Scanner, anchor: Anchor) -> None:
        for role in Role:
            if scanner.take(role.value):
                self._mark((*anchor, "body"), scanner)
                waits = scanner.take("waits")
                newlines = self._newlines(scanner, BODY_NEWLINES)
                self._change(role=role, waits=waits, body=self._text(newlines))
                return
        raise scanner.expected(
            "a part of the fluxion",
            f"write METHOD /path, `-> NAME [variables]`, `>> NAME`, reads, from, unit, or what the body is: {ROLES}; "
            "lines of the body are indented by 4",
        )

    _READERS: ClassVar[dict[str, Callable[[_Parser, Scanner, str], None]]] = {
        **dict.fromkeys(("service", "language", "framework", "entry", "app", "folder"), _setting),
        **dict.fromkeys((sort.value for sort in Sort), _variable),
        "env": _env,
        "group": _group,
        "flx": _fluxion,
        "kept": _kept_together,
        "assets": _all_assets,
        "file": _file_text,
    }


def formatted(text: str, file: str = "service.flx") -> str:
    """The text as it is printed, comments kept. Raises FlxErrors."""
    parsed = parse_all(text, file)
    return show(parsed.program, parsed.comments)

"""Whether what a `.flx` says makes sense: names that exist, variables that arrive where they are read. Whether it can
be read is `compiler.flx.parsing`'s question, what a body of a step does with its variables `compiler.flx.bodies`'."""

from __future__ import annotations

import re
from collections.abc import Iterable

from compiler.bundling import function_name
from compiler.flx import bodies, derive
from compiler.flx.parsing import Parsed
from compiler.flx.printing import Anchor
from compiler.flx.shapes import Unreadable
from compiler.flx.words import FlxError, FlxErrors
from compiler.holes import fill, unfilled
from compiler.program import Fluxion, Keeping, Program, Role
from liquefy import graphrules as rules
from liquefy.graph import OUTPUT
from liquefy.graphyaml import Problems, nearest

LANGUAGES = ("javascript", "python")

_SERVICE = re.compile(r"[a-z][a-z0-9-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORD = re.compile(r"[\w$]+")
_HOLE = re.compile(r"⟪([A-Za-z_][\w-]*)⟫")


def check(parsed: Parsed, file: str) -> None:
    """Raises FlxErrors with all that is wrong."""
    checker = _Checker(parsed, file)
    checker.run()
    if checker.errors:
        raise FlxErrors(checker.errors)


def is_steps(program: Program) -> bool:
    """Whether it is made of functions of their messages alone, and no framework."""
    return not program.framework and all(fluxion.role is Role.STEP for fluxion in program.fluxions)


class _Checker:
    def __init__(self, parsed: Parsed, file: str) -> None:
        self._program, self._lines, self._file = parsed.program, parsed.lines, file
        self.errors: list[FlxError] = []

    def _add(self, anchor: Anchor, problem: str, remedy: str, line: int = 0) -> None:
        self.errors.append(FlxError(self._file, line or self._lines.get(anchor, 1), 1, problem, remedy))

    def run(self) -> None:
        program = self._program
        self._head()
        self._names()
        self._groups()
        self._streams()
        self._holes()
        if self.errors:
            return
        if is_steps(program):
            self._graph()
            self._arrivals()
        else:
            self._files()
            self._sent()
        if program.language in LANGUAGES:
            for wrong in bodies.check(program):
                self._wrong_body(wrong)

    def _wrong_body(self, wrong: bodies.Wrong) -> None:
        anchor: Anchor = ("flx", wrong.fluxion)
        if wrong.line:
            line = self._lines[(*anchor, "body")] + wrong.line
            self.errors.append(FlxError(self._file, line, wrong.column + 4, wrong.problem, wrong.remedy))
        else:
            where: Anchor = (*anchor, "stream", wrong.stream)
            self._add(where if where in self._lines else anchor, wrong.problem, wrong.remedy)

    def _head(self) -> None:
        program = self._program
        if not _SERVICE.fullmatch(program.name):
            remedy = "use lower-case letters, digits and -, beginning with a letter"
            self._add(("service",), f"{program.name!r} cannot name a service", remedy)
        if program.language not in LANGUAGES:
            said = f"the language {program.language!r} cannot be run" if program.language else "no language is said"
            self._add(("language",), said, f"write `language {LANGUAGES[0]}` or `language {LANGUAGES[1]}`")
        if not any(fluxion.entries or fluxion.role is Role.WHOLE for fluxion in program.fluxions):
            self._add(("service",), "no request enters anywhere", "give a fluxion a line such as `GET /{id}`")

    def _names(self) -> None:
        first: dict[str, int] = {}
        for i, fluxion in enumerate(self._program.fluxions):
            anchor = ("flx", i)
            if not _NAME.fullmatch(fluxion.name) or fluxion.name in ("input", OUTPUT):
                remedy = "use letters, digits, _ and -, beginning with a letter; input and output have a meaning"
                self._add(anchor, f"{fluxion.name!r} cannot name a fluxion", remedy)
            function = function_name(fluxion)
            if function in first:
                there = self._program.fluxions[first[function]].name
                before = self._lines["flx", first[function]]
                same = "" if there == fluxion.name else f", whose function is called {function!r}, too"
                remedy = "give one of them another name"
                self._add(anchor, f"there is a fluxion {there!r} in line {before} already{same}", remedy)
            first.setdefault(function, i)

    def _groups(self) -> None:
        members: dict[str, list[tuple[int, Fluxion]]] = {}
        for i, fluxion in enumerate(self._program.fluxions):
            members.setdefault(fluxion.group, []).append((i, fluxion))
        for group in self._program.groups:
            if group.name not in members:
                known = nearest(group.name, members)
                remedy = "remove it, or name it after & at a fluxion"
                self._add(("group", group.name), f"no fluxion is of the group {group.name!r}{known}", remedy)
            for i, fluxion in members.get(group.name, ()):
                missing = [name for name in fluxion.context if name not in group.variables]
                if missing:
                    remedy = f"add it to the {{variables}} of `group {group.name}`, or remove it here"
                    problem = f"the group {group.name!r} does not hold {', '.join(missing)}"
                    self._add(("flx", i), problem, remedy)
                at_end = fluxion.role is Role.END and self._program.language == "javascript"
                if at_end and (fluxion.context or fluxion.key):
                    remedy = "let the start, or a handler, do what touches the context"
                    self._add(("flx", i), f"{fluxion.name!r} is an end, which has no context in JavaScript", remedy)
                elif fluxion.key and group.keeping not in (Keeping.KEYED,):
                    remedy = "remove `by`, or make the group keyed"
                    problem = f"{fluxion.name!r} has a key, and its group {group.name!r} is {group.keeping.value}"
                    self._add(("flx", i), problem, remedy)

    def _streams(self) -> None:
        names = [*(fluxion.name for fluxion in self._program.fluxions), OUTPUT]
        for i, fluxion in enumerate(self._program.fluxions):
            for j, stream in enumerate(fluxion.streams):
                if stream.to not in names:
                    remedy = f"name one of {', '.join(sorted(names)[:12])}"
                    problem = f"there is no fluxion {stream.to!r}{nearest(stream.to, names)}"
                    self._add(("flx", i, "stream", j), problem, remedy)

    def _holes(self) -> None:
        """Each part of a handler has its place in a file."""
        holes = {hole for text in self._program.files.values() for hole in _HOLE.findall(text)}
        names = {fluxion.name for fluxion in self._program.fluxions}
        for i, fluxion in enumerate(self._program.fluxions):
            if fluxion.body and fluxion.role is not Role.STEP and fluxion.name not in holes:
                problem = f"no file has a place for the body of {fluxion.name!r}{nearest(fluxion.name, holes - names)}"
                self._add(("flx", i), problem, f"write ⟪{fluxion.name}⟫ where it belongs in its file")

    def _files(self) -> None:
        """Each file is in its language, with the bodies in it."""
        filled = {fluxion.name: fluxion.body for fluxion in self._program.fluxions}
        for path, text in self._program.files.items():
            try:
                bodies.check_file(path, fill(text, filled))
            except Unreadable as error:
                at = sum(len(line) + 1 for line in fill(text, filled).split("\n")[: error.line - 1])
                line = self._line_of(path, text, filled, at + error.column - 1)
                self._add((), f"{path} is not {bodies.LANGUAGE_NAMES[self._program.language]}: {error.why}",
                          "correct the line", line)  # fmt: skip

    def _sent(self) -> None:
        """What a part of a handler sends is named in its body, came to it, or (of its first part) is the handler's."""
        arriving = derive.incoming(self._program.fluxions)
        for index, fluxion in enumerate(self._program.fluxions):
            if not fluxion.body or fluxion.role not in (Role.START, Role.STEP):
                continue
            named = set(_WORD.findall(fluxion.body))
            named.update(v for _, stream in arriving.get(fluxion.name, ()) for v in stream.variables)
            if fluxion.role is Role.START:
                own = (text for text in self._program.files.values() if f"⟪{fluxion.name}⟫" in text)
                named.update(word for text in own for word in _WORD.findall(text))
            for i, stream in enumerate(fluxion.streams):
                for name in dict.fromkeys(stream.variables):
                    if name not in named:
                        text = f"{fluxion.name} sends {name!r}, which is not in its body and does not come to it"
                        remedy = "name a variable that it has, here and where it is read"
                        self._add(("flx", index, "stream", i), text, remedy)

    def _line_of(self, path: str, text: str, filled: dict[str, str], position: int) -> int:
        """Where a position of the filled file stands in this one: in its text, or in a body."""
        found = unfilled(text, filled, position)
        if found is not None:
            return self._lines["file", path] + 1 + text.count("\n", 0, found)
        before = fill(text, filled)[:position]
        for i, fluxion in enumerate(self._program.fluxions):
            head, hole, _ = text.partition(f"⟪{fluxion.name}⟫")
            start = len(fill(head, filled))
            if hole and start <= position <= len(fill(head + hole, filled)):
                return self._lines["flx", i, "body"] + 1 + before.count("\n", start)
        return self._lines["file", path]

    def _graph(self) -> None:
        """What must hold of the graph that it becomes, told with the lines of this file."""
        problems = Problems(self._file)
        inputs: list[rules.DeclaredInput] = []
        streams: list[rules.Stream] = []
        keeping = {group.name: group.keeping for group in self._program.groups}
        declared: dict[str, rules.DeclaredFluxion] = {}
        for i, fluxion in enumerate(self._program.fluxions):
            line = self._lines["flx", i]
            one = fluxion.group if keeping[fluxion.group] not in (Keeping.NONE, Keeping.PINNED) else ""
            lines = dict.fromkeys(("key", "group"), line)
            declared[fluxion.name] = rules.DeclaredFluxion(fluxion.name, line, lines, "", one, fluxion.key)
            if fluxion.key:
                rules.check_key(declared[fluxion.name], problems)
            for j, entry in enumerate(fluxion.entries):
                name, at = f"input{len(inputs) + 1}", self._lines["flx", i, "entry", j]
                inputs.append(rules.parse_route(name, at, f"{entry.method} {entry.path}", problems))
                streams.append(rules.Stream(at, name, fluxion.name))
            streams += [
                rules.Stream(self._lines["flx", i, "stream", j], fluxion.name, stream.to)
                for j, stream in enumerate(fluxion.streams)
            ]
        rules.check_inputs(inputs, problems)
        rules.check_groups(list(declared.values()), problems)
        rules.check_carried_keys(inputs, declared, streams, problems)
        if not problems:
            rules.check_reached(inputs, list(declared.values()), streams, problems)
            rules.check_exits(list(declared.values()), streams, problems)
        self.errors += [FlxError(self._file, e.line, 1, e.problem, e.remedy) for e in problems.errors]

    def _arrivals(self) -> None:
        """What a step reads comes along each stream that leads to it."""
        arriving = derive.incoming(self._program.fluxions)
        at = {fluxion.name: i for i, fluxion in enumerate(self._program.fluxions)}
        for i, fluxion in enumerate(self._program.fluxions):
            request: Iterable[str] = derive.REQUEST if fluxion.entries else ()
            for sender, stream in arriving.get(fluxion.name, ()):
                missing = [name for name in fluxion.reads if name not in (*stream.variables, *request)]
                if missing:
                    brought = ", ".join(stream.variables) or "nothing"
                    where = ("flx", at[sender.name], "stream", sender.streams.index(stream))
                    problem = (
                        f"{fluxion.name!r} reads {', '.join(missing)}, and the stream from {sender.name!r} brings "
                        f"{brought}{nearest(missing[0], stream.variables)}"
                    )
                    self._add(where, problem, f"write [{', '.join(fluxion.reads)}], or change the body of it")
            alone = [name for name in fluxion.reads if not arriving.get(fluxion.name) and name not in request]
            if alone:
                problem = f"{fluxion.name!r} reads {', '.join(alone)}, which no stream brings"
                self._add(("flx", i, "reads"), problem, "remove it from `reads`, or lead a stream there")

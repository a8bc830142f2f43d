"""One line of a `.flx` taken apart and put together: words, lists, places, prose. Knows no statement."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from compiler.facts import Place
from liquefy.errors import UserError

ERRORS_MAX = 20
"""Mistakes of one file that are told at once."""

RESERVED = frozenset(("&", "as", "at", "by", "in", "newlines", "via", "waits", ">>", "->"))
"""What has a meaning between words; as a word of its own it is quoted."""

_BARE = re.compile(r'[^\s"\[\]{},]+')
_FILE = re.compile(r'[^\s":\[\]{},]+')
_PATH = re.compile(r'[^\s"]\S*')
_NUMBER = re.compile(r"[0-9]{1,9}")
_SPACE = re.compile(r"[ \t]*")


class FlxError(UserError):
    """A mistake in a `.flx`: `line` and `column` from 1, what is wrong, what to do about it."""

    def __init__(self, file: str, line: int, column: int, problem: str, remedy: str) -> None:
        self.file, self.line, self.column, self.problem, self.remedy = file, line, column, problem, remedy
        where = f"{file}:{line}:{column}" if line else file
        super().__init__(f"{where}: {problem}\n  remedy: {remedy}")


class FlxErrors(FlxError):
    """Several found together; stands for the first of them, `str()` lists all."""

    def __init__(self, errors: Iterable[FlxError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda e: (e.line, e.column)))
        first = self.errors[0]
        super().__init__(first.file, first.line, first.column, first.problem, first.remedy)
        told = [str(error) for error in self.errors[:ERRORS_MAX]]
        if len(self.errors) > ERRORS_MAX:
            told.append(f"and {len(self.errors) - ERRORS_MAX} more")
        self.args = ("\n".join(told),)


class Scanner:
    """A line, read from left to right. What it expects and does not find it raises as FlxError."""

    def __init__(self, file: str, line: int, text: str) -> None:
        self.file, self.line, self.text = file, line, text.rstrip()
        self.at = 0
        self._skip()

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def done(self) -> bool:
        return self.at >= len(self.text)

    def error(self, problem: str, remedy: str) -> FlxError:
        return FlxError(self.file, self.line, self.at + 1, problem, remedy)

    def expected(self, what: str, remedy: str) -> FlxError:
        rest = self.text[self.at :]
        there = f"{rest[:40]!r}" if rest else "the end of the line"
        return self.error(f"expected {what}, found {there}", remedy)

    def take(self, mark: str) -> bool:
        """Whether this comes next, as a word of its own or as a bracket; then it is passed."""
        end = self.at + len(mark)
        if not self.text.startswith(mark, self.at):
            return False
        if mark.isalpha() and end < len(self.text) and not self.text[end].isspace():
            return False
        self.at = end
        self._skip()
        return True

    def word(self, what: str, remedy: str) -> str:
        return self._token(_BARE, what, remedy)

    def path(self, what: str, remedy: str) -> str:
        """As a word, but with brackets in it."""
        return self._token(_PATH, what, remedy)

    def _token(self, bare: re.Pattern[str], what: str, remedy: str) -> str:
        if self.text.startswith('"', self.at):
            return self._quoted()
        found = bare.match(self.text, self.at)
        if found is None or found.group() in RESERVED:
            raise self.expected(what, remedy)
        self.at = found.end()
        self._skip()
        return found.group()

    def _quoted(self) -> str:
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(self.text, self.at)
        except ValueError:
            raise self.error("this quoted text has no end", 'end it with ", and write \\" for a quote in it') from None
        self.at = end
        self._skip()
        return str(value)

    def names(self, opening: str, closing: str, what: str) -> tuple[str, ...]:
        """`{a, b}`, `[a, b]`: () if no such bracket comes."""
        if not self.take(opening):
            return ()
        found: list[str] = []
        while not self.take(closing):
            if found and not self.take(","):
                raise self.expected(f"`,` or `{closing}`", f"write {opening}a, b{closing}")
            found.append(self.word(what, f"write {opening}a, b{closing}"))
        return tuple(found)

    def separated(self, what: str) -> tuple[str, ...]:
        """`a, b` to the end of the line."""
        found = [self.word(what, "write names, separated by commas")]
        while self.take(","):
            found.append(self.word(what, "write names, separated by commas"))
        return tuple(found)

    def prose(self, what: str) -> str:
        """The rest of the line; one text in quotes if it begins with a quote."""
        if self.text.startswith('"', self.at):
            text = self._quoted()
            self.end("the end of the line")
            return text
        text = self.text[self.at :]
        if not text:
            raise self.expected(what, "write it, or leave the line out")
        self.at = len(self.text)
        return text

    def number(self, what: str) -> int:
        found = _NUMBER.match(self.text, self.at)
        if found is None:
            raise self.expected(what, "write a whole number")
        self.at = found.end()
        self._skip()
        return int(found.group())

    def place(self) -> tuple[Place, int]:
        """`file:line`, `file:line:column`, `file:line-last`; the last line, 0 if none is said."""
        remedy = "write file:line, such as app.js:12"
        file = self._token(_FILE, "a file and a line", remedy)
        if not self.take(":"):
            raise self.expected("`:` and a line", remedy)
        line = self.number("a line")
        column = self.number("a column") if self.take(":") else 1
        last = self.number("the last line") if self.take("-") else 0
        return Place(file, line, column), last

    def end(self, expected: str) -> None:
        if not self.done():
            raise self.expected(expected, "remove the rest of the line, or see docs/LANGUAGE.md for what may follow")


def shown_word(text: str) -> str:
    """As it is, or in quotes where it would be read otherwise."""
    return text if _is_bare(_BARE, text) else quoted(text)


def shown_path(text: str) -> str:
    return text if _is_bare(_PATH, text) else quoted(text)


def shown_prose(text: str) -> str:
    plain = text.isprintable() and text.strip() == text and text and not text.startswith('"')
    return text if plain else quoted(text)


def shown_names(names: Iterable[str], brackets: str) -> str:
    return f"{brackets[0]}{', '.join(shown_word(name) for name in names)}{brackets[1]}"


def shown_place(place: Place, last: int = 0) -> str:
    file = place.file if _is_bare(_FILE, place.file) else quoted(place.file)
    column = f":{place.column}" if place.column != 1 else ""
    return f"{file}:{place.line}{column}{f'-{last}' if last else ''}"


def _is_bare(pattern: re.Pattern[str], text: str) -> bool:
    if text in RESERVED or text.startswith("#") or not text.isprintable():
        return False
    return pattern.fullmatch(text) is not None


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())

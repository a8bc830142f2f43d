"""Each example of regular code, printed in the fluxional language, edited by hand as far as a message goes, and made a
bundle again."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compile import compile_source, emit
from compiler.flx.parsing import formatted, parse
from compiler.flx.printing import show
from compiler.flx.read import read
from compiler.flx.words import FlxError
from liquefy.graphfile import read_with_code

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCES = [EXAMPLES / "guestbook-py/app.py", EXAMPLES / "guestbook-js/app.js"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.parent.name)
def test_what_is_compiled_is_printed_edited_and_emitted(source: Path, tmp_path: Path) -> None:
    program = compile_source(source)
    text = show(program)
    assert parse(text) == program
    assert formatted(text) == text
    for name, edited in (("same", text), ("renamed", text.replace("regular", "frequent"))):
        file, out = tmp_path / f"{name}.flx", tmp_path / name
        file.write_text(edited)
        again = read(file)
        out.mkdir()
        emit(again, out)
        assert [g.name for g in again.groups] == [g.name for g in program.groups]
        assert read_with_code(out / "graph.yaml").name == program.name
        emitted = "".join(file.read_text() for file in out.iterdir() if file.suffix in (".py", ".js", ".mjs"))
        emitted += "".join(file.read_text() for file in out.glob("liquid_parts/*.py"))
        assert ("frequent" in emitted, "regular" in emitted) == (name == "renamed", name == "same")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.parent.name)
def test_the_dictionary_has_a_context_for_each_user(source: Path) -> None:
    program = compile_source(source)
    (books,) = [group for group in program.groups if group.variables]
    assert (books.keeping, books.variables) == ("keyed", ("app.books",))
    assert not program.kept


def test_the_document_shows_the_streams_as_they_are() -> None:
    streams = "\n".join(compile_source(SOURCES[0]).streams())
    assert f"```\n{streams}\n```" in (EXAMPLES.parent / "README.md").read_text()
    assert f"```\n{streams}\n```" in (EXAMPLES / "guestbook-py/README.md").read_text()


def test_half_a_renaming_in_a_handler_that_was_cut_is_refused(tmp_path: Path) -> None:
    text = show(compile_source(SOURCES[0]))
    file = tmp_path / "half.flx"
    file.write_text(text.replace("notes, regular]", "notes, frequent]", 1))
    with pytest.raises(FlxError, match="'local_process' sends frequent to 'call_external_db' and gives it no value"):
        read(file)

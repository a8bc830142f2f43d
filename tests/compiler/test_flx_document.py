"""docs/LANGUAGE.md says what is so: its examples are read, formatted, and make sense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.flx.parsing import formatted
from compiler.flx.read import read

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```flx\n(.*?)```", (ROOT / "docs/LANGUAGE.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_as_it_is_printed_and_makes_sense(text: str, tmp_path: Path) -> None:
    assert formatted(text) == text
    file = tmp_path / "a.flx"
    file.write_text(text)
    assert read(file).streams()


def test_the_first_is_the_one_in_the_examples() -> None:
    file = (ROOT / "examples/visits-flx/visits.flx").read_text()
    assert file.partition("\n")[2] == EXAMPLES[0]
    assert formatted(file) == file

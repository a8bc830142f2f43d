"""Places of a text with holes and of the same text filled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compiler.holes import cut_from, fill, unfilled

pieces = st.text(alphabet="ab\n ", max_size=6)


@given(st.lists(pieces, min_size=1, max_size=5), st.lists(pieces, min_size=4, max_size=4), st.data())
def test_what_stands_outside_is_found_again(between: list[str], texts: list[str], data: st.DataObject) -> None:
    bodies = {f"h{i}": text for i, text in enumerate(texts)}
    holed = between[0] + "".join(f"⟪h{i}⟫{text}" for i, text in enumerate(between[1:]))
    filled = fill(holed, bodies)
    position = data.draw(st.integers(0, len(filled)))
    found = unfilled(holed, bodies, position)
    if found is not None:
        assert len(fill(holed[:found], bodies)) == position
        assert holed[found : found + 1] in ("⟪", filled[position : position + 1])


ORIGINAL = "one(a => {\n  first;\n  second;\n});\ntwo(b => {\n  third;\n});\nthree();\n"
HOLED = "one(a => {\n  ⟪x⟫\n  ⟪y⟫\n});\ntwo(b => {\n  ⟪z⟫\n});\nthree();\n"


def test_places_hold_whatever_fills_the_holes() -> None:
    for word in ("one", "two", "three", "a =>", "});\ntwo"):
        found = cut_from(HOLED, ORIGINAL, ORIGINAL.index(word))
        assert found == HOLED.index(word), word
    for word in ("first", "second", "third"):
        assert cut_from(HOLED, ORIGINAL, ORIGINAL.index(word)) is None
    assert cut_from(ORIGINAL, ORIGINAL, 3) == 3

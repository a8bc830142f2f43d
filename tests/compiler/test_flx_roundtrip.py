"""Any Program can be printed as `.flx` and read again; any `.flx` that can be read is formatted as its Program is
printed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.facts import NOWHERE, Place
from compiler.flx.parsing import formatted, parse, parse_all
from compiler.flx.printing import show
from compiler.flx.words import FlxErrors
from compiler.program import Entry, Fluxion, Group, Keeping, Kept, Program, Role, Sort, Sorted, Stream

WORDS = ["a", "b", "store", "app.todos", "app.makeStore.items", "at", "in", "&", ">>", "->", "by", "waits", "#x", "{i}"]
PIECES = ["\n", "  ", "    ", "\t", "\r", '"', "⟪store⟫", "{", "#", "end", "flx a", "service x", "file x", "\x00", "é"]
words = st.sampled_from(WORDS) | st.text(max_size=8)
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=8).map("".join)
prose = st.text(max_size=20) | st.sampled_from(["it is written by every request", ' "x"', '"x', "# no comment"])
numbers = st.integers(0, 99_999)
places = st.just(NOWHERE) | st.builds(Place, words, numbers, numbers)
names = st.lists(words, max_size=3).map(tuple)
wheres = words | st.builds("{} >> {}".format, words, words)
entries = st.builds(Entry, st.sampled_from(["GET", "*", "M-SEARCH", "get", "", "FOO BAR"]) | words, words, prose)
streams = st.builds(Stream, words, names, st.booleans())
fluxions = st.builds(
    Fluxion,
    words,
    st.sampled_from(Role),
    words,
    texts,
    names,
    names,
    st.just("") | words,
    st.sampled_from(["", "int"]) | words,
    st.lists(entries, max_size=2).map(tuple),
    st.lists(streams, max_size=2).map(tuple),
    st.booleans(),
    st.just("") | words,
    places,
    numbers,
)
groups = st.builds(Group, words, st.sampled_from(Keeping), names, prose)
kepts = st.builds(Kept, words, prose, places, prose, st.lists(places, max_size=2).map(tuple))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    parts = draw(st.lists(fluxions, max_size=4))
    said = draw(st.lists(groups, max_size=3, unique_by=lambda group: group.name))
    known = {group.name for group in said}
    # Each group that a fluxion names is among the groups, as the front ends take care of.
    missing = [f.group for f in parts if f.group not in known]
    others = {name: Group(name, draw(st.sampled_from(Keeping)), draw(names)) for name in missing}
    return Program(
        *(draw(words) for _ in range(4)),
        tuple(parts),
        tuple(draw(st.permutations([*said, *others.values()]))),
        tuple(draw(st.lists(st.builds(Sorted, words, st.sampled_from(Sort), wheres, places, prose), max_size=2))),
        tuple(draw(st.lists(kepts, max_size=2))),
        draw(st.dictionaries(words, texts, max_size=2)),
        draw(names),
        draw(words),
        draw(names),
        draw(words),
    )


@given(programs())
@settings(max_examples=150, deadline=None)
def test_what_is_printed_is_read_as_the_same(program: Program) -> None:
    text = show(program)
    assert parse(text) == program
    assert formatted(text) == text


@given(programs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_comments_stay_above_what_they_stand_above(program: Program, chance: st.DrawFn) -> None:
    anchors = list(parse_all(show(program)).lines)
    comments = {anchor: ["# one", "# two"] for anchor in anchors if chance.random() < 0.3}  # type: ignore[attr-defined]
    text = show(program, comments)
    parsed = parse_all(text)
    assert parsed.program == program
    assert parsed.comments == comments
    assert formatted(text) == text


def test_positions_do_not_matter_but_the_order_of_like_things() -> None:
    text = "service a\nflx one\n-> two\n"
    program = parse(text.replace("\n->", "\n   ->"))
    assert parse(formatted(text.replace("\n->", "\n ->"))) == program


@pytest.mark.parametrize("shape", [Program, Fluxion, Group, Stream, Entry, Sorted, Kept, Place])
def test_each_part_of_a_program_is_tried(shape: type) -> None:
    """One that is new is to be printed and read, too: this says so to whoever adds it."""
    known = {
        Program: "name language framework entry fluxions groups variables kept files assets folder env app",
        Fluxion: "name role group body reads context key key_convert entries streams waits unit place last_line",
        Group: "name keeping variables why",
        Stream: "to variables starts",
        Entry: "method path route",
        Sorted: "name sort where place why",
        Kept: "what why place remedy also",
        Place: "file line column",
    }
    assert [field.name for field in dataclasses.fields(shape)] == known[shape].split()


_TOKENS = """
service a b language python flx group keyed whole none {x} {x,y} [x] & by GET /{id} via -> >> output reads from x.py:3
unit step end waits newlines 2 kept scope in at why remedy assets file # "ab" " x = 1 ,
"""
TOKENS = _TOKENS.split()
lines = st.builds(
    lambda indent, tokens: " " * indent + " ".join(tokens),
    st.sampled_from([0, 0, 2, 2, 4, 6]),
    st.lists(st.sampled_from(TOKENS), max_size=5),
)


@given(st.lists(lines | st.text(max_size=10), max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_with_a_place(parts: list[str]) -> None:
    text = "\n".join(["service a", *parts])
    try:
        program = parse(text)
    except FlxErrors as refused:
        placed = [error.line > 0 and error.column > 0 for error in refused.errors]
    else:
        again = formatted(text)
        assert formatted(again) == again
        assert parse(again) == program
        placed = []
    assert all(placed)

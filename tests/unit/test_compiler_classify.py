"""Facts to groups: what is one group, how it is kept, by which key, and what the reason says."""

from __future__ import annotations

from compiler.classify import Classified, classify
from compiler.facts import Call, Facts, Harm, Hazard, Initial, KeyOf, Mode, Place, Start, Unit, Use, Variable
from compiler.holes import cut_out, fill
from compiler.program import Keeping, Sort

ID = KeyOf("request", ("params", "id"), "", "req.params.id")


def at(line: int) -> Place:
    return Place("app.js", line)


def variable(name: str, initial: Initial = Initial.VALUE) -> Variable:
    return Variable(f"app.{name}", name, at(1), initial)


def unit(name: str, *uses: Use, calls: tuple[Call, ...] = (), hazards: tuple[Hazard, ...] = ()) -> Unit:
    return Unit(f"app.{name}", name, at(10), 12, uses, calls, hazards)


def use(name: str, mode: Mode, key: KeyOf | None = None, line: int = 11) -> Use:
    return Use(f"app.{name}", mode, at(line), key)


def start(name: str) -> Start:
    return Start("GET", f"/{name}/{{id}}", f"app.{name}", at(10), name)


def split(
    variables: list[Variable], units: list[Unit], starts: list[str], everywhere: tuple[str, ...] = ()
) -> Classified:
    return classify(
        Facts(
            "javascript",
            "express",
            "app.js",
            tuple(variables),
            tuple(units),
            tuple(start(name) for name in starts),
            tuple(f"app.{name}" for name in everywhere),
        )
    )


def keepings(found: Classified) -> dict[str, str]:
    kept = {group.name: group.keeping.value for group in found.groups}
    return {part.name: f"{part.group} {kept[part.group]} {part.key}".strip() for part in (*found.parts, found.app)}


def test_what_nobody_changes_is_no_state() -> None:
    found = split([variable("table")], [unit("a", use("table", Mode.WALK))], ["a"])
    assert keepings(found) == {"a": "a none", "app": "app none"}


def test_what_was_made_once_is_state_even_if_only_read() -> None:
    found = split([variable("secret", Initial.ONCE)], [unit("a", use("secret", Mode.READ))], ["a"])
    assert keepings(found)["a"] == "a whole"


def test_an_entry_per_part_of_the_request_is_keyed() -> None:
    units = [unit("a", use("users", Mode.WRITE, ID)), unit("b", use("users", Mode.READ, ID)), unit("c")]
    found = split([variable("users")], units, ["a", "b", "c"])
    keyed = "users keyed params.id"
    assert keepings(found) == {"a": keyed, "b": keyed, "c": "c none", "app": "app none"}
    assert [(v.name, v.sort) for v in found.variables] == [("app.users", Sort.SHARE)]


def test_a_listing_makes_it_one_context_and_says_which_line() -> None:
    units = [unit("a", use("users", Mode.WRITE, ID)), unit("b", use("users", Mode.WALK, line=40))]
    found = split([variable("users")], units, ["a", "b"])
    assert keepings(found)["a"] == "users whole"
    assert [(k.place.line, k.why) for k in found.kept] == [(40, "line 40 goes through all of users")]


def test_all_that_is_against_a_key_is_told_by_variable() -> None:
    uses = [
        use("items", Mode.WRITE, ID), use("items", Mode.WALK, line=20), use("total", Mode.WRITE, line=21),
        use("items", Mode.READ, line=22), use("total", Mode.READ, line=21), use("items", Mode.READ, ID, line=23),
    ]  # fmt: skip
    found = split([variable("items"), variable("total")], [unit("put", *uses)], ["put"])
    assert [(kept.why, kept.also) for kept in found.kept] == [
        ("line 20 goes through all of items", (at(22),)),
        ("line 21 writes total without a key of the request", ()),
    ]
    assert found.groups[0].why == found.kept[0].why


def test_a_key_is_followed_through_a_call() -> None:
    put = unit("put", use("users", Mode.WRITE, KeyOf("user", ("name",), "", "user.name")))
    body = KeyOf("request", ("body",))
    handler = unit("a", calls=(Call("app.put", (("user", body),)),))
    assert keepings(split([variable("users")], [put, handler], ["a"]))["a"] == "a keyed body.name"
    unseen = unit("a", calls=(Call("app.put"),))
    assert keepings(split([variable("users")], [put, unseen], ["a"]))["a"] == "a whole"


def test_two_parts_of_the_request_are_no_key() -> None:
    other = KeyOf("request", ("query", "id"))
    units = [unit("a", use("users", Mode.WRITE, ID), use("users", Mode.READ, other))]
    assert keepings(split([variable("users")], units, ["a"]))["a"] == "a whole"
    number = KeyOf("request", ("params", "id"), "int")
    units = [unit("a", use("users", Mode.WRITE, ID)), unit("b", use("users", Mode.READ, number))]
    assert keepings(split([variable("users")], units, ["a", "b"]))["a"] == "users whole"


def test_what_cannot_be_seen_pins_its_group_alone() -> None:
    units = [unit("a", use("cache", Mode.READ)), unit("b", use("n", Mode.WRITE))]
    found = split([variable("cache", Initial.OPAQUE), variable("n")], units, ["a", "b"])
    assert keepings(found) == {"a": "a pinned", "b": "b whole", "app": "app none"}


def test_a_reason_that_comes_again_says_where() -> None:
    files = tuple(Hazard(Harm.LOCAL, "writes a file", at(line)) for line in (11, 14, 12))
    (reason,) = split([], [unit("a", hazards=files)], ["a"]).kept
    assert reason.why == "line 11 writes a file (and 2 more)"
    assert reason.also == (at(12), at(14))


def test_files_are_shared_with_all_that_may_serve_them() -> None:
    hazard = Hazard(Harm.LOCAL, "writes the file x", at(11))
    found = split([], [unit("a", hazards=(hazard,)), unit("b", hazards=(hazard,)), unit("c")], ["a", "b", "c"])
    assert keepings(found) == {"a": "app pinned", "b": "app pinned", "c": "c none", "app": "app pinned"}


def test_what_every_request_runs_through_keeps_all_together() -> None:
    units = [unit("count", use("n", Mode.WRITE)), unit("a"), unit("b")]
    found = split([variable("n")], units, ["a", "b"], ("count",))
    assert keepings(found) == {"a": "app whole", "b": "app whole", "app": "app whole"}


def test_a_call_of_what_was_not_read_is_pinned() -> None:
    assert keepings(split([], [unit("a", calls=(Call("lib.f"),))], ["a"]))["a"] == "a pinned"


def test_dynamic_code_keeps_everything_in_one_place() -> None:
    units = [unit("a", hazards=(Hazard(Harm.DYNAMIC, "calls eval", at(11)),)), unit("b")]
    found = split([], units, ["a", "b"])
    assert [(group.name, group.keeping) for group in found.groups] == [("app", Keeping.PINNED)]


def test_a_body_comes_back_as_it_was() -> None:
    text = "def f():\n    a = 1\n\n    if a:\n        return\nx = 1\n"
    start, end = text.index("a = 1"), text.index("\nx")
    found = cut_out(text, start, end, "f")
    assert found == ("def f():\n    ⟪f⟫\nx = 1\n", "a = 1\n\nif a:\n    return")
    assert fill(found[0], {"f": found[1]}) == text


def test_a_body_with_a_text_that_stands_further_left_is_not_cut() -> None:
    text = 'def f():\n    a = """\nx\n    """\n'
    assert cut_out(text, text.index("a ="), len(text) - 1, "f") is None

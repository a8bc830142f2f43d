"""Which input a request is for."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routes import Match, NoMatch, Router
from liquefy.graph import Fluxion, Graph, Group, Input


def graph(name: str, *routes: str) -> Graph:
    inputs = []
    for i, route in enumerate(routes):
        method, _, path = route.partition(" ")
        inputs.append(Input(f"{i}", method, path, "f"))
    fluxion = Fluxion("f", "m:f", "f", "params.id")
    return Graph(name, 1, "", tuple(inputs), (fluxion,), (Group("f", True, 4),))


def found(router: Router, method: str, path: str) -> tuple[str, dict[str, str]] | int:
    match = router.match(method, path)
    if isinstance(match, NoMatch):
        return match.status
    return f"{match.entry.graph}/{match.entry.input}", match.params


def test_before_the_graphs_are_known_nothing_is_said_not_to_exist() -> None:
    assert found(Router(), "GET", "/nothing") == 503
    assert found(Router([]), "GET", "/nothing") == 404


def test_an_entry_knows_where_requests_go() -> None:
    match = Router([graph("g", "GET /{id}")]).match("GET", "/alice")
    assert isinstance(match, Match)
    assert match.entry._asdict() == {
        "graph": "g",
        "input": "0",
        "fluxion": "f",
        "places": ("g/f/0", "g/f/1", "g/f/2", "g/f/3"),
        "key": ("params", "id"),
        "stateful": True,
        "deadline_ms": 30_000,
        "raw": False,
    }


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", ("g/0", {})),
        ("GET", "/users", ("g/1", {})),
        ("GET", "/users/", 404),
        ("GET", "/users/7", ("g/2", {"id": "7"})),
        ("HEAD", "/users/7", ("g/2", {"id": "7"})),
        ("GET", "/users/me", ("g/3", {})),
        ("POST", "/users/me", ("g/4", {"id": "me"})),
        ("DELETE", "/users/me", 405),
        ("GET", "/users/a%2Fb", ("g/2", {"id": "a/b"})),
        ("GET", "/users/%6De", ("g/3", {})),
        ("GET", "/users/%C3%A9", ("g/2", {"id": "é"})),
        ("GET", "/users/%FF", 400),
        ("GET", "/users/100%", ("g/2", {"id": "100%"})),
        ("GET", "/users/me/orders", ("g/5", {"who": "me"})),
        ("GET", "/users/7/orders", ("g/5", {"who": "7"})),
        ("GET", "/files/", ("g/6", {"rest": ""})),
        ("GET", "/files/a/b%2Fc", ("g/6", {"rest": "a/b/c"})),
        ("GET", "/files", 404),
        ("PATCH", "/any", ("g/7", {})),
        ("OPTIONS", "/any", ("g/7", {})),
        ("GET", "//", 404),
        ("GET", "", 404),
        ("GET", "/nothing/at/all", 404),
    ],
)
def test_matching(method: str, path: str, expected: object) -> None:
    router = Router(
        [
            graph(
                "g",
                "GET /",
                "GET /users",
                "GET /users/{id}",
                "GET /users/me",
                "POST /users/{id}",
                "GET /users/{who}/orders",
                "GET /files/{rest...}",
                "* /any",
            )
        ]
    )
    assert found(router, method, path) == expected


def test_what_is_allowed_is_said() -> None:
    router = Router([graph("g", "GET /a", "PUT /{x}")])
    match = router.match("DELETE", "/a")
    assert isinstance(match, NoMatch)
    assert match.allow == ("GET", "HEAD", "OPTIONS", "PUT")


def test_head_has_its_own_route_if_there_is_one() -> None:
    router = Router([graph("g", "GET /a", "HEAD /a")])
    assert found(router, "HEAD", "/a") == ("g/1", {})


def test_graphs_stand_side_by_side_and_conflicts_are_told() -> None:
    router = Router([graph("b", "GET /b/{x}", "GET /a/{x}", "GET /-/health"), graph("a", "GET /a/{y}")])
    assert found(router, "GET", "/a/1") == ("a/0", {"y": "1"})
    assert found(router, "GET", "/b/1") == ("b/0", {"x": "1"})
    assert router.conflicts == [
        "b/1 (GET /a/{x}): the same requests go to a/0",
        "b/2 (GET /-/health): paths below /-/ are the gateway's own",
    ]


segments = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@given(st.lists(segments, min_size=1, max_size=5))
def test_parameters_come_back_as_they_were(values: list[str]) -> None:
    template = "".join(f"/p/{{v{i}}}" for i in range(len(values)))
    path = "".join(f"/p/{quote(v, safe='')}" for v in values)
    expected = {f"v{i}": v for i, v in enumerate(values)}
    assert found(Router([graph("g", f"GET {template}")]), "GET", path) == ("g/0", expected)


parts = st.sampled_from(["a", "b", "{x}", "{y}"])
templates = st.lists(st.lists(parts, min_size=1, max_size=4).map(lambda p: "/" + "/".join(p)), max_size=8)


def fits(template: str, path: str) -> bool:
    pattern, values = template.split("/"), path.split("/")
    return len(pattern) == len(values) and all(
        p == v or p[:1] == "{" for p, v in zip(pattern, values, strict=True)
    )


@given(templates, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
def test_the_most_literal_of_all_that_fit_is_found(all_templates: list[str], values: list[str]) -> None:
    path = "/" + "/".join(values)
    router = Router([graph("g", *(f"GET {t}" for t in all_templates))])
    fitting = [t for t in all_templates if fits(t, path)]
    match = found(router, "GET", path)
    if not fitting:
        assert match == 404
        return
    assert isinstance(match, tuple)
    taken = all_templates[int(match[0].removeprefix("g/"))]
    literal = [[s[0] == "{" for s in t.split("/")[1:]] for t in fitting]
    assert [s[0] == "{" for s in taken.split("/")[1:]] == min(literal)


@given(st.text(max_size=30))
def test_no_path_breaks_it(path: str) -> None:
    Router([graph("g", "GET /{a}/{b...}", "GET /x/{b}", "* /")]).match("GET", "/" + path)

"""Records of requests are compared request by request."""

from __future__ import annotations

from comparing import compare

RECORD = "> GET /\n< 200\ncontent-type: text/plain\nhello\n> GET /a\n< 404\n\n"


def test_the_same() -> None:
    assert compare(RECORD, RECORD.rstrip() + "\n\n") is None


def test_where_they_first_differ() -> None:
    found = compare(RECORD, RECORD.replace("< 404", "< 500"))
    assert found is not None
    assert (found.requests, found.of, found.first) == (1, 2, "2: GET /a")
    assert "-< 404\n+< 500" in found.text


def test_what_another_client_saw_is_told_from_what_was_answered() -> None:
    seen = compare(RECORD + "a hi", RECORD + "refused")
    assert seen is not None
    assert seen.answered
    for other in (RECORD.replace("< 404", "< 501"), RECORD.replace("text/plain", "text/html"), "> GET /\n< 200\n"):
        found = compare(RECORD + "a hi", other)
        assert found is not None
        assert not found.answered


def test_an_answer_that_is_missing_differs() -> None:
    found = compare(RECORD, RECORD.partition("> GET /a")[0])
    assert found is not None
    assert found.requests == 1
    assert "(no answer)" in found.text

"""What the controller keeps of what others tell it has a size, and is fit to be shown."""

from __future__ import annotations

from controller.journal import Journal
from liquefy.decoding import LINE_CHARS_MAX
from liquefy.effects import Log
from liquefy.messages import LogLine


def test_what_is_kept_of_a_line_and_of_an_event_is_bounded() -> None:
    journal = Journal("controller", 10, 10)
    long = "\x1b" + "A" * 2**20
    answers = journal.read(b"client", 1, "logs", 0, True, "", False)
    answers = journal.told(LogLine(1.0, "info", "node1", long))
    answers += journal.logged(Log("error", long, "refused", {"error": long, "partitions": 3}), 2_000)
    lines = [answer.reply.item for answer in answers]
    assert [line["source"] for line in lines] == ["node1", "controller"]
    (event,) = [answer.reply.item for answer in journal.read(b"client", 2, "events", 10, False, "", False)[:-1]]
    assert event["fields"]["partitions"] == 3
    for text in (lines[0]["text"], lines[1]["text"], event["text"], event["fields"]["error"]):
        assert len(text) <= LINE_CHARS_MAX
        assert text.startswith("\\x1bAAA")

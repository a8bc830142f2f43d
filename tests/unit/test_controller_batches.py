"""One line for moves that were decided together; a line for each of them for those who ask."""

from __future__ import annotations

from typing import Any

from controller.batches import Batch
from controller.migration import Migration, Stage, results
from tests.unit.controller_world import cluster


def moved(batch: Batch, partition: str, source: str, pause_us: int = 0, held: int = 0, error: str = "") -> None:
    move = Migration(partition, source, "node3", "why", batch)
    move.stage, move.epoch = (Stage.FAILED if error else Stage.DONE), 1
    move.pause_us, move.held, move.error = pause_us, held, error
    batch.moves.append(move)


def test_a_batch_is_told_in_one_line() -> None:
    batch = Batch("asked for by a person")
    for i in range(100):
        moved(batch, f"visits/store/{i}", f"node{1 + i % 2}", pause_us=1000 * (i + 1), held=1)
    level, text, fields = batch.told(70) or ("", "", {})
    assert (level, text) == (
        "info",
        "moved 100 partitions of visits/store from node1 (50) and node2 (50) to node3 in 70 ms; "
        "pause of the 100 partitions that were waited for: "
        "p50 51.0, p99 100.0, max 100.0 ms, 100 messages held (asked for by a person)",
    )
    assert fields["held"] == 100


def test_partitions_that_nobody_waited_for_do_not_make_the_pauses_of_the_others_look_short() -> None:
    batch = Batch("asked for by a person")
    for i in range(98):
        moved(batch, f"visits/store/{i}", "node1")
    moved(batch, "visits/store/98", "node1", pause_us=9_000, held=3)
    moved(batch, "visits/store/99", "node1", held=1)  # too short to be measured
    _, text, fields = batch.told(70) or ("", "", {})
    assert "pause of the 2 partitions that were waited for: p50 9.0, p99 9.0, max 9.0 ms, 4 messages held" in text
    result = results(batch.moves, 0.07)
    for told in (fields, result):
        assert (told["paused"], told["pause_ms"]) == (2, {"p50": 9.0, "p99": 9.0, "max": 9.0})
    batch.moves = batch.moves[:98]
    assert "in 70 ms; nobody waited for one of them (asked" in (batch.told(70) or ("", ""))[1]


def test_what_failed_is_a_warning_with_its_reason() -> None:
    batch = Batch("node1 is being emptied")
    moved(batch, "visits/store/1", "node1", pause_us=400, held=1)
    moved(batch, "visits/store/2", "node1", error="node3 is gone")
    assert (batch.told(5) or ())[:2] == (
        "warning",
        "moved visits/store/1 from node1 to node3 in 5 ms, pause 0.4 ms, 1 message held; "
        "not moved: visits/store/2 from node1 to node3: node3 is gone (node1 is being emptied)",
    )


def test_a_batch_that_found_all_in_place_says_nothing() -> None:
    batch = Batch("asked for by a person")
    assert batch.told(5) is None


def test_a_command_of_many_moves_is_one_line_of_the_log_and_one_event_each_for_programs() -> None:
    world = cluster(3)
    everything = world.ask("events", follow=True, last=0)
    for_people = world.ask("events", follow=True, last=0, detail=False)
    logs = world.ask("logs", follow=True, last=0)
    result = world.result("migrate", what="store", node="node3")

    def items(request: int) -> list[Any]:
        return [reply.item for reply in world.replies if reply.id == request]

    assert result["moved"] > 1
    assert [item["event"] for item in items(everything)] == ["move"] * result["moved"] + ["moved"]
    assert [item["event"] for item in items(for_people)] == ["moved"]
    assert [item["text"].split()[:2] for item in items(logs)] == [["moved", str(result["moved"])]]


def test_the_log_of_somebody_unknown_is_refused() -> None:
    world = cluster(2)
    assert "give one of: controller, node1, node2" in world.error("logs", source="node7", last=5)

"""The store in memory: what is committed, what is refused, what expires."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from liquefy.commits import (
    SEEN_BUCKET_MS,
    ContextChange,
    ContextQuery,
    PartitionCommit,
    PartitionState,
    Placement,
    PlaceRequest,
    Verdict,
)
from liquefy.contexts import Contexts
from liquefy.contexts_memory import MemoryContexts
from liquefy.errors import StoreUnavailable
from liquefy.graph import Fluxion, Graph, Group

P = "visits/store/0"
NOW = 1_800_000_000_000
BUCKET = NOW // SEEN_BUCKET_MS


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryContexts:
    store = MemoryContexts(clock)
    assert store.place_now([PlaceRequest(P, 0, "node1")]) == [Placement(P, "node1", 1)]
    return store


def commit(sequence: int = 0, epoch: int = 1, **parts: Any) -> PartitionCommit:
    empty: dict[str, Any] = {
        "contexts": [], "seen": [], "outbox": [], "acknowledged": [], "dead": [], "replayed": []
    }  # fmt: skip
    return PartitionCommit(P, epoch, sequence, **(empty | parts))


def test_a_commit_is_applied_whole(store: MemoryContexts) -> None:
    change = ContextChange("alice", {"count": b"1", "name": b"A"}, (), created=True)
    done = store.commit_now(
        [commit(contexts=[change], seen=[(BUCKET, b"id")], outbox=[(2, b"b"), (1, b"a")], dead=[(b"d", b"!")])]
    )
    assert done == [Verdict(P, "ok")]
    (answer,) = store.read_now([ContextQuery(P, ("alice", "bob"), ((BUCKET, b"id"), (BUCKET, b"other")))])
    assert answer.contexts == {"alice": {"count": b"1", "name": b"A"}, "bob": {}}
    assert answer.seen == {b"id"}
    assert store.load_now([P]) == [PartitionState(P, "node1", 1, 1, [(1, b"a"), (2, b"b")])]
    assert store.dead_now([P]) == [(P, b"d", b"!")]


def test_the_same_commit_again_changes_nothing(store: MemoryContexts) -> None:
    change = ContextChange("alice", {"count": b"1"}, (), created=True)
    first = commit(contexts=[change], seen=[(BUCKET, b"id")], outbox=[(1, b"a")])
    store.commit_now([first])
    before = store.snapshot(P)
    assert store.commit_now([first]) == [Verdict(P, "ok")]
    assert store.snapshot(P) == before


@pytest.mark.parametrize(
    ("refused", "outcome"),
    [
        (commit(1, epoch=2), "fenced"),
        (commit(1, epoch=0), "fenced"),
        (commit(2), "gap"),
        (commit(-1), "gap"),
        (commit(1, seen=[(BUCKET, b"new"), (BUCKET, b"old")]), "seen"),
    ],
)
def test_a_refused_commit_changes_nothing(store: MemoryContexts, refused: PartitionCommit, outcome: str) -> None:
    store.commit_now([commit(seen=[(BUCKET, b"old")], outbox=[(1, b"a")])])
    before = store.snapshot(P)
    change = ContextChange("alice", {"count": b"1"}, (), created=True)
    (verdict,) = store.commit_now([refused._replace(contexts=[change], acknowledged=[1])])
    assert verdict.outcome == outcome
    assert verdict.duplicates == ((b"old",) if outcome == "seen" else ())
    assert store.snapshot(P) == before


def test_the_owner_counts_besides_the_epoch(store: MemoryContexts) -> None:
    assert store.commit_now([commit()], owner="node2") == [Verdict(P, "fenced")]
    assert store.commit_now([commit()], owner="node1") == [Verdict(P, "ok")]


def test_acknowledged_entries_and_emptied_contexts_go(store: MemoryContexts) -> None:
    change = ContextChange("alice", {"count": b"1", "name": b"A"}, (), created=True)
    store.commit_now([commit(contexts=[change], outbox=[(1, b"a"), (2, b"b")])])
    store.commit_now([commit(1, contexts=[ContextChange("alice", {}, ("name",))], acknowledged=[1])])
    assert store.context_now(P, "alice") == {"count": b"1"}
    store.commit_now([commit(2, contexts=[ContextChange("alice", {}, ("count",), emptied=True)])])
    assert store.context_keys_now(P) == []
    assert store.context_now(P, "alice") == {}
    assert store.load_now([P])[0].outbox == [(2, b"b")]


def test_a_move_fences_its_source_but_not_its_retry(store: MemoryContexts) -> None:
    move = commit(move=("node2", 2), outbox=[(1, b"a")])
    assert store.commit_now([move], "node1") == [Verdict(P, "ok")]
    assert store.placements_now([P]) == [Placement(P, "node2", 2)]
    assert store.commit_now([commit(1)], "node1") == [Verdict(P, "fenced")]
    assert store.commit_now([commit(1, epoch=2)], "node2") == [Verdict(P, "ok")]
    assert store.commit_now([move], "node1") == [Verdict(P, "ok")]
    assert store.load_now([P])[0].sequence == 2


def test_a_failover_to_the_target_is_not_taken_for_the_move(store: MemoryContexts) -> None:
    store.place_now([PlaceRequest(P, 1, "node2")])
    store.commit_now([commit(epoch=2)], "node2")
    assert store.commit_now([commit(move=("node2", 2))], "node1") == [Verdict(P, "fenced")]


def test_placing_compares_the_epoch_and_unplacing_keeps_it(store: MemoryContexts) -> None:
    assert store.place_now([PlaceRequest(P, 0, "node9")]) == [Placement(P, "node1", 1)]
    change = ContextChange("alice", {"count": b"1"}, (), created=True)
    store.commit_now([commit(contexts=[change], outbox=[(1, b"a")], seen=[(BUCKET, b"id")])])
    store.unplace_now([P])
    store.unplace_now([P])
    assert store.load_now([P]) == [PartitionState(P, "", 2, 1, [])]
    assert store.commit_now([commit(1)]) == [Verdict(P, "fenced")]
    assert store.commit_now([commit(1, epoch=2)]) == [Verdict(P, "fenced")]
    assert store.context_now(P, "alice") == {"count": b"1"}
    store.unplace_now([P], purge=True)
    assert store.snapshot(P) == {}


def test_seen_ids_expire_by_bucket(store: MemoryContexts, clock: Clock) -> None:
    store.commit_now([commit(seen=[(BUCKET, b"id")])])
    clock.now = NOW + 300_000
    assert store.commit_now([commit(1, seen=[(BUCKET, b"id")])])[0].outcome == "seen"
    clock.now = (BUCKET + 1) * SEEN_BUCKET_MS + 360_000
    assert store.commit_now([commit(1, seen=[(BUCKET, b"id")])])[0].outcome == "ok"


def test_idempotency_records_expire(store: MemoryContexts, clock: Clock) -> None:
    assert store.idem_begin_now("g", "k", b"1", 10) is None
    assert store.idem_begin_now("g", "k", b"2", 10) == b"1"
    store.idem_end_now("g", "k", b"3", 10)
    assert store.idem_get_now("g", "k") == b"3"
    clock.now += 10_000
    assert store.idem_get_now("g", "k") is None
    assert store.idem_begin_now("g", "k", b"4", 10) is None


def test_a_store_that_is_away_changes_nothing(store: MemoryContexts) -> None:
    store.available = False
    assert not asyncio.run(store.ping())
    for call in (
        lambda: store.commit_now([]),
        lambda: store.load_now([]),
        lambda: store.put_graph_now(Graph("g", 1, "", (), (), ())),
        lambda: store.frozen_now(),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    store.available = True
    assert store.graphs_now() == []


def test_both_stores_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(method)
            for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction)
            if not name.startswith("_")
        }

    assert methods(Contexts) == methods(MemoryContexts)
    for name in methods(MemoryContexts).keys() - {"ping", "close"}:
        core, wrapper = getattr(MemoryContexts, f"{name}_now"), getattr(MemoryContexts, name)
        assert inspect.signature(core) == inspect.signature(wrapper)


def test_bundles_that_neither_a_graph_in_force_nor_the_asker_names_are_dropped() -> None:
    store = MemoryContexts(lambda: 0)
    named, retired, wanted, other = (store.put_bundle_now(code) for code in (b"named", b"retired", b"wanted", b"other"))
    fluxions = (Fluxion("f", "m:f", "g", bundle=named), Fluxion("old", "m:f", "g", bundle=retired, retired=True))
    store.put_graph_now(Graph("a", 1, named, (), fluxions, (Group("g", False, 1),)))
    store.drop_bundles_now([wanted])
    assert [store.bundle_now(sha) for sha in (named, retired, wanted)] == [b"named", b"retired", b"wanted"]
    assert store.bundle_now(other) is None

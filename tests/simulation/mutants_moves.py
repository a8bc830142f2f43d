"""More classic bugs, as in `mutants`: of migrations, delayed messages, admission, and a store that loses commits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controller.placing import Placing
from controller.recovering import Recovering
from gateway.pending import GatewayState
from liquefy.contexts_memory import MemoryContexts
from liquefy.messages import decode_message
from worker import flow as worker_flow
from worker.flow import Flow
from worker.ownership import Ownership

Patch = Callable[[Any, str, Any], None]


def dedupe_dropped_on_handover(patch: Patch) -> None:
    """A partition's next owner does not know what its last one has handled."""
    real = MemoryContexts._apply

    def apply(self: Any, stored: Any, commit: Any) -> None:
        real(self, stored, commit)
        if commit.move is not None:
            stored.seen.clear()

    patch(MemoryContexts, "_apply", apply)


def handed_over_before_dirty_contexts(patch: Patch) -> None:
    """The last commit of a migration's source leaves the contexts out that were changed last."""
    real = worker_flow.build

    def build(partition: Any, graph: Any, now_ms: int) -> Any:
        built = real(partition, graph, now_ms)
        return built if built.commit.move is None else built._replace(commit=built.commit._replace(contexts=[]))

    patch(worker_flow, "build", build)


def delayed_forgotten(patch: Patch) -> None:
    """The new owner of a partition sends what is due in its outbox, and forgets what is not."""
    real = Ownership._send_again

    def send_again(self: Any, partition: Any, seq: int, packed: bytes) -> None:
        if decode_message(packed).due_ms <= self._flow.now_ms:
            real(self, partition, seq, packed)

    patch(Ownership, "_send_again", send_again)


def delayed_sent_at_once(patch: Patch) -> None:
    patch(Flow, "delay", lambda self, partition, outbox, message: self.send_outbox(partition, outbox, message))


def windows_ignored(patch: Patch) -> None:
    """A gateway lets everybody in."""
    real = GatewayState._admit

    def admit(self: Any, event: Any, root: bytes, key: str, now_ms: int) -> Any:
        outstanding, self._outstanding = self._outstanding, {}
        admitted = real(self, event, root, key, now_ms)
        for node, count in outstanding.items():
            self._outstanding[node] = self._outstanding.get(node, 0) + count
        return admitted

    patch(GatewayState, "_admit", admit)


def given_up_too_late(patch: Patch) -> None:
    """A source gives a move up although its last commit is on its way."""
    real = Ownership.abort

    def abort(self: Any, name: str, epoch: int, why: str, release: bool = True) -> None:
        partition = self._moving.get(name)
        if partition is not None and partition.move is not None:
            partition.move.committing = False
        real(self, name, epoch, why, release)

    patch(Ownership, "abort", abort)


def lost_epochs_given_again(patch: Patch) -> None:
    """After a loss the store's word is taken for all there was."""
    patch(Placing, "heard", lambda self, partition, epoch: None)


def losses_not_noticed(patch: Patch) -> None:
    """Nobody looks whether a store that was away has all that it had."""
    patch(Recovering, "store_back", lambda self: None)


MUTANTS = [
    dedupe_dropped_on_handover, handed_over_before_dirty_contexts, delayed_forgotten, delayed_sent_at_once,
    windows_ignored, given_up_too_late, lost_epochs_given_again, losses_not_noticed,
]  # fmt: skip

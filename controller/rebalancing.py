"""When to rebalance: looks at the plan now and then, waits until it can be believed, carries it out, and says what it
brought. What to move is `balance`'s to say, how is `migration`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from controller import balance, outcomes
from controller.balance import Plan, Step
from controller.batches import Batch
from controller.desk import Desk
from controller.migration import Migration, Migrations, results
from controller.placing import Placing
from liquefy.errors import UserError

SETTLE_MS = 2_000
"""After a round of moves, so much is measured before the next is thought of."""

LOOKS = ((4.0, 2), (2.0, 2), (1.3, 3), (0.0, 45))
"""How often in a row the same node must be found too high before anything is moved: (bands above the mean, looks).
Noise of the measurement looks like a small imbalance, but does not last: not for three times the time constant of what
is looked at (`measuring.STEADY_TAU_MS`)."""

CLEAR_BANDS = 4.0
MEASURED_MS = 6_000
"""What is less clear than that is not acted upon before the load has been the same for so long: averages of a short
time are off by chance."""

SAME_MS = 30_000
SAME_LOOKS = 15
"""Nor is there a hurry once the load has been the same for so long: what is not clear then must be found so often. What
no partition accounts for is an average of a short time (`measuring.TAU_MS`), whose chance lasts for some looks."""

CALM_LOOKS = 4
"""The same for moves that no load demands."""

RETRY_MS = 5_000
"""A move that a drain or a pin demands, and that failed, is tried again after this."""

HOT_LOG_MS = 60_000
"""That a partition is too hot is said so often."""

DRAIN_MS = 120_000
"""A drain that takes longer is answered with what is left; it goes on."""

STAY_TOLD_MAX = 5
"""So many partitions that a drain could not move are told with the reason."""

Done = Callable[[dict[str, Any]], None]


class _Drain(NamedTuple):
    node: str
    began_ms: int
    owned: int
    done: Done


class _Round(NamedTuple):
    plan: Plan
    moves: list[Migration]
    began_ms: int
    done: Done | None


class Rebalancing:
    def __init__(self, desk: Desk, placing: Placing, migrations: Migrations) -> None:
        self._desk = desk
        self._cluster = desk.cluster
        self._placing = placing
        self._migrations = migrations
        self._look_ms = 0
        self._quiet_until_ms = 0
        self._looks = 0
        self._top = ""
        self._round: _Round | None = None
        self._outcome: _Round | None = None
        self._retry_ms: dict[str, int] = {}
        self._hot_ms: dict[str, int] = {}
        self._drains: list[_Drain] = []

    def settle(self) -> None:
        """Something changed: measure anew before anything is moved."""
        self._looks = 0
        self._quiet_until_ms = max(self._quiet_until_ms, self._desk.now_ms + SETTLE_MS)

    def advance(self) -> None:
        """Called often; looks every `balance_interval_ms`."""
        now_ms = self._desk.now_ms
        self._answer_drains()
        if not self._desk.settled or now_ms < self._look_ms + self._desk.config.balance_interval_ms:
            return
        self._look_ms = now_ms
        if not self._cluster.where:
            return
        self._look(self.plan())

    def plan(self) -> Plan:
        config = self._desk.config
        limits = balance.Limits(config.balance_band, config.balance_load_min, config.balance_moves_max)
        busy = self._migrations.partitions() | self._placing.homeless.keys()
        return balance.plan(self._placing.view(), busy, limits, self._desk.now_ms)

    def required(self) -> None:
        """Begin at once what drains and pins demand."""
        if self._desk.settled:
            self._require(self.plan().required)

    def check_free(self) -> None:
        """Raises UserError while a round is carried out, whoever began it: two at a time would each spoil what the
        other expects."""
        current = self._round
        if current is not None:
            made = sum(move.ended for move in current.moves)
            who = "by itself" if current.done is None else "asked for by a person"
            raise UserError(
                f"already rebalancing ({who}): {made} of {len(current.moves)} moves are over\n"
                "  remedy: wait for it, and see `liquefy-ctl events`; then ask again"
            )

    def run(self, plan: Plan, done: Done | None = None) -> None:
        """Carry the plan's moves out; `done` gets their results. Raises UserError as `check_free`."""
        self.check_free()
        if self._outcome is not None:
            self._tell_outcome(plan)
        moves: list[Migration] = []
        self._round = _Round(plan, moves, self._desk.now_ms, done)
        self._looks = 0
        fields: dict[str, Any] = {"moves": [outcomes.as_fields(step) for step in plan.moves], "highest": plan.highest}
        fields |= {"expected": plan.expected, "mean": plan.mean, "aim": outcomes.expected(plan)}
        self._desk.log("info", outcomes.decided(plan), "rebalance", **fields)
        batch = Batch("rebalancing")
        for step in plan.moves:
            moves.append(self._migrations.add(step.partition, step.target, step.reason, batch, self._ended))

    def drain(self, node: str, done: Done) -> None:
        """Answer when the node, drained from now on, is empty."""
        count = len(self._cluster.owned.get(node, ()))
        self._drains.append(_Drain(node, self._desk.now_ms, count, done))
        self.required()

    # -- looking -------------------------------------------------------------------------------------------

    def _look(self, plan: Plan) -> None:
        now_ms = self._desk.now_ms
        self._require(plan.required)
        if self._outcome is not None and now_ms >= self._quiet_until_ms:
            self._tell_outcome(plan)
        busy = bool(self._round or self._migrations.partitions() or self._placing.homeless or self._placing.due_ms)
        if busy or self._cluster.frozen or now_ms < self._quiet_until_ms:
            self._looks = 0
            return
        for partition, note in plan.notes.items():
            if now_ms - self._hot_ms.get(partition, -HOT_LOG_MS) >= HOT_LOG_MS:
                self._hot_ms[partition] = now_ms
                self._desk.log("warning", note, "hot", partition=partition)
        top = max(plan.utilisation, key=lambda name: (plan.utilisation[name], name), default="")
        self._looks = (self._looks + 1 if top == self._top or plan.balanced else 1) if plan.moves else 0
        self._top = top
        if plan.moves and self._looks >= self._looks_needed(plan):
            self.run(plan)

    def _looks_needed(self, plan: Plan) -> int:
        bands = (plan.highest - plan.mean) / max(plan.mean * self._desk.config.balance_band, 1e-9)
        if plan.balanced:
            return CALM_LOOKS
        looks = next(looks for above, looks in LOOKS if bands >= above)
        measured_ms = self._cluster.measures.measured_ms(self._desk.now_ms)
        if bands < CLEAR_BANDS and measured_ms < MEASURED_MS:
            return LOOKS[-1][1]
        return max(looks, SAME_LOOKS) if bands < CLEAR_BANDS and measured_ms >= SAME_MS else looks

    def _require(self, steps: list[Step]) -> None:
        now_ms = self._desk.now_ms
        batches: dict[str, Batch] = {}
        for step in steps:
            if self._retry_ms.get(step.partition, 0) <= now_ms:
                batch = batches.setdefault(step.reason, Batch(step.reason))
                self._migrations.add(step.partition, step.target, step.reason, batch, self._required_ended)

    def _required_ended(self, move: Migration) -> None:
        self.settle()
        if move.error:
            self._retry_ms[move.partition] = self._desk.now_ms + RETRY_MS
        else:
            self._retry_ms.pop(move.partition, None)

    def _ended(self, move: Migration) -> None:
        now_ms = self._desk.now_ms
        self._cluster.cooling_ms[move.partition] = now_ms + self._desk.config.balance_cooldown_ms
        self.settle()
        current = self._round
        if current is None or not all(m.ended for m in current.moves):
            return
        self._round, self._outcome = None, current
        if current.done is not None:
            current.done(results(current.moves, (now_ms - current.began_ms) / 1000))

    def _tell_outcome(self, plan: Plan) -> None:
        before, self._outcome = self._outcome, None
        assert before is not None
        moved = sum(not move.error for move in before.moves)
        text, fields = outcomes.brought(before.plan, moved, plan, self._placing.view())
        self._desk.log("info", text, "rebalanced", **fields)

    def _stay(self, node: str, fixed: dict[str, str]) -> list[dict[str, str]]:
        """What is left on a node that is drained, and why: first what has to stay. `pinned`: "" for what a move may
        still take away."""
        left = sorted(self._cluster.owned.get(node, ()), key=lambda p: (p not in fixed, p))
        return [{"partition": p, "pinned": fixed.get(p, "")} for p in left[:STAY_TOLD_MAX]]

    def _answer_drains(self) -> None:
        fixed = self._cluster.fixed() if self._drains else {}
        for drain in list(self._drains):
            owned = self._cluster.owned.get(drain.node, {})
            left, stay = len(owned), sum(p in fixed for p in owned)
            node = self._cluster.nodes.get(drain.node)
            over = self._desk.now_ms - drain.began_ms > DRAIN_MS or node is None or not node.drained
            if left <= stay or over:
                self._drains.remove(drain)
                told = {"node": drain.node, "moved": drain.owned - left, "left": left}
                drain.done({**told, "stay": self._stay(drain.node, fixed)})

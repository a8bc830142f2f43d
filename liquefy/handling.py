"""Runs messages through users' functions: binds contexts, reads what was returned, tries once more what
failed, ends what takes too long. Items go in, results come out through a callback.

Knows neither sockets nor processes; of the clock only how long things take.
"""

from __future__ import annotations

import signal
from _signal import getsignal  # type: ignore[import-not-found]  # the public one makes an enum of it: ten times as slow
from collections.abc import Callable, Iterable
from time import perf_counter_ns, thread_time_ns
from types import FrameType
from typing import Any, NamedTuple

from liquefy.context import Context
from liquefy.errors import BadFrame
from liquefy.failures import describe
from liquefy.fluxion import Answer, Emit, Message
from liquefy.graph import OUTPUT
from liquefy.hosting import KEY_BYTES_MAX, Done, Emitted, Item, Step
from liquefy.loading import Spec, Target
from liquefy.messages import child_id
from liquefy.values import pack, unpack

FLUSH_AFTER_NS = 20_000_000
"""Results of a batch that takes longer are sent as far as they are there."""

FREED_MAX = 256
"""Contexts that are freed at once."""

ARMED_NS = 10_000_000
"""The timer of the limits is set anew no sooner than after so long: users' code may have put an end to it."""

TIMEOUT_AGAIN_S = 0.5
"""How soon a function that swallowed its timeout gets the next one."""


class CallTimeout(BaseException):
    """Raised inside a function that takes too long. No Exception, so that `except Exception` does not catch
    it."""


class ResultError(Exception):
    """What a function returned cannot be sent. Its text is shown without the name of this class."""


ONWARD_NS_MAX = 20_000_000
"""Messages go on in the host for so long after the handling began; then they are left to the worker, so that
nothing waits long for a result and nobody takes the host for hung."""

Passed = tuple[int, list[Emitted], int, int, list["Passed"]]
"""A Step without its processor time: index, emitted, elapsed and weight in nanoseconds, its own steps."""

Row = tuple[int, list[Emitted], dict[str, bytes], tuple[str, ...], str, str, int, int, bool, list[Passed]]
"""A result without its processor time: as Done, with `elapsed` in nanoseconds."""


class Tail(NamedTuple):
    """A message to a coroutine that may begin in the host at once: `message` is its id, `passed` where what comes of
    it belongs."""

    item: Item
    emitted: Emitted
    message: bytes
    passed: list[Passed]


class Runner:
    """The plain functions of one host, and the contexts they have."""

    def __init__(self, send: Callable[[list[Done]], None], folder: str = "") -> None:
        self.folder = folder
        self._send = send
        self._specs: dict[str, dict[str, Spec]] = {}
        self._contexts: dict[str, dict[str, Context]] = {}
        self.left: list[dict[str, Context]] = []
        """Those of partitions that are gone; to be freed by and by."""
        self._shortest_s = 3600.0
        self._limit_ns = 0
        self._started_ns = self._armed_ns = 0
        self._running = False
        self._expired = False
        self._alarm = self._on_alarm

    def add(self, graph: str, specs: Iterable[Spec]) -> None:
        """These fluxions can be run from now on; those of the same name as before are replaced."""
        mine = self._specs.setdefault(graph, {})
        for spec in specs:
            mine[spec.name] = spec
            self._shortest_s = min(self._shortest_s, max(spec.limit_s, 0.001))
        self._armed_ns = 0

    def spec(self, item: Item) -> Spec:
        """Raises BadFrame: only what was loaded may be run."""
        return self.named(item.graph, item.fluxion)

    def named(self, graph: str, fluxion: str) -> Spec:
        """As `spec`."""
        try:
            return self._specs[graph][fluxion]
        except KeyError:
            raise BadFrame(f"an item for {graph}/{fluxion}, which is not loaded") from None

    def forget(self, partition: str, keys: list[str]) -> None:
        """Drop contexts; all of the partition if no keys are given."""
        if not keys:
            self.left.append(self._contexts.pop(partition, {}))
            self.free()
            return
        contexts = self._contexts.get(partition)
        if contexts is not None:
            for key in keys:
                contexts.pop(key, None)
            if not contexts:
                del self._contexts[partition]

    def free(self) -> None:
        """Some of what is left: all of a large partition's contexts at once would hold up the messages of others."""
        contexts = self.left[-1]
        for _ in range(min(FREED_MAX, len(contexts))):
            contexts.popitem()
        if not contexts:
            self.left.pop()

    def run(self, items: Iterable[Item]) -> None:
        """Handle the items in order. Raises BadFrame when an item cannot be: that is the worker's fault, or
        ours."""
        rows: list[Row] = []
        cpu = thread_time_ns()
        flushed = start = perf_counter_ns()
        self._arm()
        try:
            for item in items:
                row, start = self._handle(item, start)
                rows.append(row)
                if start - flushed > FLUSH_AFTER_NS:
                    flushed = start
                    cpu = self._flush(rows, cpu)
                    rows = []
        finally:
            self._running = False
        if rows:
            self._flush(rows, cpu)

    def _flush(self, rows: list[Row], since_ns: int) -> int:
        now_ns = thread_time_ns()
        self._send(results(rows, now_ns - since_ns, [row[6] for row in rows]))
        return now_ns

    # -- one message ---------------------------------------------------------------------------------------

    def _handle(self, item: Item, start: int) -> tuple[Row, int]:
        spec = self.spec(item)
        context = self.context(item) if spec.stateful else None
        sets: dict[str, bytes] = {}
        removes: tuple[str, ...] = ()
        error = trace = ""
        first: BaseException | None = None
        try:
            result = self._call(spec, item, context, start)
            emitted = emissions(spec, result) if result is not None else []
            if context is not None:
                sets, removes = context.changes()
        except BaseException as raised:
            first = raised
        first_try = first is None
        if first is not None:  # out of its `except`: what the second try raises is not "during handling" of this
            emitted, sets, removes, error, trace = self._again(spec, item, context, first)
            first = None  # its traceback holds this frame
        end = perf_counter_ns()
        size, empty = (0, False) if context is None else (context.size, context.is_empty())
        row = (item.ticket, emitted, sets, removes, error, trace, end - start, size, empty)
        if not (item.onward and first_try):
            return (*row, []), end
        passed = self._onward(item, item.fluxion, item.id, emitted, end, start + ONWARD_NS_MAX, set())
        return (*row, passed), perf_counter_ns()

    def _call(self, spec: Spec, item: Item, context: Context | None, start: int) -> Any:
        self._limit_ns = spec.limit_ns
        self._started_ns = start
        message = message_of(item)
        if context is None:
            result = spec.function(message)
        else:
            result = spec.function(message, context)
        if self._expired:
            raise CallTimeout
        return result

    def go_on(self, item: Item, fluxion: str, parent: bytes, emitted: list[Emitted]) -> list[Passed]:
        """What a coroutine emitted when it handled the message `parent` goes on, as far as the item allows."""
        if fluxion not in item.onward:
            return []
        self._arm()
        try:
            start = perf_counter_ns()
            return self._onward(item, fluxion, parent, emitted, start, start + ONWARD_NS_MAX, set())
        finally:
            self._running = False

    def is_before_coroutine(self, item: Item) -> bool:
        """Whether the item is plain, and may go on to a coroutine."""
        specs = self._specs[item.graph]
        return bool(item.onward) and any(specs[to].asynchronous for targets in item.onward.values() for to in targets)

    def run_before_coroutine(self, items: Iterable[Item]) -> list[tuple[Row, Tail | None]]:
        """Handle the items in order, up to the coroutines that they may go on to."""
        handled: list[tuple[Row, Tail | None]] = []
        self._arm()
        try:
            for item in items:
                row, _ = self._handle(item, perf_counter_ns())
                handled.append((row, None if row[4] else self._tail(item, row)))
        finally:
            self._running = False
        return handled

    def _tail(self, item: Item, row: Row) -> Tail | None:
        """The message to a coroutine at the end of what the item came to, if nothing else has to wait for that."""
        sender, parent, emitted, passed = item.fluxion, item.id, row[1], row[9]
        while len(emitted) == 1:
            each, message = emitted[0], child_id(parent, 0)
            if not passed:
                allowed = each.to in item.onward.get(sender, ()) and not each.key and not each.delay_ms
                if allowed and self._specs[item.graph][each.to].asynchronous:
                    return Tail(item, each, message, passed)
                return None
            sender, parent = each.to, message
            _, emitted, _, _, passed = passed[0]
        return None

    def _onward(
        self, item: Item, sender: str, parent: bytes, emitted: list[Emitted], start: int, until: int, shut: set[str]
    ) -> list[Passed]:  # fmt: skip
        """Handle the messages that may go on, depth first, from `start`, which is now. What raises is left to the
        worker, for all that a failed message is due; so is what follows to the same fluxion (`shut`), or it would
        overtake."""
        passed: list[Passed] = []
        allowed = item.onward.get(sender)
        if not allowed:
            return passed
        for index, each in enumerate(emitted):
            if each.to not in allowed or each.key or each.delay_ms or each.to in shut or start > until:
                continue
            spec = self.named(item.graph, each.to)
            if spec.asynchronous:
                continue
            child = onward_item(item, each, child_id(parent, index))
            try:
                result = self._call(spec, child, None, start)
                sent = emissions(spec, result) if result is not None else []
            except BaseException as error:
                self._failed(None, error)
                shut.add(each.to)
                start = perf_counter_ns()
                continue
            end = perf_counter_ns()
            elapsed = end - start  # nothing else ran meanwhile: its share of the processor time as well
            further = self._onward(item, each.to, child.id, sent, end, until, shut) if sent else []
            passed.append((index, sent, elapsed, elapsed, further))
            start = perf_counter_ns() if further else end
        return passed

    def _again(
        self, spec: Spec, item: Item, context: Context | None, first: BaseException
    ) -> tuple[list[Emitted], dict[str, bytes], tuple[str, ...], str, str]:
        """The second try, at once. A timeout gets none: it would block everything behind it again."""
        final = self._failed(context, first)
        if not isinstance(final, CallTimeout):
            try:
                result = self._call(spec, item, context, perf_counter_ns())
                emitted = emissions(spec, result)
                sets, removes = context.changes() if context is not None else ({}, ())
                return emitted, sets, removes, "", ""
            except BaseException as second:
                final = self._failed(context, second)
        line, trace = explain(final, spec, self.folder)
        return [], {}, (), line, trace

    def _failed(self, context: Context | None, error: BaseException) -> BaseException:
        if context is not None:
            context.rollback()
        if self._expired and not isinstance(error, CallTimeout):
            # The function made something else of its timeout.
            error = CallTimeout().with_traceback(error.__traceback__)
        self._expired = False
        return error

    def context(self, item: Item) -> Context:
        """The context of the item: as it came along, or as it was left. Raises BadFrame: it is not here."""
        fields = item.fields
        if fields is not None:
            context = Context.from_packed(fields)
            self._contexts.setdefault(item.partition, {})[item.key] = context
            return context
        try:
            return self._contexts[item.partition][item.key]
        except KeyError:
            raise BadFrame(f"an item of {item.partition} without its context, which is not here") from None

    # -- the time limit ------------------------------------------------------------------------------------
    #
    # One timer for a whole batch: it fires after the shortest limit there is, looks how long the call then
    # running has taken, and either ends it or sets itself to when it has to look again. So a call costs no
    # system call, and a batch one: what is still set when a batch ends finds nothing running.

    def _arm(self) -> None:
        now_ns = perf_counter_ns()
        if getsignal(signal.SIGALRM) is not self._alarm:  # also when users' code has put its own there
            signal.signal(signal.SIGALRM, self._alarm)
            self._armed_ns = 0
        if now_ns - self._armed_ns >= ARMED_NS:
            self._armed_ns = now_ns
            signal.setitimer(signal.ITIMER_REAL, self._shortest_s)
        self._running = True

    def _on_alarm(self, _: int, frame: FrameType | None) -> None:
        if not self._running:
            self._armed_ns = 0
            return
        left_s = (self._started_ns + self._limit_ns - perf_counter_ns()) / 1e9
        if left_s > 0:
            signal.setitimer(signal.ITIMER_REAL, min(left_s + 0.001, self._shortest_s))
            return
        signal.setitimer(signal.ITIMER_REAL, min(TIMEOUT_AGAIN_S, self._shortest_s))
        # Only inside `_call` is there somebody to catch it; in our own bookkeeping it would tear things
        # apart.
        while frame is not None and frame.f_code is not _CALL_CODE:
            frame = frame.f_back
        if frame is not None:
            self._expired = True
            raise CallTimeout


_CALL_CODE = Runner._call.__code__


def onward_item(item: Item, emitted: Emitted, message: bytes) -> Item:
    """What a message that the item led to, of this id, is to the fluxion that gets it."""
    return Item(
        0, item.graph, emitted.to, "", item.key, message, emitted.body, None, item.deadline_ms, item.trace
    )  # fmt: skip


def message_of(item: Item) -> Message:
    """What the function is given. New at each try, as the first may have changed the body."""
    return Message(unpack(item.body), item.key, item.id.hex(), item.fluxion, item.deadline_ms / 1000, item.trace)


def explain(error: BaseException, spec: Spec, folder: str) -> tuple[str, str]:
    """(error, traceback) of a failed call, as in Done."""
    line, trace = describe(error, folder)
    if isinstance(error, CallTimeout):
        line = f"timed out after {spec.limit_s:g} s"
        trace = trace.replace("liquefy.handling.CallTimeout", line)
    elif isinstance(error, ResultError):
        line = trace = str(error)
    return line, trace


def results(rows: list[Row], cpu_ns: int, weights: list[int]) -> list[Done]:
    """The rows as results, the processor time of all divided among them and their steps by the weights."""
    total = sum(weights) + sum([weight_of(row[9]) for row in rows if row[9]])
    share = _Share(cpu_ns / (total * 1000 or 1))
    done = []
    for row, weight in zip(rows, weights, strict=True):
        ticket, emitted, sets, removes, error, trace, elapsed, size, empty, passed = row
        cpu_us = share.of(weight)
        steps = _steps(passed, share) if passed else []
        done.append(Done(ticket, emitted, sets, removes, error, trace, cpu_us, elapsed // 1000, size, empty, steps))
    return done


class _Share:
    """Divides. Rounding the running sum, not each share, loses nothing of calls shorter than the unit."""

    def __init__(self, us_per_weight: float) -> None:
        self._us_per_weight = us_per_weight
        self._spent, self._told = 0.0, 0

    def of(self, weight: int) -> int:
        self._spent += weight * self._us_per_weight
        us = int(self._spent) - self._told
        self._told += us
        return us


def weight_of(passed: list[Passed]) -> int:
    """Of all steps, and theirs."""
    return sum(weight + weight_of(further) for _, _, _, weight, further in passed)


def _steps(passed: list[Passed], share: _Share) -> list[Step]:
    return [
        Step(index, emitted, share.of(weight), elapsed // 1000, _steps(further, share))
        for index, emitted, elapsed, weight, further in passed
    ]


# -- what a function returned -----------------------------------------------------------------------------


def emissions(spec: Spec, result: Any) -> list[Emitted]:
    """The messages that a returned value stands for. Raises ResultError, ValueError."""
    if result is None:
        return []
    kind = type(result)
    if kind is Emit or kind is Answer:
        return [_emission(spec, result)]
    if (kind is list or kind is tuple) and any(type(each) is Emit or type(each) is Answer for each in result):
        return [_emission(spec, each) for each in result]
    target = spec.sole
    if target is None:
        raise ResultError(_no_sole_stream(spec, result))
    return [Emitted(target.name, key_in(result, target) if target.key else "", pack(result, "body"))]


def _emission(spec: Spec, each: Any) -> Emitted:
    if type(each) is Answer:
        return Emitted(OUTPUT, "", pack(each.body, "body"), 0, each.status, each.headers)
    if type(each) is not Emit:
        raise ResultError(
            f"'{spec.name}' returned a list with emit() or answer() and a {type(each).__name__} in it; "
            "make that one emit(name, ...) too"
        )
    target = spec.targets.get(each.to)
    if target is None:
        streams = ", ".join(f"'{name}'" for name in spec.targets) or "none"
        raise ResultError(f"'{spec.name}' has no stream to '{each.to}'; its streams: {streams}")
    key = key_in(each.body, target) if target.key else ""
    return Emitted(target.name, key, pack(each.body, "body"), each.delay_ms)


def _no_sole_stream(spec: Spec, result: Any) -> str:
    if not spec.targets:
        return (
            f"'{spec.name}' returned a {type(result).__name__}, but has no stream to send it to; "
            "return None, or answer(...)"
        )
    names = ", ".join(f"'{name}'" for name in spec.targets)
    return (
        f"'{spec.name}' returned a body, but has several streams: {names}; "
        f'say which: return emit("{next(iter(spec.targets))}", body)'
    )


def key_in(body: Any, target: Target) -> str:
    """The key of a message for the target. Raises ResultError if the body carries none that can be used."""
    value = body
    for part in target.key:
        kind = type(value)
        if kind is dict and part in value:
            value = value[part]
        elif (kind is list or kind is tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            path = ".".join(target.key)
            raise ResultError(
                f"the message to '{target.name}' carries no key: '{path}' not found in {_outline(body)}; "
                f"put it there, or correct `key: {path}` of '{target.name}' in graph.yaml"
            )
    kind = type(value)
    if kind is int:
        value = str(value) if -(10**100) < value < 10**100 else ""
    if type(value) is str and 0 < _utf8_bytes(value) <= KEY_BYTES_MAX:
        return value
    raise ResultError(
        f"the message to '{target.name}' has no usable key: '{'.'.join(target.key)}' is {_brief(value)}; "
        f"a key is an int, or a str of 1 to {KEY_BYTES_MAX} bytes"
    )


def _utf8_bytes(text: str) -> int:
    """0 if it cannot be encoded."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def _outline(body: Any) -> str:
    if type(body) is dict:
        names = ", ".join(_brief(name) for name in list(body)[:12])
        return f"{{{names}{', ...' if len(body) > 12 else ''}}}"
    return f"a {type(body).__name__}"


def _brief(value: Any) -> str:
    if type(value) in (str, int, float, bool, type(None)):
        text = repr(value) if type(value) is not int or abs(value) < 10**60 else "a very large int"
        return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"
    return f"a {type(value).__name__}"

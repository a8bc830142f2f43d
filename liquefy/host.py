"""A host: the child process that runs users' code. Start: `python -P -m liquefy.host PARENT_PID FOLDER
[ORDER]`, with one end of a socket pair as descriptor 3; the order is one of `liquefy.confine`. It speaks
`liquefy.hosting`, and imports nothing of the roles.

Plain functions are run from a blocking loop, which costs least; when the first `async def` is loaded, an
event loop takes over for good. A host keeps no promise and needs no farewell: what it had in hand is handled
again elsewhere. So it ends at once when its worker is gone, in the middle of users' code too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import NoReturn

from liquefy import confine, streaming
from liquefy.context import Context
from liquefy.errors import BadFrame
from liquefy.handling import (
    CallTimeout,
    Passed,
    Row,
    Runner,
    Tail,
    emissions,
    explain,
    message_of,
    onward_item,
    results,
    weight_of,
)
from liquefy.hosting import (
    ALIVE_S,
    HOST_FD,
    Done,
    Emitted,
    Forget,
    FrameReader,
    Gone,
    Item,
    Load,
    Loaded,
    Piece,
    Ran,
    Refused,
    Run,
    decode_to_host,
    frame,
)
from liquefy.limits import Limits
from liquefy.loading import LoadError, Spec, load
from liquefy.streaming import Stream

RECEIVE_BYTES = 64 * 1024
"""Read at once. More is no faster: beyond it each read would map fresh memory."""

FRAME_SPLIT_BYTES = 32 * 1024 * 1024
"""Results that take more are sent in several frames."""

GC_OBJECTS_USUAL, GC_OBJECTS = 700, 10_000
"""New objects between two looks for cycles: Python's own number, and ours. What handling a message makes is freed by
its counts, but for what users' code ties together."""

EXIT_PROTOCOL = 70
"""Exit code when the worker asked for what cannot be."""

_PR_SET_PDEATHSIG = 1


class Host:
    """One end of the conversation. `folder` is where the code is."""

    def __init__(self, connection: socket.socket, folder: str) -> None:
        self._connection = connection
        self._folder = folder
        self._reader = FrameReader()
        self._runner = Runner(self._send_results, folder)
        self._asynchronous = False
        self._loop: asyncio.AbstractEventLoop
        self._limits: Limits
        """Both from when coroutines are run."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[tuple[str, str], asyncio.Task[None]] = {}
        """By partition and key: the last coroutine that was given that context, while it runs."""
        self._streams: dict[int, Stream] = {}
        self._rows: list[Row] = []
        self._late: list[tuple[list[Passed], Passed]] = []
        """Steps of coroutines, and where they belong: their processor time is not known yet."""
        self._showing_life = False
        self._cpu_mark_ns = 0

    def serve(self) -> None:
        """Until the worker is gone. Raises BadFrame."""
        while not self._asynchronous:
            if self._runner.left and not select.select([self._connection], [], [], 0)[0]:
                self._runner.free()
                continue
            data = self._connection.recv(RECEIVE_BYTES)
            if not data:
                return
            self._take(data)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve_async())

    def _take(self, data: bytes) -> None:
        for each in self._reader.feed(data):
            message = decode_to_host(each)
            if type(message) is Run:
                self._run(message.items)
            elif type(message) is Load:
                self._load(message)
            elif type(message) is Forget:
                self._runner.forget(message.partition, message.keys)
                if self._asynchronous and len(self._runner.left) == 1:  # else it goes on already
                    self._free()
            elif type(message) is Gone and message.ticket in self._streams:
                self._streams[message.ticket].hung_up()

    def _load(self, order: Load) -> None:
        graph = order.graph
        try:
            if Path(order.folder).resolve() != Path(self._folder):
                raise LoadError(f"this host has the code of {self._folder}, not of {order.folder}")
            specs = load(order)
        except LoadError as error:
            self._send(Refused(graph.name, graph.version, error.error, error.traceback))
            return
        self._runner.add(graph.name, specs)
        asynchronous = [spec.name for spec in specs if spec.asynchronous]
        gc.collect()
        gc.freeze()  # modules stay: no collection need look at them again
        if gc.get_threshold()[0] == GC_OBJECTS_USUAL:  # else users' code knows what it wants
            gc.set_threshold(GC_OBJECTS)
        self._asynchronous = self._asynchronous or bool(asynchronous)
        self._send(Loaded(graph.name, graph.version, asynchronous))

    def _send(self, message: Loaded | Refused | Ran | Piece) -> None:
        self._connection.sendall(frame(message))

    def _send_results(self, done: list[Done]) -> None:
        data = frame(Ran(done))
        if len(data) > FRAME_SPLIT_BYTES and len(done) > 1:
            half = len(done) // 2
            self._send_results(done[:half])
            self._send_results(done[half:])
        else:
            self._connection.sendall(data)

    def _run(self, items: list[Item]) -> None:
        if not self._asynchronous:
            self._runner.run(items)
            return
        plain, before_coroutines, awaiting = [], [], []
        for item in items:
            if self._runner.spec(item).asynchronous:
                awaiting.append(item)
            elif self._runner.is_before_coroutine(item):
                before_coroutines.append(item)
            else:
                plain.append(item)
        # First: a plain one of the same key came before, and has the context with it.
        if plain:
            before = thread_time_ns()
            self._runner.run(plain)
            self._cpu_mark_ns += thread_time_ns() - before
        if before_coroutines:
            for row, tail in self._runner.run_before_coroutine(before_coroutines):
                if tail is None:
                    self._say_soon(row)
                else:
                    self._begin_tail(row, tail)
        for item in awaiting:
            self._begin(item)

    # -- async def -----------------------------------------------------------------------------------------

    async def _serve_async(self) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def on_readable() -> None:
            # An event loop would report and forget what its callbacks raise.
            try:
                data = self._arrived()
                if data:
                    self._take(data)
                elif data is not None and not ended.done():
                    ended.set_result(None)
            except BaseException as error:
                if not ended.done():
                    ended.set_exception(error)

        self._loop, self._limits = loop, Limits(loop)
        self._cpu_mark_ns = thread_time_ns()
        loop.add_reader(self._connection.fileno(), on_readable)
        self._free()
        # uvloop has made it non-blocking, but results are sent whole, however little the socket takes at once.
        self._connection.setblocking(True)
        try:
            await ended
        except BaseException as error:
            _end(error)
        # Not by returning: that would wait for what is under way to be cancelled.
        _end(None)

    def _arrived(self) -> bytes | None:
        """None if nothing has."""
        with contextlib.suppress(BlockingIOError):
            return self._connection.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        return None

    def _free(self) -> None:
        """What is left of partitions that are gone, between other things."""
        if self._runner.left:
            self._runner.free()
            self._loop.call_soon(self._free)

    def _show_life(self) -> None:
        """For as long as an answer is streamed."""
        self._showing_life = any(each.number for each in self._streams.values())
        if self._showing_life:
            self._send(Ran([]))
            asyncio.get_running_loop().call_later(ALIVE_S, self._show_life)

    def _begin(self, item: Item) -> None:
        spec = self._runner.spec(item)
        context = self._runner.context(item) if spec.stateful else None
        slot = (item.partition, item.key)
        before = self._latest.get(slot) if context is not None else None
        task = asyncio.get_running_loop().create_task(self._run_async(spec, item, context, before))
        self._keep(task)
        if context is not None:
            self._latest[slot] = task
            task.add_done_callback(lambda done: self._over(done, slot))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _over(self, task: asyncio.Task[None], slot: tuple[str, str]) -> None:
        if self._latest.get(slot) is task:
            del self._latest[slot]

    def _begin_tail(self, row: Row, tail: Tail) -> None:
        item = onward_item(tail.item, tail.emitted, tail.message)
        spec = self._runner.spec(item)
        task = self._loop.create_task(self._run_tail(row, tail, item, spec))
        self._limits.begin(tail.item.ticket, task, spec.limit_ns)

    async def _run_tail(self, row: Row, tail: Tail, item: Item, spec: Spec) -> None:
        """A coroutine for which a plain fluxion's message is due, once. What fails is left to the worker, and so is
        what wants to stream: pieces belong to a message that the worker has given."""
        start = perf_counter_ns()
        try:
            emitted = emissions(spec, await spec.function(message_of(item)))
        except BaseException:
            self._limits.end(tail.item.ticket)
            self._say_soon(row)
            return
        self._limits.end(tail.item.ticket)
        elapsed = perf_counter_ns() - start
        further = self._runner.go_on(tail.item, item.fluxion, item.id, emitted) if emitted else []
        self._late.append((tail.passed, (0, emitted, elapsed, 0, further)))
        self._say_soon(row)

    async def _run_async(
        self, spec: Spec, item: Item, context: Context | None, before: asyncio.Task[None] | None
    ) -> None:
        """`before`: a run of the same context that the worker has given up. Its result counts no more, but what it
        does to the process's own memory must not meet what this one does."""
        if before is not None:
            await asyncio.wait((before,))
        start = perf_counter_ns()
        limit = asyncio.timeout(None)

        def begun() -> None:
            limit.reschedule(None)
            if not self._showing_life:
                self._showing_life = True
                asyncio.get_running_loop().call_later(ALIVE_S, self._show_life)

        stream = Stream(item.ticket, self._send, begun)
        if context is None:
            self._streams[item.ticket] = stream
            streaming.enter(stream)
        emitted: list[Emitted] = []
        sets: dict[str, bytes] = {}
        removes: tuple[str, ...] = ()
        passed: list[Passed] = []
        tries = 0
        error = trace = ""
        while tries < 2:
            tries += 1
            limit = asyncio.timeout(spec.limit_s)
            try:
                given = (message_of(item),) if context is None else (message_of(item), context)
                async with limit:
                    result = await spec.function(*given)
                emitted = emissions(spec, result)
                if stream.number:
                    emitted.append(stream.end())
                if context is not None:
                    sets, removes = context.changes()
            except BaseException as raised:
                emitted = []
                if context is not None:
                    context.rollback()
                timed_out = limit.expired()
                error, trace = explain(_timeout(raised) if timed_out else raised, spec, self._folder)
                if timed_out or stream.number:
                    break
            else:
                error = trace = ""
                break
        self._streams.pop(item.ticket, None)
        elapsed = perf_counter_ns() - start
        size, empty = (context.size, context.is_empty()) if context is not None else (0, False)
        if item.onward and emitted and tries == 1:
            passed = self._runner.go_on(item, item.fluxion, item.id, emitted)
        self._say_soon((item.ticket, emitted, sets, removes, error, trace, elapsed, size, empty, passed))

    def _say_soon(self, row: Row) -> None:
        """With what else ends in this turn of the loop."""
        if not self._rows:
            self._loop.call_soon(self._flush_async)
        self._rows.append(row)

    def _flush_async(self) -> None:
        rows, self._rows = self._rows, []
        late, self._late = self._late, []
        now_ns = thread_time_ns()
        # How long a call took says nothing of its processor time, as most of it was waiting: in equal parts, after
        # what the steps have used.
        cpu_ns = now_ns - self._cpu_mark_ns
        used_ns = sum(weight_of(row[9]) for row in rows) + sum(weight_of(step[4]) for _, step in late)
        part_ns = max(1, (cpu_ns - used_ns) // (len(rows) + len(late)))
        for passed, (index, emitted, elapsed, _, further) in late:
            passed.append((index, emitted, elapsed, part_ns, further))
        done = results(rows, cpu_ns, [part_ns] * len(rows))
        self._cpu_mark_ns = now_ns
        self._send_results(done)


def _timeout(raised: BaseException) -> CallTimeout:
    """With the traceback of the cancellation, which knows where the function stood."""
    at = (raised.__cause__ or raised.__context__ or raised) if isinstance(raised, TimeoutError) else raised
    return CallTimeout().with_traceback(at.__traceback__)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _end(error: BaseException | None) -> NoReturn:
    """At once: threads and exit handlers of users' code do not hold a host up."""
    code = 0
    if isinstance(error, BadFrame):
        print(f"the host was sent what it cannot do: {error}", file=sys.stderr)
        code = EXIT_PROTOCOL
    elif error is not None and not isinstance(error, ConnectionError):
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, whatever it is doing then (Linux; elsewhere it
    ends when it next reads)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _hide_checkout() -> None:
    """Where `liquefy` runs from a checkout, its parent folder was on the path to find it, and so were the
    roles, which users' code should neither find nor clash with. Ours is imported by now, the rest of it found
    without."""
    root = str(Path(__file__).resolve().parent.parent)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in given:
        return
    while root in sys.path:
        sys.path.remove(root)
    left = os.pathsep.join(path for path in given if path and path != root)
    if left:
        os.environ["PYTHONPATH"] = left
    else:
        del os.environ["PYTHONPATH"]


def main() -> NoReturn:
    parent, folder = int(sys.argv[1]), str(Path(sys.argv[2]).resolve())
    _die_with(parent)
    if len(sys.argv) > 3:
        confine.obey(sys.argv[3])
    connection = socket.socket(fileno=HOST_FD)
    connection.set_inheritable(False)  # what users' code starts has no business with it
    os.register_at_fork(after_in_child=connection.close)  # nor has what it forks
    sys.argv = [folder]
    os.chdir(folder)
    _hide_checkout()
    try:
        Host(connection, folder).serve()
    except BaseException as error:
        _end(error)
    _end(None)


if __name__ == "__main__":
    main()

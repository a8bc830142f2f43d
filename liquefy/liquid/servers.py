"""What a program would serve with, made to answer single requests: one class per kind of server. Each runs a Job where
the server would have run it: in the thread that asks, in the program's own, or on the program's event loop.

Knows neither which framework is behind it nor what a fluxion is.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import queue
import socket
import threading
import traceback
from asyncio import transports
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import unquote

from liquefy.liquid.http import Incoming, Request, Response, WsgiAnswer, address, from_wire, to_environ, to_wire
from liquefy.liquid.http import server_address as asked_for
from liquefy.liquid.sink import Sink

THREADS_MAX = 512
"""Requests that a program with threads answers side by side."""

STARTUP_S_MAX = 60.0
"""How long a program's own preparations may take."""

current: contextvars.ContextVar[Job | None] = contextvars.ContextVar("liquefy_job", default=None)
"""The request that is being answered, for what runs inside frameworks."""


class Dropped(BaseException):
    """Leaves the framework, whose answer is not wanted. No Exception, so that no handler of errors takes it for one."""


class Job:
    """One request on its way through the program. `begin` and `end` are called around it, where it runs."""

    __slots__ = ("begin", "detached", "end", "request", "sink", "work")

    def __init__(
        self, request: Request, begin: Callable[[], None] | None = None, end: Callable[[], None] | None = None
    ) -> None:
        self.request = request
        self.begin, self.end = begin, end
        self.work: Any = None
        """Of the caller: what is to be done with this request."""
        self.sink = Sink()
        self.detached = False
        """What the program does after its answer needs nobody to wait for it."""


class Server(Protocol):
    """`direct`: `run` answers in the thread that calls it, and costs nothing beyond. Else, and for whoever must not
    wait, `submit`."""

    direct: bool

    def run(self, job: Job) -> Response: ...

    def submit(self, job: Job) -> Future[Response]: ...


class WsgiServer:
    """A WSGI application behind a server with threads: any thread may call it."""

    direct = True

    def __init__(
        self, app: Callable[..., Any], threaded: bool = True, failure: tuple[str, bytes] = ("text/html", b"")
    ) -> None:
        self._app = app
        self._threaded = threaded
        self._failure = failure
        self._pool: ThreadPoolExecutor | None = None

    def run(self, job: Job) -> Response:
        # A server with threads starts one per connection, in which no context variable is set.
        return contextvars.Context().run(self._run, job) if self._threaded else self._run(job)

    def _run(self, job: Job) -> Response:
        token = current.set(job)
        try:
            if job.begin is not None:
                job.begin()
            request = job.request
            answer = WsgiAnswer()
            try:
                parts = self._app(to_environ(request, self._threaded), answer)
                response = answer.collect(parts, request.method, job.sink)
            except Dropped:
                response = Response(204, [], b"")
            except Exception:
                if job.sink.began:
                    raise
                # What a server does with an application that fails: say it in the log, and answer in its own words.
                traceback.print_exc()
                kind, text = self._failure
                response = Response(500, [("Content-Type", kind)], b"" if request.method == "HEAD" else text)
            if job.end is not None:
                job.end()
            return response
        finally:
            current.reset(token)

    def submit(self, job: Job) -> Future[Response]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="request")
        return self._pool.submit(self.run, job)


class QueueServer:
    """A server that answers one request after the other, in the thread that the program gave it: `serve` is what that
    thread does from now on."""

    direct = False

    def __init__(self, run: Callable[[Job], Response]) -> None:
        self._run = run
        self._jobs: queue.SimpleQueue[tuple[Job, Future[Response]]] = queue.SimpleQueue()

    def serve(self) -> None:
        while True:
            job, future = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._run(job))
            except BaseException as error:
                future.set_exception(error)

    def run(self, job: Job) -> Response:
        return self.submit(job).result()

    def submit(self, job: Job) -> Future[Response]:
        future: Future[Response] = Future()
        self._jobs.put((job, future))
        return future


class LoopServer:
    """Anything on an event loop of the program: `answer` is a coroutine function that takes the request."""

    direct = False

    def __init__(
        self, loop: asyncio.AbstractEventLoop, answer: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> None:
        self.loop = loop
        self._answer = answer

    def run(self, job: Job) -> Response:
        return self.submit(job).result()

    def submit(self, job: Job) -> Future[Response]:
        return asyncio.run_coroutine_threadsafe(self._run(job), self.loop)

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        self.loop.call_soon_threadsafe(task.cancel)

    async def _run(self, job: Job) -> Response:
        current.set(job)
        task = asyncio.current_task()
        if task is not None:
            job.sink.on_gone = functools.partial(self._give_up, task)
        if job.begin is not None:
            job.begin()
        response = await self._answer(job.request)
        if job.end is not None:
            job.end()
        return response


class PairServer:
    """A server that works on connections, each in a thread or one after the other: it is given one end of a socket
    pair per request. `take` answers on it, and returns when it is done."""

    direct = True

    def __init__(self, take: Callable[[socket.socket, tuple[str, int]], None]) -> None:
        self._take = take
        self._pool: ThreadPoolExecutor | None = None

    def run(self, job: Job) -> Response:
        ours, theirs = socket.socketpair()
        token = current.set(job)
        sender = threading.Thread(target=_send, args=(ours, to_wire(job.request)), daemon=True)
        received: list[bytes] = []
        reader = threading.Thread(target=_receive, args=(ours, received), daemon=True)
        try:
            if job.begin is not None:
                job.begin()
            sender.start()
            reader.start()
            self._take(theirs, address(job.request.client))
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            theirs.close()
            reader.join()
            if job.end is not None:
                job.end()
            return from_wire(b"".join(received), job.request.method)
        finally:
            current.reset(token)
            ours.close()

    def submit(self, job: Job) -> Future[Response]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="request")
        return self._pool.submit(self.run, job)


class PortServer:
    """The last resort: a program that listens by itself, on a port of this machine that only it and we know."""

    direct = True

    def __init__(self, port: int) -> None:
        self._port = port
        self._pool: ThreadPoolExecutor | None = None

    def run(self, job: Job) -> Response:
        if job.begin is not None:
            job.begin()
        received: list[bytes] = []
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(to_wire(job.request))
            _receive(connection, received)
        if job.end is not None:
            job.end()
        return from_wire(b"".join(received), job.request.method)

    def submit(self, job: Job) -> Future[Response]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="request")
        return self._pool.submit(self.run, job)


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def _receive(connection: socket.socket, received: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            received.append(data)


# -- ASGI -------------------------------------------------------------------------------------------------


class Asgi:
    """An ASGI application on the running loop: its lifespan once, then requests."""

    def __init__(self, app: Any, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path
        self._state: dict[str, Any] = {}
        self._lifespan: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises RuntimeError if the application says that it cannot start."""
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        first = True

        async def receive() -> dict[str, Any]:
            nonlocal first
            if first:
                first = False
                return {"type": "lifespan.startup"}
            await asyncio.Event().wait()
            return {"type": "lifespan.shutdown"}

        async def send(event: dict[str, Any]) -> None:
            if not started.done():
                failed = event["type"] == "lifespan.startup.failed"
                started.set_result((event.get("message") or "it failed") if failed else "")

        async def lifespan() -> None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
            try:
                await self._app(scope, receive, send)
            except BaseException:
                if not first and started.done():
                    traceback.print_exc()
                # Else an application without a lifespan, which is none the worse for it.
            if not started.done():
                started.set_result("")

        self._lifespan = asyncio.get_running_loop().create_task(lifespan())
        if problem := await started:
            raise RuntimeError(f"the application's startup failed: {problem}")

    async def answer(self, request: Request) -> Response:
        status, headers = 0, []
        job = current.get()
        sink = job.sink if job is not None else Sink()
        complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": request.body, "more_body": False}
            await asyncio.shield(complete)
            return {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            nonlocal status, headers
            kind = event["type"]
            if kind == "http.response.start":
                status = event["status"]
                headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.get("headers", ())]
            elif kind == "http.response.body":
                sink.start(status, headers)
                if request.method != "HEAD":
                    sink.piece(bytes(event.get("body", b"")))
                if not event.get("more_body", False) and not complete.done():
                    complete.set_result(None)

        try:
            work = self._app(self._scope(request), receive, send)
            if job is not None and job.detached:
                await self._until(complete, asyncio.create_task(work))
            else:
                await work
        except Exception:
            if sink.began and not complete.done():
                raise
            traceback.print_exc()
        finally:
            if not complete.done():
                complete.set_result(None)
        if not status:
            return Response(500, [("content-type", "text/plain; charset=utf-8")], b"Internal Server Error")
        return Response(status, headers, sink.collected())

    async def _until(self, complete: asyncio.Future[None], task: asyncio.Task[None]) -> None:
        """The answer is complete; what the application does afterwards goes on by itself. Raises what it raised."""
        try:
            await asyncio.wait((complete, task), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            task.result()
        else:
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error)

    def _scope(self, request: Request) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": asked_for(request),
            "client": address(request.client),
            "scheme": request.scheme,
            "method": request.method,
            "root_path": self._root_path,
            "path": self._root_path + unquote(request.path),
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in request.headers],
            "state": self._state.copy(),
            "extensions": {},
        }


# -- asyncio protocols ------------------------------------------------------------------------------------


class MemoryTransport(transports._FlowControlMixin, transports.Transport):
    """One end of a connection whose other end is memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, request: Request, sink: Sink) -> None:
        client, server = address(request.client), asked_for(request)
        super().__init__({"peername": client, "sockname": server}, loop)
        self._on = loop
        self._protocol = protocol
        self._closing = False
        self._received: list[bytes] = []
        self._sink = sink
        self._incoming = Incoming(request.method, sink)
        self.closed: asyncio.Future[bytes] = loop.create_future()

    def write(self, data: Any) -> None:
        if not self._closing:
            data = bytes(data)
            if not self._sink.began:
                self._received.append(data)
            self._incoming.feed(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._on.call_soon(self._end)

    def abort(self) -> None:
        self.close()

    def _end(self) -> None:
        if not self.closed.done():
            self.closed.set_result(b"".join(self._received))
        self._protocol.connection_lost(None)


async def answer_by_protocol(factory: Callable[[], Any], request: Request) -> Response:
    """Have a protocol of asyncio answer, as if a client had connected."""
    loop = asyncio.get_running_loop()
    protocol = factory()
    job = current.get()
    transport = MemoryTransport(loop, protocol, request, job.sink if job is not None else Sink())
    protocol.connection_made(transport)
    receiver = transport.get_protocol()
    data = to_wire(request)
    if isinstance(receiver, asyncio.BufferedProtocol):
        _feed_buffered(receiver, data)
    else:
        receiver.data_received(data)
    try:
        received = await transport.closed
    except asyncio.CancelledError:
        transport.close()
        raise
    if job is not None and job.sink.began:
        return Response(200, [], b"")
    return from_wire(received, request.method)


def _feed_buffered(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


async def answer_by_socket(take: Callable[[socket.socket, tuple[str, int]], Any], request: Request) -> Response:
    """Have something on this loop answer on one end of a socket pair."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    try:
        take(theirs, address(request.client))
        sending = loop.create_task(loop.sock_sendall(ours, to_wire(request)))
        received = []
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(ours, 65536):
                received.append(data)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await sending
    finally:
        ours.close()
    return from_wire(b"".join(received), request.method)

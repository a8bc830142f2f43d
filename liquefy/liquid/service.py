"""A compiled service in a host: its program loaded once, its requests run as fluxions, its variables bound to contexts.

The generated `liquid_service.py` has one small function per fluxion, which calls `Service.run` or `run_async`. What is
to be known of the service is in `liquefy.json`, which `compiler/python/emit.py` writes. Knows no framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from liquefy import streaming
from liquefy.fluxion import Answer, Emit, Message, answer, emit
from liquefy.liquid import capture, guard, raised
from liquefy.liquid.binding import Fields, Keyed, Whole
from liquefy.liquid.carried import Carrier
from liquefy.liquid.http import Request, Response, request_of
from liquefy.liquid.keys import forwarded, key_in, original
from liquefy.liquid.needs import missing
from liquefy.liquid.parts import Parts, sendings
from liquefy.liquid.program import NotStarted, RunningProgram
from liquefy.liquid.servers import THREADS_MAX, Job, LoopServer, Server
from liquefy.liquid.sink import Sink
from liquefy.liquid.slots import find_slot, modules_of
from liquefy.liquid.state import Codec
from liquefy.liquid.watch import Watch

MANIFEST = "liquefy.json"

RESTART_AFTER_S = 5.0
"""A program that could not start is tried again, in a new process, by the first message after so long."""

BEGIN_S_MAX = 10.0
"""A program that takes longer to start is not waited for while it is loaded, but by its first message."""

EXIT_NOT_STARTED = 71


class Misplaced(Exception):
    """A request came to a handler with the wrong context, and was forwarded already."""


class NotSent(Exception):
    """A function between the first and the last part of a handler ended without going on."""


class Service:
    """`file`: that of the generated module, beside the manifest."""

    def __init__(self, file: str) -> None:
        self.folder = Path(file).resolve().parent
        self.manifest: dict[str, Any] = json.loads((self.folder / MANIFEST).read_bytes())
        self.fluxions: dict[str, dict[str, Any]] = self.manifest["fluxions"]
        self.groups: dict[str, dict[str, Any]] = self.manifest["groups"]
        self._routes = _routes(self.fluxions)
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._failure: BaseException | None = None
        self._failed_s = 0.0
        self._names: dict[str, str] = {}
        self.bindings: dict[str, Whole | Keyed] = {}
        self._codec: Codec | None = None
        self._carrier: Carrier | None = None
        self._carrying = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="step")
        """For functions between the first and the last part of a handler, under servers with threads."""
        self.watch: Watch | None = None
        self._pinned_ran = False
        self.parts = Parts(self.folder, {name: fluxion["file"] for name, fluxion in self.fluxions.items()})

    def begin(self) -> None:
        """Load the program now: one that cannot start is refused when it is deployed. One that is pinned starts on its
        own node alone, when it is asked for the first time: of that only what it imports is looked at. Raises what it
        raises, NotStarted."""
        if any(group["keeping"] == "pinned" for group in self.groups.values()):
            if lost := missing(self.folder, self.manifest["entry"]):
                raise NotStarted(lost)
            return
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def start() -> None:
            try:
                self._start()
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)

        threading.Thread(target=start, name="start", daemon=True).start()
        with contextlib.suppress(queue.Empty):
            if (error := ended.get(timeout=BEGIN_S_MAX)) is not None:
                if where := _place(error, self.folder):
                    error.add_note(f"{where}, while the program starts")
                raise error

    # -- what fluxions call --------------------------------------------------------------------------------

    def run(self, name: str, message: Message, context: Fields | None = None) -> Any:
        """What the fluxion sends for the message: an answer, or the request to the fluxion that it belongs to."""
        server = self._server or self._start()
        job = self._job(name, message, context)
        try:
            return self._outcome(job, server.run(job))
        finally:
            job.work.leave()

    async def run_async(self, name: str, message: Message, context: Fields | None = None) -> Any:
        """The same, and others may run meanwhile."""
        server = self._server if self._server is not None else await asyncio.to_thread(self._start)
        job = self._job(name, message, context)
        if context is None:
            job.sink = Sink(streaming.current())
            job.detached = True
        try:
            response: Response = await asyncio.wrap_future(server.submit(job))
            return None if job.sink.finish() else self._outcome(job, response)
        except asyncio.CancelledError:
            if not job.sink.gone:
                raise
            return None
        finally:
            job.work.leave()

    def step(self, name: str, message: Message, context: Fields | None = None) -> Any:
        """What a function of its message sends: no framework."""
        server = self._server or self._start()
        if isinstance(server, LoopServer):
            return asyncio.run_coroutine_threadsafe(self._step(name, message, context), server.loop).result()
        with self._bound(name, message, context):
            try:
                result = self.parts.call(name, self.brought(message))
            except Exception as error:
                return self._raised(name, message, error)
            return self._stepped(name, message, result)

    async def step_async(self, name: str, message: Message, context: Fields | None = None) -> Any:
        """The same, and others may run meanwhile."""
        server = self._server if self._server is not None else await asyncio.to_thread(self._start)
        if not isinstance(server, LoopServer):
            if context is None and not self.parts.waits(name):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self.step, name, message)
            return await self._step(name, message, context)
        future = asyncio.run_coroutine_threadsafe(self._step(name, message, context), server.loop)
        return await asyncio.wrap_future(future)

    async def _step(self, name: str, message: Message, context: Fields | None) -> Any:
        with self._bound(name, message, context):
            try:
                result = self.parts.call(name, self.brought(message))
                if inspect.isawaitable(result):
                    result = await result
            except Exception as error:
                return self._raised(name, message, error)
            return self._stepped(name, message, result)

    @contextlib.contextmanager
    def _bound(self, name: str, message: Message, context: Fields | None) -> Iterator[None]:
        """The variables of the fluxion's group are bound to the context. What is raised here leaves it as it was."""
        binding = self.bindings.get(self.fluxions[name]["group"])
        if binding is None or context is None:
            yield
            return
        done = False
        try:
            if isinstance(binding, Whole):
                binding.bring(context)
            else:
                binding.bring(message.key, context)
            yield
            if isinstance(binding, Whole):
                binding.take(context)
            else:
                binding.take(message.key, context)
            done = True
        finally:
            if not done and isinstance(binding, Whole):
                binding.lose()
            elif not done:
                assert isinstance(binding, Keyed)
                binding.drop(message.key)

    def _stepped(self, name: str, message: Message, result: Any) -> Any:
        if self.watch is not None:
            self.watch.check(self.watch.last)
        sent = sendings(result)
        if not sent:
            raise NotSent(
                f"'{name}' returned a {type(result).__name__} before its end: nobody would answer the request"
            )
        return [emit(to, variables | {"request": message.body["request"]}) for to, variables in self.carried(sent)]

    def brought(self, message: Message) -> Mapping[str, Any]:
        """The variables that the part before sent. Raises BadFrame."""
        assert self._carrier is not None
        with self._carrying:
            return self._carrier.unpacked(message.body)

    def carried(self, sent: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
        """The same, as it travels."""
        assert self._carrier is not None
        with self._carrying:
            return [(to, self._carrier.packed(variables)) for to, variables in sent]

    def _raised(self, name: str, message: Message, error: Exception) -> Any:
        """The last part raises it, where the framework sees it; what the part changed before is kept, as it would be.
        Raises what cannot travel."""
        assert self._codec is not None
        assert self._carrier is not None
        with self._carrying:
            value, end = raised.told(self._codec, self._carrier, error), self.fluxions[name].get("end")
        if value is None or not end:
            raise error
        return [emit(end, {raised.FIELD: value, "request": message.body["request"]})]

    def again(self, value: Mapping[str, Any]) -> Exception:
        """What a part of a handler raised."""
        assert self._codec is not None
        assert self._carrier is not None
        with self._carrying:
            return raised.again(self._codec, self._carrier, value)

    def _job(self, name: str, message: Message, context: Fields | None) -> Job:
        body = original(message.body)
        request = request_of(body)
        work = Work(self, name, message, context, request)
        if self.groups[self.fluxions[name]["group"]]["keeping"] == "pinned":
            # From now on what changes in this process may be its.
            self._pinned_ran, self.watch = True, None
        job = Job(request, work.begin, work.end)
        job.work = work
        return job

    def _outcome(self, job: Job, response: Response) -> Answer | Emit | list[Emit]:
        work: Work = job.work
        if work.error is not None:
            raise work.error
        if work.sent:
            request = work.body | ({"key": work.chain_key} if work.chain_key else {})
            return [emit(to, variables | {"request": request}) for to, variables in work.sent]
        if work.to:
            path = self.fluxions[work.to]["key"] or "key"
            return emit(work.to, forwarded(work.body, path, work.to_key))
        return answer(response.body, response.status, response.headers)

    # -- the program ---------------------------------------------------------------------------------------

    def _start(self) -> Server:
        with self._lock:
            if self._failure is not None:
                if time.monotonic() - self._failed_s > RESTART_AFTER_S:
                    print("the program could not start: trying again, in a new process", file=sys.stderr, flush=True)
                    os._exit(EXIT_NOT_STARTED)
                raise self._failure
            if self._server is None:
                capture.PATCHES.update(guard.GUARDS)
                program = RunningProgram(self.folder, self.manifest["entry"], self.manifest["app"])
                try:
                    server = program.start()
                    self._bind(program.main)
                except BaseException as error:
                    # A second start in this process would find what the first one left.
                    self._failure, self._failed_s = error, time.monotonic()
                    raise
                self._server = server
            return self._server

    def _bind(self, main: str) -> None:
        modules = modules_of(self.manifest["modules"], self.manifest["entry"], main)
        self._names = {module.__name__: name for name, module in modules.items()}
        slots = {
            name: [find_slot(variable, modules) for variable in group["variables"]]
            for name, group in self.groups.items()
            if group["keeping"] in ("whole", "keyed")
        }
        codec = self._codec = Codec(modules)
        codec.remember({slot.id: slot.get() for each in slots.values() for slot in each})
        self._carrier = Carrier(modules)
        for name, each in slots.items():
            kind: type[Whole] | type[Keyed] = Whole if self.groups[name]["keeping"] == "whole" else Keyed
            self.bindings[name] = kind(codec, each)
        self.parts.load(modules)
        if not self._pinned_ran:
            held = [variable for group in self.groups.values() for variable in group["variables"]]
            self.watch = Watch(modules, held, codec.has)

    def fluxion_of(self, names: list[str], method: str) -> str:
        """The fluxion whose handler has one of these names; "" if none has."""
        for each in names:
            module, _, rest = each.partition(".")
            tries = [each]
            while rest:
                if module in self._names:
                    tries.append(f"{self._names[module]}.{rest}")
                part, _, rest = rest.partition(".")
                module = f"{module}.{part}"
            for text in tries:
                found = self._routes.get((text, method)) or self._routes.get((text, ""))
                if found:
                    return found
        return ""


def _place(error: BaseException, folder: Path) -> str:
    """Of the last of the program's own lines that led to it: `app.py:12`."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(f"{folder}/"):
            name = frame.filename.removeprefix(f"{folder}/")
            found = f"{name}:{frame.lineno}" if name != "liquid_service.py" else found
    return found


def _routes(fluxions: Mapping[str, dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(name of a handler, method) -> fluxion; method "" for any."""
    found: dict[tuple[str, str], str] = {}
    for name, fluxion in fluxions.items():
        for entry in fluxion["entries"]:
            for text in (entry["route"], fluxion["unit"]):
                text = text.replace(":", ".").replace(".<locals>", "")
                if not text:
                    continue
                found[text, entry["method"]] = name
                if entry["method"] == "GET":
                    found.setdefault((text, "HEAD"), name)
                found.setdefault((text, ""), name)
    return found


class Work:
    """One message of a fluxion, while its request is in the framework."""

    def __init__(self, service: Service, name: str, message: Message, context: Fields | None, request: Request) -> None:
        self._service = service
        self._name = name
        self._role: str = service.fluxions[name]["role"]
        self._message = message
        self._group: str = service.fluxions[name]["group"]
        self._key = message.key
        self._context = context
        self._request = request
        self._again = "request" in message.body
        self._entered = ""
        self._brought = False
        self._ended = False
        self._stray = service.watch.last if service.watch is not None else None
        self.to = ""
        """The fluxion to which the request belongs instead, with `to_key`."""
        self.to_key = ""
        self.chain_key = ""
        """The key that later parts find their context by."""
        self.error: Exception | None = None
        self.sent: list[tuple[str, dict[str, Any]]] = []
        """What a START sends: names of fluxions, and the variables for each."""

    @property
    def body(self) -> dict[str, Any]:
        r = self._request
        headers = [list(pair) for pair in r.headers]
        found = {"method": r.method, "target": r.target, "headers": headers, "body": r.body}
        return found | {"client": r.client, "scheme": r.scheme}

    def begin(self) -> None:
        binding = self._service.bindings.get(self._group)
        if isinstance(binding, Whole) and self._context is not None:
            self._brought = True
            binding.bring(self._context)

    def end(self) -> None:
        self._ended = True
        if self._service.watch is not None:
            self._service.watch.check(self._stray)
        if self.to or self.error is not None or self._context is None:
            return
        binding = self._service.bindings.get(self._group)
        if isinstance(binding, Whole):
            binding.take(self._context)
            self._brought = False
        elif binding is not None and self._entered:
            key, self._entered = self._entered, ""
            binding.take(key, self._context)
        elif binding is not None:
            binding.check()

    def leave(self) -> None:
        """Whatever happened."""
        if not self._ended and self._service.watch is not None:
            self._service.watch.settle()
        if self._entered:
            binding = self._service.bindings[self._group]
            assert isinstance(binding, Keyed)
            binding.drop(self._entered)
        if self._brought and not self.to:
            binding = self._service.bindings[self._group]
            assert isinstance(binding, Whole)
            binding.lose()

    def enters(self, names: list[str], method: str, params: Mapping[str, Any]) -> bool:
        """Whether the handler of these names may be run now. If not, where the request belongs is in `to`."""
        fluxion = self._service.fluxion_of(names, method)
        if not fluxion or self.to or self.error is not None:
            return not self.to and self.error is None
        if self._role == "end":
            return self._enters_last(fluxion)
        if fluxion != self._name and self._service.fluxions[fluxion]["role"] == "start":
            return self._forward(fluxion, fluxion, self._key_of(fluxion, params) or "")
        if self._role == "start":
            self.chain_key = self._key_of(fluxion, params) or ""
        group: str = self._service.fluxions[fluxion]["group"]
        keeping = self._service.groups[group]["keeping"]
        if keeping == "none":
            return True
        if keeping != "keyed":
            return group == self._group or self._forward(fluxion, self._service.groups[group]["door"], "")
        key = self._key_of(fluxion, params)
        if key is None:
            return True  # The handler will see that, too; without a key there is no entry that it could touch.
        if group != self._group or key != self._key:
            start = self._service.fluxions[fluxion]["role"] == "start"
            return self._forward(fluxion, fluxion if start else self._service.groups[group]["door"], key)
        self._bring_entry(key)
        return True

    def _enters_last(self, fluxion: str) -> bool:
        if self._service.fluxions[self._name]["start"] != fluxion:
            return self._misplaced(fluxion, "")
        if self._service.groups[self._group]["keeping"] == "keyed":
            self._bring_entry(self._key)
        return True

    def _bring_entry(self, key: str) -> None:
        binding = self._service.bindings[self._group]
        assert isinstance(binding, Keyed)
        assert self._context is not None
        if not self._entered:
            binding.bring(key, self._context)
            self._entered = key

    def part(self, given: Mapping[str, Any]) -> Callable[[], Any] | None:
        """What is to be called instead of the handler, which would get `given`; None: the handler. What it returns is
        for `took`."""
        if self._role not in ("start", "end"):
            return None
        if self._role == "end" and raised.FIELD in self._message.body:
            return self._raise
        body = self._service.brought(self._message)
        brought = {name: value for name, value in body.items() if name != "request"}
        variables = {**given, **brought} if self._role == "end" else given
        return lambda: self._service.parts.call(self._name, variables)

    def _raise(self) -> None:
        raise self._service.again(self._message.body[raised.FIELD])

    def took(self, result: Any) -> bool:
        """What the part returned. Whether the request ends with that, as it goes on in another fluxion."""
        self.sent = self._service.carried(sendings(result))
        return bool(self.sent)

    def _key_of(self, fluxion: str, params: Mapping[str, Any]) -> str | None:
        known = self._service.fluxions[fluxion]
        try:
            return key_in(self._request, params, known["key"], known["convert"]) if known["key"] else None
        except LookupError:
            return None

    def _forward(self, fluxion: str, to: str, key: str) -> bool:
        if self._again:
            return self._misplaced(fluxion, key)
        self.to, self.to_key = to, key
        return False

    def _misplaced(self, fluxion: str, key: str) -> bool:
        place = f"'{self._name}' (key '{self._key}')"
        self.error = Misplaced(f"a request for {place} came to the handler of '{fluxion}' (key '{key}')")
        return False

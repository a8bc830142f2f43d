"""A real broker, a real gateway and a real Redis as processes; the worker and the controller behind them are
played here, in a thread: what arrives is answered as `BEHAVIOUR` says for the fluxion it is for.

Also a program: `python tests/cluster/gateway_cluster.py PORT` runs it all, for measuring by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from liquefy import messages as m  # noqa: E402
from liquefy import values  # noqa: E402
from liquefy.effects import SendFrame  # noqa: E402
from liquefy.graph import Fluxion, Graph, Group, Input  # noqa: E402
from liquefy.redis_server import RedisServer  # noqa: E402
from liquefy.sending import PACE_MS, Outgoing  # noqa: E402
from liquefy.transport import Link  # noqa: E402

ROUTES = {
    "echo": "* /echo/{id}",
    "files": "GET /files/{rest...}",
    "answer": "POST /answer",
    "silent": "GET /silent",
    "late": "POST /late",
    "keyed": "POST /keyed",
    "count": "POST /count/{id}",
    "raw": "* /raw/{path...}",
    "large": "GET /large/{bytes}",
}
KEYS = {"keyed": "body.user.id", "count": "params.id", "raw": "body.user"}


def graph(deadline_ms: int = 1_000) -> Graph:
    inputs, fluxions, groups = [], [], []
    for name, route in ROUTES.items():
        method, _, path = route.partition(" ")
        inputs.append(Input(f"in-{name}", method, path, name, raw=name == "raw"))
        fluxions.append(Fluxion(name, f"app:{name}", name, KEYS.get(name, "")))
        groups.append(Group(name, name == "count", 8))
    return Graph("test", 1, "", tuple(inputs), tuple(fluxions), tuple(groups), deadline_ms)


class Node:
    """Worker `node1` and the controller, each a Link of its own. Runs in a loop of its own thread."""

    def __init__(self, broker: str, the_graph: Graph) -> None:
        self.broker, self.graph = broker, the_graph
        self.window = 1_000
        self.seen: dict[bytes, int] = {}
        """How often each message came."""
        self.counted: dict[str, int] = {}
        self.handled: set[bytes] = set()
        self.raw: list[dict[str, Any]] = []
        self.answered_late: list[m.Message] = []
        self.acked = 0
        self._out = Outgoing()
        self._flushing = False
        self._flushed_ms = 0
        self._epoch = 0

    def start(self) -> None:
        ready = threading.Event()

        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            self.stop = asyncio.Event()
            self.worker = Link(self.broker, "node1", self._frames, self._up, self._out.on_disconnected)
            self.controller = Link(self.broker, "ctl1", self._controls, self._controller_up, lambda: None)
            self.worker.open()
            self.controller.open()
            ready.set()
            while not self.stop.is_set():
                self.worker.send([m.encode(m.Beat(self.window))])
                self.controller.send([m.encode(m.Beat(0))])
                self._out.on_tick(time.time_ns() // 1_000_000)
                self._flush()  # what was too much for the last one
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), 0.05)
            self.worker.close()
            self.controller.close()

        def main() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())

        self._thread = threading.Thread(target=main, daemon=True)
        self._thread.start()
        ready.wait(10)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self._thread.join()

    def call(self, work: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(work)

    # -- the controller's part ------------------------------------------------------------------------------

    def _controller_up(self, session: bytes) -> None:
        self.controller.send([m.encode(m.Hello("controller", "ctl1"))])

    def _controls(self, frames: list[bytes]) -> None:
        if len(frames) != 1:
            return
        message = m.decode_control(frames[0])
        if isinstance(message, m.PeerUp) and message.role == "gateway":
            self.controller.send([message.session, m.encode(m.Graphs([self.graph]))])
        if isinstance(message, m.PeerUp) and message.role == "worker":
            self._epoch += 1
            claims = [(name, self._epoch, "node1") for name in self.graph.partition_names()]
            self.controller.send([m.encode(m.Assign(claims))])

    # -- the worker's part ----------------------------------------------------------------------------------

    def _up(self, session: bytes) -> None:
        self.worker.send([m.encode(m.Hello("worker", "node1"))])

    def _frames(self, frames: list[bytes]) -> None:
        if len(frames) == 1:
            message = m.decode_control(frames[0])
            if isinstance(message, m.Welcome):
                self._out.on_routes(message.routes, whole=True)
            elif isinstance(message, m.Routes):
                self._out.on_routes(message.routes)
            elif isinstance(message, m.Activate):
                self.worker.send([m.encode(m.Activated(message.partition, message.epoch))])
        elif len(frames) == 2:
            message = m.decode_control(frames[1])
            if isinstance(message, m.Ack):
                self.acked += len(self._out.settle(message.seqs))
        else:
            seqs = []
            for part in m.decode_payload(frames[2]):
                for posted in part:
                    seqs.append(posted.seq)
                    self._handle(posted.message)
            self.worker.send([frames[0], m.encode(m.Ack(seqs))])
        self.flush()

    def flush(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._flushed_ms += PACE_MS  # it keeps to no pace
        for frame in self._out.flush(self._flushed_ms):
            self._send(frame)

    def _send(self, frame: SendFrame) -> None:
        self.worker.send([b"", m.encode(frame.header), m.encode(frame.parts)])

    def _handle(self, message: m.Message) -> None:
        self.seen[message.id] = self.seen.get(message.id, 0) + 1
        if message.id in self.handled:  # as a worker drops what it has handled
            return
        self.handled.add(message.id)
        answer = BEHAVIOUR[message.fluxion](self, message)
        if answer is not None:
            self.answer(message, *answer)

    def answer(self, message: m.Message, status: int, headers: dict[str, str], body: Any) -> None:
        out = m.Message(
            id=m.child_id(message.id, 0),
            fluxion="output",
            key=message.key,
            body=values.pack(body),
            born_ms=message.born_ms,
            root=message.root,
            gateway=message.gateway,
            deadline_ms=message.deadline_ms,
            remember=message.remember,
            status=status,
            headers=tuple(headers.items()),
        )
        self._out.post("@" + message.gateway, out, None)
        self.flush()


def _echo(node: Node, message: m.Message) -> Any:
    return 0, {}, values.unpack(message.body)


def _answer(node: Node, message: m.Message) -> Any:
    body = values.unpack(message.body)["body"]
    return body["status"], body.get("headers", {}), SHAPES.get(body.get("shape"), body.get("body"))


def _raw(node: Node, message: m.Message) -> Any:
    body = {**values.unpack(message.body), "key": message.key}
    node.raw.append(body)
    head = {"X-As-Written": "yes", "content-length": "17"}
    return (302, head, None) if body["method"] == "HEAD" else (418, head, body["body"])


def _keyed(node: Node, message: m.Message) -> Any:
    return 0, {}, {"key": message.key}


def _count(node: Node, message: m.Message) -> Any:
    node.counted[message.key] = node.counted.get(message.key, 0) + 1
    return 201, {"x-count": str(node.counted[message.key])}, {"count": node.counted[message.key]}


def _large(node: Node, message: m.Message) -> Any:
    return 0, {}, "x" * int(values.unpack(message.body)["params"]["bytes"])


def _late(node: Node, message: m.Message) -> Any:
    node.answered_late.append(message)


SHAPES: dict[Any, Any] = {"bytes": b"\x00\x01", "nothing": None, "set": {1}}
BEHAVIOUR: dict[str, Callable[[Node, m.Message], Any]] = {
    "echo": _echo,
    "files": _echo,
    "answer": _answer,
    "silent": lambda node, message: None,
    "late": _late,
    "keyed": _keyed,
    "count": _count,
    "raw": _raw,
    "large": _large,
}


class Process:
    """One role as a process, its log in a file."""

    def __init__(self, role: str, folder: Path, **settings: Any) -> None:
        self.log = folder / f"{settings['name']}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LIQUEFY_")}
        environment |= {f"LIQUEFY_{k.upper()}": str(v) for k, v in settings.items()}
        with self.log.open("ab") as log:
            environment["PYTHONPATH"] = str(ROOT)
            command = [sys.executable, "-P", "-m", role]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Cluster:
    """Everything, up and ready. `settings` are the gateway's."""

    def __init__(self, folder: Path, deadline_ms: int = 1_000, port: int = 0, **settings: Any) -> None:
        self.folder = folder
        self.settings = settings
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.broker = self.start_broker()
        self.node = Node(self.endpoint, graph(deadline_ms))
        self.node.start()
        self.port = port or free_port()
        self.gateway = self.start_gateway()
        self.wait_ready()

    def start_broker(self) -> Process:
        return Process("broker", self.folder, name="broker", bind=self.endpoint, broker=self.endpoint)

    def start_gateway(self, port: int = 0, name: str = "gateway1") -> Process:
        return Process(
            "gateway",
            self.folder,
            name=name,
            broker=self.endpoint,
            redis=self.redis.url,
            http_port=port or self.port,
            **self.settings,
        )

    def end(self) -> None:
        for process in (self.gateway, self.broker):
            process.end()
        self.node.end()
        self.redis.stop()

    def wait_ready(self, port: int = 0) -> None:
        """Routes are there, and a window is granted."""
        until(lambda: self.try_get("/echo/ready", port) == 200)

    def try_get(self, path: str, port: int = 0) -> int:
        try:
            return self.ask("GET", path, port=port)[0]
        except OSError:
            return 0

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, port: int = 0
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body. A body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()


def until(condition: Callable[[], object], within_s: float = 15.0) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.01)


def main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), 30_000, int(sys.argv[1]))
        print(f"http://127.0.0.1:{cluster.port}/echo/1", cluster.gateway.process.pid, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        cluster.end()


if __name__ == "__main__":
    main()

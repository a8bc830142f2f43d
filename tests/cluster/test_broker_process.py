"""The real broker process with real connections."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from liquefy import messages as m
from liquefy.messages import Claim, Message, Part, Posted, Route
from liquefy.transport import Link

P = "shop/cart/0"
ROOT = Path(__file__).resolve().parents[2]


class Peer:
    """What a worker or gateway does of the protocol: Hello, the table, and what it got."""

    def __init__(self, endpoint: str, role: m.Role, name: str, *claims: Claim) -> None:
        self.role, self.name, self.claims = role, name, list(claims)
        self.session = b""
        self.table: dict[str, Route] = {}
        self.control: list[m.Control] = []
        self.data: list[tuple[bytes, int]] = []
        self.relayed: list[tuple[bytes, m.Control]] = []
        self.link = Link(endpoint, name, self._on_frames, self._on_up, lambda: self.table.clear())
        self.link.open()

    def say(self, message: m.Control) -> None:
        self.link.send([m.encode(message)])

    def post(self, destination: str, number: int) -> None:
        posted = Posted(number, Message(b"%d" % number, "cart", "k", b"body", 0))
        header = m.encode([Part(destination, self.table[destination].path, 1)])
        self.link.send([b"", header, m.encode([[posted]])])

    def _on_up(self, session: bytes) -> None:
        self.session = session
        self.say(m.Hello(self.role, self.name, self.claims))

    def _on_frames(self, frames: list[bytes]) -> None:
        if len(frames) == 3:
            self.data += [(frames[0], p.seq) for part in m.decode_payload(frames[2]) for p in part]
        elif len(frames) == 2:
            self.relayed.append((frames[0], m.decode_control(frames[1])))
        else:
            message = m.decode_control(frames[0])
            if isinstance(message, m.Welcome | m.Routes):
                self.table.update((r.destination, r) for r in message.routes)
            elif isinstance(message, m.Ping):
                self.say(m.Read(message.mark) if message.mark else m.Beat())
            else:
                self.control.append(message)


class Brokers:
    """Starts brokers on one free port, one after the other."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *settings: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-P", "-m", "broker", "--bind", self.endpoint, *settings]
        process = subprocess.Popen(
            arguments, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    started = Brokers()
    yield started
    started.stop()


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 20)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_two_peers_exchange_data_through_the_broker(brokers: Brokers) -> None:
    async def test() -> None:
        gateway = Peer(brokers.endpoint, "gateway", "gw")
        node = Peer(brokers.endpoint, "worker", "node1", Claim(P, 7))
        await until(lambda: P in gateway.table and "@gw" in node.table)
        for number in range(1_000):
            gateway.post(P, number)
            node.post("@gw", number)
        await until(lambda: len(node.data) == len(gateway.data) == 1_000)
        assert node.data == [(gateway.session, n) for n in range(1_000)]
        assert gateway.data == [(node.session, n) for n in range(1_000)]
        node.link.send([gateway.session, m.encode(m.Ack([1, 2]))])
        await until(lambda: gateway.relayed)
        assert gateway.relayed == [(node.session, m.Ack([1, 2]))]
        gateway.link.close()
        node.link.close()

    brokers.start()
    run(test())


def test_a_migration_through_the_broker_loses_and_reorders_nothing(brokers: Brokers) -> None:
    async def test() -> None:
        controller = Peer(brokers.endpoint, "controller", "controller")
        gateway = Peer(brokers.endpoint, "gateway", "gw")
        source = Peer(brokers.endpoint, "worker", "node1", Claim(P, 7))
        target = Peer(brokers.endpoint, "worker", "node2")
        await until(lambda: P in gateway.table)
        await until(lambda: sum(isinstance(message, m.PeerUp) for message in controller.control) == 3)
        for number in range(100):
            gateway.post(P, number)
        await until(lambda: source.data)
        source.say(m.Hold(P, 7))
        await until(lambda: m.Held(P, 7) in source.control)
        before = len(source.data)
        for number in range(100, 200):
            gateway.post(P, number)
        source.say(m.Handover(P, 8, "node2"))
        await until(lambda: m.Activate(P, 8) in target.control)
        target.say(m.Activated(P, 8))
        for number in range(200, 300):
            gateway.post(P, number)
        await until(lambda: len(source.data) + len(target.data) == 300)
        assert [n for _, n in source.data] == list(range(before))
        assert [n for _, n in target.data] == list(range(before, 300))
        await until(lambda: any(isinstance(message, m.Landed) for message in controller.control))
        for peer in (controller, gateway, source, target):
            peer.link.close()

    brokers.start()
    run(test())


def test_a_killed_broker_comes_back_with_new_paths_and_the_claims_of_its_peers(brokers: Brokers) -> None:
    async def test() -> None:
        gateway = Peer(brokers.endpoint, "gateway", "gw")
        node = Peer(brokers.endpoint, "worker", "node1", Claim(P, 7))
        await until(lambda: P in gateway.table)
        old, session = gateway.table[P], node.session
        first.kill()
        await until(lambda: P not in gateway.table)
        brokers.start()
        await until(lambda: P in gateway.table)
        assert gateway.table[P].path > old.path
        assert gateway.table[P].epoch == 7
        assert gateway.table[P].session == node.session != session
        gateway.post(P, 1)
        await until(lambda: node.data)
        gateway.link.close()
        node.link.close()

    first = brokers.start()
    run(test())


def test_controllers_are_told_of_a_dead_peer_at_once_and_of_the_log(brokers: Brokers) -> None:
    async def test() -> None:
        controller = Peer(brokers.endpoint, "controller", "controller")
        await until(lambda: any(isinstance(message, m.LogLine) for message in controller.control))
        node = Peer(brokers.endpoint, "worker", "node1", Claim(P, 7))
        await until(lambda: any(isinstance(message, m.PeerUp) for message in controller.control))
        node.link.close()
        await until(lambda: m.PeerDown("worker", "node1", node.session) in controller.control)
        lines = [message.text for message in controller.control if isinstance(message, m.LogLine)]
        assert "node1 (worker) connected with 1 partition" in lines
        controller.link.close()

    brokers.start()
    run(test())


def test_it_ends_cleanly_and_a_second_one_says_what_is_in_its_way(brokers: Brokers) -> None:
    first = brokers.start()
    assert first.stderr is not None
    assert "listening on" in first.stderr.readline()
    second = brokers.start()
    _, complaint = second.communicate(timeout=20)
    assert second.returncode == 2
    assert complaint.startswith(f"error: {brokers.endpoint}: cannot listen here")
    assert "remedy:" in complaint
    assert "Traceback" not in complaint
    first.send_signal(signal.SIGTERM)
    _, rest = first.communicate(timeout=20)
    assert first.returncode == 0
    assert "stopped" in rest
    assert "Traceback" not in rest

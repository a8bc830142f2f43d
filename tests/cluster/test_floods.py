"""Peers that send what nobody can read, or more than anybody wants, to real processes: they lose their connection, or
are slowed down; the others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import psutil
import pytest
import zmq
from test_broker_process import Brokers as Started
from test_broker_process import P, Peer, brokers, run, until  # noqa: F401

from liquefy import messages as m
from liquefy.messages import Claim, Part

FLOOD_S = 2.0
FRAME_BYTES = 1024
HEADER = m.encode([Part("nobody/has/0", 1, 1)])
BIG_FRAME_BYTES = 256 * 1024
LIMIT_BYTES = 32 * 2**20
Q = "shop/cart/1"


class Dealer:
    """A connection that keeps to no rule but those of ZeroMQ."""

    def __init__(self, endpoint: str, hello: m.Hello) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.endpoint, self.hello, self.sessions = endpoint, hello, 0
        self.connect()

    def connect(self) -> None:
        """Anew, as another session."""
        if self.sessions:
            self.socket.close(linger=0)
        self.sessions += 1
        self.socket = self.context.socket(zmq.DEALER)
        for option, value in ((zmq.SNDTIMEO, 100), (zmq.SNDHWM, 16), (zmq.RCVHWM, 1), (zmq.RCVBUF, 65536)):
            self.socket.setsockopt(option, value)
        self.socket.setsockopt(zmq.IDENTITY, f"{self.hello.name}#{self.sessions}".encode())
        self.socket.connect(self.endpoint)
        self.socket.send(m.encode(self.hello))


def flood(
    endpoint: str, hello: m.Hello, stop: threading.Event, header: bytes = HEADER, size: int = FRAME_BYTES
) -> tuple[int, int]:
    """Data frames as fast as they are taken, by a new session when one is refused; how many there were of both."""
    dealer = Dealer(endpoint, hello)
    sent, payload = 0, m.encode([[m.Posted(1, m.Message(b"i", "f", "k", bytes(size), 0))]])
    while not stop.is_set():
        try:
            dealer.socket.send_multipart((b"", header, payload), copy=False)
            while dealer.socket.poll(0):
                if isinstance(m.decode_control(dealer.socket.recv_multipart()[0]), m.Fenced):
                    dealer.connect()
        except zmq.Again:
            continue
        sent += 1
    dealer.context.destroy(linger=0)
    return sent, dealer.sessions


def beat_unread(dealer: Dealer, stop: threading.Event) -> None:
    """It lives, and reads nothing."""
    while not stop.wait(0.05):
        with contextlib.suppress(zmq.Again):
            dealer.socket.send(m.encode(m.Beat(10)))
    dealer.context.destroy(linger=0)


@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_a_peer_that_floods_the_broker_fills_no_memory_and_stops_nobody(brokers: Started, role: m.Role) -> None:  # noqa: F811
    async def test() -> None:
        process = psutil.Process(brokers.start().pid)
        gateway, node = Peer(brokers.endpoint, "gateway", "gw"), Peer(brokers.endpoint, "worker", "node1", Claim(P, 1))
        await until(lambda: gateway.table.get(P) and node.table)
        before, stop = process.memory_info().rss, threading.Event()
        sent = asyncio.create_task(asyncio.to_thread(flood, brokers.endpoint, m.Hello(role, "flood"), stop))
        waits, most, ends = [], 0, time.monotonic() + FLOOD_S
        while time.monotonic() < ends:
            number, began = len(waits), time.monotonic()
            gateway.post(P, number)
            await until(lambda: len(node.data) > len(waits))
            waits.append(time.monotonic() - began)
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.02)
        stop.set()
        print(f"{await sent} frames, sessions; waits up to {max(waits):.3f} s; {(most - before) / 2**20:.0f} MiB more")
        assert [number for _, number in node.data] == list(range(len(waits)))
        assert max(waits) < 1.5
        assert most - before < 20 * 2**20
        gateway.link.close()
        node.link.close()

    run(test())


@pytest.mark.parametrize("held", [False, True], ids=["not read by its owner", "held"])
def test_big_frames_for_a_real_partition_fill_no_memory_and_stop_nobody(brokers: Started, held: bool) -> None:  # noqa: F811
    async def test() -> None:
        process = psutil.Process(brokers.start("--flood-bytes-max", str(LIMIT_BYTES)).pid)
        gateway, node = Peer(brokers.endpoint, "gateway", "gw"), Peer(brokers.endpoint, "worker", "node1", Claim(Q, 1))
        stop, beating, source = threading.Event(), None, None
        if held:
            source = Peer(brokers.endpoint, "worker", "node2", Claim(P, 1))
            await until(lambda: P in gateway.table)
            source.say(m.Hold(P, 1))
            await until(lambda: m.Held(P, 1) in source.control)
            gateway.post(P, 1_000_000)
        else:
            deaf = Dealer(brokers.endpoint, m.Hello("worker", "node2", [Claim(P, 1)]))
            beating = asyncio.create_task(asyncio.to_thread(beat_unread, deaf, stop))
        await until(lambda: P in gateway.table and Q in gateway.table)
        header = m.encode([Part(P, gateway.table[P].path, 1)])
        before, hello = process.memory_info().rss, m.Hello("worker", "flood")
        sent = asyncio.create_task(
            asyncio.to_thread(flood, brokers.endpoint, hello, stop, header, BIG_FRAME_BYTES)
        )
        waits, most, ends = [], 0, time.monotonic() + FLOOD_S
        while time.monotonic() < ends:
            number, began = len(waits), time.monotonic()
            gateway.post(Q, number)
            await until(lambda: len(node.data) > len(waits))
            waits.append(time.monotonic() - began)
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.02)
        stop.set()
        frames, sessions = await sent
        grown = f"{(most - before) / 2**20:.0f} MiB more"
        print(f"{frames} frames, {sessions} sessions; waits up to {max(waits):.3f} s; {grown}")
        assert [number for _, number in node.data] == list(range(len(waits)))
        assert not any(isinstance(said, m.Fenced) for said in gateway.control + node.control)
        assert max(waits) < 1.5
        assert most - before < 3 * LIMIT_BYTES
        if source is not None:
            source.say(m.Release(P, 1))
            await until(lambda: (gateway.session, 1_000_000) in source.data)
            source.link.close()
        if beating is not None:
            await beating
        gateway.link.close()
        node.link.close()

    run(test())


def test_what_a_receiver_cannot_read_costs_its_sender_its_session(brokers: Started) -> None:  # noqa: F811
    async def test() -> None:
        brokers.start()
        gateway, node = Peer(brokers.endpoint, "gateway", "gw"), Peer(brokers.endpoint, "worker", "node1", Claim(P, 1))
        await until(lambda: gateway.table.get(P) and node.table)
        garbage = [b"", m.encode([Part(P, gateway.table[P].path, 1)]), b"\xc1garbage"]
        unread: list[bytes] = []
        node.link._reader._on_frames = lambda frames: (  # type: ignore[union-attr]
            unread.append(frames[0]) if len(frames) == 3 else Peer._on_frames(node, frames)
        )
        gateway.link.send(garbage)
        await until(lambda: unread)
        assert not any(isinstance(said, m.Fenced) for said in gateway.control)
        node.say(m.Malformed(unread[0]))
        while not any(isinstance(said, m.Fenced) for said in gateway.control):
            gateway.link.send(garbage)
            await asyncio.sleep(0.02)
        assert not any(isinstance(said, m.Fenced) for said in node.control)
        gateway.link.close()
        node.link.close()

    run(test())

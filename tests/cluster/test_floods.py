"""Peers that send what nobody can read, or more than anybody wants, to real processes: they lose their connection, or
are slowed down; the others notice nothing."""

from __future__ import annotations

import asyncio
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


def flood(endpoint: str, hello: m.Hello, stop: threading.Event) -> int:
    """Data frames as fast as they are taken; how many there were."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, hello.name.encode() + b"#1")
    socket.setsockopt(zmq.SNDTIMEO, 100)
    socket.connect(endpoint)
    socket.send(m.encode(hello))
    sent, payload = 0, m.encode([[m.Posted(1, m.Message(b"i", "f", "k", bytes(FRAME_BYTES), 0))]])
    while not stop.is_set():
        try:
            socket.send_multipart((b"", HEADER, payload), copy=False)
        except zmq.Again:
            continue
        sent += 1
    context.destroy(linger=0)
    return sent


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
        print(f"{await sent} frames; waits up to {max(waits):.3f} s; {(most - before) / 2**20:.0f} MiB more")
        assert [number for _, number in node.data] == list(range(len(waits)))
        assert max(waits) < 1.5
        assert most - before < 20 * 2**20
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

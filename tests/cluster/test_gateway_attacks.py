"""What strangers and strange peers do to a gateway: it serves the others meanwhile, and takes no harm."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

import psutil
import pytest
from fuzz.making import Maker
from gateway_cluster import Cluster, until

from liquefy import messages as m
from liquefy.decoding import TIME_MAX_MS
from liquefy.messages import Part

IDLE = 10_000
IDLE_BYTES_MAX = 24 * 1024
"""Of the gateway's memory, for each connection."""

PIPELINED = 200_000

HELD_BYTES_MAX = 20 * 2**20

FIELDS = b"".join(b"%x:\r\n" % i for i in range(3_500))
FLOODS = {
    "headers before a body": (300, b"POST /late HTTP/1.1\r\nHost: a\r\n" + FIELDS + b"Content-Length: 9\r\n\r\n"),
    "headers without end": (300, b"GET /silent HTTP/1.1\r\nHost: a\r\n" + FIELDS),
    "pipelined requests": (
        100,
        b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        + (b"GET /silent HTTP/1.1\r\nHost: a\r\n" + FIELDS + b"\r\n") * 20,
    ),
    "answers that are not read": (8, b"GET /large/6000000 HTTP/1.1\r\nHost: a\r\n\r\n" * 32),
}
"""How many clients send what."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("attacked"), header_timeout_ms=60_000)
    yield started
    started.end()


def rss(cluster: Cluster) -> int:
    found: int = psutil.Process(cluster.gateway.process.pid).memory_info().rss
    return found


def connected(cluster: Cluster) -> socket.socket:
    return socket.create_connection(("127.0.0.1", cluster.port), timeout=10)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("small")
    started = Cluster(folder, 5_000, header_timeout_ms=60_000, queued_bytes_max=HELD_BYTES_MAX)
    yield started
    started.end()


def figure(cluster: Cluster, name: str) -> int:
    for line in cluster.ask("GET", "/-/metrics")[2].decode().splitlines():
        if line.startswith(f"liquefy_gateway_{name} "):
            return int(line.split()[1])
    return 0


def sent(clients: list[tuple[socket.socket, bytes]]) -> None:
    """As much as there is room for, for half a second."""
    ends = time.monotonic() + 0.5
    left = [(client, memoryview(data)) for client, data in clients]
    while left and time.monotonic() < ends:
        rest = []
        for client, data in left:
            try:
                data = data[client.send(data[:65_536]) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                continue
            if data:
                rest.append((client, data))
        left = rest


@pytest.mark.parametrize("flood", FLOODS)
def test_what_clients_make_it_hold_is_bounded(small: Cluster, flood: str) -> None:
    before, (count, data) = rss(small), FLOODS[flood]
    answered, cut = figure(small, 'answers_total{status="503"}'), figure(small, "clients_cut_off_total")
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", small.port))
        client.setblocking(False)
        clients.append((client, data))
    try:
        sent(clients)
        if flood == "answers that are not read":
            until(lambda: figure(small, "clients_cut_off_total") > cut)
            assert "is cut off" in small.gateway.log.read_text()
        elif flood == "pipelined requests":
            until(lambda: figure(small, "held_bytes") > HELD_BYTES_MAX / 4)
        else:
            until(lambda: figure(small, 'answers_total{status="503"}') > answered)
        assert small.try_get("/echo/meanwhile") == 200
        assert figure(small, "held_bytes") < HELD_BYTES_MAX + 2**20
        assert rss(small) - before < 5 * HELD_BYTES_MAX
    finally:
        for client, _ in clients:
            client.close()
    until(lambda: figure(small, "held_bytes") == 0)
    assert small.try_get("/echo/after") == 200


def test_frames_that_cannot_be_read_are_dropped_counted_and_logged_once(cluster: Cluster) -> None:
    node = cluster.node

    def garbage() -> None:
        route = node._out.route("@gateway1")
        assert route is not None
        header = m.encode([Part(route.destination, route.path, 1)])
        node.worker.send([b"", header, b"\xc1garbage"])
        node.worker.send([b"", header, m.encode([[], []])])
        node.worker.send([route.session, m.encode(m.Ack([1]))[:-1]])
        node.worker.send([route.session, b"\x91\xa3Ack"])

    for _ in range(5):
        node.call(garbage)
        time.sleep(0.1)
    until(lambda: b"bad_frames_total" in cluster.ask("GET", "/-/metrics")[2])
    assert cluster.try_get("/echo/1") == 503, "the node was expelled"
    node.call(node.worker.reconnect)
    cluster.wait_ready()
    assert cluster.gateway.process.poll() is None
    assert cluster.gateway.log.read_text().count("not in the protocol") == 1
    assert cluster.broker.log.read_text().count("not in the protocol") == 1


def test_answers_for_nobody_are_no_harm(cluster: Cluster) -> None:
    node, maker = cluster.node, Maker(random.Random(7), wild=0)
    maker.known["gateway"] = ("gateway1", "", "gateway2")

    made = [maker.made(m.Message, fluxion="output") for _ in range(400)]
    messages = [message for message in made if max(message.born_ms, message.deadline_ms, message.due_ms) <= TIME_MAX_MS]

    def flood() -> None:
        for message in messages:
            node._out.post("@gateway1", message, None)
        node.flush()

    before = rss(cluster)
    for _ in range(10):
        node.call(flood)
        assert cluster.try_get("/echo/meanwhile") == 200
    assert rss(cluster) - before < 50 * 2**20


def test_random_bytes_are_answered_or_cut_off(cluster: Cluster) -> None:
    maker = Maker(random.Random(11))
    right = b"POST /echo/1?a=%41 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for _ in range(200):
        with connected(cluster) as client:
            client.sendall(maker.bytes(60) if maker.often(0.2) else maker.spoilt(right))
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while data := client.recv(65_536):
                answer += data
            assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:80]
            assert b"HTTP/1.1 500" not in answer
    assert cluster.try_get("/echo/after") == 200


def test_a_flood_of_pipelined_requests_is_read_no_faster_than_it_is_answered(cluster: Cluster) -> None:
    before, sent = rss(cluster), 0
    flood = b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000
    with connected(cluster) as client:
        client.settimeout(0.5)
        while sent < PIPELINED:
            try:
                client.sendall(flood)
            except TimeoutError:
                break
            sent += 1_000
        assert sent < PIPELINED, "it takes all that comes"
        assert cluster.try_get("/echo/meanwhile") == 200
        assert rss(cluster) - before < 20 * 2**20
        metrics = cluster.ask("GET", "/-/metrics")[2].decode()
        waiting = int(metrics.split("liquefy_gateway_requests_waiting ")[1].split()[0])
        assert waiting <= 16


@pytest.mark.slow
def test_ten_thousand_idle_connections(cluster: Cluster) -> None:
    before, clients = rss(cluster), []
    try:
        for number in range(IDLE - 5):
            client = connected(cluster)
            clients.append(client)
            if number % 2:
                client.sendall(b"GET /echo/1 HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        each = (rss(cluster) - before) / len(clients)
        print(f"{each:.0f} bytes of memory for each of {len(clients)} connections")
        assert each < IDLE_BYTES_MAX
        began = time.monotonic()
        assert cluster.try_get("/echo/meanwhile") == 200
        assert time.monotonic() - began < 2
        for _ in range(20):
            clients.append(connected(cluster))
        refused = clients[-1].recv(100)
        assert refused.startswith(b"HTTP/1.1 503 ")
    finally:
        for client in clients:
            client.close()
    until(lambda: cluster.try_get("/echo/after") == 200)

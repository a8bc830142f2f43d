"""The gateway's process, over real sockets."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gateway_cluster import ROOT, Cluster, free_port, until

DEADLINE_MS = 8_000
"""Longer than anything here takes on a busy machine; a test of the deadline itself has a cluster of its own."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(
        tmp_path_factory.mktemp("gateway"),
        DEADLINE_MS,
        body_bytes_max=100_000,
        headers_bytes_max=8_000,
        header_timeout_ms=700,
        body_timeout_ms=700,
        keep_alive_ms=1_500,
    )
    yield started
    started.end()


class Raw:
    """A socket that speaks bytes."""

    def __init__(self, cluster: Cluster, port: int = 0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port or cluster.port), timeout=10)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = b"" if head or status in (100, 204, 304) else self.file.read(int(headers["content-length"]))
        return status, headers, body

    def ended(self) -> bool:
        return self.file.read(1) == b""


def request(path: str, method: str = "GET", body: bytes = b"", extra: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{extra}{length}\r\n".encode() + body


def echoed(cluster: Cluster, *arguments: Any, **named: Any) -> Any:
    status, _, body = cluster.ask(*arguments, **named)
    assert status == 200, body
    return json.loads(body)


# -- what goes in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_methods(cluster: Cluster, method: str) -> None:
    assert echoed(cluster, method, "/echo/1")["method"] == method


def test_a_whole_request(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(
            b"POST /echo/a%2Fb%20c?x=1&y=&x=2 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\n"
            b"Cookie: a=1\r\nCookie: b=2\r\nX-Empty:\r\n"
            b"Content-Type: application/json\r\nContent-Length: 15\r\n\r\n"
            b'{"a":[1,null]} '
        )
        status, headers, body = raw.answer()
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert "date" in headers
    got = json.loads(body)
    assert got["path"] == "/echo/a/b c"
    assert got["params"] == {"id": "a/b c"}
    assert got["query"] == {"x": ["1", "2"], "y": ""}
    assert got["headers"]["x-one"] == "1, 2"
    assert got["headers"]["cookie"] == "a=1; b=2"
    assert got["headers"]["x-empty"] == ""
    assert got["body"] == {"a": [1, None]}


def test_forms(cluster: Cluster) -> None:
    got = echoed(
        cluster, "POST", "/echo/1", b"a=1&a=2", {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert got["body"] == {"a": ["1", "2"]}
    form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nabc\r\n--x--\r\n'
    got = echoed(cluster, "POST", "/echo/1", form, {"Content-Type": "multipart/form-data; boundary=x"})
    assert got["body"]["f"] == {
        "filename": "n",
        "content_type": "application/octet-stream",
        "content": "YWJj",
    }


def test_a_chunked_body_and_its_trailer(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        head = b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        for piece in (head, b"3\r\nab", b"c\r\n2;x=y\r\nde\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"):
            raw.send(piece)
            time.sleep(0.01)  # so that they arrive apart
        got = json.loads(raw.answer()[2])
        assert got["body"] == "abcde"
        assert "x-trailer" not in got["headers"]
        raw.send(request("/echo/2"))
        assert raw.answer()[0] == 200


def test_a_request_byte_by_byte(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request("/echo/slow", "POST", b'{"a":1}', "Content-Type: application/json\r\n"):
            raw.send(bytes((byte,)))
        assert json.loads(raw.answer()[2])["body"] == {"a": 1}


def test_keys(cluster: Cluster) -> None:
    assert echoed(cluster, "POST", "/keyed", {"user": {"id": 7}}) == {"key": "7"}
    status, _, body = cluster.ask("POST", "/keyed", {"user": {}})
    assert status == 400
    assert json.loads(body) == {"error": "the request has no body.user.id, which is the key here"}


# -- what comes out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "status", "content_type", "body"),
    [
        ({"status": 0, "body": {"a": 1}}, 200, "application/json", b'{"a":1}'),
        ({"status": 201, "body": "text"}, 201, "text/plain; charset=utf-8", b"text"),
        ({"status": 200, "shape": "bytes"}, 200, "application/octet-stream", b"\x00\x01"),
        ({"status": 404, "shape": "set"}, 404, "application/json", b"[1]"),
        ({"status": 500, "body": {"error": "e", "dead_letter": "d"}}, 500, "application/json", None),
        ({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>"}, 200, "text/html", b"<p>"),
    ],
)
def test_answers(cluster: Cluster, told: Any, status: int, content_type: str, body: bytes | None) -> None:
    got = cluster.ask("POST", "/answer", told)
    assert got[0] == status
    assert got[1]["content-type"] == content_type
    assert got[2] == body or body is None


def test_a_raw_input_takes_requests_as_they_come(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        body = b'{"user": "ann", x'
        extra = "X-Two: a\r\nx-two: b\r\nContent-Type: application/json\r\n"
        raw.send(request("/raw/a%2Fb//c?x=1&x=%ff", "PUT", body, extra))
        status, headers, answer = raw.answer()
        assert (status, answer, headers["X-As-Written"]) == (418, body, "yes")
        assert "content-type" not in headers
        assert headers["content-length"] == str(len(body))
        seen = cluster.node.raw[-1]
        assert (seen["target"], seen["path"], seen["body"]) == ("/raw/a%2Fb//c?x=1&x=%ff", "/raw/a/b//c", body)
        assert [pair for pair in seen["headers"] if pair[0].lower() == "x-two"] == [["X-Two", "a"], ["x-two", "b"]]
        assert seen["client"].startswith("127.0.0.1:")
        raw.send(request("/raw/", "HEAD"))
        status, headers, answer = raw.answer(head=True)
        assert (status, headers["content-length"], answer) == (302, "17", b"")
        body = b'{"user": "ann"}'
        raw.send(request("/raw/", "POST", body, "Content-Type: application/json\r\n"))
        raw.answer()
        assert cluster.node.raw[-1]["key"] == "ann"
        raw.send(request("/raw/", extra="Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        assert raw.answer()[0] == 501


def test_answers_without_a_body(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        for status in (204, 304):
            told = json.dumps({"status": status, "body": "text"}).encode()
            raw.send(request("/answer", "POST", told, "Content-Type: application/json\r\n"))
            got = raw.answer()
            assert got[0] == status
            assert "content-length" not in got[1]
        raw.send(request("/echo/1", "HEAD"))
        got = raw.answer(head=True)
        assert int(got[1]["content-length"]) > 10
        raw.send(request("/echo/1"))
        assert raw.answer()[0] == 200


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "\u2603"])
def test_headers_cannot_be_injected(cluster: Cluster, value: str) -> None:
    status, headers, body = cluster.ask("POST", "/answer", {"status": 200, "headers": {"x": value}})
    assert status == 500
    assert "x-evil" not in headers
    assert "the answer's header 'x'" in json.loads(body)["error"]


# -- mistakes -----------------------------------------------------------------------------------------------


def test_no_route_and_wrong_methods(cluster: Cluster) -> None:
    assert cluster.ask("GET", "/nothing")[0] == 404
    status, headers, body = cluster.ask("DELETE", "/keyed")
    assert (status, headers["allow"]) == (405, "OPTIONS, POST")
    assert "error" in json.loads(body)
    status, headers, _ = cluster.ask("OPTIONS", "/files/a")
    assert (status, headers["allow"]) == (204, "GET, HEAD, OPTIONS")


def test_json_errors_say_where(cluster: Cluster) -> None:
    status, _, body = cluster.ask("POST", "/echo/1", b'{"a": }', {"Content-Type": "application/json"})
    assert status == 400
    assert "(byte 6)" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET \x00nonsense\r\n\r\n", 400),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET /echo/1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /echo/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /echo/1 HTTP/1.1\nHost: a\n\n", 400),
        (b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /echo/1 HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /echo/1 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431),
        (b"GET /echo/1 HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 3_000, 431),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413),
        (b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n", 413),
        (
            b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n"
            b"Content-Length: 1\r\n\r\na",
            501,
        ),
    ],
)
def test_what_is_not_let_in(cluster: Cluster, data: bytes, status: int) -> None:
    with Raw(cluster) as raw:
        raw.send(request("/echo/before"))
        assert raw.answer()[0] == 200
        raw.send(data)
        got = raw.answer()
        assert (got[0], got[1]["connection"]) == (status, "close")
        assert "error" in json.loads(got[2])
        assert raw.ended()
    assert cluster.try_get("/echo/after") == 200


def test_a_large_body_is_refused_before_it_is_all_there(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(12):
            raw.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert raw.answer()[0] == 413
        assert raw.ended()
    body = b"x" * 100_000
    assert cluster.ask("POST", "/echo/1", body)[0] == 200
    assert cluster.ask("POST", "/echo/1", body + b"x")[0] == 413
    assert cluster.ask("POST", "/echo/1", b"x" * 5_000_000)[0] == 413, "the rest is read and thrown away"


def test_tiny_chunks_are_bounded(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        extension = b"1;" + b"e" * 60_000 + b"\r\nx\r\n"
        for _ in range(16):
            raw.send(extension)
        assert raw.answer()[0] == 413


def test_expect_continue(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert raw.answer()[0] == 100
        raw.send(b"abc")
        assert raw.answer()[0] == 200


# -- connections --------------------------------------------------------------------------------------------


def test_keep_alive(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        for i in range(5):
            raw.send(request(f"/echo/{i}"))
            assert json.loads(raw.answer()[2])["params"] == {"id": str(i)}
        raw.send(request("/echo/1", extra="Connection: close\r\n"))
        assert raw.answer()[1]["connection"] == "close"
        assert raw.ended()
    with Raw(cluster) as raw:
        raw.send(b"GET /echo/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert raw.answer()[1]["connection"] == "keep-alive"
        raw.send(b"GET /echo/1 HTTP/1.0\r\n\r\n")
        assert raw.answer()[0] == 200
        assert raw.ended()


def test_pipelined_answers_come_in_order(cluster: Cluster) -> None:
    """Many more than are handled at a time, with refused ones and one that is slow among them."""
    with Raw(cluster) as raw:
        paths = [f"/echo/{i}" for i in range(200)]
        paths[3], paths[50], paths[51] = "/silent", "/nothing", "/-/health"
        threading.Thread(target=raw.send, args=(b"".join(map(request, paths)),)).start()
        for path in paths:
            status, _, body = raw.answer()
            expected = {"/silent": 504, "/nothing": 404}.get(path, 200)
            assert status == expected
            if path.startswith("/echo"):
                assert json.loads(body)["path"] == path


def test_pipelined_changes_are_made_one_after_the_other(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(request("/late", "POST", b"x") + request("/echo/after", "POST", b"y"))
        until(lambda: cluster.node.answered_late)
        time.sleep(0.1)  # nothing can be waited for: the second one must not come
        seen = len(cluster.node.seen)
        message = cluster.node.answered_late.pop()
        cluster.node.call(lambda: cluster.node.answer(message, 200, {}, "first"))
        assert raw.answer()[2] == b"first"
        assert raw.answer()[0] == 200
        assert len(cluster.node.seen) == seen + 1
        raw.send(request("/silent") + request("/echo/change", "POST", b"y"))
        until(lambda: len(cluster.node.seen) == seen + 2)
        time.sleep(0.1)  # as above
        assert len(cluster.node.seen) == seen + 2
        assert raw.answer()[0] == 504
        assert raw.answer()[0] == 200


def test_a_client_that_closes_its_side_still_gets_its_answers(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(request("/echo/1") + request("/echo/2"))
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.answer()[0] == 200
        assert raw.answer()[0] == 200
        assert raw.ended()


@pytest.mark.parametrize(
    ("start", "drip", "status"),
    [
        (b"", b"", 0),
        (b"GET /echo/1 HTTP/1.1\r\n", b"X: y\r\n", 408),
        (b"POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x", 408),
    ],
)
def test_slow_clients_are_cut_off(cluster: Cluster, start: bytes, drip: bytes, status: int) -> None:
    began = time.monotonic()
    with Raw(cluster) as raw:
        raw.send(start)
        raw.socket.settimeout(0.05)
        data = b""
        while True:
            assert time.monotonic() - began < 5, "still there"
            try:
                more = raw.socket.recv(4_096)
                if not more:
                    break
                data += more
            except TimeoutError:
                if not data:
                    raw.send(drip)
    assert time.monotonic() - began > 0.5
    assert data.startswith(b"HTTP/1.1 408 ") if status else data == b""


def test_idle_connections_are_closed(cluster: Cluster) -> None:
    with Raw(cluster) as raw:
        raw.send(request("/echo/1"))
        assert raw.answer()[0] == 200
        began = time.monotonic()
        assert raw.ended()
        assert time.monotonic() - began > 1


def test_a_client_that_reads_nothing_is_cut_off(cluster: Cluster) -> None:
    body = b"x" * 90_000
    with Raw(cluster) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.socket.settimeout(3)
        with pytest.raises(ConnectionError):
            raw.send(request("/echo/1", "POST", body) * 1_000)


# -- the cluster --------------------------------------------------------------------------------------------


def test_the_deadline(tmp_path: Path) -> None:
    hasty = Cluster(tmp_path, 600)
    try:
        began = time.monotonic()
        status, _, body = hasty.ask("GET", "/silent")
        assert status == 504
        assert json.loads(body) == {"error": "no answer within 600 ms"}
        assert time.monotonic() - began > 0.5
    finally:
        hasty.end()


def test_the_window(cluster: Cluster) -> None:
    cluster.node.window = 2
    try:
        until(lambda: b"window 2\n" in cluster.ask("GET", "/-/metrics")[2])
        with Raw(cluster) as one, Raw(cluster) as two:
            one.send(request("/late", "POST", b"x"))
            two.send(request("/late", "POST", b"x"))
            until(lambda: len(cluster.node.answered_late) == 2)
            status, headers, _ = cluster.ask("GET", "/echo/1")
            assert (status, headers["retry-after"]) == (503, "1")
            for message in cluster.node.answered_late:
                cluster.node.call(lambda m=message: cluster.node.answer(m, 200, {}, ""))  # type: ignore[misc]
            assert one.answer()[0] == 200
            assert two.answer()[0] == 200
        assert cluster.try_get("/echo/1") == 200
    finally:
        cluster.node.answered_late.clear()
        cluster.node.window = 1_000
        until(lambda: b"window 1000\n" in cluster.ask("GET", "/-/metrics")[2])


def test_a_client_that_leaves_is_waited_for_no_more(cluster: Cluster) -> None:
    cluster.node.answered_late.clear()
    with Raw(cluster) as raw:
        raw.send(request("/late", "POST", b"x"))
        until(lambda: cluster.node.answered_late)
        assert b"requests_waiting 1\n" in cluster.ask("GET", "/-/metrics")[2]
        # Reset: a mere end of its sending may still wait for the answer.
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: b"requests_waiting 0\n" in cluster.ask("GET", "/-/metrics")[2])
    assert b"requests_outstanding 1\n" in cluster.ask("GET", "/-/metrics")[2]
    message = cluster.node.answered_late.pop()
    cluster.node.call(lambda: cluster.node.answer(message, 200, {}, ""))
    until(lambda: b"requests_outstanding 0\n" in cluster.ask("GET", "/-/metrics")[2])


def test_health(cluster: Cluster) -> None:
    status, _, body = cluster.ask("GET", "/-/health")
    assert status == 200
    assert json.loads(body)["ready"] is True
    assert cluster.ask("GET", "/-/nothing")[0] == 404
    assert cluster.ask("POST", "/-/health")[0] == 405
    port = free_port()
    lonely = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gateway",
            "--http-port",
            str(port),
            "--broker",
            f"tcp://127.0.0.1:{free_port()}",
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: cluster.try_get("/-/health", port) == 503)
        # Nobody has told it which services there are: it cannot say that there is none.
        status, headers, _ = cluster.ask("GET", "/echo/1", port=port)
        assert (status, headers["retry-after"]) == (503, "1")
    finally:
        lonely.terminate()
        lonely.communicate()


def test_an_idempotency_key_makes_it_once(cluster: Cluster) -> None:
    key = {"Idempotency-Key": "one"}
    first = cluster.ask("POST", "/count/once", {"a": 1}, key)
    assert (first[0], first[1]["x-count"], first[2]) == (201, "1", b'{"count":1}')
    assert "idempotency-replayed" not in first[1]
    again = cluster.ask("POST", "/count/once", {"a": 1}, key)
    assert (again[0], again[1]["x-count"], again[2]) == (201, "1", b'{"count":1}')
    assert again[1]["idempotency-replayed"] == "true"
    assert cluster.ask("POST", "/count/once", {"a": 2}, key)[0] == 422
    assert cluster.ask("POST", "/count/once", {"a": 1}, {"Idempotency-Key": "two"})[2] == b'{"count":2}'


def test_the_same_key_at_one_time(cluster: Cluster) -> None:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(cluster.ask("POST", "/count/at-one-time", {}, {"Idempotency-Key": "same"}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(a[0], a[2]) for a in answers} == {(201, b'{"count":1}')}


def test_a_port_in_use(cluster: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--http-port", str(cluster.port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"127.0.0.1:{cluster.port}: cannot listen for HTTP here" in done.stderr
    assert "remedy: " in done.stderr
    assert "Traceback" not in done.stderr


# -- deaths (each leaves a cluster that runs) ----------------------------------------------------------------


def test_requests_outlive_the_broker(cluster: Cluster) -> None:
    """Let in before the broker dies, answered after it is back."""
    cluster.node.answered_late.clear()
    with Raw(cluster) as raw:
        raw.send(request("/late", "POST", b"x"))
        until(lambda: cluster.node.answered_late)
        cluster.broker.end(signal.SIGKILL)
        message = cluster.node.answered_late.pop()
        cluster.node.call(lambda: cluster.node.answer(message, 200, {}, "after"))
        cluster.broker = cluster.start_broker()
        assert raw.answer()[2] == b"after"
    cluster.wait_ready()


def test_a_killed_gateways_request_takes_effect_once(cluster: Cluster) -> None:
    """The answer comes to its successor, which keeps it for the client who tries again."""
    cluster.node.answered_late.clear()
    key = {"Idempotency-Key": "killed"}
    with Raw(cluster) as raw:
        raw.send(request("/late", "POST", b"x", "Idempotency-Key: killed\r\n"))
        until(lambda: cluster.node.answered_late)
        cluster.gateway.end(signal.SIGKILL)
    message = cluster.node.answered_late.pop()
    cluster.node.call(lambda: cluster.node.answer(message, 201, {}, "kept"))
    cluster.gateway = cluster.start_gateway()
    cluster.wait_ready()
    until(lambda: cluster.ask("POST", "/late", b"x", key)[2] == b"kept")
    status, headers, _ = cluster.ask("POST", "/late", b"x", key)
    assert (status, headers["idempotency-replayed"]) == (201, "true")
    assert cluster.node.answered_late == []
    assert cluster.node.seen[message.id] >= 1


def test_another_gateway_keeps_the_answer(cluster: Cluster) -> None:
    cluster.node.answered_late.clear()
    port = free_port()
    second = cluster.start_gateway(port, "gateway2")
    try:
        cluster.wait_ready(port)
        with Raw(cluster, port) as raw:
            raw.send(request("/late", "POST", b"y", "Idempotency-Key: other\r\n"))
            until(lambda: cluster.node.answered_late)
            second.end(signal.SIGKILL)
        waiting: list[Any] = []
        thread = threading.Thread(
            target=lambda: waiting.append(cluster.ask("POST", "/late", b"y", {"Idempotency-Key": "other"}))
        )
        thread.start()
        message = cluster.node.answered_late.pop()
        until(lambda: cluster.node.seen[message.id] == 2)
        cluster.node.call(lambda: cluster.node.answer(message, 200, {}, "for both"))
        thread.join()
        assert waiting[0][2] == b"for both"
    finally:
        second.end(signal.SIGKILL)


def test_it_stops_when_all_is_answered(cluster: Cluster) -> None:
    cluster.node.answered_late.clear()
    with Raw(cluster) as raw, Raw(cluster) as idle:
        idle.send(request("/echo/1"))
        assert idle.answer()[0] == 200
        raw.send(request("/late", "POST", b"x"))
        until(lambda: cluster.node.answered_late)
        cluster.gateway.process.terminate()
        assert idle.ended()
        with pytest.raises(ConnectionRefusedError):
            until(lambda: not http.client.HTTPConnection("127.0.0.1", cluster.port).connect() and False)
        message = cluster.node.answered_late.pop()
        cluster.node.call(lambda: cluster.node.answer(message, 200, {}, "in time"))
        status, headers, body = raw.answer()
        assert (status, headers["connection"], body) == (200, "close", b"in time")
        assert raw.ended()
    assert cluster.gateway.process.wait(5) == 0
    assert "Traceback" not in cluster.gateway.log.read_text()
    cluster.gateway = cluster.start_gateway()
    cluster.wait_ready()

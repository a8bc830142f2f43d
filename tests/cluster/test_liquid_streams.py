"""Flask services as their users know them: answers that come as they are made, requests that wait side by side, and
clients that hang up."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from live_cluster import LiveCluster, wait_for

from compiler.compile import compile_source, emit

SOURCE = """
import time
from flask import Flask, Response

app = Flask(__name__)
seen = {}

@app.get("/events/<user>")
def events(user):
    def go():
        for i in range(3):
            yield f"data: {i}\\n\\n"
            time.sleep(1)
    return Response(go(), mimetype="text/event-stream")

@app.get("/endless/<user>")
def endless(user):
    def go():
        try:
            while True:
                yield "data: again\\n\\n"
                time.sleep(0.1)
        finally:
            print("the client of", user, "is gone", flush=True)
    return Response(go(), mimetype="text/event-stream")

@app.get("/counted/<user>")
def counted(user):
    seen[user] = seen.get(user, 0) + 1
    def go():
        while True:
            yield f"data: {user}\\n\\n"
            time.sleep(0.1)
    return Response(go(), mimetype="text/event-stream")

@app.get("/seen/<user>")
def get(user):
    return str(seen.get(user, 0))

@app.get("/nap")
def nap():
    began = time.monotonic()
    time.sleep(0.5)
    return f"{began} {time.monotonic()}"

if __name__ == "__main__":
    app.run(port=5000, threaded=True)
"""


def connect(address: str, path: str) -> socket.socket:
    parts = urlsplit(address)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    return connection


def read_until(connection: socket.socket, wanted: bytes, times: int) -> bytes:
    data = b""
    while data.count(wanted) < times:
        more = connection.recv(65536)
        assert more, data
        data += more
    return data


def get(address: str, path: str) -> str:
    with urllib.request.urlopen(address + path, timeout=30) as response:
        text: str = response.read().decode()
        return text


def test_flask_answers_come_as_they_are_made_and_side_by_side(tmp_path: Path) -> None:
    source, bundle = tmp_path / "service", tmp_path / "bundle"
    source.mkdir()
    bundle.mkdir()
    (source / "app.py").write_text(SOURCE)
    emit(compile_source(source / "app.py", None), bundle)
    (bundle / "requirements.txt").unlink()  # what it asks for is installed already, and there may be no index
    with LiveCluster(tmp_path / "state", bundle, nodes=1) as cluster:
        wait_for(lambda: get(cluster.http, "/seen/a") == "0", "the service to answer")
        with urllib.request.urlopen(f"{cluster.http}/events/a", timeout=30) as response:
            assert response.headers["content-length"] is None
            assert response.readline() == b"data: 0\n"
            first = time.monotonic()
            assert response.read() == b"\ndata: 1\n\ndata: 2\n\n"
            assert time.monotonic() - first > 1.5  # two items were made after the first had come

        with connect(cluster.http, "/endless/a") as endless, connect(cluster.http, "/counted/a") as counted:
            read_until(endless, b"data: again", 3)
            read_until(counted, b"data: a", 3)
            assert get(cluster.http, "/seen/a") == "1"
            spans: list[tuple[float, float]] = []

            def nap() -> None:
                began, ended = get(cluster.http, "/nap").split()
                spans.append((float(began), float(ended)))

            threads = [threading.Thread(target=nap) for _ in range(3)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            assert max(began for began, _ in spans) < min(ended for _, ended in spans)
            read_until(endless, b"data: again", 3)
        wait_for(lambda: "the client of a is gone" in cluster.log("node1"), "the endless answer to end")
        assert get(cluster.http, "/seen/a") == "1"

"""A compiled Flask service on three nodes: a dict per user and a list for all, moved and killed in the middle."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from live_cluster import LiveCluster, wait_for

from compiler.program import Entry, Fluxion, Group, Keeping, Program, Role, Stream
from compiler.python.emit import emit

SOURCE = """
import time

from flask import Flask, Response, abort, jsonify, request
from store import Note, notes

app = Flask(__name__)
users = {}
count = 0


@app.get("/people/<name>")
@app.get("/users/<name>")
def get_user(name):
    if name not in users:
        abort(404)
    return jsonify(users[name])


@app.post("/users/<name>")
def post_user(name):
    user = users.setdefault(name, {"name": name, "visits": 0})
    user["visits"] += 1
    return jsonify(user), 201


@app.get("/visits/<name>")
def visits_of(name):
    return store(name)


def store(name):
    if name == "nobody":
        return jsonify(error="nobody"), 400
    users.setdefault(name, {"name": name, "visits": 0})
    count = users[name]["visits"]
    return local_process(name, count)


def local_process(name, count):
    regular = count >= 3
    return send(name, count, regular)


def send(name, count, regular):
    return jsonify(name=name, count=count, regular=regular, more=request.args.get("more"))


@app.get("/ticks")
def ticks():
    def each():
        for number in range(3):
            yield f"{number}\\n"
            time.sleep(0.4)

    return Response(each(), mimetype="text/plain")


@app.route("/notes", methods=["GET", "POST"])
def all_notes():
    global count
    if request.method == "POST":
        count += 1
        notes.append(Note(count, request.get_json()["text"]))
    return jsonify([note.text for note in notes])


if __name__ == "__main__":
    app.run(debug=False)
"""

STORE = """
class Note:
    def __init__(self, number, text):
        self.number, self.text = number, text


notes = []
"""


STORE_BODY = """
if name == "nobody":
    return jsonify(error="nobody"), 400
users.setdefault(name, {"name": name, "visits": 0})
count = users[name]["visits"]
""".strip()

SEND_BODY = 'return jsonify(name=name, count=count, regular=regular, more=request.args.get("more"))'


def handler(name: str, group: str, key: str, *entries: str) -> Fluxion:
    found = tuple(Entry(*entry.split(" "), name) for entry in entries)
    return Fluxion(name, Role.HANDLER, group, key=key, entries=found)


def program() -> Program:
    fluxions = (
        handler("get_user", "users", "params.name", "GET /users/{name}"),
        handler("post_user", "users", "params.name", "POST /users/{name}"),
        handler("all_notes", "notes", "", "GET /notes", "POST /notes"),
        Fluxion(
            "store",
            Role.START,
            "users",
            STORE_BODY,
            ("name",),
            ("app.users",),
            "params.name",
            entries=(Entry("GET", "/visits/{name}", "visits_of"),),
            streams=(Stream("local_process", ("name", "count")),),
        ),
        Fluxion(
            "local_process",
            Role.STEP,
            "local_process",
            "regular = count >= 3",
            ("name", "count"),
            streams=(Stream("send", ("name", "count", "regular")),),
        ),
        Fluxion("send", Role.END, "send", SEND_BODY, ("name", "count", "regular"), streams=(Stream("output"),)),
        handler("ticks", "ticks", "", "GET /ticks"),
        Fluxion("app", Role.WHOLE, "app"),
    )
    groups = (
        Group("ticks", Keeping.PINNED, why="it streams"),
        Group("local_process", Keeping.NONE),
        Group("send", Keeping.NONE),
        Group("users", Keeping.KEYED, ("app.users",)),
        Group("notes", Keeping.WHOLE, ("store.notes", "app.count")),
        Group("app", Keeping.NONE),
    )
    return Program("book", "python", "flask", "app.py", fluxions, groups, files={"app.py": SOURCE, "store.py": STORE})


class Client:
    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(self._address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def test_a_flask_service_moves_and_dies_and_remembers(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    emit(program(), bundle)
    (bundle / "requirements.txt").unlink()  # what it asks for is installed already, and there may be no index
    names = [f"user{i}" for i in range(6)]
    with LiveCluster(tmp_path / "state", bundle) as cluster:
        ask = Client(cluster.http)
        wait_for(lambda: ask("GET", "/notes") == (200, []), "the service to answer")
        visits = dict.fromkeys(names, 0)
        texts: list[str] = []

        def round_trip() -> None:
            for name in names:
                visits[name] += 1
                assert ask("POST", f"/users/{name}") == (201, {"name": name, "visits": visits[name]})
                assert ask("GET", f"/people/{name}") == (200, {"name": name, "visits": visits[name]})
                seen = {"name": name, "count": visits[name], "regular": visits[name] >= 3, "more": "1"}
                assert ask("GET", f"/visits/{name}?more=1") == (200, seen)
            texts.append(f"text {len(texts)}")
            assert ask("POST", "/notes", {"text": texts[-1]}) == (200, texts)

        round_trip()
        for node in ("node1", "node2", "node3"):
            cluster.ctl("migrate", "notes", node)
            round_trip()
        began = time.monotonic()
        with urllib.request.urlopen(f"{cluster.http}/ticks", timeout=30) as response:
            assert response.readline() == b"0\n"
            assert time.monotonic() - began < 1.0
            assert response.read() == b"1\n2\n"
        cluster.ctl("migrate", "users", "node2")
        round_trip()
        cluster.kill("node2")
        round_trip()
        cluster.kill("node3/host")
        round_trip()
        assert ask("GET", "/users/nobody")[0] == 404
        assert ask("GET", "/visits/nobody")[0] == 400
        placed = {group["name"]: group["nodes"] for group in cluster.ctl("graph", "book")["groups"]}
        assert sum(placed["users"].values()) == 32

"""A compiled service in JavaScript on three nodes: an ordinary program on Node's own http, moved and killed in the
middle, and an entry for each user under its key."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from live_cluster import LiveCluster, wait_for

from compiler.compile import compile_source
from compiler.javascript.emit import emit
from compiler.program import Entry, Fluxion, Group, Keeping, Program, Role, Stream

SOURCE = """
const http = require("node:http");
const { Book } = require("./lib/book");

const book = new Book();
let requests = 0;

http
  .createServer((req, res) => {
    requests++;
    let text = "";
    req.on("data", (data) => (text += data));
    req.on("end", () => {
      if (req.method === "POST") book.add(text);
      res.setHeader("Content-Type", "application/json");
      res.end(JSON.stringify({ requests, notes: book.texts(), last: book.last?.text ?? null }));
    });
  })
  .listen(process.env.PORT || 3000);
"""

BOOK = """
class Note {
  constructor(text) {
    this.text = text;
    this.at = new Date();
  }
}

class Book {
  constructor() {
    this.notes = new Map();
    this.last = null;
  }
  add(text) {
    this.last = new Note(text);
    this.notes.set(this.notes.size, this.last);
  }
  texts() {
    return [...this.notes.values()].filter((note) => note.at instanceof Date).map((note) => note.text);
  }
}

module.exports = { Book };
"""

USERS = """
const http = require("http");
const users = {};
const routes = [];
const app = { get: (pattern, ...handlers) => routes.push([new RegExp(pattern, "i"), handlers]) };
app.get("^/users/([^/]+)$", async (req, res) => {
  const user = users[req.params.id] ?? { visits: 0, last: null };
  user.visits++;
  user.last = user;
  await null;
  users[req.params.id] = user;
  res.end(JSON.stringify([req.params.id, users[req.params.id].last.visits]));
});
app.get("^/ticks$", (req, res) => {
  res.write("0");
  setTimeout(() => res.end("1"), 600);
});
http.createServer((req, res) => {
  for (const [pattern, handlers] of routes) {
    const found = pattern.exec(req.url);
    if (!found) continue;
    req.params = { id: found[1] };
    let at = 0;
    const next = () => handlers[at++](req, res, next);
    return next();
  }
  res.writeHead(404).end();
}).listen(3000);
"""


class Client:
    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, path: str, text: str | None = None) -> Any:
        asked = urllib.request.Request(self._address + path, text.encode() if text is not None else None)
        with urllib.request.urlopen(asked, timeout=60) as response:
            return json.loads(response.read())


def test_an_ordinary_program_moves_and_dies_and_remembers(tmp_path: Path) -> None:
    source, bundle = tmp_path / "notes", tmp_path / "bundle"
    (source / "lib").mkdir(parents=True)
    (source / "app.js").write_text(SOURCE)
    (source / "lib" / "book.js").write_text(BOOK)
    program = compile_source(source / "app.js")
    assert [group.keeping for group in program.groups] == [Keeping.WHOLE], program.kept
    bundle.mkdir()
    emit(program, bundle)
    with LiveCluster(tmp_path / "state", bundle) as cluster:
        ask = Client(cluster.http)
        wait_for(lambda: ask("/")["requests"] > 0, "the service to answer")
        before = ask("/")["requests"]
        texts: list[str] = []

        def note() -> None:
            nonlocal before
            texts.append(f"note {len(texts)}")
            before += 1
            assert ask("/", texts[-1]) == {"requests": before, "notes": texts, "last": texts[-1]}

        note()
        for node in ("node1", "node2", "node3"):
            cluster.ctl("migrate", "app", node)
            note()
        cluster.kill("node3")
        note()
        groups = cluster.ctl("graph", program.name)["groups"]
        (place,) = next(group["nodes"] for group in groups if group["name"] == "app")
        cluster.kill(f"{place}/host")
        note()


def users() -> Program:
    line = next(i for i, text in enumerate(USERS.split("\n"), 1) if text.startswith("app.get("))
    entries = (Entry("GET", "/users/{id}", f"app.js:{line}:5"),)
    fluxions = (
        Fluxion("visit", Role.HANDLER, "users", key="params.id", entries=entries, streams=(Stream("output"),)),
        Fluxion("app", Role.WHOLE, "app", streams=(Stream("output"),)),
    )
    groups = (Group("users", Keeping.KEYED, ("app.users",)), Group("app", Keeping.NONE))
    return Program("users", "javascript", "http", "app.js", fluxions, groups, files={"app.js": USERS})


def test_entries_of_users_spread_and_survive(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    emit(users(), bundle)
    names = [f"user{i}" for i in range(8)]
    with LiveCluster(tmp_path / "state", bundle) as cluster:
        ask = Client(cluster.http)
        wait_for(lambda: ask("/users/first") is not None, "the service to answer")
        visits = dict.fromkeys(names, 0)

        def everybody() -> None:
            for name in names:
                visits[name] += 2
                assert ask(f"/users/{name}") == [name, visits[name] - 1]
                assert ask(f"/USERS/{name}") == [name, visits[name]]

        everybody()
        cluster.ctl("migrate", "users", "node2")
        everybody()
        cluster.kill("node2")
        everybody()
        began = time.monotonic()
        with urllib.request.urlopen(f"{cluster.http}/ticks", timeout=30) as response:
            assert response.read(1) == b"0"
            assert time.monotonic() - began < 0.55
            assert response.read() == b"1"


STREAMS = """
const http = require("http");
const seen = {};
http.createServer((req, res) => {
  const user = req.url.split("/")[2];
  if (req.url.startsWith("/seen")) return res.end(JSON.stringify(seen[user] || 0));
  seen[user] = (seen[user] || 0) + 1;
  const timer = setInterval(() => res.write(`data: ${seen[user]}\\n\\n`), 50);
  req.on("close", () => clearInterval(timer));
}).listen(3000);
"""


def test_events_that_tell_what_is_kept_come_as_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text(STREAMS)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    emit(compile_source(tmp_path / "app.js"), bundle)
    with LiveCluster(tmp_path / "state", bundle, nodes=1) as cluster:
        ask = Client(cluster.http)
        wait_for(lambda: ask("/seen/a") == 0, "the service to answer")
        with urllib.request.urlopen(f"{cluster.http}/tick/a", timeout=30) as events:
            assert events.readline() == b"data: 1\n"
            with urllib.request.urlopen(f"{cluster.http}/tick/a", timeout=30) as others:
                assert others.readline() == b"data: 2\n"
            assert ask("/seen/a") == 2
            wait_for(lambda: events.readline() == b"data: 2\n", "the first to be told")

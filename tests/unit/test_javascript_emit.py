"""Programs in JavaScript as they are emitted, each run in two processes that know of each other by contexts alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from compiler import bundling
from compiler.compile import compile_source
from compiler.javascript.emit import emit
from compiler.javascript.instrument import Guard, instrument
from compiler.program import Entry, Fluxion, Group, Keeping, Program, Role, Stream
from liquefy import snapshots

DRIVE = Path(__file__).parent / "javascript" / "drive.mjs"
NODE = shutil.which("node") or ""

pytestmark = pytest.mark.skipif(not NODE, reason="node is not on PATH")


class Nodes:
    """Processes that run the same bundle, and the contexts between them."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.folder = folder
        self.contexts: dict[str, dict[str, Any]] = {}
        self.processes = [
            subprocess.Popen([NODE, str(DRIVE), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        self.turn = 0

    def ask(self, fluxion: str, target: str, key: str = "", method: str = "GET", body: str = "") -> Any:
        headers = [["Host", "h"], ["Content-Type", "application/json"], ["Content-Length", str(len(body))]]
        request = {"method": method, "target": target, "headers": headers, "body": body, "client": "1.2.3.4:5"}
        return self.send(fluxion, {"body": request | {"params": {}, "query": {}}, "key": key})

    def send(self, fluxion: str, message: dict[str, Any]) -> Any:
        """Each message goes to the next process."""
        process = self.processes[self.turn % len(self.processes)]
        self.turn += 1
        assert process.stdin is not None
        assert process.stdout is not None
        context = self.contexts.setdefault(message["key"], {})
        process.stdin.write(json.dumps({"fluxion": fluxion, "message": message, "context": context}) + "\n")
        process.stdin.flush()
        told = json.loads(process.stdout.readline())
        sent = told["sent"]
        if sent is None or "error" not in sent:
            self.contexts[message["key"]] = told["context"]
        return sent


@contextmanager
def nodes(program: Program, folder: Path, count: int = 2) -> Iterator[Nodes]:
    folder.mkdir()
    emit(program, folder)
    running = Nodes(folder, count)
    try:
        yield running
    finally:
        for process in running.processes:
            process.kill()
            process.communicate()


def whole(files: dict[str, str], variables: tuple[str, ...], entry: str = "app.js") -> Program:
    app = Fluxion("app", Role.WHOLE, "app", context=variables, streams=(Stream("output"),))
    group = Group("app", Keeping.WHOLE, variables, "for the test")
    return Program("test", "javascript", "http", entry, (app,), (group,), files=files)


HTTP = "require('http').createServer((req, res) => res.end(JSON.stringify(handle(req.url)))).listen(3000);\n"


def test_whole_state_goes_from_process_to_process(tmp_path: Path) -> None:
    source = """'use strict';
        const store = require('./lib/store');
        let count = 0;
        class Todo {
          constructor(t) { this.title = t; this.made = new Date(count); }
          shout() { return this.title + '!'; }
        }
        const todos = [];
        function handle(url) {
          count++;
          todos.push(new Todo(url));
          store.put(url, todos[0]);
          return [count, todos.map((t) => t.shout() + t.made.getTime()), store.size(), store.get('/a') === todos[0]];
        }
        """
    store = """const items = new Map();
        module.exports = { put(k, v) { items.set(k, v); }, get: (k) => items.get(k), size: () => items.size };"""
    program = whole({"app.js": source + HTTP, "lib/store.js": store}, ("app.count", "app.todos", "lib.store.items"))
    with nodes(program, tmp_path / "b") as cluster:
        assert json.loads(cluster.ask("app", "/a")["body"]) == [1, ["/a!1"], 1, True]
        assert json.loads(cluster.ask("app", "/b")["body"]) == [2, ["/a!1", "/b!2"], 2, True]
        assert json.loads(cluster.ask("app", "/b")["body"]) == [3, ["/a!1", "/b!2", "/b!3"], 2, True]
        assert json.loads(cluster.ask("app", "/c")["body"])[0] == 4


def test_what_is_remembered_can_be_read(tmp_path: Path) -> None:
    source = """'use strict';
        class Todo { constructor(t) { this.title = t; } }
        const kept = {};
        function handle() {
          const todo = new Todo('a');
          Object.assign(kept, {
            todo, again: todo, list: [1, 'a', null, undefined, NaN, 10n, true], map: new Map([['k', new Set([1])]]),
            objects: new Map([[todo, 1]]), date: new Date(0), invalid: new Date(NaN), pattern: /a+/g,
            bytes: Buffer.from('hi'), holes: [1, , 3], error: new TypeError('no'), handle, self: kept,
            bare: Object.assign(Object.create(null), { x: 1 }),
            half: '\\ud800', ['__proto__x']: 1, frozen: Object.freeze({ y: 2 }),
          });
          return 1;
        }
        """
    program = whole({"app.js": source + HTTP}, ("app.kept",))
    with nodes(program, tmp_path / "b", 1) as cluster:
        assert cluster.ask("app", "/")["body"] == "1"
        text = cluster.contexts[""]["state"]
    assert snapshots.is_snapshot(text)
    kept = snapshots.readable(text)["app.kept"]
    todo = {"<app.Todo>": {"title": "a"}}
    error = kept.pop("error")
    assert error["<TypeError>"]["message"] == "no"
    assert kept == {
        "todo": todo, "again": todo, "list": [1, "a", None, "<undefined>", "<NaN>", "10n", True],
        "map": {"<Map>": {"k": {"<Set>": [1]}}}, "objects": {"<Map>": [[todo, 1]]},
        "date": "<Date 1970-01-01T00:00:00.000+00:00>", "invalid": "<Date Invalid>", "pattern": "/a+/g",
        "bytes": {"<Buffer>": "aGk="}, "holes": {"0": 1, "2": 3, "...": []}, "handle": "<app.handle>", "self": "...",
        "bare": {"x": 1}, "half": "\ud800", "__proto__x": 1, "frozen": {"y": 2},
    }  # fmt: skip
    assert snapshots.readable('{"roots":{"entry":{"visits":1}},"nodes":[]}') == {"visits": 1}
    assert snapshots.readable('{"roots":12') == '{"roots":12'


def test_what_is_made_once_is_made_once(tmp_path: Path) -> None:
    source = """
        const { randomBytes } = require('crypto');
        const secret = randomBytes(16).toString('hex');
        function makeStore() {
          const items = [randomBytes(4).toString('hex')]; let n = 0;
          return () => [items[0], ++n];
        }
        const next = makeStore(), other = makeStore();
        const handle = () => [secret, next(), other()];
        """
    variables = ("app.secret", "app.makeStore.items", "app.makeStore.n")
    with nodes(whole({"app.js": source + HTTP}, variables), tmp_path / "b") as cluster:
        first = json.loads(cluster.ask("app", "/")["body"])
        second = json.loads(cluster.ask("app", "/")["body"])
        assert second == [first[0], [first[1][0], 2], [first[2][0], 2]]


def test_private_fields_of_what_was_there_at_start(tmp_path: Path) -> None:
    source = """
        let made = 0;
        class Counter { #n = 0; #log = []; static #made = 0; id = ++made; #up() { return ++this.#n; }
          constructor({ first } = {}, [second] = []) { this.given = [first, second]; this.#n += made * 0; made += 0; }
          next(x) { this.#log.push(x); return [this.#up(), this.#log.length]; } }
        class Named extends Counter { #name = 'n'; #n = 5; up() { return ++this.#n; }
          rename(x) { const was = this.#name; this.#name = x; return was; } }
        const counter = new Named(), others = [];
        function handle(url) {
          if (url === '/new') others.push(new Named({ first: 1 }, [2]));
          if (url === '/others') return others.map((o) => [o.next(url), o.up(), o.given, o.id, o instanceof Named]);
          return [...counter.next(url), counter.rename(url)];
        }
        """
    variables = ("app.counter", "app.others", "app.made")
    with nodes(whole({"app.js": source + HTTP}, variables), tmp_path / "b") as cluster:
        assert json.loads(cluster.ask("app", "/a")["body"]) == [1, 1, "n"]
        assert json.loads(cluster.ask("app", "/b")["body"]) == [2, 2, "/a"]
        assert json.loads(cluster.ask("app", "/c")["body"]) == [3, 3, "/b"]
        assert json.loads(cluster.ask("app", "/new")["body"]) == [4, 4, "/c"]
        assert json.loads(cluster.ask("app", "/others")["body"]) == [[[1, 1], 6, [1, 2], 2, True]]
        assert json.loads(cluster.ask("app", "/others")["body"]) == [[[2, 2], 7, [1, 2], 2, True]]
        assert json.loads(cluster.ask("app", "/new")["body"]) == [5, 5, "/new"]
        assert [other[3] for other in json.loads(cluster.ask("app", "/others")["body"])] == [2, 3]


def test_what_is_kept_in_properties_of_functions_and_classes(tmp_path: Path) -> None:
    source = """
        class Bank { static total = 0; static #next = 1;
          static open() { this.total++; return [Bank.#next++, this.total]; } }
        function visits() { visits.last = (visits.last ?? 0) + 1; return visits.last; }
        const handle = (url) => [...Bank.open(), visits(), Object.keys(visits)];
        """
    program = whole({"app.js": source + HTTP}, ("app.Bank.properties", "app.visits.properties"))
    with nodes(program, tmp_path / "b") as cluster:
        for i in range(1, 4):
            assert json.loads(cluster.ask("app", "/")["body"]) == [i, i, i, ["last"]]


def test_an_es_module_and_its_default_export(tmp_path: Path) -> None:
    files = {
        "app.mjs": "import http from 'node:http';\nimport seen, { note } from './seen.mjs';\n"
        "http.createServer((q, s) => { note(q.url); s.end(seen.list.join()); }).listen(1);\n",
        "seen.mjs": "export default\n  { list: [] };\nimport all from './seen.mjs';\n"
        "export function note(x) { all.list.push(x); }\n",
    }
    with nodes(whole(files, ("seen.default",), "app.mjs"), tmp_path / "b") as cluster:
        assert [cluster.ask("app", f"/{i}")["body"] for i in range(3)] == ["/0", "/0,/1", "/0,/1,/2"]


def test_what_cannot_be_stored_fails_with_its_place(tmp_path: Path) -> None:
    source = """const kept = {};
        function handle(url) { if (url === '/bad') kept.later = { f() {} }; return Object.keys(kept); }
        """
    with nodes(whole({"app.js": source + HTTP}, ("app.kept",)), tmp_path / "b", 1) as cluster:
        assert cluster.ask("app", "/")["body"] == "[]"
        error = cluster.ask("app", "/bad")["error"]
        assert "app.kept.later.f is a function made while requests were handled (f)" in error
        assert cluster.ask("app", "/")["body"] == "[]"


def test_changes_after_the_answer_are_told(tmp_path: Path) -> None:
    source = "let late = 0;\nfunction handle(url) { setTimeout(() => late++, 5); return late; }\n"
    with nodes(whole({"app.js": source + HTTP}, ("app.late",)), tmp_path / "b", 1) as cluster:
        assert cluster.ask("app", "/")["body"] == "0"
        answers = [cluster.ask("app", "/") for _ in range(200)]
        assert any("changed after the answer" in sent.get("error", "") for sent in answers)


KEYED = """
const http = require('http');
const users = { root: { visits: 10 } };
const tags = new Map();
// A framework of a few lines: guards and handlers of a route, one after the other.
const routes = [];
const app = { get(pattern, ...handlers) { routes.push([new RegExp('^' + pattern + '$', 'i'), handlers]); } };
http.createServer((req, res) => {
  for (const [pattern, handlers] of routes) {
    const found = pattern.exec(req.url);
    if (!found) continue;
    req.params = { id: found[1] };
    let i = 0;
    const next = () => handlers[i++](req, res, next);
    return next();
  }
  res.statusCode = 404;
  res.end('none');
}).listen(3000);
app.get('/users/([^/]+)', (req, res) => {
  if (req.params.id === '__proto__') return res.end(String((users[req.params.id] = { bob: 'for all' }).bob));
  if (req.params.id === 'constructor') users[req.params.id] = { visits: 0 };
  const user = users[req.params.id] ??= { visits: 0 };
  user.visits++;
  tags.set(req.params.id, new Set([user.visits]));
  if (req.params.id === 'evil') users.other = 1;
  if (req.params.id === 'spy') console.log(users.bob, tags.has('spy'), 'spy' in users, JSON.stringify(user));
  if (req.params.id === 'peek') tags.get('bob');
  if (req.params.id === 'gone') delete users[req.params.id];
  res.end(req.params.id + user.visits);
});
"""


def keyed() -> Program:
    variables = ("app.users", "app.tags")
    line = next(i for i, text in enumerate(KEYED.split("\n"), 1) if text.startswith("app.get("))
    visit = Fluxion(
        "visit",
        Role.HANDLER,
        "users",
        context=variables,
        key="params.id",
        entries=(Entry("GET", "/users/{id}", f"app.js:{line}:5"),),
        streams=(Stream("output"),),
    )
    app = Fluxion("app", Role.WHOLE, "app", streams=(Stream("output"),))
    groups = (Group("users", Keeping.KEYED, variables), Group("app", Keeping.NONE))
    return Program("test", "javascript", "http", "app.js", (visit, app), groups, files={"app.js": KEYED})


def test_keyed_entries_go_with_their_key(tmp_path: Path) -> None:
    with nodes(keyed(), tmp_path / "b") as cluster:
        for i in range(1, 4):
            assert cluster.ask("visit", "/users/ann", key="ann")["body"] == f"ann{i}"
            assert cluster.ask("visit", "/users/bob", key="bob")["body"] == f"bob{i}"
        assert sorted(cluster.contexts["ann"]) == ["entry:app.tags", "entry:app.users"]
        assert [cluster.ask("visit", "/users/root", key="root")["body"] for _ in range(2)] == ["root11", "root12"]
        assert [cluster.ask("visit", "/users/gone", key="gone")["body"] for _ in range(2)] == ["gone1", "gone1"]
        assert "entry:app.users" not in cluster.contexts["gone"]


def test_a_handler_that_misses_its_answer_holds_nobody_up_and_loses_nothing(tmp_path: Path) -> None:
    missing = """
  if (req.params.id === 'mute') return;
  if (req.params.id === 'loud') throw new Error('loud');
  res.end("""
    head, path = "app.get('/users/([^/]+)', (req, res) => {", "app.get('/users/([^/]+)', "
    forms = {head: "", f"{path}async (req, res) => {{": "", f"{path}visit); function visit(req, res) {{": "named"}
    for number, (form, named) in enumerate(forms.items()):
        text = KEYED.replace(head, form).replace("\n  res.end(req.params.id", f"{missing}req.params.id")
        text = text.removesuffix("});\n") + "}\n" if named else text
        program = replace(keyed(), files={"app.js": text})
        with nodes(program, tmp_path / f"b{number}") as cluster:
            assert cluster.ask("visit", "/users/mute", key="mute") is None
            assert '"visits":1' in json.dumps(cluster.contexts["mute"]).replace("\\", "")
            assert cluster.ask("visit", "/users/ann", key="ann")["body"] == "ann1"
            assert cluster.ask("visit", "/users/mute", key="mute") is None
            assert '"visits":2' in json.dumps(cluster.contexts["mute"]).replace("\\", "")


def test_what_a_handler_changed_that_never_answers_is_kept_when_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "GIVEN_UP_S", 1)
    ways = """
  if (req.params.id === 'mute') return void setTimeout(() => {}, 1);
  res.end("""
    keyed_by = replace(keyed(), files={"app.js": KEYED.replace("\n  res.end(req.params.id", f"{ways}req.params.id")})
    groups = (replace(keyed().groups[0], keeping=Keeping.WHOLE), keyed().groups[1])
    visit = replace(keyed().fluxions[0], key="")
    at_once = replace(keyed_by, groups=groups, fluxions=(visit, keyed().fluxions[1]))
    for program, key in ((keyed_by, "mute"), (at_once, "")):
        text = program.files["app.js"].replace("(req, res) => {\n  const user", "(req, res, next) => {\n  const user")
        program.files["app.js"] = text  # one that could answer later, by what it was given
        with nodes(program, tmp_path / (key or "whole")) as cluster:
            assert cluster.ask("visit", "/users/mute", key=key) is None
            assert '"visits":1' in json.dumps(cluster.contexts[key]).replace("\\", "")
            assert cluster.ask("visit", "/users/ann", key="ann" if key else "")["body"] == "ann1"


def test_what_runs_for_a_parameter_finds_what_its_route_does(tmp_path: Path) -> None:
    text = KEYED.replace("const app = { get(", "const app = { param(_, load) { app.load = load; }, get(")
    text = text.replace(
        "    return next();",
        "    req.route = { stack: handlers.map((handle) => ({ handle, method: 'get' })) };"
        " return app.load(req, res, next, found[1], 'id');",
    )
    text = text.replace("res.end(req.params.id + user.visits)", "res.end(`${req.before}, ${user.visits}`)")
    text += "app.param('id', (req, res, next, id) => { req.before = users[id]?.visits; next(); });\n"
    program = replace(keyed(), framework="express", files={"app.js": text})
    with nodes(program, tmp_path / "b") as cluster:
        assert cluster.ask("visit", "/users/ann", key="ann")["body"] == "undefined, 1"
        assert cluster.ask("visit", "/users/ann", key="ann")["body"] == "1, 2"
        assert cluster.ask("visit", "/users/bob", key="ann") == {"to": "visit", "body": ANY}
        assert cluster.ask("visit", "/users/root", key="root")["body"] == "10, 11"


def test_a_request_at_the_wrong_fluxion_or_key_is_sent_on_once(tmp_path: Path) -> None:
    with nodes(keyed(), tmp_path / "b", 1) as cluster:
        sent = cluster.ask("app", "/USERS/ann", key="")
        assert sent["to"] == "visit"
        assert sent["body"]["params"] == {"id": "ann"}
        assert cluster.send("visit", {"body": sent["body"], "key": "ann"})["body"] == "ann1"
        assert cluster.ask("visit", "/users/ann", key="wrong")["body"]["params"] == {"id": "ann"}
        lost = cluster.send("visit", {"body": sent["body"], "key": "wrong"})
        assert "came to the handler of 'visit' (key 'ann')" in lost["error"]
        assert cluster.ask("app", "/else")["status"] == 404


def test_a_request_for_what_is_pinned_is_sent_there(tmp_path: Path) -> None:
    program = keyed()
    visit, app = program.fluxions
    users, others = program.groups
    pinned = replace(users, keeping=Keeping.PINNED, variables=(), why="for the test")
    program = replace(program, fluxions=(replace(visit, key="", context=()), app), groups=(pinned, others))
    with nodes(program, tmp_path / "b", 1) as cluster:
        sent = cluster.ask("app", "/users/ann")
        assert sent["to"] == "visit"
        assert [cluster.send("visit", {"body": sent["body"], "key": ""})["body"] for _ in range(2)] == ["ann1", "ann2"]


def test_methods_of_one_path_are_inputs_each(tmp_path: Path) -> None:
    program = keyed()
    visit, app = program.fluxions
    both = replace(visit, entries=(*visit.entries, replace(visit.entries[0], method="POST")))
    emit(replace(program, fluxions=(both, app)), tmp_path)
    graph = (tmp_path / "graph.yaml").read_text()
    assert "GET /users/{id}" in graph
    assert "POST /users/{id}" in graph


def test_another_entry_written_is_an_error(tmp_path: Path) -> None:
    with nodes(keyed(), tmp_path / "b", 1) as cluster:
        assert "app.users: the entry of other was written" in cluster.ask("visit", "/users/evil", key="evil")["error"]
        assert cluster.ask("visit", "/users/ann", key="ann")["body"] == "ann1"


def test_another_entry_read_is_an_error(tmp_path: Path) -> None:
    with nodes(keyed(), tmp_path / "b", 1) as cluster:
        assert "app.users: the entry of bob was read" in cluster.ask("visit", "/users/spy", key="spy")["error"]
        assert "app.tags: the entry of bob was read" in cluster.ask("visit", "/users/peek", key="peek")["error"]
        assert cluster.ask("visit", "/users/ann", key="ann")["body"] == "ann1"


def test_what_changes_all_entries_is_an_error_and_nobody_else_finds_it(tmp_path: Path) -> None:
    with nodes(keyed(), tmp_path / "b", 1) as cluster:
        for _ in range(2):
            failed = cluster.ask("visit", "/users/__proto__", key="__proto__")
            assert "app.users: what is found under all keys was changed (__proto__)" in failed["error"]
            assert cluster.ask("visit", "/users/constructor", key="constructor")["body"] == "constructor1"
        assert [cluster.ask("visit", "/users/bob", key="bob")["body"] for _ in range(2)] == ["bob1", "bob2"]


POSTER = """
const express = require('express');
const app = express();
const visits = {};
function localProcess(user, count) { return { user, count, regular: count >= 2 }; }
function callExternal(result, callback) { setTimeout(() => callback({ ...result, city: 'Lyon' }), 20); }
function store(user, callback) {
  visits[user] = (visits[user] || 0) + 1;
  const count = visits[user];
  const result = localProcess(user, count);
  callExternal(result, (found) => {
    if (found.count) return callback(found);
  });
}
app.get('/:id', (req, res) => {
  store(req.params.id, (result) => {
    res.send(result);
  });
});
app.listen(3000);
"""

EXPRESS = """
const http = require('http');
module.exports = () => {
  const app = { routes: [], get(path, ...handlers) { app.routes.push(handlers); }, listen: (port) => {
    http.createServer((req, res) => {
      req.params = { id: req.url.slice(1) };
      res.send = (value) => res.end(JSON.stringify(value));
      let at = 0;
      const next = () => app.routes[0][at++](req, res, next);
      next();
    }).listen(port);
  } };
  return app;
};
"""


LATE_BODY = """
const carts = {};
const parse = (req, res, next) => {
  req.on('data', (data) => (req.body = JSON.parse(data)));
  req.on('end', next);
};
const app = { get(path, ...handlers) { app.handlers = handlers.flat(); } };
require('http').createServer((req, res) => {
  let at = 0;
  const next = () => app.handlers[at++](req, res, next);
  next();
}).listen(3000);
const path = '/carts';
app.get(path, [parse], (req, res) => {
  const cart = (carts[req.body.user] ??= []);
  res.end(String(cart.push(1)));
});
"""


def test_a_key_in_a_body_that_the_route_itself_reads(tmp_path: Path) -> None:
    line = next(i for i, text in enumerate(LATE_BODY.split("\n"), 1) if text.startswith("app.get("))
    entry = Entry("GET", "/carts", f"app.js:{line}:5")
    fill = Fluxion("fill", Role.HANDLER, "carts", context=("app.carts",), key="body.user", entries=(entry,))
    groups = (Group("carts", Keeping.KEYED, ("app.carts",)),)
    program = Program("test", "javascript", "http", "app.js", (fill,), groups, files={"app.js": LATE_BODY})
    with nodes(program, tmp_path / "b") as cluster:
        for count in ("1", "2"):
            for user in ("ann", "bob"):
                text = json.dumps({"user": user})
                assert cluster.ask("fill", "/carts", key="?", body=text)["to"] == "fill"
                assert cluster.ask("fill", "/carts", key=user, body=text)["body"] == count


LOADED = """
import { load, provide } from "%s/liquefy/node/loading.mjs";
provide();
const graph = {
  fluxions: [{ name: "app", code: "liquid_service:app", timeout_ms: 1, streams: ["output"], group: "app" }],
  groups: [{ name: "app", stateful: false }],
};
try {
  await load(graph, process.argv[1], ["app"]);
  console.log("loaded");
} catch (error) {
  console.log(error.message);
}
process.exit(0);
"""


def test_a_program_that_cannot_start_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    def loaded(name: str, text: str, keeping: Keeping = Keeping.NONE) -> str:
        app = Fluxion("app", Role.WHOLE, "app", streams=(Stream("output"),))
        group = Group("app", keeping, why="a timer" if keeping is Keeping.PINNED else "")
        (tmp_path / name).mkdir()
        emit(Program("test", "javascript", "http", "app.js", (app,), (group,), files={"app.js": text}), tmp_path / name)
        script = LOADED % Path(__file__).parents[2]
        command = [NODE, "--input-type=module", "-e", script, str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    listens = "require('http').createServer((req, res) => res.end()).listen(3000);"
    assert loaded("good", listens) == "loaded"
    assert "importing 'liquid_service.mjs' failed" in loaded("bad", f"throw new Error('no database');{listens}")
    assert "no database" in loaded("told", f"throw new Error('no database');{listens}")
    assert loaded("pinned", f"throw new Error('no database');{listens}", Keeping.PINNED) == "loaded"


def test_parts_of_a_handler_run_apart(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "poster.js").write_text(POSTER)
    program = compile_source(source / "poster.js")
    first = program.fluxions[0]
    if first.role is not Role.START:
        pytest.fail(f"it was not cut: {program.kept}")
    with nodes(program, tmp_path / "b") as cluster:
        package = tmp_path / "b" / "node_modules" / "express"
        package.mkdir(parents=True)
        (package / "index.js").write_text(EXPRESS)
        for count in (1, 2):
            name, sent = first.name, cluster.ask(first.name, "/ann", key="ann")
            passed = [name]
            while "to" in sent:
                passed.append(sent["to"])
                sent = cluster.send(sent["to"], {"body": sent["body"], "key": ""})
            assert json.loads(sent["body"]) == {"user": "ann", "count": count, "regular": count >= 2, "city": "Lyon"}
            assert passed == [fluxion.name for fluxion in program.fluxions if fluxion.role is not Role.WHOLE]


def test_lines_stay_and_syntax_holds() -> None:
    source = """'use strict'
const [a, { b: c = 1, ...d }] = load(), e = (x) => ({ x: () => x });
function outer(p, { q } = {}) { "use asm"
  var late = 1; for (const k of [1]) { run(() => k + late); }
  return async (r) => await (() => r + q)();
}
class K { static #n = 0; constructor(z) { this.f = () => z; } get g() { let w = 1; return () => w; } }
switch (a) { case 1: let s = 1; run(() => s); }
// the end"""
    text = instrument("lib/m.js", source, [Guard("f", source.index("run("))])
    lines = text.split("\n")
    assert len(lines) == len(source.split("\n")) + 2
    assert '"lib.m.c": [() => c]' in lines[-2]
    inner = instrument("m.js", "get('/', (a) => run(() => a));", [Guard("f", 0)])
    assert inner.startswith("get(...globalThis[Symbol.for(\"liquefy\")].guarded(\"f\", ['/', (a) => (globalThis")
    assert "run(() => a))]));" in inner
    assert 'run(...globalThis[Symbol.for("liquefy")].guarded("f", [() => k + late]))' in text
    assert '"lib.m.outer.q": [() => q, ($) => { q = $; }]' in text
    done = subprocess.run([NODE, "--check", "-"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_handlers_that_answer_in_their_own_statements_are_told_with_the_names_that_they_had() -> None:
    told = {
        "const h = (req, res) => { if (req.x) return; res.json(1); };": 'h = #.over("h", (req, res)',
        "exports.h = async (req, res) => { res.status(201).json(1); };": 'exports.h = #.over("", async (req, res)',
        "export function h(req, res) { res.end(); }": ';#.over("h", h);',
    }
    state = frozenset({"a.q"})
    for text, expected in told.items():
        assert expected in instrument("a.js", text, assignable=state).replace('globalThis[Symbol.for("liquefy")]', "#")
    others = ("later(() => res.end())", "res.render('a')", "other(res); res.end()", "let r = res; r.end()", "req.res")
    for body in others:
        assert ".over(" not in instrument("a.js", f"h((req, res) => {{ {body}; }});", assignable=state)


def test_a_guard_around_the_one_handler_that_a_framework_takes() -> None:
    source = "server.get('/a', { schema }, async (request) => 1);"
    text = instrument("m.js", source, [Guard("f", source.index("get"), around=True)])
    runtime = 'globalThis[Symbol.for("liquefy")]'
    assert text.startswith(f"server.get('/a', {{ schema }}, {runtime}.around(\"f\", async (request) => 1));")

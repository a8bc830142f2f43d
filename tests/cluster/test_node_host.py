"""Real host processes for JavaScript, started and watched as a worker does it."""

import asyncio
import contextlib
import time

import pytest
from test_host import Bench, alive, gone, graph, item

from liquefy import nodejs
from liquefy.hosting import Forget, Gone, Load, Loaded, Piece, Ran, Refused, Run, frame
from liquefy.values import pack, unpack
from worker.supervisor import HostProcess

SOURCE = """
import { spawn } from "node:child_process";
import { answer, emit } from "liquefy";
import { current } from "liquefy/streaming";
import local from "./lib/local.cjs";

export function store(message, context) {
  switch (message.body) {
    case "raise": throw new TypeError("as asked");
    case "crash": return process.exit(7);
    case "abort": return process.abort();
    case "loop": for (;;);
    case "slow": { const until = Date.now() + 500; while (Date.now() < until); return 1; }
    case "print": console.log("to stdout"); console.error("to stderr"); process.stdout.write("no end of line"); break;
    case "child": return spawn("sleep", ["1000"], { stdio: "ignore" }).pid;
    case "large": return Buffer.alloc(20_000_000);
    case "local": return local();
    case "facts": return [JSON.stringify(process.env), process.cwd(), process.argv.slice(1)];
    case "message": return [message.key, message.id, message.fluxion, message.deadline, message.trace];
  }
  context.n = (context.n ?? 0) + 1;
  return emit("output", context.n);
}

export async function call(message) {
  if (message.body === "raise") throw new TypeError("as asked");
  if (message.body === "later") await new Promise(() => setTimeout(() => { throw new TypeError("later"); }, 20));
  if (message.body === "unheard") await new Promise(() => { Promise.reject(new TypeError("unheard")); });
  await new Promise((done) => setTimeout(done, message.body));
  return String(message.body);
}

export async function live(message) {
  const stream = current();
  if (message.body === "none") return stream.gone;
  for (let n = 0; n < 3; n++) stream.send(201, [["x-live", "yes"]], Buffer.from(String(n)));
  if (message.body === "fail") throw new TypeError("in the middle");
  if (message.body === "long") await new Promise((done) => setTimeout(done, 600));
  if (message.body === "wait") await new Promise((done) => { stream.onGone = done; });
}

export function keep(message, context) {
  context.n = (context.n ?? 0) + 1;
  (context.list ??= []).push(context.n);
  if (message.body === "raise") throw new TypeError("as asked");
  if (message.body === "unstorable") context.f = keep;
  if (message.body === "late") setTimeout(() => { context.n = 99; }, 20);
  if (message.body === "delete") delete context.list;
  const ms = typeof message.body === "number" ? message.body : 0;
  return new Promise((done) => setTimeout(() => done(JSON.stringify({ ...context })), ms));
}
"""

CODE = {"store": "code:store", "call": "./code.mjs:call", "keep": "code:keep", "live": "code:live"}


class NodeBench(Bench):
    """One host for JavaScript."""

    def start(self, folder, site):
        return HostProcess.start_node(
            nodejs.find().node, folder, self._note(self.messages), self._note(self.ends), self._line, ["ASKED_FOR"]
        )

    async def load(self, which=None, only=("store", "call", "keep", "live")):
        return await super().load(which or graph(**CODE), only)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bundle" / "lib").mkdir(parents=True)
    (tmp_path / "bundle" / "code.mjs").write_text(SOURCE)
    (tmp_path / "bundle" / "lib" / "local.cjs").write_text(
        'const { answer } = require("liquefy");\n'
        'module.exports = () => answer({ a: [undefined] }, 201, { x: ["1", "2"] });'
    )
    return tmp_path / "bundle"


def with_host(folder, steps):
    async def main():
        bench = NodeBench(folder)
        try:
            return await steps(bench)
        finally:
            bench.host.kill()
            await bench.end()

    return asyncio.run(main())


def test_packages_find_the_folder_of_the_bundle_above_them(folder, tmp_path):
    """As they do where npm installs them, although they are shared by all bundles that ask for the same."""
    package = tmp_path / "environment" / "node_modules" / "above"
    package.mkdir(parents=True)
    (package / "index.js").write_text('module.exports = require("path").resolve(__dirname, "../..");')
    (folder / "node_modules").symlink_to(package.parent)
    asking = 'const { answer } = require("liquefy");\nmodule.exports = () => answer(Buffer.from(require("above")));'
    (folder / "lib" / "local.cjs").write_text(asking)

    async def steps(bench):
        await bench.load()
        (done,) = await bench.run(item("local", fields={}))
        assert unpack(done.emitted[0].body).decode() == str(folder.resolve())

    with_host(folder, steps)


def test_loads_runs_and_keeps_contexts(folder):
    async def steps(bench):
        assert await bench.load() == Loaded("g", 1, ["store", "call", "keep", "live"])
        first = await bench.run(item(fields={"n": pack(5), "old": pack("x")}))
        assert [unpack(d.sets["n"]) for d in first] == [6]
        assert first[0].emitted[0].to == "output"
        assert unpack(first[0].emitted[0].body) == b"6"
        assert first[0].context_bytes == len("n" + "old") + 1 + 2
        (second,) = await bench.run(item())
        assert unpack(second.sets["n"]) == 7
        bench.host.send(frame(Forget("g/store/0", [])))
        (third,) = await bench.run(item(fields={}))
        assert unpack(third.sets["n"]) == 1
        (done,) = await bench.run(item("local"))
        assert (done.emitted[0].status, done.emitted[0].headers) == (
            201,
            (("x", "1"), ("x", "2"), ("content-type", "application/json")),
        )
        assert unpack(done.emitted[0].body) == b'{"a":[null]}'
        (done,) = await bench.run(item("message", key="k"))
        assert unpack(done.emitted[0].body) == b'["k","01","store",0,""]'
        both = await bench.run(item(ticket=3), item(ticket=4))
        assert [unpack(d.sets["n"]) for d in both] == [2, 3]

    with_host(folder, steps)


def test_contexts_change_as_plain_objects_do_and_only_by_what_succeeds(folder):
    async def steps(bench):
        await bench.load()

        def keep(body, **more):
            return item(body, "keep", **more)

        (first,) = await bench.run(keep(50, fields={"n": pack(5), "list": pack([5]), "same": pack({"a": 1})}))
        assert {name: unpack(value) for name, value in first.sets.items()} == {"n": 6, "list": [5, 6]}
        assert unpack(first.emitted[0].body) == '{"n":6,"list":[5,6],"same":{"a":1}}'
        for body, error in (("raise", "TypeError: as asked"), (60_000, "timed out after 0.4 s")):
            (failed,) = await bench.run(keep(body))
            assert (failed.error, failed.sets, failed.emitted) == (error, {}, [])
        (failed,) = await bench.run(keep("unstorable"))
        assert "function at context.f cannot be stored" in failed.error
        await bench.run(keep("late"))
        await asyncio.sleep(0.05)
        await bench.until(lambda: any("after its call has ended" in line for _, line in bench.lines))
        (done,) = await bench.run(keep("delete"))
        assert (unpack(done.sets["n"]), done.removes, done.empty) == (8, ("list",), False)

    with_host(folder, steps)


def test_failures_of_users_code_are_results(folder):
    async def steps(bench):
        await bench.load()
        done = await bench.run(
            item("raise", fields={}, ticket=1),
            item("raise", "call", ticket=2),
            item(60_000, "call", ticket=3),
            item("later", "call", ticket=4),
            item("unheard", "call", ticket=5),
            item("slow", ticket=6),
        )
        by_ticket = {d.ticket: d for d in done}
        assert [by_ticket[t].error for t in (1, 2, 4, 5)] == [
            "TypeError: as asked", "TypeError: as asked", "TypeError: later", "TypeError: unheard"
        ]  # fmt: skip
        assert by_ticket[3].error == by_ticket[6].error == "timed out after 0.4 s"
        trace = by_ticket[1].traceback.splitlines()
        assert trace[0] == "TypeError: as asked"
        assert trace[1].strip() == "at store (code.mjs:9:25)"
        assert len(trace) == 2
        (after,) = await bench.run(item(0, "call"))
        assert after.error == ""

    with_host(folder, steps)


def test_calls_wait_side_by_side_but_those_of_a_key_that_were_given_up(folder):
    async def steps(bench):
        await bench.load(graph(timeout_ms=2000, **CODE))
        start = time.monotonic()
        done = await bench.run(*(item(300, "call", ticket=t) for t in range(50)))
        assert time.monotonic() - start < 3
        assert all(d.elapsed_us >= 290_000 and d.cpu_us < 100_000 for d in done)
        bench.messages.clear()
        bench.host.send(frame(Run([item(300, "keep", fields={})])))
        bench.host.send(frame(Forget("g/store/0", [])))
        bench.host.send(frame(Run([item(0, "keep", fields={"n": pack(10)}, ticket=2)])))
        await bench.until(lambda: len(bench.done()) == 2)
        assert [(done.ticket, unpack(done.sets["n"])) for done in bench.done()] == [(1, 1), (2, 11)]

    with_host(folder, steps)


def test_an_answer_in_pieces(folder):
    async def steps(bench):
        await bench.load()
        (done,) = await bench.run(item("long", "live", ticket=1))
        pieces = [m.emitted for m in bench.messages if isinstance(m, Piece)]
        assert [(p.status, p.headers, unpack(p.body), p.piece) for p in pieces] == [
            (201, (("x-live", "yes"),), b"%d" % n, n + 1) for n in range(3)
        ]
        assert [(e.to, e.piece) for e in done.emitted] == [("output", -4)]
        assert Ran([]) in bench.messages  # a sign of life: a stream may be quiet for long
        (done,) = await bench.run(item("fail", "live", ticket=2))
        assert done.error == "TypeError: in the middle"
        assert len([m for m in bench.messages if isinstance(m, Piece)]) == 6
        bench.host.send(frame(Run([item("wait", "live", ticket=3)])))
        await bench.until(lambda: len([m for m in bench.messages if isinstance(m, Piece)]) == 9)
        bench.host.send(frame(Gone(3)) + frame(Gone(99)))
        await bench.until(lambda: bench.done()[-1].ticket == 3)
        (done,) = await bench.run(item("none", "live", ticket=4))
        assert unpack(done.emitted[0].body) == b"false"

    with_host(folder, steps)


@pytest.mark.parametrize(("what", "reason"), [("crash", "exit code 7"), ("abort", "signal 6")])
def test_a_crash_is_told(folder, what, reason):
    async def steps(bench):
        await bench.load()
        await bench.run(item(fields={}))
        bench.host.send(frame(Run([item(what)])))
        assert await bench.end() == reason

    with_host(folder, steps)


def test_output_is_passed_on_and_the_environment_is_bounded(folder, monkeypatch):
    monkeypatch.setenv("LIQUEFY_WORKER_REDIS", "secret")
    monkeypatch.setenv("ASKED_FOR", "told")

    async def steps(bench):
        await bench.load()
        await bench.run(item("print", fields={}))
        (done,) = await bench.run(item("facts"))
        text = unpack(done.emitted[0].body).decode()
        assert "secret" not in text
        assert "told" in text
        assert str(folder) in text
        bench.host.kill()
        await bench.end()
        assert {("stdout", "to stdout"), ("stdout", "no end of line"), ("stderr", "to stderr")} <= set(bench.lines)

    with_host(folder, steps)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("export const g = 1", ["code.mjs exports no function 'f'"]),
        ("export function g() {}\nexport function h() {}", ["no function 'f'; there are g, h"]),
        ("export const f = 5", ["as number, not as a function"]),
        ("export class f {}", ["as a class"]),
        ("export function* f() {}", ["as a generator"]),
        ("export function f(message, context) {}", ["2 parameters, but it has no context"]),
        ("\nexport function f(message {", ["importing 'code.mjs' failed: code.mjs:2: SyntaxError"]),
        ("\nthrow new RangeError('no')", ["RangeError: no", "at code.mjs:2:7"]),
        ("import x from 'nowhere'", ["nowhere", "ERR_MODULE_NOT_FOUND"]),
        ("import { nothing } from 'liquefy'", ["nothing"]),
        ("import x from './missing.mjs'", ["missing.mjs"]),
    ],
)
def test_code_that_cannot_be_used_is_refused(folder, source, words):
    (folder / "code.mjs").write_text(source)

    async def steps(bench):
        refused = await bench.load(graph(f="code:f"), ("f",))
        assert isinstance(refused, Refused)
        assert refused.error.startswith("fluxion 'f' (code:f): ")
        for word in words:
            assert word in refused.error + refused.traceback
        assert str(folder) not in refused.error + refused.traceback

    with_host(folder, steps)


def test_a_module_that_is_not_there_is_refused_and_the_host_lives(folder):
    async def steps(bench):
        refused = await bench.load(graph(f="nowhere:f"), ("f",))
        assert "there is no nowhere.mjs, nowhere.js, nowhere.cjs" in refused.error
        bench.host.send(frame(Load(graph(), str(folder.parent), ("store",))))
        await bench.until(lambda: len(bench.messages) == 2)
        assert "this host has the code of" in bench.messages[1].error
        assert isinstance(await bench.load(), Loaded)

    with_host(folder, steps)


def test_what_cannot_be_asked_ends_the_host(folder):
    async def steps(bench):
        await bench.load()
        bench.host.send(frame(Run([item()])))
        assert await bench.end() == "exit code 70"
        assert "without its context" in bench.lines[-1][1]

    with_host(folder, steps)


def test_killing_a_host_ends_what_it_started_and_what_loops(folder):
    async def steps(bench):
        await bench.load()
        (done,) = await bench.run(item("child", fields={}))
        pid = int(unpack(done.emitted[0].body))
        assert alive(pid)
        bench.host.send(frame(Run([item("loop")])))
        await asyncio.sleep(0.1)
        bench.host.kill()
        assert await bench.end() == "signal 9"
        await gone(pid, bench.host.pid)

    with_host(folder, steps)


def test_large_frames_go_both_ways(folder):
    async def steps(bench):
        await bench.load()
        (done,) = await bench.run(item("large", fields={"blob": pack(b"y" * 20_000_000)}))
        assert len(done.emitted[0].body) > 20_000_000
        assert done.context_bytes > 20_000_000

    with_host(folder, steps)


def test_a_host_whose_connection_closes_ends(folder):
    async def steps(bench):
        await bench.load()
        with contextlib.suppress(OSError):
            bench.host._connection.shutdown(2)
        await gone(bench.host.pid)

    with_host(folder, steps)

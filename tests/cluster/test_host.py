"""Real host processes, started and watched as a worker does it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from liquefy.graph import Fluxion, Graph, Group
from liquefy.handling import FREED_MAX
from liquefy.hosting import Forget, Item, Load, Loaded, Ran, Refused, Run, frame
from liquefy.values import pack, unpack
from worker import supervisor
from worker.supervisor import HostProcess

WITHIN_S = 20

SOURCE = """
import os, sys, time, asyncio
import worker                      # the user's own, beside this file
from liquefy import answer, emit

assert worker.MINE

def store(message, context):
    what = message.body
    if what == "raise":
        raise ValueError("as asked")
    if what == "crash":
        os._exit(7)
    if what == "abort":
        os.abort()
    if what == "big":
        return b"x" * 150_000
    if what == "sleep":
        time.sleep(60)
    if what == "exit":
        sys.exit("as asked")
    if what == "print":
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"no end of line")
    if what == "flood":
        for n in range(3000):
            print(n)
    if what == "long":
        print("x" * 20000)
    if what == "child":
        return os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
    if what == "fork":
        pid = os.fork()
        if not pid:
            time.sleep(1000)
        return pid
    if what == "returning fork":
        return os.fork()
    if what == "large":
        return b"x" * 20_000_000
    if what == "facts":
        import importlib.util
        return {
            "environment": dict(os.environ), "folder": os.getcwd(), "path": list(sys.path),
            "argv": sys.argv,
            "broker": importlib.util.find_spec("broker") is not None, "session": os.getsid(0) == os.getpid(),
            "open": os.get_inheritable(3),
            "liquefy.values": importlib.util.find_spec("liquefy.graph") is not None,
        }
    context["n"] = context.get("n", 0) + 1
    return context["n"]

async def keep(message, context):
    context["n"] = context.get("n", 0) + 1
    context.setdefault("list", []).append(context["n"])
    if message.body == "raise":
        raise ValueError("as asked")
    if message.body == "unstorable":
        context["f"] = keep
    await asyncio.sleep(message.body if isinstance(message.body, float) else 0)
    return context["n"]

def plain(message):
    return 1 + message.body if message.body else 1 / message.body

async def call(message):
    if message.body == "raise":
        raise ValueError("as asked")
    if message.body == "system exit":
        raise SystemExit(3)
    if message.body == "big":
        return b"x" * 20_000_000
    await asyncio.sleep(message.body)
    return message.body
"""


def graph(timeout_ms=400, **code):
    names = {"store": "code:store", "call": "code:call", **code}
    return Graph(
        "g",
        1,
        "b",
        (),
        tuple(Fluxion(n, c, n, streams=("output",), timeout_ms=timeout_ms) for n, c in names.items()),
        tuple(Group(n, n in ("store", "keep"), 4) for n in names),
    )


class Bench:
    """One host, and what came of it."""

    def __init__(self, folder, site=None):
        self.messages, self.lines, self.ends = [], [], []
        self.changed = asyncio.Event()
        self.host = self.start(folder, site)
        self.folder = folder

    def start(self, folder, site):
        return HostProcess.start(
            sys.executable, folder, site, self._note(self.messages), self._note(self.ends), self._line
        )

    def _note(self, where):
        def note(what):
            where.append(what)
            self.changed.set()

        return note

    def _line(self, stream, text):
        self.lines.append((stream, text))
        self.changed.set()

    async def until(self, condition, within_s=WITHIN_S):
        async with asyncio.timeout(within_s):
            while not (found := condition()):
                self.changed.clear()
                await self.changed.wait()
        return found

    async def load(self, which=None, only=("store",)):
        count = len(self.messages)
        self.host.send(frame(Load(which or graph(), str(self.folder), only)))
        await self.until(lambda: len(self.messages) > count)
        return self.messages[-1]

    def done(self):
        return [done for message in self.messages if isinstance(message, Ran) for done in message.results]

    async def run(self, *items):
        count = len(self.done())
        self.host.send(frame(Run(list(items))))
        await self.until(lambda: len(self.done()) >= count + len(items))
        return self.done()[count:]

    async def end(self):
        return await self.until(lambda: self.ends and self.ends[0])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "code.py").write_text(SOURCE)
    (tmp_path / "bundle" / "worker.py").write_text("MINE = True")
    return tmp_path / "bundle"


@contextlib.asynccontextmanager
async def started(folder, site=None):
    bench = Bench(folder, site)
    try:
        yield bench
    finally:
        bench.host.kill()
        await bench.end()


def with_host(folder, steps, site=None):
    async def main():
        async with started(folder, site) as bench:
            return await steps(bench)

    return asyncio.run(main())


def item(body=None, fluxion="store", fields=None, key="k", ticket=1):
    return Item(ticket, "g", fluxion, "g/store/0", key, b"\x01", pack(body), fields)


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def gone(*pids):
    async with asyncio.timeout(WITHIN_S):
        while any(map(alive, pids)):
            await asyncio.sleep(0.01)


def test_loads_runs_and_keeps_contexts(folder):
    async def steps(bench):
        assert await bench.load() == Loaded("g", 1, [])
        first, second = await bench.run(item(fields={}, ticket=1), item(ticket=2))
        assert (first.ticket, second.ticket) == (1, 2)
        assert (unpack(first.sets["n"]), unpack(second.sets["n"])) == (1, 2)
        assert unpack(second.emitted[0].body) == 2
        bench.host.send(frame(Forget("g/store/0", ["k"])))
        (third,) = await bench.run(item(fields={"n": pack(10)}))
        assert unpack(third.sets["n"]) == 11

    with_host(folder, steps)


@pytest.mark.parametrize("only", [("store", "there"), ("store", "there", "call")])
def test_many_contexts_are_freed_between_other_things(folder, only):
    with (folder / "code.py").open("a") as code:
        code.write(
            "def there(message):\n    import gc\n"
            "    return sum(type(each).__module__ == 'liquefy.context' for each in gc.get_objects())\n"
        )

    async def steps(bench):
        await bench.load(graph(there="code:there"), only)
        await bench.run(*(item(fields={}, key=str(n), ticket=n) for n in range(10 * FREED_MAX)))
        bench.host.send(frame(Forget("g/store/0", [])))
        ask = item(fluxion="there", ticket=1)
        async with asyncio.timeout(WITHIN_S):
            while unpack((await bench.run(ask))[0].emitted[0].body) > 1:
                pass

    with_host(folder, steps)


def test_failures_of_users_code_are_results(folder):
    async def steps(bench):
        await bench.load()
        raised, exited, slow, fine = await bench.run(
            item("raise", fields={"n": pack(1)}), item("exit"), item("sleep"), item()
        )
        assert raised.error == "ValueError: as asked"
        assert 'File "code.py"' in raised.traceback
        assert exited.error == "SystemExit: as asked"
        assert slow.error == "timed out after 0.4 s"
        assert "time.sleep(60)" in slow.traceback
        assert unpack(fine.sets["n"]) == 2

    with_host(folder, steps)


@pytest.mark.parametrize(("what", "reason"), [("crash", "exit code 7"), ("abort", "signal 6")])
def test_a_crash_is_told_after_the_results_that_came_before(folder, what, reason):
    async def steps(bench):
        await bench.load()
        bench.host.send(frame(Run([item(fields={})])) + frame(Run([item("print"), item(what)])))
        assert await bench.end() == reason
        assert [unpack(d.sets["n"]) for d in bench.done()] == [1]
        assert ("stdout", "to stdout") in bench.lines
        assert ("stdout", "no end of line") in bench.lines
        assert ("stderr", "to stderr") in bench.lines
        bench.host.send(b"into the void")
        bench.host.kill()
        assert bench.ends == [reason]

    with_host(folder, steps)


def test_results_on_their_way_when_a_host_dies_are_not_lost(folder):
    async def steps(bench):
        await bench.load()
        bench.host.send(frame(Run([item("big", fields={})])) + frame(Run([item("crash")])))
        end = time.monotonic() + WITHIN_S
        while alive(bench.host.pid) and time.monotonic() < end:
            time.sleep(0.01)  # noqa: ASYNC251  (nothing shall be read before it is dead)
        assert await bench.end() == "exit code 7"
        assert len(bench.done()) == 1

    with_host(folder, steps)


def test_output_is_bounded(folder):
    async def steps(bench):
        await bench.load()
        await bench.run(item("flood", fields={}), item("long"))
        await bench.until(lambda: any("more lines dropped" in text for _, text in bench.lines))
        numbers = [text for _, text in bench.lines if text.isdigit()]
        assert numbers[:500] == [str(n) for n in range(500)]
        assert len(numbers) < 3000
        assert max(len(text) for _, text in bench.lines) <= supervisor.LINE_BYTES_MAX

    with_host(folder, steps)


def test_users_code_sees_its_bundle_and_little_else(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LIQUEFY_REDIS", "redis://:secret@host")
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "installed.py").write_text("def f(message): return 'from the site'")

    async def steps(bench):
        assert await bench.load(graph(extra="installed:f"), ("store", "extra")) == Loaded("g", 1, [])
        (done,) = await bench.run(item("facts", fields={}))
        facts = unpack(done.emitted[0].body)
        assert "secret" not in str(facts["environment"])
        assert facts["environment"]["PYTHONPATH"] == str(tmp_path / "site")
        assert facts["folder"] == str(folder)
        assert facts["path"][:2] == [str(folder), str(tmp_path / "site")]
        assert facts["argv"] == [str(folder)]
        assert not facts["broker"]
        assert facts["session"]
        assert not facts["open"]
        assert facts["liquefy.values"]
        (done,) = await bench.run(item(fluxion="extra"))
        assert unpack(done.emitted[0].body) == "from the site"

    with_host(folder, steps, tmp_path / "site")


def test_code_that_cannot_be_used_is_refused_and_the_host_lives(folder):
    (folder / "broken.py").write_text("1 / 0")

    async def steps(bench):
        refused = await bench.load(graph(broken="broken:f"), ("store", "broken"))
        assert isinstance(refused, Refused)
        assert refused.error.startswith("fluxion 'broken' (broken:f): importing the module 'broken' failed")
        assert 'File "broken.py", line 1' in refused.traceback
        other = folder.parent
        bench.host.send(frame(Load(graph(), str(other), ("store",))))
        await bench.until(lambda: len(bench.messages) == 2)
        assert "this host has the code of" in bench.messages[1].error
        assert await bench.load() == Loaded("g", 1, [])

    with_host(folder, steps)


def test_coroutines_run_side_by_side_and_plain_functions_beside_them(folder):
    async def steps(bench):
        assert await bench.load(only=("store", "call")) == Loaded("g", 1, ["call"])
        items = [item(0.3 if t else 0.31, "call", ticket=t) for t in range(50)]
        start = time.monotonic()
        bench.host.send(frame(Run([*items, item(fields={}, ticket=99)])))
        await bench.until(lambda: len(bench.done()) == 51)
        assert time.monotonic() - start < 5
        assert bench.done()[0].ticket == 99
        assert all(d.error == "" for d in bench.done())
        assert all(d.elapsed_us >= 290_000 for d in bench.done()[1:])
        assert all(d.cpu_us < 100_000 for d in bench.done())

    with_host(folder, steps)


def test_failures_of_coroutines_are_results(folder):
    async def steps(bench):
        await bench.load(only=("store", "call"))
        done = await bench.run(
            item("raise", "call", ticket=1),
            item(60, "call", ticket=2),
            item("system exit", "call", ticket=3),
            item(object.__name__, "call", ticket=4),
            item("sleep", fields={}, ticket=5),
        )
        by_ticket = {d.ticket: d for d in done}
        assert by_ticket[1].error == "ValueError: as asked"
        assert by_ticket[2].error == "timed out after 0.4 s"
        assert "asyncio.sleep(message.body)" in by_ticket[2].traceback
        assert by_ticket[3].error == "SystemExit: 3"
        assert by_ticket[4].error.startswith("TypeError")
        assert by_ticket[5].error == "timed out after 0.4 s"
        (after,) = await bench.run(item(0, "call"))
        assert after.error == ""

    with_host(folder, steps)


def test_a_coroutine_has_its_context_and_a_failed_one_leaves_it_as_it_was(folder):
    async def steps(bench):
        def keep(body, **more):
            return item(body, "keep", **more)

        with_keep = graph(keep="code:keep")
        assert await bench.load(with_keep, ("store", "keep")) == Loaded("g", 1, ["keep"])
        (first,) = await bench.run(keep(0.05, fields={"n": pack(5), "list": pack([5])}))
        assert {name: unpack(value) for name, value in first.sets.items()} == {"n": 6, "list": [5, 6]}
        assert first.context_bytes == sum(len(n) + len(v) for n, v in first.sets.items())
        for body, error in (("raise", "ValueError: as asked"), (60.0, "timed out after 0.4 s")):
            (failed,) = await bench.run(keep(body))
            assert (failed.error, failed.sets, failed.emitted) == (error, {}, [])
        (failed,) = await bench.run(keep("unstorable"))
        assert "context['f'] cannot be stored" in failed.error
        (plain,) = await bench.run(item(ticket=2))
        assert unpack(plain.sets["n"]) == 7
        both = await bench.run(item(ticket=3, key="b", fields={}), keep(0.0, ticket=4, key="b"))
        assert [unpack(done.sets["n"]) for done in both] == [1, 2]

    with_host(folder, steps)


def test_a_run_that_was_given_up_is_waited_for(folder):
    async def steps(bench):
        await bench.load(graph(timeout_ms=2000, keep="code:keep"), ("store", "keep"))
        stale = item(0.3, "keep", fields={})
        bench.host.send(frame(Run([stale])))
        bench.host.send(frame(Forget("g/store/0", [])))
        bench.host.send(frame(Run([item(0.0, "keep", fields={"n": pack(10)}, ticket=2)])))
        await bench.until(lambda: len(bench.done()) == 2)
        assert [(done.ticket, unpack(done.sets["n"])) for done in bench.done()] == [(1, 1), (2, 11)]

    with_host(folder, steps)


def test_what_a_coroutine_emits_goes_on_in_the_same_call(folder):
    async def steps(bench):
        streams = {"call": ("plain",), "plain": ("output",)}
        fluxions = tuple(Fluxion(n, f"code:{n}", n, streams=s, timeout_ms=400) for n, s in streams.items())
        chain = Graph("g", 1, "b", (), fluxions, tuple(Group(n, False, 4) for n in streams))
        await bench.load(chain, ("call", "plain"))
        onward = {"call": ("plain",)}
        asked = Item(1, "g", "call", "g/call/0", "a", b"\x01", pack(0.01), onward=onward)
        (done,) = await bench.run(asked)
        (step,) = done.onward
        assert unpack(step.emitted[0].body) == 1.01
        assert (done.emitted[0].to, step.emitted[0].to) == ("plain", "output")
        failing = Item(2, "g", "call", "g/call/0", "a", b"\x02", pack(0), onward=onward)
        (done,) = await bench.run(failing)
        assert (done.error, len(done.emitted), done.onward) == ("", 1, [])

    with_host(folder, steps)


def test_what_a_plain_function_emits_goes_on_to_a_coroutine_and_from_there(folder):
    async def steps(bench):
        streams = {"plain": ("call",), "call": ("after",), "after": ("output",)}
        code = {"plain": "code:plain", "call": "code:call", "after": "code:plain"}
        fluxions = tuple(Fluxion(n, code[n], n, streams=s, timeout_ms=400) for n, s in streams.items())
        chain = Graph("g", 1, "b", (), fluxions, tuple(Group(n, False, 4) for n in streams))
        await bench.load(chain, tuple(streams))
        onward = {"plain": ("call",), "call": ("after",)}

        def asked(ticket, body):
            return Item(ticket, "g", "plain", "g/plain/0", "a", bytes((ticket,)), pack(body), onward=onward)

        (done,) = await bench.run(asked(1, -0.99))
        (step,) = done.onward
        (further,) = step.onward
        assert [d.emitted[0].to for d in (done, step, further)] == ["call", "after", "output"]
        assert unpack(step.emitted[0].body) == pytest.approx(0.01)
        assert unpack(further.emitted[0].body) == pytest.approx(1.01)
        # Too late, and nothing comes of it: both are left to the worker, as messages to the coroutine.
        late, failing = await bench.run(asked(2, 5), asked(3, 0))
        if late.ticket == 3:
            late, failing = failing, late
        assert (late.error, [e.to for e in late.emitted], late.onward) == ("", ["call"], [])
        assert failing.error.startswith("ZeroDivisionError")

    with_host(folder, steps)


def test_a_coroutine_whose_context_is_not_there_ends_the_host(folder):
    async def steps(bench):
        await bench.load(graph(keep="code:keep"), ("keep",))
        bench.host.send(frame(Run([item(0, "keep")])))
        assert await bench.end() == "exit code 70"

    with_host(folder, steps)


@pytest.mark.parametrize("only", [("store",), ("store", "call")])
def test_what_cannot_be_asked_ends_the_host(folder, only):
    async def steps(bench):
        await bench.load(only=only)
        bench.host.send(frame(Run([item()])))
        assert await bench.end() == "exit code 70"
        assert any("without its context" in text for _, text in bench.lines)

    with_host(folder, steps)


@pytest.mark.parametrize("what", ["child", "fork"])
def test_killing_a_host_ends_what_it_started(folder, what):
    async def steps(bench):
        await bench.load()
        (done,) = await bench.run(item(what, fields={}))
        child = unpack(done.emitted[0].body)
        assert alive(child)
        bench.host.kill()
        assert await bench.end() == "signal 9"
        await gone(bench.host.pid, child)

    with_host(folder, steps)


def test_a_host_that_dies_is_noticed_though_its_child_lives_on(folder):
    async def steps(bench):
        await bench.load()
        (done,) = await bench.run(item("fork", fields={}))
        os.kill(bench.host.pid, signal.SIGKILL)
        assert await bench.end() == "signal 9"
        await gone(unpack(done.emitted[0].body))

    with_host(folder, steps)


def test_large_frames_go_both_ways_while_the_host_is_busy(folder):
    body = b"x" * 3_000_000

    async def steps(bench):
        await bench.load()
        items = [item(body, ticket=t, fields={} if t == 0 else None) for t in range(8)]
        for each in items:
            bench.host.send(frame(Run([each])))
        assert bench.host.unsent_bytes > 10_000_000
        await bench.until(lambda: len(bench.done()) == 8)
        assert [d.ticket for d in bench.done()] == list(range(8))
        assert bench.host.unsent_bytes == 0

    with_host(folder, steps)


def test_large_results_are_sent_whole_beside_coroutines_too(folder):
    async def steps(bench):
        await bench.load(only=("store", "call"))
        for each in (item("large", fields={}), item("big", "call")):
            (done,) = await bench.run(each)
            assert len(unpack(done.emitted[0].body)) == 20_000_000

    with_host(folder, steps)


@pytest.mark.parametrize("only", [("store",), ("store", "call")])
def test_a_forked_child_that_returns_speaks_and_hears_nothing(folder, only):
    async def steps(bench):
        await bench.load(only=only)
        (done,) = await bench.run(item("returning fork", fields={}))
        child = unpack(done.emitted[0].body)
        assert child > 0
        await gone(child)
        for n in range(50):
            (done,) = await bench.run(item(ticket=n))
            assert unpack(done.emitted[0].body) == n + 1
        assert len(bench.done()) == 51

    with_host(folder, steps)


def test_a_program_that_speaks_something_else_is_ended(folder):
    async def main():
        ends, end = [], asyncio.Event()

        def on_exit(reason):
            ends.append(reason)
            end.set()

        program = "import os, time; os.write(3, b'\\xff' * 100); time.sleep(1000)"
        HostProcess.spawn((sys.executable, "-c", program), os.environ, print, on_exit, print)
        async with asyncio.timeout(WITHIN_S):
            await end.wait()
        assert ends[0].startswith("bad frame: a frame of 4294967295 bytes")

    asyncio.run(main())


def test_a_program_that_cannot_be_started_is_an_error(folder):
    async def main():
        with pytest.raises(OSError, match="No such file"):
            HostProcess.spawn(("/nowhere/python",), {}, print, print, print)

    asyncio.run(main())


@pytest.mark.parametrize("what", ["idle", "sleep"])
def test_a_host_ends_with_its_worker(folder, what):
    """A program that stands for a worker starts a host and is killed; the host, idle or busy, goes too."""
    program = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(supervisor.__file__).parent.parent)!r})
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_host

        async def main():
            bench = test_host.Bench(Path({str(folder)!r}))
            await bench.load(test_host.graph(timeout_ms=60_000))
            if {what!r} != "idle":
                bench.host.send(test_host.frame(test_host.Run([test_host.item({what!r}, fields={{}})])))
            print(bench.host.pid, flush=True)
            await asyncio.sleep(1000)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as worker:
        pid = int(worker.stdout.readline())
        assert alive(pid)
        worker.kill()
    asyncio.run(gone(pid))


QUIET = """
import asyncio
from liquefy import streaming

async def call(message):
    streaming.current().send(200, (), b"x")
    await asyncio.sleep(message.body)
"""


def test_a_stream_that_is_quiet_shows_that_its_host_lives(folder):
    (folder / "code.py").write_text(QUIET)

    async def steps(bench):
        await bench.load(only=("call",))
        (done,) = await bench.run(item(0.8, "call"))
        assert done.error == ""
        assert bench.messages.count(Ran([])) == 1

    with_host(folder, steps)

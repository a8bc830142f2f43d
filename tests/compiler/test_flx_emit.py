"""Steps as functions: what they send, what their context keeps, what becomes of their text."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from compiler.flx.emit import emit
from compiler.flx.read import read
from liquefy import Context, Message, answer
from liquefy.fluxion import Emit
from liquefy.graphfile import read_with_code


def emitted(text: str, folder: Path, language: str = "python") -> Path:
    """The bundle of a service with that text below its head."""
    file, out = folder / "a.flx", folder / "out"
    file.write_text(f"service a\nlanguage {language}\n\n{text}")
    out.mkdir()
    emit(read(file), out)
    read_with_code(out / "graph.yaml")
    return out


def module(text: str, folder: Path) -> ModuleType:
    file = emitted(text, folder) / "service.py"
    spec = importlib.util.spec_from_file_location("flx_service", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


SENDER = """flx a {seen} by params.id
  GET /{id}
  >> b [x, y]
  step
    x = params["id"]
    seen = (seen or []) + [x]
    y = len(seen)
    if x == "no":
        return
    if x == "late":
        return answer("too late", status=410)
    if x == "gone":
        seen = None

flx b
  -> output [x]
"""


def test_at_its_end_a_step_sends_what_its_stream_names(tmp_path: Path) -> None:
    a, context = module(SENDER, tmp_path).a, Context()
    assert a(Message({"params": {"id": "u"}}), context) == {"x": "u", "y": 1}
    assert dict(context) == {"seen": ["u"]}


def test_a_return_ends_it_and_the_context_is_kept_all_the_same(tmp_path: Path) -> None:
    a, context = module(SENDER, tmp_path).a, Context()
    assert a(Message({"params": {"id": "no"}}), context) is None
    assert a(Message({"params": {"id": "late"}}), context) == answer("too late", status=410)
    assert dict(context) == {"seen": ["no", "late"]}
    assert a(Message({"params": {"id": "gone"}}), context) == {"x": "gone", "y": 3}
    assert not context


def test_without_a_body_it_passes_on_what_came(tmp_path: Path) -> None:
    assert module(SENDER, tmp_path).b(Message({"x": 1, "y": 2})) == {"x": 1}


def test_along_several_streams_each_gets_its_own(tmp_path: Path) -> None:
    text = "flx a\n  GET /\n  -> b [x]\n  >> c [y]\n  step\n    x, y = 1, 2\n\nflx b\n  -> output [x]\n\nflx c\n"
    assert module(text, tmp_path).a(Message({})) == [Emit("b", {"x": 1}, 0), Emit("c", {"y": 2}, 0)]


def test_what_a_text_has_in_it_is_not_indented(tmp_path: Path) -> None:
    head = "flx a {n} by params.id\n  GET /{id}\n  -> output [t]\n  step\n"
    text = f'{head}    n = 1\n    t = """one\n      two\n    three"""\n'
    assert module(text, tmp_path).a(Message({"params": {"id": "u"}}), Context()) == {"t": "one\n  two\nthree"}


def test_a_body_that_awaits_is_a_coroutine_an_inner_one_is_not(tmp_path: Path) -> None:
    text = (
        "flx a\n  GET /\n  -> b [x]\n  step\n"
        "    async def inner():\n        await nothing()\n    x = inner is not None\n\n"
        "flx b\n  -> output [y]\n  step\n    await nothing()\n    y = x\n\n"
        "file service.py\n    async def nothing():\n        pass\n"
    )
    made = module(text, tmp_path)
    assert not inspect.iscoroutinefunction(made.a)
    assert asyncio.run(made.b(Message({"x": True}))) == {"y": True}


def test_a_fluxion_with_requests_and_streams_takes_what_there_is(tmp_path: Path) -> None:
    sender = "flx a\n  GET /\n  -> b [n, body]\n  step\n    n, body = 1, 2\n\n"
    b = module(sender + "flx b\n  POST /\n  -> output [m]\n  step\n    m = n or body\n", tmp_path).b
    assert b(Message({"n": 5, "body": 1})) == {"m": 5}


JAVASCRIPT = """flx a {seen} by params.id
  GET /{id}
  -> output [x, text]
  step
    const x = params.id;
    seen = (seen ?? 0) + 1;
    text = `${x}
      ${seen}`;
    if (x === "no") return;
    if (x === "gone") seen = null;
"""


def test_javascript_does_the_same(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on PATH")
    file = emitted(JAVASCRIPT, tmp_path, "javascript") / "service.mjs"

    def called(user: str, context: dict[str, Any]) -> list[Any]:
        script = (
            f"const {{ a }} = await import({json.dumps(file.as_uri())}); const context = {json.dumps(context)};"
            f"const sent = a({{ body: {{ params: {{ id: {json.dumps(user)} }} }} }}, context);"
            "console.log(JSON.stringify([sent ?? null, context]));"
        )
        done = subprocess.run([node, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=30)
        assert not done.returncode, done.stderr
        found: list[Any] = json.loads(done.stdout)
        return found

    assert called("u", {}) == [{"x": "u", "text": "u\n  1"}, {"seen": 1}]
    assert called("no", {"seen": 1}) == [None, {"seen": 2}]
    assert called("gone", {"seen": 1}) == [{"x": "gone", "text": "gone\n  2"}, {}]

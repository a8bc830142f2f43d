"""A random service as it is, and compiled on nodes that share nothing but the contexts of messages."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from random_services import Service

from compiler.compile import compile_source, emit
from compiler.program import Fluxion, Keeping, Program, Role
from liquefy import graphfile
from liquefy.values import pack, unpack

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE = shutil.which("node") or ""
NODES = 3
"""The first part of a handler is on another node than the last one, if there is one part between them, too."""
PARTS_MAX = 40
"""Messages of one request."""

Answered = tuple[int, Any]

EXPRESS = """
const http = require("http");
module.exports = () => {
  const routes = new Map();
  return {
    get: (path, ...handlers) => void routes.set(path.split("/")[1], handlers),
    listen: (port) => http.createServer((req, res) => {
      const [, first, id] = req.url.split("/");
      req.params = { id };
      res.json = (value) => void (res.writableEnded || res.end(JSON.stringify(value))); // one more in a `finally`
      const failed = (error) => ((res.statusCode = 500), res.end(JSON.stringify(String(error))));
      let at = 0;
      const next = () => {
        try {
          Promise.resolve(routes.get(first)[at++](req, res, next)).catch(failed);
        } catch (error) {
          failed(error);
        }
      };
      next();
    }).listen(port),
  };
};
"""


def write(service: Service, language: str, folder: Path) -> Path:
    """The service's file, with what it needs."""
    folder.mkdir()
    file = folder / ("app.py" if language == "python" else "app.js")
    file.write_text(service.python if language == "python" else service.javascript)
    if language == "javascript":
        put_express(folder)
    return file


def put_express(folder: Path) -> None:
    package = folder / "node_modules" / "express"
    package.mkdir(parents=True, exist_ok=True)
    (package / "index.js").write_text(EXPRESS)


@contextmanager
def process(command: list[str]) -> Iterator[Callable[[Any], Any]]:
    """Asks a process by lines."""
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, stderr=subprocess.DEVNULL
    )

    def ask(value: Any) -> Any:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(json.dumps(value) + "\n")
        running.stdin.flush()
        return json.loads(running.stdout.readline())

    try:
        yield ask
    finally:
        running.kill()
        running.communicate()


def plainly(file: Path, requests: tuple[str, ...]) -> list[Answered]:
    """The answers of the service as it is."""
    if file.suffix == ".py":
        with process([sys.executable, str(HERE / "random_node.py"), "plain", str(file.parent)]) as ask:
            return [(status, value(text)) for status, text in map(ask, requests)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = subprocess.Popen([NODE, str(file)], env={"PORT": str(port)})
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        return [asked(f"http://127.0.0.1:{port}{path}") for path in requests]
    finally:
        running.kill()
        running.wait()


def asked(url: str) -> Answered:
    try:
        with urllib.request.urlopen(url) as response:
            return response.status, value(response.read().decode())
    except urllib.error.HTTPError as error:
        return error.code, value(error.read().decode())


def value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Cluster:
    """Each message is handled by another node than the one before; what is pinned, by the first."""

    def __init__(self, program: Program, asks: list[Callable[[Any], Any]]) -> None:
        self.fluxions = {fluxion.name: fluxion for fluxion in program.fluxions}
        self.groups = {group.name: group for group in program.groups}
        self.asks = asks
        self.turn = 0
        self.contexts: dict[tuple[str, str], dict[str, Any]] = {}
        self.python = program.language == "python"

    def request(self, path: str) -> Answered:
        target = path
        path, _, query = target.partition("?")
        fluxion, params = self.routed(path)
        self.turn += 1  # or requests of three messages would all begin on one node
        headers = [["Host", "h"]]
        body: Any = {"method": "GET", "target": target, "path": path, "params": params, "headers": headers}
        body["query"] = dict(urllib.parse.parse_qsl(query))
        body |= {"body": b"" if self.python else "", "client": "1.2.3.4:5", "scheme": "http"}
        key = ""
        for _ in range(PARTS_MAX):
            key = self.key(fluxion, body, key)
            sent = self.send(fluxion, body, key)
            if "error" in sent:
                raise AssertionError(f"{fluxion.name} {path}: {sent['error']}")
            if "to" not in sent:
                return sent["status"], value(sent["text"])
            fluxion, body = self.fluxions[sent["to"]], sent["body"]
        raise AssertionError(f"{path}: no end")

    def routed(self, path: str) -> tuple[Fluxion, dict[str, str]]:
        for fluxion in self.fluxions.values():
            for entry in fluxion.entries:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", entry.path)
                found = re.fullmatch(pattern, path) if entry.method in ("GET", "*") else None
                if found and entry.path:
                    return fluxion, found.groupdict()
        return next(f for f in self.fluxions.values() if f.role.value == "whole"), {}

    def key(self, fluxion: Fluxion, body: Any, inherited: str) -> str:
        keeping = self.groups[fluxion.group].keeping
        if keeping is not Keeping.KEYED:
            return inherited if keeping is Keeping.NONE else ""
        found = body
        later = self.python and fluxion.role in (Role.STEP, Role.END)
        for step in ("request.key" if later else fluxion.key).split("."):
            found = found[step]
        return str(found)

    def send(self, fluxion: Fluxion, body: Any, key: str) -> dict[str, Any]:
        keeping = self.groups[fluxion.group].keeping
        self.turn += 1
        ask = self.asks[0 if keeping is Keeping.PINNED else self.turn % NODES]
        keeps = keeping in (Keeping.WHOLE, Keeping.KEYED)
        place = fluxion.group, key
        context = self.contexts.get(place, {}) if keeps else {}
        if self.python:
            told = ask({"fluxion": fluxion.name, "key": key, "body": pack(body).hex(), "context": context})
            sent = told | ({"body": unpack(bytes.fromhex(told["body"]))} if "body" in told else {})
        else:
            told = ask({"fluxion": fluxion.name, "message": {"key": key, "body": body}, "context": context})
            sent = told["sent"]
            if "status" in sent:
                sent = {**sent, "text": sent["body"]}
        if keeps and "error" not in sent:
            self.contexts[place] = told["context"]
        return sent


def compiled(file: Path, requests: tuple[str, ...], folder: Path) -> list[Answered]:
    """The answers of the service compiled."""
    program = compile_source(file)
    folder.mkdir()
    emit(program, folder)
    graphfile.read(folder / "graph.yaml")
    if program.language == "python":
        command = [sys.executable, str(HERE / "random_node.py"), "node", str(folder)]
    else:
        put_express(folder)
        command = [NODE, str(ROOT / "tests/unit/javascript/drive.mjs"), str(folder)]
    with ExitStack() as stack:
        cluster = Cluster(program, [stack.enter_context(process(command)) for _ in range(NODES)])
        return [cluster.request(path) for path in requests]

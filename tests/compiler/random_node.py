"""Runs a Python service for the random tests, a line of JSON in, a line out. `plain`: the service as it is, each line a
path. Else a node: each line a fluxion, its message and its context, packed."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from liquefy.context import Context
from liquefy.fluxion import Answer, Message
from liquefy.liquid.http import Request
from liquefy.liquid.program import RunningProgram
from liquefy.liquid.servers import Job
from liquefy.values import pack, unpack


def plain(folder: Path) -> None:
    os.chdir(folder)
    server = RunningProgram(folder, "app.py").start()
    for line in sys.stdin:
        response = server.run(Job(Request("GET", json.loads(line), [("Host", "h")])))
        say([response.status, response.body.decode()])


def node(service: Any) -> None:
    for line in sys.stdin:
        given = json.loads(line)
        context = Context.from_packed({name: bytes.fromhex(value) for name, value in given["context"].items()})
        message = Message(unpack(bytes.fromhex(given["body"])), key=given["key"], fluxion=given["fluxion"])
        function = getattr(service, given["fluxion"])
        arguments = (message, context) if len(inspect.signature(function).parameters) == 2 else (message,)
        try:
            sent = function(*arguments)
            sent = asyncio.run(wait(sent)) if inspect.isawaitable(sent) else sent
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
            continue
        (only,) = sent if isinstance(sent, list) else [sent]
        context.changes()
        fields = {name: pack(context[name]).hex() for name in context}
        if isinstance(only, Answer):
            say({"status": only.status, "text": bytes(only.body).decode(), "context": fields})
        else:
            say({"to": only.to, "body": pack(only.body).hex(), "context": fields})


async def wait(sent: Any) -> Any:
    return await sent


def say(value: Any) -> None:
    print(json.dumps(value), file=out, flush=True)


if __name__ == "__main__":
    out, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, sys.argv[2])
    if sys.argv[1] == "plain":
        plain(Path(sys.argv[2]))
    else:
        node(importlib.import_module("liquid_service"))

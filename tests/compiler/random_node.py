"""Runs a Python service for the random tests, a line of JSON in, a line out. `plain`: the service as it is, each line a
path. Else a node: each line a fluxion, its message and its context, packed."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from typing import Any

from liquefy.context import Context
from liquefy.fluxion import Answer, Message
from liquefy.values import pack, unpack


def plain(app: Any) -> None:
    loop = asyncio.new_event_loop()
    for line in sys.stdin:
        path = json.loads(line)
        if hasattr(app, "test_client"):
            response = app.test_client().get(path)
            say([response.status_code, response.get_data(as_text=True)])
        else:
            say(loop.run_until_complete(called(app, path)))


async def called(app: Any, path: str) -> list[Any]:
    """An application of ASGI, asked without a server."""
    said: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "http_version": "1.1", "scheme": "http", "root_path": ""}
    scope |= {"server": ("h", 80), "client": ("1.2.3.4", 5)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app(scope, receive, send)
    return [said[0]["status"], b"".join(each.get("body", b"") for each in said[1:]).decode()]


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
        plain(importlib.import_module("app").app)
    else:
        node(importlib.import_module("liquid_service"))

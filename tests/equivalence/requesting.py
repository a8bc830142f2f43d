"""Sends a case's requests to an address and writes down what is answered, always in the same form:

    > METHOD path
    < status
    content-type: ...
    body

A script does that by itself (it takes the base address, and runs $HOOK before request $HOOK_AT). A list in JSON is
played here: `{"method", "path", "headers", "json" | "form" | "body"}`, cookies kept from one request to the next.
"""

from __future__ import annotations

import http.client
import http.cookies
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from cases import Case

SCRIPT_S = 120.0
REQUEST_S = 30.0

HEADERS = ("access-control-allow-origin", "allow", "content-type", "location", "www-authenticate")
"""The headers that matter."""

MASKS = (
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "<UUID>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "<TIME>"),
)


def play(case: Case, base: str, hook_at: int = 0, hook: str = "", call: Callable[[], None] = lambda: None) -> str:
    """What is answered. Before request `hook_at`, counted from 1, the script runs the command `hook`; for a list
    `call` is called instead."""
    if case.requests is None:
        return ""
    listed = case.requests.suffix == ".json"
    text = _list(case.requests, base, hook_at, call) if listed else _script(case, base, hook_at, hook)
    return masked(case, text)


def masked(case: Case, text: str) -> str:
    """What is another each time is not compared."""
    for mask in case.masks:
        text = re.sub(mask, "<MASKED>", text)
    return text


def count(text: str) -> int:
    return sum(line.startswith("> ") for line in text.splitlines())


def _script(case: Case, base: str, hook_at: int, hook: str) -> str:
    assert case.requests is not None
    environment = {**os.environ, **case.given(urlsplit(base).netloc), "PORT": base.rpartition(":")[2]}
    if hook_at:
        environment |= {"HOOK_AT": str(hook_at), "HOOK": hook}
    try:
        done = subprocess.run(
            ["bash", case.requests.name, base], cwd=case.folder, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=SCRIPT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        return (said if isinstance(said, str) else said.decode(errors="replace")) + "\n! the script did not end"
    return done.stdout


def _list(file: Path, base: str, hook_at: int, call: Callable[[], None]) -> str:
    cookies: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    found = []
    for number, request in enumerate(json.loads(file.read_text()), start=1):
        if number == hook_at:
            call()
        found.append(_one(request, base, cookies))
    return "".join(found)


def _one(request: dict[str, Any], base: str, cookies: http.cookies.SimpleCookie) -> str:
    headers, body = dict(request.get("headers", {})), request.get("body", "").encode() or None
    if "json" in request:
        body, headers["content-type"] = json.dumps(request["json"]).encode(), "application/json"
    if "form" in request:
        body, headers["content-type"] = urlencode(request["form"]).encode(), "application/x-www-form-urlencoded"
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
    method, path = request.get("method", "GET"), request["path"]
    to = urlsplit(base)
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=REQUEST_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"> {method} {path}\n! {error}\n"
    finally:
        connection.close()
    for said in answer.headers.get_all("set-cookie") or []:
        cookies.load(said)
    shown = sorted(f"{name.lower()}: {value}" for name, value in answer.headers.items() if name.lower() in HEADERS)
    text = "\n".join([f"> {method} {path}", f"< {answer.status}", *shown, content, ""]).replace(to.netloc, "HOST")
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text

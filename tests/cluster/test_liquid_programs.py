"""Any web program, run without the server it would start: each kind in a process of its own, asked the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_cluster import ROOT

ASKER = """
import json, os, sys
from pathlib import Path
from liquefy.liquid.http import Request
from liquefy.liquid.program import RunningProgram
from liquefy.liquid.servers import Job

program, requests = json.loads(sys.argv[1]), json.loads(sys.argv[2])
server = RunningProgram(Path.cwd(), *program).start()
answers = []
for method, target, body in requests:
    headers = [("Host", "example.org"), ("Content-Length", str(len(body))), ("X-Twice", "1"), ("X-Twice", "2")]
    response = server.run(Job(Request(method, target, headers, body.encode(), "192.0.2.7:4711")))
    names = ("content-type", "x-made")
    kept = sorted([n.lower(), v] for n, v in response.headers if n.lower() in names)
    answers.append([response.status, kept, response.body.decode()])
print("\\n" + json.dumps(answers), flush=True)
os._exit(0)
"""

FLASK = """
from flask import Flask, request
import sys

def create_app():
    app = Flask("made")

    @app.get("/hello/<name>")
    def hello(name):
        return f"hello {name} from {request.remote_addr}", 200, {"X-Made": request.args.get("q", "")}

    @app.post("/echo")
    def echo():
        return request.get_data()

    return app
"""

WSGI = """
def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]
    if not environ["PATH_INFO"].startswith("/hello/"):
        start_response("404 NOT FOUND", [("Content-Type", "text/html; charset=utf-8")])
        return [b"no"]
    made = environ["QUERY_STRING"].removeprefix("q=")
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("X-Made", made)])
    text = f"hello {environ['PATH_INFO'][7:]} from {environ['REMOTE_ADDR']}"
    return (part.encode() for part in (text[:5], text[5:]))
"""

ASGI = """
started = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        started.append(1)
        await send({"type": "lifespan.startup.complete"})
        await receive()
    assert started == [1]
    body, status, made = b"no", 404, b""
    if scope["method"] == "POST":
        status, body = 200, (await receive())["body"]
    elif scope["path"].startswith("/hello/"):
        status, made = 200, scope["query_string"].removeprefix(b"q=")
        body = f"hello {scope['path'][7:]} from {scope['client'][0]}".encode()
    headers = [(b"content-type", b"text/html; charset=utf-8")] + ([(b"x-made", made)] if made else [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body[:3], "more_body": True})
    await send({"type": "http.response.body", "body": body[3:]})
"""

PLAIN = """
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        if not url.path.startswith("/hello/"):
            return self.say(404, b"no")
        text = f"hello {unquote(url.path)[7:]} from {self.client_address[0]}"
        self.say(200, text.encode(), url.query.removeprefix("q="))

    def do_POST(self):
        self.say(200, self.rfile.read(int(self.headers["content-length"])))

    def say(self, status, body, made=""):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if made:
            self.send_header("X-Made", made)
        self.end_headers()
        self.wfile.write(body)
"""

STREAMS = """
import asyncio
from urllib.parse import unquote

async def serve(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().split("\\r\\n")
    method, target, _ = head[0].split(" ")
    path, _, query = target.partition("?")
    made, status, body = "", 200, b""
    if method == "POST":
        size = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length"))
        body = await reader.readexactly(size)
    elif path.startswith("/hello/"):
        body = f"hello {unquote(path)[7:]} from {writer.get_extra_info('peername')[0]}".encode()
        made = f"X-Made: {query.removeprefix('q=')}\\r\\n" if query else ""
    else:
        status, body = 404, b"no"
    writer.write(f"HTTP/1.1 {status} X\\r\\nContent-Type: text/html; charset=utf-8\\r\\n{made}"
                 f"Transfer-Encoding: chunked\\r\\n\\r\\n{len(body):x}\\r\\n".encode() + body + b"\\r\\n0\\r\\n\\r\\n")
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 80)
    async with server:
        await server.serve_forever()
"""

SOCKET = """
import socket
import threading

listener = socket.socket()
listener.bind(("0.0.0.0", 80))
listener.listen()
while True:
    connection, _ = listener.accept()
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += connection.recv(65536)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: text/html; charset=utf-8\\r\\n\\r\\nraw")
    connection.close()
"""

GUARD = '\nif __name__ == "__main__":\n    '

PROGRAMS = {
    "flask as a script": FLASK + GUARD + "create_app().run(port=80, debug=True)",
    "flask by its factory": FLASK,
    "flask in a module": FLASK + "\nbackend = create_app()",
    "werkzeug": FLASK + "\nfrom werkzeug.serving import make_server\nmake_server('', 80, create_app()).serve_forever()",
    "wsgi in a module": WSGI,
    "wsgiref": WSGI
    + GUARD
    + "from wsgiref.simple_server import make_server; make_server('', 80, application).serve_forever()",
    "asgi in a module": ASGI,
    "http.server": PLAIN + "\nHTTPServer(('', 80), Handler).serve_forever()",
    "http.server with threads": PLAIN + "\nwith ThreadingHTTPServer(('', 80), Handler) as s:\n    s.serve_forever()",
    "asyncio streams": STREAMS + GUARD + "asyncio.run(main())",
}


def ask(folder: Path, source: str, requests: list[list[str]], app: str = "") -> list[Any]:
    (folder / "service.py").write_text(source)
    command = [sys.executable, "-P", "-c", ASKER, json.dumps(["service.py", app]), json.dumps(requests)]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_kind_answers_as_it_would(name: str, tmp_path: Path) -> None:
    html = ["content-type", "text/html; charset=utf-8"]
    greeting, echo, missing, head = ask(
        tmp_path,
        PROGRAMS[name],
        [
            ["GET", "/hello/an%20na?q=5", ""],
            ["POST", "/echo", "some text"],
            ["GET", "/none", ""],
            ["HEAD", "/none", ""],
        ],
    )
    assert greeting == [200, [html, ["x-made", "5"]], "hello an na from 192.0.2.7"]
    assert echo == [200, [html], "some text"]
    assert missing[:2] == [404, [html]]
    assert head[2] == ""


def test_one_that_opens_its_own_socket(tmp_path: Path) -> None:
    (answer,) = ask(tmp_path, SOCKET, [["GET", "/", ""]])
    assert answer == [200, [["content-type", "text/html; charset=utf-8"]], "raw"]


def test_the_application_that_was_told(tmp_path: Path) -> None:
    (answer,) = ask(tmp_path, FLASK + "\nother = create_app()", [["GET", "/hello/x", ""]], "service:create_app()")
    assert answer[2] == "hello x from 192.0.2.7"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "has no application that could be served"),
        ("import sys\nsys.exit(3)\napp.run()", "ended by itself (code 3)"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_does_not_serve_says_so(source: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=said.replace("(", r"\(").replace(")", r"\)")):
        ask(tmp_path, source, [])

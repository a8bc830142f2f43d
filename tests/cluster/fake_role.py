"""Stands in for one role of a local cluster, so that the supervisor can be tested without the rest: listens
where the role would, and, as the controller, says what the others have left in the state folder.

    fake_role.py KIND --name=... --bind=... --broker=... --data-dir=... --http-port=...
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from liquefy import launch
from liquefy.control import Reply, decode_request, encode
from liquefy.transport import RouterSocket

STATE = Path(os.environ["FAKE_STATE"])
CRASHES = os.environ.get("FAKE_CRASHES", "").split(",")
ORPHANS = "FAKE_ORPHANS" in os.environ
STUBBORN = os.environ.get("FAKE_STUBBORN", "").split(",")


def node_status(folder: Path) -> dict[str, object]:
    return {
        "name": folder.name, "state": "up", "partitions": 0, "load": 0.0, "capacity": 1.0, "utilisation": 0.0,
        "rate": 0.0, "queued": 0, "rss": 1, "hosts": 1, "since_s": time.time(),
    }  # fmt: skip


def answer(command: str, arguments: dict[str, object], started_s: float) -> object:
    if command == "deploy":
        (STATE / "logs" / "deployed").write_text("yes")
        graph = arguments["graph"]
        assert isinstance(graph, dict)
        (STATE / "logs" / "deployed").write_text(graph["name"])
        return {"graph": graph["name"], "version": 1, "partitions": 2, "nodes": ["node1"]}
    graphs = []
    if (STATE / "logs" / "deployed").exists():
        name = (STATE / "logs" / "deployed").read_text()
        graphs.append({"name": name, "version": 1, "fluxions": 1, "partitions": 2, "unplaced": 0})
    return {
        "graphs": graphs, "nodes": [node_status(p.parent) for p in STATE.glob("node*/up")], "frozen": "", "moves": 0,
        "redis_ok": True, "broker_ok": True, "http": [], "uptime_s": time.monotonic() - started_s, "migrations": 0,
        "failovers": 0, "dead": 0,
    }  # fmt: skip


async def main() -> None:
    kind, flags = sys.argv[1], dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[2:] if "=" in flag)
    name = flags.get("name", kind)
    print(f"{time.strftime('%H:%M:%S')}.000 {name:<10} started", file=sys.stderr)
    if name in CRASHES:
        print("ValueError: cannot start", file=sys.stderr)
        sys.exit(1)
    stop = asyncio.Event()
    # Nodes are stopped by SIGINT, as they have nobody to hand over to.
    number = signal.SIGINT if kind == "worker" else signal.SIGTERM
    if name in STUBBORN:
        signal.signal(number, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    started_s = time.monotonic()
    if kind == "worker":
        folder = Path(flags["data-dir"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "up").write_text(str(os.getpid()))
        # Its host ends with it, or, as a hung one would, only when somebody ends it.
        ends = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        host = subprocess.Popen([*([] if ORPHANS else ends), "sleep", "600"], start_new_session=True)  # noqa: ASYNC220
        print(f"host {host.pid}", file=sys.stderr)
    if kind == "controller":

        def on_frames(identity: bytes, frames: list[bytes]) -> None:
            request = decode_request(frames[-1])
            result = answer(request.command, request.arguments, started_s)
            router.send(identity, [encode(Reply(request.id, result=result, end=True))])

        router = RouterSocket(flags["bind"], on_frames)
        router.bind()
    address = {
        "redis": flags.get("port"),
        "broker": flags.get("bind", "").split(",")[0],
        "gateway": flags.get("http-port"),
    }.get(kind)
    if address:
        port = int(address) if address.isdigit() else urlsplit(address).port
        await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", port)
    await stop.wait()
    with (STATE / "logs" / "stopped").open("a") as order:
        order.write(f"{name}\n")


asyncio.run(main())

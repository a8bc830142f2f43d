"""The service compiled and deployed on a cluster of three nodes: one program after another. What it is moved to, and on
which nodes messages were handled, is noted.

Packages that services require are installed once for all runs, in a folder that is kept.
"""

from __future__ import annotations

import contextlib
import http.server
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cases import Case
from live_cluster import LiveCluster
from original import free_port

from compiler.compile import compile_source, emit
from compiler.program import Keeping, Program
from ctl import deploying
from ctl.asking import Controller, Lost, Refused, Unreachable

NODES = 3
SAMPLE_S = 0.2
ROUTES_S = 0.5
"""What gateways are given to hear of a graph that was deployed."""

REPORTED_S = 1.2
"""By then the nodes have said what they did."""

KEPT = Path(tempfile.gettempdir()) / "liquefy-equivalence"
"""Where installed packages are kept from one run to the next."""

PACKAGES = "environments"
"""What of a node's data does not depend on the run."""


class Cluster:
    """Three nodes, whose services find in their environment what the case says."""

    def __init__(self, case: Case) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="liquefy-equivalence-"))
        for node in range(1, NODES + 1):
            data = self._folder / "state" / f"node{node}"
            data.mkdir(parents=True)
            (data / PACKAGES).symlink_to(KEPT)
        KEPT.mkdir(exist_ok=True)
        port = free_port()
        self._live = LiveCluster(self._folder / "state", None, NODES, case.given(f"127.0.0.1:{port}"), http_port=port)

    def __enter__(self) -> Cluster:
        self._live.__enter__()
        self.address = self._live.http
        return self

    def __exit__(self, *failure: Any) -> None:
        try:
            self._live.__exit__(*failure)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def logs(self) -> Path:
        return self._folder / "state" / "logs"

    @contextlib.contextmanager
    def deployed(self, program: Program) -> Iterator[Deployed]:
        """Raises Refused, UserError."""
        with tempfile.TemporaryDirectory(prefix="liquefy-bundle-") as out, Controller(self._live.controller) as asked:
            emit(program, Path(out))
            graph, folder = deploying.read(Path(out))
            try:
                deploying.deploy(asked, graph, folder, lambda _: None)
                deploying.wait_until_placed(asked, graph.name, lambda _: None)
                time.sleep(ROUTES_S)
                with Deployed(self._live.controller, graph.name, program) as made:
                    yield made
            finally:
                with contextlib.suppress(Refused):
                    asked.ask("undeploy", {"graph": graph.name, "purge": True})


class Deployed:
    """One program that runs. `moved`: groups that went to another node and where; `kept`: groups that may not be moved,
    with the reason; `failed`: what went wrong; `served`: nodes that handled messages."""

    def __init__(self, controller: str, graph: str, program: Program) -> None:
        self._controller, self._graph, self._program = controller, graph, program
        self.moved: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.served: set[str] = set()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._sample, daemon=True)]
        deployed = self

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                deployed.move_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self._threads.append(threading.Thread(target=self._hook.serve_forever, daemon=True))
        self.hook = f"curl -sS -m 60 http://127.0.0.1:{self._hook.server_port}/"
        """A command that moves everything."""

    def __enter__(self) -> Deployed:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._hook.shutdown()
        self._hook.server_close()
        self._threads[0].join(5.0)

    def move_all(self) -> None:
        """Every group goes to another node than the one it is on, or has most of."""
        with Controller(self._controller) as asked:
            status = asked.ask("graph", {"graph": self._graph})
            nodes = sorted(n["name"] for n in asked.ask("nodes") if n["state"] == "up")
            pinned = {g.name: g.why for g in self._program.groups if g.keeping is Keeping.PINNED}
            for number, group in enumerate(status["groups"]):
                now = max(group["nodes"], key=lambda name, counts=group["nodes"]: counts[name])
                others = [name for name in nodes if name != now]
                self._move(asked, group["name"], others[number % len(others)], pinned.get(group["name"]))

    def _move(self, asked: Controller, group: str, target: str, pinned: str | None) -> None:
        try:
            result = asked.ask("migrate", {"what": f"{self._graph}/{group}", "node": target})
        except Refused as refused:
            (self.failed if pinned is None else self.kept)[group] = str(refused)
            return
        if result["failed"]:
            self.failed[group] = next(m["error"] for m in result["moves"] if m["error"])
        elif pinned is not None:
            self.failed[group] = "is pinned, and was moved"
        else:
            self.moved[group] = target

    def _sample(self) -> None:
        with Controller(self._controller) as asked:
            while not self._ended.wait(SAMPLE_S):
                with contextlib.suppress(Refused, Unreachable, Lost):
                    self.served |= {n["name"] for n in asked.ask("nodes") if n["rate"] > 0}

    def settle(self) -> None:
        """Until the nodes have reported what they did last."""
        time.sleep(REPORTED_S)


def compile_case(case: Case) -> Program:
    """Raises UserError: it is refused, and why. What the case gives the original, hosts get too."""
    program = compile_source(case.source, case.app)
    return replace(program, env=tuple(sorted({*program.env, *case.environment})))

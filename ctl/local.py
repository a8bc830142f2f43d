"""What a cluster on this machine consists of: which ports, which processes with which settings, and what to
tell a person who has just started one. Starts nothing; `ctl.supervising` does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ctl import record
from ctl.supervising import Spec
from liquefy import keyring, redis_server
from liquefy.config import DURABILITIES
from liquefy.errors import UserError
from liquefy.graph import Graph

HOST = "127.0.0.1"
NODES_MAX = 64
CONTROLLERS_MAX = 5
GATEWAYS_MAX = 16
BROKERS_UP_MAX = 5
PORT_TRIES_MAX = 200
"""Ports looked at, from the preferred one on."""

MORE_PORTS = 10
"""From the port of the first of a role on, the others' ports are looked for after so many."""

SOCKET_PATH_BYTES_MAX = 100
"""Of a Unix socket; systems take 103 to 107."""

BROKER_PORT, CONTROLLER_PORT, REDIS_PORT, HTTP_PORT = 7701, 7702, 7703, 8080


SYNCS = ("everysec", "always")
"""When Redis syncs its append-only file: once a second, in the background; or before each answer, so that not even the
end of its process during a sync, or of the machine, loses what was answered. Costs a trip to the disk per commit."""


class Size(NamedTuple):
    """How many processes of each role."""

    nodes: int = 3
    controllers: int = 1
    gateways: int = 1
    brokers: int = 1


def checked_durability(durability: str, redis_url: str, redis_sync: str) -> str:
    """How the Redis that `up` starts is to sync. Raises UserError."""
    if durability not in DURABILITIES:
        known = ", ".join(DURABILITIES)
        raise UserError(f"--durability: {durability!r} is unknown\n  remedy: give one of {known}")
    if durability == "replicated" and not redis_url:
        text = "--durability: replicated needs a Redis with replicas, and `up` starts one server"
        raise UserError(f"{text}\n  remedy: give the primary and its replicas with --redis URL,URL")
    return "always" if durability == "disk" else redis_sync


class Ports(NamedTuple):
    """TCP ports of one cluster. `notes`: which are not the preferred ones, and why. `controllers`, `gateways`,
    `brokers`: of those after the first one."""

    broker: int
    controller: int
    redis: int
    http: int
    notes: list[str]
    controllers: tuple[int, ...] = ()
    gateways: tuple[int, ...] = ()
    brokers: tuple[int, ...] = ()


@contextlib.contextmanager
def claimed_ports(http_given: int | None, redis_given: bool, size: Size = Size()) -> Iterator[Ports]:  # noqa: B008
    """The preferred ports, or the next free ones, for us alone until the end. Raises UserError if a port that was asked
    for is taken."""
    with contextlib.ExitStack() as claims:
        ports = _choose_ports(http_given, redis_given, claims)
        yield ports._replace(
            controllers=tuple(_next_free(ports.controller + MORE_PORTS, claims) for _ in range(1, size.controllers)),
            gateways=tuple(_next_free(ports.http + MORE_PORTS, claims) for _ in range(1, size.gateways)),
            brokers=tuple(_next_free(ports.broker + MORE_PORTS, claims) for _ in range(1, size.brokers)),
        )


def _choose_ports(http_given: int | None, redis_given: bool, claims: contextlib.ExitStack) -> Ports:
    notes: list[str] = []
    chosen = {}
    for what, preferred in (
        ("broker", BROKER_PORT),
        ("controller", CONTROLLER_PORT),
        ("redis", REDIS_PORT),
        ("http", HTTP_PORT),
    ):
        if what == "http" and http_given is not None:
            if not _claim(http_given, claims):
                text = f"--http-port: port {http_given} is in use"
                raise UserError(f"{text}\n  remedy: give another one, or leave it to `up`")
            chosen[what] = http_given
            continue
        if what == "redis" and redis_given:
            chosen[what] = 0
            continue
        chosen[what] = port = _next_free(preferred, claims)
        if port != preferred:
            notes.append(f"port {preferred} is in use: {what} listens on {port}")
    return Ports(chosen["broker"], chosen["controller"], chosen["redis"], chosen["http"], notes)


def _next_free(preferred: int, claims: contextlib.ExitStack) -> int:
    for port in range(preferred, min(preferred + PORT_TRIES_MAX, 65_536)):
        # The preferred ports of the others are left to them.
        others = {BROKER_PORT, CONTROLLER_PORT, REDIS_PORT, HTTP_PORT} - {preferred}
        if port not in others and _claim(port, claims):
            return port
    raise UserError(f"no free port from {preferred} on\n  remedy: end some of what listens there (see `ss -ltnp`)")


def _claim(port: int, claims: contextlib.ExitStack) -> bool:
    """Whether nobody listens there, and no other `up` of this machine has claimed it: of two that start at the same
    moment both would find it free. The claim ends with `claims`, or with this process."""
    folder = Path(tempfile.gettempdir()) / f"liquefy-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as kept:
        claim = kept.enter_context((folder / str(port)).open("ab"))
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if not _free(port):
            return False
        claims.push(kept.pop_all())
        return True


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a port whose last connections are still closing may be used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


class Cluster(NamedTuple):
    """The processes of a local cluster, in the order in which to start them, and where they listen. `broker`,
    `controller`: all of them, with commas; `redis`: without its password; `http`: the first gateway."""

    specs: list[Spec]
    broker: str
    controller: str
    redis: str
    http: str


def compose(
    folder: Path,
    ports: Ports,
    size: Size,
    redis_url: str,
    roles: Mapping[str, list[str]] | None = None,
    redis_sync: str = SYNCS[0],
    keys: str = "",
    durability: str = DURABILITIES[0],
) -> Cluster:
    """What runs. `redis_url` "" has one started. `roles`: commands in place of the usual ones, for tests. `keys`: the
    folder of those that all roles are to have, "" for none; with the password of the Redis that is started."""
    check_size(size)
    brokers = {"broker" if i == 1 else f"broker{i}": port for i, port in enumerate((ports.broker, *ports.brokers), 1)}
    controllers = [f"tcp://{HOST}:{port}" for port in (ports.controller, *ports.controllers)]
    redis = redis_url or f"redis://{HOST}:{ports.redis}/0"
    http = f"http://{HOST}:{ports.http}"
    roles = roles or {}
    redis_sync = checked_durability(durability, redis_url, redis_sync)
    # A Unix socket takes half as much of the machine as a port. Roles of tests are met on ports.
    names = () if roles else (*brokers, "redis")
    sockets = {name: path for name in names if (path := socket_path(folder, name))}
    ways = {name: [f"tcp://{HOST}:{port}"] for name, port in brokers.items()}
    for name in sockets.keys() & ways.keys():
        ways[name].append(f"ipc://{sockets[name]}")
    redis_socket = "" if redis_url else sockets.get("redis", "")
    redis_here = f"unix://{quote(redis_socket)}?db=0" if redis_socket else redis
    met = ",".join(way[-1] for way in ways.values())
    linked = {"broker" if len(ways) == 1 else "brokers": met, "redis": redis_here}
    if durability != DURABILITIES[0]:
        linked["durability"] = durability

    def role(name: str, kind: str, address: str, stage: int, **settings: object) -> Spec:
        # -P: a `worker.py` in the folder one happens to be in must not stand in for the role.
        command = roles.get(kind) or [sys.executable, "-P", "-m", kind]
        # Said in any case: our environment may name keys of another cluster.
        settings["keys"] = Path(keys) / kind if keys else ""
        # A password is nothing for `ps` to show.
        environment = {"LIQUEFY_REDIS": str(settings.pop("redis"))} if "@" in str(settings.get("redis", "")) else {}
        flags = [f"--{flag.replace('_', '-')}={value}" for flag, value in settings.items()]
        return Spec(name, kind, [*command, f"--name={name}", *flags], address, stage, environment)

    specs = []
    if not redis_url:
        data = folder / "redis"
        data.mkdir(parents=True, exist_ok=True)
        command = roles.get("redis") or redis_command(data, ports.redis, redis_sync, redis_socket, keys)
        specs.append(Spec("redis", "redis", command, redis, stage=5))
    for name, way in ways.items():
        specs.append(role(name, "broker", way[0], 4, bind=",".join(way)))
    for i, address in enumerate(controllers, 1):
        name = "controller" if i == 1 else f"controller{i}"
        specs.append(role(name, "controller", address, 2, bind=address, **linked))
    for i in range(1, size.nodes + 1):
        data = folder / f"node{i}"
        # All else in the folder is nothing to users' code: contexts on Redis' disk, code of other nodes, pids.
        others = ["redis", "logs", record.FILE_NAME, *(f"node{j}" for j in range(1, size.nodes + 1) if j != i)]
        apart = {"host_hidden": ",".join(str(folder / name) for name in others)} if keys else {}
        spec = role(f"node{i}", "worker", "", 3, **linked, data_dir=data, **apart)
        # At once: all nodes stop together, so there is nobody to hand partitions over to.
        specs.append(spec._replace(stop_signal=signal.SIGINT))
    for i, port in enumerate((ports.http, *ports.gateways), 1):
        address = f"http://{HOST}:{port}"
        settings = {**linked, "http_host": HOST, "http_port": port}
        specs.append(role(f"gateway{i}", "gateway", address, 1, **settings))
    return Cluster(specs, met, ",".join(controllers), without_password(redis), http)


def check_size(size: Size) -> None:
    """Raises UserError."""
    for flag, number, most in (
        ("nodes", size.nodes, NODES_MAX),
        ("controllers", size.controllers, CONTROLLERS_MAX),
        ("gateways", size.gateways, GATEWAYS_MAX),
        ("brokers", size.brokers, BROKERS_UP_MAX),
    ):
        if not 1 <= number <= most:
            raise UserError(f"--{flag}: {number} {flag}\n  remedy: give a number from 1 to {most}")


def socket_path(folder: Path, name: str) -> str:
    """Where a role of the cluster in this folder listens besides its port; "" if the path is too long for a socket."""
    path = str((folder / f"{name}.sock").resolve())
    return path if len(path.encode()) <= SOCKET_PATH_BYTES_MAX and "," not in path else ""


def without_password(urls: str) -> str:
    """Where Redis is, for what people and users' code may read."""
    return re.sub(r"//[^/,]*@", "//", urls)


def redis_command(data: Path, port: int, sync: str, socket_: str = "", keys: str = "") -> list[str]:
    """A redis-server that keeps what it is given in an append-only file, synced as `sync` says (see SYNCS). It listens
    on the port, and on the socket if one is given, and asks for the password in `keys`, if given. Raises UserError if
    there is none on this machine, or no such way to sync."""
    if sync not in SYNCS:
        raise UserError(f"--redis-sync: {sync!r} is unknown\n  remedy: give one of {', '.join(SYNCS)}")
    settings = {
        "bind": HOST,
        "port": port,
        "dir": data,
        "appendonly": "yes",
        "appendfsync": sync,
        # It reads the file before it serves again: rewritten from here on, that takes a moment, not seconds.
        "auto-aof-rewrite-min-size": "8mb",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    if socket_:
        settings |= {"unixsocket": socket_, "unixsocketperm": "700"}
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    # Its password is nothing for `ps` to show.
    secret = [str(Path(keys) / keyring.REDIS_CONF)] if keys else []
    return [str(redis_server.find_server()), *secret, *flags]


# -- what to try next --------------------------------------------------------------------------------------


def flag_for(controller: str, state: Path, here: Path, environment: Mapping[str, str]) -> str:
    """What a command given `here` needs to reach the controller of the cluster in `state`, and not another; "" if
    it finds it by itself."""
    found = state.name == record.FOLDER_DEFAULT and state.parent in (here, *here.parents)
    return "" if found and not environment.get("LIQUEFY_CONTROLLER") else f" --controller {controller}"


def hints(graph: Graph | None, app: Path | None, http: str, nodes: int, flag: str = "") -> list[tuple[str, str]]:
    """(what it is for, command line) for what a person may do next. `flag`: of `flag_for`."""
    ctl = command_name()
    if graph is None or app is None:
        return [("deploy a service", f"{ctl} deploy examples/visits{flag}"), ("look", f"{ctl} status{flag}")]
    made = [("call it", curl_line(graph, http))] if graph.inputs else []
    group = next((g for g in graph.groups if g.stateful and not g.pinned), graph.groups[0])
    fluxion = next(f.name for f in graph.fluxions if f.group == group.name)
    if group.pinned:
        made.append(("why it stays where it is", f"{ctl} explain {fluxion}{flag}"))
    else:
        made.append(("move a fluxion", f"{ctl} migrate {fluxion} node{nodes}{flag}"))
    made.append(("watch", f"{ctl} top{flag}"))
    load = app / "load.py"
    if load.is_file():
        made.append(
            (
                "load it",
                f"{shlex.quote(_relative(Path(sys.executable)))} {shlex.quote(_relative(load))} --url {http}",
            )
        )
    return made


def curl_line(graph: Graph, http: str) -> str:
    """A request to the graph's first GET input, or else its first input."""
    chosen = next((i for i in graph.inputs if i.method in ("GET", "*")), graph.inputs[0])
    url = http + re.sub(r"\{[^}]*\}", "alice", chosen.path)
    if chosen.method in ("GET", "*"):
        return f"curl {shlex.quote(url)}"
    body = (
        "" if chosen.method in ("DELETE", "HEAD") else """ -H 'Content-Type: application/json' -d '{"id": "alice"}'"""
    )
    return f"curl -X {chosen.method} {shlex.quote(url)}{body}"


def command_name() -> str:
    """How to call this program from here: by its name if that finds it, else by its path."""
    beside = Path(sys.executable).parent / "liquefy-ctl"
    found = shutil.which("liquefy-ctl")
    if found and beside.exists() and Path(found).samefile(beside):
        return "liquefy-ctl"
    if beside.exists():
        return shlex.quote(_relative(beside))
    return f"{shlex.quote(_relative(Path(sys.executable)))} -m ctl"


def _relative(path: Path) -> str:
    """The path as one would type it here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)

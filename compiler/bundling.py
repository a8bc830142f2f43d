"""A service as a folder that can be deployed: the files of any bundle; and, for a service in JavaScript under its
framework, graph.yaml with raw inputs, keys as hints, and streams by which a request that came to
the wrong fluxion is sent on. Knows no syntax and no runtime.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from compiler.program import Entry, Fluxion, Keeping, Program, Role
from liquefy.errors import UserError
from liquefy.graph import OUTPUT
from liquefy.graphrules import parse_route
from liquefy.graphyaml import Problems

TIMEOUT_S = 60
"""How long one call may take: the first one of a host starts the program, too."""

GIVEN_UP_S = 58
"""A request that a compiled JavaScript service has not answered by then is given up, and what it changed is kept:
before its call is ended."""

EVERYTHING = "* /{path...}"

CONTEXTS = (Keeping.WHOLE, Keeping.KEYED)


def write(out: Path, path: str, text: str) -> None:
    """A file of the bundle. Raises UserError for a path that leads out of it."""
    target = _inside(out, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode())


def write_assets(program: Program, out: Path, reserved: Collection[str] = ()) -> None:
    """Raises UserError for one that is not there, or has the name of a file that the bundle has itself (`reserved`)."""
    for asset in program.assets:
        source, target = _inside(Path(program.folder), asset), _inside(out, asset)
        if not source.is_file():
            raise UserError(f"{source}: does not exist\n  remedy: create it, or take it out of the assets")
        if asset in reserved:
            raise UserError(f"{source}: the bundle has a file of that name itself\n  remedy: rename yours")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _inside(out: Path, path: str) -> Path:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts:
        raise UserError(f"the file {path!r} is not in the service's folder\n  remedy: name it from there")
    return out / pure


def keepings(program: Program) -> dict[str, Keeping]:
    """By fluxion."""
    groups = {group.name: group.keeping for group in program.groups}
    return {fluxion.name: groups[fluxion.group] for fluxion in program.fluxions}


def function_name(fluxion: Fluxion) -> str:
    """Of its function in a module."""
    return fluxion.name.replace("-", "_")


def receivers(program: Program) -> dict[str, str]:
    """For each group that has a memory the fluxion to which its requests are sent on, should they come to another."""
    kept = keepings(program)
    found: dict[str, str] = {}
    for fluxion in program.fluxions:
        if kept[fluxion.name] is not Keeping.NONE and fluxion.role in (Role.WHOLE, Role.HANDLER, Role.START):
            found.setdefault(fluxion.group, fluxion.name)
    return found


def graph_yaml(program: Program, module: str) -> str:
    """The graph's text; each fluxion is a function of its name in the module."""
    lines = [f"# Made by liquefy-ctl from {program.entry}; change that, not this.", f"graph: {program.name}"]
    if program.env:
        lines.append(f"env: [{', '.join(json.dumps(name) for name in program.env)}]")
    inputs = list(_inputs(program))
    lines += ["", "inputs:"]
    lines += [f"  {name}: {{route: {json.dumps(route)}, raw: true}}" for name, route, _ in inputs]
    lines += ["", "fluxions:"]
    lines += [f"  {fluxion.name}: {_settings(program, fluxion, module)}" for fluxion in program.fluxions]
    lines += ["", "streams:"]
    lines += [f"  - {name} >> {fluxion}" for name, _, fluxion in inputs]
    lines += [f"  - {a} >> {b}" for a, b in _streams(program)]
    return "\n".join(lines) + "\n"


def _inputs(program: Program) -> Iterator[tuple[str, str, str]]:
    """(name, route, fluxion). Of two routes for the same requests the first has them, as with the frameworks."""
    shapes: set[tuple[str, str]] = set()
    number = 0
    for fluxion in program.fluxions:
        routes = [_route(entry) for entry in fluxion.entries]
        if fluxion.role is Role.WHOLE:
            routes = [EVERYTHING]
        for route in routes:
            declared = parse_route("input", 0, route, Problems("graph.yaml"))
            shape = (declared.method, declared.shape)
            if not declared.method or shape in shapes:
                continue  # what the gateway cannot tell apart the program does, by way of `app`
            shapes.add(shape)
            number += 1
            yield "input" if number == 1 else f"input{number}", route, fluxion.name


def _route(entry: Entry) -> str:
    return f"{entry.method} {entry.path}"


def _settings(program: Program, fluxion: Fluxion, module: str) -> str:
    group = next(group for group in program.groups if group.name == fluxion.group)
    settings: dict[str, str | int] = {"code": f"{module}:{function_name(fluxion)}", "timeout_s": TIMEOUT_S}
    if program.language != "python":
        settings["language"] = program.language
    if group.keeping is Keeping.PINNED:
        settings |= {"group": group.name, "pinned": group.why or "its process is its memory"}
    elif group.keeping in CONTEXTS:
        settings["group"] = group.name
    if fluxion.key and group.keeping is Keeping.KEYED:
        settings["key"] = fluxion.key
    return f"{{{', '.join(f'{name}: {json.dumps(value)}' for name, value in settings.items())}}}"


def _streams(program: Program) -> list[tuple[str, str]]:
    """Those of the program, and those by which requests are sent on."""
    found = [(f.name, stream.to) for f in program.fluxions for stream in f.streams]
    kept = keepings(program)
    fed = {name for _, _, name in _inputs(program)}
    for fluxion in program.fluxions:
        if fluxion.role is Role.STEP or fluxion.role is Role.END:
            continue
        if fluxion.name not in fed:  # its path cannot be said in a route: found by the program itself
            found += [(f.name, fluxion.name) for f in program.fluxions if f.role is Role.WHOLE]
        found.append((fluxion.name, OUTPUT))
        found += [(fluxion.name, f.name) for f in program.fluxions if f.role is Role.START and f is not fluxion]
        for group, to in receivers(program).items():
            same = group == fluxion.group and kept[fluxion.name] is not Keeping.KEYED
            if not same:
                found.append((fluxion.name, to))
    return list(dict.fromkeys(found))

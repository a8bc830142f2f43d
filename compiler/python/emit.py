"""A split Python service as a bundle: its files as they are, one small function for each fluxion, the graph, and what
the runtime (`liquefy.liquid`) has to know.

    liquid_service.py   the fluxions       liquefy.json       the manifest: entry, groups and their variables, routes
    graph.yaml          the graph          requirements.txt   what it needs installed
    liquid_parts/       parts of handlers that were cut

Sources are not changed: Python lets globals, class attributes and closures be reached from outside. Knows no framework.
"""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path
from typing import Any

from compiler.bundling import write, write_assets
from compiler.holes import fill
from compiler.program import Entry, Fluxion, Group, Keeping, Program, Role
from compiler.python.parts import CUT, chain_end, chain_of, chain_start, file_of, parts
from compiler.python.requirements import requirements
from liquefy.graph import OUTPUT

SERVICE = "liquid_service"
MANIFEST = "liquefy.json"

TIMEOUT_S = 60
"""Of a request to a whole application, which may wait for others."""

ASYNC = ("fastapi", "starlette", "quart", "sanic", "aiohttp", "tornado", "microdot", "litestar", "asgi")
"""Frameworks whose handlers run on an event loop."""

KEY_ON_THE_WAY = "request.key"
"""Where the later parts of a handler find their key: the first part put it there."""

_UNDER_FRAMEWORK = (Role.WHOLE, Role.HANDLER, Role.START, Role.END)


def emit(program: Program, out: Path) -> None:
    """Write the bundle into `out`, which is there and empty. Raises UserError."""
    bodies = {fluxion.name: fluxion.body for fluxion in program.fluxions if fluxion.body}
    files = {path: fill(text, bodies) for path, text in program.files.items()}
    for path, text in files.items():
        write(out, path, text)
    write_assets(program, out, reserved=("graph.yaml", MANIFEST, f"{SERVICE}.py"))
    needed = requirements(files, program.assets, Path(program.folder))
    if needed:
        write(out, "requirements.txt", needed)
    for path, text in parts(program).items():
        write(out, path, text)
    write(out, f"{SERVICE}.py", service_module(program))
    write(out, MANIFEST, json.dumps(manifest(program), indent=1, ensure_ascii=False) + "\n")
    write(out, "graph.yaml", graph_yaml(program))


# -- the manifest -----------------------------------------------------------------------------------------


def manifest(program: Program) -> dict[str, Any]:
    """What `liquefy.liquid.service` reads. `door` of a group: the fluxion to which requests for it are sent on; `key`
    of a fluxion in words of the request, of a START the one by which later parts find their context;
    `start` of an END: the first fluxion of its chain; `end` of a STEP: the last."""
    groups = {}
    keys = {fluxion.name: _key_of(program, fluxion) for fluxion in program.fluxions}
    for group in program.groups:
        door = door_of(program, group)
        groups[group.name] = {
            "keeping": group.keeping.value,
            "variables": list(group.variables),
            "door": door.name if door is not None else "",
        }
    return {
        "service": program.name,
        "entry": program.entry,
        "app": program.app,
        "modules": {_module(path): path for path in program.files if path.endswith(".py")},
        "groups": groups,
        "fluxions": {
            fluxion.name: {
                "role": fluxion.role.value,
                "group": fluxion.group,
                "key": keys[fluxion.name][0],
                "convert": keys[fluxion.name][1],
                "unit": fluxion.unit,
                "file": file_of(program, fluxion) if fluxion.role in CUT else "",
                "start": chain_start(program, fluxion),
                "end": chain_end(program, fluxion),
                "entries": [{"method": e.method, "path": e.path, "route": e.route} for e in fluxion.entries],
            }
            for fluxion in program.fluxions
        },
    }


def _key_of(program: Program, fluxion: Fluxion) -> tuple[str, str]:
    """In words of the request, and what is made of it."""
    if fluxion.role is not Role.START or fluxion.key:
        return fluxion.key, fluxion.key_convert
    keyed = (f for f in program.fluxions if f.name in chain_of(program, fluxion) and f.key)
    return next(((f.key, f.key_convert) for f in keyed), ("", ""))


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def door_of(program: Program, group: Group) -> Fluxion | None:
    if group.keeping is Keeping.NONE:
        return None
    members = [f for f in program.fluxions if f.group == group.name and f.role not in (Role.STEP, Role.END)]
    if group.keeping is Keeping.KEYED:
        members = [f for f in members if f.key]
    return members[0] if members else None


# -- the module -------------------------------------------------------------------------------------------


def service_module(program: Program) -> str:
    keeping = {group.name: group.keeping for group in program.groups}
    lines = [
        f'"""The fluxions of {program.name}, made by liquefy-ctl from {program.entry}; change that, not this."""',
        "",
        "from liquefy.liquid.service import Service",
        "",
        "service = Service(__file__)",
    ]
    for fluxion in program.fluxions:
        lines += ["", "", *_function(program, fluxion, keeping[fluxion.group])]
    lines += ["", "", "service.begin()"]
    return "\n".join(lines) + "\n"


def _function(program: Program, fluxion: Fluxion, keeping: Keeping) -> list[str]:
    name = function_name(fluxion)
    stateful = keeping in (Keeping.KEYED, Keeping.WHOLE)
    given = "message, context" if stateful else "message"
    title = ", ".join(f"{e.method} {e.path}" for e in fluxion.entries if e.path)
    where = f"{fluxion.place.file}:{fluxion.place.line}" if fluxion.place.file else ""
    if fluxion.role is Role.WHOLE:
        title = "Every request that has no fluxion of its own"
    text = ". ".join(part for part in (title, where) if part) or fluxion.name
    doc = text.replace("\\", "\\\\").replace('"""', "'''")
    how = "step" if fluxion.role is Role.STEP else "run"
    if waits(program, fluxion, keeping):
        head, call = "async def", f"return await service.{how}_async({fluxion.name!r}, {given})"
    else:
        head, call = "def", f"return service.{how}({fluxion.name!r}, {given})"
    return [f"{head} {name}({given}):", f'    """{doc}."""', f"    {call}"]


def waits(program: Program, fluxion: Fluxion, keeping: Keeping) -> bool:
    """Whether others may run in the same process meanwhile: where no context is changed, as under the server that the
    program would have; only so can its answer leave in pieces."""
    free = keeping in (Keeping.PINNED, Keeping.NONE)
    return free or fluxion.waits or program.framework.lower() in ASYNC


def function_name(fluxion: Fluxion) -> str:
    name = re.sub(r"\W", "_", fluxion.name)
    taken = name in ("service", "Service") or keyword.iskeyword(name) or not name.isidentifier()
    return f"{name}_" if taken else name


# -- the graph --------------------------------------------------------------------------------------------


def graph_yaml(program: Program) -> str:
    groups = {group.name: group for group in program.groups}
    inputs = inputs_of(program)
    lines = [f"# Made by liquefy-ctl from {program.entry}; change that, not this.", f"graph: {program.name}"]
    lines.append(f"deadline_s: {TIMEOUT_S}")
    if program.env:
        lines.append(f"env: [{', '.join(json.dumps(name) for name in program.env)}]")
    lines += ["", "inputs:"]
    for name, route, _ in inputs:
        lines.append(f"  {name}: {{route: {json.dumps(route)}, raw: true}}")
    lines += ["", "fluxions:"]
    lines += [f"  {f.name}: {_settings(f, groups[f.group])}" for f in program.fluxions]
    lines += ["", "streams:"]
    lines += [f"  - {name} >> {to}" for name, _, to in inputs]
    for fluxion in program.fluxions:
        lines += [f"  - {fluxion.name} >> {to}" for to in streams_of(program, fluxion)]
    return "\n".join(lines) + "\n"


def inputs_of(program: Program) -> list[tuple[str, str, str]]:
    """(name, route, fluxion). Of two that take the same requests the first, as in frameworks; the real routing is the
    framework's, these only lead there without a detour."""
    found: list[tuple[str, str, str]] = []
    seen: set[tuple[str, str]] = set()
    for fluxion in program.fluxions:
        for entry in fluxion.entries:
            shape = (entry.method, re.sub(r"\{[^}]*?(\.\.\.)?\}", r"{\1}", entry.path))
            if entry.path and shape not in seen and _is_route(entry):
                seen.add(shape)
                found.append((f"input{len(found) + 1 if found else ''}", f"{entry.method} {entry.path}", fluxion.name))
    whole = next((f for f in program.fluxions if f.role is Role.WHOLE), None)
    if whole is not None:
        found.append(("others" if found else "input", "* /{path...}", whole.name))
    return found


def _is_route(entry: Entry) -> bool:
    names = re.findall(r"\{([^}]*?)(?:\.\.\.)?\}", entry.path)
    return entry.path.startswith("/") and not entry.path.startswith("/-/") and len(names) == len(set(names))


def _settings(fluxion: Fluxion, group: Group) -> str:
    settings: dict[str, Any] = {"code": f"{SERVICE}:{function_name(fluxion)}"}
    if group.keeping is Keeping.PINNED:
        settings |= {"group": group.name, "pinned": group.why or "its process is its memory"}
    elif group.keeping is not Keeping.NONE:
        settings["group"] = group.name
    if fluxion.key and group.keeping is Keeping.KEYED:
        settings["key"] = KEY_ON_THE_WAY if fluxion.role in (Role.STEP, Role.END) else fluxion.key
    if fluxion.role is not Role.STEP:
        settings["timeout_s"] = TIMEOUT_S
    return f"{{{', '.join(f'{name}: {json.dumps(value)}' for name, value in settings.items())}}}"


def streams_of(program: Program, fluxion: Fluxion) -> list[str]:
    """Where it sends: along its streams; and, under a framework, to the output, and to the doors of other groups, where
    its request may turn out to belong."""
    found = [stream.to for stream in fluxion.streams]
    if fluxion.role in _UNDER_FRAMEWORK:
        found.append(OUTPUT)
        for group in program.groups:
            door = door_of(program, group)
            if door is not None and (group.name != fluxion.group or group.keeping is Keeping.KEYED):
                found.append(door.name)
        found += [f.name for f in program.fluxions if f.role is Role.START and f.name != fluxion.name]
    if fluxion.role is Role.WHOLE:  # it answers what no route leads to
        reached = {to for _, _, to in inputs_of(program)}
        found += [f.name for f in program.fluxions if f.entries and f.name not in reached]
    if fluxion.role is Role.STEP and (end := chain_end(program, fluxion)):
        found.append(end)  # what it raises is raised there
    return list(dict.fromkeys(found))

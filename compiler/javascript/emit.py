"""A program in JavaScript as a folder that can be deployed: its sources with accessors and guards put in, one small
module with a function for each fluxion, `liquefy.json` for the runtime in liquefy/node/liquid.mjs, its other files,
graph.yaml.

Decides nothing about fluxions and groups; knows how sources are changed by `instrument` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compiler import bundling
from compiler.facts import Place
from compiler.holes import fill
from compiler.javascript import parts
from compiler.javascript.instrument import Guard, esm, instrument
from compiler.program import Fluxion, Keeping, Program, Role
from liquefy.errors import UserError

MODULE = "liquid_service"
"""The generated module; fluxions are its functions."""

MANIFEST = "liquefy.json"
PACKAGE = "package.json"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")

_METHOD = re.compile(r"""([\w$]+|(['"`])[\w-]+\2)\s*[\])]*\s*(\?\.)?\s*\(""")
"""What stands where a handler is registered: `get(`, or `"get"](`, or the constant `GET](`."""

PLACES_MAX = 5
"""Places that are told where one of them may be meant."""

_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_WORDS = """await break case catch class const continue debugger default delete do else enum export extends false
    finally for function if implements import in instanceof interface let new null package private protected public
    return run service static super switch this throw true try typeof var void while with yield answer emit arguments
    eval"""
_RESERVED = frozenset(_WORDS.split())


def emit(program: Program, out: Path) -> None:
    """`out` is there and empty. Raises UserError."""
    bundling.write_assets(program, out)
    files = {path: _filled(program, text) + parts.steps(program, path) for path, text in program.files.items()}
    sources = [path for path in files if path.endswith((".js", ".mjs", ".cjs"))]
    for path, text in files.items():
        bundling.write(out, path, _instrumented(program, path, text) if path in sources else text)
    built = _is_built(program, files)
    _write_package(program, out, [files[path] for path in sources], built)
    bundling.write(out, f"{MODULE}.mjs", _module(program))
    manifest = _manifest(program, sources) | ({"register": built} if built else {})
    bundling.write(out, MANIFEST, json.dumps(manifest, indent=1) + "\n")
    bundling.write(out, "graph.yaml", bundling.graph_yaml(program, MODULE))


# -- sources ---------------------------------------------------------------------------------------------------------


def _filled(program: Program, text: str) -> str:
    return fill(text, _bodies(program))


def _bodies(program: Program) -> dict[str, str]:
    return {fluxion.name: parts.body(program, fluxion) for fluxion in program.fluxions}


def _instrumented(program: Program, path: str, text: str) -> str:
    states = {id_ for group in program.groups if group.keeping in bundling.CONTEXTS for id_ in group.variables}
    ids = {(v.place.line, v.name.rsplit(".", 1)[-1]): v.name for v in program.variables if v.place.file == path}
    ids = {at: id_ for at, id_ in ids.items() if id_ in states}
    guards = list(_guards(program, path, text))
    # What is kept in a context is assigned when the context comes, constant or not.
    return instrument(path, text, guards, ids, frozenset(states), params=program.framework == "express")


def _guards(program: Program, path: str, text: str) -> Iterator[Guard]:
    """For the fluxions whose group has a memory, where the program registers their handlers."""
    kept = bundling.keepings(program)
    for fluxion in program.fluxions:
        if fluxion.role is Role.WHOLE or (kept[fluxion.name] is Keeping.NONE and fluxion.role is Role.HANDLER):
            continue
        for entry in fluxion.entries:
            place = _place(entry.route)
            if place is not None and place.file == path:
                at = _offset(program, place, text)
                if at is None:
                    why = f"{place}: the handler of '{fluxion.name}' is not registered here"
                    raise UserError(f"{why}\n  remedy: {_registered(program.files[path], path, entry.method)}")
                yield Guard(fluxion.name, len(text[:at].encode()), program.framework == "fastify")


def _registered(holed: str, path: str, method: str) -> str:
    """What to write instead, if it is seen in the file as people edit it."""
    names = "|".join((method.lower() if method.isalpha() else "all", "all", "use", "route"))
    found = []
    for match in re.finditer(rf"\.({names})\s*\(", holed):
        before = holed[: match.start(1)]
        found.append(f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}")
    if not found:
        return "compile it again from its source"
    more = f" (and {len(found) - PLACES_MAX} more)" if len(found) > PLACES_MAX else ""
    where = " or ".join(found[:PLACES_MAX])
    return f"write behind `via` where it is: {where}{more}; or compile it again from its source"


def _place(route: str) -> Place | None:
    """`file:line:column`."""
    file, _, rest = route.partition(":")
    line, _, column = rest.partition(":")
    return Place(file, int(line), int(column)) if line.isdigit() and column.isdigit() else None


def _offset(program: Program, place: Place, text: str) -> int | None:
    """Of a place in the file as the program has it, or as it was, in the text without holes; None if no method's name
    stands there."""
    holed = program.files[place.file]
    at = _position(holed, place)
    places = [] if at is None else [len(fill(holed[:at], _bodies(program)))]
    direct = _position(text, place)
    places += [] if direct is None else [direct]
    return next((at for at in places if _METHOD.match(text, at)), None)


def _position(text: str, place: Place) -> int | None:
    lines = text.split("\n")
    if not 0 < place.line <= len(lines):
        return None
    return sum(len(line) + 1 for line in lines[: place.line - 1]) + place.column - 1


# -- programs that are built before they run ---------------------------------------------------------------------------

ASSET_BYTES_MAX = 256 * 1024
"""Files of code that are larger, such as libraries for browsers, are not looked at for packages that they name."""

_NODE = """assert buffer child_process cluster console constants crypto dgram dns domain events fs http http2 https
    module net os path perf_hooks process punycode querystring readline repl stream string_decoder timers tls tty url
    util v8 vm worker_threads zlib"""
_OF_NODE = frozenset(_NODE.split())

_REGISTERS = {
    "@babel/register": ("@babel/core", "@babel/node", "@babel/cli"),
    "babel-register": ("babel-cli", "babel-core"),
}


def _is_built(program: Program, files: dict[str, str]) -> str:
    """The package that must be loaded first, so that sources are built as they are loaded; "" for none: Node runs the
    entry as it is."""
    package = _package(program)
    if package.get("type") == "module" or program.entry.endswith(".mjs") or not esm(files.get(program.entry, "")):
        return ""
    there = {**package.get("dependencies", {}), **package.get("devDependencies", {})}
    for register, signs in _REGISTERS.items():
        if register in there or any(sign in there for sign in signs):
            return register
    return ""


def _package(program: Program) -> dict[str, Any]:
    path = Path(program.folder) / PACKAGE
    if PACKAGE not in program.assets and PACKAGE not in program.files:
        return {}
    try:
        package: dict[str, Any] = json.loads(program.files.get(PACKAGE) or path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}\n  remedy: correct it") from None
    return package


def _write_package(program: Program, out: Path, sources: list[str], built: str) -> None:
    """Development dependencies that the code names, or that build it, are needed where it runs. Packages that are
    called as a module of Node's are never loaded, as that comes first."""
    if PACKAGE not in program.assets and PACKAGE not in program.files:
        return
    package = _package(program)
    development = package.get("devDependencies", {})
    text = "\n".join([*sources, *_near(program)])
    endings = {Path(asset).suffix.lstrip(".") for asset in program.assets}  # engines of views are called so
    needed = {name: of for name, of in development.items() if built or name in endings or _named(name, text)}
    if built:
        needed.setdefault(built, "*")
    needed |= package.get("dependencies", {})
    named = set(needed)
    needed = {name: of for name, of in needed.items() if name not in _OF_NODE or f"{name}/" in text}
    if needed == package.get("dependencies", {}):
        return
    package["devDependencies"] = {name: of for name, of in development.items() if name not in needed}
    package["dependencies"] = needed
    bundling.write(out, PACKAGE, json.dumps(package, indent=2) + "\n")
    for lock in LOCKS:
        if (out / lock).is_file():
            told = _undeveloped(json.loads((out / lock).read_text()))
            if "" in told.get("packages", {}):
                told["packages"][""] |= {name: package[name] for name in ("dependencies", "devDependencies")}
            for name in named - set(needed):
                told.get("packages", {}).pop(f"node_modules/{name}", None)
                told.get("dependencies", {}).pop(name, None)
            bundling.write(out, lock, json.dumps(told, indent=2) + "\n")


def _named(package: str, text: str) -> bool:
    return re.search(rf"""['"`]{re.escape(package)}(/[^'"`]*)?['"`]""", text) is not None


def _near(program: Program) -> Iterator[str]:
    """Files of code beside the entry and below that are loaded by names which are not seen."""
    folder = Path(program.entry).parent
    for asset in program.assets:
        path = Path(program.folder) / asset
        near = path.suffix in (".js", ".mjs", ".cjs") and folder in Path(asset).parents
        if near and path.stat().st_size <= ASSET_BYTES_MAX:
            yield path.read_text(errors="replace")


def _undeveloped(lock: Any) -> Any:
    """A lock file of which everything is installed: nothing in it is there for development alone."""
    if not isinstance(lock, dict):
        return lock
    return {name: _undeveloped(value) for name, value in lock.items() if name not in ("dev", "devOptional")}


# -- what the runtime is told ------------------------------------------------------------------------------------------


def _manifest(program: Program, sources: list[str]) -> dict[str, Any]:
    """What liquid.mjs is to know: the entry, when a request is given up, the sources of the program's own code, for
    each fluxion its group and where its key is in a request, for each group how it keeps which variables, and to which
    fluxion its requests go."""
    receivers = bundling.receivers(program)
    return {
        "entry": program.entry,
        "framework": program.framework,
        "given_up_ms": round(bundling.GIVEN_UP_S * 1000),
        "sources": sources,
        "fluxions": {
            fluxion.name: {
                "group": fluxion.group,
                "key": fluxion.key,
                "convert": fluxion.key_convert,
                **parts.roles(program, fluxion),
            }
            for fluxion in program.fluxions
        },
        "groups": {
            group.name: {
                "keeping": group.keeping.value,
                "variables": list(group.variables),
                "to": receivers.get(group.name, ""),
            }
            for group in program.groups
        },
    }


def _module(program: Program) -> str:
    """One function per fluxion."""
    lines = [
        f"// Made by liquefy-ctl from {program.entry}: a function for each fluxion. The program is in its own files.",
        'import { answer, emit } from "liquefy";',
        'import { service } from "liquefy/liquid";',
        "",
        "const { run, ready } = service(import.meta.url, { answer, emit });",
    ]
    kept = bundling.keepings(program)
    if Keeping.PINNED not in kept.values():
        # What is pinned is to run on one node alone, and so not before it is asked something.
        lines.append("await ready();")
    for fluxion in program.fluxions:
        given = "message, context" if kept[fluxion.name] in bundling.CONTEXTS else "message"
        called = bundling.function_name(fluxion)
        name = called if called not in _RESERVED and _WORD.fullmatch(called) else f"_{called}"
        exported = "export " if name == called else ""
        lines += ["", *_told(program, fluxion), f"{exported}function {name}({given}) {{"]
        lines += [f"  return run({json.dumps(fluxion.name)}, {given});", "}"]
        if not exported:
            lines.append(f"export {{ {name} as {called} }};")
    return "\n".join(lines) + "\n"


def _told(program: Program, fluxion: Fluxion) -> Iterator[str]:
    group = next(group for group in program.groups if group.name == fluxion.group)
    if fluxion.role is Role.WHOLE:
        yield "// Any request that has no fluxion of its own."
    for entry in fluxion.entries:
        where = f"  {fluxion.place}" if fluxion.place.file else ""
        yield f"// {entry.method} {entry.path}{where}"
    if group.keeping is not Keeping.NONE:
        of = f" of {fluxion.key}" if fluxion.key else ""
        yield f"// context: {', '.join(group.variables) or 'the process'} ({group.keeping.value}{of})"

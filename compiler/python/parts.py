"""The parts of handlers that were cut, as functions: one text for each file of the service that they come from.

    def parts(emit):

        def local_process(user, visits):
            regular = visits >= 10
            return emit("call_external_db", {"user": user, "visits": visits, "regular": regular})

        return {"local_process": local_process}

The runtime loads such a text inside the module of its file, so that a part finds the names of the module. A part takes
what it uses of its message, or of the handler's arguments (START, END). Where it comes to its end, its message goes
along its streams; what it returns earlier is the handler's answer. Knows no framework.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Iterable

from compiler.flx.bodies import python_body
from compiler.flx.shapes import Body, Unreadable
from compiler.holes import fill
from compiler.program import Fluxion, Program, Role
from liquefy.errors import UserError
from liquefy.graph import OUTPUT

FOLDER = "liquid_parts"
CUT = (Role.START, Role.STEP, Role.END)


def parts(program: Program) -> dict[str, str]:
    """Path in the bundle -> text. Raises UserError."""
    bodies = {fluxion.name: fluxion.body for fluxion in program.fluxions if fluxion.body}
    by_file: dict[str, list[Fluxion]] = {}
    for fluxion in program.fluxions:
        if fluxion.role in CUT:
            by_file.setdefault(file_of(program, fluxion), []).append(fluxion)
    units = {fluxion.name: fluxion.unit for fluxion in program.fluxions if fluxion.role is Role.START}
    units |= {f.name: units.get(chain_start(program, f), "") for f in program.fluxions if f.role is Role.END}
    return {
        f"{FOLDER}/{file}": _text(file, fluxions, units, fill(program.files.get(file, ""), bodies))
        for file, fluxions in by_file.items()
    }


def file_of(program: Program, fluxion: Fluxion) -> str:
    """The file whose names its body uses."""
    hole = f"⟪{fluxion.name}⟫"
    holed = next((path for path, text in program.files.items() if hole in text), "")
    return holed or (fluxion.place.file if fluxion.place.file in program.files else program.entry)


def chain_start(program: Program, fluxion: Fluxion) -> str:
    """The START of the chain that ends with this fluxion; "" if it is none."""
    if fluxion.role is not Role.END:
        return ""
    senders: dict[str, list[Fluxion]] = {}
    for each in program.fluxions:
        if each.role in (Role.START, Role.STEP):
            for stream in each.streams:
                senders.setdefault(stream.to, []).append(each)
    seen, waiting = set(), [fluxion.name]
    while waiting:
        for sender in senders.get(waiting.pop(), ()):
            if sender.role is Role.START:
                return sender.name
            if sender.name not in seen:
                seen.add(sender.name)
                waiting.append(sender.name)
    return ""


def chain_of(program: Program, fluxion: Fluxion) -> list[str]:
    """The fluxions that follow it, on any of its streams."""
    streams = {each.name: [stream.to for stream in each.streams] for each in program.fluxions}
    found: list[str] = []
    waiting = list(streams[fluxion.name])
    while waiting:
        name = waiting.pop(0)
        if name in streams and name not in found:
            found.append(name)
            waiting += streams[name]
    return found


def chain_end(program: Program, fluxion: Fluxion) -> str:
    """The END of the chain that a STEP is in; "" if there is none."""
    if fluxion.role is not Role.STEP:
        return ""
    ends = {each.name for each in program.fluxions if each.role is Role.END}
    return next((name for name in chain_of(program, fluxion) if name in ends), "")


def _text(file: str, fluxions: list[Fluxion], units: dict[str, str], source: str) -> str:
    known = _names(source) | set(dir(builtins)) | {"__name__", "__file__"}
    emit = "emit"
    while re.search(rf"\b{emit}\b", source):
        emit += "_"
    lines = [f'"""Parts of handlers of {file}, made by liquefy-ctl; change that, not this."""', "", ""]
    lines += [f"def parts({emit}):"]
    for fluxion in fluxions:
        given = _parameters(source, units.get(fluxion.name, ""))
        lines += ["", *(f"    {line}" if line else "" for line in _function(fluxion, given, known, emit))]
    inside = ", ".join(f"{json.dumps(f.name)}: {_identifier(f)}" for f in fluxions)
    return "\n".join([*lines, "", f"    return {{{inside}}}", ""])


def _identifier(fluxion: Fluxion) -> str:
    name = re.sub(r"\W", "_", fluxion.name)
    return f"part_{name}"


def _function(fluxion: Fluxion, given: list[str], known: set[str], emit: str) -> list[str]:
    try:
        body = python_body(fluxion.body)
    except Unreadable as error:
        where = f"{fluxion.name}, line {error.line} of its body"
        raise UserError(f"{where}: is not Python: {error.why}\n  remedy: correct the line") from None
    names = dict.fromkeys(fluxion.reads)
    sent = [name for stream in fluxion.streams for name in stream.variables]
    # Whatever else has these names: in the handler they are its parameters.
    names |= dict.fromkeys(name for name in given if name in body.used or name in body.assigned or name in sent)
    names |= dict.fromkeys(name for name in body.used if name not in known and name not in body.assigned)
    names |= dict.fromkeys(name for name in sent if name not in body.assigned and name not in known)
    entries = ", ".join(f"{e.method} {e.path}" for e in fluxion.entries)
    where = f"{fluxion.place.file}:{fluxion.place.line}" if fluxion.place.file else ""
    title = ". ".join(part for part in (entries, where) if part)
    lines = [f"{'async ' if body.waits or fluxion.waits else ''}def {_identifier(fluxion)}({', '.join(names)}):"]
    if title:
        lines.append(f"    # {title}")
    lines += _indented(fluxion.body, body)
    streams = [stream for stream in fluxion.streams if stream.to != OUTPUT]
    if streams and not body.returns:
        calls = [f"{emit}({json.dumps(s.to)}, {_dict(s.variables)})" for s in streams]
        lines.append(f"    return {calls[0] if len(calls) == 1 else '[' + ', '.join(calls) + ']'}")
    elif not fluxion.body.strip():
        lines.append("    pass")
    return lines


def _dict(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {name}" for name in names) + "}"


def _indented(text: str, body: Body) -> list[str]:
    """Deeper by 4; but not what is within a text, which would be another text then."""
    lines = enumerate(text.rstrip("\n").split("\n"), 1)
    return [line if i in body.in_strings else f"    {line}" if line.strip() else "" for i, line in lines]


def _parameters(source: str, unit: str) -> list[str]:
    """Of the handler with this id: `app.index`, `app.make.<locals>.index`."""
    name = unit.rpartition(".")[2]
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name]
    if len(functions) != 1:
        return []
    arguments = functions[0].args
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _names(source: str) -> set[str]:
    """What the module's own level gives names to."""
    found: set[str] = set()
    try:
        waiting: list[ast.AST] = [ast.parse(source)]
    except SyntaxError:
        return found
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                    continue
                case ast.Lambda():
                    continue
                case ast.alias(name=name, asname=asname):
                    found.add(asname or name.partition(".")[0])
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
            waiting.append(node)
    return found | {name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Global) for name in node.names}

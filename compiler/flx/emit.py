"""A program of steps as a bundle: one module with a function for each fluxion, and its graph.yaml. Services under a
framework are the languages' own emitters' work.

A body finds the variables of its message and of its context as variables of its own. Where it comes to its end, its
message goes along each of its streams, with the variables that are named there; `return` sends what it returns, or
nothing. A variable of the context that is None (undefined) at the end is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from compiler.bundling import function_name, write, write_assets
from compiler.flx import bodies, derive
from compiler.flx.shapes import Body
from compiler.program import Fluxion, Group, Keeping, Program, Stream
from liquefy.graph import OUTPUT

HEAD = "Made by liquefy-ctl from {name}; change that, not this."


def emit(program: Program, out: Path) -> None:
    """Raises UserError."""
    entry = derive.entry(program)
    module = python_module if program.language == "python" else javascript_module
    write_assets(program, out)
    for path, text in program.files.items():
        if path != entry:
            write(out, path, text)
    write(out, entry, module(program, program.files.get(entry, "")))
    write(out, "graph.yaml", graph_yaml(program, entry))


# -- graph.yaml -------------------------------------------------------------------------------------------------


def graph_yaml(program: Program, entry: str) -> str:
    """The graph's text."""
    groups = {group.name: group for group in program.groups}
    inputs = [(fluxion, e) for fluxion in program.fluxions for e in fluxion.entries]
    names = _input_names(len(inputs))
    lines = [f"# {HEAD.format(name=program.name + '.flx')}", f"graph: {program.name}"]
    if program.env:
        lines.append(f"env: [{', '.join(json.dumps(name) for name in program.env)}]")
    lines += ["", "inputs:"]
    lines += [f"  {name}: {json.dumps(f'{e.method} {e.path}')}" for name, (_, e) in zip(names, inputs, strict=True)]
    lines += ["", "fluxions:"]
    lines += [
        f"  {fluxion.name}: {_settings(program, fluxion, groups[fluxion.group], entry)}" for fluxion in program.fluxions
    ]
    lines += ["", "streams:"]
    lines += [f"  - {name} >> {fluxion.name}" for name, (fluxion, _) in zip(names, inputs, strict=True)]
    lines += [f"  - {f.name} >> {to}" for f in program.fluxions for to in derive.unique(s.to for s in f.streams)]
    return "\n".join(lines) + "\n"


def _input_names(count: int) -> list[str]:
    return ["input", *(f"input{i}" for i in range(2, count + 1))][:count]


def _settings(program: Program, fluxion: Fluxion, group: Group, entry: str) -> str:
    module = entry.rsplit(".", 1)[0].replace("/", ".")
    settings = {"code": f"{module}:{function_name(fluxion)}"}
    if program.language != "python":
        settings["language"] = program.language
    if group.keeping is Keeping.PINNED:
        settings |= {"group": group.name, "pinned": group.why or "its process is its memory"}
    elif group.keeping is not Keeping.NONE:
        settings["group"] = group.name
    if fluxion.key:
        settings["key"] = fluxion.key
    return f"{{{', '.join(f'{name}: {json.dumps(value)}' for name, value in settings.items())}}}"


def _signature(program: Program, fluxion: Fluxion) -> str:
    keeping = {group.name: group.keeping for group in program.groups}[fluxion.group]
    return "message, context" if keeping in (Keeping.KEYED, Keeping.WHOLE) else "message"


def _title(fluxion: Fluxion) -> str:
    """What stands above a function: where it comes from."""
    entries = ", ".join(f"{e.method} {e.path}" for e in fluxion.entries)
    where = f"{fluxion.place.file}:{fluxion.place.line}" if fluxion.place.file else ""
    return "  ".join(part for part in (f"{fluxion.name}:" if entries else fluxion.name, entries, where) if part)


def _optional(program: Program, fluxion: Fluxion) -> bool:
    """Whether some of its messages lack what others bring: those of requests and those of streams."""
    return bool(fluxion.entries) and any(s.to == fluxion.name for f in program.fluxions for s in f.streams)


def _indented(fluxion: Fluxion, body: Body, by: str) -> list[str]:
    """The body's lines, deeper by so much; but not what is within a text, which would be another text then."""
    if not fluxion.body.strip():
        return []
    lines = enumerate(fluxion.body.rstrip("\n").split("\n"), 1)
    return [line if i in body.in_strings else f"{by}{line}" if line.strip() else "" for i, line in lines]


# -- Python -----------------------------------------------------------------------------------------------------


def python_module(program: Program, head: str) -> str:
    """The module with all functions; `head` is the text before them."""
    found = {fluxion.name: bodies.of(program, fluxion) for fluxion in program.fluxions}
    functions = [_python_function(program, fluxion, found[fluxion.name]) for fluxion in program.fluxions]
    code = "\n".join(line for function in functions for line in function)
    imports = [name for name in ("answer", "emit") if f"{name}(" in code]
    lines = [head.rstrip("\n"), ""] if head.strip() else [f'"""{HEAD.format(name=program.name + ".flx")}"""', ""]
    if imports:
        lines += [f"from liquefy import {', '.join(imports)}", ""]
    for function in functions:
        lines += ["", *function, ""]
    if "_keep(" in code:
        lines += ["", *_KEEP.split("\n"), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


_KEEP = '''\
def _keep(context, **variables):
    """Into the context, but for those that are None: these are not kept."""
    for name, value in variables.items():
        if value is not None:
            context[name] = value
        else:
            context.pop(name, None)'''


def _python_function(program: Program, fluxion: Fluxion, body: Body) -> list[str]:
    kept = [name for name in fluxion.context if name in body.assigned]
    look = "message.get({})" if _optional(program, fluxion) else "message[{}]"
    lines = [f"# {_title(fluxion)}"]
    lines.append(f"{'async ' if body.waits else ''}def {function_name(fluxion)}({_signature(program, fluxion)}):")
    lines += [f"    {name} = {look.format(json.dumps(name))}" for name in fluxion.reads]
    lines += [f"    {name} = context.get({json.dumps(name)})" for name in fluxion.context]
    by = "        " if kept else "    "
    inner = _indented(fluxion, body, by)
    if not body.returns:
        inner += [f"{by}{line}" for line in _python_end(fluxion.streams)]
    inner = inner or [f"{by}pass"]
    if kept:
        values = ", ".join(f"{name}={name}" for name in kept)
        return [*lines, "    try:", *inner, "    finally:", f"        _keep(context, {values})"]
    return [*lines, *inner]


def _sent(fluxion: Fluxion) -> tuple[str, ...]:
    return derive.unique(name for stream in fluxion.streams for name in stream.variables)


def _python_end(streams: Sequence[Stream]) -> Iterator[str]:
    """What is sent when the body comes to its end."""
    sent = [_python_sent(stream, len(streams) == 1) for stream in streams]
    if len(sent) == 1:
        yield f"return {sent[0]}"
    elif sent:
        yield f"return [{', '.join(sent)}]"


def _python_sent(stream: Stream, alone: bool) -> str:
    body = f"{{{', '.join(f'{json.dumps(name)}: {name}' for name in stream.variables)}}}"
    if stream.to == OUTPUT and not stream.variables:
        return "answer()"
    return body if alone else f"emit({json.dumps(stream.to)}, {body})"


# -- JavaScript -------------------------------------------------------------------------------------------------


def javascript_module(program: Program, head: str) -> str:
    """The module with all functions; `head` is the text before them."""
    found = {fluxion.name: bodies.of(program, fluxion) for fluxion in program.fluxions}
    common = not derive.entry(program).endswith(".mjs")
    functions = [_javascript_function(program, fluxion, found[fluxion.name], common) for fluxion in program.fluxions]
    code = "\n".join(line for function in functions for line in function)
    imports = [name for name in ("answer", "emit") if f"{name}(" in code]
    lines = [] if head.strip() else [f"// {HEAD.format(name=program.name + '.flx')}"]
    if imports and common:
        lines.append(f'const {{ {", ".join(imports)} }} = require("liquefy");')
    elif imports:
        lines.append(f'import {{ {", ".join(imports)} }} from "liquefy";')
    if head.strip():
        lines += [head.rstrip("\n")]
    for function in functions:
        lines += ["", *function]
    if common:
        exported = ", ".join(function_name(fluxion) for fluxion in program.fluxions)
        lines += ["", f"Object.assign(exports, {{ {exported} }});"]
    return "\n".join(lines).rstrip("\n") + "\n"


def _javascript_function(program: Program, fluxion: Fluxion, body: Body, common: bool) -> list[str]:
    kept = [name for name in fluxion.context if name in body.assigned and name not in body.declared]
    reads = [name for name in fluxion.reads if name not in body.declared]
    context = [name for name in fluxion.context if name not in body.declared]
    loose = [n for n in _sent(fluxion) if n in body.assigned and n not in (*body.declared, *reads, *context)]
    head = f"{'' if common else 'export '}{'async ' if body.waits else ''}function {function_name(fluxion)}"
    lines = [f"// {_title(fluxion)}", f"{head}({_signature(program, fluxion)}) {{"]
    if reads:
        lines.append(f"  let {{ {', '.join(reads)} }} = message.body;")
    lines += [f"  let {name} = context.{name};" for name in context]
    if loose:
        lines.append(f"  let {', '.join(loose)};")
    by = "    " if kept else "  "
    inner = _indented(fluxion, body, by)
    if not body.returns:
        inner += [f"{by}{line}" for line in _javascript_end(fluxion.streams)]
    if kept:
        lines += ["  try {", *inner, "  } finally {"]
        for name in kept:
            lines.append(f"    if ({name} === undefined || {name} === null) delete context.{name};")
            lines.append(f"    else context.{name} = {name};")
        return [*lines, "  }", "}"]
    return [*lines, *inner, "}"]


def _javascript_end(streams: Sequence[Stream]) -> Iterator[str]:
    sent = [_javascript_sent(stream, len(streams) == 1) for stream in streams]
    if len(sent) == 1:
        yield f"return {sent[0]};"
    elif sent:
        yield f"return [{', '.join(sent)}];"


def _javascript_sent(stream: Stream, alone: bool) -> str:
    body = f"{{ {', '.join(stream.variables)} }}" if stream.variables else "{}"
    if stream.to == OUTPUT and not stream.variables:
        return "answer()"
    return body if alone else f"emit({json.dumps(stream.to)}, {body})"

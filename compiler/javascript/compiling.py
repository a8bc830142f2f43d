"""A folder of JavaScript to a Program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compiler.assemble import Body, assemble, offset
from compiler.facts import Facts, Place
from compiler.holes import cut_from
from compiler.javascript.chains import cut_all
from compiler.javascript.flow import Flow
from compiler.javascript.gather import Gather
from compiler.javascript.modules import check_listens, read
from compiler.javascript.scopes import Function
from compiler.program import Program


def compile(folder: Path, entry: str = "") -> Program:
    """`entry`: relative to `folder`; "" for the one that package.json names. Raises UserError."""
    service = read(folder, entry)
    check_listens(service)
    flow = Flow(service)
    flow.run()
    gathered = Gather(flow)
    facts = gathered.facts()
    functions = gathered.found.functions
    stand = bodies(facts, functions)
    found = cut_all(flow, facts, functions, stand, gathered.waits)
    program = assemble(found.facts, found.classified, folder=folder, bodies=stand, chains=found.chains, kept=found.kept)
    return placed(found.facts, program)


def placed(facts: Facts, program: Program) -> Program:
    """With the places in routes as they are in the program's files, where the holes are: so that they hold when the
    bodies change."""

    def route(text: str) -> str:
        file, _, place = text.partition(":")
        line, _, column = place.partition(":")
        if file not in program.files or not (line.isdigit() and column.isdigit()):
            return text
        at = offset(facts.files[file], Place(file, int(line), int(column)))
        position = cut_from(program.files[file], facts.files[file], at)
        if position is None:
            return text
        before = program.files[file][:position]
        return f"{file}:{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"

    return replace(
        program,
        fluxions=tuple(
            replace(fluxion, entries=tuple(replace(entry, route=route(entry.route)) for entry in fluxion.entries))
            for fluxion in program.fluxions
        ),
    )


def gather(folder: Path, entry: str = "") -> tuple[Facts, dict[str, Function]]:
    """The facts, and the function of each unit."""
    flow = Flow(read(folder, entry))
    flow.run()
    gathered = Gather(flow)
    facts = gathered.facts()
    return facts, gathered.found.functions


def bodies(facts: Facts, functions: dict[str, Function]) -> dict[str, Body]:
    """Where the statements of handlers stand."""
    found = {}
    for start in facts.starts:
        function = functions.get(start.unit)
        if function is None:
            continue
        body = function.node.get("body")
        if body is None or body.type != "statement_block" or not body.kids:
            continue
        data = facts.files[function.file].encode()
        first, last = body.kids[0].start, body.kids[-1].end
        found[start.unit] = Body(function.file, len(data[:first].decode()), len(data[:last].decode()))
    return found

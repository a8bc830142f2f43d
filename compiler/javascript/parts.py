"""Parts of handlers that were cut, as code: the first and the last in the handler's place, the others as functions at
the end of their file, where the names of the module are theirs. Knows no syntax.

    app.get("/:id", (req, res) => {
      const $part = globalThis[Symbol.for("liquefy")].part(); if ($part.first) {
      const userId = req.params.id;
      return $part.send({ userId }); }
      { let { result } = $part.message;
      res.send(result);
      }
    });
    globalThis[Symbol.for("liquefy")].step("localProcess", async ({ userId }, emit) => { ... });
"""

from __future__ import annotations

from compiler.program import Fluxion, Program, Role

REGISTRY = 'globalThis[Symbol.for("liquefy")]'


def body(program: Program, fluxion: Fluxion) -> str:
    """What stands in the place of a fluxion's hole."""
    if fluxion.role is Role.START:
        sends = f"return $part.send({_object(_sent(fluxion))}); }}"
        return f"const $part = {REGISTRY}.part(); if ($part.first) {{\n{fluxion.body}\n{sends}"
    if fluxion.role is Role.END:
        return f"{{ let {_object(_brought(program, fluxion))} = $part.message;\n{fluxion.body}\n}}"
    return fluxion.body


def steps(program: Program, file: str) -> str:
    """Code to put at the end of the file."""
    texts = []
    for fluxion in program.fluxions:
        if fluxion.role is Role.STEP and fluxion.place.file == file:
            head = f"{REGISTRY}.step({_text(fluxion.name)}, async ({_object(_brought(program, fluxion))}, emit) => {{"
            texts.append(f"\n;{head}\n{fluxion.body}\nreturn {_object(_sent(fluxion))};\n}});\n")
    return "".join(texts)


def roles(program: Program, fluxion: Fluxion) -> dict[str, str]:
    """What the runtime is told of a part: what it is, where it sends, with which first part it shares its handler."""
    if fluxion.role not in (Role.START, Role.STEP, Role.END):
        return {}
    to = fluxion.streams[0].to if fluxion.streams else ""
    return {"role": fluxion.role.value, "next": to, "start": _start(program, fluxion)}


def _start(program: Program, fluxion: Fluxion) -> str:
    at, seen = fluxion, {fluxion.name}
    while at.role is not Role.START:
        before = [f for f in program.fluxions if any(s.to == at.name for s in f.streams) and f.name not in seen]
        before = [f for f in before if f.role in (Role.START, Role.STEP)]
        if not before:
            return ""
        at = before[0]
        seen.add(at.name)
    return at.name


def _sent(fluxion: Fluxion) -> list[str]:
    return list(fluxion.streams[0].variables) if fluxion.streams else []


def _brought(program: Program, fluxion: Fluxion) -> list[str]:
    found = [v for f in program.fluxions for s in f.streams if s.to == fluxion.name for v in s.variables]
    return list(dict.fromkeys(found))


def _object(names: list[str]) -> str:
    return f"{{ {', '.join(names)} }}" if names else "{}"


def _text(name: str) -> str:
    return f'"{name}"'

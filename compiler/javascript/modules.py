"""The files of a service: which file starts it, which others it loads, and what each name in `require` or `import`
leads to. Knows no values.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass, field
from glob import escape as glob_escape
from pathlib import Path
from typing import Any

from compiler.javascript.libraries import Sort, package_of, sort_of
from compiler.javascript.libraries import names as names_of
from compiler.javascript.scopes import Names
from compiler.javascript.syntax import FUNCTIONS, Node, parse, string_value
from liquefy.errors import GraphError, UserError

SOURCES_MAX = 2_000
"""Files of a service's own code."""

SOURCE_BYTES_MAX = 4 * 1024 * 1024
"""Of one file of code or JSON."""

ENTRIES = (
    *("index.js", "server.js", "app.js", "index.mjs", "server.mjs", "app.mjs", "main.js"),
    *("index.cjs", "server.cjs", "app.cjs", "src/index.js"),
)
"""Looked for in a folder whose package.json says nothing, or that has none, in this order."""

_ENDINGS = ("", ".js", ".mjs", ".cjs", ".json", "/index.js", "/index.mjs", "/index.cjs", "/index.json")
_CONDITIONS = names_of("try_statement if_statement ternary_expression binary_expression switch_statement class_body")
_MAY_LISTEN = {Sort.UNKNOWN, Sort.STATEFUL, Sort.MACHINE}
_RUNNERS = {"node", "nodemon", "babel-node", "node-dev", "supervisor", "pm2-runtime", "micro"}
_TAKE_A_VALUE = {"-r", "--require", "--import", "--loader", "--env-file", "-w", "--watch", "-e", "--ext", "--presets"}


@dataclass(eq=False)
class Source:
    """One file. `esm`: it is an ES module, or written as one for a tool that makes it CommonJS."""

    file: str
    text: str
    root: Node | None = None
    names: Names | None = None
    data: Any = None
    """Of a JSON file."""
    esm: bool = False
    leads: dict[str, str] = field(default_factory=dict)
    """What it writes in `require` or `import` -> file of the service. Others are packages."""

    packages: dict[str, str] = field(default_factory=dict)
    """Relative names that lead to a known package."""

    @property
    def id(self) -> str:
        """Dots for slashes: `lib.store`; of `lib/index.js` it is `lib.index`."""
        return re.sub(r"\.(js|mjs|cjs|json)$", "", self.file).replace("/", ".")


@dataclass
class Service:
    folder: Path
    entry: str
    package: dict[str, Any]
    sources: dict[str, Source] = field(default_factory=dict)
    """In the order of loading, as far as it can be told."""


def read(folder: Path, entry: str) -> Service:
    """Raises UserError for what cannot be found or read."""
    package = _package(folder)
    service = Service(folder, _entry(folder, entry, package), package)
    todo = [service.entry]
    while todo:
        file = todo.pop()
        if file in service.sources:
            continue
        if len(service.sources) >= SOURCES_MAX:
            raise UserError(f"{folder}: more than {SOURCES_MAX} files of code\n  remedy: compile the built program")
        source = _source(folder, file, package)
        service.sources[file] = source
        todo += reversed(list(dict.fromkeys(source.leads.values())))
    return service


def _package(folder: Path) -> dict[str, Any]:
    path = folder / "package.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise GraphError("package.json", getattr(error, "lineno", 0), f"is not JSON: {error}", "correct it") from None
    return found if isinstance(found, dict) else {}


def _entry(folder: Path, entry: str, package: dict[str, Any]) -> str:
    if entry:
        return posixpath.normpath(entry)
    scripts = package.get("scripts") if isinstance(package.get("scripts"), dict) else {}
    for wanted in (_started(str((scripts or {}).get("start", ""))), package.get("main")):
        found = resolve(folder, ".", "./" + wanted) if isinstance(wanted, str) and wanted else None
        if found:
            return found
    for name in ENTRIES:
        if (folder / name).is_file():
            return name
    raise UserError(
        f"{folder}: it cannot be told which file starts the service: package.json names none that is there, and there "
        f"is none of {', '.join(ENTRIES)}\n  remedy: name the file that starts it"
    )


def _started(script: str) -> str:
    """The file in `NODE_ENV=production node -r esm src/server`, or ""."""
    words = re.split(r"&&|;", script)[-1].replace("--exec", " ").replace('"', " ").split()
    seen = False
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _TAKE_A_VALUE
        elif posixpath.basename(word) in _RUNNERS:
            seen = True
        elif seen and "=" not in word:
            return word
    return ""


def resolve(folder: Path, base: str, wanted: str) -> str | None:
    """A relative name, as written in a file of the folder `base`, to a file; None if there is none."""
    at = posixpath.normpath(posixpath.join(base, wanted))
    if at.startswith("../") or at == "..":
        return None
    for ending in _ENDINGS:
        file = posixpath.normpath(at + ending)
        if (folder / file).is_file():
            return file
    inner = folder / at / "package.json"
    if inner.is_file():
        try:
            main = json.loads(inner.read_text()).get("main")
        except (ValueError, AttributeError):
            return None
        return resolve(folder, at, "./" + main) if isinstance(main, str) and main not in ("", ".", "./") else None
    return None


def _source(folder: Path, file: str, package: dict[str, Any]) -> Source:
    path = folder / file
    if not path.is_file():
        raise UserError(f"{path}: does not exist\n  remedy: name the file that starts the service")
    if path.stat().st_size > SOURCE_BYTES_MAX:
        raise GraphError(file, 0, f"has more than {SOURCE_BYTES_MAX} bytes", "keep data in files that are not imported")
    try:
        text = path.read_text(encoding="utf-8-sig" if file.endswith(".json") else "utf-8")
    except UnicodeDecodeError:
        raise GraphError(file, 0, "is not UTF-8", "save it as UTF-8") from None
    source = Source(file, text)
    if file.endswith(".json"):
        try:
            source.data = json.loads(text)
        except ValueError as error:
            raise GraphError(file, getattr(error, "lineno", 0), f"is not JSON: {error}", "correct it") from None
        return source
    if "." in posixpath.basename(file) and not file.endswith((".js", ".mjs", ".cjs")):
        return source
    source.root = parse(file, text)
    source.names = Names(file, source.root)
    source.esm = file.endswith(".mjs") or any(
        k.type in ("import_statement", "export_statement") for k in source.root.kids
    )
    base = posixpath.dirname(file) or "."
    for wanted in wanted_names(source.root):
        if wanted.startswith((".", "/")):
            found = resolve(folder, base, wanted)
            if found is not None and _is_package(folder, found, package):
                source.packages[wanted] = str(package["name"])
            elif found is not None:
                source.leads[wanted] = found
    _check_there(folder, base, source)
    return source


def _check_there(folder: Path, base: str, source: Source) -> None:
    """Raises GraphError for what the file loads in any case, and is not there."""
    assert source.root is not None
    found = {*source.leads, *source.packages}
    for node in source.root.walk():
        statement = node.type in ("import_statement", "export_statement")
        named = node.get("source") if statement else None
        wanted = string_value(named) if named is not None else None
        if node.type == "call_expression" and node["function"].type == "identifier" and not _perhaps(node):
            wanted = required(node)
        if wanted is None or not wanted.startswith(("./", "../")) or wanted in found:
            continue
        at = folder / base / wanted
        if not at.exists() and not any(at.parent.glob(f"{glob_escape(at.name)}.*")):
            remedy = "correct the name, or put the file there"
            raise GraphError(source.file, node.line, f"loads {wanted}, which is not there", remedy)


def _perhaps(node: Node) -> bool:
    """Whether it may be left out, or may fail, when the file is loaded."""
    at = node.parent
    while at is not None:
        if at.type in _CONDITIONS or at.type in FUNCTIONS:
            return True
        at = at.parent
    return False


def check_listens(service: Service) -> None:
    """Raises UserError if no request can ever come: nothing listens, nothing is exported, and all packages that could
    listen by themselves are known not to."""
    for source in service.sources.values():
        if source.root is None:
            continue
        if any(word in source.text for word in ("listen", "export", "eval", "import(")):
            return
        calls = [n for n in source.root.walk() if n.type == "call_expression" and n["function"].text == "require"]
        names = wanted_names(source.root)
        if any(required(call) is None for call in calls):
            return
        if any(sort_of(package_of(n)) in _MAY_LISTEN for n in names if n not in source.leads):
            return
    raise UserError(
        f"{service.entry}: never listens on a port, and exports no application: no request can come\n"
        "  remedy: let it listen, or name the file that does"
    )


def _is_package(folder: Path, file: str, package: dict[str, Any]) -> bool:
    """Whether a file is the main one of a known package, in whose own folder the service is, such as an example."""
    name = package.get("name")
    if not isinstance(name, str) or sort_of(name) is Sort.UNKNOWN:
        return False
    main = package.get("main")
    return resolve(folder, ".", main if isinstance(main, str) and main else "./index.js") == file


def wanted_names(root: Node) -> list[str]:
    """What a file imports by a literal name."""
    found: dict[str, None] = {}
    for node in root.walk():
        if node.type in ("import_statement", "export_statement"):
            named = node.get("source")
            if named is not None:
                found[string_value(named)] = None
        elif node.type == "call_expression":
            name = required(node)
            if name is not None:
                found[name] = None
    return list(found)


def required(call: Node) -> str | None:
    """The name in `require("x")` or `import("x")`; None if it is no such call or its name is computed."""
    callee, arguments = call.get("function"), call.get("arguments")
    if callee is None or arguments is None or not arguments.kids:
        return None
    if not (callee.type == "import" or (callee.type == "identifier" and callee.text == "require")):
        return None
    first = arguments.kids[0]
    if first.type == "string":
        return string_value(first)
    if first.type == "template_string" and all(kid.type == "string_fragment" for kid in first.kids):
        return "".join(kid.text for kid in first.kids)
    if first.type == "binary_expression" and first["left"].type == "identifier" and first["left"].text == "__dirname":
        right = first["right"]
        return "." + string_value(right) if right.type == "string" else None
    return None

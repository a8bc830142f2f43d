"""What a Python service has to have installed: what it says itself, else what it imports, in the versions found where
its developer runs it.

Knows files and installed packages; asks no package index.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

ENVIRONMENTS = (".venv", "venv", "env")
"""Folders of a service in which its developer may have installed what it needs."""

_DISTRIBUTIONS = {
    "yaml": "PyYAML",
    "PIL": "Pillow",
    "jwt": "PyJWT",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "jose": "python-jose",
    "multipart": "python-multipart",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "flask_restful": "Flask-RESTful",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "flask_httpauth": "Flask-HTTPAuth",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "nacl": "PyNaCl",
    "google.protobuf": "protobuf",
}
"""Where the name of a package says nothing of its distribution's."""


def requirements(files: Mapping[str, str], assets: Iterable[str], folder: Path) -> str:
    """The text of requirements.txt; "" if nothing is needed. The service's own file if it has one."""
    names = set(assets)
    if "requirements.txt" in names:
        return (folder / "requirements.txt").read_text(errors="replace")
    if "pyproject.toml" in names:
        listed = _of_pyproject(folder / "pyproject.toml")
        if listed:
            return "\n".join(listed) + "\n"
    return "".join(f"{line}\n" for line in _of_imports(files, folder))


def _of_pyproject(path: Path) -> list[str]:
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return []
    listed = found.get("project", {}).get("dependencies", [])
    return [line for line in listed if isinstance(line, str)]


def unnamed(files: Mapping[str, str], assets: Iterable[str], folder: Path) -> list[str]:
    """A line for each import of what the service does not say that it needs, and what is not installed where its
    developer runs it: perhaps mistyped, and then a stranger's package on the index."""
    names = set(assets)
    said = "requirements.txt" if "requirements.txt" in names else "pyproject.toml"
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in requirements({}, names, folder).splitlines())
    listed = [line for line in lines if line]
    if any("/" in line or line.startswith(("-r", "-e", "--requirement", "--editable")) for line in listed):
        return []  # more than can be seen here
    known = {_plain(found[0]) for line in listed if (found := re.match(r"[\w.-]+", line))}
    providers = _installed(folder)[1]
    told = []
    for root, place in _foreign(files).items():
        name = _DISTRIBUTIONS.get(root, root.replace("_", "-"))
        if root in providers or (folder / root).exists() or {_plain(root), _plain(name)} & known:
            continue
        if listed or "requirements.txt" in names:
            missing = f"which {said} does not name: it is not installed, unless another package brings it"
        else:
            missing = f"which no requirements.txt names and is not installed here: nodes install {name} by that name"
        told.append(f"{place} imports {root}, {missing}")
    return told


def _of_imports(files: Mapping[str, str], folder: Path) -> list[str]:
    roots = _foreign(files)
    versions, providers = _installed(folder)
    lines = set()
    for root in roots:
        if root not in providers and (folder / root).exists():
            continue
        name = providers.get(root) or _DISTRIBUTIONS.get(root, root.replace("_", "-"))
        version = versions.get(_plain(name), "")
        lines.add(f"{name}=={version}" if version else name)
    return sorted(lines, key=str.lower)


def _foreign(files: Mapping[str, str]) -> dict[str, str]:
    """What is imported and is neither the service's own nor Python's: where it is first, `app.py:3`."""
    own = {path.split("/")[0].removesuffix(".py") for path in files}
    own |= {path.rpartition("/")[2].removesuffix(".py") for path in files}
    found: dict[str, str] = {}
    for path, text in files.items():
        for root, line in _imported(text):
            if root not in own and root not in sys.stdlib_module_names and not root.startswith("__"):
                found.setdefault(root, f"{path}:{line}")
    found.pop("liquefy", None)
    return found


def _imported(text: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.append((node.module.partition(".")[0], node.lineno))
    return found


def _installed(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Versions by distribution, and distributions by what they let be imported: of the service's own environment if
    there is one, else of this one."""
    paths = [path for name in ENVIRONMENTS for path in (folder / name / "lib").glob("python3*/site-packages")]
    active = os.environ.get("VIRTUAL_ENV")
    if not paths and active:
        paths = list(Path(active, "lib").glob("python3*/site-packages"))
    where = [str(path) for path in paths] or sys.path
    versions: dict[str, str] = {}
    providers: dict[str, str] = {}
    for distribution in metadata.distributions(path=where):
        name = distribution.metadata["Name"]
        if not name:
            continue
        versions.setdefault(_plain(name), distribution.version)
        for root in _roots(distribution):
            providers.setdefault(root, name)
    return versions, providers


def _roots(distribution: metadata.Distribution) -> set[str]:
    listed = distribution.read_text("top_level.txt")
    if listed:
        return set(listed.split())
    files = distribution.files or ()
    return {
        path.parts[0].removesuffix(".py")
        for path in files
        if path.suffix == ".py" and path.parts[0] != ".." and (len(path.parts) > 1 or path.suffix == ".py")
    }


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

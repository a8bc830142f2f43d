"""A bundle: the code of a graph as one deterministic tar.gz, named by its SHA-256. The same files give the
same bytes.

Unpacking trusts nothing in it: only plain files and folders, inside the folder given, within limits. Does not
know where bundles are kept.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from liquefy.errors import UserError

BUNDLE_BYTES_MAX = 64 * 1024 * 1024
"""All files of a bundle together, before compression."""

BUNDLE_FILES_MAX = 20_000

NAME_BYTES_MAX = 64 * 1024
"""What an archive may say about one file beside its header, which is read as a whole."""

PATH_BYTES_MAX = 1_024
PATH_DEPTH_MAX = 64
"""Folders above one file of a bundle."""

PIECE_BYTES = 256 * 1024
"""So much of a file is in memory at once."""

_PATH_SAID = re.compile(
    rb"(21 hdrcharset=BINARY\n)?(?P<record>(?P<length>[1-9][0-9]{0,5}) path=(?P<path>[^\0]+)\n)", re.DOTALL
)

IGNORED_FOLDERS = frozenset((
    *("__pycache__", "node_modules", ".venv", ".liquefy", ".git", ".hg", ".svn", ".idea", ".vscode"),
    *(".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
))  # fmt: skip
IGNORED_SUFFIXES = (".pyc", ".pyo")

_ENVIRONMENT = "pyvenv.cfg"
"""What every virtual environment of Python has in it, whatever it is called."""


def is_ignored(folder: Path) -> bool:
    """Whether nothing in this folder belongs to a service: packages, caches, what tools keep."""
    return folder.name in IGNORED_FOLDERS or (folder / _ENVIRONMENT).is_file()


def build(folder: Path) -> bytes:
    """The files in the folder as a bundle. Links are followed if they lead to a file in the folder, else left
    out. Raises UserError if there is nothing, or more than the limits."""
    files = _files(folder)
    if not files:
        raise UserError(f"{folder}: no files to deploy\n  remedy: give the folder that holds graph.yaml and its code")
    _check_limits(folder, files)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in files:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror}\n  remedy: make it readable") from None
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            tar.addfile(entry, io.BytesIO(content))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=6) as stream:
        stream.write(raw.getbuffer())
    return packed.getvalue()


def digest(bundle: bytes) -> str:
    """The name of the bundle: its SHA-256 in hexadecimal."""
    return hashlib.sha256(bundle).hexdigest()


def unpack(bundle: bytes, folder: Path) -> None:
    """Into the folder, which is there as a whole afterwards, or not at all: also when several do this at
    once, or one of them dies. If it is there already, nothing happens. Raises UserError on a bundle that
    cannot be trusted."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name[:16]}.", dir=folder.parent))
    try:
        _extract(bundle, partial)
        partial.chmod(0o755)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else somebody else was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _files(folder: Path) -> list[tuple[str, Path]]:
    root = folder.resolve()
    if not root.is_dir():
        raise UserError(f"{folder}: not a folder\n  remedy: give the folder that holds graph.yaml and its code")
    found = []
    for at, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_ignored(Path(at, name))]
        for name in names:
            path = Path(at, name)
            if name.endswith(IGNORED_SUFFIXES) or not path.is_file():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            found.append((path.relative_to(root).as_posix(), path))
    return sorted(found)


def _check_limits(folder: Path, files: list[tuple[str, Path]]) -> None:
    for name, path in files:
        if problem := _path_problem(name):
            raise UserError(f"{path}: the path {problem}, more than a bundle may have\n  remedy: give it a shorter one")
    sizes = sorted(((path.stat().st_size, name) for name, path in files), reverse=True)
    total = sum(size for size, _ in sizes)
    if total > BUNDLE_BYTES_MAX:
        biggest = ", ".join(f"{name} ({_mib(size)})" for size, name in sizes[:5])
        raise UserError(
            f"{folder}: {_mib(total)} of files, more than a bundle may hold ({_mib(BUNDLE_BYTES_MAX)}); "
            f"the biggest: {biggest}\n  remedy: move out of the folder what the code does not need"
        )
    if len(files) > BUNDLE_FILES_MAX:
        raise UserError(
            f"{folder}: {len(files)} files, more than a bundle may hold ({BUNDLE_FILES_MAX})\n"
            "  remedy: move out of the folder what the code does not need"
        )


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"


class _Entry(NamedTuple):
    """`mode` is that of a file, None for a folder; `size` is what follows in the archive."""

    path: str
    size: int
    mode: int | None


def _extract(bundle: bytes, folder: Path) -> None:
    total = 0
    try:
        # As a stream: what is beyond a limit is never unpacked.
        with gzip.GzipFile(fileobj=io.BytesIO(bundle)) as stream:
            for count, entry in enumerate(_entries(stream)):
                total += entry.size
                if total > BUNDLE_BYTES_MAX or count >= BUNDLE_FILES_MAX:
                    raise _bad("it is larger than a bundle may be")
                _extract_one(stream, entry, folder)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise _bad(str(error)) from None


def _entries(stream: gzip.GzipFile) -> Iterator[_Entry]:
    """What the archive says is in it; whoever asks for the next one has read the content of the last.

    Read here and not by `tarfile`, which makes much more of an archive than `build` puts into one: words that come
    later make other things of sizes that were checked, it reads maps of sparse files whole, however long, and calls
    itself for each word before a file. Sizes are those of the headers alone, and nothing changes them afterwards."""
    while (header := _header(stream)) is not None:
        path = header.name
        if header.type == tarfile.XHDTYPE:
            path = _long_path(_exactly(stream, header.size))
            _exactly(stream, -header.size % tarfile.BLOCKSIZE)
            header = _header(stream)
            if header is None or header.type == tarfile.XHDTYPE:
                raise _bad("it says more about a file than a bundle does")
        is_folder = header.type == tarfile.DIRTYPE
        if is_folder and header.size:
            raise _bad(f"the folder {_shown(path)} has a size")
        yield _Entry(path, header.size, None if is_folder else header.mode)
        _exactly(stream, -header.size % tarfile.BLOCKSIZE)


def _header(stream: gzip.GzipFile) -> tarfile.TarInfo | None:
    """None at the end, after which there is nothing."""
    block = _exactly(stream, tarfile.BLOCKSIZE)
    if not any(block):
        rest = stream.read(tarfile.RECORDSIZE + 1)
        if len(rest) < tarfile.BLOCKSIZE or len(rest) > tarfile.RECORDSIZE or any(rest):
            raise _bad("its end is not one")
        return None
    header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE):
        raise _bad(f"{_shown(header.name)} is neither a file nor a folder")
    if header.size < 0 or (header.type == tarfile.XHDTYPE and header.size > NAME_BYTES_MAX):
        raise _bad("what it says about a file is longer than it may be, or shorter")
    return header


def _long_path(words: bytes) -> str:
    """All that `build` says about a file beside its header: a path that is long, or not of ASCII."""
    found = _PATH_SAID.fullmatch(words)
    if found is None or int(found["length"]) != len(found["record"]):
        raise _bad("it says more about a file than a bundle does")
    return found["path"].decode("utf-8", "surrogateescape")


def _extract_one(stream: gzip.GzipFile, entry: _Entry, folder: Path) -> None:
    if problem := _path_problem(entry.path):
        raise _bad(f"the path {_shown(entry.path)} {problem}")
    name = PurePosixPath(entry.path)
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise _bad(f"the path {_shown(entry.path)} leads out of its folder")
    path = folder.joinpath(*name.parts)
    if entry.mode is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        for at in range(0, entry.size, PIECE_BYTES):
            target.write(_exactly(stream, min(PIECE_BYTES, entry.size - at)))
    path.chmod(0o755 if entry.mode & 0o100 else 0o644)


def _path_problem(path: str) -> str:
    """"" if it may be in a bundle, as far as its length goes. For each folder in it a call may wait for the next."""
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        return f"is longer than {PATH_BYTES_MAX} bytes"
    return f"is more than {PATH_DEPTH_MAX} folders deep" if path.count("/") > PATH_DEPTH_MAX else ""


def _exactly(stream: gzip.GzipFile, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) != size:
        raise _bad("it ends too early")
    return data


def _shown(path: str) -> str:
    return repr(path[:80])


def _bad(why: str) -> UserError:
    return UserError(f"the bundle cannot be unpacked: {why}\n  remedy: deploy the folder again with liquefy-ctl")

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
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Self

from liquefy.errors import UserError

BUNDLE_BYTES_MAX = 64 * 1024 * 1024
"""All files of a bundle together, before compression."""

BUNDLE_FILES_MAX = 20_000

NAME_BYTES_MAX = 64 * 1024
"""What an archive may say about one file: its long name and the like, which are read as a whole."""

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
    _check_size(folder, files)
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


def _check_size(folder: Path, files: list[tuple[str, Path]]) -> None:
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


class _Entry(tarfile.TarInfo):
    """One that refuses words about a file that are longer than NAME_BYTES_MAX before they are read."""

    _SAYS_MORE = frozenset((
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    ))  # fmt: skip

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type == tarfile.GNUTYPE_SPARSE:
            raise _bad(f"{entry.name[:80]!r} is neither a file nor a folder")
        if entry.size < 0 or (entry.type in cls._SAYS_MORE and entry.size > NAME_BYTES_MAX):
            raise _bad("what it says about a file is longer than it may be")
        return entry


def _extract(bundle: bytes, folder: Path) -> None:
    total = 0
    try:
        # As a stream: what is beyond a limit is never unpacked.
        with tarfile.open(fileobj=io.BytesIO(bundle), mode="r|gz", tarinfo=_Entry) as tar:
            for count, entry in enumerate(tar):
                total += entry.size
                if total > BUNDLE_BYTES_MAX or count >= BUNDLE_FILES_MAX:
                    raise _bad("it is larger than a bundle may be")
                _extract_one(tar, entry, folder)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise _bad(str(error)) from None


def _extract_one(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    name = PurePosixPath(entry.name)
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise _bad(f"the path {entry.name!r} leads out of its folder")
    path = folder.joinpath(*name.parts)
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif entry.isreg():
        source = tar.extractfile(entry)
        assert source is not None  # it is a regular file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as target:
            shutil.copyfileobj(source, target)
        path.chmod(0o755 if entry.mode & 0o100 else 0o644)
    else:
        raise _bad(f"{entry.name!r} is neither a file nor a folder")


def _bad(why: str) -> UserError:
    return UserError(f"the bundle cannot be unpacked: {why}\n  remedy: deploy the folder again with liquefy-ctl")

"""The folder that a pinned service may write to: what it wrote stays, what the bundle brings is replaced."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from worker import files


def bundle(folder: Path, digest: str, content: dict[str, str]) -> Path:
    made = folder / "bundles" / digest
    for path, text in content.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(text)
    return made


def laid(folder: Path) -> dict[str, str]:
    root = folder / "home" / files.FILES
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_what_a_service_writes_is_not_in_its_bundle_and_is_there_the_next_time(tmp_path: Path) -> None:
    first = bundle(tmp_path, "1", {"app.py": "one", "views/index.html": "hello"})
    files.lay_out(first, tmp_path / "home")
    (tmp_path / "home" / files.FILES / "todo.db").write_text("written")
    files.lay_out(first, tmp_path / "home")
    assert laid(tmp_path) == {"app.py": "one", "todo.db": "written", "views/index.html": "hello"}
    assert not (first / "todo.db").exists()


def test_a_new_version_replaces_its_files_and_keeps_what_the_service_changed(tmp_path: Path) -> None:
    files.lay_out(bundle(tmp_path, "1", {"app.py": "one", "old.py": "x", "votes.json": "{}"}), tmp_path / "home")
    root = tmp_path / "home" / files.FILES
    (root / "votes.json").write_text('{"a": 1}')
    (root / "log.txt").write_text("l")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "app.pyc").write_text("stale")
    files.lay_out(bundle(tmp_path, "2", {"app.py": "two", "votes.json": "{}", "log.txt": ""}), tmp_path / "home")
    assert laid(tmp_path) == {"app.py": "two", "log.txt": "l", "votes.json": '{"a": 1}'}
    files.lay_out(bundle(tmp_path, "3", {"app.py": "three"}), tmp_path / "home")
    assert laid(tmp_path) == {"app.py": "three", "log.txt": "l", "votes.json": '{"a": 1}'}


def test_a_first_copy_that_was_cut_short_begins_anew(tmp_path: Path) -> None:
    root = tmp_path / "home" / files.FILES
    root.mkdir(parents=True)
    (root / "app.py").write_text("half of another version")
    files.lay_out(bundle(tmp_path, "1", {"app.py": "one"}), tmp_path / "home")
    assert laid(tmp_path) == {"app.py": "one"}


def test_links_are_links(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    made = bundle(tmp_path, "1", {"app.js": "one"})
    (made / "node_modules").symlink_to(tmp_path / "packages")
    files.lay_out(made, tmp_path / "home")
    assert os.readlink(tmp_path / "home" / files.FILES / "node_modules") == str(tmp_path / "packages")


def test_purged_services_leave_nothing(tmp_path: Path) -> None:
    home = tmp_path / files.SERVICES / "votes"
    files.lay_out(bundle(tmp_path, "1", {"app.py": "one"}), home)
    asyncio.run(files.forget(tmp_path, "votes"))
    asyncio.run(files.forget(tmp_path, "never-there"))
    assert not home.exists()

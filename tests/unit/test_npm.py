"""What of a package.json decides which bundles share their packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liquefy.errors import UserError
from liquefy.nodejs import Node
from worker import npm

NODE = Node(Path("/node"), "22.1.0", ())


def name(folder: Path, package: dict[str, Any], digest: str = "a" * 64, node: Node = NODE) -> str:
    (folder / npm.PACKAGE).write_text(json.dumps(package))
    wanted = npm.wanted(folder)
    assert wanted is not None
    return npm.environment_name(folder, wanted, digest, node)


@pytest.mark.parametrize("package", [{}, {"dependencies": {}}, {"devDependencies": {"jest": "1"}}, {"name": "x"}])
def test_what_asks_for_nothing_needs_nothing(package: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / npm.PACKAGE).write_text(json.dumps(package))
    assert npm.wanted(tmp_path) is None


def test_without_a_package_nothing_is_needed(tmp_path: Path) -> None:
    assert npm.wanted(tmp_path) is None


@pytest.mark.parametrize(("text", "words"), [("{", "is no JSON"), ("[]", "holds no object")])
def test_what_is_no_package_is_told(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / npm.PACKAGE).write_text(text)
    with pytest.raises(UserError, match=words):
        npm.wanted(tmp_path)


def test_what_asks_for_the_same_shares(tmp_path: Path) -> None:
    asked = {"dependencies": {"express": "^4"}}
    first = name(tmp_path, asked)
    assert name(tmp_path, asked | {"version": "2.0.0", "scripts": {"start": "x"}}, "b" * 64) == first
    assert name(tmp_path, asked, node=NODE._replace(version="22.9.9")) == first


def test_what_asks_for_something_else_does_not(tmp_path: Path) -> None:
    asked = {"dependencies": {"express": "^4"}}
    names = [
        name(tmp_path, asked),
        name(tmp_path, {"dependencies": {"express": "^5"}}),
        name(tmp_path, asked | {"optionalDependencies": {"x": "1"}}),
        name(tmp_path, asked | {"overrides": {"x": "1"}}),
        name(tmp_path, asked, node=NODE._replace(version="24.0.0")),
    ]
    (tmp_path / "package-lock.json").write_text("{}")
    names.append(name(tmp_path, asked))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("spec", ["file:lib", "./lib", "../lib", "/lib", "link:lib", "~/lib", "workspace:*"])
def test_what_is_in_the_bundle_is_installed_for_each_version(spec: str, tmp_path: Path) -> None:
    asked = {"dependencies": {"lib": spec}}
    assert name(tmp_path, asked) != name(tmp_path, asked, "b" * 64)


@pytest.mark.parametrize("spec", ["^1.0.0", "latest", "github:a/b", "https://example.org/x.tgz", "npm:other@1", ""])
def test_what_comes_from_elsewhere_is_installed_once(spec: str, tmp_path: Path) -> None:
    asked = {"dependencies": {"lib": spec}}
    assert name(tmp_path, asked) == name(tmp_path, asked, "b" * 64)

"""Which requirements give each version of a bundle an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.environments import _environment_name
from worker.installing import is_passed_on


def is_shared(folder: Path, text: str) -> bool:
    """Whether two versions of a bundle with these requirements have one environment."""
    file = folder / "requirements.txt"
    file.write_text(text)
    return _environment_name(file, "a" * 64) == _environment_name(file, "b" * 64)


@pytest.mark.parametrize(
    "line",
    [
        "wheels/x-1.0-py3-none-any.whl",
        "x-1.0-py3-none-any.whl",
        "x-1.0.tar.gz ; python_version > '3'",
        "x-1.0.whl[extra]  # as on https://example.org/x",
        "libs/foo",
        "libs/foo[extra]",
        "./foo",
        ".",
        "/opt/wheels/x.whl",
        "-r more.txt",
        "--find-links wheels",
        "foo @ file:wheels/x.whl",
    ],
)
def test_what_names_a_file_of_the_bundle_is_installed_for_each_version(line: str, tmp_path: Path) -> None:
    assert not is_shared(tmp_path, f"six\n{line}\n")


@pytest.mark.parametrize(
    "line", ["six", "six[a,b]>=1.0,!=1.5 ; python_version > '3'", "x @ https://example.org/x-1.0.whl", "# libs/foo"]
)
def test_what_comes_from_an_index_is_installed_once(line: str, tmp_path: Path) -> None:
    assert is_shared(tmp_path, f"six\n{line}\n")


def test_an_installer_gets_of_our_environment_what_it_needs_alone() -> None:
    needed = ["PATH", "HOME", "PIP_INDEX_URL", "npm_config_registry", "NPM_CONFIG_CACHE", "https_proxy", "NO_PROXY"]
    others = ["LIQUEFY_REDIS", "REDIS_URL", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "SSH_AUTH_SOCK", "MY_PIP_TOKEN"]
    assert [name for name in needed + others if is_passed_on(name)] == needed

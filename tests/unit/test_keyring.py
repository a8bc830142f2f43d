"""Folders of keys: who may write to them, the password of Redis in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from liquefy import keyring
from liquefy.errors import UserError
from liquefy.redis_wire import Address


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_else_writes_to_a_folder_of_keys(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        keyring.create(tmp_path / "above" / "keys")
        keyring.create_redis_password(tmp_path / "above" / "keys")
        keyring.add(tmp_path / "above" / "keys", "worker", "rack2")
    finally:
        os.umask(before)
    made = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "above").rglob("*")}
    made[tmp_path / "above"] = stat.S_IMODE((tmp_path / "above").stat().st_mode)
    folders = {mode for path, mode in made.items() if path.is_dir()}
    assert folders == {0o755 & ~umask}
    assert {mode for path, mode in made.items() if path.is_file()} == {0o600, 0o644}
    assert {mode for path, mode in made.items() if path.name == "allowed"} == {0o644}


def test_roles_that_use_redis_have_its_password_from_their_keys(tmp_path: Path) -> None:
    keyring.create_redis_password(tmp_path)
    made = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    roles = {f"{role}/redis.password" for role in ("controller", "worker", "gateway")}
    assert made.keys() == {"redis/redis.conf", *roles}, "the broker has no business with it"
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.values()} == {0o600}
    first = made["worker/redis.password"].read_text().strip()
    assert keyring.redis_url("redis://h:1/0", str(tmp_path / "worker"), "worker") == f"redis://:{first}@h:1/0"
    assert keyring.redis_url("redis://h:1/0", str(tmp_path), "gateway") == f"redis://:{first}@h:1/0"
    keyring.create_redis_password(tmp_path)
    assert made["worker/redis.password"].read_text().strip() == first, "it is made once"
    keyring.forget_redis_password(tmp_path)
    assert keyring.redis_url("redis://h:1/0", str(tmp_path / "worker"), "worker") == "redis://h:1/0"


@pytest.mark.parametrize("password", ["plain", "a@b:c/d%20?#[]", "qu\"ote\\ and space", "\u00e4,\u20ac"])
def test_any_password_may_be_given(tmp_path: Path, password: str) -> None:
    keyring.create_redis_password(tmp_path, password)
    folder = str(tmp_path / "worker")
    for url in ("redis://h:1/0", "unix:///tmp/x.sock?db=0"):
        found = Address(keyring.redis_url(url, folder, "worker"))
        assert found.credentials == (password,)
        assert found.name == Address(url).name
    several = keyring.redis_url("redis://h:1/0,redis://i:2/0", folder, "worker").split(",")
    assert [Address(each).credentials for each in several] == [(password,)] * 2
    assert keyring.redis_url("redis+cluster://h:1,i:2", folder, "worker").endswith("@h:1,i:2")
    assert keyring.redis_url("redis://:own@h:1/0", folder, "worker") == "redis://:own@h:1/0"


def test_what_no_file_of_redis_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be printed"):
        keyring.create_redis_password(tmp_path, "a\nmaxmemory 1")

"""A node with keys runs nothing that nobody vouches for, whatever is on its disk already."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from liquefy import bundle, keyring, signing
from liquefy.errors import UserError
from liquefy.keyring import Keyring
from worker import environments
from worker.vouching import Vouching

RUN = signing.function("python", "code:run")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    keyring.create(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def code(tmp_path: Path) -> bytes:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/code.py").write_text("def run(message): ...\n")
    return bundle.build(tmp_path / "app")


def prepare(data: Path, content: bytes, vouching: Vouching) -> Path:
    async def fetch(_: str) -> bytes:
        return content

    return asyncio.run(environments.prepare(data, bundle.digest(content), fetch, vouching=vouching)).folder


def node(keys: Path) -> Vouching:
    return Vouching(Keyring(keys / "worker", "worker"))


def test_signed_code_is_unpacked_and_may_run(keys: Path, code: bytes, tmp_path: Path) -> None:
    signed = signing.sign(code, [RUN], keyring.own_key(keys, "deployer", keyring.read_list(keys)).secret)
    vouching = node(keys)
    assert (prepare(tmp_path / "data", signed, vouching) / "code.py").is_file()
    assert vouching.problem(bundle.digest(signed), [RUN]) == ""
    assert "os:system" in vouching.problem(bundle.digest(signed), ["python os:system"])
    keyring.revoke(keys, "deployer")
    assert "revoked" in vouching.problem(bundle.digest(signed), [RUN])
    with pytest.raises(UserError, match="revoked"):
        prepare(tmp_path / "data", signed, vouching)


def test_unsigned_code_that_lies_there_already_is_refused(keys: Path, code: bytes, tmp_path: Path) -> None:
    assert (prepare(tmp_path / "data", code, Vouching(None)) / "code.py").is_file()
    with pytest.raises(UserError, match="not signed"):
        prepare(tmp_path / "data", code, node(keys))


def test_what_users_code_left_where_signed_code_was_is_not_run(keys: Path, code: bytes, tmp_path: Path) -> None:
    signed = signing.sign(code, [RUN], keyring.own_key(keys, "deployer", keyring.read_list(keys)).secret)
    folder = prepare(tmp_path / "data", signed, node(keys))
    (folder / "code.py").write_text("import os  # signed by nobody\n")
    (folder / "json.py").touch()
    again = prepare(tmp_path / "data", signed, node(keys))
    assert [path.name for path in again.iterdir()] == ["code.py"]
    assert (again / "code.py").read_text() == "def run(message): ...\n"


def test_nothing_of_unsigned_code_is_unpacked(keys: Path, code: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not signed"):
        prepare(tmp_path / "data", code, node(keys))
    assert not list((tmp_path / "data").rglob("*.py"))


def test_without_keys_signed_code_runs_as_any(keys: Path, code: bytes, tmp_path: Path) -> None:
    signed = signing.sign(code, [RUN], signing.new_secret())
    assert (prepare(tmp_path / "data", signed, Vouching(None)) / "code.py").is_file()


def test_a_folder_of_keys_says_what_is_wrong_with_it(keys: Path, tmp_path: Path) -> None:
    (keys / "worker/worker.key").chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        node(keys)
    (keys / "worker/worker.key").unlink()
    with pytest.raises(UserError, match="keys add worker"):
        node(keys)
    with pytest.raises(UserError, match="keys init"):
        Keyring(tmp_path / "none", "worker")
    with pytest.raises(UserError, match="folder of one role"):
        keyring.add(keys / "worker", "worker", "more")


def test_names_are_given_once_and_a_public_key_needs_no_secret(keys: Path) -> None:
    made = keyring.add(keys, "worker", "far", public="ab" * 32)
    assert made.public == "ab" * 32
    assert not (keys / "worker/far.key").exists()
    keyring.revoke(keys, "far")
    for name, text in (("far", "was revoked"), ("gateway", "is there already"), ("a b", "is no name")):
        with pytest.raises(UserError, match=text):
            keyring.add(keys, "worker", name)
    with pytest.raises(UserError, match="no key nobody"):
        keyring.revoke(keys, "nobody")
    assert keyring.create(keys) is False
    texts = {(keys / role / "allowed").read_text() for role in (".", *("worker", "broker", "operator", "deployer"))}
    assert len(texts) == 1

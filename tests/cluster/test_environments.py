"""Bundles fetched once, checked, and what they require installed once."""

import asyncio
import json
import subprocess
import zipfile

import pytest

from liquefy import bundle, nodejs
from liquefy.errors import UserError
from worker.environments import prepare


class Store:
    def __init__(self, *bundles):
        self.bundles = {bundle.digest(b): b for b in bundles}
        self.asked = 0

    async def fetch(self, digest):
        self.asked += 1
        await asyncio.sleep(0)
        return self.bundles.get(digest)


def bundle_of(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return bundle.build(folder)


def wheel(folder, name):
    """A wheel made by hand, so that pip has something to install without an index."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{name}.py", "VALUE = 42\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


def test_a_bundle_is_fetched_once(tmp_path):
    data = bundle_of(tmp_path / "source", a__py="x = 1")
    store = Store(data)

    async def twice_at_once():
        both = await asyncio.gather(
            *(prepare(tmp_path / "node", bundle.digest(data), store.fetch) for _ in "12")
        )
        return [*both, await prepare(tmp_path / "node", bundle.digest(data), store.fetch)]

    prepared = asyncio.run(twice_at_once())
    assert store.asked == 1
    assert prepared[0] == prepared[1] == prepared[2]
    assert (prepared[0].folder / "a.py").read_text() == "x = 1"
    assert prepared[0].folder.is_absolute()
    assert prepared[0].site is None


def test_a_bundle_that_is_nowhere_or_damaged_is_an_error(tmp_path):
    async def damaged(digest):
        return b"something else"

    for fetch, words in ((Store().fetch, "not in the store"), (damaged, "damaged")):
        with pytest.raises(UserError, match=words):
            asyncio.run(prepare(tmp_path / "node", "0" * 64, fetch))
    assert not list(tmp_path.rglob("*"))


def test_requirements_are_installed_once(tmp_path):
    name = wheel(tmp_path, "liquid_example").as_uri()
    one = bundle_of(tmp_path / "one", requirements__txt=f"liquid_example @ {name}\n")
    store = Store(one)
    first = asyncio.run(prepare(tmp_path / "node", bundle.digest(one), store.fetch))
    assert (first.site / "liquid_example.py").read_text() == "VALUE = 42\n"
    (first.site / "mark").touch()
    again = asyncio.run(prepare(tmp_path / "node", bundle.digest(one), store.fetch))
    assert again == first
    assert (again.site / "mark").exists()
    assert [p.name for p in (tmp_path / "node" / "environments").iterdir()] == [first.site.name]


def test_requirements_without_a_requirement_need_nothing(tmp_path):
    data = bundle_of(tmp_path / "source", requirements__txt="# nothing yet\n\n")
    assert asyncio.run(prepare(tmp_path / "node", bundle.digest(data), Store(data).fetch)).site is None


@pytest.mark.parametrize(
    ("lines", "install_ms", "words"),
    [
        (
            "--no-index\nno-such-package-at-all==1\n",
            60_000,
            ["pip ended with code 1", "no-such-package-at-all"],
        ),
        ("--no-index\nno-such-package-at-all==1\n", 1, ["pip was not done after 0.001 s"]),
    ],
)
def test_what_cannot_be_installed_says_why_and_leaves_nothing(tmp_path, lines, install_ms, words):
    data = bundle_of(tmp_path / "source", requirements__txt=lines)
    with pytest.raises(UserError) as raised:
        asyncio.run(prepare(tmp_path / "node", bundle.digest(data), Store(data).fetch, install_ms))
    assert all(word in str(raised.value) for word in words), raised.value
    assert list((tmp_path / "node" / "environments").iterdir()) == []


# -- packages of JavaScript ------------------------------------------------------------------------------------


def package(folder, lock=None, **more):
    """A bundle whose package.json asks for what it brings along: npm needs no registry for it."""
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "package.json").write_text('{"name": "local", "version": "1.0.0"}')
    (folder / "local" / "index.js").write_text("module.exports = 42;")
    asked = {"name": "x", "version": "1.0.0", "dependencies": {"local": "file:local"}, **more}
    (folder / "package.json").write_text(json.dumps(asked))
    if lock:
        (folder / "package-lock.json").write_text(json.dumps(lock))
    return bundle.build(folder)


def installed(tmp_path, data, install_ms=120_000):
    digest = bundle.digest(data)
    return asyncio.run(prepare(tmp_path / "node", digest, Store(data).fetch, install_ms, "javascript"))


def test_packages_are_installed_without_scripts_of_the_bundle_and_found(tmp_path):
    data = package(tmp_path / "source", scripts={"install": "exit 1", "prepare": "exit 1"})
    prepared = installed(tmp_path, data)
    assert prepared.site is None
    command = [str(nodejs.find().node), "-p", "require('local')"]
    done = subprocess.run(command, cwd=prepared.folder, capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"
    assert installed(tmp_path, data) == prepared


def test_a_lock_that_does_not_fit_is_gone_by_as_far_as_it_goes(tmp_path):
    lock = {"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "x"}}}
    prepared = installed(tmp_path, package(tmp_path / "source", lock))
    assert (prepared.folder / "node_modules" / "local" / "index.js").exists()


@pytest.mark.parametrize(
    ("more", "install_ms", "words"),
    [
        ({"dependencies": {"no such name": "1"}}, 120_000, "npm ended with code"),
        ({}, 20, "not done after 0.02 s"),
    ],
)
def test_packages_that_cannot_be_had_are_told(tmp_path, more, install_ms, words):
    data = package(tmp_path / "source", **more)
    with pytest.raises(UserError, match=words) as raised:
        installed(tmp_path, data, install_ms)
    assert str(raised.value).startswith("package.json of the bundle cannot be installed")
    assert "remedy" in str(raised.value)
    assert not (tmp_path / "node" / "environments").exists() or not any((tmp_path / "node" / "environments").iterdir())

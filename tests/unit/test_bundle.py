"""Bundles: the same files give the same bytes, and unpacking one does no harm."""

import gzip
import io
import os
import tarfile

import pytest

from liquefy import bundle
from liquefy.errors import UserError


def make(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_built_is_unpacked(tmp_path):
    source = tmp_path / "source"
    make(source, a="1", b__c="2", b__d__e="3")
    (source / "run.sh").write_text("#!/bin/sh")
    (source / "run.sh").chmod(0o755)
    bundle.unpack(bundle.build(source), tmp_path / "x" / "target")
    assert contents(tmp_path / "x" / "target") == contents(source)
    assert os.access(tmp_path / "x" / "target" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "x" / "target" / "a", os.X_OK)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["target"]


def test_the_same_files_give_the_same_bytes(tmp_path):
    make(tmp_path / "one", a="1", b__c="2")
    make(tmp_path / "two", b__c="2", a="1")
    os.utime(tmp_path / "two" / "a", (1, 1))
    (tmp_path / "two" / "a").chmod(0o600)
    one, two = bundle.build(tmp_path / "one"), bundle.build(tmp_path / "two")
    assert one == two
    assert one[4:8] == bytes(4), "the time in the gzip header"
    assert bundle.digest(one) == bundle.digest(two)
    make(tmp_path / "two", a="2")
    assert bundle.digest(bundle.build(tmp_path / "two")) != bundle.digest(one)


def test_what_is_no_code_is_left_out(tmp_path):
    source = tmp_path / "source"
    make(source, a="1", x__y="2")
    make(
        source, **{".git__x": "", "__pycache__/x": "", ".venv__x": "", "node_modules__x": "", "x__b.pyc": ""}
    )
    (source / "__pycache__").mkdir(exist_ok=True)
    (source / "__pycache__" / "z").write_text("")
    (tmp_path / "outside").write_text("secret")
    (source / "link_out").symlink_to(tmp_path / "outside")
    (source / "link_in").symlink_to(source / "a")
    (source / "broken").symlink_to(source / "nowhere")
    os.mkfifo(source / "pipe")
    bundle.unpack(bundle.build(source), tmp_path / "target")
    assert contents(tmp_path / "target") == {"a": b"1", "x/y": b"2", "link_in": b"1"}
    assert not (tmp_path / "target" / "link_in").is_symlink()


def test_limits_name_the_biggest_files(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "BUNDLE_BYTES_MAX", 1024)
    make(tmp_path, small="x", big="x" * 2048)
    with pytest.raises(UserError, match=r"the biggest: big \(0.0 MiB\), small"):
        bundle.build(tmp_path)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    make(tmp_path / "source", a="", b="", c="")
    packed = bundle.build(tmp_path / "source")
    monkeypatch.setattr(bundle, "BUNDLE_FILES_MAX", 2)
    with pytest.raises(UserError, match="3 files"):
        bundle.build(tmp_path / "source")
    with pytest.raises(UserError, match="larger than a bundle may be"):
        bundle.unpack(packed, tmp_path / "target")


@pytest.mark.parametrize("make_it", [lambda p: p.mkdir(), lambda p: p.write_text(""), lambda p: None])
def test_nothing_to_build_is_an_error(tmp_path, make_it):
    make_it(tmp_path / "source")
    with pytest.raises(UserError, match=r"no files to deploy|not a folder"):
        bundle.build(tmp_path / "source")


def test_unpacking_where_it_is_already_does_nothing(tmp_path):
    make(tmp_path / "source", a="1")
    make(tmp_path / "target", mine="kept")
    bundle.unpack(bundle.build(tmp_path / "source"), tmp_path / "target")
    assert contents(tmp_path / "target") == {"mine": b"kept"}


def test_unpacking_twice_at_once_leaves_one(tmp_path, monkeypatch):
    make(tmp_path / "source", a="1")
    packed = bundle.build(tmp_path / "source")
    extract = bundle._extract

    def extract_and_be_overtaken(data, folder):
        monkeypatch.setattr(bundle, "_extract", extract)
        bundle.unpack(packed, tmp_path / "x" / "target")
        extract(data, folder)

    monkeypatch.setattr(bundle, "_extract", extract_and_be_overtaken)
    bundle.unpack(packed, tmp_path / "x" / "target")
    assert contents(tmp_path / "x") == {"target/a": b"1"}


def tar_of(*entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.linkname = content if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            entry.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(content.encode()))
    return raw.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tar_of(("../out", tarfile.REGTYPE, "x")), "leads out"),
        (tar_of(("a/../../out", tarfile.REGTYPE, "x")), "leads out"),
        (tar_of(("/proc/out", tarfile.REGTYPE, "x")), "leads out"),
        (tar_of(("link", tarfile.SYMTYPE, "/etc")), "neither a file nor a folder"),
        (tar_of(("a", tarfile.REGTYPE, "x"), ("hard", tarfile.LNKTYPE, "a")), "neither a file nor a folder"),
        (tar_of(("device", tarfile.CHRTYPE, "")), "neither a file nor a folder"),
        (tar_of(("a", tarfile.REGTYPE, "x"), ("a", tarfile.REGTYPE, "y")), "cannot be unpacked"),
        (tar_of(("a", tarfile.REGTYPE, "x"), ("a/b", tarfile.REGTYPE, "y")), "cannot be unpacked"),
        (tar_of(("a" * 300, tarfile.REGTYPE, "x")), "cannot be unpacked"),
        (b"", "cannot be unpacked"),
        (b"not a gzip", "cannot be unpacked"),
        (gzip.compress(b"not a tar" * 100), "cannot be unpacked"),
        (tar_of(("a", tarfile.REGTYPE, "x" * 100_000))[:-40], "cannot be unpacked"),
    ],
)
def test_a_bundle_that_cannot_be_trusted_leaves_nothing(tmp_path, data, words):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=words):
        bundle.unpack(data, tmp_path / "x" / "target")
    assert list(tmp_path.rglob("*")) == [tmp_path / "x"]


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X", b"S"]
)
def test_a_long_word_about_a_file_is_not_read(tmp_path, monkeypatch, kind):
    said = tarfile.TarInfo("././@LongLink")
    said.type, said.size = kind, 64 * 1024 * 1024
    data = gzip.compress(said.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    asked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size: asked.append(size) or read(self, size))
    with pytest.raises(UserError, match=r"longer than it may be|neither a file"):
        bundle.unpack(data, tmp_path / "target")
    assert asked == [tarfile.BLOCKSIZE]
    assert list(tmp_path.iterdir()) == []


def entry_of(name, kind=tarfile.REGTYPE, size=0, words=()):
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.pax_headers = kind, size, dict(words)
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + bytes(size + -size % 512)


def archive_of(*entries):
    return gzip.compress(b"".join(entries) + bytes(1024), compresslevel=1)


def sized(entry, size):
    """The same header with these 12 bytes for its size, and a sum that is right."""
    block = bytearray(entry)
    block[124:136], block[148:156] = size, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


NEGATIVE = (-(10**12)).to_bytes(12, "big", signed=True)
"""As GNU's tar writes a number."""

SPARSE = {"GNU.sparse.size": "-1000000000000", "GNU.sparse.map": "", "GNU.sparse.numblocks": "0"}
SPARSE_1 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "b", "GNU.sparse.realsize": "5"}

SAID = {
    "a negative size of a folder": (entry_of("a", tarfile.DIRTYPE, words={"size": "-1000000000000"}), "says more"),
    "a size of a folder": (entry_of("a", tarfile.DIRTYPE, words={"size": "5"}), "says more"),
    "a time": (entry_of("a", words={"mtime": "nan"}), "says more"),
    "a path and more": (entry_of("a", words={"path": "b", "ctime": "1"}), "says more"),
    "a hole": (entry_of("a", words=SPARSE), "says more"),
    "another hole": (entry_of("a", words=SPARSE_1), "says more"),
    "words about words": (entry_of("a", words={"path": "b"})[:1024] * 2_000 + entry_of("a"), "says more"),
    "words about all files": (entry_of("x", tarfile.XGLTYPE), "neither a file"),
    "a length that is not": (entry_of("a", words={"path": "bb"}).replace(b"11 path=", b"12 path="), "says more"),
    "a size in a folder's header": (sized(entry_of("a", tarfile.DIRTYPE), b"00000000005\0"), "has a size"),
    "a negative size in a header": (sized(entry_of("a"), NEGATIVE), "longer than it may be, or shorter"),
    "a negative size of words": (sized(entry_of("a", words={"path": "b"}), NEGATIVE), "longer than it may be, or"),
    "a long name of GNU's": (entry_of("x", tarfile.GNUTYPE_LONGNAME, 512) + entry_of("a"), "neither a file"),
}


@pytest.mark.parametrize("what", SAID)
def test_an_archive_that_says_more_than_a_bundle_does_is_refused(tmp_path, what):
    entry, words = SAID[what]
    with pytest.raises(UserError, match=words):
        bundle.unpack(archive_of(entry, entry_of("z")), tmp_path / "x" / "target")
    assert list(tmp_path.rglob("*")) == [tmp_path / "x"]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize(
    ("path", "words"),
    [("a/" * 1900 + "x", "longer than 1024 bytes"), ("a/" * 65 + "x", "64 folders deep"), ("é" * 513, "longer than")],
)
def test_a_path_that_is_too_long_or_deep_is_refused_before_anything_is_made(tmp_path, path, kind, words):
    with pytest.raises(UserError, match=words):
        bundle.unpack(archive_of(entry_of(path, kind)), tmp_path / "x" / "target")
    assert list(tmp_path.rglob("*")) == [tmp_path / "x"]


def test_a_path_may_be_as_deep_as_the_limit_and_not_of_ascii(tmp_path):
    deep = "é/" * bundle.PATH_DEPTH_MAX + "ü"
    odd = "x\udcff"  # a name that is no UTF-8
    for name in (deep, odd):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text("1")
    bundle.unpack(bundle.build(tmp_path / "source"), tmp_path / "target")
    assert contents(tmp_path / "target") == {deep: b"1", odd: b"1"}


def test_a_path_that_would_be_refused_is_not_deployed(tmp_path):
    file = tmp_path / ("a/" * (bundle.PATH_DEPTH_MAX + 1) + "x")
    file.parent.mkdir(parents=True)
    file.write_text("1")
    with pytest.raises(UserError, match=r"64 folders deep.*\n  remedy"):
        bundle.build(tmp_path)


def test_what_follows_the_end_of_an_archive_is_refused(tmp_path):
    end = gzip.compress(entry_of("a") + bytes(1024) + entry_of("b"))
    endless = gzip.compress(entry_of("a") + bytes(10_000_000))
    cut = gzip.compress(entry_of("a"))
    for data in (end, endless, cut):
        with pytest.raises(UserError, match="cannot be unpacked"):
            bundle.unpack(data, tmp_path / "target")


def test_more_than_the_limit_is_not_unpacked(tmp_path, monkeypatch):
    data = tar_of(("a", tarfile.REGTYPE, "0" * 5000), ("b", tarfile.REGTYPE, "0" * 6000))
    monkeypatch.setattr(bundle, "BUNDLE_BYTES_MAX", 10_000)
    with pytest.raises(UserError, match="larger than a bundle may be"):
        bundle.unpack(data, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []

"""What a host cannot reach, in a process of its own: each try is told to the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from liquefy import confine, launch
from worker import service
from worker.service import secret_files
from worker.supervisor import launched, passed_on

TRIES = """
import json, os, resource, signal, sys
def tried(name, call):
    try:
        told[name] = call() and "yes" or "yes"
    except Exception as error:
        told[name] = type(error).__name__
folder, parent = sys.argv[1], int(sys.argv[2])
told = {}
tried("secret", lambda: open(f"{folder}/keys/worker.key").read())
tried("replace", lambda: os.replace(f"{folder}/beside/mine", f"{folder}/keys/worker.key"))
tried("delete", lambda: os.remove(f"{folder}/keys/worker.key"))
tried("around", lambda: open(f"/proc/{parent}/root{folder}/keys/worker.key").read())
tried("link", lambda: (os.symlink(f"{folder}/keys", f"{folder}/beside/way"), open(f"{folder}/beside/way/worker.key")))
tried("environment", lambda: open(f"/proc/{parent}/environ").read())
tried("memory", lambda: open(f"/proc/{parent}/mem", "rb"))
tried("files", lambda: os.listdir(f"/proc/{parent}/fd") and open(f"/proc/{parent}/fd/{sys.argv[3]}"))
tried("signal", lambda: os.kill(parent, 0))
def limited(pid, which=resource.RLIMIT_CPU):
    resource.prlimit(pid, which, resource.prlimit(pid, which))
tried("limits", lambda: limited(parent))
tried("limits told", lambda: resource.prlimit(parent, resource.RLIMIT_CPU))
tried("processors", lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)))
tried("scheduling", lambda: os.sched_setscheduler(parent, os.SCHED_OTHER, os.sched_param(0)))
tried("priority", lambda: os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)))
tried("priority of a user", lambda: os.setpriority(os.PRIO_USER, 2**31 - 2, 19))
tried("priority of a group", lambda: os.setpriority(os.PRIO_PGRP, os.getpgid(parent), 0))
tried("own", lambda: (limited(0), limited(os.getpid()), os.sched_setaffinity(0, os.sched_getaffinity(0)), os.nice(1)))
tried("own child's", lambda: __import__("subprocess").run(["/bin/sh", "-c", "ulimit -t 9; nice -n 1 true"], check=True))
tried("inherited", lambda: os.fstat(int(sys.argv[3])))
tried("beside", lambda: open(f"{folder}/beside/file", "w").write("x"))
tried("move", lambda: (os.mkdir(f"{folder}/beside/d"), os.rename(f"{folder}/beside/file", f"{folder}/beside/d/file")))
tried("temporary", lambda: __import__("tempfile").TemporaryFile().write(b"x"))
tried("child", lambda: __import__("subprocess").run(["/bin/sh", "-c", "exit 0"], check=True))
tried("many files", lambda: [open("/dev/null") for _ in range(200)])
tried("much memory", lambda: bytearray(600 * 1024 * 1024))
tried("rename", lambda: os.rename(f"{folder}/keys", f"{folder}/kept"))
tried("rename above", lambda: os.rename(folder, f"{folder}2"))
tried("exchange", lambda: os.replace(f"{folder}/beside", f"{folder}/keys"))
tried("new beside", lambda: os.mkdir(f"{folder}/kept"))
tried("device", lambda: os.mknod(f"{folder}/beside/disk", 0o600 | __import__("stat").S_IFBLK, os.makedev(254, 0)))
tried("chroot", lambda: os.chroot(folder))
print(json.dumps(told))
"""


OTHERS = {"limits", "processors", "scheduling", "priority"}
OWN = {"limits told", "own", "own child's"}


def tries(folder: Path, order: str, descriptor: int) -> dict[str, str]:
    parent = str(os.getpid())
    done = subprocess.run(
        [*launched(order), sys.executable, "-c", TRIES, str(folder), parent, str(descriptor)],
        capture_output=True, text=True, timeout=60, pass_fds=[descriptor],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("keys/worker.key", "beside/mine"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("secret")
    return tmp_path


@pytest.mark.skipif(not confine.can_hide(), reason="this kernel has no Landlock")
def test_keys_environment_memory_and_files_of_the_worker_are_out_of_reach(folder: Path) -> None:
    with (folder / "keys/worker.key").open() as opened:
        order = confine.order(512 * 1024 * 1024, 100, [str(folder / "keys")])
        told = tries(folder, order, opened.fileno())
    may = {name for name, what in told.items() if what == "yes"}
    assert may == {"beside", "move", "temporary", "child", *(OWN if confine.can_filter() else OTHERS | OWN)}, told
    assert (folder / "keys/worker.key").read_text() == "secret"


@pytest.mark.skipif(not confine.can_hide(), reason="this kernel has no Landlock")
def test_what_was_hidden_and_is_elsewhere_now_lets_nothing_start(folder: Path) -> None:
    hidden = [str(folder / "keys"), str(folder / "settings"), str(folder / "absent")]
    (folder / "settings").touch()
    command = [*launched(confine.order(hidden=hidden, known=confine.look(hidden))), sys.executable, "-c", "print(1)"]

    def started() -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == (0 if done.stdout == "1\n" else 1)
        return done.stderr

    (folder / "new").touch()
    (folder / "new").replace(folder / "settings")
    assert started() == "", "files are replaced by those whose they are"
    (folder / "keys").rename(folder / "kept")
    assert f"{folder}/keys is to be hidden from users' code, and cannot be found" in started()
    (folder / "keys").mkdir()
    assert "is another folder than when this node started\n  remedy: put it back" in started()
    (folder / "keys").rmdir()
    (folder / "kept").rename(folder / "keys")
    assert started() == ""


WRITES = """
import json, os, sys
def tried(path):
    try:
        open(path, "w").close()
        return "yes"
    except OSError as error:
        return type(error).__name__
print(json.dumps({path: tried(path) for path in sys.argv[1:]}))
"""


@pytest.mark.skipif(not confine.can_hide(), reason="this kernel has no Landlock")
def test_what_may_be_written_to_is_a_list(tmp_path: Path) -> None:
    for name in ("own/venv", "own/keys", "own/deeper", "beside"):
        (tmp_path / name).mkdir(parents=True)
    at = lambda *names: [str(tmp_path / name) for name in names]  # noqa: E731
    order = confine.order(
        hidden=at("own/keys"), readonly=["/", *at("own/venv")], writable=[*at("own", "own/keys"), *confine.DEVICES]
    )
    paths = [*at("own/deeper/a", "own/a", "own/venv/a", "own/keys/a", "beside/a", "a"), "/dev/null", "/dev/stdout"]
    done = subprocess.run(
        [*launched(order), sys.executable, "-c", WRITES, *paths], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    may = [path for path, what in json.loads(done.stdout).items() if what == "yes"]
    assert may == [*at("own/deeper/a"), "/dev/null", "/dev/stdout"]


def test_a_host_is_not_to_write_to_our_own_code() -> None:
    for path in (launch.__file__, sys.executable, service.__file__):
        folder = Path(path).parent.resolve()
        assert any(folder.is_relative_to(code) for code in service.CODE), path


CHANGES = """
import json, os, sys
from pathlib import Path
def tried(name, call):
    try:
        call(); told[name] = "yes"
    except OSError as error:
        told[name] = type(error).__name__
data, told = Path(sys.argv[1]), {}
code, other = data / "bundles/a", data / "services/s/files"
tried("read", lambda: (code / "a.py").read_text())
tried("write", lambda: (code / "a.py").write_text("x"))
tried("append", lambda: (code / "a.py").open("a"))
tried("new file", lambda: (code / "json.py").touch())
tried("new link", lambda: (code / "json.py").symlink_to(other / "mine"))
tried("hard link", lambda: os.link(other / "mine", code / "json.py"))
tried("new folder", lambda: (code / "json").mkdir())
tried("replace", lambda: os.replace(other / "mine", code / "a.py"))
tried("move away", lambda: os.rename(code, data / "bundles/b"))
tried("whole", lambda: os.rename(data, data.with_name("elsewhere")))
tried("delete", lambda: (code / "a.py").unlink())
tried("own file", lambda: (other / "new").write_text("x"))
tried("beside", lambda: (data.parent / "beside/new").write_text("x"))
print(json.dumps(told))
"""


@pytest.mark.skipif(not confine.can_hide(), reason="this kernel has no Landlock")
def test_what_a_node_unpacked_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("data/bundles/a/a.py", "data/services/s/files/mine", "beside/file"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("signed")
    data = tmp_path / "data"
    order = confine.order(readonly=[str(data)], writable=[str(data / "services/s/files")])
    command = [*launched(order), sys.executable, "-c", CHANGES, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name for name, what in told.items() if what == "yes"} == {"read", "own file", "beside"}, told
    assert [path.name for path in (data / "bundles/a").iterdir()] == ["a.py"]


def test_without_secrets_there_are_limits_alone(folder: Path) -> None:
    with (folder / "beside/mine").open() as opened:
        told = tries(folder, confine.order(0, 100), opened.fileno())
    assert told["secret"] == told["beside"] == told["much memory"] == "yes"
    assert told["inherited"] == told["many files"] == "OSError"


@pytest.mark.skipif(not confine.can_keep_signals(), reason="this kernel's Landlock knows no signals")
def test_without_secrets_too_no_signal_ends_the_worker(folder: Path) -> None:
    with (folder / "beside/mine").open() as opened:
        told = tries(folder, confine.order(), opened.fileno())
    assert told["signal"] == "PermissionError"
    assert told["child"] == told["temporary"] == told["beside"] == told["move"] == "yes"


@pytest.mark.skipif(not confine.can_filter(), reason="this kernel has no filter of calls")
def test_without_secrets_too_limits_processors_and_priorities_are_its_own(folder: Path) -> None:
    with (folder / "beside/mine").open() as opened:
        told = tries(folder, confine.order(), opened.fileno())
    assert {told[name] for name in (*OTHERS, "priority of a user", "priority of a group")} == {"PermissionError"}
    assert {told[name] for name in OWN} == {"yes"}


def test_a_host_of_python_obeys_too(folder: Path) -> None:
    code = "import sys; from liquefy import confine; confine.obey(sys.argv[1]); print(open(sys.argv[2]).read())"
    order = confine.order(hidden=[str(folder / "keys")])
    arguments = [sys.executable, "-c", code, order]
    ok = subprocess.run([*arguments, str(folder / "beside/mine")], capture_output=True, text=True, timeout=60)
    assert ok.stdout == "secret\n"
    if confine.can_hide():
        refused = subprocess.run([*arguments, str(folder / "keys/worker.key")], capture_output=True, timeout=60)
        assert b"PermissionError" in refused.stderr


def test_no_graph_can_ask_for_our_settings() -> None:
    ours = {"PATH": "/bin", "LIQUEFY_REDIS": "redis://:pw@h", "MINE": "1", "OTHER": "2"}
    assert passed_on(ours, ["MINE", "LIQUEFY_REDIS", "ABSENT"]) == {"PATH": "/bin", "MINE": "1"}


def test_what_is_secret(tmp_path: Path) -> None:
    (tmp_path / "allowed").touch()
    assert secret_files(str(tmp_path / "worker"), "", {}) == [str(tmp_path)]
    found = secret_files("/keys", "rediss://h/0?key=/tls/key.pem", {"LIQUEFY_CONFIG": "/etc/l.yaml"})
    assert found == ["/keys", "/etc/l.yaml", "/tls/key.pem"]
    assert secret_files("", "redis://h/0", {}) == []
    assert secret_files("", "redis://h/0", {}, "/a,/b/c") == ["/a", "/b/c"]
    assert Path(launch.__file__).parent == Path(confine.__file__).parent

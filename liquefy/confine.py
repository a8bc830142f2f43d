"""What a process that runs users' code gives up, by its own hand, before it runs any: files that are not its business,
looking into its worker, what would end or slow down others, memory and open files without end.

Uses nothing but the standard library: `launch.py` runs it with -I -S. Outside Linux, or where the kernel has neither
Landlock nor seccomp, only the limits are set; `can_hide` and `can_filter` say so beforehand. Landlock takes away what
is not granted, and here all is to be granted but a few paths: so every neighbour of these and of the folders above them
is granted, as it is at that moment. In those very folders nothing can be made, renamed or removed, so that what is
hidden stays where it is; and what others make there later cannot be opened.

What Landlock does not know is refused by a filter of system calls (seccomp): limits, processors and priorities of other
processes. It sees numbers alone, so "other" is whoever is named by another number than 0 and that of the process that
obeyed: threads, and processes that it starts, name themselves by 0.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

ABI_MIN = 2
"""Linux 5.19. The one before it would keep files from being moved from folder to folder."""

SIGNAL_ABI_MIN = 6
"""Linux 6.12. From this one on a process can be kept from signalling others."""

FIRST_CLOSED = 4
"""Descriptors from here on are nothing to a host: it has its output, and the connection to its worker."""

FILES_GUESS = 1 << 20

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _REMOVE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 2, 1 << 5, 1 << 13, 1 << 14
_FILE_RIGHTS = _WRITE_FILE | _READ_FILE | _TRUNCATE
_MAKE = sum(1 << right for right in range(6, 13)) | 1 << 4
"""Files of all kinds and folders; and removing folders."""
_MAKE_DEVICE = 1 << 6 | 1 << 11
"""Granted nowhere: a device of our own making would be a way around it all."""
_SCOPE_SIGNAL = 1 << 1
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 24, 38
_CAPABILITY_VERSION = 0x20080522
_LOOKING = (16, 17, 18, 19, 21, 27, 38)
"""CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_MKNOD, CAP_PERFMON."""

_PROCESS, _IO_PROCESS = 0, 1
"""What `setpriority` and `ioprio_set` call the number of a process."""


class _Numbers(NamedTuple):
    """Of one kind of processor: its name for the filter, the number of the call that sets one, those of calls that
    nobody needs, those that say first which process is meant, and those that say it in their own ways."""

    audit: int
    seccomp: int
    never: tuple[int, ...]
    of_process: tuple[int, ...]
    prlimit: int
    setpriority: int
    ioprio_set: int


# never: ptrace, process_vm_readv, process_vm_writev, pidfd_getfd. of_process: sched_setparam, sched_setscheduler,
# sched_setaffinity, sched_setattr, migrate_pages, move_pages.
_NUMBERS = {
    "x86_64": _Numbers(0xC000003E, 317, (101, 310, 311, 438), (142, 144, 203, 314, 256, 279), 302, 141, 251),
    "aarch64": _Numbers(0xC00000B7, 277, (117, 270, 271, 438), (118, 119, 122, 274, 238, 239), 261, 140, 30),
}
_X32 = 0x40000000
"""Calls from here on are those of x86_64 under other numbers."""
_SET_FILTER, _SPEC_ALLOW = 1, 4
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_CALL, _AUDIT = 0, 4
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000

DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm"))
"""What any program may expect to write to."""


def order(
    memory_bytes: int = 0,
    files: int = 0,
    hidden: Sequence[str] = (),
    sealed: bool = False,
    readonly: Sequence[str] = (),
    writable: Sequence[str] = (),
    known: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """What `obey` is told, as a word of a command line; 0: no such limit. In any case it can signal none but those that
    it starts, and set no limits, processors and priorities but its own, where the kernel can see to that. `sealed`: nor
    look into any other; so it is with `hidden` and `readonly` paths. `writable`: exceptions below these, but for what
    of them is below it in turn. `known`: as `look` found them; if one was moved, this process ends."""
    limits = {"memory": memory_bytes, "files": files, "sealed": sealed, "known": dict(known or {})}
    return json.dumps({**limits, "hidden": [*hidden], "readonly": [*readonly], "writable": [*writable]})


def look(paths: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Which of these are there: path -> device and inode of a folder; of a file, which others may replace, (0, 0).
    Folders are left open for good: their numbers are not given to others while we run."""
    found = {}
    for path in paths:
        if os.path.isdir(path):
            opened = os.fstat(os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC))
            found[path] = (opened.st_dev, opened.st_ino)
        elif os.path.exists(path):
            found[path] = (0, 0)
    return found


def obey(words: str) -> None:
    """Do so, for this process and all that it starts. To be called before there are threads. Ends this process when
    something that is to be hidden was moved: it would be found where it is now."""
    told = json.loads(words)
    for path, known in told["known"].items():
        _check_in_place(path, known)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(FIRST_CLOSED, most if most != resource.RLIM_INFINITY else FILES_GUESS)
    _limit(resource.RLIMIT_CORE, 0)
    if told["files"]:
        _limit(resource.RLIMIT_NOFILE, told["files"])
    if told["memory"]:
        _limit(resource.RLIMIT_DATA, told["memory"])
    hidden, readonly, writable = ([*map(os.path.realpath, told[what])] for what in ("hidden", "readonly", "writable"))
    if (hidden or readonly or told["sealed"]) and can_hide():
        _hide(hidden, readonly, writable)
    elif can_keep_signals():
        _keep_signals()
    if can_filter():
        _filter_calls()


def _check_in_place(path: str, known: Sequence[int]) -> None:
    try:
        there = os.stat(path)
    except OSError as error:
        why = f"cannot be found: {error.strerror}"
    else:
        if not any(known) or [there.st_dev, there.st_ino] == [*known]:
            return
        why = "is another folder than when this node started"
    remedy = "put it back; if it was meant, restart the node"
    sys.exit(f"{path} is to be hidden from users' code, and {why}\n  remedy: {remedy}")


def can_hide() -> bool:
    """Whether this kernel lets a process hide files from itself."""
    return _abi() >= ABI_MIN


def can_keep_signals() -> bool:
    """Whether this kernel keeps a process from signalling others."""
    return _abi() >= SIGNAL_ABI_MIN


def can_filter() -> bool:
    """Whether a process can be kept from setting limits, processors and priorities of others."""
    numbers = _numbers()
    if numbers is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # A filter that is nowhere: the kernel says so once it has found that it knows the rest.
    return libc.syscall(numbers.seccomp, _SET_FILTER, _SPEC_ALLOW, None) < 0 and ctypes.get_errno() == errno.EFAULT


def seal() -> None:
    """Nobody of our own user may look into this process: not its memory, nor its environment (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _limit(which: int, most: int) -> None:
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def _abi() -> int:
    if sys.platform != "linux":
        return 0
    return int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


def _hide(hidden: list[str], readonly: list[str], writable: list[str]) -> None:
    """Raises OSError: a process that should have been confined does not go on without."""
    libc, abi = ctypes.CDLL(None, use_errno=True), _abi()
    rights = _READ_FILE | _WRITE_FILE | _REMOVE_FILE | _REFER | (_TRUNCATE if abi >= 3 else 0)
    rights |= _MAKE
    attributes = struct.pack("=QQQ", rights, 0, _SCOPE_SIGNAL) if abi >= SIGNAL_ABI_MIN else struct.pack("=Q", rights)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    granted = [*_granted("/", hidden, readonly)]
    for root in writable:
        if any(f"{root}/".startswith(f"{path}/") for path in hidden):
            continue
        granted += _granted(root, hidden, [path for path in readonly if path.startswith(root.rstrip("/") + "/")])
    for path, whole in granted:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # gone, or nothing that we could open anyway
        mask = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
        mask &= rights & ~_MAKE_DEVICE if whole else _READ_FILE
        # What cannot be granted (a symbolic link) is granted where it leads to.
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", mask, descriptor), 0)
        os.close(descriptor)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _drop_capabilities(libc)
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _keep_signals() -> None:
    """That alone, and no files: who could end its worker could end one after the other, as each gets the message."""
    libc, attributes = ctypes.CDLL(None, use_errno=True), struct.pack("=QQQ", 0, 0, _SCOPE_SIGNAL)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter_calls() -> None:
    numbers, own = _numbers(), os.getpid()
    assert numbers is not None
    program = b"".join(struct.pack("=HBBI", *step) for step in _program(numbers, own))
    kept = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("@HP", len(program) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # Without the flag some kernels slow down all that such a process computes.
    _checked(libc.syscall(numbers.seccomp, _SET_FILTER, _SPEC_ALLOW, told))


def _numbers() -> _Numbers | None:
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return None
    return _NUMBERS.get(os.uname().machine)


_Step = tuple[int, int, int, int]
"""Of the kernel's machine for filters: what to do, how many steps to skip if so and if not, with what."""


def _program(numbers: _Numbers, own: int) -> list[_Step]:
    """For each call some steps that decide on it. `own` is the number of this process."""
    refuse, allow = (_RETURN, 0, 0, _ERROR | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    foreign = (_RETURN, 0, 0, _ERROR | errno.ENOSYS)

    def whose(place: int) -> list[_Step]:
        """Goes on behind itself if another process is meant. The kernel takes the lower half of a number alone."""
        return [(_LOAD, 0, 0, _argument(place)), (_IF_EQUAL, 0, 1, 0), allow, (_IF_EQUAL, 0, 1, own), allow]

    def kind(meant: int) -> list[_Step]:
        return [(_LOAD, 0, 0, _argument(0)), (_IF_EQUAL, 1, 0, meant), refuse, *whose(1), refuse]

    # Limits of others may be read: then there are no new ones, which is an address of zeros.
    halves = [(_LOAD, 0, 0, _argument(2)), (_IF_EQUAL, 1, 0, 0), refuse, (_LOAD, 0, 0, _argument(2) + 4)]
    decided: list[tuple[int, list[_Step]]] = [
        *((call, [refuse]) for call in numbers.never),
        *((call, [*whose(0), refuse]) for call in numbers.of_process),
        (numbers.prlimit, [*whose(0), *halves, (_IF_EQUAL, 1, 0, 0), refuse, allow]),
        (numbers.setpriority, kind(_PROCESS)),
        (numbers.ioprio_set, kind(_IO_PROCESS)),
    ]
    # Calls of another kind of processor that this one runs, too, have other numbers: there are none.
    program: list[_Step] = [(_LOAD, 0, 0, _AUDIT), (_IF_EQUAL, 1, 0, numbers.audit), foreign, (_LOAD, 0, 0, _CALL)]
    program += [(_IF_AT_LEAST, 0, 1, _X32), foreign]
    for call, steps in decided:
        program += [(_IF_EQUAL, 0, len(steps), call), *steps]
    return [*program, allow]


def _argument(place: int) -> int:
    """Where the filter finds the lower half of it."""
    return 16 + 8 * place


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Those of root that look into other processes all the same."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    _checked(libc.capget(header, held))
    sets = list(struct.unpack("=6I", held.raw))
    for capability in _LOOKING:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        for index in range(3):
            sets[3 * (capability // 32) + index] &= ~(1 << capability % 32)
    _checked(libc.capset(header, struct.pack("=6I", *sets)))


def _granted(folder: str, hidden: list[str], readonly: list[str], whole: bool = True) -> Iterator[tuple[str, bool]]:
    """The largest trees from the folder on of which all is granted alike: the `whole`, or else reading."""
    if folder in hidden:
        return
    whole = whole and folder not in readonly
    if not any(path.startswith(folder.rstrip("/") + "/") for path in (*hidden, *(readonly if whole else ()))):
        yield folder, whole
        return
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        yield from _granted(os.path.join(folder, name), hidden, readonly, whole)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"this process cannot be confined: {os.strerror(number)}")
    return result

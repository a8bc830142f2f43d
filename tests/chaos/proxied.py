"""Becomes a role of a cluster that connects through proxies, with a clock and a disk that can go wrong:

    proxied.py KIND --name=NAME ... --broker=ADDRESS --redis=URL,...
    proxied.py redis FOLDER COMMAND...

Where the proxies are is asked of LIQUEFY_CHAOS (see `proxies.py`). With LIQUEFY_CHAOS_CLOCKS, a folder, the process
goes by the clock that the file of its name there has (libfaketime). Redis may write files up to the length that
FOLDER/limit says. Uses the standard library alone, so that little time passes."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import resource
import signal
import socket
import sys

LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"


def main() -> None:
    kind, *words = sys.argv[1:]
    if kind == "redis":
        folder, *command = words
        name = "redis"
        # A write beyond the limit is to fail, as on a full disk, and not to end the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with contextlib.suppress(OSError, ValueError), open(os.path.join(folder, "limit")) as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(file.read()), resource.RLIM_INFINITY))
    else:
        name = next(word.partition("=")[2] for word in words if word.startswith("--name="))
        command = [sys.executable, "-P", "-m", kind, *(redirected(name, kind, word) for word in words)]
    set_clock(name)
    os.execv(command[0], command)


def redirected(name: str, kind: str, word: str) -> str:
    """A flag, with the addresses of proxies in place of those that are meant."""
    flag, _, value = word.partition("=")
    if flag == "--redis" or (flag in ("--broker", "--brokers") and kind != "broker"):
        return f"{flag}={re.sub(r'([0-9.]+):([0-9]+)', lambda m: f'{m[1]}:{proxy(name, m[1], m[2])}', value)}"
    return word


def proxy(name: str, host: str, port: str) -> int:
    with socket.create_connection(("127.0.0.1", int(os.environ["LIQUEFY_CHAOS"]))) as connection:
        connection.sendall(f"{name} {host} {port}\n".encode())
        return int(connection.makefile().readline())


def set_clock(name: str) -> None:
    folder, found = os.environ.get("LIQUEFY_CHAOS_CLOCKS"), glob.glob(LIBRARY)
    if folder and found:
        os.environ |= {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": os.path.join(folder, name),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }


if __name__ == "__main__":
    main()

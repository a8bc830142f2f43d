"""One host process: starts it, carries frames both ways, collects what users' code prints, notices its end.

Does, and decides nothing: what to send, when to start another and what a death means is for `state`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import liquefy
from liquefy import launch
from liquefy.errors import BadFrame
from liquefy.hosting import HOST_FD, FrameReader, FromHost, decode_from_host

RECEIVE_BYTES = 64 * 1024
SOCKET_BUFFER_BYTES = 1024 * 1024

PIPE_READS_MAX = 32
"""How much is still read of the output of a host that ended: more than a pipe holds, and never without
end."""

LINE_BYTES_MAX = 8 * 1024
"""A longer line of output is cut into several."""

LINES_PER_S_MAX = 1_000
"""Lines of output beyond it are dropped, and counted."""

CLOSE_GRACE_S = 0.5
"""How long a host that closed its connection may take to end."""

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""What of the worker's environment users' code sees, besides what its graph asks for by name. Nothing of ours, and
no password of the store."""

OURS = "LIQUEFY_"
"""What no graph can ask for: our settings, with where Redis is and its password."""

NODE_HOST = Path(liquefy.__file__).parent / "node" / "host.mjs"

OnMessage = Callable[[FromHost], None]
OnExit = Callable[[str], None]
OnLog = Callable[[str, str], None]


class HostProcess:
    """A running host. `on_message` gets each message, `on_log` each printed line as (stream, text) with the
    stream "stdout" or "stderr". `on_exit` is called once, after everything the host said and printed, with
    the reason: "exit code 1", "signal 9", "bad frame: ...". All are called from the event loop that it was
    started in."""

    def __init__(
        self, pid: int, connection: socket.socket, outputs: list[_Lines], on: tuple[OnMessage, OnExit]
    ) -> None:
        self.pid = pid
        self._connection = connection
        self._outputs = outputs
        self._on_message, self._on_exit = on
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._unsent: deque[memoryview] = deque()
        self.unsent_bytes = 0
        """Handed to `send`, but not yet taken by the host's socket."""
        self._fault = ""
        self._ended = False
        self._loop.add_reader(connection.fileno(), self._on_readable)
        threading.Thread(target=self._wait, name=f"host {pid}", daemon=True).start()

    @classmethod
    def start(
        cls,
        python: str,
        folder: Path,
        site: Path | None,
        on_message: OnMessage,
        on_exit: OnExit,
        on_log: OnLog,
        wanted: Sequence[str] = (),
        confined: str = "",
    ) -> HostProcess:
        """Start `liquefy.host` on the bundle in `folder`, with the packages of `site` and the `wanted` variables of
        our environment, `confined` by that order. Call it from the main thread: a host ends with the thread that
        started it. Raises OSError if that fails."""
        order = (confined,) if confined else ()
        command = (python, "-P", "-m", "liquefy.host", str(os.getpid()), str(folder.resolve()), *order)
        return cls.spawn(command, environment(os.environ, site, wanted), on_message, on_exit, on_log)

    @classmethod
    def start_node(
        cls,
        node: Path,
        folder: Path,
        on_message: OnMessage,
        on_exit: OnExit,
        on_log: OnLog,
        wanted: Sequence[str] = (),
        confined: str = "",
    ) -> HostProcess:
        """As `start`, for JavaScript: `host.mjs`, run by that Node.js. Its packages are a link in the bundle's folder;
        some look for the service's files from where they are installed, and have to find those of this bundle."""
        command = (*launched(confined), str(node), "--preserve-symlinks", str(NODE_HOST), str(folder.resolve()))
        return cls.spawn(command, passed_on(os.environ, wanted), on_message, on_exit, on_log)

    @classmethod
    def spawn(
        cls,
        command: tuple[str, ...],
        variables: Mapping[str, str],
        on_message: OnMessage,
        on_exit: OnExit,
        on_log: OnLog,
    ) -> HostProcess:
        """Any program that speaks `liquefy.hosting` on descriptor 3. It gets a session of its own, so that
        Ctrl-C in a terminal reaches the supervisor alone, and can be ended with all that it started."""
        ours, theirs = socket.socketpair()
        pipes = [os.pipe(), os.pipe()]
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, pipes[i][1], i + 1) for i in (0, 1)]  # type: ignore[misc]
        actions += [(os.POSIX_SPAWN_DUP2, theirs.fileno(), HOST_FD)]  # type: ignore[list-item]
        try:
            for end in (ours, theirs):
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            pid = os.posix_spawnp(command[0], command, variables, file_actions=actions, setsid=True)
        except OSError:
            ours.close()
            for read_end, _ in pipes:
                os.close(read_end)
            raise
        finally:
            theirs.close()
            for _, write_end in pipes:
                os.close(write_end)
        ours.setblocking(False)
        outputs = [
            _Lines(read_end, name, on_log)
            for (read_end, _), name in zip(pipes, ("stdout", "stderr"), strict=True)
        ]
        return cls(pid, ours, outputs, (on_message, on_exit))

    def send(self, data: bytes) -> None:
        """One or more whole frames. What the socket does not take now is kept (`unsent_bytes`; the caller
        bounds it). After the end it is dropped."""
        if self._ended or self._fault:
            return
        rest = memoryview(data)
        if not self._unsent:
            try:
                rest = rest[self._connection.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return  # it is dying: `on_exit` says how
            if not rest:
                return
            self._loop.add_writer(self._connection.fileno(), self._on_writable)
        self._unsent.append(rest)
        self.unsent_bytes += len(rest)

    def kill(self) -> None:
        """End it now, with everything that it started. `on_exit` follows."""
        if not self._ended:
            _kill_group(self.pid)

    # -- events ----------------------------------------------------------------------------------------------

    def _on_writable(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                sent = self._connection.send(unsent[0])
                self.unsent_bytes -= sent
                if sent < len(unsent[0]):
                    unsent[0] = unsent[0][sent:]
                    return
                unsent.popleft()
        except BlockingIOError:
            return
        except OSError:
            unsent.clear()
        self._loop.remove_writer(self._connection.fileno())

    def _on_readable(self) -> bool:
        """Whether there may be more."""
        try:
            data = self._connection.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._fail("closed its connection")
            return False
        try:
            for each in self._reader.feed(data):
                self._on_message(decode_from_host(each))
        except BadFrame as error:
            self._fail(f"bad frame: {error}")
            return False
        return True

    def _fail(self, fault: str) -> None:
        """No more can come of this host. If it lives, it is ended; the end of the process follows in any
        case."""
        self._fault = self._fault or fault
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        if fault.startswith("bad frame"):
            self.kill()
        else:
            # Closing is the first that is seen of a process that ends: let it end by itself, so that it is
            # known how.
            self._loop.call_later(CLOSE_GRACE_S, self.kill)

    def _wait(self) -> None:
        # A thread, as waiting for a process without one differs by system and by event loop.
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = 0
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._on_end, os.waitstatus_to_exitcode(status))

    def _on_end(self, code: int) -> None:
        self._ended = True
        # Its children are in its process group still; they have nobody to work for any more.
        _kill_group(self.pid)
        if not self._fault:
            while self._on_readable():
                pass
        fault = self._fault if self._fault.startswith("bad frame") else ""
        if not self._fault:
            self._loop.remove_reader(self._connection.fileno())
            self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        self._unsent.clear()
        self.unsent_bytes = 0
        for output in self._outputs:
            output.close()
        self._on_exit(fault or (f"signal {-code}" if code < 0 else f"exit code {code}"))


def launched(confined: str = "") -> tuple[str, ...]:
    """The words before a command that is to die with us, and to give up before what that order says."""
    order = ("--confined", confined) if confined else ()
    return (sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *order)


def passed_on(ours: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    """What of our environment any host gets: never what is ours alone, whatever its graph asks for."""
    named = [name for name in (*PASSED_ON, *wanted) if not name.startswith(OURS)]
    return {name: ours[name] for name in named if name in ours}


def environment(ours: Mapping[str, str], site: Path | None, wanted: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a host for Python, made from the worker's."""
    passed = passed_on(ours, (*wanted, "PYTHONHASHSEED"))
    path = [str(site)] if site is not None else []
    root = str(Path(liquefy.__file__).resolve().parent.parent)
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path.append(root)  # a checkout; the host takes it off its path again
    passed.pop("PYTHONPATH", None)
    if path:
        passed["PYTHONPATH"] = os.pathsep.join(path)
    return {**passed, "PYTHONUNBUFFERED": "1"}


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class _Lines:
    """Reads one output of a host and passes its lines on, no faster than LINES_PER_S_MAX."""

    def __init__(self, descriptor: int, name: str, on_log: OnLog) -> None:
        self._descriptor = descriptor
        self._name = name
        self._on_log = on_log
        self._partial = b""
        self._second = 0
        self._passed = 0
        self._dropped = 0
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._on_readable)
        self._open = True

    def close(self) -> None:
        """Pass on what is there, and no more."""
        for _ in range(PIPE_READS_MAX):
            if not self._on_readable():
                break
        self._stop()
        if self._partial:
            self._pass_on(self._partial)
        self._tell_dropped()
        os.close(self._descriptor)

    def _stop(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)

    def _on_readable(self) -> bool:
        try:
            data = os.read(self._descriptor, RECEIVE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._stop()
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        while len(self._partial) > LINE_BYTES_MAX:
            lines.append(self._partial[:LINE_BYTES_MAX])
            self._partial = self._partial[LINE_BYTES_MAX:]
        for line in lines:
            for start in range(0, len(line) or 1, LINE_BYTES_MAX):
                self._pass_on(line[start : start + LINE_BYTES_MAX])
        return True

    def _pass_on(self, line: bytes) -> None:
        second = int(self._loop.time())
        if second != self._second:
            self._tell_dropped()
            self._second, self._passed = second, 0
        if self._passed >= LINES_PER_S_MAX:
            if not self._dropped:
                self._loop.call_later(1.0, self._tell_dropped)
            self._dropped += 1
            return
        self._passed += 1
        self._on_log(self._name, line.decode(errors="replace").rstrip("\r"))

    def _tell_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._on_log(self._name, f"({dropped} more lines dropped: more than {LINES_PER_S_MAX} a second)")

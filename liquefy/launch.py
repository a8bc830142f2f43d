"""Becomes a command that dies with its parent: `python launch.py PARENT_PID COMMAND...`.

A file of its own, run with -I -S, because the signal must be asked for in the child, and running Python code
between fork and exec of a process with threads is not safe. Uses nothing but the standard library; outside
Linux, where there is no such signal, it only runs the command."""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Does not return: this process becomes the command, or ends with 127 if there is no such command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the signal was asked for: then nothing would ever end us.
        if os.getppid() != parent:
            sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()

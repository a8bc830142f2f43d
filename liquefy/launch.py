"""Becomes a command that dies with its parent: `python launch.py PARENT_PID [--confined ORDER] COMMAND...`. ORDER, of
`liquefy.confine`, says what it is to give up before.

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
    if command[0] == "--confined":
        _confine(command[1])
        command = command[2:]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def _confine(order: str) -> None:
    """By its file, as no package of ours is on the path."""
    import importlib.util

    found = importlib.util.spec_from_file_location("confine", os.path.join(os.path.dirname(__file__), "confine.py"))
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    module.obey(order)


if __name__ == "__main__":
    main()

"""A program that limits itself and then becomes another: python rlimit_exec.py AS=BYTES CPU=SOFT:HARD -- COMMAND...

The limits' names are those of https://docs.python.org/3/library/resource.html. A limit that the system does not know,
or that is above the one in force, stays as it is. This is a program of its own, because setting limits between fork and
exec in a process that has threads can hang.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main(arguments: list[str]) -> None:
    """Set the limits and start the command in this process."""
    separator = arguments.index("--")
    for setting in arguments[:separator]:
        name, values = setting.split("=")
        soft, _, hard = values.partition(":")
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(soft), int(hard or soft)))
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # the command ends with its caller
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # sudo and its like give no rights from here on
    command = arguments[separator + 1 :]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

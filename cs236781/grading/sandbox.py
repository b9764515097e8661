"""Running a program that may be wrong or hostile: in its own process, under limits, and gone afterwards.

    sandbox = Sandbox(folder)                        # the folder holds its home, its temporary files, its output
    outcome = sandbox.run([sys.executable, "program.py"], Limits(seconds=60, megabytes=2000))

    with sandbox.talk_to([sys.executable, "server.py"], limits) as server:   # it gets two descriptors as arguments
        server.send({"question": 1})
        answer = server.receive(seconds=10)

Where bubblewrap is, the program sees the system's programs and Python read-only, of all else its own folder only, no
network and no other process. Where it is not, user namespaces take the network and other processes away, if the system
allows that. The program then runs as the user who calls, and may read and write what that user may.
"""

import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cs236781.grading import rlimit_exec

MAX_FILE_MEGABYTES = 50  # a file it writes, and what it prints
MAX_PROCESSES = 200
MAX_OPEN_FILES = 1000
# Loading libraries takes addresses that are no memory, CUDA gigabytes of them. Only this limit bounds shared memory.
_ADDRESSES_ABOVE_MEMORY = 8 << 30

_PATIENCE = 4  # the time on the clock, in processor time
_TAIL_BYTES = 4096
_MAX_MESSAGE_BYTES = 2_000_000
# What programs of the system need, where it is; and the folders of this Python.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/sys/devices/system/cpu"),
    *("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime"),
)

_NAMESPACES = [
    ("--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    ("--map-root-user", "--net", "--pid", "--fork", "--kill-child"),
    ("--map-root-user", "--net"),
    ("--net", "--pid", "--fork", "--kill-child"),
]
# A namespace's first process ignores most signals, and unshare (util-linux 2.38) loses which one ended it. So that
# process is a shell. It waits for the program, and says by a status above 128 what ended it.
_SHELL = ("/bin/sh", "-c", '"$@"; exit $?', "sh")


class CancelledError(RuntimeError):
    """A run was ended because its caller asked for it."""


@dataclass(frozen=True)
class Limits:
    """What each process of a program may use.

    :param seconds: of processor time, so that a busy machine changes no verdict. The program as a whole may take four
        times as long on the clock: one that sleeps or waits for ever uses no processor.
    :param megabytes: of memory. Only Linux enforces it.
    """

    seconds: float
    megabytes: int


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    :param status: its exit status; minus the signal's number if one ended it.
    :param output: the end of what it printed, on both streams.
    """

    timed_out: bool
    status: int
    output: str


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new, empty folder. It is gone afterwards, whatever was put into it.

    The system's commands remove it: shutil.rmtree gives up on folders nested a thousand deep, and before Python 3.11.8
    tempfile changes the rights of what links in it lead to.
    """
    folder = Path(tempfile.mkdtemp(prefix="check-"))
    try:
        yield folder
    finally:
        for command in (["rm", "-rf"], ["chmod", "-R", "u+rwx"], ["rm", "-rf"]):  # closed folders are opened first
            if folder.is_dir() and not folder.is_symlink():  # in a session that Ctrl-C does not reach
                subprocess.run([*command, "--", folder], capture_output=True, start_new_session=True, check=False)


class Sandbox:
    """A folder and the programs that run in it.

    :param folder: an existing, empty folder.
    :param cancelled: when it is set, a run ends, and raises CancelledError.
    """

    def __init__(self, folder: str | Path, cancelled: threading.Event | None = None) -> None:
        self.folder = Path(folder).resolve()
        self._cancelled = cancelled or threading.Event()
        for name in ("home", "tmp"):
            (self.folder / name).mkdir()

    def run(
        self,
        command: Sequence[str],
        limits: Limits,
        *,
        working_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a command to its end or to the end of its time. What it started ends with it.

        :param command: the program's absolute path, and its arguments.
        :param working_dir: the sandbox's folder by default.
        :param environment: added to the few variables that a program is given.
        :raises CancelledError: the caller's event was set.
        :raises OSError: it cannot be started, for example because an earlier run removed its folder.
        """
        with self._started(command, limits, working_dir, environment) as (process, output):
            timed_out = self._wait(process, _PATIENCE * limits.seconds)
        output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
        with output:
            status = process.returncode if process.returncode <= 128 else 128 - process.returncode
            timed_out = timed_out or status == -signal.SIGXCPU
            return Outcome(timed_out, status, output.read(_TAIL_BYTES).decode(errors="replace"))

    @contextmanager
    def talk_to(
        self, command: Sequence[str], limits: Limits, *, environment: Mapping[str, str] | None = None
    ) -> Iterator["Talk"]:
        """Start a command, to send it messages and receive some; it gets two descriptors as its last arguments.

        It ends with the block, and what it started too. Its limits on time are those of its messages.

        :raises OSError: it cannot be started.
        """
        (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
        try:
            command = [*command, str(their_in), str(their_out)]
            with self._started(command, limits, None, environment, (their_in, their_out)) as (process, output):
                for descriptor in (their_in, their_out):
                    os.close(descriptor)
                with output:
                    yield Talk(process, our_out, our_in, self._cancelled)
        finally:
            for descriptor in (our_in, our_out):
                os.close(descriptor)

    @contextmanager
    def _started(
        self,
        command: Sequence[str],
        limits: Limits,
        working_dir: Path | None,
        environment: Mapping[str, str] | None,
        descriptors: Sequence[int] = (),
    ) -> Iterator[tuple["subprocess.Popen[bytes]", Any]]:
        """A process under limits, and the file of what it prints. It ends with the block, and what it started too."""
        settings = {
            "CPU": f"{math.ceil(limits.seconds)}:{math.ceil(limits.seconds) + 1}",  # SIGXCPU, then SIGKILL
            "DATA": limits.megabytes << 20,
            "AS": (limits.megabytes << 20) + _ADDRESSES_ABOVE_MEMORY,
            "FSIZE": MAX_FILE_MEGABYTES << 20,
            "NOFILE": MAX_OPEN_FILES,
            "NPROC": _tasks_of_this_user() + MAX_PROCESSES,
            "CORE": 0,
        }
        limited = [sys.executable, "-I", "-S", rlimit_exec.__file__, *(f"{k}={v}" for k, v in settings.items()), "--"]
        inside = bubblewrap(self.folder) or namespaces()
        output = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it; it has no name to be replaced by
        process = subprocess.Popen(
            [*limited, *inside, *command],
            cwd=working_dir or self.folder,
            env=self._environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=descriptors,
        )
        try:
            yield process, output
        finally:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses if only zombies are left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._end_strays()

    def _environment(self) -> dict[str, str]:
        """What a program is given instead of the caller's environment, with its keys and paths."""
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        return kept | {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "LANG": "C.UTF-8",
            "CUDA_VISIBLE_DEVICES": "",
            "MPLBACKEND": "agg",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
        }

    def _wait(self, process: "subprocess.Popen[bytes]", seconds: float) -> bool:
        """Wait for the end; returns whether the time ran out first."""
        end = time.monotonic() + seconds
        while process.poll() is None:
            if self._cancelled.is_set():
                raise CancelledError("the check was cancelled")
            if time.monotonic() > end:
                return True
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        return False

    def _end_strays(self) -> None:
        """End processes that left the session, known by the environment they were started with.

        A process namespace leaves none. Without one, a process that was started with another environment is not found.
        """
        mark = f"HOME={self.folder / 'home'}".encode()
        end = time.monotonic() + 5
        while (strays := _processes_with(mark)) and time.monotonic() < end:
            for pid in strays:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


class Talk:
    """Messages to and from a program in a sandbox: values that JSON can hold, one on a line."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: int, in_: int, cancelled: threading.Event) -> None:
        self._process, self._out, self._in, self._cancelled = process, out, in_, cancelled
        self._read = b""

    def send(self, message: Any) -> None:
        """Send a message; BrokenPipeError if the program has ended."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]

    def receive(self, seconds: float) -> Any:
        """The next message. What is none is passed over.

        :raises TimeoutError: none came in time.
        :raises EOFError: the program has ended, or wrote a line without end.
        :raises CancelledError: the caller's event was set.
        """
        end = time.monotonic() + seconds
        while True:
            line, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                with suppress(ValueError, RecursionError):
                    return json.loads(line)
                continue
            if self._cancelled.is_set():
                raise CancelledError("the check was cancelled")
            if time.monotonic() > end:
                raise TimeoutError("no message came in time")
            if select.select([self._in], [], [], 0.1)[0]:
                more = os.read(self._in, 1 << 16)
                self._read += more
                if not more or len(self._read) > _MAX_MESSAGE_BYTES:
                    raise EOFError("the program has ended")


def bubblewrap(folder: Path) -> tuple[str, ...]:
    """The command that shows a program the system and this folder only; empty if the system has or allows none."""
    return (*_bubblewrap(), "--bind", str(folder), str(folder), "--chdir", str(folder), "--") if _bubblewrap() else ()


@cache
def _bubblewrap() -> tuple[str, ...]:
    program = shutil.which("bwrap")
    if program is None:
        return ()
    folders = dict.fromkeys([*_SYSTEM, sys.base_prefix, sys.prefix, *os.environ.get("LD_LIBRARY_PATH", "").split(":")])
    shown = [part for folder in folders if folder for part in ("--ro-bind-try", folder, folder)]
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--dev", "/dev"]
    command = (program, *options, "--proc", "/proc", "--tmpfs", "/tmp", *shown)
    with suppress(subprocess.TimeoutExpired):
        tried = subprocess.run([*command, "--", "/bin/true"], capture_output=True, timeout=10, check=False)
        if tried.returncode == 0:
            return command
    return ()


@cache
def namespaces() -> tuple[str, ...]:
    """The command that cuts a program's network and hides other processes; empty if this system has none."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    for options in _NAMESPACES:
        with suppress(subprocess.TimeoutExpired):
            tried = subprocess.run([unshare, *options, "true"], capture_output=True, timeout=10, check=False)
            if tried.returncode == 0:
                return (unshare, *options, *_SHELL)
    return ()


def _processes_with(mark: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone, or another user's
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _tasks_of_this_user() -> int:
    """How many processes and threads the user has; the system's limit counts them together."""
    count = 0
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == os.getuid():
                count += len(list((path / "task").iterdir()))
    return count

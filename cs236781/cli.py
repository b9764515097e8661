"""How the commands of `main.py` are run, and how they end."""

import io
import linecache
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import typer

PROJECT = Path(__file__).resolve().parents[1]
PROGRAM = "main.py"
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
stopped_by: list[int] = [signal.SIGINT]  # the signals that ended the command
COMPLETION = "_MAIN.PY_COMPLETE"  # the variable by which a shell asks Typer what can be typed next


def run(app: typer.Typer, arguments: list[str]) -> int:
    """Run the command that the arguments name, and return the exit status.

    Typer parses and dispatches. How a command ends is decided here, because Typer answers wrong use with several
    lines, and hides every broken pipe, a worker's too.
    """
    if COMPLETION in os.environ:
        app(prog_name=PROGRAM)
    name = " ".join([PROGRAM, *arguments[:1]])
    handle_signals()
    sys.stdout, sys.stderr = open_stream(sys.stdout), open_stream(sys.stderr)
    try:
        command = typer.main.get_command(app)
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
        return status_of(sys.stdout)
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + stopped_by[-1]
    except typer.TyperException as error:  # wrong use
        name = getattr(getattr(error, "ctx", None), "command_path", name)
        message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        print(f"{name}: error: {message} ({name} --help says more)", file=sys.stderr)
        return 2
    except Exception as error:
        if not is_expected(error):
            raise
        print(f"{name}: error: {one_line(error)}", file=sys.stderr)
        return 2
    finally:
        ignore_signals()  # the interpreter's end follows: it has nothing more to keep, and would show a traceback


def handle_signals() -> None:
    """Have SIGTERM, by which Slurm and `kill` end a program, and SIGHUP end this one as Ctrl-C does.

    A signal that is ignored, as nohup and a shell's background have it, stays ignored; but SIGTERM ends always.
    """
    for number in STOPS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end_as_by_ctrl_c)


def end_as_by_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, once: what is kept then, is kept undisturbed by a second signal."""
    ignore_signals()
    stopped_by.append(number)
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Have the signals that end a program do nothing from here on."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


class TolerantStream(io.TextIOWrapper):
    """Prints as long as it can. What can't be printed, because a pipe is closed or a disk full, is dropped.

    So the command does its work to the end. `failure` is the first error.
    """

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop."""
        return self._try(lambda: super(TolerantStream, self).write(text)) or len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        self._try(super().flush)

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return action() if self.failure is None else None
        except OSError as error:
            self.failure = error
            return None


def open_stream(stream: TextIO | None) -> TextIO:
    """A stream to print to, in place of a standard one, which may be closed, or unable to show a character."""
    if stream is None:
        return Path(os.devnull).open("w")
    if type(stream) is not io.TextIOWrapper:
        return stream
    encoding, line_buffering = stream.encoding, stream.line_buffering
    return TolerantStream(stream.detach(), encoding, "backslashreplace", line_buffering=line_buffering)


def status_of(stdout: TextIO) -> int:
    """The exit status of a command that is done, by what became of its output."""
    failure = getattr(stdout, "failure", None)
    if failure is None:
        return 0
    if isinstance(failure, BrokenPipeError):
        return 141  # as the shell reports a program that SIGPIPE ended
    print(f"{PROGRAM}: error: its output could not be written: {failure.strerror}", file=sys.stderr)
    return 2


def is_expected(error: BaseException) -> bool:
    """Whether an error is an answer to the user. If not, it is a bug, and its traceback is needed.

    ValueError, TypeError and RuntimeError are answers where the project's own checks raise them: the last line run is
    a `raise` in the project. The same errors out of a computation or a library are bugs.
    """
    if isinstance(error, (OSError, FloatingPointError)):
        return True
    if not isinstance(error, (ValueError, TypeError, RuntimeError)):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    file = Path(trace.tb_frame.f_code.co_filename)
    ours = file.is_relative_to(PROJECT) and "site-packages" not in file.parts
    return ours and linecache.getline(str(file), trace.tb_lineno).lstrip().startswith("raise ")


def one_line(error: Exception) -> str:
    """What an error says, on one line. The system's own errors name their file first."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__

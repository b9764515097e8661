"""How the commands of `main.py` are run, and how they end."""

import linecache
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import typer

PROJECT = Path(__file__).resolve().parents[1]
PROGRAM = "main.py"
COMPLETION = "_MAIN.PY_COMPLETE"  # the variable by which a shell asks Typer what can be typed next


def run(app: typer.Typer, arguments: list[str]) -> int:
    """Run the command that the arguments name, and return the exit status.

    Typer parses and dispatches. How a command ends is decided here, because Typer answers wrong use with several
    lines, and hides every broken pipe, a worker's too.
    """
    if COMPLETION in os.environ:
        app(prog_name=PROGRAM)
    name = " ".join([PROGRAM, *arguments[:1]])
    signal.signal(signal.SIGTERM, end_as_by_ctrl_c)
    try:
        command = typer.main.get_command(app)
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except typer.TyperException as error:  # wrong use
        name = getattr(getattr(error, "ctx", None), "command_path", name)
        message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        print(f"{name}: error: {message} ({name} --help says more)", file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError) and stdout_is_closed():
            return 141  # as the shell reports a program that SIGPIPE ended
        if not is_expected(error):
            raise
        print(f"{name}: error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def end_as_by_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM, by which Slurm and `kill` end a program: what Ctrl-C keeps, it keeps too."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


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


def stdout_is_closed() -> bool:
    """Whether the reader of our output is gone. If so, the rest of the output is dropped quietly."""
    try:
        print(flush=True)  # only writing tells
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False

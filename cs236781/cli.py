"""What the commands of `main.py` share: types of arguments, the answer to wrong use, and how a command ends."""

import argparse
import linecache
import math
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

PROJECT = Path(__file__).resolve().parents[1]


def integer_from(smallest: int) -> Callable[[str], int]:
    """An argument's type: an integer that is not less than smallest."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {smallest}")
        return value

    return parse


def number(text: str) -> float:
    """An argument's type: any number but NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def seconds(text: str) -> float:
    """An argument's type: a duration."""
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def check_present(notebooks: list[Path]) -> None:
    """Refuse a missing notebook before any is worked on."""
    for path in notebooks:
        if not path.is_file():
            raise FileNotFoundError(f"there is no notebook {path}")


def add_notebooks(parser: argparse.ArgumentParser) -> None:
    """Declare the notebooks a command works on."""
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NB", help="a notebook file")


def add_running(parser: argparse.ArgumentParser) -> None:
    """Declare how notebooks are run."""
    parser.add_argument("--allow-errors", action="store_true", help="go on after a cell that fails, keeping its error")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds a cell may take (default: no limit)")


def add_playing(parser: argparse.ArgumentParser) -> None:
    """Declare the policy to play and how."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a file that train --checkpoint wrote")
    parser.add_argument("--seed", type=integer_from(0), default=0, metavar="N", help="of the episodes (default: 0)")
    parser.add_argument("--greedy", action="store_true", help="take the most probable action, instead of drawing one")


def add_dpi(parser: argparse.ArgumentParser) -> None:
    """Declare a figure's resolution."""
    parser.add_argument("--dpi", type=integer_from(1), default=80, metavar="N", help="dots per inch (default: 80)")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare the number of processes."""
    help_ = "processes that play; the results are the same (default: what suits the machine)"
    parser.add_argument("--num-workers", type=integer_from(0), metavar="N", help=help_)


def end_as_by_ctrl_c(number: int, frame: FrameType | None) -> None:
    """A handler for SIGTERM, by which Slurm and `kill` end a program: nothing is lost then that Ctrl-C would keep."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


class Parser(argparse.ArgumentParser):
    """An argument parser that answers wrong use with one line."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help says more)\n")


class Paragraphs(argparse.HelpFormatter):
    """A command's help, with its paragraphs kept apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(super(Paragraphs, self)._fill_text(part, width, indent) for part in text.split("\n\n"))


def is_expected(error: BaseException) -> bool:
    """Whether an error is an answer to the user; if not, it is a bug, and its traceback is needed.

    ValueError, TypeError and RuntimeError are answers where the project's own checks raise them: the last line run is
    a `raise` in the project. The same errors out of a computation or a library are bugs.
    """
    if isinstance(error, (OSError, pickle.UnpicklingError, FloatingPointError)):
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
    """What an error says, on one line; the system's own errors name their file first."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def stdout_is_closed() -> bool:
    """Whether who read our output is gone; if so, what is left of it is dropped quietly."""
    try:
        print(flush=True)  # only writing tells
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False

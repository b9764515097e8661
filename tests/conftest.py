"""Fixtures for every test. The shapes in hw4's annotations are checked while the tests run."""

import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import matplotlib
import pytest
from beartype import BeartypeConf, beartype
from hypothesis import settings
from jaxtyping import config, install_import_hook

from tests.exercise_report import (  # noqa: F401 - pytest finds these hooks by their names
    pytest_report_teststatus,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)

# Before hw4 is imported anywhere: from here on each call of it is checked against its annotations. As for a static
# checker, an int will do where a float is asked for. The hook takes the checker by its name in a module.
checker = types.ModuleType("annotation_checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[checker.__name__] = checker
install_import_hook("hw4", f"{checker.__name__}.check")
matplotlib.use("Agg")

import torch  # noqa: E402

# A shell's background job starts with Ctrl-C ignored, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)

# The same examples in every run, however slow the machine, and no folder of them left behind.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

ASSETS = Path(__file__).parent / "assets"


@pytest.fixture
def assets() -> Path:
    return ASSETS


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the annotation checks off, as they are for a user, so that the project's own errors are seen."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Fail a test that hangs, rather than hang with it. The limit is far above what any of them needs."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the test hangs")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)

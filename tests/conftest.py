"""Fixtures for every test. The shapes in hw4's annotations are checked while the tests run."""

import signal
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from beartype import BeartypeConf, FrozenDict, beartype
from hypothesis import settings
from jaxtyping import config, install_import_hook
from torch import Tensor

from tests.exercise_report import (  # noqa: F401 - pytest finds these hooks by their names
    pytest_report_teststatus,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)

# Before hw4 is imported anywhere: from here on each call of it is checked against its annotations. As for a static
# checker, an int will do for a float. Other right solutions give what behaves as such: a tensor, an iterator.
OVERRIDES = {
    float: float | int | Tensor | np.ndarray | np.generic,
    int: int | np.integer | Tensor,
    list[float]: Iterable,
}
check_annotations = beartype(conf=BeartypeConf(hint_overrides=FrozenDict(OVERRIDES)))


def check(function: Any) -> Any:
    hints = getattr(function, "__annotations__", {})
    if "Float[Tensor, '']" in str(hints.get("return")):  # a loss may be a tensor of one element, too
        hints["return"] = Any
    return check_annotations(function)


checker = types.ModuleType("annotation_checker")  # the hook takes the checker by its name in a module
checker.check = check  # type: ignore[attr-defined]
sys.modules[checker.__name__] = checker
install_import_hook("hw4", f"{checker.__name__}.check")
matplotlib.use("Agg")

# A shell's background job starts with Ctrl-C ignored, and one under nohup with a hang-up ignored. So would all programs
# that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # what this process handles, a program that it starts does not

torch.set_num_threads(1)

# The same examples in every run, however slow the machine, and no folder of them left behind.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

ASSETS = Path(__file__).parent / "assets"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of tests/ itself, which take long: otherwise one process ends with them, and one waits."""
    items.sort(key=lambda item: len(item.path.parts))


@pytest.fixture
def assets() -> Path:
    return ASSETS


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the annotation checks off, as they are for a user, so that the project's own errors are seen."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)

"""What each hyperparameter is and accepts, and how a text such as `learn_rate=0.01` becomes one."""

import ast
import itertools
import math
import numbers
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hw4.rl_pg import ACTIVATIONS

LARGEST = 1e18  # of any number: a network's 32-bit floats hold it, and 64-bit whole numbers do
MAX_BATCH_SIZE = 100_000
MAX_ACTION_REPEAT = 10_000
MAX_LAYERS = 100
MAX_PARAMETERS = 10_000_000  # a checkpoint holds two networks of that size, each parameter with Adam's two moments
ENDS = 16  # features and actions that are allowed for in counting parameters; the lander has 8 and 4
NOT_PYTHON = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)  # what ast.literal_eval answers words by


def is_number(value: Any, lowest: float = -LARGEST, highest: float = LARGEST) -> bool:
    """Whether it is a finite number in a range, NumPy's too."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return lowest <= float(value) <= highest
    except OverflowError:  # of a whole number that no float holds
        return False


def is_count(value: Any, lowest: int = 1, highest: float = math.inf) -> bool:
    """Whether it is a whole number in a range, NumPy's too."""
    return isinstance(value, numbers.Integral) and is_number(value, lowest, highest)


def check_count(name: str, value: Any, lowest: int = 1) -> None:
    """Refuse what is not a whole number from `lowest` on with a ValueError."""
    if not is_count(value, lowest):
        raise ValueError(f"{name} must be a whole number from {lowest}, got {value!r}")


def _is_list(value: Any, accepts: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and all(map(accepts, value))


def _are_layers(value: Any) -> bool:
    if not _is_list(value, is_count) or len(value) > MAX_LAYERS:
        return False
    sizes = [ENDS, *map(int, value), ENDS]
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes)) <= MAX_PARAMETERS


TINY = 1e-12
REQUIRED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (lambda v: is_count(v, 1, MAX_BATCH_SIZE), f"a whole number from 1 to {MAX_BATCH_SIZE}"),  # episodes
    "gamma": (lambda v: is_number(v, 0, 1), "a number from 0 to 1"),
    "beta": (is_number, f"a number from {-LARGEST:g} to {LARGEST:g}"),
    "learn_rate": (lambda v: is_number(v, TINY), f"a number above 0, up to {LARGEST:g}"),
    "eps": (lambda v: is_number(v, TINY), f"a number above 0, up to {LARGEST:g}"),
    "hidden_layers": (
        _are_layers,
        f"a list of whole numbers from 1, such as [64, 64], at most {MAX_LAYERS}, and of a network that has up to "
        f"{MAX_PARAMETERS:,} parameters",
    ),
}
OPTIONAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "action_repeat": (lambda v: is_count(v, 1, MAX_ACTION_REPEAT), f"a whole number from 1 to {MAX_ACTION_REPEAT}"),
    "beta_end": (is_number, f"a number from {-LARGEST:g} to {LARGEST:g}"),
    "gamma_end": (lambda v: is_number(v, 0, 1), "a number from 0 to 1"),
    "learn_rate_end": (lambda v: is_number(v, 0), f"a number from 0 to {LARGEST:g}"),
    "delta": (lambda v: is_number(v, 0), f"a number from 0 to {LARGEST:g}"),
    "value_scale": (lambda v: is_number(v, TINY), f"a number above 0, up to {LARGEST:g}"),
    "activation": (lambda v: isinstance(v, str) and v in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}"),
    "orthogonal": (lambda v: isinstance(v, bool), "True or False"),
    "initial_logits": (lambda v: _is_list(v, is_number), "a list of numbers, one an action, such as [3, 0, 0, 0]"),
}


def check_hyperparams(hp: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that are missing, or of a kind that they can't be, with a ValueError.

    Names that this module does not know pass: a network may take hyperparameters of its own.
    """
    missing = [name for name in REQUIRED if name not in hp]
    if missing:
        raise ValueError(f"hyperparameters are missing: {', '.join(missing)} (got {', '.join(hp) or 'none'})")
    for name, (accepts, description) in {**REQUIRED, **OPTIONAL}.items():
        if name in hp and not accepts(hp[name]):
            raise ValueError(f"{name} must be {description}, got {reprlib.repr(hp[name])}")


def with_overrides(hp: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters with some changed by texts of the form KEY=VALUE, the value as Python writes it.

    :raises ValueError: if a text is not of that form, or its key or value can't be.
    """
    changed, known = dict(hp), {**hp, **REQUIRED, **OPTIONAL}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"an override must be KEY=VALUE, such as learn_rate=0.01, got {override!r}")
        if name not in known:
            raise ValueError(f"there is no hyperparameter {name!r}; there are: {', '.join(known)}")
        try:
            changed[name] = ast.literal_eval(text)
        except NOT_PYTHON:
            changed[name] = text  # a word, such as an activation's name
    check_hyperparams(changed)
    return changed

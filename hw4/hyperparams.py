"""What hyperparameters there are, what values they take, and how a text such as `learn_rate=0.01` becomes one."""

import ast
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hw4.rl_pg import ACTIVATIONS


class _Kind(NamedTuple):
    accepts: Callable[[Any], bool]
    description: str


def is_number(value: Any) -> bool:
    """Whether it is a finite number, NumPy's too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any, smallest: int = 1) -> bool:
    """Whether it is a whole number from `smallest` on, NumPy's too."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= smallest


def check_count(name: str, value: Any, smallest: int = 1) -> None:
    """Refuse what is not a whole number from `smallest` on with a ValueError."""
    if not is_count(value, smallest):
        raise ValueError(f"{name} must be a whole number from {smallest}, got {value!r}")


def _is_list(value: Any, accepts: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and all(map(accepts, value))


def _schedule(accepts: Callable[[float], bool], values: str, example: str) -> _Kind:
    def is_schedule(value: Any) -> bool:
        if not _is_list(value, lambda point: _is_list(point, is_number) and len(point) == 2) or not value:
            return False
        fractions = [fraction for fraction, _ in value]
        is_rising = fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
        return is_rising and all(accepts(point) for _, point in value)

    points = "a list of points (fraction of the run, value), fractions from 0 to 1 and rising"
    return _Kind(is_schedule, f"{points}{values}, such as {example}")


_COUNT = _Kind(is_count, "a whole number from 1")
_WEIGHT = _Kind(lambda value: is_number(value) and value >= 0, "a number from 0")
_POSITIVE = _Kind(lambda value: is_number(value) and value > 0, "a number above 0")
_FRACTION = _Kind(lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_LAYERS = _Kind(lambda value: _is_list(value, is_count), "a list of whole numbers from 1, such as [128] or [512, 256]")
_SCORES = _Kind(
    lambda value: _is_list(value, is_number), "a list of numbers, one for each action, such as [3, 0, 0, 0]"
)
_ACTIVATION = _Kind(lambda value: isinstance(value, str) and value in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}")
_FLAG = _Kind(lambda value: isinstance(value, bool), "True or False")

_RATES = _schedule(lambda value: value >= 0, ", values from 0", "[[0, 0.02], [1, 0.002]]")

REQUIRED = {
    "batch_size": _COUNT,
    "gamma": _FRACTION,
    "beta": _WEIGHT,
    "learn_rate": _POSITIVE,
    "eps": _POSITIVE,
    "hidden_layers": _LAYERS,
}
SCHEDULED = ("learn_rate", "beta", "gamma", "weight_decay")  # what may have a schedule
OPTIONAL = {
    "delta": _WEIGHT,
    "beta_schedule": _schedule(lambda value: True, "", "[[0, 0.5], [1, -0.1]]"),
    "learn_rate_schedule": _RATES,
    "gamma_schedule": _schedule(lambda value: 0 <= value <= 1, ", values from 0 to 1", "[[0, 0.99], [1, 0.995]]"),
    "weight_decay_schedule": _RATES,
    "activation": _ACTIVATION,
    "orthogonal": _FLAG,
    "initial_scores": _SCORES,
    "value_scale": _POSITIVE,
    "weight_decay": _WEIGHT,
    "adam_restart": _FRACTION,
}


def check_hyperparams(hp: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that are missing, or of a kind that they can't be, with a ValueError.

    Names that this module does not know pass: a network may take hyperparameters of its own.
    """
    missing = [name for name in REQUIRED if name not in hp]
    if missing:
        raise ValueError(f"hyperparameters are missing: {', '.join(missing)} (got {', '.join(hp) or 'none'})")
    for name, kind in {**REQUIRED, **OPTIONAL}.items():
        if name in hp and not kind.accepts(hp[name]):
            raise ValueError(f"{name} must be {kind.description}, got {hp[name]!r}")
    for name in SCHEDULED:
        schedule = hp.get(f"{name}_schedule")
        if schedule is not None and schedule[0][1] != hp.get(name):
            raise ValueError(
                f"{name} is {hp.get(name)!r}, but {name}_schedule begins with {schedule[0][1]!r}: make them agree, or "
                "leave the schedule out"
            )


def with_overrides(hp: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters with some changed by texts of the form KEY=VALUE, the value as Python writes it.

    A value that is set holds for the whole run, unless its schedule is set too.

    :raises ValueError: if a text is not of that form, or its key or value can't be.
    """
    known, values = {**hp, **REQUIRED, **OPTIONAL}, dict[str, Any]()
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"an override must be KEY=VALUE, such as learn_rate=0.01, got {override!r}")
        if name not in known:
            raise ValueError(f"there is no hyperparameter {name!r}; there are: {', '.join(known)}")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            values[name] = text  # a word, such as an activation's name
    changed = {**hp, **values}
    for name in SCHEDULED:
        schedule = f"{name}_schedule"
        if name in values and schedule not in values:
            changed.pop(schedule, None)
        elif schedule in values and name not in values and OPTIONAL[schedule].accepts(values[schedule]):
            changed[name] = values[schedule][0][1]
    check_hyperparams(changed)
    return changed

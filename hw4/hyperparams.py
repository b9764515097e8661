"""What hyperparameters there are, what values they take, and how a text such as `learn_rate=0.01` becomes one."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hw4.rl_pg import ACTIVATIONS


class _Kind(NamedTuple):
    accepts: Callable[[Any], bool]
    description: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_schedule(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if not all(isinstance(point, (list, tuple)) and len(point) == 2 and all(map(_is_number, point)) for point in value):
        return False
    shares = [share for share, _ in value]
    return shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1


_COUNT = _Kind(_is_count, "a whole number from 1")
_WEIGHT = _Kind(lambda value: _is_number(value) and value >= 0, "a number from 0")
_POSITIVE = _Kind(lambda value: _is_number(value) and value > 0, "a number above 0")
_SHARE = _Kind(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_LAYERS = _Kind(
    lambda value: isinstance(value, (list, tuple)) and all(map(_is_count, value)),
    "a list of whole numbers from 1, such as [128] or [512, 256]",
)
_SCHEDULE = _Kind(
    _is_schedule,
    "a list of points (share of the run, value), shares from 0 to 1 and rising, such as [[0, 0.5], [1, -0.1]]",
)
_RATE_SCHEDULE = _Kind(
    lambda value: _is_schedule(value) and all(rate >= 0 for _, rate in value),
    "a list of points (share of the run, value), shares from 0 to 1 and rising, values from 0, such as "
    "[[0, 0.02], [1, 0.002]]",
)
_SHARE_SCHEDULE = _Kind(
    lambda value: _is_schedule(value) and all(0 <= share <= 1 for _, share in value),
    "a list of points (share of the run, value), shares from 0 to 1 and rising, values from 0 to 1, such as "
    "[[0, 0.99], [1, 0.995]]",
)
_SCORES = _Kind(
    lambda value: isinstance(value, (list, tuple)) and all(map(_is_number, value)),
    "a list of numbers, one for each action, such as [3, 0, 0, 0]",
)
_ACTIVATION = _Kind(lambda value: isinstance(value, str) and value in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}")
_FLAG = _Kind(lambda value: isinstance(value, bool), "True or False")

REQUIRED = {
    "batch_size": _COUNT,
    "gamma": _SHARE,
    "beta": _WEIGHT,
    "learn_rate": _POSITIVE,
    "eps": _POSITIVE,
    "hidden_layers": _LAYERS,
}
SCHEDULED = ("learn_rate", "beta", "gamma", "weight_decay")  # what may have a schedule
OPTIONAL = {
    "delta": _WEIGHT,
    "beta_schedule": _SCHEDULE,
    "learn_rate_schedule": _RATE_SCHEDULE,
    "gamma_schedule": _SHARE_SCHEDULE,
    "weight_decay_schedule": _RATE_SCHEDULE,
    "activation": _ACTIVATION,
    "orthogonal": _FLAG,
    "initial_scores": _SCORES,
    "value_scale": _POSITIVE,
    "weight_decay": _WEIGHT,
    "adam_restart": _SHARE,
}


def check_hyperparams(hp: Mapping[str, Any], required: Sequence[str] = ()) -> None:
    """Refuse hyperparameters that are missing, or of a kind that they can't be, with a ValueError.

    Names that this module does not know pass: a network may take hyperparameters of its own.

    :param required: names that must be there beside the ones that every run needs.
    """
    missing = [name for name in (*REQUIRED, *required) if name not in hp]
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


def with_settings(hp: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters with some changed by texts of the form KEY=VALUE, the value as Python writes it.

    A value that is set holds for the whole run, unless its schedule is set too.

    :raises ValueError: if a text is not of that form, or its key or value can't be.
    """
    changed = dict(hp)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"a setting must be KEY=VALUE, such as learn_rate=0.01, got {setting!r}")
        known = {**hp, **REQUIRED, **OPTIONAL}
        if name not in known:
            raise ValueError(f"there is no hyperparameter {name!r}; there are: {', '.join(known)}")
        try:
            changed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            changed[name] = text  # a word, such as an activation's name
    names = {setting.partition("=")[0] for setting in settings}
    for name in SCHEDULED:
        schedule = f"{name}_schedule"
        if name in names and schedule not in names:
            changed.pop(schedule, None)
        elif schedule in names and name not in names and _is_schedule(changed[schedule]):
            changed[name] = changed[schedule][0][1]
    check_hyperparams(changed)
    return changed

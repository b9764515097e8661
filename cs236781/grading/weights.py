"""How many points each exercise is worth: `tests/weights.toml`, or an instructor's own file.

    [weights]
    PolicyNet = 6
    Episode.calc_qvals = 8

A file names what counts; an exercise that it does not name is worth nothing. The points need not sum to 100.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cs236781.exercises import Exercise
from cs236781.files import read_whole

DEFAULT = "tests/weights.toml"  # in the project

_MAX_SIZE = 2**20  # bytes
_MAX_POINTS = 1_000_000


def load_weights(path: str | Path | None, exercises: Sequence[Exercise], project: str | Path) -> dict[str, float]:
    """The points of every exercise, in the exercises' order.

    :param path: a TOML file; None for the project's own.
    :raises OSError: there is no such file.
    :raises ValueError: it is not as above, names something else than an exercise, or gives no points at all; in one
        line.
    """
    path = Path(project) / DEFAULT if path is None else Path(path)
    data = read_whole(path, _MAX_SIZE)
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of tomllib, of the encoding, or of a number with too many digits
        raise ValueError(f"{path} is not TOML: {' '.join(str(error).split())[:200]}") from None
    weights = table.get("weights")
    if list(table) != ["weights"] or not isinstance(weights, dict):
        raise ValueError(f"{path} has to hold one table [weights], with lines such as {exercises[0].name} = 5")
    given = dict(_flat(weights))
    names = [exercise.name for exercise in exercises]
    for name, points in given.items():
        if name not in names:
            raise ValueError(f"{path} has points for {name[:100]!r}, which is no exercise: give {', '.join(names)}")
        if isinstance(points, bool) or not isinstance(points, (int, float)) or not 0 <= points <= _MAX_POINTS:
            raise ValueError(f"{path} gives {name} = {repr(points)[:100]}: give a number from 0 to {_MAX_POINTS}")
    if not any(given.values()):
        raise ValueError(f"{path} gives no points at all: give some to one exercise at least")
    return {name: float(given.get(name, 0)) for name in names}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries by their whole names. To TOML, `Episode.calc_qvals` without quotes is a table in a table."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

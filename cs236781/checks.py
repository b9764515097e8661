"""Small questions to an exercise's code, with what is right, and with the mistakes that are known by their answers.

    Check(
        exercise="Episode.calc_qvals",
        name="by hand",
        asked="the q-values of an episode with rewards {rewards}, with gamma {gamma}",
        ask="q_values",
        inputs={"rewards": [1, 0, 2], "gamma": 0.5},
        expected=lambda rewards, gamma: [1.5, 1.0, 2.0],
        mistakes=[Mistake("These q-values are not discounted.", lambda rewards, gamma: [3.0, 2.0, 2.0])],
    )

A project has its checks in `tests/checks/expects`, and what they ask in `tests/checks/asks.py`. An ask is a function
that calls the exercise's code, and gives plain values. The two are apart so that code that is checked never runs in the
process that knows what is right. `judge` compares.
"""

import hashlib
import importlib.util
import json
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAINED = "tests/checks/trained.py"
ASKS, EXPECTS = "tests/checks/asks.py", "tests/checks/expects/__init__.py"
_MAX_SHOWN = 300  # characters of a value
_LARGEST = 1e300  # an integer above it is no float
_MAX_DEPTH = 20  # of lists in lists
# What a formula raises that is given another kind of value, or inputs of which there is no such mistake.
_OTHER_KIND = (TypeError, KeyError, IndexError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Mistake:
    """A mistake that is known, and how it shows.

    :param hint: what was done and what to do instead, for who made it.
    :param gives: the value that it gives, a function of the check's inputs; of a dict, the part that shows it.
    :param shows: or whether a value, or an error's text, shows it.
    """

    hint: str
    gives: Callable[..., Any] | None = None
    shows: Callable[[Any], bool] | None = None

    def explains(self, inputs: Mapping[str, Any], value: Any, right: Any, tolerance: float) -> bool:
        """Whether a value that is not right comes of it.

        It does not if the mistake gives what is right: with one experience, a sum is a mean.
        """
        try:
            if self.gives is not None:
                given = self.gives(**inputs)
                return difference(given, value, tolerance) == "" and difference(given, right, tolerance) != ""
            return self.shows is not None and bool(self.shows(value))
        except _OTHER_KIND:
            return False


@dataclass(frozen=True)
class Check:
    """A question to an exercise, and what is right.

    :param exercise: the exercise's name in the table.
    :param name: unique within the exercise.
    :param asked: the question in the exercise's terms; {names} stand for inputs.
    :param ask: the function in the asks that puts it.
    :param inputs: its arguments; or a function that draws them, so that no answer can be prepared.
    :param expected: what is right, a function of the inputs. Numbers may differ by the tolerance. Of a dict, all that
        is named must be there, and more may be. `OneOf` several is right too.
    :param right: instead: whether a value is right, a function of value and inputs; `expected` is then shown only.
    """

    exercise: str
    name: str
    asked: str
    ask: str
    inputs: Mapping[str, Any] | Callable[[random.Random], dict[str, Any]]
    expected: Callable[..., Any]
    right: Callable[..., bool] | None = None
    mistakes: Sequence[Mistake] = ()
    tolerance: float = 1e-4

    @property
    def id(self) -> str:
        """Its name among all checks."""
        return f"{self.exercise}: {self.name}"

    def draw(self, generator: random.Random) -> dict[str, Any]:
        """The inputs."""
        return self.inputs(generator) if callable(self.inputs) else dict(self.inputs)


class OneOf(tuple[Any, ...]):
    """Values of which each is right."""

    __slots__ = ()


@dataclass(frozen=True)
class Reply:
    """What an ask gave: a value, or an error as "Type: message", with its place in the code as file:line."""

    value: Any = None
    error: str = ""
    place: str = ""
    exception: Exception | None = None


@dataclass(frozen=True)
class Finding:
    """One check of an exercise.

    :param name: the check's, unique within its exercise.
    :param passed: whether the code does as asked, among the reference's other exercises or among the student's own.
    :param asked: what it was asked, in the exercise's terms: "the q-values of rewards 1, 0, 2 with gamma 0.5".
    :param expected: what is right, as a text.
    :param got: what came instead: a value, or an exception with its place. Empty if the check passed.
    :param hint: the known mistake that gives this value, as advice to its author. Empty if none does.
    """

    name: str
    passed: bool
    asked: str
    expected: str
    got: str = ""
    hint: str = ""


def load_checks(project: Path) -> list[Check]:
    """A project's checks, in the order of its exercises."""
    return list(_module(project / EXPECTS).CHECKS)


def load_asks(project: Path) -> dict[str, Callable[..., Any]]:
    """The functions that put a project's questions, by name."""
    return dict(_module(project / ASKS).ASKS)


def load_trained(project: Path) -> Any:
    """A project's module that reads what was trained: `results(folder)` and `curves(folder)`."""
    return _module(project / TRAINED)


def _module(file: Path) -> Any:
    """A module or package of any project, by its file."""
    name = f"checks_of_{hashlib.sha256(str(file).encode()).hexdigest()}"
    folders = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where a package's modules look for it
    spec.loader.exec_module(module)
    return module


def put(ask: Callable[..., Any], inputs: Mapping[str, Any], package: Path) -> Reply:
    """Call an ask, in the process of the code that is asked. All that goes wrong is in the reply.

    :param package: the folder of the code's files, in whose terms a place is told.
    """
    try:
        return Reply(value=plain(ask(**inputs)))
    except Exception as error:
        return Reply(None, f"{type(error).__name__}: {error}"[:1000], place_of(error, package), error)


def place_of(error: BaseException, package: Path) -> str:
    """The last line in the package that an error came by, as hw4/file.py:line; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(package):
        return f"hw4/{Path(error.filename).relative_to(package).as_posix()}:{error.lineno}"
    places = [
        f"hw4/{Path(frame.filename).relative_to(package).as_posix()}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(package)
    ]
    return places[-1] if places else ""


def plain(value: Any, depth: int = 0) -> Any:
    """A value of numbers, texts, lists and dicts, as JSON has them: of tensors and arrays their numbers.

    :raises TypeError: it holds something else, or lists in lists in lists.
    """
    if depth > _MAX_DEPTH:
        raise TypeError(f"the value holds lists within lists, more than {_MAX_DEPTH} deep")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part, depth + 1) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.detach().tolist() if hasattr(value, "detach") else value.tolist(), depth + 1)
    raise TypeError(f"{type(value).__name__} is no number, text, list or dict")


def judge(check: Check, inputs: Mapping[str, Any], reply: Reply) -> Finding:
    """Whether a reply is right; if not, how it differs, and which known mistake gives it."""
    asked = check.asked.format(**{name: shown(value) for name, value in inputs.items()})
    right = check.expected(**inputs)
    if _depth(reply.value) > _MAX_DEPTH + 1:  # it did not come from `plain`
        reply = Reply(error="ValueError: the value is no plain one")
    if reply.error:
        at = f" ({reply.place})" if reply.place else ""
        problem = f"{reply.error}{at}"
    elif check.right is not None:
        problem = "" if _holds(check.right, reply.value, inputs) else shown(reply.value)
    else:
        problem = difference(right, reply.value, check.tolerance)
    if not problem:
        return Finding(check.name, True, asked, shown(right))
    value = reply.error or reply.value
    hints = (mistake.hint for mistake in check.mistakes if mistake.explains(inputs, value, right, check.tolerance))
    return Finding(check.name, False, asked, shown(right), problem[:1000], next(hints, ""))


def _depth(value: Any) -> int:
    """How deep lists and dicts are in each other, without recursion."""
    depth, level = 0, [value]
    while level and depth <= _MAX_DEPTH + 1:
        parts = [
            list(part.values()) if isinstance(part, dict) else part for part in level if isinstance(part, (list, dict))
        ]
        level = [inner for part in parts for inner in part]
        depth += bool(parts)
    return depth


def _holds(right: Callable[..., bool], value: Any, inputs: Mapping[str, Any]) -> bool:
    try:
        return bool(right(value, **inputs))
    except _OTHER_KIND:
        return False


def difference(expected: Any, got: Any, tolerance: float) -> str:
    """How a value differs from what is right; empty if it does not."""
    if isinstance(expected, OneOf):
        differences = [difference(right, got, tolerance) for right in expected]
        return "" if "" in differences else differences[0]
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return shown(got)
        lacking = [name for name in expected if name not in got]
        wrong = {
            name: got[name] for name in expected if name in got and difference(expected[name], got[name], tolerance)
        }
        parts = [f"{name}: {shown(value)}" for name, value in wrong.items()] + [f"no {name!r}" for name in lacking]
        return "; ".join(parts)
    if isinstance(expected, (list, tuple)):
        same = isinstance(got, (list, tuple)) and len(got) == len(expected)
        same = same and not any(difference(*pair, tolerance) for pair in zip(expected, got, strict=True))
        return "" if same else shown(got)
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        number = isinstance(got, (int, float)) and not isinstance(got, bool)
        same = (
            number
            and abs(got) < 1e300
            and (got == expected or abs(got - expected) <= tolerance * max(1.0, abs(expected)))
        )
        return "" if same else shown(got)
    return "" if type(got) is type(expected) and got == expected else shown(got)


def shown(value: Any) -> str:
    """A value as a person reads it: numbers with four digits, long ones cut."""
    text = _text(value) or "an empty text"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _text(value: Any) -> str:
    """The text of a value, which is never empty: an empty difference is none."""
    if value in ("", {}):
        return "an empty text" if value == "" else "an empty dict"
    if isinstance(value, OneOf):
        return " or ".join(map(_text, value))
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int) and abs(value) > 10**15:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (int, float)):
        return f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)  # no -0
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value)

"""The checks against solutions other than the project's: right ones pass, and known mistakes are called by their names.

Each row of assets/solutions takes the place of the project's own functions for one test, in this process.
"""

import ast
import importlib
import textwrap
import tomllib
from itertools import combinations
from pathlib import Path
from random import Random

import pytest

import hw4
from cs236781.checks import OneOf, difference, judge, load_asks, load_checks, put
from cs236781.exercises import load_exercises

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(hw4.__file__).parent
ASKS, CHECKS = load_asks(ROOT), load_checks(ROOT)
RIGHT, WRONG = (
    tomllib.loads((ROOT / f"tests/assets/solutions/{kind}.toml").read_text()) for kind in ("right", "wrong")
)
EXERCISES = {function: exercise for exercise in load_exercises(ROOT) for function in exercise.functions}
FIXED = [check for check in CHECKS if not callable(check.inputs)]  # they have inputs that are not drawn

pytestmark = pytest.mark.usefixtures("unchecked")


def findings(solution, monkeypatch, seed=0):
    """Of the checks of the exercises that a solution is of."""
    functions = [name for name in solution if name in EXERCISES]
    for name in functions:
        monkeypatch.setattr(*replacement(name, solution[name]))
    names = {EXERCISES[name].name for name in functions}
    found = []
    for check in CHECKS:
        if check.exercise in names:
            inputs = check.draw(Random(seed))
            found.append(judge(check, inputs, put(ASKS[check.ask], inputs, PACKAGE)))
    return found


def replacement(name, body):
    """The owner of a function or constant, its name there, and the new one."""
    module = importlib.import_module(EXERCISES[name].file.removesuffix(".py").replace("/", "."))
    source = Path(module.__file__).read_text()
    class_, _, function = name.rpartition(".")
    owner = getattr(module, class_) if class_ else module
    node = ast.parse(source)
    for part in name.split("."):
        node = next((child for child in node.body if getattr(child, "name", None) == part), None)
    if node is None:
        return owner, function, body
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    head = textwrap.dedent("\n".join(source.splitlines()[first - 1 : node.body[0].lineno - 1]))
    code = f"{head}\n{textwrap.indent(body.strip(), '    ')}\n"
    # super() looks for a variable of this name around the function, which a class statement makes.
    outer = f"def outer(__class__):\n{textwrap.indent(code, '    ')}\n    return {function}\n"
    names = dict[str, object]()
    exec(compile(outer, "<solution>", "exec"), module.__dict__, names)
    return owner, function, names["outer"](owner)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", RIGHT)
def test_right(name, seed, monkeypatch):
    assert [finding for finding in findings(RIGHT[name], monkeypatch, seed) if not finding.passed] == []


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name, monkeypatch):
    """Every failing check that names a mistake names this one; a row may expect several names for it."""
    expected = WRONG[name]["hint"]
    expected = [expected] if isinstance(expected, str) else expected
    hints = [finding.hint for finding in findings(WRONG[name], monkeypatch) if not finding.passed]
    named = {next((begin for begin in expected if hint.startswith(begin)), hint) for hint in hints if hint}
    assert named == {*expected}
    assert hints[0]  # what is read first


def gives(check):
    """The values of a check's known mistakes, and of `OneOf` each; with the hints.

    Left out is what is right with these inputs, and so explains nothing.
    """
    found, right = [], check.expected(**check.inputs)
    for mistake in check.mistakes:
        if mistake.gives is not None:
            value = mistake.gives(**check.inputs)
            found += [(mistake.hint, one) for one in (value if isinstance(value, OneOf) else [value])]
    return [(hint, value) for hint, value in found if difference(value, right, check.tolerance)]


@pytest.mark.parametrize("check", FIXED, ids=lambda check: check.id)
def test_no_two_mistakes_give_the_same(check):
    """No value of a mistake is explained by one before it."""
    alike = [
        (one[0], other[0])
        for one, other in combinations(gives(check), 2)
        if one[0] != other[0] and difference(one[1], other[1], check.tolerance) == ""
    ]
    assert alike == []


@pytest.mark.parametrize("exercise", dict.fromkeys(check.exercise for check in FIXED if gives(check)))
def test_an_example_shows_every_mistake(exercise):
    """Every mistake of an exercise gives another value than the right one, in one of the fixed examples."""
    own = [check for check in FIXED if check.exercise == exercise]
    known = {mistake.hint for check in own for mistake in check.mistakes if mistake.gives is not None}
    assert known == {hint for check in own for hint, _ in gives(check)}

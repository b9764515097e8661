import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs236781.checks import Check, Mistake, OneOf, Reply, difference, judge, place_of, plain, put, shown

TOLERANCE = 1e-4
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=5)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=3),
        max_leaves=8,
    )


VALUES = nested(LEAVES)
# What code that is checked can reply: all that JSON can hold, as Python reads it.
HOSTILE = nested(LEAVES | st.sampled_from([math.nan, math.inf, -math.inf, 10**1000, -(10**1000), 1e308, "\ud800"]))


def check(expected=1.0, **fields):
    return Check("add", "by hand", "{a} and {b}", "add", {"a": 1, "b": 2}, lambda a, b: expected, **fields)


def finding(value, **fields):
    return judge(check(**fields), {"a": 1, "b": 2}, Reply(value))


# --- difference


@given(VALUES)
def test_a_value_is_not_different_from_itself(value):
    assert difference(value, value, TOLERANCE) == ""


@given(VALUES, HOSTILE)
def test_nothing_that_is_got_raises(expected, got):
    assert isinstance(difference(expected, got, TOLERANCE), str)


@given(NUMBERS, st.floats(-0.9, 0.9))
def test_numbers_within_the_tolerance_are_alike(number, part):
    got = number + part * TOLERANCE * max(1.0, abs(number))
    assert difference(number, got, TOLERANCE) == ""


@given(st.floats(-1e12, 1e12), st.sampled_from([-1.5, 1.5]))
def test_numbers_beyond_the_tolerance_are_not(number, part):
    got = number + part * TOLERANCE * max(1.0, abs(number))
    assert difference(number, got, TOLERANCE) != ""


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (1.0, 1),
        (1, 1.00009),
        (2000.0, 2000.19),
        ([1.0, 2.0], (1, 2)),
        ({"a": 1}, {"a": 1, "b": "more"}),
        ({"a": [1, {"b": 2}]}, {"a": [1.0, {"b": 2.0, "c": None}]}),
        (OneOf((1, "x")), "x"),
        ([OneOf((1, 2)), 3], [2, 3]),
        ("text", "text"),
        (None, None),
        (True, True),
    ],
)
def test_what_is_as_expected(expected, got):
    assert difference(expected, got, TOLERANCE) == ""


@pytest.mark.parametrize(
    ("expected", "got", "text"),
    [
        (1.0, 1.1, "1.1"),
        (1, True, "True"),
        (True, 1, "1"),
        (0, None, "None"),
        (1.0, "1.0", "1.0"),
        (0.0, math.nan, "nan"),
        (0.0, math.inf, "inf"),
        (0.0, 10**1000, "an integer of 3322 bits"),
        ([1, 2], [1, 2, 3], "[1, 2, 3]"),
        ([1, 2], [2, 1], "[2, 1]"),
        ([1, 2], 1, "1"),
        (1.0, "", "an empty text"),
        (1.0, {}, "an empty dict"),
        ({"a": 1}, {}, "no 'a'"),
        (1.0, [], "[]"),
        (OneOf((1, 2)), "", "an empty text"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b: 3"),
        ({"a": 1, "b": 2}, {"b": 3}, "b: 3; no 'a'"),
        ({"a": 1}, [1], "[1]"),
        (OneOf((1, 2)), 3, "3"),
        ("text", "Text", "Text"),
    ],
)
def test_what_is_not(expected, got, text):
    assert difference(expected, got, TOLERANCE) == text
    assert not finding(got, expected=expected).passed


# --- shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (1 / 3 * 1e-9, "3.333e-10"),
        (123456, "123456"),
        (True, "True"),
        (None, "None"),
        ("a text", "a text"),
        ([1, [2.0, "x"]], "[1, [2, x]]"),
        ({"a": 1, "b": [0.5]}, "a: 1; b: [0.5]"),
        (OneOf((1, 2)), "1 or 2"),
        (10**16, "an integer of 54 bits"),
        (-(10**16), "an integer of 54 bits"),
        (math.nan, "nan"),
    ],
)
def test_shown(value, text):
    assert shown(value) == text


@given(HOSTILE)
def test_what_is_shown_is_short_and_not_empty(value):
    assert 1 <= len(shown(value)) <= 303


# --- plain


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (torch.tensor([[1.0, 2.0]], requires_grad=True), [[1.0, 2.0]]),
        (torch.tensor(3), 3),
        (np.array([1, 2]), [1, 2]),
        (np.float32(0.5), 0.5),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        ({1: torch.ones(1)}, {"1": [1.0]}),
        ("text", "text"),
    ],
)
def test_plain(value, same):
    assert plain(value) == same


@given(VALUES)
def test_what_is_plain_stays_as_it_is(value):
    assert plain(value) == value
    assert json.loads(json.dumps(plain(value))) == value


class Endless:
    def tolist(self):
        return self


def list_of(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("value", [object(), b"bytes", {1}, iter([1]), [1, [object()]], Endless(), list_of(99), CIRCLE])
def test_what_cannot_be_plain(value):
    with pytest.raises(TypeError):
        plain(value)


# --- judge


def test_a_right_value():
    found = finding(1.0)
    assert (found.name, found.passed, found.asked, found.expected) == ("by hand", True, "1 and 2", "1")
    assert (found.got, found.hint) == ("", "")


def test_a_wrong_value_without_a_known_mistake():
    found = finding(5.0)
    assert (found.passed, found.got, found.hint) == (False, "5", "")


MISTAKES = [
    Mistake("the difference", gives=lambda a, b: a - b),
    Mistake("the product", gives=lambda a, b: OneOf((a * b, b * a))),
    Mistake("a text", shows=lambda got: got.startswith("t")),
    Mistake("nothing else", gives=lambda a, b: a - b),
]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (-1, "the difference"),
        (-1.00001, "the difference"),
        (2, "the product"),
        ("text", "a text"),
        ("other", ""),
        ([], ""),
        (math.nan, ""),
        (None, ""),
        (10**1000, ""),
        (True, ""),
    ],
)
def test_the_first_mistake_that_explains_a_value_is_named(value, hint):
    assert finding(value, mistakes=MISTAKES).hint == hint


def test_a_mistake_that_gives_what_is_right_explains_nothing():
    """The first changes nothing of x here, and the value is wrong for its y."""
    mistakes = [Mistake("x", gives=lambda a, b: {"x": 1}), Mistake("y", gives=lambda a, b: {"y": 3})]
    assert finding({"x": 1, "y": 3}, expected={"x": 1, "y": 2}, mistakes=mistakes).hint == "y"


def test_no_mistake_is_named_for_what_is_right():
    assert finding(1.0, mistakes=[Mistake("always", shows=lambda got: True)]).hint == ""


@pytest.mark.parametrize("error", [TypeError, KeyError, IndexError, ValueError, AttributeError, ZeroDivisionError])
def test_a_formula_that_raises_explains_nothing(error):
    def fail(*_, **__):
        raise error("not of this kind")

    assert finding(5.0, mistakes=[Mistake("a", gives=fail), Mistake("b", shows=fail)]).hint == ""
    assert not finding(5.0, right=fail).passed


def test_an_error_is_told_with_its_place():
    reply = Reply(error="ValueError: no", place="hw4/a.py:3")
    found = judge(check(mistakes=[Mistake("it raises", shows=lambda got: "no" in got)]), {"a": 1, "b": 2}, reply)
    assert (found.passed, found.got, found.hint) == (False, "ValueError: no (hw4/a.py:3)", "it raises")


def test_an_error_is_never_right():
    reply = Reply(value=1.0, error="ValueError: no")
    assert not judge(check(right=lambda got, a, b: True), {"a": 1, "b": 2}, reply).passed


def test_a_predicate_decides_instead_of_the_expected_value():
    assert finding(7, expected="an odd number", right=lambda got, a, b: got % 2 == 1).passed
    found = finding(8, expected="an odd number", right=lambda got, a, b: got % 2 == 1)
    assert (found.passed, found.expected, found.got) == (False, "an odd number", "8")


@given(HOSTILE)
def test_no_reply_raises(value):
    mistakes = [*MISTAKES, Mistake("x", gives=lambda a, b: {"x": [1.0, OneOf((2, 3))]})]
    for expected in (1.0, [1.0], {"a": [1.0]}, "text"):
        assert finding(value, expected=expected, mistakes=mistakes).name == "by hand"
    assert finding(value, right=lambda got, a, b: math.isfinite(got["a"]), mistakes=mistakes).passed in (True, False)


@pytest.mark.parametrize("depth", [30, 900, 100_000])
@pytest.mark.parametrize("wrap", [lambda part: [part], lambda part: {"a": part}])
def test_no_nesting_is_too_deep(depth, wrap):
    """A value that did not come from `plain` is one that the code wrote into the report itself."""
    value = 1
    for _ in range(depth):
        value = wrap(value)
    found = finding(value, mistakes=MISTAKES)
    assert (found.passed, found.got) == (False, "ValueError: the value is no plain one")


def test_a_finding_is_short():
    assert len(finding({str(i): "x" * 1000 for i in range(100)}, expected={str(i): 0 for i in range(100)}).got) <= 1000


def test_inputs_are_drawn_or_copied():
    drawn = check(expected=3)
    assert drawn.draw(random.Random(0)) == {"a": 1, "b": 2}
    drawn.draw(random.Random(0))["a"] = 7
    assert drawn.draw(random.Random(0)) == {"a": 1, "b": 2}
    by_chance = Check("add", "drawn", "", "add", lambda generator: {"a": generator.random()}, lambda a: a)
    assert by_chance.draw(random.Random(1)) == {"a": random.Random(1).random()}
    assert by_chance.id == "add: drawn"


# --- put and place_of


@pytest.fixture
def package(tmp_path):
    """A module whose function `fail` raises at its line 2."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a.py").write_text("def fail(error):\n    raise error\n")
    return tmp_path


def functions_of(file):
    names = {}
    exec(compile(file.read_text(), file, "exec"), names)
    return names


def test_put_gives_a_plain_value(package):
    assert put(lambda a: torch.tensor([a]), {"a": 2}, package) == Reply([2])


def test_put_gives_an_error_and_its_place(package):
    error = KeyError("no such name")
    reply = put(functions_of(package / "inner/a.py")["fail"], {"error": error}, package)
    assert reply == Reply(None, "KeyError: 'no such name'", "hw4/inner/a.py:2", error)


def test_an_error_elsewhere_has_no_place(package):
    assert put(lambda: 1 / 0, {}, package).place == ""


def test_the_last_place_in_the_package_counts(package):
    """An error in a library, called from the package, called from a test."""
    (package / "b.py").write_text("import json\n\n\ndef read(text):\n    return json.loads(text)\n")
    reply = put(functions_of(package / "b.py")["read"], {"text": "{"}, package)
    assert reply.place == "hw4/b.py:5"


def test_the_place_of_a_syntax_error(package):
    (package / "b.py").write_text("x = 1\n\ndef f(:\n")
    with pytest.raises(SyntaxError) as caught:
        functions_of(package / "b.py")
    assert place_of(caught.value, package) == "hw4/b.py:3"


def test_a_long_message_is_cut(package):
    def ask():
        raise ValueError("x" * 5000)

    assert len(put(ask, {}, Path("/nowhere")).error) == 1000


def test_a_value_that_cannot_be_plain_is_an_error(package):
    assert put(object, {}, package).error == "TypeError: object is no number, text, list or dict"


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), NotImplementedError("add"), StopIteration()])
def test_any_exception_is_caught(package, error):
    reply = put(functions_of(package / "inner/a.py")["fail"], {"error": error}, package)
    assert reply.error.startswith(type(error).__name__)


def test_what_ends_the_process_is_not_caught(package):
    with pytest.raises(SystemExit):
        put(functions_of(package / "inner/a.py")["fail"], {"error": SystemExit(0)}, package)

"""Statistics over seeds, against values worked out by hand and properties that they must have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw4.study.statistics import bootstrap_ci, interquartile_mean

SEEDS = st.lists(st.floats(-500, 300), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 3.0], 2.0),  # a quarter of three is less than one
        ([0.0, 1.0, 3.0, 100.0], 2.0),
        ([-900.0, -900.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 900.0, 900.0], 3.5),
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(np.array(values)) == pytest.approx(expected)


@given(SEEDS)
def test_the_interval_holds_the_estimate_and_lies_within_the_data(values):
    value, low, high = bootstrap_ci(np.array(values))
    assert min(values) - 1e-9 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= max(values) + 1e-9


@given(SEEDS, st.floats(-50, 50))
def test_a_shift_of_all_values_shifts_the_interval(values, shift):
    before, after = bootstrap_ci(np.array(values)), bootstrap_ci(np.array(values) + shift)
    assert np.allclose(np.array(after), np.array(before) + shift)


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0]])
def test_one_seed_or_agreeing_seeds_leave_no_interval(values):
    assert [float(end) for end in bootstrap_ci(np.array(values))] == [5.0, 5.0, 5.0]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """200 samples of 20 from a normal distribution. A percentile bootstrap falls a little short of its 95%."""
    _, low, high = bootstrap_ci(np.random.default_rng(0).normal(size=(20, 200)))
    assert 0.85 <= np.mean((low <= 0) & (high >= 0)) <= 0.99


def test_points_are_estimated_each_by_itself():
    values = np.random.default_rng(1).normal(size=(10, 3))
    estimate = bootstrap_ci(values)
    assert [len(part) for part in estimate] == [3, 3, 3]
    assert estimate.value == pytest.approx([float(interquartile_mean(column)) for column in values.T])

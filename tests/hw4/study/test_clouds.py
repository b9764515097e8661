"""Clouds of gradients, from estimates made by hand."""

import numpy as np
import pytest

from hw4.rl_ac import AACPolicyAgent
from hw4.study import clouds, lesson
from hw4.study.analysis import Estimates


@pytest.fixture
def estimates():
    """Of 40 batches and three parameters: the truth is (2, 0, 0), and the total return's noise is along the second."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 1))
    noise -= noise.mean()
    truth = np.array([2.0, 0.0, 0.0])
    losses = rng.normal(size=40)
    return {
        "total return": Estimates(truth + noise * np.array([0.0, 10.0, 0.0]), losses),
        "batch mean": Estimates(0.75 * truth + noise * np.array([0.0, 1.0, 0.0]), losses),
        "leave-one-out": Estimates(truth + noise * np.array([0.0, 1.0, 0.0]), 3 * losses),
    }


def test_the_plane_has_the_mean_gradient_and_the_largest_noise_for_axes(estimates):
    made = clouds.clouds(estimates)
    assert made["leave-one-out"].points[:, 0] == pytest.approx(2.0)
    across = np.abs(made["total return"].points[:, 1])
    assert across == pytest.approx(np.abs(estimates["total return"].gradients[:, 1]))


def test_what_is_kept_is_the_length_along_the_mean(estimates):
    made = clouds.clouds(estimates)
    assert {name: cloud.kept for name, cloud in made.items()} == pytest.approx(
        {"total return": 1.0, "batch mean": 0.75, "leave-one-out": 1.0}
    )
    assert made["batch mean"].error == pytest.approx(0, abs=1e-9)


def test_variance_and_the_losses_spread(estimates):
    made = clouds.clouds(estimates)
    assert made["total return"].variance == pytest.approx(100 * made["leave-one-out"].variance)
    assert made["leave-one-out"].loss_deviation == pytest.approx(3 * made["batch mean"].loss_deviation)


def test_the_table_has_a_row_for_each(estimates):
    table = clouds.table(clouds.clouds(estimates)).splitlines()
    assert len(table) == 2 + len(estimates)
    assert "75% +- 0%" in table[3]


def test_the_committed_run_gives_clouds_of_each_estimator():
    run = lesson.load()
    made = clouds.clouds_at(run.stages[0], AACPolicyAgent, run.hyperparams, seed=0, batches=3)
    assert list(made) == ["total return", "reward to go", "batch mean", "leave-one-out", "critic"]
    assert all(cloud.points.shape == (3, 2) for cloud in made.values())

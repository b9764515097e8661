"""What a handful of seeds say about a configuration: the interquartile mean, and how sure of it one can be.

A mean over seeds follows its luckiest run, a median forgets most of them; the interquartile mean, that of the middle
half, is between the two (Agarwal et al., 2021, https://arxiv.org/abs/2108.13264).
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A statistic over seeds, with the ends of its confidence interval."""

    value: Float64[np.ndarray, "*P"]
    low: Float64[np.ndarray, "*P"]
    high: Float64[np.ndarray, "*P"]


def interquartile_mean(values: Float[np.ndarray, "... S"], axis: int = -1) -> Float64[np.ndarray, "..."]:
    """The mean of what is left of S values without the lowest and the highest quarter, each rounded down."""
    return np.asarray(stats.trim_mean(np.asarray(values, dtype=np.float64), 0.25, axis=axis))


def estimate(
    values: Float[np.ndarray, "S *P"],
    statistic: Callable[..., Float64[np.ndarray, "..."]] = interquartile_mean,
) -> Estimate:
    """A statistic of S seeds' values, at each of P points, with its 95% percentile bootstrap interval over the seeds.

    :param statistic: maps (values, axis) to that axis's statistic.
    :return: of one seed, or of seeds that agree, the interval is the value itself. Equal values give equal intervals.
    """
    values = np.asarray(values, dtype=np.float64)
    value = np.asarray(statistic(values, axis=0))
    if len(values) < 2:
        return Estimate(value, value, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (values,),
            statistic,
            axis=0,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return Estimate(value, np.asarray(interval.low), np.asarray(interval.high))

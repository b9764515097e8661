"""What a handful of seeds say about a configuration: the interquartile mean, and a confidence interval for it.

A mean over seeds follows its luckiest run. A median forgets most of them. The interquartile mean, that of the middle
half, lies between the two (Agarwal et al., 2021, https://arxiv.org/abs/2108.13264).
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A statistic over seeds, at each of P points, with the ends of its confidence interval."""

    value: Float64[np.ndarray, "*P"]
    low: Float64[np.ndarray, "*P"]
    high: Float64[np.ndarray, "*P"]


def interquartile_mean(values: Float[np.ndarray, "... S"], axis: int = -1) -> Float64[np.ndarray, "..."]:
    """The mean of S values without the lowest and the highest quarter. The size of a quarter is rounded down."""
    return np.asarray(stats.trim_mean(np.asarray(values, dtype=np.float64), 0.25, axis=axis))


def bootstrap_ci(values: Float[np.ndarray, "S *P"]) -> Estimate:
    """The interquartile mean of S seeds at each of P points, with its 95% percentile bootstrap interval.

    :return: for one seed, or seeds that agree, the interval is the value itself. Equal values give equal intervals.
    """
    values = np.asarray(values, dtype=np.float64)
    value = interquartile_mean(values, axis=0)
    if len(values) < 2:
        return Estimate(value, value, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (values,),
            interquartile_mean,
            axis=0,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return Estimate(value, np.asarray(interval.low), np.asarray(interval.high))

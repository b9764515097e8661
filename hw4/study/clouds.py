"""The noise of the policy gradient, seen: many batches at one policy, by each estimator, as points in a plane."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from tabulate import tabulate

from hw4.rl_pg import PolicyAgent
from hw4.rollout.collect import torch_threads
from hw4.study.analysis import Estimates, discount_after, estimate
from hw4.study.evaluation import fresh_flights
from hw4.study.lesson import Stage

BATCHES = 50
BATCH_SIZE = 8  # episodes
REFERENCE = "leave-one-out"  # unbiased, and quieter than the others that need no critic


class Cloud(NamedTuple):
    """An estimator's gradients, and how far they are from the reference's.

    :param points: along the reference's mean, and along the direction across it in which the total return's gradients
        vary most.
    :param kept: how much of the reference's mean the estimator's has, along it; 1 without a bias.
    :param error: the standard error of `kept`, from the differences between the two in the same batches.
    :param variance: the sum of the components' variances, over all parameters.
    :param loss_deviation: the standard deviation of the losses.
    """

    points: Float64[np.ndarray, "B 2"]
    kept: float
    error: float
    variance: float
    loss_deviation: float


def clouds_at(
    stage: Stage, agent_type: type[PolicyAgent], hp: Mapping[str, Any], seed: int, batches: int = BATCHES
) -> dict[str, Cloud]:
    """Play batches by the policy of a stage, and estimate the gradient from each by every estimator.

    :param hp: the run's hyperparameters.
    :param seed: of the episodes.
    """
    flights = fresh_flights(agent_type, stage.p_net, hp.get("action_repeat", 1), batches * BATCH_SIZE, seed)
    episodes = [flight.episode for flight in flights]
    with torch_threads(1):  # the batches are small
        return clouds(estimate(stage.p_net, episodes, BATCH_SIZE, discount_after(stage.episodes, hp)))


def clouds(estimates: Mapping[str, Estimates]) -> dict[str, Cloud]:
    """Project every estimator's gradients into one plane.

    :param estimates: of the same B batches, two or more.
    """
    reference = estimates[REFERENCE].gradients
    length = float(np.linalg.norm(reference.mean(axis=0)))
    along = reference.mean(axis=0) / length
    rest = estimates["total return"].gradients
    rest = rest - rest.mean(axis=0)
    rest = rest - np.outer(rest @ along, along)
    across = np.linalg.svd(rest, full_matrices=False)[2][0]
    plane = np.column_stack([along, across])  # (P, 2)
    result = {}
    for name, (gradients, losses) in estimates.items():
        shares = (gradients - reference) @ along / length
        result[name] = Cloud(
            points=gradients @ plane,
            kept=1 + float(shares.mean()),
            error=float(shares.std(ddof=1)) / math.sqrt(len(shares)),
            variance=float(gradients.var(axis=0, ddof=1).sum()),
            loss_deviation=float(losses.std(ddof=1)),
        )
    return result


def table(of: Mapping[str, Cloud]) -> str:
    """What the clouds say, as a Markdown table."""
    rows = [
        {
            "weight of log pi": name,
            "of the gradient it keeps (+- standard error)": f"{cloud.kept:.0%} +- {cloud.error:.0%}",
            "variance of the gradient": f"{cloud.variance:.3g}",
            "standard deviation of the loss": f"{cloud.loss_deviation:.3g}",
        }
        for name, cloud in of.items()
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)

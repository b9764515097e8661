"""One update."""

from functools import partial
from typing import Any

from cs236781.checks import Check, Mistake, OneOf


def descents(factors: dict[str, float], learn_rate: float, n: int) -> dict[str, Any]:
    """The output is 2 w, so the gradient of factor times its mean is 2 factor, whatever w is."""
    slope = 2 * sum(factors.values())
    weights = [1 - learn_rate * slope * k for k in range(n + 1)]
    return {
        "weight after each": weights[1:],
        "total of each": [slope * w for w in weights[:-1]],
        "reports": [{name: 2 * factor * w for name, factor in factors.items()} for w in weights[:-1]],
    }


def stepped(factors: dict[str, float], learn_rate: float, n: int, slopes: Any) -> dict[str, Any]:
    """The weights after steps of these slopes."""
    weights = [1.0]
    for k in range(n):
        weights.append(weights[-1] - learn_rate * slopes(list(factors.values()), k))
    return {"weight after each": weights[1:]}


def one_by_one(factors: dict[str, float], learn_rate: float, n: int) -> list[float]:
    """The totals, where each loss is computed after the step on the one before."""
    weight, totals = 1.0, []
    for _ in range(n):
        totals.append(0.0)
        for factor in factors.values():
            totals[-1] += 2 * factor * weight
            weight -= learn_rate * 2 * factor
    return totals


UPDATE_MISTAKES = [
    Mistake(hint, gives=partial(stepped, slopes=slopes))
    for hint, slopes in (
        (
            "The gradients of earlier batches are still there: call self.optimizer.zero_grad() before backward().",
            lambda factors, k: 2 * sum(factors) * (k + 1),
        ),
        ("The weights stay as they are: call self.optimizer.step() after backward().", lambda factors, k: 0.0),
        ("Only the first loss is learned from: sum all of self.losses.", lambda factors, k: 2 * factors[0]),
        ("Only the last loss is learned from: sum all of self.losses.", lambda factors, k: 2 * factors[-1]),
        (
            "The losses are averaged: sum them.",
            lambda factors, k: 2 * sum(factors) / len(factors),
        ),
    )
] + [
    Mistake(
        "There is a step for each loss. Sum the losses first, and take one step on the sum.",
        gives=lambda factors, learn_rate, n: {
            "total of each": one_by_one(factors, learn_rate, n),
            "weight after each": descents(factors, learn_rate, n)["weight after each"],
        },
    ),
    Mistake(
        "The dict lacks what some losses report: merge the dicts of all.",
        gives=lambda factors, n, **_: {
            "names": OneOf([[[]] * n, *([[name]] * n for name in factors if len(factors) > 1)])
        },
    ),
    Mistake(
        "The total that is returned is not the sum of the losses.",
        shows=lambda got: any(
            abs(total - sum(report.values())) > 1e-3
            for total, report in zip(got["total of each"], got["reports"], strict=True)
        ),
    ),
    Mistake(
        "train_batch returns two things: the total loss, and a dict of what the losses report.",
        shows=lambda got: "unpack" in str(got) or "NoneType" in str(got),
    ),
]
UPDATE_CHECKS = [
    Check(
        "PolicyTrainer.train_batch",
        name,
        "{n} updates of a weight 1 in state 2, with losses {factors} times the output and learning rate {learn_rate}",
        "updates",
        inputs,
        descents,
        mistakes=UPDATE_MISTAKES,
    )
    for name, inputs in (
        ("one loss", {"factors": {"loss_a": 0.5}, "learn_rate": 0.1, "n": 1}),
        ("two losses, two batches", {"factors": {"loss_a": 0.5, "loss_b": 1.0}, "learn_rate": 0.1, "n": 2}),
        (
            "drawn losses",
            lambda generator: {
                "factors": {f"loss_{name}": round(generator.uniform(0.2, 2), 2) for name in "xyz"},
                "learn_rate": 0.01,
                "n": 3,
            },
        ),
    )
]

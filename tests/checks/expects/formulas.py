"""The formulas that several exercises share, in plain Python."""

import math
from collections.abc import Sequence

Rows = Sequence[Sequence[float]]


def returns(rewards: Sequence[float], gamma: float) -> list[float]:
    """q_t, the sum over t' >= t of gamma^(t'-t) r_{t'+1}."""
    n = len(rewards)
    return [sum(gamma ** (k - t) * rewards[k] for k in range(t, n)) for t in range(n)]


def softmax(logits: Sequence[float]) -> list[float]:
    """exp(z_i) / sum of exp(z)."""
    largest = max(logits)
    parts = [math.exp(z - largest) for z in logits]
    return [part / sum(parts) for part in parts]


def log_softmax(logits: Sequence[float]) -> list[float]:
    """The logarithms of the softmax, which may be far below those of the smallest positive number."""
    largest = max(logits)
    log_sum = largest + math.log(sum(math.exp(z - largest) for z in logits))
    return [z - log_sum for z in logits]


def entropy(p: Sequence[float]) -> float:
    """-sum p log p, where 0 log 0 is 0."""
    return -sum(x * math.log(x) for x in p if x > 0)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def transposed(rows: Rows) -> list[list[float]]:
    """Columns for rows."""
    return [list(column) for column in zip(*rows, strict=True)]

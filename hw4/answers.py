"""The hyperparameters of the assignment's runs, and the written answers to its questions."""

from typing import Any


def part1_pg_hyperparams() -> dict[str, Any]:
    """What the four policy-gradient runs are trained with."""
    return {
        "batch_size": 10,  # episodes: small, for many updates in the 6000 episodes
        "gamma": 0.99,
        "beta": 1.0,  # of the entropy loss, at the start
        "beta_final": 0.0,  # and at the end: exploring first, landing with a steady hand last
        "learn_rate": 0.02,
        "learn_rate_final": 0.002,
        "eps": 1e-8,
        "hidden_layers": [256],
        "orthogonal": True,
    }


def part1_aac_hyperparams() -> dict[str, Any]:
    """What the actor-critic runs are trained with."""
    return {
        "batch_size": 5,  # episodes: the critic takes out enough variance for yet smaller batches
        "gamma": 0.995,
        "beta": 0.5,
        "beta_final": 0.0,
        "delta": 0.03,  # returns are in the hundreds, so their squares would drown the policy's term
        "learn_rate": 0.015,
        "learn_rate_final": 0.0015,
        "eps": 1e-8,
        "hidden_layers": [128],
        "orthogonal": True,
    }


part1_q1 = ""
part1_q2 = ""
part1_q3 = ""

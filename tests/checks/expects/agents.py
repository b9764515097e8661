"""The agents: distributions, steps, recorded episodes."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

from cs236781.checks import Check, Mistake, OneOf

from .formulas import Rows, log_softmax, softmax


def agent_checks(exercise: str, critic: bool) -> list[Check]:
    """What both agents' distributions are asked."""

    def at_states(weights: Rows, n: int, **_others: Any) -> list[list[float]]:
        return [softmax([row[1] * t for row in weights]) for t in range(n)]

    mistakes = [
        Mistake(
            "These are the logits. Probabilities are their softmax: torch.softmax(logits, dim=-1).",
            gives=lambda logits, **_: list(logits),
        ),
        Mistake(
            "These are logarithms of probabilities: use softmax, not log_softmax.",
            gives=lambda logits, **_: log_softmax(logits),
        ),
        Mistake(
            "The logits are divided by their sum. Probabilities are their softmax, which is never negative.",
            gives=lambda logits, **_: [z / sum(logits) for z in logits],
        ),
        Mistake(
            "These are exp(logits). Divide them by their sum, or use torch.softmax: probabilities sum up to 1.",
            gives=lambda logits, **_: [math.exp(z) for z in logits],
        ),
        Mistake(
            "Each probability is 1: this is a softmax over a batch of one state. Take it over the actions, dim=-1.",
            shows=lambda got: all(x == 1.0 for x in (got[0] if isinstance(got[0], list) else got)),
        ),
        Mistake(
            "The shape is (1, A): one state's distribution has the shape (A,). Take away the axis of the batch.",
            gives=lambda logits, **_: [softmax(logits)],
        ),
        Mistake(
            "This is the likeliest action alone, not the distribution.",
            gives=lambda logits, **_: [float(z == max(logits)) for z in logits],
        ),
        Mistake("The method returns nothing.", shows=lambda got: got is None),
        Mistake(
            "This network returns logits and values: take the first output for the policy.",
            shows=lambda got: "tuple" in str(got),
        ),
    ]
    return [
        Check(
            exercise,
            "by hand",
            "the distribution where the logits are 0, log 2 and log 5",
            "distribution",
            {"critic": critic, "logits": [0.0, math.log(2), math.log(5)]},
            lambda **_: [1 / 8, 2 / 8, 5 / 8],
            mistakes=mistakes,
        ),
        Check(
            exercise,
            "drawn logits",
            "the distribution where the logits are {logits}",
            "distribution",
            lambda generator: {"critic": critic, "logits": [round(generator.uniform(-3, 3), 2) for _ in range(4)]},
            lambda logits, **_: softmax(logits),
            mistakes=mistakes,
        ),
        Check(
            exercise,
            "of the current state",
            "the distribution in each of {n} states, of a network whose logits depend on the state",
            "distribution_of_states",
            lambda generator: {
                "critic": critic,
                "weights": [[0.0, round(generator.uniform(-1, 1), 2)] for _ in range(3)],
                "n": 3,
            },
            at_states,
            mistakes=[
                Mistake(
                    "The distribution is the same in all states: it must be of the state that the agent is in now.",
                    gives=lambda weights, n, **_: [at_states(weights, 1)[0]] * n,
                ),
                *mistakes[-2:],
            ],
        ),
    ]


def scripted(lengths: Sequence[int], n: int, **_others: Any) -> dict[str, Any]:
    """n steps of the scripted environment: state (k, t), reward 10 k + t + 1."""
    steps = [(k, t, length) for k, length in enumerate(list(lengths) * n) for t in range(length)][:n]
    return {
        "states": [[k, t] for k, t, _ in steps],
        "rewards": [10 * k + t + 1 for k, t, _ in steps],
        "is_done": [t == length - 1 for _, t, length in steps],
    }


def following(lengths: Sequence[int], n: int, **_others: Any) -> dict[str, Any]:
    """The same, but with the state after each step: an episode's last one, or the next one's first."""
    right = scripted(lengths, n)
    pairs = list(zip(right["states"], right["is_done"], strict=True))
    last = [[k, t + 1] for (k, t), _ in pairs]
    first = [[k + 1, 0] if done else [k, t + 1] for (k, t), done in pairs]
    return {**right, "states": OneOf((last, first))}


NO_RESET = Mistake(
    "The agent steps on after an episode's end. step() begins the next episode by itself: reset if self.is_done.",
    shows=lambda got: "must be reset" in str(got),
)
STEP_MISTAKES = [
    Mistake(
        "The experience holds the state after the step. It holds the state in which the agent acted: keep it before "
        "env.step.",
        gives=following,
    ),
    NO_RESET,
    Mistake(
        "The rewards are summed up: an experience holds the reward of its own step.",
        shows=lambda got: got["rewards"][:3] == [1, 3, 6],
    ),
]


def drawn_policy(generator: Random) -> dict[str, Any]:
    """A policy of three actions, and how often to draw from it."""
    logits = [round(generator.uniform(-1, 1), 2) for _ in range(3)]
    return {"logits": logits, "probabilities": softmax(logits), "n": 2000, "seed": generator.randrange(2**31)}


def likely(got: dict[str, Any], probabilities: Sequence[float], n: int, **_others: Any) -> bool:
    """Whether counts are within six standard deviations of what is expected."""
    pairs = zip(got["counts"], probabilities, strict=True)
    close = all(abs(count - n * p) <= 6 * math.sqrt(n * p * (1 - p)) for count, p in pairs)
    return close and got["as given to the environment"]


STEP_CHECKS = [
    Check(
        "PolicyAgent.step",
        "an experience",
        "an Experience with a float tensor as state, and an action",
        "step_types",
        {},
        lambda: {"experience": "Experience", "state": "a float tensor", "state's shape": [2], "action": "an integer"},
        mistakes=[
            Mistake(
                "The state is an array: keep it as a float32 tensor.",
                shows=lambda got: got["state"] in ("ndarray", "list") or got["state"] == "Tensor",
            )
        ],
    ),
    Check(
        "PolicyAgent.step",
        "by hand",
        "six steps in episodes of 3, 1 and 4 steps, where step t of episode k pays 10 k + t + 1 in state (k, t)",
        "steps",
        {"critic": False, "lengths": [3, 1, 4], "ends": "terminated", "n": 6},
        scripted,
        mistakes=STEP_MISTAKES,
    ),
    Check(
        "PolicyAgent.step",
        "time limits",
        "{n} steps in episodes of {lengths} steps that a time limit ends (truncated)",
        "steps",
        lambda generator: {
            "critic": False,
            "lengths": [generator.randint(2, 4) for _ in range(3)],
            "ends": "truncated",
            "n": 12,
        },
        scripted,
        mistakes=[
            Mistake(
                "An episode that its time limit ended goes on: done is terminated or truncated.",
                shows=lambda got: "must be reset" in str(got) or True not in got["is_done"],
            ),
            *STEP_MISTAKES,
        ],
    ),
    Check(
        "PolicyAgent.step",
        "drawn actions",
        "{n} actions drawn from a softmax of the logits {logits}",
        "actions",
        drawn_policy,
        lambda probabilities, n, **_: {
            "counts": [round(n * x) for x in probabilities],
            "as given to the environment": True,
        },
        right=likely,
        mistakes=[
            Mistake(
                "The action is always the likeliest one. Draw it from the distribution: otherwise nothing else is "
                "ever tried.",
                shows=lambda got: sum(count > 0 for count in got["counts"]) == 1,
            ),
            Mistake(
                "The actions are drawn, but not by the network's probabilities: all come equally often.",
                shows=lambda got: max(got["counts"]) - min(got["counts"]) < 0.12 * sum(got["counts"]),
            ),
            Mistake(
                "The experience's action is not the one that the environment was given.",
                shows=lambda got: not got["as given to the environment"],
            ),
        ],
    ),
]

MONITOR_CHECKS = [
    Check(
        "PolicyAgent.monitor_episode",
        "by hand",
        "an episode of {length} steps that pay 1, 2, ..., recorded",
        "monitored",
        lambda generator: {"length": generator.randint(4, 6)},
        lambda length: {
            "steps": length,
            "reward": sum(range(1, length + 1)),
            "videos": 1,
            "frames": OneOf((length, length + 1)),
        },
        mistakes=[
            Mistake(
                "The last step is not counted: add its reward before you look whether the episode is done.",
                gives=lambda length: {"reward": sum(range(1, length))},
            ),
            Mistake(
                "No video is there: put a VideoRecorder around the environment, and close it when the episode is over.",
                shows=lambda got: got["videos"] == 0,
            ),
            Mistake(
                "The environment needs render_mode='rgb_array' to be filmed.", shows=lambda got: "render" in str(got)
            ),
            Mistake(
                "The reward is that of the last step: add up those of all steps.",
                gives=lambda length: {"reward": length},
            ),
        ],
    ),
]

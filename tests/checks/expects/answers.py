"""Hyperparameters, written answers, and what no exercise is alone: that the whole learns."""

from typing import Any

from cs236781.checks import Check, Mistake

PUBLISHED = ("batch_size", "gamma", "beta", "learn_rate", "eps")  # what a network needs has names of its own
TEMPLATE = "Write your answer using **markdown**"  # what the published assignment hands out, below "Your answer:"


def sensible(got: dict[str, Any], name: str) -> bool:
    """Whether all published names are there, with values that training can use."""
    names = (*PUBLISHED, "delta") if "aac" in name else PUBLISHED
    return (
        all(key in got for key in names) and got["batch_size"] >= 1 and 0 <= got["gamma"] <= 1 and got["learn_rate"] > 0
    )


def answered(got: str, **_others: Any) -> bool:
    """Whether an answer says something that was not handed out."""
    said = got.replace("*", "").strip().removeprefix("Your answer").lstrip(" :\n")
    return said != "" and "not written yet" not in got and TEMPLATE not in got


def missing_name(got: Any) -> bool:
    """Whether one of the published names is not there."""
    return isinstance(got, dict) and any(name not in got for name in PUBLISHED)


def lacks_delta(got: Any) -> bool:
    """Whether a dict has no delta."""
    return isinstance(got, dict) and "delta" not in got


ANSWER_CHECKS = [
    Check(
        name,
        "names and values",
        f"the hyperparameters {', '.join(PUBLISHED)}{', delta' if 'aac' in name else ''}",
        "hyperparams",
        {"name": name},
        lambda name: "all of them, with a gamma from 0 to 1, and a learning rate above 0",
        right=sensible,
        mistakes=[
            Mistake("The function returns no dict.", shows=lambda got: "no attribute 'items'" in str(got)),
            Mistake("One of the published names is not in the dict.", shows=missing_name),
            *[Mistake("The dict lacks delta, the weight of the critic's term.", shows=lacks_delta)] * ("aac" in name),
        ],
    )
    for name in ("part1_pg_hyperparams", "part1_aac_hyperparams")
] + [
    Check(
        name,
        "a text",
        "an answer",
        "answer",
        {"name": name},
        lambda name: "a text in the place of the one that was handed out",
        right=answered,
        mistakes=[Mistake("The question is not answered.", shows=lambda got: "Error: " not in str(got)[:60])],
    )
    for name in ("part1_q1", "part1_q2", "part1_q3")
]

WHOLE_CHECKS = [
    Check(
        "",
        name,
        "training on a bandit of 3 actions, by chance 1.3 of 4 right, until 2.6 of 4 are",
        "bandit",
        lambda generator, critic=critic: {"critic": critic, "seed": generator.randrange(2**31)},
        lambda **_: "at last 2.6 or more",
        right=lambda got, **_: got["at last"] >= 2.6,
        mistakes=[
            Mistake(
                "All parts run together, and nothing is learned: the exercises that are wrong say why.",
                shows=lambda got: got["at last"] < 2.6,
            )
        ],
    )
    for name, critic in (("it learns by policy gradients", False), ("it learns by actor-critic", True))
]

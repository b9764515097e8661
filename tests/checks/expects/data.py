"""From steps to batches: episodes, q-values, tensors."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from cs236781.checks import Check, Mistake, OneOf

from .formulas import Rows, returns

DRAWN_EPISODE = partial(
    lambda generator, n: {
        "rewards": [round(generator.uniform(-5, 5), 1) for _ in range(n)],
        "gamma": round(generator.uniform(0.3, 0.95), 2),
    },
    n=6,
)


def q_mistakes() -> list[Mistake]:
    """Other sums of rewards, and which they are."""
    return [
        Mistake(
            "These q-values are not discounted: a reward k steps later counts gamma**k as much.",
            gives=lambda rewards, gamma: returns(rewards, 1.0),
        ),
        Mistake(
            "Each step has the discounted return of the whole episode. A step's q-value counts what follows it only.",
            gives=lambda rewards, gamma: [returns(rewards, gamma)[0]] * len(rewards),
        ),
        Mistake(
            "Each step has the total reward of the episode. A step's q-value counts what follows it, discounted.",
            gives=lambda rewards, gamma: [sum(rewards)] * len(rewards),
        ),
        Mistake(
            "These are discounted from the episode's first step on. Discount from the step itself: gamma**(t'-t).",
            gives=lambda rewards, gamma: [gamma**t * q for t, q in enumerate(returns(rewards, gamma))],
        ),
        Mistake(
            "These are the right values in reversed order: turn the list round at the end.",
            gives=lambda rewards, gamma: returns(rewards, gamma)[::-1],
        ),
        Mistake(
            "These sum the rewards up to a step. A q-value sums those from the step on: go from the end to the start.",
            gives=lambda rewards, gamma: returns(rewards[::-1], gamma)[::-1],
        ),
        Mistake(
            "The reward of the step itself is left out.",
            gives=lambda rewards, gamma: [
                q - reward for q, reward in zip(returns(rewards, gamma), rewards, strict=True)
            ],
        ),
        Mistake(
            "The reward of the step itself is left out, and the rest is discounted once too little.",
            gives=lambda rewards, gamma: [*returns(rewards, gamma)[1:], 0.0],
        ),
        Mistake(
            "All is discounted once too much: the step's own reward counts whole.",
            gives=lambda rewards, gamma: [gamma * q for q in returns(rewards, gamma)],
        ),
        Mistake("These are the rewards themselves.", gives=lambda rewards, gamma: list(rewards)),
    ]


Q_CHECKS = [
    Check(
        "Episode.calc_qvals",
        "by hand",
        "the q-values of an episode with rewards {rewards}, with gamma {gamma}",
        "q_values",
        {"rewards": [1.0, 0.0, 2.0], "gamma": 0.5},
        lambda **_: [1.5, 1.0, 2.0],
        mistakes=q_mistakes(),
    ),
    Check(
        "Episode.calc_qvals",
        "drawn rewards",
        "the q-values of an episode with rewards {rewards}, with gamma {gamma}",
        "q_values",
        DRAWN_EPISODE,
        returns,
        mistakes=q_mistakes(),
    ),
    Check(
        "Episode.calc_qvals",
        "no discount",
        "the q-values of an episode with rewards {rewards}, with gamma 1",
        "q_values",
        lambda generator: {"rewards": [float(generator.randint(-9, 9)) for _ in range(5)], "gamma": 1.0},
        returns,  # several mistakes give the same here
    ),
    Check(
        "Episode.calc_qvals",
        "one step",
        "the q-values of an episode of one step, with reward {rewards}",
        "q_values",
        lambda generator: {"rewards": [float(generator.randint(1, 9))], "gamma": 0.9},
        returns,
    ),
]


def laid_out(rewards: Rows, gamma: float, q_gamma: float | None = None) -> dict[str, Any]:
    """A batch of episodes with these rewards, whose state t of episode k is (k, t) and action t modulo 3."""
    steps = [(k, t) for k, row in enumerate(rewards) for t in range(len(row))]
    return {
        "states": [[k, t] for k, t in steps],
        "actions": [t % 3 for _, t in steps],
        "q_vals": [q for row in rewards for q in returns(row, gamma if q_gamma is None else q_gamma)],
        "total_rewards": [sum(row) for row in rewards],
        "actions are": "integers",
    }


BATCH_MISTAKES = [
    Mistake(
        "The q-values have a discount of their own: pass on the gamma that from_episodes is given.",
        gives=lambda rewards, gamma: {
            **laid_out(rewards, gamma),
            "q_vals": OneOf([laid_out(rewards, gamma, other)["q_vals"] for other in (0.999, 0.99, 1.0, 0.9, 0.95)]),
        },
    ),
    Mistake(
        "There is a total reward for each step. It is one for each episode.",
        shows=lambda got: len(got["total_rewards"]) == len(got["states"]) > 1,
    ),
    Mistake(
        "The q-values run from one episode into the next: take them of each episode by itself.",
        gives=lambda rewards, gamma: {
            **laid_out(rewards, gamma),
            "q_vals": returns([reward for row in rewards for reward in row], gamma),
        },
    ),
    Mistake(
        "The q-values are the rewards: call calc_qvals(gamma) of each episode.",
        gives=lambda rewards, gamma: {
            **laid_out(rewards, gamma),
            "q_vals": [reward for row in rewards for reward in row],
        },
    ),
    Mistake(
        "The actions are floats. The losses take entries by them: they must be integers, torch.long.",
        gives=lambda rewards, gamma: {**laid_out(rewards, gamma), "actions are": "floats"},
    ),
    Mistake(
        "The total rewards are q-values of the first steps. They are undiscounted: episode.total_reward.",
        gives=lambda rewards, gamma: {
            **laid_out(rewards, gamma),
            "total_rewards": [returns(row, gamma)[0] for row in rewards],
        },
    ),
]
BATCH_CHECKS = [
    Check(
        "TrainBatch.from_episodes",
        "by hand",
        "the batch of two episodes with rewards {rewards}, with gamma {gamma}",
        "train_batch_of",
        {"rewards": [[1.0, 0.0, 2.0], [4.0, 8.0]], "gamma": 0.5},
        lambda **_: {
            "states": [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]],
            "actions": [0, 1, 2, 0, 1],
            "q_vals": [1.5, 1.0, 2.0, 8.0, 8.0],
            "total_rewards": [3.0, 12.0],
            "actions are": "integers",
        },
        mistakes=BATCH_MISTAKES,
    ),
    Check(
        "TrainBatch.from_episodes",
        "drawn episodes",
        "the batch of episodes with rewards {rewards}, with gamma {gamma}",
        "train_batch_of",
        lambda generator: {
            "rewards": [[round(generator.uniform(-5, 5), 1) for _ in range(generator.randint(2, 4))] for _ in range(3)],
            "gamma": round(generator.uniform(0.3, 0.8), 2),
        },
        laid_out,
        mistakes=BATCH_MISTAKES,
    ),
    Check(
        "TrainBatch.from_episodes",
        "one step",
        "the batch of one episode of one step, with rewards {rewards}",
        "train_batch_of",
        lambda generator: {"rewards": [[float(generator.randint(1, 9))]], "gamma": 0.9},
        laid_out,
        mistakes=BATCH_MISTAKES,
    ),
]


def played(lengths: Sequence[int], size: int, n: int) -> dict[str, Any]:
    """n batches of the scripted environment's episodes, by one agent."""
    episodes = []
    for k, length in enumerate((list(lengths) * (size * n))[: size * n]):
        rewards = [10 * k + t + 1 for t in range(length)]
        ends = [t == length - 1 for t in range(length)]
        episodes.append({"rewards": rewards, "total": sum(rewards), "ends": ends})
    return {"batches": [episodes[i * size : (i + 1) * size] for i in range(n)], "agents": 1}


def counted(got: dict[str, Any]) -> list[int]:
    """How many episodes each batch has."""
    return [len(batch) for batch in got["batches"]]


DATASET_MISTAKES = [
    Mistake(
        "A new agent is made for each batch. Make one before the loop: a new one forgets where its environment is.",
        shows=lambda got: got["agents"] > 1,
    ),
    Mistake(
        "The last step of each episode is left out: keep the experience before you look whether it is done.",
        shows=lambda got: not any(True in episode["ends"] for batch in got["batches"] for episode in batch),
    ),
    Mistake(
        "Episodes run into each other: begin a new list of experiences for each.",
        shows=lambda got: any(True in episode["ends"][:-1] for batch in got["batches"] for episode in batch),
    ),
    Mistake(
        "The generator ends after its first batch. It goes on for ever: while True.",
        shows=lambda got: len(got["batches"]) == 1,
    ),
    Mistake(
        "A batch has more or fewer episodes than episode_batch_size: begin a new list for each batch.",
        shows=lambda got: len(set(counted(got))) > 1 or counted(got)[0] != 2,
    ),
    Mistake(
        "The episodes' total rewards are not the sums of their rewards: begin each sum at 0.",
        shows=lambda got: any(
            abs(episode["total"] - sum(episode["rewards"])) > 1e-3 for batch in got["batches"] for episode in batch
        ),
    ),
]
DATASET_CHECKS = [
    Check(
        "TrainBatchDataset.episode_batch_generator",
        "by hand",
        "two batches of two episodes, of 3, 1, 2 and 3 steps, where step t of episode k pays 10 k + t + 1",
        "episode_batches",
        {"lengths": [3, 1, 2], "size": 2, "n": 2},
        played,
        mistakes=DATASET_MISTAKES,
    ),
    Check(
        "TrainBatchDataset.episode_batch_generator",
        "drawn lengths",
        "{n} batches of two episodes, whose lengths are {lengths} in turn",
        "episode_batches",
        lambda generator: {"lengths": [generator.randint(1, 5) for _ in range(4)], "size": 2, "n": 3},
        played,
        mistakes=DATASET_MISTAKES,
    ),
]

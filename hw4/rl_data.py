"""What an agent lives through, from one step to a batch to learn from.

    Experience    one step: the state, the action taken there, the reward it brought
    Episode       the experiences from a reset to the end, and their q-values
    TrainBatch    whole episodes laid end to end, as the tensors that the losses take
    TrainBatchDataset    batches without end, from an agent that plays (training takes them from `loader`)

Letters as in Sutton & Barto: gamma discounts, q is the discounted return from a step on. In shapes, T is the number
of steps of an episode, N that of all steps of a batch, E its number of episodes, O the features of an observation.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, overload, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int, Int64
from torch import Tensor
from torch.utils.data import IterableDataset

from hw4.exercise import exercise


class Experience(NamedTuple):
    """One step of an episode.

    | field   | shape | meaning                                            |
    |---------|-------|----------------------------------------------------|
    | state   | (O,)  | s_t, the observation in which the agent acted      |
    | action  |       | a_t, the action it took                            |
    | reward  |       | r_{t+1}, what the environment gave for it          |
    | is_done |       | whether the episode ended with it                  |
    """

    state: Float[Tensor, " O"]
    action: int
    reward: float
    is_done: bool


class ExperienceColumns(Sequence[Experience]):
    """An episode's experiences stored as three arrays, which read as the sequence of Experience that they are.

    Only the last one is_done.
    """

    def __init__(
        self,
        states: Float32[np.ndarray, "T O"],
        actions: Int64[np.ndarray, " T"],
        rewards: Float64[np.ndarray, " T"],
    ):
        self.states, self.actions, self.rewards = states, actions, rewards

    @classmethod
    def of(cls, experiences: Sequence[Experience]) -> "ExperienceColumns":
        """The columns of any sequence of experiences."""
        if isinstance(experiences, cls):
            return experiences
        return cls(
            states=torch.stack([e.state for e in experiences]).cpu().numpy().astype(np.float32, copy=False),
            actions=np.array([e.action for e in experiences], dtype=np.int64),
            rewards=np.array([e.reward for e in experiences], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.actions)

    @overload
    def __getitem__(self, index: int) -> Experience: ...
    @overload
    def __getitem__(self, index: slice) -> list[Experience]: ...
    def __getitem__(self, index: int | slice) -> Experience | list[Experience]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        t = range(len(self))[index]
        return Experience(
            state=torch.from_numpy(self.states[t]),
            action=int(self.actions[t]),
            reward=float(self.rewards[t]),
            is_done=t == len(self) - 1,
        )


class Episode:
    """The experiences from a reset to the end.

    :param total_reward: the undiscounted sum of the rewards.
    :param experiences: one or more, in the order in which they were made.
    :raises ValueError: if there are no experiences.
    """

    def __init__(self, total_reward: float, experiences: Sequence[Experience]):
        if len(experiences) == 0:
            raise ValueError("an episode must have at least one experience, got none: take a step before ending it")
        self.total_reward = total_reward
        self.experiences = experiences

    @classmethod
    def from_arrays(
        cls,
        states: Float32[np.ndarray, "T O"],
        actions: Int64[np.ndarray, " T"],
        rewards: Float64[np.ndarray, " T"],
    ) -> "Episode":
        """An episode from what was recorded of its T steps."""
        return cls(math.fsum(rewards.tolist()), ExperienceColumns(states, actions, rewards))

    @property
    def states(self) -> Float32[Tensor, "T O"]:
        """The T states in which the agent acted."""
        return torch.from_numpy(ExperienceColumns.of(self.experiences).states)

    @property
    def actions(self) -> Int64[Tensor, " T"]:
        """The T actions that it took."""
        return torch.from_numpy(ExperienceColumns.of(self.experiences).actions)

    @property
    def rewards(self) -> Float64[np.ndarray, " T"]:
        """The T rewards that they brought."""
        if isinstance(self.experiences, ExperienceColumns):
            return self.experiences.rewards
        return np.array([e.reward for e in self.experiences], dtype=np.float64)

    @exercise(
        "One pass over self.rewards, from the last to the first, in which each q-value is made of the one after it. "
        "check_gamma refuses what is no discount."
    )
    def calc_qvals(self, gamma: float) -> list[float]:
        """The discounted return from each step on, an estimate of q(s_t, a_t) from this one trajectory.

        q_t = sum over t' >= t of gamma^(t'-t) r_{t'+1}, computed from the end, q_t = r_{t+1} + gamma q_{t+1}, in O(T)
        (Sutton & Barto, eq. 3.9).

        :param gamma: the discount, in [0, 1].
        :return: T values.
        """
        check_gamma(gamma)
        q, qvals = 0.0, []
        for reward in reversed(self.rewards.tolist()):
            q = reward + gamma * q
            qvals.append(q)
        return qvals[::-1]

    def __repr__(self) -> str:
        return f"Episode(total_reward={self.total_reward:.2f}, #experiences={len(self.experiences)})"


class TrainBatch:
    """Whole episodes laid end to end: what one update learns from.

    | name          | shape  | meaning                                          |
    |---------------|--------|--------------------------------------------------|
    | states        | (N, O) | the states of all experiences                    |
    | actions       | (N,)   | the actions taken there                          |
    | q_vals        | (N,)   | the discounted returns that followed             |
    | total_rewards | (E,)   | the undiscounted return of each episode          |

    :raises ValueError: if the shapes disagree, the batch is empty, or a state, q-value or reward is not finite.
    """

    def __init__(
        self,
        states: Float[Tensor, "N O"],
        actions: Int[Tensor, " N"],
        q_vals: Float[Tensor, " N"],
        total_rewards: Float[Tensor, " E"],
    ):
        shapes = tuple(tuple(t.shape) for t in (states, actions, q_vals, total_rewards))
        n = len(actions) if actions.ndim else 0
        if states.ndim != 2 or total_rewards.ndim != 1 or (len(states), *shapes[1], *shapes[2]) != (n, n, n):
            raise ValueError(
                "a batch needs states (N, O), actions (N,), q_vals (N,) and total_rewards (E,), got shapes "
                + ", ".join(map(str, shapes))
            )
        if n == 0 or len(total_rewards) == 0:
            raise ValueError("a batch must have at least one experience and one episode, got none")
        if actions.is_floating_point():
            raise ValueError(f"actions must be integers, got {actions.dtype}")
        for name, values in (("states", states), ("q_vals", q_vals), ("total_rewards", total_rewards)):
            if not torch.isfinite(values).all():
                raise ValueError(
                    f"{name} must be finite, but hold nan or inf: check the environment's rewards and states"
                )
        self.states, self.actions, self.q_vals, self.total_rewards = states, actions, q_vals, total_rewards

    @classmethod
    @exercise(
        "Lay the episodes' states and actions end to end, their q-values beside them, as tensors of the shapes in the "
        "class's table; the floats are float32. Without an episode there is no batch: raise a ValueError."
    )
    def from_episodes(cls, episodes: Sequence[Episode], gamma: float = 0.999) -> "TrainBatch":
        """Lay episodes end to end, in the order given, with their q-values at discount gamma.

        :raises ValueError: if there is no episode.
        """
        if len(episodes) == 0:
            raise ValueError("a batch must have at least one episode, got none")
        return cls(
            states=torch.cat([episode.states for episode in episodes]),
            actions=torch.cat([episode.actions for episode in episodes]),
            q_vals=torch.tensor([q for episode in episodes for q in episode.calc_qvals(gamma)], dtype=torch.float32),
            total_rewards=torch.tensor([episode.total_reward for episode in episodes], dtype=torch.float32),
        )

    @property
    def num_episodes(self) -> int:
        """E, the number of episodes."""
        return len(self.total_rewards)

    def to(self, device: torch.device | str) -> "TrainBatch":
        """The same batch on a device; this one, if it is there."""
        if self.states.device == torch.device(device):
            return self
        return TrainBatch(*(tensor.to(device) for tensor in self))

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.states, self.actions, self.q_vals, self.total_rewards))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {getattr(self, name).shape}" for name in ("states", "actions", "q_vals"))
        return f"TrainBatch({shapes}), num_episodes: {self.num_episodes})"


@runtime_checkable
class Agent(Protocol):
    """What plays: it takes steps, and starts the next episode by itself when one is done."""

    def reset(self) -> None:
        """Start an episode."""

    def step(self) -> Experience:
        """Take a step."""
        ...


class TrainBatchDataset(IterableDataset):
    """Batches of whole episodes, played without end by an agent.

    Works bare and inside `DataLoader(dataset, batch_size=None, num_workers=2)`, where each worker calls `agent_fn` for
    an agent of its own. Such workers run ahead of the learner, so it learns from policies several updates old: train
    with `hw4.rollout.loader.OnPolicyLoader` instead.

    :param agent_fn: makes the agent, where and when playing begins.
    :param episode_batch_size: E, episodes in a batch.
    :param gamma: the discount of the q-values, in [0, 1].
    """

    def __init__(self, agent_fn: Callable[[], Agent], episode_batch_size: int, gamma: float):
        check_count("episode_batch_size", episode_batch_size)
        check_gamma(gamma)
        self.agent_fn, self.episode_batch_size, self.gamma = agent_fn, episode_batch_size, gamma

    @exercise(
        "Make the agent, reset it, and then for ever: have it play a batch's episodes with play_by_steps, and yield "
        "them as a tuple."
    )
    def episode_batch_generator(self) -> Iterator[tuple[Episode, ...]]:
        """Tuples of `episode_batch_size` whole episodes; nothing is played before it is asked for."""
        agent = self.agent_fn()
        agent.reset()
        while True:
            yield tuple(play_by_steps(agent) for _ in range(self.episode_batch_size))

    def __iter__(self) -> Iterator[TrainBatch]:
        for episodes in self.episode_batch_generator():
            yield TrainBatch.from_episodes(episodes, self.gamma)


@exercise("Have the agent step until an experience is_done. The steps make the episode, and their rewards its total.")
def play_by_steps(agent: Agent) -> Episode:
    """Play the rest of an agent's episode, which is all of it after a reset."""
    experiences = [agent.step()]
    while not experiences[-1].is_done:
        experiences.append(agent.step())
    return Episode(math.fsum(e.reward for e in experiences), experiences)


def check_gamma(gamma: float) -> None:
    """Refuse a discount outside [0, 1] with a ValueError."""
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)) or not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be a number from 0 to 1, got {gamma!r}")


def check_count(name: str, count: int, minimum: int = 1) -> None:
    """Refuse what is not a whole number from `minimum` on with a ValueError."""
    if isinstance(count, bool) or not isinstance(count, int) or count < minimum:
        raise ValueError(f"{name} must be a whole number from {minimum}, got {count!r}")

"""What an agent lives through, from one step to a batch to learn from.

    Experience           one step: the state, the action taken there, the reward that followed
    Episode              the experiences from a reset to the end, and their q-values
    TrainBatch           whole episodes laid end to end, as the tensors that the losses take
    TrainBatchDataset    batches without end, from an agent that plays

Letters as in Sutton & Barto: gamma discounts, q is the discounted return from a step on. In shapes, T is the number
of steps of an episode, N that of all steps of a batch, E its number of episodes, O the features of an observation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import IterableDataset


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


class Episode:
    """The experiences from a reset to the end.

    :param total_reward: the undiscounted sum of the rewards.
    :param experiences: T experiences, in the order in which they were made.
    """

    def __init__(self, total_reward: float, experiences: Sequence[Experience]):
        self.total_reward, self.experiences = total_reward, experiences

    def calc_qvals(self, gamma: float) -> list[float]:
        """The discounted return from each step on, an estimate of q(s_t, a_t) from this one trajectory.

        q_t = sum over t' >= t of gamma^(t'-t) r_{t'+1}, computed from the end, q_t = r_{t+1} + gamma q_{t+1}, in O(T)
        (Sutton & Barto, eq. 3.9).

        :param gamma: the discount, in [0, 1].
        :return: T values.
        """
        q, qvals = 0.0, []
        for experience in reversed(self.experiences):
            q = experience.reward + gamma * q
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
        self.states, self.actions, self.q_vals, self.total_rewards = states, actions, q_vals, total_rewards
        shapes = [tuple(tensor.shape) for tensor in self]
        lengths = [shape[:1] for shape in shapes]
        if [len(shape) for shape in shapes] != [2, 1, 1, 1] or len(set(lengths[:3])) > 1 or (0,) in lengths:
            raise ValueError(
                "a batch has states (N, O), actions (N,), q_vals (N,) and total_rewards (E,), with N and E at least 1, "
                f"but the shapes given are {', '.join(map(str, shapes))}"
            )
        for name in ("states", "q_vals", "total_rewards"):
            if not torch.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} hold nan or inf: check the environment's observations and rewards")

    @classmethod
    def from_episodes(cls, episodes: Sequence[Episode], gamma: float = 0.999) -> "TrainBatch":
        """Lay episodes end to end, in the order given, with their q-values at discount gamma.

        :param episodes: E episodes, one or more.
        """
        experiences = [experience for episode in episodes for experience in episode.experiences]
        return cls(
            states=torch.stack([experience.state for experience in experiences]).float(),
            actions=torch.tensor([experience.action for experience in experiences]),
            q_vals=torch.tensor([q for episode in episodes for q in episode.calc_qvals(gamma)], dtype=torch.float32),
            total_rewards=torch.tensor([episode.total_reward for episode in episodes], dtype=torch.float32),
        )

    @property
    def num_episodes(self) -> int:
        """E, the number of episodes."""
        return len(self.total_rewards)

    def to(self, device: torch.device | str) -> "TrainBatch":
        """The same batch on a device; this one, if it is there."""
        moved = [tensor.to(device) for tensor in self]
        return self if moved[0] is self.states else TrainBatch(*moved)

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.states, self.actions, self.q_vals, self.total_rewards))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {getattr(self, name).shape}" for name in ("states", "actions", "q_vals"))
        return f"TrainBatch({shapes}), num_episodes: {self.num_episodes})"


class TrainBatchDataset(IterableDataset):
    """Batches of whole episodes, played without end by an agent.

    Works bare and inside `DataLoader(dataset, batch_size=None, num_workers=2)`, where each worker calls `agent_fn` for
    an agent of its own. Such workers run ahead of the learner, so it learns from policies several updates old. For
    training there is `hw4.rollout.loader.OnPolicyLoader`.

    :param agent_fn: makes the agent, where and when playing begins.
    :param episode_batch_size: E, episodes in a batch.
    :param gamma: the discount of the q-values, in [0, 1].
    """

    def __init__(self, agent_fn: Callable[[], Any], episode_batch_size: int, gamma: float):
        self.agent_fn, self.episode_batch_size, self.gamma = agent_fn, episode_batch_size, gamma

    def episode_batch_generator(self) -> Iterator[tuple[Episode, ...]]:
        """Tuples of `episode_batch_size` whole episodes; nothing is played before it is asked for."""
        agent = self.agent_fn()
        agent.reset()
        while True:
            episodes = []
            for _ in range(self.episode_batch_size):
                experiences = [agent.step()]
                while not experiences[-1].is_done:
                    experiences.append(agent.step())
                episodes.append(Episode(sum(experience.reward for experience in experiences), experiences))
            yield tuple(episodes)

    def __iter__(self) -> Iterator[TrainBatch]:
        for episodes in self.episode_batch_generator():
            yield TrainBatch.from_episodes(episodes, self.gamma)

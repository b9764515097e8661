"""Small environments, networks and agents whose episodes can be worked out by hand, and what several tests share."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hw4 import answers
from hw4.hyperparams import OPTIONAL
from hw4.rl_data import Episode, Experience, TrainBatch


class ScriptedEnv(gym.Env):
    """Plays episodes of given lengths, over and over.

    Step t of episode k shows the observation (k, t) and pays 10 k + t + 1, whatever the action.
    An episode counts once it is played to its end, so that a reset without a step changes nothing.
    """

    def __init__(self, lengths: tuple[int, ...] = (3, 1, 4), n_actions: int = 2) -> None:
        self.lengths = lengths
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(n_actions)
        self.episode = 0
        self.t = 0
        self.actions: list[Any] = []
        self.resets_made = 0

    def _observation(self) -> np.ndarray:
        return np.array([self.episode, self.t], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        self.resets_made += 1
        return self._observation(), {}

    @property
    def steps_made(self) -> int:
        return len(self.actions)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(int(action))
        reward = 10.0 * self.episode + self.t + 1
        self.t += 1
        self.actions.append(action)
        done = self.t == self.lengths[self.episode % len(self.lengths)]
        observation = self._observation()
        if done:
            self.episode += 1
        return observation, reward, done, False, {}


class TruncatedEnv(ScriptedEnv):
    """As ScriptedEnv, but its episodes end by truncation."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, False, terminated, info


class RandomEnv(gym.Env):
    """Episodes whose length, observations and rewards all come from the environment's random stream."""

    def __init__(self, n_actions: int = 3, max_length: int = 12) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(n_actions)
        self.max_length = max_length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, self.max_length + 1))
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        observation = self.np_random.normal(size=3).astype(np.float32)
        return observation, float(self.np_random.normal() + action), self.left == 0, False, {}


class BanditEnv(gym.Env):
    """A contextual bandit: the observation is one-hot at the action that pays 1; every other pays nothing."""

    def __init__(self, n_actions: int = 3, length: int = 4) -> None:
        self.observation_space = spaces.Box(0, 1, (n_actions,), np.float32)
        self.action_space = spaces.Discrete(n_actions)
        self.n_actions = n_actions
        self.length = length

    def _observation(self) -> np.ndarray:
        self.right = int(self.np_random.integers(self.n_actions))
        return np.eye(self.n_actions, dtype=np.float32)[self.right]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(action == self.right)
        self.t += 1
        return self._observation(), reward, self.t == self.length, False, {}


class ReusingEnv(ScriptedEnv):
    """Gives the same array at every step, with other contents."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buffer = np.zeros(2, dtype=np.float32)

    def _observation(self) -> np.ndarray:
        self.buffer[:] = super()._observation()
        return self.buffer


class DyingEnv(ScriptedEnv):
    """Ends its process without a word at its second step, unless that process is the one it was made for."""

    def __init__(self, spared_pid: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spared_pid = spared_pid

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        if os.getpid() != self.spared_pid and self.steps_made == 1:
            os._exit(3)
        return super().step(action)


class FailingEnv(ScriptedEnv):
    """Raises at its second step."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.steps_made == 1:
            raise ZeroDivisionError("the thruster divided by zero")
        return super().step(action)


class SleepyEnv(ScriptedEnv):
    """Takes minutes to play an episode. The first that makes a step touches `started`, and sends a signal.

    :param to: the process that it is sent to; its own, if there is none.
    """

    def __init__(self, started: Path, signal: int | None = None, to: int | None = None) -> None:
        super().__init__(lengths=(5000,))
        self.started, self.signal, self.to = started, signal, to

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        with suppress(FileExistsError):
            self.started.touch(exist_ok=False)
            if self.signal is not None:
                os.kill(self.to or os.getpid(), self.signal)
        time.sleep(0.05)
        return super().step(action)


class BadValueEnv(ScriptedEnv):
    """Pays, or shows, a value that is not a number at its second step."""

    def __init__(self, *, reward: float | None = None, observation: float | None = None) -> None:
        super().__init__()
        self.bad_reward, self.bad_observation = reward, observation

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.steps_made == 2:
            reward = reward if self.bad_reward is None else self.bad_reward
            if self.bad_observation is not None:
                observation[0] = self.bad_observation
        return observation, reward, terminated, truncated, info


class VersionNet(nn.Module):
    """A policy that says which version of it plays: version v takes action v mod A, with probability 1."""

    def __init__(self, n_actions: int, version: int = 0) -> None:
        super().__init__()
        self.n_actions = n_actions
        self.version = nn.Parameter(torch.tensor(float(version)))

    def become(self, version: int) -> None:
        with torch.no_grad():
            self.version.fill_(version)

    def forward(self, states: Tensor) -> Tensor:
        distance = (torch.arange(self.n_actions) - self.version % self.n_actions).abs()
        return (-1000.0 * distance).expand(*states.shape[:-1], self.n_actions)


class ConstantNet(nn.Module):
    """The same scores in every state."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, states: Tensor) -> Tensor:
        return self.scores.expand(*states.shape[:-1], -1)


class TemperatureNet(nn.Module):
    """No plain MLP: two layers multiplied, and a temperature that is learned."""

    def __init__(self, in_features: int, out_actions: int) -> None:
        super().__init__()
        self.left = nn.Linear(in_features, out_actions)
        self.right = nn.Linear(in_features, out_actions)
        self.log_temperature = nn.Parameter(torch.tensor(-1.0))

    def forward(self, states: Tensor) -> Tensor:
        return torch.tanh(self.left(states) * self.right(states)) / self.log_temperature.exp()


class WithValues(nn.Module):
    """A network's logits, and values beside them."""

    def __init__(self, logits: nn.Module, in_features: int = 2) -> None:
        super().__init__()
        self.logits, self.values = logits, nn.Linear(in_features, 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits(states), self.values(states)


class Recurrent(nn.Module):
    """An LSTM over the features, which are taken for a sequence."""

    def __init__(self, in_features: int, out_actions: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 5, batch_first=True), nn.Linear(5, out_actions)

    def forward(self, states: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(states[..., None])
        return self.head(hidden[0])


class Functional(nn.Module):
    """An MLP without activation modules."""

    def __init__(self, in_features: int, out_actions: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(in_features, 8), nn.Linear(8, out_actions)

    def forward(self, states: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(states)))


class SharedTrunk(Functional):
    """Logits and values from one hidden layer."""

    def __init__(self, in_features: int, out_actions: int) -> None:
        super().__init__(in_features, out_actions)
        self.value = nn.Linear(8, 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        hidden = torch.tanh(self.first(states))
        return self.last(hidden), self.value(hidden)


def with_dropout(in_features: int, out_actions: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_features, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, out_actions))


# Networks that students may write. Each maps states to logits, or to logits and values.
NETS = {
    "functional": Functional,
    "shared trunk": SharedTrunk,
    "dropout": with_dropout,
    "LSTM": Recurrent,
    "temperature": TemperatureNet,
    "linear": nn.Linear,
}


class Agent:
    """An agent that has what is published, and no more. It draws as PyTorch does."""

    is_done = False

    def __init__(self, env: gym.Env, p_net: nn.Module, device: torch.device | str = "cpu") -> None:
        self.env, self.p_net = env, p_net
        self.reset()

    def reset(self) -> None:
        self.state = torch.as_tensor(self.env.reset()[0], dtype=torch.float32)
        self.is_done = False

    def current_action_distribution(self) -> Tensor:
        output = self.p_net(self.state)
        return torch.softmax(output[0] if isinstance(output, tuple) else output, dim=-1).detach()

    def draw(self) -> Any:
        return torch.multinomial(self.current_action_distribution(), 1)[0]

    def step(self) -> Experience:
        if self.is_done:
            self.reset()
        state, action = self.state, self.draw()
        observation, reward, terminated, truncated, _ = self.env.step(int(action))
        self.state = torch.as_tensor(observation, dtype=torch.float32)
        self.is_done = terminated or truncated
        return Experience(state, action, reward, self.is_done)


class EagerAgent(Agent):
    """As Agent, but it resets as soon as an episode is done, draws as NumPy does, and gives states in float64."""

    def draw(self) -> Any:
        p = self.current_action_distribution().double().numpy()
        return np.random.choice(len(p), p=p / p.sum())  # noqa: NPY002

    def step(self) -> Experience:
        experience = super().step()
        if experience.is_done:
            self.reset()
        return experience._replace(state=experience.state.double())


def hyperparams(**changes: Any) -> dict[str, Any]:
    """The project's own, in which a network finds what it needs, but for a short run; with some changed."""
    shipped = answers.part1_pg_hyperparams()
    with suppress(NotImplementedError):  # an exercise that comes later than most
        shipped |= answers.part1_aac_hyperparams()
    own = {name: value for name, value in shipped.items() if name not in OPTIONAL}
    short = {"batch_size": 3, "gamma": 0.9, "beta": 0.5, "learn_rate": 0.01, "eps": 1e-8, "delta": 0.1}
    return {**own, **short, "hidden_layers": [8], **changes}


def make_batch(
    q_vals: list[float] | tuple[float, ...], actions: list[int] | tuple[int, ...], dtype: torch.dtype = torch.float32
) -> TrainBatch:
    """One episode's batch, whose states are zero."""
    return TrainBatch(
        torch.zeros(len(q_vals), 2, dtype=dtype),
        torch.tensor(actions),
        torch.tensor(q_vals, dtype=dtype),
        torch.tensor([float(sum(q_vals))], dtype=dtype),
    )


def same_weights(weights: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal to the bit."""
    return weights.keys() == others.keys() and all(torch.equal(weights[k], others[k]) for k in weights)


def same_episode(episode: Episode, other: Episode) -> bool:
    """Whether two episodes are equal to the bit."""
    return episode.total_reward == other.total_reward and all(
        torch.equal(a.state, b.state) and tuple(a)[1:] == tuple(b)[1:]
        for a, b in zip(episode.experiences, other.experiences, strict=True)
    )


def first_index_reaching(u: float, scores: Tensor) -> int:
    """Return the action that inversion gives: the first whose cumulative probability is at least u."""
    cumulative = torch.cumsum(torch.softmax(scores.detach().float(), dim=-1), dim=-1).double()
    cumulative[-1] = 1.0
    return next(i for i, c in enumerate(cumulative.tolist()) if c >= u)


def gym_0_15_generator(seed: int) -> np.random.Generator:
    """Return the random stream that gym 0.15 gave an environment, written from its description."""
    digest = hashlib.sha512(str(seed).encode()).digest()[:8]
    words = [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]
    return np.random.Generator(np.random.RandomState(words)._bit_generator)


def double_sum(rewards: list[float], gamma: float) -> np.ndarray:
    """Return q_t = sum over t' >= t of gamma^(t' - t) r_{t'+1}, from the definition."""
    n = len(rewards)
    return np.array([sum(gamma ** (k - t) * float(rewards[k]) for k in range(t, n)) for t in range(n)])


def child_processes() -> set[int]:
    """Return the ids of this process's children, the dead that nobody has waited for among them."""
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it ended meanwhile
            continue
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            children.add(int(stat.parent.name))
    return children


def shared_memory_files() -> set[str]:
    """Return the names of this user's shared-memory files and semaphores, without those of other living processes.

    PyTorch writes the id of the process that makes a file into its name.
    """
    names = set()
    for path in Path("/dev/shm").glob("*"):
        made_by = path.name.split("_")[1] if path.name.startswith("torch_") else str(os.getpid())
        try:
            is_ours = path.stat().st_uid == os.getuid()
        except OSError:  # it is gone meanwhile
            continue
        if is_ours and (made_by == str(os.getpid()) or not Path("/proc", made_by).exists()):
            names.add(path.name)
    return names


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Assert that the block leaves no child process and no shared-memory file."""
    if not Path("/proc/self/stat").exists():
        yield
        return
    children, files = child_processes(), shared_memory_files()
    yield
    for _ in range(20):  # a process takes a moment to end, and another program's files may be there for a moment
        if not child_processes() - children and not shared_memory_files() - files:
            return
        time.sleep(0.1)
    assert child_processes() - children == set()
    assert shared_memory_files() - files == set()

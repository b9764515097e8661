"""What the checks ask of the exercises' code: each function calls it, and returns plain values or tensors.

They run beside code that may be wrong or hostile, so nothing here knows what is right: that is in `expects.py`. The
environments and networks are small enough for that to be worked out by hand.
"""

import itertools
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import gymnasium.envs.box2d
import imageio_ffmpeg
import jaxtyping  # noqa: F401
import moviepy  # noqa: F401
import numpy as np
import torch
import torch.utils.data
import tqdm  # noqa: F401
from gymnasium import spaces
from torch import Tensor, nn


class Scripted(gym.Env):
    """Episodes of given lengths, over and over. Step t of episode k shows (k, t) and pays 10 k + t + 1.

    :param ends: "terminated" or "truncated".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - Gymnasium's

    def __init__(
        self,
        lengths: Sequence[int] = (4,),
        n_actions: int = 2,
        ends: str = "terminated",
        render_mode: str | None = None,
    ):
        self.lengths, self.ends, self.render_mode = lengths, ends, render_mode
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(n_actions)
        self.episode, self.t, self.is_over = 0, 0, True
        self.actions: list[int] = []

    def _observation(self) -> np.ndarray:
        return np.array([self.episode, self.t], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t, self.is_over = 0, False
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.is_over:
            raise RuntimeError("the episode is over: the environment must be reset before the next step")
        self.actions.append(int(action))
        reward = 10.0 * self.episode + self.t + 1
        self.t += 1
        self.is_over = self.t == self.lengths[self.episode % len(self.lengths)]
        observation = self._observation()
        self.episode += self.is_over
        over = {name: self.is_over and name == self.ends for name in ("terminated", "truncated")}
        return observation, reward, over["terminated"], over["truncated"], {}

    def render(self) -> np.ndarray:
        return np.full((64, 64, 3), 20 * self.t, dtype=np.uint8)


class Sized(gym.Env):
    """An environment of these sizes, which nobody plays."""

    def __init__(self, features: int, actions: int):
        self.observation_space = spaces.Box(-1, 1, (features,), np.float32)
        self.action_space = spaces.Discrete(actions)


class Bandit(gym.Env):
    """The observation is one-hot at the action that pays 1; every other pays nothing. Four steps an episode."""

    observation_space = spaces.Box(0, 1, (3,), np.float32)
    action_space = spaces.Discrete(3)

    def _observation(self) -> np.ndarray:
        self.right = int(self.np_random.integers(3))
        return np.eye(3, dtype=np.float32)[self.right]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(int(action) == self.right)
        self.t += 1
        return self._observation(), reward, self.t == 4, False, {}


class Linear(nn.Module):
    """Logits bias + weights s, of a batch or of one state; with a value 7 beside them, if asked for.

    :param weights: (A, O).
    """

    def __init__(self, weights: Sequence[Sequence[float]], bias: Sequence[float], values: bool = False):
        super().__init__()
        self.linear, self.values = nn.Linear(len(weights[0]), len(bias)), values
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor(weights))
            self.linear.bias.copy_(torch.tensor(bias))

    def forward(self, states: Tensor) -> Any:
        logits = self.linear(states.float())
        return (logits, torch.full_like(logits[..., :1], 7.0)) if self.values else logits


def constant(logits: Sequence[float], values: bool = False) -> Linear:
    """A network whose logits are the same in each state of `Scripted`."""
    return Linear([[0.0, 0.0]] * len(logits), logits, values)


# --- networks


def _net_type(critic: bool) -> Any:
    from hw4 import rl_ac, rl_pg

    return rl_ac.AACPolicyNet if critic else rl_pg.PolicyNet


def _hyperparams(critic: bool) -> dict[str, Any]:
    """The code's own, which its network may need, with small layers."""
    own: dict[str, Any] = {}
    with suppress(Exception):  # these are another exercise's
        from hw4 import answers

        own = (answers.part1_aac_hyperparams if critic else answers.part1_pg_hyperparams)()
    own.pop("initial_logits", None)  # of the lander's number of actions
    published = {"batch_size": 8, "gamma": 0.99, "beta": 0.5, "learn_rate": 1e-3, "eps": 1e-8, "delta": 1.0}
    return {**published, **own, "hidden_layers": [16, 5]}


def _net(critic: bool, features: int, actions: int) -> nn.Module:
    torch.manual_seed(0)
    return _net_type(critic).build_for_env(Sized(features, actions), "cpu", **_hyperparams(critic)).eval()


def _parts(output: Any) -> list[Tensor]:
    """The outputs of a network with one or with several."""
    return list(output) if isinstance(output, (tuple, list)) else [output]


def net_shapes(critic: bool, features: int, actions: int, n: int) -> dict[str, Any]:
    """The shapes of what a network gives for a batch and for one state."""
    net = _net(critic, features, actions)
    return {
        f"of {n} states": [list(part.shape) for part in _parts(net(torch.randn(n, features)))],
        "of one state": [list(part.shape) for part in _parts(net(torch.randn(features)))],
    }


def net_rows(critic: bool, features: int, actions: int) -> dict[str, Any]:
    """The outputs for a state alone, and as the second row of a batch."""
    net, states = _net(critic, features, actions), torch.randn(3, features)
    alone, rows = _parts(net(states[1])), [part[1] for part in _parts(net(states))]
    return {"alone": [part.flatten() for part in alone], "in a batch": [part.flatten() for part in rows]}


def net_published_call(critic: bool, features: int, actions: int) -> list[Any]:
    """The shapes of what a network gives that is made as the published notebook makes it, with NumPy's integers."""
    net = _net_type(critic)(features, np.int64(actions), **_hyperparams(critic))
    return [list(part.shape) for part in _parts(net(torch.randn(1, features)))]


def net_learns(critic: bool, features: int, actions: int) -> list[bool]:
    """Whether a gradient goes from each output of a network to its parameters."""
    found = []
    for index in range(2 if critic else 1):
        net = _net(critic, features, actions)
        output = _parts(net(torch.randn(8, features)))[index]
        if output.requires_grad:
            output.pow(2).sum().backward()
        found.append(any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters()))
    return found


def net_build(critic: bool) -> dict[str, Any]:
    """What `build_for_env` makes."""
    net = _net_type(critic).build_for_env(Sized(3, 2), "cpu", **_hyperparams(critic))
    return {"a network of the class": isinstance(net, _net_type(critic)), "parameters": len(list(net.parameters())) > 0}


# --- agents


def _agent(critic: bool, env: gym.Env, net: nn.Module) -> Any:
    from hw4 import rl_ac, rl_pg

    return (rl_ac.AACPolicyAgent if critic else rl_pg.PolicyAgent)(env, net)


def _seed(seed: int) -> None:
    """Of all generators that an agent may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def distribution(critic: bool, logits: Sequence[float]) -> Any:
    """The distribution of an agent whose network gives these logits."""
    agent = _agent(critic, Scripted(n_actions=len(logits)), constant(logits, critic))
    return agent.current_action_distribution()


def distribution_of_states(critic: bool, weights: Sequence[Sequence[float]], n: int) -> list[Any]:
    """The distributions at the first n states, whose logits are weights s."""
    env = Scripted(lengths=(n + 1,), n_actions=len(weights))
    agent = _agent(critic, env, Linear(weights, [0.0] * len(weights), critic))
    found = []
    for _ in range(n):
        found.append(agent.current_action_distribution())
        agent.step()
    return found


def steps(critic: bool, lengths: Sequence[int], ends: str, n: int) -> dict[str, Any]:
    """What n steps give."""
    env = Scripted(lengths=lengths, ends=ends)
    agent = _agent(critic, env, constant([0.0, 0.0], critic))
    experiences = [agent.step() for _ in range(n)]
    return {
        "states": [experience.state for experience in experiences],
        "rewards": [float(experience.reward) for experience in experiences],
        "is_done": [bool(experience.is_done) for experience in experiences],
    }


def step_types() -> dict[str, Any]:
    """The kinds of an experience's fields."""
    experience = _agent(False, Scripted(), constant([0.0, 0.0])).step()
    state = experience.state
    return {
        "experience": type(experience).__name__,
        "state": "a float tensor" if isinstance(state, Tensor) and state.is_floating_point() else type(state).__name__,
        "state's shape": list(state.shape),
        "action": "an integer" if int(experience.action) == experience.action else str(experience.action),
    }


def actions(logits: Sequence[float], n: int, seed: int) -> dict[str, Any]:
    """How often n steps take each action, and whether these are the actions that the environment was given."""
    env = Scripted(lengths=(n,), n_actions=len(logits))
    agent = _agent(False, env, constant(logits))
    _seed(seed)
    taken = [int(agent.step().action) for _ in range(n)]
    return {"counts": np.bincount(taken, minlength=len(logits)), "as given to the environment": taken == env.actions}


def monitored(length: int) -> dict[str, Any]:
    """What recording an episode of this length reports and leaves."""
    from hw4 import rl_pg

    name = "Scripted-v0"
    gym.register(name, entry_point=Scripted, kwargs={"lengths": (length,)})
    with tempfile.TemporaryDirectory() as folder:
        env, n_steps, reward = rl_pg.PolicyAgent.monitor_episode(name, constant([0.0, 0.0]), f"{folder}/videos")
        files = [video[0] for video in env.videos]
        frames = [imageio_ffmpeg.count_frames_and_secs(str(file))[0] for file in files if Path(file).stat().st_size]
    gym.registry.pop(name)
    return {"steps": int(n_steps), "reward": float(reward), "videos": len(files), "frames": sum(frames)}


# --- data


def _episodes(rewards: Sequence[Sequence[float]]) -> list[Any]:
    """Episodes with these rewards. State t of episode k is (k, t), its action is t modulo 3."""
    from hw4.rl_data import Episode, Experience

    return [
        Episode(
            float(sum(row)),
            [
                Experience(torch.tensor([float(k), float(t)]), t % 3, float(reward), t == len(row) - 1)
                for t, reward in enumerate(row)
            ],
        )
        for k, row in enumerate(rewards)
    ]


def q_values(rewards: Sequence[float], gamma: float) -> list[float]:
    """An episode's q-values."""
    return [float(q) for q in _episodes([rewards])[0].calc_qvals(gamma)]


def train_batch_of(rewards: Sequence[Sequence[float]], gamma: float) -> dict[str, Any]:
    """What a batch of episodes holds."""
    from hw4.rl_data import TrainBatch

    batch = TrainBatch.from_episodes(_episodes(rewards), gamma)
    return {
        "states": batch.states,
        "actions": batch.actions,
        "q_vals": batch.q_vals,
        "total_rewards": batch.total_rewards,
        "actions are": "floats" if batch.actions.is_floating_point() else "integers",
    }


def episode_batches(lengths: Sequence[int], size: int, n: int) -> dict[str, Any]:
    """Of n batches the rewards of each episode, its total reward, and whether its last step alone is done."""
    agents = []

    def agent_fn() -> Any:
        agents.append(_agent(False, Scripted(lengths=lengths), constant([0.0, 0.0])))
        return agents[-1]

    from hw4.rl_data import TrainBatchDataset

    found = [
        [
            {
                "rewards": [float(experience.reward) for experience in episode.experiences],
                "total": float(episode.total_reward),
                "ends": [bool(experience.is_done) for experience in episode.experiences],
            }
            for episode in batch
        ]
        for batch in itertools.islice(TrainBatchDataset(agent_fn, size, 0.9).episode_batch_generator(), n)
    ]
    return {"batches": found, "agents": len(agents)}


# --- losses


def _batch(q_vals: Sequence[float], actions: Sequence[int]) -> Any:
    """A batch of one episode, whose total reward is 100."""
    from hw4.rl_data import TrainBatch

    return TrainBatch(torch.zeros(len(q_vals), 2), torch.tensor(actions), torch.tensor(q_vals), torch.tensor([100.0]))


def _number(value: Any) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def policy_loss(
    baseline: bool, q_vals: Sequence[float], actions: Sequence[int], logits: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """A policy-gradient loss, what it reports, and its gradient."""
    from hw4 import rl_pg

    scores = torch.tensor(logits, requires_grad=True)
    loss_fn = rl_pg.BaselinePolicyGradientLoss() if baseline else rl_pg.VanillaPolicyGradientLoss()
    loss, report = loss_fn(_batch(q_vals, actions), scores)
    loss.sum().backward()
    return {"loss": _number(loss), **_reported(report), "gradient": scores.grad}


def _reported(report: Any) -> dict[str, float]:
    return {name: _number(value) for name, value in report.items()}


def max_entropy(n_actions: int) -> float:
    """The largest entropy of a distribution over this many actions."""
    from hw4.rl_pg import ActionEntropyLoss

    return _number(ActionEntropyLoss.calc_max_entropy(n_actions))


def entropy_loss(logits: Sequence[Sequence[float]], beta: float, with_values: bool = False) -> dict[str, Any]:
    """The entropy loss, what it reports, and whether its gradient is finite."""
    from hw4.rl_pg import ActionEntropyLoss

    scores = torch.tensor(logits, requires_grad=True)
    output = (scores, torch.zeros(len(logits), 1)) if with_values else scores
    loss_fn = ActionEntropyLoss(len(logits[0]), beta=beta)
    loss, report = loss_fn(_batch([1.0] * len(logits), [0] * len(logits)), output)
    loss.sum().backward()
    finite = scores.grad is not None and bool(scores.grad.isfinite().all())
    return {"loss": _number(loss), **_reported(report), "a finite gradient": finite}


def actor_critic_loss(
    delta: float,
    q_vals: Sequence[float],
    actions: Sequence[int],
    logits: Sequence[Sequence[float]],
    values: Sequence[float],
) -> dict[str, Any]:
    """The actor-critic loss, what it reports, and its gradients."""
    from hw4.rl_ac import AACPolicyGradientLoss

    scores = torch.tensor(logits, requires_grad=True)
    v = torch.tensor(values)[:, None].requires_grad_()
    loss, report = AACPolicyGradientLoss(delta)(_batch(q_vals, actions), (scores, v))
    loss.sum().backward()
    gradients = {
        "gradient of logits": scores.grad,
        "gradient of values": v.grad.flatten() if v.grad is not None else None,
    }
    return {"loss": _number(loss), **_reported(report), **gradients}


# --- training


class Weighted(nn.Module):
    """A loss: a factor times the mean output. It reports its value by a name."""

    def __init__(self, name: str, factor: float):
        super().__init__()
        self.name, self.factor = name, factor

    def forward(self, batch: Any, output: Tensor) -> tuple[Tensor, dict[str, float]]:
        loss = self.factor * output.mean()
        return loss, {self.name: loss.item()}


class Descent:
    """Gradient descent by an optimizer's methods; PyTorch's own take a second to import.

    :param scaled: as Adam does it: by the mean gradient over the root of the mean square.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learn_rate: float, scaled: bool = False):
        self.parameters, self.learn_rate, self.scaled = list(parameters), learn_rate, scaled
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.ones_like(parameter) for parameter in self.parameters]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for parameter, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            if parameter.grad is not None:
                mean.lerp_(parameter.grad, 0.1 if self.scaled else 1.0)
                square.lerp_(parameter.grad**2, 0.01 if self.scaled else 0.0)
                parameter.sub_(self.learn_rate * mean / square.sqrt())


def updates(factors: dict[str, float], learn_rate: float, n: int) -> dict[str, Any]:
    """n steps of gradient descent on a network of one weight, which starts at 1; its state is 2 throughout."""
    from hw4.rl_data import TrainBatch
    from hw4.rl_pg import PolicyTrainer

    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    losses = [Weighted(name, factor) for name, factor in factors.items()]
    trainer = PolicyTrainer(model, Descent(model.parameters(), learn_rate), losses, [])
    batch = TrainBatch(torch.full((2, 1), 2.0), torch.tensor([0, 0]), torch.zeros(2), torch.zeros(1))
    weights, totals, reports = [], [], []
    for _ in range(n):
        total, report = trainer.train_batch(batch)
        weights.append(model.weight.item())
        totals.append(_number(total))
        reports.append(_reported(report))
    names = [sorted(report) for report in reports]
    return {"weight after each": weights, "total of each": totals, "reports": reports, "names": names}


# --- hyperparameters and answers


def hyperparams(name: str) -> dict[str, Any]:
    """The hyperparameters."""
    from hw4 import answers

    return {key: value for key, value in getattr(answers, name)().items() if isinstance(key, str)}


def answer(name: str) -> str:
    """An answer's text."""
    from hw4 import answers

    return str(getattr(answers, name))


# --- the whole


def bandit(critic: bool, seed: int) -> dict[str, Any]:
    """The mean reward of the first batch and of the last 80 episodes of a training on the bandit, by the code's parts.

    By chance, 4/3 of the 4 actions of an episode are right.
    """
    from hw4 import rl_ac, rl_pg
    from hw4.rl_data import TrainBatchDataset

    _seed(seed)
    env = Bandit()
    env.reset(seed=seed)
    net = _net_type(critic)(3, 3, **{**_hyperparams(critic), "hidden_layers": [64]})
    loss_fns: list[nn.Module] = [rl_ac.AACPolicyGradientLoss(0.5) if critic else rl_pg.BaselinePolicyGradientLoss()]
    loss_fns.append(rl_pg.ActionEntropyLoss(3, 0.01))
    dataset = TrainBatchDataset(lambda: _agent(critic, env, net), 8, 0.0)
    trainer = rl_pg.PolicyTrainer(net, Descent(net.parameters(), 0.01, scaled=True), loss_fns, dataset)
    trainer.train(target_reward=3.0, running_mean_len=80, max_episodes=4000)  # a right one needs 2400
    rewards = trainer.training_data["mean_reward"]
    return {"at first": rewards[0], "at last": rewards[-1]}


ASKS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        net_shapes,
        net_rows,
        net_published_call,
        net_learns,
        net_build,
        distribution,
        distribution_of_states,
        steps,
        step_types,
        actions,
        monitored,
        q_values,
        train_batch_of,
        episode_batches,
        policy_loss,
        max_entropy,
        entropy_loss,
        actor_critic_loss,
        updates,
        hyperparams,
        answer,
        bandit,
    )
}

"""Policy gradients: the network that gives the policy's logits, the agent that plays by it, the losses that teach it.

An agent draws a_t from pi(a|s_t), the softmax of the network's logits. A loss makes the actions that paid more likely:

    VanillaPolicyGradientLoss     weight q, the return that followed
    BaselinePolicyGradientLoss    weight q - b, with b the mean of q
    ActionEntropyLoss             added, so that the policy keeps exploring

`PolicyTrainer`, the loop that puts them to work, has a module of its own (`training`) and is found here too.

In shapes, N is the number of experiences in a batch, A of actions, O of features of an observation.
"""

import bisect
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hw4.env import VideoRecorder, check_env, make_env
from hw4.rl_data import Episode, Experience, TrainBatch
from hw4.training import PolicyTrainer

__all__ = [
    "ActionEntropyLoss",
    "BaselinePolicyGradientLoss",
    "Episode",
    "Experience",
    "PolicyAgent",
    "PolicyNet",
    "PolicyTrainer",
    "TrainBatch",
    "VanillaPolicyGradientLoss",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def build_mlp(
    in_features: int,
    out_features: int,
    hidden_layers: Sequence[int],
    activation: str = "relu",
    orthogonal: bool = False,
    out_gain: float = 1.0,
) -> nn.Sequential:
    """A multi-layer perceptron, with no activation after its last layer.

    :param hidden_layers: the sizes of the layers between; may be empty.
    :param activation: "relu" or "tanh".
    :param orthogonal: initialise weights orthogonally with gain sqrt(2), `out_gain` in the last layer, and biases with
        zero, instead of as PyTorch does (Saxe et al., 2014, https://arxiv.org/abs/1312.6120).
    """
    sizes = [in_features, *hidden_layers, out_features]
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(map(int, sizes)):
        linear = nn.Linear(n_in, n_out)
        if orthogonal:
            is_last = len(layers) == 2 * len(hidden_layers)
            nn.init.orthogonal_(linear.weight, gain=out_gain if is_last else math.sqrt(2))
            nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class PolicyNet(nn.Module):
    """The logits of each action in a state: an MLP with `hidden_layers`.

    :param in_features: O.
    :param out_actions: A.
    :param hidden_layers: sizes of the hidden layers.
    :param activation: "relu" or "tanh".
    :param orthogonal: orthogonal initialisation, the last layer's nearly zero: the first policy is nearly uniform.
    :param initial_logits: added to the last layer's first biases, one for each action: what the first policy prefers.
        The policy is free to unlearn it.
    :param _unused: the other hyperparameters of a run. The whole dict may be passed.
    """

    def __init__(
        self,
        in_features: int,
        out_actions: int,
        *,
        hidden_layers: Sequence[int],
        activation: str = "relu",
        orthogonal: bool = False,
        initial_logits: Sequence[float] | None = None,
        **_unused: Any,
    ):
        super().__init__()
        self.logits = build_mlp(in_features, out_actions, hidden_layers, activation, orthogonal, out_gain=0.01)
        if initial_logits is not None:
            if len(initial_logits) != out_actions:
                raise ValueError(f"initial_logits must be {out_actions} numbers, one an action, got {initial_logits!r}")
            with torch.no_grad():
                self.logits[-1].bias += torch.tensor(initial_logits)  # type: ignore[operator]

    def forward(self, states: Float[Tensor, "*N O"]) -> Float[Tensor, "*N A"]:
        """Logits, whose softmax is pi(a|s)."""
        return self.logits(states)

    @classmethod
    def build_for_env(cls, env: Any, device: torch.device | str = "cpu", **hp: Any) -> "PolicyNet":
        """A network of the sizes that an environment needs, on a device."""
        return cls(*check_env(env), **hp).to(device)


def sample_by_inversion(probabilities: Float[Tensor, " A"], u: float) -> int:
    """The first action whose cumulative probability reaches u, a uniform draw from [0, 1).

    :raises FloatingPointError: if the probabilities are nan.
    """
    cumulative = probabilities.cumsum(dim=0).tolist()
    if math.isnan(cumulative[-1]):
        raise FloatingPointError("the policy's logits are nan: its parameters have diverged; try a smaller learn_rate")
    return min(bisect.bisect_left(cumulative, u), len(cumulative) - 1)


class PolicyAgent:
    """Plays an environment by drawing its actions from a policy network.

    A change to its methods, here or in a subclass, is obeyed everywhere; training is then slower (`rollout.collect`).

    :param env: vector observations, discrete actions.
    :param p_net: maps a state (O,) to logits (A,).
    :param device: where the network is.
    :raises ValueError: if the environment is of another kind.
    """

    def __init__(self, env: Any, p_net: nn.Module, device: torch.device | str = "cpu"):
        check_env(env)
        self.env, self.p_net, self.device = env, p_net, device
        self.reset()

    def reset(self) -> None:
        """Start an episode."""
        observation, _ = self.env.reset()
        self.state = torch.from_numpy(np.array(observation, dtype=np.float32))  # (O,), a copy: it is kept
        self.is_done = False

    def current_state(self) -> Float[Tensor, " O"]:
        """The state to act in, on the network's device; a new episode's first, if the last one is done."""
        if self.is_done:
            self.reset()
        return self.state.to(self.device)

    def current_action_distribution(self) -> Float[Tensor, " A"]:
        """Probabilities pi(.|s) of the actions in the current state."""
        with torch.no_grad():
            return torch.softmax(self.p_net(self.current_state()), dim=-1)

    def step(self) -> Experience:
        """Take one step, in a new episode if the last one is done."""
        state = self.current_state().cpu()
        u = torch.rand((), dtype=torch.float64).item()
        action = sample_by_inversion(self.current_action_distribution(), u)
        observation, reward, terminated, truncated, _ = self.env.step(action)
        self.state = torch.from_numpy(np.array(observation, dtype=np.float32))
        self.is_done = bool(terminated or truncated)
        return Experience(state, action, float(reward), self.is_done)

    @classmethod
    def monitor_episode(
        cls,
        env_name: str,
        p_net: nn.Module,
        monitor_dir: str | Path = "checkpoints/monitor",
        device: torch.device | str = "cpu",
    ) -> tuple[VideoRecorder, int, float]:
        """Film an agent for one episode.

        :return: the environment, closed, with `videos[0][0]` the path of the mp4; how many steps the episode took; and
            its total reward. The videos of an earlier call in `monitor_dir` are replaced.
        """
        with VideoRecorder(make_env(env_name, render_mode="rgb_array"), monitor_dir) as env:
            agent = cls(env, p_net, device)
            n_steps, total_reward, is_done = 0, 0.0, False
            while not is_done:
                _, _, reward, is_done = agent.step()
                n_steps, total_reward = n_steps + 1, total_reward + reward
        return env, n_steps, total_reward


def action_log_probs(batch: TrainBatch, logits: Float[Tensor, "N A"]) -> Float[Tensor, " N"]:
    """The log pi(a|s) of the actions that were taken."""
    log_pi = torch.log_softmax(logits, dim=1)  # (N, A)
    return log_pi.gather(dim=1, index=batch.actions[:, None]).squeeze(dim=1)


class VanillaPolicyGradientLoss(nn.Module):
    """L = -(1/N) sum q log pi(a|s): each action's log-likelihood, weighted by the return that followed it.

    Its gradient estimates that of minus the expected return, up to a factor (REINFORCE with reward-to-go; Williams,
    1992; Sutton & Barto, section 13.3).
    """

    def forward(
        self, batch: TrainBatch, action_scores: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss of a batch under a policy's logits of its states, and {"loss_p": its value}."""
        loss_p = -(batch.q_vals * action_log_probs(batch, action_scores)).mean()
        return loss_p, {"loss_p": loss_p.item()}


class BaselinePolicyGradientLoss(nn.Module):
    """L = -(1/N) sum (q - b) log pi(a|s), with b the mean of q over the batch.

    A constant b leaves the expected gradient as it is, and takes out of its variance what all returns have in common.
    """

    def forward(
        self, batch: TrainBatch, action_scores: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss of a batch under a policy's logits of its states, and {"loss_p": its value, "baseline": b}."""
        baseline = batch.q_vals.mean()
        loss_p = -((batch.q_vals - baseline) * action_log_probs(batch, action_scores)).mean()
        return loss_p, {"loss_p": loss_p.item(), "baseline": baseline.item()}


class ActionEntropyLoss(nn.Module):
    """L = -beta H / log A, with H the policy's mean entropy over the batch: low where it keeps its options open.

    :param n_actions: A, two or more.
    :param beta: the weight; below 0, later in a run, it has the policy give options up.
    """

    def __init__(self, n_actions: int, beta: float = 1.0):
        super().__init__()
        self.n_actions, self.beta = n_actions, beta
        self.max_entropy = self.calc_max_entropy(n_actions)

    @staticmethod
    def calc_max_entropy(n_actions: int) -> float:
        """The largest entropy that a distribution over this many actions can have, in nats."""
        return math.log(n_actions)

    def forward(
        self, batch: TrainBatch, action_scores: Float[Tensor, "N A"] | tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss and {"loss_e": its value}; takes the logits, or a tuple of outputs that begins with them."""
        logits = action_scores[0] if isinstance(action_scores, tuple) else action_scores
        log_pi = torch.log_softmax(logits, dim=1)  # (N, A)
        entropy = -(log_pi.exp() * log_pi).sum(dim=1).mean()
        loss_e = -self.beta * entropy / float(self.max_entropy)
        return loss_e, {"loss_e": loss_e.item()}

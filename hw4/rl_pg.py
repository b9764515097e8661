"""Policy gradients: the network that scores actions, the agent that plays by it, and the losses that teach it.

An agent draws a_t from pi(a|s_t) = softmax of the network's scores; a loss makes the actions that paid more likely:

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
from jaxtyping import Float, Float32
from torch import Tensor, nn

from hw4.env import VideoRecorder, check_env, make_env
from hw4.exercise import exercise
from hw4.rl_data import Episode, Experience, TrainBatch
from hw4.rollout.collect import NumpyScores, computes_the_same, numpy_scores, play_episodes
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


@exercise(
    "Linear layers of the given sizes, with an activation after each but the last. Start with PyTorch's own "
    "initialisation; the orthogonal one can wait until you look for better results."
)
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
    :param orthogonal: initialise weights orthogonally with gain sqrt(2), and `out_gain` in the last layer, and biases
        with zero, instead of as PyTorch does (Saxe et al., 2014, https://arxiv.org/abs/1312.6120).
    :raises ValueError: if there is no such activation, or a size is not a positive whole number.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    sizes = [in_features, *hidden_layers, out_features]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"layer sizes must be positive whole numbers, got {sizes}")
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        if orthogonal:
            is_last = len(layers) == 2 * len(hidden_layers)
            nn.init.orthogonal_(linear.weight, gain=out_gain if is_last else math.sqrt(2))
            nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class PolicyNet(nn.Module):
    """Scores each action in a state: an MLP with `hidden_layers`.

    :param in_features: O.
    :param out_actions: A.
    :param hidden_layers: sizes of the hidden layers.
    :param activation: "relu" or "tanh".
    :param orthogonal: orthogonal initialisation, the last layer's nearly zero, so that the first policy is uniform.
    :param initial_scores: added to the last layer's first biases, one for each action: what a new policy prefers, in
        states of which it knows nothing. The policy is free to unlearn it.
    :param _unused: the other hyperparameters of a run, for the whole dict may be passed.
    """

    @exercise(
        "Make the network, with build_mlp for a start. If you call it self.scores and have forward do nothing but "
        "apply it, agents play several times faster: see scoring_chain. Further keyword arguments are hyperparameters, "
        "for you to add in hw4/answers.py."
    )
    def __init__(
        self,
        in_features: int,
        out_actions: int,
        *,
        hidden_layers: Sequence[int],
        activation: str = "relu",
        orthogonal: bool = False,
        initial_scores: Sequence[float] | None = None,
        **_unused: Any,
    ):
        super().__init__()
        self.scores = build_mlp(in_features, out_actions, hidden_layers, activation, orthogonal, out_gain=0.01)
        if initial_scores is not None:
            if len(initial_scores) != out_actions:
                raise ValueError(f"initial_scores must be {out_actions} numbers, one an action, got {initial_scores!r}")
            with torch.no_grad():
                self.scores[-1].bias += torch.tensor(initial_scores)  # type: ignore[operator]

    @exercise("Return the network's scores: for a batch of states, and for a single one.")
    def forward(self, states: Float[Tensor, "*N O"]) -> Float[Tensor, "*N A"]:
        """Scores whose softmax is pi(a|s)."""
        return self.scores(states)

    def scoring_chain(self) -> nn.Sequential | None:
        """The layers whose output are the scores, where `forward` is the one above: see `playing`."""
        return self.scores if type(self).forward is PolicyNet.forward else None

    @classmethod
    @exercise("check_env gives the number of observations and of actions; make a network of the class, on the device.")
    def build_for_env(cls, env: Any, device: torch.device | str = "cpu", **hp: Any) -> "PolicyNet":
        """A network of the sizes that an environment needs, on a device."""
        return cls(*check_env(env), **hp).to(device)


def first_reaching(cumulative: Sequence[float], u: float) -> int:
    """The first index whose cumulative probability is >= u, or the last index: sampling by inversion."""
    return min(bisect.bisect_left(cumulative, u), len(cumulative) - 1)


class PolicyAgent:
    """Plays an environment by drawing its actions from a policy network.

    :param env: vector observations, discrete actions.
    :param p_net: maps a state (O,) to scores (A,).
    :param device: where the network is.
    :param greedy: take the likeliest action instead of drawing one.
    :raises ValueError: if the environment is of another kind.
    """

    def __init__(self, env: Any, p_net: nn.Module, device: torch.device | str = "cpu", *, greedy: bool = False):
        self._n_observations, self._n_actions = check_env(env)
        self.env, self.p_net, self.device, self.greedy = env, p_net, torch.device(device), greedy
        self._chain_is_checked = False
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Start an episode.

        :param seed: all that the episode's randomness depends on, the environment's and the agent's. Without one, the
            environment goes on with its own random stream, and actions are drawn by torch's global generator.
        """
        observation, _ = self.env.reset(seed=seed)
        self.state: Float32[np.ndarray, " O"] = np.asarray(observation, dtype=np.float32)
        self.is_done = False
        # With a seed, another stream than the one that the environment makes of it.
        self._draw_uniform = _draw_from_torch if seed is None else np.random.default_rng([seed, 1]).random

    @exercise(
        "Ask the network for the scores of self.current_state(), and turn them into probabilities. Nothing is learned "
        "here, so record no gradients."
    )
    def current_action_distribution(self) -> Float32[Tensor, " A"]:
        """Probabilities pi(.|s) of the actions in the current state."""
        with torch.no_grad():
            return torch.softmax(self.p_net(self.current_state()), dim=-1)

    def current_state(self) -> Float32[Tensor, " O"]:
        """The state to act in, on the network's device; a new episode's first, if the last one is done."""
        if self.is_done:  # only now: a reset takes as long as ten steps, and would start a recording's next video
            self.reset()
        return torch.from_numpy(self.state).to(self.device)

    @exercise("Note the current state, take the step with self.act, and return what an Experience tells of it.")
    def step(self) -> Experience:
        """Take one step, in a new episode if the last one is done.

        The action is drawn by inversion: the first whose cumulative probability reaches a uniform draw from [0, 1).
        """
        state = self.current_state().cpu()
        action, reward = self.act()
        return Experience(state, action, reward, self.is_done)

    def play_episode(self, seed: int | None = None) -> Episode:
        """Play an episode from its reset to its end: the same one as by `step`, but fast where the network is an MLP.

        :param seed: as in `reset`.
        """
        [(_, episode)] = play_episodes([self], [seed])
        return episode

    @exercise(
        "Choose an action, with self._choose_by_scores if scores are given, and else with self._choose from the "
        "current distribution. Have self.env take it, and leave in self.state (a float32 array) and self.is_done what "
        "came of it: an episode is done when it is terminated or truncated."
    )
    def act(self, scores: list[float] | None = None) -> tuple[int, float]:
        """Take one step in the episode that goes on.

        :param scores: those of the current state, if they are known already.
        :return: the action and its reward.
        """
        choose = self._choose_by_scores
        action = choose(scores) if scores is not None else self._choose(self.current_action_distribution())
        observation, reward, terminated, truncated, _ = self.env.step(action)
        self.state = np.asarray(observation, dtype=np.float32)
        self.is_done = bool(terminated or truncated)
        return action, float(reward)

    def _choose(self, probabilities: Float32[Tensor, " A"]) -> int:
        cumulative = probabilities.cumsum(dim=0).tolist()
        self._check_size(len(cumulative))
        if math.isnan(cumulative[-1]):
            raise _nan_scores()
        if self.greedy:
            return int(probabilities.argmax())
        return first_reaching(cumulative, self._draw_uniform())

    def _choose_by_scores(self, scores: list[float]) -> int:
        """As `_choose`, by Python's own numbers: for a handful of actions they are faster than any array."""
        top = max(scores)
        cumulative = list(itertools.accumulate([math.exp(score - top) for score in scores]))
        if math.isnan(cumulative[-1]):
            raise _nan_scores()
        if self.greedy:
            return scores.index(top)
        return first_reaching(cumulative, self._draw_uniform() * cumulative[-1])

    def _check_size(self, n_scores: int) -> None:
        if n_scores != self._n_actions:
            raise ValueError(f"the network scores {n_scores} actions, but the environment has {self._n_actions}")

    def fast_scores(self) -> NumpyScores | None:
        """The network's scores, as it is now, computed in NumPy; None if it can't be: see `playing`."""
        scores = numpy_scores(self.p_net)
        if scores is None:
            return None
        self._check_size(scores(self.state[None]).shape[1])
        if not self._chain_is_checked:
            if not computes_the_same(scores, self.p_net, self._n_observations):
                return None
            self._chain_is_checked = True
        return scores

    @classmethod
    @exercise(
        "Make an agent of the class in an environment with render_mode='rgb_array', put a VideoRecorder around that "
        "environment in the agent's place, and play an episode with play_episode. Close the recorder; if something "
        "goes wrong before, have it discard the film and let the error pass on."
    )
    def monitor_episode(
        cls,
        env_name: str,
        p_net: nn.Module,
        monitor_dir: str | Path = "checkpoints/monitor",
        device: torch.device | str = "cpu",
        *,
        seed: int | None = None,
        greedy: bool = False,
    ) -> tuple[VideoRecorder, int, float]:
        """Film an agent for one episode.

        :return: the environment, closed, with `videos[0][0]` the path of the mp4; how many steps the episode took; and
            its total reward. The videos of an earlier call in `monitor_dir` are replaced.
        """
        agent = cls(make_env(env_name, render_mode="rgb_array"), p_net, device, greedy=greedy)
        agent.env = env = VideoRecorder(agent.env, monitor_dir)  # now: the constructor's reset would start a film too
        try:
            episode = agent.play_episode(seed)
        except BaseException:
            env.discard()
            raise
        env.close()
        return env, len(episode.experiences), episode.total_reward


def _draw_from_torch() -> float:
    return torch.rand((), dtype=torch.float64).item()


def _nan_scores() -> FloatingPointError:
    return FloatingPointError("the policy's scores are nan: its parameters have diverged; try a smaller learn_rate")


class VanillaPolicyGradientLoss(nn.Module):
    """L = -(1/N) sum q log pi(a|s): each action's log-likelihood, weighted by the return that followed it.

    Its gradient estimates that of minus the expected return, up to a factor (REINFORCE with reward-to-go; Williams,
    1992; Sutton & Barto, section 13.3).
    """

    @exercise("Write the formula above, with the help of policy_loss and action_log_probs.")
    def forward(
        self, batch: TrainBatch, action_scores: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss of a batch under a policy's scores of its states, and {"loss_p": its value}."""
        loss_p = policy_loss(batch.q_vals, action_log_probs(batch, action_scores))
        return loss_p, {"loss_p": loss_p.item()}


class BaselinePolicyGradientLoss(nn.Module):
    """L = -(1/N) sum (q - b) log pi(a|s), with b the mean of q over the batch.

    A constant b leaves the expected gradient as it is, and takes out of its variance what all returns have in common.
    """

    @exercise("As the vanilla loss, with the baseline taken off the weights.")
    def forward(
        self, batch: TrainBatch, action_scores: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss of a batch under a policy's scores of its states, {"loss_p": its value, "baseline": b}."""
        baseline = batch.q_vals.mean()
        loss_p = policy_loss(batch.q_vals - baseline, action_log_probs(batch, action_scores))
        return loss_p, {"loss_p": loss_p.item(), "baseline": baseline.item()}


@exercise("Write the formula. It is a mean over experiences, not a sum, and not a mean over episodes.")
def policy_loss(weights: Float[Tensor, " N"], log_probs: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """-(1/N) sum of weight times log pi(a|s), over all N experiences."""
    return -(weights * log_probs).mean()


@exercise(
    "Begin with check_scores and check_actions, which raise the errors. Then take each row's log-softmax (in one step: "
    "the logarithm of a softmax may be minus infinity), and of each row the entry of its action."
)
def action_log_probs(batch: TrainBatch, action_scores: Float[Tensor, "N A"]) -> Float[Tensor, " N"]:
    """The log pi(a|s) of the actions that were taken.

    :raises ValueError: if there is not one row of scores for each experience, or an action has no score.
    """
    check_scores(batch, action_scores)
    check_actions(batch, action_scores.shape[1])
    log_pi = torch.log_softmax(action_scores, dim=1)  # (N, A)
    return log_pi.gather(dim=1, index=batch.actions[:, None]).squeeze(dim=1)


def check_scores(batch: TrainBatch, action_scores: Tensor) -> None:
    """Refuse scores that have not one row for each experience with a ValueError."""
    if action_scores.ndim != 2 or len(action_scores) != len(batch):
        raise ValueError(
            f"scores must be (N, A) with N={len(batch)} for this batch, got shape {tuple(action_scores.shape)}"
        )


def check_actions(batch: TrainBatch, n_actions: int) -> None:
    """Refuse a batch with actions that there are no scores for with a ValueError."""
    lowest, highest = batch.actions.aminmax()
    if lowest < 0 or highest >= n_actions:
        raise ValueError(
            f"actions must be from 0 to {n_actions - 1}, as there are scores for, "
            f"but the batch's are from {int(lowest)} to {int(highest)}"
        )


class ActionEntropyLoss(nn.Module):
    """L = -beta H / log A, with H the policy's mean entropy over the batch: low where it keeps its options open.

    :param n_actions: A, two or more.
    :param beta: the weight, 0 or more; set below 0 later in a run, it has the policy give options up.
    """

    def __init__(self, n_actions: int, beta: float = 1.0):
        super().__init__()
        if isinstance(n_actions, bool) or not isinstance(n_actions, (int, np.integer)) or n_actions < 2:
            raise ValueError(f"n_actions must be a whole number from 2 for a choice to have entropy, got {n_actions!r}")
        check_weight("beta", beta)
        self.n_actions, self.beta = int(n_actions), beta
        self.max_entropy = self.calc_max_entropy(self.n_actions)

    @staticmethod
    @exercise("Which distribution over n_actions has the largest entropy, and how large is it?")
    def calc_max_entropy(n_actions: int) -> float:
        """The largest entropy that a distribution over this many actions can have, in nats."""
        return math.log(n_actions)

    @exercise(
        "Take the scores out of a tuple, let check_scores look at them, and refuse with a ValueError what has not "
        "self.n_actions columns. Then write the formula, so that a certain action (probability 0 for the others) gives "
        "entropy 0 and a finite gradient."
    )
    def forward(
        self, batch: TrainBatch, action_scores: Float[Tensor, "N A"] | tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss and {"loss_e": its value}; takes the scores, or a tuple of outputs that begins with them."""
        scores = action_scores[0] if isinstance(action_scores, tuple) else action_scores
        check_scores(batch, scores)
        if scores.shape[1] != self.n_actions:
            raise ValueError(f"scores must be of {self.n_actions} actions, got shape {tuple(scores.shape)}")
        log_pi = torch.log_softmax(scores, dim=1)  # (N, A)
        entropy = -(log_pi.exp() * log_pi).sum(dim=1).mean()
        loss_e = -self.beta * entropy / self.max_entropy
        return loss_e, {"loss_e": loss_e.item()}


def check_weight(name: str, value: float) -> None:
    """Refuse a loss's weight that is not a finite number from 0 with a ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number from 0, got {value!r}")

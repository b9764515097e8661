"""What happens inside a run: the gradient's noise, the critic's quality, and where a policy spends its time.

All of it is measured on one actor-critic run, at stages of its training. `analyse` makes the figures' data.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor, nn
from tqdm import tqdm

from cs236781.files import read_json
from hw4.experiments import MAX_EPISODES, train_aac
from hw4.rl_ac import AACPolicyAgent
from hw4.rl_data import Episode, TrainBatch
from hw4.rl_pg import PolicyAgent, VanillaPolicyGradientLoss
from hw4.study.evaluation import ENDINGS, Flight, fresh_flights

STAGES: Mapping[str, int] = {"early": 500, "middle": 1500, "late": 6000}  # episodes trained by then
BATCHES = 200  # at each stage
CALIBRATION_BINS = 20
VARIANCE_EVERY = 250  # episodes between two readings of the critic's explained variance
ESTIMATORS = ("total return", "reward to go", "batch mean", "leave-one-out", "critic")  # of the policy gradient
VARIANCE_EPISODES = 40  # fresh ones for each such reading
HEIGHT, RIGHT_LEG, LEFT_LEG = 1, 6, 7  # features of an observation; a leg's is 1 on the ground and 0 in the air
LEARNED = 3.0  # standard errors of the mean improvement that are more than luck


# What a number in JSON may be, so that means and differences are finite, and can be drawn.
NUMBER = {"type": "number", "minimum": -1e100, "maximum": 1e100}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53}
_NUMBERS = {"type": "array", "items": NUMBER, "minItems": 1}
_NAMES = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": "^[A-Za-z0-9 _-]+$"}}


def _with(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _so_many(count: int) -> dict[str, Any]:
    return {**_NUMBERS, "minItems": count, "maxItems": count}


# What an analysis holds, as a JSON schema: what is plotted of it.
SCHEMA = _with(
    explained_variance=_with(**dict.fromkeys(("episodes", "value"), _so_many(MAX_EPISODES // VARIANCE_EVERY))),
    stages={
        **_NAMES,
        "additionalProperties": _with(
            episodes=COUNT,
            batches=COUNT,
            gradient={
                **_with(**dict.fromkeys(ESTIMATORS, _with(variance={**NUMBER, "minimum": 0}))),
                "additionalProperties": False,
            },
            critic=_with(**dict.fromkeys(("v", "q", "q10", "q90"), _so_many(CALIBRATION_BINS))),
            time=_with(
                ends={**_NAMES, "additionalProperties": NUMBER},
                height=_NUMBERS,
                where={**_NAMES, "additionalProperties": _with(share=NUMBER, actions=_so_many(4))},
            ),
        ),
    },
)


def load_analysis(filename: Path) -> dict[str, Any]:
    """What `analyse` returned, from its file.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is of another kind.
    """
    return read_json(filename, SCHEMA)


def analyse(hp: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train an actor-critic, and look into it at each of `STAGES`.

    :param hp: the run's hyperparameters.
    :return: plain data: `seed`, `hyperparams`, `explained_variance` over training, and for each of `stages` its
        `episodes`, `batches`, `gradient` (see `gradient_noise`), `critic` (see `calibration`) and `time` (see
        `state_occupancy`).
    """
    readings = range(VARIANCE_EVERY, MAX_EPISODES + 1, VARIANCE_EVERY)
    snapshots = train_with_snapshots(hp, seed, {*STAGES.values(), *readings}, MAX_EPISODES)
    action_repeat = hp.get("action_repeat", 1)
    gammas = {episodes: discount_after(episodes, hp) for episodes in snapshots}
    explained: dict[str, list[float]] = {"episodes": [], "value": []}
    for episodes, p_net in tqdm(snapshots.items(), desc="the critic over training", unit="reading"):
        flights = fresh_flights(AACPolicyAgent, p_net, action_repeat, VARIANCE_EPISODES, seed)
        batch = TrainBatch.from_episodes([flight.episode for flight in flights], gammas[episodes])
        explained["episodes"].append(episodes)
        explained["value"].append(explained_variance(state_values(p_net, batch), batch.q_vals))
    stages = {}
    for name, episodes in tqdm(STAGES.items(), desc="the stages", unit="stage"):
        p_net = snapshots[episodes]
        flights = fresh_flights(AACPolicyAgent, p_net, action_repeat, BATCHES * hp["batch_size"], seed + 1)
        played = [flight.episode for flight in flights]
        stages[name] = {
            "episodes": episodes,
            "batches": BATCHES,
            "gradient": gradient_noise(estimate(p_net, played, hp["batch_size"], gammas[episodes])),
            "critic": calibration(p_net, TrainBatch.from_episodes(played, gammas[episodes])),
            "time": state_occupancy(flights),
        }
    return {"seed": seed, "hyperparams": hp, "explained_variance": explained, "stages": stages}


def train_with_snapshots(hp: dict[str, Any], seed: int, at: Iterable[int], max_episodes: int) -> dict[int, nn.Module]:
    """Train an actor-critic.

    :param at: numbers of episodes, up to max_episodes.
    :return: {number: the network as it was when so many had been played}, in rising order.
    """
    waiting = sorted(at)
    snapshots: dict[int, nn.Module] = {}
    played = 0

    def keep(batch_idx: int, p_net: nn.Module, batch: TrainBatch, final: bool) -> None:
        nonlocal played
        played += batch.num_episodes
        while waiting and (played >= waiting[0] or final):
            snapshots[waiting.pop(0)] = copy.deepcopy(p_net).eval()

    train_aac(hp=hp, seed=seed, max_episodes=max_episodes, post_batch_fn=keep)
    return snapshots


def discount_after(episodes: int, hp: Mapping[str, Any]) -> float:
    """The discount of a run when so many of its `MAX_EPISODES` episodes have been played."""
    first, last = hp["gamma"], hp.get("gamma_end", hp["gamma"])
    return first + episodes / MAX_EPISODES * (last - first)


class Improvement(NamedTuple):
    """What training was worth on the same fresh episodes: mean total rewards before and after it.

    :param error: the standard error of the mean difference.
    """

    before: float
    after: float
    error: float

    @property
    def is_learned(self) -> bool:
        """Whether it is more than luck can be held to account for."""
        return self.after - self.before > LEARNED * self.error


def improvement(
    agent_type: type[PolicyAgent],
    untrained: nn.Module,
    model_state: Mapping[str, Tensor],
    action_repeat: int,
    episodes: int,
    seed: int,
) -> Improvement:
    """Fly the same fresh episodes by a network as it was made, and by it as it was trained.

    :param untrained: the network as it was made; it stays so.
    :param model_state: the parameters that training left, as `train_rl` returns them.
    :param episodes: how many, 2 or more.
    """
    trained = copy.deepcopy(untrained)
    trained.load_state_dict(model_state)
    before, after = (
        np.array([f.episode.total_reward for f in fresh_flights(agent_type, p_net, action_repeat, episodes, seed)])
        for p_net in (untrained, trained)
    )
    error = (after - before).std(ddof=1) / math.sqrt(episodes)
    return Improvement(float(before.mean()), float(after.mean()), float(error))


def estimator_weights(episodes: Sequence[Episode], batch: TrainBatch, v: Float[Tensor, " N"]) -> dict[str, Tensor]:
    """What each estimator of the policy gradient multiplies grad log pi(a|s) by, (N,) of each.

    The total return is the reward to go and the rewards before the step. The step's action cannot have changed these.
    All have the same expectation but the mean of the batch: an action's own episode is in that mean, and what the
    episode earned is subtracted from itself. To leave that episode out takes the mean over the others alone.

    :param episodes: E episodes, two or more: else there are no others.
    :param batch: of the episodes.
    :param v: the critic's values.
    """
    lengths = torch.tensor([len(episode.experiences) for episode in episodes])
    sums = torch.stack([of_episode.sum() for of_episode in batch.q_vals.split(lengths.tolist())])
    of_others = (sums.sum() - sums) / (lengths.sum() - lengths)  # (E,), the mean q of the other episodes' steps
    rewards = [np.array([experience.reward for experience in episode.experiences]) for episode in episodes]
    past = np.concatenate([np.cumsum(of_episode) - of_episode for of_episode in rewards])
    return {
        "total return": batch.q_vals + torch.from_numpy(past).float(),
        "reward to go": batch.q_vals,
        "batch mean": batch.q_vals - batch.q_vals.mean(),
        "leave-one-out": batch.q_vals - of_others.repeat_interleave(lengths),
        "critic": batch.q_vals - v,
    }


class Estimates(NamedTuple):
    """What an estimator of the policy gradient says of each of B batches, at the same P parameters."""

    gradients: Float64[np.ndarray, "B P"]
    losses: Float64[np.ndarray, " B"]


def estimate(p_net: nn.Module, episodes: Sequence[Episode], batch_size: int, gamma: float) -> dict[str, Estimates]:
    """The gradients of the policy's loss, and its values, by each estimator.

    :param p_net: gives logits and values, as an AACPolicyNet does.
    :param batch_size: episodes of a batch, two or more. Episodes that fill no batch are left out.
    """
    loss_fn = VanillaPolicyGradientLoss()
    rows: dict[str, list[np.ndarray]] = {}
    losses: dict[str, list[float]] = {}
    for start in range(0, len(episodes) - batch_size + 1, batch_size):
        of_batch = episodes[start : start + batch_size]
        batch = TrainBatch.from_episodes(of_batch, gamma)
        logits, values = p_net(batch.states)
        for name, weights in estimator_weights(of_batch, batch, values.detach().squeeze(dim=1)).items():
            loss, _ = loss_fn(TrainBatch(batch.states, batch.actions, weights, batch.total_rewards), logits)
            parts = torch.autograd.grad(loss, list(p_net.parameters()), retain_graph=True, allow_unused=True)
            of_policy = [part.flatten() for part in parts if part is not None]  # the loss does not depend on the critic
            rows.setdefault(name, []).append(torch.cat(of_policy).numpy())
            losses.setdefault(name, []).append(float(loss.detach()))
    return {name: Estimates(np.array(rows[name], dtype=np.float64), np.array(losses[name])) for name in rows}


def gradient_noise(estimates: Mapping[str, Estimates]) -> dict[str, dict[str, float]]:
    """How much the policy gradient differs from batch to batch, for each estimator.

    :return: for each estimator `variance`, the sum of its components' variances over the batches, and
        `squared_mean`, the squared length of the mean gradient, less what the noise adds to it.
    """
    noise = {}
    for name, (g, _) in estimates.items():
        variance = float(g.var(axis=0, ddof=1).sum())
        squared_mean = float((g.mean(axis=0) ** 2).sum()) - variance / len(g)
        noise[name] = {"variance": variance, "squared_mean": squared_mean}
    return noise


@torch.no_grad()
def state_values(p_net: nn.Module, batch: TrainBatch) -> Float32[Tensor, " N"]:
    """The critic's v(s) of a batch's states."""
    return p_net(batch.states)[1].squeeze(dim=1)


def explained_variance(v: Float[Tensor, " N"], q: Float[Tensor, " N"]) -> float:
    """1 - Var(q - v) / Var(q): 1 for a perfect prediction, 0 for a constant one, below 0 for a worse one."""
    return 1 - float((q - v).var() / q.var())


def calibration(p_net: nn.Module, batch: TrainBatch) -> dict[str, Any]:
    """The critic's predictions in bins of equal numbers of states, beside the returns that followed there.

    :return: for each bin the mean prediction `v`, the mean return `q`, and the returns' 10% and 90% quantiles; and the
        `explained_variance` over all.
    """
    v, q = state_values(p_net, batch), batch.q_vals
    bins = [part.numpy() for part in torch.argsort(v).tensor_split(CALIBRATION_BINS)]
    v_np, q_np = v.numpy(), q.numpy()
    return {
        "v": [float(v_np[part].mean()) for part in bins],
        "q": [float(q_np[part].mean()) for part in bins],
        "q10": [float(np.quantile(q_np[part], 0.1)) for part in bins],
        "q90": [float(np.quantile(q_np[part], 0.9)) for part in bins],
        "explained_variance": explained_variance(v, q),
    }


def state_occupancy(flights: Sequence[Flight]) -> dict[str, Any]:
    """Where a lander takes its decisions, what it decides there, and how its episodes end.

    :return: for each of `in the air`, `on one leg`, `on both legs` the `share` (fraction) of all decisions, and the
        fractions of the four `actions` there; the fractions of the episodes whose `ends` are `at rest` (landed), a
        `crash`, or the `time limit`; and `height`, the median over the episodes of the height at each decision, as long
        as half of them go on.
    """
    episodes = [flight.episode for flight in flights]
    experiences = [experience for episode in episodes for experience in episode.experiences]
    states = torch.stack([experience.state for experience in experiences]).numpy()
    actions = np.array([experience.action for experience in experiences])
    legs = (states[:, [RIGHT_LEG, LEFT_LEG]] > 0).sum(axis=1)
    where = {}
    for number, place in enumerate(("in the air", "on one leg", "on both legs")):
        there = actions[legs == number]
        counts = np.bincount(there, minlength=4)
        where[place] = {"share": len(there) / len(actions), "actions": (counts / max(1, len(there))).tolist()}
    lengths = [len(episode.experiences) for episode in episodes]
    heights = np.split(states[:, HEIGHT], np.cumsum(lengths)[:-1])
    return {
        "where": where,
        "ends": {ending: float(np.mean([flight.ending == ending for flight in flights])) for ending in ENDINGS},
        "height": [float(np.median([h[t] for h in heights if len(h) > t])) for t in range(int(np.median(lengths)))],
    }

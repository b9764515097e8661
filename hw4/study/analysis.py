"""What happens inside a run: how noisy the gradient is, how good the critic, and where a policy spends its time.

All of it is measured on one actor-critic run, at stages of its training; `analyse` makes the figures' data.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from tqdm import tqdm

from hw4.env import make_env
from hw4.experiments import MAX_EPISODES, train_aac
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import Episode, TrainBatch, check_count
from hw4.rl_pg import action_log_probs, policy_loss
from hw4.rollout.collect import play_episodes
from hw4.rollout.loader import LOCKSTEP, episode_seed, one_blas_thread
from hw4.study.evaluation import AT_REST

STAGES: Mapping[str, int] = {"early": 500, "plateau": 1500, "landing": 6000}  # episodes trained by then
BATCHES = 200  # at each stage
CALIBRATION_BINS = 20
VARIANCE_EVERY = 250  # episodes between two readings of the critic's explained variance
CHECK_EPISODES = 40  # fresh ones for each such reading
LEFT_LEG, RIGHT_LEG, HEIGHT = 6, 7, 1  # features of an observation


def analyse(
    hp: dict[str, Any],
    seed: int,
    *,
    stages: Mapping[str, int] = STAGES,
    batches: int = BATCHES,
    max_episodes: int = MAX_EPISODES,
) -> dict[str, Any]:
    """Train an actor-critic, and look into it at each stage.

    :param hp: the run's hyperparameters.
    :param stages: {name: episodes trained by then}.
    :param batches: batches that are played at each stage.
    :param max_episodes: the run's length, over which its schedules go.
    :return: plain data: `seed`, `hyperparams`, `explained_variance` over training, and for each of `stages` its
        `episodes`, `gradient` (see `gradient_noise`), `critic` (see `calibration`) and `time` (see `time_use`).
    """
    check_count("batches", batches, minimum=2)
    readings = range(VARIANCE_EVERY, max_episodes + 1, VARIANCE_EVERY)
    snapshots = train_with_snapshots(hp, seed, sorted({*stages.values(), *readings}), max_episodes)
    result: dict[str, Any] = {
        "seed": seed,
        "hyperparams": hp,
        "explained_variance": {"episodes": [], "value": []},
        "stages": {},
    }
    for episodes, p_net in tqdm(snapshots.items(), desc="the critic over training", unit="reading"):
        batch = TrainBatch.from_episodes(play_fresh(p_net, CHECK_EPISODES, seed), hp["gamma"])
        result["explained_variance"]["episodes"].append(episodes)
        result["explained_variance"]["value"].append(explained_variance(_values(p_net, batch), batch.q_vals))
    for name, episodes in tqdm(stages.items(), desc="the stages", unit="stage"):
        played = play_fresh(snapshots[episodes], batches * hp["batch_size"], seed + 1)
        result["stages"][name] = {
            "episodes": episodes,
            "batches": batches,
            "gradient": gradient_noise(snapshots[episodes], played, hp["batch_size"], hp["gamma"]),
            "critic": calibration(snapshots[episodes], TrainBatch.from_episodes(played, hp["gamma"])),
            "time": time_use(played),
        }
    return result


def train_with_snapshots(
    hp: dict[str, Any], seed: int, at: Sequence[int], max_episodes: int
) -> dict[int, AACPolicyNet]:
    """Train; {episodes: the network as it was when so many had been played}."""
    waiting = sorted(at)
    snapshots: dict[int, AACPolicyNet] = {}
    played = 0

    def keep(batch_idx: int, p_net: nn.Module, batch: TrainBatch, final: bool) -> None:
        nonlocal played
        played += batch.num_episodes
        while waiting and (played >= waiting[0] or final):
            snapshots[waiting.pop(0)] = copy.deepcopy(p_net)  # type: ignore[assignment]

    train_aac(hp=hp, seed=seed, max_episodes=max_episodes, post_batch_fn=keep)
    return snapshots


def play_fresh(p_net: AACPolicyNet, episodes: int, seed: int) -> list[Episode]:
    """Episodes that no training has seen, in the order of their numbers."""
    players = [AACPolicyAgent(make_env(), p_net) for _ in range(min(LOCKSTEP, episodes))]
    with one_blas_thread():
        played = dict(play_episodes(players, (episode_seed(seed, number, "evaluation") for number in range(episodes))))
    return [played[index] for index in range(episodes)]


# --- question 1: the gradient's noise


def estimator_weights(episodes: Sequence[Episode], batch: TrainBatch, v: Float[Tensor, " N"]) -> dict[str, Tensor]:
    """What each estimator of the policy gradient multiplies grad log pi(a|s) by, (N,) of each; their means agree.

    The total return is the reward to go and the rewards before the step, which its action can't have changed.

    :param batch: of the episodes.
    :param v: the critic's values.
    """
    past = [np.cumsum(episode.rewards) - episode.rewards for episode in episodes]
    return {
        "total return": batch.q_vals + torch.from_numpy(np.concatenate(past)).float(),
        "reward to go": batch.q_vals,
        "mean baseline": batch.q_vals - batch.q_vals.mean(),
        "critic": batch.q_vals - v,
    }


def gradient_noise(
    p_net: AACPolicyNet, episodes: Sequence[Episode], batch_size: int, gamma: float
) -> dict[str, dict[str, float]]:
    """How much the policy gradient differs from batch to batch, at the same parameters, for each estimator.

    :return: for each estimator `variance`, the sum of its components' variances over the batches, and
        `squared_mean`, the squared length of the mean gradient, without the share that noise has in it.
    """
    gradients: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(episodes) - batch_size + 1, batch_size):
        of_batch = episodes[start : start + batch_size]
        batch = TrainBatch.from_episodes(of_batch, gamma)
        log_probs = action_log_probs(batch, p_net.scores(batch.states))
        for name, weights in estimator_weights(of_batch, batch, _values(p_net, batch)).items():
            loss = policy_loss(weights, log_probs)
            parts = torch.autograd.grad(loss, list(p_net.scores.parameters()), retain_graph=True)
            gradients.setdefault(name, []).append(torch.cat([part.flatten() for part in parts]).numpy())
    noise = {}
    for name, rows in gradients.items():
        g = np.array(rows, dtype=np.float64)  # (batches, parameters)
        variance = float(g.var(axis=0, ddof=1).sum())
        squared_mean = float((g.mean(axis=0) ** 2).sum()) - variance / len(g)
        noise[name] = {"variance": variance, "squared_mean": squared_mean}
    return noise


# --- question 2: the critic


@torch.no_grad()
def _values(p_net: AACPolicyNet, batch: TrainBatch) -> Float32[Tensor, " N"]:
    return p_net(batch.states)[1].squeeze(dim=1)


def explained_variance(v: Float[Tensor, " N"], q: Float[Tensor, " N"]) -> float:
    """1 - Var(q - v) / Var(q): 1 for a perfect prediction, 0 for a constant one, below 0 for worse."""
    return 1 - float((q - v).var() / q.var())


def calibration(p_net: AACPolicyNet, batch: TrainBatch) -> dict[str, Any]:
    """The critic's predictions in bins of equal numbers of states, beside the returns that followed there.

    :return: for each bin the mean prediction `v`, the mean return `q`, and the returns' 10% and 90% quantiles; and the
        `explained_variance` over all.
    """
    v, q = _values(p_net, batch), batch.q_vals
    bins = [part.numpy() for part in torch.argsort(v).tensor_split(CALIBRATION_BINS)]
    v_np, q_np = v.numpy(), q.numpy()
    return {
        "v": [float(v_np[part].mean()) for part in bins],
        "q": [float(q_np[part].mean()) for part in bins],
        "q10": [float(np.quantile(q_np[part], 0.1)) for part in bins],
        "q90": [float(np.quantile(q_np[part], 0.9)) for part in bins],
        "explained_variance": explained_variance(v, q),
    }


# --- question 3: where the time goes


def time_use(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Where a lander spends its steps, what it does there, and how its episodes end.

    :return: for each of `in the air`, `on one leg`, `on both legs` the `share` of all steps, and the shares of the
        four `actions`; of the episodes, the shares that end `at rest`, in a `crash`, and by the `time limit`; and
        `height`, the median over the episodes of the height at each step, as long as half of them go on.
    """
    states = np.concatenate([episode.states.numpy() for episode in episodes])
    actions = np.concatenate([episode.actions.numpy() for episode in episodes])
    legs = (states[:, [LEFT_LEG, RIGHT_LEG]] > 0).sum(axis=1)
    where = {}
    for number, place in enumerate(("in the air", "on one leg", "on both legs")):
        there = actions[legs == number]
        counts = np.bincount(there, minlength=4)
        where[place] = {"share": len(there) / len(actions), "actions": (counts / max(1, len(there))).tolist()}
    last = np.array([episode.rewards[-1] for episode in episodes])
    heights = [episode.states[:, HEIGHT].numpy() for episode in episodes]
    half = int(np.median([len(height) for height in heights]))
    return {
        "where": where,
        "ends": {
            "at rest": float((last == AT_REST).mean()),
            "crash": float((last == -AT_REST).mean()),
            "time limit": float((np.abs(last) != AT_REST).mean()),
        },
        "height": [float(np.median([h[t] for h in heights if len(h) > t])) for t in range(half)],
    }

"""How good a policy is: many fresh episodes, or one to look at."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from moviepy import VideoFileClip
from torch import nn
from tqdm import tqdm

from hw4.env import ENV_NAME, REWARD_THRESHOLD, make_env
from hw4.files import check_writable
from hw4.rl_data import check_count
from hw4.rl_pg import PolicyAgent
from hw4.rollout.collect import play_episodes
from hw4.rollout.loader import LOCKSTEP, episode_seed, one_blas_thread

AT_REST = 100.0  # the lander's reward for coming to rest, which is its last; it can't get it otherwise
GIF_WIDTH = 360  # pixels
GIF_FPS = 25


def evaluate(
    agent_type: type[PolicyAgent],
    p_net: nn.Module,
    *,
    episodes: int = 100,
    seed: int = 0,
    greedy: bool = False,
    env_name: str = ENV_NAME,
) -> dict[str, Any]:
    """Play fresh episodes with a policy as it is.

    :param episodes: how many.
    :param seed: which: equal seeds give equal episodes, none of which any training has seen.
    :param greedy: take the likeliest action instead of drawing one.
    :return: over the episodes, `mean` and `std` (sample standard deviation) of the total reward,
        `share_at_least_200` that reach it, `share_at_rest` that end in landing, `mean_length` in steps, and `episodes`.
    """
    check_count("episodes", episodes)
    check_count("seed", seed, minimum=0)
    players = [agent_type(make_env(env_name), p_net, greedy=greedy) for _ in range(min(LOCKSTEP, episodes))]
    seeds = (episode_seed(seed, number, "evaluation") for number in range(episodes))
    with one_blas_thread(), tqdm(total=episodes, desc="evaluating", unit="ep", leave=False) as progress:
        by_index = {}
        for index, episode in play_episodes(players, seeds):
            by_index[index] = episode
            progress.update()
    played = [by_index[index] for index in range(episodes)]
    rewards = np.array([episode.total_reward for episode in played])
    return {
        "mean": float(rewards.mean()),
        "std": float(rewards.std(ddof=1)) if episodes > 1 else 0.0,
        "share_at_least_200": float((rewards >= REWARD_THRESHOLD).mean()),
        "share_at_rest": float(np.mean([episode.experiences[-1].reward == AT_REST for episode in played])),
        "mean_length": float(np.mean([len(episode.experiences) for episode in played])),
        "episodes": episodes,
    }


def record(
    agent_type: type[PolicyAgent],
    p_net: nn.Module,
    out: str | Path,
    *,
    seed: int | None = None,
    greedy: bool = False,
    env_name: str = ENV_NAME,
) -> tuple[int, float]:
    """Film one episode into a file, .mp4 or .gif.

    :return: the number of its steps, and its total reward.
    """
    target = Path(out)
    if target.suffix not in (".mp4", ".gif"):
        raise ValueError(f"a recording is an .mp4 or a .gif file, got {str(out)!r}")
    check_writable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent) as folder:
        env, n_steps, reward = agent_type.monitor_episode(
            env_name, p_net, Path(folder) / "videos", seed=seed, greedy=greedy
        )
        video = Path(env.videos[0][0])
        if target.suffix == ".gif":
            with VideoFileClip(str(video)) as clip:
                video = video.with_suffix(".gif")
                clip.resized(width=GIF_WIDTH).write_gif(str(video), fps=GIF_FPS, logger=None)
        video.replace(target)
    return n_steps, reward

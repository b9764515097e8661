"""How good a policy is: the figures of many fresh episodes, or one episode on film."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from moviepy import VideoFileClip
from torch import nn
from tqdm import tqdm

from cs236781.files import write_whole
from hw4.env import REWARD_THRESHOLD, VideoRecorder, make_env
from hw4.hyperparams import check_count
from hw4.rl_data import Episode
from hw4.rl_pg import PolicyAgent
from hw4.rollout.collect import collect, episode_seed

LANDED = 100.0  # the last reward of an episode whose lander came to rest; a crash has -LANDED, the time limit neither
GIF_WIDTH = 360  # pixels
GIF_FPS = 25


def fresh_episodes(
    agent_type: type[PolicyAgent], p_net: nn.Module, count: int, seed: int, *, greedy: bool = False
) -> list[Episode]:
    """Play episodes that no training has seen, by a policy as it is, and show the progress.

    :param count: how many, 1 or more.
    :param seed: equal seeds give equal episodes, in the same order.
    :param greedy: take the most probable action instead of sampling one.
    """
    check_count("episodes", count)
    check_count("seed", seed, 0)
    seeds = [episode_seed(seed, number, "evaluation") for number in range(count)]
    collected = collect(agent_type, p_net, seeds, greedy=greedy)
    played = dict(tqdm(collected, total=count, desc="playing", unit="ep", leave=False))
    return [played[number] for number in range(count)]


def evaluate(
    agent_type: type[PolicyAgent], p_net: nn.Module, *, episodes: int = 100, seed: int = 0, greedy: bool = False
) -> dict[str, Any]:
    """Evaluate a policy over fresh episodes; the parameters are those of `fresh_episodes`.

    :return: `mean` and `std` (sample standard deviation) of the episodes' total rewards, the fractions
        `share_at_least_200` that reach 200 and `share_at_rest` that land, `mean_length` in steps, and `episodes`.
    """
    played = fresh_episodes(agent_type, p_net, episodes, seed, greedy=greedy)
    rewards = np.array([episode.total_reward for episode in played])
    return {
        "mean": float(rewards.mean()),
        "std": float(rewards.std(ddof=1)) if episodes > 1 else 0.0,
        "share_at_least_200": float((rewards >= REWARD_THRESHOLD).mean()),
        "share_at_rest": float(np.mean([episode.experiences[-1].reward == LANDED for episode in played])),
        "mean_length": float(np.mean([len(episode.experiences) for episode in played])),
        "episodes": episodes,
    }


def record(
    agent_type: type[PolicyAgent], p_net: nn.Module, out: str | Path, *, seed: int = 0, greedy: bool = False
) -> tuple[int, float]:
    """Film one episode into a file, .mp4 or .gif.

    :param seed: the episode's.
    :return: the number of its steps, and its total reward.
    :raises ValueError: for another kind of file.
    """
    suffix = Path(out).suffix
    if suffix not in (".mp4", ".gif"):
        raise ValueError(f"a recording is an .mp4 or a .gif file, and {out} is neither: change its ending")
    with tempfile.TemporaryDirectory() as folder:
        with VideoRecorder(make_env(render_mode="rgb_array"), Path(folder) / "videos") as env:
            [(_, episode)] = collect(agent_type, p_net, [seed], make_env=lambda: env, greedy=greedy)
        video = Path(env.videos[0][0])
        if suffix == ".gif":
            with VideoFileClip(str(video)) as clip:
                video = video.with_suffix(".gif")
                clip.resized(width=GIF_WIDTH).write_gif(str(video), fps=GIF_FPS, logger=None)
        write_whole(out, video.read_bytes())
    return len(episode.experiences), episode.total_reward

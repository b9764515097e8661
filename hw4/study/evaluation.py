"""How good a policy is: the figures of many fresh episodes, or one episode on film."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from moviepy import VideoFileClip
from torch import nn
from tqdm import tqdm

from cs236781.files import write_whole
from hw4.env import REWARD_THRESHOLD, ActionRepeat, VideoRecorder, make_env
from hw4.hyperparams import check_count
from hw4.rl_data import Episode
from hw4.rl_pg import PolicyAgent
from hw4.rollout.collect import MakeEnv, collect, episode_seed
from hw4.rollout.lander import make_fast_env

ENDINGS = ("at rest", "crash", "time limit")
GIF_WIDTH = 360  # pixels
GIF_FPS = 25


class Flight(NamedTuple):
    """An episode, with what the agent does not see of it.

    :param ending: one of ENDINGS.
    :param n_steps: the environment's steps, of which an action may be held for several.
    """

    episode: Episode
    ending: str
    n_steps: int


class _Logbook(gym.Wrapper):
    """Notes for each episode's seed how it ended, and after how many steps of the environment."""

    def __init__(self, env: gym.Env, notes: dict[int, tuple[str, int]]):
        super().__init__(env)
        self.notes = notes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.seed = seed
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        _, _, terminated, truncated, _ = result
        if (terminated or truncated) and self.seed is not None:
            lander: Any = self.env.unwrapped
            has_landed = not lander.lander.awake and not lander.game_over
            ending = ENDINGS[0] if has_landed else ENDINGS[1] if terminated else ENDINGS[2]
            self.notes[self.seed] = ending, self.env.get_wrapper_attr("_elapsed_steps")
        return result


def fly(
    agent_type: type[PolicyAgent],
    p_net: nn.Module,
    seeds: list[int],
    make_env: MakeEnv,
    *,
    greedy: bool = False,
) -> list[Flight]:
    """Play an episode for each seed, by a policy as it is, and show the progress; in the order of the seeds."""
    notes: dict[int, tuple[str, int]] = {}
    collected = collect(agent_type, p_net, seeds, make_env=lambda: _Logbook(make_env(), notes), greedy=greedy)
    played = dict(tqdm(collected, total=len(seeds), desc="playing", unit="ep", leave=False))
    return [Flight(played[number], *notes[seed]) for number, seed in enumerate(seeds)]


def fresh_flights(
    agent_type: type[PolicyAgent],
    p_net: nn.Module,
    action_repeat: int,
    count: int,
    seed: int,
    *,
    greedy: bool = False,
) -> list[Flight]:
    """Play episodes that no training has seen.

    :param action_repeat: steps for which each action is held.
    :param count: how many, 1 or more.
    :param seed: equal seeds give equal episodes, in the same order.
    :param greedy: take the most probable action instead of sampling one.
    """
    check_count("episodes", count)
    check_count("seed", seed, 0)
    seeds = [episode_seed(seed, number, "evaluation") for number in range(count)]
    return fly(agent_type, p_net, seeds, partial(make_fast_env, action_repeat=action_repeat), greedy=greedy)


def evaluate(
    agent_type: type[PolicyAgent],
    p_net: nn.Module,
    action_repeat: int = 1,
    *,
    episodes: int = 100,
    seed: int = 0,
    greedy: bool = False,
) -> dict[str, Any]:
    """Evaluate a policy over fresh episodes; the parameters are those of `fresh_flights`.

    :return: `mean` and `std` (sample standard deviation) of the episodes' total rewards, the fractions
        of them that reach 200, `fraction_at_least_200`, and that land, `fraction_landed`, `mean_length` in steps of the
        environment, and `episodes`.
    """
    flights = fresh_flights(agent_type, p_net, action_repeat, episodes, seed, greedy=greedy)
    rewards = np.array([flight.episode.total_reward for flight in flights])
    return {
        "mean": float(rewards.mean()),
        "std": float(rewards.std(ddof=1)) if episodes > 1 else 0.0,
        "fraction_at_least_200": float((rewards >= REWARD_THRESHOLD).mean()),
        "fraction_landed": float(np.mean([flight.ending == "at rest" for flight in flights])),
        "mean_length": float(np.mean([flight.n_steps for flight in flights])),
        "episodes": episodes,
    }


def record(
    agent_type: type[PolicyAgent],
    p_net: nn.Module,
    action_repeat: int,
    out: str | Path,
    *,
    seed: int = 0,
    greedy: bool = False,
) -> tuple[int, float]:
    """Film one episode into a file, .mp4 or .gif, with a frame for each step of the environment.

    :param seed: the episode's.
    :return: the number of its steps, and its total reward.
    :raises ValueError: for another kind of file.
    """
    suffix = Path(out).suffix
    if suffix not in (".mp4", ".gif"):
        raise ValueError(f"a recording is an .mp4 or a .gif file, and {out} is neither: change its ending")
    with tempfile.TemporaryDirectory() as folder:
        with VideoRecorder(make_env(render_mode="rgb_array"), Path(folder) / "videos") as env:
            repeated = ActionRepeat.around(env, action_repeat)
            [flight] = fly(agent_type, p_net, [seed], lambda: repeated, greedy=greedy)
        video = Path(env.videos[0][0])
        if suffix == ".gif":
            with VideoFileClip(str(video)) as clip:
                video = video.with_suffix(".gif")
                clip.resized(width=GIF_WIDTH).write_gif(str(video), fps=GIF_FPS, logger=None)
        write_whole(out, video.read_bytes())
    return flight.n_steps, flight.episode.total_reward

"""Beresheet-v2: registering, making, seeding and recording the environment.

Beresheet-v2 is Gymnasium's LunarLander with episodes of at most 300 steps. Importing this module registers it:

>>> env = make_env()
>>> state, _ = env.reset(seed=0)
>>> state.shape
(8,)
"""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.lunar_lander import LunarLander

ENV_NAME = "Beresheet-v2"
MAX_EPISODE_STEPS = 300
REWARD_THRESHOLD = 200

if ENV_NAME not in gym.registry:
    gym.register(
        id=ENV_NAME,
        entry_point="gymnasium.envs.box2d:LunarLander",
        max_episode_steps=MAX_EPISODE_STEPS,
        reward_threshold=REWARD_THRESHOLD,
    )


def make_env(name: str = ENV_NAME, render_mode: str | None = None) -> gym.Env:
    """Make an environment, without Gymnasium's passive checker, which would look at every step.

    :param name: a registered environment's id.
    :param render_mode: None to play fast; "rgb_array" to get frames (a third of the speed: the engines' flames are
        then bodies of the simulation).
    """
    env = gym.make(name, render_mode=render_mode, disable_env_checker=True)
    if isinstance(env.unwrapped, LunarLander):
        env.unwrapped.action_space = _QuickDiscrete(4)
        return _QuickRandom(env)
    return env


# At every step LunarLander asks whether its action is one, and draws two numbers; by Gymnasium's and NumPy's own
# methods that takes a sixth of the step.


class _QuickDiscrete(gym.spaces.Discrete):
    """A Discrete that does not go through NumPy to compare two integers."""

    def __init__(self, n: int):
        super().__init__(n)
        self._count = n

    def contains(self, x: Any) -> bool:
        return 0 <= x < self._count if type(x) is int else super().contains(x)


class _QuickGenerator(np.random.Generator):
    """Draws a single number from [-1, 1) by what NumPy's own method comes to, without what it does for arrays."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        if size is None and low == -1.0 and high == 1.0:
            return -1.0 + 2.0 * self.random()
        return super().uniform(low, high, size)


class _QuickRandom(gym.Wrapper):
    """Has an environment draw from its random stream by a _QuickGenerator."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = super().reset(seed=seed, options=options)
        self.unwrapped.np_random = _QuickGenerator(self.unwrapped.np_random.bit_generator)
        return result


def check_env(env: gym.Env) -> tuple[int, int]:
    """Sizes (O, A) of an environment with vector observations and discrete actions numbered from 0.

    :raises ValueError: if the environment is of another kind, which these agents can't play.
    """
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, gym.spaces.Box) or len(observations.shape) != 1:
        raise ValueError(
            f"observations must be a vector (a Box of one dimension), but the environment's are {observations}"
        )
    if not isinstance(actions, gym.spaces.Discrete) or actions.start != 0:
        raise ValueError(f"actions must be Discrete and count from 0, but the environment's are {actions}")
    return observations.shape[0], int(actions.n)


def seed_like_gym_0_15(env: gym.Env, seed: int) -> None:
    """Seed an environment as `env.seed(seed)` did until gym 0.21, so that recordings of that time replay exactly.

    The first 8 bytes of sha512 of the decimal seed, as two little-endian 32-bit words, seed NumPy's old MT19937.
    Resets without a seed go on drawing from that stream; `env.reset(seed=...)` replaces it.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"a seed must be a non-negative integer, got {seed!r}")
    digest = hashlib.sha512(str(int(seed)).encode()).digest()
    words = np.frombuffer(digest[:8], dtype="<u4").tolist()
    legacy = np.random.RandomState(words)
    env.unwrapped.np_random = np.random.Generator(legacy._bit_generator)


class VideoRecorder(gym.wrappers.RecordVideo):
    """An environment that films every episode; the videos are in `folder` once it is closed.

    Recorded beside the folder and moved in when complete, in place of the videos that an earlier recorder left.

    :param env: an environment made with `render_mode="rgb_array"`.
    :param folder: where the videos go; made if it is missing.
    """

    PREFIX = "beresheet"

    def __init__(self, env: gym.Env, folder: str | Path):
        self.folder = Path(folder)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._recording_dir = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        self.videos: list[tuple[str, ...]] = []
        # The folder must not exist yet, or the wrapper warns that it overwrites.
        super().__init__(
            env, str(self._recording_dir / "videos"), episode_trigger=lambda _: True, name_prefix=self.PREFIX
        )

    def close(self) -> None:
        """Finish the video that is being recorded, and move all into `folder`; `videos[i][0]` is the i-th's path."""
        if not self._recording_dir.exists():
            return
        try:
            super().close()
            self.folder.mkdir(exist_ok=True)
            for old in self.folder.glob(f"{self.PREFIX}-episode-*.mp4"):
                old.unlink()
            for recorded in sorted(self._recording_dir.glob("videos/*.mp4")):
                self.videos.append((str(recorded.replace(self.folder / recorded.name)),))
        finally:
            shutil.rmtree(self._recording_dir, ignore_errors=True)

    def discard(self) -> None:
        """Close without keeping what was recorded, and leave the earlier videos where they are."""
        self.recorded_frames, self.recording = [], False
        self.env.close()
        shutil.rmtree(self._recording_dir, ignore_errors=True)

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
from typing import Any, Literal

import gymnasium as gym
import numpy as np

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


def make_env(name: str = ENV_NAME, render_mode: str | None = None, action_repeat: int = 1) -> gym.Env:
    """Make an environment, without Gymnasium's passive checker, which costs time at every step.

    :param name: a registered environment's id.
    :param render_mode: "rgb_array" to get frames, as a recording needs them.
    :param action_repeat: steps of the environment for which each action is held: see ActionRepeat.
    """
    return ActionRepeat.around(gym.make(name, render_mode=render_mode, disable_env_checker=True), action_repeat)


class ActionRepeat(gym.Wrapper):
    """Holds each action for `repeat` steps, or until the episode is done; the reward is the sum of theirs.

    What the agent calls a step is then one decision. The time limit goes on counting the environment's own steps.
    """

    def __init__(self, env: gym.Env, repeat: int):
        super().__init__(env)
        self.repeat = repeat

    @classmethod
    def around(cls, env: gym.Env, repeat: int) -> gym.Env:
        """The environment with actions held; the environment itself if each is held for one step."""
        return env if repeat == 1 else cls(env, repeat)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take up to `repeat` steps with the same action."""
        total = 0.0
        for _ in range(self.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def check_env(env: gym.Env) -> tuple[int, int]:
    """Sizes (O, A) of an environment with vector observations and discrete actions numbered from 0.

    :raises ValueError: if the environment is of another kind. The agents here cannot play it.
    """
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, gym.spaces.Box) or len(observations.shape) != 1:
        raise ValueError(f"observations must be vectors (a one-dimensional Box), but this environment's {observations}")
    if not isinstance(actions, gym.spaces.Discrete) or actions.start != 0:
        raise ValueError(f"actions must be Discrete and start at 0, but this environment's are {actions}")
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

    They are recorded beside the folder and moved in when complete, in place of an earlier recorder's videos.

    :param env: an environment made with `render_mode="rgb_array"`.
    :param folder: where the videos go; made if it is missing.
    """

    PREFIX = "beresheet"

    def __init__(self, env: gym.Env, folder: str | Path):
        self.folder = Path(folder)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._recording_dir = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        self.videos: list[tuple[str, ...]] = []
        # The folder must not exist yet: the wrapper warns where it may overwrite.
        super().__init__(
            env, str(self._recording_dir / "videos"), episode_trigger=lambda _: True, name_prefix=self.PREFIX
        )

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode and its video. An episode without a step leaves none: an agent may reset more than once."""
        self._drop_if_without_steps()
        return super().reset(**kwargs)

    def _drop_if_without_steps(self) -> None:
        if self.recording and len(self.recorded_frames) == 1:  # the reset's frame
            self.recorded_frames, self.recording = [], False
            self.episode_id -= 1

    def close(self) -> None:
        """Finish the video that is being recorded, and move all into `folder`; `videos[i][0]` is the i-th's path."""
        if not self._recording_dir.exists():
            return
        try:
            self._drop_if_without_steps()
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

    def __exit__(self, *error: Any) -> Literal[False]:
        """Leave a `with` block: close, or discard after an error."""
        if error[0] is None:
            self.close()
        else:
            self.discard()
        return False

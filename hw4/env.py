"""Beresheet-v2: registering, making, seeding and recording the environment.

Beresheet-v2 is Gymnasium's LunarLander with episodes of at most 300 steps. Importing this module registers it:

>>> env = make_env()
>>> state, _ = env.reset(seed=0)
>>> state.shape
(8,)
"""

import copy
import hashlib
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.lunar_lander import (
    FPS,
    LEG_DOWN,
    MAIN_ENGINE_POWER,
    MAIN_ENGINE_Y_LOCATION,
    SCALE,
    SIDE_ENGINE_AWAY,
    SIDE_ENGINE_HEIGHT,
    SIDE_ENGINE_POWER,
    VIEWPORT_H,
    VIEWPORT_W,
    LunarLander,
)
from jaxtyping import Float32

ENV_NAME = "Beresheet-v2"
MAX_EPISODE_STEPS = 300
REWARD_THRESHOLD = 200
HALF_WIDTH, HALF_HEIGHT = VIEWPORT_W / SCALE / 2, VIEWPORT_H / SCALE / 2  # of the picture, in metres

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
    spec = copy.copy(gym.spec(name))
    if name == ENV_NAME and render_mode is None:
        spec.entry_point = f"{__name__}:TrimmedLander"
    return gym.make(spec, render_mode=render_mode, disable_env_checker=True)


class TrimmedLander(LunarLander):
    """LunarLander, equal to the bit, with a step that has no place for wind, continuous thrust and pictures.

    It saves a fifth of Gymnasium's (`results/costs.txt`); most of what remains is Box2D, which simulates the bodies.
    """

    def step(self, action: Any) -> tuple[Float32[np.ndarray, " 8"], float, bool, bool, dict[str, Any]]:
        """Fire the engine that is chosen, simulate 1/50 s, and tell what came of it."""
        if type(action) is not int or not 0 <= action < 4:
            return super().step(action)  # which takes NumPy's integers too, and refuses what is no action
        lander: Any = self.lander
        random = self.np_random.random
        angle = lander.angle
        sin, cos = math.sin(angle), math.cos(angle)
        jitter = (-1.0 + 2.0 * random()) / SCALE, (-1.0 + 2.0 * random()) / SCALE  # along the lander, and across
        fuel = 0.0
        if action == 2:
            fuel = 0.30
            along = MAIN_ENGINE_Y_LOCATION / SCALE + 2 * jitter[0]
            x, y = sin * along - cos * jitter[1], -cos * along - sin * jitter[1]
            centre = lander.position
            impulse = (-x * MAIN_ENGINE_POWER, -y * MAIN_ENGINE_POWER)
            lander.ApplyLinearImpulse(impulse, (centre.x + x, centre.y + y), True)
        elif action != 0:
            fuel = 0.03
            across = 3 * jitter[1] + (action - 2) * SIDE_ENGINE_AWAY / SCALE
            x, y = sin * jitter[0] - cos * across, -cos * jitter[0] - sin * across
            centre = lander.position
            impulse = (-x * SIDE_ENGINE_POWER, -y * SIDE_ENGINE_POWER)
            point = (centre.x + x - sin * 17 / SCALE, centre.y + y + cos * SIDE_ENGINE_HEIGHT / SCALE)
            lander.ApplyLinearImpulse(impulse, point, True)

        self.world.Step(1 / FPS, 6 * 30, 2 * 30)

        centre, velocity, angle = lander.position, lander.linearVelocity, lander.angle
        legs = [1.0 if leg.ground_contact else 0.0 for leg in self.legs]
        x, y = (centre.x - HALF_WIDTH) / HALF_WIDTH, (centre.y - (self.helipad_y + LEG_DOWN / SCALE)) / HALF_HEIGHT
        v_x, v_y = velocity.x * HALF_WIDTH / FPS, velocity.y * HALF_HEIGHT / FPS
        shaping = (
            -100 * math.sqrt(x * x + y * y)
            - 100 * math.sqrt(v_x * v_x + v_y * v_y)
            - 100 * abs(angle)
            + 10 * legs[0]
            + 10 * legs[1]
        )
        reward = (0.0 if self.prev_shaping is None else shaping - self.prev_shaping) - fuel
        self.prev_shaping = shaping
        has_crashed, is_asleep = self.game_over or abs(x) >= 1.0, not lander.awake
        if has_crashed or is_asleep:
            reward = 100.0 if is_asleep else -100.0
        state = np.array([x, y, v_x, v_y, angle, 20.0 * lander.angularVelocity / FPS, *legs], dtype=np.float32)
        return state, reward, has_crashed or is_asleep, False, {}


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

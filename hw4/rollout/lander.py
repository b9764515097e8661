"""LunarLander without what no episode of the assignment needs: no wind, no continuous control, no rendering.

Bit-identical to Gymnasium's. A step takes about 25 us instead of 31 (`results/costs.txt`); most of the rest is Box2D.
"""

import copy
import math
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

from hw4.env import ENV_NAME, ActionRepeat, make_env

HALF_WIDTH, HALF_HEIGHT = VIEWPORT_W / SCALE / 2, VIEWPORT_H / SCALE / 2  # of the picture, in metres


def make_fast_env(name: str = ENV_NAME, action_repeat: int = 1) -> gym.Env:
    """An environment to collect episodes in: as `make_env` makes it, with FastLander in LunarLander's place."""
    if name != ENV_NAME:
        return make_env(name, action_repeat=action_repeat)
    spec = copy.copy(gym.spec(name))
    spec.entry_point = f"{__name__}:{FastLander.__name__}"
    return ActionRepeat.around(gym.make(spec, disable_env_checker=True), action_repeat)


class FastLander(LunarLander):
    """LunarLander with a shorter step: the same numbers in the same order."""

    def step(self, action: Any) -> tuple[Float32[np.ndarray, " 8"], float, bool, bool, dict[str, Any]]:
        """Fire the chosen engine, simulate 1/50 s, and return observation, reward, terminated, truncated, info."""
        if type(action) is not int or not 0 <= action < 4:
            return super().step(action)  # it takes NumPy's integers too, and refuses other actions
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

"""LunarLander without what no episode of the assignment needs: no wind, no continuous control, no rendering.

Bit-identical to Gymnasium's. A step takes about 23 us instead of 30, most of it Box2D's, and a reset 0.11 ms instead of
0.22 (`results/costs.txt`). And it does not grow. Box2D's Python package never frees a shape that was put into a
fixture's definition, and Gymnasium's lander makes fourteen of them an episode, 1.6 kB. Here each is made once.
"""

import copy
import math
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.lunar_lander import (
    FPS,
    INITIAL_RANDOM,
    LANDER_POLY,
    LEG_AWAY,
    LEG_DOWN,
    LEG_H,
    LEG_SPRING_TORQUE,
    LEG_W,
    MAIN_ENGINE_POWER,
    MAIN_ENGINE_Y_LOCATION,
    SCALE,
    SIDE_ENGINE_AWAY,
    SIDE_ENGINE_HEIGHT,
    SIDE_ENGINE_POWER,
    VIEWPORT_H,
    VIEWPORT_W,
    Box2D,
    ContactDetector,
    LunarLander,
    edgeShape,
    fixtureDef,
    polygonShape,
    revoluteJointDef,
)
from jaxtyping import Float32

from hw4.env import ENV_NAME, ActionRepeat, make_env

WIDTH, HEIGHT = VIEWPORT_W / SCALE, VIEWPORT_H / SCALE  # of the picture, in metres
HALF_WIDTH, HALF_HEIGHT = WIDTH / 2, HEIGHT / 2
CHUNKS = 11  # points of the ground's outline
FLOOR = fixtureDef(shape=edgeShape(vertices=[(0, 0), (WIDTH, 0)]))
SLOPE = fixtureDef(shape=edgeShape(vertices=[(0, 0), (1, 0)]), density=0, friction=0.1)  # its ends are set as needed
BODY = fixtureDef(
    shape=polygonShape(vertices=[(x / SCALE, y / SCALE) for x, y in LANDER_POLY]),
    density=5.0,
    friction=0.1,
    categoryBits=0x0010,
    maskBits=0x001,
    restitution=0.0,
)
LEG = fixtureDef(
    shape=polygonShape(box=(LEG_W / SCALE, LEG_H / SCALE)),
    density=1.0,
    restitution=0.0,
    categoryBits=0x0020,
    maskBits=0x001,
)


def make_fast_env(name: str = ENV_NAME, action_repeat: int = 1) -> gym.Env:
    """An environment to collect episodes in: as `make_env` makes it, with FastLander in LunarLander's place."""
    if name != ENV_NAME:
        return make_env(name, action_repeat=action_repeat)
    spec = copy.copy(gym.spec(name))
    spec.entry_point = f"{__name__}:{FastLander.__name__}"
    return ActionRepeat.around(gym.make(spec, disable_env_checker=True), action_repeat)


class FastLander(LunarLander):
    """LunarLander with a shorter step and reset: the same numbers in the same order."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Make ground and lander anew; the first observation, and an empty info."""
        gym.Env.reset(self, seed=seed)
        self._destroy()
        self.world = Box2D.b2World(gravity=(0, self.gravity))
        self.world.contactListener_keepref = ContactDetector(self)
        self.world.contactListener = self.world.contactListener_keepref
        self.game_over, self.prev_shaping = False, None
        self._make_ground()
        self._make_lander()
        return self.step(0)[0], {}

    def _make_ground(self) -> None:
        """A flat pad between hills that are drawn at random."""
        heights = self.np_random.uniform(0, HEIGHT / 2, size=CHUNKS + 1)
        self.helipad_y = HEIGHT / 4
        heights[CHUNKS // 2 - 2 : CHUNKS // 2 + 3] = self.helipad_y
        y = heights.tolist()
        points = [(WIDTH / (CHUNKS - 1) * i, 0.33 * (y[i - 1] + y[i] + y[i + 1])) for i in range(CHUNKS)]
        moon = self.world.CreateStaticBody(fixtures=FLOOR)
        for ends in pairwise(points):
            SLOPE.shape.vertices = ends
            moon.CreateFixture(SLOPE)
        self.moon = moon

    def _make_lander(self) -> None:
        """A body that is pushed to a random side, and two legs on springs."""
        start = (HALF_WIDTH, HEIGHT)
        self.lander = self.world.CreateDynamicBody(position=start, angle=0.0, fixtures=BODY)
        push = self.np_random.uniform(-INITIAL_RANDOM, INITIAL_RANDOM, size=2)
        self.lander.ApplyForceToCenter(push.tolist(), True)
        self.legs = []
        for side in (-1, 1):
            leg = self.world.CreateDynamicBody(
                position=(start[0] - side * LEG_AWAY / SCALE, start[1]), angle=side * 0.05, fixtures=LEG
            )
            leg.ground_contact = False
            joint = revoluteJointDef(
                bodyA=self.lander,
                bodyB=leg,
                localAnchorA=(0, 0),
                localAnchorB=(side * LEG_AWAY / SCALE, LEG_DOWN / SCALE),
                enableMotor=True,
                enableLimit=True,
                maxMotorTorque=LEG_SPRING_TORQUE,
                motorSpeed=0.3 * side,
            )
            joint.lowerAngle, joint.upperAngle = (0.9 - 0.5, 0.9) if side == -1 else (-0.9, -0.9 + 0.5)
            leg.joint = self.world.CreateJoint(joint)
            self.legs.append(leg)

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

"""FastLander: Gymnasium's LunarLander, to the bit."""

import gc
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.lunar_lander import heuristic

from hw4.env import make_env, seed_like_gym_0_15
from hw4.rollout.lander import FastLander, make_fast_env


def by_chance(seed):
    random = np.random.RandomState(seed)
    return lambda env, state: int(random.randint(0, 4))


# So that engines fire in all attitudes, legs touch, and episodes end in a crash, beyond the side, and at rest.
PILOTS = {
    "by chance": by_chance,
    "to land": lambda seed: lambda env, state: heuristic(env.unwrapped, state),
    "to the side": lambda seed: lambda env, state: 2,
    "over": lambda seed: lambda env, state: 1 + 2 * (seed % 2),
}


@pytest.mark.parametrize("pilot", PILOTS)
@pytest.mark.parametrize("seed_like", [None, seed_like_gym_0_15], ids=["today", "gym 0.15"])
@pytest.mark.parametrize("seed", range(3))
def test_plays_as_gymnasiums(seed, seed_like, pilot):
    """Also in the episodes after the first, which go on with its random stream."""
    rollouts = []
    for env in (make_fast_env(), gym.make("Beresheet-v2")):
        if seed_like is not None:
            seed_like(env, seed)
        act = PILOTS[pilot](seed)
        states = [env.reset(seed=seed if seed_like is None else None)[0]]
        rewards, ends = [], []
        for _ in range(400):
            state, reward, terminated, truncated, _ = env.step(act(env, states[-1]))
            states.append(state)
            rewards.append(float(reward))
            ends.append((terminated, truncated))
            if terminated or truncated:
                states.append(env.reset()[0])
        rollouts.append((np.array(states).tobytes(), rewards, ends))
    assert rollouts[0] == rollouts[1]


@pytest.mark.parametrize("action", [4, -1, 1.5, None, "1", np.float32(2)], ids=repr)
def test_refuses_what_gymnasiums_refuses(action):
    for env in (make_fast_env(), make_env()):
        env.reset(seed=0)
        with pytest.raises(AssertionError, match="invalid"):
            env.step(action)


@pytest.mark.parametrize("action", [np.int64(2), np.int32(3), np.array(1), True], ids=repr)
def test_takes_what_gymnasiums_takes(action):
    after = []
    for env in (make_fast_env(), make_env()):
        env.reset(seed=0)
        state, reward, *_ = env.step(action)
        after.append((state.tobytes(), float(reward)))
    assert after[0] == after[1]


def test_only_the_lander_is_replaced():
    assert type(make_fast_env().unwrapped) is FastLander
    assert make_fast_env().spec.id == "Beresheet-v2"
    assert type(make_env().unwrapped) is not FastLander
    assert make_fast_env("CartPole-v1").spec == make_env("CartPole-v1").spec


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux shows it")
def test_does_not_grow_from_episode_to_episode():
    """Gymnasium's does, by 1.6 kB; so 4000 episodes are 6.4 MB."""

    def pages():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1])

    env = make_fast_env()
    env.reset(seed=0)
    grown = []
    for resets in (500, 4000):
        before = pages()
        for _ in range(resets):
            env.reset()
        grown.append(pages() - before)
    assert grown[-1] * 4096 < 1e6

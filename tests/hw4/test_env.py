"""Beresheet-v2: registration, seeding, and that it is the very game of gym 0.15.4."""

import importlib

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.box2d.lunar_lander import heuristic

import hw4.env
from hw4.env import ENV_NAME, MAX_EPISODE_STEPS, REWARD_THRESHOLD, check_env, make_env, seed_like_gym_0_15
from tests import toy

RECORDED = [f"{policy}_{seed}" for policy in ("random", "heuristic") for seed in range(8)]


def play(env, actions):
    """Return the states, rewards and whether the episode was over after each, of a given list of actions."""
    states, rewards, dones = [], [], []
    for action in actions:
        state, reward, terminated, truncated, _ = env.step(int(action))
        states.append(state)
        rewards.append(reward)
        dones.append(terminated or truncated)
    return np.array(states), np.array(rewards, dtype=np.float64), dones


def seeded_episode(seed, render_mode=None, n_steps=60):
    env = make_env(render_mode=render_mode)
    first, _ = env.reset(seed=seed)
    states, rewards, _ = play(env, np.random.RandomState(0).randint(0, 4, n_steps))
    env.close()
    return np.vstack([first, states]), rewards


def test_constants():
    assert (ENV_NAME, MAX_EPISODE_STEPS, REWARD_THRESHOLD) == ("Beresheet-v2", 300, 200)


def test_registered_as_lunar_lander():
    spec = gym.spec("Beresheet-v2")
    assert spec.entry_point == "gymnasium.envs.box2d:LunarLander"
    assert spec.max_episode_steps == 300
    assert spec.reward_threshold == 200


def test_registration_survives_a_second_import():

    importlib.reload(hw4.env)
    assert gym.spec("Beresheet-v2").max_episode_steps == 300


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
@pytest.mark.parametrize("seed", range(4))
def test_what_make_env_makes_is_equal_to_gymnasiums_to_the_bit(seed, seed_like, pilot):
    """Also in the episodes after the first, which go on with its random stream."""
    rollouts = []
    for env in (make_env(), gym.make("Beresheet-v2")):
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
        env.close()
    assert rollouts[0] == rollouts[1]


@pytest.mark.parametrize("action", [4, -1, 1.5, None, "1", np.float32(2)], ids=repr)
def test_a_step_refuses_what_gymnasiums_refuses(action):
    for env in (make_env(), gym.make("Beresheet-v2", disable_env_checker=True)):
        env.reset(seed=0)
        with pytest.raises(AssertionError, match="invalid"):
            env.step(action)
        env.close()


@pytest.mark.parametrize("action", [np.int64(2), np.int32(3), np.array(1), True], ids=repr)
def test_a_step_takes_what_gymnasiums_takes(action):
    after = []
    for env in (make_env(), gym.make("Beresheet-v2", disable_env_checker=True)):
        env.reset(seed=0)
        state, reward, *_ = env.step(action)
        after.append((state.tobytes(), float(reward)))
        env.close()
    assert after[0] == after[1]


@pytest.mark.parametrize("make", [lambda: gym.make("Beresheet-v2"), make_env], ids=["gym.make", "make_env"])
def test_spaces(make):
    env = make()
    assert env.observation_space.shape == (8,)
    assert env.action_space == spaces.Discrete(4)
    env.close()


@pytest.mark.parametrize("key", RECORDED)
def test_replays_what_gym_0_15_4_recorded(assets, key):
    with np.load(assets / "gym_0_15_4_episodes.npz") as recorded:
        states, actions, rewards = (recorded[f"{key}_{part}"] for part in ("states", "actions", "rewards"))
    env = make_env()
    seed_like_gym_0_15(env, int(key.rpartition("_")[2]))
    first, _ = env.reset()
    played_states, played_rewards, dones = play(env, actions)
    env.close()
    assert np.array_equal(np.vstack([first, played_states]), states)
    assert np.array_equal(played_rewards, rewards)
    assert dones == [False] * (len(actions) - 1) + [True]


@pytest.mark.parametrize("seed", [0, 42, 2**31])
def test_old_seeding_gives_the_old_stream(seed):
    env = make_env()
    seed_like_gym_0_15(env, seed)
    assert np.array_equal(env.unwrapped.np_random.uniform(size=20), toy.gym_0_15_generator(seed).uniform(size=20))
    env.close()


def test_resets_without_a_seed_go_on_drawing_from_the_old_stream():
    env, other = make_env(), make_env()
    for e in (env, other):
        seed_like_gym_0_15(e, 5)
    starts = [env.reset()[0] for _ in range(3)]
    assert np.array_equal(starts, [other.reset()[0] for _ in range(3)])
    assert not np.array_equal(starts[0], starts[1])
    env.close()
    other.close()


def test_same_seed_same_episode():
    (states, rewards), (states_again, rewards_again) = seeded_episode(7), seeded_episode(7)
    assert np.array_equal(states, states_again)
    assert np.array_equal(rewards, rewards_again)


def test_another_seed_another_episode():
    assert not np.array_equal(seeded_episode(7)[0], seeded_episode(8)[0])


def test_rendering_does_not_change_the_physics():
    """Without touching the ground, where the exhaust that is drawn only when rendering cannot be in the way."""
    (states, rewards), (drawn_states, drawn_rewards) = seeded_episode(3), seeded_episode(3, "rgb_array")
    assert np.array_equal(states, drawn_states)
    assert np.array_equal(rewards, drawn_rewards)


def test_renders_without_a_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    env = make_env(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    env.close()
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8
    assert picture.min() < picture.max()


def test_make_env_makes_others_too():
    env = make_env("CartPole-v1")
    assert check_env(env) == (4, 2)
    env.close()


def test_check_env_counts():
    env = make_env()
    assert check_env(env) == (8, 4)
    env.close()


VECTOR = spaces.Box(-1, 1, (3,), np.float32)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (VECTOR, spaces.Box(-1, 1, (2,), np.float32)),
        (VECTOR, spaces.MultiDiscrete([2, 2])),
        (VECTOR, spaces.MultiBinary(3)),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), spaces.Discrete(2)),
        (spaces.Box(-1, 1, (), np.float32), spaces.Discrete(2)),
        (spaces.Discrete(5), spaces.Discrete(2)),
        (spaces.Dict({"a": VECTOR}), spaces.Discrete(2)),
        (spaces.Tuple([VECTOR, VECTOR]), spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_check_env_refuses(observations, actions):
    with pytest.raises(ValueError, match=r"(?i)discrete|vector|action|observation"):
        check_env(toy.SpaceEnv(observations, actions))

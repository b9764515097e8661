"""Beresheet-v2: registration, seeding, recording, and that it is the very game of gym 0.15.4."""

import importlib

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import hw4.env
from hw4.env import (
    ENV_NAME,
    MAX_EPISODE_STEPS,
    REWARD_THRESHOLD,
    ActionRepeat,
    VideoRecorder,
    check_env,
    make_env,
    seed_like_gym_0_15,
)
from hw4.rollout.lander import make_fast_env
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


def test_registered_as_lunar_lander():
    importlib.reload(hw4.env)  # a second import changes nothing
    spec = gym.spec("Beresheet-v2")
    assert spec.entry_point == "gymnasium.envs.box2d:LunarLander"
    assert (spec.id, spec.max_episode_steps, spec.reward_threshold) == ("Beresheet-v2", 300, 200)
    assert (ENV_NAME, MAX_EPISODE_STEPS, REWARD_THRESHOLD) == ("Beresheet-v2", 300, 200)


@pytest.mark.parametrize("make", [make_env, make_fast_env])
@pytest.mark.parametrize("key", RECORDED)
def test_replays_what_gym_0_15_4_recorded(assets, key, make):
    with np.load(assets / "gym_0_15_4_episodes.npz") as recorded:
        states, actions, rewards = (recorded[f"{key}_{part}"] for part in ("states", "actions", "rewards"))
    env = make()
    seed_like_gym_0_15(env, int(key.rpartition("_")[2]))
    first, _ = env.reset()
    played_states, played_rewards, dones = play(env, actions)
    assert np.array_equal(np.vstack([first, played_states]), states)
    assert np.array_equal(played_rewards, rewards)
    assert dones == [False] * (len(actions) - 1) + [True]


@pytest.mark.parametrize("seed", [0, 42, 2**31, np.int64(7)])
def test_old_seeding_gives_the_old_stream(seed):
    env = make_env()
    seed_like_gym_0_15(env, seed)
    assert np.array_equal(env.unwrapped.np_random.uniform(size=20), toy.gym_0_15_generator(seed).uniform(size=20))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("seed", [-1, 1.5, "42", None, True])
def test_old_seeding_refuses(seed):
    with pytest.raises(ValueError, match="a seed must be a non-negative integer"):
        seed_like_gym_0_15(toy.ScriptedEnv(), seed)


def test_rendering_changes_nothing_in_flight_and_needs_no_screen(monkeypatch):
    """On the ground, the exhaust that is drawn only when rendering can be in the way."""
    monkeypatch.delenv("DISPLAY", raising=False)
    (env, drawn), actions = (make_env(), make_env(render_mode="rgb_array")), np.random.RandomState(0).randint(0, 4, 60)
    assert np.array_equal(env.reset(seed=3)[0], drawn.reset(seed=3)[0])
    (states, rewards, _), (drawn_states, drawn_rewards, _) = play(env, actions), play(drawn, actions)
    assert np.array_equal(states, drawn_states)
    assert np.array_equal(rewards, drawn_rewards)
    picture = drawn.render()
    assert (picture.dtype, picture.shape[2:]) == (np.uint8, (3,))
    assert picture.min() < picture.max()


class TestActionRepeat:
    def test_the_rewards_are_summed_and_the_last_state_is_given(self):
        env = ActionRepeat.around(toy.ScriptedEnv(lengths=(7,)), 3)
        env.reset()
        taken = [env.step(1) for _ in range(3)]
        assert [reward for _, reward, *_ in taken] == [6.0, 15.0, 7.0]
        assert [terminated or truncated for *_, terminated, truncated, _ in taken] == [False, False, True]

    @pytest.mark.parametrize("make", [make_env, make_fast_env])
    def test_the_time_limit_counts_the_environments_steps(self, make):
        env = make(name="CartPole-v1", action_repeat=2)
        assert env.spec.max_episode_steps == 500
        env.reset(seed=0)
        env.unwrapped.theta_threshold_radians = env.unwrapped.x_threshold = np.inf
        decisions = 1
        while not (result := env.step(0))[3]:
            assert result[1] <= 2
            decisions += 1
        assert decisions == 250

    @pytest.mark.parametrize("repeat", [1, 2, 4])
    def test_it_is_the_same_as_giving_each_action_so_often(self, repeat):
        held, plain = make_env(action_repeat=repeat), make_env()
        assert np.array_equal(held.reset(seed=5)[0], plain.reset(seed=5)[0])
        for action in np.random.RandomState(1).randint(0, 4, 20):
            observation, reward, *_ = held.step(action)
            steps = [plain.step(action) for _ in range(repeat)]
            assert np.array_equal(observation, steps[-1][0])
            assert reward == pytest.approx(sum(step[1] for step in steps))

    def test_once_is_the_environment_itself(self):
        env = toy.ScriptedEnv()
        assert ActionRepeat.around(env, 1) is env


@pytest.mark.parametrize(("name", "sizes"), [("Beresheet-v2", (8, 4)), ("CartPole-v1", (4, 2))])
def test_sizes_of_what_make_env_makes(name, sizes):
    assert check_env(make_env(name)) == check_env(make_fast_env(name)) == sizes


VECTOR = spaces.Box(-1, 1, (3,), np.float32)


@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (VECTOR, spaces.Box(-1, 1, (2,), np.float32)),
        (VECTOR, spaces.MultiDiscrete([2, 2])),
        (VECTOR, spaces.Discrete(2, start=1)),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), spaces.Discrete(2)),
        (spaces.Box(-1, 1, (), np.float32), spaces.Discrete(2)),
        (spaces.Discrete(5), spaces.Discrete(2)),
        (spaces.Dict({"a": VECTOR}), spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_check_env_refuses(observations, actions):
    env = toy.ScriptedEnv()
    env.observation_space, env.action_space = observations, actions
    with pytest.raises(ValueError, match=r"observations must be vectors|actions must be Discrete"):
        check_env(env)


class TestVideoRecorder:
    @staticmethod
    def record(folder, n_steps):
        with VideoRecorder(make_env("CartPole-v1", render_mode="rgb_array"), folder) as env:
            for n in n_steps:
                env.reset()
                play(env, [0] * n)
        return env

    def test_an_episode_without_a_step_leaves_no_video(self, tmp_path):
        env = self.record(tmp_path / "new" / "videos", [0, 2, 0, 0, 3, 0])
        assert len(env.videos) == 2
        assert sorted(path.name for path in (tmp_path / "new" / "videos").iterdir()) == [
            "beresheet-episode-0.mp4",
            "beresheet-episode-1.mp4",
        ]
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["videos"]

    def test_closing_twice_changes_nothing(self, tmp_path):
        env = self.record(tmp_path / "videos", [2])
        env.close()
        assert len(env.videos) == 1

    def test_an_error_leaves_the_earlier_videos(self, tmp_path):
        self.record(tmp_path / "videos", [2])
        before = [path.read_bytes() for path in (tmp_path / "videos").iterdir()]
        with pytest.raises(TypeError):
            self.record(tmp_path / "videos", [2, "x"])
        assert [path.read_bytes() for path in (tmp_path / "videos").iterdir()] == before
        assert [path.name for path in tmp_path.iterdir()] == ["videos"]

    def test_a_file_in_the_folders_place_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("here")
        with pytest.raises(OSError, match="file"):
            self.record(tmp_path / "file" / "videos", [1])

"""Experience, Episode, TrainBatch and the dataset, on episodes worked out by hand."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import hw4.rl_pg
from hw4.rl_data import Episode, Experience, TrainBatch, TrainBatchDataset
from tests import toy

rewards_lists = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40)
gammas = st.floats(0, 1)


def make_episode(rewards, first_state=0.0):
    """An episode with the given rewards, whose step t has state (first_state + t, -t) and action t mod 3."""
    experiences = [
        Experience(torch.tensor([first_state + t, -float(t)]), t % 3, float(reward), t == len(rewards) - 1)
        for t, reward in enumerate(rewards)
    ]
    return Episode(float(sum(rewards)), experiences)


def toy_dataset(env_fn, batch_size=2, gamma=0.5):
    net = nn.Linear(env_fn().observation_space.shape[0], int(env_fn().action_space.n))
    return TrainBatchDataset(partial(toy.make_agent, hw4.rl_pg.PolicyAgent, env_fn, net), batch_size, gamma)


class TestExperience:
    def test_is_a_named_tuple_of_these_fields(self):
        assert issubclass(Experience, tuple)
        assert Experience._fields == ("state", "action", "reward", "is_done")

    def test_rl_pg_has_the_same_types(self):
        assert (hw4.rl_pg.Experience, hw4.rl_pg.Episode, hw4.rl_pg.TrainBatch) == (Experience, Episode, TrainBatch)


class TestEpisode:
    def test_prints_as_published(self):
        experiences = [Experience(torch.zeros(2), 0, 0.0, t == 61) for t in range(62)]
        assert repr(Episode(-84.5, experiences)) == "Episode(total_reward=-84.50, #experiences=62)"

    def test_keeps_what_it_is_given(self):
        episode = make_episode([1.0, 2.0])
        assert episode.total_reward == 3.0
        assert [e.reward for e in episode.experiences] == [1.0, 2.0]

    def test_columns(self):
        episode = make_episode([1.5, -2.0, 7.25, 0.0], first_state=10)
        assert episode.states.dtype == torch.float32
        assert episode.states.tolist() == [[10, 0], [11, -1], [12, -2], [13, -3]]
        assert episode.actions.dtype == torch.int64
        assert episode.actions.tolist() == [0, 1, 2, 0]
        assert episode.rewards.dtype == np.float64
        assert episode.rewards.tolist() == [1.5, -2.0, 7.25, 0.0]

    def test_from_arrays_reads_as_experiences(self):
        states = np.arange(6, dtype=np.float32).reshape(3, 2)
        episode = Episode.from_arrays(states, np.array([2, 0, 1]), np.array([0.5, -1.0, 4.0]))
        assert episode.total_reward == 3.5
        assert len(episode.experiences) == 3
        assert [e.state.tolist() for e in episode.experiences] == states.tolist()
        assert [tuple(e)[1:] for e in episode.experiences] == [(2, 0.5, False), (0, -1.0, False), (1, 4.0, True)]
        last = episode.experiences[-1]
        assert isinstance(last, Experience)
        assert [type(value) for value in last[1:]] == [int, float, bool]

    def test_from_arrays_is_the_episode_of_its_experiences(self):
        by_steps = make_episode([3.0, -1.0, 0.5])
        by_arrays = Episode.from_arrays(by_steps.states.numpy(), by_steps.actions.numpy(), by_steps.rewards)
        assert repr(by_arrays) == repr(by_steps)
        assert by_arrays.calc_qvals(0.7) == by_steps.calc_qvals(0.7)


class TestQvals:
    def test_file_is_the_double_sum(self, assets):
        rewards = np.random.RandomState(42).randint(-10, 10, 100).tolist()
        np.testing.assert_array_equal(np.load(assets / "part1_expected_qvals.npy"), toy.double_sum(rewards, 0.9))

    # As the published notebook calls it: no states, and NumPy's integers for rewards.
    @pytest.mark.usefixtures("unchecked")
    def test_published_rewards(self, assets):
        rewards = np.random.RandomState(42).randint(-10, 10, 100)
        episode = Episode(np.sum(rewards), [Experience(None, None, r, False) for r in rewards])
        expected = np.load(assets / "part1_expected_qvals.npy")
        np.testing.assert_allclose(list(episode.calc_qvals(0.9)), expected, rtol=0, atol=1e-12)

    def test_by_hand(self):
        assert make_episode([1.0, 2.0, 4.0]).calc_qvals(0.5) == [3.0, 4.0, 4.0]

    @given(rewards_lists)
    def test_gamma_0_is_the_next_reward(self, rewards):
        assert make_episode(rewards).calc_qvals(0.0) == rewards

    @given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40))
    def test_gamma_1_is_the_reward_to_go(self, rewards):
        assert make_episode(rewards).calc_qvals(1.0) == [float(sum(rewards[t:])) for t in range(len(rewards))]

    @given(st.floats(0, 0.999), st.integers(1, 60))
    def test_constant_rewards_are_a_geometric_sum(self, gamma, n):
        expected = [3 * (1 - gamma ** (n - t)) / (1 - gamma) for t in range(n)]
        np.testing.assert_allclose(make_episode([3.0] * n).calc_qvals(gamma), expected, rtol=1e-9)

    @given(rewards_lists, gammas)
    def test_recursion(self, rewards, gamma):
        q = make_episode(rewards).calc_qvals(gamma)
        following = [*q[1:], 0.0]
        np.testing.assert_allclose(q, [r + gamma * n for r, n in zip(rewards, following, strict=True)], atol=1e-9)

    @given(rewards_lists, gammas)
    def test_definition(self, rewards, gamma):
        np.testing.assert_allclose(make_episode(rewards).calc_qvals(gamma), toy.double_sum(rewards, gamma), atol=1e-8)

    def test_returns_a_list_of_floats(self):
        q = make_episode([1, 2]).calc_qvals(0.5)
        assert [type(value) for value in q] == [float, float]

    def test_does_not_change_the_episode(self):
        episode = make_episode([1.0, 2.0])
        assert episode.calc_qvals(0.5) == episode.calc_qvals(0.5)


class TestTrainBatch:
    @pytest.fixture
    def batch(self):
        return TrainBatch.from_episodes([make_episode([1.0, 2.0, 4.0]), make_episode([-8.0], first_state=5)], gamma=0.5)

    def test_lays_episodes_end_to_end(self, batch):
        assert batch.states.tolist() == [[0, 0], [1, -1], [2, -2], [5, 0]]
        assert batch.actions.tolist() == [0, 1, 2, 0]
        assert batch.q_vals.tolist() == [3, 4, 4, -8]
        assert batch.total_rewards.tolist() == [7, -8]

    def test_in_the_order_given(self):
        a, b = make_episode([1.0]), make_episode([2.0, 3.0])
        assert TrainBatch.from_episodes([b, a], 0.0).q_vals.tolist() == [2, 3, 1]

    def test_sizes(self, batch):
        assert len(batch) == 4
        assert batch.num_episodes == 2

    def test_iterates_in_the_published_order(self, batch):
        states, actions, q_vals, total_rewards = batch
        assert states is batch.states
        assert actions is batch.actions
        assert q_vals is batch.q_vals
        assert total_rewards is batch.total_rewards

    def test_dtypes(self, batch):
        assert [t.dtype for t in batch] == [torch.float32, torch.int64, torch.float32, torch.float32]

    def test_gamma_is_999_thousandths_unless_given(self):
        batch = TrainBatch.from_episodes([make_episode([0.0, 1000.0])])
        assert batch.q_vals.tolist() == [999.0, 1000.0]

    def test_prints_as_published(self):
        batch = TrainBatch(torch.zeros(732, 8), torch.zeros(732, dtype=torch.int64), torch.zeros(732), torch.zeros(8))
        assert repr(batch) == (
            "TrainBatch(states: torch.Size([732, 8]), actions: torch.Size([732]), "
            "q_vals: torch.Size([732])), num_episodes: 8)"
        )

    def test_of_episodes_of_either_making(self):
        by_steps = make_episode([3.0, -1.0, 0.5])
        by_arrays = Episode.from_arrays(by_steps.states.numpy(), by_steps.actions.numpy(), by_steps.rewards)
        for a, b in zip(TrainBatch.from_episodes([by_steps]), TrainBatch.from_episodes([by_arrays]), strict=True):
            assert torch.equal(a, b)


class TestTrainBatchDataset:
    def test_is_an_iterable_dataset(self):
        assert isinstance(toy_dataset(toy.ScriptedEnv), IterableDataset)

    @pytest.mark.parametrize("env_type", [toy.ScriptedEnv, toy.TruncatedEnv])
    def test_yields_tuples_of_whole_episodes(self, env_type):
        episodes = next(toy_dataset(env_type, batch_size=3).episode_batch_generator())
        assert isinstance(episodes, tuple)
        assert [len(e.experiences) for e in episodes] == [3, 1, 4]
        for episode in episodes:
            *before, last = [e.is_done for e in episode.experiences]
            assert not any(before)
            assert last is True

    def test_episodes_hold_what_the_environment_gave(self):
        first, second = next(toy_dataset(toy.ScriptedEnv).episode_batch_generator())
        assert [e.state.tolist() for e in first.experiences] == [[0, 0], [0, 1], [0, 2]]
        assert [e.reward for e in first.experiences] == [1, 2, 3]
        assert first.total_reward == 6
        assert [e.state.tolist() for e in second.experiences] == [[1, 0]]
        assert second.total_reward == 11

    def test_goes_on_where_the_last_batch_ended(self):
        batches = itertools.islice(toy_dataset(toy.ScriptedEnv).episode_batch_generator(), 3)
        firsts = [[int(e.experiences[0].state[0]) for e in batch] for batch in batches]
        assert firsts == [[0, 1], [2, 3], [4, 5]]

    def test_is_lazy(self):
        env = toy.ScriptedEnv()
        agents_made = []

        def agent_fn():
            agents_made.append(1)
            return hw4.rl_pg.PolicyAgent(env, nn.Linear(2, 2))

        generator = TrainBatchDataset(agent_fn, 2, 0.5).episode_batch_generator()
        assert agents_made == []
        next(generator)
        assert env.steps_made == 3 + 1
        next(generator)
        assert env.steps_made == 3 + 1 + 4 + 3

    def test_is_endless(self):
        assert len(list(itertools.islice(toy_dataset(toy.ScriptedEnv), 200))) == 200

    def test_bare_iteration_gives_batches(self):
        batch = next(iter(toy_dataset(toy.ScriptedEnv, batch_size=2, gamma=0.5)))
        assert isinstance(batch, TrainBatch)
        assert batch.q_vals.tolist() == [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3, 11]
        assert batch.total_rewards.tolist() == [6, 11]

    def test_each_iteration_has_an_agent_of_its_own(self):
        dataset = toy_dataset(toy.ScriptedEnv)
        for _ in range(2):
            assert next(iter(dataset)).states[0].tolist() == [0, 0]

    @pytest.mark.usefixtures("time_limit")
    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_in_a_data_loader(self, num_workers):
        loader = DataLoader(toy_dataset(toy.ScriptedEnv), batch_size=None, num_workers=num_workers)
        batches = list(itertools.islice(loader, 4))
        assert all(isinstance(batch, TrainBatch) for batch in batches)
        # Each worker has an environment of its own, so two workers' batches come in pairs that are alike.
        expected = [[6, 11], [6, 11], [90, 96], [90, 96]] if num_workers else [[6, 11], [90, 96], [41, 210], [186, 71]]
        assert [batch.total_rewards.tolist() for batch in batches] == expected
        assert [len(batch) for batch in batches] == [4, 4, 7, 7] if num_workers else [4, 7, 5, 4]

    @pytest.mark.usefixtures("time_limit")
    def test_beresheet_in_a_data_loader_with_two_workers(self):
        from hw4.env import make_env

        loader = DataLoader(toy_dataset(make_env, batch_size=2, gamma=0.9), batch_size=None, num_workers=2)
        for states, actions, q_vals, total_rewards in itertools.islice(loader, 2):
            assert states.shape == (len(actions), 8)
            assert q_vals.shape == actions.shape
            assert total_rewards.shape == (2,)

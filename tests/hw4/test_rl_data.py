"""Experience, Episode, TrainBatch and the dataset, on episodes worked out by hand."""

import itertools
import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

import hw4.rl_pg
from hw4.env import make_env
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


def q_vals_of(rewards, gamma):
    return [float(q) for q in make_episode(rewards).calc_qvals(gamma)]


def make_agent(env_fn):
    env = env_fn()
    return toy.Agent(env, toy.ConstantNet([0.0] * int(env.action_space.n)))


def toy_dataset(env_fn=toy.ScriptedEnv, batch_size=2, gamma=0.5):
    return TrainBatchDataset(partial(make_agent, env_fn), batch_size, gamma)


def test_experience_is_a_named_tuple_of_these_fields():
    assert issubclass(Experience, tuple)
    assert Experience._fields == ("state", "action", "reward", "is_done")


def test_rl_pg_has_the_same_types():
    assert (hw4.rl_pg.Experience, hw4.rl_pg.Episode, hw4.rl_pg.TrainBatch) == (Experience, Episode, TrainBatch)


def test_episode_prints_as_published():
    experiences = [Experience(torch.zeros(2), 0, 0.0, t == 61) for t in range(62)]
    assert repr(Episode(-84.5, experiences)) == "Episode(total_reward=-84.50, #experiences=62)"


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
        assert q_vals_of([1.0, 2.0, 4.0], 0.5) == [3.0, 4.0, 4.0]

    @given(rewards_lists, gammas)
    def test_definition(self, rewards, gamma):
        np.testing.assert_allclose(q_vals_of(rewards, gamma), toy.double_sum(rewards, gamma), atol=1e-8)

    @pytest.mark.parametrize(("gamma", "expected"), [(0.0, [1.5, -2.0, 4.0]), (1.0, [3.5, 2.0, 4.0])])
    def test_without_and_with_all_that_follows(self, gamma, expected):
        assert q_vals_of([1.5, -2.0, 4.0], gamma) == expected

    def test_does_not_change_the_episode(self):
        episode = make_episode([1.0, 2.0])
        assert list(episode.calc_qvals(0.5)) == list(episode.calc_qvals(0.5)) == [2.0, 2.0]


class TestTrainBatch:
    """Of episodes."""

    EPISODES = (make_episode([1.0, 2.0, 4.0]), make_episode([-8.0], first_state=5))

    def test_lays_episodes_end_to_end(self):
        batch = TrainBatch.from_episodes(self.EPISODES, gamma=0.5)
        assert batch.states.tolist() == [[0, 0], [1, -1], [2, -2], [5, 0]]
        assert batch.actions.tolist() == [0, 1, 2, 0]
        assert batch.q_vals.tolist() == [3, 4, 4, -8]
        assert batch.total_rewards.tolist() == [7, -8]

    def test_in_the_order_given(self):
        a, b = make_episode([1.0]), make_episode([2.0, 3.0])
        assert TrainBatch.from_episodes([b, a], 0.0).q_vals.tolist() == [2, 3, 1]

    def test_dtypes(self):
        """A network takes the states as they are, and an index is made of the actions."""
        states, actions, q_vals, total_rewards = TrainBatch.from_episodes(self.EPISODES)
        assert (states.dtype, actions.dtype) == (torch.float32, torch.int64)
        assert q_vals.is_floating_point()
        assert total_rewards.is_floating_point()

    def test_gamma_is_999_thousandths_unless_given(self):
        batch = TrainBatch.from_episodes([make_episode([0.0, 1000.0])])
        assert batch.q_vals.tolist() == pytest.approx([999.0, 1000.0])


class TestTrainBatchItself:
    ZEROS = TrainBatch(torch.zeros(732, 8), torch.zeros(732, dtype=torch.int64), torch.zeros(732), torch.zeros(8))

    def test_sizes(self):
        assert len(self.ZEROS) == 732
        assert self.ZEROS.num_episodes == 8

    def test_iterates_in_the_published_order(self):
        batch = self.ZEROS
        assert list(map(id, batch)) == list(map(id, (batch.states, batch.actions, batch.q_vals, batch.total_rewards)))

    def test_prints_as_published(self):
        assert repr(self.ZEROS) == (
            "TrainBatch(states: torch.Size([732, 8]), actions: torch.Size([732]), "
            "q_vals: torch.Size([732])), num_episodes: 8)"
        )

    @pytest.mark.usefixtures("unchecked")
    def test_to_a_device_moves_every_tensor(self):
        """To another floating-point type here, as there is no other device."""
        there = self.ZEROS.to(torch.float64)
        assert isinstance(there, TrainBatch)
        assert {tensor.dtype for tensor in there} == {torch.float64}
        assert [tensor.shape for tensor in there] == [tensor.shape for tensor in self.ZEROS]

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize(
        "shapes",
        [
            *(((4, 2), (3,), (3,), (1,)), ((3, 2), (4,), (3,), (1,)), ((3, 2), (3,), (4,), (1,))),
            *(((3,), (3,), (3,), (1,)), ((3, 2, 2), (3,), (3,), (1,)), ((3, 2), (3, 1), (3,), (1,))),
            *(((3, 2), (3,), (3, 1), (1,)), ((3, 2), (3,), (3,), ()), ((3, 2), (3,), (3,), (1, 1))),
            *(((3, 2), (), (3,), (1,)), ((0, 2), (0,), (0,), (1,)), ((3, 2), (3,), (3,), (0,))),
        ],
        ids=str,
    )
    def test_shapes_that_disagree(self, shapes):
        with pytest.raises(ValueError, match=re.escape("given are " + ", ".join(map(str, shapes)))):
            TrainBatch(*map(torch.zeros, shapes))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("where", ["states", "q_vals", "total_rewards"])
    def test_values_that_are_no_numbers(self, where, bad):
        tensors = dict(
            zip(("states", "actions", "q_vals", "total_rewards"), toy.make_batch([1, 2], [0, 1]), strict=True)
        )
        tensors[where].view(-1)[-1] = bad
        with pytest.raises(ValueError, match=f"{where} hold nan or inf"):
            TrainBatch(**tensors)


class TestTrainBatchDataset:
    def test_is_an_iterable_dataset(self):
        assert isinstance(toy_dataset(), IterableDataset)

    def test_yields_tuples_of_whole_episodes(self):
        episodes = next(toy_dataset(batch_size=3).episode_batch_generator())
        assert isinstance(episodes, tuple)
        assert [[e.is_done for e in episode.experiences] for episode in episodes] == [
            [False, False, True],
            [True],
            [False, False, False, True],
        ]

    def test_episodes_hold_what_the_environment_gave(self):
        first, second = next(toy_dataset().episode_batch_generator())
        assert [e.state.tolist() for e in first.experiences] == [[0, 0], [0, 1], [0, 2]]
        assert [e.reward for e in first.experiences] == [1, 2, 3]
        assert first.total_reward == 6
        assert [e.state.tolist() for e in second.experiences] == [[1, 0]]
        assert second.total_reward == 11

    def test_goes_on_where_the_last_batch_ended(self):
        batches = itertools.islice(toy_dataset().episode_batch_generator(), 3)
        firsts = [[int(e.experiences[0].state[0]) for e in batch] for batch in batches]
        assert firsts == [[0, 1], [2, 3], [4, 5]]

    def test_is_lazy(self):
        env = toy.ScriptedEnv()
        agents_made = []

        def agent_fn():
            agents_made.append(1)
            return toy.Agent(env, toy.ConstantNet([0.0, 0.0]))

        generator = TrainBatchDataset(agent_fn, 2, 0.5).episode_batch_generator()
        assert agents_made == []
        next(generator)
        assert env.steps_made == 3 + 1
        next(generator)
        assert env.steps_made == 3 + 1 + 4 + 3

    def test_bare_iteration_gives_batches_for_ever(self):
        batches = list(itertools.islice(toy_dataset(batch_size=2, gamma=0.5), 100))
        assert len(batches) == 100
        assert isinstance(batches[0], TrainBatch)
        assert batches[0].q_vals.tolist() == [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3, 11]
        assert batches[0].total_rewards.tolist() == [6, 11]

    def test_each_iteration_has_an_agent_of_its_own(self):
        dataset = toy_dataset()
        for _ in range(2):
            assert next(iter(dataset)).states[0].tolist() == [0, 0]

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_in_a_data_loader(self, num_workers):
        loader = DataLoader(toy_dataset(), batch_size=None, num_workers=num_workers)
        batches = list(itertools.islice(loader, 4))
        assert all(isinstance(batch, TrainBatch) for batch in batches)
        # Each worker has an environment of its own, so two workers' batches come in pairs that are alike.
        expected = [[6, 11], [6, 11], [90, 96], [90, 96]] if num_workers else [[6, 11], [90, 96], [41, 210], [186, 71]]
        assert [batch.total_rewards.tolist() for batch in batches] == expected
        assert [len(batch) for batch in batches] == [4, 4, 7, 7] if num_workers else [4, 7, 5, 4]

    @pytest.mark.timeout(60)
    def test_beresheet_in_a_data_loader_with_two_workers(self):
        loader = DataLoader(toy_dataset(make_env), batch_size=None, num_workers=2)
        for states, actions, q_vals, total_rewards in itertools.islice(loader, 2):
            assert states.shape == (len(actions), 8)
            assert q_vals.shape == actions.shape
            assert total_rewards.shape == (2,)

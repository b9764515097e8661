"""Playing in lockstep: rows that do not know of each other, episodes that do not depend on who plays beside them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hw4.playing import numpy_scores, play_episodes
from hw4.rl_pg import PolicyAgent, PolicyNet
from tests import toy


def make_net(hidden_layers, **kwargs):
    torch.manual_seed(0)
    return PolicyNet(8, 4, hidden_layers=hidden_layers, **kwargs)


@pytest.mark.parametrize("hidden_layers", [(), (128,), (64, 64), (512, 256)])
def test_a_rows_scores_are_the_same_bits_whatever_stands_beside_it(hidden_layers):
    scores = numpy_scores(make_net(hidden_layers))
    states = np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32)
    alone = np.concatenate([scores(state[None]) for state in states])
    for start, stop in itertools.combinations(range(10), 2):
        assert np.array_equal(scores(states[start:stop]), alone[start:stop])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_scores_are_the_networks(activation):
    net = make_net((32, 16), activation=activation)
    states = torch.randn(50, 8)
    assert np.allclose(numpy_scores(net)(states.numpy()), net(states).detach(), atol=1e-5)


def test_scores_are_those_at_the_time():
    net = make_net((16,))
    states = np.ones((1, 8), dtype=np.float32)
    scores = numpy_scores(net)
    before = scores(states)
    nn.init.zeros_(net.scores[0].weight)
    assert np.array_equal(scores(states), before)
    assert not np.array_equal(numpy_scores(net)(states), before)


def test_the_state_is_left_as_it_is():
    states = -np.ones((2, 8), dtype=np.float32)
    numpy_scores(make_net((16,)))(states)
    assert np.array_equal(states, -np.ones((2, 8)))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(),
        nn.Sequential(nn.ReLU(), nn.Linear(8, 4)),
        nn.Sequential(nn.Linear(8, 4), nn.Dropout()),
        nn.Linear(8, 4).double(),
        nn.Bilinear(8, 8, 4),
    ],
    ids=str,
)
def test_other_networks_have_none(net):
    assert numpy_scores(net) is None


def test_a_hook_may_change_anything():
    net = nn.Linear(8, 4)
    net.register_forward_hook(lambda module, inputs, output: -output)
    assert numpy_scores(net) is None


@pytest.mark.parametrize("n_players", [1, 2, 5, 20])
def test_episodes_do_not_depend_on_the_number_of_players(n_players):
    torch.manual_seed(0)
    net = PolicyNet(3, 3, hidden_layers=(8,))
    players = [PolicyAgent(toy.RandomEnv(), net) for _ in range(n_players)]
    played = dict(play_episodes(players, range(12)))
    for seed in range(12):
        alone = PolicyAgent(toy.RandomEnv(), net).play_episode(seed)
        assert torch.equal(played[seed].states, alone.states)
        assert torch.equal(played[seed].actions, alone.actions)
        assert np.array_equal(played[seed].rewards, alone.rewards)


@pytest.mark.parametrize("net", [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Softplus())], ids=str)
def test_further_seeds_are_asked_for_before_an_episode_is_given_away(net):
    """Who takes the last episode of a batch updates the network; what is begun after that is the next batch's."""
    asked = []

    def seeds():
        for seed in range(5):
            asked.append(seed)
            yield seed
        asked.append("no more")

    players = [PolicyAgent(toy.ScriptedEnv(lengths=(2,)), net) for _ in range(2)]
    for given, _ in enumerate(play_episodes(players, seeds()), start=1):
        begun = [seed for seed in asked if seed != "no more"]
        assert len(begun) == 5 or len(begun) >= given + 1
        if given == 5:
            assert asked[-1] == "no more"


def test_nothing_is_played_for_no_seeds():
    assert list(play_episodes([PolicyAgent(toy.ScriptedEnv(), nn.Linear(2, 2))], [])) == []

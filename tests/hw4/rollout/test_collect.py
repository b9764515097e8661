"""Playing in lockstep: rows that do not know of each other, episodes that do not depend on who plays beside them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_pg import (
    PolicyAgent,
    PolicyNet,
)
from hw4.rollout.collect import numpy_scores, play_episodes
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


def set_bias_in_place(layer, bias):
    with torch.no_grad():
        layer.bias.copy_(bias)


def set_bias_data(layer, bias):
    layer.bias.data = bias.clone()


def set_bias_parameter(layer, bias):
    layer.bias = nn.Parameter(bias.clone())


def set_bias_by_state_dict(layer, bias):
    layer.load_state_dict({"weight": layer.weight.detach(), "bias": bias})


def set_bias_by_optimizer(layer, bias):
    optimizer = torch.optim.SGD([layer.bias], lr=1.0)
    layer.bias.grad = layer.bias.detach() - bias
    optimizer.step()


class TestFollowsTheNetwork:
    """A network whose parameters change is followed from the next episode on, in whatever way they change."""

    @pytest.mark.parametrize(
        "change",
        [set_bias_in_place, set_bias_data, set_bias_parameter, set_bias_by_state_dict, set_bias_by_optimizer],
        ids=lambda change: change.__name__,
    )
    @pytest.mark.parametrize(
        "make_net",
        [
            lambda: PolicyNet(2, 3, hidden_layers=(4,)),
            lambda: nn.Linear(2, 3),
            lambda: AACPolicyNet(2, 3, hidden_layers=(4,)),
        ],
        ids=["PolicyNet", "Linear", "AACPolicyNet"],
    )
    def test_change_of_the_bias(self, make_net, change):
        net = make_net()
        head = next(m for m in net.modules() if isinstance(m, nn.Linear) and m.out_features == 3)
        nn.init.zeros_(head.weight)
        agent_type = AACPolicyAgent if isinstance(net, AACPolicyNet) else PolicyAgent
        agent = agent_type(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        for action in (2, 0, 1):
            change(head, 1000.0 * torch.eye(3)[action])
            assert agent.play_episode(seed=0).actions.tolist() == [action] * 5
            assert agent.step().action == action

    def test_a_frozen_parameter(self):
        class Signed(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(2, 3)
                self.sign = nn.Parameter(torch.tensor(1.0), requires_grad=False)

            def forward(self, states):
                return self.sign * self.linear(states)

        net = Signed()
        nn.init.zeros_(net.linear.weight)
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        set_bias_in_place(net.linear, torch.tensor([1000.0, 0.0, -1000.0]))
        assert agent.play_episode(seed=0).actions.tolist() == [0] * 5
        net.sign.fill_(-1.0)
        assert agent.play_episode(seed=0).actions.tolist() == [2] * 5

    def test_a_setting_that_is_no_parameter(self):
        """Such as a temperature that a student anneals."""

        class Sharpened(nn.Linear):
            temperature = 1.0

            def forward(self, states):
                return super().forward(states) / self.temperature

        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear, self.temperature = nn.Linear(2, 3), 1.0

            def forward(self, states):
                return self.linear(states) / self.temperature

        class SharpenedPolicyNet(PolicyNet):
            temperature = 1.0

            def forward(self, states):
                return super().forward(states) / self.temperature

        for net in (Sharpened(2, 3), Wrapped(), SharpenedPolicyNet(2, 3, hidden_layers=())):
            layer = next(m for m in net.modules() if isinstance(m, nn.Linear))
            nn.init.zeros_(layer.weight)
            agent = PolicyAgent(toy.ScriptedEnv(lengths=(200,), n_actions=3), net)
            set_bias_in_place(layer, torch.tensor([0.1, 0.0, 0.0]))
            assert set(agent.play_episode(seed=0).actions.tolist()) == {0, 1, 2}
            net.temperature = 1e-4
            assert set(agent.play_episode(seed=0).actions.tolist()) == {0}

    def test_a_network_of_any_kind(self):
        net = toy.VersionNet(3)
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        for version in range(1, 5):
            with torch.no_grad():
                net.version += 1
            assert agent.play_episode(seed=0).actions.tolist() == [version % 3] * 5

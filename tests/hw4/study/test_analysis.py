"""What is measured inside a run, against closed forms and small episodes made by hand."""

import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from hw4.env import make_env
from hw4.experiments import train_aac, train_pg
from hw4.rl_ac import AACPolicyNet
from hw4.rl_data import Episode, Experience, TrainBatch
from hw4.rl_pg import PolicyAgent, PolicyNet
from hw4.study import analysis
from hw4.study.analysis import (
    analyse,
    calibration,
    estimate,
    estimator_weights,
    explained_variance,
    gradient_noise,
    improvement,
    state_occupancy,
    train_with_snapshots,
)
from hw4.study.evaluation import Flight
from tests import toy

HP = toy.hyperparams(batch_size=2)


def episode(rewards, legs=((0, 0),), actions=(0,), height=0.0):
    """An episode of the lander with the given rewards. Legs and actions are repeated to its length."""
    states = torch.zeros(len(rewards), 8)
    states[:, 1] = height
    states[:, 6:8] = torch.from_numpy(np.resize(np.array(legs), (len(rewards), 2)))
    taken = np.resize(np.array(actions), len(rewards)).tolist()
    experiences = [Experience(*step, False) for step in zip(states, taken, rewards, strict=True)]
    return Episode(sum(rewards), experiences)


class SharedTrunk(nn.Module):
    """An actor-critic with names of its own."""

    def __init__(self):
        super().__init__()
        self.trunk, self.actor, self.critic = nn.Linear(8, 6), nn.Linear(6, 4), nn.Linear(6, 1)

    def forward(self, states):
        features = torch.tanh(self.trunk(states))
        return self.actor(features), self.critic(features)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return AACPolicyNet(8, 4, **HP)


class TestEstimators:
    def test_weights_by_hand(self):
        episodes = [episode([1.0, 2.0, 4.0]), episode([-3.0])]
        batch = TrainBatch.from_episodes(episodes, 0.5)
        weights = estimator_weights(episodes, batch, torch.tensor([1.0, 1.0, 1.0, -1.0]))
        expected = {
            "total return": [3.0, 5.0, 7.0, -3.0],  # q, and 0, 1, 3 and 0 from before
            "reward to go": [3.0, 4.0, 4.0, -3.0],
            "batch mean": [1.0, 2.0, 2.0, -5.0],
            "leave-one-out": [6.0, 7.0, 7.0, -3.0 - 11 / 3],  # the other episode's mean q is -3, and 11/3
            "critic": [2.0, 3.0, 3.0, -2.0],
        }
        assert list(weights) == list(expected) == list(analysis.ESTIMATORS)
        for name, values in weights.items():
            assert values.tolist() == pytest.approx(expected[name])

    def test_the_mean_of_a_batch_takes_half_of_the_gradient_with_it_where_it_has_two_steps(self):
        """Two episodes of one step. All four outcomes are as probable; action 1 earns 3 and action 0 earns 1.

        The expected gradient, 1/2, is that of the notebook's section 1.4, where grad log pi is 1/2 or -1/2.
        """
        means = {"reward to go": 0.0, "batch mean": 0.0, "leave-one-out": 0.0}
        for actions in itertools.product((0, 1), repeat=2):
            episodes = [episode([1.0 + 2.0 * action], actions=(action,)) for action in actions]
            batch = TrainBatch.from_episodes(episodes, 1.0)
            weights = estimator_weights(episodes, batch, torch.zeros(2))
            for name in means:
                means[name] += float((weights[name] * (batch.actions - 0.5)).mean()) / 4
        assert means == pytest.approx({"reward to go": 0.5, "batch mean": 0.25, "leave-one-out": 0.5})

    def test_equal_batches_have_no_variance(self, net):
        noise = gradient_noise(estimate(net, [episode([1.0, 2.0])] * 6, 2, 0.9))
        assert all(values["variance"] == pytest.approx(0, abs=1e-9) for values in noise.values())

    @pytest.mark.parametrize("net_type", [partial(AACPolicyNet, 8, 4, **HP), SharedTrunk])
    def test_equal_batches_have_the_gradient_of_the_loss(self, net_type):
        torch.manual_seed(0)
        net = net_type()
        episodes = [episode([1.0, 2.0], actions=(3,))] * 4
        batch = TrainBatch.from_episodes(episodes[:2], 0.9)
        log_pi = torch.log_softmax(net(batch.states)[0], dim=1)[:, 3]
        (-(batch.q_vals * log_pi).mean()).backward()
        expected = sum(float(p.grad.pow(2).sum()) for p in net.parameters() if p.grad is not None)
        noise = gradient_noise(estimate(net, episodes, 2, 0.9))
        assert noise["reward to go"]["squared_mean"] == pytest.approx(expected, rel=1e-4)

    def test_a_constant_more_of_return_is_noise_to_all_but_the_means(self, net):
        """Actions differ from batch to batch; a reward of 100 at each end says nothing about them."""
        episodes = [episode([100.0], actions=(number // 2 % 4,)) for number in range(16)]
        noise = gradient_noise(estimate(net, episodes, 2, 0.9))
        assert noise["batch mean"]["variance"] == pytest.approx(0, abs=1e-9)
        assert noise["leave-one-out"]["variance"] == pytest.approx(0, abs=1e-9)
        assert noise["reward to go"]["variance"] > 1


class TestCritic:
    @pytest.mark.parametrize(
        ("v", "expected"),
        [([1.0, 2.0, 3.0], 1.0), ([2.0, 2.0, 2.0], 0.0), ([3.0, 2.0, 1.0], -3.0), ([5.0, 6.0, 7.0], 1.0)],
    )
    def test_explained_variance_by_hand(self, v, expected):
        assert explained_variance(torch.tensor(v), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(expected)

    def test_calibration_of_a_critic_that_is_right(self, net):
        """Its returns are made from what it predicts, so each bin's mean is on the diagonal."""
        states = torch.randn(400, 8)
        values = net(states)[1].squeeze(dim=1).detach()
        batch = TrainBatch(states, torch.zeros(400, dtype=torch.int64), values, torch.zeros(1))
        result = calibration(net, batch)
        assert result["v"] == pytest.approx(result["q"])
        assert result["v"] == sorted(result["v"])
        assert result["explained_variance"] == pytest.approx(1)


class TestLegs:
    def test_each_is_on_the_side_that_its_name_says(self):
        """Of a lander that comes down on one leg, the feature that turns 1 is that leg's."""
        env, seen = make_env(), set()
        body = env.unwrapped
        for seed in range(10):
            state, _ = env.reset(seed=seed)
            done = False
            while not done and not state[[analysis.RIGHT_LEG, analysis.LEFT_LEG]].any():
                state, _, terminated, truncated, _ = env.step(0)
                done = terminated or truncated
            touching = [body.lander.GetLocalPoint(leg.position).x > 0 for leg in body.legs if leg.ground_contact]
            if len(touching) == 1:
                assert bool(state[analysis.RIGHT_LEG]) is touching[0]
                assert bool(state[analysis.LEFT_LEG]) is not touching[0]
                seen.add(touching[0])
        assert seen == {True, False}


class TestImprovement:
    """By as many episodes as a test can afford; the notebook takes more of both kinds."""

    def improved(self, seed, episodes, learn_rate):
        hp = {"batch_size": 8, "gamma": 0.97, "beta": 1.0, "learn_rate": learn_rate, "eps": 1e-8}
        hp |= {"hidden_layers": [64, 64], "action_repeat": 2}
        data = train_pg(baseline=True, entropy=True, hp=hp, seed=seed, max_episodes=episodes, num_workers=0)
        torch.manual_seed(seed)
        return improvement(PolicyAgent, PolicyNet(8, 4, **hp), data["model_state"], 2, 40, seed)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_learner_that_stands_still_has_learned_nothing(self, seed):
        result = self.improved(seed, 80, learn_rate=1e-12)
        assert not result.is_learned
        assert result.before == pytest.approx(result.after)

    def test_a_learner_that_moves_has_learned_something(self):
        assert self.improved(0, 400, learn_rate=0.006).is_learned


class TestStateOccupancy:
    def test_by_hand(self):
        landed = episode([1.0, 1.0, 1.0, 1.0], legs=[(0, 0), (0, 0), (1, 0), (1, 1)], actions=[2, 2, 1, 0], height=0.5)
        hovering = episode([1.0, 1.0, 1.0, 1.0], actions=[2, 2, 2, 3], height=1.5)
        crashed = episode([1.0, 1.0], height=1.0)
        endings = ["at rest", "time limit", "crash"]
        flights = [Flight(e, ending, 4) for e, ending in zip([landed, hovering, crashed], endings, strict=True)]
        result = state_occupancy(flights)
        assert {place: value["share"] for place, value in result["where"].items()} == {
            "in the air": 0.8,
            "on one leg": 0.1,
            "on both legs": 0.1,
        }
        assert result["where"]["in the air"]["actions"] == [0.25, 0.0, 0.625, 0.125]
        assert result["where"]["on one leg"]["actions"] == [0.0, 1.0, 0.0, 0.0]
        assert result["ends"] == pytest.approx({"at rest": 1 / 3, "crash": 1 / 3, "time limit": 1 / 3})
        assert result["height"] == [1.0, 1.0, 1.0, 1.0]


class TestRun:
    def test_the_last_snapshot_is_what_training_ends_with(self):
        snapshots = train_with_snapshots(HP, 3, [2, 6], max_episodes=6)
        expected = train_aac(hp=HP, seed=3, max_episodes=6, num_workers=0)["model_state"]
        assert list(snapshots) == [2, 6]
        assert all(torch.equal(value, expected[name]) for name, value in snapshots[6].state_dict().items())
        assert any(not torch.equal(value, expected[name]) for name, value in snapshots[2].state_dict().items())

    def test_analyse(self, monkeypatch):
        for name, value in {"STAGES": {"first": 2, "last": 4}, "BATCHES": 3, "MAX_EPISODES": 4}.items():
            monkeypatch.setattr(analysis, name, value)
        monkeypatch.setattr(analysis, "VARIANCE_EPISODES", 2)
        result = analyse(HP, 3)
        assert [(stage["episodes"], stage["batches"]) for stage in result["stages"].values()] == [(2, 3), (4, 3)]
        assert result["explained_variance"]["episodes"] == [2, 4]
        assert (result["seed"], result["hyperparams"]) == (3, HP)
        assert json.loads(json.dumps(result)) == result

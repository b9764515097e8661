"""How good a policy is: the figures of `evaluate` from episodes whose returns are known."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import Episode
from hw4.rl_pg import PolicyAgent, PolicyNet
from hw4.rollout.loader import episode_seed
from hw4.study.evaluation import evaluate
from tests import toy


@pytest.fixture
def net():
    torch.manual_seed(0)
    return PolicyNet(8, 4, hidden_layers=(8,))


def test_figures_are_those_of_the_episodes(net):
    played = [PolicyAgent(make_env(), net).play_episode(episode_seed(1, n, "evaluation")) for n in range(6)]
    figures = evaluate(PolicyAgent, net, episodes=6, seed=1)
    rewards, lengths = [e.rewards.sum() for e in played], [len(e.actions) for e in played]
    assert figures["episodes"] == 6
    assert figures["mean"] == pytest.approx(np.mean(rewards))
    assert figures["mean_length"] == pytest.approx(np.mean(lengths))
    assert figures["std"] == pytest.approx(np.std(rewards, ddof=1))
    assert figures["share_at_least_200"] == 0


class SteppedReturns(toy.ScriptedEnv):
    """One-step episodes; they pay 199, 200 and 201 in turn, whichever of these environments plays them."""

    paid = itertools.count()

    def __init__(self, render_mode=None):
        super().__init__(lengths=(1,))

    def step(self, action):
        reward = 199.0 + next(self.paid) % 3
        observation, _, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info


def test_by_hand():
    gym.register("SteppedReturns-v0", entry_point=SteppedReturns)
    try:
        figures = evaluate(PolicyAgent, nn.Linear(2, 2), episodes=3, env_name="SteppedReturns-v0")
    finally:
        del gym.registry["SteppedReturns-v0"]
    assert figures == {
        "mean": 200.0,
        "std": 1.0,
        "share_at_least_200": pytest.approx(2 / 3),
        "share_at_rest": 0.0,
        "mean_length": 1.0,
        "episodes": 3,
    }


def test_keys_and_types(net):
    figures = evaluate(PolicyAgent, net, episodes=2)
    assert set(figures) == {"mean", "std", "share_at_least_200", "share_at_rest", "mean_length", "episodes"}
    assert {name: type(value) for name, value in figures.items()} == {**dict.fromkeys(figures, float), "episodes": int}


def test_one_episode(net):
    assert evaluate(PolicyAgent, net, episodes=1)["std"] == 0.0


def test_same_seed_same_figures(net):
    torch.manual_seed(1)
    first = evaluate(PolicyAgent, net, episodes=3, seed=5)
    torch.manual_seed(2)
    assert evaluate(PolicyAgent, net, episodes=3, seed=5) == first


def test_another_seed_other_figures(net):
    assert evaluate(PolicyAgent, net, episodes=3, seed=5) != evaluate(PolicyAgent, net, episodes=3, seed=6)


@pytest.fixture
def played(monkeypatch):
    """The episodes that `evaluate` plays."""
    episodes = []
    from_arrays = Episode.from_arrays

    def watched(*arrays):
        episodes.append(from_arrays(*arrays))
        return episodes[-1]

    monkeypatch.setattr(Episode, "from_arrays", watched)
    return episodes


def test_episodes_differ(net, played):
    evaluate(PolicyAgent, net, episodes=4)
    assert len({e.total_reward for e in played}) == 4


def test_greedy_takes_the_best_action(played):
    net = toy.ConstantNet([0.0, 0.0, 0.01, 0.0])
    evaluate(PolicyAgent, net, episodes=2, greedy=True)
    assert {action for e in played for action in e.actions.tolist()} == {2}


def test_sampled_unless_asked(played):
    evaluate(PolicyAgent, toy.ConstantNet([0.0, 0.0, 0.01, 0.0]), episodes=2)
    assert {action for e in played for action in e.actions.tolist()} == {0, 1, 2, 3}


def test_actor_critic():
    env = make_env()
    torch.manual_seed(0)
    figures = evaluate(AACPolicyAgent, AACPolicyNet.build_for_env(env, hidden_layers=(8,)), episodes=2)
    env.close()
    assert 1 <= figures["mean_length"] <= 300


def test_does_not_change_the_network(net):
    before = [p.detach().clone() for p in net.parameters()]
    evaluate(PolicyAgent, net, episodes=2)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))

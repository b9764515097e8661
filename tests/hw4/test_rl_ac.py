"""The actor-critic network, agent and loss."""

import math

import pytest
import torch
from torch import nn

from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import Experience, TrainBatch
from tests import toy

Q_VALS = (4.0, -2.0, 7.0)
ACTIONS = (2, 0, 1)
SCORES = ((0.5, -1.0, 2.0), (0.0, 0.0, 0.0), (3.0, 1.0, -2.0))
VALUES = (1.0, -1.0, 3.0)


def make_batch(dtype=torch.float32):
    return TrainBatch(
        torch.zeros(3, 2, dtype=dtype),
        torch.tensor(ACTIONS),
        torch.tensor(Q_VALS, dtype=dtype),
        torch.tensor([9.0], dtype=dtype),
    )


def scores_and_values(dtype=torch.float32, requires_grad=False):
    scores = torch.tensor(SCORES, dtype=dtype, requires_grad=requires_grad)
    values = torch.tensor(VALUES, dtype=dtype).reshape(3, 1).requires_grad_(requires_grad)
    return scores, values


def log_pi(scores, action):
    return math.log(math.exp(scores[action]) / sum(math.exp(s) for s in scores))


# Advantages 3, -1, 4; squared errors 9, 1, 16.
POLICY_LOSS = -(3 * log_pi(SCORES[0], 2) - log_pi(SCORES[1], 0) + 4 * log_pi(SCORES[2], 1)) / 3
VALUE_LOSS = 26 / 3


class TestNet:
    def test_scores_and_values_of_a_batch(self):
        scores, values = AACPolicyNet(8, 4, hidden_layers=(16, 5))(torch.zeros(7, 8))
        assert scores.shape == (7, 4)
        assert values.shape == (7, 1)

    def test_build_for_env_with_all_hyperparameters(self):
        env = make_env()
        hp = {"batch_size": 5, "gamma": 0.9, "beta": 0.1, "delta": 0.5, "learn_rate": 1e-3, "eps": 1e-8}
        net = AACPolicyNet.build_for_env(env, "cpu", hidden_layers=(8,), **hp)
        env.close()
        assert isinstance(net, AACPolicyNet)
        assert [tuple(t.shape) for t in net(torch.zeros(2, 8))] == [(2, 4), (2, 1)]

    def test_values_are_scaled_and_scores_are_not(self):
        nets = []
        for value_scale in (1.0, 10.0):
            torch.manual_seed(0)
            nets.append(AACPolicyNet(3, 2, hidden_layers=(16,), value_scale=value_scale))
        (scores, values), (same_scores, scaled_values) = (net(torch.ones(5, 3)) for net in nets)
        assert torch.equal(scores, same_scores)
        assert torch.equal(10.0 * values, scaled_values)

    def test_gradients_reach_every_parameter(self):
        torch.manual_seed(0)
        net = AACPolicyNet(3, 2, hidden_layers=(16,))
        scores, values = net(torch.randn(32, 3))
        (scores.pow(2).sum() + values.pow(2).sum()).backward()
        assert all(p.grad.abs().sum() > 0 for p in net.parameters())


class TestAgent:
    def test_distribution_is_the_softmax_of_the_scores(self):
        torch.manual_seed(1)
        env = make_env()
        net = AACPolicyNet(8, 4, hidden_layers=(16,))
        agent = AACPolicyAgent(env, net)
        distribution = agent.current_action_distribution()
        state = agent.step().state
        env.close()
        torch.testing.assert_close(distribution, torch.softmax(net(state[None])[0][0], dim=0).detach())

    def test_step(self):
        agent = AACPolicyAgent(toy.ScriptedEnv(n_actions=4), AACPolicyNet(2, 4, hidden_layers=(4,)))
        experience = agent.step()
        assert isinstance(experience, Experience)
        assert experience.state.tolist() == [0, 0]
        assert experience.reward == 1.0

    def test_draws_by_inversion(self):
        torch.manual_seed(2)
        net = AACPolicyNet(2, 4, hidden_layers=(4,))
        agent = AACPolicyAgent(toy.ScriptedEnv(lengths=(1000,), n_actions=4), net)
        for seed in range(40):
            torch.manual_seed(seed)
            u = torch.rand((), dtype=torch.float64).item()
            torch.manual_seed(seed)
            experience = agent.step()
            assert experience.action == toy.first_index_reaching(u, net(experience.state[None])[0][0])

    def test_any_module_that_gives_scores_and_values(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.scores, self.values = toy.TemperatureNet(2, 3), nn.Linear(2, 1)

            def forward(self, states):
                return self.scores(states), self.values(states)

        agent = AACPolicyAgent(toy.ScriptedEnv(lengths=(6,), n_actions=3), Net())
        assert len(agent.play_episode(seed=0).actions) == 6


class TestLoss:
    @pytest.mark.parametrize("delta", [0.0, 0.5, 1.0, 4.0])
    def test_by_hand(self, delta):
        loss, losses = AACPolicyGradientLoss(delta=delta)(make_batch(), scores_and_values())
        assert loss.shape == ()
        assert loss.item() == pytest.approx(POLICY_LOSS + delta * VALUE_LOSS, rel=1e-5)
        assert {"loss_p", "loss_v", "adv_m"} == set(losses)
        assert float(losses["loss_p"]) == pytest.approx(POLICY_LOSS, rel=1e-5)
        assert float(losses["adv_m"]) == pytest.approx(2.0, rel=1e-5)

    def test_parts_add_up(self):
        """loss_v is reported as it enters the sum, or before delta; with delta 1 both are the same."""
        loss, losses = AACPolicyGradientLoss(delta=1.0)(make_batch(), scores_and_values())
        assert float(losses["loss_v"]) == pytest.approx(VALUE_LOSS, rel=1e-5)
        assert loss.item() == pytest.approx(float(losses["loss_p"]) + float(losses["loss_v"]), rel=1e-5)

    def test_policy_term_has_no_gradient_into_the_values(self):
        scores, values = scores_and_values(requires_grad=True)
        AACPolicyGradientLoss(delta=0.0)(make_batch(), (scores, values))[0].backward()
        assert values.grad is None or values.grad.abs().max() == 0
        assert scores.grad.abs().max() > 0

    def test_gradient_into_the_values_in_closed_form(self):
        scores, values = scores_and_values(requires_grad=True)
        AACPolicyGradientLoss(delta=0.25)(make_batch(), (scores, values))[0].backward()
        expected = [0.25 * 2 * (v - q) / 3 for v, q in zip(VALUES, Q_VALS, strict=True)]
        torch.testing.assert_close(values.grad.flatten(), torch.tensor(expected))

    def test_gradient_into_the_scores_in_closed_form(self):
        """As the policy gradient's, with the advantage for its weight, whatever delta is."""
        advantages = torch.tensor(Q_VALS) - torch.tensor(VALUES)
        expected = advantages[:, None] * (torch.softmax(torch.tensor(SCORES), 1) - torch.eye(3)[list(ACTIONS)]) / 3
        for delta in (0.0, 5.0):
            scores, values = scores_and_values(requires_grad=True)
            AACPolicyGradientLoss(delta=delta)(make_batch(), (scores, values))[0].backward()
            torch.testing.assert_close(scores.grad, expected)

    def test_gradient_into_the_scores_against_finite_differences(self):
        scores, values = scores_and_values(torch.float64, requires_grad=True)
        loss_fn, batch = AACPolicyGradientLoss(delta=0.5), make_batch(torch.float64)
        assert torch.autograd.gradcheck(lambda s: loss_fn(batch, (s, values.detach()))[0], (scores,))

    def test_gradient_into_the_values_against_finite_differences(self):
        """Of delta * mean (v - q)^2 alone: the difference of two deltas takes the policy term out."""
        _, values = scores_and_values(torch.float64, requires_grad=True)
        scores, batch = torch.tensor(SCORES, dtype=torch.float64), make_batch(torch.float64)

        def value_term(v):
            once, twice = (AACPolicyGradientLoss(delta=delta)(batch, (scores, v))[0] for delta in (1.0, 2.0))
            return twice - once

        assert torch.autograd.gradcheck(value_term, (values,))

    def test_perfect_values_leave_no_loss(self):
        scores, _ = scores_and_values()
        loss, losses = AACPolicyGradientLoss(delta=1.0)(make_batch(), (scores, torch.tensor(Q_VALS)[:, None]))
        assert loss.item() == 0
        assert float(losses["adv_m"]) == 0

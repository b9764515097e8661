"""The actor-critic network, agent and loss."""

import pytest
import torch
from torch import nn

from hw4 import rl_pg
from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from tests import toy
from tests.hw4.test_losses import ACTIONS, LOGITS, Q_VALS, by_hand

VALUES = (1.0, -1.0, 3.0)
ADVANTAGES = (3.0, -1.0, 4.0)
VALUE_LOSS = 26 / 3  # of the squares 9, 1 and 16


def logits_and_values(dtype=torch.float32):
    logits = torch.tensor(LOGITS, dtype=dtype, requires_grad=True)
    values = torch.tensor(VALUES, dtype=dtype)[:, None].requires_grad_()
    return logits, values


def make_net(in_features=8, out_actions=4, **changes):
    torch.manual_seed(0)
    return AACPolicyNet(in_features, out_actions, **toy.hyperparams(**changes)).eval()


class TestNet:
    def test_logits_and_values_of_a_batch(self):
        logits, values = make_net(hidden_layers=[16, 5])(torch.zeros(7, 8))
        assert logits.shape == (7, 4)
        assert values.shape == (7, 1)

    def test_logits_and_value_of_one_state(self):
        net, states = make_net(), torch.randn(3, 8)
        for of_all, of_one in zip(net(states), net(states[1]), strict=True):
            torch.testing.assert_close(of_all[1], of_one)

    def test_published_call(self):
        env = make_env()
        net = AACPolicyNet(env.observation_space.shape[0], env.action_space.n, **toy.hyperparams())
        assert [tuple(t.shape) for t in net(torch.zeros(1, 8))] == [(1, 4), (1, 1)]

    @pytest.mark.parametrize(("name", "sizes"), [("Beresheet-v2", (8, 4)), ("CartPole-v1", (4, 2))])
    def test_build_for_env(self, name, sizes):
        net = AACPolicyNet.build_for_env(make_env(name), "cpu", **toy.hyperparams())
        assert isinstance(net, AACPolicyNet)
        assert [tuple(t.shape) for t in net(torch.zeros(2, sizes[0]))] == [(2, sizes[1]), (2, 1)]

    def test_gradients_reach_every_parameter(self):
        net = make_net(3, 2, hidden_layers=[16])
        logits, values = net(torch.randn(32, 3))
        (logits.pow(2).sum() + values.pow(2).sum()).backward()
        assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.skipif(not hasattr(rl_pg, "build_mlp"), reason="another solution than the project's")
class TestOwnNet:
    def test_values_are_scaled_and_logits_are_not(self):
        once, scaled = make_net(), make_net(value_scale=10.0)
        (logits, values), (same_logits, scaled_values) = (net(torch.ones(5, 8)) for net in (once, scaled))
        assert torch.equal(logits, same_logits)
        assert torch.equal(10.0 * values, scaled_values)

    def test_actor_is_a_policy_nets_and_critic_of_the_same_kind(self):
        changes = {"hidden_layers": [5, 6], "activation": "tanh", "orthogonal": True, "initial_logits": [3.0, 0, 0, 0]}
        net = make_net(**changes)
        torch.manual_seed(0)
        actor = rl_pg.PolicyNet(8, 4, **toy.hyperparams(**changes))
        assert toy.same_weights(net.logits.state_dict(), actor.logits.state_dict())
        critic = list(net.values)
        assert [type(m) for m in critic] == [type(m) for m in actor.logits]
        assert [tuple(p.shape) for p in net.values.parameters()][-2:] == [(1, 6), (1,)]
        torch.testing.assert_close(critic[-1].weight.norm(), torch.tensor(1.0))
        assert not critic[0].bias.any()


class TestAgent:
    def test_distribution_is_the_softmax_of_the_logits(self):
        torch.manual_seed(1)
        net = toy.WithValues(nn.Linear(8, 4), 8)
        agent = AACPolicyAgent(make_env(), net)
        for _ in range(2):
            distribution = agent.current_action_distribution()
            state = agent.step().state.float()
            torch.testing.assert_close(distribution, torch.softmax(net(state[None])[0][0], dim=0))

    def test_plays_by_logits_whatever_the_values(self):
        net = toy.WithValues(toy.ConstantNet([-1000.0, 1000.0, 0.0]))
        agent = AACPolicyAgent(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        experiences = [agent.step() for _ in range(6)]
        assert {int(e.action) for e in experiences} == {1}
        assert [e.state.tolist() for e in experiences] == [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [1, 0]]


class TestLoss:
    @pytest.mark.parametrize("delta", [0.0, 0.5, 1.0, 4.0])
    def test_by_hand(self, delta):
        """The loss, what is reported, and the gradients; of the first term none may reach the values."""
        logits, values = logits_and_values()
        loss, losses = AACPolicyGradientLoss(delta=delta)(toy.make_batch(Q_VALS, ACTIONS), (logits, values))
        assert loss.item() == pytest.approx(by_hand(ADVANTAGES) + delta * VALUE_LOSS, rel=1e-5)
        assert float(losses["loss_p"]) == pytest.approx(by_hand(ADVANTAGES), rel=1e-5)
        assert float(losses["adv_m"]) == pytest.approx(2.0, rel=1e-5)
        loss.backward()
        pi, taken = torch.softmax(logits.detach(), 1), torch.eye(3)[list(ACTIONS)]
        torch.testing.assert_close(logits.grad, torch.tensor(ADVANTAGES)[:, None] * (pi - taken) / 3)
        expected = [-2 * delta * advantage / 3 for advantage in ADVANTAGES]
        torch.testing.assert_close(values.grad.flatten(), torch.tensor(expected))

    def test_parts_add_up(self):
        """loss_v is reported as it enters the sum, or before delta; with delta 1 both are the same."""
        batch = toy.make_batch(Q_VALS, ACTIONS)
        loss, losses = AACPolicyGradientLoss(delta=1.0)(batch, logits_and_values())
        assert float(losses["loss_v"]) == pytest.approx(VALUE_LOSS, rel=1e-5)
        assert loss.item() == pytest.approx(float(losses["loss_p"]) + float(losses["loss_v"]), rel=1e-5)

    def test_gradients_against_finite_differences(self):
        """Into the values, of delta * mean (v - q)^2 alone: the difference of two deltas takes the first term out."""
        logits, values = logits_and_values(torch.float64)
        batch = toy.make_batch(Q_VALS, ACTIONS, torch.float64)
        losses = [AACPolicyGradientLoss(delta=delta) for delta in (1.0, 2.0)]
        assert torch.autograd.gradcheck(lambda x: losses[0](batch, (x, values.detach()))[0], (logits,))
        assert torch.autograd.gradcheck(
            lambda v: losses[1](batch, (logits.detach(), v))[0] - losses[0](batch, (logits.detach(), v))[0], (values,)
        )

    def test_perfect_values_leave_no_loss(self):
        logits, _ = logits_and_values()
        batch = toy.make_batch(Q_VALS, ACTIONS)
        loss, losses = AACPolicyGradientLoss(delta=1.0)(batch, (logits, batch.q_vals[:, None]))
        assert loss.item() == 0
        assert float(losses["adv_m"]) == 0

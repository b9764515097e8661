"""The optimizer, what changes over a run, and the device."""

from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from torch import nn

from hw4.optim import choose_device, make_optimizer, make_schedule
from hw4.rl_pg import ActionEntropyLoss
from tests import toy

LEARNING = {"learn_rate": 0.02, "eps": 1e-8}


def two_heads():
    """An actor and a critic that share a layer."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.policy, self.value = nn.Linear(2, 4), nn.Linear(4, 3), nn.Linear(4, 1)

        def forward(self, states):
            hidden = torch.relu(self.trunk(states))
            return self.policy(hidden), self.value(hidden)

    return Net()


class TestOptimizer:
    @pytest.mark.parametrize(
        ("net", "of_the_critic"),
        [
            (toy.WithValues(nn.Linear(2, 3)), "values."),
            (two_heads(), "value."),
            (nn.Sequential(nn.Linear(2, 3), nn.Dropout()), None),
        ],
        ids=["two parts", "shared layer", "no critic"],
    )
    def test_weight_decay_shrinks_what_the_logits_are_made_of(self, net, of_the_critic):
        """Without a gradient Adam moves nothing, so that a weight w becomes w (1 - learning rate x decay)."""
        for parameter in net.parameters():
            nn.init.ones_(parameter)
        optimizer = make_optimizer(net, {**LEARNING, "weight_decay": 0.5}, 2)
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for name, parameter in net.named_parameters():
            is_critics = of_the_critic is not None and name.startswith(of_the_critic)
            torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, 1.0 if is_critics else 0.99))

    def test_leaves_the_network_as_it_was(self):
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        before = {name: value.clone() for name, value in net.state_dict().items()}
        make_optimizer(net, LEARNING, 2)
        assert net.training
        assert toy.same_weights(net.state_dict(), before)
        assert all(parameter.grad is None for parameter in net.parameters())

    def test_is_adam_without_weight_decay_unless_asked_for(self):
        net, same = nn.Linear(2, 3), nn.Linear(2, 3)
        same.load_state_dict(net.state_dict())
        ours, adam = make_optimizer(net, LEARNING, 2), torch.optim.Adam(same.parameters(), lr=0.02, eps=1e-8)
        for _ in range(3):
            for model, optimizer in ((net, ours), (same, adam)):
                optimizer.zero_grad()
                model(torch.ones(1, 2)).pow(2).sum().backward()
                optimizer.step()
        torch.testing.assert_close(net.weight, same.weight)


class TestSchedule:
    """By hand: learn_rate from 0.02 to a tenth of it, beta from 0.5 to 0."""

    HP = MappingProxyType({"learn_rate": 0.02, "beta": 0.5, "gamma": 0.9})

    @classmethod
    def at(cls, progress, **hp):
        actor, critic = ({"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2))
        optimizer, loader = torch.optim.Adam([actor, critic]), SimpleNamespace()
        entropy = ActionEntropyLoss(4, beta=1.0)
        make_schedule(optimizer, [nn.Identity(), entropy], loader, {**cls.HP, **hp})(progress)
        actor, critic = optimizer.param_groups
        assert (critic["lr"], critic["weight_decay"]) == (actor["lr"], 0)
        return actor["lr"], entropy.beta, loader.gamma, actor["weight_decay"]

    @pytest.mark.parametrize(
        ("progress", "learn_rate", "beta"),
        [(0.0, 0.02, 0.5), (0.25, 0.0155, 0.5), (0.5, 0.011, 0.5), (1.0, 0.002, 0.0)],
    )
    def test_goes_linearly_from_point_to_point(self, progress, learn_rate, beta):
        schedules = {"learn_rate_schedule": [[0, 0.02], [1, 0.002]], "beta_schedule": [[0, 0.5], [0.5, 0.5], [1, 0]]}
        assert self.at(progress, **schedules)[:2] == pytest.approx((learn_rate, beta))

    @pytest.mark.parametrize(("progress", "beta"), [(0.499, 0.5), (0.5, 0.0), (0.501, 0.0)])
    def test_two_points_at_one_fraction_make_a_step(self, progress, beta):
        assert self.at(progress, beta_schedule=[[0, 0.5], [0.5, 0.5], [0.5, 0], [1, 0]])[1] == beta

    def test_gamma_and_the_actors_weight_decay_may_change(self):
        schedules = {
            "gamma_schedule": [[0, 0.9], [0.5, 0.9], [1, 1.0]],
            "weight_decay_schedule": [[0, 0.2], [0.75, 0.1]],
        }
        assert self.at(0.75, weight_decay=0.2, **schedules) == pytest.approx((0.02, 0.5, 0.95, 0.1))

    def test_without_schedules_nothing_changes(self):
        assert self.at(0.7, weight_decay=0.1) == (0.02, 0.5, 0.9, 0.1)

    def test_adam_forgets_once_at_its_restart(self):
        """One parameter, gradients 100, then 1 from the restart on: Adam's first step is the whole learning rate."""
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.1)
        hp = {**self.HP, "learn_rate": 0.1, "adam_restart": 0.5}
        set_all = make_schedule(optimizer, [], SimpleNamespace(), hp)
        steps = []
        for fraction, gradient in zip([0.0, 0.25, 0.5, 0.75], [100.0, 1.0, 1.0, 1.0], strict=True):
            if fraction == 0.75:  # as if resumed from a checkpoint
                optimizer.load_state_dict(optimizer.state_dict())
            set_all(fraction)
            before, weight.grad = weight.item(), torch.tensor([gradient])
            optimizer.step()
            steps.append(before - weight.item())
            assert optimizer.state[weight]["step"] == (1 if fraction in (0.0, 0.5) else 2)
        assert steps[1] < 0.08  # the gradient of 100 is remembered
        assert steps[2:] == pytest.approx([0.1, 0.1])


class TestDevice:
    @pytest.mark.parametrize(
        ("name", "has_cuda", "device"),
        [
            ("cpu", True, "cpu"),
            ("cpu", False, "cpu"),
            ("cuda", True, "cuda"),
            ("auto", True, "cuda"),
            ("auto", False, "cpu"),
        ],
    )
    def test_names(self, name, has_cuda, device, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
        assert choose_device(name) == torch.device(device)

    def test_cuda_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ValueError, match="device cuda was asked for"):
            choose_device("cuda")

    @pytest.mark.parametrize("name", ["tpu", "", "cuda:x"])
    def test_no_such_device(self, name):
        with pytest.raises(ValueError, match="device must be auto, cpu or cuda"):
            choose_device(name)

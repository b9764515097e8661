"""The optimizer, what changes over a run, and the device."""

from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from torch import nn

from hw4.optim import choose_device, make_optimizer, make_schedule
from hw4.rl_pg import ActionEntropyLoss

LEARNING = {"learn_rate": 0.02, "eps": 1e-8}


class TestOptimizer:
    def test_is_adam(self):
        net, same = nn.Linear(2, 3), nn.Linear(2, 3)
        same.load_state_dict(net.state_dict())
        ours, adam = make_optimizer(net, LEARNING), torch.optim.Adam(same.parameters(), lr=0.02, eps=1e-8)
        for _ in range(3):
            for model, optimizer in ((net, ours), (same, adam)):
                optimizer.zero_grad()
                model(torch.ones(1, 2)).pow(2).sum().backward()
                optimizer.step()
        torch.testing.assert_close(net.weight, same.weight)


class TestSchedule:
    """By hand: the learning rate from 0.02 to a tenth of it, beta from 0.5 to -0.1, gamma from 0.9 to 1."""

    HP = MappingProxyType({"learn_rate": 0.02, "beta": 0.5, "gamma": 0.9})

    @classmethod
    def at(cls, progress, **hp):
        actor, critic = ({"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2))
        optimizer, entropy, loader = (
            torch.optim.Adam([actor, critic]),
            ActionEntropyLoss(4, beta=1.0),
            SimpleNamespace(),
        )
        make_schedule(optimizer, [nn.Identity(), entropy], loader, {**cls.HP, **hp})(progress)
        actor, critic = optimizer.param_groups
        assert critic["lr"] == actor["lr"]
        return actor["lr"], entropy.beta, loader.gamma

    @pytest.mark.parametrize(
        ("progress", "expected"),
        [
            (0.0, (0.02, 0.5, 0.9)),
            (0.25, (0.0155, 0.35, 0.925)),
            (0.5, (0.011, 0.2, 0.95)),
            (1.0, (0.002, -0.1, 1.0)),
        ],
    )
    def test_straight_lines(self, progress, expected):
        assert self.at(progress, learn_rate_end=0.002, beta_end=-0.1, gamma_end=1.0) == pytest.approx(expected)

    def test_what_has_no_end_stays(self):
        assert self.at(0.7) == (0.02, 0.5, 0.9)


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

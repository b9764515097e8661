"""One update, on a batch small enough for pencil and paper."""

import math

import pytest
import torch
from torch import nn

from hw4.optim import make_optimizer
from hw4.rl_ac import AACPolicyGradientLoss
from hw4.rl_data import TrainBatch
from hw4.rl_pg import PolicyTrainer
from hw4.study import lesson, lesson_update

RATE = 0.1


class SameEverywhere(nn.Module):
    """A policy and a value that do not depend on the state: uniform over four actions, and 2."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4))
        self.value = nn.Parameter(torch.tensor([2.0]))

    def forward(self, states):
        ones = torch.ones(len(states), 1)
        return ones * self.logits, ones * self.value


def test_one_update_by_hand():
    """The gradient is -1/2 for the first action's logit, 1/2 for the second's, and 0 for the others.

    Adam's first step has the learning rate's length, whatever the gradient's is. So the first logit becomes 0.1 and the
    second -0.1, and the logarithm of the softmax's denominator is as follows.
    """
    net = SameEverywhere()
    optimizer = make_optimizer(net, {"learn_rate": RATE, "eps": 1e-6})
    batch = TrainBatch(torch.zeros(2, 8), torch.tensor([0, 1]), torch.tensor([3.0, 1.0]), torch.tensor([4.0]))
    update = lesson_update.learn(PolicyTrainer(net, optimizer, AACPolicyGradientLoss(0.5), []), batch)
    assert update.weights.tolist() == [1.0, -1.0]
    denominator = math.log((math.exp(RATE) + math.exp(-RATE) + 2) / 4)
    assert update.changes.tolist() == pytest.approx([RATE - denominator, -RATE - denominator], abs=1e-5)
    assert str(update) == (
        "more likely after the update: 100% of the steps with a weight above 0, 0% of the others; "
        "mean of weight times change: +0.10"
    )


def test_the_committed_run_is_left_as_it_is():
    run = lesson.load()
    stage = run.stages[1]
    before = {name: tensor.clone() for name, tensor in stage.p_net.state_dict().items()}
    update = lesson_update.update_at(stage, {**run.hyperparams, "batch_size": 2}, seed=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.p_net.state_dict().items())
    assert len(update.states) == len(update.actions) == len(update.weights) == len(update.changes)

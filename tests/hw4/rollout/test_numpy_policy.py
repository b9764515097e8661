"""A network's logits in NumPy: the network's own, row by row, where this can be proved and nowhere else."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from hw4.rl_ac import AACPolicyNet
from hw4.rl_pg import PolicyNet
from hw4.rollout.numpy_policy import NumpyPolicy, eval_mode
from tests import toy


def mlp(*hidden_layers, activation=nn.ReLU, bias=True):
    """A network from 8 features to 4 actions."""
    torch.manual_seed(0)
    sizes = [8, *hidden_layers, 4]
    layers = [layer for n, m in itertools.pairwise(sizes) for layer in (nn.Linear(n, m, bias=bias), activation())]
    return nn.Sequential(*layers[:-1])


def states_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)


def logits_of(net, states):
    return NumpyPolicy(net).logits()(states)


class Nested(nn.Module):
    """A chain whose parts are in several places, one of them twice; its second output is made of the same trunk."""

    def __init__(self):
        super().__init__()
        self.trunk, self.square = nn.Sequential(nn.Linear(8, 5), nn.Tanh()), nn.Linear(5, 5)
        self.heads = nn.ModuleDict({"pi": nn.Linear(5, 4), "v": nn.Linear(5, 1)})

    def forward(self, states):
        hidden = self.square(self.square(self.trunk(states)))
        return self.heads["pi"](hidden), self.heads["v"](hidden)


class TestLogits:
    @pytest.mark.parametrize("hidden_layers", [(), (128,), (64, 64), (512, 256)])
    def test_of_a_row_are_the_same_bits_whatever_stands_beside_it(self, hidden_layers):
        logits, states = NumpyPolicy(mlp(*hidden_layers)).logits(), states_of(9)
        alone = np.concatenate([logits(state[None]) for state in states])
        for start, stop in itertools.combinations(range(10), 2):
            assert np.array_equal(logits(states[start:stop]), alone[start:stop])

    @pytest.mark.parametrize(
        "net",
        [mlp(), mlp(32, 16), mlp(16, activation=nn.Tanh), mlp(8, bias=False), nn.Linear(8, 4), Nested()],
        ids=["no layer", "two layers", "tanh", "no bias", "linear", "nested"],
    )
    def test_are_the_networks(self, net):
        states = states_of(50)
        before = states.copy()
        output = net(torch.from_numpy(states))
        expected = output[0] if isinstance(output, tuple) else output
        np.testing.assert_allclose(logits_of(net, states), expected.detach(), atol=1e-5)
        assert np.array_equal(states, before)

    @pytest.mark.parametrize("net_type", [PolicyNet, AACPolicyNet])
    def test_of_the_projects_networks(self, net_type):
        torch.manual_seed(0)
        net, states = net_type(8, 4, **toy.hyperparams()).eval(), states_of(20)
        policy = NumpyPolicy(net)
        if policy.exists:  # a student's may be of another kind
            output = net(torch.from_numpy(states))
            expected = output[0] if isinstance(output, tuple) else output
            np.testing.assert_allclose(policy.logits()(states), expected.detach(), atol=1e-5)

    @pytest.mark.parametrize("change", ["in place", "data", "parameter", "state dict", "optimizer"])
    def test_follow_the_parameters(self, change):
        """Those that are asked for after a change; those from before stay as they were."""
        net = mlp(16)
        layer, states, bias = net[-1], states_of(1), torch.arange(4.0)
        policy = NumpyPolicy(net)
        before, old_bias = policy.logits(), layer.bias.detach().numpy().copy()
        expected = before(states)
        if change == "in place":
            with torch.no_grad():
                layer.bias.copy_(bias)
        elif change == "data":
            layer.bias.data = bias
        elif change == "parameter":
            layer.bias = nn.Parameter(bias)
        elif change == "state dict":
            layer.load_state_dict({"weight": layer.weight.detach(), "bias": bias})
        else:
            optimizer = torch.optim.SGD([layer.bias], lr=1.0)
            layer.bias.grad = layer.bias.detach() - bias
            optimizer.step()
        assert np.array_equal(before(states), expected)
        np.testing.assert_allclose(policy.logits()(states), expected - old_bias + bias.numpy(), atol=1e-5)


class Clamped(nn.Linear):
    def forward(self, states):
        return super().forward(states).clamp(-1, 1)


class CallsOtherwise(nn.Sequential):
    def __call__(self, states):
        return -super().__call__(states)


class Written(nn.Module):
    """A chain with something beside it: `then` is given the network and what its first layer made of the states."""

    def __init__(self, then):
        super().__init__()
        self.first, self.relu, self.last, self.then = nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4), then

    def forward(self, states):
        return self.then(self, self.first(states))


def then_in_place(net, hidden):
    logits = net.last(net.relu(hidden))
    hidden.relu_()
    return logits


def with_hook(net):
    net[0].register_forward_hook(lambda module, inputs, output: -output)
    return net


def with_pre_hook(net):
    net[2].register_forward_pre_hook(lambda module, inputs: (-inputs[0],))
    return net


def with_own_forward(net):
    net[1].forward = torch.sigmoid
    return net


REFUSED = {
    "empty": lambda: nn.Sequential(),
    "begins with an activation": lambda: nn.Sequential(nn.ReLU(), nn.Linear(8, 4)),
    "another activation": lambda: mlp(5, activation=nn.Sigmoid),
    "activation in place": lambda: nn.Sequential(nn.Linear(8, 5), nn.ReLU(inplace=True), nn.Linear(5, 4)),
    "dropout": lambda: toy.with_dropout(8, 4),
    "float64": lambda: mlp(5).double(),
    "two inputs": lambda: nn.Bilinear(8, 8, 4),
    "subclass of a layer": lambda: nn.Sequential(Clamped(8, 4)),
    "a layer's subclass as a whole": lambda: Clamped(8, 4),
    "call of its own": lambda: CallsOtherwise(nn.Linear(8, 4)),
    "weight norm": lambda: nn.Sequential(weight_norm(nn.Linear(8, 4))),
    "hook": lambda: with_hook(mlp(5)),
    "hook before": lambda: with_pre_hook(mlp(5)),
    "forward of its own": lambda: with_own_forward(mlp(5)),
    "functional": lambda: toy.Functional(8, 4),
    "LSTM": lambda: toy.Recurrent(8, 4),
    "temperature": lambda: toy.TemperatureNet(8, 4),
    "skip connection": lambda: Written(lambda net, hidden: net.last(net.relu(hidden) + hidden)),
    "scaled": lambda: Written(lambda net, hidden: net.last(net.relu(hidden)) / 2),
    "changed in place": lambda: Written(then_in_place),
    "dict": lambda: Written(lambda net, hidden: {"logits": net.last(hidden)}),
    "branches": lambda: Written(lambda net, hidden: net.last(hidden) if hidden.sum() > 0 else -net.last(hidden)),
    "constant": lambda: toy.ConstantNet([1.0, 2.0]),
}


class TestRefuses:
    @pytest.mark.parametrize("kind", REFUSED)
    def test_what_it_cannot_prove(self, kind):
        assert NumpyPolicy(REFUSED[kind]()).logits() is None

    @pytest.mark.parametrize(
        "change",
        [
            with_hook,
            with_pre_hook,
            with_own_forward,
            lambda net: net.double(),
            lambda net: net.append(nn.Linear(4, 4)),
            lambda net: net.__setitem__(1, nn.Tanh()),
            lambda net: net.insert(2, nn.Dropout()),
            lambda net: setattr(net, "forward", lambda states: states[:, :4]),
        ],
        ids=["hook", "pre-hook", "forward", "dtype", "longer", "other module", "dropout", "whole forward"],
    )
    def test_what_was_changed_since(self, change):
        net = mlp(5)
        policy = NumpyPolicy(net)
        assert policy.logits() is not None
        change(net)
        assert policy.logits() is None

    def test_while_there_is_a_hook_on_all_modules(self):
        policy = NumpyPolicy(mlp(5))
        hook = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None)
        try:
            assert policy.logits() is None
        finally:
            hook.remove()
        assert policy.logits() is not None


def test_eval_mode_is_given_up_afterwards_part_by_part():
    net = toy.with_dropout(2, 2)
    net[1].eval()
    with eval_mode(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == [True, True, False, True, True]

"""A small network's logits in NumPy.

A policy is asked for a few states at a time, 300 times an episode. For networks of this size PyTorch's bookkeeping
costs more than the simulator; NumPy computes the same products in a tenth of the time. Products are taken row by row.
As one matrix, their rounding might change with its size, and a state's logits would depend on the states beside it.

It is done only where it is provably the same: tracing (torch.fx) shows the logits to be a chain of Linear, ReLU and
Tanh modules, and nothing is attached to the network that could change what they compute.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import fx, nn

Logits = Callable[[Float32[np.ndarray, "G O"]], Float32[np.ndarray, "G A"]]

ACTIVATIONS: dict[type[nn.Module], Callable[[np.ndarray], np.ndarray]] = {
    nn.ReLU: lambda x: np.maximum(x, 0.0, out=x),
    nn.Tanh: lambda x: np.tanh(x, out=x),
}


class NumpyPolicy:
    """What computes a network's logits in NumPy, as long as that is the same.

    :param p_net: maps states (N, O) to logits (N, A), or to a tuple that begins with them.
    """

    def __init__(self, p_net: nn.Module):
        self.p_net = p_net
        self._modules = list(p_net.modules())
        self._chain = _trace_chain(p_net)

    @property
    def exists(self) -> bool:
        """Whether the network is of the kind whose logits are computed here."""
        return self._chain is not None

    def logits(self) -> Logits | None:
        """A function from states (G, O) to logits (G, A), each row by itself, with the parameters as they are now.

        None where the network is of another kind, or was changed since it was traced.
        """
        if self._chain is None or not self._is_as_traced():
            return None
        steps = [_linear(layer) if type(layer) is nn.Linear else ACTIVATIONS[type(layer)] for layer in self._chain]

        def logits(states: np.ndarray) -> np.ndarray:
            x = states[:, None, :]  # (G, 1, O): a stack of rows, each multiplied alone
            for step in steps:
                x = step(x)
            return x[:, 0, :]

        return logits

    def _is_as_traced(self) -> bool:
        modules = list(self.p_net.modules())
        return (
            len(modules) == len(self._modules)
            and all(module is traced for module, traced in zip(modules, self._modules, strict=True))
            and not any(_has_extras(module) for module in modules)
            and not nn.modules.module._has_any_global_hook()
            and all(p.device.type == "cpu" and p.dtype == torch.float32 for p in self.p_net.parameters())
        )


def _has_extras(module: nn.Module) -> bool:
    """Whether something runs with the module's forward, or in its place, that tracing does not see."""
    return bool(module._forward_hooks or module._forward_pre_hooks or {"forward", "__call__"} & vars(module).keys())


class _Tracer(fx.Tracer):
    def create_args_for_root(self, root_fn: Any, *args: Any, **kwargs: Any) -> Any:
        # An annotation checker around forward, as in the tests, takes tensors and no tracer's stand-ins.
        return super().create_args_for_root(inspect.unwrap(root_fn), *args, **kwargs)


def _trace_chain(p_net: nn.Module) -> list[nn.Module] | None:
    """The modules that turn states into logits, one after the other; None if that is not all that happens."""
    if type(p_net) is nn.Linear:  # fx takes it as a whole
        return [p_net]
    if type(p_net).__call__ is not nn.Module.__call__:
        return None
    try:
        with eval_mode(p_net):
            graph = _Tracer().trace(p_net)
    except Exception:  # a forward that fx cannot follow can fail in any way
        return None
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    node = output[0] if isinstance(output, tuple) and output else output
    layers: list[nn.Module] = []
    while _is_plain(p_net, node):
        layers.insert(0, p_net.get_submodule(node.target))
        node = node.args[0]
        # Nothing that could change a tensor in place may have it.
        if not all(user.op == "output" or _is_plain(p_net, user) for user in node.users):
            return None
    # Activations write into what they are given, which must not be the states.
    begins_well = isinstance(node, fx.Node) and node.op == "placeholder" and layers and type(layers[0]) is nn.Linear
    return layers if begins_well else None


def _is_plain(p_net: nn.Module, node: Any) -> bool:
    """Whether a step of the graph is a module of the known kinds, applied to one tensor."""
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return False
    module = p_net.get_submodule(str(node.target))
    return type(module) in (nn.Linear, *ACTIVATIONS) and not getattr(module, "inplace", False)


@contextlib.contextmanager
def eval_mode(p_net: nn.Module) -> Iterator[None]:
    """Have a network and all its parts in eval mode, inside."""
    modes = {module: module.training for module in p_net.modules()}
    p_net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _linear(layer: Any) -> Callable[[np.ndarray], np.ndarray]:
    weight = layer.weight.detach().numpy().T.copy()
    bias = np.zeros(layer.out_features, np.float32) if layer.bias is None else layer.bias.detach().numpy().copy()

    def linear(x: np.ndarray) -> np.ndarray:
        y = np.matmul(x, weight)
        y += bias
        return y

    return linear

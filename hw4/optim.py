"""The optimizer, what changes over a run, and the device that learns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from hw4.rl_pg import ActionEntropyLoss
from hw4.rollout.numpy_policy import eval_mode


def make_optimizer(p_net: nn.Module, hp: Mapping[str, Any], n_observations: int) -> torch.optim.Optimizer:
    """Adam. Where there is a `weight_decay`, the actor's weights shrink by that times the learning rate at each update.

    That is decoupled weight decay (Loshchilov & Hutter, 2019). A critic is left out: its values are in the hundreds,
    while an actor's logits are to stay so small that no action's probability is gone for good.
    """
    parameters = list(p_net.parameters())
    with eval_mode(p_net):
        output = p_net(torch.ones(1, n_observations, device=parameters[0].device))
    logits = output[0] if isinstance(output, tuple) else output
    gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    actor = [parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
    critic = [parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    groups = [{"params": actor, "weight_decay": hp.get("weight_decay", 0.0)}, {"params": critic}]
    return torch.optim.Adam(
        groups if critic else groups[:1],
        lr=hp["learn_rate"],
        eps=hp["eps"],
        fused=True,
        decoupled_weight_decay=True,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, loss_fns: Sequence[nn.Module], loader: Any, hp: Mapping[str, Any]
) -> Callable[[float], None]:
    """What changes over a run, by the fraction of it that is done: the learning rate, weight decay, beta and gamma.

    Each goes linearly from point to point of its `..._schedule`, a list of (fraction of the run, value), where there is
    one. Two points at one fraction make a step. At the fraction `adam_restart`, Adam forgets the gradients that it has
    seen: its second moment remembers a thousand updates, which is longer than a run, so that the large gradients of the
    first crashes would keep all steps small.
    """

    def at(name: str, progress: float) -> float:
        fractions, values = zip(*hp.get(f"{name}_schedule") or [(0, hp.get(name, 0.0))], strict=True)
        return float(np.interp(progress, fractions, values))

    def set_all(progress: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = at("learn_rate", progress)
        first_group = optimizer.param_groups[0]  # the actor's; a checkpoint keeps what is written there
        first_group["weight_decay"] = at("weight_decay", progress)
        if progress >= hp.get("adam_restart", np.inf) and not first_group.get("restarted"):
            optimizer.state.clear()
            first_group["restarted"] = True
        for loss in loss_fns:
            if isinstance(loss, ActionEntropyLoss):
                loss.beta = at("beta", progress)
        loader.gamma = at("gamma", progress)

    return set_all


def choose_device(name: str) -> torch.device:
    """The device that "cpu", "cuda" or "auto" names here; ValueError if it is none of these, or CUDA and not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but PyTorch finds none here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")

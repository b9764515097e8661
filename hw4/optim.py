"""The optimizer, what changes over a run, and the device that learns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hw4.rl_pg import ActionEntropyLoss


def make_optimizer(p_net: nn.Module, hp: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Adam, by the hyperparameters `learn_rate` and `eps`."""
    return torch.optim.Adam(p_net.parameters(), lr=hp["learn_rate"], eps=hp["eps"], fused=True)


def make_schedule(
    optimizer: torch.optim.Optimizer, loss_fns: Sequence[nn.Module], loader: Any, hp: Mapping[str, Any]
) -> Callable[[float], None]:
    """What sets the learning rate, beta and gamma by the fraction of the run that is done: on straight lines.

    The lines go from `learn_rate` to `learn_rate_end`, and so on. What has no end stays as it is.

    :param loader: has the discount of its batches as `gamma`.
    """

    def at(name: str, progress: float) -> float:
        return hp[name] + progress * (hp.get(f"{name}_end", hp[name]) - hp[name])

    def set_all(progress: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = at("learn_rate", progress)
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

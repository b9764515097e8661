"""Short trainings, what makes them equal, and what interrupts them."""

from types import MappingProxyType

import torch.multiprocessing as mp

from hw4.experiments import train_config
from tests import toy
from tests.toy import same_weights

HP = toy.hyperparams()
WORKERS = [1, 2] if "fork" in mp.get_all_start_methods() else []
SHORT = MappingProxyType({"hp": HP, "seed": 1, "num_workers": 0, "max_episodes": 6})


def short_training(name="cpg", **kwargs):
    return train_config(name, **{**SHORT, "max_episodes": 9, **kwargs})


def same_training(data, other):
    lists = [{k: v for k, v in d.items() if k != "model_state"} for d in (data, other)]
    return lists[0] == lists[1] and same_weights(data["model_state"], other["model_state"])


class InterruptAt:
    """A post_batch_fn that presses Ctrl-C after a batch."""

    def __init__(self, batch_idx):
        self.batch_idx = batch_idx

    def __call__(self, batch_idx, p_net, batch, final=False):
        if batch_idx == self.batch_idx:
            raise KeyboardInterrupt


def interrupted_at_once(*_args, **_kwargs):
    raise KeyboardInterrupt

"""One update, seen: how a batch weights each of its steps, and what the update then does to each."""

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hw4.experiments import MAX_EPISODES, N_ACTIONS
from hw4.optim import make_optimizer, make_schedule
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss
from hw4.rl_data import TrainBatch
from hw4.rl_pg import ActionEntropyLoss, PolicyTrainer
from hw4.rollout.collect import torch_threads
from hw4.study.evaluation import fresh_flights
from hw4.study.lesson import Stage


class Update(NamedTuple):
    """A batch of N steps, and what an update that learned from it did to each.

    :param weights: the advantages q - v, by which log pi(a|s) is weighted.
    :param changes: log pi(a|s) of the action taken, after the update less before it.
    """

    states: Float[Tensor, "N O"]
    actions: Int[Tensor, " N"]
    weights: Float[Tensor, " N"]
    changes: Float[Tensor, " N"]

    def more_likely(self, positive: bool) -> float:
        """The fraction of the steps with a positive weight, or of the others, that the update made more likely."""
        return float((self.changes[(self.weights > 0) == positive] > 0).float().mean())

    def gain(self) -> float:
        """The mean of weight times change: what the update did for the policy's loss, which falls by as much."""
        return float((self.weights * self.changes).mean())

    def __str__(self) -> str:
        """What the update did, as a sentence."""
        above, below = self.more_likely(True), self.more_likely(False)
        return (
            f"more likely after the update: {above:.0%} of the steps with a weight above 0, {below:.0%} of the others; "
            f"mean of weight times change: {self.gain():+.2f}"
        )


def update_at(stage: Stage, hp: Mapping[str, Any], seed: int) -> Update:
    """Play a batch by the policy of a stage, and learn from it once.

    :param hp: the run's hyperparameters. What changes over a run is as it was at the stage.
    :param seed: of the episodes.
    """
    flights = fresh_flights(AACPolicyAgent, stage.p_net, hp.get("action_repeat", 1), hp["batch_size"], seed)
    progress = stage.episodes / MAX_EPISODES
    p_net = copy.deepcopy(stage.p_net)
    losses = [AACPolicyGradientLoss(hp["delta"]), ActionEntropyLoss(N_ACTIONS, hp["beta"])]
    optimizer, discount = make_optimizer(p_net, hp), SimpleNamespace()
    make_schedule(optimizer, losses, discount, hp)(progress)
    batch = TrainBatch.from_episodes([flight.episode for flight in flights], discount.gamma)
    with torch_threads(1):  # the batch is small
        return learn(PolicyTrainer(p_net, optimizer, losses, []), batch)


def learn(trainer: PolicyTrainer, batch: TrainBatch) -> Update:
    """Have a trainer take one step on a batch.

    :param trainer: its network gives logits and values, as an AACPolicyNet does; it is changed in place.
    """
    before, values = _look(trainer.model, batch)
    weights = batch.q_vals - values
    trainer.train_batch(batch)
    after, _ = _look(trainer.model, batch)
    return Update(batch.states, batch.actions, weights, after - before)


@torch.no_grad()
def _look(p_net: nn.Module, batch: TrainBatch) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """The log pi(a|s) of a batch's steps, and v(s)."""
    logits, values = p_net(batch.states)
    log_pi = torch.log_softmax(logits, dim=1)
    return log_pi.gather(1, batch.actions[:, None]).squeeze(1), values.squeeze(1)

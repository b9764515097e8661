"""Advantage actor-critic: the policy gradient with a learned baseline v(s), a value for each state.

It differs from `rl_pg` in three places: the network also estimates v(s); the agent ignores that estimate; the loss
weights log pi(a|s) by the advantage q - v, and fits v to q.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hw4.rl_data import TrainBatch
from hw4.rl_pg import PolicyAgent, PolicyNet, action_log_probs, build_mlp


class AACPolicyNet(PolicyNet):
    """An actor, which gives logits as a PolicyNet does, and beside it a critic, an MLP of the same size, for v(s).

    They share no layer: the critic's errors are large at first, and would move the policy.

    :param value_scale: factor on the critic's output. Adam moves each weight by about the learning rate, however large
        the error is, so values in the hundreds would take it hundreds of steps.
    :param of_the_actor: as PolicyNet's.
    """

    def __init__(
        self,
        in_features: int,
        out_actions: int,
        *,
        hidden_layers: Sequence[int],
        activation: str = "relu",
        orthogonal: bool = False,
        value_scale: float = 1.0,
        **of_the_actor: Any,
    ):
        shared: dict[str, Any] = {"hidden_layers": hidden_layers, "activation": activation, "orthogonal": orthogonal}
        super().__init__(in_features, out_actions, **shared, **of_the_actor)
        self.values = build_mlp(in_features, 1, **shared)
        self.value_scale = value_scale

    def forward(  # type: ignore[override]
        self, states: Float[Tensor, "*N O"]
    ) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N 1"]]:
        """Logits of pi(a|s), and the states' values v(s)."""
        return self.logits(states), self.value_scale * self.values(states)


class AACPolicyAgent(PolicyAgent):
    """Plays by an AACPolicyNet, whose first output are the logits."""

    def current_action_distribution(self) -> Float[Tensor, " A"]:
        """Probabilities pi(.|s) of the actions in the current state."""
        with torch.no_grad():
            logits, _ = self.p_net(self.current_state())
            return torch.softmax(logits, dim=-1)


class AACPolicyGradientLoss(nn.Module):
    """L = -(1/N) sum (q - v) log pi(a|s) + delta (1/N) sum (v - q)^2.

    In the first term q - v is a constant weight. It must teach the actor what was better than expected, and not the
    critic to expect what makes the loss small (Sutton & Barto, section 13.4; Mnih et al., 2016).

    :param delta: the weight of the critic's term, 0 or more.
    """

    def __init__(self, delta: float):
        super().__init__()
        self.delta = delta

    def forward(
        self, batch: TrainBatch, model_output: tuple[Float[Tensor, "N A"], Float[Tensor, "N 1"]]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss, and {"loss_p": its first term, "loss_v": its second term, "adv_m": the mean of q - v}."""
        logits, values = model_output
        v = values.squeeze(dim=1)
        advantages = batch.q_vals - v.detach()
        loss_p = -(advantages * action_log_probs(batch, logits)).mean()
        loss_v = self.delta * ((v - batch.q_vals) ** 2).mean()
        return loss_p + loss_v, {"loss_p": loss_p.item(), "loss_v": loss_v.item(), "adv_m": advantages.mean().item()}

"""Advantage actor-critic: the policy gradient with a baseline that is learned, v(s), a value for each state.

It differs from `rl_pg` in three places: the network also estimates v(s); the agent ignores that estimate; the loss
weighs log pi(a|s) by the advantage q - v, and fits v to q.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from hw4.exercise import exercise
from hw4.rl_data import TrainBatch
from hw4.rl_pg import PolicyAgent, PolicyNet, action_log_probs, build_mlp, check_weight, policy_loss


class AACPolicyNet(PolicyNet):
    """An actor, which scores actions as a PolicyNet does, and beside it a critic, an MLP of the same size, for v(s).

    Separate networks: with a shared one, the critic's errors, which are large at first, would move the policy.

    :param value_scale: what the critic's output is multiplied by. Adam moves each weight by about the learning rate,
        however large the error is, so that values in the hundreds would take it hundreds of steps.
    """

    @exercise(
        "Make the actor as PolicyNet does, as self.scores if you want its speed, and the critic: a part of its own, or "
        "one that shares layers with the actor."
    )
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
        super().__init__(
            in_features,
            out_actions,
            hidden_layers=hidden_layers,
            activation=activation,
            orthogonal=orthogonal,
            **of_the_actor,
        )
        self.values = build_mlp(in_features, 1, hidden_layers, activation, orthogonal)
        self.value_scale = value_scale

    @exercise("Return scores and values; a state's value keeps an axis of length 1.")
    def forward(  # type: ignore[override]
        self, states: Float[Tensor, "*N O"]
    ) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N 1"]]:
        """Scores whose softmax is pi(a|s), and the states' values v(s)."""
        return self.scores(states), self.value_scale * self.values(states)

    def scoring_chain(self) -> nn.Sequential | None:
        """As a PolicyNet's: the actor alone, for to act takes no values."""
        return self.scores if type(self).forward is AACPolicyNet.forward else None


class AACPolicyAgent(PolicyAgent):
    """Plays by an AACPolicyNet, whose first output are the scores."""

    @exercise("As PolicyAgent's, but this network returns values too.")
    def current_action_distribution(self) -> Float32[Tensor, " A"]:
        """Probabilities pi(.|s) of the actions in the current state."""
        with torch.no_grad():
            scores, _ = self.p_net(self.current_state())
            return torch.softmax(scores, dim=-1)


class AACPolicyGradientLoss(nn.Module):
    """L = -(1/N) sum (q - v) log pi(a|s) + delta (1/N) sum (v - q)^2.

    The first term takes q - v as a constant weight: it must teach the actor what was better than expected, and not the
    critic to expect what makes the loss small (Sutton & Barto, section 13.5; Mnih et al., 2016).

    :param delta: the weight of the critic's term, 0 or more.
    """

    def __init__(self, delta: float):
        super().__init__()
        check_weight("delta", delta)
        self.delta = delta

    @exercise(
        "Write the formula above, with the help of policy_loss and action_log_probs; no gradient of its first term "
        "may reach the values. Refuse values that are not one for each experience with a ValueError."
    )
    def forward(
        self, batch: TrainBatch, model_output: tuple[Float[Tensor, "N A"], Float[Tensor, "N 1"]]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss, and {"loss_p": its first term, "loss_v": its second term, "adv_m": the mean of q - v}.

        :raises ValueError: if there is not one value for each experience.
        """
        action_scores, state_values = model_output
        if state_values.shape != (len(batch), 1):
            raise ValueError(f"values must be (N, 1) with N={len(batch)}, got shape {tuple(state_values.shape)}")
        v = state_values.squeeze(dim=1)
        advantages = batch.q_vals - v.detach()
        loss_p = policy_loss(advantages, action_log_probs(batch, action_scores))
        loss_v = self.delta * nn.functional.mse_loss(v, batch.q_vals)
        return loss_p + loss_v, {"loss_p": loss_p.item(), "loss_v": loss_v.item(), "adv_m": advantages.mean().item()}

"""The three policy-gradient losses: closed forms, gradients, and what they report."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from hw4.rl_pg import ActionEntropyLoss, BaselinePolicyGradientLoss, VanillaPolicyGradientLoss
from tests.toy import make_batch

LOGITS = ((0.5, -1.0, 2.0), (0.0, 0.0, 0.0), (3.0, 1.0, -2.0))
ACTIONS = (2, 0, 1)
Q_VALS = (4.0, -2.0, 7.0)


def log_pi(logits, action):
    """The log-probability of an action, from its definition, in Python's floats."""
    return math.log(math.exp(logits[action]) / sum(map(math.exp, logits)))


def by_hand(weights):
    """-(1/N) sum weight log pi(a|s)."""
    return -sum(w * log_pi(*row) for w, *row in zip(weights, LOGITS, ACTIONS, strict=True)) / len(weights)


def test_shapes_are_checked_in_this_run():
    """The hook of conftest.py is live: logits of one dimension are none for a batch."""
    with pytest.raises(TypeCheckError):
        VanillaPolicyGradientLoss()(make_batch([1.0, 2.0], [0, 1]), torch.zeros(4))


class TestPolicyGradientLosses:
    @pytest.mark.parametrize(
        ("loss_fn", "weights", "reported"),
        [
            (VanillaPolicyGradientLoss(), Q_VALS, {}),
            (BaselinePolicyGradientLoss(), [q - 3.0 for q in Q_VALS], {"baseline": 3.0}),
        ],
        ids=["vanilla", "baseline"],
    )
    def test_by_hand(self, loss_fn, weights, reported):
        """The loss; its gradient, weight (pi - one-hot of the action) / N; and what is reported."""
        logits = torch.tensor(LOGITS, requires_grad=True)
        loss, losses = loss_fn(make_batch(Q_VALS, ACTIONS), logits)
        assert loss.item() == pytest.approx(by_hand(weights), rel=1e-5)
        for name, value in {"loss_p": by_hand(weights), **reported}.items():
            assert float(losses[name]) == pytest.approx(value, rel=1e-5)
        loss.backward()
        pi, taken = torch.softmax(logits.detach(), 1), torch.eye(3)[list(ACTIONS)]
        torch.testing.assert_close(logits.grad, torch.tensor(weights)[:, None] * (pi - taken) / 3)

    def test_uniform_policy_in_closed_form(self):
        loss, _ = VanillaPolicyGradientLoss()(make_batch([1.0, 2.0, 6.0], [0, 3, 1]), torch.zeros(3, 4))
        assert loss.item() == pytest.approx(3 * math.log(4))

    def test_is_the_mean_over_experiences(self):
        batch, twice = make_batch([1.0, 5.0], [0, 1]), make_batch([1.0, 5.0] * 2, [0, 1] * 2)
        logits = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
        for loss_fn in (VanillaPolicyGradientLoss(), BaselinePolicyGradientLoss()):
            torch.testing.assert_close(loss_fn(batch, logits)[0], loss_fn(twice, logits.repeat(2, 1))[0])

    @given(st.floats(-100, 100))
    def test_baseline_does_not_see_a_constant_added_to_q(self, constant):
        logits = torch.tensor(LOGITS, dtype=torch.float64)
        batches = (make_batch([q + c for q in Q_VALS], ACTIONS, torch.float64) for c in (0.0, constant))
        (loss, _), (same, losses) = (BaselinePolicyGradientLoss()(batch, logits) for batch in batches)
        assert same.item() == pytest.approx(loss.item(), abs=1e-6)
        assert float(losses["baseline"]) == pytest.approx(3.0 + constant, abs=1e-4)

    @given(st.floats(-50, 50))
    def test_a_constant_added_to_the_logits_changes_nothing(self, constant):
        batch, logits = make_batch(Q_VALS, ACTIONS, torch.float64), torch.tensor(LOGITS, dtype=torch.float64)
        loss = VanillaPolicyGradientLoss()
        assert loss(batch, logits + constant)[0].item() == pytest.approx(loss(batch, logits)[0].item(), abs=1e-6)

    def test_extreme_logits_stay_finite(self):
        logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
        loss, _ = VanillaPolicyGradientLoss()(make_batch([1.0, 1.0], [0, 0]), logits)
        loss.backward()
        assert loss.item() == pytest.approx(1e4)
        assert torch.isfinite(logits.grad).all()


class TestActionEntropyLoss:
    BATCH = make_batch([1.0, 2.0], [0, 1])

    @pytest.mark.parametrize("n_actions", [2, 3, 4, 18])
    def test_max_entropy(self, n_actions):
        assert float(ActionEntropyLoss(n_actions).max_entropy) == pytest.approx(math.log(n_actions), rel=1e-6)

    @pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0, -0.2])
    def test_is_minus_beta_at_the_uniform_policy(self, beta):
        loss, losses = ActionEntropyLoss(4, beta=beta)(self.BATCH, torch.full((2, 4), 1.7))
        assert loss.item() == pytest.approx(-beta)
        assert float(losses["loss_e"]) == pytest.approx(-beta)

    def test_beta_is_1_unless_given(self):
        assert ActionEntropyLoss(4)(self.BATCH, torch.zeros(2, 4))[0].item() == pytest.approx(-1.0)

    def test_is_0_where_one_action_is_certain(self):
        logits = torch.tensor([[1000.0, 0.0, 0.0], [0.0, 0.0, 1000.0]], requires_grad=True)
        loss, _ = ActionEntropyLoss(3)(self.BATCH, logits)
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
        assert torch.isfinite(logits.grad).all()

    def test_by_hand(self):
        """Entropies of (1/2, 1/2, 0) and (1/4, 1/4, 1/2) are log 2 and 3/2 log 2."""
        logits = torch.tensor([[0.0, 0.0, -1000.0], [0.0, 0.0, math.log(2)]])
        loss, _ = ActionEntropyLoss(3, beta=2.0)(self.BATCH, logits)
        assert loss.item() == pytest.approx(-2.0 * 1.25 * math.log(2) / math.log(3))

    def test_takes_a_tuple_that_begins_with_the_logits(self):
        loss_fn, logits = ActionEntropyLoss(3), torch.tensor(LOGITS[:2])
        assert loss_fn(self.BATCH, (logits, torch.zeros(2, 1)))[0].item() == loss_fn(self.BATCH, logits)[0].item()

    @given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
    def test_lies_between_minus_beta_and_0(self, row):
        loss = ActionEntropyLoss(4)(self.BATCH, torch.tensor([row, row]))[0].item()
        assert -1 - 1e-6 <= loss <= 1e-6


@pytest.mark.parametrize(
    "make_loss",
    [VanillaPolicyGradientLoss, BaselinePolicyGradientLoss, partial(ActionEntropyLoss, 4, beta=0.7)],
    ids=["vanilla", "baseline", "entropy"],
)
def test_gradient_against_finite_differences(make_loss):
    loss_fn = make_loss()
    torch.manual_seed(2)
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    batch = make_batch([3.0, -1.0, 0.5, 10.0, 2.0], [0, 1, 2, 3, 0], torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss_fn(batch, x)[0], (logits,))

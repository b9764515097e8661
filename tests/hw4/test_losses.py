"""The three policy-gradient losses: closed forms, finite differences, and what they refuse."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from hw4.rl_data import TrainBatch
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    VanillaPolicyGradientLoss,
)


def make_batch(q_vals, actions, n_features=2, dtype=torch.float32):
    return TrainBatch(
        torch.zeros(len(q_vals), n_features, dtype=dtype),
        torch.tensor(actions),
        torch.tensor(q_vals, dtype=dtype),
        torch.tensor([float(sum(q_vals))], dtype=dtype),
    )


def log_softmax(scores, action):
    """The log-probability of an action, from its definition, in Python's floats."""
    return math.log(math.exp(scores[action]) / sum(math.exp(s) for s in scores))


def test_shapes_are_checked_in_this_run():
    """The hook of conftest.py is live: scores of one dimension are none for a batch."""
    with pytest.raises(TypeCheckError):
        VanillaPolicyGradientLoss()(make_batch([1.0, 2.0], [0, 1]), torch.zeros(4))


class TestPolicyGradientLosses:
    SCORES = ((0.5, -1.0, 2.0), (0.0, 0.0, 0.0), (3.0, 1.0, -2.0))
    ACTIONS = (2, 0, 1)
    Q_VALS = (4.0, -2.0, 7.0)

    def loss_by_hand(self, baseline):
        terms = [
            (q - baseline) * log_softmax(scores, action)
            for q, scores, action in zip(self.Q_VALS, self.SCORES, self.ACTIONS, strict=True)
        ]
        return -sum(terms) / 3

    @pytest.fixture
    def batch_and_scores(self):
        return make_batch(self.Q_VALS, self.ACTIONS), torch.tensor(self.SCORES)

    def test_vanilla_by_hand(self, batch_and_scores):
        loss, losses = VanillaPolicyGradientLoss()(*batch_and_scores)
        assert loss.shape == ()
        assert loss.item() == pytest.approx(self.loss_by_hand(0), rel=1e-5)
        assert set(losses) == {"loss_p"}
        assert float(losses["loss_p"]) == pytest.approx(self.loss_by_hand(0), rel=1e-5)

    def test_baseline_by_hand(self, batch_and_scores):
        loss, losses = BaselinePolicyGradientLoss()(*batch_and_scores)
        assert loss.item() == pytest.approx(self.loss_by_hand(3.0), rel=1e-5)
        assert set(losses) == {"loss_p", "baseline"}
        assert float(losses["loss_p"]) == pytest.approx(self.loss_by_hand(3.0), rel=1e-5)
        assert float(losses["baseline"]) == pytest.approx(3.0)

    def test_uniform_policy_in_closed_form(self):
        loss, _ = VanillaPolicyGradientLoss()(make_batch([1.0, 2.0, 6.0], [0, 3, 1]), torch.zeros(3, 4))
        assert loss.item() == pytest.approx(3 * math.log(4))

    def test_is_the_mean_over_experiences(self):
        batch, twice = make_batch([1.0, 5.0], [0, 1]), make_batch([1.0, 5.0] * 2, [0, 1] * 2)
        scores = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
        for loss_fn in (VanillaPolicyGradientLoss(), BaselinePolicyGradientLoss()):
            torch.testing.assert_close(loss_fn(batch, scores)[0], loss_fn(twice, scores.repeat(2, 1))[0])

    @given(st.floats(-100, 100))
    def test_baseline_does_not_see_a_constant_added_to_q(self, constant):
        torch.manual_seed(0)
        scores = torch.randn(4, 3, dtype=torch.float64)
        q_vals = [1.0, -3.0, 0.5, 2.0]
        losses = [
            BaselinePolicyGradientLoss()(make_batch([q + c for q in q_vals], [0, 2, 1, 1], dtype=torch.float64), scores)
            for c in (0.0, constant)
        ]
        assert losses[1][0].item() == pytest.approx(losses[0][0].item(), abs=1e-9)
        assert float(losses[1][1]["baseline"]) == pytest.approx(0.125 + constant, abs=1e-9)

    def test_equal_q_vals_leave_nothing_over_the_baseline(self):
        loss, _ = BaselinePolicyGradientLoss()(make_batch([2.5] * 3, [0, 1, 1]), torch.randn(3, 2))
        assert loss.item() == 0

    @given(st.floats(-50, 50))
    def test_a_constant_added_to_the_scores_changes_nothing(self, constant):
        batch = make_batch([1.0, -3.0], [0, 2], dtype=torch.float64)
        scores = torch.tensor([[0.1, 0.5, -1.0], [2.0, 0.0, 0.3]], dtype=torch.float64)
        loss = VanillaPolicyGradientLoss()
        assert loss(batch, scores + constant)[0].item() == pytest.approx(loss(batch, scores)[0].item(), abs=1e-9)

    @pytest.mark.parametrize(
        "make_loss",
        [VanillaPolicyGradientLoss, BaselinePolicyGradientLoss, partial(ActionEntropyLoss, 4, beta=0.7)],
        ids=["vanilla", "baseline", "entropy"],
    )
    def test_gradient_against_finite_differences(self, make_loss):
        loss_fn = make_loss()
        torch.manual_seed(2)
        scores = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
        batch = make_batch([3.0, -1.0, 0.5, 10.0, 2.0], [0, 1, 2, 3, 0], dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda s: loss_fn(batch, s)[0], (scores,))

    def test_gradient_in_closed_form(self):
        """d loss / d score = q (pi - one-hot of the action) / N."""
        scores = torch.tensor(self.SCORES, requires_grad=True)
        VanillaPolicyGradientLoss()(make_batch(self.Q_VALS, self.ACTIONS), scores)[0].backward()
        pi, taken = torch.softmax(scores.detach(), 1), torch.eye(3)[list(self.ACTIONS)]
        torch.testing.assert_close(scores.grad, torch.tensor(self.Q_VALS)[:, None] * (pi - taken) / 3)

    def test_a_step_down_makes_well_paid_actions_likelier(self):
        scores = torch.zeros(2, 3, requires_grad=True)
        VanillaPolicyGradientLoss()(make_batch([1.0, -1.0], [0, 0]), scores)[0].backward()
        good, bad = torch.softmax(scores.detach() - scores.grad, 1)[:, 0].tolist()
        assert bad < 1 / 3 < good

    def test_extreme_scores_stay_finite(self):
        scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
        loss, _ = VanillaPolicyGradientLoss()(make_batch([1.0, 1.0], [0, 0]), scores)
        loss.backward()
        assert loss.item() == pytest.approx(1e4)
        assert torch.isfinite(scores.grad).all()

    def test_reported_losses_hold_no_graph(self):
        scores = torch.zeros(2, 3, requires_grad=True)
        for loss_fn in (VanillaPolicyGradientLoss(), BaselinePolicyGradientLoss(), ActionEntropyLoss(3)):
            _, losses = loss_fn(make_batch([1.0, -1.0], [0, 0]), scores)
            assert not any(getattr(value, "requires_grad", False) for value in losses.values())


class TestActionEntropyLoss:
    BATCH = make_batch([1.0, 2.0], [0, 1])

    @pytest.mark.parametrize("n_actions", [2, 3, 4, 18])
    def test_max_entropy_is_the_logarithm(self, n_actions):
        assert float(ActionEntropyLoss(n_actions).max_entropy) == pytest.approx(math.log(n_actions), rel=1e-6)

    @pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0])
    def test_is_minus_beta_at_the_uniform_policy(self, beta):
        loss, losses = ActionEntropyLoss(4, beta=beta)(self.BATCH, torch.full((2, 4), 1.7))
        assert loss.item() == pytest.approx(-beta)
        assert set(losses) == {"loss_e"}
        assert float(losses["loss_e"]) == pytest.approx(-beta)

    def test_beta_is_1_unless_given(self):
        assert ActionEntropyLoss(4)(self.BATCH, torch.zeros(2, 4))[0].item() == pytest.approx(-1.0)

    def test_is_0_where_one_action_is_certain(self):
        loss, _ = ActionEntropyLoss(3)(self.BATCH, torch.tensor([[1000.0, 0.0, 0.0], [0.0, 0.0, 1000.0]]))
        assert loss.item() == pytest.approx(0.0, abs=1e-6)

    def test_gradient_is_finite_where_one_action_is_certain(self):
        scores = torch.tensor([[1000.0, 0.0, 0.0], [0.0, 0.0, 1000.0]], requires_grad=True)
        ActionEntropyLoss(3)(self.BATCH, scores)[0].backward()
        assert torch.isfinite(scores.grad).all()

    def test_by_hand(self):
        """Entropies of (1/2, 1/2, 0) and (1/4, 1/4, 1/2) are log 2 and 3/2 log 2."""
        scores = torch.tensor([[0.0, 0.0, -1000.0], [0.0, 0.0, math.log(2)]])
        loss, _ = ActionEntropyLoss(3, beta=2.0)(self.BATCH, scores)
        assert loss.item() == pytest.approx(-2.0 * 1.25 * math.log(2) / math.log(3))

    def test_takes_a_tuple_that_begins_with_the_scores(self):
        scores = torch.randn(2, 4)
        loss_fn = ActionEntropyLoss(4)
        assert torch.equal(loss_fn(self.BATCH, (scores, torch.zeros(2, 1)))[0], loss_fn(self.BATCH, scores)[0])

    @given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
    def test_lies_between_minus_beta_and_0(self, row):
        loss = ActionEntropyLoss(4)(self.BATCH, torch.tensor([row, row]))[0].item()
        assert -1 - 1e-6 <= loss <= 1e-6

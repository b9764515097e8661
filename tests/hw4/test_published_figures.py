"""The five figures that the assignment prints, from a batch that today's stack plays live.

The recipe is of old gym and old torch; each of its steps is written out here, so that a change to any is seen.
"""

import pytest
import torch
from torch import nn

import hw4.rl_ac
import hw4.rl_pg
from hw4.env import make_env
from hw4.rl_data import TrainBatchDataset
from tests import toy

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def batch_and_scores():
    env = make_env()
    env.unwrapped.np_random = toy.gym_0_15_generator(42)
    torch.manual_seed(42)

    def agent_fn():
        return hw4.rl_pg.PolicyAgent(env, nn.Linear(8, 4))

    batches = iter(TrainBatchDataset(agent_fn, gamma=0.9, episode_batch_size=4))
    batch = next(batches)
    scores = torch.randn(len(batch), 4)
    env.close()
    return batch, scores


def test_seed_like_gym_0_15_is_the_recipes_seeding():
    from hw4.env import seed_like_gym_0_15

    env = make_env()
    seed_like_gym_0_15(env, 42)
    assert env.unwrapped.np_random.bit_generator.state["state"]["key"].tolist() == (
        toy.gym_0_15_generator(42).bit_generator.state["state"]["key"].tolist()
    )
    env.close()


def test_episode_lengths():
    env = make_env()
    env.unwrapped.np_random = toy.gym_0_15_generator(42)
    torch.manual_seed(42)
    dataset = TrainBatchDataset(lambda: hw4.rl_pg.PolicyAgent(env, nn.Linear(8, 4)), 4, 0.9)
    episodes = next(dataset.episode_batch_generator())
    assert [len(e.experiences) for e in episodes] == [131, 113, 96, 110]
    env.close()


def test_vanilla_loss(batch_and_scores):
    loss, losses = hw4.rl_pg.VanillaPolicyGradientLoss()(*batch_and_scores)
    assert loss.item() == pytest.approx(-35.535522, abs=TOLERANCE)
    assert float(losses["loss_p"]) == pytest.approx(-35.535522, abs=TOLERANCE)


def test_baseline_loss(batch_and_scores):
    loss, _ = hw4.rl_pg.BaselinePolicyGradientLoss()(*batch_and_scores)
    assert loss.item() == pytest.approx(-2.4665009, abs=TOLERANCE)


def test_max_entropy():
    assert float(hw4.rl_pg.ActionEntropyLoss(4).max_entropy) == pytest.approx(1.38629436, abs=TOLERANCE)


def test_entropy_loss(batch_and_scores):
    loss, losses = hw4.rl_pg.ActionEntropyLoss(4)(*batch_and_scores)
    assert loss.item() == pytest.approx(-0.7927002, abs=TOLERANCE)
    assert float(losses["loss_e"]) == pytest.approx(-0.7927002, abs=TOLERANCE)


def test_actor_critic_loss(batch_and_scores):
    batch, scores = batch_and_scores
    loss, _ = hw4.rl_ac.AACPolicyGradientLoss(delta=1.0)(batch, (scores, torch.ones(len(batch), 1)))
    assert loss.item() == pytest.approx(975.230895, abs=TOLERANCE)

"""The five figures that the assignment prints, from a batch that today's stack plays live.

The recipe is of old gym and old torch. Its agent, which draws as torch 1.3 did, is written out here, because a
student's may draw in any way.
"""

import pytest
import torch
from torch import nn

import hw4.rl_ac
import hw4.rl_pg
from hw4.env import make_env, seed_like_gym_0_15
from hw4.rl_data import TrainBatch, TrainBatchDataset
from tests import toy

TOLERANCE = 1e-3


def play_batch():
    """The states, actions and rewards of four episodes, played by the recipe."""
    env = make_env()
    env.unwrapped.np_random = toy.gym_0_15_generator(42)
    torch.manual_seed(42)
    net, episodes = nn.Linear(8, 4), []
    state, _ = env.reset()  # by the agent's constructor
    for _ in range(4):
        state, _ = env.reset()
        steps, is_done = [], False
        while not is_done:
            logits = net(torch.from_numpy(state))
            action = toy.first_index_reaching(torch.rand((), dtype=torch.float64).item(), logits)
            following, reward, terminated, truncated, _ = env.step(action)
            steps.append((torch.from_numpy(state), action, float(reward)))
            state, is_done = following, terminated or truncated
        episodes.append(steps)
    return episodes


@pytest.fixture(scope="module")
def batch_and_scores():
    episodes = play_batch()
    states, actions, rewards = zip(*(step for steps in episodes for step in steps), strict=True)
    q_vals = [q for steps in episodes for q in toy.double_sum([reward for *_, reward in steps], 0.9)]
    totals = [sum(reward for *_, reward in steps) for steps in episodes]
    batch = TrainBatch(torch.stack(states), torch.tensor(actions), torch.tensor(q_vals).float(), torch.tensor(totals))
    assert len(rewards) == len(batch)
    return batch, torch.randn(len(batch), 4)


def test_episode_lengths():
    assert [len(steps) for steps in play_batch()] == [131, 113, 96, 110]


@pytest.mark.skipif(not hasattr(hw4.rl_pg, "sample_by_inversion"), reason="another solution may draw in another way")
def test_the_projects_agent_and_dataset_play_this_batch(batch_and_scores):
    """Seeded by the project's own function; and the stream of random numbers is where it should be afterwards."""
    env = make_env()
    seed_like_gym_0_15(env, 42)
    torch.manual_seed(42)
    dataset = TrainBatchDataset(lambda: hw4.rl_pg.PolicyAgent(env, nn.Linear(8, 4)), gamma=0.9, episode_batch_size=4)
    batch, expected = next(iter(dataset)), batch_and_scores[0]
    assert torch.equal(batch.states, expected.states)
    assert torch.equal(batch.actions, expected.actions)
    torch.testing.assert_close(batch.q_vals, expected.q_vals)
    assert torch.equal(torch.randn(len(batch), 4), batch_and_scores[1])


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

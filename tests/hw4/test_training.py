"""PolicyTrainer: when it stops, what it writes down, what it saves, and that it learns."""

import copy
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import TrainBatch, TrainBatchDataset
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    PolicyAgent,
    PolicyNet,
    PolicyTrainer,
    VanillaPolicyGradientLoss,
)
from tests import toy

COMMON_KEYS = {"loss_p", "loss_t", "mean_reward", "best_mean_reward", "episode_num", "step_num"}


def make_batch(returns, seed=0, n_steps=3):
    """A batch of one episode of n_steps for each of the returns, over 2 features and 3 actions."""
    generator = torch.Generator().manual_seed(seed)
    n = n_steps * len(returns)
    return TrainBatch(
        torch.randn(n, 2, generator=generator),
        torch.randint(3, (n,), generator=generator),
        torch.randn(n, generator=generator),
        torch.tensor([float(r) for r in returns]),
    )


def batches_of(returns):
    """Batches of 4 episodes each of which returns the given value, then zeros for ever."""
    for i, value in enumerate(itertools.chain(returns, itertools.repeat(0.0))):
        yield make_batch([value] * 4, seed=i)


class Endless:
    """What a loader is to the trainer: something to iterate over, which counts the batches taken from it."""

    def __init__(self, batches):
        self.batches, self.taken = batches, 0

    def __iter__(self):
        for batch in self.batches:
            self.taken += 1
            yield batch


def make_trainer(returns=(), loss=None, learn_rate=0.01, **kwargs):
    torch.manual_seed(0)
    model = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=learn_rate)
    loader = Endless(batches_of(returns))
    return PolicyTrainer(model, optimizer, loss or VanillaPolicyGradientLoss(), loader, **kwargs)


class NanLoss(nn.Module):
    def forward(self, batch, scores):
        loss = scores.sum() * math.nan
        return loss, {"loss_p": math.nan}


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[k], others[k]) for k in weights)


class TestStopping:
    @pytest.mark.parametrize(("max_episodes", "played"), [(4, 4), (10, 12), (12, 12), (13, 16), (1, 4)])
    def test_at_max_episodes(self, max_episodes, played):
        trainer = make_trainer()
        trainer.train(max_episodes=max_episodes)
        assert trainer.training_data["episode_num"][-1] == played
        assert trainer.dataloader.taken == played // 4

    def test_at_the_target(self):
        trainer = make_trainer(returns=[1.0, 3.0, 2.0, 7.0, 9.0])
        trainer.train(target_reward=6.0, running_mean_len=4, max_episodes=100)
        assert trainer.training_data["mean_reward"] == [1.0, 3.0, 2.0, 7.0]

    def test_target_is_of_the_running_mean_not_of_one_batch(self):
        trainer = make_trainer(returns=[0.0, 8.0, 8.0, 8.0])
        trainer.train(target_reward=6.0, running_mean_len=8, max_episodes=100)
        assert trainer.training_data["mean_reward"] == [0.0, 4.0, 8.0]

    def test_without_a_target_only_max_episodes_stops(self):
        trainer = make_trainer(returns=[1e6] * 5)
        trainer.train(max_episodes=20, running_mean_len=4)
        assert len(trainer.training_data["mean_reward"]) == 5


class TestTrainingData:
    def test_mean_reward_is_of_the_last_episodes(self):
        trainer = make_trainer(returns=[4.0, 8.0, 0.0, 12.0])
        trainer.train(running_mean_len=6, max_episodes=16)
        expected = [4.0, (2 * 4 + 4 * 8) / 6, (2 * 8 + 4 * 0) / 6, (2 * 0 + 4 * 12) / 6]
        np.testing.assert_allclose(trainer.training_data["mean_reward"], expected, rtol=1e-6)

    def test_mean_over_100_episodes_unless_told_otherwise(self):
        trainer = make_trainer(returns=[float(i) for i in range(30)])
        trainer.train(max_episodes=120)
        assert trainer.training_data["mean_reward"][-1] == pytest.approx(np.mean(range(5, 30)))

    def test_best_is_the_running_maximum(self):
        trainer = make_trainer(returns=[1.0, 3.0, 2.0, 5.0, 4.0])
        trainer.train(running_mean_len=4, max_episodes=20)
        assert trainer.training_data["best_mean_reward"] == [1.0, 3.0, 3.0, 5.0, 5.0]

    def test_best_is_of_full_windows_once_there_is_one(self):
        """A lucky first batch is not the best of 10 episodes."""
        trainer = make_trainer(returns=[100.0, *np.random.RandomState(0).normal(size=29).tolist()])
        trainer.train(running_mean_len=10, max_episodes=120)
        mean, best = trainer.training_data["mean_reward"], trainer.training_data["best_mean_reward"]
        assert best[:2] == [100.0, 100.0]
        assert best[2:] == np.maximum.accumulate(mean[2:]).tolist()

    def test_counts(self):
        trainer = make_trainer()
        trainer.train(max_episodes=12)
        assert trainer.training_data["episode_num"] == [4, 8, 12]
        assert trainer.training_data["step_num"] == [12, 24, 36]

    @pytest.mark.parametrize(
        ("make_losses", "reported"),
        [
            (VanillaPolicyGradientLoss, set()),
            (BaselinePolicyGradientLoss, {"baseline"}),
            (lambda: [VanillaPolicyGradientLoss(), ActionEntropyLoss(3)], {"loss_e"}),
            (lambda: [BaselinePolicyGradientLoss(), ActionEntropyLoss(3)], {"baseline", "loss_e"}),
        ],
        ids=["vpg", "bpg", "epg", "cpg"],
    )
    def test_keys(self, make_losses, reported):
        trainer = make_trainer(loss=make_losses())
        trainer.train(max_episodes=12)
        assert set(trainer.training_data) == COMMON_KEYS | reported
        assert {len(values) for values in trainer.training_data.values()} == {3}

    def test_values_are_plain_numbers(self):
        trainer = make_trainer(loss=[BaselinePolicyGradientLoss(), ActionEntropyLoss(3)])
        trainer.train(max_episodes=4)
        assert {type(values[0]) for values in trainer.training_data.values()} <= {int, float}

    def test_actor_critic_keys(self):
        torch.manual_seed(0)
        model = AACPolicyNet(2, 3, hidden_layers=(4,))
        optimizer = torch.optim.Adam(model.parameters())
        losses = [AACPolicyGradientLoss(delta=1.0), ActionEntropyLoss(3)]
        trainer = PolicyTrainer(model, optimizer, losses, batches_of([]))
        trainer.train(max_episodes=8)
        assert set(trainer.training_data) == COMMON_KEYS | {"loss_v", "adv_m", "loss_e"}


class TestTrainBatch:
    def test_losses_are_summed(self):
        trainer = make_trainer(loss=[VanillaPolicyGradientLoss(), ActionEntropyLoss(3, beta=0.5)])
        batch = make_batch([1.0, 2.0])
        scores = trainer.model(batch.states).detach()
        loss_p = VanillaPolicyGradientLoss()(batch, scores)[0].item()
        loss_e = ActionEntropyLoss(3, beta=0.5)(batch, scores)[0].item()
        total, losses = trainer.train_batch(batch)
        assert float(total) == pytest.approx(loss_p + loss_e, rel=1e-6)
        assert float(losses["loss_p"]) == pytest.approx(loss_p, rel=1e-6)
        assert float(losses["loss_e"]) == pytest.approx(loss_e, rel=1e-6)

    def test_two_steps_are_adams(self):
        """Adam by hand (Kingma & Ba, algorithm 1), with the gradient q (pi - taken) x / N of a linear policy."""
        torch.manual_seed(0)
        model = nn.Linear(2, 3, bias=False)
        learn_rate, beta1, beta2, eps = 0.05, 0.9, 0.999, 1e-3
        optimizer = torch.optim.Adam(model.parameters(), lr=learn_rate, eps=eps)
        trainer = PolicyTrainer(model, optimizer, VanillaPolicyGradientLoss(), [])
        weight = model.weight.detach().double().clone()
        m = v = torch.zeros_like(weight)
        for t in (1, 2):
            batch = make_batch([1.0, 2.0], seed=t)
            states, actions, q_vals, _ = batch
            pi = torch.softmax(states.double() @ weight.T, dim=1)
            gradient = (q_vals[:, None] * (pi - torch.eye(3)[actions])).T @ states.double() / len(batch)
            m = beta1 * m + (1 - beta1) * gradient
            v = beta2 * v + (1 - beta2) * gradient**2
            weight = weight - learn_rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
            trainer.train_batch(batch)
        torch.testing.assert_close(model.weight.detach().double(), weight, rtol=0, atol=1e-5)

    def test_training_is_train_batch_over_and_over(self):
        trainer, by_hand = make_trainer(), make_trainer()
        trainer.train(max_episodes=12)
        for batch in itertools.islice(batches_of([]), 3):
            by_hand.train_batch(batch)
        assert same_weights(trainer.model.state_dict(), by_hand.model.state_dict())

    def test_total_loss_is_written_down(self):
        trainer, by_hand = make_trainer(), make_trainer()
        trainer.train(max_episodes=4)
        total, _ = by_hand.train_batch(next(batches_of([])))
        assert trainer.training_data["loss_t"] == [float(total)]


class TestNan:
    @pytest.mark.parametrize("losses", [NanLoss(), [VanillaPolicyGradientLoss(), NanLoss()]])
    def test_raises_before_the_weights_change(self, losses):
        trainer = make_trainer(loss=losses)
        before = weights_of(trainer.model)
        with pytest.raises(FloatingPointError, match=r"(?i)nan|finite"):
            trainer.train(max_episodes=8)
        assert same_weights(trainer.model.state_dict(), before)

    def test_leaves_no_checkpoint(self, tmp_path):
        trainer = make_trainer(loss=NanLoss(), checkpoint_file=tmp_path / "c.dat")
        with pytest.raises(FloatingPointError):
            trainer.train(max_episodes=8)
        assert list(tmp_path.iterdir()) == []


class TestPostBatchFn:
    def test_is_called_after_every_batch_and_at_the_end(self):
        calls = []
        trainer = make_trainer()

        def post_batch_fn(batch_idx, p_net, batch, final=False):
            calls.append((batch_idx, p_net, batch, final))

        trainer.train(max_episodes=12, post_batch_fn=post_batch_fn)
        assert sorted({idx for idx, *_ in calls}) == [0, 1, 2]
        assert [idx for idx, *_ in calls] == sorted(idx for idx, *_ in calls)
        assert [final for *_, final in calls] == [False] * (len(calls) - 1) + [True]
        assert all(p_net is trainer.model for _, p_net, _, _ in calls)
        assert all(isinstance(batch, TrainBatch) for _, _, batch, _ in calls)

    def test_sees_the_batch_that_was_learned_from(self):
        seen = {}
        trainer = make_trainer()
        trainer.train(max_episodes=8, post_batch_fn=lambda idx, net, batch, final=False: seen.update({idx: batch}))
        for got, expected in zip(seen.values(), batches_of([]), strict=False):
            assert torch.equal(got.states, expected.states)

    def test_comes_after_the_update(self):
        weights = []
        trainer = make_trainer()
        before = weights_of(trainer.model)
        trainer.train(max_episodes=4, post_batch_fn=lambda i, net, batch, final=False: weights.append(weights_of(net)))
        assert not same_weights(weights[0], before)
        assert same_weights(weights[-1], trainer.model.state_dict())


class TestCheckpoint:
    RETURNS = (1.0, 3.0, 2.0, 5.0, 4.0, 0.0)

    @pytest.fixture
    def run(self, tmp_path):
        """What the checkpoint held when each batch was asked for, and the weights then."""
        file = tmp_path / "new-folder" / "checkpoint.dat"
        contents, weights = [], []
        trainer = make_trainer(checkpoint_file=file)

        def watched():
            for batch in batches_of(self.RETURNS):
                contents.append(torch.load(file) if file.exists() else None)
                weights.append(weights_of(trainer.model))
                yield batch

        trainer.dataloader = watched()
        trainer.train(running_mean_len=4, max_episodes=24)
        contents.append(torch.load(file))
        weights.append(weights_of(trainer.model))
        return file, contents, weights

    def test_is_saved_at_every_new_best(self, run):
        _, contents, _ = run
        assert contents[0] is None
        assert [c["best_mean_reward"] for c in contents[1:]] == [1.0, 3.0, 3.0, 5.0, 5.0, 5.0]

    def test_holds_the_network_of_the_best(self, run):
        """The parameters that played the best batch, or those that learned from it."""
        _, contents, weights = run
        params = contents[-1]["params"]
        assert same_weights(params, weights[3]) or same_weights(params, weights[4])

    def test_loads_into_a_network(self, run):
        nn.Linear(2, 3).load_state_dict(run[1][-1]["params"])

    def test_leaves_no_other_file(self, run):
        assert [p.name for p in run[0].parent.iterdir()] == ["checkpoint.dat"]

    def test_no_file_without_a_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        make_trainer().train(max_episodes=8)
        assert list(tmp_path.iterdir()) == []


class TestInterrupt:
    def test_keeps_what_was_written_down(self):
        def post_batch_fn(batch_idx, p_net, batch, final=False):
            if batch_idx == 2:
                raise KeyboardInterrupt

        trainer = make_trainer()
        with pytest.raises(KeyboardInterrupt):
            trainer.train(max_episodes=100, post_batch_fn=post_batch_fn)
        assert trainer.training_data["episode_num"] == [4, 8, 12]
        assert {len(values) for values in trainer.training_data.values()} == {3}

    def test_while_a_batch_is_played(self):
        def interrupted():
            yield from itertools.islice(batches_of([]), 2)
            raise KeyboardInterrupt

        trainer = make_trainer()
        trainer.dataloader = interrupted()
        with pytest.raises(KeyboardInterrupt):
            trainer.train(max_episodes=100)
        assert {len(values) for values in trainer.training_data.values()} == {2}


class TestSchedule:
    def test_is_told_the_progress_before_each_batch_is_played(self):
        progress, told_before = [], []
        trainer = make_trainer(schedule=progress.append)

        def batches(dataloader):
            for batch in dataloader:
                told_before.append(len(progress))
                yield batch

        trainer.dataloader = batches(trainer.dataloader)
        trainer.train(max_episodes=12)
        assert told_before == [1, 2, 3]

    def test_is_told_the_progress_before_each_update(self):
        progress, weights = [], []
        trainer = make_trainer()

        def schedule(p):
            progress.append(p)
            weights.append(weights_of(trainer.model))

        trainer.schedule = schedule
        before = weights_of(trainer.model)
        trainer.train(max_episodes=16)
        assert progress == pytest.approx([0.0, 0.25, 0.5, 0.75])
        assert same_weights(weights[0], before)
        assert not same_weights(weights[1], before)

    def test_constructor_takes_it(self):
        progress = []
        make_trainer(schedule=progress.append).train(max_episodes=10)
        assert all(0 <= p <= 1 for p in progress)
        assert progress == sorted(progress)
        assert len(progress) == 3


class TestLearns:
    """A contextual bandit, whose observation tells which action pays."""

    CHANCE, TARGET = 4 / 3, 3.8

    def train(self, agent_type, model, losses, learn_rate):
        env = toy.BanditEnv(n_actions=3, length=4)
        env.reset(seed=0)
        dataset = TrainBatchDataset(lambda: agent_type(env, model), episode_batch_size=8, gamma=0.0)
        trainer = PolicyTrainer(model, torch.optim.Adam(model.parameters(), lr=learn_rate), losses, dataset)
        trainer.train(target_reward=self.TARGET, running_mean_len=80, max_episodes=3000)
        return trainer.training_data["mean_reward"]

    @pytest.mark.parametrize("loss_type", [VanillaPolicyGradientLoss, BaselinePolicyGradientLoss])
    def test_policy_gradient(self, loss_type):
        torch.manual_seed(0)
        rewards = self.train(PolicyAgent, PolicyNet(3, 3, hidden_layers=(16,)), loss_type(), 0.05)
        assert rewards[0] < 3
        assert rewards[-1] >= self.TARGET

    def test_actor_critic(self):
        torch.manual_seed(0)
        losses = [AACPolicyGradientLoss(delta=0.5), ActionEntropyLoss(3, beta=0.01)]
        rewards = self.train(AACPolicyAgent, AACPolicyNet(3, 3, hidden_layers=(16,)), losses, 0.05)
        assert rewards[0] < 3
        assert rewards[-1] >= self.TARGET


def test_same_seed_same_training():
    def run():
        torch.manual_seed(5)
        env, model = toy.RandomEnv(), PolicyNet(3, 3, hidden_layers=(8,))
        env.reset(seed=1)
        dataset = TrainBatchDataset(partial(PolicyAgent, env, model), 3, 0.9)
        trainer = PolicyTrainer(model, torch.optim.Adam(model.parameters()), VanillaPolicyGradientLoss(), dataset)
        trainer.train(max_episodes=15)
        return copy.deepcopy(trainer.training_data), weights_of(model)

    (data, weights), (data_again, weights_again) = run(), run()
    assert data == data_again
    assert same_weights(weights, weights_again)

"""PolicyTrainer: its step, when it stops, what it writes down and saves, how it goes on, and that it learns."""

import itertools
import math
import signal
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from hw4 import rl_pg
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import TrainBatch, TrainBatchDataset
from hw4.rl_pg import ActionEntropyLoss, BaselinePolicyGradientLoss, PolicyAgent, PolicyNet, VanillaPolicyGradientLoss
from hw4.training import PolicyTrainer, defer_interrupt
from tests import toy

COUNTED = {"mean_reward", "best_mean_reward", "episode_num", "step_num"}


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


class Loader:
    """Batches of 4 episodes each of which returns the given value, then zeros for ever; it counts those taken."""

    def __init__(self, returns=()):
        self.taken = 0
        self.returns = itertools.chain(returns, itertools.repeat(0.0))

    def __iter__(self):
        for value in self.returns:
            self.taken += 1
            yield make_batch([value] * 4, seed=self.taken)


class WeightedMean(nn.Module):
    """A loss that is none of the assignment's. It reports a number, or a tensor, under a name."""

    def __init__(self, name="loss_p", factor=1.0, report=torch.Tensor.item):
        super().__init__()
        self.name, self.factor, self.report = name, factor, report

    def forward(self, batch, outputs):
        loss = self.factor * (batch.q_vals[:, None] * outputs**2).mean()
        return loss, {self.name: self.report(loss)}


def make_trainer(returns=(), loss=None, checkpoint_file=None):
    torch.manual_seed(0)
    model = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return PolicyTrainer(model, optimizer, loss or WeightedMean(), Loader(returns), checkpoint_file)


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_models(trainer, other):
    return toy.same_weights(trainer.model.state_dict(), other.model.state_dict())


class TestTrainBatchStep:
    def test_losses_are_summed_and_reports_merged(self):
        losses = [WeightedMean("a"), WeightedMean("b", factor=-3.0, report=torch.detach)]
        trainer, batch = make_trainer(loss=losses), make_batch([1.0, 2.0])
        a = losses[0](batch, trainer.model(batch.states))[0].item()
        total, reports = trainer.train_batch(batch)
        assert float(total) == pytest.approx(-2 * a, rel=1e-5)
        assert set(reports) == {"a", "b"}
        assert (float(reports["a"]), float(reports["b"])) == pytest.approx((a, -3 * a), rel=1e-5)

    @pytest.mark.parametrize("losses", [[(1.0, "a")], [(0.25, "a"), (0.75, "b")]], ids=["one", "two"])
    def test_steps_are_adams(self, losses):
        """By hand (Kingma & Ba, algorithm 1), with the gradient of the mean of q (Wx)^2 over N steps and 3 outputs."""
        torch.manual_seed(0)
        model = nn.Linear(2, 3, bias=False)
        learn_rate, beta1, beta2, eps = 0.05, 0.9, 0.999, 1e-3
        optimizer = torch.optim.Adam(model.parameters(), lr=learn_rate, eps=eps)
        trainer = PolicyTrainer(model, optimizer, [WeightedMean(name, factor) for factor, name in losses], [])
        weight = model.weight.detach().double().clone()
        m = v = torch.zeros_like(weight)
        for t in (1, 2, 3):
            batch = make_batch([1.0, 2.0], seed=t)
            x, q = batch.states.double(), batch.q_vals.double()
            gradient = (2 * q[:, None] * (x @ weight.T)).T @ x / (3 * len(batch))
            m = beta1 * m + (1 - beta1) * gradient
            v = beta2 * v + (1 - beta2) * gradient**2
            weight = weight - learn_rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
            trainer.train_batch(batch)
        torch.testing.assert_close(model.weight.detach().double(), weight, rtol=0, atol=1e-5)

    def test_a_network_with_values(self):
        class OfValues(nn.Module):
            def forward(self, batch, outputs):
                return outputs[1].mean(), {}

        model = toy.WithValues(nn.Linear(2, 3))
        before = weights_of(model)
        PolicyTrainer(model, torch.optim.SGD(model.parameters(), lr=1.0), OfValues(), []).train_batch(make_batch([1.0]))
        assert torch.equal(model.logits.weight, before["logits.weight"])
        torch.testing.assert_close(model.values.bias.detach(), before["values.bias"] - 1.0)


class TestStopping:
    @pytest.mark.parametrize(("max_episodes", "played"), [(4, 4), (10, 12), (12, 12), (13, 16), (1, 4)])
    def test_at_max_episodes(self, max_episodes, played):
        trainer = make_trainer()
        trainer.train(max_episodes=max_episodes)
        assert trainer.training_data["episode_num"][-1] == played
        assert trainer.dataloader.taken == played // 4

    def test_at_the_target(self, capsys):
        trainer = make_trainer(returns=[1.0, 6.0, 2.0, 7.0, 9.0])
        trainer.train(target_reward=6.0, running_mean_len=4, max_episodes=100)
        assert trainer.training_data["mean_reward"] == [1.0, 6.0, 2.0, 7.0]
        assert "=== Target reached: mean reward 7.0 passed the target, 6" in capsys.readouterr().out

    def test_target_is_of_the_running_mean_of_so_many_episodes(self):
        trainer = make_trainer(returns=[8.0, 0.0, 8.0, 8.0])
        trainer.train(target_reward=6.0, running_mean_len=8, max_episodes=100)
        assert trainer.training_data["mean_reward"] == [8.0, 4.0, 4.0, 8.0]

    def test_without_a_target_only_max_episodes_stops(self, capsys):
        trainer = make_trainer(returns=[1e6] * 5)
        trainer.train(max_episodes=20, running_mean_len=4)
        assert len(trainer.training_data["mean_reward"]) == 5
        assert "Target reached" not in capsys.readouterr().out

    def test_a_loader_that_ends_too_soon(self):
        trainer = make_trainer()
        trainer.dataloader = [make_batch([1.0])]
        with pytest.raises(ValueError, match="the dataloader ended before training did"):
            trainer.train(max_episodes=10)


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

    def test_at_most_10_000_episodes_unless_told_otherwise(self):
        trainer = make_trainer()
        trainer.dataloader = (make_batch([0.0] * 2500, n_steps=1) for _ in itertools.count())
        trainer.train()
        assert trainer.training_data["episode_num"] == [2500, 5000, 7500, 10_000]

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

    def test_an_entry_for_each_batch_of_plain_numbers(self):
        trainer = make_trainer(loss=[WeightedMean(), WeightedMean("more", report=torch.detach)])
        trainer.train(max_episodes=12)
        assert set(trainer.training_data) == COUNTED | {"loss_p", "loss_t", "more"}
        assert {len(values) for values in trainer.training_data.values()} == {3}
        assert {type(value) for values in trainer.training_data.values() for value in values} == {int, float}
        assert trainer.training_data["episode_num"] == [4, 8, 12]
        assert trainer.training_data["step_num"] == [12, 24, 36]

    def test_training_is_train_batch_over_and_over(self):
        trainer, by_hand = make_trainer(), make_trainer()
        trainer.train(max_episodes=12)
        totals = [float(by_hand.train_batch(batch)[0]) for batch in itertools.islice(Loader(), 3)]
        assert same_models(trainer, by_hand)
        assert trainer.training_data["loss_t"] == totals

    def test_batches_are_brought_to_where_the_model_is(self, monkeypatch):
        devices, to = [], TrainBatch.to
        monkeypatch.setattr(TrainBatch, "to", lambda batch, device: devices.append(device) or to(batch, device))
        trainer = make_trainer()
        trainer.train(max_episodes=8)
        assert devices == [trainer.model.weight.device] * 2

    @pytest.mark.parametrize("is_first", [True, False])
    def test_a_loss_that_is_no_number(self, is_first, tmp_path):
        losses = [WeightedMean("loss_nan", factor=math.nan), WeightedMean()]
        trainer = make_trainer(loss=losses if is_first else losses[::-1], checkpoint_file=tmp_path / "c.dat")
        with pytest.raises(FloatingPointError, match="training has diverged"):
            trainer.train(max_episodes=8)
        assert trainer.training_data == {}
        assert list(tmp_path.iterdir()) == []


class TestPostBatchFn:
    def test_is_called_after_every_batch(self):
        calls, trainer = [], make_trainer()
        weights = [weights_of(trainer.model)]

        def post_batch_fn(batch_idx, p_net, batch, final=False):
            assert p_net is trainer.model
            weights.append(weights_of(p_net))
            calls.append((batch_idx, batch.states[0].tolist(), final))

        trainer.train(max_episodes=12, post_batch_fn=post_batch_fn)
        firsts = [batch.states[0].tolist() for batch in itertools.islice(Loader(), 3)]
        assert calls == [(0, firsts[0], False), (1, firsts[1], False), (2, firsts[2], True)]
        assert not any(toy.same_weights(before, after) for before, after in itertools.pairwise(weights))

    def test_the_batch_that_reaches_the_target_is_final(self):
        calls, trainer = [], make_trainer(returns=[1.0, 9.0])
        trainer.train(6.0, 4, post_batch_fn=lambda batch_idx, p_net, batch, final: calls.append(final))
        assert calls == [False, True]


class TestCheckpoint:
    RETURNS = (1.0, 3.0, 2.0, 5.0, 4.0, 0.0)

    def test_is_saved_at_every_new_best(self, tmp_path):
        file = tmp_path / "new-folder" / "checkpoint.dat"
        trainer = make_trainer(self.RETURNS, checkpoint_file=file)
        trainer.checkpoint_info = {"seed": 3}
        best, weights = [], []

        def post_batch_fn(batch_idx, p_net, batch, final):
            best.append(torch.load(file)["best_mean_reward"])
            weights.append(weights_of(p_net))

        trainer.train(running_mean_len=4, max_episodes=24, post_batch_fn=post_batch_fn)
        assert best == [1.0, 3.0, 3.0, 5.0, 5.0, 5.0]
        checkpoint = torch.load(file)
        assert toy.same_weights(checkpoint["params"], weights[3])
        assert checkpoint["seed"] == 3
        assert [path.name for path in file.parent.iterdir()] == ["checkpoint.dat"]

    def test_no_file_without_a_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        make_trainer().train(max_episodes=8)
        assert list(tmp_path.iterdir()) == []

    def test_resuming_is_as_if_never_interrupted(self, tmp_path):
        """The best is the first batch, so that the checkpoint is one with a window that is not full."""
        file, returns = tmp_path / "checkpoint.dat", (7.0, 6.0, 2.0, 5.0, 9.0)
        whole, first, second = make_trainer(returns), make_trainer(returns, checkpoint_file=file), make_trainer(returns)
        whole.train(max_episodes=20, running_mean_len=6)
        first.train(max_episodes=4, running_mean_len=6)
        assert second.resume(file) == 4
        second.dataloader = itertools.islice(Loader(returns), 1, None)
        second.train(max_episodes=20, running_mean_len=6)
        assert second.training_data == whole.training_data
        assert same_models(second, whole)

    def test_one_of_another_network_is_refused(self, tmp_path):
        file = tmp_path / "checkpoint.dat"
        make_trainer(checkpoint_file=file).train(max_episodes=4)
        trainer = make_trainer()
        trainer.model = nn.Linear(2, 4)
        with pytest.raises(ValueError, match=r"checkpoint\.dat does not fit this network"):
            trainer.resume(file)

    def test_a_first_checkpoint_of_a_run_without_batches(self, tmp_path):
        make_trainer().save_checkpoint(tmp_path / "checkpoint.dat")
        assert make_trainer().resume(tmp_path / "checkpoint.dat") == 0


class TestGoesOn:
    def test_called_again(self):
        once, twice, idxs = make_trainer((5.0, 1.0, 4.0)), make_trainer((5.0, 1.0, 4.0)), []
        once.train(max_episodes=20, running_mean_len=6)
        twice.train(max_episodes=8, running_mean_len=6)
        twice.train(max_episodes=20, running_mean_len=6, post_batch_fn=lambda idx, *_, final: idxs.append(idx))
        assert twice.training_data == once.training_data
        assert same_models(once, twice)
        assert idxs == [2, 3, 4]

    def test_not_beyond_the_target(self):
        trainer = make_trainer()
        for _ in range(2):
            trainer.train(target_reward=-1e9, running_mean_len=4)
        assert trainer.training_data["episode_num"] == [4]

    def test_with_a_shorter_window_until_that_one_s_mean_reaches_the_target(self):
        trainer = make_trainer()
        trainer.train(max_episodes=8, running_mean_len=8)
        trainer.recent_rewards = deque([100.0] * 4 + [-400.0] * 4)
        trainer.train(max_episodes=12, running_mean_len=4, target_reward=-300.0)
        assert trainer.training_data["episode_num"][2:] == [12]

    def test_not_beyond_max_episodes(self):
        trainer = make_trainer()
        trainer.train(max_episodes=8)
        trainer.train(max_episodes=8)
        assert trainer.training_data["episode_num"] == [4, 8]


class TestInterrupt:
    @pytest.mark.parametrize("where", ["a loss", "post_batch_fn", "the loader"])
    def test_an_update_is_made_and_recorded_whole_or_not_at_all(self, where):
        trainer, undisturbed = make_trainer(), make_trainer()
        undisturbed.train(max_episodes=8)

        def press(*_, **__):
            if trainer.dataloader.taken == 2:
                signal.raise_signal(signal.SIGINT)

        if where == "the loader":
            trainer.dataloader.returns = itertools.chain([0.0, 0.0], iter(press, None), [0.0])
        if where == "a loss":
            trainer.losses[0].register_forward_hook(press)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(max_episodes=100, post_batch_fn=press if where == "post_batch_fn" else None)
        assert trainer.training_data == undisturbed.training_data
        assert same_models(trainer, undisturbed)

    @pytest.mark.parametrize("error", [None, LookupError])
    def test_deferred_until_the_block_is_done(self, error):
        done = []

        def press():
            with defer_interrupt():
                signal.raise_signal(signal.SIGINT)
                done.append(1)
                if error:
                    raise error

        with pytest.raises(error or KeyboardInterrupt):
            press()
        assert done == [1]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_ignored_if_ctrl_c_is_ignored(self):
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with defer_interrupt():
                signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, previous)

    def test_trains_in_another_thread(self):
        trainer = make_trainer()
        with ThreadPoolExecutor(1) as executor:
            executor.submit(trainer.train, max_episodes=8).result()
        assert trainer.training_data["episode_num"] == [4, 8]


class TestLearns:
    """A contextual bandit, whose observation tells which action pays. By chance 4/3 of 4 are right."""

    def train(self, agent_type, model, losses):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - an agent may draw from it
        env = toy.BanditEnv(n_actions=3, length=4)
        env.reset(seed=0)
        dataset = TrainBatchDataset(lambda: agent_type(env, model), episode_batch_size=8, gamma=0.0)
        trainer = PolicyTrainer(model, torch.optim.Adam(model.parameters(), lr=0.003), losses, dataset)
        trainer.train(target_reward=3.0, running_mean_len=80, max_episodes=8000)
        assert trainer.training_data["mean_reward"][0] < 2.5
        assert trainer.training_data["mean_reward"][-1] > 3.0

    HP = toy.hyperparams(hidden_layers=[64])

    @pytest.mark.parametrize("loss_type", [VanillaPolicyGradientLoss, BaselinePolicyGradientLoss])
    def test_policy_gradient(self, loss_type):
        torch.manual_seed(0)
        self.train(PolicyAgent, PolicyNet(3, 3, **self.HP), loss_type())

    def test_actor_critic(self):
        torch.manual_seed(0)
        losses = [AACPolicyGradientLoss(delta=0.5), ActionEntropyLoss(3, beta=0.01)]
        self.train(AACPolicyAgent, AACPolicyNet(3, 3, **self.HP), losses)


def test_rl_pg_has_the_trainer_too():
    assert rl_pg.PolicyTrainer is PolicyTrainer

"""Training by name: reproducibly, resumed, interrupted, and kept in results and checkpoints."""

import math
from types import MappingProxyType

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from hw4 import answers, experiments
from hw4.experiments import (
    dump_training_data,
    exp_configs,
    load_checkpoint,
    load_training_data,
    make_optimizer,
    make_schedule,
    parse_settings,
    run_or_load,
    train_aac,
    train_config,
    train_long,
    train_pg,
)
from hw4.rl_ac import AACPolicyNet
from hw4.rl_pg import ActionEntropyLoss, PolicyNet
from hw4.rollout.loader import OnPolicyLoader, torch_threads
from tests import toy

NAMES = ("vpg", "epg", "bpg", "cpg", "aac")
HP = {"batch_size": 3, "gamma": 0.9, "beta": 0.5, "learn_rate": 0.01, "eps": 1e-8, "hidden_layers": [8], "delta": 0.1}
REPORTED = {
    "vpg": set(),
    "epg": {"loss_e"},
    "bpg": {"baseline"},
    "cpg": {"baseline", "loss_e"},
    "aac": {"loss_v", "adv_m", "loss_e"},
}
COMMON_KEYS = {"loss_p", "loss_t", "mean_reward", "best_mean_reward", "episode_num", "step_num", "model_state"}
WORKERS = [1, 2] if "fork" in mp.get_all_start_methods() else []

pytestmark = pytest.mark.usefixtures("time_limit")


def short_training(name="cpg", **kwargs):
    return train_config(name, **{"hp": HP, "seed": 1, "num_workers": 0, "max_episodes": 9, **kwargs})


def same_training(data, other):
    lists = [{k: v for k, v in d.items() if k != "model_state"} for d in (data, other)]
    return lists[0] == lists[1] and same_weights(data["model_state"], other["model_state"])


def same_weights(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[k], others[k]) for k in weights)


class InterruptAt:
    """A post_batch_fn that presses Ctrl-C after a batch."""

    def __init__(self, batch_idx):
        self.batch_idx = batch_idx

    def __call__(self, batch_idx, p_net, batch, final=False):
        if batch_idx == self.batch_idx:
            raise KeyboardInterrupt


class TestConfigurations:
    def test_in_the_published_order(self):
        assert [tuple(config) for config in exp_configs()] == [
            ("vpg", False, False),
            ("epg", False, True),
            ("bpg", True, False),
            ("cpg", True, True),
        ]
        assert type(exp_configs()[0])._fields == ("name", "baseline", "entropy")

    @pytest.mark.parametrize("name", NAMES)
    def test_training_data(self, name):
        data = short_training(name, max_episodes=6)
        assert set(data) == COMMON_KEYS | REPORTED[name]
        assert data["episode_num"] == [3, 6]
        assert {len(values) for key, values in data.items() if key != "model_state"} == {2}

    def test_published_wrappers(self):
        kwargs = {"hp": HP, "seed": 1, "num_workers": 0, "max_episodes": 3}
        assert same_training(train_pg(baseline=True, entropy=True, **kwargs), short_training("cpg", max_episodes=3))
        assert same_training(train_aac(**kwargs), short_training("aac", max_episodes=3))

    @pytest.mark.parametrize(("name", "net_type"), [("vpg", PolicyNet), ("aac", AACPolicyNet)])
    def test_model_state_is_the_networks(self, name, net_type):
        state = short_training(name, max_episodes=3)["model_state"]
        assert {(type(t), t.device.type, t.requires_grad, t.is_shared()) for t in state.values()} == {
            (torch.Tensor, "cpu", False, False)
        }
        net_type(8, 4, **HP).load_state_dict(state)

    def test_entropy_changes_what_is_learned(self):
        states = [short_training(name, max_episodes=3)["model_state"] for name in ("vpg", "epg")]
        assert not same_weights(*states)

    @pytest.mark.parametrize(
        ("hyperparams", "more"),
        [
            (answers.part1_pg_hyperparams, set()),
            (answers.part1_aac_hyperparams, {"delta"}),
            (answers.part1_aac_long_hyperparams, {"delta"}),
        ],
    )
    def test_shipped_hyperparameters_have_the_published_names(self, hyperparams, more):
        names = {"batch_size", "gamma", "beta", "learn_rate", "eps", "hidden_layers"}
        assert names | more <= set(hyperparams())

    @pytest.mark.parametrize("name", ["cpg", "aac"])
    def test_shipped_hyperparameters_train(self, name):
        data = train_config(name, seed=0, num_workers=0, max_episodes=1)
        assert all(math.isfinite(value) for value in data["loss_t"])


class TestReproducible:
    @pytest.mark.parametrize("name", NAMES)
    def test_same_seed_same_training(self, name):
        assert same_training(short_training(name), short_training(name))

    @pytest.mark.parametrize("name", ["cpg", "aac"])
    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_whatever_the_number_of_workers(self, name, num_workers):
        assert same_training(short_training(name, num_workers=num_workers), short_training(name))

    def test_whatever_the_state_of_the_global_generators(self):
        runs = []
        for disturbance in (1, 2):
            torch.manual_seed(disturbance)
            np.random.seed(disturbance)  # noqa: NPY002 - the global generator is meant
            runs.append(short_training())
        assert same_training(*runs)

    @pytest.mark.parametrize("hyperparams", [answers.part1_pg_hyperparams, answers.part1_aac_hyperparams])
    def test_whatever_the_number_of_threads(self, hyperparams):
        """The shipped networks begin with orthogonal matrices, which two threads round otherwise than one."""
        name, runs = "aac" if "delta" in hyperparams() else "cpg", []
        for count in (1, 2):
            with torch_threads(count):
                runs.append(short_training(name, hp=hyperparams()))
        assert same_training(*runs)

    def test_another_seed_another_training(self):
        assert not same_training(short_training(seed=1), short_training(seed=2))

    def test_no_seed_is_another_seed_each_time(self):
        assert not same_training(short_training(seed=None), short_training(seed=None))

    def test_leaves_the_callers_generator_alone(self):
        torch.manual_seed(3)
        short_training(max_episodes=3)
        following = torch.rand(1)
        torch.manual_seed(3)
        assert following == torch.rand(1)


class TestInterrupt:
    def test_returns_what_was_learned(self, capsys):
        data = short_training(post_batch_fn=InterruptAt(1))
        assert data["episode_num"] == [3, 6]
        assert same_weights(data["model_state"], short_training(max_episodes=6)["model_state"])
        assert "interrupt" in capsys.readouterr().out.lower()

    @pytest.mark.skipif(not WORKERS, reason="workers are started by fork")
    def test_leaves_no_worker_behind(self):
        with toy.nothing_left_behind():
            short_training(post_batch_fn=InterruptAt(1), num_workers=2)


class TestResume:
    @pytest.mark.parametrize("name", ["cpg", "aac"])
    @pytest.mark.parametrize("interrupted_after", [0, 2])
    def test_is_as_if_never_interrupted(self, tmp_path, name, interrupted_after):
        kwargs = {"max_episodes": 15, "checkpoints_file": tmp_path / "checkpoint.dat"}
        short_training(name, **kwargs, post_batch_fn=InterruptAt(interrupted_after))
        resumed = short_training(name, **kwargs, resume=True)
        assert same_training(resumed, short_training(name, max_episodes=15))

    def test_goes_on_along_its_schedules(self, tmp_path):
        changing = {
            "gamma_schedule": [[0, HP["gamma"]], [1, 0.5]],
            "weight_decay": 0.2,
            "weight_decay_schedule": [[0, 0.2], [1, 0]],
        }
        kwargs = {"hp": {**HP, **changing}, "checkpoints_file": tmp_path / "checkpoint.dat"}
        short_training("aac", **kwargs, post_batch_fn=InterruptAt(1))
        resumed = short_training("aac", **kwargs, resume=True)
        assert same_training(resumed, short_training("aac", hp=kwargs["hp"]))
        assert not same_training(resumed, short_training("aac"))

    def test_without_a_seed_goes_on_with_the_runs_own(self, tmp_path):
        kwargs = {"max_episodes": 9, "checkpoints_file": tmp_path / "checkpoint.dat"}
        short_training(**kwargs, post_batch_fn=InterruptAt(1))
        assert same_training(short_training(**kwargs, seed=None, resume=True), short_training())

    def test_of_another_network_is_refused(self, tmp_path):
        file = tmp_path / "checkpoint.dat"
        short_training(max_episodes=3, checkpoints_file=file)
        with pytest.raises(ValueError, match=r"checkpoint\.dat"):
            short_training(hp={**HP, "hidden_layers": [9]}, checkpoints_file=file, resume=True)

    def test_without_a_checkpoint_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            short_training(checkpoints_file=tmp_path / "missing.dat", resume=True)


class TestCheckpoint:
    @pytest.fixture(scope="class")
    @classmethod
    def file(cls, tmp_path_factory):
        file = tmp_path_factory.mktemp("checkpoints") / "checkpoint.dat"
        short_training("aac", checkpoints_file=file)
        return file

    def test_torch_loads_it_with_its_safe_default(self, file):
        checkpoint = torch.load(file)
        AACPolicyNet(8, 4, **HP).load_state_dict(checkpoint["params"])
        assert isinstance(checkpoint["best_mean_reward"], float)

    def test_best_mean_reward_is_the_runs(self, file):
        assert torch.load(file)["best_mean_reward"] == short_training("aac")["best_mean_reward"][-1]

    def test_round_trip(self, file):
        params, again = torch.load(file)["params"], load_checkpoint(file)["params"]
        assert same_weights(params, again)

    def test_a_policy_comes_back_from_it(self, file):
        agent_type, p_net = experiments.load_policy(file)
        assert agent_type.__name__ == "AACPolicyAgent"
        assert same_weights(p_net.state_dict(), torch.load(file)["params"])


def interrupted_at_once(*_args, **_kwargs):
    raise KeyboardInterrupt


class TestRunOrLoad:
    KWARGS = MappingProxyType({"hp": HP, "seed": 1, "num_workers": 0, "max_episodes": 6})

    def test_trains_and_writes(self, tmp_path):
        results = run_or_load(tmp_path / "exp.dat", ["vpg", "cpg"], **self.KWARGS)
        assert list(results) == ["vpg", "cpg"]
        assert same_training(results["cpg"], short_training("cpg", max_episodes=6))
        assert same_training(load_training_data(tmp_path / "exp.dat")["vpg"], results["vpg"])

    def test_skips_what_has_its_file(self, tmp_path, monkeypatch):
        dump_training_data({"vpg": {"loss_p": [1.0]}}, tmp_path / "exp.dat")
        monkeypatch.setattr(experiments, "train_config", interrupted_at_once)
        assert run_or_load(tmp_path / "exp.dat", ["vpg"], **self.KWARGS) == {"vpg": {"loss_p": [1.0]}}

    def test_runs_again_when_forced(self, tmp_path):
        dump_training_data({"vpg": {"loss_p": [1.0]}}, tmp_path / "exp.dat")
        run_or_load(tmp_path / "exp.dat", ["vpg"], force_run=True, **self.KWARGS)
        assert load_training_data(tmp_path / "exp.dat")["vpg"]["episode_num"] == [3, 6]

    def test_a_target_that_is_reached_is_no_interruption(self, tmp_path):
        kwargs = {**self.KWARGS, "target_reward": -1e9, "running_mean_len": 3}
        try:
            results = run_or_load(tmp_path / "exp.dat", ["vpg"], **kwargs)
        except KeyboardInterrupt:
            pytest.fail("it was taken for one")
        assert results["vpg"]["episode_num"] == [3]

    def test_an_interrupted_run_is_not_taken_for_a_whole_one(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run_or_load(tmp_path / "exp.dat", ["vpg", "cpg"], post_batch_fn=InterruptAt(0), **self.KWARGS)
        assert not (tmp_path / "exp.dat").exists()


class TestLongRun:
    KWARGS = MappingProxyType({"hp": HP, "seed": 1, "num_workers": 0, "max_episodes": 6})

    def test_keeps_its_best_checkpoint_as_the_final_one(self, tmp_path):
        data = train_long(tmp_path, **self.KWARGS)
        final = torch.load(tmp_path / "Beresheet-v2-ac_final.dat")
        assert final["best_mean_reward"] == data["best_mean_reward"][-1]
        assert same_weights(final["params"], torch.load(tmp_path / "Beresheet-v2-ac.dat")["params"])

    def test_at_its_target(self, tmp_path):
        data = train_long(tmp_path, target_reward=-1e9, running_mean_len=3, **self.KWARGS)
        assert data["episode_num"] == [3]
        assert (tmp_path / "Beresheet-v2-ac_final.dat").exists()

    def test_interrupted_after_a_batch(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            train_long(tmp_path, post_batch_fn=InterruptAt(0), **self.KWARGS)
        assert [p.name for p in tmp_path.iterdir()] == ["Beresheet-v2-ac.dat"]

    def test_interrupted_before_the_first_batch(self, tmp_path, monkeypatch):
        monkeypatch.setattr(experiments.PolicyTrainer, "train", interrupted_at_once)
        with pytest.raises(KeyboardInterrupt):
            train_long(tmp_path, **self.KWARGS)
        assert list(tmp_path.iterdir()) == []


class TestWeightDecay:
    """Without a gradient Adam moves nothing, so that a weight w becomes w (1 - learning rate x decay)."""

    @staticmethod
    def shrunk(p_net, **hp):
        """What one update multiplies each of the network's parameters by."""
        with torch.no_grad():
            for parameter in p_net.parameters():
                parameter.fill_(1.0)
        optimizer = make_optimizer(p_net, {"learn_rate": 0.02, "eps": 1e-8, **hp})
        for parameter in p_net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        return {name: parameter.detach().unique().item() for name, parameter in p_net.named_parameters()}

    def test_shrinks_the_actor_and_leaves_the_critic(self):
        by_name = self.shrunk(AACPolicyNet(8, 4, hidden_layers=[3]), weight_decay=0.5)
        assert {name.partition(".")[0] for name in by_name} == {"scores", "values"}
        for name, factor in by_name.items():
            assert factor == pytest.approx(1.0 if name.startswith("values.") else 0.99)

    def test_shrinks_a_network_without_a_critic(self):
        by_name = self.shrunk(PolicyNet(8, 4, hidden_layers=[3]), weight_decay=0.5)
        assert list(by_name.values()) == pytest.approx([0.99] * len(by_name))

    def test_is_off_unless_asked_for(self):
        assert set(self.shrunk(AACPolicyNet(8, 4, hidden_layers=[3])).values()) == {1.0}


class TestSchedule:
    """By hand: learn_rate from 0.02 to a tenth of it, beta from 0.5 to 0."""

    HP = MappingProxyType({"learn_rate": 0.02, "beta": 0.5, "gamma": 0.9})

    @staticmethod
    def at(progress, **hp):
        actor, critic = ({"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2))
        optimizer, loader = torch.optim.Adam([actor, critic]), OnPolicyLoader(lambda: None, 1, 0.5, seed=0)
        entropy = ActionEntropyLoss(4, beta=1.0)
        make_schedule(optimizer, [entropy], loader, {**TestSchedule.HP, **hp})(progress)
        actor, critic = optimizer.param_groups
        assert (critic["lr"], critic["weight_decay"]) == (actor["lr"], 0)
        return actor["lr"], entropy.beta, loader.gamma, actor["weight_decay"]

    @pytest.mark.parametrize(
        ("progress", "learn_rate", "beta"),
        [(0.0, 0.02, 0.5), (0.25, 0.0155, 0.5), (0.5, 0.011, 0.5), (1.0, 0.002, 0.0)],
    )
    def test_goes_linearly_from_point_to_point(self, progress, learn_rate, beta):
        schedules = {"learn_rate_schedule": [[0, 0.02], [1, 0.002]], "beta_schedule": [[0, 0.5], [0.5, 0.5], [1, 0]]}
        assert self.at(progress, **schedules)[:2] == pytest.approx((learn_rate, beta))

    @pytest.mark.parametrize(("progress", "beta"), [(0.499, 0.5), (0.5, 0.0), (0.501, 0.0)])
    def test_two_points_at_one_share_make_a_step(self, progress, beta):
        assert self.at(progress, beta_schedule=[[0, 0.5], [0.5, 0.5], [0.5, 0], [1, 0]])[1] == beta

    def test_beta_may_go_below_zero(self):
        """Where a term that held a policy's options open makes it choose."""
        assert self.at(0.75, beta_schedule=[[0, 0.5], [0.5, 0], [1, -0.4]])[1] == pytest.approx(-0.2)

    def test_gamma_and_the_actors_weight_decay_may_change(self):
        schedules = {
            "gamma_schedule": [[0, 0.9], [0.5, 0.9], [1, 1.0]],
            "weight_decay_schedule": [[0, 0.2], [0.75, 0.1]],
        }
        assert self.at(0.75, weight_decay=0.2, **schedules) == pytest.approx((0.02, 0.5, 0.95, 0.1))

    def test_adam_forgets_once_at_its_restart(self):
        """One parameter, gradients 100, then 1 from the restart on: Adam's first step is the whole learning rate."""
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.1)
        set_all = make_schedule(
            optimizer,
            [],
            OnPolicyLoader(lambda: None, 1, 0.5, seed=0),
            {**self.HP, "learn_rate": 0.1, "adam_restart": 0.5},
        )
        steps, progress = [], [0.0, 0.25, 0.5, 0.75]
        for share, gradient in zip(progress, [100.0, 1.0, 1.0, 1.0], strict=True):
            if share == 0.75:  # as if resumed from a checkpoint
                optimizer.load_state_dict(optimizer.state_dict())
            set_all(share)
            before, weight.grad = weight.item(), torch.tensor([gradient])
            optimizer.step()
            steps.append(before - weight.item())
            assert optimizer.state[weight]["step"] == (1 if share in (0.0, 0.5) else 2)
        assert steps[1] < 0.08  # the gradient of 100 is remembered
        assert steps[2:] == pytest.approx([0.1, 0.1])

    def test_without_schedules_nothing_changes(self):
        assert self.at(0.7, weight_decay=0.1) == (0.02, 0.5, 0.9, 0.1)

    def test_a_value_that_is_set_replaces_its_schedule(self, monkeypatch):
        schedules = {"learn_rate_schedule": [[0, 0.02], [1, 0.002]], "beta_schedule": [[0, 0.5], [1, 0]]}
        monkeypatch.setattr(answers, "part1_pg_hyperparams", lambda: {**HP, **schedules})
        hp = parse_settings("cpg", ["learn_rate=0.01"])
        assert hp["learn_rate"] == 0.01
        assert "learn_rate_schedule" not in hp
        assert "beta_schedule" in hp

    def test_a_schedule_that_is_set_brings_its_first_value(self):
        hp = parse_settings("cpg", ["beta_schedule=[[0,0.25],[1,0]]"])
        assert (hp["beta"], hp["beta_schedule"]) == (0.25, [[0, 0.25], [1, 0]])

    def test_a_value_that_its_schedule_does_not_begin_with_is_refused(self):
        with pytest.raises(ValueError, match=r"learn_rate is 0\.01, but learn_rate_schedule begins with 0\.02"):
            train_config("cpg", hp={**HP, "learn_rate_schedule": [[0, 0.02]]}, max_episodes=1)

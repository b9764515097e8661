"""Training by name: reproducibly, resumed, interrupted, on a device, and kept in results and checkpoints."""

import math
import shutil
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from hw4 import answers, experiments, runs, training
from hw4.env import check_env, make_env
from hw4.experiments import (
    exp_configs,
    hyperparams_of,
    run_experiments,
    run_or_load,
    sync_policy,
    train_aac,
    train_config,
    train_long,
    train_pg,
    train_rl,
)
from hw4.files import dump_training_data, load_checkpoint, load_training_data, save_checkpoint
from hw4.hyperparams import check_hyperparams
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_pg import PolicyAgent, PolicyNet, VanillaPolicyGradientLoss
from hw4.rollout.loader import torch_threads
from tests import toy
from tests.toy import same_weights

NAMES = ("vpg", "epg", "bpg", "cpg", "aac")
HP = toy.hyperparams()
REPORTED = {
    "vpg": set(),
    "epg": {"loss_e"},
    "bpg": {"baseline"},
    "cpg": {"baseline", "loss_e"},
    "aac": {"loss_v", "adv_m", "loss_e"},
}
COMMON_KEYS = {"loss_p", "loss_t", "mean_reward", "best_mean_reward", "episode_num", "step_num", "model_state", "run"}
WORKERS = [1, 2] if "fork" in mp.get_all_start_methods() else []
SHORT = MappingProxyType({"hp": HP, "seed": 1, "num_workers": 0, "max_episodes": 6})


def short_training(name="cpg", **kwargs):
    return train_config(name, **{**SHORT, "max_episodes": 9, **kwargs})


def same_training(data, other):
    lists = [{k: v for k, v in d.items() if k != "model_state"} for d in (data, other)]
    return lists[0] == lists[1] and same_weights(data["model_state"], other["model_state"])


class InterruptAt:
    """A post_batch_fn that presses Ctrl-C after a batch."""

    def __init__(self, batch_idx):
        self.batch_idx = batch_idx

    def __call__(self, batch_idx, p_net, batch, final=False):
        if batch_idx == self.batch_idx:
            raise KeyboardInterrupt


def interrupted_at_once(*_args, **_kwargs):
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
        assert COMMON_KEYS | REPORTED[name] <= set(data)
        assert data["episode_num"] == [3, 6]
        assert {len(values) for key, values in data.items() if isinstance(values, list)} == {2}
        assert {(type(t), t.device.type, t.requires_grad, t.is_shared()) for t in data["model_state"].values()} == {
            (torch.Tensor, "cpu", False, False)
        }
        (AACPolicyNet if name == "aac" else PolicyNet)(8, 4, **HP).load_state_dict(data["model_state"])

    def test_published_wrappers(self):
        assert same_training(train_pg(baseline=True, entropy=True, **SHORT), train_config("cpg", **SHORT))
        assert same_training(train_aac(**SHORT), train_config("aac", **SHORT))

    def test_entropy_changes_what_is_learned(self):
        states = [short_training(name, max_episodes=3)["model_state"] for name in ("vpg", "epg")]
        assert not same_weights(*states)

    @pytest.mark.parametrize(
        ("name", "hyperparams", "more"),
        [
            ("cpg", answers.part1_pg_hyperparams, set()),
            ("aac", answers.part1_aac_hyperparams, {"delta"}),
            ("aac_long", answers.part1_aac_hyperparams, {"delta"}),
        ],
    )
    def test_shipped_hyperparameters(self, name, hyperparams, more):
        assert {"batch_size", "gamma", "beta", "learn_rate", "eps", "hidden_layers"} | more <= set(hyperparams())
        check_hyperparams(hyperparams())
        assert hyperparams_of(name) == hyperparams()
        assert hyperparams_of(name, ["eps=0.5"]) == {**hyperparams(), "eps": 0.5}

    @pytest.mark.parametrize("name", ["cpg", "aac"])
    def test_shipped_hyperparameters_train(self, name):
        data = train_config(name, seed=0, num_workers=0, max_episodes=1)
        assert all(math.isfinite(value) for value in data["loss_t"])


class TestReproducible:
    @pytest.mark.parametrize("name", ["cpg", "aac"])
    @pytest.mark.parametrize("num_workers", [0, *WORKERS])
    def test_whatever_the_number_of_workers(self, name, num_workers):
        assert same_training(short_training(name, num_workers=num_workers), short_training(name))

    def test_whatever_the_state_of_the_global_generators(self):
        runs = []
        for disturbance in (1, 2):
            torch.manual_seed(disturbance)
            np.random.seed(disturbance)  # noqa: NPY002 - the global generator is meant
            runs.append(short_training())
        assert same_training(*runs)

    @pytest.mark.parametrize("name", ["cpg", "aac"])
    def test_whatever_the_number_of_threads(self, name):
        """The shipped networks begin with orthogonal matrices, which two threads round otherwise than one."""
        runs = []
        for count in (1, 2):
            with torch_threads(count):
                runs.append(short_training(name, hp=hyperparams_of(name)))
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


class TestOtherSolutions:
    """Networks, agents and environments of others train through the same function."""

    class Net(nn.Module):
        """With dropout, and a buffer that changes as it learns."""

        def __init__(self, n_observations, n_actions, *, width, **_unused):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(n_observations, width), nn.Dropout(), nn.Linear(width, n_actions))
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, states):
            self.calls += self.training
            return self.body(states)

        @classmethod
        def build_for_env(cls, env, device="cpu", **hp):
            return cls(*check_env(env), **hp).to(device)

    def train(self, agent_type=toy.Agent, **kwargs):
        how = {**SHORT, "max_episodes": 12, "make_env": partial(make_env, "CartPole-v1"), "hp": {**HP, "width": 8}}
        return train_rl(agent_type, self.Net, [VanillaPolicyGradientLoss()], **{**how, **kwargs})

    @pytest.fixture(autouse=True)
    def without_checks(self, unchecked):
        """train_rl's annotations name the project's own types."""

    @pytest.mark.parametrize("agent_type", [PolicyAgent, toy.Agent, toy.EagerAgent])
    @pytest.mark.parametrize("num_workers", WORKERS[-1:])
    def test_repeatably(self, agent_type, num_workers):
        torch.manual_seed(1)
        data = self.train(agent_type)
        torch.manual_seed(2)
        assert same_training(self.train(agent_type, num_workers=num_workers), data)
        assert data["model_state"]["calls"] == 4

    def test_resumed(self, tmp_path):
        kwargs = {"checkpoints_file": tmp_path / "checkpoint.dat", "seed": 2}
        self.train(**kwargs, post_batch_fn=InterruptAt(0))
        torch.rand(5)
        assert same_training(self.train(**kwargs), self.train(seed=2))
        assert load_checkpoint(kwargs["checkpoints_file"])["env_name"] == "CartPole-v1"

    def test_on_another_device(self, monkeypatch):
        """A stand-in, which PyTorch takes for another than "cpu": the network that acts has to follow the learner's."""
        synced = []
        monkeypatch.setattr(experiments, "sync_policy", lambda *nets: synced.append(nets) or sync_policy(*nets))
        assert same_training(self.train(device=torch.device("cpu", 0)), self.train())
        assert len(synced) == 4
        assert all(learner is not actor for learner, actor in synced)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
    def test_on_a_gpu(self):
        devices = []

        def post_batch_fn(batch_idx, p_net, batch, final):
            devices.append(next(p_net.parameters()).device.type)

        data = self.train(device="cuda", post_batch_fn=post_batch_fn)
        assert devices == ["cuda"] * 4
        assert {tensor.device.type for tensor in data["model_state"].values()} == {"cpu"}


def test_sync_policy_copies_parameters_and_buffers():
    learner, actor = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(2))
    learner(torch.randn(5, 2))
    places = [tensor.data_ptr() for tensor in actor.state_dict().values()]
    sync_policy(learner, actor)
    assert same_weights(learner.state_dict(), actor.state_dict())
    assert [tensor.data_ptr() for tensor in actor.state_dict().values()] == places
    assert not torch.equal(actor[1].running_mean, torch.zeros(3))


@pytest.mark.parametrize(("width", "threads"), [(8, 1), (300, 7)])
def test_large_networks_learn_on_all_processors(width, threads, monkeypatch):
    monkeypatch.setattr(experiments, "available_cpus", lambda: 7)
    assert experiments.learner_threads(nn.Linear(width, width)) == threads


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
        resumed = short_training(name, **kwargs)
        assert same_training(resumed, short_training(name, max_episodes=15))

    def test_goes_on_along_its_schedules(self, tmp_path):
        kwargs = {
            "hp": {**HP, "learn_rate_end": 0.0, "beta_end": 2.0, "gamma_end": 0.5},
            "checkpoints_file": tmp_path / "checkpoint.dat",
        }
        short_training("aac", **kwargs, post_batch_fn=InterruptAt(1))
        resumed = short_training("aac", **kwargs)
        assert same_training(resumed, short_training("aac", hp=kwargs["hp"]))
        assert not same_training(resumed, short_training("aac"))

    def test_without_a_seed_goes_on_with_the_runs_own(self, tmp_path):
        kwargs = {"max_episodes": 9, "checkpoints_file": tmp_path / "checkpoint.dat"}
        short_training(**kwargs, post_batch_fn=InterruptAt(1))
        assert same_training(short_training(**kwargs, seed=None), short_training())

    @pytest.mark.parametrize("from_batch", range(3))
    def test_from_any_state_that_a_kill_may_leave(self, tmp_path, monkeypatch, from_batch):
        """The latest state is of one batch, the best checkpoint of whichever batch was best before the kill."""
        monkeypatch.setattr(runs, "SAVE_SECONDS", 0.0)
        file, copies = tmp_path / "c.dat", tmp_path / "copies"

        def keep_copies(batch_idx, p_net, batch, final):
            if batch_idx == from_batch:
                shutil.copytree(tmp_path, copies)

        whole = short_training("aac", checkpoints_file=file, max_episodes=9, post_batch_fn=keep_copies)
        again = short_training("aac", checkpoints_file=copies / "c.dat", max_episodes=9)
        assert same_training(again, whole)
        for name in ("c.dat", "c_latest.dat"):
            assert same_weights(load_checkpoint(copies / name)["params"], load_checkpoint(tmp_path / name)["params"])

    def test_where_the_latest_state_is_damaged_from_the_best(self, tmp_path, capsys):
        file = tmp_path / "c.dat"
        short_training(checkpoints_file=file, post_batch_fn=InterruptAt(1))
        (tmp_path / "c_latest.dat").write_bytes(b"half")
        assert same_training(short_training(checkpoints_file=file), short_training())
        assert "c_latest.dat is not a checkpoint" in capsys.readouterr().err

    def test_a_finished_run_is_not_trained_again(self, tmp_path, capsys):
        file = tmp_path / "c.dat"
        whole = short_training(checkpoints_file=file)
        assert same_training(short_training(checkpoints_file=file, post_batch_fn=pytest.fail), whole)
        assert "finished already, after 9 episodes" in capsys.readouterr().out

    def test_a_target_that_was_reached_finishes_a_run(self, tmp_path):
        how = {"checkpoints_file": tmp_path / "c.dat", "target_reward": -1e9, "running_mean_len": 3}
        assert same_training(short_training(**how), short_training(**how, post_batch_fn=pytest.fail))

    @pytest.mark.parametrize(
        ("name", "change", "difference"),
        [
            ("cpg", {"seed": 2}, "seed is 1 there, and 2 here"),
            ("cpg", {"max_episodes": 12}, "max_episodes is 9 there, and 12 here"),
            ("cpg", {"hp": {**HP, "gamma": 0.5}}, "gamma is .* there, and 0.5 here"),
            ("cpg", {"target_reward": 5.0}, "target_reward is None there, and 5.0 here"),
            ("vpg", {}, "configuration is 'cpg' there, and 'vpg' here"),
        ],
    )
    def test_another_run_is_refused_and_its_files_stay(self, tmp_path, name, change, difference):
        file = tmp_path / "c.dat"
        short_training(checkpoints_file=file)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ValueError, match=rf"c_latest\.dat is of another run: {difference}\. Name another file"):
            short_training(name, **{"checkpoints_file": file, "post_batch_fn": pytest.fail, **change})
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_another_version_of_a_package_is_another_run(self, tmp_path, monkeypatch):
        file = tmp_path / "c.dat"
        short_training(checkpoints_file=file)
        monkeypatch.setattr(runs, "VERSIONS", {**runs.VERSIONS, "torch": "1.3.1"})
        with pytest.raises(ValueError, match=r"torch is '.*' there, and '1\.3\.1' here"):
            short_training(checkpoints_file=file)

    def test_a_restart_keeps_the_files_aside(self, tmp_path):
        file = tmp_path / "c.dat"
        for seed in (1, 2, 3):
            short_training(checkpoints_file=file, seed=seed, restart=True)
        seeds = {path.name: load_checkpoint(path)["seed"] for path in tmp_path.iterdir()}
        assert seeds == {
            **{"c.dat": 3, "c_before1.dat": 1, "c_before2.dat": 2},
            **{"c_latest.dat": 3, "c_latest_before1.dat": 1, "c_latest_before2.dat": 2},
        }

    def test_a_checkpoint_of_an_earlier_version_is_compared_in_what_it_says(self, tmp_path):
        file = tmp_path / "c.dat"
        short_training(checkpoints_file=file, post_batch_fn=InterruptAt(1))
        (tmp_path / "c_latest.dat").unlink()
        save_checkpoint({k: v for k, v in load_checkpoint(file).items() if k not in ("run", "finished")}, file)
        with pytest.raises(ValueError, match="seed is 1 there, and 2 here"):
            short_training(checkpoints_file=file, seed=2)
        assert same_training(short_training(checkpoints_file=file), short_training())

    def test_two_at_once(self, tmp_path):
        file = tmp_path / "c.dat"

        def train_the_same(*_args, **_kwargs):
            with pytest.raises(BlockingIOError, match=r"c_latest\.dat is being written by this process"):
                short_training(checkpoints_file=file)

        short_training(checkpoints_file=file, post_batch_fn=train_the_same)

    @pytest.mark.parametrize("fails", ["c.dat", "c_latest.dat"])
    def test_a_checkpoint_that_cannot_be_written_costs_no_run(self, tmp_path, monkeypatch, capsys, fails):
        def save(data, path):
            if Path(path).name == fails:
                raise OSError(f"cannot write {path} (No space left on device)")
            save_checkpoint(data, path)

        monkeypatch.setattr(training, "save_checkpoint", save)
        assert same_training(short_training(checkpoints_file=tmp_path / "c.dat"), short_training())
        assert f"{fails} (No space left on device). Training goes on." in capsys.readouterr().err
        assert not (tmp_path / fails).exists()


class TestTrainInto:
    """With a results file; `train_into` is what the command `train` does."""

    @staticmethod
    def train(out, **kwargs):
        return experiments.train_into("cpg", out, **{**SHORT, "max_episodes": 9, **kwargs})

    def test_writes_the_results(self, tmp_path):
        data = self.train(tmp_path / "r.dat")
        assert same_training(data, short_training())
        assert same_training(load_training_data(tmp_path / "r.dat")["cpg"], data)

    def test_a_stopped_run_goes_on(self, tmp_path):
        how = {"out": tmp_path / "r.dat", "checkpoints_file": tmp_path / "c.dat"}
        with pytest.raises(KeyboardInterrupt):
            self.train(**how, post_batch_fn=InterruptAt(1))
        assert load_training_data(tmp_path / "r.dat")["cpg"]["episode_num"] == [3, 6]
        assert same_training(self.train(**how), short_training())

    def test_whole_results_stay(self, tmp_path):
        whole = self.train(tmp_path / "r.dat")
        before = (tmp_path / "r.dat").read_bytes()
        assert same_training(self.train(tmp_path / "r.dat", post_batch_fn=InterruptAt(0)), whole)
        with pytest.raises(ValueError, match=r"r\.dat is of another run: seed is 1 there, and 2 here"):
            self.train(tmp_path / "r.dat", seed=2)
        assert (tmp_path / "r.dat").read_bytes() == before

    def test_longer_results_are_not_replaced_by_shorter_ones(self, tmp_path):
        for batch_idx in (1, 0):
            with pytest.raises(KeyboardInterrupt):
                self.train(tmp_path / "r.dat", post_batch_fn=InterruptAt(batch_idx))
        assert load_training_data(tmp_path / "r.dat")["cpg"]["episode_num"] == [3, 6]

    def test_stopped_before_the_first_batch(self, tmp_path, monkeypatch):
        monkeypatch.setattr(experiments.PolicyTrainer, "train", interrupted_at_once)
        with pytest.raises(KeyboardInterrupt):
            self.train(tmp_path / "r.dat", checkpoints_file=tmp_path / "c.dat")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_holds_something_else(self, tmp_path):
        (tmp_path / "r.dat").write_text("precious")
        with pytest.raises(ValueError, match=r"r\.dat is not a results file"):
            self.train(tmp_path / "r.dat")
        dump_training_data({"cpg": {"loss_p": [1.0]}}, tmp_path / "old.dat")
        with pytest.raises(ValueError, match=r"old\.dat is of another run: configuration is 'not said'"):
            self.train(tmp_path / "old.dat")

    def test_a_restart_keeps_the_results_aside(self, tmp_path):
        self.train(tmp_path / "r.dat")
        self.train(tmp_path / "r.dat", seed=2, restart=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["r.dat", "r_before1.dat"]


class TestRefused:
    """Before anything is played."""

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize(
        "argument",
        [
            *({name: value} for name in ("seed", "num_workers") for value in (-1, "1", 1.5)),
            {"seed": 2**63},
            *({name: value} for name in ("max_episodes", "running_mean_len") for value in (0, 1.5, "10")),
            *({"target_reward": value} for value in (math.nan, "200", None)),
            {"device": "tpu"},
            {"hp": {**HP, "gamma": 2}},
        ],
        ids=str,
    )
    def test_arguments(self, argument):
        name = next(iter(argument))
        with pytest.raises(ValueError, match=f"{'gamma' if name == 'hp' else name} must be "):
            short_training(post_batch_fn=pytest.fail, **argument)

    def test_no_such_configuration(self):
        with pytest.raises(ValueError, match="no configuration 'ppo'; there are: vpg, epg, bpg, cpg, aac"):
            short_training("ppo")

    def test_a_checkpoint_where_no_file_can_be(self, tmp_path):
        (tmp_path / "file").write_text("here")
        with pytest.raises(OSError, match="file"):
            short_training(checkpoints_file=tmp_path / "file" / "c.dat", post_batch_fn=pytest.fail)


class TestCheckpoint:
    @pytest.fixture(scope="class")
    @classmethod
    def file(cls, tmp_path_factory):
        file = tmp_path_factory.mktemp("checkpoints") / "checkpoint.dat"
        short_training("aac", checkpoints_file=file)
        return file

    def test_holds_the_best_of_the_run(self, file):
        """torch.load reads it with its safe default."""
        checkpoint = torch.load(file)
        AACPolicyNet(8, 4, **HP).load_state_dict(checkpoint["params"])
        assert checkpoint["best_mean_reward"] == short_training("aac")["best_mean_reward"][-1]

    def test_a_policy_comes_back_from_it(self, file):
        agent_type, p_net, action_repeat = experiments.load_policy(file)
        assert (agent_type, action_repeat) == (AACPolicyAgent, 1)
        assert same_weights(p_net.state_dict(), torch.load(file)["params"])

    @pytest.mark.parametrize(
        "change",
        [
            *({"net_type": "Transformer"}, {"env_name": "Nowhere-v0"}, {"env_name": None}),
            *({"hp": {}}, {"hp": {**HP, "hidden_layers": [10**9]}}, {"params": {"weight": torch.ones(2)}}),
        ],
        ids=str,
    )
    @pytest.mark.usefixtures("unchecked")
    def test_one_that_holds_something_else(self, file, change, tmp_path):
        save_checkpoint({**load_checkpoint(file), **change}, tmp_path / "other.dat")
        with pytest.raises(ValueError, match=r"other\.dat does not say what network it holds"):
            experiments.load_policy(tmp_path / "other.dat")


class TestRunOrLoad:
    def test_trains_and_writes(self, tmp_path):
        results = run_or_load(tmp_path / "new" / "exp.dat", ["vpg", "cpg"], **SHORT)
        assert list(results) == ["vpg", "cpg"]
        assert same_training(results["cpg"], train_config("cpg", **SHORT))
        assert same_training(load_training_data(tmp_path / "new" / "exp.dat")["vpg"], results["vpg"])

    def test_skips_what_has_its_file_unless_forced(self, tmp_path, monkeypatch):
        dump_training_data({"vpg": {"loss_p": [1.0]}}, tmp_path / "exp.dat")
        assert run_or_load(tmp_path / "exp.dat", ["vpg"], **SHORT) == {"vpg": {"loss_p": [1.0]}}
        run_or_load(tmp_path / "exp.dat", ["vpg"], force_run=True, **SHORT)
        assert load_training_data(tmp_path / "exp.dat")["vpg"]["episode_num"] == [3, 6]

    def test_a_target_that_is_reached_is_no_interruption(self, tmp_path):
        results = run_or_load(tmp_path / "exp.dat", ["vpg"], target_reward=-1e9, running_mean_len=3, **SHORT)
        assert results["vpg"]["episode_num"] == [3]

    def test_an_interrupted_run_is_not_taken_for_a_whole_one(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run_or_load(tmp_path / "exp.dat", ["vpg", "cpg"], post_batch_fn=InterruptAt(0), **SHORT)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".exp_vpg.dat", "exp_interrupted.dat"]
        assert load_training_data(tmp_path / "exp_interrupted.dat")["vpg"]["episode_num"] == [3]

    def test_a_stopped_one_goes_on(self, tmp_path):
        idxs = []
        with pytest.raises(KeyboardInterrupt):
            run_or_load(tmp_path / "exp.dat", ["vpg", "cpg"], post_batch_fn=InterruptAt(0), **SHORT)
        results = run_or_load(
            tmp_path / "exp.dat", ["vpg", "cpg"], post_batch_fn=lambda idx, *_, final: idxs.append(idx), **SHORT
        )
        assert idxs == [1, 0, 1]
        assert same_training(results["vpg"], train_config("vpg", **SHORT))
        assert not list(tmp_path.glob(".exp*"))

    def test_returns_what_there_is_where_that_is_asked_for(self, tmp_path, capsys):
        stopped = run_or_load(
            tmp_path / "exp.dat", ["vpg", "cpg"], post_batch_fn=InterruptAt(0), returns_early=True, **SHORT
        )
        assert {name: data["episode_num"] for name, data in stopped.items()} == {"vpg": [3]}
        assert not experiments.is_whole(stopped, "vpg")
        assert not experiments.is_whole(stopped, "cpg")
        assert "The same call goes on" in capsys.readouterr().out
        assert experiments.is_whole(run_or_load(tmp_path / "exp.dat", ["vpg", "cpg"], **SHORT), "cpg")

    def test_returns_nothing_of_a_run_that_had_not_begun(self, tmp_path, monkeypatch):
        monkeypatch.setattr(experiments.PolicyTrainer, "train", interrupted_at_once)
        assert run_or_load(tmp_path / "exp.dat", ["vpg"], returns_early=True, **SHORT) == {}

    def test_each_run_is_watched_by_its_name(self, tmp_path):
        seen = []
        run_or_load(
            tmp_path / "exp.dat",
            ["vpg", "cpg"],
            watch=lambda name: lambda idx, *_, final: seen.append((name, idx, final)),
            **SHORT,
        )
        assert seen == [("vpg", 0, False), ("vpg", 1, True), ("cpg", 0, False), ("cpg", 1, True)]

    def test_with_other_hyperparameters_a_stopped_one_begins_anew(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run_or_load(tmp_path / "exp.dat", ["vpg"], post_batch_fn=InterruptAt(0), **SHORT)
        other = {**SHORT, "hp": {**HP, "gamma": 0.5}}
        assert same_training(run_or_load(tmp_path / "exp.dat", ["vpg"], **other)["vpg"], train_config("vpg", **other))


class TestLongRun:
    def test_keeps_its_best_checkpoint_as_the_final_one(self, tmp_path):
        data = train_long(tmp_path, **SHORT)
        final = torch.load(tmp_path / "Beresheet-v2-ac_final.dat")
        assert final["best_mean_reward"] == data["best_mean_reward"][-1]
        assert same_weights(final["params"], torch.load(tmp_path / "Beresheet-v2-ac.dat")["params"])

    def test_interrupted_after_a_batch(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            train_long(tmp_path, post_batch_fn=InterruptAt(0), **SHORT)
        assert {path.name for path in tmp_path.iterdir()} == {"Beresheet-v2-ac.dat", "Beresheet-v2-ac_latest.dat"}
        assert same_training(train_long(tmp_path, **SHORT), train_aac(**SHORT))

    def test_returns_what_there_is_where_that_is_asked_for(self, tmp_path):
        data = train_long(tmp_path, post_batch_fn=InterruptAt(0), returns_early=True, **SHORT)
        assert data["episode_num"] == [3]
        assert not (tmp_path / "Beresheet-v2-ac_final.dat").exists()

    def test_interrupted_before_the_first_batch(self, tmp_path, monkeypatch):
        monkeypatch.setattr(experiments.PolicyTrainer, "train", interrupted_at_once)
        with pytest.raises(KeyboardInterrupt):
            train_long(tmp_path, **SHORT)
        assert list(tmp_path.iterdir()) == []


def test_run_experiments_trains_what_has_no_file_yet(tmp_path, monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(experiments, "run_or_load", lambda file, names, **kwargs: runs.append((file, names, kwargs)))
    monkeypatch.setattr(experiments, "train_long", lambda folder, **kwargs: runs.append((folder, kwargs)))
    run_experiments(tmp_path, tmp_path, max_episodes=5, long_max_episodes=7, num_workers=0)
    assert runs == [
        (tmp_path / "part1_exp.dat", NAMES[:4], {"max_episodes": 5, "seed": experiments.SEED, "num_workers": 0}),
        (tmp_path / "part1_exp_aac.dat", NAMES[4:], {"max_episodes": 5, "seed": experiments.SEED, "num_workers": 0}),
        (tmp_path, {"max_episodes": 7, "target_reward": 290.0, "seed": experiments.SEED, "num_workers": 0}),
    ]
    (tmp_path / "Beresheet-v2-ac_final.dat").touch()
    run_experiments(tmp_path, tmp_path, seed=1)
    assert len(runs) == 5
    assert "skipping the long run" in capsys.readouterr().out

"""One training: reproducible, resumed, interrupted, on a device, with anybody's agents and networks."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from hw4 import runs, train, training
from hw4.env import check_env, make_env
from hw4.experiments import hyperparams_of
from hw4.files import load_checkpoint, save_checkpoint
from hw4.rl_pg import PolicyAgent, VanillaPolicyGradientLoss
from hw4.rollout.loader import LoaderWorkerError, torch_threads
from hw4.train import sync_policy, train_rl
from tests import toy
from tests.short import HP, SHORT, WORKERS, InterruptAt, same_training, short_training
from tests.toy import same_weights


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
        monkeypatch.setattr(train, "sync_policy", lambda *nets: synced.append(nets) or sync_policy(*nets))
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


def test_numpys_whole_numbers_are_numbers(tmp_path):
    numbers = {name: np.int64(SHORT[name]) for name in ("seed", "num_workers", "max_episodes")}
    assert same_training(short_training(**numbers, checkpoints_file=tmp_path / "c.dat"), short_training(max_episodes=6))


class TestBest:
    """The best checkpoint of a finished run is there, or is made again."""

    def test_it_is_there(self, tmp_path):
        data = short_training(checkpoints_file=tmp_path / "c.dat")
        assert runs.problem_of_best(tmp_path / "c.dat", data) == ""
        assert runs.problem_of_best(tmp_path / "c.dat", {**data, "best_mean_reward": [1e6]}).endswith("an earlier one")

    @pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"half")], ids=["gone", "damaged"])
    def test_it_is_made_again(self, tmp_path, damage):
        data = short_training(checkpoints_file=tmp_path / "c.dat")
        best = load_checkpoint(tmp_path / "c.dat")
        damage(tmp_path / "c.dat")
        assert "c.dat" in runs.problem_of_best(tmp_path / "c.dat", data)
        assert same_training(short_training(checkpoints_file=tmp_path / "c.dat"), data)
        assert same_weights(load_checkpoint(tmp_path / "c.dat")["params"], best["params"])
        assert load_checkpoint(tmp_path / "c_latest_before1.dat")["finished"]


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
    monkeypatch.setattr(train, "available_cpus", lambda: 7)
    assert train.learner_threads(nn.Linear(width, width)) == threads


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

    def test_at_the_last_save_is_none(self, tmp_path, monkeypatch, capsys):
        save = runs.Saver.save

        def interrupted(self, **how):
            monkeypatch.setattr(runs.Saver, "save", save)
            raise KeyboardInterrupt

        monkeypatch.setattr(runs.Saver, "save", interrupted)
        data = short_training(checkpoints_file=tmp_path / "c.dat", on_interrupt=pytest.fail)
        assert data["run"]["finished"]
        assert load_checkpoint(tmp_path / "c_latest.dat")["finished"]
        assert "interrupted" not in capsys.readouterr().out


class TestFails:
    """What was learned until then is kept."""

    @pytest.mark.skipif(not WORKERS, reason="workers are started by fork")
    def test_because_a_worker_died(self, tmp_path):
        kept = []

        def kill(batch_idx, p_net, batch, final):
            if batch_idx == 1:
                for worker in mp.active_children():
                    worker.kill()

        how = {"checkpoints_file": tmp_path / "c.dat", "on_interrupt": kept.append}
        with pytest.raises(LoaderWorkerError, match="died of signal 9"):
            short_training(**how, num_workers=1, post_batch_fn=kill)
        assert same_training(kept[0], {**short_training(max_episodes=6), "run": kept[0]["run"]})
        assert load_checkpoint(tmp_path / "c_latest.dat")["training_data"]["episode_num"] == [3, 6]
        assert same_training(short_training(**how), short_training())

    def test_also_if_it_cannot_be_kept(self, capsys):
        def keep(training_data):
            raise OSError("the disk is full")

        hp = {**HP, "hidden_layers": [8, 8, 8], "learn_rate_end": 1e18}
        with pytest.raises(FloatingPointError, match="diverged"):
            short_training(hp=hp, max_episodes=300, on_interrupt=keep)
        assert "the disk is full" in capsys.readouterr().err

    def test_because_it_diverged(self):
        kept = []
        hp = {**HP, "hidden_layers": [8, 8, 8], "learn_rate_end": 1e18}
        with pytest.raises(FloatingPointError, match="diverged"):
            short_training(hp=hp, max_episodes=300, on_interrupt=kept.append)
        assert kept[0]["episode_num"][0] == 3
        assert not kept[0]["run"]["finished"]
        assert "model_state" not in kept[0]  # its numbers are not finite


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

    def test_after_the_batch_that_reached_the_target(self, tmp_path):
        """Killed between that batch's checkpoint and the end."""
        how = {"checkpoints_file": tmp_path / "c.dat", "target_reward": -1e9, "running_mean_len": 3}
        whole = short_training(**how)
        (tmp_path / "c_latest.dat").unlink()
        assert same_training(short_training(**how), whole)

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

    def test_the_best_of_another_run_is_not_written_over(self, tmp_path):
        """The latest state is newer, and of the run that is wanted."""
        file, other = tmp_path / "c.dat", tmp_path / "other.dat"
        short_training(checkpoints_file=other, seed=2, max_episodes=6)
        short_training(checkpoints_file=file)
        file.write_bytes(other.read_bytes())
        with pytest.raises(
            ValueError, match=r"c\.dat is of another run: seed is 2 there, and 1 here; max_episodes is 6"
        ):
            short_training(checkpoints_file=file, post_batch_fn=pytest.fail)
        assert file.read_bytes() == other.read_bytes()

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

    def test_a_restart_keeps_what_a_link_leads_to(self, tmp_path):
        (tmp_path / "far").mkdir()
        (tmp_path / "c.dat").symlink_to(tmp_path / "far" / "c.dat")
        for seed in (1, 2):
            short_training(checkpoints_file=tmp_path / "c.dat", seed=seed, restart=True)
        seeds = {path.name: load_checkpoint(path)["seed"] for path in (tmp_path / "far").iterdir()}
        assert seeds == {"c.dat": 2, "c_before1.dat": 1}
        assert (tmp_path / "c.dat").is_symlink()

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

"""Training by name, kept in results and checkpoints."""

import math
from functools import partial

import pytest
import torch

from hw4 import answers, experiments
from hw4.env import make_env
from hw4.experiments import (
    exp_configs,
    hyperparams_of,
    run_experiments,
    run_or_load,
    train_aac,
    train_config,
    train_long,
    train_pg,
)
from hw4.files import dump_training_data, load_checkpoint, load_training_data, save_checkpoint
from hw4.hyperparams import check_hyperparams
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_pg import PolicyNet, PolicyTrainer
from tests.short import HP, SHORT, InterruptAt, interrupted_at_once, same_training, short_training
from tests.toy import same_weights

NAMES = ("vpg", "epg", "bpg", "cpg", "aac")
REPORTED = {
    "vpg": set(),
    "epg": {"loss_e"},
    "bpg": {"baseline"},
    "cpg": {"baseline", "loss_e"},
    "aac": {"loss_v", "adv_m", "loss_e"},
}
COMMON_KEYS = {"loss_p", "loss_t", "mean_reward", "best_mean_reward", "episode_num", "step_num", "model_state", "run"}


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
        assert load_training_data(tmp_path / "r.dat")["cpg"]["episode_num"][0] == 3

    def test_stopped_before_the_first_batch(self, tmp_path, monkeypatch):
        monkeypatch.setattr(PolicyTrainer, "train", interrupted_at_once)
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
        dump_training_data({"vpg": {"loss_p": [1.0]}, "aac": {}}, tmp_path / "other.dat")
        with pytest.raises(ValueError, match=r"other\.dat is of another run: configuration is 'vpg, aac' there"):
            self.train(tmp_path / "other.dat")

    @pytest.mark.parametrize(
        "value", [{1, 2}, math.nan, 2**64, [0] * 4000, len], ids=["set", "NaN", "huge", "long", "code"]
    )
    def test_what_no_file_can_hold_is_refused_at_once(self, value, tmp_path):
        for how in ({}, {"checkpoints_file": tmp_path / "c.dat"}):
            with pytest.raises(ValueError, match="the run: hp: note "):
                self.train(tmp_path / "r.dat", hp={**HP, "note": value}, post_batch_fn=pytest.fail, **how)
        assert list(tmp_path.iterdir()) == []

    def test_other_configurations_in_the_file_stay(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            self.train(tmp_path / "r.dat", post_batch_fn=InterruptAt(0))
        other = short_training("vpg")
        dump_training_data({"vpg": other, **load_training_data(tmp_path / "r.dat")}, tmp_path / "r.dat")
        with pytest.raises(KeyboardInterrupt):
            self.train(tmp_path / "r.dat", post_batch_fn=InterruptAt(1))
        assert same_training(load_training_data(tmp_path / "r.dat")["vpg"], other)
        self.train(tmp_path / "r.dat")
        results = load_training_data(tmp_path / "r.dat")
        assert same_training(results["vpg"], other)
        assert same_training(results["cpg"], short_training())

    def test_a_run_that_fails_keeps_its_results(self, tmp_path):
        with pytest.raises(FloatingPointError):
            self.train(
                tmp_path / "r.dat", hp={**HP, "hidden_layers": [8, 8, 8], "learn_rate_end": 1e18}, max_episodes=300
            )
        assert load_training_data(tmp_path / "r.dat")["cpg"]["episode_num"][0] == 3

    def test_a_restart_that_is_refused_leaves_all_where_it_is(self, tmp_path):
        how = {"out": tmp_path / "r.dat", "checkpoints_file": tmp_path / "c.dat"}
        self.train(**how)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        for change in ({"device": "tpu"}, {"hp": {**HP, "initial_logits": [1, 2]}}, {"seed": -1}):
            with pytest.raises(ValueError, match=r"device|initial_logits|seed"):
                self.train(**how, restart=True, **change)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

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
            {"num_workers": 1025},
            {"max_episodes": 10**9 + 1},
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
            {"net_type": "Transformer"},
            *({"env_name": name} for name in ("Nowhere-v0", None, "Ant-v2", "GymV21Environment-v0", "CartPole-v1")),
            *({"hp": {**HP, "action_repeat": bad}} for bad in ("x", 0, -1, 1.5, [2], None)),
            {"hp": {**HP, "hidden_layers": [math.inf]}},
            *({"hp": {}}, {"hp": {**HP, "hidden_layers": [10**9]}}, {"params": {"weight": torch.ones(2)}}),
        ],
        ids=str,
    )
    @pytest.mark.usefixtures("unchecked")
    def test_one_that_holds_something_else(self, file, change, tmp_path):
        save_checkpoint({**load_checkpoint(file), **change}, tmp_path / "other.dat")
        with pytest.raises(ValueError, match=r"other\.dat does not say what network it holds"):
            experiments.load_policy(tmp_path / "other.dat")

    def test_one_of_another_environment(self, tmp_path):
        """Only Beresheet-v2 is evaluated and recorded."""
        file = tmp_path / "c.dat"
        short_training("vpg", checkpoints_file=file, max_episodes=3, make_env=partial(make_env, "CartPole-v1"))
        with pytest.raises(ValueError, match=r"c\.dat .*: it is of CartPole-v1, and only Beresheet-v2 is played here"):
            experiments.load_policy(file)


class TestRunOrLoad:
    def test_trains_and_writes(self, tmp_path):
        results = run_or_load(tmp_path / "new" / "exp.dat", ["vpg", "cpg"], **SHORT)
        assert list(results) == ["vpg", "cpg"]
        assert same_training(results["cpg"], train_config("cpg", **SHORT))
        assert same_training(load_training_data(tmp_path / "new" / "exp.dat")["vpg"], results["vpg"])

    def test_skips_what_has_its_file_unless_forced(self, tmp_path, monkeypatch):
        dump_training_data({"vpg": {"episode_num": [1]}}, tmp_path / "exp.dat")
        assert run_or_load(tmp_path / "exp.dat", ["vpg"], **SHORT) == {"vpg": {"episode_num": [1]}}
        run_or_load(tmp_path / "exp.dat", ["vpg"], force_run=True, **SHORT)
        assert load_training_data(tmp_path / "exp.dat")["vpg"]["episode_num"] == [3, 6]

    def test_what_a_file_lacks_is_trained_and_the_rest_stays(self, tmp_path):
        dump_training_data({"cpg": {"loss_p": [1.0]}, "epg": {"loss_p": [2.0]}}, tmp_path / "exp.dat")
        results = run_or_load(tmp_path / "exp.dat", ["vpg", "cpg"], **SHORT)
        assert list(results) == ["vpg", "cpg"]
        assert same_training(results["vpg"], train_config("vpg", **SHORT))
        written = load_training_data(tmp_path / "exp.dat")
        assert same_training(written["vpg"], results["vpg"])
        assert {name: written[name]["loss_p"] for name in ("cpg", "epg")} == {"cpg": [1.0], "epg": [2.0]}

    def test_an_unfinished_run_is_trained_to_its_end(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            experiments.train_into("vpg", tmp_path / "exp.dat", post_batch_fn=InterruptAt(0), **SHORT)
        assert same_training(run_or_load(tmp_path / "exp.dat", ["vpg"], **SHORT)["vpg"], train_config("vpg", **SHORT))

    def test_says_what_a_file_was_trained_with_that_was_not_asked_for(self, tmp_path, capsys):
        run_or_load(tmp_path / "exp.dat", ["vpg"], **SHORT)
        run_or_load(tmp_path / "exp.dat", ["vpg"], max_episodes=6)
        assert "than was asked for" not in capsys.readouterr().err
        run_or_load(tmp_path / "exp.dat", ["vpg"], **{**SHORT, "seed": 2, "hp": {**HP, "gamma": 0.5}})
        told = capsys.readouterr().err
        assert "vpg is of another run than was asked for: seed is 1 there, and 2 here; gamma is 0.9 there, and" in told

    def test_a_damaged_state_is_kept_aside(self, tmp_path):
        (tmp_path / ".exp_vpg.dat").write_bytes(b"half")
        assert same_training(run_or_load(tmp_path / "exp.dat", ["vpg"], **SHORT)["vpg"], train_config("vpg", **SHORT))
        assert (tmp_path / ".exp_vpg_before1.dat").read_bytes() == b"half"

    def test_the_state_of_a_network_that_has_changed_is_kept_aside(self, tmp_path, monkeypatch, capsys):
        with pytest.raises(KeyboardInterrupt):
            run_or_load(tmp_path / "exp.dat", ["vpg"], post_batch_fn=InterruptAt(0), **SHORT)

        class Changed(PolicyNet):
            def __init__(self, *args, hidden_layers, **hp):
                super().__init__(*args, hidden_layers=[*hidden_layers, 3], **hp)

        monkeypatch.setattr(experiments, "PolicyNet", Changed)
        results = run_or_load(tmp_path / "exp.dat", ["vpg"], **SHORT)
        assert same_training(results["vpg"], train_config("vpg", **SHORT))
        assert load_checkpoint(tmp_path / ".exp_vpg_before1.dat")["training_data"]["episode_num"] == [3]
        assert "does not fit this network" in capsys.readouterr().err

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
        monkeypatch.setattr(PolicyTrainer, "train", interrupted_at_once)
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
        monkeypatch.setattr(PolicyTrainer, "train", interrupted_at_once)
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
    short_training(checkpoints_file=tmp_path / "Beresheet-v2-ac_final.dat")
    run_experiments(tmp_path, tmp_path, seed=1)
    assert len(runs) == 5
    assert "skipping the long run" in capsys.readouterr().out


def test_run_experiments_finds_a_damaged_final_checkpoint_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "run_or_load", lambda *_args, **_kwargs: pytest.fail("began"))
    (tmp_path / "Beresheet-v2-ac_final.dat").touch()
    with pytest.raises(ValueError, match=r"ac_final\.dat is not a checkpoint.* Remove it"):
        run_experiments(tmp_path, tmp_path)
